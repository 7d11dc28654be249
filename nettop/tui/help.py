"""The help: keys, columns and filter language, from their declarations."""

from collections.abc import Iterator
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from nettop.model.filter import FILTER_KEYS
from nettop.tui.keys import DETAIL_KEYS, MAIN_KEYS, TABLE_KEYS, Key
from nettop.tui.view import PANES

_KEY_CELLS = 20


class HelpScreen(ModalScreen[None]):
    """Any of the keys that open it, or escape, closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "Close", id="help.close"),
        Binding("j,down", "scroll(1)", "Down", show=False, id="help.down"),
        Binding("k,up", "scroll(-1)", "Up", show=False, id="help.up"),
    ]

    def __init__(self, keymap: dict[str, str]) -> None:
        super().__init__()
        self._keymap = keymap

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        with VerticalScroll(id="help"):
            yield Static(help_text(self._keymap), markup=False)

    def action_scroll(self, step: int) -> None:
        """One line."""
        self.query_one("#help").scroll_relative(y=step, animate=False)


def help_text(keymap: dict[str, str]) -> Text:
    """All of it; `keymap` has the keys that the user has changed, by id."""
    text = Text()
    for heading, lines in (
        ("Keys", _key_lines((*MAIN_KEYS, *TABLE_KEYS), keymap)),
        ("In a detail", _key_lines(DETAIL_KEYS, keymap)),
        ("Filter", _filter_lines()),
    ):
        _section(text, heading, lines)
    for pane in PANES:
        _section(text, f"Columns of {pane.title}", ((column.title, column.meaning) for column in pane.columns))
    text.rstrip()
    return text


def _section(text: Text, heading: str, lines: Iterator[tuple[str, str]]) -> None:
    text.append(f"{heading}\n", "bold")
    for left, right in lines:
        text.append(f"  {left:<{_KEY_CELLS}}", "bold")
        text.append(f"{right}\n")
    text.append("\n")


def _key_lines(keys: tuple[Key, ...], keymap: dict[str, str]) -> Iterator[tuple[str, str]]:
    for key in keys:
        names = keymap.get(key.id, key.shown_as or key.keys)
        yield names.replace(",", " "), key.meaning


def _filter_lines() -> Iterator[tuple[str, str]]:
    for key, meaning in FILTER_KEYS.items():
        yield f"{key}:", meaning
    yield "word", "comm or host contains it; * and ? are wildcards"
    yield "a b", "both"
    yield "a | b", "either"
    yield "-a", "not"
