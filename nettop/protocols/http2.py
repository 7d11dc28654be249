"""HTTP/2 without encryption (RFC 9113): heads of requests and answers out of one direction of a connection."""

from typing import NamedTuple

from msgspec import Struct

from nettop.protocols.header_block import READ_AT_ONCE, Field, HeaderBlocks
from nettop.text import printable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
UNKNOWN = "?"  # what a request must have, but what was not seen
MAX_PATH_BYTES = 256
MAX_HOST_BYTES = 255
MAX_BLOCK_BYTES = 16_384  # of one head, and so what a direction holds at most
_MAX_FRAMES, _MAX_HEADS = 1024, 256  # of one segment; h2load has a hundred heads in one
_HEADER_BYTES = 9
_LONGEST_FRAME = 1 << 20  # peers agree on 16 KB, some on 1 MB
_DATA, _HEADERS, _PRIORITY, _RESET, _SETTINGS, _PROMISE, _PING, _GOAWAY, _WINDOW, _CONTINUATION = range(10)
_OTHER_FRAMES = frozenset((0x0A, 0x0B, 0x0C, 0x10))  # alternative services, origins, priorities
_READ = frozenset((_HEADERS, _RESET, _PROMISE, _CONTINUATION))
_FIXED_BYTES = {_PRIORITY: 5, _RESET: 4, _PING: 8, _WINDOW: 4}
_OF_THE_CONNECTION = frozenset((_SETTINGS, _PING, _GOAWAY))
_END_STREAM, _END_HEADERS, _PADDED, _WITH_PRIORITY = 0x01, 0x04, 0x08, 0x20
_HALF_SPACE, _SEQUENCES = 1 << 31, 1 << 32
_ERRORS = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip


class Http2Head(Struct, frozen=True, gc=False):
    """What a head says, or the reset of a stream.

    `kind` is "request", "response", "trailers" or "reset", None where it cannot be told. `partial` says that fields
    were indexed before they could be seen: what is None may then be there, and what a request must have is "?".
    """

    stream: int
    kind: str | None
    method: str | None = None
    authority: str | None = None
    path: str | None = None
    status: int | None = None
    grpc: bool = False
    grpc_status: int | None = None
    content_length: int | None = None
    trace_id: str | None = None
    error: str | None = None
    ends_stream: bool = False
    partial: bool = False


class _Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    size: int


class Http2Direction:
    """One direction of one connection, as segments pass that hold heads.

    The first segment, and each behind a gap, must begin with the header of a frame, or the preface. After a gap the
    table of headers is thrown away, since decoding on would give wrong names without an error.
    """

    def __init__(self, query: bool = False) -> None:
        self._blocks = HeaderBlocks(query)
        self._next: int | None = None  # sequence number of the byte that comes next
        self._skip = 0  # bytes to come of a frame that is not read
        self._rest = b""  # a frame that has only begun
        self._block: bytearray | None = None  # of a head that goes on in another frame
        self._begun = _Frame(0, 0, 0, 0)  # where that head began
        self.gaps = 0

    def goes_on_at(self, sequence: int) -> bool:
        """Whether nothing was missed until this sequence number, or this direction begins there."""
        return sequence == (self._next or 0)

    @property
    def held_bytes(self) -> int:
        """What waits to become heads."""
        return len(self._rest) + len(self._block or b"")

    def segment(self, sequence: int, payload: bytes, passed_over: bool = False) -> list[Http2Head]:
        """The heads that are whole with this segment.

        `passed_over`: whoever hands it on knows that between the last one and this there were frames without heads
        alone, all of them whole, and that this one begins with the header of a frame.
        """
        payload = self._in_place(sequence, payload, passed_over)
        if payload.startswith(PREFACE) and not self._rest:  # also behind an upgrade from HTTP/1
            self._blocks.forget()
            self._skip, self._block, payload = 0, None, payload[len(PREFACE) :]
        heads: list[Http2Head] = []
        if self._skip >= len(payload):
            self._skip -= len(payload)
            return heads
        stream = self._rest + payload[self._skip :]
        self._skip, self._rest = 0, b""
        self._blocks.left = READ_AT_ONCE
        try:
            self._walk(stream, heads)
        except ValueError:
            self._lose()
        return heads

    def _in_place(self, sequence: int, payload: bytes, passed_over: bool) -> bytes:
        """What is new in the segment, with whatever was awaited before it given up where something is missing."""
        expected = sequence if self._next is None else self._next
        ahead = (sequence - expected) % _SEQUENCES
        if ahead >= _HALF_SPACE:  # sent again, in part or as a whole
            payload, ahead, sequence = payload[_SEQUENCES - ahead :], 0, expected
        if ahead and (self._rest or self._block is not None or not (passed_over or ahead <= self._skip)):
            self._lose()
        self._skip = max(self._skip - ahead, 0)
        self._next = (sequence + len(payload)) % _SEQUENCES
        return payload

    def _lose(self) -> None:
        self._blocks.forget()
        self._skip, self._rest, self._block = 0, b"", None
        self.gaps += 1

    def _walk(self, stream: bytes, heads: list[Http2Head]) -> None:
        """Raises ValueError where these are no frames, or more than are read."""
        at = 0
        for _ in range(_MAX_FRAMES):
            body_at = at + _HEADER_BYTES
            if body_at > len(stream):
                self._rest = stream[at:]
                return
            frame = _frame(stream, at)
            end = body_at + frame.size
            if frame.kind not in _READ:
                if self._block is not None:
                    raise ValueError("a head that does not go on")
                if end > len(stream):
                    self._skip = end - len(stream)
                    return
            elif end > len(stream):
                if frame.size > MAX_BLOCK_BYTES:
                    raise ValueError("a head that is too long")
                self._rest = stream[at:]
                return
            else:
                self._take(frame, stream[body_at:end], heads)
                if len(heads) >= _MAX_HEADS:
                    break
            at = end
        if at < len(stream):
            raise ValueError("more than is read of a segment")

    def _take(self, frame: _Frame, body: bytes, heads: list[Http2Head]) -> None:
        if (frame.kind == _CONTINUATION) != (self._block is not None):
            raise ValueError("a head that does not go on, or goes on without a beginning")
        if frame.kind == _RESET:
            code = int.from_bytes(body)
            error = _ERRORS[code] if code < len(_ERRORS) else f"0x{code:x}"
            heads.append(Http2Head(frame.stream, "reset", error=error, ends_stream=True))
            return
        if self._block is None:
            self._begun, self._block = frame, bytearray(_block_of(frame, body))
        elif frame.stream != self._begun.stream:
            raise ValueError("a head that goes on in another stream")
        else:
            self._block += body
        if len(self._block) > MAX_BLOCK_BYTES:
            raise ValueError("a head that is too long")
        if frame.flags & _END_HEADERS:
            block, self._block = bytes(self._block), None
            fields = self._blocks.read(block)
            if self._begun.kind == _HEADERS:  # and not what a server promises to push
                heads.append(_head(self._begun.stream, bool(self._begun.flags & _END_STREAM), fields))


