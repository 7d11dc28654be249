"""A group of rows, and what can be said of all of them together.

A measure is a function of a group that is computed once a tick, and only where somebody asks: by the column that sorts,
for all groups, by the others for those that are seen. Each goes through the values of a field with loops that are not
Python's, which is what makes 50,000 rows a matter of milliseconds. To read these values from rows, which are all over
the memory, is most of what that costs; so a group keeps them, and those of rows that have not changed are not read
again.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, wraps
from operator import attrgetter, countOf
from typing import Any, Generic, NamedTuple, TypeVar

from msgspec import Struct

from nettop.view.columns import FAILURE, Context
from nettop.view.lookups import Lookups
from nettop.view.panes import PaneKind

RowT = TypeVar("RowT")
ValueT = TypeVar("ValueT")
_UNKNOWN = "-"


@dataclass(frozen=True)
class Keying(Generic[RowT]):
    """How rows of one snapshot are told apart: by the keys of all of them at once; those with the same are a group.

    `context` is what keys depend on besides their rows. Where it is equal, so are the keys of the same rows.
    """

    keys: Callable[[Sequence[RowT]], Iterable[Hashable]]
    label: Callable[["Group[RowT]"], str]
    lookups: Lookups | None = None
    context: object = ()


@dataclass(frozen=True)
class Window:
    """The time for which it is known how often something began: the last seconds of a snapshot, see window()."""

    now: datetime
    since: datetime
    started_at: datetime  # when nettop was
    complete_since: datetime | None = None  # only failed and slow rows are older; None: no row had to make room

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.now - self.since).total_seconds()


class Group(Struct, Generic[RowT], gc=False, eq=False):
    """Rows with the same key, at least one. Not tracked by the garbage collector, or 50,000 of them take 60 ms more.

    With the next snapshot it may become another: see Regrouping.
    """

    key: Hashable
    rows: list[RowT]
    pane: PaneKind[Any]  # its grouping's
    keying: Keying[RowT]
    window: Window
    known: dict[Any, Any] | None = None  # measures; most groups of many are never asked
    read: dict[str, list[Any]] | None = None  # values of fields, in the order of the rows

    @property
    def label(self) -> str:
        """What it is called."""
        return label(self)

    def told(self) -> dict[str, Any]:
        """What JSON says of it: the value of each column, but not its rows."""
        context = Context(self.window.now)
        values: dict[str, Any] = {}
        for column in self.pane.columns:
            value = column.sort_key(context)(self)
            if isinstance(value, str):
                value = value.removeprefix(FAILURE)
            several = (None,) * (1 + len(column.also)) if value is None else value
            values.update(zip((column.key, *column.also), several if column.also else (value,), strict=True))
        people = [each._asdict() for each in who(self)]
        return {**values, "grouping": self.pane.name, "group": self.label, "who": people}

    @property
    def pid(self) -> int | None:
        """Of the only process behind it."""
        only = who(self)
        return only[0].pid if len(only) == 1 else None

    @property
    def comm(self) -> str | None:
        """The only name of the processes behind it."""
        only = who(self)
        return only[0].comm if len(only) == 1 else None


def names_of(pane: PaneKind[Any]) -> tuple[str, ...]:
    """The names of what is told of each of its groups, but for the grouping, which is the same for all."""
    return tuple(dict.fromkeys((*(name for column in pane.columns for name in (column.key, *column.also)), "who")))


Measure = Callable[[Group[Any]], ValueT]


def measure(of: Measure[ValueT]) -> Measure[ValueT]:
    """The same function, computed once a group."""

    @wraps(of)
    def known(group: Group[Any]) -> ValueT:
        values = group.known
        if values is None:
            values = group.known = {}
        if of not in values:
            values[of] = of(group)
        found: ValueT = values[of]
        return found

    return known


@measure
def label(group: Group[Any]) -> str:
    """What it is called."""
    return group.keying.label(group)


def count(group: Group[Any]) -> int:
    """How many rows."""
    return len(group.rows)


@cache
def field(name: str) -> Callable[[Any], Any]:
    """What reads a field of a row, as `tcp.active`."""
    return attrgetter(name)


@cache
def values(name: str) -> Measure[list[Any]]:
    """All values of a field."""
    value = field(name)

    def of_all(group: Group[Any]) -> list[Any]:
        read = group.read
        if read is None:
            read = group.read = {}
        found = read.get(name)
        if found is None:
            found = read[name] = list(map(value, group.rows))
        return found

    return of_all


@cache
def moments(name: str) -> Measure[list[datetime]]:
    """The known ones."""
    found = values(name)
    return measure(lambda group: list(filter(None, found(group))))


def total(name: str) -> Measure[Any]:
    """The sum of a field; what is unknown counts as 0."""
    found = values(name)

    @measure
    def added_up(group: Group[Any]) -> Any:
        try:
            return sum(found(group))
        except TypeError:  # None is among them
            return sum(filter(None, found(group)))

    return added_up


def number(name: str, wanted: object = True) -> Measure[int]:
    """How many rows have this value of a field."""
    found = values(name)
    return measure(lambda group: countOf(found(group), wanted))


def tally(*names: str) -> Measure[Counter[Any]]:
    """How many rows have which values of the fields."""
    if len(names) == 1:
        found = values(names[0])
        return measure(lambda group: Counter(found(group)))
    several = list(map(values, names))
    return measure(lambda group: Counter(zip(*(each(group) for each in several), strict=True)))


class Spread(NamedTuple):
    """The middle and the largest of some numbers; None if there are none."""

    p50: float | None
    max: float | None


def spread(name: str) -> Measure[Spread]:
    """Of the known values of a field."""
    found = values(name)
    return measure(lambda group: spread_of([each for each in found(group) if each is not None]))


def spread_of(values: Sequence[float]) -> Spread:
    """The same of these numbers."""
    known = sorted(values)
    return Spread(known[(len(known) - 1) // 2], known[-1]) if known else Spread(None, None)


def per_second(name: str) -> Measure[float]:
    """How many rows began in a second of the window, by the field that says when."""
    began = moments(name)

    @measure
    def rate(group: Group[Any]) -> float:
        since, seconds = group.window.since, group.window.seconds
        return countOf(map(since.__le__, began(group)), True) / seconds if seconds > 0 else 0.0

    return rate


def earliest(name: str) -> Measure[datetime | None]:
    """The least of the known values of a field."""
    began = moments(name)
    return measure(lambda group: min(began(group), default=None))


class Someone(NamedTuple):
    """Processes of the same name behind a group; `pid` if there is only one, and it is known."""

    comm: str | None
    pid: int | None
    processes: int


@measure
def who(group: Group[Any]) -> list[Someone]:
    """The processes behind the rows by their names, those with the most rows first."""
    rows: Counter[str | None] = Counter()
    pids: dict[str | None, set[int | None]] = {}
    for (comm, pid), times in _owners(group).items():
        rows[comm] += times
        pids.setdefault(comm, set()).add(pid)
    return [
        Someone(comm, next(iter(pids[comm])) if len(pids[comm]) == 1 else None, len(pids[comm]))
        for comm, _ in rows.most_common()
    ]


def _owners(group: Group[Any]) -> Mapping[tuple[str | None, int | None], int]:
    """Names and pids with the number of their rows; the name of a process is that in its last row."""
    known: Counter[tuple[str | None, int | None]] = Counter()
    if hasattr(group.rows[0], "comms"):  # of hosts names and pids are not in pairs
        for row in group.rows:
            known.update((comm, row.pid) for comm in row.comms)
        return known
    pids = _pids(group)
    last = dict(zip(pids, _comms(group), strict=True))
    for pid, times in Counter(pids).items():
        if pid is not None:
            known[last[pid], pid] = times
    if None in last:
        known.update((row.comm, None) for row in group.rows if row.pid is None)
    return known


_pids, _comms = values("pid"), values("comm")


def said(people: Sequence[Someone]) -> str:
    """`web[120]` for one process, else names: `12 web, api` are twelve processes `web` and one `api`."""
    if len(people) == 1 and people[0].pid is not None:
        return f"{people[0].comm or _UNKNOWN}[{people[0].pid}]"
    return ", ".join(
        f"{each.processes} {each.comm or _UNKNOWN}" if each.processes > 1 else each.comm or _UNKNOWN for each in people
    )
