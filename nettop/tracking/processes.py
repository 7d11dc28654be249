"""Processes: who they are, looked up while they live, remembered when they do not."""

from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import ProcessKey
from nettop.model.events import ProcessChanged
from nettop.model.rows import ProcessIdentity
from nettop.model.services import NONE, Service
from nettop.text import comm_text, printable
from nettop.tracking.clock import Clock
from nettop.tracking.services import NOWHERE, CgroupIds, Place, Services, cgroups_of

MAX_COMMAND_LINES = 16_384  # of processes not (yet) seen on the network; about 8 MB, 16 s of 1,000 execs/s
MAX_EXITS = 16_384  # a process closes its sockets after its exit is told, and its events may come a tick later:
EXITS_KEPT = timedelta(seconds=150)  # for twice the longest interval, and for how long a machine may stand still

# A service manager or a container's runtime moves a process into its cgroup just after it was made: its own is looked
# up twice, the second time so much later.
SETTLED_AFTER = timedelta(seconds=10)

_Value = TypeVar("_Value")


class CommandLine(Struct, frozen=True, gc=False):
    """Arguments. Where `cut` is not None, the one at this place is not an argument, but says what is left out there."""

    arguments: tuple[str, ...]
    cut: int | None = None


class Described(Struct, frozen=True, gc=False):
    """What /proc says of a process while it lives; without arguments if it has none, or if nettop may not read them."""

    command_line: CommandLine
    parent_pid: int | None
    cgroup: str | None
    service: Service = NONE


class Sighting(Struct, frozen=True, gc=False):
    """A process as a record of the kernel names it.

    `named_ns` is when uid and comm were read, at the earliest: a socket keeps what its owner was called when it got it,
    which may be long ago.
    """

    key: ProcessKey
    uid: int
    comm: bytes
    named_ns: int


class _Alive(Struct, frozen=True, gc=False):
    row: ProcessIdentity
    named_ns: int  # when its name and user were last read


class _Executed(Struct, frozen=True, gc=False):
    time_ns: int
    uid: int
    comm: str
    command_line: CommandLine
    cgroups: CgroupIds


class _Exit(Struct, frozen=True, gc=False):
    at: datetime
    cgroups: CgroupIds | None  # of an end that no record told


