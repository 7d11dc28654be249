"""Remote hosts: what connections, UDP flows and network interfaces say about an address, added up as it comes."""

import ipaddress
import socket
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Self

from msgspec import Struct

from nettop.model.rows import (
    MAX_COUNT,
    OWN_NAMES,
    AddressScope,
    Connection,
    HostPackets,
    InterfacePackets,
    Reasons,
    RemoteEndpoint,
    RemoteHost,
    UdpFlow,
)
from nettop.model.table import IN_TURN, BoundedTable, Keeping

PROCESSES_NAMED = 16  # per host: more than fit into a line
UNWANTED = ("NO_SOCKET", "IP_NOPROTO")  # enum skb_drop_reason: nobody listens there, nobody knows that protocol
NAMES_KEPT = 8  # per host; a content network's address has hundreds
INTERFACES_KEPT = 16  # per host; packets pass three or four on their way into a container
ROUND_TRIPS_COUNTED = 250  # of the connections opened last: a proxy has 50,000 to one host, which would take 10 ms
MAX_OWN_ADDRESSES = 8192  # of all network namespaces; each container has one or two

_SCOPES: Mapping[AddressScope, tuple[str, ...]] = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    # the unspecified address is that of a neighbour that has none yet (RFC 4862 section 5.4, RFC 2131 section 4.1)
    "link": (
        "0.0.0.0/32", "::/128", "224.0.0.0/24", "255.255.255.255/32", "169.254.0.0/16", "fe80::/10", "ff01::/16",
        "ff02::/16",
    ),
    # RFC 1918, RFC 6598 section 7, RFC 4193, and groups of the same reach: RFC 2365 section 6, RFC 7346 section 2
    "private": (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "239.0.0.0/8", "fc00::/7", "ff04::/16",
        "ff05::/16", "ff08::/16",
    ),
}  # fmt: skip


def _networks(version: int) -> tuple[tuple[AddressScope, int, int], ...]:
    """With their masks and prefixes."""
    every = ((scope, ipaddress.ip_network(each)) for scope, networks in _SCOPES.items() for each in networks)
    return tuple(
        (scope, int(each.netmask), int(each.network_address)) for scope, each in every if each.version == version
    )


_NETWORKS = {socket.AF_INET: _networks(4), socket.AF_INET6: _networks(6)}


