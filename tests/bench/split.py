"""nettop as it is, with a clock at its joints: `split.py FILE nettop ARGUMENTS...`.

What one thread spends is not to be seen from outside. Here the CPU time of the collector's thread is added up at calls
that come some hundred times a second at most, which costs less than a thousandth of what is measured.
"""

import ctypes
import functools
import mmap
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_COUNTERS = struct.Struct("=QQ")  # the collector's thread, its time in the kernel side
_THREAD, _READER = range(2)
_READING = ("poll", "collect", "drain", "sockets", "scan_files", "losses")


@dataclass(frozen=True)
class Times:
    """The collector's thread, and its CPU time in reading (polling, iterators, decoding) until now."""

    thread: int
    reader_ns: int


class Split:
    """The other end: what the command prefix tells."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.write_bytes(bytes(_COUNTERS.size))
        self.command = (sys.executable, __file__, str(file))

    def times(self) -> Times:
        """As they stand."""
        return Times(*_COUNTERS.unpack(self._file.read_bytes()))


def main() -> int:
    with Path(sys.argv[1]).open("r+b") as file:
        counters = (ctypes.c_uint64 * 2).from_buffer(mmap.mmap(file.fileno(), _COUNTERS.size))
    del sys.argv[:2]

    from nettop.cli.main import main as run  # noqa: PLC0415 - only where it runs
    from nettop.kernel.program import KernelProgram  # noqa: PLC0415

    for name in _READING:
        _time(KernelProgram, name, counters)
    return run()


def _time(owner: type, name: str, counters: "ctypes.Array[ctypes.c_uint64]") -> None:
    original: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(original)
    def timed(*arguments: Any, **named: Any) -> Any:
        counters[_THREAD] = threading.get_native_id()
        before = time.thread_time_ns()
        try:
            return original(*arguments, **named)
        finally:
            counters[_READER] += time.thread_time_ns() - before

    setattr(owner, name, timed)


if __name__ == "__main__":
    sys.exit(main())
