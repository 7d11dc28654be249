"""What watching costs at given rates of queries and connections, split by what it is spent on."""

import time
from dataclasses import asdict
from typing import Any

from tests.bench.costs import bpf_run_times, shares, spent
from tests.bench.observers import headless, losses_reported, on_screen, only
from tests.bench.report import Findings, Table, Target
from tests.bench.settings import Settings
from tests.bench.split import Split
from tests.bench.traffic import (
    DNS,
    REQUESTS,
    Done,
    connections_done,
    dns_done,
    read_h2load,
    said_by,
    served,
    start_connections,
    start_dns,
    start_requests,
)
from tests.live.lab import Namespace, namespace

RATES = (0, 100, 1_000, 5_000, 10_000)
QUICK_RATES = (0, 1_000, 10_000)
SETTLED_S = 2.0
TARGETS = {  # with the screen, by the rate of queries and connections, and that of requests
    (0, 0): ("CPU at idle, screen on", 1.0),
    (1_000, 0): ("CPU at 1k queries/s + 1k connections/s, screen on", 10.0),
    (1_000, 1_000): ("CPU at 1k queries/s + 1k connections/s + 1k requests/s, screen on", 15.0),
}
NOTES = (
    "Percent of one CPU, the interval is 1 s; so many queries/s, connections/s and requests/s (HTTP/1, on ten "
    "connections that stay) at the same time, connections and requests seen from both ends. BPF is what the programs "
    "at the hooks spend in the time of those who make the traffic (kernel.bpf_stats_enabled). The others are threads "
    "of nettop: reader (polling, iterators, decoding) and model (from records to snapshots) are the collector's, "
    "screen is the main thread.",
)


def run(settings: Settings, findings: Findings) -> None:
    """Every rate, without and with the screen."""
    rows = []
    seconds = settings.seconds(30, 3)
    steps = [(rate, 0) for rate in (QUICK_RATES if settings.quick else RATES)]
    steps.insert(steps.index((1_000, 0)) + 1, (1_000, 1_000))
    with (
        namespace(settings.directory) as where,
        served(DNS, where, settings.directory),
        served(REQUESTS, where, settings.directory),
        bpf_run_times(),
    ):
        for mode in ("headless", "screen"):
            for rate, requests in steps:
                measured = _measure(settings, where, mode, (rate, requests), seconds)
                findings.add(measured)
                rows.append(_row(measured))
                if mode == "screen" and (rate, requests) in TARGETS:
                    what, most = TARGETS[rate, requests]
                    findings.targets.append(Target(what, most, measured["cpu_percent"]["total"], " %"))
    head = (
        "nettop", "queries/s",
        "connections/s", "requests/s", "BPF", "reader", "model", "screen", "other", "total", "lost",
    )  # fmt: skip
    findings.tables.append(Table(f"CPU over {seconds:g} s, percent of one", head, rows, NOTES))


def _measure(settings: Settings, where: Namespace, mode: str, rates: tuple[int, int], seconds: float) -> dict[str, Any]:
    rate, requests = rates
    split = Split(settings.directory / "split")
    watch = headless if mode == "headless" else on_screen
    with watch(settings, where, split, only(where)) as watching:
        traffic_s = seconds + 2 * SETTLED_S
        clients = []
        if rate:
            clients = [
                start_dns(where, settings.directory, traffic_s, rate),
                start_connections(where, settings.directory, traffic_s, rate),
            ]
        asking = start_requests(where, traffic_s, requests) if requests else None
        time.sleep(SETTLED_S)
        before, begun = spent(watching.pid, split), time.monotonic()
        time.sleep(seconds)
        cost, elapsed_s = spent(watching.pid, split).since(before), time.monotonic() - begun
        # how fast they really were
        queries, connections = (
            (dns_done(clients[0], traffic_s), connections_done(clients[1], traffic_s))
            if clients
            else (Done(0), Done(0))
        )
        answered = read_h2load(said_by(asking, traffic_s)) if asking else Done(0)
        lost = losses_reported(watching.end())
    percent = {part: ns / elapsed_s / 1e7 for part, ns in asdict(shares(watching.pid, cost)).items()}
    return {
        "mode": mode, "rate": rate, "seconds": elapsed_s, "queries_per_s": queries.per_s,
        "connections_per_s": connections.per_s, "requests_per_s": answered.per_s,
        "cpu_percent": {**percent, "total": sum(percent.values())},
        "iterators_percent": cost.iterators / elapsed_s / 1e7, "reported_lost": lost,
    }  # fmt: skip


def _row(measured: dict[str, Any]) -> tuple[str, ...]:
    return (
        measured["mode"],
        f"{measured['queries_per_s']:,.0f}",
        f"{measured['connections_per_s']:,.0f}",
        f"{measured['requests_per_s']:,.0f}",
        *(f"{percent:.2f}" for percent in measured["cpu_percent"].values()),
        f"{measured['reported_lost']:,}",
    )
