"""Bodies of requests of HTTP/1 that begin like requests, each in a segment of its own: none of them is a request."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from nettop.kernel import program
from nettop.model.snapshot import Snapshot
from tests.live.lab import (
    Lab,
    Program,
    Said,
    connections_of,
    namespace,
    played,
    scripted,
    steps,
    watched_namespace,
)
from tests.live.test_floods import REQUESTS_AT_ONCE, watched

INNER = b"GET /not-a-request HTTP/1.1\r\nHost: no\r\n\r\n"
NEXT: Said = [
    (True, b"GET /next HTTP/1.1\r\nHost: yes\r\n\r\n"),
    (False, b"HTTP/1.1 202 Yes\r\nContent-Length: 0\r\n\r\n"),
]
LENGTH, CHUNKED = b"Content-Length: %d", b"transfer-encoding: chunked"
_ports = count(8600)


def asked(method: bytes, *fields: bytes) -> tuple[bool, bytes]:
    return True, b"\r\n".join((method + b" /asked HTTP/1.1", b"Accept-Encoding: gzip", *fields)) + b"\r\n\r\n"


def answered(status: int, *fields: bytes) -> tuple[bool, bytes]:
    return False, b"\r\n".join((b"HTTP/1.1 %d Said" % status, *fields)) + b"\r\n\r\n"


DONE = answered(201, LENGTH % 0)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def bodies(*pieces: bytes) -> Said:
    return [(True, piece) for piece in pieces]


INNERS, LONG = [INNER] * 3, INNER * 2_000
CASES: dict[str, tuple[bytes, Said]] = {
    "GET": (b"GET", [asked(b"GET", LENGTH % len(INNER)), *bodies(INNER), DONE]),
    "DELETE": (b"DELETE", [asked(b"DELETE", b"CONTENT-LENGTH:%d" % len(INNER)), *bodies(INNER), DONE]),
    "OPTIONS in pieces": (
        b"OPTIONS", [asked(b"OPTIONS", b"Content-Encoding: x", LENGTH % (3 * len(INNER))), *bodies(*INNERS), DONE],
    ),
    "PUT": (b"PUT", [asked(b"PUT", LENGTH % len(INNER)), *bodies(INNER), DONE]),
    "GET in its segment": (
        b"GET", [(True, asked(b"GET", LENGTH % (2 * len(INNER)))[1] + INNER), *bodies(INNER), DONE],
    ),
    "GET, answered before": (b"GET", [asked(b"GET", LENGTH % (3 * len(INNER))), DONE, *bodies(*INNERS)]),
    "POST, answered before": (b"POST", [asked(b"POST", LENGTH % len(LONG)), DONE, *bodies(LONG[:6000], LONG[6000:])]),
    "POST, answered within": (
        b"POST", [asked(b"POST", LENGTH % (3 * len(INNER))), *bodies(INNER), DONE, *bodies(INNER, INNER)],
    ),
    "chunks of a POST": (
        b"POST", [asked(b"POST", CHUNKED), *bodies(b"%x\r\n" % len(INNER), INNER, b"\r\n0\r\n\r\n"), DONE],
    ),
    "chunks of a GET, answered before": (
        b"GET", [asked(b"GET", CHUNKED), DONE, *bodies(*[b"%x\r\n" % len(INNER), INNER, b"\r\n"] * 2, b"0\r\n\r\n")],
    ),
    "chunks, answered within": (
        b"PATCH",
        [
            (True, asked(b"PATCH", CHUNKED)[1] + chunk(INNER) + b"%X\r\n" % len(LONG)), DONE,
            *bodies(LONG[:9000], LONG[9000:], b"\r\n" + chunk(b"x"), chunk(INNER)[:-2], b"\r\n0\r\nA: trailer\r\n\r\n"),
        ],
    ),
    "expected": (
        b"PUT",
        [asked(b"PUT", LENGTH % len(INNER), b"Expect: 100-continue"), answered(100), *bodies(INNER), DONE],
    ),
    "expected in vain": (b"POST", [asked(b"POST", LENGTH % len(INNER), b"expect: 100-continue"), DONE]),
    "a head of many fields": (
        b"GET", [asked(b"GET", *[b"X-Field: " + b"v" * 70] * 20, LENGTH % len(INNER)), DONE, *bodies(INNER)],
    ),
    "no body": (b"DELETE", [asked(b"DELETE", LENGTH % 0, b"X-Client-Data: no"), DONE]),
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with watched_namespace(directory) as made:
        yield made


def requests_of(snapshot: Snapshot, end: Program) -> list[tuple[str, str | None, int | None]]:
    return [(row.method, row.path, row.status) for row in snapshot.requests if row.pid == end.pid]


@pytest.mark.parametrize("name", CASES)
def test_a_body_is_no_request(lab: Lab, name: str) -> None:
    method, said = CASES[name]
    ends = played(lab.inside, next(_ports), [*said, *NEXT, *said, *NEXT])
    snapshot = lab.watch.up_to_now()
    for end in ends:
        assert requests_of(snapshot, end) == [(method.decode(), "/asked", 201), ("GET", "/next", 202)] * 2
        (connection,) = connections_of(snapshot, end)
        assert connection.requests is not None
        assert (connection.requests.count, connection.requests.failed) == (4, 0)


def test_what_is_only_counted(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "REQUESTS_LISTED_PER_S", 1)
    said = [turn for _, case in CASES.values() for turn in (*case, *NEXT)]
    rounds = REQUESTS_AT_ONCE // len(CASES) + 10
    with namespace(directory) as inside, watched(inside) as watching:
        port = next(_ports)
        server = scripted(inside, port, True, steps(said * rounds, False))
        assert server.hear() == "listening"
        client = scripted(inside, port, False, steps(said * rounds, True))
        watching.until_ended(client)
        snapshot = watching.finish()
    for pid in (client.pid, server.pid):
        (connection,) = (row for row in snapshot.connections if row.pid == pid)
        assert connection.requests is not None
        assert connection.requests.count == 2 * len(CASES) * rounds
        assert len([row for row in snapshot.requests if row.pid == pid]) < connection.requests.count
