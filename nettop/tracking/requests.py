"""Requests of HTTP/1, each paired with its response; HTTP/2 is in streams.py, databases are in databases.py."""

from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import HttpHead, ProcessKey, SocketRecord
from nettop.model.rows import Connection, ConnectionRequests, End, RequestLatency
from nettop.protocols.http1 import RequestHead, ResponseHead, parse_request, parse_requests, parse_responses
from nettop.tracking.clock import Clock
from nettop.tracking.databases import DatabaseTracker
from nettop.tracking.owners import Owned
from nettop.tracking.places import Place, SocketKey, place_of
from nettop.tracking.plaintext import PlaintextTracker
from nettop.tracking.request_rows import (
    ERRORS,
    MAX_WAITING,
    Known,
    Linked,
    Observed,
    Privacy,
    RequestRows,
)
from nettop.tracking.streams import StreamTracker

MAX_EARLY = 1_024  # requests whose sockets were only being made
MAX_HEAD_BYTES = 2_048  # of a request's, while it is not whole


class RequestTracker:
    """Takes heads in order of time; `ended` at the end of a connection, `tick` once its rows have been told."""

    def __init__(self, clock: Clock, privacy: Privacy | None = None) -> None:
        self._privacy = privacy or Privacy()
        self._rows = RequestRows(clock)
        self._streams = StreamTracker(self._rows, self._privacy, self._take_upgraded)
        self._databases = DatabaseTracker(self._rows)
        self._plaintext = PlaintextTracker(self._rows, self._said, self._privacy)
        self._waiting: OrderedDict[tuple[SocketKey, int], Known] = OrderedDict()
        self._numbers: dict[SocketKey, deque[int]] = {}  # of those that wait, in order
        self._early: OrderedDict[Place, list[Known]] = OrderedDict()
        self._evicted = 0

    @property
    def evicted(self) -> dict[str, int]:
        """How much was forgotten because there was no room."""
        return {
            "requests_waiting": self._evicted + self._streams.evicted + self._plaintext.evicted,
            "http2_tables": self._streams.tables_evicted + self._plaintext.tables_evicted,
            "database_connections": self._databases.evicted,
        }

    @property
    def is_full(self) -> bool:
        """Whether what has changed is to be told now."""
        return self._rows.is_full

    def head(self, head: HttpHead) -> None:
        """The first bytes of a message."""
        if head.kind >= abi.PLAINTEXT_REQUEST:
            self._plaintext.head(head)
        elif head.kind == abi.HTTP2_FRAMES:
            if self._early:
                self._adopt(place_of(head), (head.socket, head.seen_ns))
            self._streams.frames((head.socket, head.seen_ns), head)
        elif head.kind in (abi.DATABASE_REQUEST, abi.DATABASE_ANSWER):
            self._databases.head(head)
        elif head.kind == abi.HTTP_RESPONSE:
            self._answered(head)
        elif head.kind == abi.HTTP_REST:
            self._continued(head)
        else:
            self._asked(head)

    def ended(self, record: SocketRecord, how: End) -> None:
        """A connection is over: what waits on it has failed."""
        key = record.socket, record.seen_ns
        if self._early:
            self._adopt(place_of(record), key)
        self._streams.ended(key, how, record.time_ns, bool(record.http2 & abi.HTTP2_LEFT_OUT))
        self._databases.ended(record, how)
        self._plaintext.ended(key, how, record.time_ns)
        for number in self._numbers.pop(key, ()):
            known = self._waiting.pop((key, number))
            if number < record.responses or not record.requests:  # it was answered, or nobody knows
                self._rows.give_up(known)
                continue
            known.row = replace(known.row, error=ERRORS.get(how, "closed"))
            self._rows.retries.failed(known.row, known.owned, record.time_ns)
            self._rows.changed(known)

    def process_ended(self, process: ProcessKey) -> None:
        """All of its threads are gone."""
        self._plaintext.process_ended(process)

    def linked(self, key: SocketKey, row: Connection, owned: Owned) -> None:
        """The row of a connection that has ended."""
        self._rows.linked(key, row, owned)
        self._streams.forget(key)
        self._databases.forget(key)
        self._plaintext.forget(key)

    def tick(self, now: datetime, find: Callable[[SocketKey], Linked | None]) -> list[Observed]:
        """What has changed since the last call; `find` knows the connections that are alive."""
        return self._rows.tick(now, find)

    def on(self, record: SocketRecord) -> ConnectionRequests | None:
        """All requests of a connection until now; None: it has none."""
        key = record.socket, record.seen_ns
        if not record.requests:
            return self._plaintext.on(key)
        refused, broken = (0, 0) if record.database else (record.failed_4xx, record.failed_5xx)
        failed, slowest_ms = record.failed_4xx + record.failed_5xx, record.slowest_request_us / 1000
        if record.http2:
            streams = self._streams.of(key)
            failed, refused, broken = failed + streams.failed, refused + streams.refused, broken + streams.broken
            slowest_ms = max(slowest_ms, streams.slowest_ms)
        elif record.closed and not record.database & abi.DATABASE_FOLLOWED:
            failed += record.requests - record.responses
        if record.database:
            failed += self._databases.failed_on(record)
        return ConnectionRequests(
            side="client" if record.requester == abi.SPEAKER_LOCAL else "server",
            count=record.requests,
            failed=failed,
            failed_4xx=refused,
            failed_5xx=broken,
            latency_ms=RequestLatency(
                p50=self._rows.median_ms(key),
                max=slowest_ms if slowest_ms or (record.responses and not record.http2) else None,
            ),
            unlisted=record.requests_unlisted,
            retried=self._rows.retried(key),
            partial=bool(record.http2 & abi.HTTP2_PARTIAL or record.database & abi.DATABASE_PARTIAL),
        )

    def lost(self) -> None:
        """Records were lost: whatever waits may have been answered."""
        for known in self._waiting.values():
            self._rows.give_up(known)
        self._waiting.clear()
        self._numbers.clear()
        self._streams.lost()
        self._databases.lost()
        self._plaintext.lost()

    def _asked(self, head: HttpHead) -> None:
        raw = head.prefix[: head.prefix_bytes] + head.payload
        heads = list(parse_requests(raw, max(head.requests, 1), self._privacy.query))
        made = []
        for offset, parsed in enumerate(heads):
            known = self._rows.make(
                head, head.number + offset, parsed.version or "http/1.1", parsed.method, **self._said(parsed)
            )
            if parsed.end is None and len(heads) == 1:
                known.raw = raw[:MAX_HEAD_BYTES]
            made.append(known)
        if head.socket:
            if self._early and head.number == 0:  # the listener did not take what came with the SYN
                self._early.pop(place_of(head), None)
            for known in made:
                self._wait(known)
        elif made:
            place = place_of(head)
            self._early[place] = made
            if len(self._early) > MAX_EARLY:
                for known in self._early.popitem(last=False)[1]:
                    self._rows.give_up(known)

    def _said(self, parsed: RequestHead) -> dict[str, Any]:
        """Fields of the row."""
        return {
            "host": parsed.host,
            "path": None if parsed.path is None else self._privacy.masked(parsed.path),
            "request_bytes": None if parsed.end is None else parsed.end + (parsed.content_length or 0),
            "trace_id": parsed.trace_id,
        }

    def _wait(self, known: Known) -> None:
        key = known.socket, known.number
        if key in self._waiting:
            return
        self._waiting[key] = known
        self._rows.look_for_retry(known)
        self._numbers.setdefault(known.socket, deque()).append(known.number)
        self._rows.changed(known)
        if len(self._waiting) > MAX_WAITING:
            (socket, number), oldest = self._waiting.popitem(last=False)
            self._forget_number(socket, number)
            self._rows.give_up(oldest)
            self._evicted += 1

    def _forget_number(self, socket: SocketKey, number: int) -> None:
        numbers = self._numbers[socket]
        numbers.remove(number)
        if not numbers:
            del self._numbers[socket]

    def _continued(self, head: HttpHead) -> None:
        known = self._waiting.get(((head.socket, head.seen_ns), head.number))
        if known is None or not known.raw:
            return
        raw, known.raw = (known.raw + head.payload)[:MAX_HEAD_BYTES], b""
        parsed = parse_request(raw, self._privacy.query)
        if parsed is not None and parsed.end is None and len(raw) < MAX_HEAD_BYTES:
            known.raw = raw
        if parsed is None:  # of another protocol
            self._waiting.pop((known.socket, known.number))
            self._forget_number(known.socket, known.number)
            self._rows.forget(known)
            return
        known.row = replace(known.row, protocol=parsed.version or known.row.protocol, **self._said(parsed))
        self._rows.look_for_retry(known)
        self._rows.changed(known)

    def _adopt(self, place: Place, socket: SocketKey) -> None:
        """Of a socket that was only being made when its first request came."""
        for known in self._early.pop(place, ()):
            known.socket = socket
            self._wait(known)

    def _answered(self, head: HttpHead) -> None:
        raw = head.prefix[: head.prefix_bytes] + head.payload
        if self._early:
            self._adopt(place_of(head), (head.socket, head.seen_ns))
        socket = head.socket, head.seen_ns
        if not head.requests:  # which response is whose is not known any more
            self._give_up_before(socket, head.number)
            return
        for offset, parsed in enumerate(parse_responses(raw, max(head.requests, 1))):
            known = self._take(socket, head.number + offset)
            if known is not None:
                self._answer(known, head, parsed)
        if head.requests > 1:  # what is not among the captured bytes is answered too
            self._give_up_before(socket, head.number + head.requests)

    def _take(self, socket: SocketKey, number: int) -> Known | None:
        """The request that waits with this number."""
        self._give_up_before(socket, number)
        known = self._waiting.pop((socket, number), None)
        if known is not None:
            self._forget_number(socket, number)
        return known

    def _give_up_before(self, socket: SocketKey, number: int) -> None:
        """Responses to the requests before this number came, and were not seen."""
        while (numbers := self._numbers.get(socket)) and numbers[0] < number:
            self._rows.give_up(self._waiting.pop((socket, numbers[0])))
            self._forget_number(socket, numbers[0])

    def _answer(self, known: Known, head: HttpHead, parsed: ResponseHead) -> None:
        latency_ms = self._rows.answered_ms(known, head)
        length = 0 if known.row.method == "HEAD" or parsed.status in (204, 304) else parsed.content_length
        received = None if parsed.end is None or length is None else parsed.end + length
        known.row = replace(known.row, status=parsed.status, latency_ms=latency_ms, response_bytes=received)
        known.raw = b""
        self._rows.changed(known)

    def _take_upgraded(self, socket: SocketKey) -> Known | None:
        """The request whose answer comes as stream 1 of HTTP/2."""
        numbers = self._numbers.get(socket)
        return self._take(socket, numbers[-1]) if numbers else None
