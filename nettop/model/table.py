"""A table of rows that forgets the oldest of those that have ended."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")
RowT = TypeVar("RowT")


class BoundedTable(Generic[KeyT, RowT]):
    """Rows by their keys, in the order in which they came.

    Of those that have ended the newest `most` are kept; the others are evicted in the order in which they ended, and
    counted. Where rows are events (`ended` is None) each has ended when it comes. What lasts is never evicted: whoever
    puts it here has to bound it.
    """

    def __init__(
        self,
        ended: Callable[[RowT], bool] | None,
        most: int,
        forget: Callable[[KeyT, RowT], object] | None = None,
    ) -> None:
        self.rows: dict[KeyT, RowT] = {}
        self.evicted = 0
        self._ended = ended
        self._most = most
        self._forget = forget  # told what was evicted
        # In the order in which they ended. Not a dict, whose first key lies behind all that were deleted before it.
        self._over: deque[KeyT] = deque()

    def put(self, key: KeyT, row: RowT) -> RowT | None:
        """Insert the row, or replace the one with this key, which is returned."""
        before = self.rows.get(key)
        self.rows[key] = row
        ended = self._ended
        if ended is None:
            if before is None:
                self._end(key)
        elif ended(row):
            if before is None or not ended(before):
                self._end(key)
        elif before is not None and ended(before):  # it goes on after all
            self._over.remove(key)
        return before

    def _end(self, key: KeyT) -> None:
        self._over.append(key)
        if len(self._over) > self._most:
            oldest = self._over.popleft()
            self.evicted += 1
            row = self.rows.pop(oldest)
            if self._forget is not None:
                self._forget(oldest, row)
