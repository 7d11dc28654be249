"""What a running program costs, as the kernel tells it: CPU time per thread and per BPF program, memory, BPF maps."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from nettop.kernel import syscalls
from tests.bench.split import Split, Times

_ENABLE_STATS = 32  # enum bpf_cmd
_TRACING = 26  # BPF_PROG_TYPE_TRACING: the iterators, which run in the reader's own system calls
MB = 1 << 20


@contextmanager
def bpf_run_times() -> Iterator[None]:
    """Let the kernel time every BPF program, until the end of this, however it comes: it hangs on a descriptor.

    The same as the sysctl kernel.bpf_stats_enabled, without having to be put back.
    """
    descriptor = syscalls._bpf(_ENABLE_STATS, struct.pack("<I", 0))  # BPF_STATS_RUN_TIME
    try:
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Spent:
    """CPU time in ns until now, or between two moments."""

    hooks: int  # BPF in other programs' time, which is not in `threads`
    iterators: int  # BPF in the reader's time, which is
    threads: dict[int, int]  # by thread id
    split: Times | None

    def since(self, before: "Spent") -> "Spent":
        """What was added; threads that have ended are left out."""
        split = None
        if self.split is not None and before.split is not None:
            split = Times(self.split.thread, self.split.reader_ns - before.split.reader_ns)
        return Spent(
            self.hooks - before.hooks,
            self.iterators - before.iterators,
            {thread: ns - before.threads.get(thread, 0) for thread, ns in self.threads.items()},
            split,
        )


def spent(pid: int, split: Split | None = None) -> Spent:
    """Until now."""
    programs = {fields["prog_id"]: fields for fields in descriptors(pid) if "run_time_ns" in fields}
    times = [(int(fields["prog_type"]) == _TRACING, int(fields["run_time_ns"])) for fields in programs.values()]
    threads = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            # nanoseconds, where /proc/PID/stat counts in hundredths of a second
            threads[int(task.name)] = int((task / "schedstat").read_text().split()[0])
    return Spent(
        hooks=sum(ns for iterator, ns in times if not iterator),
        iterators=sum(ns for iterator, ns in times if iterator),
        threads=threads,
        split=split.times() if split else None,
    )


@dataclass(frozen=True)
class Shares:
    """Of a nettop's CPU time, in ns, by what it was for. `reader` and `model` are the collector's thread."""

    hooks: int
    reader: int
    model: int
    screen: int
    other: int


def shares(pid: int, spent_ns: Spent) -> Shares:
    """Who spent it. Without a screen the collector runs in the main thread."""
    assert spent_ns.split is not None
    collector = spent_ns.split.thread
    in_collector = spent_ns.threads.get(collector, 0)
    screen = spent_ns.threads.get(pid, 0) if collector != pid else 0
    return Shares(
        hooks=spent_ns.hooks,
        reader=spent_ns.split.reader_ns,
        model=max(in_collector - spent_ns.split.reader_ns, 0),
        screen=screen,
        other=sum(spent_ns.threads.values()) - in_collector - screen,
    )


def descriptors(pid: int) -> list[dict[str, str]]:
    """What /proc/PID/fdinfo says of each descriptor."""
    found = []
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):
            lines = entry.read_text().splitlines()
            found.append({key: value.strip() for key, _, value in (line.partition(":") for line in lines)})
    return found


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    rss: int
    pss: int
    peak: int  # of rss
    maps: int  # BPF maps: the kernel's, in none of the others


def memory(pid: int) -> Memory:
    """Now."""
    rollup = _kilobytes(Path(f"/proc/{pid}/smaps_rollup"))

    maps = {
        fields["map_id"]: int(fields["memlock"])
        for fields in descriptors(pid)
        if {"map_id", "memlock"} <= fields.keys()
    }
    return Memory(rollup["Rss"], rollup["Pss"], _kilobytes(Path(f"/proc/{pid}/status"))["VmHWM"], sum(maps.values()))


def _kilobytes(path: Path) -> dict[str, int]:
    lines = (line.split() for line in path.read_text().splitlines() if line.endswith(" kB"))
    return {fields[0].rstrip(":"): int(fields[1]) * 1024 for fields in lines}
