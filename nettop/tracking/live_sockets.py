"""Which sockets are alive, and what has been told of each: the same for TCP and UDP."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from nettop.kernel.abi import SocketRecord


class Known(Struct, frozen=True, gc=False):
    """What is known of a socket; trackers add what they tell of it."""

    seen_ns: int  # with its kernel address the socket's identity
    pass_ns: int  # when the pass that found it last began


_Known = TypeVar("_Known", bound=Known)


class LiveSockets(Generic[_Known]):
    """By the kernel address, which the kernel gives to a new socket within microseconds of the end of the last one.

    An end is told through a perf buffer, the living by a pass, and either may be read first. So a socket that the
    pass no longer finds, or in whose place it finds a newer one, is set aside: its end may be in a buffer that was
    read just before. If the end has not come by the next tick it was lost, and the socket has vanished.
    """

    def __init__(self) -> None:
        self._live: dict[int, _Known] = {}  # bounded by the kernel's map
        self._gone: dict[tuple[int, int], _Known] = {}  # set aside, by address and seen_ns

    def __iter__(self) -> Iterator[_Known]:
        """Those that are alive."""
        return iter(self._live.values())

    def items(self) -> Iterator[tuple[int, _Known]]:
        """The same with their addresses."""
        return iter(self._live.items())

    def at(self, address: int) -> _Known | None:
        """The one that lives at this address."""
        return self._live.get(address)

    def put(self, address: int, known: _Known) -> None:
        """What is known now of the one at this address."""
        self._live[address] = known

    def is_new(self, record: SocketRecord) -> bool:
        """Whether this socket has not been told yet."""
        return self._living(record) is None

    def find(self, record: SocketRecord) -> _Known | None:
        """What is known of a socket, alive or set aside."""
        return self._living(record) or self._gone.get((record.socket, record.seen_ns))

    def found(self, record: SocketRecord, pass_ns: int) -> _Known | None:
        """What is known of a socket that a pass found; another one at its address is set aside."""
        known = self._live.get(record.socket)
        if known is not None and known.seen_ns != record.seen_ns:
            self._set_aside(record.socket, pass_ns)
            return None
        return known

    def take(self, record: SocketRecord) -> _Known | None:
        """What is known of a socket that has ended, which is forgotten with that."""
        if self._living(record) is not None:
            return self._live.pop(record.socket)
        return self._gone.pop((record.socket, record.seen_ns), None)

    def take_older(self, record: SocketRecord) -> _Known | None:
        """What lived before at the address of a socket that has ended."""
        known = self._live.get(record.socket)
        return self._live.pop(record.socket) if known is not None and known.seen_ns < record.seen_ns else None

    def finish_pass(self, pass_ns: int, complete: bool) -> list[_Known]:
        """What has vanished. `complete` says that the pass reported every socket, changed or not."""
        lost = [key for key, known in self._gone.items() if known.pass_ns != pass_ns]
        vanished = [self._gone.pop(key) for key in lost]
        if complete:
            for address in [address for address, known in self._live.items() if known.pass_ns != pass_ns]:
                self._set_aside(address, pass_ns)
        return vanished

    def _living(self, record: SocketRecord) -> _Known | None:
        known = self._live.get(record.socket)
        return known if known is not None and known.seen_ns == record.seen_ns else None

    def _set_aside(self, address: int, pass_ns: int) -> None:
        known = self._live.pop(address)
        self._gone[address, known.seen_ns] = replace(known, pass_ns=pass_ns)
