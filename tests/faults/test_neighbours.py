"""What shares the kernel with nettop, or goes away under it: other BPF programs, other nettops, namespaces, mounts."""

import os
import signal
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from nettop.kernel import syscalls
from tests.faults import load
from tests.live import programs
from tests.live.lab import (
    NETTOP,
    PATIENCE_S,
    Namespace,
    Program,
    Watch,
    check_snapshot,
    connections_of,
    namespace,
    process_of,
    snapshot_running,
)
from tests.live.test_places import UNMOUNT_CGROUP2, one_sentence

ADDRESS, PORT = "127.0.0.1", 7105
PASS = struct.pack("=BBhi BBhi", 0xB7, 0, 0, 1, 0x95, 0, 0, 0)  # r0 = 1; exit
BPF_PROG_ATTACH, BPF_PROG_DETACH, ALLOW_MULTI = 8, 9, 2
PRIVATE = ("unshare", "--mount", "--propagation", "private")


@pytest.fixture(scope="module")
def served(directory: Path) -> Iterator[Namespace]:
    with namespace(directory) as inside:
        assert inside.play(load.serve, address=ADDRESS, port=PORT).hear() == "serving"
        yield inside


def talk(where: Namespace, count: int = 11) -> Program:
    """Connections with 16 bytes each way, and one byte in one datagram for each of two sockets."""
    talker = where.play(load.connect, address=ADDRESS, port=PORT, count=count)
    talker.end()
    return talker


def ask(where: Namespace, count: int = 11) -> Program:
    asker = where.play(load.ask_in_vain, address="127.0.0.2", count=count, per_s=0)
    asker.end()
    return asker


# Other BPF programs


def cgroup2_root() -> Path:
    return next(Path(line.split()[1]) for line in cgroup2_mounts())


def cgroup2_mounts() -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"]


@contextmanager
def child_cgroup() -> Iterator[Path]:
    path = cgroup2_root() / f"nettop-test-{os.getpid()}"
    path.mkdir()
    try:
        yield path
    finally:
        for pid in (path / "cgroup.procs").read_text().split():
            (cgroup2_root() / "cgroup.procs").write_text(pid)
        path.rmdir()


def sends_from(where: Namespace, cgroup: Path, script: str) -> Program:
    """A shell that runs the script once it is in the cgroup."""
    sender = where.start("bash", "-c", f"read; {script}")
    (cgroup / "cgroup.procs").write_text(str(sender.pid))
    sender.say("go")
    return sender


@contextmanager
def passing_program(cgroup: Path, how: str, egress: bool) -> Iterator[None]:
    """Somebody else's program that lets everything pass."""
    attach_type = syscalls.CGROUP_INET_EGRESS if egress else syscalls.CGROUP_INET_INGRESS
    with ExitStack() as stack:
        program = syscalls.load_program("neighbour", syscalls.CGROUP_SKB, 0, 0, PASS)
        stack.callback(os.close, program)
        directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
        stack.callback(os.close, directory)
        if how == "link":
            stack.callback(os.close, syscalls.link_cgroup(program, directory, attach_type))
        else:
            flags = ALLOW_MULTI if how == "multi" else 0
            attributes = struct.pack("=IIII", directory, program, attach_type, flags)
            syscalls._bpf(BPF_PROG_ATTACH, attributes)
            stack.callback(syscalls._bpf, BPF_PROG_DETACH, attributes[:12])
        yield


@pytest.mark.parametrize("how", ["link", "multi", "alone"])
@pytest.mark.parametrize("first", ["nettop", "neighbour"])
def test_a_program_on_a_child_cgroup(served: Namespace, directory: Path, how: str, first: str) -> None:
    """Also one that allows no other beside it: nettop is on the root, and the kernel runs both."""
    with child_cgroup() as cgroup, ExitStack() as stack:

        def come() -> None:
            for egress in (True, False):
                stack.enter_context(passing_program(cgroup, how, egress))

        if first == "neighbour":
            come()
        with Watch(directory, "--netns", served.name) as watch:
            if first == "nettop":
                come()
            sender = sends_from(served, cgroup, "printf %0100d 7 > /dev/udp/127.0.0.1/7106")
            sender.end()
            asker = ask(served)
            snapshot = watch.stop()
    assert process_of(snapshot, sender).udp.tx_bytes == 100
    assert process_of(snapshot, asker).dns.queries == 11


def test_a_program_on_the_root_that_came_by_a_link(served: Namespace, directory: Path) -> None:
    with passing_program(cgroup2_root(), "link", egress=True), Watch(directory, "--netns", served.name) as watch:
        asker = ask(served)
        snapshot = watch.stop()
    assert process_of(snapshot, asker).dns.queries == 11


