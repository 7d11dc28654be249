"""What nettop takes of memory: at idle, with many live connections, after it has seen many; beside others at idle."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from typing import Any

from tests.bench.costs import MB, memory
from tests.bench.crowds import crowd
from tests.bench.observers import PEERS, NotStartedError, Watching, headless, on_screen, only
from tests.bench.report import Findings, Table, Target
from tests.bench.settings import PATIENCE_S, Settings
from tests.bench.traffic import DNS, connections_done, dns_done, served, start_connections, start_dns
from tests.live.lab import Namespace, namespace

ON_SCREEN = "nettop with screen"
_NETTOPS: dict[str, Callable[..., AbstractContextManager[Watching]]] = {
    "nettop headless": headless,
    ON_SCREEN: on_screen,
}
LIVE = 10_000
SETTLED_S = 4.0
SEEN_PER_S = 4_000  # of each, which is not too fast for anything to be lost
NOTES = (
    "MB. Live connections are rows of nettop: both ends are on this host. Seen are queries and connections, each "
    "connection from both ends. BPF maps are the kernel's memory, in no process's.",
)


def run(settings: Settings, findings: Findings) -> None:
    """nettop in three states, the others at idle."""
    seen = 10_000 if settings.quick else 100_000
    reasons = []
    with namespace(settings.directory) as where, served(DNS, where, settings.directory):
        for name, watch in _NETTOPS.items():
            with watch(settings, where, arguments=only(where)) as watching:
                _sample(findings, name, "idle", watching)
                _see(settings, where, seen)
                _sample(findings, name, f"after {seen:,} queries and {seen:,} connections", watching)
            with ExitStack() as stack:
                watching = stack.enter_context(watch(settings, where, arguments=only(where)))
                stack.enter_context(crowd(where, LIVE))
                _sample(findings, name, f"{LIVE:,} live connections", watching)
        for observer in PEERS:
            try:
                with observer.watch(settings, where) as watching:
                    _sample(findings, observer.name, "idle", watching)
            except NotStartedError as error:
                reasons.append(f"{observer.name} does not start here: {error}")
    _tell(findings, [*NOTES, *reasons])


def _see(settings: Settings, where: Namespace, number: int) -> None:
    queries = start_dns(where, settings.directory, PATIENCE_S, SEEN_PER_S, number)
    connections = start_connections(where, settings.directory, PATIENCE_S, SEEN_PER_S, number)
    dns_done(queries, PATIENCE_S)
    connections_done(connections, PATIENCE_S)


def _sample(findings: Findings, name: str, state: str, watching: Watching) -> None:
    time.sleep(SETTLED_S)
    findings.add({"observer": name, "state": state, **asdict(memory(watching.pid))})


def _tell(findings: Findings, notes: list[str]) -> None:
    rows = [
        (each["observer"], each["state"], *(f"{each[part] / MB:.1f}" for part in ("rss", "pss", "peak", "maps")))
        for each in findings.raw
    ]
    head = ("observer", "state", "RSS", "PSS", "peak RSS", "BPF maps")
    findings.tables.append(Table("Memory", head, rows, notes))

    def screen_mb(beginning: str) -> float | None:
        found: list[dict[str, Any]] = [
            each for each in findings.raw if each["observer"] == ON_SCREEN and each["state"].startswith(beginning)
        ]
        return found[0]["rss"] / MB if found else None

    findings.targets += [
        Target("RSS with the screen, idle", 130, screen_mb("idle"), " MB"),
        Target("RSS with the screen, after 100k + 100k", 180, screen_mb("after"), " MB"),
    ]
