"""What the work that is watched loses: throughput with and without each observer, in alternating pairs."""

from typing import Any

from nettop.model.snapshot import Snapshot
from tests.bench.observers import NETTOPS, PEERS, NotStartedError, Observer, losses_reported
from tests.bench.report import Findings, Table, Target, number, spread
from tests.bench.settings import Settings
from tests.bench.traffic import (
    CONNECTIONS,
    DATAGRAMS,
    DNS,
    HTTP2,
    LOADS,
    REQUESTS,
    STREAMS,
    Done,
    HungError,
    Load,
    Server,
    served,
)
from tests.live.lab import Namespace, namespace

WANTED = {
    DNS.name: 0.90,
    CONNECTIONS.name: 0.90,
    REQUESTS.name: 0.95,
    HTTP2.name: 0.90,
    STREAMS.name: 0.98,
    DATAGRAMS.name: 0.92,
}
NOTES = (
    "Throughput with the observer over throughput without it (`without`), median (quartiles) of alternating pairs; "
    "server, client and observer share all CPUs, as fast as they go. `captured` is the share of what the client did "
    "that the observer counted to the client's process, in the worst pair, and the most that it reported as lost. An "
    "observer that sees nothing of a load is not measured beside it.",
)


def run(settings: Settings, findings: Findings) -> None:
    """Every load beside every observer."""
    rows: list[tuple[str, ...]] = []
    told: dict[str, str] = {}
    for load in LOADS:
        with namespace(settings.directory) as where, served(load, where, settings.directory) as server:
            beside = Beside(settings, findings, load, where, server)
            for observer in (*NETTOPS, *PEERS):
                if load.name in observer.blind_to or observer.name in told:
                    continue
                if settings.quick and observer in PEERS and load is not CONNECTIONS:
                    continue
                try:
                    pairs = beside.pairs(observer)
                except NotStartedError as error:
                    told[observer.name] = f"{observer.name} does not start here: {error}"
                    continue
                if pairs:
                    rows.append(_row(load, observer, pairs))
                if observer in NETTOPS:
                    _hold(findings, load, observer, pairs)
            if beside.hung:
                told[load.name] = f"{load.name}: left out what hung: {', '.join(beside.hung)}"
    head = ("load", "observer", "without", "with / without", "captured")
    findings.tables.append(Table("Slow-down of the work watched", head, rows, [*NOTES, *told.values()]))


class Beside:
    """One load, measured beside observers. A pair whose client hangs is left out; after a few all the others are."""

    MOST_HUNG = 3  # each takes half a minute

    def __init__(self, settings: Settings, findings: Findings, load: Load, where: Namespace, server: Server) -> None:
        self._settings = settings
        self._findings = findings
        self._load = load
        self._where = where
        self._server = server
        self._seconds = settings.seconds(3, 2)
        self.hung: list[str] = []

    def pairs(self, observer: Observer) -> list[dict[str, Any]]:
        """As many as are wanted, fewer where some hang. Raises NotStartedError."""
        pairs = []
        for place in range(self._settings.rounds(9, 2)):
            if len(self.hung) >= self.MOST_HUNG:
                break
            try:
                pair = self._pair(observer, place)
            except HungError as error:
                self.hung.append(f"{observer.name}, pair {place} ({error})")
                self._server.begin()
                continue
            self._findings.add(pair)
            pairs.append(pair)
        return pairs

    def _pair(self, observer: Observer, place: int) -> dict[str, Any]:
        load, where, directory = self._load, self._where, self._settings.directory
        rates: dict[bool, float] = {}
        captured = None
        for watched in (False, True) if place % 2 else (True, False):  # neither is always the later one
            if not watched:
                rates[watched] = load.run(where, directory, self._seconds).per_s
                continue
            with observer.watch(self._settings, where) as watching:
                done = load.run(where, directory, self._seconds)
                rates[watched] = done.per_s
                snapshot = watching.end()
                captured = capture(load, done, snapshot) if snapshot is not None else None
        return {
            "load": load.name, "observer": observer.name, "pair": place, "unit": load.unit,
            "without": rates[False], "with": rates[True],
            "captured": captured and captured[0], "reported_lost": captured and captured[1],
        }  # fmt: skip


def capture(load: Load, done: Done, snapshot: Snapshot) -> tuple[float | None, int]:
    """The share of what the client did that nettop counted, None where the client does not tell; losses reported."""
    lost = losses_reported(snapshot)
    if done.offered is None:
        return None, lost
    counted = [row for row in snapshot.processes if row.pid == done.pid]
    if load is DNS:
        return sum(row.dns.queries for row in counted) / done.offered, lost
    if load in (REQUESTS, HTTP2):  # it ends with some on their way, which it does not count
        return sum(row.requests.sent.count for row in counted) / done.offered, lost
    # one more ends the server
    return (sum(row.tcp.opened for row in counted) - 1) / done.offered, lost


def _row(load: Load, observer: Observer, pairs: list[dict[str, Any]]) -> tuple[str, ...]:
    ratios = spread([pair["with"] / pair["without"] for pair in pairs])
    without = spread([pair["without"] for pair in pairs]).median
    told = "-"
    if pairs[0]["reported_lost"] is not None:
        told = f"{max(pair['reported_lost'] for pair in pairs):,} lost"
        if pairs[0]["captured"] is not None:
            told = f"{min(pair['captured'] for pair in pairs):.2%}, {told}"
    return (load.name, observer.name, f"{number(without)} {load.unit}", ratios.told("{:.2f}".format), told)


def _hold(findings: Findings, load: Load, observer: Observer, pairs: list[dict[str, Any]]) -> None:
    ratio = spread([pair["with"] / pair["without"] for pair in pairs]).median if pairs else None
    what = f"{load.name}, with / without {observer.name}"
    findings.targets.append(Target(what, WANTED[load.name], ratio, at_least=True))
    if pairs and pairs[0]["captured"] is not None:
        captured = min(pair["captured"] for pair in pairs)
        findings.targets.append(Target(f"{load.name}, captured by {observer.name}", 1.0, captured, at_least=True))
