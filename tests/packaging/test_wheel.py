"""Wheel and source archive hold everything that nettop reads at run time, and it works from where it is installed."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def build(source: Path, directory: Path, *targets: str) -> list[Path]:
    chosen = [part for target in targets for part in ("--target", target)]
    run(sys.executable, "-m", "hatchling", "build", "--directory", directory, *chosen, cwd=source)
    return sorted(directory.iterdir())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive and the wheel."""
    wheel, archive = build(ROOT, tmp_path_factory.mktemp("dist"), "sdist", "wheel")
    return archive, wheel


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in a fresh environment that sees the distribution's packages; what it depends on is lent to it."""
    place = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", place, cwd=place)
    run(
        sys.executable, "-m", "pip", "--python", place / "bin/python", "install", "--no-index", "--no-deps", built[1],
        cwd=place,
    )  # fmt: skip
    (site,) = place.glob("lib/python3*/site-packages")
    (site / "lent.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return place


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def files_below(directory: str) -> set[str]:
    tracked = subprocess.run(
        ["git", "ls-files", "-z", directory], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return set(tracked.split("\0")) - {""}


def test_the_wheel_holds_every_file(built: tuple[Path, Path]) -> None:
    held = names(built[1])
    in_package = {name for name in held if ".data/" not in name}
    elsewhere = files_below("nettop/share") | files_below("nettop/packaging")
    assert in_package == (files_below("nettop") - elsewhere) | {f"nettop/{name}" for name in files_below("bpf")}
    assert in_package >= {
        "nettop/bpf/abi.h",
        "nettop/bpf/kernel/include/linux/types.h",
        "nettop/demo/demo.jsonl",
        "nettop/schema/findings.schema.json",
        "nettop/schema/snapshot.schema.json",
        "nettop/schema/stream.schema.json",
        "nettop/tui/nettop.tcss",
    }
    assert {name.partition(".data/data/")[2] for name in held - in_package} == {
        "share/bash-completion/completions/nettop",
        "share/fish/vendor_completions.d/nettop.fish",
        "share/man/man1/nettop.1",
        "share/nettop/alerts.yml",
        "share/nettop/dashboard.json",
        "share/zsh/site-functions/_nettop",
    }


def test_the_source_archive_makes_the_same_wheel(built: tuple[Path, Path], tmp_path: Path) -> None:
    run("tar", "xzf", built[0], cwd=tmp_path)
    (source,) = tmp_path.iterdir()
    (wheel,) = build(source, tmp_path / "dist", "wheel")
    assert wheel.read_bytes() == built[1].read_bytes()


def test_it_plays_the_demo(installed: Path) -> None:
    snapshot = json.loads(run(installed / "bin/nettop", "replay", "--demo", "--snapshot", cwd=Path("/")))
    assert any(row["comm"] == "payments" or "payments" in row["qname"] for row in snapshot["dns"])


@NEEDS_ROOT
def test_it_finds_all_that_it_needs(installed: Path) -> None:
    report = json.loads(run(installed / "bin/nettop", "doctor", "--json", cwd=Path("/")))
    assert report["can_run"], report


@NEEDS_ROOT
def test_it_watches(installed: Path) -> None:
    snapshot = json.loads(run(installed / "bin/nettop", "snapshot", "--for", "0.5", cwd=Path("/")))
    assert snapshot["schema"] == "nettop.snapshot/1"
    assert snapshot["hooks"]
