"""A filter over a stream: which events to tell, so that what is told still replays to the truth."""

from collections.abc import Hashable
from datetime import datetime
from typing import Any

from nettop.model import events, rows
from nettop.model.amounts import Test
from nettop.model.filter import Filter
from nettop.model.kinds import KIND_OF_EVENT, KINDS, PROCESSES, Kind

MAX_ROWS = 131_072  # per kind, as many as the kernel's map has sockets; the one that changed longest ago is forgotten


class StreamFilter:
    """Passes the events of rows that pass, and from then on every later version of such a row.

    Without that a row would stay for ever as it was when it last passed: with `state:established` a connection would
    never close. A term that asks for sums of a process or host does not choose among these: rows of a stream have none.
    Sockets of other protocols and dropped packets pass with their process, and what frames the stream always does.
    """

    def __init__(self, chosen: Filter) -> None:
        self._chosen = chosen
        self._passed: dict[type[events.Event], dict[Hashable, None]] = {kind.event: {} for kind in KINDS}
        self._tests: dict[Kind[Any], Test | None] = {}  # those that are the same at any time
        self._start: datetime | None = None

    def passes(self, event: events.AnyEvent) -> bool:
        """Whether to tell this event."""
        if isinstance(event, events.Start):
            self._start = event.time
            self._tests = {}
            return True
        told = _of_process(event)
        if told is not None:
            processes = PROCESSES.event
            return (
                self._test(PROCESSES, event) is None or (told.pid, told.process_start_time) in self._passed[processes]
            )
        kind = KIND_OF_EVENT.get(type(event))
        test = None if kind is None else self._test(kind, event)
        return test is None or self._row_passes(event, test)

    def _test(self, kind: Kind[Any], event: events.AnyEvent) -> Test | None:
        if kind not in self._tests:
            test = self._chosen.test(kind, event.time, self._start, told=True)
            if self._chosen.depends_on_time(kind):
                return test
            self._tests[kind] = test
        return self._tests[kind]

    def _row_passes(self, event: events.AnyEvent, test: Test) -> bool:
        kind, passed = KIND_OF_EVENT[type(event)], self._passed[type(event)]
        row = getattr(event, kind.told)
        key = kind.key(row)
        passes = key in passed or test(row)
        passed.pop(key, None)
        if passes and not kind.final(row):
            passed[key] = None
            if len(passed) > MAX_ROWS:
                del passed[next(iter(passed))]
        return passes


def _of_process(event: events.AnyEvent) -> rows.OtherSocket | rows.Dropped | None:
    """What adds to the totals of a process and has no row of its own."""
    match event:
        case events.OtherChanged():
            return event.other
        case events.Dropped():
            return event.dropped
    return None
