"""A stream for engines that only append: each row once, when it is over."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace

from nettop.model import events
from nettop.model.kinds import CONNECTIONS, DNS, KIND_OF_EVENT, LISTENERS, LOOKUPS, PROCESSES, REQUESTS, UDP, Kind

SETTLED: Final = timedelta(seconds=5)  # since an answer: one that is taken back or tells more comes at the next tick
MAX_HELD = 131_072  # rows of a kind that are not over, as many as the kernel's map has sockets
MAX_TOLD = 65_536  # rows of a kind of which nothing more is told; twice what comes within a tick of a busy host


def _answered(row: Any) -> bool:
    """Whether a request has its outcome: the status of gRPC comes behind the response."""
    return not row.pending and (row.protocol != "grpc" or row.grpc_status is not None or row.error is not None)


# Kinds whose rows have an end, and whether they may change for a moment afterwards.
_OVER: dict[Kind[Any], tuple[Callable[[Any], bool], bool]] = {
    CONNECTIONS: (CONNECTIONS.final, False),
    UDP: (UDP.final, False),
    LISTENERS: (LISTENERS.final, False),
    PROCESSES: (lambda row: row.exited_at is not None, True),
    DNS: (lambda row: row.status != "pending", True),
    REQUESTS: (_answered, True),
    LOOKUPS: (lambda row: row.status != "pending", True),  # the record of one that is unknown may still come
}


class _Held:
    """The rows of one kind that are not told yet."""

    def __init__(self, over: Callable[[Any], bool], settles: bool) -> None:
        self._over = over
        self._settles = settles
        self._open: dict[Hashable, events.AnyEvent] = {}
        self._settling: dict[Hashable, events.AnyEvent] = {}  # those that changed longest ago first
        self._told: dict[Hashable, None] = {}

    def take(self, key: Hashable, row: Any, event: events.AnyEvent) -> Iterator[events.AnyEvent]:
        """What is to be told now."""
        if key in self._told:
            return
        self._open.pop(key, None)
        self._settling.pop(key, None)
        if not self._over(row):
            self._open[key] = event
            yield from self._beyond(self._open)
        elif self._settles:
            self._settling[key] = event
            yield from self._beyond(self._settling)
        else:
            yield self._tell(key, event)

    def settled(self, now: datetime) -> Iterator[events.AnyEvent]:
        """What has not changed for a while."""
        while self._settling:
            key, event = next(iter(self._settling.items()))
            if event.time + SETTLED > now:
                return
            del self._settling[key]
            yield self._tell(key, event)

    def rest(self) -> Iterator[events.AnyEvent]:
        """All that is left, as it is."""
        yield from self._settling.values()
        yield from self._open.values()

    def _beyond(self, held: dict[Hashable, events.AnyEvent]) -> Iterator[events.AnyEvent]:
        if len(held) > MAX_HELD:
            key = next(iter(held))
            yield self._tell(key, held.pop(key))

    def _tell(self, key: Hashable, event: events.AnyEvent) -> events.AnyEvent:
        self._told[key] = None
        if len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]
        return event


class Finals:
    """Each row once: when it is over, or as it is at the end of the run.

    Of queries, requests, look-ups and processes that is SETTLED after their last change. What is told as an increment
    stays as it is; what counts from the start (losses, other sockets) is told at its end. Every event gets its origin.
    """

    def __init__(self) -> None:
        self._origin: events.Origin | None = None
        self._held = {kind: _Held(*over) for kind, over in _OVER.items()}
        self._others: dict[int, events.AnyEvent] = {}
        self._losses: events.AnyEvent | None = None
        self._tick: events.AnyEvent | None = None

    def take(self, event: events.AnyEvent) -> Iterator[events.AnyEvent]:
        """What is to be told after this event."""
        if isinstance(event, events.Start):
            self._origin = events.Origin(
                host=event.host.name, host_id=event.host.id, boot_id=event.host.boot_id, started_at=event.time
            )
        for told in self._told(event):
            yield told if self._origin is None else replace(told, origin=self._origin)

    def _told(self, event: events.AnyEvent) -> Iterable[events.AnyEvent]:
        held = self._held.get(KIND_OF_EVENT[type(event)]) if type(event) in KIND_OF_EVENT else None
        if held is not None:
            kind = KIND_OF_EVENT[type(event)]
            row = getattr(event, kind.told)
            return held.take(kind.key(row), row, event)
        match event:
            case events.Tick():
                self._tick = event
                return [told for kind in self._held.values() for told in kind.settled(event.time)]
            case events.LossesChanged():
                self._losses = event
                return ()
            case events.OtherChanged(other=row):
                self._others.pop(row.id, None)
                if row.closed:
                    return (event,)
                self._others[row.id] = event
                return ()
            case events.End():
                return self._rest(event)
        return (event,)

    def _rest(self, end: events.End) -> Iterator[events.AnyEvent]:
        for held in self._held.values():
            yield from held.rest()
        yield from self._others.values()
        yield from filter(None, (self._losses, self._tick))
        yield end
