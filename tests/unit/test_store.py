"""Events in, rows and totals out."""

import json
from typing import Any, Literal

import pytest
from msgspec.structs import replace

from nettop.export.json import snapshot_json
from nettop.model import store as store_module
from nettop.model.events import AnyEvent, End, LossesChanged, Tick
from nettop.model.events import Unlisted as UnlistedSeen
from nettop.model.rows import (
    AnswerTimes,
    ConnectionRequests,
    DnsQuery,
    DnsTotals,
    Latency,
    Losses,
    OtherTotals,
    Process,
    ProcessRequests,
    RequestSide,
    RequestTotals,
    TcpTotals,
    TurnLatency,
    Turns,
    TurnTotals,
    UdpTotals,
    Unlisted,
)
from nettop.model.store import DEFAULT_HISTORY, History, Store, replayed
from tests.builders import (
    BASE,
    CURL,
    a_recording,
    answered,
    at,
    connection,
    dns_query,
    identity,
    other_socket,
    process,
    start,
    tick,
    told,
    udp_socket,
)
from tests.unit.test_export import SNAPSHOT

NOBODY: dict[str, Any] = {"pid": None, "process_start_time": None, "comm": None}


def store(*events: AnyEvent, history: History = DEFAULT_HISTORY) -> Store:
    """One that has seen its start, curl, and these."""
    return replayed([start(), told(identity()), *events], history)


def curl(subject: Store) -> Process:
    (row,) = subject.snapshot().processes
    return row


def test_a_snapshot_needs_a_start() -> None:
    with pytest.raises(RuntimeError, match="Start"):
        Store().snapshot()


def test_a_snapshot_of_nothing() -> None:
    snapshot = replayed([start()]).snapshot()
    assert (snapshot.started_at, snapshot.captured_at, snapshot.elapsed_s) == (BASE, BASE, 0.0)
    assert (snapshot.processes, snapshot.connections, snapshot.dns) == ((), (), ())
    assert snapshot.losses == Losses(
        evicted=dict.fromkeys(
            ("dns", "connections", "processes", "hosts", "udp", "listeners", "requests", "lookups"), 0
        ),
        unlisted={"dns": 0, "connections": 0, "requests": 0},
    )


def test_a_snapshot_carries_what_the_start_said() -> None:
    first = start(filter="pid:1", hooks={"a": "b"})
    snapshot = replayed([first, tick(2.5)]).snapshot()
    assert (snapshot.nettop, snapshot.host, snapshot.scope) == (first.nettop, first.host, first.scope)
    assert (snapshot.filter, snapshot.hooks, snapshot.elapsed_s) == ("pid:1", {"a": "b"}, 2.5)


def test_a_whole_recording() -> None:
    snapshot = replayed(a_recording()).snapshot()
    assert (snapshot.captured_at, snapshot.elapsed_s) == (at(4), 4.0)
    assert [(row.id, row.state, row.end) for row in snapshot.connections] == [(1, "closed", "normal")]
    assert [(row.id, row.status) for row in snapshot.dns] == [(1, "answered")]
    none = RequestTotals(failed_4xx=0, failed_5xx=0)
    assert snapshot.processes == (
        process(
            tx_bytes=633,
            rx_bytes=70_064,
            tx_bytes_per_s=100.0,
            tcp=TcpTotals(tx_bytes=600, rx_bytes=70_000, active=0, opened=1),
            udp=UdpTotals(tx_bytes=33, rx_bytes=64),
            dns=DnsTotals(queries=1, answered=1, latency_ms=Latency(p50=12.5, max=12.5)),
            requests=ProcessRequests(sent=none, served=none),
        ),
    )
    assert snapshot.losses == Losses(
        perf_buffer={"tcp_events": 3},
        dns_unparsed=1,
        evicted=dict.fromkeys(
            ("dns", "connections", "processes", "hosts", "udp", "listeners", "requests", "lookups"), 0
        ),
        unlisted={"dns": 0, "connections": 0, "requests": 0},
    )


def test_time_never_runs_backwards() -> None:
    subject = store(tick(5), told(dns_query(), 4.9))
    assert subject.snapshot().captured_at == at(5)


