"""Groupings: what rows are put together by, each declared once. Pure functions from rows to groups.

grouping = grouping_of(DNS, "name")
groups = grouped(grouping, rows, snapshot)
groups = sort(groups, grouping.pane.column("count"), True, context)
cells = [column.text(group, context) for column in grouping.pane.columns for group in groups]
"""

import ipaddress
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property, lru_cache, partial
from operator import attrgetter
from typing import Any

from nettop.model.kinds import CONNECTIONS, DNS, HOSTS, LISTENERS, LOOKUPS, PROCESSES, REQUESTS, UDP, Kind
from nettop.model.rows import OWN_NAMES, Connection, DnsQuery, Lookup, Process, RemoteHost, Request, UdpFlow
from nettop.model.snapshot import Snapshot
from nettop.view.columns import FAILURE, Context, dns_result, dns_server, request_status
from nettop.view.domains import registered_domain
from nettop.view.group import Group, Keying, Window
from nettop.view.group_columns import GROUP_COLUMNS, LABEL_CELLS, LOOKED_UP, LOOKUP, GroupColumn, label_column
from nettop.view.lookups import Lookups
from nettop.view.panes import PaneKind
from nettop.view.services import service

RATE_S = 10.0  # how long ago something may have begun that counts for a rate: a tick's count jumps about
_UNKNOWN = "(unknown)"
_PROCESS = "process"


class Memory:
    """What groupings keep from one snapshot to the next."""

    def __init__(self) -> None:
        self.lookups = Lookups()


@dataclass(frozen=True)
class _Seen:
    """What a key may depend on besides its row."""

    snapshot: Snapshot
    names: bool  # show remote names instead of addresses
    memory: Memory

    @cached_property
    def listening(self) -> set[tuple[int, int]]:
        """Network namespaces and ports where somebody listens."""
        return {(listener.netns, listener.port) for listener in self.snapshot.listeners if not listener.closed}


@dataclass(frozen=True, eq=False)
class Grouping:
    """One way to put rows of a kind together.

    Attributes:
        kind: whose rows.
        name: what the groups are by, in titles and on the command line.
        heading: of the column that says what the rows of a group have in common; `plural` counts groups.
        keys: how the rows of a snapshot are told apart.
        columns: of the groups, but for the first.
        sort: the column by which groups are sorted at first.
        cells: the least that the first column gets.

    """

    kind: Kind[Any]
    name: str
    heading: str
    plural: str
    keys: Callable[[_Seen], Keying[Any]]
    columns: tuple[GroupColumn, ...] = ()
    sort: str = "count"
    cells: int = LABEL_CELLS
    pane: PaneKind[Any] = field(init=False)

    def __post_init__(self) -> None:
        columns = (label_column(self.heading, self.cells), *(self.columns or GROUP_COLUMNS[self.kind]))
        if self.name == _PROCESS:  # which says who it is
            columns = tuple(column for column in columns if column.key != "who")
        kind = replace(
            self.kind,
            name=f"{self.kind.name} by {self.name}",
            plural=self.plural,
            row=Group,
            key=attrgetter("key"),
            ended=partial(_all_ended, self.kind),
            failed=_never,
            numbered=False,
            sort=self.sort,
        )
        descending = next(column.descending for column in columns if column.key == self.sort)
        object.__setattr__(self, "pane", PaneKind(kind, columns, self.sort, descending))


def _never(_group: Group[Any]) -> bool:
    return False


def _all_ended(kind: Kind[Any], group: Group[Any]) -> bool:
    return kind.ended is not None and all(map(kind.ended, group.rows))


def grouped(
    grouping: Grouping, rows: Sequence[Any], snapshot: Snapshot, names: bool = True, memory: Memory | None = None
) -> list[Group[Any]]:
    """The rows of a snapshot by their keys, in the order of the first of each; all rows, or those that are wanted."""
    keying = keying_of(grouping, snapshot, names, memory)
    by_key: defaultdict[Hashable, list[Any]] = defaultdict(list)
    for row, key in zip(rows, keying.keys(rows), strict=True):
        by_key[key].append(row)
    known = window(grouping.kind, snapshot)
    return [Group(key, found, grouping.pane, keying, known) for key, found in by_key.items()]


