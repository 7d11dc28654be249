"""A moment to count from: totals of rows since then, and which rows began later."""

from collections.abc import Hashable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from nettop.model.kinds import KINDS, AnyRow, Kind
from nettop.model.snapshot import Snapshot

_Tree = dict[str, "_Tree"]  # names of fields; those below each, of a row in a row
_KIND_OF: Mapping[type[AnyRow], Kind[Any]] = {kind.row: kind for kind in KINDS}


def _tree(names: tuple[str, ...]) -> _Tree:
    """Of dotted names: `tcp.opened`."""
    tree: _Tree = {}
    for name in names:
        below = tree
        for step in name.split("."):
            below = below.setdefault(step, {})
    return tree


_SUMS: Mapping[Kind[Any], _Tree] = {kind: _tree(kind.sums) for kind in KINDS if kind.sums}


class Mark:
    """Set at a snapshot. `at` is when that was made, `newest` its newest id of each numbered kind of rows."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.at: datetime = snapshot.captured_at
        self.newest: Mapping[str, int] = newest_ids(snapshot)
        self.is_of_file = False
        self._then: dict[Kind[Any], dict[Hashable, Any]] = {
            kind: {kind.key(row): row for row in kind.rows_of(snapshot)} for kind in _SUMS
        }
        self._told: dict[Kind[Any], dict[Hashable, tuple[Any, Any]]] = {}  # rows, and what was made of them
        self._since: tuple[Snapshot, Snapshot] | None = None
        self._new: tuple[Snapshot, Snapshot] | None = None

    @classmethod
    def of_file(cls, snapshot: Snapshot) -> "Mark | None":
        """The mark with which a snapshot was exported, whose totals count from there already."""
        if snapshot.mark is None:
            return None
        mark = cls(snapshot)
        mark.at, mark.newest, mark.is_of_file = snapshot.mark, snapshot.mark_ids, True
        return mark

    def since(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with totals since the mark. One from before it, as a replay may come back to, stays as it is."""
        if self.is_of_file or snapshot.captured_at < self.at:
            return snapshot
        if self._since is None or self._since[0] is not snapshot:
            counted = {kind.name: tuple(self._rows(kind, kind.rows_of(snapshot))) for kind in _SUMS}
            marked = replace(snapshot, mark=self.at, mark_ids=dict(self.newest), **counted)
            self._since = snapshot, marked
        return self._since[1]

    def only_new(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with only the rows that began after the mark."""
        if self._new is None or self._new[0] is not snapshot:
            new = {kind.name: tuple(filter(self.is_new, kind.rows_of(snapshot))) for kind in KINDS}
            self._new = snapshot, replace(snapshot, **new)
        return self._new[1]

    def is_new(self, row: Any) -> bool:
        """Whether a row began after the mark; False where nobody knows."""
        kind = _KIND_OF.get(type(row))
        if kind is None:
            return False
        if kind.began is not None:
            began = kind.began(row)
            return began is not None and began > self.at
        if kind.numbered:
            return bool(row.id > self.newest.get(kind.name, row.id))
        return kind.key(row) not in self._then[kind]

    def _rows(self, kind: Kind[Any], rows: tuple[Any, ...]) -> list[Any]:
        """With totals since the mark; rows that are as they were at the last call are not made anew."""
        then, before = self._then[kind], self._told.get(kind, {})
        told: dict[Hashable, tuple[Any, Any]] = {}
        for row in rows:
            key = kind.key(row)
            known = before.get(key)
            if known is None or known[0] is not row:
                at_mark = then.get(key)
                known = row, row if at_mark is None else _less(row, at_mark, _SUMS[kind])
            told[key] = known
        if kind.began is None:  # what comes again under the same key begins at nothing, and so it counts whole
            for key in then.keys() - told.keys():
                del then[key]
        self._told[kind] = told
        return [made for _, made in told.values()]


def newest_ids(snapshot: Snapshot) -> dict[str, int]:
    """Of each kind of rows that has numbers: what has a larger one is newer than this snapshot."""
    numbered = {kind.name: kind.rows_of(snapshot) for kind in KINDS if kind.numbered}
    return {name: rows[-1].id if rows else 0 for name, rows in numbered.items()}


def _less(now: Any, then: Any, tree: _Tree) -> Any:
    """A row with less of what is summed up: by what was there then."""
    changes = {name: _difference(getattr(now, name), getattr(then, name), below) for name, below in tree.items()}
    return replace(now, **changes)


def _difference(now: Any, then: Any, below: _Tree) -> Any:
    if isinstance(now, Struct):
        return _less(now, then, below)
    if now is None or then is None:
        return now
    if isinstance(now, dict):
        return {name: count - then.get(name, 0) for name, count in now.items() if count > then.get(name, 0)}
    return max(now - then, 0)  # less where a connection turned out to be another process's
