"""How nettop shuts itself in once it has attached: what it does not need from then on, the kernel refuses it.

Whoever finds a way to run code in nettop, through what a packet or a process says, then has no socket, no other program
and no file but those that nettop works with. Two mechanisms of the kernel, each as far as it is there: a seccomp filter
for system calls (Documentation/userspace-api/seccomp_filter.rst), Landlock for files, TCP and signals
(Documentation/userspace-api/landlock.rst). Neither can be taken off again.
"""

import ctypes
import errno
import os
import signal
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from nettop.kernel import syscalls


def shut_in(
    writable: Iterable[Path],
    readable: Iterable[Path | int] = (),
    signals: bool = False,
    listening: int | None = None,
    probes: bool = False,
) -> None:
    """Shut this thread and all that it starts in, for good; the filter takes in those that run already.

    `writable`: directories below which files may be made and written; `/` and what is not there count for nothing.
    `readable`: what may be read beside the system's and nettop's own files, and /proc; an int is a directory's
    descriptor. With `signals` other processes may be sent SIGTERM and SIGKILL, by pidfd_send_signal(2) and in no other
    way. `listening` is the descriptor of a socket on which connections are still accepted. With `probes` programs that
    are loaded may be attached to more files. Needs no_new_privs (give_up_privileges) or CAP_SYS_ADMIN. Raises OSError.
    """
    version = syscalls.landlock_version()
    if version:
        files = {path for path in writable if not _is_root(path)}
        _restrict_files(version, files, {*readable, *_SYSTEM, *_code()}, signals)
    os.umask(_OWNER_ONLY)  # the filter refuses fchmod()
    _filter_calls(_refused(signals, listening, probes))


# Landlock

# include/uapi/linux/landlock.h
_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 7, 1 << 8
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _TRUNCATE
_TERMINAL = _READ_FILE | _WRITE_FILE | _IOCTL_DEV
_NO_DIRECTORY = _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
# By the version that brought them, how many kinds of access there are to files; to TCP, 2; of reach, 2
_FILE_RIGHTS = ((5, 16), (3, 15), (2, 14), (1, 13))
TCP_SINCE, SCOPED_SINCE = 4, 6
_ABSTRACT_SOCKETS, _BOTH = 1, 3  # BIND_TCP and CONNECT_TCP; ABSTRACT_UNIX_SOCKET and SIGNAL

# What Python and the libraries read when they need it: modules, locales, time zones, terminals; and what nettop does.
_SYSTEM = tuple(
    map(
        Path,
        (
            "/proc", "/sys", "/usr", "/lib", "/lib64", "/run/netns", "/dev/null", "/dev/urandom",
            "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/localtime", "/etc/timezone", "/etc/terminfo",
            "/etc/ld.so.cache", "/etc/os-release", "/etc/machine-id",
        ),
    )
)  # fmt: skip
_TERMINALS = (Path("/dev/tty"), Path("/dev/pts"))


def _restrict_files(version: int, writable: Iterable[Path], readable: Iterable[Path | int], signals: bool) -> None:
    rights = next(number for since, number in _FILE_RIGHTS if version >= since)
    handled = (1 << rights) - 1
    of_tcp = _BOTH * (version >= TCP_SINCE)
    scoped = (_ABSTRACT_SOCKETS if signals else _BOTH) * (version >= SCOPED_SINCE)
    ruleset = syscalls.landlock_ruleset(handled, of_tcp, scoped)
    try:
        for paths, allowed in ((readable, _READ), (writable, _WRITE), (_TERMINALS, _TERMINAL)):
            for path in paths:
                _allow(ruleset, path, allowed & handled)
        syscalls.landlock_restrict(ruleset)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, place: Path | int, allowed: int) -> None:
    try:
        opened = os.dup(place) if isinstance(place, int) else os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # it is not there, or out of this user's reach
        return
    try:
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            allowed &= _NO_DIRECTORY
        syscalls.landlock_allow(ruleset, opened, allowed)
    finally:
        os.close(opened)


def _is_root(path: Path) -> bool:
    """Where it was started in `/`, everything would lie below."""
    with suppress(OSError):
        return path.samefile("/")
    return False


def _code() -> Iterator[Path]:
    """Where Python finds what it may import later."""
    yield Path(__file__).parents[1]
    yield from (Path(entry) for entry in sys.path if entry)
    yield from map(Path, sysconfig.get_paths().values())


def places_of_the_user(home: Path) -> tuple[Path, ...]:
    """Where a person may want to have a file without having said so at the start."""
    return Path(), home, Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")  # noqa: S108


# The filter of system calls

_LIBRARY = "libseccomp.so.2"
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # SCMP_ACT_*, seccomp.h of libseccomp
_TSYNC = 4  # SCMP_FLTATR_CTL_TSYNC: for all threads
_NE, _LT, _EQ, _GE, _GT, _MASKED_EQ = 1, 2, 4, 5, 6, 7  # SCMP_CMP_*
_LOW = 0xFFFF_FFFF
_CLONE_THREAD, _TIOCSTI, _TIOCLINUX = 0x0001_0000, 0x5412, 0x541C


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


class _Refused(NamedTuple):
    """A system call that is refused; where there are comparisons, if all of them hold."""

    name: str
    comparisons: tuple[tuple[int, int, int, int], ...] = ()
    error: int = errno.EPERM


