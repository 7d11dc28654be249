"""Kernel clocks to wall time."""

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

_MICROSECOND = timedelta(microseconds=1)
_LEAST_SUSPENSION_NS = 1_000_000  # below is the error of a measurement
_CLOCK_MONOTONIC_COARSE = 6  # include/uapi/linux/time.h: time has no name for it
JIFFY_NS = round(time.clock_getres(_CLOCK_MONOTONIC_COARSE) * 1e9)  # it ticks with the kernel's jiffies
_SUSPENSIONS_KEPT = 64  # so many ago, nothing is told any more of what was before


class TimeNamespace(NamedTuple):
    """How far the clocks that this process reads are ahead of the kernel's own, in nanoseconds (time_namespaces(7))."""

    monotonic_ns: int = 0
    boot_ns: int = 0


class Clock:
    """Offsets of the wall clock from the kernel's CLOCK_MONOTONIC and CLOCK_BOOTTIME, in nanoseconds.

    Taken once, so that a stepped wall clock neither reorders nor stretches what was measured. Only a suspension, during
    which CLOCK_MONOTONIC stands still, changes that one's offset, for what comes after it.
    """

    def __init__(
        self,
        monotonic_offset_ns: int,
        boot_offset_ns: int,
        namespace: TimeNamespace = TimeNamespace(),  # noqa: B008
    ) -> None:
        self._boot_offset_ns = boot_offset_ns
        self._namespace = namespace
        self._offset_ns = monotonic_offset_ns
        self._since_ns = 0
        self._earlier: deque[tuple[int, int]] = deque(maxlen=_SUSPENSIONS_KEPT)  # until when which offset, in order
        self._followed_ns = 0
        self._suspended_ns = -_offset_ns(time.CLOCK_BOOTTIME, time.monotonic_ns)

    @classmethod
    def now(cls, namespace: TimeNamespace = TimeNamespace()) -> "Clock":  # noqa: B008
        """The offsets at this moment, each from the tightest of a few readings."""
        return cls(
            _offset_ns(time.CLOCK_MONOTONIC, time.time_ns) + namespace.monotonic_ns,
            _offset_ns(time.CLOCK_BOOTTIME, time.time_ns) + namespace.boot_ns,
            namespace,
        )

    def kernel_ns(self) -> int:
        """What bpf_ktime_get_ns() would say now."""
        return time.monotonic_ns() - self._namespace.monotonic_ns

    def follow(self) -> None:
        """Call before records are told: notices that the system was suspended since the last call."""
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        suspended_ns = boot_ns - time.monotonic_ns()  # or more: the second reading is the later one
        slept_ns = suspended_ns - self._suspended_ns
        if slept_ns > _LEAST_SUSPENSION_NS:
            self._suspended_ns = suspended_ns
            # What came between the last call and the suspension counts as after it: shortly after is the same.
            self._earlier.append((self._followed_ns, self._offset_ns))
            self._since_ns = self._followed_ns
            self._offset_ns += slept_ns
        self._followed_ns = self.kernel_ns()

    def wall(self, monotonic_ns: int) -> datetime:
        """The wall time of a bpf_ktime_get_ns() reading, to the microsecond."""
        return at(self.wall_us(monotonic_ns))

    def wall_us(self, monotonic_ns: int) -> int:
        """The same in microseconds since 1970, from which at() makes the time: at a third of the cost."""
        if monotonic_ns >= self._since_ns:
            wall_ns = monotonic_ns + self._offset_ns
        else:
            wall_ns = monotonic_ns + next(offset for until_ns, offset in self._earlier if monotonic_ns < until_ns)
        return _microseconds(wall_ns)

    def wall_of_boot(self, boot_ns: int) -> datetime:
        """The wall time of the kernel's CLOCK_BOOTTIME, to the microsecond."""
        return _start_of_process(_microseconds(boot_ns + self._boot_offset_ns))


def _offset_ns(clock: int, other: Callable[[], int]) -> int:
    """How far the other clock is ahead of this one."""
    readings = []
    for _ in range(5):
        before = time.clock_gettime_ns(clock)
        ahead = other()
        after = time.clock_gettime_ns(clock)
        readings.append((after - before, ahead - (before + after) // 2))
    return min(readings)[1]


def _microseconds(wall_ns: int) -> int:
    # RFC 3339 text would lose its fraction and so its fixed width; the clocks are no more exact than this
    microseconds = wall_ns // 1000
    return microseconds if microseconds % 1_000_000 else microseconds + 1


def at(microseconds: int) -> datetime:
    """The time so long after the beginning of 1970."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


_start_of_process = lru_cache(maxsize=4096)(at)  # which comes with each of its rows


def milliseconds(start: datetime, end: datetime) -> float:
    """Time from start to end in milliseconds, to the microsecond."""
    return (end - start) // _MICROSECOND / 1000  # exact, in half the time that round() takes
