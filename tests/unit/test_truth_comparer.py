"""The instrument itself: it must find what is wrong."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from nettop.model import rows
from nettop.model.store import Store
from tests.builders import start
from tests.live.truth.compare import compare
from tests.live.truth.rows import (
    Connection,
    Dropped,
    Flow,
    Handshake,
    Host,
    Listener,
    Process,
    Query,
    Request,
    Stray,
    Truth,
)
from tests.live.truth.score import Score

NETNS = 7


def wall(monotonic_ns: int) -> datetime:
    return datetime.fromtimestamp(monotonic_ns / 1e9, UTC)


QUERY = Query(
    pid=11, comm="a", qname="x.test", qtype="A", server="192.0.2.53", asked_ns=10**9, answered_ns=10**9 + 5_000_000,
    answers=("192.0.2.1",),
)  # fmt: skip
SHOWN_QUERY = rows.DnsQuery(
    id=1, asked_at=wall(10**9), pid=11, process_start_time=None, comm="a", netns=NETNS, transport="udp",
    client=rows.Endpoint(address="192.0.2.2", port=4), server=rows.Endpoint(address="192.0.2.53", port=53), txid=1,
    qname="X.test", qtype="A", status="answered", rcode="NOERROR", latency_ms=4.5,
    answers=(rows.Answer(name="x.test", type="A", ttl=1, data="192.0.2.1"),),
)  # fmt: skip
CONNECTION = Connection(
    pid=11, comm="a", direction="outbound", local=("192.0.2.2", 5), remote=("192.0.2.3", 80), tx_bytes=7, rx_bytes=9,
    opened_ns=10**9, over_ns=2 * 10**9, end="normal",
)  # fmt: skip
SHOWN_CONNECTION = rows.Connection(
    id=1, pid=11, process_start_time=None, comm="a", owner="exact", netns=NETNS, family="ipv4", direction="outbound",
    local=rows.Endpoint(address="192.0.2.2", port=5), remote=rows.RemoteEndpoint(address="192.0.2.3", port=80),
    state="closed", opened_at=wall(10**9), opened_before_start=False, closed_at=wall(2 * 10**9), duration_ms=999.0,
    end="normal", tx_bytes=7, rx_bytes=9,
)  # fmt: skip
PROCESS = Process(pid=11, comm="a", tcp_tx_bytes=7, tcp_rx_bytes=9, udp_tx_bytes=0, udp_rx_bytes=0)
SHOWN_PROCESS = rows.Process(
    pid=11, start_time=wall(0), comm="a", cmdline=None, uid=0, user=None, parent_pid=None, cgroup=None, netns=NETNS,
    first_seen=wall(10**9), tcp=rows.TcpTotals(tx_bytes=7, rx_bytes=9),
)  # fmt: skip
TRUTH = Truth(queries=(QUERY,), connections=(CONNECTION,), processes=(PROCESS,))


def score(
    truth: Truth = TRUTH,
    dns: tuple[rows.DnsQuery, ...] = (SHOWN_QUERY,),
    connections: tuple[rows.Connection, ...] = (SHOWN_CONNECTION,),
    processes: tuple[rows.Process, ...] = (SHOWN_PROCESS,),
) -> Score:
    store = Store()
    store.apply(start())
    snapshot = replace(store.snapshot(), dns=dns, connections=connections, processes=processes)
    return compare(truth, snapshot, frozenset({NETNS}), wall)


def test_what_is_right() -> None:
    right = score()
    assert right.mismatches == []
    assert (right.made, right.seen, right.matched, right.pids_right) == (3, 3, 3, 3)
    assert (right.recall, right.precision, right.pid_accuracy, right.byte_error) == (1, 1, 1, 0)
    assert (right.latency_errors_ms, right.duration_errors_ms) == ([-0.5], [-1.0])


def test_what_is_missing() -> None:
    missing = score(dns=(), connections=(), processes=())
    assert (missing.recall, missing.made, missing.seen, len(missing.mismatches)) == (0, 3, 0, 3)


def test_what_is_doubled() -> None:
    doubled = score(
        dns=(SHOWN_QUERY,) * 2, connections=(SHOWN_CONNECTION,) * 2, processes=(SHOWN_PROCESS, SHOWN_PROCESS)
    )
    assert (doubled.recall, doubled.precision, len(doubled.mismatches)) == (1, 0.5, 3)


def test_what_is_invented() -> None:
    invented = score(Truth(bystanders=frozenset({11})))
    assert (invented.precision, len(invented.mismatches)) == (0, 2)  # a bystander may be seen, but not with traffic
    assert len(score(Truth()).mismatches) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"pid": 12}, {"comm": "b"}, {"status": "pending"}, {"rcode": "REFUSED"}, {"attempts": 2}, {"answers": ()},
    ],
)  # fmt: skip
def test_a_wrong_query(change: dict[str, object]) -> None:
    wrong = score(dns=(replace(SHOWN_QUERY, **change),))
    assert (wrong.recall, len(wrong.mismatches), wrong.pids_right) == (1, 1, 2 if "pid" in change else 3)


@pytest.mark.parametrize(
    "change",
    [{"pid": None}, {"comm": "b"}, {"direction": "inbound"}, {"end": "other"}, {"tx_bytes": 8}, {"rx_bytes": 7}],
)
def test_a_wrong_connection(change: dict[str, object]) -> None:
    wrong = score(connections=(replace(SHOWN_CONNECTION, **change),))
    assert (wrong.recall, len(wrong.mismatches)) == (1, 1)
    assert wrong.byte_error == {"tx_bytes": 1, "rx_bytes": 2}.get(next(iter(change)), 0)


def test_a_wrong_process() -> None:
    wrong = score(processes=(replace(SHOWN_PROCESS, udp=rows.UdpTotals(rx_bytes=3)),))
    assert (wrong.byte_error, len(wrong.mismatches)) == (3, 1)


def test_other_namespaces_do_not_count() -> None:
    assert score(dns=(SHOWN_QUERY, replace(SHOWN_QUERY, netns=8))).precision == 1


def test_a_port_that_the_program_never_learnt() -> None:
    truth = Truth(connections=(replace(CONNECTION, local=("192.0.2.2", None)),), bystanders=frozenset({11}))
    assert score(truth, dns=()).mismatches == []


FLOW = Flow(
    pid=11, comm="a", local=("192.0.2.2", 4), remote=("192.0.2.3", 5), tx_bytes=7, rx_bytes=9, tx_packets=1,
    rx_packets=2,
)  # fmt: skip
SHOWN_FLOW = rows.UdpFlow(
    id=1, pid=11, process_start_time=None, comm="a", netns=NETNS, local=rows.Endpoint(address="192.0.2.2", port=4),
    remote=rows.RemoteEndpoint(address="192.0.2.3", port=5), tx_bytes=7, rx_bytes=9, tx_packets=1, rx_packets=2,
)  # fmt: skip
LISTENER = Listener(
    pid=11, comm="a", address="192.0.2.2", port=80, holders=(11, 12), queue=3, queue_limit=2, drops=5, accepted=4,
    open=3,
)  # fmt: skip
SHOWN_LISTENER = rows.Listener(
    id=1, pid=11, process_start_time=None, comm="a", owner="exact", netns=NETNS, family="ipv4", address="192.0.2.2",
    port=80, queue=3, queue_limit=2, drops=5, accepted=4, open=3, opened_at=None, opened_before_start=False,
    holders=tuple(rows.Holder(pid=pid, process_start_time=wall(0), comm="a") for pid in (11, 12)),
)  # fmt: skip
HOST = Host(
    netns=NETNS, address="192.0.2.3", scope="public", pids=(11, 12), accepted=1, failed=2, tx_bytes=7, rx_bytes=9,
    rx_packets=5, unwanted_packets=1,
)  # fmt: skip
SHOWN_HOST = rows.RemoteHost(
    netns=NETNS, address="192.0.2.3", scope="public", pids=(12, 11), accepted=1, failed=2, tx_bytes=7, rx_bytes=9,
    tx_packets=6, rx_packets=5, unwanted_packets=1, syns=3,
)  # fmt: skip
DROPPED = Dropped(pid=11, comm="a", drops={"NETFILTER_DROP": 2}, resets_received=1)
SHOWN_DROPPED = replace(SHOWN_PROCESS, drops={"NETFILTER_DROP": 2}, resets_sent={}, resets_received=1)
STRAY = Stray(netns=NETNS, remote="192.0.2.3", drops={"NO_SOCKET": 2}, icmp_sent={"port-unreachable": 1})
SHOWN_STRAY = rows.Stray(
    netns=NETNS, remote="192.0.2.3", drops={"NO_SOCKET": 2}, resets_sent={}, resets_received=0,
    icmp_sent={"port-unreachable": 1},
)  # fmt: skip
COUNTED = {"udp": SHOWN_FLOW, "listeners": SHOWN_LISTENER, "hosts": SHOWN_HOST, "processes": SHOWN_DROPPED,
           "strays": SHOWN_STRAY}  # fmt: skip


def counted(**shown: tuple[rows.Row, ...]) -> Score:
    """The score of one row of each kind, some of them shown as given."""
    store = Store()
    store.apply(start())
    truth = Truth(
        processes=(PROCESS,), flows=(FLOW,), listeners=(LISTENER,), hosts=(HOST,), dropped=(DROPPED,), strays=(STRAY,)
    )
    kinds = {kind: (row,) for kind, row in COUNTED.items()} | shown
    return compare(truth, replace(store.snapshot(), **kinds), frozenset({NETNS}), wall)


def test_counts_that_are_right() -> None:
    right = counted()
    assert right.mismatches == []
    assert (right.made, right.seen, right.matched, right.pids_right, right.byte_error) == (6, 6, 6, 6, 0)


@pytest.mark.parametrize("kind", COUNTED)
def test_counts_that_are_missing_or_invented(kind: str) -> None:
    kinds = 2 if kind == "processes" else 1  # which have what was dropped too
    missing, doubled = counted(**{kind: ()}), counted(**{kind: (COUNTED[kind],) * 2})
    assert (missing.matched, len(missing.mismatches)) == (6 - kinds, kinds)
    assert (doubled.recall, doubled.seen, len(doubled.mismatches)) == (1, 6 + kinds, kinds)
    elsewhere = counted(**{kind: (COUNTED[kind], replace(COUNTED[kind], netns=8))})
    assert elsewhere.mismatches == []


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("udp", {"pid": 12}), ("udp", {"comm": "b"}), ("udp", {"tx_bytes": 8}), ("udp", {"rx_packets": 1}),
        ("listeners", {"pid": None}), ("listeners", {"holders": ()}), ("listeners", {"queue": 2}),
        ("listeners", {"queue_limit": 3}), ("listeners", {"drops": 6}), ("listeners", {"accepted": None}),
        ("listeners", {"open": 4}), ("hosts", {"pids": (11,)}), ("hosts", {"rx_bytes": 8}), ("hosts", {"failed": 0}),
        ("hosts", {"unwanted_packets": None}), ("hosts", {"rx_packets": 4}), ("hosts", {"scope": "host"}),
        ("processes", {"drops": {"NETFILTER_DROP": 1}}), ("processes", {"resets_received": 0}),
        ("processes", {"icmp_errors": {"ECONNREFUSED": 1}}), ("strays", {"drops": {"OTHER": 2}}),
        ("strays", {"icmp_sent": None}),
    ],
)  # fmt: skip
def test_counts_that_are_wrong(kind: str, change: dict[str, object]) -> None:
    wrong = counted(**{kind: (replace(COUNTED[kind], **change),)})
    assert (wrong.recall, wrong.precision, len(wrong.mismatches)) == (1, 1, 1)
    assert wrong.pids_right == (5 if {"pid", "pids"} & set(change) else 6)
    assert wrong.byte_error == (1 if any(name.endswith("_bytes") for name in change) else 0)


def test_counts_that_a_scenario_does_not_tell() -> None:
    store = Store()
    store.apply(start())
    shown = replace(store.snapshot(), **{kind: (row,) for kind, row in COUNTED.items()})
    untold = compare(Truth(processes=(PROCESS,)), shown, frozenset({NETNS}), wall)
    assert (untold.mismatches, untold.seen) == ([], 1)


REQUEST = Request(
    pid=11, side="client", protocol="http/1.1", method="GET", path="/404", status=404, comm="a", host="x.test",
    took_ms=5.0,
)  # fmt: skip
HANDSHAKE = Handshake(
    pid=11, server_name="x.test", version="TLS 1.2", alpn="h2", alpn_offered=("h2",), resumed=False, cipher="TLS_A"
)
SHOWN_REQUEST = rows.Request(
    id=1, asked_at=wall(10**9), pid=11, process_start_time=None, comm="a", side="client", protocol="http/1.1",
    method="GET", host="x.test", path="/404", status=404, latency_ms=4.5, connection_id=1, netns=NETNS,
    remote=rows.RemoteEndpoint(address="192.0.2.3", port=80),
)  # fmt: skip
SPOKEN = rows.ConnectionRequests(side="client", count=1, failed=1)
GREETED = rows.Tls(
    server_name="x.test", version="TLS 1.2", alpn="h2", alpn_offered=("h2",), resumed=False, cipher="TLS_A"
)
SHOWN_TALK = replace(SHOWN_CONNECTION, requests=SPOKEN, tls=GREETED)
SHOWN_ASKER = replace(SHOWN_PROCESS, requests=rows.ProcessRequests(sent=rows.RequestTotals(count=1, failed=1)))
ASKED = {"requests": SHOWN_REQUEST, "connections": SHOWN_TALK, "processes": SHOWN_ASKER}


def asked(foreign: frozenset[int] = frozenset({11}), **shown: tuple[rows.Row, ...]) -> Score:
    """The score of a request and a handshake of a foreign program, some rows of which are shown as given."""
    store = Store()
    store.apply(start())
    truth = Truth(requests=(REQUEST,), handshakes=(HANDSHAKE,), bystanders=frozenset({11}), foreign=foreign)
    return compare(
        truth,
        replace(store.snapshot(), **{kind: (row,) for kind, row in ASKED.items()} | shown),
        frozenset({NETNS}),
        wall,
    )


def test_requests_that_are_right() -> None:
    right = asked()
    assert right.mismatches == []
    assert (right.made, right.seen, right.matched, right.pids_right) == (2, 2, 2, 2)
    assert right.latency_errors_ms == [-0.5]


def test_requests_that_are_missing_or_invented() -> None:
    assert (asked(requests=()).matched, len(asked(requests=()).mismatches)) == (1, 2)  # and its connection counts it
    doubled = asked(requests=(SHOWN_REQUEST,) * 2)
    assert (doubled.recall, doubled.precision, len(doubled.mismatches)) == (1, 2 / 3, 2)
    assert asked(requests=(SHOWN_REQUEST, replace(SHOWN_REQUEST, netns=8))).mismatches == []
    assert len(asked(foreign=frozenset()).mismatches) == 1  # a connection that nobody told of
    store = Store()
    store.apply(start())
    untold = compare(Truth(), replace(store.snapshot(), requests=(SHOWN_REQUEST,)), frozenset({NETNS}), wall)
    assert untold.precision == 0


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        *(("requests", change) for change in (
            {"comm": "b"}, {"host": None}, {"grpc_status": 5}, {"partial": True}, {"error": "unknown"},
        )),
        *(("connections", {"requests": replace(SPOKEN, **wrong)}) for wrong in (
            {"count": 2}, {"failed": 0}, {"side": "server"}, {"unlisted": 1}, {"partial": True},
        )),
        ("connections", {"tls": replace(GREETED, server_name=None)}),
        ("connections", {"tls": replace(GREETED, alpn=None)}),
        ("connections", {"tls": replace(GREETED, cipher="TLS_B")}),
        ("processes", {"requests": rows.ProcessRequests(sent=rows.RequestTotals(count=1))}),
        ("processes", {"requests": rows.ProcessRequests(served=rows.RequestTotals(count=1))}),
    ],
)  # fmt: skip
def test_requests_that_are_wrong(kind: str, change: dict[str, object]) -> None:
    shown: dict[str, tuple[rows.Row, ...]] = {kind: (replace(ASKED[kind], **change),)}
    wrong = asked(**shown)  # type: ignore[arg-type]
    assert (wrong.recall, wrong.precision) == (1, 1)
    assert wrong.mismatches


def test_a_request_of_another_process() -> None:
    wrong = asked(requests=(replace(SHOWN_REQUEST, pid=12),))
    assert (wrong.recall, wrong.precision, wrong.pids_right) == (1, 1, 1)
    assert wrong.mismatches
