"""What a guest is really like. A setting that does not take effect must fail, or its case would pass as a plain one."""

import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from nettop.kernel import syscalls
from nettop.kernel.btf import VMLINUX
from tests.kernels.ahead import MPTCP
from tests.kernels.settings import Conditions

_CPUS = Path("/sys/devices/system/cpu")
_MOUNTS = Path("/proc/self/mounts")
_CONNTRACK = Path("/proc/sys/net/netfilter/nf_conntrack_max")
_LARGE_PAGES = "16k"  # how the release of a kernel ends that has them


def not_as_wanted(wanted: Conditions) -> Iterator[str]:
    """In the guest: what is not as its setting, and its kernel's name, would have it, in sentences."""
    for name, here in found()._asdict().items():
        if (there := getattr(wanted, name)) not in (None, here):
            yield f"This guest is not what its case says: {name} should be {there}, and is {here}."
    pages = 16_384 if platform.release().endswith(_LARGE_PAGES) else 4096
    if (here := os.sysconf("SC_PAGE_SIZE")) != pages:
        yield f"This guest is not what its case says: pages should have {pages} bytes, and have {here}."


def found() -> Conditions:
    """In the guest."""
    mounted = {kind for _, _, kind, *_ in map(str.split, _MOUNTS.read_text().splitlines())}
    types = VMLINUX.read_bytes() if VMLINUX.exists() else None
    return Conditions(
        cpus=_count(_CPUS / "online"),
        possible_cpus=_count(_CPUS / "possible"),
        cgroups=tuple(sorted(mounted & {"cgroup", "cgroup2"})),
        lockdown=_lockdown(),
        conntrack=_CONNTRACK.exists(),
        btf=types is not None,
        mptcp=types is not None and MPTCP in types,
    )


def _count(file: Path) -> int:
    """Of a list like "0-3", or "0"."""
    numbers = [int(number) for number in re.findall(r"\d+", file.read_text())]
    return max(numbers) - min(numbers) + 1


def _lockdown() -> str:
    """The mode, from a file system that no guest has mounted."""
    try:
        root = syscalls.mount("securityfs")
    except OSError:
        return "none"
    try:
        with open("lockdown", opener=lambda name, flags: os.open(name, flags, dir_fd=root)) as file:
            return file.read().partition("[")[2].partition("]")[0]
    except FileNotFoundError:
        return "none"
    finally:
        os.close(root)
