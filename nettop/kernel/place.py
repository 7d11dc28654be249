"""Where nettop runs: on a host, or in a container, which limits what it can see; and what the kernel forbids to all."""

import errno
import os
import platform
import shutil
import struct
import sys
from pathlib import Path

from nettop.errors import CannotRunError
from nettop.kernel import syscalls
from nettop.kernel.program import open_cgroup2

_PROC_PID_INIT_INO = 0xEFFFFFFC  # include/linux/proc_ns.h: the host's namespace of process ids
ROOT_CGROUP_INODE = 1  # fs/kernfs: the node without a parent
_RAW_TRACEPOINT = 17  # BPF_PROG_TYPE_RAW_TRACEPOINT, include/uapi/linux/bpf.h
# bpf_probe_read_kernel(stack, 8, NULL); return 0;
_READS_KERNEL_MEMORY = b"".join(
    struct.pack("<BBhi", *instruction)
    for instruction in (
        (0xBF, 0xA1, 0, 0),  # r1 = r10
        (0x07, 0x01, 0, -8),  # r1 += -8
        (0xB7, 0x02, 0, 8),  # r2 = 8
        (0xB7, 0x03, 0, 0),  # r3 = 0
        (0x85, 0x00, 0, 113),  # call bpf_probe_read_kernel
        (0xB7, 0x00, 0, 0),  # r0 = 0
        (0x95, 0x00, 0, 0),  # exit
    )
)


def has_host_pids() -> bool:
    """Whether process ids here are the host's, as the kernel programs see them."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino == _PROC_PID_INIT_INO
    except FileNotFoundError:  # no /proc, or a kernel without such namespaces
        return True


def confinement() -> str | None:
    """What nettop cannot see because it runs in a container, as a sentence; None if it sees everything.

    Raises CannotRunError if there is no cgroup2.
    """
    limits = []
    cgroup = open_cgroup2()
    try:
        if os.fstat(cgroup).st_ino != ROOT_CGROUP_INODE:
            limits.append("only its own DNS and UDP traffic is visible (--cgroupns=host shows the host's)")
    finally:
        os.close(cgroup)
    if not has_host_pids():
        limits.append("process ids are the host's, and little but process names is known (--pid=host shows more)")
    return f"this is a container: {'; '.join(limits)}." if limits else None


def require_linux() -> None:
    """Raise CannotRunError on WSL 1, which only imitates a Linux kernel."""
    if "Microsoft" in platform.release():  # WSL 2 has a real one and writes "microsoft"
        raise CannotRunError(
            "This is WSL 1, which has no Linux kernel.",
            "Move the distribution to WSL 2; in Windows: wsl --set-version NAME 2.",
        )


def require_readable_kernel() -> None:
    """Raise CannotRunError where BPF programs may not read the kernel's memory, which nettop needs at every hook.

    kernel_lockdown(7) forbids it in the mode confidentiality, to root too. It is tried, because where that mode can be
    read need not be mounted. Call it with the privilege to load programs.
    """
    try:
        os.close(syscalls.load_program("nettop_trial", _RAW_TRACEPOINT, 0, 0, _READS_KERNEL_MEMORY))
    except OSError as error:
        if error.errno == errno.EINVAL:  # security/security.c, kernel/trace/bpf_trace.c: the helper is not there
            raise CannotRunError(
                "This kernel is locked down for confidentiality: nobody may read its memory, not even root.",
                "Boot with lockdown=integrity, with which nettop works, instead of lockdown=confidentiality.",
            ) from error


def where_to_get_privileges() -> str:
    """How to get the missing privileges."""
    if os.geteuid() != 0:
        return f"Run it as root (sudo {_own_name()}), or give it these capabilities (see SECURITY.md)."
    return (
        "Root is restricted here, as in a container: run nettop on the host, or start the container with "
        "--privileged --pid=host --cgroupns=host."
    )


def _own_name() -> str:
    """What starts this nettop again: the path by which it was called, if its name alone would find none or another."""
    called, found = sys.argv[0], shutil.which("nettop")
    if not Path(called).name.startswith("nettop") or (found and os.path.realpath(found) == os.path.realpath(called)):
        return "nettop"  # also for python -m nettop
    return called
