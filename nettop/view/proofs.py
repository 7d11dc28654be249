"""What rules say of rows, and how their sentences name things. Pure."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from nettop.model.filter import exactly
from nettop.model.kinds import AnyRow
from nettop.model.rows import Connection, DnsQuery, Listener, Request, UdpFlow
from nettop.view import format as human

RECENT_S = 60  # how far back failures are looked at
RECENT = f"since:{RECENT_S}s"
RowT = TypeVar("RowT", bound=AnyRow)
Owned = Connection | DnsQuery | Listener | Request | UdpFlow
ByProgram = Sequence[Connection] | Sequence[DnsQuery] | Sequence[Request]


class Proof(NamedTuple):
    """What a rule says of one group of rows, and those of them that prove it."""

    sentence: str
    filter: str
    rows: Sequence[AnyRow]
    weight: float = 0.0  # 0: how many they are


def grouped(key: Callable[[RowT], Hashable], rows: Iterable[RowT]) -> Mapping[Hashable, Sequence[RowT]]:
    """The rows by what they have in common."""
    groups: defaultdict[Hashable, list[RowT]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def who(row: Owned) -> str:
    """A process."""
    return f"{row.comm}[{row.pid}]" if row.pid is not None else "a process that is not known"


def process(row: Owned) -> Hashable:
    """What tells a process from others."""
    return row.pid, row.process_start_time


def program(row: Connection | DnsQuery | Request) -> Hashable:
    """What failures are counted by: a program that runs once a second has a process for each."""
    return row.netns, row.pid if row.comm is None else row.comm


def whose(rows: ByProgram) -> str:
    """Of a program, with its process if it is one."""
    processes = {row.pid for row in rows}
    return who(rows[0]) if len(processes) == 1 else f"{rows[0].comm} ({human.count(len(processes))} processes)"


def many(number: int, one: str) -> str:
    """So many of something."""
    return f"{human.count(number)} {one}{'' if number == 1 else 's'}"


def percent(part: int, whole: int) -> str:
    """How much of it."""
    return f"{human.share(part, whole)}".replace("%", " %")


def in_the_last(seconds: float) -> str:
    """For how long something is known."""
    return "in the last minute" if seconds == RECENT_S else f"in the last {seconds:.0f} s"


# Terms of filters


def terms(*each: str) -> str:
    """Those that there are."""
    return " ".join(filter(None, each))


def pid_term(row: Owned) -> str:
    """The process of a row, if it is known."""
    return f"pid:{row.pid}" if row.pid is not None else ""


def program_term(rows: ByProgram) -> str:
    """The process of rows if it is one, or else what these are called."""
    one = len({row.pid for row in rows}) == 1 or rows[0].comm is None
    return pid_term(rows[0]) if one else exactly("comm", rows[0].comm or "")
