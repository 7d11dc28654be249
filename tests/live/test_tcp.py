"""Every connection, from its opening to each way in which one can end, read back with its owner and its bytes."""

import errno
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from nettop.model.rows import Connection, Endpoint, Peer
from nettop.model.snapshot import Snapshot
from tests.live import programs
from tests.live.lab import (
    BLACKHOLE_IPV4,
    FAR_IPV4,
    Namespace,
    Program,
    Watch,
    connections_of,
    listens,
    process_of,
    two_namespaces,
    wait_until,
)

LOOPBACK = {"ipv4": "127.0.0.1", "ipv6": "::1"}
ANSWER, RESET, FORK, HOLD, DUAL, IGNORE, CLOSED = 7001, 7002, 7003, 7004, 7005, 7006, 7999
# sizes up and down: the first 8 bytes up are the request
SIZES = [[8, 0], [9, 1], [11, 1_048_583], [65_537, 13], [1_000_003, 7], [8, 65_537], [4099, 4099]]


@dataclass
class Lab:
    near: Namespace
    far: Namespace
    watch: Watch
    servers: dict[str, Program]
    old: Program


def serve(where: Namespace, address: str, port: int, mode: str) -> Program:
    server = where.play(programs.tcp_server, address=address, port=port, mode=mode)
    assert server.hear() == "listening"
    return server


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with two_namespaces(directory) as (near, far):
        servers = {
            "ipv4": serve(near, "127.0.0.1", ANSWER, "answer"),
            "ipv6": serve(near, "::1", ANSWER, "answer"),
            "reset": serve(near, "127.0.0.1", RESET, "reset"),
            "fork": serve(near, "127.0.0.1", FORK, "fork"),
            "hold": serve(near, "127.0.0.1", HOLD, "hold"),
            "dual": serve(near, "::", DUAL, "answer"),
            "ignore": serve(near, "127.0.0.1", IGNORE, "ignore"),
        }
        serve(far, FAR_IPV4, HOLD, "hold")
        old = near.play(programs.tcp_stay, address="127.0.0.1", port=HOLD, up=1009, down=503)
        assert old.hear() == "exchanged"
        with Watch(directory, "--netns", near.name) as watch:
            yield Lab(near, far, watch, servers, old)
            watch.stop()


def only(rows: list[Connection]) -> Connection:
    (row,) = rows
    return row


def end_of(row: Connection) -> Peer:
    return Peer(id=row.id, pid=row.pid, comm=row.comm)


def of_port_here(rows: list[Connection], local: int) -> Connection:
    return only([row for row in rows if row.local.port == local])


def of_port(rows: list[Connection], remote: int) -> Connection:
    return only([row for row in rows if row.remote.port == remote])


def in_order(row: Connection) -> None:
    """The times of a finished connection whose beginning was seen."""
    assert row.opened_at is not None
    assert row.closed_at is not None
    assert row.opened_at < row.closed_at
    assert row.duration_ms == round((row.closed_at - row.opened_at).total_seconds() * 1000, 3)


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_exact_bytes_at_both_ends(lab: Lab, family: str) -> None:
    address, server = LOOPBACK[family], lab.servers[family]
    before = len(connections_of(lab.watch.store.snapshot(), server))
    client = lab.near.play(programs.tcp_client, address=address, port=ANSWER, sizes=SIZES)
    ports = client.hear()
    client.end()
    lab.watch.settled(client, connections=len(SIZES))
    snapshot = lab.watch.settled(server, connections=before + len(SIZES))
    accepted = connections_of(snapshot, server)[before:]
    for row, port, (up, down) in zip(connections_of(snapshot, client), ports, SIZES, strict=True):
        assert (row.comm, row.owner, row.family, row.direction) == ("talker", "exact", family, "outbound")
        assert (row.local.address, row.local.port) == (address, port)
        assert (row.remote.address, row.remote.port) == (address, ANSWER)
        assert (row.tx_bytes, row.rx_bytes, row.end) == (up, down, "normal")
        assert (row.opened_before_start, row.netns, row.state) == (False, lab.near.inode, "closed")
        assert row.connect_ms is not None
        assert 0 < row.connect_ms < 1000
        assert row.srtt_ms is not None
        in_order(row)

        other = of_port(accepted, port)
        assert (other.owner, other.family, other.direction) == ("exact", family, "inbound")
        assert (other.local, other.remote.address) == (Endpoint(address=address, port=ANSWER), address)
        assert (other.tx_bytes, other.rx_bytes, other.end) == (down, up, "normal")
        assert (row.peer, other.peer) == (end_of(other), end_of(row))
        in_order(other)
    up, down = (sum(column) for column in zip(*SIZES, strict=True))
    totals = process_of(snapshot, client).tcp
    assert (totals.tx_bytes, totals.rx_bytes) == (up, down)
    assert (totals.opened, totals.accepted, totals.failed, totals.active) == (len(SIZES), 0, 0, 0)


