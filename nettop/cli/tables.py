"""What the options --table, --group, --sort and --top want; loaded only where tables are written."""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from nettop.cli.format import GROUPS
from nettop.errors import UsageError
from nettop.export.formats import WRITERS
from nettop.export.tables import Wanted, all_columns, named, shown
from nettop.model.filter import Filter
from nettop.model.snapshot import Snapshot
from nettop.settings.declared import Settings
from nettop.settings.kinds import suggestion
from nettop.settings.resolve import look
from nettop.view.panes import PaneKind

_DIRECTIONS = {"": None, "asc": False, "desc": True}
_STDOUT = 1


def table_writer(options: argparse.Namespace, settings: Settings, chosen: Filter) -> Callable[[Snapshot], bytes]:
    """What makes the tables that these options want of a snapshot, of the rows that pass. Raises UsageError."""
    write, wanted = WRITERS[options.format], _wanted(options, settings)

    def written(whole: Snapshot) -> bytes:
        width = _terminal_width() if options.output is None else None
        return write(chosen.apply(whole), replace(wanted, width=width, whole=whole))

    return written


def _wanted(options: argparse.Namespace, settings: Settings) -> Wanted:
    screen = look(settings)
    panes = {pane.name: pane for pane in screen.panes}
    names = list(dict.fromkeys(name for given in options.table or () for name in given))
    if options.group is not None:
        names = _grouped(options.group, names)
    if options.format == "csv" and len(names) != 1:
        known = ", ".join(names or panes)
        raise UsageError("CSV holds one table.", f"Say which with --table: {known}.")
    chosen = tuple(panes[name] for name in names or screen.stacked)
    column, descending = (None, None) if options.sort is None else _sort(options.sort, chosen, options.group)
    return Wanted(chosen, column, descending, options.top, group=options.group)


def _grouped(group: str, tables: list[str]) -> list[str]:
    """These tables, or else all that have the grouping. Raises UsageError if one of these does not have it."""
    for table in tables:
        if group not in GROUPS[table]:
            raise UsageError(f"There is no group '{group}' of {table}.", f"Choose from {', '.join(GROUPS[table])}.")
    return tables or [table for table, names in GROUPS.items() if group in names]


def _sort(text: str, tables: Sequence[PaneKind[Any]], group: str | None) -> tuple[str, bool | None]:
    """The name of a column, and a direction if one is given. Raises UsageError if none of the tables has it."""
    name, _, direction = text.strip().partition(" ")
    direction = direction.strip().lower()
    if direction not in _DIRECTIONS:
        raise UsageError(f"'{direction}' is not a direction to sort in.", f"Write '{name} asc' or '{name} desc'.")
    panes = [shown(pane, group) for pane in tables]
    if all(named(pane, name) is None for pane in panes):
        known = tuple(dict.fromkeys(column.key for pane in panes for column in all_columns(pane).columns))
        called = " or ".join(pane.name for pane in panes)
        # a column of rows is rarely a misspelt one of groups
        remedy = suggestion(name, known) if group is None else f"Choose from {', '.join(known)}."
        raise UsageError(f"'{name}' is not a column of {called}.", remedy)
    return name, _DIRECTIONS[direction]


def _terminal_width() -> int | None:
    """Of standard output; None if that is a pipe or a file, or if the terminal does not say."""
    try:
        return os.get_terminal_size(_STDOUT).columns or None
    except OSError:
        return None
