"""`make install` and `make uninstall`, into a directory of the test's."""

import os
import stat
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What would be downloaded is lent by the environment that runs the tests.
OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_NO_DEPS": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip's words for "no isolation"
    "PYTHONPATH": os.pathsep.join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}),
}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def make(target: str, place: Path) -> None:
    command = ["make", target, f"PREFIX={place}/opt", f"LOCAL={place}/local", f"CACHE={place}/cache"]
    shell = f"umask 077 && exec {' '.join(command)}"
    done = subprocess.run(
        ["bash", "-c", shell], cwd=ROOT, env={**os.environ, **OFFLINE}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_installing_and_uninstalling(tmp_path: Path) -> None:
    make("install", tmp_path)
    for path in (tmp_path / "opt").rglob("*"):
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == (0, 0), path
        if not stat.S_ISLNK(status.st_mode):
            assert status.st_mode & 0o022 == 0, f"others may write {path}"
            assert status.st_mode & 0o004, f"others may not read {path}"
    command = tmp_path / "local/bin/nettop"
    said = subprocess.run([command, "--version"], cwd="/", env=os.environ | OFFLINE, capture_output=True, check=True)
    assert said.stdout.startswith(b"nettop ")
    for name in (
        "man/man1/nettop.1", "bash-completion/completions/nettop", "zsh/site-functions/_nettop",
        "fish/vendor_completions.d/nettop.fish",
    ):  # fmt: skip
        assert "nettop" in (tmp_path / "local/share" / name).read_text()
    (tmp_path / "cache").mkdir()
    make("uninstall", tmp_path)
    assert not any(path.is_symlink() or path.is_file() for path in tmp_path.rglob("*"))
    assert not (tmp_path / "opt").exists()
    assert not (tmp_path / "cache").exists()
