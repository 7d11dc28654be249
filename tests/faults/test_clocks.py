"""Clocks that jump. The machine's own are left alone: a namespace has others, and in this process they are replaced."""

import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nettop.kernel.scope import Scope
from nettop.model.snapshot import Snapshot
from nettop.model.store import Store
from nettop.sources.live import LiveSource
from tests.live import dns_server, programs
from tests.live.lab import (
    PATIENCE_S,
    Namespace,
    check_snapshot,
    connections_of,
    dns_of,
    namespace,
    process_of,
    snapshot_running,
    wait_until,
)

PORT = 7104
SECOND = 10**9
NIGHT = timedelta(hours=8)


@pytest.fixture(scope="module")
def served(directory: Path) -> Iterator[Namespace]:
    with namespace(directory) as inside:
        assert inside.play(dns_server.serve, addresses=["127.0.0.1"]).hear() == "serving"
        assert inside.play(programs.tcp_server, address="127.0.0.1", port=PORT).hear() == "listening"
        yield inside


def test_in_a_time_namespace(served: Namespace) -> None:
    """Its clocks are 11 days ahead; what the kernel says of itself is not."""
    ahead = ("unshare", "--time", "--monotonic", "1000000", "--boottime", "1000000")
    probe = subprocess.run([*ahead, "cat", "/proc/self/timens_offsets"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip("this kernel or this unshare has no time namespaces")
    before = datetime.now(UTC)
    with snapshot_running("--netns", served.name, prefix=ahead) as process:
        talker = served.play(programs.tcp_client, address="127.0.0.1", port=PORT, sizes=[[13, 17]])
        talker.end()
        process.terminate()
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, b"")
    snapshot = check_snapshot(output)
    (row,) = connections_of(snapshot, talker)
    assert row.opened_at is not None
    assert row.closed_at is not None
    assert before < row.opened_at < row.closed_at < snapshot.captured_at < datetime.now(UTC)
    assert before < snapshot.started_at < snapshot.captured_at
    assert before < process_of(snapshot, talker).start_time < row.opened_at


class Watched:
    """A live source in this process."""

    def __init__(self, where: Namespace) -> None:
        self.source = LiveSource(Scope(netns=(where.inode,)), interval_s=0.1)
        self.store = Store()

    def take(self) -> Snapshot:
        for event in self.source.read(0.05):
            self.store.apply(event)
        return self.store.snapshot()


@pytest.fixture
def watched(served: Namespace) -> Iterator[Watched]:
    made = Watched(served)
    try:
        made.take()
        yield made
    finally:
        made.source.close()


def exchange(where: Namespace, watched: Watched) -> Snapshot:
    """A query and a connection, seen to their end."""
    asker = where.play(programs.ask_udp, server="127.0.0.1", questions=[[1, "clock.test", 1]])
    talker = where.play(programs.tcp_client, address="127.0.0.1", port=PORT, sizes=[[13, 17]])
    asker.end()
    talker.end()

    def over() -> bool:
        snapshot = watched.take()
        closed = [row for row in connections_of(snapshot, talker) if row.state == "closed"]
        return len(closed) == 1 and [row.status for row in dns_of(snapshot, asker)] == ["answered"]

    wait_until(over, "the exchange")
    return watched.store.snapshot()


def in_order(snapshot: Snapshot) -> None:
    """Nothing ends before it begins, nothing takes longer than the test."""
    for row in snapshot.connections:
        assert row.opened_at is not None
        assert row.closed_at is not None
        assert timedelta(0) <= row.closed_at - row.opened_at < timedelta(minutes=1)
        assert row.duration_ms is not None
        assert 0 <= row.duration_ms < 60_000
    assert all(row.latency_ms is not None and 0 <= row.latency_ms < 60_000 for row in snapshot.dns)
    assert snapshot.elapsed_s >= 0


@pytest.mark.parametrize("step", [-timedelta(days=400), timedelta(days=400)])
def test_the_wall_clock_is_stepped(
    served: Namespace, watched: Watched, monkeypatch: pytest.MonkeyPatch, step: timedelta
) -> None:
    """The times of a run stay those of the clock with which it began, so that they can be compared."""
    first = exchange(served, watched)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + step // timedelta(microseconds=1) * 1000)
    second = exchange(served, watched)
    in_order(second)
    assert timedelta(0) <= second.captured_at - first.captured_at < timedelta(minutes=1)
    assert len(second.dns) == len(first.dns) + 1


def test_the_system_was_suspended(served: Namespace, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """For eight hours: what the kernel stamps afterwards is that much later than its CLOCK_MONOTONIC says."""
    first = exchange(served, watched)
    real, night_ns = time.clock_gettime_ns, NIGHT // timedelta(microseconds=1) * 1000
    monkeypatch.setattr(
        time, "clock_gettime_ns", lambda clock: real(clock) + (night_ns if clock == time.CLOCK_BOOTTIME else 0)
    )
    woken = datetime.now(UTC) + NIGHT
    second = exchange(served, watched)
    in_order(second)
    late = second.connections[len(first.connections) :]
    assert len(late) == 2  # both ends
    for row in late:
        assert row.opened_at is not None
        assert woken < row.opened_at < woken + timedelta(minutes=1)
    assert woken < second.dns[-1].asked_at < woken + timedelta(minutes=1)
    assert timedelta(0) <= second.captured_at - woken < timedelta(minutes=1)
