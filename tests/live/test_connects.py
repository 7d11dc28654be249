"""connect() that never leaves: a row of the process that called it, whatever becomes of the socket."""

import errno
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import pytest

from nettop.model.rows import Connection, Endpoint
from tests.live import programs
from tests.live.lab import Namespace, Watch, connections_of, listens, namespace, process_of, wait_until

NOWHERE, NOWHERE_IPV6, PORT, CLOSED = "192.0.2.7", "2001:db8::7", 7001, 7999
IPPROTO_MPTCP, MPTCP_ENABLED = 262, Path("/proc/sys/net/mptcp/enabled")


@pytest.fixture
def inside(directory: Path) -> Iterator[Namespace]:
    with namespace(directory) as made:
        yield made


def fail(inside: Namespace, addresses: list[str], comm: str = "unlucky", protocol: int = 0) -> int:
    """The pid of a program that finds no way to these addresses, and has ended."""
    program = inside.play(programs.fail_to_connect, addresses=addresses, port=CLOSED, comm=comm, protocol=protocol)
    assert program.hear() == "ready"
    program.say("connect")
    assert program.hear() == [errno.ENETUNREACH] * len(addresses)
    program.end()
    return program.pid


def test_the_row_and_the_totals(inside: Namespace, directory: Path) -> None:
    with Watch(directory, "--netns", inside.name) as watch:
        pid = fail(inside, [NOWHERE, NOWHERE_IPV6, f"::ffff:{NOWHERE}"])
        watch.settled(pid, connections=3)
        snapshot = watch.stop()
    rows = sorted(connections_of(snapshot, pid), key=attrgetter("opened_at"))
    assert [(row.family, row.remote, row.local) for row in rows] == [
        ("ipv4", rows[0].remote, Endpoint(address="0.0.0.0", port=0)),
        ("ipv6", rows[1].remote, Endpoint(address="::", port=0)),
        ("ipv4", rows[2].remote, Endpoint(address="::", port=0)),
    ]
    assert [(row.remote.address, row.remote.port) for row in rows] == [
        (NOWHERE, CLOSED),
        (NOWHERE_IPV6, CLOSED),
        (NOWHERE, CLOSED),
    ]
    for row in rows:
        assert (row.comm, row.owner, row.direction, row.state, row.end) == (
            "unlucky", "exact", "outbound", "closed", "no-route",
        )  # fmt: skip
        assert (row.connect_ms, row.duration_ms, row.closed_at) == (None, 0, row.opened_at)
    totals = process_of(snapshot, pid).tcp
    assert (totals.opened, totals.failed, totals.active) == (3, 3, 0)


@pytest.mark.parametrize(
    ("scope", "seen"),
    [(("--comm", "unlucky"), True), (("--comm", "another"), False), (("--filter", "end:no-route"), True),
     (("--filter", "end:denied"), False)],
)  # fmt: skip
def test_what_is_watched(inside: Namespace, directory: Path, scope: tuple[str, ...], seen: bool) -> None:
    with Watch(directory, "--netns", inside.name, *scope, quiet=False) as watch:
        pid = fail(inside, [NOWHERE])
        last = fail(inside, [NOWHERE], comm="another" if "another" in scope else "unlucky")
        if "end:denied" not in scope:
            watch.settled(last, connections=1)
        snapshot = watch.stop()
    assert [row.end for row in connections_of(snapshot, pid)] == (["no-route"] if seen else [])


def test_another_namespace_is_not_watched(inside: Namespace, directory: Path) -> None:
    with namespace(directory) as other, Watch(directory, "--netns", inside.name) as watch:
        pid = fail(other, [NOWHERE])
        watch.settled(fail(inside, [NOWHERE]), connections=1)
        assert connections_of(watch.stop(), pid) == []


def ends(rows: list[Connection]) -> list[str | None]:
    return [row.end for row in sorted(rows, key=lambda row: row.id)]


