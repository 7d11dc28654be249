"""Which listening socket a connection came in through.

The kernel leaves no trace of that in a connection. Network namespace, port, address, family and time say it, unless
several listeners share all of these (SO_REUSEPORT, SO_BINDTODEVICE).
"""

from collections.abc import Iterable

from nettop.kernel.abi import SocketRecord
from nettop.model.rows import Holder, Listener
from nettop.tracking.addresses import is_mapped
from nettop.tracking.owners import owner_of


class Listening:
    """One listening socket: what the kernel said of it last, and what came in through it."""

    def __init__(self, record: SocketRecord, number: int) -> None:
        self.record = record
        self.number = number
        self.owned = owner_of(record)
        self.group = 0  # kernel address of its group of SO_REUSEPORT, which is no longer there when it ends
        self.address = _plain_address(record.local_address)
        self.holders: tuple[Holder, ...] | None = None  # no scan of the open files has told yet
        self.holders_cut = 0
        self.accepted = self.open = 0
        self.certain = True  # until something came in that may have come through another one
        self.accepted_then = self.dropped_then = 0  # when rates were computed last
        self.over = False
        self.closed_ns = 0  # 0: not yet, or its end was not seen
        self.row: Listener | None = None  # as it was told last

    @property
    def is_on_all_addresses(self) -> bool:
        """Whether it is bound to the wildcard address."""
        return not any(self.address)

    def listened_at(self, time_ns: int) -> bool:
        """Whether it listened then, in nanoseconds of CLOCK_MONOTONIC; 0 is before nettop."""
        return self.record.opened_ns <= time_ns and (not self.closed_ns or time_ns <= self.closed_ns)


class ListeningPorts:
    """Listeners by their ports, and what may have come in through which of them."""

    def __init__(self, listeners: Iterable[Listening] = ()) -> None:
        self._by_port: dict[tuple[int, int], list[Listening]] = {}
        for listening in listeners:
            self.add(listening)

    def has_one_on(self, netns: int, port: int) -> bool:
        """Whether somebody listens on this port."""
        return any(not listening.over for listening in self._by_port.get((netns, port), ()))

    def add(self, listening: Listening) -> None:
        """One more."""
        record = listening.record
        self._by_port.setdefault((record.netns, record.local_port), []).append(listening)

    def remove(self, listening: Listening) -> None:
        """One less."""
        place = listening.record.netns, listening.record.local_port
        left = [other for other in self._by_port.get(place, ()) if other is not listening]
        if left:
            self._by_port[place] = left
        else:
            self._by_port.pop(place, None)

    def of_connection(self, record: SocketRecord) -> list[Listening]:
        """Those through which a connection may have come: one as a rule, none if its listener is not known."""
        there = self._by_port.get((record.netns, record.local_port), ())
        then = [listening for listening in there if listening.listened_at(record.opened_ns)]
        # The socket of a connection is of its listener's family, whichever its addresses are of.
        of_family = [listening for listening in then if listening.record.family == record.family]
        address = _plain_address(record.local_address)
        return _on_address(of_family, address) or _on_address(then, address)

    def of_port(self, netns: int, port: int, family: int) -> list[Listening]:
        """Those on this port, of this family of sockets if there are such."""
        there = self._by_port.get((netns, port), [])
        return [listening for listening in there if listening.record.family == family] or there


def _on_address(listeners: list[Listening], address: bytes) -> list[Listening]:
    """The kernel prefers those that are bound to the address."""
    exact = [listening for listening in listeners if listening.address == address]
    return exact or [listening for listening in listeners if listening.is_on_all_addresses]


def _plain_address(raw: bytes) -> bytes:
    """IPv4, mapped or not, in the first four bytes: a dual-stack listener's child may be either."""
    return raw[12:] + bytes(12) if is_mapped(raw) else raw
