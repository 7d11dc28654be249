"""nettop cannot change what it watches: its programs say "pass" to every packet, socket and connect() there can be.

BPF_PROG_TEST_RUN runs a loaded program on bytes. What the kernel itself will not run does not count as passed. There is
no such way to run programs about sockets, so of all of them the instructions are read too.
"""

import errno
import json
import random
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nettop.kernel import abi, syscalls
from nettop.kernel.compiled_cache import compiled_programs
from nettop.kernel.hooks import BUFFERS, CONTINUATIONS, HOOKS, OnCgroup
from nettop.kernel.program import KernelProgram, defines
from nettop.kernel.scope import Scope
from tests.live import dns_server, programs
from tests.live.conftest import Figures
from tests.live.lab import Namespace, Watch, dns_of

PASS = 1
IPV4, IPV6, NEITHER = 0x0800, 0x86DD, 0x88B5  # EtherTypes; of the last the kernel checks nothing
ICMP, TCP, UDP, SCTP = 1, 6, 17, 132
HOP_BY_HOP, ROUTING, FRAGMENT, ESP, AH, NO_NEXT, DESTINATION = 0, 43, 44, 50, 51, 59, 60
MOST_BYTES = 3_500  # the kernel runs no more than a page less its own heads and tails

BOTH_WAYS = (53, 53)  # ports that are DNS whichever way the packet goes
QUERY = programs.query(7, "www.shop.test")


def udp(payload: bytes, source: int = 40_000, destination: int = 53) -> bytes:
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


def tcp(payload: bytes, source: int = 40_000, destination: int = 53, words: int = 5) -> bytes:
    head = struct.pack("!HHIIBBHHH", source, destination, 1, 2, words << 4, 0x18, 1000, 0, 0)
    return head + bytes(max(words - 5, 0) * 4) + payload


def ipv4(protocol: int, body: bytes, words: int = 5, fragment: int = 0) -> bytes:
    options = bytes([1]) * (max(words - 5, 0) * 4)
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | words, 0, 0, 1, fragment, 64, protocol, 0, b"\x7f\0\0\1", b"\x7f\0\0\2")
    return head + options + body


def ipv6(protocol: int, body: bytes) -> bytes:
    return struct.pack("!IHBB16s16s", 6 << 28, len(body) & 0xFFFF, protocol, 64, bytes(16), bytes(15) + b"\1") + body


def chain(headers: list[tuple[int, int]], last: int, body: bytes) -> tuple[int, bytes]:
    """Extension headers of (kind, length in its field) before the body: the first next-header value, all bytes."""
    kinds = [kind for kind, _ in headers] + [last]
    raw = b"".join(
        bytes([following, length]) + bytes(6 + 8 * length)
        for (_, length), following in zip(headers, kinds[1:], strict=True)
    )
    return kinds[0], raw + body


def whole_packets() -> Iterator[tuple[int, bytes]]:
    """EtherType and packet: every combination of network head, transport head and payload."""
    transports = [
        *((UDP, udp(payload, *ports)) for payload in payloads() for ports in port_pairs()),
        *((TCP, tcp(payload, *ports)) for payload in payloads() for ports in port_pairs()),
        *((TCP, tcp(QUERY, words=words)) for words in range(16)),
        *((protocol, b"\0\x35\0\x35" + bytes(40)) for protocol in (0, ICMP, ESP, AH, NO_NEXT, SCTP, 255)),
        *((UDP, raw) for raw in (b"", b"\0", udp(b"")[:7])),
    ]
    for protocol, body in transports:
        yield IPV4, ipv4(protocol, body)
        yield IPV6, ipv6(protocol, body)
    for words in range(16):
        yield IPV4, ipv4(UDP, udp(QUERY), words=words)
    for fragment in (0x2000, 0x2001, 0x1FFF, 0x4000, 0x8000, 0x0001, 0x0100):
        yield IPV4, ipv4(UDP, udp(QUERY), fragment=fragment)
    for version in range(16):
        yield NEITHER, bytes([version << 4 | 5]) + ipv4(UDP, udp(QUERY))[1:]
        yield NEITHER, bytes([version << 4]) + ipv6(UDP, udp(QUERY))[1:]
    for headers in chains():
        for last, body in ((UDP, udp(QUERY)), (TCP, tcp(QUERY)), (NO_NEXT, b"")):
            yield IPV6, ipv6(*chain(headers, last, body))


