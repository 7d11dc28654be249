"""What nettop may still do once it has attached, what it takes to run without root, and that it sends nothing."""

import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nettop.kernel.hooks import LOOKUPS_MECHANISM, PLAINTEXT_MECHANISM
from nettop.kernel.privileges import ATTACHING
from tests.live import programs
from tests.live.lab import (
    NETTOP,
    PATIENCE_S,
    Namespace,
    Program,
    check_snapshot,
    dnsmasq,
    namespace,
    nettop,
    wait_until,
)
from tests.live.terminal import Terminal
from tests.live.test_cutting import attempter, order, refused, started

ADDRESS, ANSWER, STAY = "127.0.0.1", 7001, 7002
TREE = Path(__file__).resolve().parents[2]
NOBODY = pwd.getpwnam("nobody")
CALLER: dict[str, Any] = {"SUDO_UID": str(NOBODY.pw_uid), "SUDO_GID": str(NOBODY.pw_gid)}
STRANGER = 54_321
NOTHING = {"CapInh": "0" * 16, "CapPrm": "0" * 16, "CapEff": "0" * 16, "CapBnd": "0" * 16, "CapAmb": "0" * 16}


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Namespace]:
    with namespace(directory) as made:
        for port in (ANSWER, STAY):
            assert made.play(programs.tcp_server, address=ADDRESS, port=port).hear() == "listening"
        dnsmasq(made, [ADDRESS], "--address=/known.example.test/127.0.0.1")
        yield made


@pytest.fixture
def writable() -> Iterator[Path]:
    """A directory of nobody's, below directories that anybody may search."""
    made = Path(tempfile.mkdtemp(prefix="nettop-test-", dir="/tmp"))
    os.chown(made, NOBODY.pw_uid, NOBODY.pw_gid)
    try:
        yield made
    finally:
        for file in made.iterdir():
            file.unlink()
        made.rmdir()


def within_reach() -> list[str]:
    """A prefix that shows this tree to everybody: in root's home only root would get to it."""
    closed = [place for place in reversed(TREE.parents) if not place.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return []
    script = f'mount --bind {TREE} /mnt && mount -t tmpfs -o mode=755 none {closed[0]} && mkdir -p {TREE} && mount --move /mnt {TREE} && exec "$@"'  # noqa: E501
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


def tasks(pid: int) -> list[dict[str, str]]:
    """proc_pid_status(5) of every thread."""
    texts = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/status")]
    return [dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line) for text in texts]


def stranger(lab: Namespace) -> Program:
    """An unprivileged user's process with a connection that is older than nettop."""
    script = f"""if True:
        import socket, sys
        with socket.create_connection(({ADDRESS!r}, {STAY})) as tcp:
            tcp.sendall((101).to_bytes(8) + bytes(0))
            print('"connected"', flush=True)
            sys.stdin.readline()
        """
    made = lab.start(
        "setpriv", "--reuid", str(STRANGER), "--clear-groups", "/usr/bin/python3", "-c", script, "told-by-proc"
    )
    assert made.hear() == "connected"
    return made


