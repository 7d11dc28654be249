"""The cache of compiled programs where it cannot be used, or by several at once: nettop starts all the same.

What is refused in it for safety's sake is in tests/live/test_compiled_cache.py.
"""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nettop.kernel import compiled_cache
from nettop.kernel.compiled import CompiledPrograms, Program
from tests.live.lab import NETTOP, PATIENCE_S, Namespace, check_snapshot, wait_until
from tests.live.test_places import fill, tmpfs

COMPILED = CompiledPrograms(
    maps={}, programs={str(n): Program(bytes(8_000), ()) for n in range(8)}, attach_types={"task_file": 1}
)
# Writes over and over: the file is thrown away each time, as by an update of nettop.
WRITER = """
import sys
from pathlib import Path
from nettop.kernel import compiled_cache
from tests.faults.test_cache import COMPILED
compiled_cache.compile_apart = lambda _: COMPILED
number = 0
print("writing", flush=True)
while True:
    number += 1
    assert compiled_cache.compiled_programs((f"-DNUMBER={number % 4}",), Path(sys.argv[1])) == COMPILED
    if number % 4 == 0:
        for file in Path(sys.argv[1]).glob("*.programs"):
            file.unlink(missing_ok=True)
"""


@pytest.fixture(autouse=True)
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_cache, "compile_apart", lambda _: COMPILED)


def writer(directory: Path) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    return process


@pytest.mark.parametrize("options", ["size=16k,mode=755", "size=64k,mode=755,ro"])
def test_a_disk_that_is_full_or_read_only(tmp_path: Path, options: str) -> None:
    with tmpfs(tmp_path / "disk", options) as disk:
        fill(disk)
        before = sorted(disk.iterdir())
        for _ in range(2):
            assert compiled_cache.compiled_programs((), disk) == COMPILED
        assert sorted(disk.iterdir()) == before


def test_garbage_is_replaced(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert compiled_cache.compiled_programs((), cache) == COMPILED
    (file,) = cache.iterdir()
    good, rng = file.read_bytes(), random.Random(1)
    for size in (0, 1, 31, 32, 33, 1_000, len(good)):
        file.write_bytes(rng.randbytes(size))
        assert compiled_cache.compiled_programs((), cache) == COMPILED
        assert file.read_bytes() == good


def test_several_write_at_once(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    processes = [writer(cache) for _ in range(2)]
    try:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert compiled_cache.compiled_programs(("-DNUMBER=1",), cache) == COMPILED
    finally:
        for process in processes:
            process.kill()
            _, said = process.communicate(timeout=PATIENCE_S)
            assert said == b""


def test_a_writer_is_killed(tmp_path: Path) -> None:
    """What it leaves is never loaded, does not pile up, and is in nobody's way."""
    cache, rng = tmp_path / "cache", random.Random(2)
    for _ in range(6):
        process = writer(cache)
        time.sleep(rng.uniform(0.0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
        assert compiled_cache.compiled_programs(("-DNUMBER=1",), cache) == COMPILED
    for number in range(40):
        compiled_cache.compiled_programs((f"-DOTHER={number}",), cache)
    assert len(list(cache.iterdir())) == compiled_cache._KEPT


SPOILT = {
    "full": "mount -t tmpfs -o size=4k,mode=755 none /var/cache; dd if=/dev/zero of=/var/cache/x 2>/dev/null || true",
    "read-only": "mount -t tmpfs -o size=4k,mode=755,ro none /var/cache",
    "a file": "mount -t tmpfs -o size=64k,mode=755 none /var/cache; echo mine > /var/cache/nettop",
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_the_command_says_nothing_of_it(quiet: Namespace, spoil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a mount namespace of its own; without requests, which are half of what there is to compile."""
    monkeypatch.setenv("NETTOP_REQUESTS_ENABLED", "false")
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'set -e; {spoil}; exec "$@"', "sh",
         *NETTOP, "snapshot", "--for", "0.1", "--netns", quiet.name],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    check_snapshot(done.stdout.encode())


def test_nettop_is_killed_while_it_compiles(quiet: Namespace, tmp_path: Path) -> None:
    """The compiler's process goes with it."""
    empty = 'mount -t tmpfs none /var/cache; exec "$@"'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", empty, "sh", *NETTOP, "snapshot"]
    with subprocess.Popen([*command, "--netns", quiet.name, "-o", str(tmp_path / "out")]) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

        def compiling() -> bool:
            said = Path(f"/proc/{process.pid}/cmdline").read_text()  # of the shell before, which has it mount something
            return "nettop" in said and "mount" not in said and bool(children.read_text())

        wait_until(compiling, "the compiler's process")
        compiler = int(children.read_text().split()[0])
        process.kill()
    wait_until(lambda: not alive(compiler), "the compiler's end")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_size_limit_of_a_file(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code = WRITER.replace("while True", "while number < 3")
    done = subprocess.run(
        ["prlimit", "--fsize=1000", sys.executable, "-c", code, str(cache)],
        capture_output=True, cwd=Path(__file__).parents[2], timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(cache.iterdir()) == []
