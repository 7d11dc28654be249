"""Going into groups and out: what the main screen and its panes have for that."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from textual.screen import Screen

from nettop.model.filter import Filter
from nettop.model.snapshot import Snapshot
from nettop.tui.choices import Choice, Choices
from nettop.tui.table import RowTable, Spot
from nettop.view.columns import Context
from nettop.view.drill import TOP, Lines
from nettop.view.group import Group
from nettop.view.grouping import Grouping, grouping_of, groupings_of
from nettop.view.panes import PaneKind
from nettop.view.said import NOTHING, said_by_filter
from nettop.view.selection import Selection

_GONE = "nothing is left of this group"
_ROWS = "rows, one by one"  # not grouped


def counted(shown: int, total: int) -> str:
    """How many rows are shown, for a title; of how many, if not all are."""
    return f"{shown} of {total} " if shown < total else f"{total} "


class Lined(NamedTuple):
    """What a table shows: where that is, how many groups, of how many rows."""

    crumbs: str
    groups: str
    rows: int

    def title(self, total: int) -> str:
        """The same for a title; `total` are the rows that there are."""
        number = counted(self.rows, total)
        return f"{self.crumbs} · {self.groups}{number}" if self.crumbs else number


class Drill:
    """Where one is in the groups of a pane, and what its table shows there."""

    def __init__(self, view: PaneKind[Any], table: RowTable[Any]) -> None:
        self.place = TOP
        self._kind = view.kind
        self._table = table
        self._lines = Lines(view)
        self._spots: list[Spot] = []  # where the cursor was before one went into each group
        self._spot = Spot()  # where it goes with the next change of place

    @property
    def view(self) -> PaneKind[Any]:
        """How lines are shown here."""
        return self._lines.pane(self.place)

    @property
    def groupings(self) -> list[Grouping]:
        """By what rows can be grouped here."""
        return self.place.offered(groupings_of(self._kind))

    def into(self, group: Group[Any]) -> bool:
        """Go into a group; False if it is not one of those that are here."""
        if group.pane is not self.view:
            return False
        self._spots.append(self._table.spot)
        self.place = self.place.into(group)
        return True

    def out(self) -> bool:
        """Go one level back; False at the top."""
        before = self.place
        self.place = before.out()
        if len(self.place.steps) < len(before.steps):
            self._spot = self._spots.pop()
        return before != TOP

    def next(self) -> None:
        """By the next thing that rows share."""
        self.place = self.place.next(groupings_of(self._kind))

    def by(self, name: str) -> None:
        """By the thing with this name; one by one if there is none. As it is where one is inside such a group."""
        grouping = grouping_of(self._kind, name)
        if grouping is None or grouping in self.groupings:
            self.place = self.place.by(grouping)

    def rearrange(self, view: PaneKind[Any]) -> None:
        """Other columns of rows; those of groups stay as they are."""
        if self.place.grouping is None:
            self._table.rearrange(view)
        self._lines.rearrange(view)

    def said(self, rows: Sequence[Any], chosen: Filter) -> Collection[str]:
        """Keys of the columns of these rows that say nothing which the filter does not say; groups have others."""
        return said_by_filter(self._kind, rows, chosen.text) if self.place.grouping is None else NOTHING

    def show(
        self,
        selected: tuple[Selection[Any], Sequence[Any]],
        snapshot: Snapshot,
        context: Context,
        sorts: Mapping[str, tuple[str, bool]],
        elsewhere: tuple[str, Collection[str]],
    ) -> "Lined":
        """Draw what the selected rows are here.

        `elsewhere` is why there may be none, and the columns that say what the screen says already.
        """
        selection, rows = selected
        empty, said = elsewhere
        place, view = self.place, self.view
        if self._table.pane is not view:
            self._table.turn_to(view, self._spot)
            self._spot = Spot()
        key, descending = sorts[view.name]
        kept = self._lines.rows(place, rows, snapshot, context.names)
        lines = self._lines.lines(place, rows, snapshot, context.names)
        if place == TOP:
            ordered = selection.sort(view.column(key), descending, context)
        else:
            ordered = self._lines.sort(place, lines, view.column(key), descending, context)
        self._table.show(ordered, context, (key, descending), _GONE if place.steps else empty, said)
        groups = ""
        if place.grouping is not None:
            groups = f"{len(lines)} {place.grouping.name if len(lines) == 1 else place.grouping.plural}, "
        return Lined(place.crumbs, groups, len(kept))


class Drilling(Screen[None]):
    """What keys do with the groups of the active pane."""

    @property
    def drill(self) -> Drill:
        """The active pane's."""
        raise NotImplementedError

    def drill_of(self, table: RowTable[Any]) -> Drill:
        """That of the pane with this table."""
        raise NotImplementedError

    def redraw(self) -> None:
        """At once: the next key may be meant for what is shown then."""
        raise NotImplementedError

    def action_clear_filter(self) -> None:
        """Everything again."""
        raise NotImplementedError

    def action_back(self) -> None:
        """One level back; at the top everything again."""
        if self.drill.out():
            self.redraw()
        else:
            self.action_clear_filter()

    def action_group_next(self) -> None:
        """By the next thing that rows share."""
        self.drill.next()
        self.redraw()

    def action_group_menu(self) -> None:
        """Ask by what."""
        drill = self.drill
        choices = [
            Choice("", _ROWS, drill.place.grouping is None),
            *(Choice(each.name, each.name, each is drill.place.grouping) for each in drill.groupings),
        ]
        self.app.push_screen(Choices("Group by", choices), self.group_by)

    def group_by(self, name: str | None) -> None:
        """By the thing with this name; one by one if there is none. None: as it is."""
        if name is not None:
            self.drill.by(name)
            self.redraw()

    def on_row_table_opened(self, message: RowTable.Opened) -> None:
        """Enter on a group goes into it; on a row the app shows its detail."""
        if isinstance(message.row, Group):
            message.stop()
            if self.drill_of(message.table).into(message.row):
                self.redraw()
            else:  # pressed twice before the first had its effect: it is meant for what is shown now
                message.table.call_later(message.table.action_open)
