"""Requests that were read inside TLS: paired by session and number, on the connection that is named, if any."""

from typing import Any

import pytest

from nettop.kernel import abi
from nettop.kernel.abi import HttpHead, ProcessKey
from nettop.model.rows import Request
from nettop.tracking import plaintext
from nettop.tracking.owners import NOBODY
from nettop.tracking.request_rows import Linked
from nettop.tracking.requests import RequestTracker
from tests.builders import CLOCK, CURL, NGINX, at, comm, connection, http_head, ns, socket_record

GET = b"GET /a?token=1 HTTP/1.1\r\nHost: a.test\r\nCookie: secret\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
SESSION, OTHER = b"session".ljust(16, b"\0"), b"another".ljust(16, b"\0")
UNKNOWN: dict[str, Any] = {"socket": 0, "seen_ns": 0, "family": 0, "local_port": 0, "remote_port": 0}


def request(seconds: float = 1.0, payload: bytes = GET, **changes: Any) -> HttpHead:
    return http_head(payload, seconds, **{"kind": abi.PLAINTEXT_REQUEST, "prefix": SESSION, **changes})


def response(seconds: float = 1.1, payload: bytes = OK, **changes: Any) -> HttpHead:
    return request(seconds, payload, **{"kind": abi.PLAINTEXT_RESPONSE, "egress": 0, **changes})


def after(*heads: HttpHead) -> RequestTracker:
    tracker = RequestTracker(CLOCK)
    for head in heads:
        tracker.head(head)
    return tracker


def told(tracker: RequestTracker) -> list[Request]:
    """The rows of the next tick."""
    found = Linked(connection(id=7), NOBODY)
    return [observed.event.request for observed in tracker.tick(at(2), lambda key: found if key[0] else None)]


def test_a_request_and_its_response_are_one_row_and_say_no_secret() -> None:
    (row,) = told(after(request(), response()))
    assert (row.decrypted, row.protocol, row.method, row.host, row.path, row.status) == (
        True, "http/1.1", "GET", "a.test", "/a", 200
    )  # fmt: skip
    assert (row.side, row.pid, row.comm, row.connection_id) == ("client", CURL.pid, "curl", 7)
    assert (row.latency_ms, row.request_bytes, row.response_bytes) == (100.0, len(GET), len(OK) + 3)
    assert "secret" not in repr(row)


def test_a_connection_that_is_not_known() -> None:
    (row,) = told(after(request(**UNKNOWN), response(**UNKNOWN)))
    assert (row.status, row.pid) == (200, CURL.pid)
    assert (row.connection_id, row.remote, row.local_port) == (None, None, None)


def test_a_connection_that_is_known_with_the_response() -> None:
    """As of a server that has not sent anything in this session since nettop started."""
    (row,) = told(after(request(egress=0, **UNKNOWN), response(egress=1)))
    assert (row.side, row.status, row.connection_id, row.local_port) == ("server", 200, 7, 40_000)
    assert row.remote is not None


def test_sessions_at_the_same_address_in_two_processes() -> None:
    other: dict[str, Any] = {
        "owner_pid": NGINX.pid,
        "owner_start_boot_ns": NGINX.start_boot_ns,
        "owner_comm": comm("nginx"),
    }
    first, second = told(after(request(), request(**other), response(1.3, **other)))
    assert (first.pid, first.status) == (CURL.pid, None)
    assert (second.pid, second.status) == (NGINX.pid, 200)


def test_what_waits_when_its_connection_ends() -> None:
    tracker = after(request())
    tracker.ended(socket_record(), "reset-by-peer")
    assert [row.error for row in told(tracker)] == ["reset"]


def test_what_waits_when_its_session_ends() -> None:
    ended: dict[str, Any] = {"kind": abi.PLAINTEXT_ENDED}
    assert [row.error for row in told(after(request(**UNKNOWN), request(2, b"", **ended, **UNKNOWN)))] == ["closed"]
    # where the connection is known, its end says how
    assert [row.error for row in told(after(request(), request(2, b"", **ended)))] == [None]


def test_what_waits_when_its_process_ends() -> None:
    tracker = after(request(**UNKNOWN))
    tracker.process_ended(ProcessKey(NGINX.pid, NGINX.start_boot_ns))
    assert [row.error for row in told(tracker)] == [None]
    tracker.process_ended(CURL)
    assert [row.error for row in told(tracker)] == ["unknown"]


@pytest.mark.parametrize(
    "second",
    [
        request(1.05, number=1, kind=abi.PLAINTEXT_PIPELINED),  # the kernel side has seen two requests wait
        request(1.05, GET + GET, number=1),  # of these it has counted one
        request(1.05, POST + b"abc" + GET, number=1),
    ],
)
def test_which_answer_is_whose_is_not_guessed(second: HttpHead) -> None:
    rows = told(after(request(), second, response(number=0), response(number=1)))
    assert [(row.status, row.error) for row in rows] == [(None, "unknown"), (None, "unknown")]


def test_a_body_behind_a_head_is_no_second_request() -> None:
    (row,) = told(after(request(payload=POST + b"abc"), response()))
    assert (row.method, row.status) == ("POST", 200)


def test_the_sums_of_a_connection() -> None:
    missing = OK.replace(b"200", b"404")
    tracker = after(request(), response(1.2), request(2, number=3), response(2.1, missing, number=3))
    sums = tracker.on(socket_record())
    assert sums is not None
    assert (sums.side, sums.count, sums.unlisted, sums.failed, sums.failed_4xx) == ("client", 4, 2, 1, 1)
    assert (sums.latency_ms.p50, sums.latency_ms.max, sums.partial) == (100.0, 200.0, True)
    tracker.linked((socket_record().socket, socket_record().seen_ns), connection(id=7), NOBODY)
    assert tracker.on(socket_record()) is None


def test_a_session_that_takes_over_a_connection() -> None:
    rows = told(after(request(), request(1.05, prefix=OTHER), response(1.3, prefix=OTHER)))
    assert [(row.status, row.error) for row in rows] == [(None, "unknown"), (200, None)]


def test_what_is_no_request_makes_no_row() -> None:
    assert told(after(request(payload=b"HELO mail /x\r\n"), response())) == []


def test_lost_records() -> None:
    tracker = after(request())
    tracker.lost()
    assert [row.error for row in told(tracker)] == ["unknown"]


def test_more_wait_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plaintext, "MAX_WAITING", 2)
    tracker = after(*(request(prefix=bytes([number]) * 16, socket=number + 1) for number in range(3)))
    assert [row.error for row in told(tracker)] == ["unknown", None, None]
    assert tracker.evicted["requests_waiting"] == 1


def test_times_are_those_of_the_call() -> None:
    (row,) = told(after(request(time_ns=ns(1)), response(time_ns=ns(1.25))))
    assert row.latency_ms == 250.0
