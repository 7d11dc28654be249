"""What is different between two versions of a table. Pure.

To find that out from the rows alone costs 200 ns for each, changed or not: another thread has just used them, and they
are all over the memory. So a table says of each version what has become of the one before.
"""

from collections.abc import Callable, Hashable, Sequence
from copy import deepcopy
from typing import Any, Generic, NamedTuple, TypeVar

_FOLLOWED_UP_TO = 1 / 2  # of the rows
KeyT = TypeVar("KeyT", bound=Hashable)
RowT = TypeVar("RowT")


class Turnover(NamedTuple, Generic[RowT]):
    """Rows with their next versions, rows that are there no more, and rows that were not there before.

    Each is in the order of the table, or of what happened to it.
    """

    replaced: Sequence[tuple[RowT, RowT]]
    gone: Sequence[RowT]
    come: Sequence[RowT]

    @property
    def size(self) -> int:
        """How many rows of both versions are not in the other."""
        return 2 * len(self.replaced) + len(self.gone) + len(self.come)

    @property
    def left(self) -> list[RowT]:
        """What of the version before is not in this one."""
        return [*(before for before, _ in self.replaced), *self.gone]

    @property
    def entered(self) -> list[RowT]:
        """What of this version was not in the one before."""
        return [*(now for _, now in self.replaced), *self.come]


class Version(tuple[RowT, ...]):
    """The rows of a table at one time. `before` is a mark that the version before has as its `mark`."""

    mark: object = None
    before: object = None
    changes: Turnover[RowT] | None = None


class Journal(Generic[KeyT, RowT]):
    """Takes what happens to a table whose rows stay in the order in which they came; makes its versions."""

    def __init__(self, rows: dict[KeyT, RowT]) -> None:
        self._rows = rows
        self._left: dict[KeyT, RowT] | None = {}  # as they were in the version before; None: too many to keep
        self._entered: dict[KeyT, None] = {}
        self._version: Version[RowT] = Version()
        self._version.mark = object()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Journal[KeyT, RowT]":
        """Of the copied table, whose next version says nothing of the one before: that is not copied."""
        twin: Journal[KeyT, RowT] = Journal(deepcopy(self._rows, memo))
        twin._left = None
        return twin

    def put(self, key: KeyT, before: RowT | None) -> None:
        """A row was put in the place of another one, or at the end."""
        left = self._left
        if left is None:
            return
        if before is None:
            self._entered[key] = None
        elif key not in self._entered:
            left.setdefault(key, before)
        if len(left) + len(self._entered) > len(self._rows):  # where nobody asks for versions
            self._left, self._entered = None, {}

    def evicted(self, key: KeyT, row: RowT) -> None:
        """A row was taken out."""
        if self._left is None:
            return
        if key in self._entered:
            del self._entered[key]
        else:
            self._left.setdefault(key, row)

    def version(self) -> Version[RowT]:
        """The rows as they are now; the same object as long as nothing happens."""
        before = self._version
        if self._left is not None and not self._left and not self._entered:
            return before
        self._version = Version(self._rows.values())
        self._version.mark = object()
        if self._left is not None:
            self._version.before, self._version.changes = before.mark, self._changes(self._left)
        self._left, self._entered = {}, {}
        return self._version

    def _changes(self, left: dict[KeyT, RowT]) -> Turnover[RowT]:
        rows, entered = self._rows, self._entered
        stayed = {key for key in left if key in rows and key not in entered}
        return Turnover(
            [(before, rows[key]) for key, before in left.items() if key in stayed and before is not rows[key]],
            [before for key, before in left.items() if key not in stayed],
            [rows[key] for key in entered],
        )


def turnover(before: Sequence[RowT], now: Sequence[RowT], key: Callable[[RowT], Hashable]) -> Turnover[RowT] | None:
    """From one version of a table to another; None where it is quicker to look at all rows than at what has changed.

    Rows that are in both, by their keys, are in the same order in both. Where they are not, rows that were moved are
    both gone and come.
    """
    most = len(now) * _FOLLOWED_UP_TO
    if isinstance(now, Version) and isinstance(before, Version) and now.before is before.mark:
        return now.changes if now.changes is not None and now.changes.size <= most else None
    replaced: list[tuple[RowT, RowT]] = []
    gone: list[RowT] = []
    rest = iter(now)
    head = next(rest, None)
    for row in before:
        if row is head:
            head = next(rest, None)
        elif len(replaced) + len(gone) > most:
            return None
        elif head is not None and key(row) == key(head):
            replaced.append((row, head))
            head = next(rest, None)
        else:
            gone.append(row)
    changes = Turnover(replaced, gone, [] if head is None else [head, *rest])
    return changes if changes.size <= most else None
