"""The help: keys, columns and filter language, generated from their declarations."""

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from nettop.model import filter as filter_language
from nettop.text import printable_text
from nettop.tui.bindings import bindings
from nettop.tui.once import ClosedOnce
from nettop.tui.size import TooSmall
from nettop.tui.terminal import shows
from nettop.view.grouping import column_lists
from nettop.view.keys import APP_KEYS, CHOICE_KEYS, DETAIL_KEYS, FILTER_KEYS, HELP_KEYS, MAIN_KEYS, TABLE_KEYS, Key
from nettop.view.panes import PANES

_KEY_CELLS = 18


class HelpScreen(ClosedOnce, ModalScreen[None]):
    """Every key, column and filter term."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(HELP_KEYS)]

    def __init__(self, keymap: Mapping[str, str]) -> None:
        super().__init__()
        self._keymap = keymap

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        with VerticalScroll(id="help", can_focus=False):
            yield Static(help_text(self._keymap), markup=False)
        yield TooSmall()

    def action_close(self) -> None:
        """Return to the screen below."""
        self.dismiss()

    def action_scroll(self, step: int) -> None:
        """Scroll by a line. Keys may arrive before the text is mounted."""
        for text in self.query("#help"):
            text.scroll_relative(y=step, animate=False, immediate=True)

    def action_page(self, step: int) -> None:
        """Scroll by a page."""
        for text in self.query("#help"):
            text.scroll_relative(y=step * text.size.height, animate=False, immediate=True)


def help_text(keymap: Mapping[str, str]) -> Group:
    """The whole help; `keymap` holds the keys that the user has changed, by id."""
    return Group(
        *_section("Keys", _key_lines((*MAIN_KEYS, *TABLE_KEYS, *APP_KEYS), keymap)),
        *_section("In a detail view", _key_lines(DETAIL_KEYS, keymap)),
        *_section("While typing a filter", _key_lines(FILTER_KEYS, keymap)),
        *_section("In a menu", _key_lines(CHOICE_KEYS, keymap)),
        *_section("Filter", _filter_lines()),
        *(
            part
            for pane in PANES
            for part in _section(
                f"Columns of {pane.kind.title}", ((column.title, column.meaning) for column in pane.columns)
            )
        ),
        *(
            part
            for heading, columns in column_lists()
            for part in _section(f"Columns of {heading}", ((column.title, column.meaning) for column in columns))
        ),
    )


def _section(heading: str, lines: Iterable[tuple[str, str]]) -> tuple[Text, Table]:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=_KEY_CELLS, style="bold")
    table.add_column()
    for left, right in lines:
        table.add_row(Text(f"  {printable_text(left)}"), Text(right))
    table.add_row()
    return Text(heading, "bold underline"), table


def _key_lines(keys: tuple[Key, ...], keymap: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key in keys:
        signs = key.shown_as or key.keys
        names = keymap.get(key.id, signs if shows(signs) else key.keys)
        yield names.replace(",", " "), key.meaning


def _filter_lines() -> Iterator[tuple[str, str]]:
    for key, meaning in filter_language.FILTER_KEYS.items():
        yield f"{key}:", meaning
    yield "word", "comm or host contains it; * and ? are wildcards"
    yield "a b", "both"
    yield "a | b", "either"
    yield "-a", "not"