def test_what_is_counted_only_is_in_the_totals_and_said() -> None:
    counted = Unlisted(
        pid=4242, process_start_time=process().start_time, queries=9, answered=7, failed=2, opened=5, accepted=3,
        failed_connects=4, udp_tx_bytes=400, udp_rx_bytes=40, tcp_tx_bytes=400, tcp_rx_bytes=40, retransmits=1,
    )  # fmt: skip
    subject = store(told(dns_query()), UnlistedSeen(time=at(1), unlisted=counted), tick(2))
    row = curl(subject)
    assert row.dns == DnsTotals(queries=10, answered=7, failed=2)
    assert row.tcp == TcpTotals(tx_bytes=400, rx_bytes=40, opened=5, accepted=3, failed=4, retransmits=1)
    assert row.udp == UdpTotals(tx_bytes=400, rx_bytes=40)
    assert (row.tx_bytes_per_s, row.rx_bytes_per_s) == (400.0, 40.0)
    assert subject.snapshot().losses.unlisted == {"dns": 9, "connections": 8, "requests": 0}
    assert len(subject.snapshot().dns) == 1


def test_what_nobody_is_known_to_have_done_is_said_all_the_same() -> None:
    counted = Unlisted(pid=1, process_start_time=at(0), queries=9)
    subject = store(UnlistedSeen(time=at(1), unlisted=counted))
    assert curl(subject).dns.queries == 0
    assert subject.snapshot().losses.unlisted == {"dns": 9, "connections": 0, "requests": 0}


# Connections


@pytest.mark.parametrize(
    ("row", "totals"),
    [
        (connection(), TcpTotals(active=1, opened=1)),
        (connection(direction="inbound", connect_ms=None), TcpTotals(active=1, accepted=1)),
        (connection(direction="unknown", opened_before_start=True), TcpTotals(active=1)),
        (connection(opened_before_start=True), TcpTotals(active=1)),
        (connection(state="syn-sent", connect_ms=None), TcpTotals(active=1, opened=1)),
        (connection(state="closed", end="normal"), TcpTotals(opened=1)),
        (connection(state="closed", end="reset-by-peer"), TcpTotals(opened=1)),
        (connection(state="closed", end="refused", connect_ms=None), TcpTotals(opened=1, failed=1)),
        (connection(state="closed", end="timeout", connect_ms=None), TcpTotals(opened=1, failed=1)),
        (connection(state="closed", end="given-up", connect_ms=None), TcpTotals(opened=1, failed=1)),
        (connection(state="closed", end="unreachable", connect_ms=None), TcpTotals(opened=1, failed=1)),
        (connection(state="closed", end=None, connect_ms=None), TcpTotals(opened=1)),
        (
            connection(tx_bytes=5, rx_bytes=7, retransmits=2),
            TcpTotals(tx_bytes=5, rx_bytes=7, active=1, opened=1, retransmits=2),
        ),
        (
            connection(tx_bytes=50, rx_bytes=70, tx_bytes_before_start=20, rx_bytes_before_start=70),
            TcpTotals(tx_bytes=30, rx_bytes=0, active=1, opened=1),
        ),
    ],
)
def test_what_a_connection_adds_to_its_process(row: Any, totals: TcpTotals) -> None:
    assert curl(store(told(row))).tcp == totals


def test_a_newer_row_replaces_what_the_older_one_added() -> None:
    subject = store(told(connection(tx_bytes=10, retransmits=1)), told(connection(tx_bytes=25, retransmits=4)))
    assert curl(subject).tcp == TcpTotals(tx_bytes=25, active=1, opened=1, retransmits=4)


def turned(asked_by: Literal["local", "remote"], *recent: float, answered: int = 0, slowest: float = 0) -> Turns:
    """Turns of which these are the newest, all of them unless told otherwise; one more was asked."""
    count = answered or len(recent)
    times = TurnLatency(avg=1.0, max=slowest or max(recent), recent=recent)
    return Turns(asked_by=asked_by, count=count + 1, answered=count, latency_ms=times)


def test_turns_of_both_sides_are_totals_of_their_process() -> None:
    subject = store(
        told(connection(id=1, turns=turned("local", 5.0, 7.0))),
        told(connection(id=2, turns=turned("remote", 1.0, 2.0, 3.0, 4.0, answered=20, slowest=9.0))),
        told(connection(id=3, turns=None)),
    )
    turns = curl(subject).turns
    assert turns.asked == TurnTotals(count=3, latency_ms=AnswerTimes(p50=5.0, p95=7.0, max=7.0))
    assert turns.was_asked == TurnTotals(count=21, latency_ms=AnswerTimes(p50=2.0, p95=4.0, max=9.0))


def test_requests_of_both_sides_are_totals_of_their_process() -> None:
    subject = store(
        told(connection(id=1, requests=ConnectionRequests(side="client", count=5, failed=2, retried=1))),
        told(connection(id=2, requests=ConnectionRequests(side="client", count=1, retried=1))),
        told(connection(id=3, requests=ConnectionRequests(side="server", count=7, failed=1))),
    )
    subject.apply(told(connection(id=2, requests=ConnectionRequests(side="client", count=3, retried=2)), 2))
    requests = curl(subject).requests
    assert requests.sent == RequestTotals(count=8, failed=2, retried=3)
    assert requests.served == RequestTotals(count=7, failed=1)