@pytest.mark.parametrize(("environment", "uid"), [({}, 0), (CALLER, NOBODY.pw_uid)], ids=["root", "sudo"])
def test_the_screen_works_on_with_nothing(
    lab: Namespace, writable: Path, environment: dict[str, Any], uid: int
) -> None:
    older = stranger(lab)
    if uid == 0:
        os.chown(writable, 0, 0)
    command = [*within_reach(), *NETTOP, "--netns", lab.name, "--interval", "0.2"]
    with Terminal(command, cwd=writable, columns=160, **environment) as terminal:
        terminal.until_said("LIVE", str(older.pid))

        # counters, ends, answers: iterators, maps and buffers are read
        client = lab.play(programs.tcp_client, address=ADDRESS, port=ANSWER, sizes=[[8, 5_003]], comm="later")
        client.end()
        lab.play(programs.resolve, host="known.example.test", port=ANSWER, nameserver=ADDRESS).end()
        terminal.until_said("later", "4.9K", "closed", "known.example.test", "NOERROR")

        # a detail; an export, with what /proc says of a stranger's process
        terminal.press(f"/pid:{older.pid}")
        terminal.until_said(f"filter pid:{older.pid}", "enter keeps it")
        terminal.press("\r")
        terminal.until(lambda: "enter keeps it" not in terminal.text, "the filter bar to close")
        terminal.press("\r")
        terminal.until_said(f"process  {older.pid} python3", "found holding the socket open")
        terminal.press("\x1b")
        terminal.until_said("LIVE")
        terminal.press("e")
        terminal.until_said("Wrote")
        (file,) = writable.iterdir()
        assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (uid, 0o600)
        (row,) = check_snapshot(file.read_bytes()).processes
        assert (row.pid, row.uid, row.cmdline[-1] if row.cmdline else None) == (older.pid, STRANGER, "told-by-proc")

        threads = tasks(terminal.pid)
        assert len(threads) >= 3  # the screen, the collector, who wrote the file
        for status in threads:
            assert {name: status[name] for name in NOTHING} == NOTHING
            assert status["NoNewPrivs"] == "1"
            assert status["Uid"].split() == [str(uid)] * 4
            assert "0" not in status["Groups"].split() or uid == 0
        assert children(terminal.pid) == []
        terminal.press("q")
        assert terminal.ends() == 0
    older.say("end")


def children(pid: int) -> list[str]:
    return [child for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]


TRIALS = """if True:
    import json, os, socket, sys
    from pathlib import Path
    from nettop.kernel import program, syscalls
    from nettop.kernel.scope import Scope
    from nettop.sources.live import LiveSource
    secret, older, where = sys.argv[1:]

    def outcome(trial):
        try:
            trial()
        except OSError as error:
            return os.strerror(error.errno)
        return "done"

    def bind():
        socket.create_server(("127.0.0.1", 99)).close()

    def load():
        syscalls.create_map("another", syscalls.MapShape(1, 4, 4, 1, 0))

    trials = {
        "read a stranger's file": lambda: Path(secret).read_text(),
        "bind a low port": bind,
        "end a stranger's process": lambda: os.kill(int(older), 0),
        "read a stranger's memory": lambda: Path(f"/proc/{older}/mem").open("rb").close(),
        "make a map": load,
        "mount": lambda: syscalls.mount("tmpfs"),
        "become root": lambda: os.setresuid(0, 0, 0),
        "become a stranger": lambda: os.setresuid(54321, 54321, 54321),
        "read root's file": lambda: Path("/etc/shadow").read_text(),
    }
    source = LiveSource(Scope(), 1.0)
    before = {name: outcome(trial) for name, trial in trials.items() if not name.startswith("become")}
    source.give_up_privileges(Path(where))
    source.finish()
    print(json.dumps([before, {name: outcome(trial) for name, trial in trials.items()}]))
    """


