"""The laboratory's core, as each kernel of the matrix must pass it: every number nettop gives, at least once.

Named so that pytest collects it only when asked for by name. Traffic crosses a veth pair whose neighbours are unknown
at first; nettop watches the whole machine, on which nothing else talks.
"""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nettop.kernel.hooks import CGROUP_SOCK_ADDR
from nettop.model.rows import Connection, Endpoint, Listener, OtherTotals, UdpTotals
from nettop.model.snapshot import Snapshot
from tests.kernels import DOCTOR, PATIENCE_S, kernel_version
from tests.live import dns_server, programs
from tests.live.cgroups import TREES, forest, short_lives
from tests.live.lab import (
    FAR_IPV4,
    NEAR_IPV4,
    NETTOP,
    NO_NEIGHBOUR_IPV4,
    Namespace,
    Program,
    Watch,
    assert_nothing_lost,
    attached,
    check_snapshot,
    connections_of,
    dns_of,
    docker_rules,
    namespace,
    nettop,
    process_of,
    refusing_cgroup,
    two_namespaces,
    wait_until,
)
from tests.live.truth import owners, talk

ANSWER, RESET, HOLD, ECHO, REFUSING, LEAK, TURNS, FULL = 7001, 7002, 7004, 7007, 7008, 7009, 7010, 7011
CLOSED = 7999
REJECTED, PROHIBITED, SWALLOWED = 7021, 7022, 7023
RESOLVER, RESOLVER_PORT = "127.0.0.11", 40053
FIREWALL = f"""
    table inet firewall {{
      chain output {{
        type filter hook output priority 0
        tcp dport {REJECTED} reject
        tcp dport {PROHIBITED} reject with icmpx admin-prohibited
        tcp dport {SWALLOWED} counter drop
      }}
      chain input {{
        type filter hook input priority 0
        udp dport {SWALLOWED} counter drop
      }}
    }}
    """
LAST = "test_nothing_lost_and_nothing_invented"
OLD_UP, OLD_DOWN, OLD_MORE = 1009, 503, 2003
SIZES = [[8, 0], [9, 1], [65_537, 13], [8, 300_007]]  # up and down


@dataclass
class Lab:
    near: Namespace
    watch: Watch
    servers: dict[str, Program]
    old: Program

    def settled(self, program: Program, dns: int = 0, connections: int = 0) -> Snapshot:
        return self.watch.settled(program, dns, connections, PATIENCE_S)


def started(program: Program, word: str) -> Program:
    assert program.hear(PATIENCE_S) == word
    return program


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("core")
    with two_namespaces(directory) as (near, far):
        servers = {
            mode: started(far.play(programs.tcp_server, address=FAR_IPV4, port=port, mode=mode), "listening")
            for mode, port in (("answer", ANSWER), ("reset", RESET), ("hold", HOLD))
        }
        servers["echo"] = started(far.play(programs.udp_echo, address=FAR_IPV4, port=ECHO), "bound")
        servers["dns"] = started(far.play(dns_server.serve, addresses=[FAR_IPV4]), "serving")
        old = near.play(programs.tcp_stay, address=FAR_IPV4, port=HOLD, up=OLD_UP, down=OLD_DOWN)
        started(old, "exchanged")
        near.ip("neigh", "flush", "all")
        watch = Watch(directory, interval=0.5)
        try:
            wait_until(lambda: watch.recording.stat().st_size > 0, "the stream's first line", PATIENCE_S)
            with watch:
                yield Lab(near, watch, servers, old)
        finally:
            watch.kill()


class Second(NamedTuple):
    """`nettop snapshot`, beside the stream."""

    process: "subprocess.Popen[bytes]"
    file: Path


@pytest.fixture(scope="module", autouse=True)
def second(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Second | None]:
    """Before all else, if the test that asks for it is one of those that run: it takes a guest long to attach."""
    if not any(item.originalname == LAST for item in request.session.items if isinstance(item, pytest.Function)):
        yield None
        return
    file = tmp_path_factory.mktemp("second") / "snapshot.json"
    process = subprocess.Popen([*NETTOP, "snapshot", "--for", "600", "-o", str(file)])
    try:
        wait_until(lambda: attached(process.pid), "nettop snapshot to attach", PATIENCE_S)
        yield Second(process, file)
    finally:
        process.kill()
        process.wait()


