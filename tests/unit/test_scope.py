"""What is watched, from what the command line names."""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from nettop.errors import UsageError
from nettop.kernel import scope as scope_module
from nettop.kernel.scope import Scope, comm_running, netns_inode, running_pid
from tests.builders import comm


@pytest.mark.parametrize(
    ("scope", "pid", "name", "covered"),
    [
        (Scope(), 1, "init", True),
        (Scope(netns=(7,)), 1, "init", True),
        (Scope(pids=(1, 2)), 2, "init", True),
        (Scope(pids=(1, 2)), 3, "init", False),
        (Scope(comms=(b"curl", b"nginx")), 3, "nginx", True),
        (Scope(comms=(b"curl",)), 3, "curl2", False),
        (Scope(comms=(b"curl",)), 3, "cur", False),
        (Scope(pids=(1,), comms=(b"curl",)), 1, "curl", True),
        (Scope(pids=(1,), comms=(b"curl",)), 1, "wget", False),
        (Scope(pids=(1,), comms=(b"curl",)), 2, "curl", False),
        (Scope(comms=(b"fifteen-letters",)), 1, "fifteen-letters", True),
    ],
)
def test_covers_process(scope: Scope, pid: int, name: str, covered: bool) -> None:
    assert scope.covers_process(pid, comm(name)) is covered


def test_a_name_ends_at_its_first_nul() -> None:
    assert Scope(comms=(b"ab",)).covers_process(1, b"ab\0hon3\0".ljust(16, b"\0"))
    assert not Scope(comms=(b"hon3",)).covers_process(1, b"ab\0hon3\0".ljust(16, b"\0"))


@pytest.mark.parametrize(
    ("scope", "by_process"),
    [(Scope(), False), (Scope(netns=(1,)), False), (Scope(pids=(1,)), True), (Scope(comms=(b"a",)), True)],
)
def test_by_process(scope: Scope, by_process: bool) -> None:
    assert scope.by_process is by_process


@pytest.mark.parametrize("name", ["/proc/self/ns/net", str(os.getpid())])
def test_a_network_namespace_by_path_and_by_pid(name: str) -> None:
    assert netns_inode(name) == Path("/proc/self/ns/net").stat().st_ino


def test_a_network_namespace_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope_module, "NETNS_DIRECTORY", tmp_path)
    (tmp_path / "blue").symlink_to("/proc/self/ns/net")
    assert netns_inode("blue") == Path("/proc/self/ns/net").stat().st_ino


def refused(name: str) -> str:
    with pytest.raises(UsageError) as caught:
        netns_inode(name)
    assert caught.value.exit_code == 2
    assert "ip netns" in caught.value.remedy
    return caught.value.message


@pytest.mark.parametrize("name", ["no-such-name", "/no/such/path", "999999999"])
def test_no_such_network_namespace(name: str) -> None:
    message = refused(name)
    assert message.startswith(f"There is no network namespace '{name}' (")
    assert message.endswith(": No such file or directory).")


def test_an_ordinary_file_is_no_network_namespace(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    assert refused(str(path)) == f"'{path}' is not a network namespace: {path} is a file of another kind."


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    assert "is not a network namespace" in refused(str(path))


@pytest.mark.parametrize("kind", ["mnt", "pid", "user"])
def test_a_namespace_of_another_kind_is_no_network_namespace(kind: str) -> None:
    path = f"/proc/self/ns/{kind}"
    assert refused(path) == f"'{path}' is not a network namespace: {path} is a namespace of another type."


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_refused_name_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = open_descriptors()
    refused(str(tmp_path / "missing"))
    refused("/proc/self/ns/mnt")
    netns_inode("/proc/self/ns/net")
    assert open_descriptors() == before


def test_a_running_pid() -> None:
    assert running_pid(os.getpid()) == os.getpid()
    with pytest.raises(UsageError, match=r"There is no process 4194303\."):
        running_pid(4_194_303)


def test_a_thread_is_not_a_process() -> None:
    """/proc has it, but nothing on the network is ever its own."""
    ready, done = threading.Event(), threading.Event()
    threads: list[int] = []

    def live() -> None:
        threads.append(threading.get_native_id())
        ready.set()
        done.wait()

    thread = threading.Thread(target=live)
    thread.start()
    ready.wait()
    try:
        with pytest.raises(UsageError) as caught:
            running_pid(threads[0])
    finally:
        done.set()
        thread.join()
    assert caught.value.message == f"{threads[0]} is a thread of process {os.getpid()}."
    assert caught.value.remedy == f"Give the process: --pid {os.getpid()}."


def test_a_process_that_has_ended_is_not_running() -> None:
    child = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(UsageError, match=r"is a zombie") as caught:
            running_pid(child.pid)
        assert "pgrep" in caught.value.remedy
    finally:
        child.wait()


def test_a_running_comm() -> None:
    own = Path("/proc/self/comm").read_text().rstrip("\n")
    assert comm_running(own)
    assert not comm_running("no-such-name-\x01")