def test_a_program_that_allows_no_other_on_what_nettop_takes_for_the_root() -> None:
    """In a cgroup namespace of its own, so that nobody else's nettop is refused meanwhile."""
    enter = 'echo $$ > "$0/cgroup.procs"; exec unshare --cgroup --mount --propagation private sh -c "$1" "$@"'
    remount = UNMOUNT_CGROUP2.replace('exec "$@"', 'mount -t cgroup2 none /mnt; exec "$@"')
    with child_cgroup() as cgroup, passing_program(cgroup, "alone", egress=True):
        done = subprocess.run(
            ["sh", "-c", enter, str(cgroup), remount, *NETTOP, "snapshot", "--for", "0.1"],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "")
    *notes, refusal = done.stderr.splitlines(keepends=True)  # before it nettop says that this looks like a container
    assert len(notes) <= 1
    one_sentence(refusal)
    assert "another BPF program" in refusal


def test_two_nettops(served: Namespace, directory: Path) -> None:
    """Each sees everything, and the end of one, however rude, takes nothing from the other."""
    with Watch(directory, "--netns", served.name) as one, Watch(directory, "--netns", served.name) as other:
        first = talk(served)
        one.until(lambda snapshot: len(connections_of(snapshot, first)) == 11, "the first ones")
        one.kill()
        second, asker = talk(served), ask(served)
        snapshot = other.stop()
    for talker in (first, second):
        assert [row.tx_bytes for row in connections_of(snapshot, talker)] == [16] * 11
    assert process_of(snapshot, asker).dns.queries == 11


# What goes away


def test_a_namespace_goes_away(directory: Path) -> None:
    with ExitStack() as stack:
        inside = stack.enter_context(namespace(directory))
        assert inside.play(load.serve, address=ADDRESS, port=PORT).hear() == "serving"
        with Watch(directory, "--netns", inside.name) as watch:
            talker = talk(inside)
            holder = inside.play(programs.tcp_stay, address=ADDRESS, port=PORT, up=8, down=8)
            watch.until(lambda snapshot: len(connections_of(snapshot, holder)) == 1, "the one that stays")
            stack.close()  # kills what is in it and removes it
            watch.until(lambda snapshot: process_of(snapshot, holder).exited_at is not None, "the end of the last")
            watch.until(lambda snapshot: all(row.state == "closed" for row in snapshot.connections), "all ends")
            snapshot = watch.stop()
    assert len(connections_of(snapshot, talker)) == 11
    assert {row.netns for row in snapshot.connections} == set(snapshot.scope.netns)


def test_a_process_goes_away(served: Namespace, directory: Path) -> None:
    talker = served.play(programs.tcp_stay, address=ADDRESS, port=PORT, up=8, down=8)
    with Watch(directory, "--pid", str(talker.pid)) as watch:
        watch.until(lambda snapshot: len(connections_of(snapshot, talker)) == 1, "its connection")
        talker.stop()
        watch.until(lambda snapshot: process_of(snapshot, talker).exited_at is not None, "its end")
        talk(served)
        snapshot = watch.stop()
    assert {row.pid for row in snapshot.connections} == {talker.pid}
    assert all(row.state == "closed" for row in snapshot.connections)


def test_a_cgroup_goes_away(served: Namespace, directory: Path) -> None:
    with Watch(directory, "--netns", served.name) as watch:
        with child_cgroup() as cgroup:
            sender = sends_from(served, cgroup, "echo x > /dev/udp/127.0.0.1/7106; read")
            watch.until(lambda snapshot: any(row.pid == sender.pid for row in snapshot.processes), "the sender")
            sender.say("end")
            sender.end()
        assert not cgroup.exists()
        asker = ask(served)
        snapshot = watch.stop()
    assert process_of(snapshot, sender).cgroup == f"/{cgroup.name}"
    assert process_of(snapshot, sender).exited_at is not None
    assert process_of(snapshot, asker).dns.queries == 11


def test_cgroup2_is_unmounted_and_mounted_again_meanwhile(served: Namespace) -> None:
    """In nettop's own mount namespace; it holds what it attached to, wherever that is seen."""
    root, before = cgroup2_root(), cgroup2_mounts()
    with snapshot_running("--netns", served.name, prefix=PRIVATE) as process:

        def inside(*command: str) -> None:
            subprocess.run(["nsenter", f"--mount=/proc/{process.pid}/ns/mnt", *command], check=True)

        askers = [ask(served)]
        inside("umount", "-l", str(root))
        askers.append(ask(served))
        inside("mount", "-t", "cgroup2", "none", str(root))
        askers.append(ask(served))
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, b"")
    snapshot = check_snapshot(output)
    assert [process_of(snapshot, asker).dns.queries for asker in askers] == [11, 11, 11]
    assert cgroup2_mounts() == before


WITHOUT_TRACEFS = (
    'set -e; for at in $(awk \'$3 == "tracefs" || $3 == "debugfs" { print $2 }\' /proc/self/mounts); '
    "do umount -l $at; done; ! grep -qE ' (tracefs|debugfs) ' /proc/self/mounts; exec \"$@\""
)


def test_without_tracefs_and_debugfs(served: Namespace) -> None:
    with snapshot_running("--netns", served.name, prefix=(*PRIVATE, "sh", "-c", WITHOUT_TRACEFS, "sh")) as process:
        talker = talk(served)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, b"")
    assert len(connections_of(check_snapshot(output), talker)) == 11