def only(rows: list[Connection]) -> Connection:
    (row,) = rows
    return row


def test_dns_over_udp(lab: Lab) -> None:
    questions = [[11, "www.core.test", 1], [12, "servfail-a.test", 1], [13, "refused-a.test", 28]]
    client = lab.near.play(programs.ask_udp, server=FAR_IPV4, questions=questions)
    told = client.hear(PATIENCE_S)
    client.end(PATIENCE_S)
    rows = dns_of(lab.settled(client, dns=3), client)
    assert [(row.txid, row.qname, row.qtype, row.rcode) for row in rows] == [
        (11, "www.core.test", "A", "NOERROR"),
        (12, "servfail-a.test", "A", "SERVFAIL"),
        (13, "refused-a.test", "AAAA", "REFUSED"),
    ]
    for row, (client_ns, size) in zip(rows, told, strict=True):
        assert (row.comm, row.transport, row.status, row.attempts) == ("asker", "udp", "answered", 1)
        assert (row.server.address, row.server.port, row.netns) == (FAR_IPV4, 53, lab.near.inode)
        assert row.response_bytes == size
        assert row.latency_ms is not None
        assert 0 < row.latency_ms <= client_ns / 1e6
    assert [answer.data for answer in rows[0].answers] == ["192.0.2.1"]


def test_dns_over_tcp(lab: Lab) -> None:
    qnames = ["pipe-2-a.test", "pipe-2-b.test"]
    client = lab.near.play(programs.ask_tcp, server=FAR_IPV4, qnames=qnames, pieces=[1, 20])
    client.end(PATIENCE_S)
    rows = dns_of(lab.settled(client, dns=2, connections=1), client)
    assert [(row.qname, row.qtype, row.rcode, row.transport) for row in rows] == [
        (qname, "TXT", "NOERROR", "tcp") for qname in qnames
    ]
    assert {row.comm for row in rows} == {"python"}


def test_opened_and_accepted(lab: Lab) -> None:
    client = lab.near.play(programs.tcp_client, address=FAR_IPV4, port=ANSWER, sizes=SIZES)
    ports = client.hear(PATIENCE_S)
    client.end(PATIENCE_S)
    lab.settled(client, connections=len(SIZES))
    snapshot = lab.settled(lab.servers["answer"], connections=len(SIZES))
    opened = connections_of(snapshot, client)
    accepted = {row.remote.port: row for row in connections_of(snapshot, lab.servers["answer"])}
    for row, port, (up, down) in zip(opened, ports, SIZES, strict=True):
        assert (row.comm, row.owner, row.direction, row.end) == ("talker", "exact", "outbound", "normal")
        assert (row.local.port, row.remote.port) == (port, ANSWER)
        assert (row.tx_bytes, row.rx_bytes) == (up, down)
        assert (row.opened_before_start, row.srtt_ms is not None) == (False, True)
        other = accepted[port]
        assert (other.owner, other.direction, other.end) == ("exact", "inbound", "normal")
        assert (other.tx_bytes, other.rx_bytes) == (down, up)


def test_refused(lab: Lab) -> None:
    client = lab.near.play(programs.tcp_fail, address=FAR_IPV4, port=CLOSED)
    client.end(PATIENCE_S)
    row = only(connections_of(lab.settled(client, connections=1), client))
    assert (row.owner, row.end, row.tx_bytes, row.rx_bytes) == ("exact", "refused", 0, 0)
    assert (row.resets_sent, row.resets_received) == ({}, 1)


