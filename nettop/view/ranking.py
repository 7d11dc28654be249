"""Rows in the order of a column: sorted once, and kept so while some of them change. Pure."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, compress, repeat
from operator import attrgetter, is_, lt, not_
from typing import Any, Generic, TypeVar, overload

from nettop.model.turnover import Turnover
from nettop.view.columns import Column, Context

RowT = TypeVar("RowT")
_FEW = 64  # rows: to take more out one by one, and put them in, moves more memory than all there is


def sort(rows: Sequence[RowT], column: Column[RowT], descending: bool, context: Context) -> list[RowT]:
    """The rows by one column, what is unknown last in either direction; rows that tie keep their order."""
    value = column.sort_key(context)
    try:
        return sorted(rows, key=value, reverse=descending)
    except TypeError:  # None is among them
        unknown = list(map(is_, map(value, rows), repeat(None)))
        if all(unknown):  # like the beginnings of all connections that are older than nettop
            return list(rows)
        known = sorted(compress(rows, map(not_, unknown)), key=value, reverse=descending)
        return [*known, *compress(rows, unknown)]


class Ranking(Generic[RowT]):
    """The rows of a table sorted by a field, which follows the table from version to version.

    A step costs what has changed, and little for what has not. `number` is a row's own: the rows of the table, and
    those that tie, are in the order of these.
    """

    def __init__(
        self, ordered: list[RowT], column: Column[RowT], descending: bool, number: Callable[[RowT], int]
    ) -> None:
        """Begin with the rows as they are sorted."""
        value = attrgetter(str(column.sort))
        known = len(ordered) - sum(map(is_, map(value, ordered), repeat(None)))
        self._value: Callable[[RowT], Any] = value
        self._descending = descending
        if descending:
            self._known = _Run(ordered[:known][::-1], value, lambda row: -number(row))
        else:
            self._known = _Run(ordered[:known], value, number)
        self._unknown = InOrder(ordered[known:], number)

    def follow(self, changes: Turnover[RowT]) -> Sequence[RowT]:
        """The next version of the table, sorted, until the one after that is asked for."""
        value = self._value
        moved: list[tuple[RowT, RowT]] = []
        for pair in changes.replaced:
            before, now = map(value, pair)
            if before == now:
                (self._unknown if now is None else self._known).replace(*pair)
            else:
                moved.append(pair)
        left, entered = [*(before for before, _ in moved), *changes.gone], [*(now for _, now in moved), *changes.come]
        for run, unknown in ((self._known, False), (self._unknown, True)):
            run.change(*([row for row in rows if (value(row) is None) is unknown] for rows in (left, entered)))
        return Ranked(self._known.rows, self._unknown.rows, self._descending)


class Ranked(Sequence[RowT]):
    """Rows that ascend, from either end, and behind them those of which nobody knows."""

    def __init__(self, known: Sequence[RowT], unknown: Sequence[RowT], descending: bool) -> None:
        self._known, self._unknown, self._descending = known, unknown, descending

    def __len__(self) -> int:
        return len(self._known) + len(self._unknown)

    def __iter__(self) -> Iterator[RowT]:
        return chain(reversed(self._known) if self._descending else self._known, self._unknown)

    @overload
    def __getitem__(self, index: int) -> RowT: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RowT]: ...
    def __getitem__(self, index: int | slice) -> RowT | Sequence[RowT]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        known = len(self._known)
        at = index if index >= 0 else index + len(self)
        if at >= known:
            return self._unknown[at - known]
        return self._known[-1 - at if self._descending else at]


def ascend(numbers: Sequence[int]) -> bool:
    """Whether each number is larger than the one before."""
    return all(map(lt, numbers, numbers[1:]))


class _Run(Generic[RowT]):
    """Rows in the order of their values, and those with the same value in the order of `tie`."""

    def __init__(self, rows: list[RowT], value: Callable[[RowT], Any], tie: Callable[[RowT], int]) -> None:
        self.rows = rows
        self._values = list(map(value, rows))
        self._ties = array("q", map(tie, rows))  # beside one another in memory, which rows are not
        self._value = value
        self._tie = tie

    def replace(self, before: RowT, now: RowT) -> None:
        """By a row with the same value."""
        self.rows[self._place(before)] = now

    def change(self, leaving: Sequence[RowT], entering: Sequence[RowT]) -> None:
        """Take rows out and others in."""
        if len(leaving) + len(entering) <= _FEW:
            for row in leaving:
                at = self._place(row)
                del self.rows[at], self._values[at], self._ties[at]
            for row in entering:
                at = self._place(row)
                self.rows.insert(at, row)
                self._values.insert(at, self._value(row))
                self._ties.insert(at, self._tie(row))
            return
        if leaving:
            stays = bytearray(b"\1") * len(self.rows)
            for row in leaving:
                stays[self._place(row)] = 0
            self._keep(*(list(compress(each, stays)) for each in (self.rows, self._values, self._ties)))
        if entering:
            self._enter(sorted(sorted(entering, key=self._tie), key=self._value))

    def _enter(self, rows: Sequence[RowT]) -> None:
        """Put rows in that are in their order."""
        values, ties = list(map(self._value, rows)), list(map(self._tie, rows))
        if not self.rows or (self._values[-1], self._ties[-1]) < (values[0], ties[0]):
            places = [len(self.rows)] * len(rows)
        else:
            places = list(map(self._place, rows))
        self._keep(_with(self.rows, rows, places), _with(self._values, values, places), _with(self._ties, ties, places))

    def _keep(self, rows: list[RowT], values: list[Any], ties: Iterable[int]) -> None:
        self.rows, self._values, self._ties = rows, values, array("q", ties)

    def _place(self, row: RowT) -> int:
        value = self._value(row)
        first = bisect_left(self._values, value)
        behind = bisect_right(self._values, value, first)
        return bisect_left(self._ties, self._tie(row), first, behind)


class InOrder(_Run[RowT]):
    """Rows in the order of their numbers."""

    def __init__(self, rows: list[RowT], number: Callable[[RowT], int]) -> None:
        super().__init__(rows, _nothing, number)


def _nothing(_row: Any) -> int:
    return 0


def _with(items: Sequence[RowT], others: Sequence[RowT], places: Sequence[int]) -> list[RowT]:
    """The items with others, each before the item at its place; places ascend."""
    if places[0] == len(items):  # as most that is new
        return [*items, *others]
    merged: list[RowT] = []
    done = 0
    for other, place in zip(others, places, strict=True):
        merged += items[done:place]
        merged.append(other)
        done = place
    return [*merged, *items[done:]]
