"""Where one types what to find in the rows of the active pane."""

from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Static

from nettop.text import printable_head
from nettop.tui.bindings import bindings
from nettop.tui.prompts import BareLine
from nettop.tui.table import RowTable
from nettop.view.keys import SEARCH_KEYS

_SAID_CELLS = 200


class SearchBar(Vertical):
    """What to find; the cursor of the pane moves there as one types."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(SEARCH_KEYS)]

    class Typed(Message):
        """Another text."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Stepped(Message):
        """To the next place that has it, or to the one before."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    class Closed(Message):
        """`kept`: the cursor stays. Whoever gets this moves the focus, then calls close()."""

        def __init__(self, kept: bool) -> None:
            super().__init__()
            self.kept = kept

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        yield BareLine(placeholder="text to find in this pane", compact=True, select_on_focus=False)
        yield Static(id="search-message", markup=False)

    def open(self, text: str) -> None:
        """Begin to type; `text` is what was looked for last, and goes with the first key."""
        box = self.query_one(Input)
        box.value = text
        box.select_all()
        self.add_class("-open")
        self.screen.set_focus(box)

    def close(self) -> None:
        """Vanish."""
        self.remove_class("-open")

    def say(self, text: str, wrong: bool) -> None:
        """Where it was found, or that it was not."""
        self.set_class(wrong, "-wrong")
        self.query_one("#search-message", Static).update(Text(printable_head(text, _SAID_CELLS)))

    def on_input_changed(self, event: Input.Changed) -> None:
        """The cursor follows."""
        event.stop()
        if self.has_class("-open"):
            self.post_message(self.Typed(event.value))

    def action_step(self, step: int) -> None:
        """The next place, or the one before."""
        self.post_message(self.Stepped(step))

    def action_close(self, kept: bool) -> None:
        """The cursor stays, or goes back."""
        self.post_message(self.Closed(kept))


class Searching(Screen[None]):
    """A screen with tables in which one can look for text."""

    def __init__(self) -> None:
        super().__init__()
        self._wanted = ""
        self._origin = 0  # where the cursor was before one typed

    @property
    def table(self) -> RowTable[Any]:
        """The active pane's."""
        raise NotImplementedError

    def action_search(self) -> None:
        """Open the search bar."""
        self._origin = self.table.cursor_index
        bar = self.query_one(SearchBar)
        bar.open(self._wanted)
        bar.say("", wrong=False)

    def action_search_next(self, step: int) -> None:
        """To the next place that has what was looked for last."""
        if not self._wanted:
            self.action_search()
        elif not self._find(self.table.cursor_index + step, step):
            self.notify(printable_head(self._nothing, _SAID_CELLS), markup=False)

    def on_search_bar_typed(self, message: SearchBar.Typed) -> None:
        """From where the cursor was, to the first place that has it."""
        self._wanted = message.text
        self._look(self._origin, 1)

    def on_search_bar_stepped(self, message: SearchBar.Stepped) -> None:
        """On from where the cursor is."""
        self._look(self.table.cursor_index + message.step, message.step)

    def on_search_bar_closed(self, message: SearchBar.Closed) -> None:
        """Keys go to the pane again."""
        if not message.kept:
            self.table.move_to(self._origin)
        self.set_focus(self.table)
        self.query_one(SearchBar).close()

    def _look(self, start: int, step: int) -> None:
        bar, table = self.query_one(SearchBar), self.table
        if self._wanted and self._find(start, step):
            bar.say(f"row {table.cursor_index + 1} of {len(table.shown_rows)}", wrong=False)
        else:
            bar.say(self._nothing if self._wanted else "", wrong=bool(self._wanted))
            table.move_to(self._origin)

    @property
    def _nothing(self) -> str:
        return f"Nothing in the {self.table.pane.kind.label} pane has '{self._wanted}'."

    def _find(self, start: int, step: int) -> bool:
        place = self.table.find(self._wanted, start, step)
        if place is not None:
            self.table.move_to(place)
        return place is not None
