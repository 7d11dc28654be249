"""Requests paired with their responses."""

import re
from typing import Any

from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import HttpHead
from nettop.model.rows import Request
from nettop.tracking import request_rows, requests, retries
from nettop.tracking.owners import NOBODY
from nettop.tracking.request_rows import Linked, Privacy
from nettop.tracking.requests import RequestTracker
from tests.builders import CLOCK, CURL, NGINX, at, comm, connection, http_head, socket_record

GET = b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


def response(seconds: float = 1.1, payload: bytes = OK, **changes: Any) -> HttpHead:
    return http_head(payload, seconds, **{"kind": abi.HTTP_RESPONSE, "egress": 0, **changes})


def told(tracker: RequestTracker, connected: bool = True) -> list[Request]:
    """The rows of the next tick."""
    found = Linked(connection(id=7), NOBODY) if connected else None
    return [observed.event.request for observed in tracker.tick(at(2), lambda _: found)]


def after(*heads: HttpHead, privacy: Privacy | None = None) -> RequestTracker:
    tracker = RequestTracker(CLOCK, privacy)
    for head in heads:
        tracker.head(head)
    return tracker


def test_a_request_and_its_response_are_one_row() -> None:
    (row,) = told(after(http_head(GET), response()))
    assert (row.method, row.host, row.path, row.status, row.error) == ("GET", "a.test", "/a", 200, None)
    assert (row.side, row.pid, row.comm, row.connection_id) == ("client", CURL.pid, "curl", 7)
    assert (row.latency_ms, row.request_bytes, row.response_bytes) == (100.0, len(GET), len(OK))
    assert row.remote is not None
    assert row.remote.name == "www.example.com"


def test_it_is_pending_until_then_and_told_again() -> None:
    tracker = after(http_head(GET))
    (pending,) = told(tracker)
    assert pending.pending
    assert told(tracker) == []
    tracker.head(response())
    (row,) = told(tracker)
    assert (row.id, row.status) == (pending.id, 200)


def test_a_response_that_nobody_asked_for_is_none() -> None:
    assert told(after(response())) == []


def test_who_answers_has_the_request() -> None:
    unknown: dict[str, Any] = {
        "owner_pid": 0,
        "owner_start_boot_ns": 0,
        "owner_certainty": abi.OWNER_UNKNOWN,
        "egress": 0,
    }
    nginx: dict[str, Any] = {
        "owner_pid": NGINX.pid,
        "owner_start_boot_ns": NGINX.start_boot_ns,
        "owner_comm": comm("nginx"),
    }
    (row,) = told(after(http_head(GET, **unknown), response(egress=1, **nginx)))
    assert (row.side, row.pid, row.comm) == ("server", NGINX.pid, "nginx")


def test_pipelined_requests_are_answered_in_order() -> None:
    shared = http_head(GET + GET.replace(b"/a", b"/b"), requests=2)
    rows = told(after(shared, response(1.2, number=0), response(1.3, OK.replace(b"200", b"404"), number=1)))
    assert [(row.path, row.status) for row in rows] == [("/a", 200), ("/b", 404)]
    assert rows[1].failed


def test_a_response_that_was_lost_leaves_its_request_unknown() -> None:
    rows = told(after(http_head(GET), http_head(GET, 1.05, number=1), response(number=1)))
    assert [(row.status, row.error, row.failed) for row in rows] == [(None, "unknown", False), (200, None, False)]


def test_the_end_of_its_connection_fails_what_waits() -> None:
    for how, error in (("reset-by-peer", "reset"), ("timeout", "timeout"), ("normal", "closed")):
        tracker = after(http_head(GET))
        tracker.ended(socket_record(requests=1), how)  # type: ignore[arg-type]
        (row,) = told(tracker)
        assert (row.error, row.failed) == (error, True)


def again(**changes: Any) -> HttpHead:
    return http_head(GET, 3.0, **{"socket": 0xBEEF, **changes})


def failed_once(how: Any = "reset-by-peer") -> RequestTracker:
    tracker = after(http_head(GET))
    tracker.ended(socket_record(requests=1, closed=1), how)
    return tracker


def test_what_failed_and_is_sent_again_is_a_retry() -> None:
    tracker = failed_once()
    tracker.head(again())
    tracker.head(again(socket=0xCAFE))
    failed, retry, other = told(tracker)
    assert (failed.error, failed.retry_of, retry.retry_of, other.retry_of) == ("reset", None, failed.id, None)


def test_connections_say_how_many_requests_they_repeat() -> None:
    tracker = failed_once()
    tracker.head(again())
    told = [tracker.on(socket_record(socket=socket, requests=1)) for socket in (socket_record().socket, 0xBEEF)]
    assert [requests and requests.retried for requests in told] == [0, 1]


def test_connections_whose_repeats_are_counted_are_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(request_rows, "MAX_TIMED", 0)
    tracker = failed_once()
    tracker.head(again())
    requests = tracker.on(socket_record(socket=0xBEEF, requests=1))
    assert requests is not None
    assert requests.retried == 0


def test_a_request_has_the_port_of_its_own_end() -> None:
    tracker = after(http_head(GET), http_head(GET, socket=0xBEEF, local_port=0))
    assert [row.local_port for row in told(tracker)] == [40_000, None]


