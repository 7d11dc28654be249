"""What the kernel refuses nettop once it has attached: a thread of its own tries it."""

import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nettop.kernel.cage import has_seccomp
from nettop.kernel.syscalls import landlock_version
from tests.live import programs
from tests.live.lab import NETTOP, PATIENCE_S, Namespace, check_snapshot, nettop, snapshot_running, wait_until
from tests.live.terminal import Terminal
from tests.live.test_privileges import CALLER, within_reach

pytestmark = pytest.mark.live

NOBODY = pwd.getpwnam("nobody")
ADDRESS, PORT = "127.0.0.1", 7001
REFUSED = {"Operation not permitted", "Permission denied"}
NEEDS_LANDLOCK = pytest.mark.skipif(not landlock_version(), reason="this kernel has no Landlock")

# Of a program that begins with `if True:` and has trials by their names.
ATTEMPT = """
    outcomes = {}

    def attempt():
        for name, trial in trials.items():
            try:
                trial()
            except OSError as error:
                outcomes[name] = os.strerror(error.errno)
            else:
                outcomes[name] = "done"

"""
# What somebody would do who got to run code in nettop. Each returns only where the kernel let it.
TRIALS = (
    """if True:
    import ctypes, fcntl, json, os, resource, signal, socket, subprocess, sys, termios, threading
    from pathlib import Path
    from nettop.kernel import syscalls
    from nettop.kernel.scope import Scope
    from nettop.sources.live import LiveSource
    port, other, allowed, elsewhere = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    libc = ctypes.CDLL(None, use_errno=True)
    where = str(elsewhere.parent / "listens")
    listens = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listens.bind(where)
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    older = socket.socket()  # as a library might have left one

    def call(name, *arguments):
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), "")

    def in_child():
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)

    def export():
        file = allowed / "made"
        file.write_text("x")
        file.rename(allowed / "named")
        (allowed / "named").unlink()

    trials = {
        "socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "connect": lambda: older.connect(("127.0.0.1", port)),
        "bind": lambda: older.bind(("127.0.0.1", 0)),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close(),
        "to an address": lambda: pair[0].sendto(b"x", where),
        "message to an address": lambda: pair[0].sendmsg([b"x"], [], 0, where),
        "io_uring": lambda: call("syscall", 425, 1, ctypes.create_string_buffer(120)),
        "exec": lambda: subprocess.run(["true"]),
        "exec here": lambda: os.execv(elsewhere, ["nothing"]),
        "fork": in_child,
        "signal": lambda: os.kill(other, 0),
        "by pidfd": lambda: os.pidfd_open(other),
        "type": lambda: fcntl.ioctl(0, termios.TIOCSTI, b"x"),
        "trace": lambda: call("ptrace", 16, other, None, None),
        "bpf": lambda: syscalls.create_map("another", syscalls.MapShape(2, 4, 4, 1, 0)),
        "attach": lambda: syscalls.link_iterator(0),
        "ids of the kernel's types": lambda: syscalls._bpf(23, bytes(128)),
        "limits": lambda: resource.prlimit(other, resource.RLIMIT_CPU, (1000, 1000)),
        "priority": lambda: os.setpriority(os.PRIO_PROCESS, other, 1),
        "mode": lambda: elsewhere.chmod(0o4777),
        "mode by descriptor": lambda: os.fchmod(os.open(os.__file__, os.O_RDONLY), 0o644),
        "owner": lambda: os.chown(elsewhere, -1, -1),
        "times": lambda: os.utime(elsewhere, (1, 1)),
        "attribute": lambda: os.setxattr(elsewhere, "user.nettop", b"x"),
        "signals of a file": lambda: fcntl.fcntl(1, 8, other),
        "unshare": lambda: call("unshare", 0x10000000),
        "write elsewhere": lambda: (elsewhere.parent / "made").write_text("x"),
        "change elsewhere": lambda: elsewhere.open("r+").close(),
        "remove elsewhere": lambda: elsewhere.unlink(),
        "read elsewhere": lambda: elsewhere.read_text(),
        "link": lambda: os.symlink("/etc/passwd", allowed / "link"),
        "export": export,
        "read /proc": lambda: Path(f"/proc/{other}/status").read_text(),
        "users": lambda: Path("/etc/passwd").read_text(),
        "import": lambda: __import__("wave"),
        "thread": lambda: threading.Thread(target=int).start(),
    }
    """
    + ATTEMPT
    + """
    source = LiveSource(Scope(), 1.0)
    source.give_up_privileges(allowed)
    source.shut_in([allowed, Path("/"), Path("/nonexistent/place")])
    source.finish()
    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    list(source.finish())
    print(json.dumps(outcomes))
    """
)


