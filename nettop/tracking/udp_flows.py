"""With whom UDP sockets exchange datagrams: a row for each remote end."""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import ProcessKey, SocketRecord
from nettop.model.events import UdpChanged
from nettop.model.rows import OtherSocket, RemoteEndpoint, UdpFlow
from nettop.tracking.addresses import address_text, local_end
from nettop.tracking.clock import Clock
from nettop.tracking.names import NameTable
from nettop.tracking.quic import FlowKey, Greeting

IDLE_NS = 60_000_000_000  # so long a flow that is silent keeps its place in the kernel's table
_Socket = tuple[int, int]  # its kernel address and seen_ns


class _First(NamedTuple):
    """Whom a socket talked to first, and what was said there."""

    remote: RemoteEndpoint
    greeting: Greeting | None


class _Flow:
    """A further remote end of a socket."""

    __slots__ = ("changed_ns", "raw", "row")

    def __init__(self, row: UdpFlow, raw: bytes, changed_ns: int) -> None:
        self.row, self.raw, self.changed_ns = row, raw, changed_ns


class _Talker:
    """A socket that has more than one remote end."""

    __slots__ = ("changed", "flows", "others", "past", "process", "released", "rest", "row")

    def __init__(self) -> None:
        self.row: UdpFlow  # that of the first remote end
        self.process: ProcessKey | None = None
        self.others = 0, 0  # bytes sent to and received from all further ones
        self.past = 0, 0  # of these, of flows that have left the kernel's table
        self.flows: dict[bytes, _Flow] = {}  # by their keys there
        self.rest: UdpFlow | None = None
        self.changed = True
        self.released = False


