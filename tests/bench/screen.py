"""What a tick of the screen costs and how soon a key shows, with many rows, sorted and filtered."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.bench.costs import spent
from tests.bench.crowds import crowd
from tests.bench.observers import only
from tests.bench.report import Findings, Table, Target, percentile
from tests.bench.settings import Settings
from tests.bench.traffic import DNS, served, start_connections, start_dns
from tests.live.lab import NETTOP, Namespace, namespace
from tests.live.terminal import Terminal

ROWS = (100, 1_000, 10_000, 50_000)
QUICK_ROWS = (100, 10_000)
SIZES = ((80, 24), (200, 50))
LOAD_PER_S = 1_000  # queries, and connections
LOAD_S = 600.0  # longer than any measurement
SETTLED_S = 4.0
PATIENCE_S = 30.0
QUIET_S = 0.02  # nothing written for so long: the frame before is complete
ASCENDING, DESCENDING = "▴".encode(), "▾".encode()
FILTER = "comm:python* -port:1"  # which keeps every row of the crowd, and has to look at each
NOTES = (
    "A pane zoomed to the whole terminal, sorted by a column and with a filter that every row passes; 1 % of the rows "
    "are active, the interval is 1 s. `tick` is CPU of the main thread per tick. `move` is from a key that moves the "
    "cursor to the first bytes of its frame, `sort` from the key that turns the sort round to the frame that shows it; "
    "ms, through a pseudo-terminal. Under load there are 1,000 queries/s and 1,000 connections/s besides.",
)


def run(settings: Settings, findings: Findings) -> None:
    """Every number of rows at every size."""
    with namespace(settings.directory) as where, served(DNS, where, settings.directory):
        for rows in QUICK_ROWS if settings.quick else ROWS:
            with crowd(where, rows, rows // 100):
                for size in SIZES:
                    findings.add(_measure(settings, where, rows, size, loaded=False))
                    if rows == 10_000:
                        findings.add(_measure(settings, where, rows, size, loaded=True))
    head = ("rows", "terminal", "load", "tick, ms", "move p50", "move p95", "sort p50", "sort p95")
    findings.tables.append(Table("Screen", head, [_row(each) for each in findings.raw], NOTES))
    slowest = [max(each["move_p95_ms"], each["sort_p95_ms"]) for each in findings.raw if each["load"]]
    findings.targets.append(Target("key to frame, 10k rows, under load, p95", 40, max(slowest), " ms"))


def _measure(settings: Settings, where: Namespace, rows: int, size: tuple[int, int], loaded: bool) -> dict[str, Any]:
    seconds, keys = settings.seconds(10, 3), settings.rounds(100, 15)
    with ExitStack() as stack:
        if loaded:
            stack.enter_context(load(settings, where))
        command = (*NETTOP, *only(where))
        terminal = stack.enter_context(Terminal(command, columns=size[0], lines=size[1], cwd=settings.directory))
        until(terminal, b"LIVE")
        _prepare(terminal)
        before, begun = spent(terminal.pid).threads[terminal.pid], time.monotonic()
        drain(terminal, seconds)
        tick_ms = (spent(terminal.pid).threads[terminal.pid] - before) / (time.monotonic() - begun) / 1e6
        moves = [move(terminal, key) for _ in range(keys) for key in "jk"]
        sorts = [_turn(terminal, arrow) for _ in range(keys // 2) for arrow in (ASCENDING, DESCENDING)]
        terminal.press("q")
        while terminal.process.poll() is None:
            terminal.take(0.05)
    return {
        "rows": rows, "terminal": f"{size[0]}x{size[1]}", "load": loaded, "tick_ms": tick_ms,
        **{f"{name}_p{share:.0f}_ms": percentile(taken, share / 100) * 1000
           for name, taken in (("move", moves), ("sort", sorts)) for share in (50, 95)},
    }  # fmt: skip


@contextmanager
def load(settings: Settings, where: Namespace) -> Iterator[None]:
    clients = [start(where, settings.directory, LOAD_S, rate=LOAD_PER_S) for start in (start_dns, start_connections)]
    try:
        yield
    finally:
        for client in clients:
            client.stop()


def _prepare(terminal: Terminal) -> None:
    terminal.press("2")
    drain(terminal, QUIET_S)
    terminal.press("z")
    drain(terminal, 0.2)
    terminal.press(f"/{FILTER}\r")
    until(terminal, FILTER.encode())
    drain(terminal, SETTLED_S)
    terminal.press("j")  # from here on the cursor stays on its row, which has to be found with each tick
    drain(terminal, 0.2)


def until(terminal: Terminal, word: bytes) -> None:
    said, end = b"", time.monotonic() + PATIENCE_S
    while word not in said:
        assert time.monotonic() < end, f"waited in vain for {word.decode()}"
        said = said[-len(word) :] + terminal.take(0.1)


def drain(terminal: Terminal, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        terminal.take(left)


def pressed(terminal: Terminal, key: str) -> float:
    """Press it once the terminal is quiet; when that was."""
    while terminal.take(QUIET_S):
        pass
    begun = time.monotonic()
    terminal.press(key)
    return begun


def move(terminal: Terminal, key: str) -> float:
    begun = pressed(terminal, key)
    assert terminal.take(PATIENCE_S), f"nothing came of the key {key}"
    return time.monotonic() - begun


def _turn(terminal: Terminal, arrow: bytes) -> float:
    begun = pressed(terminal, "S")
    until(terminal, arrow)
    return time.monotonic() - begun


def _row(measured: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{measured['rows']:,}",
        measured["terminal"],
        "1k + 1k" if measured["load"] else "-",
        *(f"{measured[part]:.1f}" for part in ("tick_ms", "move_p50_ms", "move_p95_ms", "sort_p50_ms", "sort_p95_ms")),
    )
