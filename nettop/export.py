"""JSON of snapshots and streams: the rows as they are, and the schemas made from them."""

import json
from pathlib import Path
from typing import Any

import msgspec

from nettop.model.events import AnyEvent
from nettop.model.snapshot import Snapshot, with_ages

_ENCODER = msgspec.json.Encoder()


def snapshot_json(snapshot: Snapshot) -> bytes:
    """A snapshot as indented JSON with a final newline."""
    return msgspec.json.format(_ENCODER.encode(with_ages(snapshot)), indent=2) + b"\n"


def event_json(event: AnyEvent) -> bytes:
    """An event as one line of JSON with its newline."""
    return _ENCODER.encode(event) + b"\n"


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schemas (2020-12) of a snapshot and of a line of a stream, by their file names."""
    return {
        "snapshot.schema.json": _schema(Snapshot, "nettop.snapshot/1"),
        "stream.schema.json": _schema(AnyEvent, "nettop.stream/1, one line"),
    }


def schema_text(schema: dict[str, Any]) -> str:
    """A schema as it is kept in nettop/schema/."""
    return json.dumps(schema, indent=2) + "\n"


def _schema(kind: Any, title: str) -> dict[str, Any]:
    """What is written: every field always is, though one with a default may be absent from what is read."""
    schema = msgspec.json.schema(kind)
    for definition in schema["$defs"].values():
        if "properties" in definition:
            definition["required"] = list(definition["properties"])
            for property_schema in definition["properties"].values():
                property_schema.pop("default", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **schema}


if __name__ == "__main__":
    directory = Path(__file__).parent / "schema"
    directory.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (directory / name).write_text(schema_text(schema))
