"""nettop on other kernels, each in a virtual machine of its own; see matrix.py."""

import platform
import re
from pathlib import Path

PATIENCE_S = 240.0  # for an emulated machine whose host is busy: to compile alone takes it one or two minutes
DOCTOR = Path("/run/nettop-doctor")  # what `nettop doctor` said in this guest, for the steps after that
ONE_FILE = "dist/nettop.pyz"  # in the tree


class MatrixError(Exception):
    """The matrix cannot run, in one sentence."""


def kernel_version(release: str = platform.release()) -> tuple[int, ...]:
    """As in (6, 12); without an argument the running kernel's."""
    return tuple(map(int, re.findall(r"\d+", release)[:2]))
