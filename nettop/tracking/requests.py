"""Requests of HTTP/1: each paired with its response, told at the tick that follows, with the connection under it."""

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import HttpHead, ProcessKey, SocketRecord
from nettop.model.events import RequestChanged
from nettop.model.rows import Connection, End, RemoteEndpoint, Request, RequestError
from nettop.protocols.http1 import RequestHead, ResponseHead, parse_request, parse_requests, parse_responses
from nettop.text import comm_text
from nettop.tracking.addresses import address_of
from nettop.tracking.clock import Clock
from nettop.tracking.owners import NOBODY, Owned, certainty
from nettop.tracking.places import Place, place_of

MAX_WAITING = 16_384  # requests without a response; eleven seconds of all that is listed, if none is answered
MAX_UNTOLD = 8_192  # changed since the last tick: more are told before it
MAX_EARLY = 1_024  # requests whose sockets were only being made
MAX_TIMED = 16_384  # connections whose response times are kept
MAX_FAILED = 1_024  # requests that may be sent again
RETRY_NS = 60_000_000_000  # so soon
LATENCIES_KEPT = 64  # of a connection, for its median
MAX_HEAD_BYTES = 2_048  # of a request's, while it is not whole
TICKS_WITHOUT_CONNECTION = 3  # whose row may come with the counts of the tick that follows its end
MASKED = "***"

_ERRORS: dict[End, RequestError] = {
    "reset-by-peer": "reset",
    "reset-by-us": "reset",
    "timeout": "timeout",
}

SocketKey = tuple[int, int]  # kernel address and seen_ns
_Sent = tuple[ProcessKey, int, str, str, str]  # process, network namespace, method, host and path


class Privacy(NamedTuple):
    """What of a path is kept: with its query or without, and not what one of the patterns finds."""

    query: bool = False
    masks: Sequence[re.Pattern[str]] = ()

    def masked(self, path: str) -> str:
        """The path without what is secret in it."""
        for pattern in self.masks:
            path = pattern.sub(MASKED, path)
        return path


class Linked(NamedTuple):
    """The connection of a request, as its tracker knows it."""

    row: Connection
    owned: Owned


class Observed(NamedTuple):
    """A request's event, and the process it concerns."""

    event: RequestChanged
    owned: Owned


class _Known(Struct, gc=False):
    """A request. `raw` is its head as long as that is not whole."""

    row: Request
    owned: Owned
    socket: SocketKey
    number: int
    asked_ns: int
    raw: bytes = b""
    ticks: int = 0  # that told it without its connection


class _Failed(NamedTuple):
    row_id: int
    failed_ns: int


class _Retries:
    """Requests of clients that failed, until they are sent again."""

    def __init__(self) -> None:
        self._failed: OrderedDict[_Sent, _Failed] = OrderedDict()

    def failed(self, known: _Known, failed_ns: int) -> None:
        """Its connection has ended without a response."""
        sent = _sent(known)
        if sent is None:
            return
        self._failed[sent] = _Failed(known.row.id, failed_ns)
        self._failed.move_to_end(sent)
        if len(self._failed) > MAX_FAILED:
            self._failed.popitem(last=False)

    def repeated_by(self, known: _Known) -> int | None:
        """The row that this request repeats."""
        sent = _sent(known) if self._failed else None
        before = self._failed.pop(sent, None) if sent is not None else None
        if before is None or known.asked_ns - before.failed_ns > RETRY_NS:
            return None
        return before.row_id


def _sent(known: _Known) -> _Sent | None:
    row, process = known.row, known.owned.process
    if row.side != "client" or process is None or row.host is None or row.path is None:
        return None
    return process, row.netns, row.method, row.host, row.path


