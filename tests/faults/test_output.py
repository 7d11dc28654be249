"""Where output goes when somebody plays with the path, or nobody takes what is written."""

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from nettop.errors import NettopError
from nettop.export.file import OutputFile
from tests.live.lab import NETTOP, PATIENCE_S, Namespace, check_snapshot, nettop, wait_until
from tests.live.test_places import one_sentence

SWAPPER = """
import os, sys
path, precious = sys.argv[1:]
print("swapping", flush=True)
while True:
    for step in (
        lambda: os.symlink(precious, path),
        lambda: os.unlink(path),
        lambda: os.symlink(precious, path + ".new"),
        lambda: os.rename(path + ".new", path),
        lambda: os.unlink(path),
        lambda: os.link(precious, path),
        lambda: os.unlink(path),
        lambda: [os.unlink(name) for name in os.listdir(".") if name.endswith(".partial")],
    ):
        try:
            step()
        except OSError:
            pass
"""


@contextmanager
def swapper(path: Path, precious: Path) -> Iterator[None]:
    """Somebody who swaps what is at the path, as often as a processor can."""
    process = subprocess.Popen(
        [sys.executable, "-c", SWAPPER, str(path), str(precious)], stdout=subprocess.PIPE, cwd=path.parent
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"swapping\n"
    try:
        yield
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_S)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_path_that_is_swapped_for_a_link_all_the_time(tmp_path: Path, overwrite: bool) -> None:
    """Between the check and the opening, between the writing and the naming: what is linked to stays as it is."""
    shared, precious = tmp_path / "shared", tmp_path / "precious"
    shared.mkdir()
    precious.write_bytes(b"precious")
    inode, tried, written = precious.stat().st_ino, 0, 0
    with swapper(shared / "out", precious):
        end = time.monotonic() + 1
        while time.monotonic() < end:
            tried += 1
            with suppress(NettopError), OutputFile(shared / "out", overwrite) as file:
                file.write(b"new")
                file.commit()
                written += 1
            assert precious.read_bytes() == b"precious"
            assert precious.stat().st_ino == inode
    assert tried > 100


@pytest.mark.parametrize("command", ["snapshot", "stream"])
def test_standard_output_is_a_full_device(quiet: Namespace, command: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*NETTOP, command, "--for", "0.1", "--netns", quiet.name],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    one_sentence(done.stderr)
    assert "No space left on device" in done.stderr