@pytest.mark.parametrize("environment", [{}, CALLER], ids=["root", "sudo"])
def test_what_it_cannot_do_any_more(lab: Namespace, writable: Path, environment: dict[str, Any]) -> None:
    secret = writable / "secret"
    secret.touch(0o600)
    os.chown(secret, STRANGER, STRANGER)
    older = stranger(lab)
    command = [*within_reach(), sys.executable, "-c", TRIALS, str(secret), str(older.pid), str(writable)]
    done = subprocess.run(
        lab.inside(*command), env={**os.environ, **environment}, cwd=TREE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    assert set(before.values()) == {"done"}
    root = environment == {}
    assert after == {
        "read a stranger's file": "Permission denied",
        "bind a low port": "Permission denied",
        "end a stranger's process": "Operation not permitted",
        "read a stranger's memory": "Permission denied",
        "make a map": "Operation not permitted",
        "mount": "Operation not permitted",
        "become root": "done" if root else "Operation not permitted",
        "become a stranger": "Operation not permitted",
        "read root's file": "done" if root else "Permission denied",
    }
    older.say("end")


OLDER_KERNEL = """if True:
    from pathlib import Path
    from nettop.kernel.privileges import give_up_privileges

    def capabilities():
        lines = Path("/proc/thread-self/status").read_text().splitlines()
        return [int(line.split()[1], 16) for line in lines if line.startswith("Cap")]

    def bpf():
        if not capabilities()[2] >> 39 & 1:
            raise PermissionError

    give_up_privileges(bpf, None)
    print(*capabilities())
    """


def test_before_linux_5_19_cap_bpf_alone_is_kept() -> None:
    """There bpf(2) asks for it at every call, where kernel.unprivileged_bpf_disabled is set."""
    done = subprocess.run(
        [sys.executable, "-c", OLDER_KERNEL], env={**os.environ, **CALLER}, capture_output=True, text=True, check=True
    )
    inheritable, permitted, effective, bounding, ambient = map(int, done.stdout.split())
    assert (inheritable, permitted, effective, bounding, ambient) == (0, 1 << 39, 1 << 39, 0, 0)


@pytest.mark.parametrize("where", ["root's place", "the caller's place"])
def test_under_sudo_a_file_is_written_where_it_is_wanted(
    lab: Namespace, tmp_path: Path, writable: Path, where: str
) -> None:
    """In a place of root's, as in a shell of root's, nettop stays root: the caller could not write there."""
    path = (tmp_path if where == "root's place" else writable) / "snapshot.json"
    tmp_path.chmod(0o700)
    done = subprocess.run(
        [*within_reach(), *NETTOP, "snapshot", "--for", "0.1", "--netns", lab.name, "-o", str(path)],
        env={**os.environ, **CALLER}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    status = path.stat()
    owner = (0, 0) if where == "root's place" else (NOBODY.pw_uid, NOBODY.pw_gid)
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (*owner, 0o600)
    path.unlink()


def test_root_says_that_it_has_no_power_over_the_places_of_others(lab: Namespace, writable: Path) -> None:
    done = nettop("snapshot", "--for", "0.1", "--netns", lab.name, "-o", str(writable / "snapshot.json"))
    assert done.returncode == 2
    assert "nettop dropped root's power over other users' files" in done.stderr
    assert list(writable.iterdir()) == []


HIDDEN = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'


def test_where_proc_hides_the_processes_of_others(lab: Namespace) -> None:
    older = stranger(lab)
    command = [*within_reach(), "unshare", "--mount", "--propagation", "private", "sh", "-c", HIDDEN, "sh"]
    command += [*NETTOP, "snapshot", "--for", "0.5", "--netns", lab.name, "--pid", str(older.pid)]
    done = subprocess.run(command, env={**os.environ, **CALLER}, cwd="/tmp", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    (row,) = check_snapshot(done.stdout).processes
    assert row.cmdline is not None
    assert row.cmdline[-1] == "told-by-proc"
    older.say("end")


# Without root


def given(names: Sequence[str]) -> list[str]:
    """A prefix that makes it nobody with just these capabilities."""
    wanted = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in names)])
    return [
        *within_reach(), "setpriv", "--reuid", str(NOBODY.pw_uid), "--regid", str(NOBODY.pw_gid), "--clear-groups",
        f"--inh-caps={wanted}", f"--ambient-caps={wanted}", f"--bounding-set={wanted}",
    ]  # fmt: skip


ALL = [capability.name for capability in ATTACHING]


