"""UDP payload per process, both ways, of sockets that live and of sockets that are gone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettop.model.events import UdpChanged
from nettop.model.rows import UdpTotals
from tests.live import dns_server, programs
from tests.live.lab import Namespace, Program, Watch, dns_of, namespace, process_of
from tests.live.truth import owners

LOOPBACK = {"ipv4": "127.0.0.1", "ipv6": "::1"}
PORT = 7007


@dataclass
class Lab:
    inside: Namespace
    watch: Watch
    servers: dict[str, Program]


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with namespace(directory) as inside:
        servers = {
            family: inside.play(programs.udp_echo, address=address, port=PORT) for family, address in LOOPBACK.items()
        }
        for server in servers.values():
            assert server.hear() == "bound"
        with Watch(directory, "--netns", inside.name) as watch:
            yield Lab(inside, watch, servers)
            watch.stop()


def udp_totals(watch: Watch, program: Program | int) -> UdpTotals:
    pid = program if isinstance(program, int) else program.pid
    known = [row for row in watch.store.snapshot().processes if row.pid == pid]
    return known[0].udp if known else UdpTotals()


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("sizes", [[331] * 13, [1] * 1009, [0, 1, 0, 2], [65_000, 9001, 1473, 1472]])
@pytest.mark.parametrize("stay", [False, True])
def test_exact_bytes_both_ways(lab: Lab, family: str, sizes: list[int], stay: bool) -> None:
    server = lab.servers[family]
    before = udp_totals(lab.watch, server)
    client = lab.inside.play(programs.udp_client, address=LOOPBACK[family], port=PORT, sizes=sizes, stay=stay)
    assert client.hear() == "exchanged"
    if not stay:
        client.end()
    total = sum(sizes)
    lab.watch.until(
        lambda _: (
            udp_totals(lab.watch, client) == UdpTotals(tx_bytes=total, rx_bytes=total)
            and udp_totals(lab.watch, server)
            == UdpTotals(tx_bytes=before.tx_bytes + total, rx_bytes=before.rx_bytes + total)
        ),
        f"{total} bytes both ways",
    )
    if stay:
        client.say("close")
        client.end()
    snapshot = lab.watch.until(
        lambda _: (
            bool(released := [row for row in udp_rows(lab.watch, client) if row.udp.closed]) and len(released) == 1
        ),
        "the socket's release",
    )
    process = process_of(snapshot, client)
    assert (process.comm, process.udp) == ("pinger", UdpTotals(tx_bytes=total, rx_bytes=total))
    assert (process.tx_bytes, process.rx_bytes) == (total, total)
    assert len({row.udp.id for row in udp_rows(lab.watch, client)}) == 1


def udp_rows(watch: Watch, program: Program | int) -> list[UdpChanged]:
    pid = program if isinstance(program, int) else program.pid
    return [event for event in watch.events if isinstance(event, UdpChanged) and event.udp.pid == pid]


def test_a_socket_that_only_receives(lab: Lab) -> None:
    sink = lab.inside.play(programs.udp_sink, address="127.0.0.1", port=7008)
    assert sink.hear() == "bound"
    senders = [
        lab.inside.start("bash", "-c", f"printf %0{size}d 0 > /dev/udp/127.0.0.1/7008") for size in (101, 103, 107)
    ]
    for sender in senders:
        sender.end()
    sink.say(311)
    assert sink.hear() == 311
    sink.end()
    lab.watch.until(lambda _: udp_totals(lab.watch, sink) == UdpTotals(rx_bytes=311), "what the sink received")
    lab.watch.up_to_now()
    for sender, size in zip(senders, (101, 103, 107), strict=True):
        assert udp_totals(lab.watch, sender) == UdpTotals(tx_bytes=size)


def test_children_that_share_a_socket(directory: Path) -> None:
    """Whose the bytes are cannot be told, so they are counted as nobody's; who asked can."""
    with namespace(directory) as inside:
        server = inside.play(dns_server.serve, addresses=["127.0.0.1"])
        assert server.hear() == "serving"
        with Watch(directory, "--netns", inside.name) as watch:
            parent = inside.play(programs.ask_from_children, server="127.0.0.1", qname="shared.test", children=3)
            told = parent.hear()
            parent.end()
            watch.until(lambda snapshot: snapshot.losses.udp_unattributed_bytes == told["bytes"], "nobody's bytes")
            snapshot = watch.stop(losses=True)
    for pid in told["pids"]:
        (row,) = dns_of(snapshot, pid)
        assert (row.qname, row.status, row.rcode) == ("shared.test", "answered", "NOERROR")
        assert process_of(snapshot, pid).udp == UdpTotals()
    assert len(snapshot.dns) == 3
    assert snapshot.losses.udp_unattributed_bytes == told["bytes"]


def test_the_last_who_holds_a_shared_socket_owns_what_follows(lab: Lab) -> None:
    """How the bytes divide that both sent within one tick cannot be told."""
    parent = lab.inside.play(programs.leave_socket_to_child, address="127.0.0.1", port=7999, sizes=[101, 103, 107])
    assert parent.hear() == "sent"
    lab.watch.until(lambda _: udp_totals(lab.watch, parent) == UdpTotals(tx_bytes=101), "what the parent sent")
    parent.say("let the child send")
    child = parent.hear()
    lab.watch.until(lambda _: bool(udp_rows(lab.watch, child)), "the child to own the socket")
    lab.watch.up_to_now()
    before = udp_totals(lab.watch, parent), udp_totals(lab.watch, child).tx_bytes
    parent.say("go on")
    lab.watch.until(lambda _: udp_totals(lab.watch, child).tx_bytes == before[1] + 107, "what the child sent alone")
    assert udp_totals(lab.watch, parent) == before[0]


def test_drops_are_told_while_a_socket_only_drops(lab: Lab) -> None:
    stalled = lab.inside.play(owners.stall, address="127.0.0.1", port=7011)
    assert stalled.hear() == "bound"
    before = 0
    for _ in range(3):
        for _ in range(50):
            lab.inside.start("bash", "-c", "printf %0997d 0 > /dev/udp/127.0.0.1/7011").end()
        stalled.say("how many?")
        dropped = stalled.hear()
        assert dropped > before
        lab.watch.until(lambda _, now=dropped: udp_totals(lab.watch, stalled).rx_dropped == now, f"{dropped} drops")  # type: ignore[misc]
        before = dropped
    stalled.say(None)
    stalled.end()
