"""Whether a watched program survives that nettop sees a function of it return.

Since Linux 6.11 a function with such a probe returns through a system call of its own on x86-64, which the seccomp
filter of a sandboxed program does not know and may kill it for (systemd/systemd#34615). Later kernels ask no filter. So
it is tried, in a child process, whether this one does.
"""

import ctypes
import errno
import os
import platform
import resource
import signal
import struct

from nettop.kernel.syscalls import die_with

_URETPROBE = 335  # arch/x86/entry/syscalls/syscall_64.tbl
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_REFUSE = 0x0005_0000 | errno.EPERM  # SECCOMP_RET_ERRNO, include/uapi/linux/seccomp.h
_ALLOW = 0x7FFF_0000
_REFUSING = (  # struct sock_filter, include/uapi/linux/filter.h
    (0x20, 0, 0, 0),  # load seccomp_data.nr
    (0x15, 0, 1, _URETPROBE),
    (0x06, 0, 0, _REFUSE),
    (0x06, 0, 0, _ALLOW),
)


def are_harmless() -> bool:
    """Whether no seccomp filter sees a function return that is watched. Call this before there are other threads."""
    if platform.machine() != "x86_64":
        return True  # a breakpoint
    plain = _outcome(filtered=False)
    if plain == errno.ENOSYS:
        return True  # before Linux 6.11: a breakpoint too
    return plain == -signal.SIGILL == _outcome(filtered=True)


def _outcome(*, filtered: bool) -> int:
    """What becomes of a child that makes the call where it has no right to: the negative signal, or the errno."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            die_with(parent)
            os._exit(_call(filtered))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _call(filtered: bool) -> int:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGILL, signal.SIG_DFL)
    libc = ctypes.CDLL(None, use_errno=True)
    if filtered:
        code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *each) for each in _REFUSING))
        program = ctypes.create_string_buffer(struct.pack("<H6xQ", len(_REFUSING), ctypes.addressof(code)))
        libc.prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0)))
        if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), program):
            return 0  # no filters here: unknown
    libc.syscall(_URETPROBE)
    return ctypes.get_errno()
