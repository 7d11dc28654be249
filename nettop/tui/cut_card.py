"""The card of the key x: what can be cut of a row, by nettop if it is allowed to, and by commands."""

from typing import ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from nettop.model.cutting import Order, Powers
from nettop.text import printable_text
from nettop.tui.bindings import bindings
from nettop.tui.once import ClosedOnce
from nettop.tui.prompts import BareLine
from nettop.tui.size import TooSmall
from nettop.view.cutting import Subject, commands, offers, understood
from nettop.view.keys import CUT_KEYS

_OFFER_CELLS = 22
_LINES_BESIDE = 4  # border, hint, and one of air; with offers also what is typed
_WITHOUT = "nettop changes nothing unless it is started with --allow-cut. As root you can run:"
_BESIDE = "Or run, as root:"
_NO_COMMANDS = "Of the commands for this none is installed, or none works for this row."
_NOTHING = "There is nothing here that can be cut: whose it is is not known, or it is over."


class CutCard(ClosedOnce, ModalScreen[Order | None]):
    """Asks for an order by having it typed; None if escaped."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"cut--words", "cut--refused", "cut--heading"}
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(CUT_KEYS)]

    def __init__(self, about: Subject, powers: Powers) -> None:
        super().__init__()
        self._about = about
        self._is_about_nothing = about.process is None and about.remote is None
        self._offers = offers(about, powers)
        self._commands = commands(about, powers)

    def compose(self) -> ComposeResult:
        """Textual's hook."""
        with Vertical(id="cut-card") as card:
            card.border_title = Text(f"Cut {printable_text(self._about.title)}")
            with VerticalScroll(id="cut-scroll", can_focus=False):
                yield Static(id="cut-text", markup=False)
            if self._offers:
                yield BareLine(id="cut-line")
            hint = "enter does what you typed, esc does nothing" if self._offers else "y copies, esc closes"
            yield Static(Text(hint), id="cut-hint", classes="hint", markup=False)
        yield TooSmall()

    def on_mount(self) -> None:
        """Textual's hook."""
        self.query_one("#cut-text", Static).update(Group(*self._text()))
        for line in self.query(Input):
            self.set_focus(line)

    def on_resize(self) -> None:
        """Textual's hook: what is typed stays in sight on a small screen."""
        beside = _LINES_BESIDE + bool(self._offers)
        self.query_one("#cut-scroll").styles.max_height = max(self.size.height - beside, 1)

    def _text(self) -> list[RenderableType]:
        heading = self.get_component_rich_style("cut--heading")
        parts: list[RenderableType] = []
        if self._offers:
            parts += [Text("Type one of these:", heading), self._offered(), Text("")]
        if self._commands:
            parts += [Text(_BESIDE if self._offers else _WITHOUT, heading), self._to_run()]
        elif not self._offers:
            parts.append(Text(_NOTHING if self._is_about_nothing else _NO_COMMANDS))
        return parts

    def _offered(self) -> Table:
        words, refused = self.get_component_rich_style("cut--words"), self.get_component_rich_style("cut--refused")
        table = Table.grid(padding=(0, 1))
        table.add_column(width=_OFFER_CELLS, style=words)
        table.add_column(overflow="fold")
        for offer in self._offers:
            meaning = Text(printable_text(offer.meaning))
            if offer.refused:
                meaning = Text(f"Not here: {printable_text(offer.refused)}", refused)
            table.add_row(Text(offer.typed), meaning)
        return table

    def _to_run(self) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=_OFFER_CELLS, overflow="fold")
        table.add_column(overflow="fold", style=self.get_component_rich_style("cut--words"))
        for command in self._commands:
            table.add_row(Text(command.purpose), Text(printable_text(command.text)))
        return table

    def action_do(self) -> None:
        """What is typed, if it can be understood."""
        for line in self.query(Input):
            order = understood(line.value, self._offers)
            if isinstance(order, Order):
                self.dismiss(order)
            else:
                self.query_one("#cut-hint", Static).update(Text(printable_text(order)))

    def action_copy(self) -> None:
        """The commands, one a line."""
        if self._commands:
            self.app.copy_to_clipboard("\n".join(command.text for command in self._commands))
            self.query_one("#cut-hint", Static).update(Text("Sent to the terminal's clipboard (OSC 52)."))

    def action_scroll(self, step: int) -> None:
        """By a line."""
        for text in self.query("#cut-scroll"):
            text.scroll_relative(y=step, animate=False, immediate=True)

    def action_close(self) -> None:
        """Nothing."""
        self.dismiss(None)
