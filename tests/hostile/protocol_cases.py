"""Hostile hellos, frames, header blocks, commands and statements, by class, made from a random source.

A case is what one connection carries. Most begin as real conversations, so that they get far.
"""

import itertools
import random
from collections.abc import Callable
from typing import NamedTuple

from hpack import Encoder

from nettop.protocols.http2 import PREFACE
from tests.captured import Segment, conversation, names
from tests.quic_packets import crypto, initial

MAX_SEGMENT_BYTES = 65_000  # as many as one packet has on loopback
DATABASES = ("postgresql", "mysql", "redis", "memcached")


class Case(NamedTuple):
    """Segments of a connection of this protocol. `passed_over`: whether the kernel says so of what is missing."""

    protocol: str
    segments: tuple[Segment, ...]
    passed_over: bool = False


_Make = Callable[[random.Random], Case]
CLASSES: dict[str, tuple[int, _Make]] = {}
"""By name: the weight in a mix, and what makes a case."""
_CONVERSATIONS = {
    protocol: [conversation(name) for name in names(f"{protocol}-" if protocol != "tls" else "tls")]
    for protocol in ("tls", "http2", "quic", *DATABASES)
}
_TELLING = (0, 1, 4, 9, 10, 13, 16, 22, 0x24, 0x2A, 0x3F, 0x7F, 0x80, 0xBF, 0xC0, 0xFE, 0xFF)


def _case(name: str, weight: int) -> Callable[[_Make], _Make]:
    def register(make: _Make) -> _Make:
        CLASSES[name] = (weight, make)
        return make

    return register


def mutated(source: random.Random, payload: bytes) -> bytes:
    """The payload with a few bits, bytes or lengths that are others, more or missing."""
    changed = bytearray(payload)
    for _ in range(source.choice((1, 1, 1, 2, 4, 16))):
        if not changed:
            break
        at = source.randrange(min(len(changed), source.choice((16, 64, 4096))))
        match source.randrange(6):
            case 0:
                changed[at] ^= 1 << source.randrange(8)
            case 1:
                changed[at] = source.choice(_TELLING)
            case 2:
                changed[at:at] = source.randbytes(source.randrange(1, 9))
            case 3:
                del changed[at : at + source.randrange(1, 9)]
            case 4:
                size = source.choice((1, 2, 3, 4))
                changed[at : at + size] = source.choice((0, 1, len(changed), 1 << 8 * size)).to_bytes(5)[-size:]
            case 5:
                del changed[source.randrange(len(changed) + 1) :]
    return bytes(changed)


def _real(source: random.Random, protocol: str) -> list[Segment]:
    return list(source.choice(_CONVERSATIONS[protocol]))


def _one(protocol: str, payload: bytes, from_client: bool = True, passed_over: bool = False) -> Case:
    return Case(protocol, (Segment(from_client, 0, payload[:MAX_SEGMENT_BYTES]),), passed_over)


def _some_mutated(source: random.Random, segments: list[Segment]) -> tuple[Segment, ...]:
    return tuple(
        segment._replace(payload=mutated(source, segment.payload)) if source.random() < 0.4 else segment
        for segment in segments
    )


def _is_from_client(source: random.Random) -> bool:
    return source.random() < 0.5


@_case("hellos and alerts, mutated", 40)
def hellos(source: random.Random) -> Case:
    return Case("tls", _some_mutated(source, _real(source, "tls")))


@_case("extensions of any kind", 10)
def extensions(source: random.Random) -> Case:
    kinds = (0, 16, 35, 41, 43, 0xFE0D, source.randrange(0x10000))
    parts = []
    for _ in range(source.randrange(1, 12)):
        content = source.choice((b"", source.randbytes(source.randrange(40)), bytes(300), b"\xff" * 9))
        size = source.choice((len(content), len(content), 0, 0xFFFF))
        parts.append(source.choice(kinds).to_bytes(2) + size.to_bytes(2) + content)
    return _one("tls", _hello(b"".join(parts), source.choice((1, 2))))


_SERVER_NAME = b"\0\0\0\x11\0\x0f\0\0\x0cquic.example"


def _hello(extensions: bytes, kind: int) -> bytes:
    suites = b"\0\2\x13\1\1\0" if kind == 1 else b"\x13\1\0"
    body = b"\3\3" + bytes(33) + suites + (len(extensions) & 0xFFFF).to_bytes(2) + extensions
    message = bytes((kind,)) + len(body).to_bytes(3) + body
    return b"\x16\3\1" + (len(message) & 0xFFFF).to_bytes(2) + message


