"""The two places where one types: the filter and a path to export to."""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from nettop.model.filter import KINDS, Filter, FilterError

MAX_HISTORY = 100


class FilterBar(Vertical):
    """The filter, checked with every key. Enter keeps it, escape brings the one before back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "abandon", "Cancel", show=False, id="filter.abandon"),
        Binding("up", "recall(-1)", "Earlier", show=False, id="filter.earlier"),
        Binding("down", "recall(1)", "Later", show=False, id="filter.later"),
    ]

    class Changed(Message):
        """A filter that can be understood, at each key."""

        def __init__(self, chosen: Filter) -> None:
            super().__init__()
            self.chosen = chosen

    class Closed(Message):
        """Enter or escape."""

    def __init__(self) -> None:
        super().__init__()
        self._before = Filter("")
        self._history: list[str] = []
        self._place = 0

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        yield Input(placeholder="pid:42 comm:nginx port:443 host:*.example.com dns:failed", compact=True)
        yield Static(id="filter-message", markup=False)

    def open(self, current: Filter) -> None:
        """Begin to edit the current filter."""
        self._before = current
        self._place = len(self._history)
        self.add_class("-open")
        box = self.query_one(Input)
        box.value = current.text
        box.cursor_position = len(current.text)
        self._check(current.text)
        box.focus()

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
        chosen = self._check(event.value)
        if chosen is None:
            return
        if chosen.text and chosen.text not in self._history[-1:]:
            self._history = [*self._history, chosen.text][-MAX_HISTORY:]
        self._close(chosen)

    def action_abandon(self) -> None:
        """As it was."""
        self._close(self._before)

    def action_recall(self, step: int) -> None:
        """Through the history."""
        self._place = max(min(self._place + step, len(self._history)), 0)
        box = self.query_one(Input)
        box.value = self._history[self._place] if self._place < len(self._history) else ""
        box.cursor_position = len(box.value)

    def _close(self, chosen: Filter) -> None:
        self.remove_class("-open")
        self.post_message(self.Changed(chosen))
        self.post_message(self.Closed())

    def _check(self, text: str) -> Filter | None:
        message = self.query_one("#filter-message", Static)
        try:
            chosen = Filter(text)
        except FilterError as error:
            self.add_class("-wrong")
            # under the place that is wrong, where the input shows it from its start
            message.update(Text(f"{' ' * error.start}^ {error.message} {error.remedy}"))
            return None
        self.remove_class("-wrong")
        message.update(Text(_left_out(chosen)))
        return chosen


def _left_out(chosen: Filter) -> str:
    parts = [f"{', '.join(terms)} does not apply to {kind}" for kind in KINDS if (terms := chosen.not_applied(kind))]
    return "; ".join(parts) or "enter keeps it, escape brings the one before back"


class PathPrompt(ModalScreen[str | None]):
    """Where to export to; None if escaped."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel", id="path.cancel")]

    def __init__(self, proposal: str) -> None:
        super().__init__()
        self._proposal = proposal

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        with Vertical(id="path-prompt"):
            yield Static(Text("Export the snapshot to"), markup=False)
            yield Input(self._proposal, select_on_focus=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The path, if there is one."""
        if event.value.strip():
            self.dismiss(event.value.strip())
