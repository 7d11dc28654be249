"""The part of TLS that is not encrypted: hellos and the alerts that end a handshake (RFC 8446, RFC 5246).

A hello that was captured in part gives what is whole in it; what may lie behind the cut is None, never guessed.
"""

from typing import NamedTuple

from msgspec import Struct

from nettop.protocols.tls_ciphers import cipher_name
from nettop.text import printable

MAX_HELLO_BYTES = 16_384  # as much as one record holds; a ClientHello with post-quantum keys has 2,000
MAX_NAME_BYTES = 255  # RFC 1035 section 2.3.4
MAX_PROTOCOLS = 16  # of one offer; browsers name two or three
_MAX_RECORDS = 64  # that one hello lies in; nearly all lie in one
_MAX_EXTENSIONS = 128  # some sixty are registered
_RECORD_BYTES, _MESSAGE_BYTES, _RANDOM_BYTES = 5, 4, 32
_CHANGE_CIPHER_SPEC, _ALERT, _HANDSHAKE = 20, 21, 22  # types of records
_CLIENT_HELLO, _SERVER_HELLO, _NEW_TICKET, _CERTIFICATE = 1, 2, 4, 11  # types of handshake messages
_SERVER_NAME, _ALPN, _TICKET, _PRE_SHARED_KEY, _VERSIONS, _ECH = 0, 16, 35, 41, 43, 0xFE0D
_TLS_1_2, _TLS_1_3 = 0x0303, 0x0304
_ONLY_1_3 = b"\x13"  # with which its cipher suites begin; no other version may choose one (RFC 8446 appendix B.4)
_VERSION_NAMES = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", _TLS_1_2: "TLS 1.2", _TLS_1_3: "TLS 1.3"}
_RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
_FATAL, _CLOSE_NOTIFY, _USER_CANCELED = 2, 0, 90
_ALERTS = {
    _CLOSE_NOTIFY: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow",
    40: "handshake_failure", 41: "no_certificate", 42: "bad_certificate", 43: "unsupported_certificate",
    44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown", 47: "illegal_parameter",
    48: "unknown_ca", 49: "access_denied", 50: "decode_error", 51: "decrypt_error", 70: "protocol_version",
    71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback", _USER_CANCELED: "user_canceled",
    100: "no_renegotiation", 109: "missing_extension", 110: "unsupported_extension", 112: "unrecognized_name",
    113: "bad_certificate_status_response", 115: "unknown_psk_identity", 116: "certificate_required",
    120: "no_application_protocol", 121: "ech_required",
}  # fmt: skip


class ClientHello(Struct, frozen=True, gc=False):
    """What a client offers. `ech` says that the name may be a front: clients also pretend, so it is no proof.
    `cut` says that not all of it was captured.
    """

    server_name: str | None
    alpn: tuple[str, ...]
    versions: tuple[str, ...]
    resumption: bool | None
    ech: bool | None
    cut: bool


class ServerHello(Struct, frozen=True, gc=False):
    """What a server chose. TLS 1.3 encrypts the protocol of ALPN, so that it is None there.

    `retry`: a HelloRetryRequest, after which the client says hello again.
    """

    version: str | None
    cipher: str | None
    alpn: str | None
    resumed: bool | None
    retry: bool
    cut: bool


class TlsAlert(Struct, frozen=True, gc=False):
    """An alert that is not encrypted. `ends` says whether the handshake is over."""

    description: str
    ends: bool


TlsMessage = ClientHello | ServerHello | TlsAlert


class _Handshake(NamedTuple):
    """The first message of a flight, whether all of it is there, and how the flight goes on."""

    message: bytes
    whole: bool
    resumed: bool | None


def parse(payload: bytes) -> TlsMessage | None:
    """A hello or an alert from the beginning of its first record; None if it is neither."""
    payload = _after_change_cipher_spec(payload)
    if len(payload) < _RECORD_BYTES or payload[1] != 3 or payload[2] > 4:
        return None
    if payload[0] == _ALERT:
        return _alert(payload)
    if payload[0] != _HANDSHAKE:
        return None
    flight = _first_message(payload)
    if flight is None:
        return None
    if flight.message[0] == _CLIENT_HELLO:
        return client_hello(flight.message, flight.whole)
    return _server_hello(flight)


