"""Adding up what happened to packets: by process, by far end, by connection."""

from collections.abc import Collection
from typing import Any

from msgspec.structs import replace

from nettop.model.rows import MAX_COUNT, Connection, Dropped, Reasons, Stray

MAX_STRAYS = 4_096  # far ends with a row, some 2 MB; a flood from more of them is in one row together

DROPS, RESETS_SENT, RESETS_RECEIVED = "packet_drops", "resets_sent", "resets_received"
ICMP_SENT, ICMP_RECEIVED = "icmp_errors", "dns_refusals"
"""The needs, as a Start event names them, whose hooks tell these."""


def more(before: Reasons | None, added: Reasons) -> Reasons | None:
    """Both together, where `before` is None if nothing was told yet."""
    if not added:
        return before
    total = dict(before or {})
    for reason, packets in added.items():
        total[reason] = min(total.get(reason, 0) + packets, MAX_COUNT)
    return total


def both(before: Dropped, added: Dropped) -> Dropped:
    """The sum, of whom `before` was."""
    return replace(
        before,
        drops=more(before.drops, added.drops) or {},
        resets_sent=more(before.resets_sent, added.resets_sent) or {},
        resets_received=min(before.resets_received + added.resets_received, MAX_COUNT),
        icmp_sent=more(before.icmp_sent, added.icmp_sent) or {},
        icmp_errors=more(before.icmp_errors, added.icmp_errors) or {},
    )


def of_connection(row: Connection, added: Dropped) -> Connection:
    """The connection with what was added."""
    received = row.resets_received
    if added.resets_received:
        received = (received or 0) + added.resets_received
    return replace(
        row,
        drops=more(row.drops, added.drops),
        resets_sent=more(row.resets_sent, added.resets_sent),
        resets_received=received,
    )


def of_process(total: Dropped | None, hooks: Collection[str]) -> dict[str, Any]:
    """The sums among the fields of a process. What no hook tells is None, not 0."""
    counts = total or _NOTHING
    return {
        "drops": _known(counts.drops, DROPS in hooks),
        "resets_sent": _known(counts.resets_sent, RESETS_SENT in hooks),
        "resets_received": counts.resets_received if counts.resets_received or RESETS_RECEIVED in hooks else None,
        "icmp_errors": _known(counts.icmp_errors, ICMP_RECEIVED in hooks),
    }


def _known(counts: Reasons | None, told: bool) -> Reasons | None:
    return counts or {} if counts or told else None


_NOTHING = Dropped(pid=None, process_start_time=None, netns=0)


class Strays:
    """Packets of no known process, by network namespace and far end."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, str | None], Stray] = {}

    def add(self, told: Dropped, hooks: Collection[str]) -> None:
        """Without room, it goes to what has no far end."""
        key = (told.netns, told.remote)
        if key not in self._rows and len(self._rows) >= MAX_STRAYS:
            key = (0, None)
        before = self._rows.get(key, Stray(netns=key[0], remote=key[1]))
        self._rows[key] = Stray(
            netns=key[0],
            remote=key[1],
            drops=_known(more(before.drops, told.drops), DROPS in hooks),
            resets_sent=_known(more(before.resets_sent, told.resets_sent), RESETS_SENT in hooks),
            resets_received=min((before.resets_received or 0) + told.resets_received, MAX_COUNT),
            icmp_sent=_known(more(before.icmp_sent, told.icmp_sent), ICMP_SENT in hooks),
        )

    @property
    def rows(self) -> tuple[Stray, ...]:
        """In the order in which they were first seen."""
        return tuple(self._rows.values())
