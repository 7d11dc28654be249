"""The two ends of a connection that are both on this host: which rows belong together, found as they come."""

from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec.structs import replace

from nettop.model.hosts import scope_of
from nettop.model.rows import Connection, Direction, Peer

REMEMBERED_TICKS = (
    3  # of a connection that has ended: its other end, if it has a row, gets it with the same tick or two
)
_CLOCK_STEP = timedelta(milliseconds=1)  # rows have microseconds, and each rounds for itself
_HANDSHAKE = timedelta(seconds=5)  # between connect() and the other end, across namespaces: more is a coincidence

_OTHER_WAY: Mapping[Direction, Direction] = {"inbound": "outbound", "outbound": "inbound", "unknown": "unknown"}

_Ends = tuple[str, int, str, int]  # local and remote


class Peers:
    """Takes each new version of a row; knows the open ones and those that have just ended.

    Addresses and ports the other way round, at the same time, in the same network namespace: that is the other end. In
    another namespace it may be a stranger with the same address, so there it has to be the only one that it can be, and
    addresses that each namespace has for itself do not count. Where NAT is between them, the addresses differ.
    """

    def __init__(self, rows: Mapping[int, Connection]) -> None:
        self._rows = rows  # those of the store
        self._by_ends: dict[_Ends, tuple[int, ...]] = {}
        self._ended: deque[list[tuple[_Ends, int]]] = deque([[]], maxlen=REMEMBERED_TICKS)

    def take(self, before: Connection | None, row: Connection) -> tuple[Connection, list[Connection]]:
        """The row with its other end, and other rows that have changed by it."""
        others: list[Connection] = []
        ends: _Ends | None = None
        if before is None or (before.local is not row.local and before.local != row.local):
            if before is not None:
                self._forget(_ends(before), before.id)
            row, others = self._paired(row)
            ends = _ends(row)
            rivals = self._by_ends.get(ends)
            self._by_ends[ends] = (row.id,) if rivals is None else (*rivals, row.id)
        elif before.peer is not None:
            direction = before.direction if row.direction == "unknown" else row.direction
            row = replace(row, peer=before.peer, direction=direction)
            if (before.pid, before.comm) != (row.pid, row.comm):
                other = self._rows.get(before.peer.id)
                others = [] if other is None or other.peer is None else [_with_peer(other, row)]
        if row.state == "closed" and (before is None or before.state != "closed"):
            self._ended[-1].append((ends or _ends(row), row.id))
        return row, others

    def tick(self) -> None:
        """Forget what ended some ticks ago."""
        if len(self._ended) == REMEMBERED_TICKS:
            for ends, number in self._ended[0]:
                self._forget(ends, number)
        self._ended.append([])

    def _forget(self, ends: _Ends, number: int) -> None:
        left = tuple(other for other in self._by_ends.get(ends, ()) if other != number)
        if left:
            self._by_ends[ends] = left
        else:
            self._by_ends.pop(ends, None)

    def _paired(self, row: Connection) -> tuple[Connection, list[Connection]]:
        local, remote = row.local, row.remote
        there = self._by_ends.get((remote.address, remote.port, local.address, local.port))
        if there is None:
            return row, []
        candidates = self._free(row, there)
        near = [other for other in candidates if other.netns == row.netns]
        if near:
            return self._married(row, near[0]) if len(near) == 1 else (row, [])
        rivals = [rival for other in candidates for rival in self._free(other, self._by_ends.get(_ends(row), ()))]
        if len(candidates) == 1 and not rivals:
            return self._married(row, candidates[0])
        return row, [_alone(other) for other in (*candidates, *rivals) if other.peer is not None]

    def _free(self, row: Connection, numbers: tuple[int, ...]) -> list[Connection]:
        """Those of them that may be the other end of a row, and are not certainly that of another."""
        there = (self._rows[number] for number in numbers if number in self._rows and number != row.id)
        return [other for other in there if may_be_one(row, other) and not self._has_near_peer(other)]

    def _married(self, row: Connection, other: Connection) -> tuple[Connection, list[Connection]]:
        """Both ends, and what was taken for one of them before."""
        left = None if other.peer is None else self._rows.get(other.peer.id)
        return _with_peer(row, other), [_with_peer(other, row), *([] if left is None else [_alone(left)])]

    def _has_near_peer(self, row: Connection) -> bool:
        peer = None if row.peer is None else self._rows.get(row.peer.id)
        return peer is not None and peer.netns == row.netns


def may_be_one(one: Connection, other: Connection) -> bool:
    """Whether two rows whose ends are each other's can be the two ends of one connection."""
    directions = {one.direction, other.direction}
    if len(directions) == 1 and directions != {"unknown"}:
        return False
    if one.netns != other.netns and scope_of(one.local.address) in ("loopback", "link"):
        return False
    if {one.opened_before_start, other.opened_before_start} == {True, False}:
        return False
    client, server = (other, one) if one.direction == "inbound" or other.direction == "outbound" else (one, other)
    if client.failed_to_connect:
        return False
    return _in_time(client.opened_at, server.opened_at, one.netns != other.netns) and _overlap(one, other)


def _in_time(asked: datetime | None, answered: datetime | None, far: bool) -> bool:
    if asked is None or answered is None:
        return True
    return asked <= answered + _CLOCK_STEP and (not far or answered - asked <= _HANDSHAKE)


def _overlap(one: Connection, other: Connection) -> bool:
    return not (_ended_before(one, other) or _ended_before(other, one))


def _ended_before(one: Connection, other: Connection) -> bool:
    if one.closed_at is None or other.opened_at is None:
        return False
    return one.closed_at + _CLOCK_STEP < other.opened_at


def _ends(row: Connection) -> _Ends:
    return row.local.address, row.local.port, row.remote.address, row.remote.port


def _with_peer(row: Connection, other: Connection) -> Connection:
    direction = _OTHER_WAY[other.direction] if row.direction == "unknown" else row.direction
    return replace(row, peer=Peer(id=other.id, pid=other.pid, comm=other.comm), direction=direction)


def _alone(row: Connection) -> Connection:
    """Without the other end, and without what only that may have told; its next version says what is known."""
    return replace(row, peer=None, direction="unknown" if row.opened_before_start else row.direction)