def keying_of(grouping: Grouping, snapshot: Snapshot, names: bool = True, memory: Memory | None = None) -> Keying[Any]:
    """How the grouping tells the rows of a snapshot apart. `memory` makes look-ups of the next snapshot cheap."""
    return grouping.keys(_Seen(snapshot, names, memory or Memory()))


def window(kind: Kind[Any], snapshot: Snapshot) -> Window:
    """The last seconds of which every row is there that began in them, ten at most."""
    now = snapshot.captured_at
    since = max(now - timedelta(seconds=RATE_S), snapshot.started_at)
    if snapshot.losses.evicted.get(kind.name):
        complete = snapshot.complete_since(kind.name)
        if complete is None:  # a file that an older nettop wrote, which let no row outlive others
            gone = _MAKES_ROOM.get(kind)
            moments = map(gone, kind.rows_of(snapshot)) if gone is not None else ()
            complete = min((moment for moment in moments if moment is not None), default=since)
        since = max(since, complete)
    return Window(now, min(since, now), snapshot.started_at, snapshot.complete_since(kind.name))


# Queries make room in the order in which they were asked, connections in that in which they ended: what began after the
# first of those that are left is still there.
_MAKES_ROOM: Mapping[Kind[Any], Callable[[Any], Any]] = {
    DNS: attrgetter("asked_at"),
    CONNECTIONS: attrgetter("closed_at"),
    REQUESTS: attrgetter("asked_at"),
}


# Keys that rows of several kinds have


def _by(name: str, label: Callable[[Group[Any]], str]) -> Callable[[_Seen], Keying[Any]]:
    """By fields of the row."""
    keying = Keying(partial(map, attrgetter(*name.split())), label)
    return lambda _seen: keying


def _key_itself(group: Group[Any]) -> str:
    return _UNKNOWN if group.key is None else str(group.key)


def _process_label(group: Group[Any]) -> str:
    row = group.rows[-1]
    return _UNKNOWN if row.pid is None else f"{row.comm or '-'}[{row.pid}]"


def _unit(seen: _Seen) -> Keying[Any]:
    """By what service manager or container runtime a process belongs to."""
    units = {(process.pid, process.start_time): service_of(process) for process in seen.snapshot.processes}
    owner = attrgetter("pid", "process_start_time")
    return Keying(lambda rows: map(units.get, map(owner, rows)), _unit_label, context=units)


def _unit_label(group: Group[Any]) -> str:
    return "(none)" if group.key is None else str(group.key)


def service_of(process: Process) -> str | None:
    """The unit or container that a process runs in."""
    return service(process)


_BY_PROCESS = _by("pid process_start_time", _process_label)


# DNS


def _qname(_seen: _Seen) -> Keying[DnsQuery]:
    return Keying(lambda rows: [row.qname and row.qname.lower() for row in rows], _key_itself)


def _domain(_seen: _Seen) -> Keying[DnsQuery]:
    return Keying(lambda rows: [row.qname and registered_domain(row.qname) for row in rows], _key_itself)


def _read(seen: _Seen) -> Lookups:
    lookups = seen.memory.lookups
    lookups.read(seen.snapshot.dns, {row.id: row.name for row in seen.snapshot.lookups if row.name is not None})
    return lookups


def _lookup(seen: _Seen) -> Keying[DnsQuery]:
    lookups = _read(seen)
    return Keying(
        lambda rows: [lookups.of(row).number for row in rows],
        lambda group: lookups.of(group.rows[0]).name or _UNKNOWN,
        lookups,
        context=lookups.decided_anew,
    )


def _looked_up(seen: _Seen) -> Keying[DnsQuery]:
    lookups = _read(seen)
    return Keying(
        lambda rows: [lookups.of(row).name for row in rows],
        lambda group: str(group.key) or _UNKNOWN,
        lookups,
        context=lookups.decided_anew,
    )


def _code(_seen: _Seen) -> Keying[DnsQuery]:
    def label(group: Group[DnsQuery]) -> str:
        return dns_result(group.rows[0], Context(group.window.now)).removeprefix("! ")

    return Keying(partial(map, attrgetter("status", "rcode")), label)


def _server(group: Group[DnsQuery]) -> str:
    return dns_server(group.rows[0], Context(group.window.now))


# Connections and UDP


