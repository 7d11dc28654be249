"""A snapshot against the truth: each row that was made is paired with the row that shows it, and what remains is wrong.

Pure: rows in, a Score out. The figures are the lists that it holds; what is asserted of them is the tests' business.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from nettop.model import rows
from nettop.model.snapshot import Snapshot
from tests.live.truth.compare_counts import compare_counts
from tests.live.truth.compare_requests import compare_requests
from tests.live.truth.pairs import hold, paired
from tests.live.truth.rows import Connection, Query, Truth
from tests.live.truth.score import Score

ROUNDED_MS = 0.005  # times are told to the microsecond, and several are added up


def compare(truth: Truth, snapshot: Snapshot, netns: frozenset[int], wall: Callable[[int], datetime]) -> Score:
    """The score of what a snapshot says about these network namespaces. `wall` turns CLOCK_MONOTONIC to wall time."""
    score = Score()
    for query, row in paired(
        score,
        truth.queries,
        [row for row in snapshot.dns if row.netns in netns],
        key_of_made=lambda true: (true.qname.lower(), true.qtype, true.transport, true.server),
        key_of_seen=lambda row: ((row.qname or "").lower(), row.qtype, row.transport, row.server.address),
        time_of_made=lambda true: _at(true.asked_ns, wall),
        time_of_seen=lambda row: row.asked_at,
    ):
        _compare_query(score, query, row)
    connections = [row for row in snapshot.connections if row.netns in netns and row.pid not in truth.foreign]
    for connection, shown in _paired_connections(score, truth.connections, connections, wall):
        _compare_connection(score, connection, shown)
    _compare_processes(score, truth, [row for row in snapshot.processes if row.netns in netns])
    compare_requests(score, truth, snapshot, netns)
    _compare_lookups(score, truth, snapshot, netns)
    compare_counts(score, truth, snapshot, netns)
    return score


def _at(monotonic_ns: int | None, wall: Callable[[int], datetime]) -> datetime | None:
    return None if monotonic_ns is None else wall(monotonic_ns)


def _paired_connections(
    score: Score, made: Iterable[Connection], seen: list[rows.Connection], wall: Callable[[int], datetime]
) -> list[tuple[Connection, rows.Connection]]:
    """Some programs never learn their own port: theirs are paired last, by the far end only."""
    ports = {(row.remote.address, row.remote.port, row.local.port) for row in seen}
    exact = [true for true in made if (*true.remote, true.local[1]) in ports]
    others = [true for true in made if (*true.remote, true.local[1]) not in ports]
    known = {(*true.remote, true.local[1]) for true in exact}
    mine = [row for row in seen if (row.remote.address, row.remote.port, row.local.port) in known]
    rest = [row for row in seen if (row.remote.address, row.remote.port, row.local.port) not in known]

    def opened(true: Connection) -> datetime | None:
        return _at(true.opened_ns, wall)

    return [
        *paired(
            score,
            exact,
            mine,
            key_of_made=lambda true: (*true.remote, true.local[1]),
            key_of_seen=lambda row: (row.remote.address, row.remote.port, row.local.port),
            time_of_made=opened,
            time_of_seen=lambda row: row.opened_at,
        ),
        *paired(
            score,
            others,
            rest,
            key_of_made=lambda true: (*true.remote, true.direction),
            key_of_seen=lambda row: (row.remote.address, row.remote.port, row.direction),
            time_of_made=opened,
            time_of_seen=lambda row: row.opened_at,
        ),
    ]


def _compare_query(score: Score, true: Query, row: rows.DnsQuery) -> None:
    score.pids_right += row.pid == true.pid
    data = tuple(sorted(answer.data for answer in row.answers))
    facts: list[tuple[object, object]] = [
        (true.pid, row.pid),
        (true.comm, row.comm),
        (true.status, row.status),
        (true.rcode, row.rcode),
        (true.attempts, row.attempts),
        (None if true.answers is None else tuple(sorted(true.answers)), None if true.answers is None else data),
    ]
    hold(score, true, row, facts)
    if true.asked_ns is not None and true.answered_ns is not None and row.latency_ms is not None:
        score.latency_errors_ms.append(row.latency_ms - (true.answered_ns - true.asked_ns) / 1e6)


def _compare_lookups(score: Score, truth: Truth, snapshot: Snapshot, netns: frozenset[int]) -> None:
    """Each with the queries that are joined with it: what is joined and was not asked for it is wrong as well."""
    if not truth.lookups:
        return
    asked: dict[int | None, list[str]] = defaultdict(list)
    for query in snapshot.dns:
        asked[query.lookup_id].append(query.qname or "")
    for true, row in paired(
        score,
        truth.lookups,
        [row for row in snapshot.lookups if row.netns in netns],
        key_of_made=lambda true: (true.name, true.function),
        key_of_seen=lambda row: (row.name, row.function),
        time_of_made=lambda _: None,
        time_of_seen=lambda row: row.asked_at,
    ):
        score.pids_right += row.pid == true.pid
        facts: list[tuple[object, object]] = [
            (true.pid, row.pid),
            (true.comm, row.comm),
            (true.result, row.result),
            (true.asked, tuple(sorted(asked[row.id]))),
            (true.addresses, None if true.addresses is None else tuple(sorted(row.addresses))),
        ]
        hold(score, true, row, facts)
        if true.took_ms is not None and row.latency_ms is not None:
            score.latency_errors_ms.append(row.latency_ms - true.took_ms)


def _compare_connection(score: Score, true: Connection, row: rows.Connection) -> None:
    score.pids_right += row.pid == true.pid
    old = row.opened_before_start and row.direction == "unknown"  # who opened it, the kernel does not keep
    facts: list[tuple[object, object]] = [
        (true.pid, row.pid),
        (true.comm, row.comm),
        (true.local[0] or row.local.address, row.local.address),
        (true.direction, true.direction if old else row.direction),
        (true.end, row.end),
        (true.tx_before, row.tx_bytes_before_start),
        (true.rx_before, row.rx_bytes_before_start),
    ]
    for true_bytes, shown_bytes in ((true.tx_bytes, row.tx_bytes), (true.rx_bytes, row.rx_bytes)):
        if true_bytes is not None:
            score.byte_errors.append(shown_bytes - true_bytes)
            facts.append((true_bytes, shown_bytes))
    if true.closed_first is not None:
        facts.append((true.closed_first, row.closed_first))
    if not row.opened_before_start:
        facts.extend(_state_facts(true, row))
    if true.waits_for is not None:
        facts.append((true.waits_for, row.waits_for))
    for counted in ("drops", "resets_sent", "resets_received"):
        if (number := getattr(true, counted)) is not None:
            facts.append((number, getattr(row, counted)))
    if true.asked is not None:
        facts.append((true.asked, None if row.turns is None else row.turns.count))
    hold(score, true, row, facts)
    if true.opened_ns is not None and true.over_ns is not None and row.duration_ms is not None:
        score.duration_errors_ms.append(row.duration_ms - (true.over_ns - true.opened_ns) / 1e6)


def _state_facts(true: Connection, row: rows.Connection) -> Iterator[tuple[object, object]]:
    for states, (least, most) in true.closing_ms().items():
        shown = sum(row.states_ms.get(state, 0.0) for state in states)
        held = least - ROUNDED_MS <= shown <= most + ROUNDED_MS
        yield (
            f"{' '.join(states)} for {least} to {most} ms",
            f"for {shown} ms" if not held else (f"{' '.join(states)} for {least} to {most} ms"),
        )


def _compare_processes(score: Score, truth: Truth, seen: list[rows.Process]) -> None:
    shown: dict[int, list[rows.Process]] = defaultdict(list)
    for row in seen:
        shown[row.pid].append(row)
    made = {process.pid for process in truth.processes}
    counted: set[int] = set()
    strangers = [row for pid, found in shown.items() if pid not in made | truth.bystanders for row in found]
    score.mismatches.extend(f"seen and not made: {row}" for row in strangers)
    score.seen += len(strangers)
    for true in truth.processes:
        score.made += 1
        found = shown[true.pid]
        if true.pid not in counted:
            counted.add(true.pid)
            score.seen += len(found)
        # one after the other, where a pid was used again
        best = min(found, key=lambda row, comm=true.comm: row.comm != comm, default=None)  # type: ignore[misc]
        if best is None:
            score.mismatches.append(f"made and not seen: {true}")
            continue
        row = best
        found.remove(row)
        score.matched += 1
        score.pids_right += 1
        facts: list[tuple[object, object]] = [(true.comm, row.comm), (true.cgroup or row.cgroup, row.cgroup)]
        facts.append((true.udp_rx_dropped or 0, row.udp.rx_dropped))
        for true_bytes, shown_bytes in (
            (true.tcp_tx_bytes, row.tcp.tx_bytes),
            (true.tcp_rx_bytes, row.tcp.rx_bytes),
            (true.udp_tx_bytes, row.udp.tx_bytes),
            (true.udp_rx_bytes, row.udp.rx_bytes),
        ):
            if true_bytes is not None:
                score.byte_errors.append(shown_bytes - true_bytes)
                facts.append((true_bytes, shown_bytes))
        hold(score, true, row, facts)
    for pid in made:
        score.mismatches.extend(f"seen and not made: {row}" for row in shown[pid])
