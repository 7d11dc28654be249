"""What look-ups (--lookups) leave behind, and what of them is there without the option: nothing.

Apart from tests/live/test_libc_lookups.py, which watches as long as its tests run: a breakpoint has no owner.
"""

import os
from pathlib import Path

import pytest

from nettop.kernel.elf import function_offset
from tests.live.lab import Namespace, Program, Watch, existing_ids, namespace, wait_until

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: uprobes")]

INT3 = 0xCC


def first_bytes(pid: int) -> bytes:
    """The first instruction of getaddrinfo() in a running process: where a breakpoint would stand."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split()
        if "x" in fields[1] and fields[-1].endswith("libc.so.6"):
            begins, _, _ = fields[0].partition("-")
            at = int(begins, 16) + function_offset(Path(fields[-1]), "getaddrinfo") - int(fields[2], 16)
            with Path(f"/proc/{pid}/mem").open("rb") as memory:
                memory.seek(at)
                return memory.read(4)
    raise AssertionError("it has no libc")


def waiting(inside: Namespace) -> Program:
    """A program that is up, with its libraries, and does nothing."""
    program = inside.start("sh", "-c", "echo 1; read line")
    assert program.hear() == 1
    return program


def test_nothing_is_left_after_kill_9(directory: Path) -> None:
    with namespace(directory) as inside:
        program = waiting(inside)
        untouched = first_bytes(program.pid)
        before = existing_ids()
        with Watch(directory, "--netns", inside.name, "--lookups") as watch:
            wait_until(lambda: first_bytes(program.pid) != untouched, "the breakpoint")
            watch.kill()
        wait_until(lambda: first_bytes(program.pid) == untouched, "the breakpoint to be gone")
        wait_until(lambda: not (existing_ids()["prog"] - before["prog"]), "the programs to be gone")
        again = inside.start("getent", "hosts", "localhost")
        again.end()


def test_without_the_option_nothing_of_it_is_there(directory: Path) -> None:
    with namespace(directory) as inside, Watch(directory, "--netns", inside.name) as watch:
        program = waiting(inside)
        assert first_bytes(program.pid)[0] != INT3
        snapshot = watch.up_to_now()
        assert snapshot.lookup_coverage is None
        assert "lookups" not in snapshot.hooks
        assert "lookup_events" not in snapshot.losses.perf_buffer
        watch.stop()
