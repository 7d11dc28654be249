"""Where nettop is met first: in a container, and on a terminal that can do little."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.live.lab import NETTOP
from tests.live.terminal import Terminal

OWN_PIDS_ONLY = ("unshare", "--pid", "--fork", "--mount-proc")


def said(prefix: Sequence[str], *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([*prefix, *NETTOP, *arguments], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def container() -> Iterator[list[str]]:
    """A prefix, as container runtimes do it: ids and cgroups of its own, and a cgroup2 that begins at its own."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    root = next(directory for _, directory, kind, *_ in mounts if kind == "cgroup2")
    own = Path(root) / f"nettop-test-container-{os.getpid()}"
    own.mkdir()
    try:
        yield [
            "sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(own),
            "unshare", "--pid", "--fork", "--mount-proc", "--cgroup", "--mount", "--propagation", "private",
            "sh", "-c", f'umount {root} && mount -t cgroup2 none {root} && exec "$@"', "sh",
        ]  # fmt: skip
    finally:
        own.rmdir()


def test_a_container_is_told_what_it_cannot_see(container: list[str]) -> None:
    code, output, error = said(container, "snapshot", "--for", "0.2")
    assert code == 0
    assert '"nettop.snapshot/1"' in output
    assert error.startswith("nettop: this is a container: only its own DNS and UDP traffic is visible (")
    assert "process ids are the host's" in error


def test_a_container_with_the_hosts_cgroups() -> None:
    _, _, error = said(OWN_PIDS_ONLY, "snapshot", "--for", "0.2")
    assert error.startswith("nettop: this is a container: process ids are the host's")


def test_pids_of_a_container_are_refused() -> None:
    assert said(OWN_PIDS_ONLY, "snapshot", "--for", "0.2", "--pid", "1") == (
        2,
        "",
        "nettop: --pid takes the host's process ids, but this container has its own. "
        "Use --comm, or start the container with --pid=host.\n",
    )


def test_on_the_host_nothing_is_said() -> None:
    assert said((), "snapshot", "--for", "0.2")[2] == ""


@pytest.mark.parametrize("name", ["linux", "vt220", "xterm"])
def test_sixteen_colours(name: str) -> None:
    with Terminal([*NETTOP, "replay", "--demo"], columns=80, lines=24, TERM=name, COLORTERM="") as terminal:
        terminal.until_said("REPLAY", "api-server")
        terminal.press("q")
        assert terminal.ends() == 0
        colours = re.findall(rb"\x1b\[([0-9;]*)m", terminal.raw)
        assert colours
        assert not any(b"38;" in each or b"48;" in each for each in colours)
        for row in terminal.screen.buffer.values():
            written = [cell for cell in row.values() if cell.data.strip()]
            assert all(cell.fg != cell.bg or cell.fg == "default" for cell in written)


def test_on_a_terminal_the_doctor_says_why_it_takes_seconds() -> None:
    """It always compiles. Where standard error is a pipe, nothing is said: tests/live/test_places.py has it."""
    with Terminal([*NETTOP, "doctor"], columns=200, lines=60) as terminal:
        terminal.until_said("compiling the kernel programs, which takes some seconds.")
