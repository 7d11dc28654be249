"""What grouping costs: putting many rows together, and a live screen with groups next to the same one without."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

import msgspec

from nettop.model.kinds import CONNECTIONS, DNS
from nettop.model.rows import Connection, DnsQuery, RemoteEndpoint
from nettop.model.snapshot import Snapshot
from nettop.view.columns import Context
from nettop.view.drill import TOP, Lines
from nettop.view.grouping import GROUPINGS, Grouping
from nettop.view.layout import fit
from nettop.view.panes import PANES
from tests import builders
from tests.bench.costs import spent
from tests.bench.observers import only
from tests.bench.report import Findings, Table, Target, percentile
from tests.bench.screen import ASCENDING, SETTLED_S, drain, load, move, pressed, until
from tests.bench.settings import Settings
from tests.bench.traffic import DNS as DNS_LOAD
from tests.bench.traffic import served
from tests.live.lab import NETTOP, namespace
from tests.live.terminal import Terminal
from tests.tui.scene import snapshot

ROWS = (10_000, 50_000)
SIZE = (200, 60)
FILTER = "comm:* -port:1"  # which every row passes, and has to look at each
NAMES, HOSTS, PROCESSES = 500, 200, 50
KINDS = (DNS, CONNECTIONS)  # of which there are the most rows
CHANGED_EVERY = 100  # rows, with each tick
_GROWS = {DNS: "latency_ms", CONNECTIONS: "tx_bytes"}
BUILT_NOTES = (
    "CPU of a tick that puts so many built rows together, of which one in a hundred has changed, and says what all "
    "columns say of the 60 groups that are seen, at 200 cells; the slowest grouping of each pane, best of five.",
)
LIVE_NOTES = (
    f"Three panes at 200x60 with the filter {FILTER}, 1,000 queries/s and 1,000 connections/s; in turns without "
    "groups, and with DNS by name and connections by port. CPU of all threads in a second; from a key to the first "
    "bytes of its frame (move) or to the frame that has turned the sort round (sort), in ms.",
)


def run(settings: Settings, findings: Findings) -> None:
    """Built rows, then a live screen."""
    for rows in ROWS:
        made = _rows(rows)
        for grouping in (each for each in GROUPINGS if each.kind in KINDS):
            findings.add({"rows": rows, "grouping": grouping.pane.name, "tick_ms": _tick_ms(grouping, made)})
    built = findings.raw.copy()
    for row in _live(settings):
        findings.add(row)
    live = findings.raw[len(built) :]
    findings.tables += [_built_table(built), _live_table(live)]
    findings.targets += _targets(built, live)


def _targets(built: list[dict[str, Any]], live: list[dict[str, Any]]) -> list[Target]:
    slowest = max(row["tick_ms"] for row in built if row["rows"] == ROWS[-1])
    keys = [ms for row in live if row["groups"] for ms in (*row["move_ms"], *row["sort_ms"])]
    cpu = {groups: median(row["cpu"] for row in live if row["groups"] is groups) for groups in (False, True)}
    return [
        Target("50,000 rows grouped, a tick", 60, slowest, " ms"),
        Target("key to frame with groups and a filter, under load, p95", 40, percentile(keys, 0.95), " ms"),
        Target("CPU with groups, times that without", 1.2, cpu[True] / cpu[False]),
    ]


# Built rows


def _rows(number: int) -> Snapshot:
    far = [
        RemoteEndpoint(address=f"10.0.{at // 250}.{at % 250}", port=443 + at % 5, name=f"h{at}.example.com",
                       name_source="process")
        for at in range(HOSTS)
    ]  # fmt: skip
    query, connection = builders.answered(), builders.connection()
    queries: list[DnsQuery] = []
    connections: list[Connection] = []
    for at in range(number):
        who: dict[str, Any] = {"id": at + 1, "pid": at % PROCESSES, "comm": f"process{at % PROCESSES}"}
        asked = {"asked_at": builders.at(at / 1000), "qname": f"host{at % NAMES}.example.com", "latency_ms": at % 313}
        queries.append(msgspec.structs.replace(query, **who, **asked, qtype=("A", "AAAA")[at % 2]))
        moved = {"tx_bytes": at, "rx_bytes": 2 * at, "remote": far[at % HOSTS], "opened_at": builders.at(at / 1000)}
        connections.append(msgspec.structs.replace(connection, **who, **moved))
    return snapshot(queries, connections, seconds=number / 1000)


def _tick_ms(grouping: Grouping, made: Snapshot) -> float:
    """Of a tick that is not the first one, which also decides on look-ups and loads the list of suffixes."""
    lines = Lines(next(pane for pane in PANES if pane.kind is grouping.kind))
    place, context = TOP.by(grouping), Context(made.captured_at)
    columns = fit(grouping.pane.columns, SIZE[0])
    taken = []
    latest = made
    for tick in range(6):
        latest = _ticked(latest, tick)
        begun = time.process_time()
        rows = grouping.kind.rows_of(latest)
        found = lines.lines(place, rows, latest, names=True)
        ordered = lines.sort(place, found, grouping.pane.column(grouping.pane.sort), grouping.pane.descending, context)
        for group in ordered[: SIZE[1]]:
            for column, _ in columns:
                column.text(group, context)
        taken.append((time.process_time() - begun) * 1000)
    return min(taken[1:])


def _ticked(made: Snapshot, tick: int) -> Snapshot:
    """A later snapshot, in which one row in a hundred has changed."""
    changed: dict[str, tuple[Any, ...]] = {}
    for kind in KINDS:
        rows = list(kind.rows_of(made))
        for at in range(tick, len(rows), CHANGED_EVERY):
            rows[at] = msgspec.structs.replace(rows[at], **{_GROWS[kind]: getattr(rows[at], _GROWS[kind]) + 1})
        changed[kind.name] = tuple(rows)
    return msgspec.structs.replace(made, **changed)


# A live screen


def _live(settings: Settings) -> Iterator[dict[str, Any]]:
    rounds, seconds, keys = settings.rounds(5, 2), settings.seconds(20, 6), settings.rounds(40, 10)
    with ExitStack() as stack:
        where = stack.enter_context(namespace(settings.directory))
        stack.enter_context(served(DNS_LOAD, where, settings.directory))
        stack.enter_context(load(settings, where))
        command = (*NETTOP, *only(where))
        terminal = Terminal(command, columns=SIZE[0], lines=SIZE[1], cwd=settings.directory)
        stack.enter_context(terminal)
        until(terminal, b"LIVE")
        terminal.press(f"/{FILTER}\r")
        until(terminal, FILTER.encode())
        drain(terminal, settings.seconds(20, 10))  # until histories are full, and rows make room for others
        for _ in range(rounds):
            for groups in (False, True):
                with _grouped(terminal) if groups else ExitStack():
                    yield {"groups": groups, **_measured(terminal, seconds, keys)}
        terminal.press("q")
        while terminal.process.poll() is None:
            terminal.take(0.05)


@contextmanager
def _grouped(terminal: Terminal) -> Iterator[None]:
    for keys, said in (("1b", b"by name"), ("2bb", b"by port")):
        terminal.press(keys)
        until(terminal, said)
    drain(terminal, SETTLED_S)
    yield
    terminal.press("1\x1b")
    drain(terminal, 1.0)  # an escape is a key of its own once nothing follows it
    terminal.press("2\x1b")
    drain(terminal, SETTLED_S)


def _measured(terminal: Terminal, seconds: float, keys: int) -> dict[str, Any]:
    before, begun = spent(terminal.pid).threads, time.monotonic()
    drain(terminal, seconds)
    after, ended = spent(terminal.pid).threads, time.monotonic()
    cpu = sum(ns - before.get(thread, 0) for thread, ns in after.items()) / (ended - begun) / 1e9
    moves = [move(terminal, key) * 1000 for _ in range(keys // 2) for key in "jk"]
    sorts = [_turned(terminal) * 1000 for _ in range(keys // 2)]
    return {"cpu": cpu, "move_ms": moves, "sort_ms": sorts}


def _turned(terminal: Terminal) -> float:
    """The sort round, and back: only the pane with the focus ever says that it is ascending."""
    begun = pressed(terminal, "S")
    until(terminal, ASCENDING)
    taken = time.monotonic() - begun
    pressed(terminal, "S")
    return taken


# Tables


def _built_table(built: list[dict[str, Any]]) -> Table:
    rows = []
    for kind in KINDS:
        for number in ROWS:
            times = [row for row in built if row["rows"] == number and row["grouping"].startswith(f"{kind.name} ")]
            slowest = max(times, key=lambda row: float(row["tick_ms"]))
            fastest = min(row["tick_ms"] for row in times)
            rows.append((slowest["grouping"], f"{number:,}", f"{fastest:.1f}", f"{slowest['tick_ms']:.1f}"))
    return Table("Groups of built rows", ("slowest", "rows", "fastest, ms", "slowest, ms"), rows, BUILT_NOTES)


def _live_table(live: list[dict[str, Any]]) -> Table:
    rows = []
    for groups in (False, True):
        own = [row for row in live if row["groups"] is groups]
        moves, sorts = ([ms for row in own for ms in row[name]] for name in ("move_ms", "sort_ms"))
        cpu = median(row["cpu"] for row in own)
        shares = (percentile(taken, share) for taken in (moves, sorts) for share in (0.5, 0.95))
        rows.append(("with groups" if groups else "rows", f"{100 * cpu:.1f} %", *(f"{ms:.1f}" for ms in shares)))
    head = ("screen", "CPU", "move p50", "move p95", "sort p50", "sort p95")
    return Table("Groups under load", head, rows, LIVE_NOTES)
