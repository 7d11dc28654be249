"""When to look through every process's open files for the owners of sockets."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from nettop.kernel import abi
from nettop.kernel.abi import SocketRecord

RESCAN_NS = 10_000_000_000  # how often to look anyway: owners pass their sockets on

_Key = tuple[int, int]  # a record's socket and seen_ns


@dataclass
class _Sought:
    """A socket without an owner."""

    due_ns: int
    pause_ns: int


class OwnerSearch:
    """Which sockets have no owner, and when to look for it again.

    An owner may come late: a connection waits in its listener's queue until somebody accepts it, and the kernel tells
    nobody of that. So each socket is looked for when it is first seen, after one interval, and after twice as long each
    time, and all of them with the rescans.
    """

    def __init__(self, interval_ns: int, now_ns: int) -> None:
        """A scan has just been made."""
        self._interval_ns = interval_ns
        self._next_rescan_ns = now_ns + RESCAN_NS
        self._sought: dict[_Key, _Sought] = {}

    def is_due(self, records: Iterable[SocketRecord], now_ns: int) -> bool:
        """Once a tick, with what has changed: whether to scan now."""
        due = now_ns >= self._next_rescan_ns
        if due:
            self._sought.clear()  # the living come again with a change; others would add up
            self._next_rescan_ns = now_ns + RESCAN_NS
        self._note(records, now_ns)
        for sought in self._sought.values():
            if now_ns >= sought.due_ns:
                sought.due_ns = now_ns + sought.pause_ns
                sought.pause_ns *= 2
                due = True
        return due

    def scanned(self, records: Iterable[SocketRecord]) -> None:
        """What a scan changed."""
        for record in records:
            if record.owner_certainty != abi.OWNER_UNKNOWN:
                self._sought.pop((record.socket, record.seen_ns), None)

    def ended(self, sockets: Collection[_Key]) -> None:
        """Sockets that need no owner any more."""
        for key in sockets:
            self._sought.pop(key, None)

    def _note(self, records: Iterable[SocketRecord], now_ns: int) -> None:
        for record in records:
            key = (record.socket, record.seen_ns)
            if record.owner_certainty != abi.OWNER_UNKNOWN:
                self._sought.pop(key, None)
            elif key not in self._sought:
                self._sought[key] = _Sought(now_ns, self._interval_ns)
