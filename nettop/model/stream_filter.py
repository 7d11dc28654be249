"""A filter over a stream: which events to tell, so that what is told still replays to the truth."""

from collections.abc import Callable, Hashable

from nettop.model import events
from nettop.model.filter import KINDS, AnyRow, Filter

MAX_ROWS = 131_072  # per kind, as many as the kernel's map has sockets; the one that changed longest ago is forgotten


class StreamFilter:
    """Passes the events of rows that pass, and from then on every later version of such a row.

    Without that a row would stay for ever as it was when it last passed: with `state:established` a connection would
    never close. UDP sockets pass with their process, and what frames the stream always does.
    """

    def __init__(self, chosen: Filter) -> None:
        self._process_test, self._connection_test, self._dns_test = map(chosen.test, KINDS)
        self._processes: dict[Hashable, None] = {}
        self._connections: dict[Hashable, None] = {}  # open ones
        self._queries: dict[Hashable, None] = {}

    def passes(self, event: events.AnyEvent) -> bool:
        """Whether to tell this event."""
        match event:
            case events.DnsChanged(dns=row):
                # an answer may turn out not to have arrived
                return _passes(self._dns_test, self._queries, row.id, row, row.status == "forgotten")
            case events.ConnectionChanged(connection=row):
                return _passes(self._connection_test, self._connections, row.id, row, row.state == "closed")
            case events.ProcessChanged(process=row):
                key = row.pid, row.start_time
                return _passes(self._process_test, self._processes, key, row, last=False)
            case events.UdpChanged(udp=socket) if self._process_test is not None:
                return (socket.pid, socket.process_start_time) in self._processes
            case _:
                return True


def _passes(
    test: Callable[[AnyRow], bool] | None, passed: dict[Hashable, None], key: Hashable, row: AnyRow, last: bool
) -> bool:
    if test is None:
        return True
    passes = key in passed or test(row)
    passed.pop(key, None)
    if passes and not last:
        passed[key] = None
        if len(passed) > MAX_ROWS:
            del passed[next(iter(passed))]
    return passes
