"""DNS over TCP: messages out of segments as they pass, in any order, again, split and joined (RFC 7766)."""

from typing import NamedTuple

from nettop.tracking.dns_message import HEADER_BYTES

_SEQUENCE_SPACE = 1 << 32
_HALF_SPACE = 1 << 31
_LENGTH_BYTES = 2
MAX_WAITING_SEGMENTS = 64  # per direction: more than a window of out-of-order segments on a DNS connection holds


class StreamOutput(NamedTuple):
    """Whole messages that a segment completed, and how many messages were given up."""

    messages: list[bytes]
    lost: int


class DnsStream:
    """One direction of one connection."""

    def __init__(self) -> None:
        self._synchronised = False  # whether `_next` is known
        self._next = 0  # sequence number of the byte after `_buffer`
        self._buffer = bytearray()
        self._skip = 0  # bytes still to come of a message of which a part was not captured
        self._waiting: dict[int, tuple[bytes, int]] = {}

    def segment(self, sequence: int, payload: bytes, wire_bytes: int) -> StreamOutput:
        """Take a segment of `wire_bytes` payload bytes, of which `payload` was captured."""
        output = StreamOutput([], 0)
        if not self._synchronised:
            self._next, self._synchronised = sequence, True
        if wire_bytes > self._waiting.get(sequence, (b"", -1))[1]:  # a retransmission may also be shorter
            self._waiting[sequence] = (payload, wire_bytes)
        if len(self._waiting) > MAX_WAITING_SEGMENTS:
            output = self._resynchronise(output)
        while (start := self._first_usable()) is not None:
            captured, size = self._waiting.pop(start)
            done = (self._next - start) % _SEQUENCE_SPACE  # already known: a retransmission
            if done >= size:
                continue
            self._next = (start + size) % _SEQUENCE_SPACE
            output = self._take(captured[done:], size - done, output)
        return output

    def _first_usable(self) -> int | None:
        for start in self._waiting:
            if (self._next - start) % _SEQUENCE_SPACE < _HALF_SPACE:
                return start
        return None

    def _resynchronise(self, output: StreamOutput) -> StreamOutput:
        # A segment never came by. Begin anew at the earliest that waits; a sender mostly starts one with a message.
        expected = self._next
        self._next = min(self._waiting, key=lambda start: (start - expected) % _SEQUENCE_SPACE)
        self._buffer.clear()
        self._skip = 0
        return output._replace(lost=output.lost + 1)

    def _take(self, captured: bytes, size: int, output: StreamOutput) -> StreamOutput:
        missing = size - len(captured)
        if self._skip:
            skipped = min(self._skip, size)
            self._skip -= skipped
            size -= skipped
            captured = captured[skipped:]
            missing = size - len(captured)
        self._buffer += captured
        messages, lost = output
        while len(self._buffer) >= _LENGTH_BYTES:
            length = int.from_bytes(self._buffer[:_LENGTH_BYTES])
            end = _LENGTH_BYTES + length
            if len(self._buffer) < end and missing:
                # Its end was not captured: hand on what there is, whose header still tells the answer code.
                if len(self._buffer) >= _LENGTH_BYTES + HEADER_BYTES:
                    messages.append(bytes(self._buffer[_LENGTH_BYTES:]))
                else:
                    lost += 1
                wanted = end - len(self._buffer)
                self._buffer.clear()
                self._skip = max(wanted - missing, 0)
                if wanted < missing:  # further messages began in the part that was not captured
                    lost += 1
                    self._synchronised = False
                return StreamOutput(messages, lost)
            if len(self._buffer) < end:
                break
            if length >= HEADER_BYTES:
                messages.append(bytes(self._buffer[_LENGTH_BYTES:end]))
            else:
                lost += 1
            del self._buffer[:end]
        if missing:
            self._buffer.clear()
            lost += 1
            self._synchronised = False
        return StreamOutput(messages, lost)
