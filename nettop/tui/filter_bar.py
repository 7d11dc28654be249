"""Where one types the filter: it is checked with every key, and says what it leaves and what may follow."""

from typing import Any, ClassVar, NamedTuple

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Static

from nettop.model.filter import Filter, FilterError, exactly, understood
from nettop.model.filter import both as joined
from nettop.text import printable_text
from nettop.tui.bindings import bindings
from nettop.tui.prompts import BareLine
from nettop.tui.table import RowTable
from nettop.view.completion import Candidates, Choice, Completion, Seen, complete, hint
from nettop.view.keys import FILTER_KEYS
from nettop.view.trail import Trail

_BETWEEN = "  "
_NOTHING = Completion(0, 0, ())


class _Cycle(NamedTuple):
    """What tab has put in: pressed again, the next choice takes its place."""

    completion: Completion
    before: str
    number: int
    after: str


class FilterBar(Vertical):
    """The filter. Enter keeps it, escape brings the one before back, tab completes the word at the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(FILTER_KEYS)]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"filter--choice", "filter--choices", "filter--mark"}

    class Changed(Message):
        """What can be understood of the filter, at each key."""

        def __init__(self, chosen: Filter) -> None:
            super().__init__()
            self.chosen = chosen

    class Closed(Message):
        """Enter or escape: whoever gets this moves the focus, then calls close()."""

        def __init__(self, before: Filter, chosen: Filter) -> None:
            super().__init__()
            self.before = before
            self.chosen = chosen

    def __init__(self) -> None:
        super().__init__()
        self._before = Filter("")
        self._history: list[str] = []
        self._place = 0
        self._draft = ""  # what was typed before going through the history
        self._candidates = Candidates()
        self._completion = _NOTHING
        self._cycle: _Cycle | None = None

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        yield BareLine(
            placeholder="comm:nginx state:close-wait host:*.example.com port:443 failed", compact=True,
            select_on_focus=False,
        )  # fmt: skip
        yield Static(id="filter-choices", markup=False)
        yield Static(id="filter-message", markup=False)

    def open(self, current: Filter, history: list[str]) -> None:
        """Begin to edit the current filter, behind it."""
        self._before, self._history, self._place = current, history, len(history)
        self.add_class("-open")
        self._write(f"{current.text} " if current.text else "")
        self.screen.set_focus(self.query_one(Input))  # now, not later as focus() would
        self.post_message(self.Changed(current))  # draws what is said below, also where nothing has changed

    def close(self) -> None:
        """Vanish: not before the keys go elsewhere, or the next one would be lost in here."""
        self.remove_class("-open")
        self._candidates = Candidates()  # which holds a snapshot

    def settle(self) -> None:
        """Close because something else was clicked: keep what can be understood."""
        if self.has_class("-open"):
            _, error = understood(self.query_one(Input).value)
            if error is None:
                self.action_keep()
            else:
                self.action_abandon()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Rows are shown as one types."""
        event.stop()
        if self.has_class("-open"):
            self.post_message(self.Changed(understood(event.value)[0]))

    def action_keep(self) -> None:
        """Unless something is wrong with it."""
        chosen, error = understood(self.query_one(Input).value)
        if error is None:
            self._close(chosen)
        else:
            self._mark(error)

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
        while 0 <= place < len(lines) and lines[place].strip() == box.value.strip():
            place += step
        if 0 <= place < len(lines):
            self._place = place
            self._write(lines[place])

    def action_complete(self) -> None:
        """Take the first choice; again, the next one."""
        box = self.query_one(Input)
        cycle = self._cycle
        if cycle is not None and cycle.after == box.value and len(cycle.completion.choices) > 1:
            completion, before, number = cycle.completion, cycle.before, cycle.number + 1
        else:
            completion, before, number = self._completion, box.value, 0
        if completion.choices:
            text, cursor = completion.applied(before, number)
            self._cycle = _Cycle(completion, before, number, text)
            self._write(text, cursor)

    def _write(self, text: str, cursor: int | None = None) -> None:
        box = self.query_one(Input)
        box.value = text
        box.cursor_position = len(text) if cursor is None else cursor
        self.call_after_refresh(self._show_cursor)

    def _show_cursor(self) -> None:
        """The input scrolls to it when it moves, but not to where there was no text when it was last drawn."""
        box = self.query_one(Input)
        position = box.cursor_position
        box.cursor_position = 0
        box.cursor_position = position

    def _close(self, chosen: Filter) -> None:
        self.post_message(self.Changed(chosen))
        self.post_message(self.Closed(self._before, chosen))

    # What is said below

    def show(self, seen: Seen) -> None:
        """Say what the filter leaves of these rows, and what may follow."""
        if not self.has_class("-open"):
            return
        box = self.query_one(Input)
        self._completion = complete(box.value, box.cursor_position, seen, self._candidates)
        said = hint(box.value, self._completion, seen)
        self._say(said.message, wrong=said.wrong is not None)
        if said.wrong is None:
            self._show_choices()
        else:
            self.call_after_refresh(self._mark, said.wrong)  # once the input has scrolled to its cursor

    def _show_choices(self) -> None:
        choices = self._completion.choices
        line = Text(no_wrap=True, overflow="ellipsis")
        room = self.screen.size.width  # which this has too, once it is laid out
        for number, choice in enumerate(choices):
            text = printable_text(_said(choice))
            room -= cell_len(text) + len(_BETWEEN)
            if room < 0 and number:
                break
            line.append(text, self._style("choice" if not number else "choices")).append(_BETWEEN)
        self.query_one("#filter-choices", Static).update(line, layout=False)

    def _mark(self, error: FilterError) -> None:
        box = self.query_one(Input)
        if box.value == error.text:
            line = Text(marked(error, box.scroll_offset.x), self._style("mark"), no_wrap=True, overflow="crop")
            self.query_one("#filter-choices", Static).update(line, layout=False)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"filter--{name}")

    def _say(self, text: str, wrong: bool) -> None:
        self.set_class(wrong, "-wrong")
        self.query_one("#filter-message", Static).update(Text(printable_text(text)))


