"""From a snapshot to what a pane shows: pure functions, no Textual."""

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from nettop.model.kinds import DNS, KINDS, PROCESSES, AnyRow, Kind
from nettop.model.mark import newest_ids
from nettop.model.snapshot import Snapshot
from nettop.text import cut
from nettop.view.columns import COLUMNS, SPARKLINE_CELLS, Column
from nettop.view.outcomes import Outcomes, SinceLast

RowT = TypeVar("RowT", bound=AnyRow)
_SHORT_CELLS = len(" 3 Proc")
HISTORY_TICKS = 180  # three minutes at the default interval, and as many cells as a sparkline ever gets


@dataclass(frozen=True)
class PaneKind(Generic[RowT]):
    """How a kind of rows is shown."""

    kind: Kind[RowT]
    columns: tuple[Column[RowT], ...]
    sort: str
    descending: bool
    hidden: tuple[Column[RowT], ...] = ()  # left out by the user, but still there to sort by

    @property
    def name(self) -> str:
        """The kind's."""
        return self.kind.name

    def column(self, key: str) -> Column[RowT]:
        """The column with this key."""
        return next(column for column in (*self.columns, *self.hidden) if column.key == key)

    def has_column(self, key: str) -> bool:
        """Whether there is one with this key."""
        return any(column.key == key for column in (*self.columns, *self.hidden))

    def arranged(self, keys: Sequence[str], sort: str) -> "PaneKind[RowT]":
        """With these columns (all for none) in this order, sorted by `COLUMN`, `COLUMN asc` or `COLUMN desc`."""
        key, _, direction = sort.partition(" ")
        descending = direction == "desc" if direction else self.column(key).descending
        columns = tuple(map(self.column, keys)) or self.columns
        hidden = tuple(column for column in self.columns if column not in columns)
        return replace(self, columns=columns, hidden=hidden, sort=key, descending=descending)

    def is_over(self, row: RowT) -> bool:
        """Whether a row stands back, because what it tells of has ended."""
        return self.kind.ended is not None and self.kind.ended(row)


def _pane(kind: Kind[RowT]) -> PaneKind[RowT]:
    columns = COLUMNS[kind]
    return PaneKind(kind, columns, kind.sort, next(each.descending for each in columns if each.key == kind.sort))


PANES: tuple[PaneKind[Any], ...] = tuple(map(_pane, KINDS))
STACKED = tuple(kind.name for kind in KINDS if kind.stacked)


def is_off(kind: Kind[Any], snapshot: Snapshot) -> bool:
    """Whether rows of this kind were not asked for on the command line, and there are none."""
    return bool(kind.option) and kind.name not in snapshot.hooks and not kind.rows_of(snapshot)


def pane_of(row: AnyRow) -> PaneKind[Any]:
    """The pane that shows such rows."""
    return next(pane for pane in PANES if isinstance(row, pane.kind.row))


def newest(row: AnyRow, snapshot: Snapshot) -> AnyRow:
    """The row as it stands in the snapshot; as it was, if it is no longer kept there."""
    kind = pane_of(row).kind
    wanted: Hashable = kind.key(row)
    return next((candidate for candidate in kind.rows_of(snapshot) if kind.key(candidate) == wanted), row)


def shown(stacked: Sequence[str], active: str, guest: str | None) -> tuple[tuple[str, ...], str | None]:
    """Names of the panes that are below one another once `active` is, and the guest among them.

    A pane that is not stacked is the guest of the lowest one, whose place it takes until that one becomes active.
    """
    if active not in stacked:
        guest = active
    elif active == stacked[-1]:
        guest = None
    return (*stacked[:-1], stacked[-1] if guest is None else guest), guest


@dataclass(frozen=True)
class Title:
    """What stands above a pane."""

    name: str
    count: str
    details: str
    who: str = ""  # the process, if all rows are of one and no column says it
    note: str = ""  # what of the filter says nothing about these rows

    @property
    def whole(self) -> str:
        """All of it."""
        return f"{self.name}{self.count}{self.who}{self.details}{self.note}"

    @property
    def short(self) -> str:
        """The name by its beginning: ` 3 Proc `."""
        return f"{self.name[:_SHORT_CELLS].rstrip()} "