@lru_cache(maxsize=32_768)  # some 5 MB
def scope_of(address: str) -> AddressScope:
    """How far away an address is, by itself. What is no address is public.

    The module ipaddress takes five to ten times as long, which a flood from many addresses makes a tenth of a CPU.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        value = int.from_bytes(socket.inet_pton(family, address.partition("%")[0]))
    except (OSError, ValueError):
        return "public"
    for scope, mask, prefix in _NETWORKS[family]:
        if value & mask == prefix:
            return scope
    return "public"


class HostKey(Struct, frozen=True, gc=False):
    """A remote address, which means something in one network namespace."""

    netns: int
    address: str

    def __deepcopy__(self, _memo: object) -> Self:
        """As of a row: nothing changes it."""
        return self


class _Sums:
    """What is added up for one host."""

    __slots__ = (
        "accepted", "comms", "failed", "interfaces", "names", "open", "packets", "pids", "retransmits", "rx_bytes",
        "rx_packets", "ticked", "tx_bytes", "tx_packets", "udp_flows", "unwanted",
    )  # fmt: skip

    def __init__(self) -> None:
        self.accepted = self.failed = self.retransmits = self.udp_flows = 0
        self.tx_bytes = self.rx_bytes = self.unwanted = 0
        self.tx_packets: int | None = None
        self.rx_packets: int | None = None
        self.open: dict[int, Connection] = {}
        self.pids: dict[int, None] = {}  # sets that keep the order in which they were used last
        self.comms: dict[str, None] = {}
        self.names: dict[str, str | None] = {}  # with their source
        self.interfaces: dict[int, InterfacePackets] = {}
        self.ticked = 0, 0, 0

    @property
    def received(self) -> InterfacePackets | None:
        """By the interface that received most."""
        return max(self.interfaces.values(), key=lambda each: each.packets, default=None)

    @property
    def all_rx_packets(self) -> int | None:
        """As received by an interface, else as received by sockets."""
        most = self.received
        return self.rx_packets if most is None else most.packets


class Hosts:
    """Takes what changes; rows() are those of the snapshot. Hosts with nothing open or moving are bounded by `most`."""

    def __init__(self, most: int, ended: Callable[[RemoteHost], bool], keeping: Keeping = IN_TURN) -> None:
        self.table: BoundedTable[HostKey, RemoteHost] = BoundedTable(ended, most, self._forget, keeping)
        self._sums: dict[HostKey, _Sums] = {}
        self.tells_unwanted = False  # whether the kernel says which packets no socket takes
        self._own: set[HostKey] = set()
        self._changed: dict[HostKey, None] = {}  # sets that keep their order
        self._moving: dict[HostKey, None] = {}

    def connection(self, before: Connection | None, row: Connection) -> None:
        """A new version of a connection's row."""
        key = HostKey(row.netns, row.remote.address)
        sums = self._changing(key)
        if row.state == "closed":
            sums.open.pop(row.id, None)
            if before is None or before.state != "closed":
                sums.failed += row.failed_to_connect
        else:
            sums.open[row.id] = row
        if before is None:
            sums.tx_bytes += row.tx_bytes - row.tx_bytes_before_start
            sums.rx_bytes += row.rx_bytes - row.rx_bytes_before_start
            sums.retransmits += row.retransmits
            sums.accepted += row.direction == "inbound" and not row.opened_before_start
            self._learn_own(row.netns, row.local.address)
        else:
            sums.tx_bytes += row.tx_bytes - before.tx_bytes
            sums.rx_bytes += row.rx_bytes - before.rx_bytes
            sums.retransmits += row.retransmits - before.retransmits
        _count_packets(sums, before, row)
        if before is None or before.pid != row.pid or before.remote is not row.remote:
            _note(sums, row, row.remote)

    def udp(self, before: UdpFlow | None, row: UdpFlow) -> None:
        """A new version of a flow's row."""
        if row.remote is None:
            return
        sums = self._changing(HostKey(row.netns, row.remote.address))
        sums.udp_flows += (not row.closed) - (before is not None and not before.closed)
        sums.tx_bytes += row.tx_bytes - (before.tx_bytes if before else 0)
        sums.rx_bytes += row.rx_bytes - (before.rx_bytes if before else 0)
        _count_packets(sums, before, row)
        if before is None or before.pid != row.pid or before.remote is not row.remote:
            _note(sums, row, row.remote)
        if before is None and row.local is not None and row.local.address == row.remote.address:
            self._learn_own(row.netns, row.local.address)

    def packets(self, row: HostPackets) -> None:
        """An interface has received packets."""
        sums = self._changing(HostKey(row.netns, row.address))
        known = sums.interfaces.get(row.ifindex)
        if known is None:
            if len(sums.interfaces) >= INTERFACES_KEPT:
                return
            known = InterfacePackets(ifindex=row.ifindex, interface=row.interface)
        sums.interfaces[row.ifindex] = InterfacePackets(
            ifindex=row.ifindex,
            interface=row.interface,
            packets=_bounded(known.packets + row.packets),
            bytes=_bounded(known.bytes + row.bytes),
            syns=_bounded(known.syns + row.syns),
        )

    def drops(self, netns: int, address: str, reasons: Reasons) -> None:
        """Packets from there, or to there, that this host dropped and that no known socket has."""
        unwanted = sum(reasons.get(reason, 0) for reason in UNWANTED)
        if unwanted:
            self._changing(HostKey(netns, address)).unwanted += unwanted

    def tick(self, seconds: float) -> None:
        """An interval is over: rates."""
        moved, self._moving = self._moving, {}
        for key in (*self._changed, *(key for key in moved if key not in self._changed)):
            sums = self._sums[key]
            now = sums.tx_bytes, sums.rx_bytes, sums.all_rx_packets or 0
            then, sums.ticked = sums.ticked, now
            tx = max(round((now[0] - then[0]) / seconds, 1), 0.0)
            rx = max(round((now[1] - then[1]) / seconds, 1), 0.0)
            packets = max(round((now[2] - then[2]) / seconds, 1), 0.0)
            if tx or rx or packets:
                self._moving[key] = None
            self.table.put(key, self._row(key, sums, (tx, rx, packets)))
        self._changed.clear()

    def rows(self) -> dict[HostKey, RemoteHost]:
        """All, with the rates of the last tick."""
        for key in self._changed:
            known = self.table.rows.get(key)
            rates = (known.tx_bytes_per_s, known.rx_bytes_per_s, known.rx_packets_per_s) if known else (0.0, 0.0, 0.0)
            self.table.put(key, self._row(key, self._sums[key], rates))
        return self.table.rows

    def _changing(self, key: HostKey) -> _Sums:
        self._changed[key] = None
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = _Sums()
        return sums

    def _forget(self, key: HostKey, _row: RemoteHost) -> None:
        del self._sums[key]
        self._changed.pop(key, None)
        self._moving.pop(key, None)

    def _learn_own(self, netns: int, address: str) -> None:
        key = HostKey(netns, address)
        if key not in self._own and len(self._own) < MAX_OWN_ADDRESSES:
            self._own.add(key)
            if key in self._sums:
                self._changed[key] = None

    def _row(self, key: HostKey, sums: _Sums, rates: tuple[float, float, float]) -> RemoteHost:
        name = next(reversed(sums.names), None)
        received = sums.received
        packets = sums.all_rx_packets
        scope = scope_of(key.address)
        if scope != "loopback" and key in self._own:
            scope = "host"
        return RemoteHost(
            netns=key.netns,
            address=key.address,
            scope=scope,
            name=name,
            name_source=None if name is None else sums.names[name],  # type: ignore[arg-type]
            names=tuple(reversed(sums.names))[1:],
            pids=tuple(sums.pids),
            comms=tuple(sums.comms),
            connections=len(sums.open),
            accepted=sums.accepted,
            failed=sums.failed,
            udp_flows=_bounded(sums.udp_flows),
            tx_bytes=_bounded(sums.tx_bytes),
            rx_bytes=_bounded(sums.rx_bytes),
            tx_bytes_per_s=rates[0],
            rx_bytes_per_s=rates[1],
            tx_packets=None if sums.tx_packets is None else _bounded(sums.tx_packets),
            rx_packets=None if packets is None else _bounded(packets),
            rx_packets_per_s=rates[2],
            srtt_ms=_round_trip(sums.open) if sums.open else None,
            retransmits=_bounded(sums.retransmits),
            unwanted_packets=_bounded(sums.unwanted) if self.tells_unwanted else None,
            syns=None if received is None else received.syns,
            interfaces=tuple(sums.interfaces.values()),
        )


