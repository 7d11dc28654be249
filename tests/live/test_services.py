"""Units, containers and pods of processes, in cgroups as their managers make them, read back through the kernel."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nettop.model.rows import Process
from nettop.model.snapshot import Snapshot
from tests.live import dns_server, programs
from tests.live.cgroups import TREES, Forest, enter, forest, short_lives
from tests.live.lab import Namespace, Program, Watch, connections_of, namespace, nettop, process_of
from tests.live.test_scope import did_the_errand

PORT, UDP_PORT, STAY_PORT = 7016, 7017, 7018
MARK = f"nettop-test-{os.getpid()}"
POD = "1f8b9d3c-6a52-4c1e-9a77-3f2f6f1d2e10"
POD_SLICE = f"kubepods-burstable-pod{POD.replace('-', '_')}.slice"


def container(number: int) -> str:
    return f"{os.getpid():08x}{number:02x}" + "e5" * 27


Told = tuple[str | None, str | None, str | None, str | None]  # unit, container, its runtime, the pod's uid

KINDS: tuple[tuple[str, Told], ...] = (
    (f"system.slice/{MARK}.service", (f"{MARK}.service", None, None, None)),
    (f"user.slice/user@1000.service/app.slice/app-{MARK}.scope", (f"app-{MARK}.scope", None, None, None)),
    (f"system.slice/docker-{container(1)}.scope", (f"docker-{container(1)}.scope", container(1), "docker", None)),
    (f"docker/{container(2)}", (None, container(2), "docker", None)),
    (
        f"machine.slice/libpod-{container(3)}.scope/container",
        (f"libpod-{container(3)}.scope", container(3), "podman", None),
    ),
    (
        f"kubepods.slice/kubepods-burstable.slice/{POD_SLICE}/cri-containerd-{container(4)}.scope",
        (f"cri-containerd-{container(4)}.scope", container(4), "containerd", POD),
    ),
    (f"kubepods/burstable/pod{POD}/{container(5)}", (None, container(5), None, POD)),
    (
        f"kubepods.slice/kubepods-burstable.slice/{POD_SLICE}/crio-{container(6)}.scope",
        (f"crio-{container(6)}.scope", container(6), "cri-o", POD),
    ),
    (f"lxc.payload.{MARK}/system.slice/ssh.service", ("ssh.service", MARK, "lxc", None)),
    (f"machine.slice/machine-{MARK.replace('-', chr(92) + 'x2d')}.scope/payload",
     (f"machine-{MARK.replace('-', chr(92) + 'x2d')}.scope", MARK, "nspawn", None)),
)  # fmt: skip


def told(row: Process) -> Told:
    return row.unit, row.container, row.container_runtime, row.pod_uid


@pytest.fixture
def trees() -> Iterator[Forest]:
    with forest() as made:
        yield made


@pytest.mark.parametrize("v1", [tree.v1 for tree in TREES])
@pytest.mark.parametrize("older", [False, True], ids=["made while nettop watches", "older than nettop"])
def test_a_process_that_is_gone_before_the_tick(
    quiet: Namespace, directory: Path, trees: Forest, v1: bool, older: bool
) -> None:
    """As a unit that does one thing, or a container that is removed after: /proc never has it, and no cgroup either."""
    if older:
        groups = [trees.make(path, v1) for path, _ in KINDS]
    with Watch(directory, "--netns", quiet.name, interval=2.0) as watch:
        if not older:
            groups = [trees.make(path, v1) for path, _ in KINDS]
        client = short_lives(quiet, groups, PORT, directory / "short-lives")
        pids = client.hear()
        if not older:
            trees.remove()
        client.say("go")
        client.end()
        snapshot = watch.until(lambda snapshot: all_ended(snapshot, pids), "all of them")
        watch.stop()
    rows = [process_of(snapshot, pid) for pid in pids]
    assert [told(row) for row in rows] == [expected for _, expected in KINDS]
    if not v1:
        assert [row.cgroup for row in rows] == [f"/{path}".replace("\\", "\\\\") for path, _ in KINDS]


def all_ended(snapshot: Snapshot, pids: list[int]) -> bool:
    ended = {row.pid for row in snapshot.processes if row.exited_at is not None and row.udp.tx_bytes == 1}
    return ended >= set(pids)


@pytest.mark.parametrize("v1", [tree.v1 for tree in TREES])
def test_a_process_that_stays(quiet: Namespace, directory: Path, trees: Forest, v1: bool) -> None:
    script = f"read; echo -n x > /dev/udp/127.0.0.1/{PORT}; read"
    clients = [quiet.start("bash", "-c", script) for _ in KINDS]
    for client, (path, _) in zip(clients, KINDS, strict=True):
        enter(trees.make(path, v1), client.pid)
    with Watch(directory, "--netns", quiet.name) as watch:
        for client in clients:
            client.say("send")
        pids = {client.pid for client in clients}
        snapshot = watch.until(lambda snapshot: {row.pid for row in snapshot.processes} >= pids, "them")
        assert [told(process_of(snapshot, client)) for client in clients] == [expected for _, expected in KINDS]
        assert {process_of(snapshot, client).netns_name for client in clients} == {quiet.name}
        for client in clients:
            client.say("end")
            client.end()
        watch.stop()


# --unit and --container

UNIT, CONTAINER = f"{MARK}-scope.service", container(99)


@pytest.fixture(scope="module")
def served(directory: Path) -> Iterator[Namespace]:
    with namespace(directory) as inside:
        assert inside.play(dns_server.serve, addresses=["127.0.0.1"]).hear() == "serving"
        assert inside.play(programs.tcp_server, address="127.0.0.1", port=PORT).hear() == "listening"
        assert inside.play(programs.udp_echo, address="127.0.0.1", port=UDP_PORT).hear() == "bound"
        yield inside


def errand(where: Namespace, comm: str, cgroup: Path | None = None) -> Program:
    program = where.play(programs.errand, comm=comm, tcp_port=PORT, udp_port=UDP_PORT)
    assert program.hear() == "ready"
    if cgroup is not None:
        enter(cgroup, program.pid)
    return program


SCOPES = {
    "unit": (["--unit", UNIT.removesuffix(".service")], f"system.slice/{UNIT}"),
    "container": (["--container", CONTAINER], f"system.slice/docker-{CONTAINER}.scope"),
    "container of cgroupfs": (["--container", CONTAINER], f"docker/{CONTAINER}"),
    "both": (
        ["--unit", UNIT, "--container", CONTAINER],
        f"system.slice/{UNIT}/libpod-payload-{CONTAINER}",
    ),
}


_V1 = [("container of cgroupfs", True)] if any(tree.v1 for tree in TREES) else []


@pytest.mark.parametrize(("scope", "v1"), [*((scope, False) for scope in SCOPES), *_V1])
def test_a_scope(served: Namespace, directory: Path, trees: Forest, scope: str, v1: bool) -> None:
    """Who is in it when nettop starts, who comes later, also below, and in a cgroup that is made again."""
    options, path = SCOPES[scope]
    early = errand(served, "early", trees.make(path, v1))
    others = [
        errand(served, "beside", trees.make(f"{path.rpartition('/')[0]}/{MARK}-beside", v1)),
        errand(served, "out"),
    ]
    with Watch(directory, *options, "--netns", served.name) as watch:
        inside = {"early": early}
        inside["late"] = errand(served, "late", trees.make(path, v1))
        inside["below"] = errand(served, "below", trees.make(f"{path}/made/later", v1))
        outside = {program.pid for program in others}
        for program in (*inside.values(), *others):
            program.say("go")
            assert program.hear() == "done"
            program.say("end")
            program.end()
        trees.remove()
        inside["again"] = errand(served, "again", trees.make(path, v1))
        inside["again"].say("go")
        assert inside["again"].hear() == "done"
        watch.until(
            lambda snapshot: all(
                [row.state for row in connections_of(snapshot, program)] == ["closed"] for program in inside.values()
            ),
            "all connections",
        )
        snapshot = watch.stop()
    inside["again"].say("end")
    inside["again"].end()
    for comm, program in inside.items():
        did_the_errand(snapshot, program, comm)
    pids = {program.pid for program in inside.values()}
    assert not pids & outside
    assert {row.pid for row in snapshot.processes} == pids
    assert {row.pid for row in snapshot.dns} == pids
    assert {row.pid for row in snapshot.connections} == pids


def test_a_connection_that_is_older_than_nettop(served: Namespace, directory: Path, trees: Forest) -> None:
    group = trees.make(f"system.slice/{UNIT}")
    assert served.play(programs.tcp_server, address="127.0.0.1", port=STAY_PORT, mode="hold").hear() == "listening"
    stays = [served.play(programs.tcp_stay, address="127.0.0.1", port=STAY_PORT, up=9, down=7) for _ in range(2)]
    for program in stays:
        program.hear()
    enter(group, stays[0].pid)
    with Watch(directory, "--unit", UNIT, "--netns", served.name) as watch:
        snapshot = watch.until(lambda snapshot: len(snapshot.connections) == 1, "its connection")
        assert [row.pid for row in snapshot.connections] == [stays[0].pid]
        for program in stays:
            program.say("end")
            program.end()
        snapshot = watch.until(lambda snapshot: snapshot.connections[0].state == "closed", "its end")
        watch.stop()
    assert {row.pid for row in snapshot.processes} == {stays[0].pid}


def test_a_unit_that_does_not_run_yet_is_said(served: Namespace) -> None:
    done = nettop("snapshot", "--for", "0.1", "--netns", served.name, "--unit", "not-there-yet")
    assert done.returncode == 0
    assert done.stderr == "nettop: no unit 'not-there-yet.service' runs yet; waiting for it to start.\n"


@pytest.mark.parametrize("arguments", [["--container", "not-there"], ["--unit", "a*"], ["--unit", ""]])
def test_what_is_not_there(arguments: list[str]) -> None:
    done = nettop("snapshot", "--for", "0.1", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nettop: ")
    assert done.stderr.count("\n") == 1
