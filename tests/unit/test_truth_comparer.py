"""The instrument itself: it must find what is wrong."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from nettop.model import rows
from nettop.model.store import Store
from tests.builders import start
from tests.live.truth.compare import Score, compare
from tests.live.truth.rows import Connection, Process, Query, Truth

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
