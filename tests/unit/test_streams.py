"""Requests of HTTP/2, decoded and paired by stream."""

import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from hpack import Encoder

from nettop.kernel import abi
from nettop.kernel.abi import HttpHead
from nettop.model.rows import Request
from nettop.tracking import streams
from nettop.tracking.owners import NOBODY
from nettop.tracking.request_rows import Linked, Privacy
from nettop.tracking.requests import RequestTracker
from tests.builders import CLOCK, CURL, at, connection, http_head, socket_record
from tests.hostile.protocol_cases import mutated

PATH = "/users/7?token=secret"
Fields = list[tuple[str, str]]


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body


class Wire:
    """One connection, whose frames the kernel side hands on to a tracker."""

    def __init__(self, privacy: Privacy | None = None, flags: int = 0) -> None:
        self.tracker = RequestTracker(CLOCK, privacy)
        self.flags = flags
        self._encoders = {True: Encoder(), False: Encoder()}
        self._handed = {True: 0, False: 0}

    def heads(self, asks: bool, *heads: tuple[int, Fields, bool]) -> bytes:
        """Frames of heads, each of a stream, with fields, and whether the stream ends."""
        encoder = self._encoders[asks]
        return b"".join(frame(1, 4 | ends, stream, encoder.encode(fields)) for stream, fields, ends in heads)

    def record(self, asks: bool, frames: bytes, seconds: float = 1.0, **changes: Any) -> HttpHead:
        """The record of these frames, which come after all before."""
        begin = self._handed[asks]
        self._handed[asks] += len(frames)
        role = abi.HTTP2_ASKS if asks else 0
        fields = {
            "kind": abi.HTTP2_FRAMES, "seq": begin, "egress": int(asks), "http2": abi.HTTP2_SPOKEN | role | self.flags,
        }  # fmt: skip
        return http_head(frames, seconds, **{**fields, **changes})

    def say(self, asks: bool, frames: bytes, seconds: float = 1.0, **changes: Any) -> None:
        self.tracker.head(self.record(asks, frames, seconds, **changes))

    def ask(self, stream: int, path: str = PATH, ends: bool = True, seconds: float = 1.0, **more: str) -> None:
        fields = [
            (":method", "GET"), (":scheme", "http"), (":authority", "a.test:80"), (":path", path),
            *((name.replace("_", "-"), value) for name, value in more.items()),
        ]  # fmt: skip
        self.say(True, self.heads(True, (stream, fields, ends)), seconds)

    def answer(self, stream: int, status: int = 200, ends: bool = True, seconds: float = 1.1, **more: str) -> None:
        fields = [(":status", str(status)), *((name.replace("_", "-"), value) for name, value in more.items())]
        self.say(False, self.heads(False, (stream, fields, ends)), seconds)

    def lose(self, asks: bool, *heads: tuple[int, Fields, bool]) -> None:
        """Frames that are not handed on."""
        self._handed[asks] += len(self.heads(asks, *heads))

    def told(self) -> list[Request]:
        found = Linked(connection(id=7), NOBODY)
        return [observed.event.request for observed in self.tracker.tick(at(2), lambda _: found)]


def test_a_request_and_its_response_are_one_row() -> None:
    wire = Wire()
    wire.ask(1)
    wire.answer(1, content_length="3", ends=False)
    (row,) = wire.told()
    assert (row.method, row.host, row.path, row.status, row.error) == ("GET", "a.test", "/users/7", 200, None)
    assert (row.side, row.protocol, row.pid, row.connection_id) == ("client", "h2", CURL.pid, 7)
    assert (row.latency_ms, row.request_bytes, row.response_bytes) == (100.0, 0, 3)
    assert (row.grpc_status, row.partial) == (None, False)


