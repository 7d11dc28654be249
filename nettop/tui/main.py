"""The main screen: the panes, the status bar, the filter; and the state of the view."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static

from nettop.model.cutting import Cuts
from nettop.model.filter import Filter
from nettop.model.kinds import CONNECTIONS, AnyRow
from nettop.model.snapshot import Snapshot
from nettop.text import printable_text
from nettop.tui.bindings import bindings
from nettop.tui.block_line import BlockLine
from nettop.tui.drilling import Drill, Drilling, counted
from nettop.tui.filter_bar import FilterBar, Filtering
from nettop.tui.finding_line import FindingLine
from nettop.tui.footer import KeyLine
from nettop.tui.search import SearchBar, Searching
from nettop.tui.size import TooSmall
from nettop.tui.status import StatusBar
from nettop.tui.table import RECORDED_WITHOUT, RowTable
from nettop.view.columns import Column, Context
from nettop.view.columns import who as one_process
from nettop.view.completion import Seen
from nettop.view.findings import Finding
from nettop.view.group import Group
from nettop.view.grouping import GROUPINGS
from nettop.view.headline import Status
from nettop.view.keys import MAIN_KEYS
from nettop.view.layout import heights
from nettop.view.marks import with_mark
from nettop.view.panes import (
    PANES,
    STACKED,
    PaneKind,
    Title,
    column_beside,
    is_off,
    next_column,
    pane_of,
    shown,
    sort_by,
    tabs,
)
from nettop.view.selection import Selection

_MATCHLESS = "nothing matches the filter"
_NOTHING_NEW = "nothing began after the mark"
_NOT_ASKED_FOR = "{} are not watched: start nettop with {}"


@dataclass(frozen=True)
class ViewState:
    """How the user looks at things; the collector knows nothing of it."""

    filter: Filter
    show_ended: bool = True
    names: bool = True
    only_new: bool = False  # since the mark, if there is one
    sorts: dict[str, tuple[str, bool]] = field(default_factory=dict)  # by the names of panes, those of groups too


class TabTitle(Static):
    """A pane's name and numbers; a click goes there."""

    class Clicked(Message):
        """Go to this pane."""

        def __init__(self, kind: str) -> None:
            super().__init__()
            self.kind = kind

    def __init__(self, kind: str, classes: str) -> None:
        super().__init__(markup=False, classes=classes)
        self.kind = kind
        self._said = ""

    def say(self, title: str) -> None:
        """Show this title; laid out anew only if it is another."""
        if title != self._said:
            layout = len(title) != len(self._said)
            self._said = title
            self.update(Text(title, no_wrap=True, overflow="ellipsis"), layout=layout)

    def on_click(self) -> None:
        """Textual's hook."""
        self.post_message(self.Clicked(self.kind))


class Pane(Vertical):
    """A title and a table."""

    def __init__(self, view: PaneKind[Any]) -> None:
        super().__init__(id=f"pane-{view.name}", classes="pane")
        self.kind = view.kind
        self.title = TabTitle(view.name, "pane-title")
        self.selection: Selection[Any] = Selection(view)
        self.lines = 0  # its height, where the panes share the screen
        self.table: RowTable[Any] = RowTable(view, view.kind.empty, id=f"table-{view.name}")
        self.drill = Drill(view, self.table)

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        yield self.title
        yield self.table

    def rearrange(self, view: PaneKind[Any]) -> None:
        """Other columns."""
        self.drill.rearrange(view)


class PaneStack(Vertical):
    """The panes below one another, which share its height."""

    _sharing: Sequence[Pane] = ()

    def share(self, panes: Sequence[Pane]) -> None:
        """Give each the lines that it needs; set only what has changed, because that costs a layout."""
        self._sharing = panes
        self._share()

    def on_resize(self) -> None:
        """Textual's hook."""
        self._share()

    def _share(self) -> None:
        panes, lines = [pane for pane in self._sharing if pane.display], self.size.height
        if len(panes) < 2 or not lines:
            return
        for pane, height in zip(panes, heights([len(each.table.shown_rows) for each in panes], lines), strict=True):
            if pane.lines != height:
                pane.lines = height
                pane.styles.height = f"{height}fr"  # so that one that has the screen for itself has all of it


