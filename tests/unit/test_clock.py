"""Kernel clocks to wall time."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettop.tracking.clock import Clock, TimeNamespace, milliseconds
from tests.builders import BASE, CLOCK, at

SECOND = 10**9
NEAR = timedelta(microseconds=100)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_both_clocks() -> None:
    clock = Clock(monotonic_offset_ns=1_700_000_000_000_001_000, boot_offset_ns=1_600_000_000_000_002_000)
    assert clock.wall(1_500_000) == datetime(2023, 11, 14, 22, 13, 20, 1501, tzinfo=UTC)
    assert clock.wall_of_boot(0) == datetime(2020, 9, 13, 12, 26, 40, 2, tzinfo=UTC)


@pytest.mark.parametrize(("wall_ns", "microseconds"), [(1_999, 1), (2_000, 2), (999_999_999, 999_999)])
def test_nanoseconds_are_cut(wall_ns: int, microseconds: int) -> None:
    assert Clock(0, 0).wall(wall_ns) == EPOCH + timedelta(microseconds=microseconds)


@pytest.mark.parametrize("second", [0, 1, 1_772_366_400])
def test_a_whole_second_becomes_its_first_microsecond(second: int) -> None:
    """Otherwise its RFC 3339 text would have no fraction."""
    assert Clock(0, 0).wall(second * 10**9) == EPOCH + timedelta(seconds=second, microseconds=1)


@given(st.integers(0, 4 * 10**18))
def test_a_time_always_has_a_fraction_and_is_true_to_two_microseconds(wall_ns: int) -> None:
    wall = Clock(0, 0).wall(wall_ns)
    assert wall.microsecond != 0
    assert abs((wall - EPOCH) // timedelta(microseconds=1) - wall_ns // 1000) <= 1


@given(st.integers(0, 4 * 10**18), st.integers(0, 3000))
def test_later_is_never_earlier(wall_ns: int, more_ns: int) -> None:
    assert Clock(0, 0).wall(wall_ns) <= Clock(0, 0).wall(wall_ns + more_ns)


def test_now_is_now() -> None:
    before = datetime.now(UTC)
    shown = Clock.now().wall(time.monotonic_ns())
    assert abs((shown - before).total_seconds()) < 5


class Kernel:
    """The clocks of a system that can be suspended and whose wall clock can be set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic_ns, self.boot_ns, self.wall_ns = 5_000 * SECOND, 6_000 * SECOND, 1_000_000 * SECOND
        self.readings_take_ns: Iterator[int] = repeat(100)
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.read("monotonic_ns"))
        monkeypatch.setattr(time, "time_ns", lambda: self.read("wall_ns"))
        clocks = {time.CLOCK_BOOTTIME: "boot_ns", time.CLOCK_MONOTONIC: "monotonic_ns"}
        monkeypatch.setattr(time, "clock_gettime_ns", lambda clock: self.read(clocks[clock]))

    def read(self, name: str) -> int:
        value: int = getattr(self, name)
        self.passes(next(self.readings_take_ns))
        return value

    def passes(self, nanoseconds: int) -> None:
        self.monotonic_ns += nanoseconds
        self.suspended(nanoseconds)

    def suspended(self, nanoseconds: int) -> None:
        self.boot_ns += nanoseconds
        self.wall_ns += nanoseconds


def near(one: datetime, other: datetime) -> bool:
    return abs(one - other) < NEAR


def test_a_stepped_wall_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    clock = Clock.now()
    before = clock.wall(kernel.monotonic_ns)
    for step in (-86_400 * SECOND, 3 * 86_400 * SECOND):
        kernel.passes(SECOND)
        kernel.wall_ns += step
        clock.follow()
    assert near(clock.wall(kernel.monotonic_ns), before + timedelta(seconds=2))
    assert near(clock.wall_of_boot(kernel.boot_ns), before + timedelta(seconds=2))


QUICK, SLOW = 100, SECOND // 50


@pytest.mark.parametrize(
    "readings_ns",
    [
        [SLOW, *[QUICK] * 14],  # three readings of clocks make one of their difference
        [*[QUICK] * 13, SLOW, QUICK],
        [*[SLOW, QUICK, QUICK] * 2, *[QUICK] * 3, *[QUICK, SLOW, QUICK] * 2],
        [SLOW],  # evenly, so that the other clock was read midway
    ],
    ids=["first", "last", "all_but_one", "all"],
)
def test_a_reading_that_was_interrupted_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, readings_ns: list[int]
) -> None:
    kernel = Kernel(monkeypatch)
    truth = EPOCH + timedelta(microseconds=kernel.wall_ns // 1000)
    monotonic_ns, boot_ns = kernel.monotonic_ns, kernel.boot_ns
    kernel.readings_take_ns = cycle(readings_ns)
    clock = Clock.now()
    assert near(clock.wall(monotonic_ns), truth)
    assert near(clock.wall_of_boot(boot_ns), truth)


def test_a_suspension_passes_for_what_comes_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """CLOCK_MONOTONIC stands still meanwhile; without a look at the other clock all would be told 8 hours too early."""
    kernel = Kernel(monkeypatch)
    clock = Clock.now()
    clock.follow()
    early_ns, early = kernel.monotonic_ns - SECOND, clock.wall(kernel.monotonic_ns - SECOND)
    for hours in (8, 16):
        kernel.passes(SECOND)
        kernel.suspended(8 * 3600 * SECOND)
        kernel.passes(SECOND)
        late_ns = kernel.monotonic_ns
        clock.follow()
        kernel.passes(SECOND)
        clock.follow()
        assert clock.wall(early_ns) == early
        expected = timedelta(hours=hours, seconds=(late_ns - early_ns) / SECOND)
        assert near(clock.wall(late_ns), early + expected)
        assert near(clock.wall(late_ns), clock.wall_of_boot(kernel.boot_ns - SECOND))


def test_however_often_one_looks_the_clock_does_not_creep(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)
    clock = Clock.now()
    before = clock.wall(0)
    for _ in range(10_000):
        kernel.passes(SECOND // 10)
        clock.follow()
    assert near(clock.wall(kernel.monotonic_ns), before + timedelta(microseconds=kernel.monotonic_ns // 1000))


def test_the_real_clock_does_not_creep_either() -> None:
    clock = Clock.now()
    moment = time.monotonic_ns()
    before = clock.wall(moment)
    for _ in range(1_000):
        clock.follow()
    assert clock.wall(moment) == before


def test_in_a_time_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process reads 900 s more than the kernel's own clocks say."""
    kernel = Kernel(monkeypatch)
    now = kernel.wall_ns
    clock = Clock.now(TimeNamespace(monotonic_ns=900 * SECOND, boot_ns=900 * SECOND))
    truth = EPOCH + timedelta(microseconds=now // 1000)
    assert clock.kernel_ns() == pytest.approx(kernel.monotonic_ns - 900 * SECOND, abs=10_000)
    assert near(clock.wall(kernel.monotonic_ns - 900 * SECOND), truth)
    assert near(clock.wall_of_boot(kernel.boot_ns - 900 * SECOND), truth)


def test_milliseconds_to_the_microsecond() -> None:
    assert milliseconds(at(1), at(1.001234)) == 1.234
    assert milliseconds(at(1), at(0.5)) == -500.0


def test_the_clock_of_these_tests() -> None:
    assert CLOCK.wall(0) == BASE