def _frame(stream: bytes, at: int) -> _Frame:
    """The header of a frame. Raises ValueError where it cannot be one."""
    size = stream[at] << 16 | stream[at + 1] << 8 | stream[at + 2]
    frame = _Frame(stream[at + 3], stream[at + 4], int.from_bytes(stream[at + 5 : at + 9]) & 0x7FFFFFFF, size)
    kind = frame.kind
    if (
        (kind > _CONTINUATION and kind not in _OTHER_FRAMES)
        or size > _LONGEST_FRAME
        or _FIXED_BYTES.get(kind, size) != size
        or (kind in _OF_THE_CONNECTION and frame.stream)
        or (kind == _SETTINGS and size % 6)
        or (not frame.stream and kind in (_DATA, _HEADERS, _RESET, _PROMISE, _CONTINUATION, _PRIORITY))
    ):
        raise ValueError("no frame")
    return frame


def _block_of(frame: _Frame, body: bytes) -> bytes:
    """The part of a header block in the frame that begins it: RFC 9113 sections 6.2 and 6.6."""
    start, padding = 0, 0
    if frame.flags & _PADDED:
        start, padding = 1, body[0] if body else 0
    if frame.kind == _PROMISE:
        start += 4
    elif frame.flags & _WITH_PRIORITY:
        start += 5
    if start + padding > len(body):
        raise ValueError("more padding than frame")
    return body[start : len(body) - padding]


def _head(stream: int, ends: bool, fields: list[Field]) -> Http2Head:
    known: dict[bytes | None, bytes | None] = {}
    for name, value in fields:
        known.setdefault(name, value)
    partial = None in known or None in known.values()
    request = not known.keys().isdisjoint((b":method", b":path", b":authority", b":scheme"))
    status = known.get(b":status")
    kind = "request" if request else "response" if b":status" in known else None if partial else "trailers"
    if kind is None and b"grpc-status" in known:
        kind = "trailers"
    missing = UNKNOWN if request and partial else None
    return Http2Head(
        stream=stream,
        kind=kind,
        method=_text(known.get(b":method"), 32) or missing,
        authority=_text(known.get(b":authority") or known.get(b"host"), MAX_HOST_BYTES) or missing,
        path=_text(known.get(b":path"), MAX_PATH_BYTES) or missing,
        status=_number(status) if status is not None and len(status) == 3 else None,
        grpc=(known.get(b"content-type") or b"").startswith(b"application/grpc"),
        grpc_status=_number(known.get(b"grpc-status")),
        content_length=_number(known.get(b"content-length")),
        trace_id=_trace_id(known.get(b"traceparent")),
        ends_stream=ends,
        partial=partial,
    )


def _text(value: bytes | None, most: int) -> str | None:
    return printable(value[:most]) if value else None


def _number(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() and len(value) <= 18 else None


def _trace_id(value: bytes | None) -> str | None:
    """The second part of a `traceparent`: https://www.w3.org/TR/trace-context/."""
    parts = value.split(b"-", 3) if value else []
    if len(parts) != 4 or len(parts[1]) != 32 or parts[1].strip(b"0123456789abcdef"):
        return None
    return parts[1].decode("ascii")
