"""What a scenario is, and how many of them are played under one watch.

A scenario is a generator function: what stands before its one `yield` happens before nettop starts.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nettop.model.snapshot import Snapshot
from nettop.tracking.clock import Clock
from nettop.tracking.dns_queries import TIMEOUT
from tests.live.lab import PATIENCE_S, check_snapshot, snapshot_running, wait_until
from tests.live.truth.compare import compare
from tests.live.truth.place import Place, place
from tests.live.truth.rows import Truth
from tests.live.truth.score import Score

Play = Callable[[Place], Iterator[None]]
AT_ONCE = 4  # two per core: most of a scenario is waiting


@dataclass(frozen=True)
class Scenario:
    """How it is played; with `far` in two namespaces."""

    subject: str
    name: str
    play: Play
    far: bool = False
    options: tuple[str, ...] = ()  # of nettop


SCENARIOS: list[Scenario] = []


def scenario(subject: str, name: str, *, far: bool = False, options: tuple[str, ...] = ()) -> Callable[[Play], Play]:
    """Register one, under the words of the laboratory's list."""

    def register(play: Play) -> Play:
        SCENARIOS.append(Scenario(subject, name, play, far, options))
        return play

    return register


@dataclass
class Outcome:
    """A scenario that was played, with what its namespaces' rows are worth; `error` if it could not be played."""

    scenario: Scenario
    truth: Truth = field(default_factory=Truth)
    score: Score = field(default_factory=Score)
    error: BaseException | None = None


class Stage:
    """Scenarios in their places, several of them going on at a time."""

    def __init__(self, scenarios: list[Scenario], places: list[Place], pool: ThreadPoolExecutor) -> None:
        self.places = places
        self.outcomes = [Outcome(each) for each in scenarios]
        self._plays = [each.play(where) for each, where in zip(scenarios, places, strict=True)]
        self._pool = pool

    def forward(self) -> None:
        """Each to its yield, then to its end, of which its truth comes."""
        list(self._pool.map(self._forward_one, range(len(self._plays))))

    def _forward_one(self, index: int) -> None:
        outcome = self.outcomes[index]
        if outcome.error is None:
            try:
                next(self._plays[index], None)
            except Exception as error:  # noqa: BLE001 - the others go on, the test of this one tells of it
                outcome.error = error

    def take_truths(self) -> None:
        """Once all are over."""
        for outcome, where in zip(self.outcomes, self.places, strict=True):
            outcome.truth = where.truth()


@contextmanager
def stage(scenarios: list[Scenario], directory: Path) -> Iterator[Stage]:
    """Places for all of these, at their yields."""
    with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as pool:
        made = Stage(scenarios, [stack.enter_context(place(directory, each.far)) for each in scenarios], pool)
        made.forward()
        yield made


def play_all(scenarios: list[Scenario], directory: Path) -> Iterator[tuple[list[Outcome], Snapshot]]:
    """Play them under one `nettop snapshot` for those with the same options; the snapshots too."""
    for options in dict.fromkeys(each.options for each in scenarios):
        yield _play([each for each in scenarios if each.options == options], directory, options)


def _play(scenarios: list[Scenario], directory: Path, options: tuple[str, ...]) -> tuple[list[Outcome], Snapshot]:
    """With nettop's default interval."""
    with stage(scenarios, directory) as playing:
        netns = [name for where in playing.places for name in where.names]
        with snapshot_running(*options, *(part for name in netns for part in ("--netns", name))) as nettop:
            wait_until(lambda: _rests(nettop.pid), "nettop to have looked at the sockets that there are")
            playing.forward()
            playing.take_truths()
            _await_timeouts([outcome.truth for outcome in playing.outcomes])
            snapshot = _stop(nettop)
        clock = Clock.now()
        for outcome, where in zip(playing.outcomes, playing.places, strict=True):
            outcome.score = compare(outcome.truth, snapshot, where.netns, clock.wall)
        return playing.outcomes, snapshot


def _rests(pid: int) -> bool:
    """Whether it has used no processor time for a while: it attaches first and then looks at what is older."""
    before = _ticks(pid)
    time.sleep(0.1)
    return _ticks(pid) == before


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # utime and stime, proc(5)


def _await_timeouts(truths: list[Truth]) -> None:
    """A query without an answer is pending for so long."""
    asked = [query.asked_ns for truth in truths for query in truth.queries if query.status == "timeout"]
    if asked:
        last = max(filter(None, asked), default=time.monotonic_ns()) / 1e9
        time.sleep(max(0.0, last + TIMEOUT.total_seconds() + 0.1 - time.monotonic()))


def _stop(nettop: "subprocess.Popen[bytes]") -> Snapshot:
    nettop.terminate()
    output, errors = nettop.communicate(timeout=PATIENCE_S)
    assert (nettop.returncode, errors) == (0, b"")
    return check_snapshot(output)
