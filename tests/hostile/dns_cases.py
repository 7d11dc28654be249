"""Hostile DNS, by class: what strangers may put into packets, made from a random source.

A case is a handful of packets of one socket. Answers are preceded by the query that they answer, so that they get
through to a row.
"""

import itertools
import random
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from dnslib import RR, DNSRecord

CAPTURED_BYTES = 4096  # of a packet when many are long; else all of it
TCP, UDP = 6, 17
_ZONE = r"""
a 5 IN A 192.0.2.1
a 5 IN AAAA 2001:db8::1
a 5 IN CNAME b.example.
a 5 IN NS ns.example.
a 5 IN PTR host.example.
a 5 IN MX 10 mail.example.
a 5 IN SOA ns.example. admin.example. 1 2 3 4 5
a 5 IN SRV 1 2 443 host.example.
a 5 IN TXT "v=spf1 -all" "two"
a 5 IN NAPTR 1 2 "s" "SIP+D2U" "!^.*$!sip:x@example!" .
a 5 IN CAA 0 issue "ca.example"
a 5 IN DS 1 8 2 0123456789abcdef
a 5 IN TLSA 3 1 1 0123456789abcdef
a 5 IN RP admin.example. text.example.
a 5 IN SSHFP 4 2 0123456789abcdef
a 5 IN NSEC b.example. A AAAA RRSIG
a 5 IN LOC 51 30 12.748 N 0 7 39.612 W 0m
a 5 IN DNSKEY 257 3 8 AwEAAag=
a 5 IN RRSIG A 8 2 300 20260101000000 20260201000000 1 example. AwEAAag=
a 5 IN HTTPS 1 . alpn=h2,h3 port=443 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1
"""


class Packet(NamedTuple):
    """One packet as the kernel hands it on: its payload as far as it was captured, and its length on the wire."""

    query: bool
    protocol: int
    sequence: int
    payload: bytes
    wire_bytes: int


Case = tuple[Packet, ...]
_Make = Callable[[random.Random], Case]
CLASSES: dict[str, tuple[int, _Make]] = {}
"""By name: the weight in a mix, and what makes a case."""


def _case(name: str, weight: int) -> Callable[[_Make], _Make]:
    def register(make: _Make) -> _Make:
        CLASSES[name] = (weight, make)
        return make

    return register


def _valid_answers() -> tuple[bytes, ...]:
    records = RR.fromZone(_ZONE, origin="example.")
    single = []
    for record in records:
        message = DNSRecord.question("a.example", "A").reply()
        message.add_answer(record)
        single.append(bytes(message.pack()))
    everything = DNSRecord.question("a.example", "ANY").reply()
    everything.add_answer(*records)
    everything.add_auth(*records[:3])
    everything.add_ar(*records[:2])
    return (*single, bytes(everything.pack()))


ANSWERS = _valid_answers()
QUESTION = bytes(DNSRecord.question("a.example", "A").pack())


def udp(message: bytes, query: bool = False) -> Case:
    """A message over UDP; an answer with a query of its id before it."""
    packet = Packet(query, UDP, 0, message[:CAPTURED_BYTES], len(message))
    return (packet,) if query else (Packet(True, UDP, 0, _asked(message), len(_asked(message))), packet)


def _asked(answer: bytes) -> bytes:
    """A query that the answer may be for: without a question any answer is."""
    return answer[:2].ljust(2, b"\0") + b"\1\0" + bytes(8)


def tcp(stream: bytes, pieces: list[int], query: bool = False) -> Case:
    """Bytes of a stream in segments that end at these places."""
    places = [0, *sorted({place for place in pieces if 0 < place < len(stream)}), len(stream)]
    segments = [(start, stream[start:end]) for start, end in itertools.pairwise(places)]
    asked = _asked(stream[2:])
    first = () if query else (Packet(True, TCP, 0, framed(asked), len(asked) + 2),)
    return (*first, *(Packet(query, TCP, at, part[:CAPTURED_BYTES], len(part)) for at, part in segments))


def framed(message: bytes) -> bytes:
    return min(len(message), 0xFFFF).to_bytes(2) + message[:0xFFFF]


def header(flags: int, *counts: int, txid: int = 7) -> bytes:
    return struct.pack("!HH", txid, flags) + b"".join(count.to_bytes(2) for count in counts)


def answer_of(records: bytes, count: int) -> bytes:
    return header(0x8180, 0, count, 0, 0) + records


def record(rdata: bytes, kind: int = 16, name: bytes = b"\0", size: int | None = None) -> bytes:
    length = len(rdata) if size is None else size
    return name + struct.pack("!HHIH", kind, 1, 5, length) + rdata


