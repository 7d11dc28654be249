"""The menus of columns: what to sort by, and which columns a pane has."""

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.segment import Segment
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from nettop.tui.bindings import bindings
from nettop.tui.footer import KeyLine
from nettop.tui.once import ClosedOnce
from nettop.tui.size import TooSmall
from nettop.view.arrangement import Picked, picked, sort_letters, sortable
from nettop.view.keys import COLUMNS_KEYS, SORT_MENU_KEYS
from nettop.view.panes import PaneKind

_TITLE_CELLS = 9


class MenuLines(Widget, can_focus=True):
    """Lines with a cursor, which is always in sight. A click puts it on a line and says so."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"menu--cursor", "menu--line"}

    class Clicked(Message):
        """A click on the line that has the cursor now."""

    def __init__(self, cursor: int = 0) -> None:
        super().__init__()
        self.cursor = cursor
        self._lines: Sequence[str] = ()
        self._top = 0

    def show(self, lines: Sequence[str], cursor: int) -> None:
        """Draw these lines."""
        if len(lines) != len(self._lines):
            self.styles.height = len(lines)
        self._lines = lines
        self.cursor = max(min(cursor, len(lines) - 1), 0)
        self._scroll()

    def _scroll(self) -> None:
        page = max(self.size.height, 1)
        self._top = max(min(self._top, self.cursor, len(self._lines) - page), self.cursor - page + 1, 0)
        self.refresh()

    def on_resize(self) -> None:
        """Textual's hook."""
        self._scroll()

    def on_click(self, event: events.Click) -> None:
        """Textual's hook."""
        if self._top + event.y < len(self._lines):
            self.cursor = self._top + event.y
            self._scroll()
            self.post_message(self.Clicked())

    def render_line(self, y: int) -> Strip:
        """Textual's hook."""
        at = self._top + y
        style = self.get_component_rich_style("menu--cursor" if at == self.cursor else "menu--line")
        text = self._lines[at] if at < len(self._lines) else ""
        return Strip([Segment(text, style)]).adjust_cell_length(self.size.width, style)


class _Menu(ClosedOnce, ModalScreen[Any]):
    """A heading, lines, and the keys."""

    AUTO_FOCUS = "MenuLines"

    def __init__(self, heading: str) -> None:
        super().__init__()
        self._heading = heading
        self.lines = MenuLines()

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        with Vertical(classes="menu"):
            yield Static(Text(self._heading), classes="menu-heading", markup=False)
            yield self.lines
        yield KeyLine()
        yield TooSmall()

    def on_mount(self) -> None:
        """Textual's hook."""
        self.draw()

    def draw(self) -> None:
        """Show the lines as they are now."""

    def action_move(self, step: int) -> None:
        """One line."""
        self.lines.cursor += step
        self.draw()


class SortMenu(_Menu):
    """What to sort by: the key of the column, or None. A letter chooses at once."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(SORT_MENU_KEYS)]

    def __init__(self, pane: PaneKind[Any], sorted_by: tuple[str, bool]) -> None:
        super().__init__(f"Sort {pane.kind.plural} by (a letter, or enter; again: the other way round)")
        self._columns = sortable(pane)
        self._letters = {column.key: letter for letter, column in sort_letters(self._columns).items()}
        self._sorted_by = sorted_by
        keys = [column.key for column in self._columns]
        self.lines.cursor = keys.index(sorted_by[0]) if sorted_by[0] in keys else 0

    def draw(self) -> None:
        """See _Menu."""
        arrow = "▾" if self._sorted_by[1] else "▴"
        self.lines.show(
            [
                f" {self._letters.get(column.key, ' ')} {arrow if column.key == self._sorted_by[0] else ' '} "
                f"{column.title:<{_TITLE_CELLS}} {column.meaning}"
                for column in self._columns
            ],
            self.lines.cursor,
        )

    def on_key(self, event: events.Key) -> None:
        """The letter of a column; keys with a meaning of their own do not come here."""
        for key, letter in self._letters.items():
            if event.character == letter:
                event.stop()
                self.dismiss(key)

    def on_menu_lines_clicked(self) -> None:
        """A click on a line."""
        self.action_choose()

    def action_choose(self) -> None:
        """The column under the cursor."""
        self.dismiss(self._columns[self.lines.cursor].key)

    def action_close(self) -> None:
        """Leave everything as it is."""
        self.dismiss(None)


class ColumnPicker(_Menu):
    """The columns of a pane, shown or not, and their order; the screen follows at once. Gives the pane to keep."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(COLUMNS_KEYS)]

    class Arranged(Message):
        """The pane looks like this now."""

        def __init__(self, pane: PaneKind[Any]) -> None:
            super().__init__()
            self.pane = pane

    def __init__(self, pane: PaneKind[Any], configured: PaneKind[Any]) -> None:
        super().__init__(f"Columns of {pane.kind.plural}")
        self._before = self._pane = pane
        self._configured = configured
        self._picked = picked(pane)

    def draw(self) -> None:
        """See _Menu."""
        columns = {column.key: column for column in (*self._pane.columns, *self._pane.hidden)}
        self.lines.show(
            [
                f" [{'x' if key in self._picked.shown else ' '}] {columns[key].title:<{_TITLE_CELLS}} "
                f"{columns[key].meaning}"
                for key in self._picked.keys
            ],
            self.lines.cursor,
        )

    @property
    def _key(self) -> str:
        return self._picked.keys[self.lines.cursor]

    def on_menu_lines_clicked(self) -> None:
        """A click on a line."""
        self.action_switch()

    def action_switch(self) -> None:
        """The column under the cursor on or off."""
        self._arrange(self._picked.toggled(self._key))

    def action_shift(self, step: int) -> None:
        """The column under the cursor to another place; the cursor goes with it."""
        key = self._key
        moved = self._picked.moved(key, step)
        self.lines.cursor = moved.keys.index(key)
        self._arrange(moved)

    def action_reset(self) -> None:
        """What the settings say."""
        self._arrange(picked(self._configured))

    def action_keep(self) -> None:
        """Close, and remember."""
        self.dismiss(self._pane)

    def action_cancel(self) -> None:
        """Close, and forget."""
        self.post_message(self.Arranged(self._before))
        self.dismiss(None)

    def _arrange(self, chosen: Picked) -> None:
        self._picked, self._pane = chosen, chosen.applied(self._pane)
        self.post_message(self.Arranged(self._pane))
        self.draw()
