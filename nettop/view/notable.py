"""Rows that one may have to say something of, followed from one version of their table to the next. Pure."""

from collections.abc import Callable, Sequence
from operator import attrgetter, countOf
from typing import Generic, TypeVar

from nettop.model.rows import Connection, DnsQuery, Request
from nettop.model.turnover import turnover

WAITS = ("local", "remote", "remote-window", "network")  # whom an open connection waits for, see waits_for
SLOW_MS = 500.0  # of a query or request
RowT = TypeVar("RowT", Connection, DnsQuery, Request)
_number = attrgetter("id")


class Followed(Generic[RowT]):
    """The rows for which a test holds: few, on a host where all is well. To test 10,000 takes some ms a tick."""

    def __init__(self, test: Callable[[RowT], bool]) -> None:
        self._test: Callable[[RowT], bool] = test
        self._table: Sequence[RowT] = ()
        self._found: dict[int, RowT] = {}  # by what is Python's id() of each

    def look(self, table: Sequence[RowT]) -> list[RowT]:
        """At this version of the table; those of its rows, in their order."""
        if table is not self._table:
            changes, self._table = turnover(self._table, table, _number), table
            if changes is None:
                self._found.clear()
            else:
                for row in changes.left:
                    self._found.pop(id(row), None)
            for row in filter(self._test, table if changes is None else changes.entered):
                self._found[id(row)] = row
        return sorted(self._found.values(), key=_number)


class Notable:
    """Connections that failed, are half closed or wait; queries that failed or took long; requests for any of these."""

    def __init__(self) -> None:
        self.connections = Followed(_is_notable)
        self.dns = Followed(_is_bad)
        self.requests = Followed(_is_bad_request)


class OpenConnections:
    """How many there are."""

    def __init__(self) -> None:
        self._table: Sequence[Connection] = ()
        self._open = 0

    def count(self, table: Sequence[Connection]) -> int:
        """In this version of the table."""
        if table is not self._table:
            changes, self._table = turnover(self._table, table, _number), table
            if changes is None:
                self._open = _open(table)
            else:
                self._open += _open(changes.entered) - _open(changes.left)
        return self._open


def _open(rows: Sequence[Connection]) -> int:
    return len(rows) - countOf(map(attrgetter("state"), rows), "closed")


def _is_notable(row: Connection) -> bool:
    if row.state == "closed":
        return row.failed
    return row.state == "close-wait" or (row.waits_since is not None and row.waits_for in WAITS)


def _is_bad(row: DnsQuery) -> bool:
    return row.failed or (row.latency_ms or 0.0) >= SLOW_MS


def _is_bad_request(row: Request) -> bool:
    refused = row.status is not None and row.status // 100 == 4  # which is no fault of the server
    return row.pending or (row.failed and not refused) or (row.latency_ms or 0.0) >= SLOW_MS