@pytest.fixture
def places() -> Iterator[tuple[Path, Path]]:
    """A directory of nobody's for files, and a program elsewhere that everybody may read, write and run."""
    with tempfile.TemporaryDirectory(prefix="nettop-test-", dir="/tmp") as made:
        allowed, elsewhere = Path(made) / "allowed", Path(made) / "elsewhere"
        for directory in (Path(made), allowed, elsewhere):
            directory.mkdir(exist_ok=True)
            directory.chmod(0o755)
            os.chown(directory, NOBODY.pw_uid, NOBODY.pw_gid)
        file = elsewhere / "file"
        file.write_text("#!/bin/sh\n")
        file.chmod(0o777)
        os.chown(file, NOBODY.pw_uid, NOBODY.pw_gid)
        yield allowed, file


@NEEDS_LANDLOCK
@pytest.mark.parametrize("environment", [{}, CALLER], ids=["root", "sudo"])
def test_what_a_thread_of_nettops_cannot_do(
    quiet: Namespace, places: tuple[Path, Path], environment: dict[str, Any]
) -> None:
    assert has_seccomp()
    if not environment:  # root without its power over the files of others
        for path in (places[0], places[1].parent, places[1]):
            os.chown(path, 0, 0)
    server = quiet.play(programs.tcp_server, address=ADDRESS, port=PORT)
    assert server.hear() == "listening"
    command = [*within_reach(), sys.executable, "-c", TRIALS, str(PORT), str(server.pid), *map(str, places)]
    done = subprocess.run(
        quiet.inside(*command), env={**os.environ, **environment}, capture_output=True, text=True, check=False,
        timeout=PATIENCE_S,
    )  # fmt: skip
    server.stop()
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    works = {"export", "read /proc", "users", "import", "thread"}
    assert {name for name, outcome in outcomes.items() if outcome == "done"} == works
    assert {outcome for name, outcome in outcomes.items() if name not in works} <= REFUSED
    assert places[1].read_text() == "#!/bin/sh\n"


def status_of(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def test_every_command_is_shut_in_and_goes_on_as_nobody_if_it_writes_no_file(quiet: Namespace, tmp_path: Path) -> None:
    with snapshot_running("--netns", quiet.name) as process:
        # SECCOMP_MODE_FILTER
        wait_until(lambda: status_of(process.pid)["Seccomp"] == "2", "nettop to shut itself in")
        status = status_of(process.pid)
        reachable = not within_reach()
        assert status["Uid"].split() == [str(NOBODY.pw_uid if reachable else 0)] * 4
        process.terminate()
        written, _ = process.communicate(timeout=PATIENCE_S)
    assert check_snapshot(written).scope.netns == (quiet.inode,)

    file = tmp_path / "now.json"
    done = nettop("snapshot", "--for", "0.1", "--netns", quiet.name, "-o", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert file.stat().st_uid == 0


# What somebody would do who got to run code in a nettop that answers scrapes.
WITH_LISTENER = (
    """if True:
    import json, os, socket, threading
    from nettop.kernel.scope import Scope
    from nettop.sources.live import LiveSource
    one, another = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    callers = [socket.create_connection(each.getsockname()) for each in (one, one, another)]

    def answer():
        connection, _ = one.accept()
        connection.sendall(b"x" * 10)
        connection.close()
        assert callers[0].recv(10) == b"x" * 10

    trials = {
        "answer": answer,
        "accept on another": another.accept,
        "accept on another by its number": lambda: socket.socket(fileno=os.dup(one.fileno())).accept(),
        "socket": lambda: socket.socket(socket.AF_INET).close(),
        "bind": lambda: another.bind(("127.0.0.1", 0)),
        "listen": lambda: one.listen(5),
        "connect": lambda: callers[2].connect(("127.0.0.1", 9)),
    }
    """
    + ATTEMPT
    + """
    source = LiveSource(Scope(), 1.0)
    source.give_up_privileges(None)
    source.shut_in([], one.fileno())
    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    list(source.finish())
    print(json.dumps(outcomes))
    """
)


def test_with_a_listener_connections_are_accepted_on_it_and_nothing_else_is_possible(quiet: Namespace) -> None:
    assert has_seccomp()
    done = subprocess.run(
        quiet.inside(*within_reach(), sys.executable, "-c", WITH_LISTENER), capture_output=True, text=True,
        check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert outcomes.pop("answer") == "done"
    assert set(outcomes.values()) <= REFUSED


@NEEDS_LANDLOCK
def test_an_export_elsewhere_is_refused_with_a_way_out(quiet: Namespace, places: tuple[Path, Path]) -> None:
    """`/opt` is neither where the screen was started nor a home; root may write there."""
    elsewhere = Path(tempfile.mkdtemp(prefix="nettop-test-", dir="/opt"))
    try:
        with Terminal([*NETTOP, "--netns", quiet.name], cwd=places[0], columns=160) as terminal:
            terminal.until_said("LIVE", "Connections")
            terminal.press("E")
            terminal.until_said("Export the snapshot to", ".json")
            terminal.press("\x15")
            terminal.until(lambda: ".json" not in terminal.text, "the proposal to vanish")
            terminal.press(f"{elsewhere}/now.json\r")
            terminal.until_said("Not exported.", "shut itself")
            terminal.press("q")
            assert terminal.ends() == 0
        assert list(elsewhere.iterdir()) == []
    finally:
        elsewhere.rmdir()
