"""Sums per second: every event in its second, bytes where they were read, the processes that did most, an hour."""

from collections import Counter
from datetime import timedelta
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettop.cli.replay import DEMO
from nettop.model.events import AnyEvent
from nettop.model.events import Unlisted as UnlistedSeen
from nettop.model.filter import Filter
from nettop.model.rows import Unlisted
from nettop.model.store import Store, replayed
from nettop.model.timeline import MAX_OPEN, SECONDS_KEPT, Doer, ProcessSums, SecondSums, Sums, Timeline, failure_of
from nettop.sources.recording import read_events
from tests.builders import BASE, CURL, answered, at, connection, dns_query, identity, start, tick, told, udp_socket

FIRST = BASE.replace(microsecond=0)


def second(number: int, **sums: Any) -> SecondSums:
    return SecondSums(time=FIRST + timedelta(seconds=number), **sums)


def totals(seconds: tuple[SecondSums, ...]) -> list[SecondSums]:
    """Without their processes."""
    return [SecondSums(**{name: getattr(each, name) for name in SecondSums.__struct_fields__[:-1]}) for each in seconds]


def timeline_of(*events: AnyEvent) -> tuple[SecondSums, ...]:
    return replayed([start(), told(identity(), 0.1), *events]).snapshot().timeline


def doer(pid: int) -> Doer:
    return Doer(pid, BASE, f"p{pid}")


def test_queries_count_when_asked_and_failures_when_known() -> None:
    seen = timeline_of(
        told(dns_query(id=1, asked_at=at(1)), 1.0),
        told(dns_query(id=2, asked_at=at(1)), 1.0),
        told(dns_query(id=3, asked_at=at(1.5)), 1.5),
        told(answered(id=1, asked_at=at(1)), 1.1),
        told(answered(id=2, asked_at=at(1), rcode="SERVFAIL"), 2.1),
        tick(2.5),
        told(dns_query(id=3, asked_at=at(1.5), status="timeout"), 6.5),
        told(dns_query(id=3, asked_at=at(1.5), status="timeout", attempts=2), 6.6),
        tick(7.5),
    )
    assert totals(seen) == [
        second(1, dns_queries=3),
        second(2, dns_servfail=1),
        second(6, dns_timeouts=1),
        second(7),  # the tick that told of it, where the sums of processes are
    ]
    assert [[(each.dns_queries, each.dns_failed) for each in row.processes] for row in seen] == [
        [],
        [(3, 1)],
        [],
        [(0, 1)],
    ]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (answered(), None),
        (dns_query(), None),
        (dns_query(status="forgotten"), None),
        (dns_query(status="timeout"), "dns_timeouts"),
        (dns_query(status="refused"), "dns_refused"),
        (answered(rcode="REFUSED"), "dns_refused"),
        (answered(rcode="SERVFAIL"), "dns_servfail"),
        (answered(rcode="NXDOMAIN"), "dns_nxdomain"),
        (answered(rcode="FORMERR"), "dns_other_failed"),
        (answered(rcode="QUERIES"), "dns_other_failed"),
    ],
)
def test_how_a_query_failed(row: Any, field: str | None) -> None:
    assert failure_of(row) == field


def test_connections_count_when_they_are_seen_and_once() -> None:
    refused = {"state": "closed", "end": "refused", "connect_ms": None}
    seen = timeline_of(
        told(connection(id=1), 1.0),
        told(connection(id=1, tx_bytes=5), 2.0),
        told(connection(id=2, direction="inbound"), 2.0),
        told(connection(id=3, state="syn-sent", connect_ms=None), 2.2),
        told(connection(id=3, **refused), 3.2),
        told(connection(id=3, **refused), 4.2),
        told(connection(id=4, opened_before_start=True), 4.2),
        tick(5),
    )
    counts = [(row.opened, row.accepted, row.failed_connects) for row in seen]
    assert counts == [(1, 0, 0), (1, 1, 0), (0, 0, 1), (0, 0, 0)]


def test_bytes_count_in_the_second_in_which_they_were_read_for_their_process() -> None:
    flow = udp_socket(tx_bytes=100, rx_bytes=10)
    seen = timeline_of(
        told(flow, 1.0), tick(1.0), told(udp_socket(tx_bytes=130, rx_bytes=10), 2.0), tick(2.0), tick(3.0)
    )
    assert totals(seen) == [second(1, tx_bytes=100, rx_bytes=10), second(2, tx_bytes=30)]
    (curl,) = seen[1].processes
    assert curl == ProcessSums(pid=CURL.pid, process_start_time=curl.process_start_time, comm="curl", tx_bytes=30)


