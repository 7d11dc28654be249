"""Heads of HTTP/1, whole, cut, odd and hostile."""

import random

import pytest

from nettop.protocols.http1 import parse_request, parse_requests, parse_response

GET = b"GET /a/b?token=secret HTTP/1.1\r\nHost: example.com:8080\r\nCookie: id=secret\r\n\r\n"


def test_a_request_keeps_no_query_and_nothing_of_other_headers() -> None:
    head = parse_request(GET)
    assert head is not None
    assert (head.method, head.path, head.host, head.version) == ("GET", "/a/b", "example.com", "http/1.1")
    assert head.end == len(GET)
    assert "secret" not in repr(head)


def test_the_query_is_there_if_it_is_asked_for() -> None:
    head = parse_request(GET, query=True)
    assert head is not None
    assert head.path == "/a/b?token=secret"


@pytest.mark.parametrize("cut", range(len(b"GET /"), len(GET)))
def test_a_cut_request_tells_what_it_holds(cut: int) -> None:
    head = parse_request(GET[:cut])
    assert head is not None
    assert head.method == "GET"
    assert head.path == (None if cut <= len(b"GET /a/b?token=secret") else "/a/b")  # a part of it would be another one
    assert head.host in (None, "example.com")
    assert head.end is None


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        (b"http://user:word@Example.com:80/x?q", "Example.com", "/x"),
        (b"https://[2001:db8::1]:443", "2001:db8::1", "/"),
        (b"*", None, "*"),
        (b"/a#b", None, "/a"),
        (b"/" + b"x" * 1000, None, "/" + "x" * 255),
        (b"/\xff\x1b[0m", None, "/\\xff\\x1b[0m"),
    ],
)
def test_targets(target: bytes, host: str | None, path: str) -> None:
    head = parse_request(b"OPTIONS " + target + b" HTTP/1.0\r\n\r\n")
    assert head is not None
    assert (head.host, head.path, head.version) == (host, path, "http/1.0")


def test_connect_has_a_host_and_no_path() -> None:
    head = parse_request(b"CONNECT example.com:443 HTTP/1.1\r\nHost: other\r\n\r\n")
    assert head is not None
    assert (head.host, head.path) == ("example.com", None)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"RETR /file\r\n",
        b"HELO host.example\r\n",
        b"PASS hunter2\r\n",
        b"OPTIONS * RTSP/1.0\r\n\r\n",
        b"GET",
        b"get / ",
    ],
)
def test_other_protocols_are_none(raw: bytes) -> None:
    assert parse_request(raw) is None


def test_trace_and_length() -> None:
    trace = b"0af7651916cd43dd8448eb211c80319c"
    raw = b"POST / HTTP/1.1\r\ncontent-LENGTH: 12\r\nTraceParent: 00-" + trace + b"-b7ad6b7169203331-01\r\n\r\nbody"
    head = parse_request(raw)
    assert head is not None
    assert (head.content_length, head.trace_id) == (12, trace.decode())


def test_requests_that_share_a_segment() -> None:
    body = b"POST /2 HTTP/1.1\r\nContent-Length: 18\r\n\r\nGET /no HTTP/1.1\r\n"
    raw = b"GET /1 HTTP/1.1\r\n\r\n" + body + b"HEAD /3 HTTP/1.1\r\n\r\n"
    assert [head.path for head in parse_requests(raw, 9)] == ["/1", "/2", "/3"]
    assert [head.path for head in parse_requests(raw, 2)] == ["/1", "/2"]


def test_a_response() -> None:
    raw = b"HTTP/1.0 404 Not Found\r\nContent-Length: 3\r\n\r\nabc"
    head = parse_response(raw)
    assert head is not None
    assert (head.status, head.version, head.content_length, head.end) == (404, "http/1.0", 3, len(raw) - 3)
    assert parse_response(b"HTTP/1.1 2000 x") is None
    assert parse_response(b"HTTP/2 200\r\n\r\n") is None


def test_no_bytes_raise() -> None:
    seeds = [
        GET,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"POST http://a@b:1/?x HTTP/1.1\r\nHost: [::1\r\n\r\n",
    ]
    chance = random.Random(1)
    for _ in range(20_000):
        raw = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 6)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        for head in (parse_request(bytes(raw)), parse_response(bytes(raw)), *parse_requests(bytes(raw), 3)):
            assert head is None or repr(head).isprintable()
