"""What the store keeps of what is over: failures and slow ones longer, by number and by time, and how far back."""

from datetime import datetime
from typing import Any

import pytest

from nettop.model.kinds import CONNECTIONS, DNS, HOSTS, LISTENERS, UDP, Kind
from nettop.model.rows import DnsQuery, Kept
from nettop.model.snapshot import Snapshot
from nettop.model.store import SECONDS, History, Store
from tests.builders import answered, at, connection, dns_query, listener, remote_host, start, tick, told, udp_socket


def asked(seconds: int, history: History, *first: DnsQuery) -> Snapshot:
    """After these, and a query a second."""
    store = Store(history)
    store.apply(start())
    for row in (*first, *(answered(id=1000 + number, asked_at=at(number)) for number in range(1, seconds + 1))):
        store.apply(told(row, seconds=(row.asked_at - at(0)).total_seconds()))
    store.apply(tick(seconds))
    return store.snapshot()


def kept(snapshot: Snapshot) -> list[int]:
    return [row.id for row in snapshot.dns]


FAILED = answered(id=1, asked_at=at(0), rcode="SERVFAIL")


def test_a_failure_is_there_long_after_queries_of_its_time_are_gone() -> None:
    snapshot = asked(500, {"dns": 10}, FAILED)
    assert kept(snapshot) == [1, *range(1492, 1501)]
    assert snapshot.losses.evicted["dns"] == 491
    assert snapshot.kept["dns"] == Kept(complete_since=at(491), lasting=1)


def test_failures_are_bounded_and_those_that_had_to_go_are_counted() -> None:
    many = [answered(id=number, asked_at=at(0), rcode="SERVFAIL") for number in range(1, 21)]
    snapshot = asked(500, {"dns": 10}, *many)
    assert kept(snapshot) == [*range(16, 21), *range(1496, 1501)]
    assert snapshot.kept["dns"] == Kept(complete_since=at(495), lasting=5, lasting_since=at(0), lasting_evicted=15)


def test_a_query_that_times_out_after_its_turn_came_is_among_the_failures() -> None:
    """In a flood, rows live for less time than a query waits for its answer."""
    store = Store({"dns": 4})
    store.apply(start())
    store.apply(told(dns_query(id=1)))
    for number in range(2, 20):
        store.apply(told(answered(id=number)))
    store.apply(told(dns_query(id=1, status="timeout")))
    store.apply(tick(6))
    assert next((row.id, row.status) for row in store.snapshot().dns) == (1, "timeout")


@pytest.mark.parametrize(
    ("kind", "outlives", "goes"),
    [
        (
            DNS,
            [answered(rcode="SERVFAIL"), answered(latency_ms=1000.0), dns_query(), dns_query(status="timeout")],
            [answered(), answered(rcode="NXDOMAIN"), answered(latency_ms=999.0)],
        ),
        (
            CONNECTIONS,
            [connection(state="closed", end="refused"), connection(state="closed", end="normal", connect_ms=1001.0)],
            [connection(state="closed", end="normal")],
        ),
        (HOSTS, [remote_host(failed=1)], [remote_host(failed=0)]),
        (UDP, [udp_socket(rx_dropped=1)], [udp_socket()]),
        (LISTENERS, [listener(drops=3, drops_before_start=2)], [listener(drops=2, drops_before_start=2)]),
    ],
)
def test_what_outlives_others(kind: Kind[Any], outlives: list[Any], goes: list[Any]) -> None:
    assert list(map(kind.outlives, outlives)) == [True] * len(outlives)
    assert list(map(kind.outlives, goes)) == [False] * len(goes)


def test_history_in_seconds_keeps_more_rows_than_the_number_says() -> None:
    snapshot = asked(500, {"dns": 10, SECONDS: 60})
    assert kept(snapshot) == list(range(1439, 1501))
    assert snapshot.kept["dns"].complete_since == at(438)


def test_history_in_seconds_keeps_the_number_where_few_come() -> None:
    assert kept(asked(500, {"dns": 100, SECONDS: 60})) == list(range(1401, 1501))


@pytest.mark.parametrize("name", [kind.name for kind in (CONNECTIONS, HOSTS, UDP)])
def test_nothing_was_evicted(name: str) -> None:
    assert asked(3, {}).kept[name] == Kept()


def test_connections_go_back_to_the_end_of_the_last_that_was_evicted() -> None:
    store = Store({"connections": 2})
    store.apply(start())
    ends: list[datetime] = [at(number) for number in range(1, 6)]
    for number, closed_at in enumerate(ends):
        store.apply(told(connection(id=number, state="closed", end="normal", closed_at=closed_at)))
    assert store.snapshot().kept["connections"].complete_since == at(3)