def _after_change_cipher_spec(payload: bytes) -> bytes:
    """Clients send one in front of their second hello, for middleboxes: RFC 8446 appendix D.4."""
    if payload[:1] == bytes((_CHANGE_CIPHER_SPEC,)) and payload[3:6] == b"\0\1\1":
        return payload[6:]
    return payload


def _alert(payload: bytes) -> TlsAlert | None:
    """Encrypted ones are longer than two bytes."""
    if payload[3:5] != b"\0\2" or len(payload) < 7:
        return None
    level, code = payload[5], payload[6]
    if level not in (1, _FATAL):
        return None
    return TlsAlert(_ALERTS.get(code) or f"alert {code}", level == _FATAL or code in (_CLOSE_NOTIFY, _USER_CANCELED))


def _first_message(payload: bytes) -> _Handshake | None:
    """A hello out of as many records as it lies in."""
    if payload[5:6] not in (b"\1", b"\2"):
        return None
    handshake, end = _handshake_bytes(payload, MAX_HELLO_BYTES)
    if len(handshake) < _MESSAGE_BYTES + 2 + _RANDOM_BYTES:
        return None
    wanted = _MESSAGE_BYTES + int.from_bytes(handshake[1:_MESSAGE_BYTES])
    if handshake[4] != 3 or wanted < _MESSAGE_BYTES + 2 + _RANDOM_BYTES:
        return None
    following = handshake[wanted] if len(handshake) > wanted else None
    return _Handshake(handshake[:wanted], len(handshake) >= wanted, _is_resumed(following, payload[end : end + 1]))


def _handshake_bytes(payload: bytes, most: int) -> tuple[bytes, int]:
    """What the handshake records at the beginning carry, and where the first other record begins."""
    size = int.from_bytes(payload[3:5])
    at = _RECORD_BYTES + size
    if at >= len(payload) or payload[at] != _HANDSHAKE:  # nearly always
        return payload[_RECORD_BYTES:at], at
    joined = bytearray(payload[_RECORD_BYTES:at])
    for _ in range(_MAX_RECORDS):
        if payload[at : at + 1] != b"\x16" or len(joined) >= most:
            break
        size = int.from_bytes(payload[at + 3 : at + 5])
        joined += payload[at + _RECORD_BYTES : at + _RECORD_BYTES + size]
        at += _RECORD_BYTES + size
    return bytes(joined[:most]), at


def _is_resumed(next_message: int | None, next_record: bytes) -> bool | None:
    """Up to TLS 1.2 a server that resumes shows no certificate: it changes ciphers at once, or after a new ticket."""
    if next_message is not None:
        return next_message == _NEW_TICKET if next_message in (_NEW_TICKET, *range(_CERTIFICATE, 17), 22) else None
    return True if next_record == bytes((_CHANGE_CIPHER_SPEC,)) else None


def client_hello(message: bytes, whole: bool) -> ClientHello:
    """A ClientHello from its type on, which QUIC carries without records."""
    session_at = _MESSAGE_BYTES + 2 + _RANDOM_BYTES
    session_bytes = message[session_at] if session_at < len(message) else 0
    at = session_at + 1 + session_bytes
    at += 2 + int.from_bytes(message[at : at + 2])  # cipher suites
    at += 1 + (message[at] if at < len(message) else 0)  # compression methods
    extensions, all_read = _extensions(message, at, whole)
    name = extensions.get(_SERVER_NAME)
    versions = _offered_versions(extensions.get(_VERSIONS), int.from_bytes(message[4:6]) if all_read else None)
    return ClientHello(
        server_name=None if name is None else _server_name(name),
        alpn=_protocols(extensions.get(_ALPN, b"")),
        versions=tuple(_version_name(version) for version in versions),
        resumption=_offers_resumption(extensions, versions, session_bytes, all_read),
        ech=True if extensions.get(_ECH, b"\1")[:1] == b"\0" else False if all_read else None,
        cut=not whole,
    )