def test_connects_that_never_leave(lab: Lab) -> None:
    """Before Linux 6.1 the kernel does not say whether it was another program on a cgroup that denied them."""
    tells = kernel_version() >= (6, 1)
    with refusing_cgroup("denies", CGROUP_SOCK_ADDR, "connect6") as cgroup:
        client = lab.near.play(programs.fail_to_connect, addresses=["192.0.2.7", "::ffff:192.0.2.7"], port=CLOSED)
        started(client, "ready")
        (cgroup / "cgroup.procs").write_text(str(client.pid))
        client.say("connect")
        assert client.hear(PATIENCE_S) == [errno.ENETUNREACH, errno.EPERM]
        client.end(PATIENCE_S)
    rows = connections_of(lab.settled(client, connections=2), client)
    assert [row.end for row in rows] == (["no-route", "denied"] if tells else ["unsent", "unsent"])
    for row in rows:
        assert (row.comm, row.owner, row.direction, row.netns) == ("unlucky", "exact", "outbound", lab.near.inode)
        assert (row.remote.address, row.remote.port, row.local.port) == ("192.0.2.7", CLOSED, 0)


def test_no_port_left(lab: Lab) -> None:
    source = ["127.0.0.1", 7777]
    server = started(lab.near.play(programs.tcp_server, address="127.0.0.1", port=ANSWER), "listening")
    client = lab.near.play(programs.connect_without_port, address="127.0.0.1", port=ANSWER, source=source)
    assert client.hear(PATIENCE_S) == errno.EADDRNOTAVAIL
    client.end(PATIENCE_S)
    snapshot = lab.settled(client, connections=2)
    assert sorted(row.end or "" for row in connections_of(snapshot, client)) == ["no-port", "normal"]
    lab.settled(server, connections=1)


def test_reset_by_the_server(lab: Lab) -> None:
    client = lab.near.play(programs.tcp_be_reset, address=FAR_IPV4, port=RESET, sent=13)
    client.end(PATIENCE_S)
    row = only(connections_of(lab.settled(client, connections=1), client))
    assert (row.end, row.tx_bytes) == ("reset-by-peer", 13)
    row = only(connections_of(lab.settled(lab.servers["reset"], connections=1), lab.servers["reset"]))
    assert (row.end, row.rx_bytes) == ("reset-by-us", 13)
    reason = "UNKNOWN" if kernel() < (6, 12) else "TCP_STATE"
    assert (row.resets_sent, row.resets_received) == ({reason: 1}, 0)


def kernel() -> tuple[int, ...]:
    return tuple(int(number) for number in os.uname().release.split("-")[0].split("+")[0].split(".")[:2])


def test_datagrams_to_a_port_where_nobody_is(lab: Lab) -> None:
    """Reasons of drops from Linux 5.17 on, errors that are told from 5.14 on, errors that are sent where it can be."""
    client = lab.near.play(programs.udp_to_nobody, address=FAR_IPV4, port=CLOSED, datagrams=3)
    errors = client.hear(PATIENCE_S)
    assert errors
    has_drops, told = kernel() >= (5, 17), kernel() >= (5, 14)
    sent = "icmp_errors" in lab.watch.store.snapshot().hooks
    assert sent or kernel() < (6, 10)

    def counted(snapshot: Snapshot) -> bool:
        strays = [row for row in snapshot.strays if row.remote == NEAR_IPV4 and (row.drops or row.icmp_sent)]
        known = [row.icmp_errors for row in snapshot.processes if row.pid == client.pid]
        return (
            (sum((row.drops or {}).get("NO_SOCKET", 0) for row in strays) >= 3) is has_drops
            and known == [{"ECONNREFUSED": errors} if told else None]
            and any((row.icmp_sent or {}).get("port-unreachable", 0) >= errors for row in strays) is sent
        )

    snapshot = lab.watch.until(counted, "what nobody took", PATIENCE_S)
    assert process_of(snapshot, client).drops == ({} if has_drops else None)
    client.say("go")
    client.end(PATIENCE_S)


def test_dropped_for_lack_of_a_neighbour(lab: Lab) -> None:
    client = lab.near.play(programs.tcp_fail, address=NO_NEIGHBOUR_IPV4, port=CLOSED)
    client.end(PATIENCE_S)
    row = only(connections_of(lab.settled(client, connections=1), client))
    assert row.end == "unreachable"
    assert (list(row.drops) if row.drops is not None else None) == (["NEIGH_FAILED"] if kernel() >= (5, 17) else None)


