"""Requests of databases and caches as rows."""

from typing import Any

from nettop.kernel import abi
from nettop.kernel.abi import HttpHead
from nettop.model.rows import Request
from nettop.tracking import databases
from nettop.tracking.requests import RequestTracker
from tests.builders import CLOCK, at, http_head, socket_record

GET, SET = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"
REDIS = abi.DATABASE_REDIS | abi.DATABASE_FOLLOWED | abi.DATABASE_LISTED
ANEW = REDIS | abi.DATABASE_BEGINS


def asked(payload: bytes = GET, seconds: float = 1.0, **changes: Any) -> HttpHead:
    fields = {"kind": abi.DATABASE_REQUEST, "http2": ANEW, "remote_port": 6379, **changes}
    return http_head(payload, seconds, **fields)


def answered(payload: bytes = b"$1\r\nv\r\n", seconds: float = 1.1, **changes: Any) -> HttpHead:
    fields = {"kind": abi.DATABASE_ANSWER, "http2": REDIS, "egress": 0, "requests": 0, "remote_port": 6379, **changes}
    return http_head(payload, seconds, **fields)


def told(tracker: RequestTracker) -> list[Request]:
    return [observed.event.request for observed in tracker.tick(at(2), lambda _: None)]


def after(*heads: HttpHead) -> list[tuple[str, float | None, str | None]]:
    """Command, time and error of the rows."""
    tracker = RequestTracker(CLOCK)
    for head in heads:
        tracker.head(head)
    return [(row.method, row.latency_ms, row.error_code or row.error) for row in told(tracker)]


def test_a_command_and_its_answer_are_one_row() -> None:
    tracker = RequestTracker(CLOCK)
    tracker.head(asked())
    (pending,) = told(tracker)
    assert (pending.protocol, pending.method, pending.side) == ("redis", "GET", "client")
    assert (pending.pending, pending.outcome) == (True, "pending")
    tracker.head(answered())
    (row,) = told(tracker)
    assert (row.id, row.latency_ms, row.error, row.outcome) == (pending.id, 100.0, None, "ok")
    assert (row.pending, row.failed) == (False, False)


def test_an_error_is_a_failure_with_its_code() -> None:
    tracker = RequestTracker(CLOCK)
    tracker.head(asked(SET))
    tracker.head(answered(b"-WRONGTYPE secret\r\n"))
    (row,) = told(tracker)
    assert (row.error, row.error_code, row.outcome, row.failed) == ("server", "WRONGTYPE", "server", True)
    record = socket_record(requests=1, responses=1, database=REDIS, requester=abi.SPEAKER_LOCAL)
    requests = tracker.on(record)
    assert requests is not None
    assert (requests.count, requests.failed, requests.partial) == (1, 1, False)


def test_what_the_kernel_side_counted_alone_is_in_the_sums() -> None:
    record = socket_record(
        requests=9, responses=9, failed_5xx=4, database=abi.DATABASE_REDIS | abi.DATABASE_PARTIAL,
        requester=abi.SPEAKER_REMOTE,
    )  # fmt: skip
    requests = RequestTracker(CLOCK).on(record)
    assert requests is not None
    assert (requests.side, requests.count, requests.failed, requests.partial) == ("server", 9, 4, True)
    assert (requests.failed_4xx, requests.failed_5xx) == (0, 0)  # an error of a database has no status


def test_commands_in_one_segment_are_answered_in_order() -> None:
    assert after(asked(GET + SET, requests=2), answered(b"-ERR no\r\n+OK\r\n")) == [
        ("GET", 100.0, "ERR"), ("SET", 100.0, None)
    ]  # fmt: skip


def test_commands_behind_what_was_captured_are_awaited_too() -> None:
    overlaps = REDIS | abi.DATABASE_OVERLAPS
    heads = asked(GET, requests=2), asked(SET, 1.05, http2=overlaps), answered(b"-ERR no\r\n-ERR no\r\n+OK\r\n")
    assert after(*heads) == [("GET", 100.0, "ERR"), ("SET", 50.0, None)]


