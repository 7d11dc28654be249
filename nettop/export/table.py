"""Tables as plain text: aligned by spaces, without lines, colours and charts, for pipes, tickets and screen readers."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from nettop.export.tables import Table, Wanted, all_columns, context_of, tables
from nettop.model.snapshot import Snapshot
from nettop.text import cell_width, printable_head, printable_text
from nettop.view import format as human
from nettop.view.columns import Column, Context
from nettop.view.headline import losses, remarks, scoped
from nettop.view.layout import GAP_CELLS, Wish, kept_end, lay_out, worded

_GAP = " " * 2  # one is not enough to see where a text ends that has spaces
_NOTHING = "-"  # for an empty cell, so that a column stays the same field for awk and is heard by those who listen
_CUT = "…"


def table_text(snapshot: Snapshot, wanted: Wanted) -> bytes:
    """What was seen where and when and what is missing, then the tables, each below a line that says what it holds."""
    parts = [
        "\n".join(_head(snapshot)),
        *("\n".join(_lines(each, snapshot, wanted)) for each in tables(snapshot, wanted)),
    ]
    return ("\n\n".join(parts) + "\n").encode()


def _head(snapshot: Snapshot) -> Iterator[str]:
    host = snapshot.host
    watched = human.long_duration(snapshot.elapsed_s * 1000)
    yield printable_text(f"{host.name}, {human.timestamp(snapshot.captured_at, 'seconds')}, watched for {watched}")
    if snapshot.filter is not None:
        yield printable_text(f"Filter: {snapshot.filter}")
    only = ", ".join(scoped(snapshot.scope))
    if only:
        yield printable_text(f"Only: {only}")
    missing = [*losses(snapshot.losses), *remarks(snapshot.losses)]
    yield f"Missing: {', '.join(missing)}" if missing else "Nothing lost"


def _lines(table: Table, snapshot: Snapshot, wanted: Wanted) -> Iterator[str]:
    kind, grouping = table.kind, table.grouping
    by = f" by {grouping.name}" if grouping is not None else ""
    left_out = snapshot.filter_not_applied.get(kind.name, ())
    note = f"; the filter's {' '.join(left_out)} does not apply here" if left_out else ""
    if not table.lines:
        empty = f"no {kind.plural} match the filter" if snapshot.filter else kind.empty
        yield printable_text(f"{kind.title}{by}: {empty}{note}")
        return
    some = f"{len(table.lines)} of {table.total}" if len(table.lines) < table.total else str(table.total)
    if grouping is not None:
        some = f"{some} {grouping.name if table.total == 1 else grouping.plural}"
    yield printable_text(f"{kind.title}{by}: {some}, by {table.by.title}{note}")
    pane = table.pane if wanted.width is not None else all_columns(table.pane)
    columns = pane.columns if table.by in pane.columns else (*pane.columns, table.by)  # what it is sorted by is seen
    yield from grid(table.lines, columns, context_of(snapshot, wanted), wanted.width, {table.by.key})


def grid(
    lines: Sequence[Any],
    columns: Sequence[Column[Any]],
    context: Context,
    width: int | None = None,
    first: AbstractSet[str] = frozenset(),
) -> Iterator[str]:
    """A header and each line, aligned; of the columns those that fit into the width, these before the others."""
    columns = [column for column in columns if not column.chart]
    texts = {column.key: [_cell(column, line, context) for line in lines] for column in columns}
    widest = {key: max(map(cell_width, cells)) for key, cells in texts.items()}
    sizes = {column.key: max(widest[column.key], len(column.title)) for column in columns}
    if width is not None:
        sizes = _fitted(columns, sizes, first, width)
    shown = [column for column in columns if column.key in sizes]
    yield _line([(column, column.title) for column in shown], sizes)
    for column in shown:
        if column.shorter is not None and sizes[column.key] < widest[column.key]:
            texts[column.key] = [_cell(column, line, context, sizes[column.key]) for line in lines]
    for index in range(len(lines)):
        yield _line([(column, texts[column.key][index]) for column in shown], sizes)


def _cell(column: Column[Any], line: Any, context: Context, cells: int | None = None) -> str:
    text = column.text(line, context) if cells is None else worded(column, line, context, cells)
    return printable_text(text) or _NOTHING


def _fitted(
    columns: Sequence[Column[Any]], natural: dict[str, int], first: AbstractSet[str], width: int
) -> dict[str, int]:
    """The widths of the columns that fit, as on the screen; none is wider than what it holds."""
    more = len(_GAP) - GAP_CELLS  # than the screen has between two columns
    needed = [
        replace(
            column,
            cells=min(natural[column.key], max(column.cells, len(column.title))) + more,
        )
        for column in columns
    ]
    wish = Wish(first=first, contents={key: cells + more for key, cells in natural.items()})
    fitted = lay_out(needed, width + more, wish).columns
    return {column.key: min(natural[column.key], cells - more) for column, cells in fitted}


def _line(cells: Sequence[tuple[Column[Any], str]], sizes: dict[str, int]) -> str:
    return _GAP.join(_padded(text, sizes[column.key], column) for column, text in cells).rstrip()


def _padded(text: str, cells: int, column: Column[Any]) -> str:
    text = _cut(text, cells, column.keeps)
    blank = " " * (cells - cell_width(text))
    return blank + text if column.align == "right" else text + blank


def _cut(text: str, cells: int, keeps: str) -> str:
    """The text in at most so many cells: without what goes beyond, or without what is before the end that it keeps."""
    if cell_width(text) <= cells:
        return text
    end = kept_end(text, keeps)
    room = cells - len(_CUT) - cell_width(end)
    if room < 1:
        end, room = "", cells - len(_CUT)
    kept = list(printable_head(text, room))
    while cell_width("".join(kept)) > room:
        kept.pop()
    return f"{''.join(kept)}{_CUT}{end}"