def test_time_in_each_state(lab: Lab) -> None:
    leaker = started(lab.near.play(programs.tcp_leak, address="127.0.0.1", port=LEAK), "listening")
    client = started(lab.near.play(programs.tcp_leave, address="127.0.0.1", port=LEAK), "connected")
    started(leaker, "accepted")
    client.say("close")
    client.hear(PATIENCE_S)
    eof_ns = leaker.hear(PATIENCE_S)
    gone = only(connections_of(lab.settled(client, connections=1), client))
    assert (gone.closed_first, set(gone.states_ms)) == ("local", {"syn-sent", "established", "fin-wait-1"})
    before_ns = time.monotonic_ns()
    leaker.say("close")
    leaker.hear(PATIENCE_S)
    row = only(connections_of(lab.settled(leaker, connections=1), leaker))
    assert (row.closed_first, set(row.states_ms)) == ("remote", {"established", "close-wait", "last-ack"})
    assert row.states_ms["close-wait"] >= (before_ns - eof_ns) / 1e6


@pytest.mark.parametrize("kind", [socket.SOCK_RAW, socket.SOCK_DGRAM])
def test_pings(lab: Lab, kind: int) -> None:
    ranged = lab.near.inside("sh", "-c", "echo 0 1000 > /proc/sys/net/ipv4/ping_group_range")
    subprocess.run(ranged, check=True)
    ping = lab.near.play(
        programs.handle_packets, family=socket.AF_INET, kind=kind, protocol=socket.IPPROTO_ICMP, receive_bytes=0
    )
    started(ping, "ready")
    request = programs.echo_request(socket.AF_INET, 100)
    ping.say(["send", request.hex(), FAR_IPV4])
    assert ping.hear(PATIENCE_S) == len(request)
    ping.say(["read", 1])
    assert ping.hear(PATIENCE_S) == [1, len(request)]
    ping.say(None)
    ping.end(PATIENCE_S)
    expected = OtherTotals(tx_bytes=len(request), rx_bytes=len(request))
    lab.watch.until(
        lambda now: [row.other for row in now.processes if row.pid == ping.pid] == [expected], "its bytes", PATIENCE_S
    )


def test_older_than_nettop(lab: Lab) -> None:
    def row_is(up: int) -> bool:
        # what has left one end may not have come to the other when the pass comes by there
        ends = [connections_of(lab.watch.store.snapshot(), program) for program in (lab.old, lab.servers["hold"])]
        return [[(row.tx_bytes + row.rx_bytes, row.state) for row in rows] for rows in ends] == [
            [(up + OLD_DOWN, "established")]
        ] * 2

    lab.watch.until(lambda _: row_is(OLD_UP), "the connection that was there before", PATIENCE_S)
    lab.old.say(OLD_MORE)
    started(lab.old, "sent")
    snapshot = lab.watch.until(lambda _: row_is(OLD_UP + OLD_MORE), "its bytes while it lives", PATIENCE_S)
    row = only(connections_of(snapshot, lab.old))
    assert (row.owner, row.opened_before_start, row.opened_at) == ("scanned", True, None)
    assert (row.tx_bytes_before_start, row.rx_bytes_before_start, row.rx_bytes) == (OLD_UP, OLD_DOWN, OLD_DOWN)
    holder = only(connections_of(snapshot, lab.servers["hold"]))
    assert (holder.owner, holder.rx_bytes, holder.local.port) == ("scanned", OLD_UP + OLD_MORE, HOLD)

    def waits(snapshot: Snapshot) -> bool:
        """What has come was read, and is not answered: who asks, the kernel knows on this side only."""
        mine, its = (only(connections_of(snapshot, each)) for each in (lab.old, lab.servers["hold"]))
        turns = its.turns and (its.turns.asked_by, its.turns.count)
        return (mine.waits_for, mine.turns, its.waits_for, turns) == (None, None, "local", ("remote", 1))

    lab.watch.until(waits, "whose turn it is there", PATIENCE_S)
    lab.old.say("close")
    lab.old.end(PATIENCE_S)
    row = only(connections_of(lab.settled(lab.old, connections=1), lab.old))
    assert (row.end, row.tx_bytes, row.rx_bytes) == ("normal", OLD_UP + OLD_MORE, OLD_DOWN)


