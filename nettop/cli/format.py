"""The options of a written snapshot: its format, and for tables which, in which order and how many rows."""

import argparse
from collections.abc import Callable, Sequence

from nettop.errors import UsageError
from nettop.export.json import snapshot_json
from nettop.model.filter import Filter
from nettop.model.kinds import KINDS
from nettop.model.snapshot import Snapshot
from nettop.settings.declared import Settings
from nettop.settings.kinds import suggestion

FORMATS = {
    "json": "everything",
    "table": "text for people, pipes and screen readers",
    "csv": "one table with exact values",
}
TABLES = tuple(kind.name for kind in KINDS)
GROUPS = {
    "dns": ("name", "domain", "code", "server", "process", "unit", "looked-up", "look-up"),
    "connections": ("host", "port", "process", "unit", "state", "end"),
    "processes": ("comm", "unit", "user", "parent"),
    "listeners": ("process", "port"),
    "hosts": ("scope", "network"),
    "udp": ("host", "process"),
    "requests": ("host", "path", "method", "protocol", "status", "process", "unit", "remote"),
    "lookups": ("name", "result", "process", "unit"),
}  # those of the screen, by table; written out so that --help and JSON do not load them
MAX_TOP = 1_000_000


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add --format, --table, --group, --sort and --top."""
    group = parser.add_argument_group("format")
    group.add_argument(
        "--format",
        type=_format,
        metavar="FORMAT",
        help=f"as {', '.join(f'{name} ({meaning})' for name, meaning in FORMATS.items())}; default json",
    )
    group.add_argument(
        "--table",
        action="append",
        type=_tables,
        metavar="TABLE[,TABLE...]",
        help=f"which tables: {', '.join(TABLES)} (default: those that the screen shows first)",
    )
    group.add_argument(
        "--group",
        type=_group,
        metavar="NAME",
        help="a line for all rows that share something, with their sums: "
        f"{'; '.join(_said(table) for table in GROUPS)} (without --table: of every table that has it)",
    )
    group.add_argument(
        "--sort",
        metavar="COLUMN",
        help="the column to sort by, of groups one of theirs, as 'COLUMN desc' or 'COLUMN asc' in this direction; "
        "tables without it keep theirs",
    )
    group.add_argument("--top", type=_top, metavar="N", help="only the first N rows or groups of each table")


def writer_of(options: argparse.Namespace, settings: Settings, chosen: Filter) -> Callable[[Snapshot], bytes]:
    """What makes of a snapshot what is to be written: of the rows that pass the filter.

    Call it before anything is watched. Raises UsageError.
    """
    if options.format in (None, "json"):
        for option, is_given in _arranging(options).items():
            if is_given:
                raise UsageError(
                    f"{option} is for tables, and JSON has all rows.", "Add --format table or --format csv."
                )
        return lambda whole: snapshot_json(chosen.apply(whole))
    from nettop.cli.tables import table_writer  # noqa: PLC0415 - JSON needs no columns

    return table_writer(options, settings, chosen)


def refuse_without_snapshot(options: argparse.Namespace) -> None:
    """Raise UsageError if an option of a written snapshot is given where none is written."""
    given = {"-o": options.output is not None, "--force": options.force, "--format": options.format is not None}
    for option, is_given in {**given, **_arranging(options)}.items():
        if is_given:
            raise UsageError(
                f"{option} is for what is written, and a replay on the screen writes nothing.",
                "Add --snapshot to write the final snapshot instead.",
            )


def _arranging(options: argparse.Namespace) -> dict[str, bool]:
    return {
        "--table": options.table is not None,
        "--group": options.group is not None,
        "--sort": options.sort is not None,
        "--top": options.top is not None,
    }


def _format(text: str) -> str:
    return _one_of(text, tuple(FORMATS), "a format")


def _tables(text: str) -> tuple[str, ...]:
    return tuple(_one_of(part.strip(), TABLES, "a table") for part in text.split(","))


def _said(table: str) -> str:
    return f"{table} by {', '.join(GROUPS[table])}"


def _group(text: str) -> str:
    return _one_of(text, tuple(dict.fromkeys(name for names in GROUPS.values() for name in names)), "a group")


def _one_of(text: str, known: Sequence[str], what: str) -> str:
    if text.lower() not in known:
        raise UsageError(f"'{text}' is not {what}.", suggestion(text.lower(), known))
    return text.lower()


def _top(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and 0 < int(text) <= MAX_TOP):
        raise UsageError(f"'{text}' is not a number of rows.", f"Give --top a number from 1 to {MAX_TOP}.")
    return int(text)
