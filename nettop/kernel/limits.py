"""Checks that the resource limits set by a shell or a service manager are high enough.

Checked before anything is compiled or written: BCC's compiler aborts when its memory runs out, and nettop itself would
fail only once its tables are full.
"""

import os
import resource

from nettop.errors import CannotRunError

# Measured: 79 descriptors with two CPUs, including one per CPU and perf buffer; the rest is headroom.
_FILES, _FILES_PER_CPU = 112, 4
# Measured: 290 MB of address space and 70 MB of data with the screen, and the same for the compiler; full tables take
# 150 MB more.
_ADDRESS_SPACE_BYTES, _DATA_BYTES = 512 << 20, 256 << 20


def require_room(more_files: int = 0) -> None:
    """Raise the soft limit of open files to what nettop needs. Raises CannotRunError if a limit is too low."""
    _require_files(_FILES + more_files + _FILES_PER_CPU * (os.cpu_count() or 1))
    require_memory()


def require_memory() -> None:
    """Raise CannotRunError if a limit of memory is too low."""
    _require_memory("address space", "-v", resource.RLIMIT_AS, _ADDRESS_SPACE_BYTES)
    _require_memory("data", "-d", resource.RLIMIT_DATA, _DATA_BYTES)


def _require_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _enough(soft, wanted):
        return
    if not _enough(hard, wanted):
        raise CannotRunError(
            f"The limit of {hard} open files is too low: nettop needs {wanted} on this machine.",
            f"Raise it: ulimit -n {wanted}.",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _require_memory(what: str, option: str, limit: int, wanted: int) -> None:
    soft, _ = resource.getrlimit(limit)
    if not _enough(soft, wanted):
        raise CannotRunError(
            f"The limit of {soft >> 20} MB of {what} is too low: nettop needs {wanted >> 20} MB.",
            f"Raise it: ulimit {option} {wanted >> 10}.",
        )


def _enough(limit: int, wanted: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= wanted
