"""Every entry of the kernel's map of sockets has a way out: no traffic, however odd, leaves one behind."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nettop.kernel import syscalls
from nettop.kernel.hooks import CGROUP_SOCK, CGROUP_SOCK_ADDR
from nettop.kernel.scope import Scope
from nettop.sources.live import LiveSource
from tests.live import programs
from tests.live.lab import Namespace, namespace, refusing_cgroup

TICK_S = 0.2


def entries(source: LiveSource) -> int:
    return len(syscalls.keys(source._program._maps["sockets"], 8))


def watch(source: LiveSource, ticks: int) -> None:
    told = 0
    while told < ticks:
        told += sum(type(event).__name__ == "Tick" for event in source.read(0.1))


@contextmanager
def watching(inside: Namespace) -> Iterator[LiveSource]:
    source = LiveSource(Scope(netns=(inside.inode,)), TICK_S)
    try:
        yield source
    finally:
        source.close()


def test_datagrams_that_arrive_while_a_socket_closes(directory: Path) -> None:
    with namespace(directory) as inside, watching(inside) as source:
        program = inside.play(programs.close_under_a_flood, address="127.0.0.1", port=7007, sockets=20_000)
        while program.exit_code is None:
            watch(source, 1)
        program.end()
        watch(source, 2)
        assert entries(source) == 0
        assert source._losses.udp_unattributed_bytes == 0


def test_a_socket_that_another_program_refuses(directory: Path) -> None:
    with (
        namespace(directory) as inside,
        watching(inside) as source,
        refusing_cgroup(inside.name, CGROUP_SOCK, "sock_create") as cgroup,
    ):
        program = inside.play(programs.make_sockets, count=7)
        assert program.hear() == "ready"
        (cgroup / "cgroup.procs").write_text(str(program.pid))
        program.say("make them")
        assert program.hear() == 0  # were made
        watch(source, 2)
        assert entries(source) == 0
        program.end()


def test_a_socket_that_carried_nothing_is_not_told(directory: Path) -> None:
    """getaddrinfo(3) makes such sockets."""
    with namespace(directory) as inside, watching(inside) as source:
        program = inside.play(programs.make_sockets, count=7)
        assert program.hear() == "ready"
        program.say("make them")
        assert program.hear() == 7
        watch(source, 1)
        assert entries(source) == 7
        program.end()
        told = [event for event in source.finish() if type(event).__name__ == "UdpChanged"]
        assert (told, entries(source)) == ([], 0)


def test_connects_that_fail(directory: Path) -> None:
    with (
        namespace(directory) as inside,
        watching(inside) as source,
        refusing_cgroup(inside.name, CGROUP_SOCK_ADDR, "connect6") as cgroup,
    ):
        program = inside.play(programs.fail_to_connect, addresses=["192.0.2.7", "2001:db8::7", "127.0.0.1"], port=7999)
        assert program.hear() == "ready"
        (cgroup / "cgroup.procs").write_text(str(program.pid))
        program.say("connect")
        assert program.hear() == [errno.ENETUNREACH, errno.EPERM, errno.ECONNREFUSED]
        watch(source, 1)
        assert entries(source) == 2  # until they are closed, or connect again
        program.end()
        watch(source, 1)
        assert entries(source) == 0
