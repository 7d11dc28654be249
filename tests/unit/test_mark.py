"""A mark: totals count from there, whatever comes, goes and is evicted; what began later is new."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect
from msgspec.structs import replace

from nettop.export.json import snapshot_json
from nettop.model.kinds import HOSTS, KINDS, PROCESSES
from nettop.model.mark import Mark, newest_ids
from nettop.model.rows import Process, RemoteHost
from nettop.model.snapshot import Snapshot
from nettop.model.store import Store
from tests.builders import (
    BASE,
    answered,
    at,
    connection,
    identity,
    listener,
    process,
    remote_host,
    start,
    tick,
    told,
    udp_socket,
)
from tests.tui.scene import busy

START_TIME = identity().start_time


def watched(*events: Any, store: Store | None = None, history: dict[str, int] | None = None) -> tuple[Store, Snapshot]:
    if store is None:
        store = Store(history or {})
        store.apply(start())
    for event in events:
        store.apply(event)
    return store, store.snapshot()


def flow(number: int, pid: int, tx_bytes: int) -> Any:
    return told(udp_socket(id=number, pid=pid, process_start_time=START_TIME, tx_bytes=tx_bytes, rx_bytes=0), number)


def sent(snapshot: Snapshot) -> dict[int, int]:
    return {row.pid: row.tx_bytes for row in snapshot.processes}


def test_totals_count_from_the_mark_and_rates_stay() -> None:
    store, before = watched(told(identity(pid=1)), told(identity(pid=2)), flow(1, 1, 100), flow(2, 2, 50), tick(2))
    mark = Mark(before)
    assert sent(mark.since(before)) == {1: 0, 2: 0}
    _, after = watched(told(identity(pid=3)), flow(1, 1, 130), flow(3, 3, 7), tick(3), store=store)
    marked = mark.since(after)
    assert sent(marked) == {1: 30, 2: 0, 3: 7}
    assert sent(after) == {1: 130, 2: 50, 3: 7}  # which is shared, and stays what it was
    assert [row.tx_bytes_per_s for row in marked.processes] == [row.tx_bytes_per_s for row in after.processes]
    assert (marked.mark, marked.captured_at) == (at(2), at(3))


def test_a_moved_mark_counts_from_its_new_place() -> None:
    store, before = watched(told(identity(pid=1)), flow(1, 1, 100), tick(2))
    first = Mark(before)
    _, later = watched(flow(1, 1, 150), tick(3), store=store)
    second = Mark(later)
    _, last = watched(flow(1, 1, 151), tick(4), store=store)
    assert (sent(first.since(last)), sent(second.since(last))) == ({1: 51}, {1: 1})


def test_totals_of_what_ended_and_was_evicted() -> None:
    store, before = watched(told(identity(pid=1)), flow(1, 1, 100), tick(2), history={"processes": 1})
    mark = Mark(before)
    _, ended = watched(flow(1, 1, 101), told(identity(pid=1, exited_at=at(3))), tick(3), store=store)
    assert sent(mark.since(ended)) == {1: 1}
    another = identity(pid=1, start_time=at(3.5), exited_at=at(4))  # the same pid again
    carried = udp_socket(id=9, pid=1, process_start_time=at(3.5), tx_bytes=5, rx_bytes=0)
    _, evicted = watched(told(another), told(carried), tick(4), store=store)
    assert sent(mark.since(evicted)) == {1: 5}
    assert evicted.losses.evicted["processes"] == 1


def test_a_host_that_was_evicted_and_comes_again_counts_whole() -> None:
    def seen(*hosts: RemoteHost) -> Snapshot:
        return replace(busy(), hosts=hosts)

    mark = Mark(seen(remote_host(tx_bytes=100)))
    assert mark.since(seen(remote_host(tx_bytes=120))).hosts[0].tx_bytes == 20
    assert mark.since(seen()).hosts == ()
    assert mark.since(seen(remote_host(tx_bytes=500))).hosts[0].tx_bytes == 500


def test_sums_are_never_less_than_nothing() -> None:
    """As where a connection turns out to be another process's."""
    mark = Mark(replace(busy(), processes=(process(tx_bytes=100),)))
    assert mark.since(replace(busy(), processes=(process(tx_bytes=40),))).processes[0].tx_bytes == 0


def numbers(value: Any, path: str = "") -> dict[str, Any]:
    """The numbers in a row by their dotted names; those in a table of counts by the name of the table."""
    if isinstance(value, msgspec.Struct):
        return {k: v for n in value.__struct_fields__ for k, v in numbers(getattr(value, n), f"{path}.{n}").items()}
    return {path[1:]: value} if isinstance(value, int | float | dict) and not isinstance(value, bool) else {}


NOT_SUMS = {  # what numbers of these rows are not added up, and so stay as they are
    PROCESSES.name: {
        "pid", "parent_pid", "uid", "netns", "cmdline_cut", "leaking", "tcp.active", "tx_bytes_per_s", "rx_bytes_per_s",
        "dns.latency_ms.p50", "dns.latency_ms.max", "turns.asked.latency_ms.p50", "turns.asked.latency_ms.p95",
        "turns.asked.latency_ms.max", "turns.was_asked.latency_ms.p50", "turns.was_asked.latency_ms.p95",
        "turns.was_asked.latency_ms.max",
    },
    HOSTS.name: {
        "netns", "connections", "udp_flows", "tx_bytes_per_s", "rx_bytes_per_s", "rx_packets_per_s", "srtt_ms",
    },
}  # fmt: skip