def test_owner_of_an_accepted_connection_that_lives(lab: Lab) -> None:
    client = lab.near.play(programs.tcp_stay, address=FAR_IPV4, port=HOLD, up=101, down=103)
    started(client, "exchanged")

    def accepted() -> list[Connection]:
        rows = connections_of(lab.watch.store.snapshot(), lab.servers["hold"])
        return [row for row in rows if row.state == "established" and row.owner == "scanned"]

    lab.watch.until(lambda _: [row.rx_bytes for row in accepted()] == [101], "the accepted one", PATIENCE_S)
    assert [(row.tx_bytes, row.direction) for row in accepted()] == [(103, "inbound")]
    client.say("close")
    client.end(PATIENCE_S)
    lab.settled(client, connections=1)
    lab.settled(lab.servers["hold"], connections=2)


def test_whose_turn_it_is(lab: Lab) -> None:
    arguments: dict[str, Any] = {"address": "127.0.0.1", "port": TURNS}
    server = started(lab.near.play(programs.turn_end, connects=False, **arguments), "listening")
    client = lab.near.play(programs.turn_end, connects=True, **arguments)
    client.say("connect")
    assert (client.hear(PATIENCE_S), server.hear(PATIENCE_S)) == ("connected", "connected")

    def do(end: Program, verb: str, argument: object = None) -> object:
        end.say([verb, argument])
        return end.hear(PATIENCE_S)

    def until(client_waits: str, server_waits: str, turns: int) -> Connection:
        def met(snapshot: Snapshot) -> bool:
            rows = [row for each in (client, server) for row in connections_of(snapshot, each)]
            shown = [(row.waits_for, row.turns and row.turns.count) for row in rows]
            return shown == [(client_waits, turns), (server_waits, turns)]

        snapshot = lab.watch.until(met, f"{client_waits} and {server_waits} after {turns} turns", PATIENCE_S)
        return only(connections_of(snapshot, client))

    server.say(["answer", [20] * 3])
    took = do(client, "ask", 3)
    assert server.hear(PATIENCE_S) is None
    row = until("none", "none", 3)
    assert isinstance(took, list)
    assert row.turns is not None
    for mine, theirs in zip(row.turns.latency_ms.recent, took, strict=True):
        assert 20 <= mine <= theirs
    do(client, "send", 27)
    assert until("remote", "local", 4).send_queue_bytes == 0
    do(server, "receive", 27)
    do(server, "send", 1)
    do(client, "receive", 1)
    filled = do(client, "fill")
    row = until("remote-window", "local", 5)
    assert row.transmission is not None
    assert row.transmission.sending == "rwnd-limited"
    do(server, "receive", filled)
    until("remote", "local", 5)
    do(server, "shutdown")
    until("local", "remote", 5)
    for end in (client, server):
        do(end, "close")
    lab.settled(client, connections=1)
    lab.settled(server, connections=1)


def udp_of(lab: Lab, pid: int) -> UdpTotals | None:
    known = [row for row in lab.watch.store.snapshot().processes if row.pid == pid]
    return known[0].udp if known else None


def test_udp_bytes(lab: Lab) -> None:
    total = UdpTotals(tx_bytes=13 * 331, rx_bytes=13 * 331)
    client = lab.near.play(programs.udp_client, address=FAR_IPV4, port=ECHO, sizes=[331] * 13, stay=True)
    started(client, "exchanged")

    lab.watch.until(
        lambda _: [udp_of(lab, program.pid) for program in (client, lab.servers["echo"])] == [total, total],
        "UDP bytes of sockets that live",
        PATIENCE_S,
    )
    client.say("close")
    client.end(PATIENCE_S)
    snapshot = lab.watch.until(
        lambda snapshot: any(row.pid == client.pid and row.exited_at for row in snapshot.processes),
        "the client's end",
        PATIENCE_S,
    )
    assert (process_of(snapshot, client).comm, process_of(snapshot, client).udp) == ("pinger", total)


