"""What look-ups (--lookups) leave behind, and what of them is there without the option: nothing.

A breakpoint has no owner, and tests that watch look-ups run beside: the library is a copy.
"""

import os
import shutil
from pathlib import Path

import pytest

from nettop.kernel.elf import function_offset
from nettop.kernel.hooks import CONTINUATIONS
from tests.live import dns_server, lookup_programs
from tests.live.lab import (
    Namespace,
    Program,
    Watch,
    existing_ids,
    hook_programs,
    kernel_ids,
    namespace,
    wait_until,
)

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: uprobes")]

INT3 = 0xCC
SERVER = "127.0.0.1"


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


def waiting(inside: Namespace, directory: Path) -> Program:
    """A program with a C library of its own, that does nothing: only a nettop that starts now looks at that library."""
    own = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libc.so.6" in line)
    copy = directory / inside.name / "libc.so.6"
    copy.parent.mkdir()
    shutil.copy(own, copy)
    program = inside.start("env", f"LD_LIBRARY_PATH={copy.parent}", "sh", "-c", "echo 1; read line")
    assert program.hear() == 1
    return program


def test_nothing_is_left_after_kill_9(directory: Path) -> None:
    with namespace(directory) as inside:
        program = waiting(inside, directory)
        untouched = first_bytes(program.pid)
        inside.play(dns_server.serve, addresses=[SERVER]).hear()
        with Watch(directory, "--netns", inside.name, "--lookups") as watch:
            wait_until(lambda: first_bytes(program.pid) != untouched, "the breakpoint")
            # each thread goes on for a second and more
            names = [[f"hold-10-{thread}-{number}.test" for number in range(100)] for thread in range(8)]
            busy = inside.play(lookup_programs.threads, nameserver=SERVER, names=names)
            watch.until(lambda snapshot: any(row.pid == busy.pid for row in snapshot.lookups), "look-ups")
            assert busy.exit_code is None
            programs = kernel_ids(watch.pid)["prog"]
            assert len(programs) > hook_programs() + len(CONTINUATIONS)
            watch.kill()
        wait_until(lambda: first_bytes(program.pid) == untouched, "the breakpoint to be gone")
        wait_until(lambda: not programs & existing_ids()["prog"], "the programs to be gone")
        told = busy.hear()
        assert [each["result"] for each in told] == ["OK"] * 800
        busy.end()


def test_without_the_option_nothing_of_it_is_there(directory: Path) -> None:
    with namespace(directory) as inside:
        program = waiting(inside, directory)
        with Watch(directory, "--netns", inside.name) as watch:
            snapshot = watch.up_to_now()
            assert len(kernel_ids(watch.pid)["prog"]) == hook_programs() + len(CONTINUATIONS)
            wait_until(lambda: first_bytes(program.pid)[0] != INT3, "the end of others that may watch it")
            assert snapshot.lookup_coverage is None
            assert "lookups" not in snapshot.hooks
            assert "lookup_events" not in snapshot.losses.perf_buffer
            watch.stop()
