"""A filter over a stream: which events to tell, so that what is told still replays to the truth."""

from collections.abc import Hashable
from typing import Any

from nettop.model import events, rows
from nettop.model.filter import Filter
from nettop.model.kinds import KIND_OF_EVENT, KINDS, PROCESSES, Kind, Test
from nettop.model.owners import Owners

MAX_ROWS = 131_072  # per kind, as many as the kernel's map has sockets; the one that changed longest ago is forgotten


class StreamFilter:
    """Passes the events of rows that pass, and from then on every later version of such a row.

    Without that a row would stay for ever as it was when it last passed: with `state:established` a connection would
    never close. Sockets of other protocols and dropped packets pass with their process, and what frames the stream
    always does.
    """

    def __init__(self, chosen: Filter) -> None:
        self._chosen = chosen
        self._owners = Owners(most=MAX_ROWS)
        self._passed: dict[type[events.Event], dict[Hashable, None]] = {kind.event: {} for kind in KINDS}

    def passes(self, event: events.AnyEvent) -> bool:
        """Whether to tell this event."""
        if isinstance(event, events.ProcessChanged):
            self._owners.add(event.process)
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
        return self._chosen.test(kind, event.time, self._owners)

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
