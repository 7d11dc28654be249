"""The places where one types: the filter, a path to export to, the name of a command."""

from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.command import CommandPalette
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from nettop.model.filter import Filter, FilterError
from nettop.text import printable_text, printing
from nettop.tui.bindings import bindings
from nettop.tui.once import ClosedOnce
from nettop.tui.size import TooSmall
from nettop.view.keys import FILTER_KEYS, PATH_KEYS

MAX_HISTORY = 100


class Line(Input):
    """An Input that takes only what prints: Textual writes its value to the terminal as it is."""

    def validate_value(self, value: str) -> str:
        """Textual's hook."""
        return printing(value)


class FilterBar(Vertical):
    """The filter, checked with every key. Enter keeps it, escape brings the one before back."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(FILTER_KEYS)]

    class Changed(Message):
        """A filter that can be understood, at each key."""

        def __init__(self, chosen: Filter) -> None:
            super().__init__()
            self.chosen = chosen

    class Closed(Message):
        """Enter or escape: whoever gets this moves the focus, then calls close()."""

    def __init__(self) -> None:
        super().__init__()
        self._before = Filter("")
        self._history: list[str] = []
        self._place = 0
        self._draft = ""  # what was typed before going through the history

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        yield Line(
            placeholder="pid:42 comm:nginx port:443 host:*.example.com dns:failed", compact=True, select_on_focus=False
        )
        yield Static(id="filter-message", markup=False)

    def open(self, current: Filter) -> None:
        """Begin to edit the current filter."""
        self._before = current
        self._place = len(self._history)
        self.add_class("-open")
        self._write(current.text)
        self._check(current.text)
        self.screen.set_focus(self.query_one(Input))  # now, not later as focus() would

    def close(self) -> None:
        """Vanish: not before the keys go elsewhere, or the next one would be lost in here."""
        self.remove_class("-open")

    def _show_cursor(self) -> None:
        """The input scrolls to it when it moves, but not to where there was no text when it was last drawn."""
        box = self.query_one(Input)
        position = box.cursor_position
        box.cursor_position = 0
        box.cursor_position = position

    def settle(self) -> None:
        """Close because something else was clicked: keep what can be understood."""
        if self.has_class("-open"):
            try:
                self._keep(Filter(self.query_one(Input).value))
            except FilterError:
                self.action_abandon()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Checked as one types."""
        event.stop()
        if self.has_class("-open"):
            chosen = self._check(event.value)
            if chosen is not None:
                self.post_message(self.Changed(chosen))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Kept, unless it is wrong."""
        event.stop()
        self.action_keep()

    def action_keep(self) -> None:
        """See on_input_submitted."""
        chosen = self._check(self.query_one(Input).value)
        if chosen is not None:
            self._keep(chosen)

    def action_abandon(self) -> None:
        """As it was."""
        self._close(self._before)

    def action_recall(self, step: int) -> None:
        """Through the history, and back to what was being typed; what stands there already is passed over."""
        box = self.query_one(Input)
        if self._place == len(self._history):
            self._draft = box.value
        lines = [*self._history, self._draft]
        place = self._place + step
        while 0 <= place < len(lines) and lines[place] == box.value:
            place += step
        if 0 <= place < len(lines):
            self._place = place
            self._write(lines[place])

    def _write(self, text: str) -> None:
        box = self.query_one(Input)
        box.value = text
        box.cursor_position = len(text)
        self.call_after_refresh(self._show_cursor)

    def _keep(self, chosen: Filter) -> None:
        if chosen.text and chosen.text not in self._history[-1:]:
            self._history = [*self._history, chosen.text][-MAX_HISTORY:]
        self._close(chosen)

    def _close(self, chosen: Filter) -> None:
        self.post_message(self.Changed(chosen))
        self.post_message(self.Closed())

    def _check(self, text: str) -> Filter | None:
        try:
            chosen = Filter(text)
        except FilterError as error:
            self.add_class("-wrong")
            self.call_after_refresh(self._mark, error)  # once the input has scrolled to its cursor
            return None
        self.remove_class("-wrong")
        self._say(_left_out(chosen))
        return chosen

    def _mark(self, error: FilterError) -> None:
        box = self.query_one(Input)
        if box.value == error.text:
            self._say(marked(error, box.scroll_offset.x))

    def _say(self, text: str) -> None:
        self.query_one("#filter-message", Static).update(Text(text))


def marked(error: FilterError, scrolled_cells: int) -> str:
    """A line that marks the place, and below it what is wrong."""
    start, end = (max(cell_len(error.text[:place]) - scrolled_cells, 0) for place in (error.start, error.end))
    return f"{' ' * start}{'^' * max(end - start, 1)}\n{printable_text(f'{error.message} {error.remedy}')}"


def _left_out(chosen: Filter) -> str:
    parts = [f"{', '.join(terms)} is left out for {name}" for name, terms in chosen.left_out().items()]
    return printable_text("; ".join(parts)) or "enter keeps it, escape brings the one before back"


class PathPrompt(ClosedOnce, ModalScreen[str | None]):
    """Where to export to; None if escaped."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(PATH_KEYS)]

    def __init__(self, proposal: str) -> None:
        super().__init__()
        self._proposal = proposal

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        with Vertical(id="path-prompt"):
            yield Static(Text("Export the snapshot to"), markup=False)
            yield Line(self._proposal, select_on_focus=False)
            yield Static(Text("enter writes it, esc cancels"), classes="hint", markup=False)
        yield TooSmall()

    def on_mount(self) -> None:
        """Textual's hook; its own way to the focus is a moment slower than the eye."""
        self.set_focus(self.query_one(Input))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The path, if there is one."""
        if event.value.strip():
            self.dismiss(event.value.strip())

    def action_cancel(self) -> None:
        """No path."""
        self.dismiss(None)


class Palette(ClosedOnce, CommandPalette):
    """Textual's own. It has no id, which it would share with one that is on its way out."""