def test_none_lost_and_none_doubled(lab: Lab) -> None:
    server, count = lab.servers["ipv4"], 1009
    before = len(connections_of(lab.watch.store.snapshot(), server))
    accepted_before = process_of(lab.watch.store.snapshot(), server).tcp.accepted if before else 0
    # a pace at which the buffers hold seconds: on a machine that is busy with others nettop may have to wait its turn
    sizes = [[8 + n % 7, n % 11] for n in range(count)]
    client = lab.near.play(programs.tcp_client, address="127.0.0.1", port=ANSWER, sizes=sizes, pause_s=0.001)
    ports = client.hear()
    client.end()
    lab.watch.settled(client, connections=count)
    snapshot = lab.watch.settled(server, connections=before + count)
    rows, accepted = connections_of(snapshot, client), connections_of(snapshot, server)[before:]
    assert [row.local.port for row in rows] == ports
    assert [[row.tx_bytes, row.rx_bytes] for row in rows] == sizes
    assert sorted(row.remote.port for row in accepted) == sorted(ports)
    assert [row.peer for row in accepted] == [end_of(of_port_here(rows, row.remote.port)) for row in accepted]
    assert process_of(snapshot, client).tcp.opened == count
    assert process_of(snapshot, server).tcp.accepted == accepted_before + count


def bytes_are(program: Program, sent: set[int], snapshot: Snapshot) -> bool:
    return {row.tx_bytes for row in connections_of(snapshot, program)} == sent


def test_every_one_of_many_live_connections(lab: Lab) -> None:
    """More than fit into one read of the kernel's iterator."""
    count = 499
    client = lab.near.play(programs.tcp_many, address="127.0.0.1", port=IGNORE, connections=count)
    for times in (1, 2, 3):
        assert client.hear() == "sent"
        sent = {number * times for number in range(1, count + 1)}
        snapshot = lab.watch.until(partial(bytes_are, client, sent), f"the live counters of all {count}", patience_s=5)
        assert {row.state for row in connections_of(snapshot, client)} == {"established"}
        waiting = connections_of(snapshot, lab.servers["ignore"])  # not accepted yet: nobody holds them
        assert len(waiting) == count
        assert {(row.owner, row.direction) for row in waiting} == {("listener", "inbound")}
        assert {row.rx_bytes for row in waiting} == sent
        client.say("again" if times < 3 else "close")
    client.end()
    snapshot = lab.watch.settled(client, connections=count)
    assert {row.tx_bytes for row in connections_of(snapshot, client)} == sent
    assert process_of(snapshot, client).tcp.active == 0


def test_sendfile(lab: Lab, directory: Path) -> None:
    size = 3_000_017
    file = directory / "file"
    file.write_bytes(bytes(size))
    client = lab.near.play(programs.tcp_sendfile, address="127.0.0.1", port=DUAL, path=str(file), size=size)
    client.end()
    row = only(connections_of(lab.watch.settled(client, connections=1), client))
    assert (row.tx_bytes, row.rx_bytes, row.end) == (8 + size, 0, "normal")


def test_an_ipv4_client_of_a_dual_stack_server(lab: Lab) -> None:
    client = lab.near.play(programs.tcp_client, address="127.0.0.1", port=DUAL, sizes=[[13, 17]])
    (port,) = client.hear()
    client.end()
    lab.watch.settled(client, connections=1)
    snapshot = lab.watch.until(
        lambda snapshot: any(row.remote.port == port for row in connections_of(snapshot, lab.servers["dual"])),
        "the accepted connection",
    )
    row = of_port(connections_of(snapshot, lab.servers["dual"]), port)
    assert (row.family, row.local.address, row.remote.address) == ("ipv4", "127.0.0.1", "127.0.0.1")
    assert (row.tx_bytes, row.rx_bytes) == (17, 13)