class RequestTracker:
    """Takes heads in order of time; `ended` at the end of a connection, `tick` once its rows have been told."""

    def __init__(self, clock: Clock, privacy: Privacy | None = None) -> None:
        self._clock = clock
        self._privacy = privacy or Privacy()
        self._waiting: OrderedDict[tuple[SocketKey, int], _Known] = OrderedDict()
        self._numbers: dict[SocketKey, deque[int]] = {}  # of those that wait, in order
        self._early: OrderedDict[Place, list[_Known]] = OrderedDict()
        self._untold: dict[int, _Known] = {}
        self._unlinked: dict[int, _Known] = {}
        self._ended: OrderedDict[SocketKey, Linked] = OrderedDict()
        self._latencies: OrderedDict[SocketKey, deque[float]] = OrderedDict()
        self._retries = _Retries()
        self._last_id = 0
        self.evicted = {"requests_waiting": 0}

    @property
    def is_full(self) -> bool:
        """Whether what has changed is to be told now."""
        return len(self._untold) >= MAX_UNTOLD

    def head(self, head: HttpHead) -> None:
        """The first bytes of a message."""
        if head.kind == abi.HTTP_RESPONSE:
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
        for number in self._numbers.pop(key, ()):
            known = self._waiting.pop((key, number))
            if number < record.responses or not record.requests:  # it was answered, or nobody knows
                self._give_up(known)
                continue
            known.row = replace(known.row, error=_ERRORS.get(how, "closed"))
            self._retries.failed(known, record.time_ns)
            self._changed(known)

    def linked(self, key: SocketKey, row: Connection, owned: Owned) -> None:
        """The row of a connection that has ended."""
        self._ended[key] = Linked(row, owned)
        if len(self._ended) > MAX_WAITING:
            self._ended.popitem(last=False)

    def median_ms(self, socket: int, seen_ns: int) -> float | None:
        """Of the last response times on a connection."""
        latencies = self._latencies.get((socket, seen_ns))
        if not latencies:
            return None
        ordered = sorted(latencies)
        return ordered[-(-len(ordered) // 2) - 1]

    def lost(self) -> None:
        """Records were lost: whatever waits may have been answered."""
        for known in self._waiting.values():
            self._give_up(known)
        self._waiting.clear()
        self._numbers.clear()

    def tick(self, now: datetime, find: Callable[[SocketKey], Linked | None]) -> list[Observed]:
        """What has changed since the last call; `find` knows the connections that are alive."""
        changed, self._untold = self._untold, {}
        unlinked, self._unlinked = {**self._unlinked, **changed}, {}
        output = []
        for number in sorted(unlinked):
            known = unlinked[number]
            if self._link(known, find):
                changed[number] = known
            elif known.row.connection_id is None and known.ticks < TICKS_WITHOUT_CONNECTION:
                known.ticks += 1
                self._unlinked[number] = known
            if number in changed:
                known.row = self._with_owner(known.row, known.owned)
                output.append(Observed(RequestChanged(time=now, request=known.row), known.owned))
        if not self._unlinked:
            self._ended.clear()
        return output

    def _link(self, known: _Known, find: Callable[[SocketKey], Linked | None]) -> bool:
        if known.row.connection_id is not None:
            return False
        connection = self._ended.get(known.socket) or find(known.socket)
        if connection is None:
            return False
        known.row = replace(known.row, connection_id=connection.row.id, remote=connection.row.remote)
        known.owned = _better(known.owned, connection.owned)
        return True

    def _asked(self, head: HttpHead) -> None:
        raw = head.prefix[: head.prefix_bytes] + head.payload
        heads = list(parse_requests(raw, max(head.requests, 1), self._privacy.query))
        made = []
        for offset, parsed in enumerate(heads):
            known = self._new(head, head.number + offset, parsed)
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
                    self._give_up(known)

    def _new(self, head: HttpHead, number: int, parsed: RequestHead) -> _Known:
        self._last_id += 1
        row = Request(
            id=self._last_id,
            asked_at=self._clock.wall(head.time_ns),
            pid=None,
            process_start_time=None,
            comm=None,
            side="client" if head.egress else "server",
            protocol=parsed.version or "http/1.1",
            method=parsed.method,
            netns=head.netns,
            remote=RemoteEndpoint(address=address_of(head.family, head.remote_address), port=head.remote_port),
        )
        row = self._with_head(row, parsed)
        return _Known(row, _owner_of(head), (head.socket, head.seen_ns), number, head.time_ns)

    def _with_head(self, row: Request, parsed: RequestHead) -> Request:
        sent = None if parsed.end is None else parsed.end + (parsed.content_length or 0)
        return replace(
            row,
            host=parsed.host,
            path=None if parsed.path is None else self._privacy.masked(parsed.path),
            protocol=parsed.version or row.protocol,
            request_bytes=sent,
            trace_id=parsed.trace_id,
        )

    def _wait(self, known: _Known) -> None:
        key = known.socket, known.number
        if key in self._waiting:
            return
        self._waiting[key] = known
        known.row = replace(known.row, retry_of=self._retries.repeated_by(known))
        self._numbers.setdefault(known.socket, deque()).append(known.number)
        self._changed(known)
        if len(self._waiting) > MAX_WAITING:
            (socket, number), oldest = self._waiting.popitem(last=False)
            self._forget_number(socket, number)
            self._give_up(oldest)
            self.evicted["requests_waiting"] += 1

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
        if parsed is None:  # of another protocol
            self._waiting.pop((known.socket, known.number))
            self._forget_number(known.socket, known.number)
            self._untold.pop(known.row.id, None)
            return
        known.row = self._with_head(known.row, parsed)
        if known.row.retry_of is None:
            known.row = replace(known.row, retry_of=self._retries.repeated_by(known))
        self._changed(known)

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
        for offset, parsed in enumerate(parse_responses(raw, max(head.requests, 1))):
            known = self._take(socket, head.number + offset)
            if known is not None:
                self._answer(known, head, parsed)
        if head.requests > 1:  # what is not among the captured bytes is answered too
            self._give_up_before(socket, head.number + head.requests)

    def _take(self, socket: SocketKey, number: int) -> _Known | None:
        """The request that waits with this number."""
        self._give_up_before(socket, number)
        known = self._waiting.pop((socket, number), None)
        if known is not None:
            self._forget_number(socket, number)
        return known

    def _give_up_before(self, socket: SocketKey, number: int) -> None:
        """Responses to the requests before this number came, and were not seen."""
        while (numbers := self._numbers.get(socket)) and numbers[0] < number:
            self._give_up(self._waiting.pop((socket, numbers[0])))
            self._forget_number(socket, numbers[0])

    def _answer(self, known: _Known, head: HttpHead, parsed: ResponseHead) -> None:
        latency_ms = max(head.time_ns - known.asked_ns, 0) // 1000 / 1000
        self._time(known.socket, latency_ms)
        length = 0 if known.row.method == "HEAD" or parsed.status in (204, 304) else parsed.content_length
        received = None if parsed.end is None or length is None else parsed.end + length
        known.row = replace(known.row, status=parsed.status, latency_ms=latency_ms, response_bytes=received)
        known.owned = _better(_owner_of(head), known.owned) if head.egress else known.owned  # of workers who answers
        known.raw = b""
        self._changed(known)

    def _time(self, socket: SocketKey, latency_ms: float) -> None:
        latencies = self._latencies.get(socket)
        if latencies is None:
            latencies = self._latencies[socket] = deque(maxlen=LATENCIES_KEPT)
            if len(self._latencies) > MAX_TIMED:
                self._latencies.popitem(last=False)
        latencies.append(latency_ms)

    def _give_up(self, known: _Known) -> None:
        known.row = replace(known.row, error="unknown")
        known.raw = b""
        self._changed(known)

    def _changed(self, known: _Known) -> None:
        self._untold[known.row.id] = known

    def _with_owner(self, row: Request, owned: Owned) -> Request:
        process = owned.process
        if process is None:
            return row
        return replace(
            row,
            pid=process.pid,
            process_start_time=self._clock.wall_of_boot(process.start_boot_ns),
            comm=comm_text(owned.comm),
        )


def _owner_of(head: HttpHead) -> Owned:
    if head.owner_certainty == abi.OWNER_UNKNOWN or not head.owner_pid:
        return NOBODY
    key = ProcessKey(head.owner_pid, head.owner_start_boot_ns)
    return Owned(key, certainty(head.owner_certainty), head.owner_uid, head.owner_comm, 0)


def _better(known: Owned, other: Owned) -> Owned:
    """The surer of the two; of equals the one that is known."""
    order = ("unknown", "listener", "scanned", "exact")
    return other if order.index(other.certainty) > order.index(known.certainty) else known