def _server_hello(flight: _Handshake) -> ServerHello:
    message = flight.message
    session_at = _MESSAGE_BYTES + 2 + _RANDOM_BYTES
    at = session_at + 1 + (message[session_at] if session_at < len(message) else 0)
    cipher = message[at : at + 2]
    extensions, all_read = _extensions(message, at + 3, flight.whole)
    version: int | None = int.from_bytes(message[4:6])
    if len(chosen := extensions.get(_VERSIONS, b"")) == 2:
        version = int.from_bytes(chosen)
    elif version == _TLS_1_2 and cipher[:1] == _ONLY_1_3:
        version = _TLS_1_3  # a key share that is safe from quantum computers has pushed the extension out
    elif version == _TLS_1_2 and not all_read:
        version = None  # or 1.3, which is told in an extension
    resumed = flight.resumed
    if version is None or version >= _TLS_1_3:
        resumed = True if _PRE_SHARED_KEY in extensions else False if all_read else None
    protocols = _protocols(extensions.get(_ALPN, b""))
    retry = message[6:session_at] == _RETRY_RANDOM
    return ServerHello(
        version=None if version is None else _version_name(version),
        cipher=cipher_name(int.from_bytes(cipher)) if len(cipher) == 2 else None,
        alpn=protocols[0] if protocols else None,
        resumed=None if retry else resumed,
        retry=retry,
        cut=not flight.whole,
    )


def _extensions(message: bytes, at: int, whole: bool) -> tuple[dict[int, bytes], bool]:
    """The first whole one of each kind, and whether nothing is missing behind them."""
    if at == len(message) and whole:
        return {}, True  # they are optional up to TLS 1.2
    if at + 2 > len(message):
        return {}, False
    end = at + 2 + int.from_bytes(message[at : at + 2])
    at += 2
    found: dict[int, bytes] = {}
    for _ in range(_MAX_EXTENSIONS):
        if at + 4 > min(end, len(message)):
            break
        kind = message[at] << 8 | message[at + 1]
        last = at + 4 + (message[at + 2] << 8 | message[at + 3])
        if last > min(end, len(message)):
            break
        found.setdefault(kind, message[at + 4 : last])
        at = last
    return found, at == end


def _server_name(extension: bytes) -> str | None:
    """The first name of a list of which nobody sends two: RFC 6066 section 3."""
    size = int.from_bytes(extension[3:5])
    name = extension[5 : 5 + size]
    if extension[2:3] != b"\0" or not 0 < size == len(name) <= MAX_NAME_BYTES:
        return None
    return printable(name)


def _protocols(extension: bytes) -> tuple[str, ...]:
    """A list of names, each behind its length: RFC 7301 section 3.1."""
    names: list[str] = []
    at = 2
    while at < len(extension) and len(names) < MAX_PROTOCOLS:
        last = at + 1 + extension[at]
        name = extension[at + 1 : last]
        if not name or last > len(extension):
            break
        if not (len(name) == 2 and _is_grease(int.from_bytes(name))):
            names.append(printable(name))
        at = last
    return tuple(names)


def _offered_versions(extension: bytes | None, legacy: int | None) -> tuple[int, ...]:
    """In the client's order; where it lists none, the one that it names at the beginning is its highest."""
    if extension is None:
        return () if legacy is None else (legacy,)
    listed = extension[1 : 1 + (extension[0] if extension else 0)]
    versions = (listed[at] << 8 | listed[at + 1] for at in range(0, min(len(listed) - 1, 2 * MAX_PROTOCOLS), 2))
    return tuple(version for version in versions if not _is_grease(version))


def _offers_resumption(
    extensions: dict[int, bytes], versions: tuple[int, ...], session_bytes: int, all_read: bool
) -> bool | None:
    """By a key, a ticket or a session's id; with TLS 1.3 on offer, an id alone is there for middleboxes."""
    if _PRE_SHARED_KEY in extensions or extensions.get(_TICKET):
        return True
    if not all_read:
        return None
    return bool(session_bytes) and _TLS_1_3 not in versions


def _is_grease(number: int) -> bool:
    """Values that clients strew in so that servers ignore what they do not know: RFC 8701."""
    return number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF


def _version_name(version: int) -> str:
    return _VERSION_NAMES.get(version) or f"0x{version:04x}"
