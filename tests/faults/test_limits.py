"""Few files, little memory: a sentence before any work is done, never a traceback and never the compiler's abort."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from nettop.errors import CannotRunError
from nettop.kernel import limits
from tests.live.lab import NETTOP, PATIENCE_S, Namespace, check_snapshot
from tests.live.test_places import one_sentence

FILES = limits._FILES + limits._FILES_PER_CPU * (os.cpu_count() or 1)
MIB = 1 << 20


def under(limit: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run nettop under a limit, in the words of prlimit(1)."""
    return subprocess.run(
        ["prlimit", limit, *NETTOP, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


@pytest.mark.parametrize("number", [5, 8, 16, FILES - 1])
def test_too_few_files(quiet: Namespace, number: int) -> None:
    """With fewer than five Python itself does not start."""
    done = under(f"--nofile={number}", "snapshot", "--for", "0.1", "--netns", quiet.name)
    assert (done.returncode, done.stdout) == (3, "")
    one_sentence(done.stderr)
    assert f"ulimit -n {FILES}" in done.stderr or "Too many open files" in done.stderr


@pytest.mark.parametrize("number", [f"{FILES}", "8:1024"])
def test_just_enough_files_or_leave_to_take_them(quiet: Namespace, number: str) -> None:
    done = under(f"--nofile={number}", "snapshot", "--for", "0.1", "--netns", quiet.name)
    assert (done.returncode, done.stderr) == (0, "")
    check_snapshot(done.stdout.encode())


@pytest.mark.parametrize("megabytes", [18, 21, 24, 40, 280, limits._ADDRESS_SPACE_BYTES // MIB - 1])
def test_too_little_address_space(quiet: Namespace, megabytes: int) -> None:
    """With 16 Python itself does not come as far as nettop where more packages are installed for it."""
    done = under(f"--as={megabytes * MIB}", "snapshot", "--for", "0.1", "--netns", quiet.name)
    assert (done.returncode, done.stdout) == (3, "")
    one_sentence(done.stderr)
    assert "ulimit" in done.stderr


@pytest.mark.parametrize("megabytes", [10, 15, 20, limits._DATA_BYTES // MIB - 1])
def test_too_little_data(quiet: Namespace, megabytes: int) -> None:
    """Also where nettop's own modules do not fit."""
    done = under(f"--data={megabytes * MIB}", "snapshot", "--for", "0.1", "--netns", quiet.name)
    assert (done.returncode, done.stdout) == (3, "")
    one_sentence(done.stderr)
    assert "ulimit -d" in done.stderr


@pytest.mark.parametrize("limit", [f"--as={limits._ADDRESS_SPACE_BYTES}", f"--data={limits._DATA_BYTES}"])
def test_just_enough_memory(quiet: Namespace, limit: str) -> None:
    done = under(limit, "snapshot", "--for", "0.1", "--netns", quiet.name)
    assert (done.returncode, done.stderr) == (0, "")
    check_snapshot(done.stdout.encode())


@pytest.mark.parametrize("limit", ["--memlock=0", "--nproc=1", "--stack=131072", "--fsize=0"])
def test_limits_that_do_not_matter(quiet: Namespace, limit: str) -> None:
    done = under(limit, "snapshot", "--for", "0.1", "--netns", quiet.name)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_may_not_grow(quiet: Namespace, tmp_path: Path) -> None:
    done = under("--fsize=100", "snapshot", "--for", "0.1", "--netns", quiet.name, "-o", str(tmp_path / "out.json"))
    assert (done.returncode, done.stdout) == (1, "")
    one_sentence(done.stderr)
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_memory_that_runs_out_while_watching(quiet: Namespace) -> None:
    """Whatever allocation fails then: here one of many that a test can make fail."""
    driver = (
        "import sys; from nettop.model.store import Store; from nettop.cli.main import main\n"
        "def fails(*_): raise MemoryError\n"
        "Store.apply = fails; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", driver, "snapshot", "--netns", quiet.name],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    one_sentence(done.stderr)
    assert "ran out of memory" in done.stderr


def test_doctor_names_a_limit() -> None:
    done = under("--nofile=40", "doctor")
    assert done.returncode == 3
    assert f"needs {FILES}" in done.stdout
    assert "Traceback" not in done.stderr


def test_as_many_files_as_it_needs_are_allowed_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with many CPUs needs more than the usual 1024: one per CPU and buffer."""
    allowed, files = [], resource.RLIMIT_NOFILE
    monkeypatch.setattr(os, "cpu_count", lambda: 512)
    monkeypatch.setattr(
        resource, "getrlimit", lambda limit: (1024, 4096) if limit == resource.RLIMIT_NOFILE else (-1, -1)
    )
    monkeypatch.setattr(resource, "setrlimit", lambda limit, values: allowed.append((limit, values)))
    limits.require_room()
    assert allowed == [(files, (limits._FILES + limits._FILES_PER_CPU * 512, 4096))]
    monkeypatch.setattr(os, "cpu_count", lambda: 4096)
    with pytest.raises(CannotRunError, match="limit of 4096 open files"):
        limits.require_room()