PLAIN: dict[Any, Any] = {
    inspect.IntType: 10,
    inspect.FloatType: 10.0,
    inspect.DictType: {"a": 10},
    inspect.BoolType: False,
    inspect.DateTimeType: BASE,
    inspect.VarTupleType: (),
    inspect.StrType: "a",
}


def full(info: Any) -> Any:
    """A value of this type in which every number is there."""
    if isinstance(info, inspect.StructType):
        return info.cls(**{each.name: full(each.type) for each in info.fields})
    if isinstance(info, inspect.UnionType):
        return full(next(each for each in info.types if not isinstance(each, inspect.NoneType)))
    return info.values[0] if isinstance(info, inspect.LiteralType) else PLAIN[type(info)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.sums], ids=lambda kind: kind.name)
def test_every_number_is_a_sum_or_is_declared_not_to_be_one(kind: Any) -> None:
    row = full(inspect.type_info(kind.row))
    mark = Mark(replace(busy(), **{kind.name: (row,)}))
    (since,) = getattr(mark.since(replace(busy(), **{kind.name: (replace(row),)})), kind.name)
    counted = {name for name, value in numbers(since).items() if not value}
    assert counted == set(kind.sums)
    assert numbers(row).keys() - counted == NOT_SUMS[kind.name]


def test_reasons_count_each_for_itself_and_what_is_unknown_stays_unknown() -> None:
    mark = Mark(replace(busy(), processes=(process(drops={"A": 3, "B": 2}, resets_received=None),)))
    row = process(drops={"A": 5, "B": 2, "C": 1}, resets_received=None)
    (since,) = mark.since(replace(busy(), processes=(row,))).processes
    assert (since.drops, since.resets_received) == ({"A": 2, "C": 1}, None)


def test_what_began_later_is_new() -> None:
    mark = Mark(busy())
    later = at(61)
    assert busy().captured_at == at(60)
    for old in (
        answered(asked_at=at(59)),
        connection(opened_at=at(59)),
        connection(id=99, opened_at=None, opened_before_start=True),
        udp_socket(id=newest_ids(busy())["udp"]),
        process(),
        listener(opened_at=None),
        busy().hosts[0],
    ):
        assert not mark.is_new(old)
    for new in (
        answered(asked_at=later),
        connection(opened_at=later),
        udp_socket(id=newest_ids(busy())["udp"] + 1),
        process(start_time=later),
        listener(opened_at=later),
        remote_host(address="203.0.113.99"),
    ):
        assert mark.is_new(new)
    assert not mark.is_new("a group of rows")


def test_only_new_rows() -> None:
    first = busy()
    mark = Mark(first)
    second = replace(first, captured_at=at(70), dns=(*first.dns, answered(id=100, asked_at=at(65))))
    only = mark.only_new(mark.since(second))
    assert [row.id for row in only.dns] == [100]
    assert (only.connections, only.processes, only.hosts, only.udp, only.listeners) == ((), (), (), (), ())


def test_before_the_mark_nothing_is_counted_from_it() -> None:
    """A replay may be played again from an earlier place."""
    mark = Mark(busy())
    earlier = replace(busy(), captured_at=at(30))
    assert mark.since(earlier) is earlier


def test_an_export_keeps_the_mark() -> None:
    first = busy()
    second = replace(first, captured_at=at(70), processes=(replace(first.processes[0], tx_bytes=5_000_000),))
    mark = Mark(first)
    exported = msgspec.json.decode(snapshot_json(mark.since(second)), type=Snapshot)
    assert exported.mark == first.captured_at
    read = Mark.of_file(exported)
    assert read is not None
    assert read.since(exported) is exported  # it counts from there already
    assert exported.processes[0].tx_bytes == 5_000_000 - first.processes[0].tx_bytes
    for row in (answered(asked_at=at(65)), answered(asked_at=at(5)), udp_socket(id=1), udp_socket(id=1000)):
        assert read.is_new(row) == mark.is_new(row)
    assert Mark.of_file(first) is None


def test_a_later_mark_in_an_exported_file() -> None:
    exported = Mark(busy()).since(replace(busy(), captured_at=at(70)))
    assert Mark(exported).since(exported).mark == at(70)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 50), st.booleans()), max_size=40), st.integers(0, 40))
def test_any_traffic(steps: list[tuple[int, int, bool]], marked_after: int) -> None:
    """Sums of what each process carried after the mark, by what was told to the store, evictions included."""
    store, snapshot = watched(history={"processes": 2})
    totals: dict[int, int] = {}
    carried: dict[int, int] = {}
    gone: set[int] = set()
    mark = Mark(snapshot)
    for number, (pid, tx_bytes, ends) in enumerate(steps, 1):
        if pid in gone:
            continue
        totals[pid] = totals.get(pid, 0) + tx_bytes
        carried[pid] = carried.get(pid, 0) + tx_bytes
        exited_at = at(number) if ends else None
        gone |= {pid} if ends else set()
        watched(told(identity(pid=pid)), flow(pid, pid, totals[pid]), store=store)
        _, snapshot = watched(told(identity(pid=pid, exited_at=exited_at)), tick(number), store=store)
        if number == marked_after:
            mark, carried = Mark(snapshot), dict.fromkeys(carried, 0)
        seen = sent(mark.since(snapshot))
        assert seen == {pid: carried[pid] for pid in seen}


def test_rows_that_stay_as_they_are_are_made_once() -> None:
    first = busy()
    mark = Mark(first)
    again = [mark.since(replace(first, captured_at=at(60 + number))).processes for number in (1, 2)]
    assert all(one is other for one, other in zip(*again, strict=True))
    assert isinstance(again[0][0], Process)