def counted(side: RequestSide, failed: int, refused: int | None, broken: int | None) -> ConnectionRequests:
    return ConnectionRequests(side=side, count=9, failed=failed, failed_4xx=refused, failed_5xx=broken)


def test_failures_by_their_status() -> None:
    subject = store(
        told(connection(id=1, requests=counted("client", 3, 1, 1))),
        told(connection(id=2, requests=counted("client", 2, 2, 0))),
        told(connection(id=3, requests=counted("server", 5, 0, 4))),
    )
    subject.apply(told(connection(id=2, requests=counted("client", 4, 3, 1)), 2))
    without_rows = Unlisted(
        pid=CURL.pid, process_start_time=identity().start_time,
        requests=6, requests_failed=3, requests_failed_4xx=1, requests_failed_5xx=2,
        served=2, served_failed=2, served_failed_4xx=0, served_failed_5xx=1,
    )  # fmt: skip
    subject.apply(UnlistedSeen(time=at(3), unlisted=without_rows))
    requests = curl(subject).requests
    assert requests.sent == RequestTotals(count=24, failed=10, failed_4xx=5, failed_5xx=4)
    assert requests.served == RequestTotals(count=11, failed=7, failed_4xx=0, failed_5xx=5)


def test_failures_whose_status_an_older_nettop_did_not_record() -> None:
    """Of none that failed it is known all the same."""
    subject = store(
        told(connection(id=1, requests=counted("client", 2, None, None))),
        told(connection(id=2, requests=counted("client", 1, 1, 0))),
        told(connection(id=3, requests=counted("server", 0, None, None))),
        told(connection(id=4, requests=counted("server", 1, 0, 1))),
    )
    requests = curl(subject).requests
    assert (requests.sent.failed, requests.sent.failed_4xx, requests.sent.failed_5xx) == (3, None, None)
    assert (requests.served.failed, requests.served.failed_4xx, requests.served.failed_5xx) == (1, 0, 1)


def test_an_answer_that_two_rows_tell_of_counts_once() -> None:
    subject = store(
        told(connection(turns=turned("local", 5.0, 7.0))), told(connection(turns=turned("local", 5.0, 7.0)))
    )
    subject.apply(told(connection(turns=turned("local", 5.0, 7.0, 8.0)), 2))
    assert curl(subject).turns.asked == TurnTotals(count=4, latency_ms=AnswerTimes(p50=7.0, p95=8.0, max=8.0))


def test_percentiles_are_of_the_last_answers_the_maximum_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "LATENCIES_KEPT", 3)
    subject = store(*(told(connection(id=number, turns=turned("local", float(9 - number)))) for number in range(1, 6)))
    assert curl(subject).turns.asked.latency_ms == AnswerTimes(p50=5.0, p95=6.0, max=8.0)


@pytest.mark.parametrize(("share", "expected"), [(50, 10.0), (95, 19.0), (100, 20.0), (1, 1.0)])
def test_percentiles_are_values_that_there_were(share: int, expected: float) -> None:
    assert store_module._percentile([float(number) for number in range(1, 21)], share) == expected
    assert store_module._percentile([3.0], share) == 3.0
    assert store_module._percentile([], share) is None


def test_turns_stay_with_who_passed_the_connection_on() -> None:
    subject = passed_on(ended=True)
    subject.apply(told(connection(**HEIR, owner="scanned", turns=turned("local", 5.0, answered=9)), 4))
    assert (first(subject).turns.asked.count, heir(subject).turns.asked.count) == (0, 10)
    third = {"pid": 78, "process_start_time": at(0.6), "comm": "third"}
    subject.apply(told(identity(pid=77, start_time=at(0.5), comm="heir", exited_at=at(5)), 5))
    subject.apply(told(identity(pid=78, start_time=at(0.6), comm="third"), 5))
    subject.apply(told(connection(**third, owner="scanned", turns=turned("local", 6.0, answered=12, slowest=5.0)), 6))
    last = subject.snapshot().processes[-1].turns.asked
    assert heir(subject).turns.asked.count == 10
    assert (last.count, last.latency_ms.p50, last.latency_ms.max) == (3, 6.0, None)  # the longest was before


def test_totals_move_when_an_owner_becomes_known() -> None:
    unknown = connection(**NOBODY, owner="unknown", tx_bytes=100, rx_bytes=1)
    subject = store(told(unknown))
    assert subject.snapshot().losses.tcp_unattributed_bytes == 101
    assert curl(subject).tcp.tx_bytes == 0
    subject.apply(told(connection(owner="scanned", tx_bytes=150, rx_bytes=1), 2))
    assert subject.snapshot().losses.tcp_unattributed_bytes == 0
    assert curl(subject).tcp == TcpTotals(tx_bytes=150, rx_bytes=1, active=1, opened=1)


