"""Requests against what both ends logged: their rows, and what connections and processes count of them."""

from collections import Counter

from nettop.model import rows
from nettop.model.snapshot import Snapshot
from tests.live.truth.pairs import hold, paired
from tests.live.truth.rows import Request, Truth
from tests.live.truth.score import Score


def compare_requests(score: Score, truth: Truth, snapshot: Snapshot, netns: frozenset[int]) -> None:
    """Add to a score what a snapshot says of these network namespaces: without requests there, there is no row."""
    seen = [row for row in snapshot.requests if row.netns in netns]
    for true, row in paired(
        score,
        truth.requests,
        seen,
        key_of_made=lambda true: (true.side, true.protocol, true.method, true.path, true.status),
        key_of_seen=lambda row: (row.side, row.protocol, row.method, row.path, row.status),
        time_of_made=lambda _: None,  # a path stands for one request
        time_of_seen=lambda row: row.asked_at,
    ):
        _compare_request(score, true, row)
    _compare_counted(score, seen, [row for row in snapshot.connections if row.netns in netns])
    _compare_totals(score, truth, [row for row in snapshot.processes if row.netns in netns])


def _compare_request(score: Score, true: Request, row: rows.Request) -> None:
    score.pids_right += row.pid == true.pid
    facts: list[tuple[object, object]] = [
        (true.pid, row.pid),
        (true.comm or row.comm, row.comm),
        (true.host or row.host, row.host),
        (true.grpc_status, row.grpc_status),
        (true.failed, row.failed),
        (None, row.error),
        (False, row.partial),
    ]
    hold(score, true, row, facts)
    if true.took_ms is not None and row.latency_ms is not None:
        score.latency_errors_ms.append(row.latency_ms - true.took_ms)


def _compare_counted(score: Score, seen: list[rows.Request], connections: list[rows.Connection]) -> None:
    """What a connection counts is what it has rows of, in its own process and on its own side."""
    listed = Counter((row.connection_id, row.pid, row.side, row.failed) for row in seen)
    for row in connections:
        count = row.requests or rows.ConnectionRequests(side="client")
        good, bad = (listed.pop((row.id, row.pid, count.side, failed), 0) for failed in (False, True))
        if (count.count, count.failed, count.unlisted, count.partial) != (good + bad, bad, 0, False):
            score.mismatches.append(f"{good + bad} requests with rows, {bad} of them failed, are counted as\n  {row}")
    score.mismatches.extend(f"{number} requests of no such connection: {key}" for key, number in listed.items())


def _compare_totals(score: Score, truth: Truth, processes: list[rows.Process]) -> None:
    counted: dict[tuple[int, rows.RequestSide], rows.RequestTotals] = {}
    for row in processes:
        counted |= {(row.pid, "client"): row.requests.sent, (row.pid, "server"): row.requests.served}
    made = Counter((true.pid, true.side) for true in truth.requests)
    failed = Counter((true.pid, true.side) for true in truth.requests if true.failed)
    for key, total in counted.items():
        if (total.count, total.failed) != (made[key], failed[key]):
            score.mismatches.append(f"{made[key]} requests, {failed[key]} of them failed, are {total} of {key}")