def run_given(names: Sequence[str], *command: str) -> "subprocess.CompletedProcess[str]":
    # IPC_LOCK is asked for on machines with many CPUs only, where the perf buffers exceed what anybody may lock.
    prefix = given([*names, "CAP_IPC_LOCK"])
    environment = {**os.environ, "XDG_CONFIG_HOME": "/nonexistent"}
    return subprocess.run(
        [*prefix, *command],
        env=environment,
        cwd="/tmp",
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


@pytest.mark.skipif(
    int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) > 2,
    reason="this kernel takes nothing but CAP_SYS_ADMIN for perf buffers (kernel.perf_event_paranoid)",
)
def test_with_exactly_these_capabilities(lab: Namespace) -> None:
    older = stranger(lab)
    done = run_given(ALL, *NETTOP, "snapshot", "--for", "0.5", "--netns", lab.name)
    assert (done.returncode, done.stderr) == (0, "")
    snapshot = check_snapshot(done.stdout.encode())
    assert older.pid in [row.pid for row in snapshot.connections]
    assert [row.cmdline[-1] for row in snapshot.processes if row.pid == older.pid and row.cmdline] == ["told-by-proc"]
    older.say("end")
    report = json.loads(run_given(ALL, *NETTOP, "doctor", "--json").stdout)
    lacking = {check["mechanism"]: check["detail"] for check in report["checks"] if check["status"] != "ok"}
    for mechanism in (LOOKUPS_MECHANISM, PLAINTEXT_MECHANISM):
        assert "CAP_SYS_ADMIN" in lacking.pop(mechanism, "CAP_SYS_ADMIN")  # of older kernels CAP_PERFMON suffices
    assert not lacking


BLINDLY = "from nettop.kernel.scope import Scope; from nettop.sources.live import LiveSource; LiveSource(Scope(), 1.0)"


@pytest.mark.parametrize("left_out", ALL)
def test_each_of_them_is_needed_and_named(left_out: str) -> None:
    rest = [name for name in ALL if name != left_out]
    done = run_given(rest, sys.executable, "-c", BLINDLY)
    assert done.returncode == 1
    assert "CannotRunError" in done.stderr or "RefusedError" in done.stderr
    done = run_given(rest, *NETTOP, "snapshot")
    assert done.returncode == 3
    assert f"it lacks {left_out}. " in done.stderr
    report = json.loads(run_given(rest, *NETTOP, "doctor", "--json").stdout)
    missing = [check for check in report["checks"] if check["status"] == "missing"]
    assert [check["mechanism"] for check in missing] == [left_out]
    assert "(see SECURITY.md)" in missing[0]["remedy"]


# It sends nothing, starts nothing, compiles nothing of others


@contextmanager
def traced(directory: Path, calls: str) -> Iterator[tuple[list[str], list[str]]]:
    """A prefix that traces these system calls, and where the lines will be once it has ended."""
    log = directory / "strace"
    lines: list[str] = []
    yield ["strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={calls}", "-o", str(log)], lines
    lines += log.read_text().splitlines()


SENDS = ("connect", "sendto", "sendmsg", "sendmmsg", "bind")


def test_it_sends_nothing(tmp_path: Path) -> None:
    """In a namespace without routes, where names and addresses wait to be looked up and an update to be checked."""
    with namespace(tmp_path) as empty, traced(tmp_path, "%network,%process") as (prefix, lines):
        assert empty.play(programs.tcp_server, address=ADDRESS, port=ANSWER).hear() == "listening"
        dnsmasq(empty, [ADDRESS], "--address=/known.example.test/127.0.0.1")
        command = empty.inside(*prefix, *NETTOP, "--netns", empty.name, "--interval", "0.2")
        with Terminal(command, cwd=tmp_path, columns=160) as terminal:
            terminal.until_said("LIVE", "Connections")
            empty.play(
                programs.resolve, host="known.example.test", port=ANSWER, connections=1, nameserver=ADDRESS
            ).end()
            terminal.until_said("known.example.test", "NOERROR", "closed")
            terminal.press("a")  # addresses, not names
            terminal.press("2\r")  # a detail
            terminal.until_said("owner is")
            terminal.press("\x1b")
            terminal.until_said("LIVE")
            terminal.press("e")
            terminal.until_said("Wrote")
            terminal.press("q")
            assert terminal.ends(PATIENCE_S) == 0
    assert any("execve(" in line for line in lines)  # the trace can see
    for line in lines:
        name = re.sub(r"^\d+\s+(?:<\.\.\. )?", "", line).partition("(")[0]
        if name in ("socket", "socketpair"):
            assert re.search(r"AF_(UNIX|NETLINK)", line), line
        if name in SENDS:
            assert "sa_family=AF_" not in line or re.search(r"sa_family=AF_(UNIX|NETLINK)", line), line
    assert sum("execve(" in line for line in lines) == 1
    forked = [line for line in lines if re.search(r" (v?fork|clone3?)\(", line) and "CLONE_THREAD" not in line]
    assert len(forked) <= 1, forked  # the compiler, if nothing is kept from an earlier run