def _remote_label(names: bool) -> Callable[[Group[Any]], str]:
    def label(group: Group[Any]) -> str:
        if group.key is None:
            return "(others)"
        known = {row.remote.name for row in group.rows if row.remote.name_source in OWN_NAMES} if names else set()
        if not known:
            return str(group.key)
        return f"{known.pop()} {group.key}" if len(known) == 1 else f"({len(known)} names) {group.key}"

    return label


def _remote_host(seen: _Seen) -> Keying[Connection | Request]:
    return Keying(partial(map, attrgetter("remote.address")), _remote_label(seen.names))


def _udp_remote(seen: _Seen) -> Keying[UdpFlow]:
    return Keying(lambda rows: [row.remote and row.remote.address for row in rows], _remote_label(seen.names))


def _service_port(seen: _Seen) -> Keying[Connection]:
    """By the port of the service, and on which side that is."""

    def key(row: Connection) -> tuple[str, int]:
        direction = row.direction
        if direction == "unknown" and (row.netns, row.local.port) in seen.listening:
            direction = "inbound"
        if direction == "unknown":
            return direction, min(row.local.port, row.remote.port)
        return direction, row.local.port if direction == "inbound" else row.remote.port

    def label(group: Group[Connection]) -> str:
        direction, port = key(group.rows[0])
        return f":{port} {_SIDES[direction]}"

    return Keying(partial(map, key), label, context=seen.listening)


_SIDES = {"inbound": "here", "outbound": "there", "unknown": "?"}


def _end(group: Group[Connection]) -> str:
    state, end = group.rows[0].state, group.rows[0].end
    return "(open)" if state != "closed" else end or "unseen"


def _ends(_seen: _Seen) -> Keying[Connection]:
    return Keying(lambda rows: [(row.state == "closed", row.end) for row in rows], _end)


# Processes and hosts


def _user(group: Group[Process]) -> str:
    row = group.rows[0]
    return row.user or f"uid {row.uid}"


def _parent(seen: _Seen) -> Keying[Process]:
    names = {process.pid: process.comm for process in seen.snapshot.processes}

    def label(group: Group[Process]) -> str:
        parent = group.rows[0].parent_pid
        return _UNKNOWN if parent is None else f"{names.get(parent, '-')}[{parent}]"

    return Keying(partial(map, attrgetter("parent_pid")), label)


def _process_unit(_seen: _Seen) -> Keying[Process]:
    return Keying(partial(map, service_of), _unit_label)


_NETWORK_BITS = {4: 24, 6: 64}


@lru_cache(maxsize=65_536)  # all hosts of a long history; some 15 MB
def network(address: str) -> str:
    """The /24 of an IPv4 address, the /64 of an IPv6 one; the text itself if it is neither."""
    try:
        parsed = ipaddress.ip_address(address)
        return str(ipaddress.ip_network((parsed.packed, _NETWORK_BITS[parsed.version]), strict=False))
    except ValueError:
        return address


def _network(_seen: _Seen) -> Keying[RemoteHost]:
    return Keying(lambda rows: map(network, map(attrgetter("address"), rows)), _key_itself)


# Requests

_ID_SEGMENT = re.compile(r"[0-9]+|(?=[^/]*[0-9])[0-9A-Fa-f-]{8,}|(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[0-9A-Za-z_=.~-]{20,}")


@lru_cache(maxsize=32_768)
def route(path: str) -> str:
    """The path with `*` for what looks like an id: numbers, UUIDs, hashes, and long words with digits."""
    return "/".join("*" if _ID_SEGMENT.fullmatch(segment) else segment for segment in path.split("/"))


def _route(_seen: _Seen) -> Keying[Request]:
    return Keying(lambda rows: [row.path and route(row.path) for row in rows], _key_itself)


def _request_outcome(group: Group[Request]) -> str:
    return request_status(group.rows[0]).removeprefix(FAILURE)


# Look-ups in C libraries


def _name_asked(_seen: _Seen) -> Keying[Lookup]:
    return Keying(lambda rows: [row.name and row.name.lower() for row in rows], _key_itself)


_NAME_CELLS = 26  # names are what these groups are about: what else a narrow terminal has room for comes after