def test_curl(lab: Lab, directory: Path) -> None:
    page = directory / "page"
    page.write_bytes(b"x" * 70_001)
    server = lab.near.start(sys.executable, "-m", "http.server", "8080", "--bind", "127.0.0.1", "-d", str(directory))
    wait_until(lambda: listens(server, 8080), "the web server")
    curl = lab.near.start(
        "curl", "-s", "-o", "/dev/null", "-w", "%{size_request} %{size_header} %{size_download} %{local_port}",
        "http://127.0.0.1:8080/page",
    )  # fmt: skip
    request, header, body, port = map(int, curl.end().split())
    assert body == 70_001
    snapshot = lab.watch.settled(curl, connections=1)
    row = only(connections_of(snapshot, curl))
    assert (row.comm, row.local.port, row.tx_bytes, row.rx_bytes) == ("curl", port, request, header + body)
    lab.watch.settled(server, connections=1)


def test_refused(lab: Lab) -> None:
    clients = [lab.near.play(programs.tcp_fail, address=address, port=CLOSED) for address in LOOPBACK.values()]
    for client in clients:
        assert client.hear() == errno.ECONNREFUSED
        client.end()
        snapshot = lab.watch.settled(client, connections=1)
        row = only(connections_of(snapshot, client))
        assert (row.end, row.owner, row.connect_ms, row.tx_bytes, row.rx_bytes) == ("refused", "exact", None, 0, 0)
        assert (row.remote.port, row.direction) == (CLOSED, "outbound")
        in_order(row)
        totals = process_of(snapshot, client).tcp
        assert (totals.opened, totals.failed, totals.active) == (1, 1, 0)


def test_reset_by_the_server(lab: Lab) -> None:
    client = lab.near.play(programs.tcp_be_reset, address="127.0.0.1", port=RESET, sent=19)
    assert client.hear() == errno.ECONNRESET
    client.end()
    row = only(connections_of(lab.watch.settled(client, connections=1), client))
    assert (row.end, row.tx_bytes, row.rx_bytes) == ("reset-by-peer", 19, 0)
    snapshot = lab.watch.settled(lab.servers["reset"], connections=1)
    other = only(connections_of(snapshot, lab.servers["reset"]))
    assert (other.end, other.tx_bytes, other.rx_bytes, other.owner) == ("reset-by-us", 0, 19, "exact")


def test_reset_by_the_client(lab: Lab) -> None:
    client = lab.near.play(programs.tcp_reset, address="127.0.0.1", port=HOLD, wanted=23)
    client.end()
    row = only(connections_of(lab.watch.settled(client, connections=1), client))
    assert (row.end, row.tx_bytes, row.rx_bytes, row.owner) == ("reset-by-us", 8, 23, "exact")
    snapshot = lab.watch.until(
        lambda snapshot: any(
            other.remote.port == row.local.port and other.state == "closed"
            for other in connections_of(snapshot, lab.servers["hold"])
        ),
        "the server's side",
    )
    other = of_port(connections_of(snapshot, lab.servers["hold"]), row.local.port)
    assert (other.end, other.tx_bytes, other.rx_bytes) == ("reset-by-peer", 23, 8)


def test_given_up(lab: Lab) -> None:
    client = lab.near.play(programs.tcp_give_up, address=BLACKHOLE_IPV4, port=80)
    client.end()
    snapshot = lab.watch.settled(client, connections=1)
    row = only(connections_of(snapshot, client))
    assert (row.end, row.connect_ms, row.owner) == ("given-up", None, "exact")
    assert row.duration_ms is not None
    assert row.duration_ms >= 50
    assert process_of(snapshot, client).tcp.failed == 1


def test_a_client_that_is_killed(lab: Lab) -> None:
    client = lab.near.play(programs.tcp_stay, address="127.0.0.1", port=HOLD, up=29, down=31)
    assert client.hear() == "exchanged"
    snapshot = lab.watch.until(
        lambda snapshot: [row.tx_bytes for row in connections_of(snapshot, client)] == [29], "the live counters"
    )
    row = only(connections_of(snapshot, client))
    assert (row.state, row.end, row.closed_at, row.rx_bytes) == ("established", None, None, 31)
    assert process_of(snapshot, client).tcp.active == 1
    client.stop()
    snapshot = lab.watch.settled(client, connections=1)
    row = only(connections_of(snapshot, client))
    assert (row.state, row.end, row.owner, row.tx_bytes, row.rx_bytes) == ("closed", "normal", "exact", 29, 31)
    assert process_of(snapshot, client).exited_at is not None