def _round_trip(connections: dict[int, Connection]) -> float | None:
    """The median of the newest; the module statistics takes three times as long."""
    newest = islice(reversed(connections.values()), ROUND_TRIPS_COUNTED)
    ordered = sorted(row.srtt_ms for row in newest if row.srtt_ms is not None)
    if not ordered:
        return None
    middle = len(ordered) // 2
    return round((ordered[middle] + ordered[~middle]) / 2, 3)


def _count_packets(sums: _Sums, before: Connection | UdpFlow | None, row: Connection | UdpFlow) -> None:
    """What an older nettop recorded has none."""
    if row.tx_packets is not None:
        earlier = 0 if before is None else before.tx_packets or 0
        sums.tx_packets = (sums.tx_packets or 0) + row.tx_packets - earlier
    if row.rx_packets is not None:
        earlier = 0 if before is None else before.rx_packets or 0
        sums.rx_packets = (sums.rx_packets or 0) + row.rx_packets - earlier


def _note(sums: _Sums, row: Connection | UdpFlow, remote: RemoteEndpoint) -> None:
    """Who talks to it, and under which name."""
    if row.pid is not None:
        _use(sums.pids, row.pid, None, PROCESSES_NAMED)
    if row.comm is not None:
        _use(sums.comms, row.comm, None, PROCESSES_NAMED)
    if remote.name is not None:
        last = next(reversed(sums.names), None)
        own, known = remote.name_source in OWN_NAMES, last is not None and sums.names[last] in OWN_NAMES
        if own and not known:
            sums.names.clear()
        # what only somebody else has looked up may be a coincidence
        if own or not known:
            _use(sums.names, remote.name, remote.name_source, NAMES_KEPT)


def _use(table: dict[Any, Any], key: object, value: object, most: int) -> None:
    if table and key == next(reversed(table)) and table[key] == value:
        return
    table.pop(key, None)
    table[key] = value
    if len(table) > most:
        del table[next(iter(table))]


def _bounded(count: int) -> int:
    """A sum as it may be written: no recording that was tampered with makes it more or less."""
    return min(max(count, 0), MAX_COUNT)
