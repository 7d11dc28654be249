"""A Feed that plays a recording, and goes to any place in it.

To go back it restores the store as it was at a checkpoint and plays from there, without waiting and through the very
path that plays forward. What it shows is therefore what it would show had it played until there.
"""

import copy
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from nettop.collector import Jump, Playing, ThreadedFeed
from nettop.model.events import AnyEvent, Tick
from nettop.model.filter import Filter
from nettop.model.kinds import KIND_OF_EVENT, AnyRow
from nettop.model.snapshot import Snapshot
from nettop.model.store import DEFAULT_HISTORY, History, Store
from nettop.sources.input_file import InputFile, RecordingError
from nettop.sources.recording import MAX_SPEED, MIN_SPEED, EventReader, end_of, time_of_last_event
from nettop.sources.tape import MAX_KEPT_BYTES, Place, Tape
from nettop.view import format as human
from nettop.view.panes import Traffic

CHECKPOINT_EVENTS = 30_000  # from one to the next: so many are played in half a second
MAX_CHECKPOINTS = 8  # some 25 MB each where all tables are full
_SLICE_S = 0.1  # on the way to another place: how long nobody is listened to
_PIPE_WAIT_S = 0.05  # where nothing arrives: the same


class _Clock:
    """How much of the recording's time has been played."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self.held = False
        self._seconds = 0.0
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Until now."""
        now = time.monotonic()
        if not self.held:
            self._seconds += (now - self._since) * self.speed
        self._since = now
        return self._seconds

    def set(self, seconds: float) -> None:
        """Go on from there."""
        self._seconds, self._since = seconds, time.monotonic()

    def hold(self, held: bool) -> None:
        """Stand still, or go on."""
        self.set(self.seconds)
        self.held = held

    def adjust(self, step: int) -> None:
        """Twice or half as fast."""
        self.set(self.seconds)
        self.speed = min(max(self.speed * 2.0**step, MIN_SPEED), MAX_SPEED)

    def until(self, seconds: float) -> float | None:
        """How long it takes until then, at most 0 if that is over; None if it stands still."""
        left = seconds - self.seconds
        return None if self.held and left > 0 else left / self.speed


@dataclass(frozen=True)
class _Checkpoint:
    """All that playing has led to at a tick. The store is a copy that shares its rows with the others."""

    place: Place
    position_s: float
    store: Store
    traffic: Traffic
    snapshot: Snapshot


