"""The line that says what is most wrong; it is absent while nothing is."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.message import Message
from textual.widgets import Static

from nettop.text import printable_head
from nettop.view.findings import Finding

_CELLS = 400


class FindingLine(Static):
    """Below the status bar. A click asks for the list."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "finding--critical",
        "finding--warning",
        "finding--notice",
        "finding--more",
    }

    class Clicked(Message):
        """Show all of them."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._said: tuple[str, str, int] | None = None

    def show(self, found: Sequence[Finding]) -> None:
        """The first of these, and how many there are."""
        said = (found[0].sentence, found[0].severity, len(found)) if found else None
        if said == self._said or not self.is_attached:
            return
        self._said = said
        self.set_class(said is not None, "-shown")
        if said is None:
            return
        sentence, severity, number = said
        more = f" F7 {'' if number == 1 else f'1 of {number} '}"
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(more, self.get_component_rich_style("finding--more"))
        line.append(f" ! {printable_head(sentence, _CELLS)}", self.get_component_rich_style(f"finding--{severity}"))
        self.update(line, layout=False)

    def on_click(self) -> None:
        """Textual's hook."""
        self.post_message(self.Clicked())