HEIR: dict[str, Any] = {"pid": 77, "process_start_time": at(0.5), "comm": "heir"}


def heir(subject: Store) -> Process:
    return next(row for row in subject.snapshot().processes if row.pid == 77)


def passed_on(ended: bool, **changes: Any) -> Store:
    """A connection that carried 10 bytes for curl, and is at 25 with another process now."""
    return store(
        told(identity(pid=77, start_time=at(0.5), comm="heir")),
        told(connection(tx_bytes=10, rx_bytes=1, retransmits=1, **changes)),
        *([told(identity(exited_at=at(2)), 2)] if ended else []),
        told(connection(**HEIR, owner="scanned", tx_bytes=25, rx_bytes=1, retransmits=4), 3),
    )


def first(subject: Store) -> Process:
    return subject.snapshot().processes[0]


def test_what_a_connection_carried_stays_with_who_passed_it_on() -> None:
    subject = passed_on(ended=True)
    assert first(subject).tcp == TcpTotals(tx_bytes=10, rx_bytes=1, opened=1, retransmits=1)
    assert heir(subject).tcp == TcpTotals(tx_bytes=15, active=1, retransmits=3)
    subject.apply(told(connection(**HEIR, owner="scanned", tx_bytes=30, rx_bytes=2, retransmits=4), 4))
    subject.apply(told(connection(**HEIR, state="closed", end="normal", tx_bytes=31, rx_bytes=2, retransmits=4), 5))
    assert first(subject).tcp == TcpTotals(tx_bytes=10, rx_bytes=1, opened=1, retransmits=1)
    assert heir(subject).tcp == TcpTotals(tx_bytes=21, rx_bytes=1, retransmits=3)


def test_a_connection_may_be_passed_on_twice() -> None:
    subject = passed_on(ended=True)
    subject.apply(told(identity(pid=77, start_time=at(0.5), comm="heir", exited_at=at(4)), 4))
    third = identity(pid=78, start_time=at(0.6), comm="third")
    subject.apply(told(third, 4))
    mine = {"pid": 78, "process_start_time": at(0.6), "comm": "third"}
    subject.apply(told(connection(**mine, owner="scanned", tx_bytes=100, rx_bytes=1, retransmits=4), 5))
    sums = {row.pid: (row.tcp.tx_bytes, row.tcp.active, row.tcp.opened) for row in subject.snapshot().processes}
    assert sums == {identity().pid: (10, 0, 1), 77: (15, 0, 0), 78: (75, 1, 0)}


def test_an_owner_who_was_certain_and_lives_keeps_what_was_carried_too() -> None:
    assert heir(passed_on(ended=False)).tcp.tx_bytes == 15


@pytest.mark.parametrize("guess", ["scanned", "listener"])
def test_a_guess_that_was_wrong_moves_whole(guess: str) -> None:
    subject = passed_on(ended=False, owner=guess)
    assert first(subject).tcp == TcpTotals()
    assert heir(subject).tcp == TcpTotals(tx_bytes=25, rx_bytes=1, active=1, opened=1, retransmits=4)


def test_udp_bytes_stay_with_who_passed_the_socket_on() -> None:
    subject = store(
        told(identity(pid=77, start_time=at(0.5), comm="heir")),
        told(udp_socket(tx_bytes=10, rx_dropped=1)),
        told(udp_socket(**HEIR, tx_bytes=25, rx_bytes=4, rx_dropped=3), 2),
        told(udp_socket(**HEIR, tx_bytes=26, rx_bytes=4, rx_dropped=3, closed=True), 3),
    )
    assert first(subject).udp == UdpTotals(tx_bytes=10, rx_dropped=1)
    assert heir(subject).udp == UdpTotals(tx_bytes=16, rx_bytes=4, rx_dropped=2)


def test_bytes_from_before_the_start_are_not_unattributed_either() -> None:
    subject = store(told(connection(**NOBODY, tx_bytes=100, tx_bytes_before_start=90)))
    assert subject.snapshot().losses.tcp_unattributed_bytes == 10


def test_closed_connections_are_bounded_and_counted_and_their_bytes_stay() -> None:
    subject = store(told(connection(id=1)), history={"connections": 2})
    for number in (2, 3, 4):
        subject.apply(told(connection(id=number, state="closed", end="normal", tx_bytes=10)))
    snapshot = subject.snapshot()
    assert [row.id for row in snapshot.connections] == [1, 3, 4]
    empty = dict.fromkeys(("dns", "processes", "hosts", "udp", "listeners", "requests", "lookups"), 0)
    assert snapshot.losses.evicted == {**empty, "connections": 1}
    assert curl(subject).tcp == TcpTotals(tx_bytes=30, active=1, opened=4)