def test_nobody_reads_the_pipe_until_a_signal_comes(quiet: Namespace) -> None:
    """A reader that hangs must not keep nettop from ending; what it held is lost with the pipe."""
    stream = subprocess.Popen(
        [*NETTOP, "stream", "--netns", quiet.name, "--interval", "0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with stream:
        try:
            assert stream.stdout is not None
            os.set_blocking(stream.stdout.fileno(), False)
            wait_until(lambda: bool(stream.stdout and stream.stdout.read(1)), "the first byte")
            stream.terminate()
            stream.stdout.close()
            assert stream.wait(PATIENCE_S) in (0, 1)
        finally:
            stream.kill()


@contextmanager
def stalled_pipe(filled: bool = False) -> Iterator[tuple[int, int]]:
    """One whose reader takes nothing, of the smallest size."""
    end, start = os.pipe()
    fcntl.fcntl(start, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
    if filled:
        os.write(start, b"x" * select.PIPE_BUF)
    try:
        yield end, start
    finally:
        os.close(end)
        os.close(start)


def is_full(start: int) -> bool:
    return not select.select([], [start], [], 0)[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
@pytest.mark.parametrize("errors_too", [False, True])
def test_a_signal_ends_a_stream_whose_reader_stalls(quiet: Namespace, number: signal.Signals, errors_too: bool) -> None:
    with stalled_pipe() as (end, start):
        stream = subprocess.Popen(
            [*NETTOP, "stream", "--netns", quiet.name, "--interval", "0.1"],
            stdout=start, stderr=start if errors_too else subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            wait_until(lambda: is_full(start), "the pipe to be full")
            stream.send_signal(number)
            _, said = stream.communicate(timeout=PATIENCE_S)
        finally:
            stream.kill()
            stream.communicate()
        assert stream.returncode == 1
        if not errors_too:
            one_sentence(said)
            assert "the rest was not written" in said
        lines = os.read(end, 1 << 20).splitlines(keepends=True)
        assert all(json.loads(line) for line in lines)
        assert lines[-1].endswith(b"\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_snapshot_that_nobody_reads(quiet: Namespace, number: signal.Signals) -> None:
    """The first one may have ended the watch; a pager may take its time then."""
    with stalled_pipe(filled=True) as (_, start):
        snapshot = subprocess.Popen(
            [*NETTOP, "snapshot", "--for", "0.1", "--netns", quiet.name],
            stdout=start,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            status = Path(f"/proc/{snapshot.pid}/status")
            wait_until(lambda: handles(status, signal.SIGUSR2), "the handlers")
            snapshot.send_signal(number)
            wait_until(lambda: has_taken(status, number), "the first signal to be taken")
            with suppress(subprocess.TimeoutExpired):  # which does not end it, as nobody reads
                snapshot.wait(1)
            assert snapshot.poll() is None
            snapshot.send_signal(number)
            _, said = snapshot.communicate(timeout=PATIENCE_S)
        finally:
            snapshot.kill()
            snapshot.communicate()
        assert snapshot.returncode == 1
        one_sentence(said)


def handles(status: Path, number: signal.Signals) -> bool:
    return bool(int(told(status, "SigCgt"), 16) >> (number - 1) & 1)


def has_taken(status: Path, number: signal.Signals) -> bool:
    """It is not pending any more, and whoever has it sleeps again: another one would not be taken for the same."""
    pending = int(told(status, "ShdPnd"), 16) | int(told(status, "SigPnd"), 16)
    return not pending >> (number - 1) & 1 and told(status, "State") == "S"


def told(status: Path, name: str) -> str:
    (value,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith(f"{name}:"))
    return value


def test_a_reader_that_is_slow_gets_all_of_a_stream(quiet: Namespace) -> None:
    with stalled_pipe() as (end, start):
        stream = subprocess.Popen([*NETTOP, "stream", "--netns", quiet.name, "--interval", "0.1"], stdout=start)
        try:
            wait_until(lambda: is_full(start), "the pipe to be full")
            stream.terminate()
            taken = b""
            while stream.poll() is None or not is_full(start):
                if not select.select([end], [], [], 0.1)[0]:
                    if stream.poll() is not None:
                        break
                    continue
                taken += os.read(end, 512)
        finally:
            stream.kill()
        assert stream.wait() == 0
        assert json.loads(taken.splitlines()[-1])["type"] == "end"


def test_a_file_that_is_kept_ends_with_a_whole_line(tmp_path: Path) -> None:
    """However far the disk took the last one."""
    script = """
import resource, signal, sys
from pathlib import Path
from nettop.errors import RunError
from nettop.export.file import OutputFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    with OutputFile(Path(sys.argv[1]), False, keep_partial=True) as file:
        for _ in range(20):
            file.write(b"a line\\n")
except RunError:
    sys.exit(0)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "out")], check=True)
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes() == b"a line\n" * 14


def test_standard_error_is_gone_too(quiet: Namespace) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *NETTOP, "snapshot", "--for", "0.1", "--netns", quiet.name],
        capture_output=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_the_current_directory_is_gone(quiet: Namespace, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'cd {gone} && rmdir {gone} && exec "$@"'
    arguments = [*NETTOP, "snapshot", "--for", "0.1", "--netns", quiet.name]
    for more, code in (([], 0), (["-o", "out.json"], 2), (["-o", str(tmp_path / "out.json")], 0)):
        done = subprocess.run(
            ["sh", "-c", script, "sh", *arguments, *more],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        gone.mkdir()
        assert done.returncode == code, done.stderr
        if code:
            one_sentence(done.stderr)
    check_snapshot((tmp_path / "out.json").read_bytes())
    assert nettop("--version").returncode == 0