def payloads() -> list[bytes]:
    rng = random.Random(53)
    compressed_to_itself = QUERY[:12] + b"\xc0\x0c" + bytes(4)
    return [
        b"",
        b"\0",
        QUERY,
        bytes(12),
        b"\xff" * 12,
        b"\xff" * 512,
        compressed_to_itself,
        *(rng.randbytes(size) for size in (1, 2, 11, 13, 511, 1472, 3000)),
    ]


def port_pairs() -> list[tuple[int, int]]:
    return [(40_000, 53), (53, 40_000), (53, 53), (40_000, 443), (0, 0), (65_535, 65_535)]


def chains() -> Iterator[list[tuple[int, int]]]:
    for kind in (HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION, AH, ESP):
        for count in (1, 2, 3, 4, 5, 8, 64):
            yield [(kind, 0)] * count
        yield [(kind, 255)]  # 2,048 bytes long
    yield [(HOP_BY_HOP, 0), (DESTINATION, 1), (ROUTING, 2), (FRAGMENT, 0)]
    yield [(FRAGMENT, 0), (HOP_BY_HOP, 0), (ROUTING, 7), (DESTINATION, 31), (AH, 1)]


def truncated() -> Iterator[tuple[int, bytes]]:
    """Four whole packets, cut after every byte, and cut off before every byte."""
    for packet in (
        ipv4(UDP, udp(QUERY, *BOTH_WAYS)),
        ipv4(TCP, tcp(QUERY, *BOTH_WAYS, words=8), words=15),
        ipv6(UDP, udp(QUERY, *BOTH_WAYS)),
        ipv6(*chain([(HOP_BY_HOP, 0), (DESTINATION, 1)], TCP, tcp(QUERY, *BOTH_WAYS))),
    ):
        for length in range(len(packet) + 1):
            yield NEITHER, packet[:length]
            yield NEITHER, packet[length:]
        lying = bytearray(packet)
        lying[4:6] = b"\xff\xff"  # says that it is longer
        yield NEITHER, bytes(lying)


def random_packets() -> Iterator[tuple[int, bytes]]:
    rng = random.Random(2026)
    for number in range(4001):
        size = rng.randrange(1, 200) if number % 10 else rng.randrange(200, MOST_BYTES)
        raw = bytearray(rng.randbytes(size))
        if number % 3:  # else even the version is random
            raw[0] = rng.choice((0x45, 0x4F, 0x60))
            if size > 9:
                raw[9 if raw[0] >> 4 == 4 else 6] = rng.choice((TCP, UDP, HOP_BY_HOP, DESTINATION, FRAGMENT))
            ports_at = {0x45: 20, 0x4F: 60, 0x60: 40}[raw[0]]
            if number % 2 and size > ports_at + 4:
                raw[ports_at : ports_at + 4] = struct.pack("!HH", *BOTH_WAYS)
        yield NEITHER, bytes(raw)


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelProgram]:
    """No CPU has perf buffers here, so that each record takes the longest way: into the ring buffer behind them."""
    made = KernelProgram(Scope(), compiled_programs(defines(Scope())))
    made._buffers.open_spilled(made._maps["spilled"], {buffer.number: buffer.decode for buffer in BUFFERS})
    yield made
    made.close()


@pytest.fixture(scope="module")
def loaded(kernel: KernelProgram) -> dict[str, int]:
    """Descriptors of the programs, which are attached to nothing."""
    return {hook.program: kernel.load(hook) for hook in (*HOOKS, *CONTINUATIONS)}