def test_a_connection_that_is_told_closed_twice_takes_one_place() -> None:
    subject = store(*[told(connection(id=1, state="closed"))] * 3, history={"connections": 1})
    assert [row.id for row in subject.snapshot().connections] == [1]
    assert subject.snapshot().losses.evicted["connections"] == 0


def test_a_filtered_stream_may_tell_an_older_connection_after_a_newer_one() -> None:
    """With `--filter state:closed` a row appears when it ends, not in the order of the ids."""
    subject = store(told(connection(id=7, state="closed")), told(connection(id=5, state="closed")))
    assert {row.id for row in subject.snapshot().connections} == {5, 7}


# Leaks


def leaks(subject: Store, seconds: float) -> dict[int, int]:
    """Per process with a leak how many it has at that moment."""
    subject.apply(tick(seconds))
    return {row.pid: row.leaking for row in subject.snapshot().processes if row.leaking}


def test_connections_leak_with_time_alone() -> None:
    subject = store(
        told(connection(id=1, state="close-wait", state_since=at(2)), 2),
        told(connection(id=2, state="close-wait", state_since=at(3)), 3),
        told(connection(id=3, state="established", state_since=at(1)), 3),
        told(connection(id=4, state="close-wait", state_since=None), 3),  # as recorded before there was that field
    )
    assert leaks(subject, 62) == {}
    assert leaks(subject, 62.5) == {curl(subject).pid: 1}
    assert leaks(subject, 63.5) == {curl(subject).pid: 2}
    subject.apply(told(connection(id=1, state="last-ack", state_since=at(64)), 64))
    subject.apply(told(connection(id=2, state="closed", end="normal"), 64))
    assert leaks(subject, 65) == {}


def test_a_leak_moves_with_its_connection() -> None:
    subject = store(
        told(identity(pid=77, start_time=at(0.5), comm="heir")),
        told(connection(state="close-wait", state_since=at(2)), 2),
    )
    assert leaks(subject, 70) == {identity().pid: 1}
    subject.apply(told(connection(**HEIR, state="close-wait", state_since=at(2)), 71))
    assert leaks(subject, 72) == {77: 1}


def test_a_leak_without_an_owner_is_nobodys() -> None:
    subject = store(told(connection(**NOBODY, state="close-wait", state_since=at(2)), 2))
    assert leaks(subject, 70) == {}


# UDP


def test_udp_bytes_of_a_process_outlive_its_sockets() -> None:
    subject = store(
        told(udp_socket(tx_bytes=10, rx_bytes=20)),
        told(udp_socket(tx_bytes=15, rx_bytes=20)),
        told(udp_socket(tx_bytes=16, rx_bytes=21, closed=True)),
        told(udp_socket(id=2, tx_bytes=1)),
    )
    assert curl(subject).udp == UdpTotals(tx_bytes=17, rx_bytes=21)
    assert (curl(subject).tx_bytes, curl(subject).rx_bytes) == (17, 21)


def test_udp_bytes_without_an_owner_are_counted_beside_those_of_the_kernel() -> None:
    subject = store(
        LossesChanged(time=at(1), losses=Losses(udp_unattributed_bytes=1000)),
        told(udp_socket(**NOBODY, tx_bytes=10, rx_bytes=20)),
    )
    assert subject.snapshot().losses.udp_unattributed_bytes == 1030


def test_udp_bytes_lose_their_owner_when_another_process_sends_too() -> None:
    subject = store(told(udp_socket(tx_bytes=10)), told(udp_socket(**NOBODY, tx_bytes=12)))
    assert curl(subject).udp == UdpTotals()
    assert subject.snapshot().losses.udp_unattributed_bytes == 12


def test_udp_bytes_of_several_processes_stay_nobody_s_when_one_is_left() -> None:
    subject = store(told(udp_socket(**NOBODY, tx_bytes=12)), told(udp_socket(tx_bytes=20), 2))
    assert curl(subject).udp == UdpTotals(tx_bytes=8)
    assert subject.snapshot().losses.udp_unattributed_bytes == 12


# Other protocols


