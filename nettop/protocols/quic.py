"""The ClientHello in QUIC's Initial packets (RFC 9000, 9001, 9369), which everybody on the path can decrypt."""

import hmac
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from nettop.protocols.tls import MAX_HELLO_BYTES, ClientHello, client_hello

MAX_DATAGRAMS = 8  # of one flow: a hello takes two, with post-quantum keys, and is sent again; as in bpf/quic.c
_MAX_PIECES = 128  # of one hello; Chrome makes some ten
_MAX_DATAGRAM_BYTES = 1500
_MAX_PACKETS = 4  # of one datagram
_MAX_FRAMES = 64  # of one packet; Chrome shuffles some ten
_MAX_CONNECTION_ID = 20
_SAMPLE_BYTES, _NUMBER_BYTES = 16, 4
_LEAST_HELLO_BYTES = 40
_CLIENT_HELLO = 1
_PADDING, _PING, _ACK, _ACK_ECN, _CRYPTO = 0, 1, 2, 3, 6


class _Version(NamedTuple):
    """What differs between versions: RFC 9001 section 5.2, RFC 9369 section 3.3."""

    salt: bytes
    labels: tuple[bytes, bytes, bytes]
    initial: int  # the type of the packet
    name: int


_VERSIONS = {
    1: _Version(
        bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
        (b"quic key", b"quic iv", b"quic hp"),
        initial=0,
        name=1,
    ),
    0x6B3343CF: _Version(
        bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
        (b"quicv2 key", b"quicv2 iv", b"quicv2 hp"),
        initial=1,
        name=2,
    ),
}


class _Keys(NamedTuple):
    """`mask` takes a sample of a packet; `text` nonce, ciphertext and header: None if that is not its key."""

    mask: Callable[[bytes], bytes]
    text: Callable[[bytes, bytes, bytes], bytes | None]
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
        self.version: int | None = None  # of QUIC, 1 or 2: of the newest packet that was one
        self._pieces: dict[int, bytes] = {}  # of the handshake, by where they belong
        self._keys: _Keys | None = None
        self._datagrams = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more is looked at."""
        return self._datagrams >= MAX_DATAGRAMS

    def datagram(self, payload: bytes) -> ClientHello | None:
        """What the hello says so far, None where there is none yet."""
        if self.is_over:
            return None
        self._datagrams += 1
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
                self.version = _VERSIONS[packet.version].name
                if len(self._pieces) < _MAX_PIECES:
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
    return _Keys(_masks(header), _texts(key), int.from_bytes(nonce))


def _masks(key: bytes) -> Callable[[bytes], bytes]:
    """AES of one block: RFC 9001 section 5.4.3."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415 - 11 MB, for QUIC only

    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # noqa: S305 - as QUIC has it


def _texts(key: bytes) -> Callable[[bytes, bytes, bytes], bytes | None]:
    """AES-GCM, which also says whether these are the keys, and nothing was changed on the way."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see _masks()
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    decrypt = AESGCM(key).decrypt

    def text(nonce: bytes, protected: bytes, header: bytes) -> bytes | None:
        try:
            return decrypt(nonce, protected, header)
        except InvalidTag:
            return None

    return text


def _expanded(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label of at most 32 bytes: RFC 8446 section 7.1."""
    label = b"tls13 " + label
    return hmac.digest(secret, size.to_bytes(2) + bytes((len(label),)) + label + b"\0\1", "sha256")[:size]


def _handshake(payload: bytes, at: int, packet: _Packet, keys: _Keys) -> dict[int, bytes] | None:
    """What the packet's CRYPTO frames hold; None where these are not its keys: RFC 9001 section 5."""
    number_at = packet.number_at
    mask = keys.mask(payload[number_at + _NUMBER_BYTES : number_at + _NUMBER_BYTES + _SAMPLE_BYTES])
    first = payload[at] ^ mask[0] & 0x0F
    text_at = number_at + (first & 0x03) + 1
    number = bytes(one ^ two for one, two in zip(payload[number_at:text_at], mask[1:], strict=False))
    nonce = (keys.nonce ^ int.from_bytes(number)).to_bytes(12)
    header = bytes((first,)) + payload[at + 1 : number_at] + number
    frames = keys.text(nonce, payload[text_at : packet.end], header)
    return None if frames is None else _crypto(frames)


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
