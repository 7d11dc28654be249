"""The formats of a snapshot by name: one module each."""

from collections.abc import Mapping

from nettop.export.csv import csv_text
from nettop.export.json import snapshot_json
from nettop.export.table import table_text
from nettop.export.tables import Wanted, Writer
from nettop.model.snapshot import Snapshot


def _json(snapshot: Snapshot, _wanted: Wanted) -> bytes:
    """All rows, whatever tables are wanted: this is what a replay reads."""
    return snapshot_json(snapshot)


WRITERS: Mapping[str, Writer] = {"json": _json, "table": table_text, "csv": csv_text}
