"""UDP flows, listeners, hosts, drops and handshakes against the truth: each row is read as what a scenario would tell.

A scenario that tells nothing of a kind is not asked about it: every one of them has listeners and hosts.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from msgspec import Struct

from nettop.model import rows
from nettop.model.snapshot import Snapshot
from tests.live.truth.rows import Dropped, Flow, Handshake, Host, Listener, Stray, Truth
from tests.live.truth.score import Score

_Told = TypeVar("_Told", bound=Struct)


def compare_counts(score: Score, truth: Truth, snapshot: Snapshot, netns: frozenset[int]) -> None:
    """Add to a score what a snapshot says of these network namespaces."""
    flows = [_flow(row) for row in snapshot.udp if row.netns in netns]
    _compare(score, truth.flows, flows, lambda flow: (flow.local, flow.remote))
    listeners = [_listener(row) for row in snapshot.listeners if row.netns in netns]
    _compare(score, truth.listeners, listeners, lambda listener: (listener.address, listener.port))
    hosts = [_host(row) for row in snapshot.hosts if row.netns in netns]
    _compare(score, truth.hosts, hosts, lambda host: (host.netns, host.address))
    dropped = [_dropped(row) for row in snapshot.processes if row.netns in netns]
    happened = [row for row in dropped if row.drops or row.resets_sent or row.resets_received or row.icmp_errors]
    _compare(score, truth.dropped, happened, lambda process: process.pid)
    strays = [_stray(row) for row in snapshot.strays if row.netns in netns]
    _compare(score, truth.strays, strays, lambda stray: (stray.netns, stray.remote))
    greeted = [_handshake(row, row.tls) for row in snapshot.connections if row.netns in netns and row.tls is not None]
    _compare(score, truth.handshakes, greeted, lambda tls: (tls.pid, tls.version, tls.alpn_offered, tls.resumed))


def _flow(row: rows.UdpFlow) -> Flow:
    return Flow(
        pid=row.pid or 0,
        comm=row.comm or "",
        local=_end(row.local),
        remote=_end(row.remote),
        tx_bytes=row.tx_bytes,
        rx_bytes=row.rx_bytes,
        tx_packets=row.tx_packets or 0,
        rx_packets=row.rx_packets or 0,
    )


def _end(end: rows.Endpoint | rows.RemoteEndpoint | None) -> tuple[str, int]:
    return (end.address, end.port) if end else ("", 0)


def _listener(row: rows.Listener) -> Listener:
    return Listener(
        pid=row.pid or 0,
        comm=row.comm or "",
        address=row.address,
        port=row.port,
        holders=tuple(holder.pid for holder in row.holders),
        queue=row.queue,
        queue_limit=row.queue_limit,
        drops=row.drops,
        accepted=-1 if row.accepted is None else row.accepted,
        open=-1 if row.open is None else row.open,
    )


def _host(row: rows.RemoteHost) -> Host:
    return Host(
        netns=row.netns,
        address=row.address,
        scope=row.scope,
        pids=tuple(sorted(row.pids)),
        accepted=row.accepted,
        failed=row.failed,
        tx_bytes=row.tx_bytes,
        rx_bytes=row.rx_bytes,
        tx_packets=row.tx_packets,
        rx_packets=row.rx_packets,
        unwanted_packets=row.unwanted_packets,
        syns=row.syns,
    )


def _dropped(row: rows.Process) -> Dropped:
    return Dropped(
        pid=row.pid,
        comm=row.comm,
        drops=row.drops or {},
        resets_sent=row.resets_sent or {},
        resets_received=row.resets_received or 0,
        icmp_errors=row.icmp_errors or {},
    )


def _stray(row: rows.Stray) -> Stray:
    return Stray(
        netns=row.netns,
        remote=row.remote or "",
        drops=row.drops or {},
        resets_sent=row.resets_sent or {},
        resets_received=row.resets_received or 0,
        icmp_sent=row.icmp_sent or {},
    )


def _handshake(row: rows.Connection, tls: rows.Tls) -> Handshake:
    return Handshake(
        pid=row.pid or 0,
        server_name=tls.server_name or "",
        version=tls.version or "",
        alpn=tls.alpn or "",
        alpn_offered=tls.alpn_offered,
        cipher=tls.cipher or "",
        resumed=bool(tls.resumed),
    )


def _compare(score: Score, made: Sequence[_Told], seen: Sequence[_Told], key: Callable[[_Told], Hashable]) -> None:
    if not made:
        return
    left: dict[Hashable, list[_Told]] = {}
    for row in seen:
        left.setdefault(key(row), []).append(row)
    score.made += len(made)
    score.seen += len(seen)
    for true in made:
        found = left.get(key(true))
        if not found:
            score.mismatches.append(f"made and not seen: {true}")
            continue
        score.matched += 1
        _compare_fields(score, true, found.pop())
    score.mismatches.extend(f"seen and not made: {row}" for rest in left.values() for row in rest)


def _compare_fields(score: Score, true: Struct, shown: Struct) -> None:
    """Of what is told (not None). A row whose kind has no process has none that is wrong."""
    told = [name for name in true.__struct_fields__ if getattr(true, name) is not None]
    wrong = [name for name in told if getattr(true, name) != getattr(shown, name)]
    score.pids_right += not {"pid", "pids"} & set(wrong)
    score.byte_errors.extend(getattr(shown, name) - getattr(true, name) for name in told if name.endswith("_bytes"))
    if wrong:
        score.mismatches.append(f"{', '.join(wrong)} differ\n  made: {true}\n  seen: {shown}")
