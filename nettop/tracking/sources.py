"""Packets by the address that they come from: from the kernel's counters to what has come since."""

from collections.abc import Callable, Mapping
from operator import itemgetter

from nettop.kernel import abi
from nettop.model.events import HostPacketsCounted
from nettop.model.rows import HostPackets
from nettop.text import printable
from nettop.tracking.addresses import address_text
from nettop.tracking.clock import Clock

IDLE_NS = 60_000_000_000  # so long a source that is silent keeps its place in the kernel's table
NEW_PER_TICK = 256  # sources: more than that at once are a flood from forged addresses, of which the largest do
MAX_REMOVED_PER_TICK = 4_096  # some 10 ms; a flood refills the table at once anyway


class PacketSources:
    """Call counted() with each reading of the kernel's table; `take` removes an entry there and returns its value."""

    def __init__(self, clock: Clock, take: Callable[[bytes], bytes | None]) -> None:
        self._clock = clock
        self._take = take
        self._last: dict[bytes, tuple[bytes, int]] = {}  # values as of when they changed last; bounded by the kernel's
        self._told: dict[bytes, bytes] = {}  # of these the ones with rows
        self.unlisted = 0  # packets of sources that came and went without a row

    def counted(self, table: Mapping[bytes, bytes], now_ns: int) -> list[HostPacketsCounted]:
        """What has come since the last call."""
        last, told = self._last, self._told
        changed: list[bytes] = []
        silent: list[bytes] = []
        fresh: list[bytes] = []
        for key, value in table.items():
            before = last.get(key)
            if before is not None and before[0] == value:
                if key not in told or now_ns - before[1] >= IDLE_NS:
                    silent.append(key)
                continue
            last[key] = value, now_ns
            (changed if key in told else fresh).append(key)
        if len(fresh) > NEW_PER_TICK:
            sizes = sorted(((abi.SOURCE_PACKETS.unpack(table[key])[0], key) for key in fresh), key=itemgetter(0))
            fresh = [key for _, key in sizes[-NEW_PER_TICK:]]
        events = [self._event(key, table[key], now_ns) for key in (*changed, *fresh)]
        for key in silent[:MAX_REMOVED_PER_TICK]:
            events.extend(self._remove(key, now_ns))
        return events

    def _event(self, key: bytes, value: bytes, now_ns: int) -> HostPacketsCounted:
        source = abi.PacketSource(*abi.PACKET_SOURCE.unpack(key))
        now = abi.SourcePackets(*abi.SOURCE_PACKETS.unpack(value))
        before = abi.SourcePackets(*abi.SOURCE_PACKETS.unpack(self._told.get(key, _NOTHING)))
        self._told[key] = value
        return HostPacketsCounted(
            time=self._clock.wall(now_ns),
            host_packets=HostPackets(
                netns=source.netns,
                address=address_text(6, source.address),
                ifindex=source.ifindex,
                interface=printable(now.interface.rstrip(b"\0")),
                packets=now.packets - before.packets,
                bytes=max(now.bytes - before.bytes, 0),
                syns=max(now.syns - before.syns, 0),
            ),
        )

    def _remove(self, key: bytes, now_ns: int) -> list[HostPacketsCounted]:
        """A source that has been silent goes; what came since it was read is counted."""
        value = self._take(key)
        told = key in self._told
        events = []
        if value is not None and not told:
            self.unlisted += abi.SOURCE_PACKETS.unpack(value)[0]
        elif value is not None and value != self._told[key]:
            events.append(self._event(key, value, now_ns))
        self._last.pop(key, None)
        self._told.pop(key, None)
        return events


_NOTHING = bytes(abi.SOURCE_PACKETS.size)
