"""From what nettop recorded to what ships: only what identifies the machine is changed, and the story is moved in time.

The namespace that was watched becomes the whole of the host "demo", and its programs get the command lines, users and
cgroups of what they play. Everything else is as recorded, and checked to name nobody real.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from nettop.model.events import AnyEvent, LossesChanged, ProcessChanged, Start
from nettop.model.rows import Host, ProcessIdentity, Scope
from nettop.model.store import replayed

BEGIN = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
HOST = Host(name="demo", kernel="6.1.0", arch="x86_64", boot_id="00000000-0000-0000-0000-000000000000")
NETNS = 4_026_531_840  # a usual number of the first namespace

_NETWORKS = tuple(map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")))
_NAME = re.compile(r"(.+\.)?example\.(com|net|org)|(\d+\.){4}in-addr\.arpa")


class Costume(NamedTuple):
    """What a process with some comm shows besides; `command` None: its own."""

    command: tuple[str, ...] | None
    cgroup: str


def published(recorded: Sequence[AnyEvent], users: dict[int, str], costumes: dict[str, Costume]) -> list[AnyEvent]:
    """The recording as it ships; costumes by comm. Raises ValueError on what does not belong in it."""
    start = recorded[0]
    if not isinstance(start, Start):
        raise ValueError("a recording begins with its start")
    known = frozenset(event.process.pid for event in recorded if isinstance(event, ProcessChanged))
    (netns,) = start.scope.netns
    edition = _Edition(BEGIN - start.time, netns, users, costumes, known)
    events = [edition.of(event) for event in recorded]
    problems = strangers(events)
    if problems:
        raise ValueError(f"not of the demo: {problems}")
    return events


class _Edition(NamedTuple):
    shift: timedelta
    netns: int
    users: dict[int, str]
    costumes: dict[str, Costume]
    known_pids: frozenset[int]

    def of(self, value: Any) -> Any:
        """An event, a row or a part of them, with all its parts."""
        if isinstance(value, datetime):
            return value + self.shift
        if isinstance(value, tuple):
            return tuple(map(self.of, value))
        if isinstance(value, Host | Scope):
            return HOST if isinstance(value, Host) else Scope()
        if isinstance(value, ProcessIdentity):
            value = self._dressed(value)
        if not isinstance(value, msgspec.Struct):
            return value
        parts = {name: self.of(getattr(value, name)) for name in value.__struct_fields__}
        if "netns" in parts:
            if parts["netns"] != self.netns:
                raise ValueError(f"seen in another namespace: {value}")
            parts["netns"] = NETNS
        return type(value)(**parts)

    def _dressed(self, row: ProcessIdentity) -> ProcessIdentity:
        costume = self.costumes[row.comm]
        return msgspec.structs.replace(
            row,
            user=self.users[row.uid],
            cgroup=costume.cgroup,
            cmdline=costume.command or row.cmdline,
            parent_pid=row.parent_pid if row.parent_pid in self.known_pids else 1,
        )


def strangers(events: Iterable[AnyEvent]) -> list[str]:
    """What does not belong in a published recording: foreign addresses, names, times, paths, and losses."""
    events = list(events)
    found = []
    for event in events:
        # nettop attaches first and then takes the time of its start: what happens between is a little older
        if not timedelta(seconds=-1) < event.time - BEGIN < timedelta(minutes=2):
            found.append(f"time {event.time}")
        if isinstance(event, LossesChanged) and any(_counts(event)):
            found.append(f"losses {event.losses}")
    snapshot = replayed(events).snapshot()
    rows: tuple[Any, ...] = (*snapshot.connections, *snapshot.dns, *snapshot.processes, *snapshot.requests)
    found += [f"netns of {row}" for row in rows if row.netns != NETNS]
    addresses = {end.address for row in snapshot.connections for end in (row.local, row.remote)}
    addresses |= {end.address for query in snapshot.dns for end in (query.client, query.server)}
    addresses |= {row.remote.address for row in snapshot.requests if row.remote is not None}
    names = {query.qname or "" for query in snapshot.dns} | {row.remote.name for row in snapshot.connections}
    names |= {name for row in snapshot.requests for name in (row.host, row.remote.name if row.remote else None)}
    for query in snapshot.dns:
        for answer in query.answers:
            names.add(answer.name)
            if answer.type in ("A", "AAAA"):
                addresses.add(answer.data)
            elif answer.type in ("CNAME", "PTR"):
                names.add(answer.data)
    found += sorted(f"address {address}" for address in addresses if not _is_documentation(address))
    found += sorted(f"name {name}" for name in names if name is not None and not _NAME.fullmatch(name.rstrip(".")))
    lines = [" ".join(row.cmdline or ()) for row in snapshot.processes]
    found += [f"command line {line}" for line in lines if "python" in line or "/work" in line or "/home" in line]
    return found


def _is_documentation(address: str) -> bool:
    return any(ipaddress.ip_address(address) in network for network in _NETWORKS)


def _counts(event: LossesChanged) -> list[int]:
    tables = (event.losses.perf_buffer, event.losses.map_full, event.losses.missed_runs, event.losses.evicted)
    return [*(count for table in tables for count in table.values()), event.losses.dns_unparsed]
