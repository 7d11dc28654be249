"""--allow-cut from the key to the kernel: each kind works, undoes itself, and touches nothing else.

The programs that say no are attached to the root cgroup here, after tests/live/test_blocks_pass.py has tried them in
one of its own. Every key names one process, cgroup or namespace that the test has made.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nettop.kernel.btf import Btf, BtfError
from nettop.kernel.compiler import SOCK_DESTROY
from nettop.kernel.hooks import CONTINUATIONS
from tests.kernels import kernel_version
from tests.live import lookup_programs, programs
from tests.live.cgroups import enter, forest
from tests.live.lab import (
    NETTOP,
    PATIENCE_S,
    Namespace,
    Program,
    existing_ids,
    hook_programs,
    kernel_ids,
    namespace,
    wait_until,
)
from tests.live.terminal import Terminal
from tests.live.test_screen import choose

pytestmark = pytest.mark.live

COMPILING_S = 240.0  # of an emulated machine, which takes a minute or more
ADDRESS, PORT, FIRST, SECOND = "127.0.0.1", 9, 7001, 7002
HELD = 1 << 5 | (kernel_version() < (5, 19)) << 39  # CAP_KILL, and CAP_BPF to read where that takes it
EVERYTHING = {f"{how} {ADDRESS}" for how in ("tcp", "udp", "sendto")}


def closes() -> bool:
    try:
        return Btf.of_running_kernel().function(SOCK_DESTROY) > 0
    except BtfError:
        return False


END_OF_REFUSED = "! denied" if kernel_version() >= (6, 1) else "! unsent"  # bpf_get_retval
NEEDS_DESTROY = pytest.mark.skipif(not closes(), reason="Linux 6.5 and later end connections for a program")


def cutting(where: Namespace, *arguments: str, inside: bool = False) -> Terminal:
    """nettop watching this namespace, or in it."""
    command = [*NETTOP, "--netns", where.name, "--interval", "0.2", *arguments]
    return started(Terminal(where.inside(*command) if inside else command, columns=160))


def started(terminal: Terminal) -> Terminal:
    """It may have to compile first what no other test loads."""
    terminal.until(lambda: "LIVE" in terminal.text and "Connections" in terminal.text, "the screen", COMPILING_S)
    return terminal


def attempter(where: Namespace, **options: Any) -> Program:
    """It has a row once it has tried."""
    program = where.play(programs.attempt, addresses=[ADDRESS], port=PORT, **options)
    assert program.hear() == "ready"
    assert refused(program) == set()
    return program


def refused(program: Program) -> set[str]:
    program.say(1)
    return {attempt for attempt, outcome in program.hear().items() if outcome == "EPERM"}


def order(terminal: Terminal, expression: str, words: str, *said: str) -> None:
    """Type it on the card of the first connection that the filter chooses."""
    choose(terminal, expression)
    terminal.press("2")
    terminal.until(lambda: has_connections(terminal), "a connection")
    give(terminal, words, *said)


def has_connections(terminal: Terminal) -> bool:
    return re.search(r" 2 Connections [1-9]", terminal.text) is not None


def give(terminal: Terminal, words: str, *said: str) -> None:
    """Type it on the card of the row under the cursor."""
    terminal.press("x")
    terminal.until_said("Type one of these:")
    terminal.press(words)
    terminal.until_said(words)
    terminal.press("\r")
    terminal.until_said(*said)


def block(terminal: Terminal, program: Program) -> None:
    """For ten minutes, from the card of one of its connections, which it tries until there is one."""

    def has_tried() -> bool:
        assert refused(program) == set()
        terminal.read(0.5)
        return has_connections(terminal)

    choose(terminal, f"pid:{program.pid}")
    terminal.press("2")
    terminal.until(has_tried, "a connection", PATIENCE_S)
    give(terminal, "block process 10", "Blocked for 10 min")


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Namespace]:
    with namespace(tmp_path) as made:
        yield made


def test_a_process_is_blocked_until_it_is_let_go(quiet: Namespace) -> None:
    with cutting(quiet, "--allow-cut") as terminal:
        terminal.until_said("CUT ON", "nothing is blocked")
        blocked, beside = attempter(quiet, comm="blocked"), attempter(quiet, comm="beside")
        order(terminal, f"pid:{blocked.pid}", "block process 10", "Blocked for 10 min: blocked", "BLOCKS")
        assert refused(blocked) == EVERYTHING
        assert refused(beside) == set()
        terminal.until_said(f"blocked[{blocked.pid}]", "left, 3 refused", END_OF_REFUSED)
        assert re.search(r"([5-9]m\d\ds|10m00s) left", terminal.text)
        terminal.press("X")
        terminal.until_said("No longer blocked", "nothing is blocked")
        assert refused(blocked) == set()
        terminal.press("q")
        assert terminal.ends() == 0
    for program in (blocked, beside):
        program.stop()


def test_beside_look_ups_from_within_the_same_cage(quiet: Namespace) -> None:
    """Both options at once: each does its part, and nothing but CAP_KILL is held beside what reading takes."""
    with cutting(quiet, "--allow-cut", "--lookups") as terminal:
        terminal.until_said("CUT ON", "look-ups in")
        blocked = attempter(quiet)
        order(terminal, f"pid:{blocked.pid}", "block process 10", "Blocked for 10 min", "BLOCKS")
        assert refused(blocked) == EVERYTHING
        program = quiet.play(lookup_programs.one, name="localhost", family=2)
        assert program.hear()["result"] == "OK"
        program.end()
        terminal.press("\x1b")
        terminal.until(lambda: f"filter pid:{blocked.pid}" not in terminal.text, "the filter to be cleared")
        choose(terminal, f"pid:{program.pid}")
        terminal.press("8")
        terminal.until_said(f"8 Look-ups 1 · {Path(sys.executable).name}[{program.pid}]", "localhost")
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{terminal.pid}/status").read_text().splitlines())
        assert (status["Seccomp"], int(status["CapEff"], 16), status["NoNewPrivs"]) == ("2", HELD, "1")
        mine = kernel_ids(terminal.pid)
        terminal.send(signal.SIGKILL)
        terminal.process.wait(PATIENCE_S)
        wait_until(lambda: not mine["prog"] & existing_ids()["prog"], "the kernel to forget the programs")
        assert refused(blocked) == set()
    blocked.stop()


def test_a_remote_is_blocked_in_one_namespace_and_free_when_nettop_is_killed(
    quiet: Namespace, other: Namespace
) -> None:
    with cutting(quiet, "--allow-cut") as terminal:
        here, too, elsewhere = attempter(quiet), attempter(quiet), attempter(other)
        order(terminal, f"pid:{here.pid}", "block remote 60", f"Blocked for 60 min: {ADDRESS}")
        assert refused(here) == refused(too) == EVERYTHING
        assert refused(elsewhere) == set()
        mine = kernel_ids(terminal.pid)
        terminal.send(signal.SIGKILL)
        terminal.process.wait(PATIENCE_S)
        wait_until(lambda: not mine["link"] & existing_ids()["link"], "the kernel to forget the links")
        assert refused(here) == refused(too) == set()
    for program in (here, too, elsewhere):
        program.stop()


def test_a_unit_is_blocked_with_all_who_come_later_until_nettop_leaves(quiet: Namespace) -> None:
    with forest() as trees, cutting(quiet, "--allow-cut") as terminal:
        unit = trees.make("nettop-test.slice/nettop-test-cut.service")
        inside, outside = attempter(quiet), attempter(quiet)
        enter(unit, inside.pid)
        member = quiet.play(programs.attempt, addresses=[ADDRESS], port=PORT, comm="member")
        enter(unit, member.pid)  # before it is seen, so that its row has the unit
        assert member.hear() == "ready"
        assert refused(member) == set()
        words = "Blocked for 1 min: nettop-test-cut.service"
        order(terminal, f"pid:{member.pid}", "block unit 1", words)
        assert refused(inside) == refused(member) == EVERYTHING
        assert refused(outside) == set()
        enter(unit, outside.pid)
        assert refused(outside) == EVERYTHING
        terminal.press("q")
        assert terminal.ends() == 0
        wait_until(lambda: not refused(inside) | refused(member) | refused(outside), "all to be free")
        for program in (inside, outside, member):
            program.stop()


def established(where: Program) -> int:
    """Ends of connections that are open in its namespace."""
    return sum(line.split()[3] == "01" for line in Path(f"/proc/{where.pid}/net/tcp").read_text().splitlines()[1:])


def lost(where: Namespace) -> tuple[list[Program], Program]:
    """Two servers, and one client with a connection to each."""
    servers = [where.play(programs.tcp_server, address=ADDRESS, port=port, mode="hold") for port in (FIRST, SECOND)]
    for server in servers:
        assert server.hear() == "listening"
    client = where.play(programs.tcp_lose, address=ADDRESS, ports=[FIRST, SECOND])
    assert len(client.hear()) == 2
    assert established(client) == 4
    return servers, client


@NEEDS_DESTROY
def test_one_connection_is_closed_and_the_other_is_not(quiet: Namespace) -> None:
    with cutting(quiet, "--allow-cut", inside=True) as terminal:
        servers, client = lost(quiet)
        order(terminal, f"pid:{client.pid} port:{SECOND}", "close", "Closed: the connection to")
        assert client.hear() == [1, "ECONNABORTED"]
        wait_until(lambda: established(client) == 2, "only one connection to be open")
        terminal.until_said("! reset-by")
    for program in (*servers, client):
        program.stop()


def test_a_connection_of_another_namespace_is_left_to_a_command_that_works(quiet: Namespace) -> None:
    """Without the option: what the card says is run as it stands there."""
    with cutting(quiet) as terminal:
        assert len(kernel_ids(terminal.pid)["prog"]) == hook_programs() + len(CONTINUATIONS)
        assert "CUT ON" not in terminal.text
        servers, client = lost(quiet)
        choose(terminal, f"pid:{client.pid} port:{FIRST}")
        terminal.press("2")
        terminal.until(lambda: has_connections(terminal), "a connection")
        terminal.press("x")
        terminal.until_said("nettop changes nothing unless it is started with --allow-cut.", "kill -TERM", "ss -K")
        (command,) = re.findall(r"(nsenter --net=\S+ ss -K .*?)\s*│", terminal.text)
        subprocess.run(["sh", "-c", command], check=True, capture_output=True)
        assert client.hear() == [0, "ECONNABORTED"]
        assert established(client) == 2
    for program in (*servers, client):
        program.stop()


# What it must not do: tried past the screen, by a program that has attached, dropped its privileges and shut itself in

TRIALS = """if True:
    import ctypes, json, os, signal, socket, sys
    from pathlib import Path
    from nettop.kernel.scope import Scope, netns_inode
    from nettop.model.cutting import OneConnection, OneProcess, OneRemote, OneUnit, Order
    from nettop.model.store import Store
    from nettop.sources.live import LiveSource, LookedAt
    name, pids = sys.argv[1], {each: int(pid) for each, pid in json.loads(sys.argv[2]).items()}
    source = LiveSource(Scope(netns=(netns_inode(name),)), 0.2, looked_at=LookedAt(may_cut=True))
    source.give_up_privileges(Path.cwd())
    source.shut_in([])
    print("ready", flush=True)
    store, found = Store(), {}
    while set(pids.values()) - set(found):
        for event in source.read(0.2):
            store.apply(event)
        found = {row.pid: row for row in store.snapshot().processes}

    def one(who):
        row = found[pids[who]]
        return OneProcess(row.pid, row.start_time, row.comm)

    cutter, outcomes = source.cutter, {}

    def order(name, verb, target, minutes=0):
        cutter.order(Order(verb, target, minutes))
        outcomes[name] = cutter.state().outcome.sentence

    netns, nobody = netns_inode(name), one("plain")
    late = OneProcess(nobody.pid, found[pids["sshd"]].start_time, "late")
    me = OneProcess(os.getpid(), nobody.start_time, "me")
    parent = OneProcess(os.getppid(), nobody.start_time, "parent")
    init = OneProcess(1, nobody.start_time, "init")
    unit = found[pids["member"]].unit
    for verb in ("end", "kill", "block"):
        order(f"{verb} sshd", verb, one("sshd"), 1)
        order(f"{verb} a pid that is another's", verb, late, 1)
        order(f"{verb} nettop", verb, me, 1)
        order(f"{verb} its parent", verb, parent, 1)
        order(f"{verb} init", verb, init, 1)
    order("block the unit of sshd", "block", OneUnit(unit, one("member")), 1)
    order("block a unit that has gone", "block", OneUnit("other.service", nobody), 1)
    order("block where the session comes from", "block", OneRemote("192.0.2.99", netns), 1)
    order("close one of another namespace", "close", OneConnection(1, netns, OneRemote("127.0.0.1", netns), nobody))
    here = cutter.powers.netns
    order("close none", "close", OneConnection(10**6, here, OneRemote("127.0.0.1", here), nobody))
    outcomes["blocks"] = len(cutter.state().blocks)

    plain = os.pidfd_open(pids["plain"])
    def sent(number):
        signal.pidfd_send_signal(plain, number)
    def by_number():
        os.kill(pids["plain"], signal.SIGTERM)
    trials = {f"signal {each}": (lambda each=each: sent(each)) for each in range(65) if each not in (9, 15, 32, 33)}
    trials |= {"kill": by_number, "socket": lambda: socket.socket(socket.AF_UNIX).close(), "fork": os.fork}
    done = []
    for trial, attempt in trials.items():
        try:
            attempt()
        except PermissionError:
            continue
        done.append(trial)
    outcomes["done"] = done
    lines = Path("/proc/self/status").read_text().splitlines()
    outcomes["held"] = {name: int(value, 16) for name, _, value in (line.partition(":") for line in lines)
                        if name.startswith("Cap")}
    print(json.dumps(outcomes), flush=True)
    """


def test_what_it_refuses_to_do(quiet: Namespace, tmp_path: Path) -> None:
    with forest() as trees:
        unit = trees.make("nettop-test.slice/nettop-test-ssh.service")
        plain, sshd, member = attempter(quiet), attempter(quiet, comm="sshd"), attempter(quiet)
        for program in (sshd, member):
            enter(unit, program.pid)
        pids = {"plain": plain.pid, "sshd": sshd.pid, "member": member.pid}
        trying = subprocess.Popen(
            [sys.executable, "-c", TRIALS, quiet.name, json.dumps(pids)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "SSH_CONNECTION": "192.0.2.99 40000 192.0.2.1 22"}, cwd=tmp_path,
        )  # fmt: skip
        with trying:
            assert trying.stdout is not None
            assert trying.stdout.readline() == "ready\n"
            for program in (plain, sshd, member):
                assert refused(program) == set()
            outcomes = json.loads(trying.stdout.readline())
        for program in (plain, sshd, member):
            assert refused(program) == set()  # all are alive
            program.stop()
    for verb in ("end", "kill", "block"):
        assert "SSH sessions" in outcomes.pop(f"{verb} sshd")
        assert "has ended already" in outcomes.pop(f"{verb} a pid that is another's")
        assert "process 1" in outcomes.pop(f"{verb} init")
        for who in ("nettop", "its parent"):
            assert "itself and what it was started from" in outcomes.pop(f"{verb} {who}")
    assert "SSH sessions" in outcomes.pop("block the unit of sshd")
    assert "no cgroup in cgroup2" in outcomes.pop("block a unit that has gone")
    assert "192.0.2.99, where your SSH session comes from" in outcomes.pop("block where the session comes from")
    assert "its own network namespace only" in outcomes.pop("close one of another namespace")
    assert "not open any more" in outcomes.pop("close none")
    held = {"CapInh": 0, "CapPrm": HELD, "CapEff": HELD, "CapBnd": 0, "CapAmb": 0}
    assert outcomes == {"blocks": 0, "done": [], "held": held}


def test_other_commands_refuse_the_option() -> None:
    done = subprocess.run([*NETTOP, "--allow-cut", "snapshot"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--allow-cut is for the live screen only." in done.stderr
