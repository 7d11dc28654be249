"""The privileges that attaching needs, and how nettop drops all of them once it has attached."""

import ctypes
import os
import pwd
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nettop.errors import CannotRunError
from nettop.invoker import invoking_user
from nettop.kernel.place import require_linux, require_readable_kernel, where_to_get_privileges


class Capability(NamedTuple):
    """One of capabilities(7): its number, and what nettop needs it to do."""

    name: str
    number: int
    need: str


# include/uapi/linux/capability.h
_BPF = Capability("CAP_BPF", 39, "create BPF maps and load programs")
_PERFMON = Capability("CAP_PERFMON", 38, "load programs that trace and read kernel memory")
_NET_ADMIN = Capability("CAP_NET_ADMIN", 12, "load programs that see packets")
_SYS_ADMIN = Capability("CAP_SYS_ADMIN", 21, "do all of this where CAP_BPF and CAP_PERFMON are not separate from it")
KILL = Capability("CAP_KILL", 5, "end processes of others (--allow-cut)")
_SETGID, _SETUID, _SETPCAP = 6, 7, 8
ATTACHING = (_BPF, _PERFMON, _NET_ADMIN)

# libcap-ng's cap-ng.h
_ADD = 1
_EFFECTIVE, _PERMITTED = 1, 2
_SELECT_CAPS, _SELECT_ALL = 16, 16 | 32 | 64
_CLEAR_BOUNDING, _INIT_GROUPS, _CLEAR_AMBIENT = 2, 4, 8
_NO_NEW_PRIVS = 38  # prctl(2)


def holds(capability: Capability) -> bool:
    """Whether this process has it; CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON."""
    held = _held("CapEff")
    if capability in (_BPF, _PERFMON) and held >> _SYS_ADMIN.number & 1:
        return True
    return bool(held >> capability.number & 1)


def require_privileges() -> None:
    """Raise CannotRunError naming every missing capability, or a problem that no capability would solve."""
    require_linux()
    missing = [capability.name for capability in ATTACHING if not holds(capability)]
    if missing:
        raise CannotRunError(
            f"nettop is not allowed to watch the network here: it lacks {', '.join(missing)}.",
            where_to_get_privileges(),
        )
    require_readable_kernel()


def give_up_privileges(
    reads: Callable[[], object],
    written_to: Path | None,
    of_root: Collection[Path] = (),
    kept: Collection[Capability] = (),
) -> None:
    """Drop every privilege that `reads` does not need, for good, and become the user who ran sudo, if any, or nobody.

    But for those that are to be `kept`, as far as they are held.

    nettop reads through descriptors that are open, so it needs no capability at all, or CAP_BPF before Linux 5.19. Call
    this before there are other threads: each has capabilities of its own. `written_to` is the directory for files, if
    there will be any. A user who may not write there or read nettop's own files, as in a shell of root's, is not
    switched to: nettop stays root, without capabilities. Raises CannotRunError.

    The order: no_new_privs first, because it takes no capability and makes the bounding set harmless where that cannot
    be cleared. One capability stays permitted but not effective, in case `reads` needs it: what has been dropped
    cannot come back. Whether the user may read and write is tried while nettop can still act as the user and return;
    then the user, the groups and the sets change in one step of libcap-ng, which needs CAP_SETUID until its end. Only
    now, as the user without a capability, does `reads` show whether the kept one is needed; if not, the last step drops
    it too.
    """
    library = libcap_ng()
    wanted = _BPF if _held("CapPrm") >> _BPF.number & 1 else _SYS_ADMIN
    held = wanted.number if _held("CapPrm") >> wanted.number & 1 else None
    _succeed(ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))))
    library.capng_clear(_SELECT_ALL)
    if held is not None:
        _succeed(library.capng_update(_ADD, _PERMITTED, held))
    for capability in kept:
        if _held("CapPrm") >> capability.number & 1:
            _succeed(library.capng_update(_ADD, _PERMITTED | _EFFECTIVE, capability.number))
    user = _user_to_become(written_to, of_root)
    if user is not None:
        _succeed(library.capng_change_id(*user, _CLEAR_BOUNDING | _INIT_GROUPS | _CLEAR_AMBIENT))
    else:
        # Without CAP_SETPCAP the bounding set stays, but no_new_privs makes it meaningless.
        _succeed(library.capng_apply(_SELECT_ALL if _held("CapPrm") >> _SETPCAP & 1 else _SELECT_CAPS))
    library.capng_clear(_SELECT_CAPS)
    for capability in kept:
        if _held("CapPrm") >> capability.number & 1:
            _succeed(library.capng_update(_ADD, _PERMITTED | _EFFECTIVE, capability.number))
    try:
        reads()
    except PermissionError:
        if held is not None:
            _succeed(library.capng_update(_ADD, _PERMITTED | _EFFECTIVE, held))
    _succeed(library.capng_apply(_SELECT_CAPS))


def libcap_ng() -> ctypes.CDLL:
    """libcap-ng, which comes with util-linux because setpriv(1) uses it. Raises CannotRunError."""
    try:
        return ctypes.CDLL("libcap-ng.so.0", use_errno=True)
    except OSError as error:
        raise CannotRunError(
            f"nettop cannot drop its privileges: {error}.",
            "Install the distribution's package: libcap-ng0 (Debian, Ubuntu), libcap-ng (Fedora, Arch).",
        ) from error


def _succeed(result: int) -> None:
    if result < 0:
        raise CannotRunError(
            f"nettop could not drop its privileges: {os.strerror(ctypes.get_errno())}.",
            "This is a bug: please report it with the output of 'nettop doctor'.",
        )


def _held(which: str) -> int:
    status = Path("/proc/thread-self/status").read_text()
    return int(status.partition(f"{which}:")[2].split()[0], 16)


def _user_to_become(written_to: Path | None, of_root: Collection[Path]) -> tuple[int, int] | None:
    user = invoking_user()
    may = _held("CapEff") >> _SETUID & _held("CapEff") >> _SETGID & 1
    if os.geteuid() != 0 or not may:
        return None
    package = Path(__file__).parent.parent
    needed = [package, *(Path(entry) for entry in sys.path if Path(entry).is_dir())]
    try:
        if user is None and written_to is None:
            nobody = pwd.getpwnam("nobody")
            user = nobody.pw_uid, nobody.pw_gid
            needed += filter(Path.exists, of_root)
        if user is None or user[0] == 0:
            return None
        name = pwd.getpwuid(user[0]).pw_name
    except KeyError:  # no user has this uid or name
        return None
    with _acting_as(name, *user):
        reads = all(os.access(directory, os.R_OK | os.X_OK, effective_ids=True) for directory in needed)
        writes = written_to is None or os.access(written_to, os.W_OK | os.X_OK, effective_ids=True)
    return user if reads and writes else None


@contextmanager
def _acting_as(name: str, uid: int, gid: int) -> Iterator[None]:
    groups: Collection[int] = os.getgroups()
    group = os.getegid()
    try:
        os.initgroups(name, gid)
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(list(groups))