GROUPINGS: tuple[Grouping, ...] = (
    Grouping(DNS, "name", "NAME", "names", _qname, cells=_NAME_CELLS),
    Grouping(DNS, "domain", "DOMAIN", "domains", _domain),
    Grouping(DNS, "code", "CODE", "codes", _code),
    Grouping(DNS, "server", "SERVER", "servers", _by("server.address server.port", _server)),
    Grouping(DNS, _PROCESS, "PROCESS", "processes", _BY_PROCESS),
    Grouping(DNS, "unit", "UNIT", "units", _unit),
    Grouping(DNS, "looked-up", "LOOKED UP", "names", _looked_up, LOOKED_UP, "queries"),
    Grouping(DNS, "look-up", "LOOK-UP", "look-ups", _lookup, LOOKUP, "time"),
    Grouping(CONNECTIONS, "host", "HOST", "hosts", _remote_host, cells=_NAME_CELLS),
    Grouping(CONNECTIONS, "port", "PORT", "ports", _service_port),
    Grouping(CONNECTIONS, _PROCESS, "PROCESS", "processes", _BY_PROCESS),
    Grouping(CONNECTIONS, "unit", "UNIT", "units", _unit),
    Grouping(CONNECTIONS, "state", "STATE", "states", _by("state", _key_itself)),
    Grouping(CONNECTIONS, "end", "END", "ends", _ends),
    Grouping(PROCESSES, "comm", "COMM", "names", _by("comm", _key_itself), sort="tx_rate"),
    Grouping(PROCESSES, "unit", "UNIT", "units", _process_unit, sort="tx_rate"),
    Grouping(PROCESSES, "user", "USER", "users", _by("uid user", _user), sort="tx_rate"),
    Grouping(PROCESSES, "parent", "PARENT", "parents", _parent, sort="tx_rate"),
    Grouping(LISTENERS, _PROCESS, "PROCESS", "processes", _BY_PROCESS),
    Grouping(LISTENERS, "port", "PORT", "ports", _by("port", _key_itself)),
    Grouping(HOSTS, "scope", "SCOPE", "scopes", _by("scope", _key_itself)),
    Grouping(HOSTS, "network", "NETWORK", "networks", _network),
    Grouping(UDP, "host", "HOST", "hosts", _udp_remote, cells=_NAME_CELLS),
    Grouping(UDP, _PROCESS, "PROCESS", "processes", _BY_PROCESS),
    Grouping(REQUESTS, "host", "HOST", "hosts", _by("host", _key_itself), cells=_NAME_CELLS),
    Grouping(REQUESTS, "path", "PATH", "paths", _route, cells=_NAME_CELLS),
    Grouping(REQUESTS, "method", "METHOD", "methods", _by("method", _key_itself)),
    Grouping(REQUESTS, "protocol", "PROTOCOL", "protocols", _by("protocol", _key_itself)),
    Grouping(REQUESTS, "status", "STATUS", "outcomes", _by("outcome error_code", _request_outcome)),
    Grouping(REQUESTS, _PROCESS, "PROCESS", "processes", _BY_PROCESS),
    Grouping(REQUESTS, "unit", "UNIT", "units", _unit),
    Grouping(REQUESTS, "remote", "REMOTE", "hosts", _remote_host, cells=_NAME_CELLS),
    Grouping(LOOKUPS, "name", "NAME", "names", _name_asked, cells=_NAME_CELLS),
    Grouping(LOOKUPS, "result", "RESULT", "results", _by("outcome", _key_itself)),
    Grouping(LOOKUPS, _PROCESS, "PROCESS", "processes", _BY_PROCESS),
    Grouping(LOOKUPS, "unit", "UNIT", "units", _unit),
)
"""All there are; those of a kind in the order in which one goes through them."""


def column_lists() -> Iterator[tuple[str, tuple[GroupColumn, ...]]]:
    """For help and manual: each list of columns once, below the groupings that have it."""
    having: dict[tuple[GroupColumn, ...], list[Grouping]] = {}
    for grouping in GROUPINGS:
        having.setdefault(grouping.pane.columns[1:], []).append(grouping)
    for columns, groupings in having.items():
        yield f"{groupings[0].kind.title} by {', '.join(grouping.name for grouping in groupings)}", columns


def groupings_of(kind: Kind[Any]) -> Sequence[Grouping]:
    """Those of a kind."""
    return [grouping for grouping in GROUPINGS if grouping.kind is kind]


def grouping_of(kind: Kind[Any], name: str) -> Grouping | None:
    """The one with this name; None if there is none."""
    return next((grouping for grouping in groupings_of(kind) if grouping.name == name), None)