def test_the_same_socket_again(inside: Namespace, directory: Path) -> None:
    """Each attempt is told when the next one begins; the one that works is a connection as any other."""
    server = inside.play(programs.tcp_server, address="127.0.0.1", port=PORT)
    assert server.hear() == "listening"
    attempts = [[NOWHERE, 80], [NOWHERE, 81], ["127.0.0.1", CLOSED], [NOWHERE, 82], ["127.0.0.1", PORT]]
    errors = [errno.ENETUNREACH, errno.ENETUNREACH, errno.ECONNREFUSED, errno.ENETUNREACH, 0]
    with Watch(directory, "--netns", inside.name) as watch:
        program = inside.play(programs.connect_again, attempts=attempts)
        for error in errors[:2]:
            program.say("connect")
            assert program.hear() == error
        watch.until(lambda seen: len(connections_of(seen, program)) == 1, "the first, once there is a second")
        for error in errors[2:]:
            program.say("connect")
            assert program.hear() == error
        program.end()
        watch.settled(program, connections=5)
        rows = connections_of(watch.stop(), program)
    assert [(row.remote.port, row.end) for row in sorted(rows, key=attrgetter("opened_at"))] == [
        (80, "no-route"),
        (81, "no-route"),
        (CLOSED, "refused"),
        (82, "no-route"),
        (PORT, "normal"),
    ]
    assert [row.local.port == 0 for row in rows] == [row.end == "no-route" for row in rows]


def test_a_socket_that_listens_afterwards(inside: Namespace, directory: Path) -> None:
    with Watch(directory, "--netns", inside.name) as watch:
        program = inside.play(programs.connect_again, attempts=[[NOWHERE, 80]], listen=True)
        program.say("connect")
        assert program.hear() == errno.ENETUNREACH
        assert program.hear() == "listening"
        snapshot = watch.settled(program, connections=1)
        assert ends(connections_of(snapshot, program)) == ["no-route"]
        program.say("end")
        program.end()
        watch.stop()


@pytest.mark.skipif(not MPTCP_ENABLED.exists(), reason="this kernel has no Multipath TCP")
def test_multipath(inside: Namespace, directory: Path) -> None:
    with Watch(directory, "--netns", inside.name) as watch:
        pid = fail(inside, [NOWHERE, NOWHERE_IPV6], protocol=IPPROTO_MPTCP)
        watch.settled(pid, connections=2)
        assert ends(connections_of(watch.stop(), pid)) == ["no-route"] * 2


def test_a_port_of_its_own_that_is_taken(inside: Namespace, directory: Path) -> None:
    server = inside.play(programs.tcp_server, address="127.0.0.1", port=PORT)
    assert server.hear() == "listening"
    with Watch(directory, "--netns", inside.name) as watch:
        source = ["127.0.0.1", 7777]
        program = inside.play(programs.connect_without_port, address="127.0.0.1", port=PORT, source=source)
        assert program.hear() == errno.EADDRNOTAVAIL
        program.end()
        watch.settled(program, connections=2)
        rows = connections_of(watch.stop(), program)
    assert {row.end: (row.local.address, row.local.port) for row in rows} == {
        "no-port": ("127.0.0.1", 7777),
        "normal": ("127.0.0.1", 7777),
    }


def test_what_has_a_port_and_sends_nothing_is_given_up(inside: Namespace, directory: Path) -> None:
    inside.sysctl("net.ipv4.tcp_fastopen", 0x1 | 0x4)  # as a client, and with data before there is a cookie
    server = inside.play(programs.tcp_server, address="127.0.0.1", port=PORT)
    assert server.hear() == "listening"
    wait_until(lambda: listens(server, PORT), "the server")
    with Watch(directory, "--netns", inside.name) as watch:
        program = inside.play(programs.connect_and_send_nothing, address="127.0.0.1", port=PORT)
        assert program.hear() == 0
        program.end()
        watch.settled(program, connections=1)
        assert ends(connections_of(watch.stop(), program)) == ["given-up"]
