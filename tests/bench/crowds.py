"""Many live connections in few processes."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.live import crowd as crowd_program
from tests.live.lab import Namespace

MOST = 9_000  # of one process, both ends of a connection in it: the usual hard limit of descriptors is 20,000 or more


@contextmanager
def crowd(where: Namespace, rows: int, active: int = 0) -> Iterator[None]:
    """So many rows of nettop, that is half as many connections; `active` of the rows move bytes every 0.1 s."""
    connections, moving = rows // 2, active // 2
    processes = -(-connections // MOST)
    programs = []
    with ExitStack() as stack:
        for number in range(processes):
            shares = (len(range(number, total, processes)) for total in (connections, moving))
            program = where.start(sys.executable, str(Path(crowd_program.__file__)), *map(str, shares))
            stack.callback(program.stop)
            programs.append(program)
        for program in programs:
            assert program.hear() == "connected"
        yield
