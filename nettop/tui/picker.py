"""The picker of columns: which of them a pane has, and in what order."""

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.segment import Segment
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget

from nettop.text import cut
from nettop.tui.bindings import bindings
from nettop.tui.footer import KeyLine
from nettop.tui.once import ClosedOnce
from nettop.tui.size import TooSmall
from nettop.view.arrangement import TITLE_CELLS, Picked, picked
from nettop.view.keys import COLUMNS_KEYS
from nettop.view.panes import PaneKind


class PickerLines(Widget, can_focus=True):
    """Lines with a cursor, which is always in sight. A click puts it on a line and says so."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"picker--cursor", "picker--line"}

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
        style = self.get_component_rich_style("picker--cursor" if at == self.cursor else "picker--line")
        text = self._lines[at] if at < len(self._lines) else ""
        return Strip([Segment(cut(text, self.size.width), style)]).adjust_cell_length(self.size.width, style)


class ColumnPicker(ClosedOnce, ModalScreen[PaneKind[Any] | None]):
    """The columns of a pane, shown or not, and their order; the screen follows at once. Gives the pane to keep."""

    AUTO_FOCUS = "PickerLines"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(COLUMNS_KEYS)]

    class Arranged(Message):
        """The pane looks like this now."""

        def __init__(self, pane: PaneKind[Any]) -> None:
            super().__init__()
            self.pane = pane

    def __init__(self, pane: PaneKind[Any], configured: PaneKind[Any]) -> None:
        super().__init__()
        self.lines = PickerLines()
        self._before = self._pane = pane
        self._configured = configured
        self._picked = picked(pane)

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        with Vertical(id="picker") as menu:
            menu.border_title = f"Columns of {self._pane.kind.plural}"
            yield self.lines
        yield KeyLine()
        yield TooSmall()

    def on_mount(self) -> None:
        """Textual's hook."""
        self.draw()

    def draw(self) -> None:
        """Show the lines as they are now."""
        columns = {column.key: column for column in (*self._pane.columns, *self._pane.hidden)}
        self.lines.show(
            [
                f" [{'x' if key in self._picked.shown else ' '}] {columns[key].title:<{TITLE_CELLS}} "
                f"{columns[key].meaning}"
                for key in self._picked.keys
            ],
            self.lines.cursor,
        )

    @property
    def _key(self) -> str:
        return self._picked.keys[self.lines.cursor]

    def action_move(self, step: int) -> None:
        """One line."""
        self.lines.cursor += step
        self.draw()

    def on_picker_lines_clicked(self) -> None:
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