def test_streams_are_answered_in_any_order() -> None:
    wire = Wire()
    for stream in (1, 3, 5):
        wire.ask(stream, f"/{stream}")
    for stream, status in ((5, 500), (1, 201), (3, 404)):
        wire.answer(stream, status)
    assert [(row.path, row.status) for row in wire.told()] == [("/1", 201), ("/3", 404), ("/5", 500)]


def test_a_call_of_grpc_fails_with_what_comes_behind_its_response() -> None:
    wire = Wire()
    wire.ask(1, content_type="application/grpc", ends=False)
    wire.answer(1, content_type="application/grpc", ends=False)
    (row,) = wire.told()
    assert (row.protocol, row.status, row.grpc_status, row.failed) == ("grpc", 200, None, False)
    wire.say(False, wire.heads(False, (1, [("grpc-status", "5"), ("grpc-message", "none")], True)))
    (row,) = wire.told()
    assert (row.status, row.grpc_status, row.failed) == (200, 5, True)
    wire.ask(3, content_type="application/grpc", ends=False)
    wire.answer(3, content_type="application/grpc", grpc_status="14")
    (row,) = wire.told()
    assert (row.status, row.grpc_status, row.failed) == (200, 14, True)


def test_interim_responses_are_none() -> None:
    wire = Wire()
    wire.ask(1)
    wire.answer(1, 103, ends=False, seconds=1.05)
    (row,) = wire.told()
    assert row.pending
    wire.answer(1, 200, seconds=1.2)
    (row,) = wire.told()
    assert (row.status, row.latency_ms) == (200, 200.0)


@pytest.mark.parametrize(("asks", "error", "fails"), [(True, "cancelled", True), (False, "reset", True)])
def test_a_stream_that_is_reset(asks: bool, error: str, fails: bool) -> None:
    wire = Wire()
    wire.ask(1)
    wire.say(asks, frame(3, 0, 1, (8).to_bytes(4)))
    (row,) = wire.told()
    assert (row.status, row.error, row.failed) == (None, error, fails)


def test_a_call_that_is_cancelled_after_its_response_began_has_not_failed() -> None:
    wire = Wire()
    wire.ask(1, content_type="application/grpc")
    wire.answer(1, ends=False)
    wire.say(True, frame(3, 0, 1, (8).to_bytes(4)))
    (row,) = wire.told()
    assert (row.status, row.error, row.failed) == (200, "cancelled", False)


def test_a_server_that_wants_no_more_has_answered() -> None:
    wire = Wire()
    wire.ask(1, ends=False)
    wire.answer(1, 413)
    wire.say(False, frame(3, 0, 1, bytes(4)))
    (row,) = wire.told()
    assert (row.status, row.error) == (413, None)


@pytest.mark.parametrize(("how", "error"), [("normal", "closed"), ("reset-by-peer", "reset"), ("timeout", "timeout")])
def test_what_waits_when_the_connection_ends_has_failed(how: Any, error: str) -> None:
    wire = Wire()
    wire.ask(1, "/answered")
    wire.answer(1)
    wire.ask(3, "/waits")
    record = socket_record(requests=2, responses=1, http2=abi.HTTP2_SPOKEN, requester=abi.SPEAKER_LOCAL)
    wire.tracker.ended(record, how)
    assert [(row.path, row.error) for row in wire.told()] == [("/answered", None), ("/waits", error)]
    counted = wire.tracker.on(record)
    assert counted is not None
    assert (counted.side, counted.count, counted.failed, counted.latency_ms.max) == ("client", 2, 1, 100.0)


def test_failures_by_their_status() -> None:
    wire = Wire()
    for stream, status in ((1, 200), (3, 404), (5, 503), (7, 410)):
        wire.ask(stream)
        wire.answer(stream, status=status)
    counted = wire.tracker.on(socket_record(requests=4, http2=abi.HTTP2_SPOKEN, failed_4xx=1))
    assert counted is not None
    assert (counted.failed, counted.failed_4xx, counted.failed_5xx) == (4, 3, 1)  # with one before h2c


