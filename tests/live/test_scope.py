"""--pid, --comm and --netns: what is in scope is there as always, what is not does not appear at all."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettop.model.events import UdpChanged
from nettop.model.snapshot import Snapshot
from tests.live import dns_server, programs
from tests.live.lab import Namespace, Program, Watch, connections_of, dns_of, namespace, nettop

PORT, UDP_PORT = 7013, 7014


@dataclass
class Traffic:
    """Two programs that do the same, and one that starts when nettop already watches."""

    inode: int
    snapshots: dict[str, Snapshot]
    server: Program
    echo: Program
    early: dict[str, Program]
    late: dict[str, Program]
    elsewhere: Program


SCOPES: dict[str, Callable[[Namespace, dict[str, Program]], list[str]]] = {
    "name": lambda inside, _: ["--netns", inside.name],
    "path": lambda inside, _: ["--netns", str(inside.path)],
    "pid of one inside": lambda _, early: ["--netns", str(early["alpha"].pid)],
    "pid": lambda _, early: ["--pid", str(early["alpha"].pid)],
    "both pids": lambda _, early: ["--pid", str(early["alpha"].pid), "--pid", str(early["beta"].pid)],
    "comm": lambda inside, _: ["--comm", "beta", "--netns", inside.name],
    "comm that starts later": lambda inside, _: ["--comm", "gamma", "--netns", inside.name],
    "comm everywhere": lambda *_: ["--comm", "elsewhere-only"],
    "pid and comm": lambda _, early: ["--pid", str(early["alpha"].pid), "--comm", "alpha"],
    "pid and wrong comm": lambda _, early: ["--pid", str(early["alpha"].pid), "--comm", "beta"],
    "pid and wrong netns": lambda _, early: ["--pid", str(early["alpha"].pid), "--netns", "OTHER"],
}


@pytest.fixture(scope="module")
def traffic(directory: Path) -> Iterator[Traffic]:
    with namespace(directory) as inside, namespace(directory) as other, ExitStack() as stack:
        for where in (inside, other):
            assert where.play(dns_server.serve, addresses=["127.0.0.1"]).hear() == "serving"
        server = inside.play(programs.tcp_server, address="127.0.0.1", port=PORT)
        echo = inside.play(programs.udp_echo, address="127.0.0.1", port=UDP_PORT)
        other_server = other.play(programs.tcp_server, address="127.0.0.1", port=PORT)
        other_echo = other.play(programs.udp_echo, address="127.0.0.1", port=UDP_PORT)
        for program in (server, other_server, echo, other_echo):
            assert program.hear() in ("listening", "bound")
        early = {name: errand(inside, name) for name in ("alpha", "beta")}
        elsewhere = errand(other, "elsewhere-only")
        for program in (*early.values(), elsewhere):
            assert program.hear() == "ready"
        watches = {}
        for name, arguments in SCOPES.items():
            chosen = [other.name if argument == "OTHER" else argument for argument in arguments(inside, early)]
            # a comm that nobody has yet is a sentence on stderr
            waits = name == "comm that starts later"
            watches[name] = Watch(directory, *chosen, quiet=not waits)
            stack.callback(watches[name].kill)
        for watch in watches.values():  # all at once, then wait for each
            stack.enter_context(watch)
        late = {"gamma": errand(inside, "gamma")}
        assert late["gamma"].hear() == "ready"
        for program in (*early.values(), *late.values(), elsewhere):
            program.say("go")
            assert program.hear() == "done"
        watches["name"].until(
            lambda snapshot: all(
                len(closed_of(snapshot, program)) == 1 for program in (*early.values(), *late.values())
            ),
            "all connections",
        )
        snapshots = {name: watch.stop() for name, watch in watches.items()}
        yield Traffic(inside.inode, snapshots, server, echo, early, late, elsewhere)


def errand(where: Namespace, comm: str) -> Program:
    return where.play(programs.errand, comm=comm, tcp_port=PORT, udp_port=UDP_PORT)


def closed_of(snapshot: Snapshot, program: Program) -> list[int]:
    return [row.id for row in connections_of(snapshot, program) if row.state == "closed"]


def did_the_errand(snapshot: Snapshot, program: Program, comm: str) -> None:
    (query,) = dns_of(snapshot, program)
    assert (query.comm, query.qname, query.status, query.rcode) == (comm, f"{comm}.test", "answered", "NOERROR")
    assert query.response_bytes is not None
    (connection,) = connections_of(snapshot, program)
    assert (connection.comm, connection.tx_bytes, connection.rx_bytes) == (comm, 29, 31)
    assert (connection.end, connection.owner) == ("normal", "exact")
    (process,) = [row for row in snapshot.processes if row.pid == program.pid]
    asked = len(programs.query(1, f"{comm}.test"))
    assert (process.comm, process.udp.tx_bytes, process.udp.rx_bytes) == (comm, asked + 37, query.response_bytes + 37)
    assert (process.dns.queries, process.tcp.opened) == (1, 1)


@pytest.mark.parametrize("scope", ["name", "path", "pid of one inside"])
def test_a_network_namespace(traffic: Traffic, scope: str) -> None:
    snapshot = traffic.snapshots[scope]
    for comm, program in (traffic.early | traffic.late).items():
        did_the_errand(snapshot, program, comm)
    inside = {program.pid for program in (*traffic.early.values(), *traffic.late.values())}
    assert {row.pid for row in snapshot.dns} == inside
    assert {row.pid for row in snapshot.connections} == inside | {traffic.server.pid}
    assert {row.pid for row in snapshot.processes} == inside | {traffic.server.pid, traffic.echo.pid} | dns_servers(
        snapshot
    )
    assert snapshot.scope.netns == (traffic.inode,)
    assert {row.netns for row in snapshot.dns} == {traffic.inode}
    assert {row.netns for row in snapshot.connections} == {traffic.inode}
    assert {row.netns for row in snapshot.processes} == {traffic.inode}


def dns_servers(snapshot: Snapshot) -> set[int]:
    return {row.pid for row in snapshot.processes if row.cmdline is not None and "serve" in row.cmdline}


@pytest.mark.parametrize(
    ("scope", "comms"),
    [
        ("pid", ["alpha"]),
        ("both pids", ["alpha", "beta"]),
        ("comm", ["beta"]),
        ("comm that starts later", ["gamma"]),
        ("comm everywhere", ["elsewhere-only"]),
        ("pid and comm", ["alpha"]),
        ("pid and wrong comm", []),
        ("pid and wrong netns", []),
    ],
)
def test_processes(traffic: Traffic, scope: str, comms: list[str]) -> None:
    snapshot = traffic.snapshots[scope]
    known = traffic.early | traffic.late | {"elsewhere-only": traffic.elsewhere}
    for comm in comms:
        did_the_errand(snapshot, known[comm], comm)
    pids = {known[comm].pid for comm in comms}
    assert {row.pid for row in snapshot.dns} == pids
    assert {row.pid for row in snapshot.connections} == pids
    assert {row.pid for row in snapshot.processes} == pids


def test_a_comm_that_nobody_has_yet_is_said(quiet: Namespace) -> None:
    done = nettop("snapshot", "--for", "0.1", "--netns", quiet.name, "--comm", "not-there-yet")
    assert done.returncode == 0
    assert done.stderr == "nettop: no process is named 'not-there-yet' yet; waiting for one to start.\n"


@pytest.mark.parametrize(
    "arguments", [["--netns", "no-such-namespace"], ["--netns", "/etc/passwd"], ["--pid", "4194303"], ["--pid", "x"]]
)
def test_what_is_not_there(arguments: list[str]) -> None:
    done = nettop("snapshot", "--for", "0.1", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("nettop: ")
    assert done.stderr.count("\n") == 1


def test_what_a_process_in_scope_leaves_to_its_child_is_over(directory: Path) -> None:
    """An ended process gains no bytes, and the child is not watched."""
    with (
        namespace(directory) as inside,
        Watch(directory, "--comm", "parent", "--netns", inside.name, quiet=False) as watch,
    ):
        parent = inside.play(programs.leave_socket_to_child, address="127.0.0.1", port=7999, sizes=[101, 103, 107])
        assert parent.hear() == "sent"
        watch.until(lambda snapshot: [row.tx_bytes for row in snapshot.processes] == [101], "the parent's bytes")
        parent.say("let the child send")
        parent.hear()
        watch.until(lambda _: any(event.udp.closed for event in udp_of(watch)), "its socket to be over for it")
        ended = watch.store.snapshot().processes
        parent.say("go on")
        snapshot = watch.stop(losses=True)
        assert [row.exited_at is not None for row in ended] == [True]
        assert [row.tx_bytes for row in snapshot.processes] == [row.tx_bytes for row in ended]


def udp_of(watch: Watch) -> list[UdpChanged]:
    return [event for event in watch.events if isinstance(event, UdpChanged)]
