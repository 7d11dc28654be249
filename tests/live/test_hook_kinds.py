"""The kinds of hooks that no program of nettop's uses yet: each loads, attaches, runs and changes nothing."""

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nettop.errors import CannotRunError
from nettop.kernel import syscalls
from nettop.kernel.hooks import CGROUP_SOCK_ADDR, UPROBE, URETPROBE, Kind
from nettop.kernel.syscalls import MapShape
from tests.live.lab import PATIENCE_S, child_cgroup

pytestmark = pytest.mark.live

ARRAY = 2  # BPF_MAP_TYPE_ARRAY
CALLS = 5
NOWHERE = -1


@pytest.fixture
def counter() -> Iterator[int]:
    descriptor = syscalls.create_map("counter", MapShape(ARRAY, 4, 8, 1, 0))
    yield descriptor
    os.close(descriptor)


def counting(counter: int) -> bytes:
    """A program that counts how often it runs, and returns 1: "pass"."""
    return b"".join(
        struct.pack("<BBhi", code, source << 4 | destination, offset, number)
        for code, destination, source, offset, number in (
            (0x18, 1, 1, 0, counter),  # r1 = the map
            (0x00, 0, 0, 0, 0),
            (0x62, 10, 0, -4, 0),  # *(u32 *)(r10 - 4) = 0
            (0xBF, 2, 10, 0, 0),  # r2 = r10
            (0x07, 2, 0, 0, -4),  # r2 += -4
            (0x85, 0, 0, 0, 1),  # r0 = bpf_map_lookup_elem(r1, r2)
            (0x15, 0, 0, 2, 0),  # if it is there:
            (0xB7, 1, 0, 0, 1),  # r1 = 1
            (0xDB, 0, 1, 0, 0),  # *(u64 *)r0 += r1, atomically
            (0xB7, 0, 0, 0, 1),  # return 1
            (0x95, 0, 0, 0, 0),
        )
    )


@pytest.fixture
def child() -> Iterator["subprocess.Popen[str]"]:
    """A Python that runs what it is told line by line, and answers each with "done"."""
    code = "import sys\nfor line in sys.stdin: exec(line); print('done', flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.send_signal(signal.SIGKILL)


def run(child: "subprocess.Popen[str]", line: str) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(f"{line}\n")
    child.stdin.flush()
    assert child.stdout.readline() == "done\n"


class Attached:
    """The counting program at one target, for as long as the context lasts."""

    def __init__(self, kind: Kind, target: str, place: int, counter: int) -> None:
        self._program = syscalls.load_program(
            "counting", kind.program_type, kind.attach_type(target), 0, counting(counter)
        )
        try:
            self._link = kind.link(self._program, target, place)
        except BaseException:
            os.close(self._program)
            raise
        self._counter = counter

    def __enter__(self) -> "Attached":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._link)
        os.close(self._program)

    @property
    def runs(self) -> int:
        return syscalls.lookup_u64(self._counter, 0)


@pytest.mark.parametrize(
    ("target", "family", "address"),
    [("connect4", socket.AF_INET, "127.0.0.1"), ("connect6", socket.AF_INET6, "::1")],
)
def test_connects_of_a_cgroup(
    child: "subprocess.Popen[str]", counter: int, target: str, family: socket.AddressFamily, address: str
) -> None:
    server = socket.create_server((address, 0), family=family)
    server.settimeout(PATIENCE_S)
    connect = f"import socket; socket.create_connection({server.getsockname()[:2]!r}).close()"
    with server, child_cgroup(f"nettop-test-{os.getpid()}") as (path, descriptor):
        with Attached(CGROUP_SOCK_ADDR, target, descriptor, counter) as attached:
            run(child, connect)
            assert attached.runs == 0  # it is in no such cgroup yet
            (path / "cgroup.procs").write_text(str(child.pid))
            for _ in range(CALLS):
                run(child, connect)
                server.accept()[0].close()
            assert attached.runs == CALLS
        run(child, connect)
        assert syscalls.lookup_u64(counter, 0) == CALLS
        child.kill()
        child.wait(PATIENCE_S)


def own_libc(directory: Path) -> Path:
    """A copy of the C library, so that nobody else calls into it."""
    (loaded,) = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libc.so.6" in line}
    copy = directory / "libc.so.6"
    copy.write_bytes(Path(loaded).read_bytes())
    return copy


@pytest.mark.parametrize("kind", [UPROBE, URETPROBE], ids=lambda kind: kind.name)
def test_calls_of_a_function_in_a_library(
    child: "subprocess.Popen[str]", counter: int, tmp_path: Path, kind: Kind
) -> None:
    library = own_libc(tmp_path)
    run(child, f"import ctypes; library = ctypes.CDLL({str(library)!r})")
    with Attached(kind, f"{library}:labs", NOWHERE, counter) as attached:
        for _ in range(CALLS):
            run(child, "assert library.labs(-7) == 7")
        assert attached.runs == CALLS
    run(child, "assert library.labs(-7) == 7")
    assert syscalls.lookup_u64(counter, 0) == CALLS


def test_a_function_that_is_not_there(counter: int, tmp_path: Path) -> None:
    library = own_libc(tmp_path)
    with pytest.raises(CannotRunError, match=r"has no function lab\."):
        Attached(UPROBE, f"{library}:lab", NOWHERE, counter)
    library.write_bytes(b"#!/bin/sh\n")
    with pytest.raises(CannotRunError, match="not a 64-bit ELF file"):
        Attached(UPROBE, f"{library}:labs", NOWHERE, counter)
