"""How DNS queries came out: of all that are there, or of those that were over since the last look."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from operator import attrgetter
from typing import NamedTuple

from nettop.model.rows import DnsQuery

_OPEN = "pending"
_UNKNOWN = "forgotten"  # whether an answer came nobody knows
_NXDOMAIN = "NXDOMAIN"
_id = attrgetter("id")


class Outcomes(NamedTuple):
    """Queries that are over: all, those whose name does not exist, and those that failed in another way."""

    all: int = 0
    nxdomain: int = 0
    failed: int = 0


def outcomes(rows: Iterable[DnsQuery]) -> Outcomes:
    """Of these rows. What is still open counts for nothing."""
    over = [row for row in rows if row.status not in (_OPEN, _UNKNOWN)]
    nxdomain = sum(row.rcode == _NXDOMAIN for row in over)
    return Outcomes(len(over), nxdomain, sum(row.failed for row in over) - nxdomain)


class SinceLast:
    """Knows which queries were open when it last looked, so as to find those that have come to their end since."""

    def __init__(self) -> None:
        self._newest: int | None = None
        self._open: tuple[int, ...] = ()  # ids

    def copy(self) -> "SinceLast":
        """As it is now."""
        twin = SinceLast()
        twin._newest, twin._open = self._newest, self._open
        return twin

    def look(self, rows: Sequence[DnsQuery]) -> Outcomes | None:
        """At the rows as they are now, in the order of their ids; None at the first look, and if ids have gone back."""
        newest = rows[-1].id if rows else self._newest or 0
        if self._newest is None or newest < self._newest:
            changed, found = list(rows), None
        else:
            changed = [*_with(self._open, rows), *_newer_than(self._newest, rows)]
            found = outcomes(changed)
        self._newest, self._open = newest, tuple(row.id for row in changed if row.status == _OPEN)
        return found


def _newer_than(number: int, rows: Sequence[DnsQuery]) -> Iterator[DnsQuery]:
    return takewhile(lambda row: row.id > number, reversed(rows))


def _with(ids: Iterable[int], rows: Sequence[DnsQuery]) -> Iterator[DnsQuery]:
    """Those with these ids that are still kept."""
    for number in ids:
        place = bisect_left(rows, number, key=_id)
        if place < len(rows) and rows[place].id == number:
            yield rows[place]
