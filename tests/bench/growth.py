"""What a tick costs, and memory, against the number of live connections and of those that are active."""

import time
from dataclasses import asdict
from typing import Any

from tests.bench.costs import MB, bpf_run_times, memory, shares, spent
from tests.bench.crowds import crowd
from tests.bench.observers import headless, on_screen, only
from tests.bench.report import Findings, Table, Target
from tests.bench.settings import Settings
from tests.bench.split import Split
from tests.live.lab import Namespace, namespace

SIZES = ((1_000, 0.01), (10_000, 0.0), (10_000, 0.01), (10_000, 0.1), (50_000, 0.01))  # rows, share of active ones
QUICK_SIZES = ((1_000, 0.01), (10_000, 0.01), (50_000, 0.01))
WANTED_MS = {10_000: 15.0, 50_000: 60.0}
SETTLED_S = 5.0  # the first ticks meet all of them as new
NOTES = (
    "ms of CPU per tick of 1 s, mean of all ticks; the parts as in the table of CPU, but for the iterator over the "
    "sockets, which is a part of reader and measured apart, because to time it is not free. Live connections are rows "
    "of nettop: both ends are on this host. The active ones carry a byte every 0.1 s.",
)


def run(settings: Settings, findings: Findings) -> None:
    """Every size, without and with the screen."""
    with namespace(settings.directory) as where:
        for mode in ("headless", "screen"):
            for live, share in QUICK_SIZES if settings.quick else SIZES:
                findings.add(_measure(settings, where, mode, live, round(live * share)))
    rows = [_row(each) for each in findings.raw]
    head = (
        "nettop", "live", "active", "iterator", "reader", "model", "screen", "tick", "RSS, MB", "maps, MB",
    )  # fmt: skip
    findings.tables.append(Table("Growth: ms per tick", head, rows, NOTES))
    for live, wanted_ms in WANTED_MS.items():
        found = [each for each in findings.raw if (each["mode"], each["live"]) == ("screen", live)]
        (measured,) = [each["tick_ms"] for each in found if each["active"] == live // 100]
        findings.targets.append(
            Target(f"tick at {live:,} live connections, 1 % active, screen on", wanted_ms, measured, " ms")
        )


def _measure(settings: Settings, where: Namespace, mode: str, live: int, active: int) -> dict[str, Any]:
    split = Split(settings.directory / "split")
    watch = headless if mode == "headless" else on_screen
    seconds = settings.seconds(20, 4)
    with crowd(where, live, active), watch(settings, where, split, only(where)) as watching:
        time.sleep(SETTLED_S)
        before, begun = spent(watching.pid, split), time.monotonic()
        time.sleep(seconds)
        cost, ticks = spent(watching.pid, split).since(before), time.monotonic() - begun
        iterator_ms = _iterator_ms(watching.pid, seconds)
        taken = memory(watching.pid)
    parts = asdict(shares(watching.pid, cost))
    return {
        "mode": mode, "live": live, "active": active, "ticks": ticks,
        "part_ms": {part: ns / ticks / 1e6 for part, ns in parts.items()},
        "iterator_ms": iterator_ms, "tick_ms": sum(cost.threads.values()) / ticks / 1e6,
        **asdict(taken),
    }  # fmt: skip


def _iterator_ms(pid: int, seconds: float) -> float:
    """Per tick, measured apart: to time a program at each of 50,000 sockets takes 5 ms by itself."""
    with bpf_run_times():
        before, begun = spent(pid), time.monotonic()
        time.sleep(seconds)
        return spent(pid).since(before).iterators / (time.monotonic() - begun) / 1e6


def _row(measured: dict[str, Any]) -> tuple[str, ...]:
    parts = measured["part_ms"]
    return (
        measured["mode"],
        f"{measured['live']:,}",
        f"{measured['active']:,}",
        f"{measured['iterator_ms']:.1f}",
        *(f"{parts[part]:.1f}" for part in ("reader", "model", "screen")),
        f"{measured['tick_ms']:.1f}",
        f"{measured['rss'] / MB:.0f}",
        f"{measured['maps'] / MB:.0f}",
    )