def tabs(titles: Mapping[str, Title], active: str, width: int) -> dict[str, str]:
    """What each tab says by its pane: everything for the active one, and of the others the count; less, to fit.

    Where the active one would be cut, as groups make its title long, the numbers of the others are left: their keys.
    """
    names = {name: title.name for name, title in titles.items()}
    counts = {name: f"{title.name}{title.count}" for name, title in titles.items()}
    short = {name: title.short for name, title in titles.items()}
    numbers = {name: f" {title.name.split()[0]} " for name, title in titles.items()}
    shown = titles[active]
    wordings = [{**others, active: shown.whole} for others in (counts, names, short)]
    if shown.who:
        with_who = f"{shown.name}{shown.count}{shown.who}"
        wordings += [{**short, active: with_who}, {**numbers, active: shown.whole}, {**numbers, active: with_who}]
    noted = f"{shown.name}{shown.count}{shown.note}"
    if shown.note:
        wordings += [{**short, active: noted}, {**numbers, active: noted}]
    for fitting in wordings:
        if sum(map(len, fitting.values())) <= width:
            return fitting
    before = list(names)[: list(names).index(active)]
    if not shown.note and sum(len(names[name]) for name in before) + len(counts[active]) <= width:
        return {**names, active: counts[active]}
    room = width - sum(len(text) for name, text in numbers.items() if name != active)
    return {**numbers, active: cut(noted, max(room, 1))}


def next_column(columns: Sequence[Column[RowT]], key: str) -> Column[RowT]:
    """The column after the one with this key, round and round; the first if that is not among them."""
    keys = [column.key for column in columns]
    return columns[(keys.index(key) + 1) % len(columns) if key in keys else 0]


def apart(columns: Sequence[Column[RowT]]) -> list[Column[RowT]]:
    """The columns without those that only put others of them in one."""
    keys = {column.key for column in columns}
    return [column for column in columns if not (column.instead_of and set(column.instead_of) <= keys)]


def column_beside(pane: PaneKind[RowT], key: str, step: int) -> Column[RowT]:
    """The column so many steps beside the one with this key, round and round; also those that are hidden.

    What stands for several columns is passed over, because each of them is there.
    """
    columns = apart((*pane.columns, *pane.hidden))
    keys = [column.key for column in columns]
    at = keys.index(key) if key in keys else -1
    return columns[(at + step) % len(columns)]


def sort_by(column: Column[RowT], sorted_by: tuple[str, bool]) -> tuple[str, bool]:
    """What a click on a column's title makes of the sort: by this column; again, the other way round."""
    key, descending = sorted_by
    return (key, not descending) if key == column.key else (column.key, column.descending)


class Traffic:
    """Rates of the last ticks: in all, and per process that moves or did so of late; queries of the last interval."""

    def __init__(self) -> None:
        self.total: deque[float] = deque(maxlen=HISTORY_TICKS)
        self.by_process: dict[Any, deque[float]] = {}  # bounded by the processes of a snapshot
        self.dns_per_s = 0.0
        self.dns: Outcomes | None = None  # of the last interval; None before there was one
        self._queries = SinceLast()
        self._last: Snapshot | None = None

    def copy(self) -> "Traffic":
        """As it is now."""
        twin = Traffic()
        twin.total = self.total.copy()
        twin.by_process = {key: history.copy() for key, history in self.by_process.items()}
        twin.dns_per_s, twin.dns, twin._queries = self.dns_per_s, self.dns, self._queries.copy()
        twin._last = self._last
        return twin

    def add(self, snapshot: Snapshot) -> None:
        """Take a tick's rates."""
        if self._last is not None:
            seconds = (snapshot.captured_at - self._last.captured_at).total_seconds()
            asked = newest_ids(snapshot)[DNS.name] - newest_ids(self._last)[DNS.name]
            asked += snapshot.losses.unlisted.get(DNS.name, 0) - self._last.losses.unlisted.get(DNS.name, 0)
            self.dns_per_s = asked / seconds if seconds > 0 else 0.0
        self._last = snapshot
        self.dns = self._queries.look(snapshot.dns)
        total = 0.0
        seen = {}
        for row in snapshot.processes:
            rate = row.tx_bytes_per_s + row.rx_bytes_per_s
            total += rate
            key = PROCESSES.key(row)
            history = self.by_process.get(key)
            if history is None:
                if not rate:
                    continue
                history = deque(maxlen=SPARKLINE_CELLS)
            history.append(rate)
            if rate or any(history):
                seen[key] = history
        self.by_process = seen
        self.total.append(total)
