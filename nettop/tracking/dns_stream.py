"""DNS over TCP: messages out of segments as they pass, in any order, again, split and joined (RFC 7766)."""

import struct
from typing import NamedTuple

from nettop.tracking.dns_message import HEADER_BYTES

_SEQUENCE_SPACE = 1 << 32
_HALF_SPACE = 1 << 31
_LENGTH_BYTES = 2
_QUESTION_BYTES, _RECORD_BYTES = 5, 11  # with the root as name and no data
_OPCODES = (0, 4, 5)  # query, notify, update: who asks anything else over TCP
_HEADER = struct.Struct("!2xBBHHHH")
MAX_WAITING_SEGMENTS = 64  # per direction: more than a window of out-of-order segments on a DNS connection holds


class StreamMessage(NamedTuple):
    """A DNS message: what was captured of it from its beginning on, and how long it was on the wire."""

    captured: bytes
    wire_bytes: int


class StreamOutput(NamedTuple):
    """Messages that a segment completed, and how many were given up."""

    messages: list[StreamMessage]
    lost: int


class DnsStream:
    """One direction of one connection.

    Nothing in the bytes tells where a message begins. Where the beginning of the stream or a part of it was not seen,
    a segment is taken for the beginning of a message only if it reads like one; what comes before that counts as one
    message lost, however many it were.
    """

    def __init__(self) -> None:
        self._synchronised = False  # whether `_next` is known
        self._framed = False  # whether `_buffer` is known to begin with a message's length
        self._told_gap = False  # whether what comes before that is counted as lost
        self._next = 0  # sequence number of the byte after `_buffer`
        self._buffer = bytearray()
        self._skip = 0  # bytes still to come of a message of which a part was not captured
        self._waiting: dict[int, tuple[bytes, int]] = {}
        self._messages: list[StreamMessage] = []
        self._lost = 0
        self.last_lost_ns = 0  # kept by whoever knows the time

    @property
    def out_of_place(self) -> bool:
        """Whether messages pass unread, because it is not known where one begins."""
        return self._told_gap

    @property
    def held_bytes(self) -> int:
        """What waits to become messages."""
        return len(self._buffer) + sum(len(payload) for payload, _ in self._waiting.values())

    def segment(self, sequence: int, payload: bytes, wire_bytes: int) -> StreamOutput:
        """Take a segment of `wire_bytes` payload bytes, of which `payload` was captured."""
        self._messages, self._lost = [], 0
        if not self._synchronised:
            self._next, self._synchronised = sequence, True
        if wire_bytes > self._waiting.get(sequence, (b"", -1))[1]:  # a retransmission may also be shorter
            self._waiting[sequence] = (payload, wire_bytes)
        if len(self._waiting) > MAX_WAITING_SEGMENTS:
            # A segment never came by. Begin anew at the earliest that waits.
            expected = self._next
            self._next = min(self._waiting, key=lambda start: (start - expected) % _SEQUENCE_SPACE)
            self._lose_frame()
        while (start := self._first_usable()) is not None:
            captured, size = self._waiting.pop(start)
            done = (self._next - start) % _SEQUENCE_SPACE  # already known: a retransmission
            if done >= size:
                continue
            self._next = (start + size) % _SEQUENCE_SPACE
            self._take(captured[done:], size - done)
        return StreamOutput(self._messages, self._lost)

    def _first_usable(self) -> int | None:
        for start in self._waiting:
            if (self._next - start) % _SEQUENCE_SPACE < _HALF_SPACE:
                return start
        return None

    def _lose_frame(self, rest: bytes = b"") -> None:
        self._buffer[:] = rest
        self._skip = 0
        self._framed = False
        if not self._told_gap:
            self._lost += 1
            self._told_gap = True

    def _take(self, captured: bytes, size: int) -> None:
        skipped = min(self._skip, size)
        self._skip -= skipped
        captured = captured[skipped:]
        missing = size - skipped - len(captured)
        self._buffer += captured
        if not self._framed:
            begins = self._begins_message(missing)
            if begins is False and len(self._buffer) > len(captured):
                self._lose_frame(captured)  # what came before was the end of something
                begins = self._begins_message(missing)
            if begins is False:
                self._lose_frame()
            if not begins:
                return
            self._framed, self._told_gap = True, False
        self._cut_messages(missing)

    def _begins_message(self, missing: int) -> bool | None:
        """Whether the buffer begins with a message, `missing` uncaptured bytes behind it; None if it is too early."""
        length = int.from_bytes(self._buffer[:_LENGTH_BYTES])
        if _LENGTH_BYTES + length == len(self._buffer) + missing:
            return length >= HEADER_BYTES  # this message and nothing else, as mostly
        if len(self._buffer) < _LENGTH_BYTES + HEADER_BYTES:
            return False if missing else None
        flags, code, questions, *records = _HEADER.unpack_from(self._buffer, _LENGTH_BYTES)
        least = HEADER_BYTES + questions * _QUESTION_BYTES + sum(records) * _RECORD_BYTES
        return flags >> 3 & 0x0F in _OPCODES and not code & 0x40 and questions <= 1 and least <= length

    def _cut_messages(self, missing: int) -> None:
        while len(self._buffer) >= _LENGTH_BYTES:
            length = int.from_bytes(self._buffer[:_LENGTH_BYTES])
            end = _LENGTH_BYTES + length
            if len(self._buffer) < end:
                if missing:
                    self._cut_short(end, missing)
                return
            if length >= HEADER_BYTES:
                self._messages.append(StreamMessage(bytes(self._buffer[_LENGTH_BYTES:end]), length))
            else:
                self._lost += 1
            del self._buffer[:end]
        if missing:
            self._lose_place()

    def _cut_short(self, end: int, missing: int) -> None:
        """The rest of a message was not captured: hand on what there is, whose header still tells the answer code."""
        if len(self._buffer) >= _LENGTH_BYTES + HEADER_BYTES:
            self._messages.append(StreamMessage(bytes(self._buffer[_LENGTH_BYTES:]), end - _LENGTH_BYTES))
        else:
            self._lost += 1
        wanted = end - len(self._buffer)
        self._buffer.clear()
        self._skip = max(wanted - missing, 0)
        if wanted < missing:
            self._lose_place()

    def _lose_place(self) -> None:
        """Messages began in a part that was not captured."""
        self._lose_frame()
        self._synchronised = False
