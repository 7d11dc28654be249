"""A menu: a line for each choice, with a letter that takes it at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from nettop.text import printable_text
from nettop.tui.bindings import bindings
from nettop.tui.once import ClosedOnce
from nettop.tui.size import TooSmall
from nettop.view.keys import CHOICE_KEYS, CHOICE_LETTERS


@dataclass(frozen=True)
class Choice:
    """One line."""

    name: str  # what is returned
    text: str
    chosen: bool = False  # it holds already


class _Lines(OptionList, inherit_bindings=False):
    """Its keys are the screen's, which users can remap."""


class Choices(ClosedOnce, ModalScreen[str | None]):
    """Asks for one of the choices; None if escaped."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(CHOICE_KEYS)]

    def __init__(self, title: str, choices: Sequence[Choice], wrap: bool = False) -> None:
        """With `wrap` a text that is too long goes on below, else it is cut."""
        super().__init__()
        self._title = title
        self._wrap = wrap
        self._choices = choices
        self._letters = letters([choice.text for choice in choices])

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        lines = [
            Option(self._line(f"{'•' if choice.chosen else ' '} {letter}  ", printable_text(choice.text)), choice.name)
            for choice, letter in zip(self._choices, self._letters, strict=True)
        ]
        with Vertical(id="choices", classes="-wrap" if self._wrap else "") as menu:
            menu.border_title = self._title  # a line of its own would push the last choice out of a small screen
            yield _Lines(*lines)
        yield TooSmall()

    def _line(self, sign: str, text: str) -> RenderableType:
        if not self._wrap:
            return Text(f"{sign}{text}", no_wrap=True, overflow="ellipsis")
        line = Table.grid()
        line.add_column(no_wrap=True)
        line.add_column(overflow="fold")
        line.add_row(Text(sign), Text(text))
        return line

    def on_mount(self) -> None:
        """Textual's hook."""
        options = self.query_one(_Lines)
        options.highlighted = next((at for at, choice in enumerate(self._choices) if choice.chosen), 0)
        self.set_focus(options)

    def on_key(self, event: events.Key) -> None:
        """A letter takes its line."""
        if event.key in self._letters:
            event.stop()
            self.dismiss(self._choices[self._letters.index(event.key)].name)

    def on_option_list_option_selected(self, message: OptionList.OptionSelected) -> None:
        """A click, or enter."""
        self.dismiss(message.option.id)

    def action_move(self, step: int) -> None:
        """Up or down."""
        options = self.query_one(_Lines)
        if step < 0:
            options.action_cursor_up()
        else:
            options.action_cursor_down()

    def action_take(self) -> None:
        """The line with the cursor."""
        self.query_one(_Lines).action_select()

    def action_close(self) -> None:
        """Nothing."""
        self.dismiss(None)


def letters(texts: Sequence[str]) -> list[str]:
    """A letter for each text: the first of its own that is free, else any; a blank where there is none left."""
    taken: list[str] = []
    for text in texts:
        own = [character for character in text.lower() if character in CHOICE_LETTERS]
        taken.append(next((letter for letter in (*own, *CHOICE_LETTERS) if letter not in taken), " "))
    return taken
