"""The detail of a row, kept up to date while it is open."""

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.style import Style
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from nettop.model.kinds import AnyRow, capitalized
from nettop.model.snapshot import Snapshot
from nettop.text import printable_head, printable_text
from nettop.tui.bindings import bindings
from nettop.tui.footer import KeyLine
from nettop.tui.once import ClosedOnce
from nettop.tui.size import TooSmall
from nettop.tui.table import RECORDED_WITHOUT, RowTable
from nettop.view.columns import Context
from nettop.view.facts import Detail, detail
from nettop.view.keys import KEYS_IN_DETAIL
from nettop.view.layout import most_lines_of_facts
from nettop.view.panes import PANES, PaneKind, column_beside, newest, next_column, sort_by
from nettop.view.ranking import sort
from nettop.view.said import said_by_detail

_LABEL_CELLS = 12
_LINES_BESIDE = 2  # title and keys; each table has a heading
MAX_FACT_CHARACTERS = 8192  # more than anybody reads: laying out 64 KB takes tenths of a second, at every tick


class DetailScreen(ClosedOnce, Screen[None]):
    """Facts above, the rows that belong to them below."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"detail--label"}
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(KEYS_IN_DETAIL)]
    AUTO_FOCUS = "RowTable"

    def __init__(
        self, row: AnyRow, snapshot: Snapshot, context: Context, panes: Sequence[PaneKind[Any]] = PANES
    ) -> None:
        super().__init__()
        self.row = row
        self._snapshot = snapshot
        self._cell_context = context
        self._tables: dict[str, RowTable[Any]] = {
            pane.name: RowTable(pane, f"no {pane.kind.plural}", id=f"detail-{pane.name}") for pane in panes
        }
        self._sorts = {pane.name: (pane.sort, pane.descending) for pane in panes}

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        shown = detail(self.row, self._snapshot, self._cell_context)
        yield Static(
            Text(printable_text(shown.title), no_wrap=True, overflow="ellipsis"), id="detail-title", markup=False
        )
        with VerticalScroll(id="detail-facts", can_focus=False):
            yield Static(id="facts", markup=False)
        for kind in shown.related:
            yield Static(Text(capitalized(kind.plural)), classes="detail-heading", markup=False)
            yield self._tables[kind.name]
        yield KeyLine()
        yield TooSmall()

    def on_mount(self) -> None:
        """Textual's hook."""
        self.show(self._snapshot, self._cell_context)

    def show(self, snapshot: Snapshot, context: Context) -> None:
        """Draw from this snapshot."""
        self._snapshot, self._cell_context = snapshot, context
        self.row = newest(self.row, snapshot)
        shown = detail(self.row, snapshot, context)
        self.query_one("#facts", Static).update(facts_text(shown, self.get_component_rich_style("detail--label")))
        self.call_after_refresh(self._let_facts_scroll)
        empty = RECORDED_WITHOUT if snapshot.filter else None
        for kind, rows in shown.related.items():
            table, (key, descending) = self._tables[kind.name], self._sorts[kind.name]
            column = table.pane.column(key)
            if not table.is_attached:  # it had nothing to show when the screen opened
                continue
            said = said_by_detail(kind, rows, self.row)
            table.show(sort(list(rows), column, descending, context), context, (key, descending), empty, said)
        self._share_height()

    def on_resize(self) -> None:
        """Textual's hook."""
        self._share_height()

    def _share_height(self) -> None:
        """The tables keep what they need, up to a half; what they do not need, the facts may have."""
        tables = [table for table in self._tables.values() if table.is_attached]
        lines = self.size.height - _LINES_BESIDE - len(tables)
        most = most_lines_of_facts([len(table.shown_rows) for table in tables], lines)
        self.query_one("#detail-facts").styles.max_height = most

    def _let_facts_scroll(self) -> None:
        """By the keys, after tab; where nothing is hidden tab has no business there."""
        facts = self.query_one("#detail-facts")
        facts.can_focus = facts.max_scroll_y > 0

    @property
    def table(self) -> RowTable[Any] | None:
        """The focused one."""
        focused = self.focused
        return focused if isinstance(focused, RowTable) else None

    @property
    def selected(self) -> AnyRow:
        """What copying copies: the row in the focused table, or the subject itself."""
        row = self.table.cursor_row if self.table else None
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

    def action_sort_next(self) -> None:
        """The focused table by its next column."""
        if self.table is not None:
            column = next_column(self.table.visible_columns(), self._sorts[self.table.pane.name][0])
            self._sort(self.table, (column.key, column.descending))

    @property
    def sorted_by(self) -> tuple[str, bool]:
        """What the focused table is sorted by, and whether that descends."""
        return self._sorts[self.table.pane.name] if self.table else ("", False)

    def sort_by(self, key: str | None) -> None:
        """The focused table by this column; again: the other way round."""
        if self.table is not None and key is not None:
            self._sort(self.table, sort_by(self.table.pane.column(key), self.sorted_by))

    def rearrange(self, pane: PaneKind[Any]) -> None:
        """Other columns of a table."""
        self._tables[pane.name].rearrange(pane)

    def action_sort_step(self, step: int) -> None:
        """The focused table by the column beside it, also one that has no room."""
        if self.table is not None:
            column = column_beside(self.table.pane, self.sorted_by[0], step)
            self._sort(self.table, (column.key, column.descending))

    def action_sort_reverse(self) -> None:
        """The focused table the other way round."""
        if self.table is not None:
            key, descending = self._sorts[self.table.pane.name]
            self._sort(self.table, (key, not descending))

    def on_row_table_header_clicked(self, message: RowTable.HeaderClicked) -> None:
        """As on the main screen."""
        message.stop()
        table = message.table
        self._sort(table, sort_by(table.pane.column(message.column), self._sorts[table.pane.name]))

    def _sort(self, table: RowTable[Any], sorted_by: tuple[str, bool]) -> None:
        self._sorts[table.pane.name] = sorted_by
        self.show(self._snapshot, self._cell_context)


def _bounded(value: str) -> str:
    shown = printable_text(value[:MAX_FACT_CHARACTERS])
    more = len(value) - MAX_FACT_CHARACTERS
    return f"{shown}… ({more} more characters)" if more > 0 else shown


def facts_text(shown: Detail, label_style: Style | str = "") -> Table:
    """Labels and values, aligned; what is too long goes on below its beginning."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style=label_style, width=_LABEL_CELLS, overflow="ellipsis", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in shown.facts:
        table.add_row(Text(printable_head(label, _LABEL_CELLS)), Text(_bounded(value)))
    return table
