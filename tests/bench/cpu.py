"""What watching costs at given rates of queries and connections, split by what it is spent on."""

import time
from dataclasses import asdict
from typing import Any

from tests.bench.costs import bpf_run_times, shares, spent
from tests.bench.observers import headless, losses_reported, on_screen, only
from tests.bench.report import Findings, Table, Target
from tests.bench.settings import Settings
from tests.bench.split import Split
from tests.bench.traffic import DNS, Done, connections_done, dns_done, served, start_connections, start_dns
from tests.live.lab import Namespace, namespace

RATES = (0, 100, 1_000, 5_000, 10_000)
QUICK_RATES = (0, 1_000, 10_000)
SETTLED_S = 2.0
NOTES = (
    "Percent of one CPU, the interval is 1 s; so many queries/s and so many connections/s at the same time, each "
    "connection seen from both ends. BPF is what the programs at the hooks spend in the time of those who make the "
    "traffic (kernel.bpf_stats_enabled). The others are threads of nettop: reader (polling, iterators, decoding) and "
    "model (from records to snapshots) are the collector's, screen is the main thread.",
)


def run(settings: Settings, findings: Findings) -> None:
    """Every rate, without and with the screen."""
    rows = []
    seconds = settings.seconds(30, 3)
    with namespace(settings.directory) as where, served(DNS, where, settings.directory), bpf_run_times():
        for mode in ("headless", "screen"):
            for rate in QUICK_RATES if settings.quick else RATES:
                measured = _measure(settings, where, mode, rate, seconds)
                findings.add(measured)
                rows.append(_row(measured))
                share = measured["cpu_percent"]["total"]
                if mode == "screen" and rate in (0, 1_000):
                    what = "CPU at 1k queries/s + 1k connections/s, screen on" if rate else "CPU at idle, screen on"
                    findings.targets.append(Target(what, 10.0 if rate else 1.0, share, " %"))
    head = (
        "nettop", "queries/s",
        "connections/s", "BPF", "reader", "model", "screen", "other", "total", "lost",
    )  # fmt: skip
    findings.tables.append(Table(f"CPU over {seconds:g} s, percent of one", head, rows, NOTES))


def _measure(settings: Settings, where: Namespace, mode: str, rate: int, seconds: float) -> dict[str, Any]:
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
        lost = losses_reported(watching.end())
    percent = {part: ns / elapsed_s / 1e7 for part, ns in asdict(shares(watching.pid, cost)).items()}
    return {
        "mode": mode, "rate": rate, "seconds": elapsed_s, "queries_per_s": queries.per_s,
        "connections_per_s": connections.per_s, "cpu_percent": {**percent, "total": sum(percent.values())},
        "iterators_percent": cost.iterators / elapsed_s / 1e7, "reported_lost": lost,
    }  # fmt: skip


def _row(measured: dict[str, Any]) -> tuple[str, ...]:
    return (
        measured["mode"],
        f"{measured['queries_per_s']:,.0f}",
        f"{measured['connections_per_s']:,.0f}",
        *(f"{percent:.2f}" for percent in measured["cpu_percent"].values()),
        f"{measured['reported_lost']:,}",
    )
