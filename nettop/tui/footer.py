"""The footer: the keys that work now, each of them clickable.

One widget that draws a line. Textual's Footer recreates a widget per key whenever the focus moves, which takes 30 ms.
"""

from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from nettop.text import printable_text


class _Hint(NamedTuple):
    key: str  # as Textual names it
    shown: str
    label: str

    @property
    def cells(self) -> int:
        return cell_len(self.shown) + 1 + cell_len(self.label) + 1


class KeyLine(Widget):
    """Shows the bindings of its screen, as many as fit; the others are in the help."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-line--key", "key-line--label"}

    def __init__(self) -> None:
        super().__init__()
        self._hints: list[_Hint] = []

    def on_mount(self) -> None:
        """Textual's hook."""
        self.screen.bindings_updated_signal.subscribe(self, self._follow)

    def _follow(self, screen: Screen[object]) -> None:
        shown: dict[str, _Hint] = {}
        for active in screen.active_bindings.values():
            binding = active.binding
            if binding.show and active.enabled:
                sign = self.app.get_key_display(binding).partition(" ")[0]  # the first key of each action
                hint = _Hint(binding.key, printable_text(sign), binding.description)
                shown.setdefault(binding.action, hint)
        hints = list(shown.values())
        if hints != self._hints:
            self._hints = hints
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Textual's hook."""
        if y:
            return Strip.blank(self.size.width, self.rich_style)
        key_style, label_style = (
            self.get_component_rich_style("key-line--key"),
            self.get_component_rich_style("key-line--label"),
        )
        segments = []
        room = self.size.width
        for hint in self._hints:
            room -= hint.cells
            if room < -1:  # the space behind the last one may be missing
                break
            segments += [Segment(hint.shown, key_style), Segment(f" {hint.label} ", label_style)]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def on_click(self, event: events.Click) -> None:
        """Press the key under the mouse."""
        x = event.x
        for hint in self._hints:
            if x < hint.cells:
                self.app.simulate_key(hint.key)
                return
            x -= hint.cells
