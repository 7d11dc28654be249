"""A table of many rows that renders only the visible lines.

Textual's DataTable costs 82 ms a tick at 10,000 rows and 1.3 s a rebuild; drawing the lines that are seen costs a few.
"""

from collections.abc import Collection, Hashable, Iterator, Sequence
from itertools import zip_longest
from operator import indexOf
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from nettop.model.kinds import AnyRow
from nettop.text import printable_head
from nettop.tui.bindings import bindings
from nettop.tui.columns import TableColumns
from nettop.view.columns import Column, Context
from nettop.view.keys import ARROW_KEYS, TABLE_KEYS
from nettop.view.layout import GAP_CELLS, kept_end, worded
from nettop.view.marks import NEW
from nettop.view.panes import PaneKind
from nettop.view.search import find

RECORDED_WITHOUT = "nothing here matched the filter of the recording"  # of a table without rows

RowT = TypeVar("RowT", bound=AnyRow)


class Spot(NamedTuple):
    """Where the cursor is: on the row with this key (None: at the top), so many lines below the first that is seen."""

    key: Hashable | None = None
    line: int = 0


_SCROLLBAR_CELLS = 1
_GAP = " " * GAP_CELLS
_Part = tuple[str, tuple[str, ...]]  # a text and the names of its styles
_Line = tuple[_Part, ...]
_WHEEL_ROWS = 3
_ELLIPSIS = "…"
_UP, _DOWN = "▴", "▾"
_LEFT, _RIGHT = "◂", "▸"


def cell(text: str, cells: int, right: bool, keeps: str = "") -> str:
    """Text in exactly so many terminal cells; wide characters count two, what is cut ends in an ellipsis.

    `keeps` is ":" to cut it before a port at its end, "[" before a pid in brackets, where there is room for these.
    """
    end = kept_end(text, keeps)
    text = printable_head(text, cells)
    length = cell_len(text)
    if length > cells:
        kept = cells - 1 - cell_len(end)
        if kept < 1:
            end, kept = "", cells - 1
        return f"{set_cell_size(text, kept)}{_ELLIPSIS}{end}" if kept else set_cell_size(text, cells)
    padding = " " * (cells - length)
    return padding + text if right else text + padding


def _sorted_title(column: Column[Any], cells: int, descending: bool) -> str:
    """With an arrow, which may stand in the gap behind the column, so that the title is rarely cut for it."""
    arrow = _DOWN if descending else _UP
    title = cell(column.title, min(cell_len(column.title), cells - 1), right=False) if cells > 1 else ""
    return cell(f"{title}{arrow}", cells, column.align == "right")


def cell_of(column: Column[Any], row: AnyRow, context: Context, cells: int) -> str:
    """What a row says in a column, in the wording for so many cells."""
    return cell(worded(column, row, context, cells), cells, column.align == "right", column.keeps)