def test_it_compiles_nothing_from_the_places_of_others(tmp_path: Path) -> None:
    environment: dict[str, Any] = dict.fromkeys(("CPATH", "C_INCLUDE_PATH", "COMPILER_PATH"), str(tmp_path / "foreign"))
    (tmp_path / "foreign" / "linux").mkdir(parents=True)
    (tmp_path / "foreign" / "linux" / "types.h").write_text("#error foreign\n")
    with traced(tmp_path, "%file") as (prefix, lines):
        done = subprocess.run(
            [*prefix, *NETTOP, "doctor"], env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout
    assert any("bpf/abi.h" in line for line in lines)  # it did compile
    assert not [line for line in lines if f'"{tmp_path}/foreign' in line and "execve(" not in line]


DOCTOR = "import sys; from nettop.cli.main import main; sys.exit(main(['doctor', '--json']))"


@pytest.mark.parametrize("mode", [0o644, 0o664, 0o646])
def test_it_compiles_nothing_that_others_could_change(tmp_path: Path, mode: int) -> None:
    """As it is installed: the sources within the package."""
    shutil.copytree(TREE / "nettop", tmp_path / "nettop", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TREE / "bpf", tmp_path / "nettop" / "bpf")
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 0, 0)
        path.chmod(0o755 if path.is_dir() else 0o644)
    header = tmp_path / "nettop/bpf/kernel/include/linux/types.h"
    header.chmod(mode)
    done = subprocess.run(
        [sys.executable, "-c", DOCTOR], env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    compiling = [check for check in json.loads(done.stdout)["checks"] if check["need"] == "compiled BPF programs"]
    if mode == 0o644:
        assert (done.returncode, compiling) == (0, [])
    else:
        assert done.returncode == 3
        assert f"{header} is writable by" in compiling[0]["detail"]
        assert "chmod -R go-w" in compiling[0]["remedy"]


# --allow-cut


@pytest.mark.parametrize(("words", "number"), [("end", signal.SIGTERM), ("kill", signal.SIGKILL)])
@pytest.mark.parametrize("environment", [{}, CALLER], ids=["root", "sudo"])
def test_a_process_of_anybody_is_ended(
    lab: Namespace, words: str, number: signal.Signals, environment: dict[str, Any]
) -> None:
    """Of a user that nettop is not, whoever it goes on as, which takes the one capability that it keeps."""
    as_stranger = ["setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER), "--clear-groups"]
    command = [*within_reach(), *NETTOP, "--netns", lab.name, "--interval", "0.2", "--allow-cut"]
    with tempfile.TemporaryDirectory(prefix="nettop-test-", dir="/tmp") as made:
        os.chown(made, *(int(environment.get(name, 0)) for name in ("SUDO_UID", "SUDO_GID")))
        with Terminal(command, columns=160, cwd=Path(made), **environment) as terminal:
            started(terminal).until_said("CUT ON")
            (uid, *_) = tasks(terminal.pid)[0]["Uid"].split()
            assert uid == environment.get("SUDO_UID", "0")
            victim, beside = attempter(lab, prefix=as_stranger), attempter(lab, prefix=as_stranger)
            order(terminal, f"pid:{victim.pid}", words, f"Sent {number.name} to")
            wait_until(lambda: victim.exit_code is not None, "its end")
            assert victim.exit_code == -number
            assert refused(beside) == set()
    beside.stop()