def _said(choice: Choice) -> str:
    return choice.shown if choice.rows is None else f"{choice.shown} {choice.rows}"


def marked(error: FilterError, scrolled_cells: int) -> str:
    """A line that marks the place."""
    start, end = (max(cell_len(error.text[:place]) - scrolled_cells, 0) for place in (error.start, error.end))
    return f"{' ' * start}{'^' * max(end - start, 1)}"


class Filtering(Screen[None]):
    """A screen whose rows a filter chooses: how it is edited, added to, cleared and brought back.

    `chosen` is asked for the filter that is in effect, choose() puts another one in its place.
    """

    def __init__(self) -> None:
        super().__init__()
        self._trail = Trail()

    @property
    def chosen(self) -> Filter:
        """The filter that is in effect."""
        raise NotImplementedError

    @property
    def table(self) -> RowTable[Any]:
        """The active pane's."""
        raise NotImplementedError

    def choose(self, chosen: Filter) -> None:
        """Put a filter into effect."""
        raise NotImplementedError

    def set_filter(self, text: str) -> None:
        """Put a filter into effect that u undoes and the history has."""
        self._trail.changed(self.chosen.text, text)
        self.choose(Filter(text))

    def _add(self, term: str) -> None:
        if term not in self.chosen.parts():
            self.set_filter(joined(self.chosen.text, term))

    def action_edit_filter(self) -> None:
        """Open the filter bar."""
        self.query_one(FilterBar).open(self.chosen, self._trail.history)

    def action_filter_pid(self) -> None:
        """Only the selected row's pid, besides what the filter asks already."""
        row = self.table.cursor_row
        if row is not None and row.pid is not None:
            self._add(exactly("pid", str(row.pid)))

    def action_filter_comm(self) -> None:
        """Only the selected row's comm, besides what the filter asks already."""
        row = self.table.cursor_row
        if row is not None and row.comm:
            self._add(exactly("comm", row.comm))

    def action_clear_filter(self) -> None:
        """Everything again."""
        self.set_filter("")

    def action_undo_filter(self) -> None:
        """The one before."""
        before = self._trail.undo()
        if before is not None:
            self.choose(Filter(before))

    def on_filter_bar_changed(self, message: FilterBar.Changed) -> None:
        """As one types."""
        self.choose(message.chosen)

    def on_filter_bar_closed(self, message: FilterBar.Closed) -> None:
        """Keys go to the pane again."""
        self._trail.changed(message.before.text, message.chosen.text)
        self.set_focus(self.table)
        self.query_one(FilterBar).close()