def test_other_bytes_are_counted_apart() -> None:
    subject = store(
        told(udp_socket(tx_bytes=15, rx_bytes=20)),
        told(other_socket(tx_bytes=64, rx_bytes=84)),  # with the id of the other: ids are those of its kind
        told(other_socket(tx_bytes=128, rx_bytes=168, rx_dropped=1, closed=True), 2),
        told(other_socket(id=2, tx_bytes=1)),
    )
    assert curl(subject).other == OtherTotals(tx_bytes=129, rx_bytes=168, rx_dropped=1)
    assert curl(subject).udp == UdpTotals(tx_bytes=15, rx_bytes=20)
    assert (curl(subject).tx_bytes, curl(subject).rx_bytes) == (15, 20)


def test_other_bytes_without_an_owner() -> None:
    subject = store(told(other_socket(**NOBODY, tx_bytes=10, rx_bytes=20)))
    losses = subject.snapshot().losses
    assert (losses.other_unattributed_bytes, losses.udp_unattributed_bytes, losses.tcp_unattributed_bytes) == (30, 0, 0)


def test_other_bytes_stay_with_who_passed_the_socket_on() -> None:
    subject = store(
        told(identity(pid=77, start_time=at(0.5), comm="heir")),
        told(other_socket(tx_bytes=10)),
        told(other_socket(**HEIR, tx_bytes=25), 2),
    )
    assert (first(subject).other, heir(subject).other) == (OtherTotals(tx_bytes=10), OtherTotals(tx_bytes=15))


# DNS


def timed_out(**changes: Any) -> Any:
    return dns_query(status="timeout", **changes)


@pytest.mark.parametrize(
    ("told_rows", "totals"),
    [
        ([dns_query()], DnsTotals(queries=1)),
        ([dns_query(), dns_query(attempts=2)], DnsTotals(queries=1)),
        ([dns_query(), answered()], DnsTotals(queries=1, answered=1, latency_ms=Latency(p50=12.5, max=12.5))),
        ([dns_query(), timed_out()], DnsTotals(queries=1, timeouts=1)),
        ([dns_query(), timed_out(), dns_query(attempts=2)], DnsTotals(queries=1)),
        ([dns_query(), timed_out(), dns_query(attempts=2), timed_out(attempts=2)], DnsTotals(queries=1, timeouts=1)),
        (
            [dns_query(), timed_out(), answered(latency_ms=9000.0)],
            DnsTotals(queries=1, answered=1, latency_ms=Latency(p50=9000.0, max=9000.0)),
        ),
        (
            [dns_query(), answered(rcode="NXDOMAIN")],
            DnsTotals(queries=1, answered=1, failed=1, latency_ms=Latency(p50=12.5, max=12.5)),
        ),
        (
            [answered(id=number, latency_ms=float(number)) for number in (1, 2, 9)],
            DnsTotals(queries=3, answered=3, latency_ms=Latency(p50=2.0, max=9.0)),
        ),
        (
            [answered(id=number, latency_ms=float(number)) for number in (1, 2)],
            DnsTotals(queries=2, answered=2, latency_ms=Latency(p50=1.5, max=2.0)),
        ),
        ([dns_query(), dns_query(status="refused")], DnsTotals(queries=1, failed=1)),
        ([dns_query(), dns_query(status="refused"), dns_query(attempts=2)], DnsTotals(queries=1)),
        (
            [dns_query(), dns_query(status="refused"), answered()],
            DnsTotals(queries=1, answered=1, latency_ms=Latency(p50=12.5, max=12.5)),
        ),
        ([dns_query(), answered(rcode="NXDOMAIN"), dns_query(answers_dropped=1)], DnsTotals(queries=1)),
        (
            [answered(id=2, latency_ms=1.0), dns_query(), answered(), dns_query(answers_dropped=1)],
            DnsTotals(queries=2, answered=1, latency_ms=Latency(p50=1.0, max=1.0)),
        ),
    ],
    ids=[
        "asked",
        "asked again",
        "answered",
        "timeout",
        "asked again after the timeout",
        "second timeout",
        "late answer",
        "no such name",
        "median of three",
        "median of two",
        "refused",
        "asked again after a refusal",
        "answered after a refusal",
        "an answer that was dropped",
        "a latency that was none",
    ],
)
def test_what_queries_add_to_their_process(told_rows: list[Any], totals: DnsTotals) -> None:
    assert curl(store(*map(told, told_rows))).dns == totals


def test_the_median_is_of_the_last_latencies_the_maximum_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "LATENCIES_KEPT", 3)
    subject = store(*(told(answered(id=number + 1, latency_ms=float(9 - number))) for number in range(5)))
    assert curl(subject).dns.latency_ms == Latency(p50=6.0, max=9.0)


