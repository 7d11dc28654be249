"""What there is to sort by, and what the picker does with the columns of a pane. Pure functions, no Textual."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nettop.view.columns import COLUMNS, Column
from nettop.view.panes import PaneKind, apart

TITLE_CELLS = 9  # of a column, where its meaning follows


def sortable(pane: PaneKind[Any]) -> list[Column[Any]]:
    """What one can sort by, in the declared order as far as it is hidden."""
    columns = {column.key: column for column in (*pane.columns, *pane.hidden)}
    return apart([columns[key] for key in picked(pane).keys])


def sort_line(column: Column[Any], descending: bool | None) -> str:
    """A column in the menu of what to sort by; with an arrow if rows are sorted by it."""
    arrow = " " if descending is None else "▾" if descending else "▴"
    return f"{column.title:<{TITLE_CELLS}} {arrow} {column.meaning}"


@dataclass(frozen=True)
class Picked:
    """All columns of a pane by their keys, in order, and those that are shown."""

    keys: tuple[str, ...]
    shown: frozenset[str]

    def toggled(self, key: str) -> "Picked":
        """With this column shown if it is hidden, and the other way round; one is always shown."""
        shown = self.shown ^ {key}
        return replace(self, shown=shown) if shown else self

    def moved(self, key: str, step: int) -> "Picked":
        """With this column so many places further."""
        to = min(max(self.keys.index(key) + step, 0), len(self.keys) - 1)
        others = [other for other in self.keys if other != key]
        return replace(self, keys=(*others[:to], key, *others[to:]))

    def applied(self, pane: PaneKind[Any]) -> PaneKind[Any]:
        """The pane with these columns."""
        columns = {column.key: column for column in (*pane.columns, *pane.hidden)}
        return replace(
            pane,
            columns=tuple(columns[key] for key in self.keys if key in self.shown),
            hidden=tuple(columns[key] for key in self.keys if key not in self.shown),
        )


def picked(pane: PaneKind[Any]) -> Picked:
    """What a pane shows now. Hidden columns stand where they would be if they were shown."""
    shown = [column.key for column in pane.columns]
    return Picked(_completed(shown, pane), frozenset(shown))


def restored(pane: PaneKind[Any], columns: Sequence[str], hidden: Collection[str]) -> PaneKind[Any]:
    """The pane with columns as somebody chose them, maybe with another nettop: it leaves out what is not there now.

    What is in neither list has come since then, and is shown if it is without that choice.
    """
    known = {column.key for column in (*pane.columns, *pane.hidden)}
    chosen = [key for key in dict.fromkeys(columns) if key in known]
    come_since = {column.key for column in pane.columns} - set(columns) - set(hidden)
    return Picked(_completed(chosen, pane), frozenset(chosen) | come_since).applied(pane) if chosen else pane


def _completed(keys: Sequence[str], pane: PaneKind[Any]) -> tuple[str, ...]:
    """The keys, and those of the other columns of the pane, each behind the one that it is declared behind."""
    there = {column.key for column in (*pane.columns, *pane.hidden)}
    declared = [column.key for column in COLUMNS.get(pane.kind, pane.columns) if column.key in there]
    completed = list(keys)
    for at, key in enumerate(declared):
        if key not in completed:
            before = next((other for other in reversed(declared[:at]) if other in completed), None)
            completed.insert(0 if before is None else completed.index(before) + 1, key)
    return tuple(completed)
