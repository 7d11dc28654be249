"""Feeds that the screen pulls snapshots from: a source and a store on their own thread, or a snapshot file."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from nettop.model.cutting import Cuts, Order, Powers
from nettop.model.events import Tick
from nettop.model.filter import Filter
from nettop.model.kinds import AnyRow
from nettop.model.snapshot import Snapshot
from nettop.model.store import DEFAULT_HISTORY, History, Store
from nettop.sources import Source

if TYPE_CHECKING:
    from nettop.sources.cutting import Cutter
    from nettop.view.panes import Traffic

_READ_TIMEOUT_S = 0.25  # longest delay until stop() is noticed


@dataclass(frozen=True)
class Jump:
    """Where a player has gone: what is there, and what the view would have added up had it seen all until there.

    `row` is what was looked for, `said` what the user should know.
    """

    snapshot: Snapshot
    traffic: "Traffic"
    row: AnyRow | None = None
    said: str = ""


class Playing(Protocol):
    """What can be played from any place. What is asked for comes later, as `jump`."""

    @property
    def length_s(self) -> float | None:
        """From beginning to end, in the recording's time; None if not known (yet)."""
        ...

    @property
    def going(self) -> bool:
        """Whether it is on its way to another place, and this takes a while."""
        ...

    @property
    def jump(self) -> Jump | None:
        """The last one."""
        ...

    def go(self, seconds: float) -> None:
        """Forward by so much of the recording's time, or back."""
        ...

    def go_to_start(self) -> None:
        """Play from the start again."""
        ...

    def go_to_next_tick(self) -> None:
        """Forward by one tick."""
        ...

    def go_to_next_failure(self, chosen: Filter) -> None:
        """To the next row that fails, of those that a filter chooses."""
        ...


class Cutting(Protocol):
    """What can be cut. What is ordered is done later, and told in `state`."""

    @property
    def powers(self) -> Powers:
        """What can be done here. It does not change."""
        ...

    @property
    def state(self) -> Cuts:
        """How things stand, as of the last tick or order."""
        ...

    def order(self, order: Order) -> None:
        """Have this done."""
        ...

    def lift(self, number: int | None) -> None:
        """Let go of the block with this number; None: of all."""
        ...


class Feed(Protocol):
    """A supply of snapshots."""

    @property
    def cutting(self) -> Cutting | None:
        """What can be cut; None where what is shown is not of here and now."""
        ...

    @property
    def latest(self) -> Snapshot | None:
        """The newest snapshot; None before the first."""
        ...

    @property
    def error(self) -> BaseException | None:
        """The exception that ended the feed, if any."""
        ...

    @property
    def finished(self) -> bool:
        """Whether no newer snapshot will come."""
        ...

    @property
    def pace(self) -> str:
        """How fast snapshots come, in words."""
        ...

    @property
    def playing(self) -> Playing | None:
        """Itself, if it can be played from any place."""
        ...

    def start(self, changed: Callable[[], None]) -> None:
        """Start; `changed` is called, from any thread, after `latest`, `error`, `pace` or `finished` has changed."""
        ...

    def stop(self) -> None:
        """Stop and release everything."""
        ...

    def adjust(self, step: int) -> None:
        """Go faster (above 0) or slower."""
        ...

    def hold(self, held: bool) -> None:
        """The view was paused or resumed."""
        ...


