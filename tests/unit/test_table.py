"""The table behind every kind of rows: what it keeps, what it evicts, what it counts."""

from collections.abc import Sequence
from copy import deepcopy
from datetime import datetime
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettop.model import table as table_module
from nettop.model.table import BoundedTable, Keeping
from nettop.model.turnover import Turnover, turnover
from tests.builders import at


class Row(NamedTuple):
    number: int
    over: bool


def lasting(most: int, forgotten: list[int] | None = None) -> BoundedTable[int, Row]:
    gone = [] if forgotten is None else forgotten
    return BoundedTable(lambda row: row.over, most, lambda number, _row: gone.append(number))


def put(table: BoundedTable[int, Row], *steps: tuple[int, bool]) -> None:
    for number, over in steps:
        table.put(number, Row(number, over))


def test_put_tells_what_it_replaced() -> None:
    table = lasting(1)
    assert table.put(1, Row(1, False)) is None
    assert table.put(1, Row(1, True)) == Row(1, False)
    assert table.rows == {1: Row(1, True)}


def test_those_that_ended_first_are_evicted_first_and_what_lasts_never() -> None:
    gone: list[int] = []
    table = lasting(2, gone)
    put(table, (1, False), (2, False), (3, False), (4, False), (3, True), (1, True), (4, True), (5, True))
    assert (list(table.rows), table.evicted, gone) == ([2, 4, 5], 2, [3, 1])


def test_events_are_evicted_in_the_order_in_which_they_came() -> None:
    table: BoundedTable[int, Row] = BoundedTable(None, 2)
    put(table, (1, False), (2, False), (1, False), (3, False))
    assert (list(table.rows), table.evicted) == ([2, 3], 1)


def test_a_row_that_goes_on_after_its_end_is_kept() -> None:
    gone: list[int] = []
    table = lasting(1, gone)
    put(table, (1, True), (1, False), (2, True), (3, True))
    assert (sorted(table.rows), gone) == ([1, 3], [2])
    put(table, (1, True), (4, True))
    assert (sorted(table.rows), gone) == ([4], [2, 3, 1])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans())), st.integers(1, 4))
def test_any_order(steps: list[tuple[int, bool]], most: int) -> None:
    gone: list[int] = []
    table = lasting(most, gone)
    for number, over in steps:
        table.put(number, Row(number, over))
        ended = [row.number for row in table.rows.values() if row.over]
        assert len(ended) <= most
        assert len(gone) == table.evicted
        assert table.rows[number] == (number, over)
    lasted = {number for number, over in dict(steps).items() if not over}
    assert {row.number for row in table.rows.values() if not row.over} == lasted


@pytest.mark.parametrize("most", [1, 3])
def test_nothing_is_evicted_before_there_is_too_much(most: int) -> None:
    table = lasting(most)
    put(table, *((number, True) for number in range(most)))
    assert (len(table.rows), table.evicted) == (most, 0)


# What is evicted later than its turn


class Event(NamedTuple):
    number: int
    failed: bool = False
    time: datetime = at(0)


def keeping(most: int, since: datetime | None = None) -> BoundedTable[int, Event]:
    rules = Keeping(lambda row: row.failed, lambda row: row.time, lambda: since)
    return BoundedTable(None, most, keeping=rules)


def tell(table: BoundedTable[int, Event], *failed: bool) -> None:
    first = max(table.rows, default=0) + 1
    for number, each in enumerate(failed, first):
        table.put(number, Event(number, each, at(number)))


def test_failures_outlive_what_came_after_them() -> None:
    table = keeping(4)
    tell(table, True, *[False] * 20)
    assert list(table.rows) == [1, 19, 20, 21]
    assert (table.evicted, table.lasting, table.evicted_lasting) == (17, 1, 0)
    assert (table.complete_since, table.lasting_since) == (at(18), None)


def test_failures_leave_half_of_the_room_and_the_oldest_of_them_go_first() -> None:
    table = keeping(6)
    tell(table, *[True] * 5, *[False] * 20)
    assert list(table.rows) == [3, 4, 5, 23, 24, 25]
    assert (table.evicted, table.lasting, table.evicted_lasting) == (19, 3, 2)
    assert (table.complete_since, table.lasting_since) == (at(22), at(2))


