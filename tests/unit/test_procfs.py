"""What /proc and /etc/passwd say, read from the real ones or from files of the same form."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nettop.kernel.abi import ProcessKey
from nettop.model.services import Service
from nettop.sources import procfs
from nettop.sources.procfs import UserNames, describe
from nettop.tracking.processes import CommandLine, Described

ID = "ab" * 32


@contextmanager
def running(*arguments: str) -> Iterator[int]:
    """A process that has executed with these arguments."""
    child = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        yield child.pid
    finally:
        child.communicate()


def key_of(pid: int) -> ProcessKey:
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return ProcessKey(pid, ticks * (1_000_000_000 // os.sysconf("SC_CLK_TCK")) - procfs.time_namespace().boot_ns)


def described(key: ProcessKey, root: str = "/proc") -> Described | None:
    proc = os.open(root, os.O_RDONLY)
    try:
        return describe(proc, key)
    finally:
        os.close(proc)


def test_a_living_process() -> None:
    with running("-v", "é") as pid:
        found = described(key_of(pid))
    assert found is not None
    assert found.command_line == CommandLine((sys.executable, "-c", "print(flush=True); input()", "-v", "é"))
    assert found.parent_pid == os.getpid()


def test_a_process_that_is_gone() -> None:
    with running() as pid:
        key = key_of(pid)
    assert described(key) is None
    assert described(ProcessKey(os.getpid(), 1)) is None  # another one of that pid


def test_a_process_that_cannot_be_read_is_not_gone(tmp_path: Path) -> None:
    (tmp_path / "7").symlink_to("7")  # ELOOP
    assert described(ProcessKey(7, 0), str(tmp_path)) == procfs._UNREADABLE


@pytest.mark.parametrize("jars", [1, 90, 91, 92, 300, 4_000])
def test_a_long_command_line_keeps_its_beginning_and_its_end(jars: int) -> None:
    path = ":".join(f"/opt/app/lib/part-{number:05}.jar" for number in range(jars))
    given = (sys.executable, "-c", "print(flush=True); input()", "-cp", path[:100_000], "org.example.Main", "--port=1")
    with running(*given[3:]) as pid:
        found = described(key_of(pid))
    assert found is not None
    line = found.command_line
    whole = "\0".join(given) + "\0"
    if len(whole) <= 4096:
        assert line == CommandLine(given)
        return
    assert line.cut == 5
    assert line.arguments[:4] == given[:4]
    assert line.arguments[-2:] == given[-2:]
    assert line.arguments[5] == f"[… {len(whole) - 4096} bytes …]"
    assert given[4].startswith(line.arguments[4])
    assert given[4].endswith(line.arguments[6])
    kept = len("\0".join(line.arguments[:5])) + len("\0".join(line.arguments[6:])) + 1
    assert kept == 4096


def test_the_cgroup_may_stand_behind_any_number_of_lines(tmp_path: Path) -> None:
    directory = tmp_path / "7"
    directory.mkdir()
    (directory / "stat").write_text(f"7 (a) S {' '.join(['5'] * 40)}")
    (directory / "cmdline").write_bytes(b"a\0")
    (directory / "cgroup").write_text("".join(f"{n}:cpu:/{'p' * 200}\n" for n in range(40, 0, -1)) + "0::/pods/deep\n")
    ticks_ns = 5 * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))
    found = described(ProcessKey(7, ticks_ns - procfs.time_namespace().boot_ns), str(tmp_path))
    assert found == Described(CommandLine(("a",)), 5, "/pods/deep")


@pytest.mark.parametrize(
    ("text", "cgroup", "service"),
    [
        ("0::/system.slice/a.service\n", "/system.slice/a.service", Service("a.service")),
        (f"9:name=systemd:/x\n8:pids:/docker/{ID}\n0::/\n", "/", Service(None, ID, "docker")),
        (
            f"5:cpu,cpuacct:/docker/{ID}\n1:name=systemd:/system.slice/docker.service\n",
            None,
            Service(None, ID, "docker"),
        ),
        (
            "8:pids:/system.slice\n1:name=systemd:/system.slice/a:b.service\n0::/\n",
            "/",
            Service("a:b.service"),
        ),
        ("", None, Service()),
        ("nonsense\n", None, Service()),
    ],
)
def test_the_hierarchies_of_cgroup_v1_count_too(text: str, cgroup: str | None, service: Service) -> None:
    assert procfs._belonging(text.encode()) == (cgroup, service)


def test_names_of_users_as_the_file_has_them_now(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    names = UserNames(path)
    assert names(0) is None
    path.write_text("root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\nada:x:1000:1000::/:/bin/sh\n+::::::\nbroken\n")
    assert [names(uid) for uid in (0, 1000, 1001)] == ["root", "ada", None]
    newer = tmp_path / "passwd+"
    newer.write_bytes(b"root:x:0:0::/:/bin/sh\neve\x1b:x:1001:1::/:/bin/sh\n")
    newer.rename(path)
    assert [names(uid) for uid in (0, 1000, 1001)] == ["root", None, "eve\\x1b"]
    path.unlink()
    assert names(0) == "root"  # as it was