class ThreadedFeed:
    """A Feed with a thread of its own, on which everything happens that is wished for."""

    cutting: Cutting | None = None

    def __init__(self) -> None:
        self.latest: Snapshot | None = None
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._wishes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._changed: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="nettop-collector", daemon=True)

    def start(self, changed: Callable[[], None]) -> None:
        """Start the thread."""
        self._changed = changed
        self._thread.start()

    def stop(self) -> None:
        """End the thread and release everything."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._release()

    def step(self, timeout_s: float) -> None:
        """Do what there is to do, waiting for at most so long."""
        raise NotImplementedError

    def _goes_on(self) -> bool:
        """Whether there is, or may be, anything left to do."""
        raise NotImplementedError

    def _release(self) -> None:
        raise NotImplementedError

    def _take_wishes(self) -> bool:
        """Do what is wished for; whether anything was."""
        any_wishes = not self._wishes.empty()
        while not self._wishes.empty():
            self._wishes.get()()
        return any_wishes

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and self._goes_on():
                self.step(_READ_TIMEOUT_S)
            self._changed()  # it has finished
        except BaseException as error:  # noqa: BLE001 - the screen raises it
            self.error = error
            self._changed()


class NoCutting:
    """A Cutting of nettop without --allow-cut, which only says what there is."""

    state = Cuts()

    def __init__(self, powers: Powers) -> None:
        self.powers = powers

    def order(self, order: Order) -> None:
        """Nothing is done."""

    def lift(self, number: int | None) -> None:
        """Nothing is blocked."""


class _CutterOf:
    """A Cutting that has everything done on the thread of a collector."""

    def __init__(self, cutter: "Cutter", wish: Callable[[Callable[[], None]], None]) -> None:
        self.powers = cutter.powers
        self.state = Cuts()
        self._cutter = cutter
        self._wish = wish

    def order(self, order: Order) -> None:
        """Have this done before the next read."""
        self._wish(partial(self._do, partial(self._cutter.order, order)))

    def lift(self, number: int | None) -> None:
        """The same."""
        self._wish(partial(self._do, partial(self._cutter.lift, number)))

    def tick(self) -> None:
        """On the thread of the collector: look how things stand."""
        self.state = self._cutter.state()

    def _do(self, what: Callable[[], None]) -> None:
        what()
        self.tick()


class Collector(ThreadedFeed):
    """A Feed that owns a source and a store. Each tick replaces `latest`, a frozen value, in one assignment."""

    playing: Playing | None = None

    def __init__(
        self,
        source: Source,
        history: History = DEFAULT_HISTORY,
        cutting: "Cutter | Powers | None" = None,
    ) -> None:
        """With a cutter it does what the screen orders; of what only people can do, the screen knows the powers."""
        super().__init__()
        self._source = source
        self._cutter: _CutterOf | None = None
        if isinstance(cutting, Powers):
            self.cutting = NoCutting(cutting)
        elif cutting is not None:
            self.cutting = self._cutter = _CutterOf(cutting, self._wishes.put)
        self._store = Store(history)

    @property
    def finished(self) -> bool:
        """Whether the source has ended; the kernel does not."""
        return self._source.finished

    @property
    def pace(self) -> str:
        """The source's pace."""
        return self._source.pace

    def adjust(self, step: int) -> None:
        """Applied to the source before its next read."""
        self._wishes.put(partial(self._source.adjust, step))

    def hold(self, held: bool) -> None:
        """Applied to the source before its next read."""
        self._wishes.put(partial(self._source.hold, held))

    def step(self, timeout_s: float) -> None:
        """Store what the source has; a tick replaces `latest`."""
        if self._take_wishes():
            self._changed()
        ticked = False
        for event in self._source.read(timeout_s):
            self._store.apply(event)
            ticked = ticked or isinstance(event, Tick)
        if ticked:
            if self._cutter is not None:
                self._cutter.tick()
            self.latest = self._store.snapshot()
            self._changed()

    def _goes_on(self) -> bool:
        return not self._source.finished

    def _release(self) -> None:
        self._source.close()


class FixedSnapshot:
    """A Feed of one snapshot, from a file."""

    cutting: Cutting | None = None
    error = None
    finished = True
    pace = ""
    playing: Playing | None = None

    def __init__(self, snapshot: Snapshot) -> None:
        self.latest: Snapshot | None = snapshot

    def start(self, changed: Callable[[], None]) -> None:
        """Nothing to begin, and nothing will change."""

    def stop(self) -> None:
        """Nothing to release."""

    def adjust(self, step: int) -> None:
        """Nothing to speed up."""

    def hold(self, held: bool) -> None:
        """Nothing to hold."""