def _mutated(source: random.Random, message: bytes) -> bytes:
    mutated = bytearray(message)
    for _ in range(source.choice((1, 1, 1, 2, 4, 16))):
        at = source.randrange(len(mutated))
        match source.randrange(5):
            case 0:
                mutated[at] ^= 1 << source.randrange(8)
            case 1:
                mutated[at] = source.choice((0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xBF, 0xC0, 0xFF))
            case 2:
                mutated[at:at] = source.randbytes(source.randrange(1, 9))
            case 3:
                del mutated[at : at + source.randrange(1, 9)]
            case 4:
                mutated[at : at + 2] = (0xC000 | source.randrange(len(mutated) + 1)).to_bytes(2)
        if not mutated:
            break
    return bytes(mutated)


@_case("compression loops and chains", 10)
def pointers(source: random.Random) -> Case:
    """Names that point to themselves, in a ring, or back along a chain of labels."""
    links = source.randrange(1, 140)
    chain = b"".join(
        source.choice((b"", b"\1x", b"\3abc")) + (0xC000 | max(23 + source.randrange(-4, 4) + 2 * link, 0)).to_bytes(2)
        for link in range(links)
    )
    name = (0xC000 | source.randrange(12, 40 + len(chain))).to_bytes(2)
    count = source.randrange(1, 40)
    return udp(answer_of(record(chain, 1000) + record(name, source.choice((2, 5, 6, 15, 33)), name) * count, count + 1))


@_case("pointers forward and outside", 5)
def forward(source: random.Random) -> Case:
    target = source.choice((0x3FFF, source.randrange(0x4000), source.randrange(64)))
    name = source.choice((b"", b"\1a")) + (0xC000 | target).to_bytes(2)
    if source.random() < 0.5:
        return udp(header(0x0100, 1, 0, 0, 0) + name + b"\0\1\0\1", query=True)
    return udp(answer_of(record(name, 5) + record(b"\1\2\3\4", 1, name), 2))


@_case("cut at any byte", 15)
def cut(source: random.Random) -> Case:
    message = source.choice(ANSWERS)
    return udp(message[: source.randrange(len(message) + 1)])


@_case("counts that lie", 10)
def counts(source: random.Random) -> Case:
    message = bytearray(source.choice(ANSWERS))
    for place in source.sample(range(4, 12, 2), source.randrange(1, 4)):
        count = source.choice((0, 1, 2, 255, 0xFFFF, source.randrange(0x10000)))
        message[place : place + 2] = count.to_bytes(2)
    return udp(bytes(message))


@_case("RDLENGTH that lies", 10)
def rdlength(source: random.Random) -> Case:
    kind = source.choice((1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 41, 43, 46, 47, 48, 65, 257, 65280))
    size = source.choice((0, 1, 3, 5, 255, 0xFFFF, source.randrange(0x10000)))
    rdata = source.randbytes(source.randrange(40))
    return udp(answer_of(record(rdata, kind, size=size) + record(b"\1\2\3\4", 1), 2))


@_case("labels over 63, names over 255", 5)
def long_names(source: random.Random) -> Case:
    label = bytes([source.choice((62, 63, 64, 65, 127, 128, 191))]) + source.randbytes(190)
    name = b"".join(
        source.choice((label, b"\x3f" + source.randbytes(63), b"\1a")) for _ in range(source.randrange(1, 9))
    )
    message = header(0x0100, 1, 0, 0, 0) + name + b"\0\0\1\0\1"
    return udp(message, query=True) if source.random() < 0.5 else udp(answer_of(record(name + b"\0", 5), 1))


@_case("qdcount 0 and 2", 5)
def questions(source: random.Random) -> Case:
    number = source.choice((0, 2, 3, 0xFFFF))
    body = b"\1a\0\0\1\0\1" * min(number, 3)
    message = header(source.choice((0x0100, 0x8180)), number, 0, 0, 0) + body
    return udp(message, query=not message[2] & 0x80)


@_case("unknown types and classes", 5)
def unknown(source: random.Random) -> Case:
    kind, klass = source.randrange(0x10000), source.randrange(0x10000)
    rdata = source.randbytes(source.randrange(60))
    question = source.randbytes(1) * 0 + b"\1a\0" + struct.pack("!HH", kind, klass)
    answer = b"\1a\0" + struct.pack("!HHIH", kind, klass, source.randrange(1 << 32), len(rdata)) + rdata
    return udp(header(0x8180, 1, 1, 0, 0) + question + answer)


