"""Kernel clocks to wall time."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Clock:
    """Offsets of the wall clock from CLOCK_MONOTONIC and CLOCK_BOOTTIME, in nanoseconds, taken once.

    Fixed for a run, so that a stepped wall clock neither reorders nor stretches what was measured.
    """

    monotonic_offset_ns: int
    boot_offset_ns: int

    @classmethod
    def now(cls) -> "Clock":
        """The offsets at this moment, each from the tightest of a few readings."""
        return cls(_offset_ns(time.CLOCK_MONOTONIC), _offset_ns(time.CLOCK_BOOTTIME))

    def wall(self, monotonic_ns: int) -> datetime:
        """The wall time of a bpf_ktime_get_ns() reading, to the microsecond."""
        return _datetime(monotonic_ns + self.monotonic_offset_ns)

    def wall_of_boot(self, boot_ns: int) -> datetime:
        """The wall time of a CLOCK_BOOTTIME reading, to the microsecond."""
        return _datetime(boot_ns + self.boot_offset_ns)


def _offset_ns(clock: int) -> int:
    readings = []
    for _ in range(5):
        before = time.clock_gettime_ns(clock)
        wall = time.time_ns()
        after = time.clock_gettime_ns(clock)
        readings.append((after - before, wall - (before + after) // 2))
    return min(readings)[1]


def _datetime(wall_ns: int) -> datetime:
    microseconds = wall_ns // 1000
    if microseconds % 1_000_000 == 0:
        # RFC 3339 text would lose its fraction and so its fixed width; the clocks are no more exact than this
        microseconds += 1
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


def milliseconds(start: datetime, end: datetime) -> float:
    """Time from start to end in milliseconds, to the microsecond."""
    return round((end - start).total_seconds() * 1000, 3)
