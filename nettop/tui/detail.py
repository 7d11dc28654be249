"""The detail of a row, kept up to date while it is open."""

from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from nettop.model.filter import AnyRow
from nettop.model.snapshot import Snapshot
from nettop.tui.columns import Context
from nettop.tui.facts import Detail, detail, newest
from nettop.tui.keys import DETAIL_KEYS, MAIN_KEYS, bindings
from nettop.tui.table import RowTable
from nettop.tui.view import CONNECTION_PANE, DNS_PANE, sort

_LABEL_CELLS = 12
_SHARED_KEYS = tuple(key for key in MAIN_KEYS if key.id in ("row.copy", "help", "quit", "pause", "names"))


class DetailScreen(Screen[None]):
    """Facts above, the rows that belong to them below."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(DETAIL_KEYS), *bindings(_SHARED_KEYS)]

    def __init__(self, row: AnyRow, snapshot: Snapshot, context: Context) -> None:
        super().__init__()
        self.row = row
        self._snapshot = snapshot
        self._cell_context = context
        self._connections: RowTable[Any] = RowTable(CONNECTION_PANE, "no connections", id="detail-connections")
        self._queries: RowTable[Any] = RowTable(DNS_PANE, "no DNS queries", id="detail-queries")

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        shown = detail(self.row, self._snapshot, self._cell_context)
        yield Static(Text(shown.title), id="detail-title", markup=False)
        with VerticalScroll(id="detail-facts", can_focus=False):
            yield Static(id="facts", markup=False)
        if shown.connections is not None:
            yield Static(Text("Connections"), classes="detail-heading", markup=False)
            yield self._connections
        if shown.queries is not None:
            yield Static(Text("DNS queries"), classes="detail-heading", markup=False)
            yield self._queries
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Textual's hook."""
        self.show(self._snapshot, self._cell_context)

    def show(self, snapshot: Snapshot, context: Context) -> None:
        """Draw from this snapshot."""
        self._snapshot, self._cell_context = snapshot, context
        self.row = newest(self.row, snapshot)
        shown = detail(self.row, snapshot, context)
        self.query_one("#facts", Static).update(facts_text(shown))
        for table, rows in ((self._connections, shown.connections), (self._queries, shown.queries)):
            if rows is not None:
                pane = table.pane
                ordered = sort(list(rows), pane.column(pane.sort), pane.descending, context)
                table.show(ordered, context, (pane.sort, pane.descending))

    @property
    def selected(self) -> AnyRow:
        """What copying copies: the row in the focused table, or the subject itself."""
        focused = self.focused
        row = focused.cursor_row if isinstance(focused, RowTable) else None
        return self.row if row is None else row

    def action_back(self) -> None:
        """Where one came from."""
        self.dismiss()

    def action_next_table(self, step: int) -> None:
        """The other table."""
        if step > 0:
            self.focus_next()
        else:
            self.focus_previous()


def facts_text(shown: Detail) -> Text:
    """Labels and values, aligned."""
    text = Text()
    for label, value in shown.facts:
        text.append(f"{label:>{_LABEL_CELLS}}  ", "dim")
        text.append(f"{value}\n")
    text.rstrip()
    return text
