"""Signals at every stage, from the first instruction of Python to the watch, also while compiling and attaching.

TEST_ROUNDS=N in the environment asks for N times as many.
"""

import os
import random
import signal
import subprocess
import time
from functools import cache
from itertools import cycle
from pathlib import Path

import pytest

from nettop.model.events import End
from nettop.sources.recording import read_events
from tests.live.lab import (
    NETTOP,
    PATIENCE_S,
    Namespace,
    check_snapshot,
    existing_ids,
    kernel_ids,
    snapshot_running,
    wait_until,
)
from tests.live.terminal import Terminal

ROUNDS = int(os.environ.get("TEST_ROUNDS", "1"))
OBEYED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
ALL = (*OBEYED, signal.SIGKILL)
# With nothing in the cache, so that there is a compiler to be interrupted; in a mount namespace of its own. Without
# requests of HTTP the stages are the same, and the compiler takes half the time.
COLD = (
    "unshare", "--mount", "--propagation", "private", "sh", "-c",
    'mount -t tmpfs none /var/cache; NETTOP_REQUESTS_ENABLED=false exec "$@"', "sh",
)  # fmt: skip


@cache
def start_s() -> float:
    """How long nettop takes here and now until it watches."""
    begun = time.monotonic()
    with snapshot_running(prefix=COLD):
        return time.monotonic() - begun


def nothing_left_in_the_kernel(ours: dict[str, set[int]]) -> None:
    def gone() -> bool:
        now = existing_ids()
        return not any(ours[kind] & now[kind] for kind in ours)

    wait_until(gone, "the kernel to forget the programs")


@pytest.mark.parametrize(("number", "command"), zip(ALL, cycle(["snapshot", "stream"]), strict=False))
def test_headless(quiet: Namespace, tmp_path: Path, number: signal.Signals, command: str) -> None:
    """Before the handlers are there it ends as any program does; from then on what was seen is written."""
    rng = random.Random(f"{number}{command}")
    for turn in range(ROUNDS):
        path = tmp_path / f"out-{turn}"
        process = subprocess.Popen(
            [*COLD, *NETTOP, command, "--netns", quiet.name, "--interval", "0.1", "-o", str(path)],
            stderr=subprocess.PIPE,
        )
        partial = path.with_name(f"{path.name}.{process.pid}.partial")
        try:
            time.sleep(rng.uniform(0, 1.2 * start_s()))
            ours = kernel_ids(process.pid)
            process.send_signal(number)
            _, said = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
            process.communicate()
        nothing_left_in_the_kernel(ours)
        if process.returncode == 0:
            assert said == b""
            assert not partial.exists()
            if command == "snapshot":
                check_snapshot(path.read_bytes())
            else:
                assert isinstance(list(read_events(path, partial=False))[-1], End)
        else:
            # Python starts for 50 ms before any code of nettop runs, and tells of Ctrl+C in its own words then
            assert process.returncode in ((-number, 128 + number) if number == signal.SIGINT else (-number,))
            assert said == b"" or number == signal.SIGINT
            assert not path.exists()
            assert not partial.exists() or number == signal.SIGKILL


@pytest.mark.parametrize("number", OBEYED)
def test_once_all_is_written(quiet: Namespace, tmp_path: Path, number: signal.Signals) -> None:
    """What comes while nettop takes itself apart does not make it end as if it had written nothing."""
    path = tmp_path / "out"
    with subprocess.Popen([*NETTOP, "snapshot", "--netns", quiet.name, "--for", "0.1", "-o", str(path)]) as process:
        try:
            wait_until(path.exists, "the snapshot")
            while process.poll() is None:
                process.send_signal(number)
                time.sleep(0.001)
        finally:
            process.kill()
    assert process.returncode == 0
    check_snapshot(path.read_bytes())


@pytest.mark.parametrize("number", ALL)
def test_the_screen(quiet: Namespace, number: signal.Signals) -> None:
    """The terminal is as it was found, whichever stage it was, also if the signal comes twice."""
    rng = random.Random(number)
    for _ in range(ROUNDS):
        delay_s = rng.uniform(0, 1.8 * start_s())
        with Terminal([*COLD, *NETTOP, "--netns", quiet.name, "--interval", "0.1"]) as terminal:
            end = time.monotonic() + delay_s
            while (left_s := end - time.monotonic()) > 0:
                terminal.read(left_s)
            ours = kernel_ids(terminal.pid)
            os.killpg(terminal.pid, number)  # as the keyboard does, to the compiler's process too
            time.sleep(rng.choice([0, 0.01, 0.1]))
            if terminal.process.poll() is None:
                terminal.send(number)
            code = terminal.ends(PATIENCE_S)
            nothing_left_in_the_kernel(ours)
            assert code in (0, -number, 128 + number), terminal.left_over
            if number != signal.SIGKILL:
                terminal.assert_as_found()
                assert "Traceback" not in terminal.left_over or "bin/nettop" in terminal.left_over


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGUSR1])
def test_what_was_seen_until_then_is_written(quiet: Namespace, number: signal.Signals) -> None:
    """The more usual ones are in tests/live/test_stream.py."""
    with snapshot_running("--netns", quiet.name) as process:
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, b"")
    check_snapshot(output)


def test_what_nohup_has_it_ignore_is_ignored(quiet: Namespace) -> None:
    with snapshot_running("--netns", quiet.name, prefix=("nohup",)) as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    check_snapshot(output)
