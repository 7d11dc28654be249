"""What 10,000 live connections cost the screen, with built snapshots; figures stand at the end of the log."""

import gc
import time
from statistics import median

import pytest
from textual.pilot import Pilot

from nettop.model.rows import Connection
from nettop.model.snapshot import Snapshot
from nettop.model.table import BoundedTable
from tests.tui.scene import FakeFeed, connection, lines, play, process, query, show, snapshot, table, the_app

MANY = 10_000
TICK_TARGET_MS, KEY_TARGET_MS = 20.0, 50.0


TABLE: BoundedTable[int, Connection] = BoundedTable(None, MANY)


def crowd(seconds: float, moving: int = MANY) -> Snapshot:
    """So many of them move with every tick."""
    for number in range(0, MANY, MANY // moving):
        row = connection(
            number, "curl", f"host{number % 977}.example.com", tx_bytes=int(number * seconds), srtt_ms=number % 97
        )
        TABLE.put(number, row)
    return snapshot(
        [query(number, "curl", f"host{number}.example.com") for number in range(1_000)], TABLE.version(),
        [process("curl", pid=number, tx_bytes_per_s=float(number)) for number in range(500)], seconds,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def frozen() -> None:
    """As run_screen() has it; what one test froze the next one frees."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@pytest.mark.parametrize("moving", [MANY, MANY // 100])
@pytest.mark.parametrize("chosen", ["", "host:*7.example.com"])
def test_a_tick(chosen: str, moving: int, measured: list[str]) -> None:
    start = crowd(59.0)
    snapshots = [crowd(60.0 + second, moving) for second in range(8)]
    taken = []

    async def steps(pilot: Pilot[None]) -> None:
        for latest in snapshots:
            begun = time.process_time()
            await show(pilot, latest)
            for widget in the_app(pilot).screen.query("RowTable, StatusBar"):
                widget.render_lines(widget.region.reset_offset)
            taken.append((time.process_time() - begun) * 1000)
        assert f"conn {MANY:,}" in lines(pilot)[0]

    play(steps, FakeFeed(start), chosen=chosen)
    filtered = f" with the filter {chosen}" if chosen else ""
    measured.append(
        f"screen: a tick with {MANY} built connections, {moving} moving{filtered}: {median(taken):.1f} ms CPU, "
        f"most {max(taken):.1f} (target {TICK_TARGET_MS:g})"
    )
    assert median(taken) < 3 * TICK_TARGET_MS * (3 if chosen else 1)


def test_a_tick_while_one_types_a_filter(measured: list[str]) -> None:
    """The choices below it are counted anew."""
    snapshots = [crowd(60.0 + second) for second in range(6)]
    taken = []

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"comm:curl host:")
        for latest in snapshots:
            begun = time.process_time()
            await show(pilot, latest)
            taken.append((time.process_time() - begun) * 1000)
        assert "host0.example.com 11" in lines(pilot)[-4]

    play(steps, FakeFeed(crowd(59.0)))
    measured.append(
        f"screen: a tick with {MANY} built connections while one types a filter: {median(taken):.1f} ms CPU, "
        f"most {max(taken):.1f}"
    )
    assert median(taken) < 9 * TICK_TARGET_MS


def test_keys(measured: list[str]) -> None:
    keys = [
        "j",
        "k",
        "pagedown",
        "pageup",
        "G",
        "g",
        "2",
        "1",
        "2",
        "h",
        "h",
        "a",
        "a",
        "S",
        "S",
        "z",
        "z",
        "space",
        "space",
    ]
    taken: list[tuple[float, str]] = []

    async def steps(pilot: Pilot[None]) -> None:
        for key in keys * 3:
            begun = time.process_time()
            await pilot.press(key)
            taken.append(((time.process_time() - begun) * 1000, key))
        assert len(table(pilot).shown_rows) == MANY

    play(steps, FakeFeed(crowd(60.0)))
    taken.sort()
    p95, slowest = taken[int(len(taken) * 0.95)]
    measured.append(
        f"screen: a key with {MANY} built connections, p50 {median(ms for ms, _ in taken):.1f} ms, "
        f"p95 {p95:.1f} ms CPU ({slowest}; target {KEY_TARGET_MS:g})"
    )
    assert p95 < 3 * KEY_TARGET_MS