def test_the_oldest_queries_make_room_and_are_counted() -> None:
    subject = store(*(told(dns_query(id=number)) for number in (1, 2, 3)), history={"dns": 2})
    assert [row.id for row in subject.snapshot().dns] == [2, 3]
    assert subject.snapshot().losses.evicted == {
        "dns": 1,
        "connections": 0,
        "processes": 0,
        "hosts": 0,
        "udp": 0,
        "listeners": 0,
        "requests": 0,
        "lookups": 0,
    }
    assert curl(subject).dns.queries == 3


MANY = 9


@pytest.mark.parametrize(
    "fates",
    [
        (answered(rcode="SERVFAIL", latency_ms=7.0),),
        (dns_query(status="timeout"),),
        (dns_query(status="timeout"), answered()),
        (dns_query(status="timeout"), dns_query(attempts=2), dns_query(status="timeout", attempts=2)),
        (dns_query(status="forgotten"),),
    ],
    ids=["failed", "timeout", "late answer", "asked again", "forgotten"],
)
@pytest.mark.parametrize("first_told", [True, False], ids=["every row", "a filtered stream"])
def test_totals_do_not_depend_on_how_many_queries_are_kept(fates: tuple[DnsQuery, ...], first_told: bool) -> None:
    def totals(history: int) -> DnsTotals:
        pending = [dns_query()] if first_told else []
        numbers = range(MANY, 0, -1) if not first_told else range(1, MANY + 1)  # by their answers, in any order
        seen = (told(replace(row, id=number)) for row in (*pending, *fates) for number in numbers)
        return curl(store(*seen, history={"dns": history})).dns

    assert totals(2) == totals(MANY)
    assert totals(2).queries == MANY


def test_a_late_update_does_not_bring_an_evicted_query_back() -> None:
    subject = store(*(told(dns_query(id=number)) for number in (1, 2, 3)), told(answered(id=1)), history={"dns": 2})
    assert [row.id for row in subject.snapshot().dns] == [2, 3]
    assert subject.snapshot().losses.evicted["dns"] == 1


def test_statuses_of_evicted_queries_are_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_OPEN_EVICTED", 3)
    subject = store(
        *(told(dns_query(id=number)) for number in range(1, 8)),
        *(told(answered(id=number)) for number in range(1, 8)),
        history={"dns": 2},
    )
    assert len(subject._dns_without_row) == 0
    assert subject.snapshot().losses.evicted == {
        "dns": 5,
        "connections": 0,
        "processes": 0,
        "hosts": 0,
        "udp": 0,
        "listeners": 0,
        "requests": 0,
        "lookups": 0,
        "dns_statuses": 2,
    }
    assert (curl(subject).dns.queries, curl(subject).dns.answered) == (7, 5)


def test_rates_are_never_below_zero() -> None:
    """A connection that turns out to be another process's takes its bytes along."""
    mine = connection(tx_bytes=1_000, rx_bytes=1_000)
    subject = store(told(mine), tick(2), told(replace(mine, **NOBODY)), tick(3))
    assert (curl(subject).tx_bytes, curl(subject).tx_bytes_per_s, curl(subject).rx_bytes_per_s) == (0, 0.0, 0.0)


def test_sums_stay_within_what_can_be_written() -> None:
    """Of rows that each are within bounds, in a recording that was tampered with."""
    most = 2**63 - 1
    rows = [connection(id=number, tx_bytes=most, rx_bytes_before_start=most, retransmits=most) for number in (1, 2, 3)]
    nobody = [connection(id=number, tx_bytes=most, **NOBODY) for number in (4, 5)]
    unlisted = UnlistedSeen(
        time=at(1), unlisted=Unlisted(pid=CURL.pid, process_start_time=identity().start_time, queries=most)
    )
    subject = store(*map(told, rows + nobody), unlisted, unlisted, told(udp_socket(rx_bytes=most)), tick(2))
    SNAPSHOT.validate(json.loads(snapshot_json(subject.snapshot())))
    assert (curl(subject).tx_bytes, curl(subject).rx_bytes) == (most, 0)


def test_a_filtered_recording_says_what_its_filter_does_not_choose() -> None:
    not_applied = replayed([start(filter="dns:failed comm:curl")]).snapshot().filter_not_applied
    others = ("processes", "connections", "hosts", "udp", "listeners", "requests", "lookups")
    assert not_applied == dict.fromkeys(others, ("dns:failed",))
    assert replayed([start(filter="of-a-newer-nettop:1")]).snapshot().filter_not_applied == {}


def test_a_filtered_stream_may_tell_an_older_query_after_a_newer_one() -> None:
    """With `--filter dns:answered` a row appears with its answer, not in the order of the ids."""
    subject = store(told(answered(id=7)), told(answered(id=5)))
    assert {row.id for row in subject.snapshot().dns} == {5, 7}
    assert curl(subject).dns.queries == 2


# Processes


