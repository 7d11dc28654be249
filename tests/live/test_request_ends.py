"""Where one request of HTTP/1 ends and the next begins: anywhere in a segment, and behind heads of any length."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.live import http_programs
from tests.live.lab import (
    Lab,
    Said,
    connections_of,
    played,
    scripted,
    watched_namespace,
)
from tests.live.test_bodies import CHUNKED, INNER, LENGTH, NEXT, answered, asked, chunk, requests_of

_ports = count(9100)
Row = tuple[str, str, int | None]
SECOND = b"GET /second HTTP/1.1\r\nHost: yes\r\n\r\n"
_, FIRST = asked(b"GET")
_, OK = answered(200, LENGTH % 0)
_, CREATED = answered(201, LENGTH % 0)
_, TOO_LARGE = answered(413, LENGTH % 0)
COOKIE = b"Cookie: " + b"c" * 2_900
GET_BOTH: list[Row] = [("GET", "/asked", 200), ("GET", "/second", 201)]
POST_BOTH: list[Row] = [("POST", "/asked", 200), ("GET", "/second", 201)]
EARLY: list[Row] = [("POST", "/asked", 413)]


def post(data: bytes, *fields: bytes) -> bytes:
    return asked(b"POST", *fields, LENGTH % len(data))[1] + data


def pieces(said: bytes, size: int) -> Said:
    return [(True, said[at : at + size]) for at in range(0, len(said), size)]


def cut(said: bytes, *at: int) -> Said:
    return [(True, said[begin:end]) for begin, end in zip((0, *at), (*at, len(said)), strict=True)]


BOTH: Said = [(False, OK), (False, CREATED)]
IN_CHUNKS = asked(b"POST", CHUNKED)[1]
POST_OK = post(b"ok")
NOT_FOUND = answered(404, LENGTH % 0)[1]
POST_ASKED = post(b"x" * 60)
LONG_POST = post(INNER * 3, COOKIE)
CASES: dict[str, tuple[Said, list[Row]]] = {
    "a body between them": ([(True, POST_OK + SECOND), *BOTH], POST_BOTH),
    "a body behind them": (
        [(True, FIRST + post(b"ok").replace(b"/asked", b"/third")), (False, OK + CREATED)],
        [("GET", "/asked", 200), ("POST", "/third", 201)],
    ),
    "chunks between them": ([(True, IN_CHUNKS + chunk(INNER) + b"0\r\n\r\n" + SECOND), *BOTH], POST_BOTH),
    "chunks, and the next one with the last of them": (
        [(True, IN_CHUNKS + b"%x\r\n" % len(INNER)), (True, INNER), (True, b"\r\n0\r\n\r\n" + SECOND), *BOTH],
        POST_BOTH,
    ),
    "the next one with the rest of a body": (
        [(True, POST_OK[:-1]), (True, POST_OK[-1:] + SECOND), *BOTH], POST_BOTH,
    ),
    "the next one with a body that came too late": (
        [(True, asked(b"POST", LENGTH % len(INNER))[1]), (False, TOO_LARGE), (True, INNER + SECOND), (False, CREATED)],
        [*EARLY, ("GET", "/second", 201)],
    ),
    **{
        f"the next one with the rest of a head, cut at {at}": ([*cut(FIRST + SECOND, at), *BOTH], GET_BOTH)
        for at in (5, 40, len(FIRST) - 3, len(FIRST) - 1)
    },
    **{
        f"the next one cut after {at} bytes": ([*cut(FIRST + SECOND, len(FIRST) + at), *BOTH], GET_BOTH)
        for at in (1, 3, 12, 20)
    },
    "a POST cut after its first byte": (
        [*cut(FIRST + POST_OK, len(FIRST) + 1), *BOTH], [("GET", "/asked", 200), ("POST", "/asked", 201)],
    ),
    "a POST with the last byte of a head": (
        [*cut(FIRST + POST_OK, len(FIRST) - 1), *BOTH], [("GET", "/asked", 200), ("POST", "/asked", 201)],
    ),
    "a POST behind a POST": (
        [(True, POST_OK), (True, POST_OK + SECOND), (False, OK), (False, OK), (False, CREATED)],
        [("POST", "/asked", 200), *POST_BOTH],
    ),
    "a long head": ([(True, LONG_POST), (False, OK), (True, SECOND), (False, CREATED)], POST_BOTH),
    "a long head and the next one": (
        [(True, asked(b"GET", COOKIE)[1] + SECOND), *BOTH], GET_BOTH,
    ),
    "a very long head": (
        [(True, asked(b"POST", *[COOKIE] * 6, LENGTH % 4)[1] + b"GET " + SECOND), *BOTH], POST_BOTH,
    ),
    "a long head, answered before the body": (
        [(True, LONG_POST[: -3 * len(INNER)]), (False, TOO_LARGE), *[(True, INNER)] * 3], EARLY,
    ),
    "a head in segments, answered before the body": (
        [*pieces(LONG_POST[: -3 * len(INNER)], 1448), (False, TOO_LARGE), *[(True, INNER)] * 3], EARLY,
    ),
    "a head in small segments, answered before the body": (
        [*pieces(post(INNER, b"X-Field: value")[: -len(INNER)], 50), (False, TOO_LARGE), (True, INNER)], EARLY,
    ),
    "its length in the first of several": (
        [
            *pieces(asked(b"POST", LENGTH % len(INNER), COOKIE)[1], 1448), (False, TOO_LARGE),
            (True, INNER), (True, SECOND), (False, CREATED),
        ],
        [*EARLY, ("GET", "/second", 201)],
    ),
    "more than is captured": ([(True, FIRST * 30), *[(False, CREATED)] * 30], [("GET", "/asked", 201)] * 30),
    **{
        f"a body of which {last} bytes come last": (
            [*cut(POST_ASKED, len(POST_ASKED) - last), (False, OK), (True, SECOND), (False, CREATED)], POST_BOTH,
        )
        for last in (1, 2, 7, 15)
    },
    "the line that ends a head in a segment of its own": (
        [*cut(FIRST, len(FIRST) - 4, len(FIRST) - 2), (False, OK), (True, SECOND), (False, CREATED)], GET_BOTH,
    ),
    "each line and its end in their own segments": (
        [*[(True, part) for line in FIRST.split(b"\r\n")[:-1] for part in (line, b"\r\n") if part],
         (False, OK), (True, SECOND), (False, CREATED)], GET_BOTH,
    ),
    **{
        f"a response of which {last!r} comes last, and one cut at {at}": (
            [(True, FIRST), (False, answered(200, LENGTH % len(last))[1]), (False, last),
             (True, SECOND), *[(False, part) for part in (CREATED[:at], CREATED[at:]) if part]], GET_BOTH,
        )
        for last in (b"OK", b"H", b"YES") for at in (0, 9)
    },
    "a head byte by byte": ([*pieces(FIRST, 1), (False, OK), (True, SECOND), (False, CREATED)], GET_BOTH),
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with watched_namespace(directory) as made:
        yield made


@pytest.mark.parametrize("name", CASES)
def test_each_request_has_its_row(lab: Lab, name: str) -> None:
    said, wanted = CASES[name]
    ends = played(lab.inside, next(_ports), [*said, *NEXT, *said, *NEXT])
    snapshot = lab.watch.up_to_now()
    for end in ends:
        assert requests_of(snapshot, end) == [*wanted, ("GET", "/next", 202)] * 2
        (connection,) = connections_of(snapshot, end)
        assert connection.requests is not None
        failed = sum(status is not None and status >= 400 for _, _, status in wanted)
        assert (connection.requests.count, connection.requests.failed) == (2 * len(wanted) + 2, 2 * failed)


def test_a_body_that_comes_before_its_head(lab: Lab) -> None:
    """Each POST is lost once: the server has the body before it."""
    port, times = next(_ports), 8
    server = lab.inside.play(http_programs.http_server, address="127.0.0.1", port=port)
    assert server.hear() == "listening"
    lab.inside.nft(f"""
        table inet loses {{
          chain in {{
            type filter hook input priority 0
            tcp dport {port} @th,256,32 0x504f5354 numgen inc mod 2 == 0 drop
          }}
        }}
        """)
    body = [INNER.decode()] * 20
    client = lab.inside.play(http_programs.http_upload, address="127.0.0.1", port=port, body=body, times=times)
    assert client.hear() == "done"
    client.end()
    lab.inside.nft("delete table inet loses")
    snapshot = lab.watch.up_to_now()
    for end in (client, server):
        assert requests_of(snapshot, end) == [("POST", "/upload", 200), ("GET", "/behind", 200)] * times
        (connection,) = connections_of(snapshot, end)
        assert connection.requests is not None
        assert connection.requests.count == 2 * times


LOSES_ONE = """
    table inet loses_one {{
      chain in {{
        type filter hook input priority 0
        tcp dport {port} meta length {length} numgen inc mod 1000 == 0 drop
      }}
    }}