@_case("hellos as large as they can be", 3)
def large_hellos(source: random.Random) -> Case:
    match source.randrange(4):
        case 0:
            return _one("tls", _hello(b"\xaa\xaa\0\0" * 16_000, 1))
        case 1:
            return _one("tls", _hello(b"\0\x10\xff\0\xff\0" + b"\1a" * 32_000, source.choice((1, 2))))
        case 2:
            return _one("tls", b"\x16\3\1\0\1\1" * 10_000)
        case _:
            return _one("tls", _hello(b"\0\0\xff\0\xff\0\0\xfe\xfe" + b"\x1b" * 60_000, 1))


@_case("conversations of HTTP/2, mutated", 40)
def http2(source: random.Random) -> Case:
    return Case("http2", _some_mutated(source, _real(source, "http2")), source.random() < 0.5)


@_case("HTTP/2 in any order, again, joined late", 10)
def http2_disorder(source: random.Random) -> Case:
    segments = _real(source, "http2")
    match source.randrange(3):
        case 0:
            source.shuffle(segments)
        case 1:
            segments = source.choices(segments, k=len(segments) + 2)
        case 2:
            segments = segments[source.randrange(len(segments)) :]
    base = source.randrange(1 << 32)
    moved = (segment._replace(sequence=(segment.sequence + base) % (1 << 32)) for segment in segments)
    return Case("http2", tuple(moved), source.random() < 0.5)


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body


@_case("frames of any kind", 15)
def frames(source: random.Random) -> Case:
    parts = []
    for _ in range(source.randrange(1, 12)):
        body = source.randbytes(source.choice((0, 1, 4, 5, 8, 40)))
        size = source.choice((len(body), len(body), len(body), 0, 0xFFFFFF))
        head = size.to_bytes(3) + bytes((source.choice((0, 1, 1, 3, 4, 5, 9, 9, 12, 99)), source.randrange(256)))
        parts.append(head + source.choice((0, 1, 2, 3, 1 << 31)).to_bytes(4) + body)
    return _one("http2", source.choice((b"", PREFACE)) + b"".join(parts), _is_from_client(source))


@_case("header blocks, mutated", 30)
def blocks(source: random.Random) -> Case:
    """Several on one connection, so that what one leaves in the table reaches the next."""
    encoder, parts = Encoder(), [PREFACE]
    for number in range(source.randrange(1, 6)):
        fields = [
            (":method", source.choice(("GET", "POST", "\x1b[2J"))),
            (":path", source.choice(("/a?secret", "/" + "é" * source.randrange(300), "/\u202e"))),
            (":authority", "me:secret@" + "a" * source.randrange(300)),
            ("cookie", "secret" * source.randrange(100)),
            ("grpc-status", source.choice(("0", "13", "x", "9" * 30))),
            ("traceparent", source.choice(("00-" + "a" * 32 + "-b-1", "00-" + "g" * 32 + "-b-1", "-" * 50))),
        ]
        block = encoder.encode(source.sample(fields, source.randrange(1, 7)), huffman=source.random() < 0.5)
        parts.append(_frame(1, 4, 2 * number + 1, mutated(source, block) if source.random() < 0.6 else block))
    return _one("http2", b"".join(parts), _is_from_client(source))


@_case("header blocks of random bytes", 10)
def random_blocks(source: random.Random) -> Case:
    return _one("http2", PREFACE + _frame(1, 4, 1, source.randbytes(source.randrange(300))))


@_case("HTTP/2 as much as a segment can ask for", 5)
def large_http2(source: random.Random) -> Case:
    coded = bytes((source.choice((0x00, 0x1A, 0x93, 0xFF)),))
    match source.randrange(8):
        case 0:
            body = b"\x82" * 16_000
        case 1:
            body = b"\x44\xff\x80\x7d" + coded * 16_127
        case 2:
            body = (b"\x44\xff\x01" + coded * 128) * 120
        case 3:
            body = (b"\x40\x81" + coded + b"\0") * 4000
        case 4:
            return _one("http2", _frame(1, 4, 1, b"") * 7000)
        case 5:
            return _one("http2", _frame(1, 0, 1, b"\x82") + _frame(9, 0, 1, b"\x82") * 6000)
        case 6:
            return _one("http2", _frame(0, 0, 1, b"a") * 6500)
        case _:
            return _one("http2", _frame(3, 0, 1, bytes(4)) * 5000)
    return _one("http2", _frame(1, 4, 1, body) * 4)


