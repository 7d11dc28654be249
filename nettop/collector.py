"""What the screen pulls its snapshots from: a source and its store on a thread of their own, or a snapshot file."""

import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from nettop.model.events import Tick
from nettop.model.snapshot import Snapshot
from nettop.model.store import DEFAULT_HISTORY, History, Store
from nettop.sources import Source

_READ_TIMEOUT_S = 0.25  # how late a stop may be noticed


class Feed(Protocol):
    """Snapshots to look at."""

    @property
    def latest(self) -> Snapshot | None:
        """The newest; None before the first."""
        ...

    @property
    def error(self) -> BaseException | None:
        """What ended the collecting, if something did."""
        ...

    @property
    def finished(self) -> bool:
        """Whether no newer one will come."""
        ...

    @property
    def pace(self) -> str:
        """How fast they come, for people."""
        ...

    def start(self, changed: Callable[[], None]) -> None:
        """Begin; `changed` is called, from any thread, after `latest`, `error`, `pace` or `finished` became another."""
        ...

    def stop(self) -> None:
        """End, and release everything."""
        ...

    def adjust(self, step: int) -> None:
        """Go faster (above 0) or slower."""
        ...

    def hold(self, held: bool) -> None:
        """The view was paused or resumed."""
        ...


class Collector:
    """A Feed. Owns the source and the store; `latest` is replaced at each tick, by one assignment of a frozen value."""

    def __init__(self, source: Source, history: History = DEFAULT_HISTORY) -> None:
        self.latest: Snapshot | None = None
        self.error: BaseException | None = None
        self._source = source
        self._store = Store(history)
        self._stop = threading.Event()
        self._wishes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._changed: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="nettop-collector", daemon=True)

    @property
    def finished(self) -> bool:
        """A recording ends, the kernel does not."""
        return self._source.finished

    @property
    def pace(self) -> str:
        """The source's."""
        return self._source.pace

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to read."""
        self._changed = changed
        self._thread.start()

    def stop(self) -> None:
        """End reading and release the source."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._source.close()

    def adjust(self, step: int) -> None:
        """Told to the source before its next read."""
        self._wishes.put(partial(self._source.adjust, step))

    def hold(self, held: bool) -> None:
        """Told to the source before its next read."""
        self._wishes.put(partial(self._source.hold, held))

    def step(self, timeout_s: float) -> None:
        """Take what the source has; `latest` is new after a tick."""
        if not self._wishes.empty():
            while not self._wishes.empty():
                self._wishes.get()()
            self._changed()
        ticked = False
        for event in self._source.read(timeout_s):
            self._store.apply(event)
            ticked = ticked or isinstance(event, Tick)
        if ticked:
            self.latest = self._store.snapshot()
            self._changed()

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and not self._source.finished:
                self.step(_READ_TIMEOUT_S)
            self._changed()  # it has finished
        except BaseException as error:  # noqa: BLE001 - told to the screen, which ends with it
            self.error = error
            self._changed()


class FixedSnapshot:
    """A Feed of one snapshot, from a file."""

    error = None
    finished = True
    pace = ""

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
