"""The rows that a pane shows, and their order: pure functions and what remembers their results, no Textual."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, is_
from typing import Any, Generic, TypeVar

from nettop.model.filter import Filter
from nettop.model.kinds import AnyRow
from nettop.model.turnover import Turnover, turnover
from nettop.view.columns import Column, Context
from nettop.view.panes import PaneKind
from nettop.view.ranking import InOrder, Ranking, ascend, sort

RowT = TypeVar("RowT", bound=AnyRow)
_SORTED_UP_TO = 1 / 8  # of the rows: where more have changed, to sort all is quicker
_number = attrgetter("id")


def select(
    pane: PaneKind[RowT], candidates: Iterable[RowT], chosen: Filter, show_ended: bool, context: Context
) -> Sequence[RowT]:
    """The rows that a pane shows at a time, unsorted."""
    test = _test(pane, chosen, show_ended, context)
    if test is not None:
        return list(filter(test, candidates))
    return candidates if isinstance(candidates, tuple) else list(candidates)


def _test(pane: PaneKind[RowT], chosen: Filter, show_ended: bool, context: Context) -> Callable[[RowT], bool] | None:
    """Whether a row is shown; None if every one is."""
    test, ended = chosen.test(pane.kind, context.now, context.start, context.owners), pane.kind.ended
    if show_ended or ended is None:
        return test
    if test is None:
        return lambda row: not ended(row)
    return lambda row: test(row) and not ended(row)


class Selection(Generic[RowT]):
    """What a pane shows, sorted: does only what has not been done yet for the same rows."""

    def __init__(self, pane: PaneKind[RowT]) -> None:
        self._pane = pane
        self._selected_by: tuple[Any, ...] = ()
        self._selected: Sequence[RowT] = ()
        self._passing: InOrder[RowT] | None = None  # what passes a test, while that is followed
        self._changes: tuple[Sequence[RowT], Turnover[RowT]] | None = None  # what was selected, and what came of it
        self._sorted_by: tuple[Any, ...] = ()
        self._sorted: Sequence[RowT] = ()
        self._ranking: Ranking[RowT] | None = None

    def select(self, candidates: Sequence[RowT], chosen: Filter, show_ended: bool, context: Context) -> Sequence[RowT]:
        """As the function."""
        at = None if chosen.asks_rows_alone(self._pane.kind) else context  # rows may pass at one time that do not later
        by, before = (candidates, chosen, show_ended, at), self._selected
        if self._selected_by and all(map(is_, by, self._selected_by)):
            return before
        same_test = self._selected_by and all(map(is_, by[1:], self._selected_by[1:]))
        changes = self._changes_of(candidates) if same_test else None
        test = _test(self._pane, chosen, show_ended, context)
        if changes is not None and test is not None:
            changes = self._sifted(changes, test) if at is None else None
        if changes is None:
            self._passing = None
            self._selected = select(self._pane, candidates, chosen, show_ended, context)
        else:
            self._selected = candidates if self._passing is None else self._passing.rows.copy()
        self._selected_by = by
        self._changes = None if changes is None else (before, changes)
        return self._selected

    def _changes_of(self, candidates: Sequence[RowT]) -> Turnover[RowT] | None:
        """Since those before; None where there is too much of it."""
        if not self._pane.kind.numbered:
            return None
        return turnover(self._selected_by[0], candidates, _number)

    def _sifted(self, changes: Turnover[RowT], test: Callable[[RowT], bool]) -> Turnover[RowT] | None:
        """What of the changes concerns rows that pass, which are followed."""
        if self._passing is None:
            if not ascend(list(map(_number, self._selected))):
                return None
            self._passing = InOrder(list(self._selected), _number)
        gone, come = list(filter(test, changes.gone)), list(filter(test, changes.come))
        replaced = []
        for before, now in changes.replaced:
            was, is_there = test(before), test(now)
            if was and is_there:
                replaced.append((before, now))
            elif was:
                gone.append(before)
            elif is_there:
                come.append(now)
        sifted = Turnover(replaced, gone, come)
        for pair in replaced:
            self._passing.replace(*pair)
        self._passing.change(gone, come)
        return sifted

    def sort(self, column: Column[RowT], descending: bool, context: Context) -> Sequence[RowT]:
        """What was selected last, sorted as by the function, until the next rows are."""
        by = self._selected, column, None if isinstance(column.sort, str) else context, descending
        before, self._sorted_by = self._sorted_by, by
        if before and before[1:3] == by[1:3] and before[0] is by[0]:
            if before[3] != descending:
                # rows that tie are in their order already, and what has an order is sorted in a third of the time
                self._sorted, self._ranking = sort(self._sorted, column, descending, context), None
            return self._sorted
        followed = self._followed(before[0], column, descending) if before and before[1:] == by[1:] else None
        if followed is None:
            self._ranking = None
        self._sorted = sort(self._selected, column, descending, context) if followed is None else followed
        return self._sorted

    def _followed(self, before: Sequence[RowT], column: Column[RowT], descending: bool) -> Sequence[RowT] | None:
        """What is selected now, from how what was selected before is sorted; None if it is better sorted anew."""
        since, changes = self._changes or ((), None)
        if changes is None or since is not before:  # a pane that is not seen is not sorted
            return None
        if not isinstance(column.sort, str) or changes.size > len(before) * _SORTED_UP_TO:
            return None
        if self._ranking is None:
            if not ascend(list(map(_number, before))):
                return None
            self._ranking = Ranking(list(self._sorted), column, descending, _number)
        return self._ranking.follow(changes)
