"""The main screen: the panes, the status bar, the filter; and the state of the view."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from nettop.model.filter import Filter
from nettop.model.kinds import CONNECTIONS, AnyRow
from nettop.model.rows import COMM_CHARACTERS
from nettop.model.snapshot import Snapshot
from nettop.text import printable_text
from nettop.tui.bindings import bindings
from nettop.tui.footer import KeyLine
from nettop.tui.prompts import FilterBar
from nettop.tui.size import TooSmall
from nettop.tui.status import Status, StatusBar
from nettop.tui.table import RECORDED_WITHOUT, RowTable
from nettop.view.columns import Column, Context
from nettop.view.columns import who as one_process
from nettop.view.keys import MAIN_KEYS
from nettop.view.layout import heights
from nettop.view.panes import (
    PANES,
    STACKED,
    PaneKind,
    Selection,
    Title,
    column_beside,
    next_column,
    shown,
    sort_by,
    tabs,
)
from nettop.view.said import said_by_filter

_MATCHLESS = "nothing matches the filter"


@dataclass(frozen=True)
class ViewState:
    """How the user looks at things; the collector knows nothing of it."""

    filter: Filter
    show_ended: bool = True
    names: bool = True
    sorts: dict[str, tuple[str, bool]] = field(default_factory=dict)


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
        self.view = view
        self.kind = view.kind
        self.title = TabTitle(view.name, "pane-title")
        self.selection: Selection[Any] = Selection(view)
        self.lines = 0  # its height, where the panes share the screen
        self.table: RowTable[Any] = RowTable(view, view.kind.empty, id=f"table-{view.name}")

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        yield self.title
        yield self.table

    def rearrange(self, view: PaneKind[Any]) -> None:
        """Other columns."""
        self.view = view
        self.table.rearrange(view)


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


class MainScreen(Screen[None]):
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
        self.state = ViewState(chosen, sorts={pane.name: (pane.sort, pane.descending) for pane in panes})
        self._panes = {pane.name: Pane(pane) for pane in panes}
        self._tabs = {pane.name: TabTitle(pane.name, "tab") for pane in panes}
        self._bar = StatusBar()
        self._stacked = stacked
        self._displayed: Sequence[str] = stacked  # below one another, where the terminal is tall enough
        self._guest: str | None = None  # the pane that takes the place of the lowest one
        self.active = CONNECTIONS.name if CONNECTIONS.name in stacked else stacked[0]

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        yield self._bar
        with Vertical(id="tabs"):
            yield from self._tabs.values()
        with PaneStack(id="panes"):
            others = (pane for name, pane in self._panes.items() if name not in self._stacked)
            yield from (*(self._panes[name] for name in self._stacked), *others)
        yield FilterBar()
        yield KeyLine()
        yield TooSmall()

    def on_mount(self) -> None:
        """Textual's hook."""
        self.activate(self.active)

    # Drawing

    def show(self, snapshot: Snapshot, context: Context, status: Status) -> None:
        """Draw from this snapshot, with the state of the view."""
        context = replace(context, names=self.state.names)
        self._bar.show(snapshot, replace(status, filter=self.state.filter))
        titles = {}
        for kind, pane in self._panes.items():
            candidates = pane.kind.rows_of(snapshot)
            rows = pane.selection.select(candidates, self.state.filter, self.state.show_ended, context.now)
            sorted_by = self.state.sorts[kind]
            column = pane.view.column(sorted_by[0])
            said = said_by_filter(pane.kind, rows, self.state.filter.text)
            if pane.display:
                empty = _MATCHLESS if candidates else RECORDED_WITHOUT if snapshot.filter else pane.kind.empty
                pane.table.show(pane.selection.sort(column, sorted_by[1], context), context, sorted_by, empty, said)
            titles[kind] = self._title(pane, rows, len(candidates), column, said)
            pane.title.say(titles[kind].whole)
        for kind, text in tabs(titles, self.active, self.size.width).items():
            self._tabs[kind].say(text)
        self.query_one(PaneStack).share([self._panes[name] for name in self._displayed])

    def _title(
        self, pane: Pane, rows: Sequence[AnyRow], total: int, column: Column[Any], said: Collection[str]
    ) -> Title:
        descending = self.state.sorts[pane.kind.name][1]
        left_out = self.state.filter.not_applied(pane.kind)
        note = f" · left out here: {printable_text(' '.join(left_out))}" if left_out else ""
        who = f"· {printable_text(one_process(rows[0].comm, rows[0].pid))} " if "pid" in said else ""
        number = list(self._panes).index(pane.kind.name) + 1
        return Title(
            f" {number} {pane.kind.title} ",
            f"{len(rows)}/{total} ",
            f"· by {column.title} {'▾' if descending else '▴'}{note} ",
            who,
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
    def selected(self) -> AnyRow | None:
        """The row under the cursor."""
        return self.table.cursor_row

    def activate(self, kind: str) -> None:
        """Make a pane the one that keys go to."""
        self.active = kind
        self._displayed, self._guest = shown(self._stacked, kind, self._guest)
        for other, pane in self._panes.items():
            pane.set_class(other in self._displayed, "-shown")
            pane.set_class(other == kind, "-active")
            self._tabs[other].set_class(other == kind, "-active")
        self.table.focus()
        self._changed()

    def _changed(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)
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
        return action != "edit_filter" or not self.query_one(FilterBar).has_class("-open")

    def action_edit_filter(self) -> None:
        """Open the filter bar."""
        self.query_one(FilterBar).open(self.state.filter)

    def action_filter_pid(self) -> None:
        """To the selected row's pid."""
        row = self.selected
        if row is not None and row.pid is not None:
            self._changed(filter=Filter(f"pid:{row.pid}"))

    def action_filter_comm(self) -> None:
        """To the selected row's comm."""
        row = self.selected
        if row is not None and row.comm:
            self._changed(filter=exactly("comm", row.comm))

    def action_clear_filter(self) -> None:
        """Everything again."""
        self._changed(filter=Filter(""))

    def on_filter_bar_changed(self, message: FilterBar.Changed) -> None:
        """As one types."""
        self._changed(filter=message.chosen)

    def on_filter_bar_closed(self) -> None:
        """Keys go to the pane again."""
        self.set_focus(self.table)
        self.query_one(FilterBar).close()

    def action_toggle_ended(self) -> None:
        """Connections that closed and processes that exited."""
        self._changed(show_ended=not self.state.show_ended)

    def toggle_names(self) -> None:
        """Names or addresses, here and in details."""
        self._changed(names=not self.state.names)

    def action_sort_next(self) -> None:
        """By the next column that is seen."""
        column = next_column(self.table.visible_columns(), self.state.sorts[self.active][0])
        self._sort(self.active, (column.key, column.descending))

    @property
    def sorted_by(self) -> tuple[str, bool]:
        """What the active pane is sorted by, and whether that descends."""
        return self.state.sorts[self.active]

    def sort_by(self, key: str | None) -> None:
        """By this column; again: the other way round."""
        if key is not None:
            self._sort(self.active, sort_by(self.table.pane.column(key), self.sorted_by))

    def action_sort_step(self, step: int) -> None:
        """By the column beside it, also one that has no room."""
        column = column_beside(self.table.pane, self.sorted_by[0], step)
        self._sort(self.active, (column.key, column.descending))

    def action_sort_reverse(self) -> None:
        """The other way round."""
        key, descending = self.state.sorts[self.active]
        self._sort(self.active, (key, not descending))

    def on_row_table_header_clicked(self, message: RowTable.HeaderClicked) -> None:
        """By this column; again: the other way round."""
        kind = message.table.pane.name
        self.activate(kind)
        self._sort(kind, sort_by(message.table.pane.column(message.column), self.state.sorts[kind]))

    def _sort(self, kind: str, sorted_by: tuple[str, bool]) -> None:
        self._changed(sorts={**self.state.sorts, kind: sorted_by})


def exactly(key: str, value: str) -> Filter:
    """The filter for just this value, whatever characters it has."""
    # a bracket makes a wildcard of the filter language literal; what cannot be written there may be any character
    literal = "".join(f"[{character}]" if character in "*?[" else character for character in value)
    if len(value) > COMM_CHARACTERS:  # as no kernel has one, but a recording may; with a wildcard it is taken
        literal = f"{literal}*"
    return Filter(f'{key}:"{"".join(c if c.isprintable() and c != chr(34) else "?" for c in literal)}"')
