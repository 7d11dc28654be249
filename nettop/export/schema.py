"""The published JSON Schemas, generated from the rows."""

import json
from pathlib import Path
from typing import Any

import msgspec

from nettop.model.events import AnyEvent
from nettop.model.snapshot import Snapshot


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
    """The schema of written JSON: it always has every field, although input may omit those with a default."""
    schema = msgspec.json.schema(kind)
    for definition in schema["$defs"].values():
        if "properties" in definition:
            definition["required"] = list(definition["properties"])
            for property_schema in definition["properties"].values():
                property_schema.pop("default", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **schema}


if __name__ == "__main__":
    directory = Path(__file__).parents[1] / "schema"
    directory.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (directory / name).write_text(schema_text(schema))
