"""What the work that is watched loses: throughput with and without each observer, in alternating pairs."""

from typing import Any

from nettop.model.snapshot import Snapshot
from tests.bench.observers import NETTOPS, PEERS, NotStartedError, Observer, losses_reported
from tests.bench.report import Findings, Table, Target, number, spread
from tests.bench.settings import Settings
from tests.bench.traffic import CONNECTIONS, DATAGRAMS, DNS, LOADS, REQUESTS, STREAMS, Done, Load, served
from tests.live.lab import Namespace, namespace

WANTED = {DNS.name: 0.90, CONNECTIONS.name: 0.90, REQUESTS.name: 0.97, STREAMS.name: 0.98, DATAGRAMS.name: 0.92}
NOTES = (
    "Throughput with the observer over throughput without it (`without`), median (quartiles) of alternating pairs; "
    "server, client and observer share all CPUs, as fast as they go. `captured` is the share of what the client did "
    "that the observer counted to the client's process, in the worst pair, and the most that it reported as lost. An "
    "observer that sees nothing of a load is not measured beside it.",
)


def run(settings: Settings) -> Findings:
    """Every load beside every observer."""
    findings = Findings()
    rows: list[tuple[str, ...]] = []
    reasons: dict[str, str] = {}
    for load in LOADS:
        with namespace(settings.directory) as where, served(load, where, settings.directory):
            for observer in (*NETTOPS, *PEERS):
                if load.name in observer.blind_to or observer.name in reasons:
                    continue
                if settings.quick and observer in PEERS and load is not CONNECTIONS:
                    continue
                try:
                    pairs = _pairs(settings, where, load, observer)
                except NotStartedError as error:
                    reasons[observer.name] = str(error)
                    continue
                findings.raw += pairs
                rows.append(_row(load, observer, pairs))
                if observer in NETTOPS:
                    _hold(findings, load, observer, pairs)
    told = [f"{name} does not start here: {reason}" for name, reason in reasons.items()]
    head = ("load", "observer", "without", "with / without", "captured")
    findings.tables.append(Table("Slow-down of the work watched", head, rows, [*NOTES, *told]))
    return findings


def _pairs(settings: Settings, where: Namespace, load: Load, observer: Observer) -> list[dict[str, Any]]:
    seconds = settings.seconds(3, 2)
    pairs = []
    for place in range(settings.rounds(9, 2)):
        rates: dict[bool, float] = {}
        captured = None
        for watched in (False, True) if place % 2 else (True, False):  # neither is always the later one
            if not watched:
                rates[watched] = load.run(where, settings.directory, seconds).per_s
                continue
            with observer.watch(settings, where) as watching:
                done = load.run(where, settings.directory, seconds)
                rates[watched] = done.per_s
                snapshot = watching.end()
                captured = capture(load, done, snapshot) if snapshot is not None else None
        pairs.append(
            {
                "load": load.name, "observer": observer.name, "pair": place, "unit": load.unit,
                "without": rates[False], "with": rates[True],
                "captured": captured and captured[0], "reported_lost": captured and captured[1],
            }
        )  # fmt: skip
    return pairs


def capture(load: Load, done: Done, snapshot: Snapshot) -> tuple[float | None, int]:
    """The share of what the client did that nettop counted, None where the client does not tell; losses reported."""
    lost = losses_reported(snapshot)
    if done.offered is None:
        return None, lost
    counted = [row for row in snapshot.processes if row.pid == done.pid]
    if load is DNS:
        return sum(row.dns.queries for row in counted) / done.offered, lost
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
    ratio = spread([pair["with"] / pair["without"] for pair in pairs]).median
    what = f"{load.name}, with / without {observer.name}"
    findings.targets.append(Target(what, WANTED[load.name], ratio, at_least=True))
    if pairs[0]["captured"] is not None:
        captured = min(pair["captured"] for pair in pairs)
        findings.targets.append(Target(f"{load.name}, captured by {observer.name}", 1.0, captured, at_least=True))