class ProcessTracker:
    """Knows the processes that used the network.

    `describe` reads /proc and returns None for what is gone; it is None itself where /proc shows other processes than
    those that the kernel's records name, as in a container.
    """

    def __init__(
        self,
        clock: Clock,
        describe: Callable[[ProcessKey], Described | None] | None,
        user_name: Callable[[int], str | None],
        services: Services | None = None,
    ) -> None:
        self._clock = clock
        self._services = services or Services()
        self._describe = describe
        self._user_name = user_name
        self._alive: dict[ProcessKey, _Alive] = {}  # bounded by the processes of the machine
        self._missing: dict[ProcessKey, datetime] = {}  # among them those that /proc did not have, since when
        self._missing_longer: dict[ProcessKey, datetime] = {}  # since before the last tick
        self._exited_rows: OrderedDict[ProcessKey, ProcessIdentity] = OrderedDict()
        self._inferred: set[ProcessKey] = set()  # among them those whose end no record told
        self._exits: OrderedDict[ProcessKey, _Exit] = OrderedDict()
        self._executed: OrderedDict[ProcessKey, _Executed] = OrderedDict()
        self._newly_ended: set[ProcessKey] = set()
        self._unsettled: deque[tuple[datetime, ProcessKey]] = deque()  # in order; those that were seen a moment ago

    def seen(self, who: Sighting, netns: int, time: datetime) -> list[ProcessChanged]:
        """A process did something on the network; tells of it if that is new."""
        key, named_ns = who.key, who.named_ns
        known = self._alive.get(key)
        if known is not None:
            if named_ns <= known.named_ns:
                return []
            name = comm_text(who.comm)
            if name == known.row.comm and who.uid == known.row.uid:
                return []
            row = replace(known.row, comm=name, uid=who.uid, user=self._user_name(who.uid))
            self._alive[key] = _Alive(row, named_ns)
            return [ProcessChanged(time=time, process=row)]
        ended = self._exited_rows.get(key)
        if ended is not None:
            return self._revived(who, ended, time)
        row = self._new_row(who, netns, time)
        executed = self._executed.get(key)
        if executed is not None and executed.time_ns > named_ns:
            row, named_ns = self._renamed(row, executed), executed.time_ns
        if row.exited_at is None:
            self._alive[key] = _Alive(row, named_ns)
        else:
            self._keep_exited(key, row)
        return [ProcessChanged(time=time, process=row)]

    def event(self, event: abi.ProcessEvent) -> list[ProcessChanged]:
        """A process executed a program or ended."""
        key = ProcessKey(event.owner_pid, event.owner_start_boot_ns)
        time = self._clock.wall(event.time_ns)
        if event.kind == abi.PROCESS_EXIT:
            self._inferred.discard(key)
            return self._exited(key, time, cgroups_of(event))
        line = command_line(event.arguments, None if event.kind == abi.PROCESS_EXEC_CUT else 0)
        executed = _Executed(event.time_ns, event.owner_uid, comm_text(event.owner_comm), line, cgroups_of(event))
        _remember(self._executed, key, executed, MAX_COMMAND_LINES)
        known = self._alive.get(key)
        if known is None:
            return []
        if line.cut is not None and (described := self._described(key)) and described.command_line.arguments:
            line = described.command_line
        row = self._placed(self._renamed(known.row, executed), self._services.place_of(executed.cgroups))
        row = replace(row, cmdline=line.arguments, cmdline_cut=line.cut)
        self._alive[key] = _Alive(row, event.time_ns)
        return [ProcessChanged(time=time, process=row)]

    def key_of(self, pid: int, start_time: datetime) -> ProcessKey | None:
        """The living process that a row is about."""
        of_pid = (key for key in self._alive if key.pid == pid)
        return next((key for key in of_pid if self._clock.wall_of_boot(key.start_boot_ns) == start_time), None)

    def has_ended(self, key: ProcessKey) -> bool:
        """Whether its end was told not long ago."""
        return key in self._exits

    def newly_ended(self) -> set[ProcessKey]:
        """Those that used the network and have ended since the last call."""
        ended, self._newly_ended = self._newly_ended, set()
        return ended

    def tick(self, now: datetime) -> list[ProcessChanged]:
        """Forget command lines and ends of processes that nothing more will come of; look again at cgroups of new ones.

        Tells the ends of those that were gone when they were first looked for, and whose own record has not come since:
        it was read with the tick at the latest, so it was lost, or forgotten again.
        """
        overdue, self._missing_longer, self._missing = self._missing_longer, self._missing, {}
        events = [event for key, since in overdue.items() for event in self._infer_exit(key, since)]
        while self._unsettled and now - self._unsettled[0][0] >= SETTLED_AFTER:
            events.extend(self._settled(self._unsettled.popleft()[1], now))
        while self._exits:
            key, ended = next(iter(self._exits.items()))
            if now - ended.at < EXITS_KEPT:
                break
            del self._exits[key]
            self._executed.pop(key, None)
        return events

    def check_alive(self, now: datetime) -> list[ProcessChanged]:
        """After lost events: whoever is not in /proc any more is told to have ended by now."""
        if self._describe is None:
            return []
        gone = [key for key in self._alive if self._described(key) is None]
        return [event for key in gone for event in self._infer_exit(key, now)]

    def _settled(self, key: ProcessKey, now: datetime) -> list[ProcessChanged]:
        known = self._alive.get(key)
        described = self._described(key) if known else None
        if known is None or described is None or described.cgroup is None:
            return []
        row = self._placed(known.row, Place(described.cgroup, described.service))
        if row == known.row:
            return []
        self._alive[key] = _Alive(row, known.named_ns)
        return [ProcessChanged(time=now, process=row)]

    def _placed(self, row: ProcessIdentity, place: Place | None) -> ProcessIdentity:
        """The row with where its process is now. A container is not left again: what tells less of it knows less."""
        if place is None:
            return row
        cgroup = row.cgroup if place.cgroup is None else place.cgroup
        if place.service == NONE or (place.service.container is None and row.container is not None):
            return replace(row, cgroup=cgroup)
        return replace(row, cgroup=cgroup, **self._services.fields(place.service))

    def _described(self, key: ProcessKey) -> Described | None:
        return None if self._describe is None else self._describe(key)

    def _infer_exit(self, key: ProcessKey, time: datetime) -> list[ProcessChanged]:
        if key not in self._alive:
            return []
        self._inferred.add(key)
        return self._exited(key, time, None)

    def _exited(self, key: ProcessKey, time: datetime, cgroups: CgroupIds | None) -> list[ProcessChanged]:
        _remember(self._exits, key, _Exit(time, cgroups), MAX_EXITS)
        known = self._alive.pop(key, None)
        if known is None:
            return []
        self._newly_ended.add(key)
        row = replace(self._placed(known.row, self._services.place_of(cgroups)), exited_at=time)
        self._keep_exited(key, row)
        return [ProcessChanged(time=time, process=row)]

    def _keep_exited(self, key: ProcessKey, row: ProcessIdentity) -> None:
        forgotten = _remember(self._exited_rows, key, row, MAX_EXITS)
        if forgotten is not None:
            self._inferred.discard(forgotten)

    def _revived(self, who: Sighting, ended: ProcessIdentity, time: datetime) -> list[ProcessChanged]:
        """An end that no record told is taken back where the process was named later than that."""
        key = who.key
        if key not in self._inferred or ended.exited_at is None or self._clock.wall(who.named_ns) <= ended.exited_at:
            return []
        self._inferred.remove(key)
        del self._exited_rows[key]
        self._exits.pop(key, None)
        self._newly_ended.discard(key)
        row = replace(ended, exited_at=None, comm=comm_text(who.comm), uid=who.uid, user=self._user_name(who.uid))
        self._alive[key] = _Alive(row, who.named_ns)
        return [ProcessChanged(time=time, process=row)]

    def _renamed(self, row: ProcessIdentity, executed: _Executed) -> ProcessIdentity:
        return replace(row, comm=executed.comm, uid=executed.uid, user=self._user_name(executed.uid))

    def _new_row(self, who: Sighting, netns: int, time: datetime) -> ProcessIdentity:
        key = who.key
        described = self._described(key)
        executed, ended = self._executed.get(key), self._exits.get(key)
        # /proc has no arguments of a process that is about to end, though the process is still there
        line = described.command_line if described else None
        if line is None or not line.arguments:
            line = executed.command_line if executed else None
        if self._describe is not None and described is None and ended is None:
            self._missing[key] = time
        if described is not None:
            self._unsettled.append((time, key))
        place = None if described is None else Place(described.cgroup, described.service)
        if place is None or place == NOWHERE:
            told = ended if ended is not None and ended.cgroups is not None else executed
            place = self._services.place_of(None if told is None else told.cgroups) or NOWHERE
        return ProcessIdentity(
            pid=key.pid,
            start_time=self._clock.wall_of_boot(key.start_boot_ns),
            comm=comm_text(who.comm),
            cmdline=line.arguments if line and line.arguments else None,
            cmdline_cut=line.cut if line else None,
            uid=who.uid,
            user=self._user_name(who.uid),
            parent_pid=described.parent_pid if described else None,
            cgroup=place.cgroup,
            netns=netns,
            netns_name=self._services.netns_name(netns),
            first_seen=time,
            exited_at=None if ended is None else ended.at,
            **self._services.fields(place.service),
        )


def _remember(table: OrderedDict[ProcessKey, _Value], key: ProcessKey, value: _Value, most: int) -> ProcessKey | None:
    """Returns what falls out. It costs no row: at most the command line or the end of a process seen much later."""
    table[key] = value
    return table.popitem(last=False)[0] if len(table) > most else None


def split_arguments(raw: bytes) -> tuple[str, ...]:
    """argv as the kernel keeps it, NUL after each argument; the last may be cut."""
    if not raw:
        return ()
    return tuple(map(printable, raw.removesuffix(b"\0").split(b"\0")))


def command_line(head: bytes, left_out: int | None = 0, tail: bytes = b"") -> CommandLine:
    """What is left of argv where so many bytes between head and tail are left out; None for an unknown number."""
    arguments = split_arguments(head)
    if left_out == 0:
        return CommandLine(arguments)
    mark = "[…]" if left_out is None else f"[… {left_out} bytes …]"
    return CommandLine((*arguments, mark, *split_arguments(tail.removeprefix(b"\0"))), len(arguments))
