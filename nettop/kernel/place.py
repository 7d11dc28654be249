"""Where nettop runs: on a host, or in a container, which limits what it can see."""

import os
import platform
from pathlib import Path

from nettop.errors import CannotRunError
from nettop.kernel.program import open_cgroup2

_PROC_PID_INIT_INO = 0xEFFFFFFC  # include/linux/proc_ns.h: the host's namespace of process ids
ROOT_CGROUP_INODE = 1  # fs/kernfs: the node without a parent


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


def where_to_get_privileges() -> str:
    """How to get the missing privileges."""
    if os.geteuid() != 0:
        return "Run it as root (sudo nettop), or give it these capabilities (see SECURITY.md)."
    return (
        "Root is restricted here, as in a container: run nettop on the host, or start the container with "
        "--privileged --pid=host --cgroupns=host."
    )
