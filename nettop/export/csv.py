"""CSV for spreadsheets and databases: one table of exact values, a column for each field that its rows have in JSON.

Of groups it is a column for each that the screen has, and what else one of these says.

Process names, command lines and DNS data are chosen by others, and a spreadsheet runs a cell that begins like a
formula. Such a cell gets an apostrophe in front, which marks text there.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from nettop.export.tables import Wanted, tables
from nettop.model.snapshot import Snapshot, with_ages
from nettop.view.group import names_of

# What Excel, LibreOffice or Google Sheets take for the beginning of a formula, full-width forms too. Where a semicolon
# separates, a cell also begins behind one. An apostrophe gets another one, so that what is written can be undone.
_FORMULA = re.compile(r"""(^|;)(?=["\s]*['=+\-@\uff1d\uff0b\uff0d\uff20])""")


def csv_text(snapshot: Snapshot, wanted: Wanted) -> bytes:
    """The only table that is wanted, as in RFC 4180: a header, CRLF, quotes where needed. Unknown values are empty."""
    (table,) = tables(with_ages(snapshot), wanted)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    if table.grouping is None:
        paths, built = fields(table.kind.row), table.lines
    else:
        paths, built = tuple((name,) for name in names_of(table.pane)), [group.told() for group in table.lines]
    writer.writerow(".".join(path) for path in paths)
    for line in built:
        values = msgspec.to_builtins(line)
        writer.writerow(_cell(_at(values, path)) for path in paths)
    return text.getvalue().encode()


def fields(row: type) -> tuple[tuple[str, ...], ...]:
    """The fields of a row, those of the structures within it one by one: `("remote", "port")`."""
    return tuple(_leaves(msgspec.inspect.type_info(row), ()))


def _leaves(kind: msgspec.inspect.Type, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    structure = _structure(kind)
    if structure is None:
        yield path
    else:
        for field in structure.fields:
            yield from _leaves(field.type, (*path, field.encode_name))


def _structure(kind: msgspec.inspect.Type) -> msgspec.inspect.StructType | None:
    """The structure that this is, or may be."""
    if isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    options = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
    return next((option for option in options if isinstance(option, msgspec.inspect.StructType)), None)


def _at(row: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if row is None:
            return None
        row = row[name]
    return row


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list | tuple):
        value = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _FORMULA.sub(r"\1'", value) if isinstance(value, str) else value
