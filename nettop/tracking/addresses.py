"""Addresses as the kernel keeps them, as people write them."""

import socket
from functools import lru_cache

from nettop.kernel.abi import SocketRecord
from nettop.model.rows import Endpoint, Family

_AF_INET6 = 10
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"  # RFC 4291 section 2.5.5.2


def is_mapped(raw: bytes) -> bool:
    """Whether 16 bytes are an IPv4-mapped IPv6 address, which to a person is an IPv4 address."""
    return raw.startswith(_MAPPED_PREFIX)


@lru_cache(maxsize=16_384)  # a busy host's peers; about 2 MB
def address_text(ip_version: int, raw: bytes) -> str:
    """Text of an address in network order, IPv4 in the first four bytes; IPv6 as RFC 5952 has it, mapped as IPv4."""
    if ip_version == 4:
        return socket.inet_ntop(socket.AF_INET, raw[:4])
    if is_mapped(raw):
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)


def ip_version(record: SocketRecord) -> int:
    """4 or 6: how the addresses of a socket lie in its record."""
    return 6 if record.family == _AF_INET6 else 4


def address_of(family: int, raw: bytes) -> str:
    """Text of an address of this AF_*."""
    return address_text(6 if family == _AF_INET6 else 4, raw)


def family_of(record: SocketRecord, raw: bytes) -> Family:
    """What one of the addresses of a socket is to a person."""
    return "ipv6" if ip_version(record) == 6 and not is_mapped(raw) else "ipv4"


def local_end(record: SocketRecord) -> Endpoint:
    """The near end of a socket."""
    return Endpoint(address=address_text(ip_version(record), record.local_address), port=record.local_port)