@_case("QUIC, mutated", 4)
def quic(source: random.Random) -> Case:
    return Case("quic", _some_mutated(source, _real(source, "quic")))


@_case("frames of QUIC, mutated, in packets that are whole", 6)
def quic_frames(source: random.Random) -> Case:
    """Whoever sends them has the keys."""
    hello = _hello(_SERVER_NAME, 1)[5:]
    datagrams: list[bytes] = []
    for number in range(source.randrange(1, 4)):
        cuts = sorted(source.sample(range(len(hello)), source.randrange(1, 12)))
        pieces = [crypto(at, hello[at:end]) for at, end in itertools.pairwise((0, *cuts, len(hello)))]
        source.shuffle(pieces)
        frames = b"".join((source.choice((b"", b"\0\0", b"\1", b"\2\5\7\0\5", b"\3\5\7\0\5\1\2\3")), *pieces))
        datagrams.append(initial(mutated(source, frames) if source.random() < 0.8 else frames, number, size=600))
    if source.random() < 0.3:
        datagrams = [b"".join(datagrams)]
    return Case("quic", tuple(Segment(True, 0, payload) for payload in datagrams))


def _databases(source: random.Random) -> Case:
    protocol = source.choice(DATABASES)
    return Case(protocol, _some_mutated(source, _real(source, protocol)))


CLASSES["commands and answers of databases, mutated"] = (60, _databases)


@_case("what one database says, to another", 10)
def mistaken(source: random.Random) -> Case:
    return Case(source.choice(("tls", "http2", *DATABASES)), tuple(_real(source, source.choice(DATABASES))))


@_case("statements, mutated", 20)
def statements(source: random.Random) -> Case:
    statement = mutated(
        source,
        source.choice(
            (
                b"/* a */ select secret",
                b"create or replace view v",
                b"-- x\n(with a as (select 1))",
                b"/*!40101 set a*/",
            )
        ),
    )
    if source.random() < 0.5:
        return _one("postgresql", b"Q" + (len(statement) + 5).to_bytes(4) + statement + b"\0")
    return _one("mysql", (len(statement) + 1).to_bytes(3, "little") + b"\0\3" + statement)


@_case("databases as much as a segment can ask for", 5)
def large_databases(source: random.Random) -> Case:
    protocol, part = source.choice(
        (
            ("redis", b"*1\r\n"), ("redis", b"*1000\r\n" + b"$1\r\na\r\n" * 1000), ("redis", b"*9999999999\r\n"),
            ("redis", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$0\r\n\r\n"), ("redis", b"+OK\r\n"), ("redis", b"%1\r\n"),
            ("redis", b"+" * 70_000), ("redis", b"-ERR\r\n"),
            ("memcached", b"get " + b"a " * 1000 + b"\r\n"), ("memcached", b"VALUE a 0 0\r\n\r\n"),
            ("memcached", b"a " * 1000 + b"\n"), ("memcached", b"STAT a " + b"b " * 900 + b"\r\n"),
            ("memcached", b"END\r\n"), ("memcached", b"\x80\0" + bytes(22)), ("memcached", b"\x81\x10" + bytes(22)),
            ("postgresql", b"S\0\0\0\4"), ("postgresql", b"P\0\0\4\4" + b"\0/**/" * 205 + b"\0"),
            ("postgresql", b"E\0\0\1\0" + b"Sx\0" * 84), ("postgresql", b"Q\0\0\4\4" + b"--\n" * 341 + b"\0"),
            ("mysql", b"\1\0\0\0\3"), ("mysql", b"\1\0\0\1\xff"), ("mysql", b"\0\4\0\0\3" + b"#a\n" * 341),
        )
    )  # fmt: skip
    return _one(protocol, part * (MAX_SEGMENT_BYTES // len(part) + 1), _is_from_client(source))


@_case("random bytes", 10)
def noise(source: random.Random) -> Case:
    protocol = source.choice(list(_CONVERSATIONS))
    payload = source.randbytes(source.choice((0, 1, 2, 5, 9, 40, 512)))
    return _one(protocol, payload, _is_from_client(source), source.random() < 0.5)
