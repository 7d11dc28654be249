"""What nettop writes is what its published schemas say."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator, ValidationError

from nettop import export
from nettop.model import events, rows
from nettop.model.filter import Filter
from nettop.model.snapshot import Snapshot
from nettop.model.store import replayed
from tests.builders import a_recording, at, connection, dns_query, start, told

SCHEMAS = Path(export.__file__).parent / "schema"


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((SCHEMAS / name).read_text()))


SNAPSHOT, STREAM = validator("snapshot.schema.json"), validator("stream.schema.json")


def a_snapshot() -> Snapshot:
    return Filter("comm:* -port:1").apply(replayed(a_recording()).snapshot())


@pytest.mark.parametrize("name", ["snapshot.schema.json", "stream.schema.json"])
def test_the_published_schema_is_what_the_rows_make(name: str) -> None:
    """`make schema` writes them anew."""
    assert (SCHEMAS / name).read_text() == export.schema_text(export.schemas()[name])


def test_no_other_schema_is_published() -> None:
    assert {path.name for path in SCHEMAS.iterdir()} == set(export.schemas())


@pytest.mark.parametrize("schema", [SNAPSHOT, STREAM])
def test_the_schemas_are_schemas(schema: Draft202012Validator) -> None:
    Draft202012Validator.check_schema(schema.schema)


def test_a_snapshot_is_valid() -> None:
    SNAPSHOT.validate(json.loads(export.snapshot_json(a_snapshot())))


@pytest.mark.parametrize("event", a_recording(), ids=lambda event: type(event).__name__)
def test_an_event_is_valid(event: events.AnyEvent) -> None:
    STREAM.validate(json.loads(export.event_json(event)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "nettop.snapshot/2"),
        (("captured_at",), 5),
        (("connections", 0, "id"), "one"),
        (("connections", 0, "state"), "open"),
        (("connections", 0, "owner"), None),
        (("dns", 0, "status"), "lost"),
        (("processes", 0, "tcp"), None),
    ],
)
def test_what_is_no_snapshot_is_not_valid(path: tuple[str | int, ...], value: object) -> None:
    document: Any = json.loads(export.snapshot_json(a_snapshot()))
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        SNAPSHOT.validate(document)


def test_an_event_without_its_row_is_not_valid() -> None:
    with pytest.raises(ValidationError):
        STREAM.validate({"type": "dns", "time": "2026-01-01T00:00:00.5Z"})


def test_a_snapshot_comes_back_as_it_was() -> None:
    snapshot = a_snapshot()
    assert msgspec.json.decode(export.snapshot_json(snapshot), type=Snapshot) == snapshot


@pytest.mark.parametrize("event", a_recording(), ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was(event: events.AnyEvent) -> None:
    line = export.event_json(event)
    decoded: events.AnyEvent = msgspec.json.decode(line, type=events.AnyEvent)
    assert decoded == event
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


def test_an_event_names_its_type() -> None:
    kinds = [json.loads(export.event_json(event))["type"] for event in a_recording()]
    assert list(dict.fromkeys(kinds)) == ["start", "process", "dns", "connection", "tick", "udp", "losses", "end"]


def test_times_are_rfc_3339_in_utc_with_microseconds() -> None:
    line = json.loads(export.event_json(told(dns_query())))
    assert line["time"] == "2026-03-01T12:00:01.123457Z"
    assert line["dns"]["asked_at"] == "2026-03-01T12:00:01.123457Z"


def test_what_is_unknown_is_null() -> None:
    document = json.loads(export.event_json(told(connection(pid=None, comm=None, opened_at=None))))["connection"]
    assert [document[name] for name in ("pid", "comm", "opened_at", "closed_at", "end", "srtt_ms")] == [None] * 6


def test_large_counters_are_exact() -> None:
    line = export.event_json(told(connection(tx_bytes=2**53 + 1, rx_bytes=2**63)))
    assert b'"tx_bytes":9007199254740993,"rx_bytes":9223372036854775808' in line


@pytest.mark.parametrize(
    ("row", "duration_ms"),
    [
        (connection(), 3000.0),
        (connection(opened_at=None, opened_before_start=True), None),
        (connection(state="closed", duration_ms=7.5), 7.5),
        (connection(state="closed"), None),
        (connection(opened_at=at(9)), 0.0),
    ],
    ids=["open", "older than nettop", "closed", "vanished", "opened after the last event"],
)
def test_a_snapshot_says_how_long_connections_have_lasted(row: rows.Connection, duration_ms: float | None) -> None:
    snapshot = replayed([start(), told(row), events.Tick(time=at(4))]).snapshot()
    (document,) = json.loads(export.snapshot_json(snapshot))["connections"]
    assert document["duration_ms"] == duration_ms
    assert snapshot.connections[0].duration_ms == row.duration_ms


def test_a_snapshot_is_indented_text_with_a_final_newline() -> None:
    text = export.snapshot_json(replayed([start()]).snapshot())
    assert text.startswith(b'{\n  "schema": "nettop.snapshot/1",\n')
    assert text.endswith(b"\n}\n")
