"""Bytes of ICMP and raw sockets per process, against what the programs themselves sent and read."""

import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettop.model.events import OtherChanged
from nettop.model.rows import OtherTotals, Process, UdpTotals
from tests.live import programs
from tests.live.lab import (
    FAR_IPV4,
    FAR_IPV6,
    Namespace,
    Program,
    Watch,
    process_of,
    two_namespaces,
)

V4, V6, RAW, PING = socket.AF_INET, socket.AF_INET6, socket.SOCK_RAW, socket.SOCK_DGRAM
ICMP: dict[int, int] = {V4: socket.IPPROTO_ICMP, V6: socket.IPPROTO_ICMPV6}
TIMES, DATA_BYTES = 5, 100
ECHO_BYTES = 8 + DATA_BYTES


@dataclass
class Lab:
    near: Namespace
    watch: Watch


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with two_namespaces(directory) as (near, far):
        subprocess.run(near.inside("sh", "-c", "echo 0 1000 > /proc/sys/net/ipv4/ping_group_range"), check=True)
        with Watch(directory, "--netns", near.name, "--netns", far.name) as watch:
            yield Lab(near, watch)
            watch.stop()


def opened(where: Namespace, family: int, kind: int, protocol: int, receive_bytes: int = 0) -> Program:
    program = where.play(
        programs.handle_packets, family=family, kind=kind, protocol=protocol, receive_bytes=receive_bytes
    )
    assert program.hear() == "ready"
    return program


def sent(program: Program, packet: bytes, address: str) -> int:
    program.say(["send", packet.hex(), address])
    count: int = program.hear()
    return count


def read(program: Program, packets: int) -> int:
    program.say(["read", packets])
    got, payload = program.hear()
    assert got == packets
    return int(payload)


def others(watch: Watch, program: Program) -> OtherTotals:
    known = [row for row in watch.store.snapshot().processes if row.pid == program.pid]
    return known[0].other if known else OtherTotals()


def becomes(watch: Watch, program: Program, **totals: int) -> None:
    expected = OtherTotals(**totals)
    try:
        watch.until(lambda _: others(watch, program) == expected, f"{expected}")
    except AssertionError as error:
        raise AssertionError(f"{others(watch, program)} instead") from error


@pytest.mark.parametrize("stay", [False, True])
@pytest.mark.parametrize("kind", [RAW, PING])
@pytest.mark.parametrize(("family", "address"), [(V4, FAR_IPV4), (V6, FAR_IPV6)])
def test_pings(lab: Lab, family: int, address: str, kind: int, stay: bool) -> None:
    program = opened(lab.near, family, kind, ICMP[family])
    total = 0
    for number in range(TIMES):
        total += sent(program, programs.echo_request(family, DATA_BYTES, number), address)
        assert read(program, 1) == ECHO_BYTES
    assert total == TIMES * ECHO_BYTES
    if not stay:
        close(program)
    becomes(lab.watch, program, tx_bytes=total, rx_bytes=total)
    row = process_of(lab.watch.store.snapshot(), program)
    assert (row.comm, row.tx_bytes, row.rx_bytes, row.udp) == ("packets", 0, 0, UdpTotals())
    if stay:
        close(program)
    lab.watch.until(lambda _: any(event.other.closed for event in told(lab.watch, program)), "the socket's release")
    assert len({event.other.id for event in told(lab.watch, program)}) == 1


def close(program: Program) -> None:
    program.say(None)
    program.end()


def told(watch: Watch, program: Program) -> list[OtherChanged]:
    return [event for event in watch.events if isinstance(event, OtherChanged) and event.other.pid == program.pid]


def test_ping_itself(lab: Lab) -> None:
    program = lab.near.start("busybox", "ping", "-c", "2", "-i", "0.2", "-s", str(DATA_BYTES), FAR_IPV4)
    assert "2 packets received" in program.end()
    becomes(lab.watch, program, tx_bytes=2 * ECHO_BYTES, rx_bytes=2 * ECHO_BYTES)
    assert process_of(lab.watch.store.snapshot(), program).comm == "busybox"


def test_each_raw_socket_counts_its_own_copy(lab: Lab) -> None:
    """Over the loopback a raw socket gets its own request too, and so does whoever else has one."""
    asks, listens = (opened(lab.near, V4, RAW, ICMP[V4]) for _ in range(2))
    size = sent(asks, programs.echo_request(V4, DATA_BYTES), "127.0.0.1")
    both = read(asks, 2)
    assert both == read(listens, 2) == 2 * size
    becomes(lab.watch, asks, tx_bytes=size, rx_bytes=both)
    becomes(lab.watch, listens, rx_bytes=both)
    for program in (asks, listens):
        close(program)


