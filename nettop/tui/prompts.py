"""The places where one types: a path to export to, the name of a command, and what filter and search share."""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from nettop.text import printing
from nettop.tui.bindings import bindings
from nettop.tui.once import ClosedOnce
from nettop.tui.size import TooSmall
from nettop.view.keys import PATH_KEYS


class Line(Input):
    """An Input that takes only what prints: Textual writes its value to the terminal as it is."""

    def validate_value(self, value: str) -> str:
        """Textual's hook."""
        return printing(value)


class BareLine(Line, inherit_bindings=False):
    """A line that leaves enter and the arrows up and down to what it is in: their own bindings would hide others."""

    BINDINGS: ClassVar[list[BindingType]] = [
        binding for binding in Input.BINDINGS if not (isinstance(binding, Binding) and binding.key == "enter")
    ]


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
