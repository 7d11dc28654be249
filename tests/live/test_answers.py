"""Answers behind informational ones and behind others, and heads that are not written as most are."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.live.lab import Lab, Said, connections_of, played, watched_namespace
from tests.live.test_bodies import CHUNKED, LENGTH, NEXT, answered, asked, chunk, requests_of

_ports = count(8700)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
LONG_HINTS = b"HTTP/1.1 103 Early Hints\r\n" + b"Link: </a.css>; rel=preload\r\n" * 30 + b"\r\n"
TOO_LONG = b"HTTP/1.1 103 Early Hints\r\n" + b"Link: </a.css>; rel=preload\r\n" * 90 + b"\r\n"
BODY = b"HTTP/1.1 500 Not a head\r\n\r\n" * 3
_, FINAL = answered(404, LENGTH % len(BODY))
_, OTHER = answered(503, LENGTH % 0)
_, GET = asked(b"GET")
Outline = list[tuple[str, int | None]]
ASKED: Outline = [("/asked", 404)]


def split(at: int, *said: bytes) -> Said:
    whole = b"".join(said)
    return [(False, whole[:at]), (False, whole[at:])]


CASES: dict[str, tuple[Said, Outline]] = {
    "100": ([(True, GET), (False, CONTINUE + FINAL + BODY)], ASKED),
    "103": ([(True, GET), (False, HINTS + FINAL), (False, BODY)], ASKED),
    "100 and 103": ([(True, GET), (False, CONTINUE + HINTS + FINAL + BODY)], ASKED),
    "each in its segment": ([(True, GET), (False, CONTINUE), (False, HINTS), (False, FINAL + BODY)], ASKED),
    "100, then both": ([(True, GET), (False, CONTINUE), (False, HINTS + FINAL + BODY)], ASKED),
    "a long one": ([(True, GET), (False, LONG_HINTS + FINAL + BODY)], ASKED),
    "in pieces": ([(True, GET), *split(40, HINTS, FINAL, BODY)], ASKED),
    **{
        f"cut {back} bytes before its end": ([(True, GET), *split(len(HINTS) - back, HINTS, FINAL, BODY)], ASKED)
        for back in (1, 2, 3, 4)
    },
    "a short piece": ([(True, GET), *split(10, HINTS, FINAL, BODY)], ASKED),
    "bare line ends": ([(True, GET), (False, HINTS.replace(b"\r", b"") + FINAL + BODY)], ASKED),
    "the answer to the first of two": (
        [(True, GET * 2), (False, HINTS + FINAL + b"x" * len(BODY)), (False, OTHER)],
        [("/asked", 404), ("/asked", 503)],
    ),
    "answers to both of two": ([(True, GET * 2), (False, HINTS + OTHER + FINAL)], [("/asked", 503), ("/asked", 404)]),
    "between two answers": ([(True, GET * 2), (False, OTHER + HINTS + FINAL)], [("/asked", 503), ("/asked", 404)]),
    "an end that is not looked for": ([(True, GET), (False, TOO_LONG + FINAL + BODY)], [("/asked", None)]),
    "an answer that goes on": ([(True, GET), *split(len(HINTS) + 10, HINTS, FINAL, BODY)], ASKED),
}  # fmt: skip

PART = b"A body: " + BODY[8:]
FAILS, FAILED = FINAL + PART, 404
TWO: Said = [(True, GET), (True, GET)]
BOTH: Outline = [("/asked", FAILED), ("/asked", 503)]
_, CHUNKED_ONE = answered(FAILED, CHUNKED)
CHUNKS = chunk(PART) + chunk(b"x" * 300) + b"0\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
UNKNOWN = ("/asked", None)
PIPELINED: dict[str, tuple[Said, Outline]] = {
    "in one segment": ([*TWO, (False, FAILS + OTHER)], BOTH),
    "to requests in one": ([(True, GET * 2), (False, FAILS + OTHER)], BOTH),
    "in their own": ([*TWO, (False, FAILS), (False, OTHER)], BOTH),
    **{
        f"cut at {at}": ([*TWO, *split(at, FAILS, OTHER)], BOTH)
        for at in (len(FINAL), len(FINAL) + 1, len(FAILS) - 20, len(FAILS), len(FAILS) + 1, len(FAILS) + 12)
    },
    "three, and bodies of several segments": (
        [
            (True, GET * 3),
            *[(False, piece) for piece in (FINAL, PART[:30], PART[30:] + FINAL + PART[:5], PART[5:], OTHER)],
        ],
        [("/asked", FAILED), *BOTH],
    ),
    "in chunks": ([*TWO, (False, CHUNKED_ONE + CHUNKS + OTHER)], BOTH),
    **{
        f"in chunks, cut at {at}": ([*TWO, *split(len(CHUNKED_ONE) + at, CHUNKED_ONE, CHUNKS, OTHER)], BOTH)
        for at in (0, 4, 100, 200, len(CHUNKS))
    },
    "in chunks with a trailer": (
        [*TWO, (False, CHUNKED_ONE + CHUNKS[:-2] + b"A: b\r\n\r\n" + OTHER)], [("/asked", FAILED), UNKNOWN],
    ),
    "in chunks, with a length that is cut": (
        [*TWO, *split(len(CHUNKED_ONE) + len(chunk(PART)) + 1, CHUNKED_ONE, CHUNKS, OTHER)],
        [("/asked", FAILED), UNKNOWN],
    ),
    "without a body": (
        [*TWO, (False, answered(304, LENGTH % 5000)[1] + answered(204)[1])], [("/asked", 304), ("/asked", 204)],
    ),
    "to HEAD": ([(True, HEAD), (True, GET), (False, FINAL + OTHER)], [("/asked", FAILED), UNKNOWN]),
    "to HEAD, in their own": (
        [(True, HEAD), (True, GET), (False, FINAL), (False, OTHER)], [("/asked", FAILED), UNKNOWN],
    ),
    "to a HEAD behind another": (
        [(True, GET + HEAD + GET), (False, FAILS + FINAL + OTHER)], [("/asked", FAILED), ("/asked", FAILED), UNKNOWN],
    ),
    "to HEAD, in chunks": ([(True, HEAD), (True, GET), (False, CHUNKED_ONE + OTHER)], BOTH),
    "a body like an answer, and one behind it": ([*TWO, (False, FINAL + BODY + OTHER)], BOTH),
    "a body like an answer, or one that is not there": (
        [*TWO, (False, FINAL), (False, BODY), (False, OTHER)], [("/asked", FAILED), UNKNOWN],
    ),
    "without a length": ([*TWO, (False, answered(FAILED)[1] + b"so far")], [("/asked", FAILED), UNKNOWN]),
    "thirty in a segment": ([(True, GET * 10)] * 3 + [(False, OTHER * 30)], [("/asked", 503)] * 30),
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with watched_namespace(directory) as made:
        yield made


@pytest.mark.parametrize("name", CASES)
def test_the_answer_is_the_final_one(lab: Lab, name: str) -> None:
    assert_rows(lab, *CASES[name])


@pytest.mark.parametrize("name", PIPELINED)
def test_answers_to_requests_that_wait_at_once(lab: Lab, name: str) -> None:
    assert_rows(lab, *PIPELINED[name])


def test_more_answers_than_are_looked_at(lab: Lab) -> None:
    ends = played(lab.inside, next(_ports), [(True, GET * 20), (True, GET * 20), (False, OTHER * 40), *NEXT])
    snapshot = lab.watch.up_to_now()
    for end in ends:
        statuses = [status for _, _, status in requests_of(snapshot, end)]
        known = statuses.count(503)
        assert 30 < known < 40
        assert statuses == [503] * known + [None] * (40 - known)  # and the next one is only counted
        (connection,) = connections_of(snapshot, end)
        assert connection.requests is not None
        assert (connection.requests.count, connection.requests.failed) == (41, known)


def assert_rows(lab: Lab, said: Said, wanted: Outline) -> None:
    ends = played(lab.inside, next(_ports), [*said, *NEXT])
    snapshot = lab.watch.up_to_now()
    for end in ends:
        rows = [(path, status) for _, path, status in requests_of(snapshot, end)]
        told = UNKNOWN not in wanted or len(wanted) == 1  # else it is only counted
        assert rows == [*wanted, *[("/next", 202)] * told]
        assert {row.error for row in snapshot.requests if row.pid == end.pid and row.status is None} <= {"unknown"}
        (connection,) = connections_of(snapshot, end)
        assert connection.requests is not None
        failed = [status for _, status in wanted if status and status >= 400]
        assert (connection.requests.count, connection.requests.failed) == (len(wanted) + 1, len(failed))


BARE = b"GET /bare HTTP/1.1\nHost: yes\n\n"
HEADS: dict[str, tuple[Said, list[tuple[str, str, int]]]] = {
    "behind an empty line": ([(True, b"\r\n" + GET), (False, FINAL + BODY)], [("GET", "/asked", 404)]),
    "behind the line that ends a body for some clients": (
        [
            (True, b"POST /asked HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"), (False, OTHER),
            (True, b"\r\n" + GET), (False, FINAL + BODY),
        ],
        [("POST", "/asked", 503), ("GET", "/asked", 404)],
    ),
    "a body behind an empty line": (
        [(True, b"\r\nPUT /asked HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(GET)), (False, OTHER), (True, GET)],
        [("PUT", "/asked", 503)],
    ),
    "bare line ends": ([(True, BARE), (False, OTHER)], [("GET", "/bare", 503)]),
    "bare line ends, two in a segment": (
        [(True, BARE * 2), (False, OTHER), (False, FINAL)], [("GET", "/bare", 503), ("GET", "/bare", 404)],
    ),
    "bare line ends, and others behind": (
        [(True, BARE + GET + BARE), (False, OTHER), (False, FAILS), (False, OTHER)],
        [("GET", "/bare", 503), ("GET", "/asked", 404), ("GET", "/bare", 503)],
    ),
    "bare line ends, with a body": (
        [
            (True, b"POST /bare HTTP/1.1\nContent-Length:%d\n\n" % (2 * len(GET))), (True, GET), (False, OTHER),
            (True, GET),
        ],
        [("POST", "/bare", 503)],
    ),
    **{
        f"a length behind {space!r}": (
            [
                (True, b"POST /asked HTTP/1.1\r\nContent-Length:%b%d\r\n\r\n" % (space, 20 * len(GET))), (False, OTHER),
                *[(True, GET)] * 20,
            ],
            [("POST", "/asked", 503)],
        )
        for space in (b"\t", b"\t ", b"  ", b" \t ", b"")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_heads_that_are_written_in_other_ways(lab: Lab, name: str) -> None:
    said, wanted = HEADS[name]
    ends = played(lab.inside, next(_ports), [*said, *NEXT, *said, *NEXT])
    snapshot = lab.watch.up_to_now()
    for end in ends:
        assert requests_of(snapshot, end) == [*wanted, ("GET", "/next", 202)] * 2
