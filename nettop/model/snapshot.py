"""The whole of what is known at one moment: what the screen draws, what is exported, what a recording replays to."""

from datetime import datetime
from typing import Final, Literal

from msgspec import field
from msgspec.structs import replace

from nettop.model.rows import (
    Connection,
    Count,
    DnsQuery,
    Host,
    Kept,
    Listener,
    Lookup,
    LookupCoverage,
    Losses,
    Process,
    RemoteHost,
    Request,
    Row,
    Scope,
    Seconds,
    Stray,
    Time,
    Transmission,
    UdpFlow,
)
from nettop.model.timeline import SecondSums

SNAPSHOT_SCHEMA: Final = "nettop.snapshot/1"


class Snapshot(Row, frozen=True, gc=False, kw_only=True):
    """Rows are in the order of their ids, processes in the order in which they were first seen.

    `filter` is the expression that chose the rows (None: all are here). Where a filtered recording is filtered again,
    it has both expressions one after the other, in parentheses if they have alternatives. `filter_not_applied` names
    for each kind of rows the terms that say nothing about it and so did not choose, `filtered_out` counts the rows that
    were not chosen. Replayed from a filtered recording, the totals of processes are those of the rows that were
    recorded, and how many were not is not known. `strays` are not filtered. `kept` says of each kind of rows how far
    back they go. `timeline` are the last hour's seconds, of everything; a filter leaves out only processes. `mark` is
    set where the screen had one: totals of processes and hosts count from then on, but for percentiles and maxima, and
    what has an id above that in `mark_ids` was first seen after it. `lookup_coverage` is None unless look-ups in C
    libraries were watched.
    """

    schema: Literal["nettop.snapshot/1"] = SNAPSHOT_SCHEMA
    nettop: str
    host: Host
    started_at: Time
    captured_at: Time
    elapsed_s: Seconds
    paused: bool = False
    filter: str | None = None
    filter_not_applied: dict[str, tuple[str, ...]] = field(default_factory=dict)
    filtered_out: dict[str, Count] = field(default_factory=dict)
    scope: Scope
    hooks: dict[str, str]
    losses: Losses
    processes: tuple[Process, ...]
    connections: tuple[Connection, ...]
    dns: tuple[DnsQuery, ...]
    strays: tuple[Stray, ...] = ()
    hosts: tuple[RemoteHost, ...] = ()
    udp: tuple[UdpFlow, ...] = ()
    listeners: tuple[Listener, ...] = ()
    requests: tuple[Request, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    lookup_coverage: LookupCoverage | None = None
    kept: dict[str, Kept] = field(default_factory=dict)
    timeline: tuple[SecondSums, ...] = ()
    mark: Time | None = None
    mark_ids: dict[str, Count] = field(default_factory=dict)

    def complete_since(self, kind: str) -> datetime | None:
        """Since when all rows of a kind are here, failed or not; None if none had to make room, or nobody knows."""
        kept = self.kept.get(kind)
        moments = () if kept is None else (kept.complete_since, kept.lasting_since)
        return max(filter(None, moments), default=None)


def sent_by(sends: Transmission, now: datetime) -> Transmission:
    """The same with what goes on counted until now: the kernel tells of it again when it changes."""
    since_ms = round(max((now - sends.counted_at).total_seconds() * 1000, 0.0), 3)
    if sends.sending == "nothing" or not since_ms:
        return sends
    held = {"rwnd-limited": "rwnd_limited_ms", "sndbuf-limited": "sndbuf_limited_ms"}.get(sends.sending)
    times = {name: round(getattr(sends, name) + since_ms, 3) for name in ("busy_ms", held) if name is not None}
    return replace(sends, counted_at=now, **times)


def with_ages(snapshot: Snapshot) -> Snapshot:
    """The snapshot with how long open connections have lasted, been in their state and waited, until it was made.

    Rows do not carry that: all would change always.
    """
    now = snapshot.captured_at

    def since(moment: datetime | None, told_ms: float | None) -> float | None:
        if told_ms is not None or moment is None:
            return told_ms
        return round(max((now - moment).total_seconds() * 1000, 0.0), 3)

    def aged(row: Connection) -> Connection:
        if row.state == "closed":
            return row
        states_ms = row.states_ms
        lasted_ms = row.in_state_ms(row.state, now)
        if lasted_ms is not None:
            states_ms = {**states_ms, row.state: round(lasted_ms, 3)}
        return replace(
            row,
            duration_ms=since(row.opened_at, row.duration_ms),
            states_ms=states_ms,
            waits_ms=since(row.waits_since, row.waits_ms),
            transmission=row.transmission and sent_by(row.transmission, now),
        )

    return replace(snapshot, connections=tuple(map(aged, snapshot.connections)))
