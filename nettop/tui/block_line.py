"""The line that says that --allow-cut is on, and what is blocked; it is absent without the option."""

from typing import ClassVar

from rich.text import Text
from textual.message import Message
from textual.widgets import Static

from nettop.model.cutting import Cuts
from nettop.text import printable_head
from nettop.view.cutting import block_line

_CELLS = 400


class BlockLine(Static):
    """Below the status bar. A click asks what to let go of."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"blocks--mode", "blocks--some", "blocks--none"}

    class Clicked(Message):
        """Let go of one."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._said: str | None = None

    def show(self, cuts: Cuts) -> None:
        """What is blocked now."""
        said = printable_head(block_line(cuts.blocks), _CELLS)
        if said == self._said or not self.is_attached:
            return
        self._said = said
        self.set_class(True, "-shown")
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(" BLOCKS " if cuts.blocks else " CUT ON ", self.get_component_rich_style("blocks--mode"))
        line.append(f" {said}", self.get_component_rich_style("blocks--some" if cuts.blocks else "blocks--none"))
        self.update(line, layout=False)

    def on_click(self) -> None:
        """Textual's hook."""
        self.post_message(self.Clicked())