class Player(ThreadedFeed):
    """Raises RecordingError if the file is no recording. `partial`: accept a truncated one."""

    def __init__(
        self, file: InputFile, history: History = DEFAULT_HISTORY, partial: bool = False, speed: float = 1.0
    ) -> None:
        super().__init__()
        self.finished = False
        self.going = False
        self.jump: Jump | None = None
        self.length_s: float | None = None
        self._tape = Tape(file)
        self._reader = EventReader(self._tape, partial)
        start = self._reader.read()
        if start is None:
            raise RecordingError(f"{file.name} is empty.", "Give a file written by 'nettop stream'.")
        self._first_time = start.time
        self._store, self._traffic = Store(history), Traffic()
        self._store.apply(start)
        self.latest = self._snapshot = self._store.snapshot()
        self._traffic.add(self._snapshot)
        self._position_s = 0.0  # of the last tick
        self._place = self._tape.place  # behind it
        self._ahead: list[AnyEvent] = []  # what has been read and not yet played
        self._whole = False  # the next tick is among it, or the end
        self._at_end = False  # the end is
        self._checkpoints: list[_Checkpoint] = []  # by their places
        self._keep_checkpoint()
        self._clock = _Clock(speed)
        self._target_s: float | None = None  # where it is on its way to
        self._way: Iterator[None] | None = None
        self._measuring = threading.Thread(
            target=self._measure, args=(end_of(file),), name="nettop-length", daemon=True
        )

    def start(self, changed: Callable[[], None]) -> None:
        """See Feed."""
        self._clock.set(0.0)
        super().start(changed)
        self._measuring.start()

    @property
    def playing(self) -> Playing:
        """See Feed."""
        return self

    @property
    def pace(self) -> str:
        """See Feed."""
        return f"x{self._clock.speed:g}"

    def adjust(self, step: int) -> None:
        """See Feed: twice or half as fast."""
        self._wishes.put(partial(self._clock.adjust, step))

    def hold(self, held: bool) -> None:
        """See Feed: what is held does not advance."""
        self._wishes.put(partial(self._clock.hold, held))

    def go(self, seconds: float) -> None:
        """See Playing."""
        self._wishes.put(lambda: self._set_out((self._now_s() if self._target_s is None else self._target_s) + seconds))

    def go_to_start(self) -> None:
        """See Playing."""
        self._wishes.put(lambda: self._set_out(0.0))

    def go_to_next_tick(self) -> None:
        """See Playing."""
        self._wishes.put(lambda: self._set_out(None, self._way_to_next_tick()))

    def go_to_next_failure(self, chosen: Filter) -> None:
        """See Playing."""
        self._wishes.put(lambda: self._set_out(None, self._way_to_next_failure(chosen)))

    def step(self, timeout_s: float) -> None:
        """Play what is due, or go on towards where one wants to be."""
        if self._take_wishes():
            self._changed()
        if self._way is not None:
            self._go_on(self._way)
        elif self.finished:
            self._wait(timeout_s)
        elif self._look_ahead(min(timeout_s, _PIPE_WAIT_S)):
            wait_s = self._clock.until(self._due_s)
            if wait_s is None or wait_s > 0:
                self._wait(timeout_s if wait_s is None else min(wait_s, timeout_s))
            else:
                self._play()
                self.latest = self._snapshot
                self._changed()

    def _goes_on(self) -> bool:
        return True  # one may go back after the end

    def _release(self) -> None:
        if self._measuring.is_alive():
            self._measuring.join()
        self._tape.close()

    def _wait(self, seconds: float) -> None:
        """For so long, or until something is wished for."""
        try:
            wish = self._wishes.get(timeout=seconds)
        except queue.Empty:
            return
        wish()
        self._changed()

    def _measure(self, end: InputFile | None) -> None:
        last_time = None if end is None else time_of_last_event(end, self._stop.is_set)
        if last_time is not None:
            self.length_s = max((last_time - self._first_time).total_seconds(), 0.0)
            self._changed()

    # Playing

    def _look_ahead(self, timeout_s: float) -> bool:
        """Whether all until the next tick, or the rest, has been read, or arrives within the timeout."""
        while not self._whole and self._tape.is_ready(timeout_s):
            event = self._reader.read()
            if event is not None:
                self._ahead.append(event)
            self._at_end = event is None
            self._whole = self._at_end or isinstance(event, Tick)
            timeout_s = 0.0
        return self._whole

    @property
    def _due_s(self) -> float:
        """When what has been read ahead is to be seen: once all of it has happened."""
        if not self._ahead:
            return self._position_s
        return (self._ahead[-1].time - self._first_time).total_seconds()

    def _play(self) -> None:
        """Take what has been read ahead."""
        self._position_s = max(self._position_s, self._due_s)
        batch, self._ahead, self._whole = self._ahead, [], False
        self._place = self._tape.place
        for event in batch:
            self._store.apply(event)
        if batch and isinstance(batch[-1], Tick):
            self._snapshot = self._store.snapshot()
            self._traffic.add(self._snapshot)
            self._keep_checkpoint()
        if self._at_end:
            self.finished = True
            self.length_s = self._position_s

    def _keep_checkpoint(self) -> None:
        """If the one before is far enough; those that are kept are the closer together the nearer they are."""
        here = self._place
        kept = [each for each in self._checkpoints if each.place.line >= self._tape.earliest]
        before = max((each.place.line for each in kept if each.place.line <= here.line), default=None)
        if before is None or here.line - before >= CHECKPOINT_EVENTS:
            store, traffic = copy.deepcopy(self._store), self._traffic.copy()
            kept.append(_Checkpoint(here, self._position_s, store, traffic, self._snapshot))
            kept.sort(key=lambda each: each.place)
        if len(kept) > MAX_CHECKPOINTS:
            del kept[least_missed([each.place.line for each in kept], here.line)]
        self._checkpoints = kept

    # Going elsewhere

    def _now_s(self) -> float:
        """What is seen now, and how long for."""
        if self.finished or not self._look_ahead(0):
            return self._position_s
        return max(min(self._clock.seconds, self._due_s), self._position_s)

    def _set_out(self, target_s: float | None, way: Iterator[None] | None = None) -> None:
        self._target_s = None if target_s is None else max(target_s, 0.0)
        self._way = way or self._way_to(self._target_s or 0.0)

    def _go_on(self, way: Iterator[None]) -> None:
        """Do a part of the way; say that it takes a while once it does."""
        end = time.monotonic() + _SLICE_S
        while time.monotonic() < end:
            if next(way, self) is self:
                self._way = self._target_s = None
                self.going = False
                self._changed()
                return
        if not self.going:
            self.going = True
            self._changed()

    def _way_to(self, target_s: float, said: str = "") -> Iterator[None]:
        before = [each for each in self._checkpoints if each.position_s <= target_s]
        if target_s < self._position_s and not before:
            before = self._checkpoints[:1]
            said = f"Of a pipe only the newest {human.size(MAX_KEPT_BYTES)} are kept: this is as far back as they go."
        if before and not before[-1].position_s <= self._position_s <= target_s:
            yield from self._restore(before[-1])
        while not self.finished and self._look_ahead(0) and self._due_s <= target_s:
            self._play()
            yield
        waits = not self.finished and self._whole
        self._arrive(max(target_s, self._position_s) if waits else self._position_s, said=said)

    def _way_to_next_tick(self) -> Iterator[None]:
        if not self.finished and self._look_ahead(0):
            self._play()
            yield
        self._arrive(self._position_s)

    def _way_to_next_failure(self, chosen: Filter) -> Iterator[None]:
        """Back to where it began if there is none."""
        here_s = self._now_s()
        while not self.finished and self._look_ahead(0):
            row = self._first_failure(self._ahead, chosen)
            self._play()
            if row is not None:
                self._arrive(self._position_s, row)
                return
            yield
        yield from self._way_to(here_s, f"No failure {'follows' if self.finished else 'has arrived yet'}.")

    def _first_failure(self, batch: Sequence[AnyEvent], chosen: Filter) -> AnyRow | None:
        """The first row that has failed by then and had not before, of those that the filter chooses."""
        for event in batch:
            kind = KIND_OF_EVENT.get(type(event))
            if kind is None:
                continue
            row: AnyRow = getattr(event, kind.told)
            if kind.failed(row):
                before, test = self._store.row(kind, kind.key(row)), chosen.test(kind, event.time)
                if (before is None or not kind.failed(before)) and (test is None or test(row)):
                    return row
        return None

    def _restore(self, checkpoint: _Checkpoint) -> Iterator[None]:
        """Be where that was made, once the iteration is over; until then where it is now."""
        yield from self._tape.go_to(checkpoint.place)
        self._reader.go_to(checkpoint.place.line)
        self._store, self._traffic = copy.deepcopy(checkpoint.store), checkpoint.traffic.copy()
        self._snapshot, self._place, self._position_s = checkpoint.snapshot, checkpoint.place, checkpoint.position_s
        self._ahead, self._whole, self._at_end, self.finished = [], False, False, False

    def _arrive(self, seconds: float, row: AnyRow | None = None, said: str = "") -> None:
        self._clock.set(seconds)
        self.latest = self._snapshot
        self.jump = Jump(self._snapshot, self._traffic.copy(), row, said)


def least_missed(lines: Sequence[int], here: int) -> int:
    """Which of these checkpoints one does without: neither the first nor the last, and rather one far from here.

    Without one, up to all that is between its neighbours is played again. The root keeps the whole recording within
    reach, where its distance from here would leave most of them close to here.
    """
    gaps = [after - before for before, after in zip(lines, lines[2:], strict=False)]
    costs = [gap / math.sqrt(1 + abs(here - line)) for gap, line in zip(gaps, lines[1:], strict=False)]
    return 1 + costs.index(min(costs))
