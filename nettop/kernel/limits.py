"""The limits that a shell or a service manager sets for this process, and whether nettop can live with them.

Checked before anything is compiled or written: BCC's compiler aborts when its memory runs out, and nettop itself should
not get as far as full tables to find out.
"""

import os
import resource

from nettop.errors import CannotRunError

# Measured: 41 descriptors with two CPUs, one of them per CPU and perf buffer; the rest is room for other files.
_FILES, _FILES_PER_CPU = 64, 4
# Measured: 290 MB of addresses and 70 MB of data with the screen, the compiler as much; full tables take 150 MB more.
_ADDRESS_SPACE_BYTES, _DATA_BYTES = 512 << 20, 256 << 20


def require_room() -> None:
    """Allow this process as many open files as it needs, if it may. Raises CannotRunError where a limit is too low."""
    _require_files(_FILES + _FILES_PER_CPU * (os.cpu_count() or 1))
    _require_memory("address space", "-v", resource.RLIMIT_AS, _ADDRESS_SPACE_BYTES)
    _require_memory("data", "-d", resource.RLIMIT_DATA, _DATA_BYTES)


def _require_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _enough(soft, wanted):
        return
    if not _enough(hard, wanted):
        raise CannotRunError(
            f"nettop may not open more than {hard} files; on this machine it needs {wanted}.",
            f"Allow more: ulimit -n {wanted}.",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _require_memory(what: str, option: str, limit: int, wanted: int) -> None:
    soft, _ = resource.getrlimit(limit)
    if not _enough(soft, wanted):
        raise CannotRunError(
            f"nettop may use no more than {soft >> 20} MB of {what}; it needs {wanted >> 20} MB.",
            f"Allow more: ulimit {option} {wanted >> 10}.",
        )


def _enough(limit: int, wanted: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= wanted
