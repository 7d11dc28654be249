"""HTTP/2 inside TLS: frames by session, whose connection may become known late or never."""

from typing import Any

from hpack import Encoder

from nettop.kernel import abi
from nettop.model.rows import Request
from nettop.tracking.owners import NOBODY
from nettop.tracking.request_rows import Linked
from nettop.tracking.requests import RequestTracker
from tests.builders import CLOCK, CURL, at, connection, http_head, socket_record

SESSION = b"session".ljust(16, b"\0")
UNKNOWN: dict[str, Any] = {"socket": 0, "seen_ns": 0, "family": 0, "local_port": 0, "remote_port": 0}
OK, MISSING = b"\x88", b"\x8d"  # status 200 and 404, by the table that is there from the start


class Wire:
    """One session of a client, whose frames the kernel side hands on."""

    def __init__(self) -> None:
        self.tracker = RequestTracker(CLOCK)
        self._encoder = Encoder()
        self._handed = {True: 0, False: 0}
        self._requests = 0

    def ask(self, stream: int, path: str = "/a?token=1", seconds: float = 1.0, **changes: Any) -> None:
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", path)]
        self._requests += 1
        self.say(True, frame(stream, 5, self._encoder.encode(fields)), seconds, **changes)

    def answer(self, stream: int, block: bytes = OK, seconds: float = 1.1, **changes: Any) -> None:
        self.say(False, frame(stream, 5, block), seconds, **changes)

    def say(self, asks: bool, frames: bytes, seconds: float, **changes: Any) -> None:
        fields = {
            "kind": abi.PLAINTEXT_FRAMES, "prefix": SESSION, "seq": self._handed[asks], "egress": int(asks),
            "http2": abi.HTTP2_SPOKEN | (abi.HTTP2_ASKS if asks else 0), "payload_bytes": self._requests,
        }  # fmt: skip
        self._handed[asks] += len(frames)
        self.tracker.head(http_head(frames, seconds, **{**fields, **changes}))

    def leave_out(self, asks: bool, bytes_: int = 10, requests: int = 0) -> None:
        """Frames that the kernel side does not hand on, and says so."""
        self._handed[asks] += bytes_
        self._requests += requests
        self.say(asks, b"", 1.05)

    def end(self, missed: bool = False, **changes: Any) -> None:
        fields = {
            "kind": abi.PLAINTEXT_ENDED, "prefix": SESSION, "payload_bytes": self._requests,
            "http2": abi.HTTP2_SPOKEN | (abi.HTTP2_LEFT_OUT if missed else 0),
        }  # fmt: skip
        self.tracker.head(http_head(b"", 2, **{**fields, **changes}))

    def told(self) -> list[Request]:
        """The rows of the next tick."""
        found = Linked(connection(id=7), NOBODY)
        return [each.event.request for each in self.tracker.tick(at(2), lambda key: found if key[0] else None)]

    def outcome(self) -> list[tuple[int | None, str | None]]:
        return [(row.status, row.error) for row in self.told()]


def frame(stream: int, flags: int, block: bytes) -> bytes:
    return len(block).to_bytes(3) + bytes((1, flags)) + stream.to_bytes(4) + block


def test_a_request_and_its_response_are_one_row() -> None:
    wire = Wire()
    wire.ask(1)
    wire.ask(3, "/b", 1.05)
    wire.answer(3, MISSING)
    wire.answer(1, seconds=1.2)
    first, second = wire.told()
    assert (first.decrypted, first.protocol, first.method, first.host, first.path, first.status) == (
        True, "h2", "GET", "a.test", "/a", 200
    )  # fmt: skip
    assert (first.side, first.pid, first.comm, first.connection_id, first.latency_ms) == (
        "client", CURL.pid, "curl", 7, 200.0
    )  # fmt: skip
    assert (second.path, second.status) == ("/b", 404)
    sums = wire.tracker.on(socket_record())
    assert sums is not None
    assert (sums.side, sums.count, sums.failed, sums.failed_4xx, sums.unlisted) == ("client", 2, 1, 1, 0)
    assert sums.latency_ms.max == 200.0


def test_a_connection_that_is_known_after_the_answer() -> None:
    """What the first call of a session says may be sent after it."""
    wire = Wire()
    wire.ask(1, **UNKNOWN)
    wire.answer(1, **UNKNOWN)
    (row,) = wire.told()
    assert (row.status, row.connection_id, row.remote) == (200, None, None)
    wire.ask(3)
    first, second = wire.told()
    assert (first.id, first.status, first.connection_id, first.local_port) == (row.id, 200, 7, 40_000)
    assert second.connection_id == 7
    sums = wire.tracker.on(socket_record())
    assert sums is not None
    assert (sums.count, sums.unlisted) == (2, 0)


def test_frames_that_are_left_out_make_no_wrong_row() -> None:
    """The second head has the path as a number in a table that is gone."""
    wire = Wire()
    wire.ask(1)
    wire.leave_out(asks=True, requests=1)
    wire.ask(5)
    wire.answer(5)
    rows = {row.path: row for row in wire.told()}
    assert rows.keys() == {"/a", "?"}
    assert (rows["?"].partial, rows["?"].status) == (True, 200)
    sums = wire.tracker.on(socket_record())
    assert sums is not None
    assert (sums.count, sums.unlisted, sums.partial) == (3, 1, True)


def test_answers_that_are_left_out_may_have_come() -> None:
    wire = Wire()
    wire.ask(1)
    wire.leave_out(asks=False)
    assert wire.outcome() == [(None, "unknown")]


def test_what_waits_when_its_session_ends() -> None:
    wire = Wire()
    wire.ask(1)
    wire.end()
    assert wire.outcome() == [(None, None)]  # where the connection is known, its end says how
    wire.tracker.ended(socket_record(), "reset-by-peer")
    assert wire.outcome() == [(None, "reset")]
    nowhere = Wire()
    nowhere.ask(1, **UNKNOWN)
    nowhere.end(**UNKNOWN)
    assert nowhere.outcome() == [(None, "closed")]


def test_what_waits_in_a_session_that_is_followed_no_longer() -> None:
    for place in ({}, UNKNOWN):
        wire = Wire()
        wire.ask(1, **place)
        wire.end(missed=True, **place)
        assert wire.outcome() == [(None, "unknown")]
        wire.tracker.ended(socket_record(), "normal")
        assert wire.outcome() == []


def test_what_waits_when_its_process_ends() -> None:
    wire = Wire()
    wire.ask(1, **UNKNOWN)
    wire.tracker.process_ended(CURL)
    assert wire.outcome() == [(None, "unknown")]


def test_what_waits_when_records_are_lost() -> None:
    wire = Wire()
    wire.ask(1)
    wire.tracker.lost()
    assert wire.outcome() == [(None, "unknown")]


def test_requests_of_a_session_are_forgotten_with_its_connection() -> None:
    wire = Wire()
    wire.ask(1)
    wire.answer(1)
    record = socket_record()
    wire.tracker.ended(record, "normal")
    wire.tracker.linked((record.socket, record.seen_ns), connection(id=7), NOBODY)
    assert wire.tracker.on(record) is None
    assert wire.outcome() == [(200, None)]
