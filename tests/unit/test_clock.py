"""Kernel clocks to wall time."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettop.tracking.clock import Clock, milliseconds
from tests.builders import BASE, CLOCK, at

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


def test_milliseconds_to_the_microsecond() -> None:
    assert milliseconds(at(1), at(1.001234)) == 1.234
    assert milliseconds(at(1), at(0.5)) == -500.0


def test_the_clock_of_these_tests() -> None:
    assert CLOCK.wall(0) == BASE
