"""What look-ups (--lookups) leave behind, and what of them is there without the option: nothing.

Apart from tests/live/test_libc_lookups.py, which watches as long as its tests run: a breakpoint has no owner.
"""

import os
from pathlib import Path

import pytest

from nettop.kernel.elf import function_offset
from tests.live.lab import PATIENCE_S, Watch, existing_ids, namespace, wait_until

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


def test_nothing_is_left_after_kill_9(directory: Path) -> None:
    with namespace(directory) as inside:
        program = inside.start("sleep", str(10 * PATIENCE_S))
        wait_until(lambda: b"libc.so.6" in Path(f"/proc/{program.pid}/maps").read_bytes(), "libc")
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
        program = inside.start("sleep", str(10 * PATIENCE_S))
        wait_until(lambda: b"libc.so.6" in Path(f"/proc/{program.pid}/maps").read_bytes(), "libc")
        assert first_bytes(program.pid)[0] != INT3
        snapshot = watch.up_to_now()
        assert snapshot.lookup_coverage is None
        assert "lookups" not in snapshot.hooks
        assert "lookup_events" not in snapshot.losses.perf_buffer
        watch.stop()
