"""What happened in each second of the last hour: sums, in all and of the processes that did most."""

from collections import defaultdict, deque
from collections.abc import Collection, Hashable, Iterable
from datetime import UTC, datetime, timedelta
from heapq import nlargest
from typing import NamedTuple

from msgspec.structs import replace

from nettop.model.rows import MAX_COUNT, Count, DnsQuery, Pid, Row, Time

SECONDS_KEPT = 3600  # some 6 MB where many processes are busy all the time, 2 MB where one is
PROCESSES_KEPT = 3  # of each second those with most bytes, and as many of those with most queries and connections
MAX_OPEN = 128  # seconds that are not over yet: ticks are at most a minute apart


class ProcessSums(Row, frozen=True, gc=False, kw_only=True):
    """What one process did in a second. `dns_failed` are error codes, refusals and timeouts."""

    pid: Pid
    process_start_time: Time
    comm: str | None
    tx_bytes: Count = 0
    rx_bytes: Count = 0
    dns_queries: Count = 0
    dns_failed: Count = 0
    opened: Count = 0
    accepted: Count = 0
    failed_connects: Count = 0


class SecondSums(Row, frozen=True, gc=False, kw_only=True):
    """What happened in the second that begins at `time`; seconds in which nothing did are left out.

    A query counts when it was asked, its failure when that was known: `dns_other_failed` are other codes, and those of
    queries that were only counted. Counters are read at each tick: bytes, and what is in `processes`, are those since
    the tick before and stand in the second of the tick. `processes` are some of those that did most.
    """

    time: Time
    dns_queries: Count = 0
    dns_servfail: Count = 0
    dns_nxdomain: Count = 0
    dns_refused: Count = 0
    dns_timeouts: Count = 0
    dns_other_failed: Count = 0
    opened: Count = 0
    accepted: Count = 0
    failed_connects: Count = 0
    tx_bytes: Count = 0
    rx_bytes: Count = 0
    processes: tuple[ProcessSums, ...] = ()


class Sums(NamedTuple):
    """What is added up for a process, in the order of ProcessSums."""

    tx_bytes: int = 0
    rx_bytes: int = 0
    dns_queries: int = 0
    dns_failed: int = 0
    opened: int = 0
    accepted: int = 0
    failed_connects: int = 0

    def since(self, then: "Sums") -> "Sums":
        """What was added; less than nothing where a connection turned out to be another process's."""
        # one by one: with zip() it takes three times as long, and all processes that changed do this at each tick
        return Sums(
            self[0] - then[0],
            self[1] - then[1],
            self[2] - then[2],
            self[3] - then[3],
            self[4] - then[4],
            self[5] - then[5],
            self[6] - then[6],
        )


class Doer(NamedTuple):
    """Who did something."""

    pid: int
    start_time: datetime
    comm: str | None


def failure_of(row: DnsQuery) -> str | None:
    """The field that counts how a query failed; None if it did not."""
    if row.status == "timeout":
        return "dns_timeouts"
    if row.status == "refused":
        return "dns_refused"
    if not row.failed:
        return None
    name = f"dns_{(row.rcode or '').lower()}"
    return name if name in ("dns_servfail", "dns_nxdomain", "dns_refused") else "dns_other_failed"


class _Second:
    """One that is not over."""

    __slots__ = ("counts", "processes")

    def __init__(self) -> None:
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.processes: dict[Doer, Sums] = {}

    def row(self, second: int) -> SecondSums:
        counts = {name: _bounded(count) for name, count in self.counts.items()}
        return SecondSums(time=datetime.fromtimestamp(second, UTC), **counts, processes=_busiest(self.processes))


class Timeline:
    """Takes what happens, in nearly the order of time; rows() are the seconds in which anything did."""

    def __init__(self) -> None:
        self._over: deque[SecondSums] = deque()
        self._open: dict[int, _Second] = {}
        self._first_open = _second_of(
            datetime.min.replace(tzinfo=UTC)
        )  # what comes later than its second was closed counts in this one

    def count(self, time: datetime, name: str, number: int = 1) -> None:
        """So many more, of what this field counts."""
        self._second(time).counts[name] += number

    def add(self, time: datetime, doer: Doer, sums: Sums) -> None:
        """What a process did since the tick before."""
        processes = self._second(time).processes
        known = processes.get(doer)
        processes[doer] = sums if known is None else Sums(*map(sum, zip(known, sums, strict=True)))

    def tick(self, time: datetime) -> None:
        """All that happened until then has been told."""
        self._close(_second_of(time))

    def rows(self) -> tuple[SecondSums, ...]:
        """In the order of time."""
        return (*self._over, *(self._open[second].row(second) for second in sorted(self._open)))

    def _second(self, time: datetime) -> _Second:
        number = max(_second_of(time), self._first_open)
        second = self._open.get(number)
        if second is None:
            if len(self._open) >= MAX_OPEN:
                self._close(number)
                number = max(number, self._first_open)
            second = self._open.setdefault(number, _Second())
        return second

    def _close(self, before: int) -> None:
        if before <= self._first_open:
            return
        self._first_open = before
        over = sorted(number for number in self._open if number < before)
        self._over.extend(self._open.pop(number).row(number) for number in over)
        oldest = datetime.fromtimestamp(before, UTC) - timedelta(seconds=SECONDS_KEPT)
        while self._over and self._over[0].time < oldest:
            self._over.popleft()


def of_processes(timeline: Iterable[SecondSums], kept: Collection[Hashable]) -> tuple[SecondSums, ...]:
    """The timeline with only those processes whose (pid, start time) is among these."""
    return tuple(
        replace(
            second,
            processes=tuple(each for each in second.processes if (each.pid, each.process_start_time) in kept),
        )
        for second in timeline
    )


def _second_of(time: datetime) -> int:
    return int(time.timestamp())


def _bounded(count: int) -> int:
    return min(max(count, 0), MAX_COUNT)


def _busiest(processes: dict[Doer, Sums]) -> tuple[ProcessSums, ...]:
    most_bytes = nlargest(PROCESSES_KEPT, processes.items(), key=lambda item: item[1].tx_bytes + item[1].rx_bytes)
    most_events = nlargest(PROCESSES_KEPT, processes.items(), key=lambda item: sum(item[1][2:]))
    return tuple(
        ProcessSums(
            pid=doer.pid,
            process_start_time=doer.start_time,
            comm=doer.comm,
            **{name: _bounded(count) for name, count in sums._asdict().items()},
        )
        for doer, sums in dict((*most_bytes, *most_events)).items()
        if any(count > 0 for count in sums)
    )
