"""UDP bytes: the kernel's records of sockets as rows."""

from typing import NamedTuple

from nettop.kernel import abi
from nettop.kernel.abi import ProcessKey, SocketRecord
from nettop.model.events import UdpChanged
from nettop.model.rows import UdpSocket
from nettop.text import comm_text
from nettop.tracking.clock import Clock


class _Known(NamedTuple):
    id: int
    seen_ns: int


class UdpTracker:
    """Takes records of UDP sockets, at their release and from the iterator."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[int, _Known] = {}  # by the socket's kernel address; bounded by the kernel's map
        self._older: dict[int, _Known] = {}  # of which the iterator found a newer one in its place: the end may follow
        self._last_id = 0

    def record(self, record: SocketRecord) -> UdpChanged:
        """The socket's row as it stands now."""
        known = self._identify(record)
        process = owner(record)
        row = UdpSocket(
            id=known.id,
            pid=process.pid if process else None,
            process_start_time=self._clock.wall_of_boot(process.start_boot_ns) if process else None,
            comm=comm_text(record.owner_comm) if process else None,
            netns=record.netns,
            tx_bytes=record.tx_bytes,
            rx_bytes=record.rx_bytes,
            closed=bool(record.closed),
        )
        return UdpChanged(time=self._clock.wall(record.time_ns), udp=row)

    def _identify(self, record: SocketRecord) -> _Known:
        for table in (self._known, self._older):
            known = table.get(record.socket)
            if known is not None and known.seen_ns == record.seen_ns:
                if record.closed:
                    del table[record.socket]
                return known
        self._last_id += 1
        fresh = _Known(self._last_id, record.seen_ns)
        if not record.closed:
            if record.socket in self._known:
                self._older[record.socket] = self._known[record.socket]
            self._known[record.socket] = fresh
        return fresh


def owner(record: SocketRecord) -> ProcessKey | None:
    """The one process that has used the socket; None if none is known or several have."""
    if record.owner_certainty == abi.OWNER_UNKNOWN or record.flags & abi.SOCKET_SHARED:
        return None
    return ProcessKey(record.owner_pid, record.owner_start_boot_ns)