class RowTable(Widget, Generic[RowT], can_focus=True):
    """Rows of one kind. The cursor belongs to a row's key; before it was moved it stays at the top.

    `rows` come sorted; the table changes neither their order nor their number.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--header",
        "table--sorted",
        "table--cursor",
        "table--ended",
        "table--failed",
        "table--doubtful",
        "table--empty",
        "table--scrollbar",
    }
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(TABLE_KEYS), *bindings(ARROW_KEYS)]

    class Opened(Message):
        """Enter or a double click on a row."""

        def __init__(self, table: "RowTable[Any]", row: AnyRow) -> None:
            super().__init__()
            self.table = table
            self.row = row

    class HeaderClicked(Message):
        """A click on a column's title."""

        def __init__(self, table: "RowTable[Any]", column: str) -> None:
            super().__init__()
            self.table = table
            self.column = column

    def __init__(self, pane: PaneKind[RowT], empty: str, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.pane = pane
        self._empty = empty
        self._rows: Sequence[RowT] = ()
        self._cell_context: Context | None = None
        self._sorted_by: tuple[str, bool] | None = None
        self._cursor_key: Hashable | None = None  # None: the top row, whichever that is
        self._cursor = 0
        self._top = 0
        self._columns = TableColumns(pane)
        self._styles: dict[tuple[str, ...], Style] = {}
        self._lines: list[_Line] = []  # as they were drawn last, or are about to be
        self._area = Size()  # of the widget, which Textual looks up in the tree each time
        self._shown: tuple[Any, ...] | None = None  # what show() was given last; None: it has to look at it again

    # What is shown

    def show(
        self,
        rows: Sequence[RowT],
        context: Context,
        sorted_by: tuple[str, bool] | None,
        empty: str | None = None,
        said: Collection[str] = (),
    ) -> None:
        """Replace the rows; the cursor stays on its row, and that on its line.

        `empty` is said where there are none; the columns in `said` step back, because the screen says that elsewhere.
        """
        shown = rows, context, sorted_by, empty, frozenset(said)
        if (
            self._shown is not None
            and rows is self._shown[0]
            and context is self._shown[1]
            and shown[2:] == self._shown[2:]
        ):
            return
        self._shown = shown
        self._empty = empty or self._empty
        line = self._cursor - self._top
        self._rows, self._cell_context, self._sorted_by = rows, context, sorted_by
        if self._cursor_key is None:
            self._cursor = 0
        else:
            key = self.pane.kind.key
            try:
                self._cursor = indexOf(map(key, rows), self._cursor_key)
            except ValueError:  # gone: whatever took its place
                self._cursor = max(min(self._cursor, len(rows) - 1), 0)
                self._cursor_key = key(rows[self._cursor]) if rows and self._cursor else None
        self._top = self._cursor - line
        self._clamp()
        self._columns.show(self._in_sight, context, sorted_by, said)
        self._redraw()

    @property
    def _in_sight(self) -> Sequence[RowT]:
        return self._rows[self._top : self._top + self._page]

    def rearrange(self, pane: PaneKind[RowT]) -> None:
        """Other columns, or in another order."""
        self.pane, self._shown = pane, None
        self._columns.rearrange(pane)
        self._redraw()

    def fit_anew(self) -> None:
        """Let columns be as wide as the rows need that are shown next, whatever was shown before."""
        self._columns.fit_anew()
        self._shown = None

    def turn_to(self, pane: PaneKind[Any], spot: Spot) -> None:
        """Go on with rows of another kind, which show() has to bring at once; the cursor goes to the spot."""
        self.pane, self._shown = pane, None
        self._rows, self._cursor_key, self._cursor, self._top = (), spot.key, spot.line, 0
        self._columns.turn_to(pane)

    @property
    def spot(self) -> Spot:
        """Where the cursor is."""
        return Spot(self._cursor_key, self._cursor - self._top)

    @property
    def cursor_row(self) -> RowT | None:
        """The row under the cursor; None if there are no rows."""
        return self._rows[self._cursor] if self._rows else None

    @property
    def shown_rows(self) -> Sequence[RowT]:
        """All rows, in their order."""
        return self._rows

    @property
    def cursor_index(self) -> int:
        """The place of that row among all."""
        return self._cursor

    def find(self, text: str, start: int, step: int) -> int | None:
        """The place of the next row that has this text in one of its columns, from `start` on."""
        context = self._cell_context
        if context is None:
            return None
        return find(self._rows, self.pane.columns, context, text, start=start, step=step)

    def visible_columns(self) -> list[Column[RowT]]:
        """The columns that fit; all of them before the first layout."""
        fitting = [column for column, _ in self._columns.layout.columns if column is not NEW]
        return fitting or list(self.pane.columns)

    @property
    def _page(self) -> int:
        return max(self._area.height - 1, 1)

    def _clamp(self) -> None:
        self._top = max(min(self._top, self._cursor), self._cursor - self._page + 1)
        self._top = max(min(self._top, len(self._rows) - self._page), 0)

    # Keys and mouse

    def move_to(self, index: int) -> None:
        """Put the cursor on the row at this place and pin it there."""
        if not self._rows:
            return
        self._cursor = max(min(index, len(self._rows) - 1), 0)
        self._cursor_key = self.pane.kind.key(self._rows[self._cursor])
        self._clamp()
        self._redraw()

    def pin(self, key: Hashable) -> None:
        """Put the cursor on the row with this key when it is shown next."""
        self._cursor_key, self._shown = key, None

    def action_move(self, step: int) -> None:
        """One row."""
        self.move_to(self._cursor + step)

    def action_page(self, step: int) -> None:
        """One page."""
        self.move_to(self._cursor + step * self._page)

    def action_first(self) -> None:
        """The top, and stay there while rows come and go."""
        self._cursor, self._top, self._cursor_key = 0, 0, None
        self._redraw()

    def action_last(self) -> None:
        """The last row."""
        self.move_to(len(self._rows) - 1)

    def action_open(self) -> None:
        """Detail of the row under the cursor."""
        row = self.cursor_row
        if row is not None:
            self.post_message(self.Opened(self, row))

    def action_scroll_columns(self, step: int) -> None:
        """To columns that have no room."""
        self._columns.scroll(step)
        self._redraw()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel moves the rows; the cursor follows when it would leave them."""
        self._wheel(_WHEEL_ROWS)
        event.stop()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """See on_mouse_scroll_down."""
        self._wheel(-_WHEEL_ROWS)
        event.stop()

    def _wheel(self, rows: int) -> None:
        self._top = max(min(self._top + rows, len(self._rows) - self._page), 0)
        cursor = max(min(self._cursor, self._top + self._page - 1), self._top)
        if cursor != self._cursor:
            self.move_to(cursor)
        self._redraw()

    def on_click(self, event: events.Click) -> None:
        """A title sorts, a row is selected, twice is opened."""
        if event.y == 0:
            column = self._column_at(event.x)
            if column is not None and column is not NEW:
                self.post_message(self.HeaderClicked(self, column.key))
            return
        index = self._top + event.y - 1
        if index < len(self._rows):
            self.move_to(index)
            if event.chain > 1:
                self.action_open()

    def _column_at(self, x: int) -> Column[RowT] | None:
        for column, cells in self._columns.layout.columns:
            if x < cells + GAP_CELLS:
                return column
            x -= cells + GAP_CELLS
        return None

    def on_resize(self) -> None:
        """Another width may hold other columns."""
        self._area = self.size
        self._clamp()
        self._columns.resize(max(self._area.width - _SCROLLBAR_CELLS, 1), self._in_sight, self._cell_context)
        self._lines = []  # all of them: Textual may have drawn with the old width before this
        self._redraw()

    # Drawing

    def notify_style_update(self) -> None:
        """Textual's hook: themes and classes changed."""
        super().notify_style_update()
        self._styles = {}

    def _style(self, names: tuple[str, ...]) -> Style:
        """Of all these together; to add styles takes longer than all else of a line."""
        style = self._styles.get(names)
        if style is None:
            added = (self.get_component_rich_style(f"table--{name}") if name else self.rich_style for name in names)
            style = self._styles[names] = sum(added, Style.null())
        return style

    def _redraw(self) -> None:
        """Draw the lines anew that have become others: few do with a tick, and all are a third of what it costs."""
        lines = [self._line(y) for y in range(self._area.height)]
        changed = [y for y, (now, before) in enumerate(zip_longest(lines, self._lines)) if now != before]
        self._lines = lines
        if len(changed) > len(lines) // 2:
            self.refresh()
        elif changed:
            self.refresh(*(Region(0, y, self._area.width, 1) for y in changed))

    def _line(self, y: int) -> _Line:
        """One line: the titles, a row, or nothing."""
        if y == 0:
            return self._header()
        index = self._top + y - 1
        if index >= len(self._rows) or self._cell_context is None:
            empty = y == 1 and not self._rows
            return ((f"  {self._empty}", ("empty",)),) if empty else (("", ("",)),)
        row = self._rows[index]
        styles = ("ended" if self.pane.is_over(row) else "", *(("cursor",) if index == self._cursor else ()))
        return (*self._cells(row, self._cell_context, styles), (self._scrollbar(y), ("scrollbar",)))

    def _cells(self, row: RowT, context: Context, styles: tuple[str, ...]) -> Iterator[_Part]:
        """The cells of a row, padded up to the scrollbar. What stands out is a part of its own, all between is one."""
        room = max(self._area.width - _SCROLLBAR_CELLS, 0)
        plain = ""
        for column, cells in self._columns.layout.columns:
            text = worded(column, row, context, cells)
            shown = cell(text, cells, column.align == "right", column.keeps)
            room -= cells + GAP_CELLS
            mark = column.mark(row, text)
            if mark is None:
                plain += shown + _GAP
            else:
                yield plain, styles
                yield shown, (styles[0], mark, *styles[1:])
                plain = _GAP
        # the last cell has no gap behind it
        yield plain + " " * room if room >= 0 else plain[:room], styles

    def render_line(self, y: int) -> Strip:
        """Textual's hook."""
        line = self._lines[y] if y < len(self._lines) else self._line(y)
        segments = [Segment(text, self._style(styles)) for text, styles in line]
        return Strip(segments).adjust_cell_length(self._area.width, segments[-1].style)

    def _header(self) -> _Line:
        more = f"{_LEFT if self._columns.layout.before else ''}{_RIGHT if self._columns.layout.after else ''}"
        parts: list[_Part] = []
        left = self._area.width - len(more)
        for column, cells in self._columns.layout.columns:
            span = min(cells + GAP_CELLS, left)
            left -= span
            if self._sorted_by is not None and self._sorted_by[0] in (column.key, *column.instead_of):
                parts.append((_sorted_title(column, span, self._sorted_by[1]), ("header", "sorted")))
            else:
                title = cell(column.title, min(cells, span), column.align == "right")
                parts.append((cell(title, span, right=False), ("header",)))
        return (*parts, (" " * left + more, ("header",)))

    def _scrollbar(self, y: int) -> str:
        total, page = len(self._rows), self._page
        if total <= page:
            return " "
        thumb = max(page * page // total, 1)
        start = round(self._top / (total - page) * (page - thumb))
        return "█" if start <= y - 1 < start + thumb else "│"
