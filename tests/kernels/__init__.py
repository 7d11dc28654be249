"""nettop on other kernels, each in a virtual machine of its own; see matrix.py."""

import platform
import re

PATIENCE_S = 240.0  # for an emulated machine whose host is busy: to compile alone takes it one or two minutes


def kernel_version() -> tuple[int, ...]:
    """The running kernel's, as in (6, 12)."""
    return tuple(map(int, re.findall(r"\d+", platform.release())[:2]))
