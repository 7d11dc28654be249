"""The status bar: draws what nettop/view/headline.py says."""

from typing import ClassVar

from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from nettop.model.snapshot import Snapshot
from nettop.text import printable_head
from nettop.view.headline import Said, Status, headline, notices

_PARTS = ("mode", "paused", "text", "sparkline", "losses", "failed", "doubtful", "label", "filter", "quiet")


class StatusBar(Widget):
    """Two lines at the top, cut where the terminal ends."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"status--{part}" for part in _PARTS}

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[list[Said]] = []
        self._shown: tuple[Snapshot, Status, int] | None = None

    def show(self, snapshot: Snapshot, status: Status) -> None:
        """Draw anew if anything changed."""
        shown = snapshot, status, self.size.width
        if self._shown is not None and snapshot is self._shown[0] and shown[1:] == self._shown[1:]:
            return
        self._shown = shown
        lines = [headline(snapshot, status, self.size.width), notices(snapshot, status, self.size.width)]
        changed = [y for y, line in enumerate(lines) if [line] != self._lines[y : y + 1]]
        self._lines = lines
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        """Textual's hook."""
        parts = self._lines[y] if y < len(self._lines) else []
        strip = Strip(
            [
                Segment(printable_head(text, self.size.width), self.get_component_rich_style(f"status--{kind}"))
                for text, kind in parts
            ]
        )
        return strip.adjust_cell_length(self.size.width, self.rich_style)
