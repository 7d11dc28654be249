"""The pass over the sockets, which asks for some at a time."""

import os
from collections.abc import Iterator

import pytest

from nettop.kernel import abi
from nettop.kernel.compiled_cache import compiled_programs
from nettop.kernel.program import KernelProgram, defines, open_cgroup2
from nettop.kernel.scope import Scope
from tests.live import programs
from tests.live.lab import Namespace

pytestmark = pytest.mark.live

ADDRESS, PORT = "127.0.0.1", 7000
CONNECTIONS = 3 * abi.SOCKETS_ASKED + 1


@pytest.fixture
def kernel(quiet: Namespace) -> Iterator[KernelProgram]:
    scope = Scope(netns=(quiet.inode,))
    made = KernelProgram(scope, compiled_programs(defines(scope)))
    cgroup = open_cgroup2()
    try:
        made.attach(cgroup)
        yield made
    finally:
        os.close(cgroup)
        made.close()


def sent(records: list[abi.SocketRecord], pid: int) -> list[int]:
    """The bytes that each connection of a process has sent."""
    return sorted(record.tx_bytes for record in records if record.owner_pid == pid)


def test_a_pass_tells_of_what_has_changed(quiet: Namespace, kernel: KernelProgram) -> None:
    server = quiet.play(programs.tcp_server, address=ADDRESS, port=PORT, mode="ignore")
    assert server.hear() == "listening"
    client = quiet.play(programs.tcp_many, address=ADDRESS, port=PORT, connections=CONNECTIONS)
    assert client.hear() == "sent"
    numbers = list(range(1, CONNECTIONS + 1))
    first = kernel.sockets()
    assert sent(first, client.pid) == numbers
    listener = [record for record in first if record.owner_pid == server.pid and record.state == 10]  # TCP_LISTEN
    assert len(listener) == 1

    assert sent(kernel.sockets(), client.pid) == []
    assert sent(kernel.sockets(everything=True), client.pid) == numbers
    client.say("again")
    assert client.hear() == "sent"
    assert sent(kernel.sockets(), client.pid) == [2 * number for number in numbers]
