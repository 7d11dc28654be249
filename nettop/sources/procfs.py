"""What /proc, /etc/passwd and uname say about a living process and about this host."""

import os
import platform
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

from nettop.kernel import syscalls
from nettop.kernel.abi import ProcessKey
from nettop.kernel.cgroups import CONTROLLER
from nettop.model.rows import Host
from nettop.model.services import Service, of_paths
from nettop.text import printable
from nettop.tracking.clock import TimeNamespace
from nettop.tracking.processes import CommandLine, Described, command_line

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_HEAD_BYTES, _TAIL_BYTES = 3072, 1024  # of a command line: more than anyone reads; some hold megabytes
_MAX_COMMAND_LINE_BYTES = 8 << 20  # the kernel accepts 6 MB: three quarters of _STK_LIM, fs/exec.c
_MAX_FILE_BYTES = 64 << 10  # of other files: a cgroup's path may be long and come after many lines
_PASSWD = Path("/etc/passwd")
_MAX_PASSWD_BYTES = 16 << 20  # 200,000 users
_CLOCK_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_START_TIME_FIELD, _PARENT_FIELD = 19, 1  # after the name, proc_pid_stat(5) fields 22 and 4


def open_proc() -> int:
    """A descriptor of /proc, or of a private mount if /proc hides other users' processes (hidepid, proc(5)).

    Seeing them in /proc would need CAP_SYS_PTRACE, which gives full control over them.
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


def shows_pids(proc: int) -> bool:
    """Whether this /proc works for nettop: it contains this process."""
    return os.access(f"{os.getpid()}/stat", os.R_OK, dir_fd=proc)


def describe(proc: int, key: ProcessKey) -> Described | None:
    """A living process, read from this descriptor of /proc; None if it is gone or its pid has been reused."""
    try:
        directory = os.open(str(key.pid), _DIRECTORY, dir_fd=proc)
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError:
        return _UNREADABLE
    try:
        fields = _read(directory, "stat").rpartition(b")")[2].split()
        # Here the kernel gives the start only in clock ticks, rounded down, on this time namespace's clock.
        if int(fields[_START_TIME_FIELD]) != (key.start_boot_ns + time_namespace().boot_ns) // _CLOCK_TICK_NS:
            return None
        cgroup, service = _belonging(_read(directory, "cgroup"))
        return Described(_command_line(directory), int(fields[_PARENT_FIELD]), cgroup, service)
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None
    except OSError:
        return _UNREADABLE
    finally:
        os.close(directory)


_UNREADABLE = Described(CommandLine(()), None, None)  # unreadable does not mean gone


@cache
def time_namespace() -> TimeNamespace:
    """The offsets of this process's clocks from the kernel's own."""
    shift = {"monotonic": 0, "boottime": 0}
    with suppress(OSError):  # Linux before 5.6 has no time namespaces
        if Path("/proc/self/ns/time").readlink() != Path("/proc/self/ns/time_for_children").readlink():
            return TimeNamespace()  # unshared but not entered: the file below is about children
        for line in Path("/proc/self/timens_offsets").read_text().splitlines():
            name, seconds, nanoseconds = line.split()
            shift[name] = int(seconds) * 1_000_000_000 + int(nanoseconds)
    return TimeNamespace(shift["monotonic"], shift["boottime"])


class UserNames:
    """User names from the current /etc/passwd.

    The C library would query all that nsswitch.conf names, even over the network, and hang during the very incident.
    """

    def __init__(self, path: Path = _PASSWD) -> None:
        self._path = path
        self._read_as: tuple[int, ...] = ()
        self._names: dict[int, str] = {}

    def __call__(self, uid: int) -> str | None:
        """The user's name; None if the file has none."""
        try:
            status = self._path.stat()
        except OSError:
            return self._names.get(uid)
        version = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        if version != self._read_as:
            self._read_as = version
            with suppress(OSError), self._path.open("rb") as file:
                self._names = _users(file.read(_MAX_PASSWD_BYTES))
        return self._names.get(uid)


def _users(text: bytes) -> dict[int, str]:
    """Parse passwd(5). If a uid has several names, the first one counts, as in getpwuid(3)."""
    names: dict[int, str] = {}
    for line in text.splitlines():
        fields = line.split(b":")
        if len(fields) > 2 and fields[0] and fields[2].isdigit():
            names.setdefault(int(fields[2][:10]), printable(fields[0]))
    return names


def _id_in(path: str) -> str | None:
    """None where it is not there, or not set yet: `uninitialized` at the first boot of an image."""
    try:
        text = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if re.fullmatch(r"[0-9a-f-]{32,36}", text) else None


def this_host() -> Host:
    """The machine that nettop runs on."""
    return Host(
        name=printable(os.fsencode(platform.node())),
        kernel=platform.release(),
        arch=platform.machine(),
        boot_id=_id_in("/proc/sys/kernel/random/boot_id"),
        id=_id_in("/etc/machine-id"),
    )


def _command_line(directory: int) -> CommandLine:
    """All of it, or its start and its end: the last arguments are often the ones that matter."""
    file = os.open("cmdline", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        head = os.read(file, _HEAD_BYTES + _TAIL_BYTES)
        if len(head) < _HEAD_BYTES + _TAIL_BYTES:
            return command_line(head)
        length = _length(file, len(head))
        if length == len(head):  # all of it, or the process has just gone
            return command_line(head, 0 if head.endswith(b"\0") else None)
        tail = os.pread(file, _TAIL_BYTES, max(length - _TAIL_BYTES, _HEAD_BYTES))
        return command_line(head[:_HEAD_BYTES], length - _HEAD_BYTES - len(tail), tail)
    finally:
        os.close(file)


def _length(file: int, known: int) -> int:
    """Found by bisection: /proc tells no sizes, and reading it all takes a hundred times as long."""
    least, most = known, _MAX_COMMAND_LINE_BYTES
    while least < most:
        middle = (least + most) // 2
        if os.pread(file, 1, middle):
            least = middle + 1
        else:
            most = middle
    return least


def _read(directory: int, name: str) -> bytes:
    file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        content = b""
        while len(content) < _MAX_FILE_BYTES and (more := os.read(file, _MAX_FILE_BYTES - len(content))):
            content += more
        return content
    finally:
        os.close(file)


# Of cgroup v1 what says most, first. systemd keeps its units in a hierarchy of that name, without a controller.
_HIERARCHIES = (b"", b"name=systemd", CONTROLLER.encode())


def _belonging(raw: bytes) -> tuple[str | None, Service]:
    """From /proc/PID/cgroup (cgroups(7)) the path in cgroup2, and whose process it is by all of its paths."""
    paths: dict[bytes, str] = {}
    for line in raw.splitlines():
        hierarchy, _, rest = line.partition(b":")
        controllers, colon, path = rest.partition(b":")
        if colon:
            for controller in (b"",) if hierarchy == b"0" else controllers.split(b","):
                paths[controller] = printable(path)
    first = [paths[name] for name in _HIERARCHIES if name in paths]
    return paths.get(b""), of_paths((*first, *(path for name, path in paths.items() if name not in _HIERARCHIES)))
