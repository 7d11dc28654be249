"""`make soak`: the screen over a long time under load; its memory, threads and descriptors must not grow.

    python -m tests.faults.soak [SECONDS] [PER_SECOND]

Three parts: for SECONDS so many answered questions and connections, for a third of that twice as many questions for
names that nobody asked before and nobody answers, then 100,000 processes that come and go. Each prints a table, and
what was offered beside what was seen and what was reported as lost. Ends with 1 if anything grew or is missing.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from nettop.model.snapshot import Snapshot
from tests.faults import load
from tests.live.lab import NETTOP, Namespace, Program, namespace, wait_until
from tests.live.terminal import Terminal

SECONDS, PER_S, EXITS = 1800.0, 1000, 100_000
ADDRESS, PORT, NOBODY = "127.0.0.1", 7103, "127.0.0.2"
SAMPLES = 120
WARM = 0.25  # of the time; by then every table is as full as it will be
TICK_S, CATCH_UP_S = 1.5, 60.0  # on a machine that is too busy nettop keeps what it has no time for, and is late
LONG_S = 300.0  # until then the tables are still being filled
ALLOWED_MB = 4.0  # of growth between the warm-up and the end: command lines of the whole machine fill a table slowly
LAST_LOOKS, BETWEEN_LOOKS_S = 10, 0.05  # a file that is open just while it is read is not one that is kept


_OFFERED = ("questions", "connections", "processes")


class Sample(NamedTuple):
    """What nettop holds at a moment."""

    at_s: float
    resident_mb: float
    threads: int
    descriptors: int
    cpu_s: float


class Outcome(NamedTuple):
    """How it went. `offered` is counted by who made it; the snapshot is what nettop has to say at the end."""

    name: str
    samples: list[Sample]
    offered: list[int]
    snapshot: Snapshot
    pid: int

    @property
    def seen(self) -> list[int]:
        """As `offered` counts: by process, because the rows of questions and connections are bounded."""
        rows = [row for row in self.snapshot.processes if row.pid == self.pid]
        processes = len(self.snapshot.processes) + self.snapshot.losses.evicted["processes"]
        return [sum(row.dns.queries for row in rows), sum(row.tcp.opened for row in rows), processes]

    @property
    def lost(self) -> list[int]:
        """What was reported, where each of `offered` could have been lost."""
        lost = self.snapshot.losses.perf_buffer
        return [lost["dns_events"], lost["tcp_events"], lost["udp_events"]]

    @property
    def warm(self) -> list[Sample]:
        end = self.samples[-1].at_s
        return [sample for sample in self.samples if sample.at_s >= WARM * end] or self.samples[-1:]

    @property
    def slope_kb_per_min(self) -> float:
        """Of the resident memory after the warm-up, by least squares."""
        xs = [sample.at_s / 60 for sample in self.warm]
        ys = [sample.resident_mb * 1024 for sample in self.warm]
        mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
        spread = sum((x - mean_x) ** 2 for x in xs)
        return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread if spread else 0.0

    @property
    def grown_mb(self) -> float:
        """What the slope makes of the time after the warm-up."""
        return self.slope_kb_per_min / 1024 * (self.warm[-1].at_s - self.warm[0].at_s) / 60

    def failures(self) -> list[str]:
        """What should not be."""
        found = []
        if self.samples[-1].at_s >= LONG_S and self.grown_mb > ALLOWED_MB:
            found.append(f"memory grew by {self.grown_mb:.1f} MB")
        found += [
            f"{what} grew from {min(values)} to {values[-1]}"
            for what, values in (
                ("threads", [sample.threads for sample in self.warm]),
                ("descriptors", [sample.descriptors for sample in self.warm]),
            )
            if min(values[-LAST_LOOKS:]) > min(values)
        ]
        return found + self.missing()

    def missing(self) -> list[str]:
        """What was neither seen nor reported as lost."""
        return [
            f"of {offered} {what} {offered - seen} are missing, {lost} are reported"
            for what, offered, seen, lost in zip(_OFFERED, self.offered, self.seen, self.lost, strict=True)
            if offered - seen > lost
        ]


def sample(pid: int, begun: float) -> Sample:
    status = Path(f"/proc/{pid}/status").read_text()
    cpu = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Sample(
        at_s=time.monotonic() - begun,
        resident_mb=int(status.partition("VmRSS:")[2].split()[0]) / 1024,
        threads=int(status.partition("Threads:")[2].split()[0]),
        descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        cpu_s=(int(cpu[11]) + int(cpu[12])) / os.sysconf("SC_CLK_TCK"),
    )


def observe(name: str, where: Namespace, begin: Callable[[], Program], every_s: float) -> Outcome:
    """Run the screen beside what `begin` starts until that ends; then the snapshot that the screen exports."""
    with tempfile.TemporaryDirectory() as directory:
        exports = Path(directory)
        with Terminal([*NETTOP, "--netns", where.name], cwd=exports) as terminal:
            terminal.until_said("LIVE", "nothing lost")
            program, begun = begin(), time.monotonic()
            samples: list[Sample] = []
            while program.exit_code is None:
                while terminal.drain(0.2):
                    pass
                if time.monotonic() - begun >= len(samples) * every_s:
                    samples.append(sample(terminal.pid, begun))
            said = program.hear()
            for _ in range(LAST_LOOKS):
                time.sleep(BETWEEN_LOOKS_S)
                terminal.drain()
                samples.append(sample(terminal.pid, begun))
            end = time.monotonic() + CATCH_UP_S
            while True:
                outcome = Outcome(name, samples, said, export(terminal, exports), program.pid)
                if not outcome.missing() or time.monotonic() > end:
                    break
            terminal.press("q")
            if terminal.ends(20) != 0:
                raise AssertionError(f"nettop ended with {terminal.process.returncode}")
            terminal.assert_as_found()
    return outcome


def export(terminal: Terminal, directory: Path) -> Snapshot:
    """What the screen has a tick from now."""
    end = time.monotonic() + TICK_S
    while time.monotonic() < end:
        terminal.drain(0.2)
    before = set(directory.glob("*.json"))
    terminal.press("e")
    wait_until(lambda: not terminal.drain() and set(directory.glob("*.json")) > before, "the export")
    (written,) = set(directory.glob("*.json")) - before
    return msgspec.json.decode(written.read_bytes(), type=Snapshot)


def exits(where: Namespace, count: int) -> Outcome:
    """Processes that send a byte and are gone, in a pid namespace of their own."""

    def begin() -> Program:
        apart = ("unshare", "--pid", "--fork", "--kill-child")
        return where.play(load.exits, prefix=apart, address=NOBODY, port=PORT, count=count)

    return observe(f"{count} processes that come and go", where, begin, count / 1000 / SAMPLES)


def flood(where: Namespace, seconds: float, per_s: int) -> Outcome:
    def begin() -> Program:
        return where.play(load.ask_in_vain, address=NOBODY, count=int(seconds * per_s), per_s=per_s)

    name = f"{seconds:.0f} s of {per_s} questions/s for new names, unanswered"
    return observe(name, where, begin, seconds / SAMPLES)


def talk(where: Namespace, seconds: float, per_s: int) -> Outcome:
    def begin() -> Program:
        return where.play(load.talk, address=ADDRESS, port=PORT, per_s=per_s, seconds=seconds)

    name = f"{seconds:.0f} s of {per_s} questions/s and {per_s} connections/s"
    return observe(name, where, begin, seconds / SAMPLES)


def report(outcome: Outcome) -> Iterator[str]:
    yield ""
    yield outcome.name
    yield f"{'minute':>8}{'RSS MB':>10}{'threads':>10}{'files':>8}{'CPU %':>8}"
    samples = outcome.samples
    shown = sorted({round(number * (len(samples) - 1) / 12) for number in range(13)})
    for before, number in zip([0, *shown], shown, strict=False):
        at, then = samples[number], samples[before]
        share = 100 * (at.cpu_s - then.cpu_s) / (at.at_s - then.at_s) if at.at_s > then.at_s else 0.0
        yield f"{at.at_s / 60:8.1f}{at.resident_mb:10.1f}{at.threads:10}{at.descriptors:8}{share:8.1f}"
    yield (
        f"RSS after the warm-up: {outcome.slope_kb_per_min:+.1f} kB/min, "
        f"{outcome.grown_mb:+.2f} MB in {(outcome.warm[-1].at_s - outcome.warm[0].at_s) / 60:.1f} min"
    )
    losses = outcome.snapshot.losses
    yield f"{', '.join(_OFFERED)}: offered {outcome.offered}, seen {outcome.seen}"
    yield f"lost {losses.perf_buffer}, map full {losses.map_full}, missed runs {losses.missed_runs}"
    yield f"evicted {losses.evicted}"
    yield "; ".join(outcome.failures()) or "nothing grew, nothing is missing"


@contextmanager
def served() -> Iterator[Namespace]:
    with tempfile.TemporaryDirectory() as directory, namespace(Path(directory)) as where:
        if where.play(load.serve, address=ADDRESS, port=PORT).hear() != "serving":
            raise AssertionError("nobody serves")
        yield where


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    per_s = int(sys.argv[2]) if len(sys.argv) > 2 else PER_S
    parts: list[Callable[[Namespace], Outcome]] = [
        lambda where: talk(where, seconds, per_s),
        lambda where: flood(where, seconds / 3, 2 * per_s),
        lambda where: exits(where, int(EXITS * min(1.0, seconds / SECONDS))),
    ]
    failed = False
    with served() as where:
        for part in parts:
            outcome = part(where)
            for line in report(outcome):
                sys.stdout.write(line + "\n")
            sys.stdout.flush()
            failed = failed or bool(outcome.failures())
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