def dns_reports(kernel: KernelProgram) -> int:
    """How many packets got as far as a report of DNS since the last call."""
    told = sum(record.decode is abi.decode_dns for record in kernel.drain())
    assert kernel.losses().perf_buffer["dns_events"] == 0
    return told


@pytest.mark.parametrize("program", ["packet_egress", "packet_ingress"])
@pytest.mark.parametrize("shapes", [("whole_packets", 590), ("truncated", 760), ("random_packets", 4000)])
def test_every_packet_passes(
    kernel: KernelProgram, loaded: dict[str, int], figures: Figures, program: str, shapes: tuple[str, int]
) -> None:
    name, ran_at_least = shapes
    dns_reports(kernel)
    ran = refused = 0
    for ethertype, packet in globals()[name]():
        frame = bytes(12) + struct.pack("!H", ethertype) + packet
        try:
            verdict = syscalls.run_on_packet(loaded[program], frame)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            refused += 1
            continue
        assert verdict == PASS, packet.hex()
        ran += 1
    figures.tell(f"{program} passed {ran} of {ran} {name.replace('_', ' ')}; {refused} the kernel would not run")
    assert dns_reports(kernel) >= 40  # of each kind enough go all the way
    assert ran >= ran_at_least
    assert refused < ran / 2


DECIDING = tuple(hook.program for hook in (*HOOKS, *CONTINUATIONS) if isinstance(hook.kind, OnCgroup))


@pytest.mark.parametrize("program", DECIDING)
def test_the_only_way_out_returns_one(loaded: dict[str, int], program: str) -> None:
    """Read from what the kernel runs, after its verifier: one exit, "r0 = 1" before it, and no jump between the two."""
    information = Path(f"/proc/self/fdinfo/{loaded[program]}").read_text()
    (number,) = re.findall(r"prog_id:\s*(\d+)", information)
    listing = subprocess.run(
        ["bpftool", "-j", "prog", "dump", "xlated", "id", number], check=True, capture_output=True
    ).stdout
    instructions = [entry["disasm"] for entry in json.loads(listing) if "disasm" in entry]
    exits = [at for at, text in enumerate(instructions) if text.endswith("exit")]
    assert len(exits) == 1
    assert instructions[exits[0] - 1].endswith("r0 = 1")
    # the form of `bpftool` text: "NN: (05) goto pc+5"
    plain = subprocess.run(
        ["bpftool", "prog", "dump", "xlated", "id", number], check=True, capture_output=True, text=True
    ).stdout
    numbered = re.findall(r"^\s*(\d+): (.*)$", plain, re.MULTILINE)
    (exit_at,) = [int(at) for at, text in numbered if text == "(95) exit"]
    targets = {int(at) + 1 + int(offset) for at, text in numbered for offset in re.findall(r"goto pc([+-]\d+)", text)}
    assert targets
    assert exit_at not in targets


def test_the_largest_packets_arrive_whole(quiet: Namespace, directory: Path) -> None:
    """What TEST_RUN will not take: live, through the very same programs."""
    echo = quiet.play(programs.udp_echo, address="::1", port=7012)
    assert echo.hear() == "bound"
    server = quiet.play(dns_server.serve, addresses=["127.0.0.1"])
    assert server.hear() == "serving"
    with Watch(directory, "--netns", quiet.name) as watch:
        client = quiet.play(programs.udp_client, address="::1", port=7012, sizes=[65_487, 65_000, 1])
        assert client.hear() == "exchanged"
        client.end()
        asker = quiet.play(programs.ask_udp, server="127.0.0.1", questions=[[1, "size-4097-jumbo.test", 16]])
        assert asker.hear()[0][1] == 4097
        asker.end()
        watch.settled(asker, dns=1)
        snapshot = watch.stop()
    (row,) = dns_of(snapshot, asker)
    assert (row.status, row.rcode, row.response_bytes, row.unparsed) == ("answered", "NOERROR", 4097, None)