def test_what_may_have_been_answered_unseen_has_not_failed() -> None:
    wire = Wire()
    wire.ask(1)
    record = socket_record(requests=1, responses=0, http2=abi.HTTP2_SPOKEN | abi.HTTP2_LEFT_OUT)
    wire.tracker.ended(record, "normal")
    (row,) = wire.told()
    assert (row.error, row.failed) == ("unknown", False)


def test_behind_a_gap_names_are_unknown_until_they_are_said_again() -> None:
    wire = Wire()
    wire.ask(1, "/first")
    wire.lose(True, (3, [(":method", "GET"), (":path", "/lost"), ("x-lost", "1")], True))
    wire.ask(5, "/first")
    wire.ask(7, "/second")
    rows = wire.told()
    assert [(row.path, row.partial) for row in rows] == [("/first", False), ("?", True), ("/second", True)]
    assert [row.host for row in rows] == ["a.test", "?", "?"]


def test_a_record_that_begins_within_a_frame_whose_beginning_was_lost() -> None:
    wire = Wire()
    whole = wire.heads(True, (1, [(":method", "GET"), (":path", "/lost")], True))
    wire._handed[True] += 12
    rest = whole[12:]
    frames = rest + wire.heads(True, (3, [(":method", "GET"), (":path", "/next")], True))
    wire.say(True, frames, number=len(rest))
    assert [row.path for row in wire.told()] == ["/next"]


def test_answers_that_may_have_been_missed_are_awaited_until_that_happens_again() -> None:
    wire = Wire()
    for stream in (1, 3, 5, 7):
        wire.ask(stream, f"/{stream}")
    wire.lose(False, (1, [(":status", "200")], True))
    wire.answer(3, 404)
    assert [(row.status, row.error) for row in wire.told()] == [
        (None, "unknown"), (404, None), (None, "unknown"), (None, "unknown"),
    ]  # fmt: skip
    wire.answer(7, 200)
    assert [(row.path, row.status, row.error) for row in wire.told()] == [("/7", 200, None)]
    wire.lose(False, (5, [(":status", "200")], True))
    wire.ask(9, "/9")
    wire.answer(9)
    assert [(row.path, row.status) for row in wire.told()] == [("/9", 200)]
    assert not wire.tracker._streams._spoken[next(iter(wire.tracker._streams._spoken))].streams


def test_a_connection_joined_in_the_middle_is_told_once_it_is_answered() -> None:
    wire = Wire(flags=abi.HTTP2_JOINED)
    wire.ask(41, "/joined")
    assert wire.told() == []
    wire.flags = abi.HTTP2_PARTIAL
    wire.answer(41, 500)
    assert [(row.path, row.status, row.error) for row in wire.told()] == [("/joined", 500, None)]
    never = Wire(flags=abi.HTTP2_JOINED)
    never.ask(41, "/joined")
    never.tracker.ended(socket_record(requests=0), "normal")
    assert never.told() == []


def test_the_request_that_asked_for_an_upgrade_is_stream_1() -> None:
    wire = Wire()
    wire.tracker.head(http_head(b"GET /up HTTP/1.1\r\nHost: a.test\r\nUpgrade: h2c\r\n\r\n"))
    assert [row.protocol for row in wire.told()] == ["http/1.1"]
    wire.answer(1, 404)
    wire.ask(3, "/next")
    assert [(row.protocol, row.path, row.status) for row in wire.told()] == [("h2", "/up", 404), ("h2", "/next", None)]


def test_the_request_that_asked_for_an_upgrade_may_be_answered_after_the_next_one_was_asked() -> None:
    wire = Wire()
    wire.tracker.head(http_head(b"GET /up HTTP/1.1\r\nHost: a.test\r\nUpgrade: h2c\r\n\r\n"))
    wire.ask(3, "/next")
    wire.answer(3, 201)
    wire.answer(1, 404)
    assert [(row.protocol, row.path, row.status) for row in wire.told()] == [("h2", "/up", 404), ("h2", "/next", 201)]
    wire.answer(1, 500)
    assert wire.told() == []


