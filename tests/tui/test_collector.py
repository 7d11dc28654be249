"""A source on a thread of its own, and a snapshot file: what the screen pulls from."""

import threading
import time
from collections.abc import Callable

import pytest

from nettop.collector import Collector, FixedSnapshot
from nettop.errors import UsageError
from nettop.model.events import AnyEvent
from tests import builders
from tests.tui.scene import busy


class FakeSource:
    """Hands out batches, then waits."""

    def __init__(self, *batches: list[AnyEvent] | BaseException, ends: bool = False) -> None:
        self.batches = list(batches)
        self.ends = ends
        self.finished = False
        self.closed = 0
        self.told: list[tuple[str, object]] = []
        self.reads = threading.Semaphore(0)

    pace = "x2"

    def read(self, timeout_s: float) -> list[AnyEvent]:
        self.reads.release()
        if not self.batches:
            self.finished = self.ends
            time.sleep(min(timeout_s, 0.001))
            return []
        batch = self.batches.pop(0)
        if isinstance(batch, BaseException):
            raise batch
        return batch

    def finish(self) -> list[AnyEvent]:
        return []

    def close(self) -> None:
        self.closed += 1

    def adjust(self, step: int) -> None:
        self.told.append(("adjust", step))

    def hold(self, held: bool) -> None:
        self.told.append(("hold", held))


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_snapshot_comes_with_each_tick_only() -> None:
    source = FakeSource(
        [builders.start(), builders.told(builders.connection())], [builders.tick(2)], [], [builders.tick(3)]
    )
    collector = Collector(source)
    collector.step(0)
    before = collector.latest
    assert before is None
    collector.step(0)
    first = collector.latest
    assert first is not None
    assert [row.id for row in first.connections] == [1]
    collector.step(0)
    assert collector.latest is first
    collector.step(0)
    assert collector.latest is not first


def test_wishes_are_told_on_the_thread_that_reads() -> None:
    source = FakeSource([builders.start()])
    collector = Collector(source)
    collector.adjust(1)
    collector.hold(True)
    assert source.told == []
    collector.step(0)
    assert source.told == [("adjust", 1), ("hold", True)]
    assert collector.pace == "x2"


def test_another_pace_and_the_end_are_told_without_a_tick() -> None:
    told = []
    source = FakeSource([builders.start()], ends=True)
    collector = Collector(source)
    collector.adjust(1)
    collector.start(lambda: told.append((list(source.told), collector.finished)))
    wait_for(lambda: len(told) == 2)
    assert told == [([("adjust", 1)], False), ([("adjust", 1)], True)]
    collector.stop()


def test_from_start_to_stop() -> None:
    source = FakeSource([builders.start(), builders.tick(1)])
    collector = Collector(source)
    collector.start(lambda: None)
    wait_for(lambda: collector.latest is not None)
    assert any(thread.name == "nettop-collector" for thread in threading.enumerate())
    collector.stop()
    assert source.closed == 1
    assert not any(thread.name == "nettop-collector" for thread in threading.enumerate())
    assert collector.error is None


def test_stopping_what_was_never_started_releases_the_source() -> None:
    source = FakeSource()
    Collector(source).stop()
    assert source.closed == 1


@pytest.mark.parametrize("error", [ValueError("boom"), UsageError("It broke.", "Mend it."), MemoryError()])
def test_an_error_ends_the_thread_and_is_kept(error: BaseException) -> None:
    collector = Collector(FakeSource([builders.start(), builders.tick(1)], error))
    collector.start(lambda: None)
    wait_for(lambda: collector.error is not None)
    assert collector.error is error
    assert collector.latest is not None
    collector.stop()


def test_a_recording_ends() -> None:
    collector = Collector(FakeSource(builders.a_recording(), ends=True))
    collector.start(lambda: None)
    wait_for(lambda: collector.finished)
    assert collector.latest is not None
    collector.stop()


def test_a_snapshot_of_a_file() -> None:
    seen = busy()
    fixed = FixedSnapshot(seen)
    fixed.start(lambda: None)
    fixed.adjust(1)
    fixed.hold(True)
    fixed.stop()
    assert (fixed.latest, fixed.error, fixed.finished, fixed.pace) == (seen, None, True, "")
