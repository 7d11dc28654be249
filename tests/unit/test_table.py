"""The table behind every kind of rows: what it keeps, what it evicts, what it counts."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettop.model.table import BoundedTable


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
