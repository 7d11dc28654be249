"""Heads of HTTP/1 messages (RFC 9112), from a message's first byte on and perhaps cut: only what a row tells.

Nothing else of a head is kept: no cookie, no authorization, and of a target no user and, unless that is asked for, no
query.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Literal

from msgspec import Struct

from nettop.text import printable

MAX_PATH_BYTES, MAX_HOST_BYTES = 256, 255
MAX_LENGTH_DIGITS = 15  # of a Content-Length: a petabyte

Version = Literal["http/1.0", "http/1.1"]

_REQUEST_LINE = re.compile(rb"([A-Z][A-Z-]{1,19}) ([^ \r\n]*)(?: (HTTP/1\.[0-9])?)?")
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-5][0-9]{2})(?![0-9])")
_FINAL_STATUS = re.compile(rb"HTTP/1\.[0-9] (?:101|[2-5][0-9]{2})(?![0-9])")
_VALUE = re.compile(rb"[ \t]*:[ \t]*([^\r\n]*?)[ \t]*(?=\r?\n)")
_HOST, _LENGTH, _TRACEPARENT = b"\nhost", b"\ncontent-length", b"\ntraceparent"
_ABSOLUTE = re.compile(rb"https?://(?:[^/?#@]*@)?([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]*\]|[^:]*)")
_TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_NO_TRACE = b"0" * 32


class RequestHead(Struct, frozen=True, gc=False):
    """`end` is where the head ends in the bytes that were given; None if it does not.

    `version` is None where the request line is cut.
    """

    method: str
    path: str | None
    host: str | None
    version: Version | None
    content_length: int | None
    trace_id: str | None
    end: int | None


class ResponseHead(Struct, frozen=True, gc=False):
    """See RequestHead."""

    status: int
    version: Version
    content_length: int | None
    end: int | None


def parse_request(raw: bytes, query: bool = False) -> RequestHead | None:
    """The head at the beginning of these bytes; None if they are none of HTTP/1. With `query` the path has it too."""
    line = _REQUEST_LINE.match(raw)
    if line is None:
        return None
    method, target, version = line.groups()
    if version is None and not _may_be_cut(raw[line.end(2) :]):
        return None
    head, end = _head(raw)
    lower = head.lower()
    is_cut = line.end(2) == len(raw) and len(target) < MAX_PATH_BYTES
    host, path = (None, None) if is_cut else _target(method, target, query)
    if host is None:
        host = _host(_field(head, lower, _HOST))
    trace = _TRACE.match(_field(head, lower, _TRACEPARENT))
    return RequestHead(
        method=method.decode(),
        path=None if path is None else printable(path[:MAX_PATH_BYTES]),
        host=host,
        version=None if version is None else _version(version[-1:]),
        content_length=_length(head, lower),
        trace_id=trace[1].decode() if trace is not None and trace[1] != _NO_TRACE else None,
        end=end,
    )


def parse_requests(raw: bytes, most: int, query: bool = False) -> Iterator[RequestHead]:
    """The requests that share a segment, so many at most: each begins where the one before has ended."""
    for _ in range(most):
        head = parse_request(raw, query)
        if head is None:
            return
        yield head
        if head.end is None:
            return
        raw = raw[head.end + (head.content_length or 0) :]


def parse_response(raw: bytes) -> ResponseHead | None:
    """The head at the beginning of these bytes; None if they are none of HTTP/1."""
    line = _STATUS_LINE.match(raw)
    if line is None:
        return None
    head, end = _head(raw)
    return ResponseHead(int(line[2]), _version(line[1]), _length(head, head.lower()), end)


def parse_responses(raw: bytes, most: int) -> Iterator[ResponseHead]:
    """The final responses that share a segment, so many at most, by how each begins: a length is not always told."""
    for begin in islice(_FINAL_STATUS.finditer(raw), most):
        head = parse_response(raw[begin.start() :])
        if head is not None:
            yield head


def _may_be_cut(rest: bytes) -> bool:
    """Whether this may be the beginning of what follows a target."""
    return b" HTTP/1.".startswith(rest)


def _version(minor: bytes) -> Version:
    return "http/1.0" if minor == b"0" else "http/1.1"


def _head(raw: bytes) -> tuple[bytes, int | None]:
    """The head, and where it ends, if that is among the bytes."""
    ends = [at + len(mark) for mark in (b"\n\r\n", b"\n\n") if (at := raw.find(mark)) >= 0]
    return (raw[: min(ends)], min(ends)) if ends else (raw, None)


def _field(head: bytes, lower: bytes, name: bytes) -> bytes:
    """The first field with this name whose line is whole; `lower` is the head in lower case."""
    at = lower.find(name)
    while at >= 0:
        value = _VALUE.match(head, at + len(name))
        if value is not None:
            return value[1]
        at = lower.find(name, at + 1)
    return b""


def _target(method: bytes, target: bytes, query: bool) -> tuple[str | None, bytes | None]:
    """Host and path as far as the target says them."""
    if method == b"CONNECT":
        return _host(target), None
    host = None
    absolute = _ABSOLUTE.match(target)
    if absolute is not None:
        host, target = _host(absolute[1]), absolute[2] or b"/"
    target = target.partition(b"#")[0]
    return host, target if query else target.partition(b"?")[0]


def _host(raw: bytes) -> str | None:
    """Without the port."""
    found = _AUTHORITY.match(raw.rpartition(b"@")[2]) if raw else None
    name = found[1].strip(b"[]") if found is not None else b""
    return printable(name[:MAX_HOST_BYTES]) if name else None


def _length(head: bytes, lower: bytes) -> int | None:
    raw = _field(head, lower, _LENGTH)
    return int(raw) if raw.isdigit() and len(raw) <= MAX_LENGTH_DIGITS else None