def test_what_is_no_retry(monkeypatch: Any) -> None:
    """Another path or process, another end of the connection, too late, or after an answer."""
    differing: tuple[dict[str, Any], ...] = ({"owner_pid": NGINX.pid}, {"egress": 0})
    for changes in differing:
        tracker = failed_once()
        tracker.head(again(**changes))
        assert [row.retry_of for row in told(tracker)] == [None, None]
    tracker = failed_once()
    tracker.head(http_head(GET.replace(b"/a", b"/b"), 3.0, socket=0xBEEF))
    assert [row.retry_of for row in told(tracker)] == [None, None]
    tracker = after(http_head(GET), response())
    tracker.ended(socket_record(requests=1, responses=1, closed=1), "reset-by-peer")
    tracker.head(again())
    assert [row.retry_of for row in told(tracker)] == [None, None]
    monkeypatch.setattr(retries, "RETRY_NS", 0)
    tracker = failed_once()
    tracker.head(again())
    assert [row.retry_of for row in told(tracker)] == [None, None]


def test_what_may_be_sent_again_is_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(retries, "MAX_FAILED", 0)
    tracker = failed_once()
    tracker.head(again())
    assert [row.retry_of for row in told(tracker)] == [None, None]


def test_a_head_in_pieces() -> None:
    rest = http_head(b"T: a.test\r\n\r\n", 1.01, kind=abi.HTTP_REST)
    prefixed = http_head(b"T /a HTTP/1.1\r\nHOS", prefix=b"GE".ljust(16, b"\0"), prefix_bytes=2)
    (row,) = told(after(prefixed, rest))
    assert (row.path, row.host) == ("/a", "a.test")


def test_the_rest_shows_that_it_is_of_another_protocol() -> None:
    tracker = after(http_head(b"RETR /file"), http_head(b"\r\n", kind=abi.HTTP_REST))
    assert told(tracker) == []


def test_a_request_for_a_socket_that_was_only_being_made() -> None:
    early = http_head(GET, socket=0, seen_ns=0, egress=0)
    tracker = after(early)
    assert told(tracker) == []
    tracker.head(response(egress=1))
    (row,) = told(tracker)
    assert (row.path, row.status, row.side) == ("/a", 200, "server")


def test_a_connection_that_gets_its_row_later_is_linked_then() -> None:
    tracker = after(http_head(GET), response())
    (row,) = told(tracker, connected=False)
    assert row.connection_id is None
    head = http_head(GET)
    tracker.linked((head.socket, head.seen_ns), connection(id=9), NOBODY)
    (linked,) = told(tracker, connected=False)
    assert (linked.id, linked.connection_id) == (row.id, 9)
    assert told(tracker, connected=False) == []


def test_secrets_in_paths_are_masked() -> None:
    raw = b"GET /bot123:abc/send?key=x HTTP/1.1\r\n\r\n"
    (row,) = told(after(http_head(raw), privacy=Privacy(masks=(re.compile("bot[^/]+"),))))
    assert row.path == "/***/send"
    (row,) = told(after(http_head(raw), privacy=Privacy(query=True)))
    assert row.path == "/bot123:abc/send?key=x"


def test_too_many_without_a_response(monkeypatch: Any) -> None:
    monkeypatch.setattr(requests, "MAX_WAITING", 2)
    tracker = after(*(http_head(GET, number=number) for number in range(3)))
    assert [row.error for row in told(tracker)] == ["unknown", None, None]
    assert tracker.evicted == {"requests_waiting": 1, "http2_tables": 0, "database_connections": 0}


def test_the_median_of_a_connection() -> None:
    tracker = after()
    record = socket_record(requests=3, responses=3)
    for number, took in enumerate((0.1, 0.3, 0.2)):
        tracker.head(http_head(GET, number + 1.0, number=number))
        tracker.head(response(number + 1.0 + took, number=number))
    assert tracker.on(record).latency_ms.p50 == 200.0  # type: ignore[union-attr]
    assert tracker.on(replace(record, socket=1)).latency_ms.p50 is None  # type: ignore[union-attr]


def test_lost_records_leave_no_request_waiting() -> None:
    tracker = after(http_head(GET))
    tracker.lost()
    tracker.head(response())
    (row,) = told(tracker)
    assert row.error == "unknown"


def test_responses_that_share_a_segment() -> None:
    """As many as the kernel side has counted, whatever a body holds; of the last one too little was captured."""
    shared = http_head(GET * 4, requests=4)
    both = OK + OK.replace(b"200", b"404") + OK
    tracker = after(shared, response(1.2, both[: -len(OK) + 3], requests=3), response(1.3, number=3))
    assert [(row.status, row.error) for row in told(tracker)] == [
        (200, None), (404, None), (None, "unknown"), (200, None)
    ]  # fmt: skip


def test_a_request_with_a_syn_that_was_not_taken_comes_again() -> None:
    tracker = after(http_head(GET, socket=0, seen_ns=0, egress=0), http_head(GET, 1.05, egress=0), response(egress=1))
    assert [(row.path, row.status) for row in told(tracker)] == [("/a", 200)]


def test_a_response_that_was_only_counted_is_no_failure() -> None:
    """What was sent before the handshake was complete; and what nobody has counted."""
    for counted in ({"requests": 1, "responses": 1}, {"requests": 0, "responses": 0}):
        tracker = after(http_head(GET))
        tracker.ended(socket_record(**counted), "normal")
        (row,) = told(tracker)
        assert (row.error, row.failed) == ("unknown", False)
