"""Which rows a report has, in which order: what the formats for people and spreadsheets write.

Pure, like the panes: the screen's columns, sort and titles are those of the declarations that it shares with them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nettop.model.kinds import Kind
from nettop.model.owners import Owners
from nettop.model.snapshot import Snapshot
from nettop.view.columns import COLUMNS, Column, Context
from nettop.view.grouping import Grouping, grouped, grouping_of
from nettop.view.panes import PaneKind, apart
from nettop.view.ranking import sort


@dataclass(frozen=True)
class Wanted:
    """What is to be written of a snapshot.

    Attributes:
        panes: the tables, in order, each with the columns and the sort that the user has set for the screen.
        sort: the column to sort by instead, under any of its names, where a table has it.
        descending: the direction; None: the one that one wants first of that column.
        top: how many rows of each table; None: all.
        group: what the rows of each table that has this grouping are put together by; None: each has its own line.
        width: the cells of the terminal that it is for; None: as many as it takes.
        whole: the snapshot before the filter, which may leave out the processes of rows that pass; None: the same.

    """

    panes: tuple[PaneKind[Any], ...]
    sort: str | None = None
    descending: bool | None = None
    top: int | None = None
    width: int | None = None
    whole: Snapshot | None = None
    group: str | None = None


@dataclass(frozen=True)
class Table:
    """Rows of one kind, or the groups that they make, chosen and sorted. `total` counts those that `top` leaves out."""

    kind: Kind[Any]  # of the rows
    grouping: Grouping | None
    pane: PaneKind[Any]  # of what has a line each
    by: Column[Any]
    lines: Sequence[Any]
    total: int


Writer = Callable[[Snapshot, Wanted], bytes]


def tables(snapshot: Snapshot, wanted: Wanted) -> list[Table]:
    """The tables of a snapshot that a report has."""
    return [_table(pane, snapshot, wanted) for pane in wanted.panes]


def _table(pane: PaneKind[Any], snapshot: Snapshot, wanted: Wanted) -> Table:
    kind, grouping = pane.kind, _grouping(pane, wanted.group)
    lines = list(kind.rows_of(snapshot))
    if grouping is not None:
        pane, lines = grouping.pane, grouped(grouping, lines, wanted.whole or snapshot)
    by, descending = pane.column(pane.sort), pane.descending
    column = named(pane, wanted.sort) if wanted.sort is not None else None
    if column is not None:
        by, descending = column, column.descending if wanted.descending is None else wanted.descending
    ordered = sort(lines, by, descending, context_of(snapshot, wanted))
    return Table(kind, grouping, pane, by, ordered[: wanted.top], len(lines))


def shown(pane: PaneKind[Any], group: str | None) -> PaneKind[Any]:
    """What has a line each: the groups if any are wanted and the table has them, else the rows."""
    grouping = _grouping(pane, group)
    return pane if grouping is None else grouping.pane


def _grouping(pane: PaneKind[Any], group: str | None) -> Grouping | None:
    return None if group is None else grouping_of(pane.kind, group)


def context_of(snapshot: Snapshot, wanted: Wanted) -> Context:
    """What cells depend on besides their row."""
    whole = wanted.whole or snapshot
    return Context(snapshot.captured_at, owners=Owners(whole.processes), start=snapshot.started_at)


def named(pane: PaneKind[Any], name: str) -> Column[Any] | None:
    """The column with this key (`tx`), title (`TX`) or field (`tx_bytes`), of all that such lines have."""
    columns = all_columns(pane).columns
    for names in (_key, _title, _field):
        for column in columns:
            if names(column) == name.lower():
                return column
    return None


def _key(column: Column[Any]) -> str:
    return column.key


def _title(column: Column[Any]) -> str:
    return column.title.lower()


def _field(column: Column[Any]) -> str | None:
    return column.sort if isinstance(column.sort, str) else None


def all_columns(pane: PaneKind[Any]) -> PaneKind[Any]:
    """The pane with every column that its lines have, whatever the screen leaves out."""
    return replace(pane, columns=tuple(apart(COLUMNS.get(pane.kind, pane.columns))), hidden=())