class UdpFlows:
    """The first remote end of a socket is in its record, further ones are in a table of the kernel's: see tell()."""

    def __init__(
        self, clock: Clock, names: NameTable, greeting: Callable[[FlowKey], Greeting | None] = lambda _: None
    ) -> None:
        self._clock = clock
        self._names = names
        self._greeting = greeting
        self.numbers = itertools.count(1)
        self._talkers: dict[_Socket, _Talker] = {}
        self._first: dict[int, _First] = {}  # by the ids of rows that are open

    def first(self, record: SocketRecord, process: ProcessKey | None, row: OtherSocket) -> UdpFlow:
        """The row of a socket with its first remote end, which one that was only refused something does not have."""
        first = self._first.get(row.id)
        if first is None and any(record.remote_address):
            key = FlowKey(record.socket, record.seen_ns, record.remote_address, record.remote_port)
            first = self._first[row.id] = self._met(process, record.netns, key)
        if row.closed:
            self._first.pop(row.id, None)
        # Of more than 15 arguments by name Python 3.11 makes a dictionary, which takes five times as long.
        flow = UdpFlow(
            id=row.id,
            pid=row.pid,
            process_start_time=row.process_start_time,
            comm=row.comm,
            netns=row.netns,
            tx_bytes=max(row.tx_bytes - record.others_tx_bytes, 0),
            rx_bytes=max(row.rx_bytes - record.others_rx_bytes, 0),
            rx_dropped=row.rx_dropped,
            closed=row.closed,
            socket=row.id,
            local=local_end(record),
            remote=None if first is None else first.remote,
            tx_packets=record.tx_packets,
            rx_packets=record.rx_packets,
        )
        self._note_others(record, process, flow)
        return flow if first is None else _greeted(flow, first.greeting)

    def is_first(self, row: UdpFlow, flow: FlowKey) -> bool:
        """Whether a flow is that of a socket's row."""
        remote = row.remote
        return remote is not None and (remote.address, remote.port) == (address_text(6, flow.address), flow.port)

    def greeted_first(self, row: UdpFlow, greeting: Greeting) -> UdpFlow:
        """A socket's row, with what a client has said since it was told."""
        if row.remote is None:
            return row
        first = self._first[row.id] = _First(greeting.named(row.remote), greeting)
        return _greeted(replace(row, remote=first.remote), greeting)

    def greeted(self, key: FlowKey, greeting: Greeting, now: datetime) -> Iterable[UdpChanged]:
        """The same of a further remote end, if that has a row."""
        talker = self._talkers.get((key.socket, key.seen_ns))
        flow = None if talker is None else talker.flows.get(abi.UDP_FLOW_KEY.pack(*key))
        if flow is None or flow.row.remote is None:
            return
        row = _greeted(replace(flow.row, remote=greeting.named(flow.row.remote)), greeting)
        if row != flow.row:
            flow.row = row
            yield UdpChanged(time=now, udp=row)

    def lose(self, record: SocketRecord) -> None:
        """A socket that is not to be looked at any longer."""
        talker = self._talkers.get((record.socket, record.seen_ns))
        if talker is not None:
            self.vanish({talker.row.id})

    def vanish(self, numbers: Collection[int]) -> None:
        """The sockets with these rows are gone."""
        for number in numbers:
            self._first.pop(number, None)
        for talker in self._talkers.values():
            if talker.row.id in numbers:
                talker.released = talker.changed = True

    def tell(self, table: Mapping[bytes, bytes], now_ns: int) -> tuple[list[UdpChanged], list[bytes]]:
        """After the records of a tick: rows of further remote ends, and keys to remove from the kernel's table."""
        output: list[UdpFlow] = []
        for key, raw in table.items():
            decoded = abi.UdpFlowKey(*abi.UDP_FLOW_KEY.unpack(key))
            talker = self._talkers.get((decoded.socket, decoded.seen_ns))
            if talker is None:  # its record will come
                continue
            flow = talker.flows.get(key)
            if flow is not None and flow.raw == raw:
                continue
            row = self._further(talker, decoded, raw, flow)
            talker.flows[key] = _Flow(row, raw, now_ns)
            talker.changed = True
            output.append(row)
        gone: list[bytes] = []
        for socket, talker in list(self._talkers.items()):
            output.extend(self._finish(talker, now_ns, gone))
            if talker.released:
                del self._talkers[socket]
        time = self._clock.wall(now_ns)
        return [UdpChanged(time=time, udp=row) for row in output], gone

    def _finish(self, talker: _Talker, now_ns: int, gone: list[bytes]) -> Iterable[UdpFlow]:
        """The flows that are over, and what is in none of them."""
        for key, flow in list(talker.flows.items()):
            if talker.released or now_ns - flow.changed_ns >= IDLE_NS:
                gone.append(key)
                del talker.flows[key]
                talker.past = talker.past[0] + flow.row.tx_bytes, talker.past[1] + flow.row.rx_bytes
                yield replace(flow.row, closed=True)
        if not talker.changed:
            return
        talker.changed = False
        left = [
            max(of_all - past - sum(getattr(flow.row, name) for flow in talker.flows.values()), 0)
            for of_all, past, name in zip(talker.others, talker.past, ("tx_bytes", "rx_bytes"), strict=True)
        ]
        if any(left) or talker.rest is not None:
            talker.rest = replace(
                talker.row,
                id=talker.rest.id if talker.rest else next(self.numbers),
                remote=None,
                tx_bytes=left[0],
                rx_bytes=left[1],
                rx_dropped=0,
                tx_packets=None,
                rx_packets=None,
                closed=talker.released,
            )
            yield talker.rest

    def _note_others(self, record: SocketRecord, process: ProcessKey | None, row: UdpFlow) -> None:
        key = record.socket, record.seen_ns
        others = record.others_tx_bytes, record.others_rx_bytes
        if not any(others):
            return
        talker = self._talkers.get(key)
        if talker is None:
            talker = self._talkers[key] = _Talker()
        talker.row, talker.process, talker.others = row, process, others
        talker.changed, talker.released = True, row.closed

    def _further(self, talker: _Talker, key: abi.UdpFlowKey, raw: bytes, known: _Flow | None) -> UdpFlow:
        first, counts = talker.row, abi.UdpFlow(*abi.UDP_FLOW.unpack(raw))
        if known is None:
            met = self._met(talker.process, first.netns, FlowKey(key.socket, key.seen_ns, key.address, key.port))
            before = _greeted(replace(first, id=next(self.numbers), remote=met.remote), met.greeting)
        else:
            before = known.row
        return replace(
            first,
            id=before.id,
            remote=before.remote,
            quic_version=before.quic_version,
            tls=before.tls,
            tx_bytes=counts.tx_bytes,
            rx_bytes=counts.rx_bytes,
            tx_packets=counts.tx_packets,
            rx_packets=counts.rx_packets,
            rx_dropped=0,
            closed=False,
        )

    def _met(self, process: ProcessKey | None, netns: int, key: FlowKey) -> _First:
        """Named only if the owner looked it up or asked it for its name: others' look-ups say nothing of a caller."""
        address = address_text(6, key.address)
        name = self._names.find(process, netns, address)
        remote = RemoteEndpoint(address=address, port=key.port)
        if name is not None and name.source == "process":
            remote = RemoteEndpoint(address=address, port=key.port, name=name.name, name_source=name.source)
        greeting = self._greeting(key)
        return _First(remote if greeting is None else greeting.named(remote), greeting)


def _greeted(row: UdpFlow, greeting: Greeting | None) -> UdpFlow:
    """With what its client has said."""
    return row if greeting is None else replace(row, quic_version=greeting.version, tls=greeting.tls)
