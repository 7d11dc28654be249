"""Sockets that are not TCP's: the kernel's records as rows."""

import itertools
from collections.abc import Container
from datetime import datetime

from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import ProcessKey, SocketRecord
from nettop.model.events import OtherChanged, UdpChanged
from nettop.model.rows import OtherSocket, UdpFlow
from nettop.text import comm_text
from nettop.tracking.clock import Clock
from nettop.tracking.live_sockets import Known, LiveSockets
from nettop.tracking.quic import FlowKey, Greeting
from nettop.tracking.udp_flows import UdpFlows

_MODULUS = 1 << 32  # of the kernel's counters


_Socket = UdpFlow | OtherSocket
Changed = UdpChanged | OtherChanged


class _Live(Known, frozen=True, gc=False):
    row: _Socket
    owner: ProcessKey  # of several that have sent on it the first
    unlisted: tuple[int, int, int]  # queries, answered, failed


class UdpTracker:
    """Takes records of UDP sockets: `released` at the perf events, `live` and `finish_pass` at each tick.

    Or, without `flows`, of those that are neither TCP's nor UDP's.
    """

    def __init__(self, clock: Clock, flows: UdpFlows | None = None) -> None:
        self._clock = clock
        self._flows = flows
        self._numbers = itertools.count(1) if flows is None else flows.numbers
        self._sockets: LiveSockets[_Live] = LiveSockets()

    def newly_unlisted(self, record: SocketRecord) -> dict[str, int]:
        """DNS messages since the socket's last record that were counted only; empty if there are none.

        Ask before the record itself is told.
        """
        now = _unlisted(record)
        if now == _NONE:
            return {}
        known = self._sockets.find(record)
        before = known.unlisted if known else _NONE
        now = _furthest(before, now)
        if now == before:
            return {}
        differences = ((after - earlier) % _MODULUS for after, earlier in zip(now, before, strict=True))
        return dict(zip(("queries", "answered", "failed"), differences, strict=True))

    def released(self, record: SocketRecord) -> Changed:
        """The socket's row as its end left it."""
        return self._told(record, self._row(record, self._sockets.take(record), closed=True))

    def live(self, record: SocketRecord, pass_ns: int) -> Changed:
        """The socket's row as the pass that began at pass_ns found it."""
        known = self._sockets.found(record, pass_ns)
        row = self._row(record, known, closed=False)
        told = _unlisted(record) if known is None else _furthest(known.unlisted, _unlisted(record))
        self._sockets.put(record.socket, _Live(record.seen_ns, pass_ns, row, _owner_of(record), told))
        return self._told(record, row)

    def greeted(self, flow: FlowKey, greeting: Greeting, now: datetime) -> list[Changed]:
        """What a client has said on a flow, where no row has told it since."""
        known = self._sockets.at(flow.socket)
        if known is None or known.seen_ns != flow.seen_ns or self._flows is None or not isinstance(known.row, UdpFlow):
            return []
        if not self._flows.is_first(known.row, flow):
            return list(self._flows.greeted(flow, greeting, now))
        row = self._flows.greeted_first(known.row, greeting)
        if row == known.row:
            return []
        self._sockets.put(flow.socket, replace(known, row=row))
        return [_changed(now, row)]

    def lose(self, record: SocketRecord) -> list[Changed]:
        """A socket that is not to be looked at any longer, with its counters as they were known last."""
        known = self._sockets.take(record)
        if self._flows is not None:
            self._flows.lose(record)
        return [] if known is None else [self._told(record, replace(known.row, closed=True))]

    def finish_pass(self, pass_ns: int, complete: bool) -> list[Changed]:
        """After the last record of a pass: what is gone though its release was lost, with its counters as last seen.

        `complete` says that the pass reported every socket, changed or not.
        """
        now = self._clock.wall(pass_ns)
        vanished = self._sockets.finish_pass(pass_ns, complete)
        if self._flows is not None:
            self._flows.vanish({known.row.id for known in vanished})
        return [_changed(now, replace(known.row, closed=True)) for known in vanished]

    def is_new(self, record: SocketRecord) -> bool:
        """Whether this socket has not been told yet."""
        return self._sockets.is_new(record)

    def owned_by(self, processes: Container[ProcessKey | None]) -> bool:
        """Whether one of these has a socket."""
        return any(known.owner in processes for known in self._sockets)

    def _row(self, record: SocketRecord, known: _Live | None, closed: bool) -> _Socket:
        process = owner(record)
        row = OtherSocket(
            id=next(self._numbers) if known is None else known.row.id,
            pid=process.pid if process else None,
            process_start_time=self._clock.wall_of_boot(process.start_boot_ns) if process else None,
            comm=comm_text(record.owner_comm) if process else None,
            netns=record.netns,
            tx_bytes=record.tx_bytes,
            rx_bytes=record.rx_bytes,
            rx_dropped=record.rx_dropped,
            closed=closed,
        )
        return row if self._flows is None else self._flows.first(record, process, row)

    def _told(self, record: SocketRecord, row: _Socket) -> Changed:
        return _changed(self._clock.wall(record.time_ns), row)


def _changed(time: datetime, row: _Socket) -> Changed:
    return UdpChanged(time=time, udp=row) if isinstance(row, UdpFlow) else OtherChanged(time=time, other=row)


_NONE = 0, 0, 0


def _unlisted(record: SocketRecord) -> tuple[int, int, int]:
    return record.unlisted_queries, record.unlisted_answered, record.unlisted_failed


def _furthest(before: tuple[int, int, int], now: tuple[int, int, int]) -> tuple[int, int, int]:
    """Counts never fall: the kernel takes an answer back that it counted and then had no room for, a moment later."""
    queries, answered, failed = (
        after if (after - earlier) % _MODULUS < _MODULUS // 2 else earlier
        for earlier, after in zip(before, now, strict=True)
    )
    return queries, answered, failed


def owner(record: SocketRecord) -> ProcessKey | None:
    """The one process that has used the socket; None if none is known or several have."""
    if record.owner_certainty == abi.OWNER_UNKNOWN or record.flags & abi.SOCKET_SHARED:
        return None
    return _owner_of(record)


def _owner_of(record: SocketRecord) -> ProcessKey:
    return ProcessKey(record.owner_pid, record.owner_start_boot_ns)
