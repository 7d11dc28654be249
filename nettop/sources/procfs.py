"""What /proc, the user database and uname say: of a process while it lives, and of this host."""

import os
import platform
import pwd
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

from nettop.kernel import syscalls
from nettop.kernel.abi import ProcessKey
from nettop.model.rows import Host
from nettop.text import printable
from nettop.tracking.clock import TimeNamespace
from nettop.tracking.processes import Described, split_arguments

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_COMMAND_LINE_BYTES = 4096  # more than anyone reads; some programs carry megabytes
_CLOCK_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_START_TIME_FIELD, _PARENT_FIELD = 19, 1  # after the name, proc_pid_stat(5) fields 22 and 4


def open_proc() -> int:
    """A descriptor of /proc, or of a mount of our own where that hides other users' processes (hidepid, proc(5)).

    Seeing them there would take CAP_SYS_PTRACE, which can do anything to them.
    """
    with suppress(OSError):
        if _hides_processes(Path("/proc/self/mounts").read_text()):
            return syscalls.mount("proc")
    return os.open("/proc", _DIRECTORY)


def _hides_processes(mounts: str) -> bool:
    options = [line.split(" ")[3].split(",") for line in mounts.splitlines() if line.split(" ")[1] == "/proc"]
    return bool(options) and any(
        option.startswith("hidepid=") and option not in ("hidepid=0", "hidepid=off") for option in options[-1]
    )


def describe(proc: int, key: ProcessKey) -> Described | None:
    """A living process, from this descriptor of /proc; None if it is gone, or if the pid now belongs to another."""
    try:
        directory = os.open(str(key.pid), _DIRECTORY, dir_fd=proc)
    except OSError:
        return None
    try:
        fields = _read(directory, "stat").rpartition(b")")[2].split()
        # The kernel gives the start here in clock ticks only, rounded down, and as this time namespace sees it.
        if int(fields[_START_TIME_FIELD]) != (key.start_boot_ns + time_namespace().boot_ns) // _CLOCK_TICK_NS:
            return None
        return Described(
            cmdline=split_arguments(_read(directory, "cmdline")),
            parent_pid=int(fields[_PARENT_FIELD]),
            cgroup=_cgroup2_path(_read(directory, "cgroup")),
        )
    except (OSError, IndexError):
        return None
    finally:
        os.close(directory)


@cache
def time_namespace() -> TimeNamespace:
    """The clocks of this process beside the kernel's own."""
    shift = {"monotonic": 0, "boottime": 0}
    with suppress(OSError):  # Linux before 5.6 has no time namespaces
        if Path("/proc/self/ns/time").readlink() != Path("/proc/self/ns/time_for_children").readlink():
            return TimeNamespace()  # unshared but not entered: the file below speaks of children
        for line in Path("/proc/self/timens_offsets").read_text().splitlines():
            name, seconds, nanoseconds = line.split()
            shift[name] = int(seconds) * 1_000_000_000 + int(nanoseconds)
    return TimeNamespace(shift["monotonic"], shift["boottime"])


@lru_cache(maxsize=1024)
def user_name(uid: int) -> str | None:
    """The user's name; None if the user database has none."""
    try:
        return printable(os.fsencode(pwd.getpwuid(uid).pw_name))
    except KeyError:
        return None


def this_host() -> Host:
    """The machine that nettop runs on."""
    try:
        boot_id: str | None = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot_id = None
    return Host(
        name=printable(os.fsencode(platform.node())),
        kernel=platform.release(),
        arch=platform.machine(),
        boot_id=boot_id,
    )


def _read(directory: int, name: str) -> bytes:
    file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(file, _COMMAND_LINE_BYTES)
    finally:
        os.close(file)


def _cgroup2_path(raw: bytes) -> str | None:
    for line in raw.splitlines():
        if line.startswith(b"0::"):
            return printable(line[3:])
    return None
