"""The help: keys, filter language, words and columns, generated from their declarations."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import ClassVar, NamedTuple

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
from nettop.view.keys import (
    APP_KEYS,
    CHOICE_KEYS,
    COLUMNS_KEYS,
    CUT_KEYS,
    DETAIL_KEYS,
    FILTER_KEYS,
    HELP_KEYS,
    MAIN_KEYS,
    PLAYER_KEYS,
    SEARCH_KEYS,
    TABLE_KEYS,
    Key,
)
from nettop.view.panes import PANES
from nettop.view.words import ENDS, RESULTS, STATES, STATUS_BAR

_KEY_CELLS = 24


class Section(NamedTuple):
    """A heading with terms and their meanings."""

    heading: str
    lines: tuple[tuple[str, str], ...]


class HelpScreen(ClosedOnce, ModalScreen[None]):
    """Every key, word, column and filter term."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(HELP_KEYS)]

    def __init__(self, keymap: Mapping[str, str]) -> None:
        super().__init__()
        self._keymap = keymap

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        with VerticalScroll(id="help", can_focus=False) as scrolled:
            scrolled.border_subtitle = "tab: next section, g G: start and end, esc: close"
            for section in sections(self._keymap):
                yield Static(_drawn(section), classes="help-section", markup=False)
        yield TooSmall()

    def action_close(self) -> None:
        """Return to the screen below."""
        self.dismiss()

    # Keys may arrive before the text is mounted.

    def action_scroll(self, step: int) -> None:
        """Scroll by a line."""
        for text in self.query("#help"):
            text.scroll_relative(y=step, animate=False, immediate=True)

    def action_page(self, step: int) -> None:
        """Scroll by a page."""
        for text in self.query("#help"):
            text.scroll_relative(y=step * text.size.height, animate=False, immediate=True)

    def action_first(self) -> None:
        """To the start."""
        for text in self.query("#help"):
            text.scroll_home(animate=False, immediate=True)

    def action_last(self) -> None:
        """To the end."""
        for text in self.query("#help"):
            text.scroll_end(animate=False, immediate=True)

    def action_section(self, step: int) -> None:
        """To the heading below the first line that is seen, or to the one above it."""
        for text in self.query("#help"):
            starts = [section.virtual_region.y for section in self.query(".help-section")]
            beyond = [y for y in starts if (y > text.scroll_y if step > 0 else y < text.scroll_y)]
            if beyond:
                text.scroll_to(y=min(beyond) if step > 0 else max(beyond), animate=False, immediate=True)


def sections(keymap: Mapping[str, str]) -> Iterator[Section]:
    """The whole help; `keymap` holds the keys that the user has changed, by id."""
    yield Section("Keys", tuple(_key_lines((*MAIN_KEYS, *TABLE_KEYS, *APP_KEYS), keymap)))
    yield Section("While a recording is played", tuple(_key_lines(PLAYER_KEYS, keymap)))
    yield Section("In a detail view", tuple(_key_lines(DETAIL_KEYS, keymap)))
    yield Section("While typing a filter", tuple(_key_lines(FILTER_KEYS, keymap)))
    yield Section("While searching", tuple(_key_lines(SEARCH_KEYS, keymap)))
    yield Section("In a menu", tuple(_key_lines(CHOICE_KEYS, keymap)))
    yield Section("On the card of x", tuple(_key_lines(CUT_KEYS, keymap)))
    yield Section("While choosing columns", tuple(_key_lines(COLUMNS_KEYS, keymap)))
    yield Section("In this help", tuple(_key_lines(HELP_KEYS, keymap)))
    yield Section("Filter", tuple(_filter_lines()))
    yield Section("The two lines at the top", tuple(STATUS_BAR.items()))
    yield Section("STATE of a connection", tuple(STATES.items()))
    yield Section("END of a connection", tuple(chain(ENDS.items(), [("(fw)", "a firewall of this host dropped it")])))
    yield Section("RESULT of a DNS query", tuple(RESULTS.items()))
    for heading, columns in (*((pane.kind.title, pane.columns) for pane in PANES), *column_lists()):
        yield Section(f"Columns of {heading}", tuple((column.title, column.meaning) for column in columns))


def _drawn(section: Section) -> Group:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=_KEY_CELLS, style="bold")
    table.add_column()
    for left, right in section.lines:
        table.add_row(Text(f"  {printable_text(left)}"), Text(right))
    table.add_row()
    return Group(Text(section.heading, "bold underline"), table)


def _key_lines(keys: Iterable[Key], keymap: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key in keys:
        shown = key.shown(keymap)
        yield shown if shows(shown) else key.keys.replace(",", " "), key.meaning


def _filter_lines() -> Iterator[tuple[str, str]]:
    for key, meaning in filter_language.FILTER_KEYS.items():
        yield f"{key}:", meaning
    yield from filter_language.FILTER_WORDS.items()
    yield "word", "comm or host contains it, or it is a state, an end, an answer; * and ? are wildcards"
    yield "42", "a number: pid, port, or part of comm or host"
    yield "a b", "both; also: a and b"
    yield "a or b", "either, binding more weakly; also: a | b"
    yield "not a", "also: !a, -a"
    yield "(a or b) c", "parentheses first"
    yield "pid:1,2", "one of several values"
    yield ">1s  1s-5s", "comparing, and a range; times in us, ms, s, m, h, d, bytes in K, M, G"
