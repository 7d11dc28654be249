"""What to watch: --pid, --comm, --netns, --unit and --container, resolved to the values that the kernel compares."""

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nettop.errors import UsageError
from nettop.kernel import abi
from nettop.model.services import cgroup_names, of_path, unit_cgroup_names

NETNS_DIRECTORY = Path("/run/netns")  # where ip-netns(8) keeps names
_NS_GET_NSTYPE, _CLONE_NEWNET = 0xB703, 0x40000000  # ioctl_ns(2)


@dataclass(frozen=True)
class Scope:
    """A process must match one value of every kind that is given. An empty scope matches everything.

    A process is in a unit or container if it is in its cgroup or below. `containers` are as they were given,
    `container_ids` those that they stand for.
    """

    MAX_ENTRIES: ClassVar[int] = 1024
    MAX_NAMES: ClassVar[int] = 16 * MAX_ENTRIES  # of cgroups: that of a container may have one of fifteen

    pids: tuple[int, ...] = ()
    comms: tuple[bytes, ...] = ()
    netns: tuple[int, ...] = ()  # inode numbers
    units: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    container_ids: frozenset[str] = frozenset()

    @property
    def by_process(self) -> bool:
        """Whether the decision depends on a socket's owner."""
        return bool(self.pids or self.comms or self.by_cgroup)

    @property
    def by_cgroup(self) -> bool:
        """Whether it depends on its owner's cgroup."""
        return bool(self.units or self.containers)

    def covers_process(self, pid: int, comm: bytes) -> bool:
        """Whether a process with this comm, which ends at its first NUL, is in scope, but for its cgroup."""
        if self.pids and pid not in self.pids:
            return False
        return not self.comms or comm.partition(b"\0")[0] in self.comms

    @property
    def cgroup_names(self) -> Mapping[str, int]:
        """What a cgroup of this name makes its processes be in: abi.IN_UNIT, IN_CONTAINER, or both."""
        of_units = {name: abi.IN_UNIT for unit in self.units for name in unit_cgroup_names(unit)}
        of_containers = {name: abi.IN_CONTAINER for each in self.container_ids for name in cgroup_names(each)}
        both = of_units.keys() & of_containers.keys()
        return {**of_units, **of_containers, **dict.fromkeys(both, abi.IN_UNIT | abi.IN_CONTAINER)}

    def kinds_of(self, path: str) -> int:
        """The same of a cgroup by its path, with all that it is below."""
        units = {name for unit in self.units for name in unit_cgroup_names(unit)}
        service = of_path(path)
        in_container = not self.container_ids.isdisjoint((*service.outer, service.container or ""))
        return abi.IN_UNIT * (not units.isdisjoint(path.split("/"))) | abi.IN_CONTAINER * in_container

    @property
    def cgroup_kinds(self) -> int:
        """Those of the two that a process must be in."""
        return abi.IN_UNIT * bool(self.units) | abi.IN_CONTAINER * bool(self.containers)


def netns_inode(name: str) -> int:
    """Inode number of a network namespace given as a name of ip-netns, a path, or a pid. Raises UsageError."""
    if name.isdecimal():
        path = Path("/proc") / name / "ns/net"
    elif "/" in name:
        path = Path(name)
    else:
        path = NETNS_DIRECTORY / name
    remedy = "Give a name from 'ip netns', a path like /proc/PID/ns/net, or the pid of a process inside."
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        problem = f"The network namespace '{name}' cannot be opened"
        if isinstance(error, FileNotFoundError):
            problem = f"There is no network namespace '{name}'"
        raise UsageError(f"{problem} ({path}: {error.strerror}).", remedy) from error
    try:
        entry = os.fstat(descriptor)
        if entry.st_dev != Path("/proc/self/ns/net").stat().st_dev:
            raise UsageError(f"'{name}' is not a network namespace: {path} is a file of another kind.", remedy)
        if fcntl.ioctl(descriptor, _NS_GET_NSTYPE) != _CLONE_NEWNET:
            raise UsageError(f"'{name}' is not a network namespace: {path} is a namespace of another type.", remedy)
    finally:
        os.close(descriptor)
    return entry.st_ino


def running_pid(pid: int) -> int:
    """The pid, if such a process runs. Raises UsageError, also for threads and zombies, which can never match."""
    remedy = "Give the pid of a running process; 'pgrep NAME' finds it."
    try:
        status = dict(
            line.partition(":\t")[::2]
            for line in Path(f"/proc/{pid}/status").read_text(errors="surrogateescape").splitlines()
        )
    except OSError:
        raise UsageError(f"There is no process {pid}.", remedy) from None
    if int(status["Tgid"]) != pid:  # /proc has threads too, but does not list them
        process = status["Tgid"]
        raise UsageError(f"{pid} is a thread of process {process}.", f"Give the process: --pid {process}.")
    if status["State"].startswith("Z") and int(status["Threads"]) <= 1:
        raise UsageError(f"Process {pid} is a zombie: it has ended, but its parent has not reaped it yet.", remedy)
    return pid


def comm_running(comm: str) -> bool:
    """Whether a process with this name (of its main thread) runs now."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if (process / "comm").read_bytes().removesuffix(b"\n") == os.fsencode(comm):
                    return True
            except OSError:
                continue
    return False