class MainScreen(Filtering, Searching, Drilling):
    """Draws what show() is given. Keys change the state of the view, or ask the app."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(MAIN_KEYS)]
    AUTO_FOCUS = ""  # activate() does

    class StateChanged(Message):
        """The view is to be drawn anew, once for all changes that wait."""

        def can_replace(self, message: Message) -> bool:
            """Textual's hook."""
            return isinstance(message, MainScreen.StateChanged)

    def __init__(
        self, chosen: Filter, panes: Sequence[PaneKind[Any]] = PANES, stacked: Sequence[str] = STACKED
    ) -> None:
        super().__init__()
        sorts = {pane.name: (pane.sort, pane.descending) for pane in (*panes, *(each.pane for each in GROUPINGS))}
        self.state = ViewState(chosen, sorts=sorts)
        self._shown: tuple[Snapshot, Context, Status] | None = None
        self._panes = {pane.name: Pane(pane) for pane in panes}
        self._tabs = {pane.name: TabTitle(pane.name, "tab") for pane in panes}
        # found by name they would not be while the screen comes and goes, and it is drawn then too
        self._bar, self._finding, self._filter_bar = StatusBar(), FindingLine(), FilterBar()
        self._blocks = BlockLine()
        self._stack = PaneStack(id="panes")
        self._stacked = stacked
        self._displayed: Sequence[str] = stacked  # below one another, where the terminal is tall enough
        self._guest: str | None = None  # the pane that takes the place of the lowest one
        self.active = CONNECTIONS.name if CONNECTIONS.name in stacked else stacked[0]

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        yield self._bar
        yield self._blocks
        yield self._finding
        with Vertical(id="tabs"):
            yield from self._tabs.values()
        with self._stack:
            others = (pane for name, pane in self._panes.items() if name not in self._stacked)
            yield from (*(self._panes[name] for name in self._stacked), *others)
        yield self._filter_bar
        yield SearchBar()
        yield KeyLine()
        yield TooSmall()

    def on_mount(self) -> None:
        """Textual's hook."""
        self.activate(self.active)

    # Drawing

    def show(self, snapshot: Snapshot, context: Context, status: Status) -> None:
        """Draw from this snapshot, with the state of the view."""
        self._shown = snapshot, context, status
        if context.names is not self.state.names:
            context = replace(context, names=self.state.names)
        only_new = self.state.only_new and context.mark is not None
        self._bar.show(snapshot, replace(status, filter=self.state.filter, only_new=only_new))
        listed = context.mark.only_new(snapshot) if context.mark is not None and only_new else snapshot
        titles, shown_rows = {}, {}
        for kind, pane in self._panes.items():
            candidates = pane.kind.rows_of(listed)
            rows = pane.selection.select(candidates, self.state.filter, self.state.show_ended, context)
            total = len(candidates) + snapshot.filtered_out.get(kind, 0)  # with what a recording leaves out
            shown, shown_rows[kind] = counted(len(rows), total), len(rows)
            said = pane.drill.said(rows, self.state.filter)
            off = is_off(pane.kind, snapshot)
            if pane.display:
                without = _NOTHING_NEW if only_new else RECORDED_WITHOUT if snapshot.filter else pane.kind.empty
                if off:
                    without = _NOT_ASKED_FOR.format(pane.kind.title, pane.kind.option)
                empty = _MATCHLESS if candidates else without
                lined = pane.drill.show((pane.selection, rows), listed, context, self.state.sorts, (empty, said))
                shown = lined.title(total)
            who = one_process(rows[0].comm, rows[0].pid) if "pid" in said else ""
            title = with_mark(self._title(pane, shown, who), pane.kind, context.mark, only_new)
            pane.title.say(title.whole)
            self._tabs[kind].display = not off or kind == self.active
            if self._tabs[kind].display:
                titles[kind] = title
        for kind, text in tabs(titles, self.active, self.size.width).items():
            self._tabs[kind].say(text)
        self._stack.share([self._panes[name] for name in self._displayed])
        seen = Seen(snapshot, self._panes[self.active].kind, self.state.show_ended, shown_rows[self.active])
        self._filter_bar.show(seen)

    def tell(self, found: Sequence[Finding]) -> None:
        """Say what is wrong."""
        self._finding.show(found)

    def tell_cuts(self, cuts: Cuts) -> None:
        """Say what is blocked."""
        self._blocks.show(cuts)

    def prove(self, finding: Finding) -> None:
        """Show the rows that prove a finding, in their pane."""
        pane = self._panes[finding.pane]
        while pane.drill.out():
            pass
        self.activate(finding.pane)
        if finding.sort:
            self._changed(sorts={**self.state.sorts, finding.pane: (finding.sort, True)})
        self.set_filter(finding.filter)

    def redraw(self) -> None:
        """At once: the next key may be meant for what is shown then."""
        self._changed()
        if self._shown is not None:
            self.show(*self._shown)

    def _title(self, pane: Pane, shown: str, who: str) -> Title:
        key, descending = self.state.sorts[pane.drill.view.name]
        column: Column[Any] = pane.drill.view.column(key)
        left_out = self.state.filter.not_applied(pane.kind)
        number = list(self._panes).index(pane.kind.name) + 1
        return Title(
            f" {number} {pane.kind.title} ",
            printable_text(shown),
            f"· by {column.title} {'▾' if descending else '▴'} ",
            f"· {printable_text(who)} " if who else "",
            f"· left out here: {printable_text(' '.join(left_out))} " if left_out else "",
        )

    def rearrange(self, view: PaneKind[Any]) -> None:
        """Other columns of a pane."""
        self._panes[view.name].rearrange(view)
        self._changed()

    @property
    def table(self) -> RowTable[Any]:
        """The active pane's."""
        return self._panes[self.active].table

    @property
    def drill(self) -> Drill:
        """The active pane's."""
        return self._panes[self.active].drill

    def drill_of(self, table: RowTable[Any]) -> Drill:
        """That of the pane with this table."""
        return self._pane_of(table).drill

    def _pane_of(self, table: RowTable[Any]) -> Pane:
        return next(pane for pane in self._panes.values() if pane.table is table)

    @property
    def selected(self) -> AnyRow | Group[Any] | None:
        """The row or group under the cursor."""
        return self.table.cursor_row

    def select(self, row: AnyRow) -> None:
        """Put the cursor on this row, in its pane, once it is drawn there."""
        pane = self._panes[pane_of(row).name]
        pane.table.pin(pane.kind.key(row))
        self.activate(pane.kind.name)

    def activate(self, kind: str) -> None:
        """Make a pane the one that keys go to."""
        self.active = kind
        self._displayed, self._guest = shown(self._stacked, kind, self._guest)
        for other, pane in self._panes.items():
            pane.set_class(other in self._displayed, "-shown")
            pane.set_class(other == kind, "-active")
            self._tabs[other].set_class(other == kind, "-active")
        self.set_focus(self.table)  # now, not later as focus() would: the next key may have been pressed already
        self._changed()

    def _changed(self, **changes: Any) -> None:
        before, self.state = self.state, replace(self.state, **changes)
        for pane in self._panes.values() if changes else ():
            turned = before.sorts.get(pane.drill.view.name) != self.state.sorts.get(pane.drill.view.name)
            if turned or changes.keys() != {"sorts"}:  # what rows before needed, or in another order, is no measure
                pane.table.fit_anew()
        self.post_message(self.StateChanged())

    def on_resize(self) -> None:
        """Panes may have appeared."""
        self.call_after_refresh(self._changed)

    def on_descendant_focus(self) -> None:
        """A click into another pane makes it the active one."""
        for kind, pane in self._panes.items():
            if pane.table.has_focus:
                self.query_one(FilterBar).settle()
                if kind != self.active:
                    self.activate(kind)

    def on_tab_title_clicked(self, message: TabTitle.Clicked) -> None:
        """A click on a title."""
        self.activate(message.kind)

    # Keys

    def action_pane(self, kind: str) -> None:
        """Go to a pane."""
        self.activate(kind)

    def action_next_pane(self, step: int) -> None:
        """Go round those that are below one another; also where only one at a time has room."""
        kinds = self._displayed
        self.activate(kinds[(kinds.index(self.active) + step) % len(kinds)])

    def action_zoom(self) -> None:
        """One pane or all."""
        self.toggle_class("-zoomed")
        self.call_after_refresh(self._changed)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Textual's hook: while one types, a slash is a slash."""
        return action not in ("edit_filter", "search") or not self.query("FilterBar.-open, SearchBar.-open")

    @property
    def chosen(self) -> Filter:
        """The filter that is in effect."""
        return self.state.filter

    def choose(self, chosen: Filter) -> None:
        """Put a filter into effect."""
        self._changed(filter=chosen)

    def action_toggle_ended(self) -> None:
        """Connections that closed and processes that exited."""
        self._changed(show_ended=not self.state.show_ended)

    def toggle_names(self) -> None:
        """Names or addresses, here and in details."""
        self._changed(names=not self.state.names)

    def show_new(self, only: bool) -> None:
        """Only what is new since the mark, or everything."""
        self._changed(only_new=only)

    def action_sort_next(self) -> None:
        """By the next column that is seen."""
        column = next_column(self.table.visible_columns(), self.state.sorts[self.table.pane.name][0])
        self._sort(self.table, (column.key, column.descending))

    @property
    def sorted_by(self) -> tuple[str, bool]:
        """What the active pane is sorted by, and whether that descends."""
        return self.state.sorts[self.table.pane.name]

    def sort_by(self, key: str | None) -> None:
        """By this column; again: the other way round."""
        if key is not None and self.table.pane.has_column(key):  # asked for before one went into a group, it has not
            self._sort(self.table, sort_by(self.table.pane.column(key), self.sorted_by))

    def action_sort_step(self, step: int) -> None:
        """By the column beside it, also one that has no room."""
        column = column_beside(self.table.pane, self.sorted_by[0], step)
        self._sort(self.table, (column.key, column.descending))

    def action_sort_reverse(self) -> None:
        """The other way round."""
        key, descending = self.state.sorts[self.table.pane.name]
        self._sort(self.table, (key, not descending))

    def on_row_table_header_clicked(self, message: RowTable.HeaderClicked) -> None:
        """By this column; again: the other way round."""
        table = message.table
        self.activate(self._pane_of(table).kind.name)
        self._sort(table, sort_by(table.pane.column(message.column), self.state.sorts[table.pane.name]))

    def _sort(self, table: RowTable[Any], sorted_by: tuple[str, bool]) -> None:
        self._changed(sorts={**self.state.sorts, table.pane.name: sorted_by})