def test_what_began_before_the_last_answer_and_was_left_out_is_unknown() -> None:
    alone = abi.DATABASE_REDIS | abi.DATABASE_OVERLAPS | abi.DATABASE_LISTED
    assert after(asked(), asked(SET, 1.05, http2=alone), answered()) == [
        ("GET", None, "unknown"), ("SET", None, "unknown")
    ]  # fmt: skip


def test_an_answer_that_is_longer_than_what_was_captured_hides_the_next() -> None:
    overlaps = REDIS | abi.DATABASE_OVERLAPS
    heads = asked(), asked(SET, 1.05, http2=overlaps), answered(b"$900\r\nvalue", payload_bytes=909)
    assert after(*heads, answered(b"+OK\r\n", 1.2, seq=910)) == [("GET", 100.0, None), ("SET", None, "unknown")]


def test_an_answer_that_was_missed_is_not_the_next_one() -> None:
    overlaps = REDIS | abi.DATABASE_OVERLAPS
    heads = asked(), asked(SET, 1.05, http2=overlaps), asked(SET, 1.06, http2=overlaps)
    assert after(*heads, answered(b"$-1\r\n", seq=1), answered(b"+OK\r\n", 1.2, seq=100)) == [
        ("GET", 100.0, None), ("SET", None, "unknown"), ("SET", None, "unknown"),
    ]  # fmt: skip


def test_once_all_was_answered_pairing_begins_anew() -> None:
    assert after(asked(), asked(SET, 1.2), answered(b"+OK\r\n", 1.3)) == [
        ("GET", None, "unknown"), ("SET", 100.0, None)
    ]  # fmt: skip


def test_on_another_port_nothing_is_told_before_an_answer_of_redis() -> None:
    tracker = RequestTracker(CLOCK)
    tracker.head(asked(remote_port=7000))
    assert told(tracker) == []
    tracker.head(answered(b"HTTP/1.1 400 No\r\n\r\n", http2=abi.DATABASE_LISTED))
    assert told(tracker) == []
    tracker.head(asked(remote_port=7000, socket=2))
    tracker.head(answered(socket=2))
    assert [row.method for row in told(tracker)] == ["GET"]


def ended(tracker: RequestTracker, flags: int) -> list[str | None]:
    head = asked()
    record = socket_record(
        socket=head.socket, seen_ns=head.seen_ns, requests=1, responses=0, database=flags, closed=1,
        requester=abi.SPEAKER_LOCAL,
    )  # fmt: skip
    tracker.ended(record, "reset-by-peer")
    requests = tracker.on(record)
    assert requests is not None
    assert requests.failed == 1
    return [row.error for row in told(tracker)]


def test_what_waits_when_its_connection_ends_has_failed() -> None:
    tracker = RequestTracker(CLOCK)
    tracker.head(asked())
    assert ended(tracker, REDIS) == ["reset"]


def test_after_lost_records_nobody_knows() -> None:
    tracker = RequestTracker(CLOCK)
    tracker.head(asked())
    tracker.lost()
    tracker.head(asked(SET, 1.05, http2=REDIS | abi.DATABASE_OVERLAPS))
    tracker.head(answered())
    assert [(row.method, row.error) for row in told(tracker)] == [("GET", "unknown"), ("SET", "unknown")]


def test_what_is_no_longer_followed_does_not_wait_for_ever() -> None:
    tracker = RequestTracker(CLOCK)
    head = asked(GET + SET, requests=2)
    tracker.head(head)
    for flags, pending in ((REDIS, True), (abi.DATABASE_REDIS | abi.DATABASE_LISTED, False)):
        tracker.on(
            socket_record(
                socket=head.socket, seen_ns=head.seen_ns, time_ns=head.time_ns + 1, requests=2, responses=2,
                database=flags, requester=abi.SPEAKER_LOCAL,
            )
        )  # fmt: skip
        assert {row.pending for row in told(tracker)} == {pending}


def test_connections_are_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(databases, "MAX_CONNECTIONS", 1)
    tracker = RequestTracker(CLOCK)
    tracker.head(asked())
    tracker.head(asked(socket=2))
    assert [row.error for row in told(tracker)] == ["unknown", None]
    assert tracker.evicted["database_connections"] == 1