def test_secrets_are_masked_and_queries_kept_only_if_asked_for() -> None:
    for privacy, path in (
        (Privacy(), "/users/7"),
        (Privacy(query=True), "/users/7?token=secret"),
        (Privacy(masks=(re.compile("[0-9]+"),)), "/users/***"),
        (Privacy(query=True, masks=(re.compile("secret"),)), "/users/7?token=***"),
    ):
        wire = Wire(privacy)
        wire.ask(1)
        assert [row.path for row in wire.told()] == [path]


def test_lost_records_leave_nobody_waiting() -> None:
    wire = Wire()
    wire.ask(1)
    wire.tracker.lost()
    assert [row.error for row in wire.told()] == ["unknown"]
    wire.answer(1)
    assert wire.told() == []


def test_too_many_streams_and_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_WAITING", 2)
    wire = Wire()
    for stream in (1, 3, 5):
        wire.ask(stream)
    assert [row.error for row in wire.told()] == ["unknown", None, None]
    assert wire.tracker.evicted == {"requests_waiting": 1, "http2_tables": 0, "database_connections": 0}
    monkeypatch.setattr(streams, "MAX_CONNECTIONS", 1)
    frames = wire.heads(True, (7, [(":method", "GET"), (":path", "/")], True))
    wire.say(True, frames, socket=0xFFFF_8880_0000_2000)
    assert [row.error for row in wire.told()] == ["unknown", "unknown", None]
    assert wire.tracker.evicted == {"requests_waiting": 1, "http2_tables": 1, "database_connections": 0}


def mangled(source: random.Random, record: HttpHead) -> HttpHead:
    changes: dict[str, Callable[[], Any]] = {
        "payload": lambda: mutated(source, record.payload),
        "seq": lambda: source.choice((0, record.seq + 1, source.getrandbits(32))),
        "number": lambda: source.choice((1, 9, len(record.payload), source.getrandbits(32))),
        "http2": lambda: source.getrandbits(8),
        "socket": lambda: source.randrange(1, 40),
        "egress": lambda: source.randrange(2),
    }
    name = source.choice(list(changes))
    fields = {each: getattr(record, each) for each in record.__struct_fields__}
    return HttpHead(**{**fields, name: changes[name]()})


def test_mutated_records_raise_nothing_and_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits stays bounded and is what the connections have; every row is told with a name of its own or "?"."""
    monkeypatch.setattr(streams, "MAX_WAITING", 200)
    monkeypatch.setattr(streams, "MAX_CONNECTIONS", 20)
    source, wire = random.Random(2), Wire()
    for number in range(20_000):
        stream, asks = number // 8 * 2 + source.choice((-1, 1, 3)), source.random() < 0.5
        fields = (
            [(":method", "GET"), (":path", f"/{number % 50}"), ("content-type", "application/grpc")]
            if asks
            else [(":status", source.choice(("200", "404", "103", "999"))), ("grpc-status", str(number % 17))]
        )
        frames = wire.heads(asks, (max(stream, 1), fields, source.random() < 0.5))
        if source.random() < 0.2:
            frames += frame(3, 0, max(stream, 1), bytes(4))
        record = wire.record(asks, frames, 1 + number / 1e6)
        wire.tracker.head(mangled(source, record) if source.random() < 0.2 else record)
        if number % 1000 == 0:
            for row in wire.told():
                assert row.status is None or 100 <= row.status <= 599
            wire.tracker.ended(socket_record(socket=source.randrange(1, 40)), "normal")
            spoken = wire.tracker._streams._spoken
            assert len(spoken) <= 20
            waiting = {(key, stream) for key, each in spoken.items() for stream in each.streams}
            assert waiting == set(wire.tracker._streams._waiting)
            assert len(waiting) <= 200
    assert wire.tracker._rows._latencies
