"""Where one is in the groups of a pane, and what it shows there: pure, like the panes."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import compress, repeat
from operator import eq, is_
from typing import Any

from nettop.model.filter import Filter
from nettop.model.snapshot import Snapshot
from nettop.view.columns import Column, Context
from nettop.view.group import Group
from nettop.view.grouping import Grouping
from nettop.view.panes import PaneKind
from nettop.view.regrouping import Regrouping
from nettop.view.selection import Selection

_CRUMB_CHARACTERS = 48  # of what a group is called, in a title
_ALL = Filter("")


@dataclass(frozen=True)
class Step:
    """A group that one has gone into."""

    grouping: Grouping
    key: Hashable
    label: str


@dataclass(frozen=True)
class Place:
    """The groups that one has gone into, and by what their rows are put together; at first none."""

    steps: tuple[Step, ...] = ()
    grouping: Grouping | None = None

    def by(self, grouping: Grouping | None) -> "Place":
        """The same rows put together in another way, or one by one."""
        return replace(self, grouping=grouping)

    def offered(self, groupings: Sequence[Grouping]) -> list[Grouping]:
        """Those that make a difference here."""
        return [grouping for grouping in groupings if all(step.grouping is not grouping for step in self.steps)]

    def next(self, groupings: Sequence[Grouping]) -> "Place":
        """By the next of these, after the last one by one, round and round."""
        ways = [None, *self.offered(groupings)]
        return self.by(ways[(ways.index(self.grouping) + 1) % len(ways)])

    def into(self, group: Group[Any]) -> "Place":
        """The rows of one of the groups that are here."""
        if self.grouping is None:
            return self
        return Place((*self.steps, Step(self.grouping, group.key, group.label)))

    def out(self) -> "Place":
        """One level back: from groups to rows, from the rows of a group to the groups."""
        if self.grouping is not None or not self.steps:
            return Place(self.steps)
        return Place(self.steps[:-1], self.steps[-1].grouping)

    @property
    def crumbs(self) -> str:
        """How one came here: `by name > api.example.org by code`."""
        parts = [f"by {step.grouping.name} > {_short(step.label)}" for step in self.steps]
        return " ".join([*parts, *([f"by {self.grouping.name}"] if self.grouping is not None else [])])


def _short(text: str) -> str:
    return text if len(text) <= _CRUMB_CHARACTERS else f"{text[: _CRUMB_CHARACTERS - 1]}…"


TOP = Place()


class Lines:
    """What a pane shows at a place: rows or groups. Does only what has not been done yet for the same rows."""

    def __init__(self, pane: PaneKind[Any]) -> None:
        self._pane = pane
        self._regrouping = Regrouping()
        self._narrowed_by: tuple[object, ...] = ()
        self._narrowed: Sequence[Any] = ()
        self._found_by: tuple[object, ...] = ()
        self._found: Sequence[Any] = ()
        self._selection: Selection[Any] = Selection(pane)
        self._selected_for = pane

    def pane(self, place: Place) -> PaneKind[Any]:
        """How the lines of a place are shown."""
        return self._pane if place.grouping is None else place.grouping.pane

    def rearrange(self, pane: PaneKind[Any]) -> None:
        """Other columns of rows."""
        self._pane = pane

    def rows(self, place: Place, rows: Sequence[Any], snapshot: Snapshot, names: bool) -> Sequence[Any]:
        """Of these rows those of the groups that one has gone into."""
        by = place.steps, rows, snapshot, names
        if not _same(by, self._narrowed_by):
            for step in place.steps:
                keying = self._regrouping.keying(step.grouping, snapshot, names)
                rows = list(compress(rows, map(eq, keying.keys(rows), repeat(step.key))))
            self._narrowed, self._narrowed_by = rows, by
        return self._narrowed

    def lines(self, place: Place, rows: Sequence[Any], snapshot: Snapshot, names: bool) -> Sequence[Any]:
        """The same rows, or the groups that they make."""
        rows = self.rows(place, rows, snapshot, names)
        if place.grouping is None:
            return rows
        by = place.grouping, rows, snapshot, names
        if not _same(by, self._found_by):
            self._found, self._found_by = self._regrouping.groups(place.grouping, rows, snapshot, names), by
        return self._found

    def sort(
        self, place: Place, lines: Sequence[Any], column: Column[Any], descending: bool, context: Context
    ) -> Sequence[Any]:
        """The lines of a place by one column."""
        pane = self.pane(place)
        if pane is not self._selected_for:
            self._selection, self._selected_for = Selection(pane), pane
        self._selection.select(lines, _ALL, True, context)
        return self._selection.sort(column, descending, context)


def _same(now: Sequence[object], before: Sequence[object]) -> bool:
    return len(now) == len(before) and all(map(is_, now, before))
