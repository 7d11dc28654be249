"""The groups of a table, kept up while its rows change: what has not changed is not put together again. Pure."""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from nettop.model.snapshot import Snapshot
from nettop.model.turnover import Turnover, turnover
from nettop.view.group import Group, Keying, field
from nettop.view.grouping import Grouping, Memory, grouped, keying_of, window

_KEPT_UP_TO = 1 / 8  # of the rows: where more have changed, to group all anew is quicker
_MOVED_UP_TO = 1 / 50  # the same of those that come to a group or leave it: all values behind them move too
_number = attrgetter("id")


class Regrouping:
    """Groups the rows of one snapshot after another. With each, the groups of the one before become others."""

    def __init__(self) -> None:
        self.memory = Memory()
        self._grouping: Grouping | None = None
        self._context: object = None
        self._rows: Sequence[Any] = ()
        self._groups: dict[Hashable, Group[Any]] = {}

    def groups(self, grouping: Grouping, rows: Sequence[Any], snapshot: Snapshot, names: bool) -> list[Group[Any]]:
        """As grouped()."""
        keying = keying_of(grouping, snapshot, names, self.memory)
        known = window(grouping.kind, snapshot)
        new = partial(Group, pane=grouping.pane, keying=keying, window=known)
        changes = self._changes(grouping, rows, keying)
        if changes is None or not self._keeps_up(changes, keying, new):
            found = grouped(grouping, rows, snapshot, names, self.memory)
            self._groups = {group.key: group for group in found}
        else:
            for group in self._groups.values():
                group.keying, group.window, group.known = keying, known, None
        self._grouping, self._context, self._rows = grouping, keying.context, rows
        return list(self._groups.values())

    def keying(self, grouping: Grouping, snapshot: Snapshot, names: bool) -> Keying[Any]:
        """As keying_of()."""
        return keying_of(grouping, snapshot, names, self.memory)

    def _changes(self, grouping: Grouping, rows: Sequence[Any], keying: Keying[Any]) -> Turnover[Any] | None:
        """What has happened to the rows; None where that does not help."""
        if grouping is not self._grouping or keying.context != self._context or not grouping.kind.numbered:
            return None
        changes = turnover(self._rows, rows, _number)
        if changes is None or len(changes.replaced) > len(rows) * _KEPT_UP_TO:
            return None
        return None if len(changes.gone) + len(changes.come) > len(rows) * _MOVED_UP_TO else changes

    def _keeps_up(self, changes: Turnover[Any], keying: Keying[Any], new: Callable[..., Group[Any]]) -> bool:
        """Whether the groups are now those of the rows after these changes; `new` makes one of a key and rows."""
        leave, enter = [*changes.gone], [*changes.come]
        before, now = ([pair[side] for pair in changes.replaced] for side in (0, 1))
        for one, other, old_key, key in zip(before, now, keying.keys(before), keying.keys(now), strict=True):
            if old_key == key:
                _replace(self._groups[key], one, other)
            else:
                leave.append(one)
                enter.append(other)
        if len(leave) + len(enter) > len(self._rows) * _MOVED_UP_TO:
            return False
        for row, key in zip(leave, keying.keys(leave), strict=True):
            group = self._groups[key]
            _remove(group, row)
            if not group.rows:
                del self._groups[key]
        for row, key in zip(enter, keying.keys(enter), strict=True):
            if key in self._groups:
                _insert(self._groups[key], row)
            else:
                self._groups[key] = new(key, [row])
        if leave:  # another row may be the first one
            self._groups = {group.key: group for group in sorted(self._groups.values(), key=_first)}
        return True


def _first(group: Group[Any]) -> int:
    number: int = group.rows[0].id
    return number


def _place(group: Group[Any], row: Any) -> int:
    return bisect_left(group.rows, row.id, key=_number)


def _replace(group: Group[Any], before: Any, now: Any) -> None:
    place = _place(group, before)
    group.rows[place] = now
    for name, values in (group.read or {}).items():
        values[place] = field(name)(now)


def _remove(group: Group[Any], row: Any) -> None:
    place = _place(group, row)
    for column in (group.rows, *(group.read or {}).values()):
        del column[place]


def _insert(group: Group[Any], row: Any) -> None:
    place = _place(group, row)
    group.rows.insert(place, row)
    for name, values in (group.read or {}).items():
        values.insert(place, field(name)(row))