def test_the_child_of_a_forking_server_owns_what_it_serves(lab: Lab) -> None:
    client = lab.near.play(programs.tcp_client, address="127.0.0.1", port=FORK, sizes=[[37, 41]] * 3)
    ports = client.hear()
    client.end()
    children = [lab.servers["fork"].hear() for _ in ports]
    assert len(set(children)) == 3
    for child, port in zip(children, ports, strict=True):
        row = only(connections_of(lab.watch.settled(child, connections=1), child))
        assert (row.remote.port, row.direction, row.owner) == (port, "inbound", "exact")
        assert (row.tx_bytes, row.rx_bytes) == (41, 37)
    assert connections_of(lab.watch.settled(lab.servers["fork"]), lab.servers["fork"]) == []


def test_a_segment_that_has_to_be_sent_again(lab: Lab) -> None:
    client = lab.near.play(programs.tcp_stay, address=FAR_IPV4, port=HOLD, up=1009, down=11)
    assert client.hear() == "exchanged"
    lab.far.ip("addr", "del", f"{FAR_IPV4}/24", "dev", "veth0")
    client.say(2003)
    assert client.hear() == "sent"
    lab.watch.until(
        lambda snapshot: any(row.retransmits for row in connections_of(snapshot, client)), "a retransmission"
    )
    lab.far.ip("addr", "add", f"{FAR_IPV4}/24", "dev", "veth0")
    client.say("close")
    client.end()
    snapshot = lab.watch.settled(client, connections=1)
    row = only(connections_of(snapshot, client))
    assert (row.tx_bytes, row.rx_bytes, row.end) == (1009 + 2003, 11, "normal")  # each byte once
    assert row.retransmits >= 1
    assert process_of(snapshot, client).tcp.retransmits == row.retransmits


def test_older_than_nettop(lab: Lab) -> None:
    client, server = lab.old, lab.servers["hold"]
    snapshot = lab.watch.store.snapshot()
    row = only(connections_of(snapshot, client))
    assert (row.opened_before_start, row.opened_at, row.duration_ms) == (True, None, None)
    assert (row.owner, row.direction, row.state) == ("scanned", "outbound", "established")  # the listener tells
    assert (row.tx_bytes_before_start, row.rx_bytes_before_start) == (1009, 503)
    client.say(2003)
    assert client.hear() == "sent"
    lab.watch.until(
        lambda snapshot: only(connections_of(snapshot, client)).tx_bytes == 1009 + 2003, "what was sent since"
    )
    client.say("close")
    client.end()
    snapshot = lab.watch.settled(client, connections=1)
    row = only(connections_of(snapshot, client))
    assert (row.tx_bytes, row.rx_bytes, row.end) == (1009 + 2003, 503, "normal")
    assert (row.opened_at, row.duration_ms, row.opened_before_start) == (None, None, True)
    assert row.closed_at is not None
    totals = process_of(snapshot, client).tcp
    assert (totals.tx_bytes, totals.rx_bytes, totals.opened) == (2003, 0, 0)  # since nettop started
    other = lab.watch.until(
        lambda snapshot: any(
            other.remote.port == row.local.port and other.state == "closed"
            for other in connections_of(snapshot, server)
        ),
        "the server's side",
    )
    accepted = of_port(connections_of(other, server), row.local.port)
    assert (accepted.tx_bytes, accepted.rx_bytes, accepted.opened_before_start) == (503, 1009 + 2003, True)
    assert (accepted.direction, accepted.peer, row.peer) == ("inbound", end_of(row), end_of(accepted))
    assert process_of(other, server).tcp.accepted == len(connections_of(other, server)) - 1  # since nettop started


def test_the_far_namespace_was_not_watched(lab: Lab) -> None:
    snapshot = lab.watch.store.snapshot()
    assert {row.netns for row in snapshot.connections} == {lab.near.inode}
    assert {row.netns for row in snapshot.processes} == {lab.near.inode}
