"""Packets by the address that they come from: from the kernel's table to events."""

import socket
import struct

from nettop.kernel import abi
from nettop.model.rows import HostPackets
from nettop.tracking.sources import IDLE_NS, NEW_PER_TICK, PacketSources
from tests.builders import CLOCK, NETNS, at, ns


def key(address: str = "198.51.100.7", ifindex: int = 2) -> bytes:
    mapped = bytes(10) + b"\xff\xff" + socket.inet_pton(socket.AF_INET, address)
    return abi.PACKET_SOURCE.pack(NETNS, ifindex, mapped)


def value(packets: int, syns: int = 0) -> bytes:
    return abi.SOURCE_PACKETS.pack(packets, packets * 100, syns, b"eth0".ljust(16, b"\0"))


class Kernel:
    """Its table, and what was taken out of it."""

    def __init__(self) -> None:
        self.table: dict[bytes, bytes] = {}
        self.subject = PacketSources(CLOCK, lambda key: self.table.pop(key, None))

    def counted(self, seconds: float) -> list[HostPackets]:
        return [event.host_packets for event in self.subject.counted(dict(self.table), ns(seconds))]


def test_what_has_come_since_it_was_read_last() -> None:
    kernel = Kernel()
    kernel.table[key()] = value(10, syns=3)
    (event,) = kernel.subject.counted(kernel.table, ns(2))
    assert event.time == at(2)
    assert event.host_packets == HostPackets(
        netns=NETNS, address="198.51.100.7", ifindex=2, interface="eth0", packets=10, bytes=1_000, syns=3
    )
    assert kernel.counted(3) == []
    kernel.table[key()] = value(15, syns=4)
    (row,) = kernel.counted(4)
    assert (row.packets, row.bytes, row.syns) == (5, 500, 1)


def test_a_source_that_is_silent_for_a_minute_gives_up_its_place() -> None:
    kernel = Kernel()
    kernel.table[key()] = value(10)
    kernel.counted(2)
    assert kernel.counted(2 + IDLE_NS / 1e9 - 1) == []
    assert key() in kernel.table
    assert kernel.counted(2 + IDLE_NS / 1e9) == []
    assert kernel.table == {}
    kernel.table[key()] = value(3)
    assert [row.packets for row in kernel.counted(100)] == [3]
    assert kernel.subject.unlisted == 0


def test_what_comes_while_a_place_is_given_up_is_counted() -> None:
    kernel = Kernel()
    kernel.table[key()] = value(10)
    kernel.counted(2)
    read = dict(kernel.table)
    kernel.table[key()] = value(12)
    (event,) = kernel.subject.counted(read, ns(2) + IDLE_NS)
    assert event.host_packets.packets == 2


def test_of_a_flood_the_largest_get_rows_and_the_rest_is_counted_exactly() -> None:
    kernel = Kernel()
    kernel.table[key("192.0.2.1")] = value(500)
    assert len(kernel.counted(1)) == 1  # who was there
    for number in range(1_000):
        kernel.table[key(socket.inet_ntoa(struct.pack("!I", 0x0B000000 + number)))] = value(2)
    kernel.table[key("192.0.2.2")] = value(900)
    first = kernel.counted(2)
    assert len(first) == NEW_PER_TICK
    assert "192.0.2.2" in {row.address for row in first}
    told = sum(row.packets for row in first)
    kernel.table[key("192.0.2.1")] = value(501)
    assert [row.address for row in kernel.counted(3)] == ["192.0.2.1"]
    assert len(kernel.table) == NEW_PER_TICK + 1  # the others made room, and those that have rows stay
    assert told + kernel.subject.unlisted == 1_000 * 2 + 900
