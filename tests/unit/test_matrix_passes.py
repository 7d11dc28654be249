"""That `make matrix` passes nothing that was not tried, on what it was to be tried on."""

import json
import subprocess
import sys
import zipfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kernels import ONE_FILE, MatrixError, matrix
from tests.kernels.guest import Run, Step, require_one_file
from tests.kernels.guest import _results as results_of
from tests.kernels.inside import _FIRST, _SHORT, _not_so
from tests.kernels.kernels import Kernel
from tests.kernels.settings import PLAIN, VARIANTS, conditions_of
from tests.kernels.userland import ROOT

CASE = matrix.Case("6.1", setting=replace(PLAIN, steps=("report",)))


def test_the_table_shows_a_guest_that_is_another() -> None:
    kernels = {CASE.kernel: Kernel("6.1.0", Path(), ())}
    run = Run({"boot": Step("boot", False, 1.0), "report": Step("report", True, 1.0)})
    _, line = matrix.table({CASE: run}, kernels).splitlines()
    assert line.split()[2:] == ["FAILED", "1", "s", "ok", "1", "s", "0"]


def test_quick_runs_no_setting_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        matrix.main(["--quick", "6.1/no-btf"])
    assert ended.value.code == 2
    assert "--quick runs no case with a setting of its own" in capsys.readouterr().err


def test_each_setting_differs_in_what_is_found() -> None:
    usual = conditions_of("")
    assert all(conditions_of(each.name) != usual for each in VARIANTS)
    assert conditions_of("quick") == usual


TRIED = "import sys; from tests.kernels.inside import _tests; sys.exit(_tests(sys.argv[1]))"


@pytest.mark.parametrize(
    ("selected", "passes"), [("test_runs", True), ("test_skips", False), ("test_of_old", False), ("test_fails", False)]
)
def test_what_pytest_must_have_tried(tmp_path: Path, selected: str, passes: bool) -> None:
    file = tmp_path / "scenario.py"
    file.write_text(
        "import pytest\n"
        "def test_runs(): pass\n"
        "def test_skips(): pytest.skip()\n"
        "def test_fails(): raise AssertionError\n"
    )
    command = [sys.executable, "-c", TRIED, f"{file}::{selected}"]
    assert (subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0) is passes


def test_names_of_tests() -> None:
    core = (ROOT / "tests/kernels/core.py").read_text()
    assert all(f"\ndef test_{name}(" in core for name in (*_FIRST, *_SHORT))


@pytest.mark.parametrize(
    ("sentence", "kernel", "is_right"),
    [
        ("ICMP errors sent: needs Linux 6.10 or later; everything else works without it (icmp_send)", (6, 9), True),
        ("ICMP errors sent: needs Linux 6.10 or later; everything else works without it (icmp_send)", (6, 10), False),
        (
            "requests of HTTP inside TLS (--decrypt): Not allowed. Everything else works without it (uprobe)",
            (6, 1),
            False,
        ),
        ("not refused to it: needs libseccomp (Debian: libseccomp2), or Linux 5.13 or later (seccomp)", (5, 10), False),
    ],
)
def test_absent_for_its_age(sentence: str, kernel: tuple[int, ...], is_right: bool) -> None:
    """Doctor says so too of a hook that nettop no longer finds, and of what has failed."""
    said = list(_not_so([sentence], kernel))
    assert (not said) is is_right
    assert all(sentence in each for each in said)


@pytest.mark.parametrize("edited", ["cli/main.py", "bpf/abi.h"])
def test_one_file_of_another_tree(tmp_path: Path, edited: str) -> None:
    tree = tmp_path / "tree"
    files = {"cli/main.py": tree / "nettop/cli/main.py", "bpf/abi.h": tree / "bpf/abi.h"}
    for file in (*files.values(), tree / ONE_FILE):
        file.parent.mkdir(parents=True, exist_ok=True)
    with pytest.raises(MatrixError, match="There is no"):
        require_one_file(tree)
    with zipfile.ZipFile(tree / ONE_FILE, "w") as packed:
        packed.writestr("lib/rich/text.py", "a library")
        for name, file in files.items():
            file.write_text(name)
            packed.writestr(f"lib/nettop/{name}", name)
    require_one_file(tree)
    files[edited].write_text("edited")
    with pytest.raises(MatrixError, match=f"another {edited} than this tree"):
        require_one_file(tree)


def test_results_that_are_cut(tmp_path: Path) -> None:
    file = tmp_path / "results"
    step = {"name": "boot", "passed": True, "seconds": 1.0, "absent": []}
    spoilt = {"file": "a.programs", "content": "bm90IHBhY2tlZA=="}
    file.write_text("\n".join((json.dumps(step), json.dumps(spoilt), '{"file": "b"}', '{"name": "co')))
    assert results_of(file) == ({"boot": Step("boot", True, 1.0, [])}, {})


def test_two_at_once_keep_what_the_other_uses(tmp_path: Path) -> None:
    """As in two working trees, whose sources differ."""
    (tmp_path / "nettop/kernel").mkdir(parents=True)
    kept, other, third = (tmp_path / "6.1-cloud" / name for name in ("aa-6.1.0", "bb-6.1.0", "cc-6.1.0"))
    with ExitStack() as held:
        for directory in (kept, other):
            matrix._Ahead([], tmp_path, tmp_path, held)._remove_others(directory)
            directory.mkdir()
        assert kept.exists()
    (kept.parent / "x.programs.7.partial").touch()
    with ExitStack() as held:
        matrix._Ahead([], tmp_path, tmp_path, held)._remove_others(third)
        assert list(kept.parent.iterdir()) == []


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert matrix.main(["6.1/no-btf"]) == 2
    assert capsys.readouterr().out == "There is no cpio here: 'make matrix' installs it.\n"
