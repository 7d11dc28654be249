"""What the matrix of kernels makes of its guests; no guest runs here."""

import hashlib
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from nettop.kernel import compiled_cache
from tests.kernels import ahead, matrix, processes
from tests.kernels.ahead import AheadError
from tests.kernels.guest import Run, Step
from tests.kernels.kernels import Kernel
from tests.kernels.machines import MACHINES
from tests.kernels.settings import Setting
from tests.kernels.userland import Userland

TOLD = "common.c:1:2: error: no such thing"
CASES = [case for case in matrix.CASES if case.name in ("5.10", "6.1", "6.1/8-cpus")]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that has all that guests need."""
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(matrix, "require_one_file", lambda _tree: None)
    monkeypatch.setattr(matrix, "cache_folder", lambda _name: tmp_path)
    monkeypatch.setattr(matrix, "copy_tree", lambda tree: tree.mkdir())
    monkeypatch.setattr(matrix, "compile_ahead", lambda *_, **__: None)
    monkeypatch.setattr(matrix, "Archive", lambda *_, **__: None)
    monkeypatch.setattr(matrix, "provide_kernel", lambda series, *_: Kernel(f"{series}.0-test", tmp_path, ()))
    userland = Userland("bookworm", MACHINES["amd64"], tmp_path, tmp_path, "0.26")
    monkeypatch.setattr(matrix, "provide_userland", lambda *_: userland)


def guests(monkeypatch: pytest.MonkeyPatch, failing: Mapping[str, Run]) -> list[str]:
    """All that are started from now on pass, but for those on these kernels; the kernels of those that were started."""
    started = []

    def run_guest(kernel: Kernel, _userland: Userland, setting: Setting, *_: Any) -> Run:
        started.append(kernel.release)
        return failing.get(kernel.release, Run(passing(*setting.steps)))

    monkeypatch.setattr(matrix, "run_guest", run_guest)
    return started


def passing(*names: str) -> dict[str, Step]:
    return {name: Step(name, True, 1.0) for name in ("boot", *names)}


def test_all_pass(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    guests(monkeypatch, {})
    assert matrix.run(CASES, 2, verbose=False) == 0
    assert "all passed in" in capsys.readouterr().out


@pytest.mark.parametrize(
    "run",
    [
        Run(),
        Run(passing("report", "core", "opt_in", "machine")),
        Run(passing("report", "core", "opt_in", "machine", "cutting"), died="the guest did not end"),
        Run(passing("report", "core", "opt_in", "machine") | {"cutting": Step("cutting", False, 1.0)}),
        Run(passing("report", "core", "opt_in", "machine", "cutting") | {"boot": Step("boot", False, 1.0)}),
    ],
    ids=["nothing said", "a step missing", "died", "a step failed", "not what its case says"],
)
def test_one_guest_fails(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    guests(monkeypatch, {"5.10.0-test": run})
    assert matrix.run(CASES, 2, verbose=False) == 1
    said = capsys.readouterr().out
    assert "5.10: FAILED" in said
    assert "6.1: passed" in said
    assert "FAILED in" in said


def test_a_doctor_that_fails_does_not_tell_what_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = passing("report", "core", "opt_in", "machine", "cutting") | {"report": Step("report", False, 1.0)}
    guests(monkeypatch, {"5.10.0-test": Run(failed)})
    assert matrix.run([case for case in matrix.CASES if case.name in ("5.10", "6.12")], 2, verbose=False) == 1
    said = capsys.readouterr().out
    assert "6.12.0-test tells everything" in said
    assert "5.10.0-test tells" not in said


def test_what_cannot_be_compiled_fails_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compile_ahead(kernel: Kernel, *_: Any, **__: Any) -> None:
        if kernel.release == "6.1.0-test":
            raise AheadError(TOLD)

    monkeypatch.setattr(matrix, "compile_ahead", compile_ahead)
    started = guests(monkeypatch, {})
    assert matrix.run(CASES, 2, verbose=False) == 1
    assert started == ["5.10.0-test"]
    said = capsys.readouterr().out
    assert "5.10: passed" in said
    assert "6.1: FAILED" in said
    assert "6.1/8-cpus: FAILED" in said
    assert said.count(TOLD) == 2


@pytest.mark.parametrize("file", ["bpf/dns.c", "bpf/kernel/sock.h", "nettop/kernel/compiler.py"])
def test_what_was_compiled_of_other_sources_is_not_used(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Path] = []

    def compile_ahead(_kernel: Kernel, _userland: Userland, _tree: Path, into: Path, **_: Any) -> None:
        into.mkdir(parents=True, exist_ok=True)
        kept.append(into)

    def run(content: str) -> None:
        def copy_tree(tree: Path) -> None:
            (tree / file).parent.mkdir(parents=True)
            (tree / file).write_text(content)

        monkeypatch.setattr(matrix, "copy_tree", copy_tree)
        assert matrix.run(CASES[:1], 1, verbose=False) == 0

    monkeypatch.setattr(matrix, "compile_ahead", compile_ahead)
    guests(monkeypatch, {})
    for content in ("before", "before", "after"):
        run(content)
    before, again, after = kept
    assert before == again != after


def test_what_is_spoiled_is_not_what_a_guest_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So that what it compiles instead is kept, and nothing else that has the name of what is whole."""

    def file(defines: tuple[str, ...], *, is_whole: bool) -> Path:
        encoded = b"programs"
        path = tmp_path / compiled_cache._name(defines)
        path.write_bytes(hashlib.sha256(encoded).digest() + encoded[not is_whole :])
        return path

    monkeypatch.setattr(compiled_cache, "_name", lambda defines: f"{len(defines)}.programs")
    monkeypatch.setattr(compiled_cache, "DIRECTORY", tmp_path)
    plain = file(ahead.PLAIN, is_whole=True)
    file((*ahead.PLAIN, "-DMORE"), is_whole=False)
    ahead.compared().touch()
    assert set(ahead.compiled_files()) == {plain.name, ahead.compared().name}
    file(ahead.PLAIN, is_whole=False)
    assert ahead.compiled_files() == {}


def test_an_interruption_ends_all_that_runs_and_calls_none_of_it_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    returncodes = []

    def run_guest(kernel: Kernel, *_: Any) -> Run:
        if kernel.release == "5.10.0-test":
            raise KeyboardInterrupt
        sleeping = subprocess.Popen(["sleep", "60"], text=True)
        with sleeping, processes.ending_with_us(sleeping):
            returncodes.append(sleeping.wait())
        return Run(died="killed")

    monkeypatch.setattr(processes, "_ending", Event())
    monkeypatch.setattr(matrix, "run_guest", run_guest)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert matrix.main(["--guests", "3", *(case.name for case in CASES)]) == 130
    assert set(returncodes) <= {-signal.SIGKILL}
    assert "FAILED" not in (said := capsys.readouterr().out)
    assert said.endswith("The matrix was interrupted.\n")


def test_no_room(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def copy_tree(_tree: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(matrix, "copy_tree", copy_tree)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    guests(monkeypatch, {})
    assert matrix.main(["5.10"]) == 2
    assert capsys.readouterr().out.endswith("The matrix cannot go on: [Errno 28] No space left on device\n")