def test_bytes_without_an_owner_and_of_processes_that_were_evicted_count_too() -> None:
    store = Store({"processes": 1})
    nobody = {"pid": None, "process_start_time": None, "comm": None}
    for event in (
        start(),
        told(identity(pid=1)),
        told(udp_socket(id=1, pid=1, tx_bytes=100, rx_bytes=0, process_start_time=identity().start_time)),
        told(identity(pid=1, exited_at=at(1))),
        told(identity(pid=2, exited_at=at(1))),
        told(udp_socket(id=2, tx_bytes=7, rx_bytes=0, **nobody)),
        tick(1.0),
    ):
        store.apply(event)
    assert [row.tx_bytes for row in store.snapshot().timeline] == [107]
    assert store.snapshot().losses.evicted["processes"] == 1


def test_what_is_only_counted_counts() -> None:
    counted = Unlisted(
        pid=CURL.pid,
        process_start_time=identity().start_time,
        queries=9,
        failed=4,
        opened=3,
        accepted=2,
        failed_connects=1,
        udp_tx_bytes=5,
    )
    (row,) = timeline_of(UnlistedSeen(time=at(1), unlisted=counted), tick(1))
    assert totals((row,)) == [
        second(1, dns_queries=9, dns_other_failed=4, opened=3, accepted=2, failed_connects=1, tx_bytes=5)
    ]
    assert (row.processes[0].dns_queries, row.processes[0].dns_failed, row.processes[0].accepted) == (9, 4, 2)


def test_the_processes_that_did_most_are_named_and_no_more_than_six() -> None:
    timeline = Timeline()
    for pid in range(1, 100):
        timeline.add(at(1), doer(pid), Sums(tx_bytes=1000 * pid, dns_queries=1000 - pid))
    timeline.add(at(1.2), doer(1), Sums(tx_bytes=1, opened=50))
    (row,) = timeline.rows()
    assert [each.pid for each in row.processes] == [99, 98, 97, 1, 2, 3]
    assert (row.processes[3].tx_bytes, row.processes[3].dns_queries, row.processes[3].opened) == (1001, 999, 50)


def test_an_hour_is_kept() -> None:
    timeline = Timeline()
    for number in range(2 * SECONDS_KEPT):
        timeline.count(at(number), "opened")
        timeline.tick(at(number))
    times = [row.time for row in timeline.rows()]
    assert len(times) == SECONDS_KEPT + 1  # with the one that is not over
    assert times[0] == FIRST + timedelta(seconds=SECONDS_KEPT - 1)


def test_what_comes_late_counts_in_the_second_that_is_not_over() -> None:
    timeline = Timeline()
    timeline.count(at(5), "opened")
    timeline.tick(at(6))
    timeline.count(at(1), "opened", 2)
    assert [(row.time, row.opened) for row in timeline.rows()] == [(second(5).time, 1), (second(6).time, 2)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.datetimes(), st.booleans()), max_size=300))
def test_any_times(times: list[tuple[Any, bool]]) -> None:
    """As a recording may have them that was tampered with."""
    timeline = Timeline()
    for time, ticks in times:
        timeline.count(time.replace(tzinfo=BASE.tzinfo), "opened")
        if ticks:
            timeline.tick(time.replace(tzinfo=BASE.tzinfo))
        assert len(timeline._open) <= MAX_OPEN
    seen = [row.time for row in timeline.rows()]
    assert seen == sorted(set(seen))
    assert sum(row.opened for row in timeline.rows()) <= len(times)


def test_the_seconds_of_the_demo_add_up_to_what_its_rows_and_processes_say() -> None:
    snapshot = replayed(read_events(DEMO, partial=False)).snapshot()

    def summed(name: str) -> int:
        return sum(getattr(each, name) for each in snapshot.timeline)

    results = Counter(failure_of(row) for row in snapshot.dns)
    failures = [name for name in SecondSums.__struct_fields__ if name.startswith("dns_") and name != "dns_queries"]
    assert {name: summed(name) for name in failures} == {name: results[name] for name in failures}
    assert summed("dns_queries") == len(snapshot.dns)
    for name, of_process in (
        ("tx_bytes", "tx_bytes"),
        ("rx_bytes", "rx_bytes"),
        ("opened", "tcp.opened"),
        ("accepted", "tcp.accepted"),
        ("failed_connects", "tcp.failed"),
    ):
        assert summed(name) == sum(map(attrgetter(of_process), snapshot.processes)) > 0


def test_a_filtered_snapshot_names_only_processes_that_it_has() -> None:
    snapshot = replayed([start(), told(identity()), told(udp_socket(tx_bytes=5, rx_bytes=5)), tick(1)]).snapshot()
    assert len(snapshot.timeline[0].processes) == 1
    assert Filter("comm:curl").apply(snapshot).timeline == snapshot.timeline
    (other,) = Filter("comm:wget").apply(snapshot).timeline
    assert (other.processes, other.tx_bytes) == ((), 5)