def test_where_all_fail_the_oldest_are_evicted_as_if_none_did() -> None:
    table = keeping(4)
    tell(table, *[True] * 20)
    assert list(table.rows) == [17, 18, 19, 20]
    assert (table.evicted, table.evicted_lasting) == (16, 16)


def test_whether_a_row_outlives_others_is_asked_when_its_turn_comes() -> None:
    table = keeping(2)
    tell(table, False)
    table.put(1, Event(1, True, at(1)))
    tell(table, False, False)
    assert list(table.rows) == [1, 3]


def test_one_that_outlived_others_and_goes_on_after_all_is_kept() -> None:
    table: BoundedTable[int, Row] = BoundedTable(lambda row: row.over, 2, keeping=Keeping(lambda _: True))
    put(table, (1, True), (2, True), (3, True))
    assert (list(table.rows), table.lasting) == ([2, 3], 1)
    put(table, (2, False), (4, True), (5, True), (6, True))
    assert list(table.rows) == [2, 5, 6]


def test_the_young_stay_even_if_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "MOST_BY_TIME", 8)
    table = keeping(2, since=at(5))
    tell(table, *[False] * 7)
    assert (list(table.rows), table.complete_since) == ([5, 6, 7], at(4))
    tell(table, *[False] * 10)
    assert (list(table.rows), table.complete_since) == (list(range(10, 18)), at(9))


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=60), st.integers(1, 6))
def test_any_failures(failed: list[bool], most: int) -> None:
    table = keeping(most)
    tell(table, *failed)
    assert len(table.rows) == min(len(failed), most)
    assert table.evicted == len(failed) - len(table.rows)
    ordinary = [row for row in table.rows.values() if not row.failed]
    if table.complete_since is not None:  # all that came later are there
        assert all(row.time > table.complete_since for row in ordinary)
        later = [number for number, each in enumerate(failed, 1) if not each and at(number) > table.complete_since]
        assert [row.number for row in ordinary] == later


def following(before: Sequence[Row], changes: Turnover[Row]) -> list[Row]:
    """What becomes of a version."""
    instead, gone = {id(old): new for old, new in changes.replaced}, set(map(id, changes.gone))
    return [instead.get(id(row), row) for row in before if id(row) not in gone] + list(changes.come)


_PUTS = st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=8)


@given(st.lists(_PUTS, max_size=8), st.integers(0, 6))
def test_a_version_knows_what_has_become_of_the_one_before(steps: list[list[tuple[int, bool]]], most: int) -> None:
    table = lasting(most)
    put(table, *((number, False) for number in range(20, 60)))  # so that few have changed
    before = table.version()
    for puts in steps:
        put(table, *puts)
        now = table.version()
        assert list(now) == list(table.rows.values())
        assert now is before or puts
        assert now is before or now.before is before.mark
        for changes in (now.changes, turnover(before, tuple(now), lambda row: row.number)):
            assert changes is not None, "few of the rows have changed"
            assert now is before or list(map(id, following(before, changes))) == list(map(id, now))
        before = now


def test_where_all_have_changed_a_version_says_nothing_of_the_one_before() -> None:
    table = lasting(3)
    put(table, *((number, True) for number in range(3)))
    first = table.version()
    put(table, *((number, True) for number in range(3, 100)))
    version = table.version()
    assert version.changes is None
    assert turnover(first, version, lambda row: row.number) is None


def test_a_copy_goes_on_by_itself() -> None:
    table = lasting(9)
    put(table, *((number, False) for number in range(20)))
    table.version()
    twin = deepcopy(table)
    put(twin, (20, False))
    put(table, (21, False))
    assert [row.number for row in twin.version()] == [*range(20), 20]
    assert [row.number for row in table.version()] == [*range(20), 21]
    put(twin, (5, False))
    changes = twin.version().changes
    assert changes is not None
    assert [now.number for _, now in changes.replaced] == [5]
