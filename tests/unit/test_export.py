"""What nettop writes is what its published schemas say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema_rs import Draft202012Validator, ValidationError, meta
from msgspec.structs import replace

from nettop.export import schema as published
from nettop.export.json import event_json, snapshot_json
from nettop.model import events, rows
from nettop.model.filter import Filter
from nettop.model.snapshot import Snapshot
from nettop.model.store import replayed
from tests.builders import a_recording, answered, at, connection, dns_query, start, told

SCHEMAS = Path(published.__file__).parents[1] / "schema"


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((SCHEMAS / name).read_text()))


SNAPSHOT, STREAM = validator("snapshot.schema.json"), validator("stream.schema.json")


def a_snapshot() -> Snapshot:
    return Filter("comm:* -port:1").apply(replayed(a_recording()).snapshot())


@pytest.mark.parametrize("name", ["findings.schema.json", "snapshot.schema.json", "stream.schema.json"])
def test_the_published_schema_is_what_the_rows_make(name: str) -> None:
    """`make schema` writes them anew."""
    assert (SCHEMAS / name).read_text() == published.schema_text(published.schemas()[name])


def test_no_other_schema_is_published() -> None:
    assert {path.name for path in SCHEMAS.iterdir()} == set(published.schemas())


@pytest.mark.parametrize("name", ["findings.schema.json", "snapshot.schema.json", "stream.schema.json"])
def test_the_schemas_are_schemas(name: str) -> None:
    meta.validate(json.loads((SCHEMAS / name).read_text()))


def test_a_snapshot_is_valid() -> None:
    SNAPSHOT.validate(json.loads(snapshot_json(a_snapshot())))


@pytest.mark.parametrize("event", a_recording(), ids=lambda event: type(event).__name__)
def test_an_event_is_valid(event: events.AnyEvent) -> None:
    STREAM.validate(json.loads(event_json(event)))


Path_ = tuple[str | int, ...]


def everything() -> dict[str, Any]:
    """A document of each kind, in which every table has an entry."""
    one = {"a": 1}
    losses = rows.Losses(perf_buffer=one, map_full=one, missed_runs=one, evicted=one, unlisted=one)
    scope = rows.Scope(pid=(1,), comm=("curl",), netns=(1,))
    snapshot = replace(a_snapshot(), losses=losses, scope=scope, dns=(answered(),), connections=(connection(),))
    unlisted = events.Unlisted(
        time=at(1), unlisted=rows.Unlisted(pid=1, process_start_time=at(0)),
    )  # fmt: skip
    line = {type(event).__name__: event for event in [*a_recording(), unlisted]}
    line["Start"] = start(scope=scope)
    line["LossesChanged"] = events.LossesChanged(time=at(1), losses=losses)
    return {"Snapshot": snapshot, **line}


def fields_of(value: object) -> Iterator[Path_]:
    """The ways to each field of a row, through rows and lists of rows."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            if getattr(value, name) is msgspec.UNSET:
                continue
            yield (name,)
            yield from ((name, *way) for way in fields_of(getattr(value, name)))
    elif isinstance(value, tuple):
        yield from ((place, *way) for place, item in enumerate(value) for way in fields_of(item))


def values_of(document: object) -> Iterator[Path_]:
    """The ways to each value that is not a list or a table."""
    if isinstance(document, dict | list):
        items = document.items() if isinstance(document, dict) else enumerate(document)
        yield from ((key, *way) for key, item in items for way in values_of(item))
    else:
        yield ()


def schema_and_document(kind: str) -> tuple[Draft202012Validator, Any]:
    value = everything()[kind]
    schema = SNAPSHOT if kind == "Snapshot" else STREAM
    document = json.loads(msgspec.json.encode(value))
    schema.validate(document)
    return schema, document


def place_of(document: Any, way: Path_) -> Any:
    for step in way[:-1]:
        document = document[step]
    return document


KINDS_OF_DOCUMENT = sorted(everything())


@pytest.mark.parametrize("kind", KINDS_OF_DOCUMENT)
def test_a_document_without_any_of_its_fields_is_not_valid(kind: str) -> None:
    """They are always written; a field that is missing is a defect of nettop that the schema has to show."""
    schema, document = schema_and_document(kind)
    assert schema.is_valid(document)
    ways = [*fields_of(everything()[kind]), *([("type",)] if kind != "Snapshot" else [])]
    for way in ways:
        place = place_of(document, way)
        kept = place.pop(way[-1])
        assert not schema.is_valid(document), way
        place[way[-1]] = kept
    assert schema.is_valid(document)


@pytest.mark.parametrize("absurd", [-1, -0.5, 10**30, 1.7e308])
@pytest.mark.parametrize("kind", KINDS_OF_DOCUMENT)
def test_a_document_with_an_absurd_number_anywhere_is_not_valid(kind: str, absurd: float) -> None:
    schema, document = schema_and_document(kind)
    ways = list(values_of(document))
    assert ways
    for way in ways:
        place = place_of(document, way)
        kept, place[way[-1]] = place[way[-1]], absurd
        assert not schema.is_valid(document), way
        place[way[-1]] = kept
    assert schema.is_valid(document)


