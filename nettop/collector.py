"""Feeds that the screen pulls snapshots from: a source and a store on their own thread, or a snapshot file."""

import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from nettop.model.events import Tick
from nettop.model.snapshot import Snapshot
from nettop.model.store import DEFAULT_HISTORY, History, Store
from nettop.sources import Source

_READ_TIMEOUT_S = 0.25  # longest delay until stop() is noticed


class Feed(Protocol):
    """A supply of snapshots."""

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


class Collector:
    """A Feed that owns a source and a store. Each tick replaces `latest`, a frozen value, in one assignment."""

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
        """The source's pace."""
        return self._source.pace

    def start(self, changed: Callable[[], None]) -> None:
        """Start reading."""
        self._changed = changed
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and release the source."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._source.close()

    def adjust(self, step: int) -> None:
        """Applied to the source before its next read."""
        self._wishes.put(partial(self._source.adjust, step))

    def hold(self, held: bool) -> None:
        """Applied to the source before its next read."""
        self._wishes.put(partial(self._source.hold, held))

    def step(self, timeout_s: float) -> None:
        """Store what the source has; a tick replaces `latest`."""
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
        except BaseException as error:  # noqa: BLE001 - the screen raises it
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