"""
IP_AND_TCP = 52  # with timestamps


def test_a_request_that_comes_before_the_end_of_a_body(lab: Lab) -> None:
    """Its response is there already, and the end is lost on its way."""
    port, end = next(_ports), INNER + b"last"
    begin = asked(b"POST", LENGTH % len(INNER + end))[1] + INNER
    lab.inside.nft(LOSES_ONE.format(port=port, length=IP_AND_TCP + len(end)))
    server = scripted(lab.inside, port, True, [[len(begin), [TOO_LARGE.hex()]], [len(end + SECOND), [CREATED.hex()]]])
    assert server.hear() == "listening"
    client = scripted(
        lab.inside, port, False,
        [[0, [begin.hex()]], [len(TOO_LARGE), [[end.hex(), SECOND.hex()]]], [len(CREATED), []]],
    )  # fmt: skip
    for program in (client, server):
        program.hear()
        program.end()
    lab.inside.nft("delete table inet loses_one")
    snapshot = lab.watch.up_to_now()
    for program in (client, server):
        assert requests_of(snapshot, program) == [*EARLY, ("GET", "/second", 201)]
    (connection,) = connections_of(snapshot, client)
    assert connection.retransmits


LOST: dict[str, tuple[Said, list[Row]]] = {
    "a head that goes on in the next segment": (
        [(True, FIRST * 3), (False, b"HTTP/1.1 304 Not Modified\r\nA: "), (False, b"b\r\n\r\n" + OK + OK)],
        [("GET", "/asked", 304), ("GET", "/asked", None), ("GET", "/asked", None)],
    ),
    "a body without a length": (
        [(True, FIRST * 2), (False, answered(200)[1]), (False, CREATED)],
        [("GET", "/asked", 200), ("GET", "/asked", None)],
    ),
    "HEAD, and a response behind it as long as the body would be": (
        [
            (True, SECOND.replace(b"GET", b"HEAD") + FIRST * 2),
            (False, answered(200, LENGTH % len(OK))[1] + OK + CREATED),
        ],
        [("HEAD", "/second", 200), ("GET", "/asked", None), ("GET", "/asked", None)],
    ),
    "HEAD behind one, whose body is like an answer and is cut": (
        [
            (True, FIRST + SECOND.replace(b"GET", b"HEAD")),
            (False, answered(200, LENGTH % len(NOT_FOUND))[1] + NOT_FOUND[:-5]), (False, NOT_FOUND[-5:] + CREATED),
        ],
        [("GET", "/asked", 200), ("HEAD", "/second", None)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOST)
def test_once_responses_cannot_be_told_apart_none_is_taken_for_another(lab: Lab, name: str) -> None:
    """What is asked from then on is only counted."""
    said, wanted = LOST[name]
    ends = played(lab.inside, next(_ports), [*said, *NEXT, *NEXT])
    snapshot = lab.watch.up_to_now()
    for end in ends:
        assert requests_of(snapshot, end) == wanted
        assert {row.error for row in snapshot.requests if row.pid == end.pid and row.status is None} == {"unknown"}
        (connection,) = connections_of(snapshot, end)
        assert connection.requests is not None
        assert (connection.requests.count, connection.requests.failed) == (len(wanted) + 2, 0)