def test_a_query_of_nobody_counts_for_nobody() -> None:
    assert curl(store(told(dns_query(**NOBODY)))).dns == DnsTotals()


def test_the_same_pid_with_another_start_has_its_own_totals() -> None:
    later = identity(start_time=at(0.5))
    subject = store(
        told(later), told(connection(tx_bytes=1)), told(connection(id=2, process_start_time=at(0.5), tx_bytes=2))
    )
    assert [(row.start_time, row.tx_bytes) for row in subject.snapshot().processes] == [
        (identity().start_time, 1),
        (at(0.5), 2),
    ]


def test_a_renamed_process_keeps_its_totals() -> None:
    subject = store(told(connection(tx_bytes=5)), told(identity(comm="worker")))
    assert (curl(subject).comm, curl(subject).tx_bytes) == ("worker", 5)


def test_exited_processes_are_bounded_and_counted() -> None:
    subject = store(history={"processes": 2})
    for pid in (1, 2, 3):
        subject.apply(told(identity(pid=pid, exited_at=at(pid))))
        subject.apply(told(identity(pid=pid, exited_at=at(pid), comm="again")))
    subject.apply(tick(4))
    assert [row.pid for row in subject.snapshot().processes] == [identity().pid, 2, 3]
    assert subject.snapshot().losses.evicted == {
        "dns": 0,
        "connections": 0,
        "processes": 1,
        "hosts": 0,
        "udp": 0,
        "listeners": 0,
        "requests": 0,
        "lookups": 0,
    }


def test_bytes_of_an_evicted_process_are_not_taken_for_unattributed() -> None:
    subject = store(
        told(identity(pid=1, exited_at=at(1))), told(connection(pid=1, tx_bytes=5)), history={"processes": 1}
    )
    subject.apply(told(identity(pid=2, exited_at=at(2))))
    subject.apply(told(connection(pid=1, tx_bytes=8, state="closed")))
    assert subject.snapshot().losses.tcp_unattributed_bytes == 0
    assert {row.pid: row.tx_bytes for row in subject.snapshot().processes} == {identity().pid: 0, 2: 0}


# Ticks


def test_rates_of_a_process_are_those_of_the_last_interval() -> None:
    subject = store(tick(2), told(connection(tx_bytes=100)), told(udp_socket(tx_bytes=20, rx_bytes=6)), tick(4))
    assert (curl(subject).tx_bytes_per_s, curl(subject).rx_bytes_per_s) == (60.0, 3.0)


def test_the_first_interval_begins_at_the_start() -> None:
    assert curl(store(told(connection(tx_bytes=100)), tick(4))).tx_bytes_per_s == 25.0


def test_rates_return_to_zero() -> None:
    subject = store(told(connection(tx_bytes=100)), tick(1), tick(2))
    assert (curl(subject).tx_bytes_per_s, curl(subject).tx_bytes) == (0.0, 100)


def test_between_ticks_the_rates_stand() -> None:
    subject = store(told(connection(tx_bytes=100)), tick(1), told(connection(tx_bytes=300), 1.5))
    assert (curl(subject).tx_bytes_per_s, curl(subject).tx_bytes) == (100.0, 300)


def test_a_tick_without_rates_leaves_those_of_the_last_interval() -> None:
    subject = store(told(connection(tx_bytes=100)), tick(1), told(connection(tx_bytes=300), 1.5))
    subject.apply(Tick(time=at(1.6), rates=False))
    assert (curl(subject).tx_bytes_per_s, curl(subject).tx_bytes) == (100.0, 300)


def test_two_ticks_at_one_moment_make_no_rate() -> None:
    subject = store(told(connection(tx_bytes=100)), tick(1), told(connection(tx_bytes=300)), tick(1), tick(2))
    assert curl(subject).tx_bytes_per_s == 200.0


def test_a_snapshot_shares_the_rows_that_did_not_change() -> None:
    subject = store(told(connection(id=1)), told(connection(id=2)), told(dns_query()), tick(1), tick(2))
    before = subject.snapshot()
    subject.apply(told(connection(id=2, tx_bytes=1)))
    after = subject.snapshot()
    assert after.connections[0] is before.connections[0]
    assert after.connections[1] is not before.connections[1]
    assert after.dns[0] is before.dns[0]


def test_a_snapshot_is_not_changed_by_what_comes_later() -> None:
    subject = store(told(connection()), tick(1))
    before = subject.snapshot()
    for event in (told(connection(tx_bytes=5)), told(dns_query()), tick(2), End(time=at(2))):
        subject.apply(event)
    assert (before.connections[0].tx_bytes, before.dns, before.captured_at) == (0, (), at(1))
    assert before.processes[0].tx_bytes == 0
