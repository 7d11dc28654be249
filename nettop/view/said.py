"""Which columns say what stands on the screen already: pure functions, no Textual."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any

from nettop.model.kinds import CONNECTIONS, DNS, LOOKUPS, REQUESTS, UDP, AnyRow, Kind

NOTHING: frozenset[str] = frozenset()
_WHO = attrgetter("pid", "comm")
_ALTERNATIVES = re.compile(r"[|()]|(?:^|\s)or(?:\s|$)", re.IGNORECASE)
_TERM = re.compile(r'(?:^|\s)(?P<key>pid|comm):(?P<value>"[^"]*"|\S+)(?=\s|$)', re.IGNORECASE)

# Marks in the column COMM that go with it: the columns of rows that have one stay.
_MARKED: Mapping[Kind[Any], Callable[[Sequence[Any]], bool]] = {
    CONNECTIONS: lambda rows: "listener" in map(attrgetter("owner"), rows),
    DNS: lambda _rows: False,
    UDP: lambda rows: any(map(attrgetter("closed"), rows)),
    REQUESTS: lambda _rows: False,
    LOOKUPS: lambda _rows: False,
}


def said_by_filter(kind: Kind[Any], rows: Sequence[AnyRow], text: str) -> frozenset[str]:
    """Keys of the columns that say the same of each row, because the filter asks for one process or one name."""
    keys = _asked_for(text)
    if not rows or kind not in _MARKED or not keys:
        return NOTHING
    if "pid" in keys:
        one = len(set(map(_WHO, rows))) == 1
        return frozenset({"pid", "comm"}) if one and not _MARKED[kind](rows) else NOTHING
    one = len(set(map(attrgetter("comm"), rows))) == 1
    return frozenset({"comm"}) if one and not _MARKED[kind](rows) else NOTHING


def said_by_detail(kind: Kind[Any], rows: Sequence[AnyRow], subject: AnyRow) -> frozenset[str]:
    """The same where all rows are of the process that the detail is about."""
    if kind not in _MARKED or subject.pid is None or _MARKED[kind](rows):
        return NOTHING
    one = set(map(_WHO, rows)) <= {_WHO(subject)}
    return frozenset({"pid", "comm", "service"}) if one else NOTHING


def _asked_for(text: str) -> Collection[str]:
    """The keys of the filter that name one process or one name; none if it has alternatives."""
    if _ALTERNATIVES.search(text):
        return ()
    return [found["key"].lower() for found in _TERM.finditer(text) if not re.search(r"[*?\[]", found["value"])]