@pytest.mark.parametrize("absurd", [b"-1", b"-0.5", b"9" * 31, b"1.7e308", b"9" * 400])
@pytest.mark.parametrize("kind", KINDS_OF_DOCUMENT)
def test_what_is_read_is_refused_where_a_number_is_absurd(kind: str, absurd: bytes) -> None:
    """The reader's bounds are those of the schema."""
    value = everything()[kind]
    document = json.loads(msgspec.json.encode(value))
    for way in values_of(document):
        place = place_of(document, way)
        kept, place[way[-1]] = place[way[-1]], "HERE"
        text = json.dumps(document).encode().replace(b'"HERE"', absurd)
        place[way[-1]] = kept
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(text, type=Snapshot if kind == "Snapshot" else events.AnyEvent)


@pytest.mark.parametrize("kind", [kind for kind in KINDS_OF_DOCUMENT if kind != "End"])
def test_what_an_older_nettop_wrote_is_read(kind: str) -> None:
    """Without the fields that have come since 0.1.0; what was there then is required."""
    value = everything()[kind]
    document = json.loads(msgspec.json.encode(value))
    kind_of_row = Snapshot if kind == "Snapshot" else events.AnyEvent
    for row in (document, document.get("process"), *document.get("processes", ())):
        if row is not None:
            row.pop("cmdline_cut", None)
    document.get("scope", {}).pop("dns_ports", None)
    msgspec.json.decode(json.dumps(document), type=kind_of_row)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_is_a_port(port: int) -> None:
    _, document = schema_and_document("Snapshot")
    document["connections"][0]["local"]["port"] = port
    assert not SNAPSHOT.is_valid(document)


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
    document: Any = json.loads(snapshot_json(a_snapshot()))
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
    assert msgspec.json.decode(snapshot_json(snapshot), type=Snapshot) == snapshot


@pytest.mark.parametrize("event", a_recording(), ids=lambda event: type(event).__name__)
def test_an_event_comes_back_as_it_was(event: events.AnyEvent) -> None:
    line = event_json(event)
    decoded: events.AnyEvent = msgspec.json.decode(line, type=events.AnyEvent)
    assert decoded == event
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


def test_an_event_names_its_type() -> None:
    kinds = [json.loads(event_json(event))["type"] for event in a_recording()]
    assert list(dict.fromkeys(kinds)) == [
        "start", "process", "dns", "connection", "tick", "udp", "listener", "request", "lookup", "losses", "end",
    ]  # fmt: skip


def test_times_are_rfc_3339_in_utc_with_microseconds() -> None:
    line = json.loads(event_json(told(dns_query())))
    assert line["time"] == "2026-03-01T12:00:01.123457Z"
    assert line["dns"]["asked_at"] == "2026-03-01T12:00:01.123457Z"


def test_what_is_unknown_is_null() -> None:
    document = json.loads(event_json(told(connection(pid=None, comm=None, opened_at=None))))["connection"]
    assert [document[name] for name in ("pid", "comm", "opened_at", "closed_at", "end", "srtt_ms")] == [None] * 6


def test_large_counters_are_exact() -> None:
    line = event_json(told(connection(tx_bytes=2**53 + 1, rx_bytes=2**63 - 1)))
    assert b'"tx_bytes":9007199254740993,"rx_bytes":9223372036854775807' in line


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
    (document,) = json.loads(snapshot_json(snapshot))["connections"]
    assert document["duration_ms"] == duration_ms
    assert snapshot.connections[0].duration_ms == row.duration_ms


@pytest.mark.parametrize(
    ("row", "states_ms"),
    [
        (connection(state_since=at(1.025), states_ms={"syn-sent": 25.0}), {"syn-sent": 25.0, "established": 2975.0}),
        (connection(), {}),
        (connection(state="closed", states_ms={"established": 7.5}), {"established": 7.5}),
        (connection(state_since=at(9)), {"established": 0.0}),
    ],
    ids=["open", "of an older nettop", "closed", "since after the last event"],
)
def test_a_snapshot_says_how_long_connections_have_been_in_their_state(
    row: rows.Connection, states_ms: dict[str, float]
) -> None:
    snapshot = replayed([start(), told(row), events.Tick(time=at(4))]).snapshot()
    (document,) = json.loads(snapshot_json(snapshot))["connections"]
    assert document["states_ms"] == states_ms
    assert snapshot.connections[0].states_ms == row.states_ms
    assert json.loads(event_json(told(row)))["connection"]["states_ms"] == row.states_ms


def test_a_snapshot_is_indented_text_with_a_final_newline() -> None:
    text = snapshot_json(replayed([start()]).snapshot())
    assert text.startswith(b'{\n  "schema": "nettop.snapshot/1",\n')
    assert text.endswith(b"\n}\n")