def test_datagrams_that_a_socket_refuses(lab: Lab, tmp_path: Path) -> None:
    ledger = str(tmp_path / "ledger")
    slow = started(lab.near.play(owners.read_late, ledger=ledger, address="127.0.0.1", port=REFUSING), "bound")
    lab.near.play(
        owners.send_many, ledger=ledger, address="127.0.0.1", port=REFUSING, datagrams=211, size=997
    ).end(PATIENCE_S)  # fmt: skip
    slow.say(211)
    slow.end(PATIENCE_S)
    facts = [json.loads(line) for line in Path(ledger).read_text().splitlines()]
    (fact,) = [each["process"] for each in facts if "process" in each]
    expected = UdpTotals(rx_bytes=fact["udp_rx_bytes"], rx_dropped=fact["udp_rx_dropped"])
    lab.watch.until(lambda _: udp_of(lab, slow.pid) == expected, f"it to have received {expected}", PATIENCE_S)


def test_a_listener_whose_queue_is_full(lab: Lab) -> None:
    def until(wanted: Callable[[Listener], bool], what: str) -> Listener:
        def rows(snapshot: Snapshot) -> list[Listener]:
            return [row for row in snapshot.listeners if row.port == FULL and wanted(row)]

        (row,) = rows(lab.watch.until(lambda snapshot: bool(rows(snapshot)), what, PATIENCE_S))
        return row

    server = lab.near.play(programs.tcp_listen, address="127.0.0.1", port=FULL, backlog=1)
    assert server.hear(PATIENCE_S) == []
    client = started(lab.near.play(programs.tcp_knock, address="127.0.0.1", port=FULL, times=4), "knocked")
    row = until(lambda row: row.full and row.drops >= 2, "a full queue that drops")
    assert (row.queue, row.queue_limit, row.pid, row.comm, row.owner) == (2, 1, server.pid, "keeper", "exact")
    assert [holder.pid for holder in row.holders] == [server.pid]
    server.say(4)
    assert server.hear(PATIENCE_S) == "accepted"
    until(lambda row: (row.accepted, row.open, row.queue) == (4, 4, 0), "all four, which try again")
    client.say("leave")
    client.end(PATIENCE_S)
    server.say("stop")
    assert server.hear(PATIENCE_S) == "stopped"
    server.say("end")
    server.end(PATIENCE_S)
    until(lambda row: (row.closed, row.accepted) == (True, 4), "its end")


# What a firewall and NAT do, each in a namespace of its own: these kernels have modules for it


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Namespace]:
    """One where nothing else talks."""
    with namespace(tmp_path) as made:
        yield made


def counted_by_firewall(where: Namespace) -> list[int]:
    """Packets that came to each rule with a counter, in their order."""
    listed = subprocess.run(where.inside("nft", "list", "ruleset"), check=True, capture_output=True, text=True).stdout
    return [int(number) for number in re.findall(r"counter packets (\d+)", listed)]


def test_a_connection_that_a_firewall_drops(lab: Lab, apart: Namespace) -> None:
    """The reason appears where the kernel has reasons, and waiting for the network is told by its counters alone."""
    apart.nft(FIREWALL)
    client = apart.play(programs.tcp_fail, address="127.0.0.1", port=SWALLOWED, syn_retries=1)

    def waits(snapshot: Snapshot) -> bool:
        return [(row.state, row.waits_for) for row in connections_of(snapshot, client)] == [("syn-sent", "network")]

    lab.watch.until(waits, "the SYN to be sent again", PATIENCE_S)
    assert client.hear(PATIENCE_S) == errno.ETIMEDOUT
    client.end(PATIENCE_S)
    row = only(connections_of(lab.settled(client, connections=1), client))
    dropped, *_ = counted_by_firewall(apart)
    assert dropped >= 2
    has_drops = kernel() >= (5, 17)
    assert (row.end, row.drops) == ("timeout", {"NETFILTER_DROP": dropped} if has_drops else None)
    assert row.silenced_by == ("firewall" if has_drops else None)


