"""Finding text in the rows of a pane."""

from collections.abc import Sequence
from typing import Any

from nettop.view.columns import Column, Context


def find(  # noqa: PLR0913 - rows, how they are shown, and where to begin
    rows: Sequence[Any], columns: Sequence[Column[Any]], context: Context, text: str, *, start: int, step: int
) -> int | None:
    """The place of the next row that has the text in one of its columns: from `start` on, round and round."""
    wanted = text.lower()
    for offset in range(len(rows)):
        place = (start + step * offset) % len(rows)
        if any(wanted in column.text(rows[place], context).lower() for column in columns):
            return place
    return None
