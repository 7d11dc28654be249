"""What tcpdump wrote: queries, answers and connections, read with nothing but the standard library.

Format: draft-ietf-opsawg-pcap, Ethernet frames, microseconds, this machine's byte order.
"""

import struct
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from nettop.tracking.addresses import address_text
from tests.live.programs import DNS_PORT

_MAGIC = 0xA1B2C3D4
_ETHERNET_BYTES = 14
_FIN, _SYN, _RST = 1, 2, 4

End = tuple[str, int]


@dataclass
class Exchange:
    """A question on the wire: how often it was sent, and what came back."""

    sent: int = 0
    first_us: int = 0
    answered_us: int | None = None
    rcode: int | None = None


@dataclass
class Stream:
    """One direction of a connection: which bytes of its sequence space passed."""

    first_sequence: int | None = None
    highest: int = 0
    flags: int = 0

    def take(self, sequence: int, payload_bytes: int, flags: int) -> None:
        """A segment."""
        if flags & _SYN:
            self.first_sequence = sequence + 1
        elif self.first_sequence is not None and payload_bytes:
            self.highest = max(self.highest, (sequence - self.first_sequence) % (1 << 32) + payload_bytes)
        self.flags |= flags

    @property
    def reset(self) -> bool:
        """Whether this end broke it off."""
        return bool(self.flags & _RST)


@dataclass
class Capture:
    """Queries by client, id and question; streams by sender and receiver."""

    exchanges: dict[tuple[End, int, bytes], Exchange] = field(default_factory=lambda: defaultdict(Exchange))
    streams: dict[tuple[End, End], Stream] = field(default_factory=lambda: defaultdict(Stream))


def read(path: Path) -> Capture:
    """The whole of a capture."""
    raw = path.read_bytes()
    assert struct.unpack_from("=I", raw)[0] == _MAGIC
    capture = Capture()
    at = 24
    while at < len(raw):
        seconds, microseconds, captured, _ = struct.unpack_from("=IIII", raw, at)
        at += 16
        _packet(capture, raw[at + _ETHERNET_BYTES : at + captured], seconds * 1_000_000 + microseconds)
        at += captured
    return capture


def _packet(capture: Capture, packet: bytes, at_us: int) -> None:
    version = packet[0] >> 4
    if version == 4:
        header, protocol = (packet[0] & 15) * 4, packet[9]
        source, destination = packet[12:16], packet[16:20]
        total = int.from_bytes(packet[2:4])
    else:
        header, protocol = 40, packet[6]
        source, destination = packet[8:24], packet[24:40]
        total = 40 + int.from_bytes(packet[4:6])
    transport = packet[header:total]
    source_port, destination_port = struct.unpack_from("!HH", transport)
    sender = (address_text(version, source.ljust(16, b"\0")), source_port)
    receiver = (address_text(version, destination.ljust(16, b"\0")), destination_port)
    if protocol == 17:
        _datagram(capture, sender, receiver, transport[8:], at_us)
    elif protocol == 6:
        sequence, data_offset, flags = int.from_bytes(transport[4:8]), transport[12] >> 4, transport[13]
        capture.streams[sender, receiver].take(sequence, len(transport) - data_offset * 4, flags)


def _datagram(capture: Capture, sender: End, receiver: End, message: bytes, at_us: int) -> None:
    if DNS_PORT not in (sender[1], receiver[1]):
        return
    txid, question = int.from_bytes(message[:2]), message[12 : message.index(b"\0", 12) + 3]
    if receiver[1] == DNS_PORT:
        exchange = capture.exchanges[sender, txid, question]
        exchange.sent += 1
        exchange.first_us = exchange.first_us or at_us
        return
    asked = capture.exchanges.get((receiver, txid, question))
    if asked is not None and asked.answered_us is None:
        asked.answered_us, asked.rcode = at_us, message[3] & 15
