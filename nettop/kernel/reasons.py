"""Why packets are dropped and connections reset, in the running kernel's own words: its numbers drift."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import suppress

from nettop.kernel import abi
from nettop.kernel.btf import Btf, BtfError

Enumerators = dict[str, dict[int, str]]  # names of values, by the name of the enum

_DROP, _RESET, _SUBSYSTEM = "skb_drop_reason", "sk_rst_reason", "skb_drop_reason_subsys"
_PREFIXES = ("SKB_DROP_REASON_SUBSYS_", "SKB_DROP_REASON_", "SKB_", "SK_RST_REASON_")
_SUBSYSTEM_SHIFT = 16  # SKB_DROP_REASON_SUBSYS_SHIFT, include/net/dropreason.h
# Where the kernel says nothing, or only that something was put away: what it frees in passing, before it had a word for
# that, and what a program had not read when it closed its socket.
_NO_DROPS = (
    "SKB_NOT_DROPPED_YET",
    "SKB_CONSUMED",
    "SKB_DROP_REASON_NOT_SPECIFIED",
    "SKB_DROP_REASON_QUEUE_PURGE",
)
# What the kernel gives for a TCP segment that is wholly before what it expects: since Linux 6.6, and before that, when
# this stood for one beyond the window too.
_OLD_SEQUENCE = ("SKB_DROP_REASON_TCP_OLD_SEQUENCE", "SKB_DROP_REASON_TCP_INVALID_SEQUENCE")
# For one that ends where the next begins, and for one that is sent into a shut window, by older kernels and by newer.
_OLD_OR_BEYOND = (
    "SKB_DROP_REASON_TCP_OLD_DATA",
    "SKB_DROP_REASON_TCP_ZEROWINDOW",
    "SKB_DROP_REASON_TCP_INVALID_END_SEQUENCE",
)
# That nothing in the kernel wants a packet of which raw sockets may have copies, or that such a socket refuses its own.
_OF_COPIES = (
    "SKB_DROP_REASON_NO_SOCKET",
    "SKB_DROP_REASON_UNHANDLED_PROTO",
    "SKB_DROP_REASON_SOCKET_FILTER",
)
_ICMP = {  # RFC 792, RFC 1812 section 5.2.7.1
    (3, 0): "net-unreachable",
    (3, 1): "host-unreachable",
    (3, 2): "protocol-unreachable",
    (3, 3): "port-unreachable",
    (3, 4): "fragmentation-needed",
    (3, 9): "net-prohibited",
    (3, 10): "host-prohibited",
    (3, 13): "admin-prohibited",
    (11, 0): "ttl-exceeded",
    (11, 1): "reassembly-timeout",
}


def enumerators(btf: Btf) -> Enumerators:
    """The kernel's names. An older one has fewer enums or none."""
    found: Enumerators = {}
    for name in (_DROP, _RESET, _SUBSYSTEM):
        with suppress(BtfError):
            found[name] = btf.enumerators(name)
    return found


def defines(names: Enumerators) -> Iterator[str]:
    """What bpf/drops.c is compiled with."""
    known = names.get(_DROP, {}).values()
    old_sequence = [name for name in _OLD_SEQUENCE if name in known][:1]
    for macro, wanted in (
        ("IS_NO_DROP", _NO_DROPS),
        ("IS_OLD_SEQUENCE", old_sequence),
        ("IS_OLD_OR_BEYOND", _OLD_OR_BEYOND),
        ("IS_OF_COPIES", _OF_COPIES),
    ):
        numbers = [number for number, name in names.get(_DROP, {}).items() if name in wanted]
        yield f"-D{macro}(reason)=({' || '.join(f'(reason) == {number}' for number in numbers) or '0'})"


def reason(names: Enumerators, kind: int, number: int) -> str:
    """The name without the prefix of its enum; for a reset that was received, which has no reason, an empty one."""
    if kind == abi.PACKET_DROPPED:
        return _drop_reason(names, number)
    if kind == abi.RESET_SENT:
        return _named(names.get(_RESET, {}), number) if number != abi.REASON_UNTOLD else "UNKNOWN"
    if kind == abi.ICMP_SENT:
        return _ICMP.get((number >> 8, number & 255), f"type {number >> 8} code {number & 255}")
    return errno.errorcode.get(number, str(number)) if kind == abi.ICMP_RECEIVED else ""


def _drop_reason(names: Enumerators, number: int) -> str:
    subsystem = number >> _SUBSYSTEM_SHIFT
    if not subsystem:
        return _named(names.get(_DROP, {}), number)
    of_subsystem = number & ((1 << _SUBSYSTEM_SHIFT) - 1)
    return f"{_named(names.get(_SUBSYSTEM, {}), subsystem)} {of_subsystem}"


def _named(values: Mapping[int, str], number: int) -> str:
    name = values.get(number)
    if name is None:
        return f"reason {number}"
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name