@_case("opcodes and reserved bits", 5)
def flags(source: random.Random) -> Case:
    message = source.choice((QUESTION, *ANSWERS))
    query = source.random() < 0.5
    bits = source.randrange(0x10000) & 0x7FFF | (0 if query else 0x8000)
    return udp(message[:2] + bits.to_bytes(2) + message[4:], query=query)


@_case("RDATA of random bytes, every type", 15)
def rdata(source: random.Random) -> Case:
    kind = source.randrange(1, 264)
    data = source.randbytes(source.choice((0, 1, 2, 3, 4, 8, 16, 40, 300)))
    return udp(answer_of(record(data, kind), 1))


@_case("valid messages, mutated", 40)
def mutated(source: random.Random) -> Case:
    if source.random() < 0.2:
        return udp(_mutated(source, QUESTION), query=True)
    return udp(_mutated(source, source.choice(ANSWERS)))


@_case("random bytes", 10)
def noise(source: random.Random) -> Case:
    return udp(source.randbytes(source.choice((0, 1, 2, 11, 12, 13, 40, 512))), query=source.random() < 0.5)


@_case("TCP lengths that lie", 15)
def tcp_lengths(source: random.Random) -> Case:
    parts = []
    for _ in range(source.randrange(1, 5)):
        message = source.choice(ANSWERS)
        length = source.choice((0, 1, 11, len(message), len(message) - 1, len(message) + 1, 0xFFFF))
        parts.append(length.to_bytes(2) + message)
    stream = b"".join(parts)
    return tcp(stream, [source.randrange(len(stream)) for _ in range(source.randrange(6))])


@_case("TCP in any order, again, cut and joined late", 10)
def tcp_disorder(source: random.Random) -> Case:
    stream = b"".join(framed(source.choice(ANSWERS)) for _ in range(source.randrange(1, 6)))
    packets = list(tcp(stream, [source.randrange(len(stream)) for _ in range(source.randrange(9))]))
    first, rest = packets[:1], packets[1:]
    match source.randrange(4):
        case 0:
            source.shuffle(rest)
        case 1:
            rest = source.choices(rest, k=len(rest) + 2)
        case 2:
            rest = rest[len(rest) // 2 :]
        case 3:
            rest = [packet._replace(payload=packet.payload[: source.randrange(60)]) for packet in rest]
    base = source.randrange(1 << 32)
    return (*first, *(packet._replace(sequence=(packet.sequence + base) % (1 << 32)) for packet in rest))


@_case("64 KB answers", 1)
def huge(source: random.Random) -> Case:
    """As much work as a message can ask for: thousands of records, chains of pointers, long texts."""
    match source.randrange(6):
        case 0:
            body, size = record(b"\xc0\0\2\1", 1), 15
        case 1:
            body, size = record(b"\0" * source.randrange(8), source.randrange(264)), 11
        case 2:
            body, size = record(b"\xff" + source.randbytes(255), 16), 267
        case 3:
            body, size = record(source.randbytes(8) * 500, source.choice((47, 65, 16, 35, 257, 46, 1000))), 4011
        case 4:
            return _long_stream(_chained(source.randrange(1, 128), source.choice((b"", b"\1b", b"\3abc"))), source)
        case _:
            body, size = record(b"\1a" * 100 + b"\0", 5, b"\1b" * 126 + b"\0"), 460
    count = 65_000 // max(len(body), size)
    return _long_stream(answer_of(body * count, source.choice((count, count, 0xFFFF))), source)


def full_of(kind: int, rdata: bytes) -> Case:
    """A message of 64 KB with as many of one record as there is room for."""
    body = record(rdata, kind)
    count = 65_000 // len(body)
    return _long_stream(answer_of(body * count, count), random.Random(kind))


def _chained(pointers_each: int, label: bytes) -> bytes:
    chain, last = b"\1a\0", 23
    for _ in range(pointers_each):
        link = label + (0xC000 | last).to_bytes(2)
        last = 23 + len(chain)
        chain += link
    name = (0xC000 | last).to_bytes(2)
    body = record(name + name + bytes(20), 6, name)
    count = (65_000 - len(chain)) // len(body)
    return answer_of(record(chain, 1000) + body * count, count + 1)


def _long_stream(message: bytes, source: random.Random) -> Case:
    stream = framed(message)
    return tcp(stream, list(range(0, len(stream), source.choice((1400, 4096, 4000)))))


def every_cut() -> Iterator[Case]:
    """Every valid message cut at every byte, over UDP, and split there over TCP."""
    for message in (QUESTION, *ANSWERS):
        query = message is QUESTION
        for length in range(len(message) + 1):
            yield udp(message[:length], query=query and length > 2)
            yield tcp(framed(message), [length], query)
