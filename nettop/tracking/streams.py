"""Requests of HTTP/2 and gRPC: decoded by direction of a connection, paired with their responses by stream.

A conversation is a connection, or a session of TLS whose plaintext is seen: whoever hands on the frames names it.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator

from msgspec import Struct, field
from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import HttpHead
from nettop.model.rows import End, Request, RequestError, RequestProtocol
from nettop.protocols.http2 import UNKNOWN, Http2Direction, Http2Head
from nettop.tracking.places import SocketKey
from nettop.tracking.request_rows import ERRORS, MAX_WAITING, Known, Privacy, RequestRows, remote_of

MAX_UNPLACED = (
    256  # requests of a session of TLS whose connection is not known: most sessions have their first one there
)
MAX_CONNECTIONS = 1_024  # whose tables of headers are kept: some 20 KB each
_SEQUENCES = 1 << 32
_LOWEST_STATUS, _FIRST_FINAL_STATUS, _HIGHEST_STATUS = 100, 200, 599


class Outcomes(Struct, gc=False):
    """How many requests of a connection failed, of these with 4xx and with 5xx, and the longest time to a response."""

    failed: int = 0
    refused: int = 0
    broken: int = 0
    slowest_ms: float = 0.0

    def count(self, row: Request) -> None:
        """Nothing more is to come of this request."""
        hundreds = (row.status or 0) // 100
        self.failed += row.failed
        self.refused += hundreds == 4
        self.broken += hundreds == 5


class _Spoken(Struct, gc=False):
    """HTTP/2 in one conversation. `asked` and `answered` are the tables of its directions."""

    key: Hashable
    asked: Http2Direction
    answered: Http2Direction
    streams: dict[int, Known] = field(default_factory=dict)  # of which something is still to come
    last_stream: int = 0
    outcomes: Outcomes = field(default_factory=Outcomes)
    holds: bool = False  # requests that are not told before an answer
    missed: bool = False  # frames of answers, so that a stream may have ended
    told: int = 0  # requests
    unplaced: deque[Known] = field(default_factory=lambda: deque(maxlen=MAX_UNPLACED))  # on no connection that is known


class StreamTracker:
    """Takes frames in order of time; see RequestTracker. `decrypted` says that they were read inside TLS."""

    def __init__(
        self,
        rows: RequestRows,
        privacy: Privacy,
        take_upgraded: Callable[[SocketKey], Known | None] = lambda _: None,
        decrypted: bool = False,
    ) -> None:
        self._rows = rows
        self._privacy = privacy
        self._take_upgraded = take_upgraded
        self._decrypted = decrypted
        self._spoken: OrderedDict[Hashable, _Spoken] = OrderedDict()
        self._waiting: OrderedDict[tuple[Hashable, int], Known] = OrderedDict()
        self.evicted = 0
        self.tables_evicted = 0

    def frames(self, key: Hashable, record: HttpHead) -> None:
        """Those of one segment."""
        spoken = self._spoken_on(key)
        asks = bool(record.http2 & abi.HTTP2_ASKS)
        heads, missed = _read(spoken.asked if asks else spoken.answered, record)
        if not asks and (missed or spoken.holds):
            self._may_have_missed(spoken, missed)
        for head in heads:
            if head.kind == "reset":
                self._reset(spoken, head, asks)
            elif asks:
                self._asked(spoken, head, record)
            else:
                self._answered(spoken, head, record)

    def ended(self, key: Hashable, how: End, time_ns: int, missed: bool) -> None:
        """A connection is over: what waits on it has failed, or may have been answered where frames were `missed`."""
        spoken = self._spoken.get(key)
        if spoken is None:
            return
        for known in self._taken(spoken):
            if known.held:
                continue
            if spoken.missed or missed:
                self._rows.give_up(known)
            else:
                self._fail(spoken, known, ERRORS.get(how, "closed"))
                if known.row.status is None:
                    self._rows.retries.failed(known.row, known.owned, time_ns)

    def lost(self) -> None:
        """Records were lost: whatever waits may have been answered."""
        for spoken in self._spoken.values():
            spoken.missed = True
            for known in self._taken(spoken):
                self._rows.give_up(known)

    def of(self, key: Hashable) -> Outcomes:
        """How the requests of a connection came out, as far as is known."""
        spoken = self._spoken.get(key)
        return Outcomes() if spoken is None else spoken.outcomes

    def told(self, key: Hashable) -> int:
        """How many requests of a conversation were told."""
        spoken = self._spoken.get(key)
        return 0 if spoken is None else spoken.told

    def place(self, key: Hashable, record: HttpHead) -> None:
        """The connection of a conversation is known with this record: its requests until now are there too."""
        spoken = self._spoken.get(key)
        while spoken is not None and spoken.unplaced:
            known = spoken.unplaced.popleft()
            known.socket = record.socket, record.seen_ns
            known.row = replace(known.row, local_port=record.local_port or None, remote=remote_of(record))
            self._rows.changed(known)

    def conversations(self) -> list[Hashable]:
        """Those of which something is kept."""
        return [*self._spoken]

    def forget(self, key: Hashable) -> None:
        """After the last row of a connection."""
        spoken = self._spoken.pop(key, None)
        if spoken is not None:
            for known in self._taken(spoken):
                self._rows.give_up(known)

    def _spoken_on(self, key: Hashable) -> _Spoken:
        spoken = self._spoken.get(key)
        if spoken is not None:
            self._spoken.move_to_end(key)
            return spoken
        query = self._privacy.query
        spoken = self._spoken[key] = _Spoken(key, Http2Direction(query), Http2Direction(query))
        if len(self._spoken) > MAX_CONNECTIONS:
            self.forget(next(iter(self._spoken)))
            self.tables_evicted += 1
        return spoken

    def _asked(self, spoken: _Spoken, head: Http2Head, record: HttpHead) -> None:
        if head.stream <= spoken.last_stream or not head.stream & 1 or head.kind not in ("request", None):
            return  # what follows a body
        spoken.last_stream = head.stream
        known = self._rows.make(
            record,
            head.stream,
            _protocol(head),
            head.method or UNKNOWN,
            host=_without_port(head.authority),
            path=UNKNOWN if head.path is None else self._privacy.masked(head.path),
            request_bytes=0 if head.ends_stream else head.content_length,
            trace_id=head.trace_id,
            partial=head.partial,
            decrypted=self._decrypted,
        )
        spoken.told += 1
        if not record.socket:
            spoken.unplaced.append(known)
        known.held = spoken.holds = bool(record.http2 & abi.HTTP2_JOINED)
        self._rows.look_for_retry(known)
        spoken.streams[head.stream] = known
        self._waiting[spoken.key, head.stream] = known
        self._rows.changed(known)
        if len(self._waiting) > MAX_WAITING:
            (key, stream), oldest = self._waiting.popitem(last=False)
            self._spoken[key].streams.pop(stream)
            self._rows.give_up(oldest)
            self.evicted += 1

    def _may_have_missed(self, spoken: _Spoken, missed: bool) -> None:
        """What was asked before may have been answered unseen; it is awaited until something is missed again.

        The first answer on a connection that was joined shows that it is HTTP/2, and nobody saw what came before.
        """
        spoken.holds = False
        spoken.missed |= missed
        for known in [*spoken.streams.values()]:
            if known.row.error is not None:
                self._drop(spoken, known)
            elif known.row.latency_ms is None:
                known.held = False
                self._rows.give_up(known)

    def _answered(self, spoken: _Spoken, head: Http2Head, record: HttpHead) -> None:
        known = spoken.streams.get(head.stream)
        if known is None and head.stream == 1:
            known = self._upgraded(spoken, record)
        if known is None:
            return
        row, status = known.row, head.status
        if row.latency_ms is None:
            if status is not None and _LOWEST_STATUS <= status < _FIRST_FINAL_STATUS:
                return
            latency_ms = self._rows.answered_ms(known, record)
            spoken.outcomes.slowest_ms = max(spoken.outcomes.slowest_ms, latency_ms)
            row = replace(
                row,
                protocol="grpc" if head.grpc else row.protocol,
                error=None,
                status=status if status is not None and status <= _HIGHEST_STATUS else None,
                latency_ms=latency_ms,
                response_bytes=0 if head.ends_stream else head.content_length,
            )
            if row.status is None:
                row = replace(row, error="unknown")
        known.row = replace(row, grpc_status=head.grpc_status, partial=row.partial or head.partial)
        if head.ends_stream or known.row.protocol != "grpc":
            self._over(spoken, known)
        self._rows.changed(known)

    def _upgraded(self, spoken: _Spoken, record: HttpHead) -> Known | None:
        """The request of HTTP/1 that asked for HTTP/2."""
        known = self._take_upgraded((record.socket, record.seen_ns))
        if known is not None:
            known.row = replace(known.row, protocol="h2")
            known.number = 1
            spoken.streams[1] = self._waiting[spoken.key, 1] = known
        return known

    def _reset(self, spoken: _Spoken, head: Http2Head, asks: bool) -> None:
        known = spoken.streams.get(head.stream)
        if known is None:
            return
        error: RequestError = "cancelled" if asks else "reset"
        if known.row.latency_ms is not None and head.error == "NO_ERROR":
            self._over(spoken, known)
        else:
            self._drop(spoken, known)
            self._fail(spoken, known, error)

    def _over(self, spoken: _Spoken, known: Known) -> None:
        self._drop(spoken, known)
        spoken.outcomes.count(known.row)

    def _fail(self, spoken: _Spoken, known: Known, error: RequestError) -> None:
        known.row = replace(known.row, error=error)
        spoken.outcomes.count(known.row)
        self._rows.changed(known)

    def _drop(self, spoken: _Spoken, known: Known) -> None:
        spoken.streams.pop(known.number, None)
        self._waiting.pop((spoken.key, known.number), None)

    def _taken(self, spoken: _Spoken) -> Iterator[Known]:
        """All of its streams, which then wait no longer."""
        streams, spoken.streams = spoken.streams, {}
        for known in streams.values():
            del self._waiting[spoken.key, known.number]
            yield known


def _read(direction: Http2Direction, record: HttpHead) -> tuple[list[Http2Head], bool]:
    """The heads that are whole with this record, and whether something was missed before it.

    It may begin with the rest of a frame whose beginning was missed.
    """
    sequence, payload, gaps = record.seq, record.payload, direction.gaps
    goes_on = direction.goes_on_at(sequence)
    if not (direction.held_bytes and goes_on):
        sequence, payload = sequence + record.number, payload[record.number :]
    heads = direction.segment(sequence % _SEQUENCES, payload)
    return heads, not goes_on or direction.gaps > gaps


def _protocol(head: Http2Head) -> RequestProtocol:
    return "grpc" if head.grpc else "h2"


def _without_port(authority: str | None) -> str | None:
    if authority is None or authority == UNKNOWN:
        return authority
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]
