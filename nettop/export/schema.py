"""The published JSON Schemas, generated from the rows."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from nettop.export.findings import Diagnosis, FindingRow
from nettop.model.events import AnyEvent
from nettop.model.kinds import KINDS
from nettop.model.snapshot import Snapshot

_DEFINITION = "#/$defs/{name}"
_OPTIONAL = {"origin"}  # of events: only `stream --final` has it


def schemas() -> dict[str, dict[str, Any]]:
    """The JSON Schemas (2020-12) of a snapshot, of a line of a stream and of findings, by their file names."""
    return {
        "findings.schema.json": _findings(),
        "snapshot.schema.json": _schema(Snapshot, "nettop.snapshot/1"),
        "stream.schema.json": _schema(AnyEvent, "nettop.stream/1, one line"),
    }


def schema_text(schema: dict[str, Any]) -> str:
    """A schema as it is kept in nettop/schema/."""
    return json.dumps(schema, indent=2) + "\n"


def _findings() -> dict[str, Any]:
    """Whose rows prove what they are said to: they are those of the table that the finding names."""
    schema = _schema(Diagnosis, "nettop.findings/1", [kind.row for kind in KINDS])
    finding = schema["$defs"][FindingRow.__name__]
    finding["properties"]["table"]["enum"] = [kind.name for kind in KINDS]
    finding["allOf"] = [
        {
            "if": {"properties": {"table": {"const": kind.name}}},
            "then": {"properties": {"rows": {"items": {"$ref": _DEFINITION.format(name=kind.row.__name__)}}}},
        }
        for kind in KINDS
    ]
    return schema


def _schema(kind: Any, title: str, also: Sequence[type] = ()) -> dict[str, Any]:
    """The schema of written JSON: it always has every field, although input may omit those with a default.

    `also` are definitions that it has besides those of its fields.
    """
    (schema, *_), definitions = msgspec.json.schema_components((kind, *also), ref_template=_DEFINITION)
    schema["$defs"] = definitions
    for definition in definitions.values():
        if "description" in definition:  # a docstring, from which Python 3.13 takes the indentation
            definition["description"] = inspect.cleandoc(definition["description"])
        if "properties" in definition:
            definition["required"] = [name for name in definition["properties"] if name not in _OPTIONAL]
            for property_schema in definition["properties"].values():
                property_schema.pop("default", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **schema}


if __name__ == "__main__":
    directory = Path(__file__).parents[1] / "schema"
    directory.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (directory / name).write_text(schema_text(schema))
