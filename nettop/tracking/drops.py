"""Dropped packets, resets and ICMP errors: the kernel's counts as what happened to each socket and far end."""

from collections.abc import Callable, Iterable

from nettop.kernel import abi
from nettop.kernel.abi import DropCount, DropKey, StrayKey
from nettop.model import dropped
from nettop.model.rows import Dropped
from nettop.tracking.addresses import address_text

Reason = Callable[[int, int], str]  # its name, by kind and number


def by_socket(
    counted: Iterable[tuple[DropKey, DropCount]], reason: Reason
) -> dict[tuple[int, int], tuple[DropCount, Dropped]]:
    """By socket and seen_ns: who has it according to the kernel side, and what happened to its packets."""
    found: dict[tuple[int, int], tuple[DropCount, Dropped]] = {}
    for key, count in counted:
        happened = _happened(key.kind, reason(key.kind, key.reason), count.packets, count.netns)
        before = found.get((key.socket, key.seen_ns))
        found[key.socket, key.seen_ns] = count, happened if before is None else dropped.both(before[1], happened)
    return found


def by_far_end(counted: Iterable[tuple[StrayKey, int]], reason: Reason) -> list[Dropped]:
    """What happened to packets of no known socket."""
    found: dict[tuple[int, str], Dropped] = {}
    for key, packets in counted:
        remote = address_text(key.ip_version, key.remote_address)
        happened = _happened(key.kind, reason(key.kind, key.reason), packets, key.netns, remote)
        before = found.get((key.netns, remote))
        found[key.netns, remote] = happened if before is None else dropped.both(before, happened)
    return list(found.values())


def _happened(kind: int, reason: str, packets: int, netns: int, remote: str | None = None) -> Dropped:
    counts = {reason: packets}
    return Dropped(
        pid=None,
        process_start_time=None,
        netns=netns,
        remote=remote,
        drops=counts if kind == abi.PACKET_DROPPED else {},
        resets_sent=counts if kind == abi.RESET_SENT else {},
        resets_received=packets if kind == abi.RESET_RECEIVED else 0,
        icmp_sent=counts if kind == abi.ICMP_SENT else {},
        icmp_errors=counts if kind == abi.ICMP_RECEIVED else {},
    )