_ALWAYS = (
    # sockets; those of socketpair() lead nowhere without an address, and Python's event loop needs them
    "socket", "connect", "bind", "listen", "accept", "sendmsg", "sendmmsg",
    # io_uring does what it is told past any filter
    "io_uring_setup", "io_uring_enter", "io_uring_register",
    # other programs and other processes
    "execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "tkill",
    "rt_sigqueueinfo", "rt_tgsigqueueinfo", "kcmp", "setpriority", "ioprio_set", "sched_setscheduler", "sched_setparam",
    "sched_setattr", "sched_setaffinity", "migrate_pages", "move_pages", "process_madvise", "process_mrelease",
    # what Landlock does not know of files
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat", "utime", "utimes", "utimensat",
    "futimesat", "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr",
    "removexattrat", "file_setattr",
    # the shape of the machine
    "mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig", "fspick", "mount_setattr",
    "pivot_root", "chroot", "unshare", "setns", "init_module", "finit_module", "delete_module", "kexec_load",
    "kexec_file_load", "reboot", "swapon", "swapoff", "add_key", "request_key", "keyctl", "perf_event_open",
    "userfaultfd", "personality", "acct", "quotactl", "syslog", "open_by_handle_at",
)  # fmt: skip
# enum bpf_cmd: to look up, change, remove and go through elements, to run a program (the pass over the sockets) and an
# iterator, and what is told of nettop's own programs and maps
_BPF_ALLOWED = {1, 2, 3, 4, 10, 15, 21, 24, 33}
_BPF_LINK_CREATE, _BPF_UNKNOWN_FROM = 28, max(_BPF_ALLOWED) + 1
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX = 8, 10, 15  # to whom signals go, include/uapi/asm-generic/fcntl.h
_OWNER_ONLY = 0o077


def _refused(signals: bool, listening: int | None, probes: bool) -> Iterator[_Refused]:
    yield from map(_Refused, _ALWAYS)
    # on any socket but one, if there is one
    yield _Refused("accept4", () if listening is None else ((0, _NE, listening, 0),))
    if signals:
        # one comparison a rule: older versions of libseccomp take no two of the same argument
        yield _Refused("pidfd_send_signal", ((1, _LT, signal.SIGKILL, 0),))
        yield _Refused("pidfd_send_signal", ((1, _GT, signal.SIGTERM, 0),))
        for number in range(signal.SIGKILL + 1, signal.SIGTERM):
            yield _Refused("pidfd_send_signal", ((1, _EQ, number, 0),))
    else:
        yield from map(_Refused, ("pidfd_open", "pidfd_send_signal"))
    yield _Refused("clone", ((0, _MASKED_EQ, _CLONE_THREAD, 0),))  # a process, and no thread
    yield _Refused("clone3", error=errno.ENOSYS)  # its flags lie in memory: glibc then takes clone()
    for call in ("kill", "tgkill"):
        yield _Refused(call, ((0, _NE, os.getpid(), 0),))
    for request in (_TIOCSTI, _TIOCLINUX):  # to type into the terminal, where a shell reads later
        yield _Refused("ioctl", ((1, _MASKED_EQ, _LOW, request),))
    yield _Refused("sendto", ((4, _NE, 0, 0),))  # to an address
    yield _Refused("prlimit64", ((2, _NE, 0, 0),))  # to set one, whosever it is
    for command in (_F_SETOWN, _F_SETSIG, _F_SETOWN_EX):
        yield _Refused("fcntl", ((1, _MASKED_EQ, _LOW, command),))
    allowed = _BPF_ALLOWED | {_BPF_LINK_CREATE} if probes else _BPF_ALLOWED
    for command in sorted(set(range(_BPF_UNKNOWN_FROM)) - allowed):
        yield _Refused("bpf", ((0, _EQ, command, 0),))
    yield _Refused("bpf", ((0, _GE, _BPF_UNKNOWN_FROM, 0),))


def has_seccomp() -> bool:
    """Whether there is the library that makes filters of system calls, and a kernel that takes them."""
    with suppress(OSError):
        return bool(ctypes.CDLL(_LIBRARY)) and Path("/proc/sys/kernel/seccomp").is_dir()
    return False


def _filter_calls(refused: Iterable[_Refused]) -> None:
    if not has_seccomp():
        return
    library = ctypes.CDLL(_LIBRARY)
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_release.argtypes = library.seccomp_load.argtypes = (ctypes.c_void_p,)
    library.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
    library.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Comparison),
    )  # fmt: skip
    context = library.seccomp_init(_ALLOW)
    try:
        _succeed(library.seccomp_attr_set(context, _TSYNC, 1))
        for name, comparisons, error in refused:
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number == -1:  # libseccomp is older than the call
                continue
            array = (_Comparison * len(comparisons))(*(_Comparison(*each) for each in comparisons))
            # of a call that this processor does not have, libseccomp keeps nothing
            _succeed(library.seccomp_rule_add_array(context, _ERRNO | error, number, len(comparisons), array))
        _succeed(library.seccomp_load(context))
    finally:
        library.seccomp_release(context)


def _succeed(result: int) -> None:
    """Of libseccomp, which returns a negative errno."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
