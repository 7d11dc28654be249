"""The sizes of a terminal that change the layout."""

from rich.text import Text
from textual.widgets import Static

MIN_WIDTH, MIN_HEIGHT = 60, 15
TALL = 34  # from this height on, three panes with a few rows each fit below one another

WIDTHS = [(0, "-too-narrow"), (MIN_WIDTH, "-wide-enough")]
HEIGHTS = [(0, "-too-short"), (MIN_HEIGHT, "-short"), (TALL, "-tall")]


class TooSmall(Static):
    """Replaces the screen when the terminal is too small; the style sheet shows and hides it."""

    def __init__(self) -> None:
        super().__init__(Text(f"nettop needs at least {MIN_WIDTH}x{MIN_HEIGHT} cells."), markup=False)
