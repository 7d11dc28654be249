"""The ClientHello in QUIC's Initial packets (RFC 9000, 9001, 9369), which everybody on the path can decrypt."""

import hmac
from functools import lru_cache
from typing import NamedTuple

from nettop.protocols.aes import counter_mode, encrypt, key_schedule
from nettop.protocols.tls import MAX_HELLO_BYTES, ClientHello, client_hello

MAX_DATAGRAMS = 4  # of one flow; a hello with post-quantum keys takes two
_MAX_DATAGRAM_BYTES = 1500
_MAX_PACKETS = 4  # of one datagram
_MAX_FRAMES = 64  # of one packet; Chrome shuffles some ten
_MAX_CONNECTION_ID = 20
_TAG_BYTES, _SAMPLE_BYTES, _NUMBER_BYTES = 16, 16, 4
_LEAST_HELLO_BYTES = 40
_CLIENT_HELLO = 1
_PADDING, _PING, _ACK, _ACK_ECN, _CRYPTO = 0, 1, 2, 3, 6


class _Version(NamedTuple):
    """What differs between versions: RFC 9001 section 5.2, RFC 9369 section 3.3."""

    salt: bytes
    labels: tuple[bytes, bytes, bytes]
    initial: int  # the type of the packet


_VERSIONS = {
    1: _Version(
        bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), (b"quic key", b"quic iv", b"quic hp"), initial=0
    ),
    0x6B3343CF: _Version(
        bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
        (b"quicv2 key", b"quicv2 iv", b"quicv2 hp"),
        initial=1,
    ),
}


class _Keys(NamedTuple):
    packet: tuple[int, ...]
    header: tuple[int, ...]
    nonce: int


class _Packet(NamedTuple):
    """A protected Initial: where its number is in the datagram, and where it ends."""

    version: int
    connection: bytes
    number_at: int
    end: int


class QuicHello:
    """The first datagrams that a client sends on one flow."""

    def __init__(self) -> None:
        self._pieces: dict[int, bytes] = {}  # of the handshake, by where they belong
        self._keys: _Keys | None = None
        self._datagrams = 0

    def datagram(self, payload: bytes) -> ClientHello | None:
        """What the hello says so far, None where there is none yet."""
        self._datagrams += 1
        if self._datagrams > MAX_DATAGRAMS:
            return None
        payload = payload[:_MAX_DATAGRAM_BYTES]
        at = 0
        for _ in range(_MAX_PACKETS):
            packet = _initial(payload, at)
            if packet is None:
                break
            self._take(payload, at, packet)
            at = packet.end
        return self._hello()

    def _take(self, payload: bytes, at: int, packet: _Packet) -> None:
        """The keys of a flow are those of its first packet, but for a server that says Retry."""
        for keys in dict.fromkeys((self._keys, _keys(packet.version, packet.connection))):
            pieces = keys and _handshake(payload, at, packet, keys)
            if pieces is not None:
                self._keys = keys
                self._pieces.update(pieces)
                return

    def _hello(self) -> ClientHello | None:
        joined = b""
        for at in sorted(self._pieces):
            if at > len(joined) or at > MAX_HELLO_BYTES:
                break
            joined = joined[:at] + self._pieces[at] if at + len(self._pieces[at]) > len(joined) else joined
        if len(joined) < _LEAST_HELLO_BYTES or joined[0] != _CLIENT_HELLO:
            return None
        wanted = 4 + int.from_bytes(joined[1:4])
        return client_hello(joined[:wanted], len(joined) >= wanted)


def _initial(payload: bytes, at: int) -> _Packet | None:
    """The Initial at this place: RFC 9000 section 17.2.2."""
    version = int.from_bytes(payload[at + 1 : at + 5])
    known = _VERSIONS.get(version)
    if known is None or len(payload) < at + 7 or payload[at] >> 4 != 0x0C | known.initial:
        return None
    size = payload[at + 5]
    source_at = at + 6 + size
    if size > _MAX_CONNECTION_ID or source_at >= len(payload):
        return None
    token_bytes, token_at = _varint(payload, source_at + 1 + payload[source_at])
    length, number_at = _varint(payload, token_at + token_bytes)
    end = number_at + length
    if length < _NUMBER_BYTES + _SAMPLE_BYTES or end > len(payload):
        return None
    return _Packet(version, payload[at + 6 : source_at], number_at, end)


@lru_cache(maxsize=64)  # of the two datagrams of a hello
def _keys(version: int, connection: bytes) -> _Keys:
    known = _VERSIONS[version]
    secret = _expanded(hmac.digest(known.salt, connection, "sha256"), b"client in", 32)
    key, nonce, header = (
        _expanded(secret, label, size) for label, size in zip(known.labels, (16, 12, 16), strict=True)
    )
    return _Keys(key_schedule(key), key_schedule(header), int.from_bytes(nonce))


def _expanded(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label of at most 32 bytes: RFC 8446 section 7.1."""
    label = b"tls13 " + label
    return hmac.digest(secret, size.to_bytes(2) + bytes((len(label),)) + label + b"\0\1", "sha256")[:size]


def _handshake(payload: bytes, at: int, packet: _Packet, keys: _Keys) -> dict[int, bytes] | None:
    """What the packet's CRYPTO frames hold; None where these keys make no sense of it."""
    number_at = packet.number_at
    sample = payload[number_at + _NUMBER_BYTES : number_at + _NUMBER_BYTES + _SAMPLE_BYTES]
    mask = encrypt(keys.header, sample)
    first = payload[at] ^ mask[0] & 0x0F
    if first & 0x0C:  # reserved: RFC 9000 section 17.2
        return None
    size = (first & 0x03) + 1
    number = int.from_bytes(payload[number_at : number_at + size]) ^ int.from_bytes(mask[1 : 1 + size])
    nonce = (keys.nonce ^ number).to_bytes(12)
    return _crypto(counter_mode(keys.packet, nonce, payload[number_at + size : packet.end - _TAG_BYTES]))


def _crypto(frames: bytes) -> dict[int, bytes] | None:
    """CRYPTO frames by their offsets; None where there are others than an Initial may have: RFC 9000 section 17.2.2."""
    pieces: dict[int, bytes] = {}
    at = 0
    for _ in range(_MAX_FRAMES):
        while at < len(frames) and frames[at] == _PADDING:
            at = len(frames) - len(frames[at:].lstrip(b"\0"))
        if at >= len(frames):
            return pieces
        kind = frames[at]
        at += 1
        if kind == _CRYPTO:
            offset, at = _varint(frames, at)
            size, at = _varint(frames, at)
            if at + size > len(frames):
                return None
            pieces[offset] = frames[at : at + size]
            at += size
        elif kind in (_ACK, _ACK_ECN):
            at = _behind_ack(frames, at, 3 if kind == _ACK_ECN else 0)
        elif kind != _PING:
            return None
    return pieces


def _behind_ack(frames: bytes, at: int, counts: int) -> int:
    """RFC 9000 section 19.3."""
    for _ in range(2):
        at = _varint(frames, at)[1]
    ranges, at = _varint(frames, at)
    for _ in range(1 + 2 * min(ranges, 64) + counts):
        at = _varint(frames, at)[1]
    return at


def _varint(text: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends, which may be behind the text: RFC 9000 section 16."""
    size = 1 << (text[at] >> 6) if at < len(text) else 1
    return int.from_bytes(text[at : at + size]) & (1 << 8 * size - 2) - 1, at + size
