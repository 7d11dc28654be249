"""Answers that share a segment with informational ones, and heads that are not written as most are."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.live.lab import Lab, Said, connections_of, played, watched_namespace
from tests.live.test_bodies import LENGTH, NEXT, answered, asked, requests_of

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
    "an answer that goes on": ([(True, GET), *split(len(HINTS) + 10, HINTS, FINAL, BODY)], [("/asked", None)]),
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with watched_namespace(directory) as made:
        yield made


@pytest.mark.parametrize("name", CASES)
def test_the_answer_is_the_final_one(lab: Lab, name: str) -> None:
    said, wanted = CASES[name]
    ends = played(lab.inside, next(_ports), [*said, *NEXT])
    snapshot = lab.watch.up_to_now()
    for end in ends:
        rows = [(path, status) for _, path, status in requests_of(snapshot, end)]
        assert rows == [*wanted, ("/next", 202)]
        assert {row.error for row in snapshot.requests if row.pid == end.pid and row.status is None} <= {"unknown"}
        (connection,) = connections_of(snapshot, end)
        assert connection.requests is not None
        statuses = [status for _, status in wanted if status]
        assert (connection.requests.count, connection.requests.failed) == (len(wanted) + 1, len(statuses))


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
        [(True, BARE + GET + BARE), (False, OTHER), (False, FINAL[:-2] + b"A: b\r\n\r\n"), (False, OTHER)],
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