def test_datagrams_that_a_firewall_drops(lab: Lab, apart: Namespace) -> None:
    """On their way in, where they have no socket yet."""
    apart.nft(FIREWALL)
    client = apart.play(programs.udp_flood, address="127.0.0.1", port=SWALLOWED, datagrams=7)
    started(client, "sent")
    client.end(PATIENCE_S)
    assert counted_by_firewall(apart) == [0, 7]

    def told(snapshot: Snapshot) -> bool:
        strays = [row.drops for row in snapshot.strays if (row.netns, row.remote) == (apart.inode, "127.0.0.1")]
        return strays == ([{"NETFILTER_DROP": 7}] if kernel() >= (5, 17) else [])

    snapshot = lab.watch.until(
        lambda now: udp_of(lab, client.pid) == UdpTotals(tx_bytes=7) and told(now), "what was dropped", PATIENCE_S
    )
    assert process_of(snapshot, client).drops == ({} if kernel() >= (5, 17) else None)


def test_a_connect_that_a_firewall_rejects(lab: Lab, apart: Namespace, tmp_path: Path) -> None:
    """At once, which kernels tell from 5.14 on; or when it is tried again."""
    apart.nft(FIREWALL)
    for port, error, later in (
        (REJECTED, errno.ECONNREFUSED, "refused"),
        (PROHIBITED, errno.EHOSTUNREACH, "unreachable"),
    ):
        ledger = tmp_path / f"ledger-{port}"
        client = apart.play(
            talk.connect_in_vain, ledger=str(ledger), address="127.0.0.1", port=port, end="rejected",
            patience_s=PATIENCE_S, later=later,
        )  # fmt: skip
        assert client.hear(PATIENCE_S) == error
        client.end(PATIENCE_S)
        row = only(connections_of(lab.settled(client, connections=1), client))
        end = json.loads(ledger.read_text())["connection"]["end"]
        # the answer may come just when the program is in connect() no more: then it is as if it came later
        ends = {"rejected" if kernel() >= (5, 14) else "given-up", later} if end == "rejected" else {end}
        assert row.end in ends
        assert row.owner == "exact"


def test_dns_behind_nat(lab: Lab, apart: Namespace) -> None:
    """As in a container: what was asked, and where it went on the wire."""
    apart.nft(docker_rules(RESOLVER, RESOLVER_PORT))
    started(apart.play(dns_server.serve, addresses=[RESOLVER], port=RESOLVER_PORT), "serving")
    udp = apart.play(programs.ask_udp, server=RESOLVER, questions=[[7, "www.core.test", 1]])
    tcp = apart.play(programs.ask_tcp, server=RESOLVER, qnames=["www.core.test"], pieces=[1], qtype=1)
    for number, asker in enumerate((udp, tcp)):
        asker.hear(PATIENCE_S)
        asker.end(PATIENCE_S)
        (row,) = dns_of(lab.settled(asker, dns=1, connections=number), asker)
        assert (row.qname, row.status, row.rcode, row.netns) == ("www.core.test", "answered", "NOERROR", apart.inode)
        assert row.server == Endpoint(address=RESOLVER, port=53)
        assert row.via == Endpoint(address=RESOLVER, port=RESOLVER_PORT)


def test_what_doctor_says_is_what_is_shown(lab: Lab) -> None:
    """What this kernel lacks, by the report that it prints, and what is unknown in the rows of the others."""
    # a guest has run it already, and it takes long there
    said = DOCTOR.read_text() if DOCTOR.exists() else nettop("doctor", timeout_s=PATIENCE_S).stdout
    checks = re.findall(r"^(ok|absent|MISSING) .+? \((.+)\)$", said, re.MULTILINE)
    absent = {mechanism for status, mechanism in checks if status == "absent"}
    working = {mechanism for status, mechanism in checks if status == "ok"}
    snapshot = lab.watch.store.snapshot()
    assert set(snapshot.hooks.values()) <= working
    assert not set(snapshot.hooks.values()) & absent
    assert {status for status, _ in checks} <= {"ok", "absent"}
    unknown = {
        "raw_tracepoint kfree_skb": all(row.drops is None for row in snapshot.processes),
        "raw_tracepoint inet_sk_error_report": all(row.icmp_errors is None for row in snapshot.processes),
        "raw_tracepoint icmp_send": all(row.icmp_sent is None for row in snapshot.strays),
        "raw_tracepoint tcp_send_reset, reason": {"UNKNOWN"}
        == {reason for row in snapshot.processes for reason in row.resets_sent or ()},
        "bpf_get_retval": any(row.end == "unsent" for row in snapshot.connections),
        "struct nf_conn": not any(row.via for row in snapshot.dns),
    }
    assert {mechanism for mechanism, nothing in unknown.items() if nothing} == absent & set(unknown)


