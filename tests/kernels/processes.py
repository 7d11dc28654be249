"""What the matrix has started, guests and compilers: ended with it, at once."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

OF_ITS_OWN = 0  # a process group, which no Ctrl-C of a terminal reaches: end_all() is for that
_ending = Event()
_running: set[subprocess.Popen[str]] = set()


@contextmanager
def ending_with_us(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill it if the matrix ends meanwhile, or has ended already."""
    _running.add(process)
    try:
        if _ending.is_set():
            process.kill()
        yield
    finally:
        _running.discard(process)


def are_ending() -> bool:
    """Whether end_all() was called: then what became of a process says nothing."""
    return _ending.is_set()


def end_all() -> None:
    """Have all that run end at once, and no other go on."""
    _ending.set()
    for process in tuple(_running):
        process.kill()