def ipv4(protocol: int, body: bytes) -> bytes:
    """For a socket that writes its own header: the kernel fills in what is 0 here (raw(7))."""
    return struct.pack("!BBHHHBBH4s4s", 0x46, 0, 0, 0, 0, 64, protocol, 0, bytes(4), b"\x7f\0\0\1") + b"\1" * 4 + body


def test_what_a_raw_socket_sends_as_udp_or_tcp(lab: Lab) -> None:
    sender = opened(lab.near, V4, RAW, socket.IPPROTO_RAW)
    sink = lab.near.play(programs.udp_sink, address="127.0.0.1", port=7041)
    assert sink.hear() == "bound"
    sees_tcp = opened(lab.near, V4, RAW, socket.IPPROTO_TCP)
    datagram = struct.pack("!HHHH", 7042, 7041, 8 + 37, 0) + bytes(37)
    segment = struct.pack("!HHIIBBHHH", 7042, 7043, 1, 2, 5 << 4, 4, 1000, 0, 0)  # a reset, which nobody answers
    for protocol, packet in ((socket.IPPROTO_UDP, datagram), (socket.IPPROTO_TCP, segment), (253, b"\0")):
        assert sent(sender, ipv4(protocol, packet), "127.0.0.1") == 24 + len(packet)
    assert read(sees_tcp, 1) == len(segment)
    becomes(lab.watch, sender, tx_bytes=len(datagram) + len(segment) + 1)
    becomes(lab.watch, sees_tcp, rx_bytes=len(segment))
    sink.say(37)
    assert sink.hear() == 37
    sink.end()
    lab.watch.until(lambda now: udp_of(now.processes, sink) == UdpTotals(rx_bytes=37), "the datagram")
    lab.watch.up_to_now()
    assert process_of(lab.watch.store.snapshot(), sender).udp == UdpTotals()
    for program in (sender, sees_tcp):
        close(program)


def udp_of(processes: Sequence[Process], program: Program) -> UdpTotals | None:
    return next((row.udp for row in processes if row.pid == program.pid), None)


def test_what_finds_no_room_is_not_received(lab: Lab) -> None:
    deaf = opened(lab.near, V4, RAW, 253, receive_bytes=1)  # the kernel's least
    sender = opened(lab.near, V4, RAW, 253)
    packets = 64
    for _ in range(packets):
        sent(sender, bytes(1000), "127.0.0.1")
    assert read(sender, packets) == packets * 1000  # its own copies: all have arrived
    deaf.say(["drain"])
    got, payload = deaf.hear()
    assert 0 < got < packets
    assert payload == got * 1000
    becomes(lab.watch, deaf, rx_bytes=payload, rx_dropped=packets - got)
    for program in (sender, deaf):
        close(program)


def test_what_a_ping_socket_has_no_room_for(lab: Lab) -> None:
    """Older kernels, and ping sockets on any, look at the room only after the packet was counted."""
    deaf = opened(lab.near, V4, PING, ICMP[V4], receive_bytes=1)
    witness = opened(lab.near, V4, RAW, ICMP[V4])
    packets = 32  # as many as the witness has room for
    for number in range(packets):
        sent(deaf, programs.echo_request(V4, 1000, number), "127.0.0.1")
    assert read(witness, 2 * packets) == 2 * packets * 1008  # all requests, and all answers
    deaf.say(["drain"])
    got, payload = deaf.hear()
    assert 0 < got < packets
    assert payload == got * 1008
    becomes(lab.watch, deaf, tx_bytes=packets * 1008, rx_bytes=payload, rx_dropped=packets - got)
    for program in (deaf, witness):
        close(program)


def test_a_socket_older_than_nettop(quiet: Namespace, directory: Path) -> None:
    program = opened(quiet, V4, RAW, ICMP[V4])
    request = programs.echo_request(V4, DATA_BYTES)
    assert sent(program, request, "127.0.0.1") == read(program, 2) // 2
    with Watch(directory, "--netns", quiet.name) as watch:
        assert sent(program, request, "127.0.0.1") == read(program, 2) // 2
        becomes(watch, program, tx_bytes=ECHO_BYTES, rx_bytes=2 * ECHO_BYTES)
        close(program)
        watch.stop()
