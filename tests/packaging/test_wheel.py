"""The wheel holds everything that nettop reads at run time, and works from there."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = directory.glob("nettop-*.whl")
    return built


def files_below(directory: str) -> set[str]:
    tracked = subprocess.run(
        ["git", "ls-files", "-z", directory], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return set(tracked.split("\0")) - {""}


def test_it_holds_every_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held >= files_below("nettop") | {f"nettop/{name}" for name in files_below("bpf")}
    assert held >= {
        "nettop/bpf/abi.h",
        "nettop/demo/demo.jsonl",
        "nettop/schema/snapshot.schema.json",
        "nettop/schema/stream.schema.json",
        "nettop/tui/nettop.tcss",
    }
    assert {name.partition("/")[0] for name in held} == {"nettop"}


def test_it_plays_the_demo(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    program = (
        "import sys, nettop.cli; print(nettop.cli.__file__, file=sys.stderr); "
        "sys.exit(nettop.cli.main(['replay', '--demo', '--snapshot']))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert run.stderr == f"{tmp_path}/nettop/cli.py\n"
    assert '"payments.example.net"' in run.stdout
