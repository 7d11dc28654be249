"""Rows of requests of whichever protocol: told at the tick that follows a change, with the connection under them."""

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import HttpHead, ProcessKey
from nettop.model.events import RequestChanged
from nettop.model.rows import Connection, End, RemoteEndpoint, Request, RequestError, RequestProtocol
from nettop.text import comm_text
from nettop.tracking.addresses import address_of
from nettop.tracking.clock import Clock
from nettop.tracking.owners import NOBODY, Owned, certainty
from nettop.tracking.places import SocketKey
from nettop.tracking.retries import Retries

MAX_WAITING = 16_384  # requests without a response; eleven seconds of all that is listed, if none is answered
MAX_UNTOLD = 8_192  # changed since the last tick: more are told before it
MAX_TIMED = 16_384  # connections whose response times, or numbers of repeated requests, are kept
LATENCIES_KEPT = 64  # of a connection, for its median
TICKS_WITHOUT_CONNECTION = 3  # whose row may come with the counts of the tick that follows its end
MASKED = "***"

ERRORS: dict[End, RequestError] = {
    "reset-by-peer": "reset",
    "reset-by-us": "reset",
    "timeout": "timeout",
}
"""Of what waits when its connection ends so; otherwise it is "closed"."""


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


class Known(Struct, gc=False):
    """A request. `raw` is its head as long as that is not whole; one that is `held` is not told."""

    row: Request
    owned: Owned
    socket: SocketKey
    number: int
    asked_ns: int
    raw: bytes = b""
    ticks: int = 0  # that told it without its connection
    held: bool = False


class RequestRows:
    """Makes rows, and tells those that have changed: `tick` once the rows of connections have been told."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._untold: dict[int, Known] = {}
        self._unlinked: dict[int, Known] = {}
        self._ended: OrderedDict[SocketKey, Linked] = OrderedDict()
        self._latencies: OrderedDict[SocketKey, deque[float]] = OrderedDict()
        self._retried: OrderedDict[SocketKey, int] = OrderedDict()
        self._last_id = 0
        self.retries = Retries()

    @property
    def is_full(self) -> bool:
        """Whether what has changed is to be told now."""
        return len(self._untold) >= MAX_UNTOLD

    def make(self, head: HttpHead, number: int, protocol: RequestProtocol, method: str, **said: Any) -> Known:
        """A request with this number on its connection, which changed() tells."""
        self._last_id += 1
        row = Request(
            id=self._last_id,
            asked_at=self._clock.wall(head.time_ns),
            pid=None,
            process_start_time=None,
            comm=None,
            side="client" if head.egress else "server",
            protocol=protocol,
            method=method,
            netns=head.netns,
            local_port=head.local_port or None,
            remote=remote_of(head),
            **said,
        )
        return Known(row, owner_of_head(head), (head.socket, head.seen_ns), number, head.time_ns)

    def changed(self, known: Known) -> None:
        """It is new, or its row is another."""
        if not known.held:
            self._untold[known.row.id] = known

    def look_for_retry(self, known: Known) -> None:
        """Whether this repeats a request that failed, if that is not known yet."""
        if known.row.retry_of is None and (repeats := self.retries.repeated_by(known.row, known.owned, known.asked_ns)):
            known.row = replace(known.row, retry_of=repeats)
            self._retried[known.socket] = self._retried.get(known.socket, 0) + 1
            if len(self._retried) > MAX_TIMED:
                self._retried.popitem(last=False)

    def retried(self, key: SocketKey) -> int:
        """How many requests on a connection repeat others."""
        return self._retried.get(key, 0)

    def forget(self, known: Known) -> None:
        """It was none."""
        self._untold.pop(known.row.id, None)

    def give_up(self, known: Known) -> None:
        """A response may have come, and was not seen."""
        known.row = replace(known.row, error="unknown")
        known.raw = b""
        self.changed(known)

    def answered_ms(self, known: Known, head: HttpHead) -> float:
        """How long the response took that this head begins, which counts for its connection."""
        latency_ms = max(head.time_ns - known.asked_ns, 0) // 1000 / 1000
        latencies = self._latencies.get(known.socket)
        if latencies is None:
            latencies = self._latencies[known.socket] = deque(maxlen=LATENCIES_KEPT)
            if len(self._latencies) > MAX_TIMED:
                self._latencies.popitem(last=False)
        latencies.append(latency_ms)
        if head.egress:  # of workers who answers
            known.owned = _better(owner_of_head(head), known.owned)
        return latency_ms

    def median_ms(self, key: SocketKey) -> float | None:
        """Of the last response times on a connection."""
        latencies = self._latencies.get(key)
        if not latencies:
            return None
        ordered = sorted(latencies)
        return ordered[-(-len(ordered) // 2) - 1]

    def linked(self, key: SocketKey, row: Connection, owned: Owned) -> None:
        """The row of a connection that has ended."""
        self._ended[key] = Linked(row, owned)
        if len(self._ended) > MAX_WAITING:
            self._ended.popitem(last=False)

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

    def _link(self, known: Known, find: Callable[[SocketKey], Linked | None]) -> bool:
        if known.row.connection_id is not None:
            return False
        connection = self._ended.get(known.socket) or find(known.socket)
        if connection is None:
            return False
        known.row = replace(known.row, connection_id=connection.row.id, remote=connection.row.remote)
        known.owned = _better(known.owned, connection.owned)
        return True

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


def remote_of(head: HttpHead) -> RemoteEndpoint | None:
    """The far end; None where the socket is not known."""
    if not head.family:
        return None
    return RemoteEndpoint(address=address_of(head.family, head.remote_address), port=head.remote_port)


def owner_of_head(head: HttpHead) -> Owned:
    """Who speaks, as the kernel side knows it."""
    if head.owner_certainty == abi.OWNER_UNKNOWN or not head.owner_pid:
        return NOBODY
    key = ProcessKey(head.owner_pid, head.owner_start_boot_ns)
    return Owned(key, certainty(head.owner_certainty), head.owner_uid, head.owner_comm, 0)


def _better(known: Owned, other: Owned) -> Owned:
    """The surer of the two; of equals the one that is known."""
    order = ("unknown", "listener", "scanned", "exact")
    return other if order.index(other.certainty) > order.index(known.certainty) else known