def test_a_socket_whose_owner_has_ended(lab: Lab) -> None:
    parent = lab.near.play(programs.leave_socket_to_child, address="127.0.0.1", port=CLOSED, sizes=[101, 103, 107])
    started(parent, "sent")
    lab.watch.until(lambda _: udp_of(lab, parent.pid) == UdpTotals(tx_bytes=101), "the parent's", PATIENCE_S)
    parent.say("let the child send")
    child = parent.hear(PATIENCE_S)
    lab.watch.until(lambda _: udp_of(lab, child) is not None, "the child to own the socket", PATIENCE_S)
    before = udp_of(lab, child)
    assert before is not None
    parent.say("go on")
    after = UdpTotals(tx_bytes=before.tx_bytes + 107)
    lab.watch.until(lambda _: udp_of(lab, child) == after, "what the child sent alone", PATIENCE_S)


def test_units_and_containers_of_processes_that_are_gone(lab: Lab, tmp_path: Path) -> None:
    """By an exit alone: /proc has never been asked for them, and their cgroups are removed."""
    container = "ab" * 32
    with forest() as trees:
        paths = ("system.slice/core.service", f"system.slice/docker-{container}.scope/below")
        groups = [trees.make(path, v1=TREES[0].v1) for path in paths]
        client = short_lives(lab.near, groups, CLOSED, tmp_path / "log")
        pids = client.hear(PATIENCE_S)
    client.say("end")
    client.end(PATIENCE_S)

    def told(snapshot: Snapshot) -> list[tuple[str | None, ...]]:
        rows = {row.pid: row for row in snapshot.processes if row.exited_at is not None and row.udp.tx_bytes == 1}
        return [(row.unit, row.container, row.container_runtime) for pid in pids if (row := rows.get(pid)) is not None]

    snapshot = lab.watch.until(lambda snapshot: len(told(snapshot)) == len(pids), "them", PATIENCE_S)
    assert told(snapshot) == [
        ("core.service", None, None),
        (f"docker-{container}.scope", container, "docker"),
    ]


def test_every_scope_loads(lab: Lab) -> None:
    """The kernel programs are others with a scope."""
    scope = ["--netns", lab.near.name, "--pid", str(lab.servers["echo"].pid), "--comm", "python"]
    scope += ["--unit", "not-there.service", "--container", "ab" * 32]
    done = subprocess.run([*NETTOP, "snapshot", "--for", "0.1", *scope], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert check_snapshot(done.stdout).dns == ()


def test_nothing_lost_and_nothing_invented(lab: Lab, second: Second) -> None:
    """The stream's end, and a snapshot of the same time by another nettop."""
    streamed = lab.watch.stop()
    assert {row.pid for row in streamed.dns} < lab.watch.expected_pids()
    assert len(streamed.dns) == 7
    assert {row.owner for row in streamed.connections} <= {"exact", "scanned"}
    second.process.send_signal(signal.SIGINT)
    assert second.process.wait(PATIENCE_S) == 0
    seen = check_snapshot(second.file.read_bytes())
    assert_nothing_lost(seen.losses)
    assert sorted(map(what_of, seen.connections)) == sorted(map(what_of, streamed.connections))
    assert [(row.pid, row.qname, row.rcode) for row in seen.dns] == [
        (row.pid, row.qname, row.rcode) for row in streamed.dns
    ]


def what_of(row: Connection) -> tuple[int, ...]:
    return (row.pid or 0, row.local.port, row.remote.port, row.tx_bytes, row.rx_bytes)
