"""How the columns of a table share its width, and the panes the height of the screen: pure functions, no Textual."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from nettop.text import cell_width
from nettop.view.columns import Column, Context

RowT = TypeVar("RowT")
GAP_CELLS = 1  # between columns
LEAST_LINES = 4  # of a pane: title, head, and two for rows or for why there are none
_STEP_LINES = 4  # panes grow by so many lines at a time, or every row that comes would move the panes below

# What stays at the end of a text that is cut, by Column.keeps
_KEPT = {
    "": re.compile(r"\Z"),
    ":": re.compile(r":[0-9]{1,5}\Z"),
    "[": re.compile(r"\[[0-9]{1,7}\]\??\Z"),
    " ": re.compile(r" [0-9a-f.:]{2,39}\Z"),
}


@dataclass(frozen=True)
class Wish:
    """What one wants of the columns at the moment.

    Attributes:
        said: keys of columns that say what is said elsewhere already; they step back.
        first: keys of columns to be seen before all others, like the one that the rows are sorted by.
        contents: how many cells what the rows say takes, by column. A column that is not among them takes all it gets.
        scrolled: so many columns to the right.

    """

    said: Collection[str] = ()
    first: Collection[str] = ()
    contents: Mapping[str, int] = field(default_factory=dict)
    scrolled: int = 0


NO_WISH = Wish()


@dataclass(frozen=True)
class Layout(Generic[RowT]):
    """Columns with their widths; `before` and `after` count those to which one can scroll, `scrolled` as in Wish."""

    columns: tuple[tuple[Column[RowT], int], ...] = ()
    before: int = 0
    after: int = 0


def lay_out(columns: Sequence[Column[RowT]], width: int, wish: Wish = NO_WISH) -> Layout[RowT]:
    """The columns that fit into `width` cells.

    Where not all do, some that belong together become one; then the least important are dropped. What width is left
    goes to those that have more to say.
    """
    apart, together = _arrangements(columns, wish.said)
    listed = apart if _needed(apart) <= width else together
    first = {column.key for column in listed if column.key in wish.first or set(column.instead_of) & set(wish.first)}
    chosen = list(listed)
    while len(chosen) > 1 and _needed(chosen) > width:
        least = max(reversed(chosen), key=lambda column: 0 if column.key in first else column.priority)
        chosen = [each for each in chosen if each is not least and (each.pair != least.key or each.key in first)]
    hidden = sorted((column for column in listed if column not in chosen), key=lambda column: column.priority)
    before, after = 0, len(hidden)
    if hidden and wish.scrolled:
        chosen, before, after = _scrolled(chosen, hidden, width, wish.scrolled)
    return Layout(tuple(_stretched(chosen, width, wish.contents)), before, after)


def fit(columns: Sequence[Column[RowT]], width: int) -> list[tuple[Column[RowT], int]]:
    """The columns of lay_out() if nothing is wished."""
    return list(lay_out(columns, width).columns)


def _arrangements(
    columns: Sequence[Column[RowT]], said: Collection[str]
) -> tuple[list[Column[RowT]], list[Column[RowT]]]:
    """The columns with those that belong together apart, and in one."""
    keys = {column.key for column in columns}
    joined = [column for column in columns if column.instead_of and set(column.instead_of) <= keys]
    usable = [column for column in joined if not set(column.instead_of) & set(said)]
    parts = {part for column in usable for part in column.instead_of}
    # one that puts several in one is for those who show all of them, or none and so want it for itself
    halves = [column for column in columns if column not in joined and set(column.instead_of) & keys]
    listed = [column for column in columns if column.key not in said and column not in halves]
    apart = [column for column in listed if column not in joined]
    together = [column for column in listed if column.key not in parts and (column not in joined or column in usable)]
    return apart, together


def _scrolled(
    chosen: list[Column[RowT]], hidden: list[Column[RowT]], width: int, wanted: int
) -> tuple[list[Column[RowT]], int, int]:
    """The columns after so many steps to the right, how many are to the left of them, and to the right.

    Anchors stay; the others go to the left one by one, and hidden ones follow from the right.
    """
    anchors = [column for column in chosen if column.anchor]
    moving = [column for column in (*chosen, *hidden) if column not in anchors]
    start, end = 0, len(chosen) - len(anchors)
    while start < wanted and end < len(moving):
        start += 1
        end = max(end, start + 1)
        while end < len(moving) and _needed([*anchors, *moving[start : end + 1]]) <= width:
            end += 1
    while len(anchors) > 1 and _needed([*anchors, *moving[start:end]]) > width:  # for one that is wide
        anchors.pop()
    return [*anchors, *moving[start:end]], start, len(moving) - end


def _stretched(
    chosen: Sequence[Column[RowT]], width: int, contents: Mapping[str, int]
) -> list[tuple[Column[RowT], int]]:
    cells = {column.key: min(_least(column, contents), width) for column in chosen}
    left = max(width - sum(cells.values()) - GAP_CELLS * (len(chosen) - 1), 0)
    room = {column.key: contents.get(column.key, width) - cells[column.key] for column in chosen if column.grow}
    while left and (growing := [column for column in chosen if room.get(column.key, 0) > 0]):
        shares, left_now = sum(column.grow for column in growing), left
        for column in sorted(growing, key=lambda column: -column.grow):  # who gets little, gets what is left
            more = min(-(-left_now * column.grow // shares), room[column.key], left)
            cells[column.key] += more
            room[column.key] -= more
            left -= more
    return [(column, cells[column.key]) for column in chosen]


def _least(column: Column[Any], contents: Mapping[str, int]) -> int:
    """What it gets before it grows."""
    if not column.yields:
        return column.cells
    return min(column.cells, max(contents.get(column.key, column.cells), cell_width(column.title)))


def kept_end(text: str, keeps: str) -> str:
    """What of a text stays where it is cut, see Column.keeps."""
    found = _KEPT[keeps].search(text)
    return found[0] if found else ""


def worded(column: Column[RowT], row: RowT, context: Context, cells: int) -> str:
    """What a row says in a column, in the wording for so many cells; it may be longer still."""
    text = column.text(row, context)
    if column.shorter is None or cell_width(text) <= cells:
        return text
    wordings = column.shorter(row, context)
    return next((shorter for shorter in wordings if cell_width(shorter) <= cells), wordings[-1] if wordings else text)


def _needed(columns: Sequence[Column[Any]]) -> int:
    return sum(column.cells for column in columns) + GAP_CELLS * (len(columns) - 1)


def heights(rows: Sequence[int], lines: int) -> list[int]:
    """How many lines each of several panes gets that are below one another and have so many rows.

    An empty one gives its lines away, and none gets more than it needs as long as another needs more. What nobody
    needs is the last one's.
    """
    wanted = [LEAST_LINES + -(-max(count - 2, 0) // _STEP_LINES) * _STEP_LINES for count in rows]
    given = [min(LEAST_LINES, lines // len(rows))] * len(rows)
    left = lines - sum(given)
    while left > 0 and (hungry := [at for at, height in enumerate(given) if height < wanted[at]]):
        share = max(left // len(hungry), 1)
        for at in hungry:
            more = min(share, wanted[at] - given[at], left)
            given[at] += more
            left -= more
    given[-1] += left
    return given


def most_lines_of_facts(rows: Sequence[int], lines: int) -> int:
    """How many of the lines the facts of a detail may take, above tables with so many rows.

    Tables that need more than there is share three fifths; one alone has two fifths.
    """
    needed = sum(max(count, LEAST_LINES - 2) + 1 for count in rows)
    share = lines * (3 if len(rows) > 1 else 2) // 5
    return max(lines - min(needed, share), 1)
