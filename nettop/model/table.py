"""A table of rows that forgets the oldest of those that have ended."""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from nettop.model.turnover import Journal, Version

KeyT = TypeVar("KeyT", bound=Hashable)
RowT = TypeVar("RowT")

LASTING_SHARE = 2  # at most a half is for rows that outlive others: a flood of failures leaves room for what follows
MOST_BY_TIME = 100_000  # rows that are kept because they are young: some 150 MB of queries


@dataclass(frozen=True)
class Keeping:
    """Which rows are evicted later than their turn.

    `outlives` says of a row that its turn comes after that of all others, `over_at` when a row ended (None: nobody
    knows). What ended after `since()` stays, up to MOST_BY_TIME rows.
    """

    outlives: Callable[[Any], bool] = lambda _: False
    over_at: Callable[[Any], datetime | None] = lambda _: None
    since: Callable[[], datetime | None] = lambda: None


IN_TURN = Keeping()


class BoundedTable(Generic[KeyT, RowT]):
    """Rows by their keys, in the order in which they came.

    Of those that have ended the newest `most` are kept; the others are evicted in the order in which they ended, and
    counted. Rows that outlive others are passed over, up to a share of `most`, the oldest of them go then. Where rows
    are events (`ended` is None) each has ended when it comes. What lasts is never evicted: whoever puts it here has to
    bound it.

    `complete_since` is when the last one ended that was evicted in its turn: all that ended later are here. The same
    for those that outlive others is `lasting_since`; both None if none was, or if nobody knows when.
    """

    def __init__(
        self,
        ended: Callable[[RowT], bool] | None,
        most: int,
        forget: Callable[[KeyT, RowT], object] | None = None,
        keeping: Keeping = IN_TURN,
    ) -> None:
        self.rows: dict[KeyT, RowT] = {}
        self.evicted = self.evicted_lasting = 0
        self.complete_since: datetime | None = None
        self.lasting_since: datetime | None = None
        self._ended = ended
        self._most = most
        self._forget = forget  # told what was evicted
        self._keeping = keeping
        # In the order in which they ended. Not a dict, whose first key lies behind all that were deleted before it.
        self._over: deque[KeyT] = deque()
        self._lasting: deque[KeyT] = deque()  # those whose turn has come, but who outlive the others
        self._journal: Journal[KeyT, RowT] = Journal(self.rows)

    @property
    def lasting(self) -> int:
        """How many rows have outlived others that ended later."""
        return len(self._lasting)

    def put(self, key: KeyT, row: RowT) -> RowT | None:
        """Insert the row, or replace the one with this key, which is returned."""
        before = self.rows.get(key)
        self.rows[key] = row
        self._journal.put(key, before)
        ended = self._ended
        if ended is None:
            if before is None:
                self._end(key)
        elif ended(row):
            if before is None or not ended(before):
                self._end(key)
        elif before is not None and ended(before):  # it goes on after all
            try:
                self._over.remove(key)
            except ValueError:
                self._lasting.remove(key)
        return before

    def version(self) -> Version[RowT]:
        """All rows as they are now; the same object as long as nothing happens."""
        return self._journal.version()

    def _end(self, key: KeyT) -> None:
        self._over.append(key)
        while self._too_many():
            self._evict()

    def _too_many(self) -> bool:
        kept = len(self._over) + len(self._lasting)
        if kept <= self._most:
            return False
        since = self._keeping.since()
        if since is None or kept > MOST_BY_TIME:
            return True
        over_at = self._keeping.over_at(self.rows[self._over[0]])
        return over_at is None or over_at < since

    def _evict(self) -> None:
        """One, or let one outlive the others."""
        oldest = self._over.popleft()
        lasts = self._keeping.outlives(self.rows[oldest])
        if lasts:
            self._lasting.append(oldest)
            if len(self._lasting) <= self._most // LASTING_SHARE:
                return
            oldest = self._lasting.popleft()
        row = self.rows.pop(oldest)
        self._journal.evicted(oldest, row)
        over_at = self._keeping.over_at(row)
        self.evicted += 1
        if lasts:
            self.evicted_lasting += 1
            self.lasting_since = _later(self.lasting_since, over_at)
        else:
            self.complete_since = _later(self.complete_since, over_at)
        if self._forget is not None:
            self._forget(oldest, row)


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return one if other is None or (one is not None and one > other) else other
