"""A stream for engines that only append: each row once, when it is over."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace

from nettop.model import events
from nettop.model.kinds import CONNECTIONS, DNS, KIND_OF_EVENT, LISTENERS, LOOKUPS, PROCESSES, REQUESTS, UDP, Kind

SETTLED: Final = timedelta(seconds=5)  # since an answer: one that is taken back or tells more comes at the next tick
MAX_HELD = 131_072  # rows of a kind that are not over, as many as the kernel's map has sockets
MAX_TOLD = 65_536  # rows without a number of which nothing more is told; twice what ends within a tick of a busy host
# Of those with numbers, a byte each of some millions: a late answer comes half a minute after a time-out was told, the
# end of a long response much later, and a busy host has 65,536 queries or requests within seconds.
NUMBERS_EACH, MAX_BLOCKS = 65_536, 64


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


class _ToldKeys:
    """Which rows were told, as far as that is known."""

    def __init__(self) -> None:
        self._keys: dict[Any, None] = {}

    def __contains__(self, key: Any) -> bool:
        return key in self._keys

    def add(self, key: Any) -> None:
        self._keys[key] = None
        if len(self._keys) > MAX_TOLD:
            del self._keys[next(iter(self._keys))]


class _ToldNumbers:
    """The same of rows whose keys are numbers that rise: the newest MAX_BLOCKS times NUMBERS_EACH."""

    def __init__(self) -> None:
        self._blocks: dict[int, bytearray] = {}

    def __contains__(self, number: Any) -> bool:
        block = self._blocks.get(number // NUMBERS_EACH)
        return block is not None and bool(block[number % NUMBERS_EACH])

    def add(self, number: Any) -> None:
        place, within = divmod(number, NUMBERS_EACH)
        block = self._blocks.get(place)
        if block is None:
            block = self._blocks[place] = bytearray(NUMBERS_EACH)
            if len(self._blocks) > MAX_BLOCKS:
                del self._blocks[min(self._blocks)]
        block[within] = 1


class _Held:
    """The rows of one kind that are not told yet."""

    def __init__(self, numbered: bool, over: Callable[[Any], bool], settles: bool) -> None:
        self._over = over
        self._settles = settles
        self._told: _ToldKeys | _ToldNumbers = _ToldNumbers() if numbered else _ToldKeys()
        self._open: dict[Hashable, events.AnyEvent] = {}
        self._settling: dict[Hashable, events.AnyEvent] = {}  # those that changed longest ago first

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
        self._told.add(key)
        return event


class Finals:
    """Each row once: when it is over, or as it is at the end of the run.

    Of queries, requests, look-ups and processes that is SETTLED after their last change. What is told as an increment
    stays as it is; what counts from the start (losses, other sockets) is told at its end. Every event gets its origin.
    """

    def __init__(self) -> None:
        self._origin: events.Origin | None = None
        self._held = {kind: _Held(kind.numbered, *over) for kind, over in _OVER.items()}
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
