"""What the packages say of themselves, and how nettop.pyz starts; `make packages-test` tries them in fresh roots."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nettop import __version__
from nettop.kernel.privileges import ATTACHING
from nettop.packaging import build, libraries

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "nettop/packaging"
OF_THE_DISTRIBUTION = {"cryptography"}  # and BCC, which is not a dependency that pip could know


def locked() -> dict[str, str]:
    """The libraries that come inside, with their versions."""
    lines = re.findall(r"^([\w.-]+)==([\w.]+) \\$", (PACKAGING / "requirements.txt").read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in lines}


def control() -> dict[str, str]:
    """The fields of the Debian package."""
    _, package = re.sub(r"\n +", " ", (PACKAGING / "debian/control").read_text()).split("\n\n", 1)
    return dict(line.split(": ", 1) for line in package.strip().splitlines())


def test_who_builds_the_deb_answers_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEBFULLNAME", raising=False)
    monkeypatch.delenv("DEBEMAIL", raising=False)
    assert re.fullmatch(r"The nettop developers <[^<> ]+@[^<> ]+>", build.maintainer())
    monkeypatch.setenv("DEBFULLNAME", "Ann Example")
    monkeypatch.setenv("DEBEMAIL", "ann@example.org")
    assert build.maintainer() == "Ann Example <ann@example.org>"


def test_the_locked_libraries_are_those_that_nettop_asks_for() -> None:
    asked = [
        Requirement(line) for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ]
    inside = locked()
    assert {canonicalize_name(each.name) for each in asked} - set(inside) == OF_THE_DISTRIBUTION
    for each in asked:
        if each.name not in OF_THE_DISTRIBUTION:
            assert each.specifier.contains(inside[canonicalize_name(each.name)]), each


def test_the_locked_libraries_have_what_they_need_themselves() -> None:
    """As the environment of the tests knows their needs, whose versions may be others."""
    for name in locked():
        for line in metadata.requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in locked(), (name, line)


def test_the_debian_package_depends_on_what_make_installs() -> None:
    (packages,) = re.findall(r"^RUN_PACKAGES := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    depends = {word.split(" ")[0] for word in control()["Depends"].split(", ") if not word.startswith("$")}
    assert depends - {"libc6"} == set(packages.split()) - {"python3-venv", "python3-pip"}
    pythons = libraries.PYTHONS
    next_one = f"3.{int(pythons[-1].partition('.')[2]) + 1}"
    assert f"python3 (>= {pythons[0]}), python3 (<< {next_one})" in control()["Depends"]


# Privileges


@pytest.fixture
def manifest() -> list[Any]:
    return list(yaml.safe_load_all((PACKAGING / "daemonset.yaml").read_text()))


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_kubernetes_takes_the_manifest(manifest: list[Any], version: str) -> None:
    for document in manifest:
        kubernetes_validate.validate(document, version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest[1] | {"specification": {}}, version, strict=True)


def test_unit_manifest_and_page_name_the_same_capabilities(manifest: list[Any]) -> None:
    (container,) = manifest[1]["spec"]["template"]["spec"]["containers"]
    in_manifest = container["securityContext"]["capabilities"]["add"]
    (of_unit,) = re.findall(r"^CapabilityBoundingSet=(.*)$", (PACKAGING / "nettop.service").read_text(), re.MULTILINE)
    (on_page,) = re.findall(r"--cap-add=([A-Z_,]+)", (ROOT / "docs/install.md").read_text())
    assert in_manifest == on_page.split(",")
    assert {f"CAP_{name}" for name in in_manifest} | {"CAP_SYS_RESOURCE"} == set(of_unit.split())  # before Linux 5.11
    assert {each.name for each in ATTACHING} <= set(of_unit.split())


# nettop.pyz


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make pyz` packs it, but offline: for this Python alone, with the libraries of the tests' environment."""
    directory = tmp_path_factory.mktemp("pyz")
    inside = directory / "nettop/lib"
    for name in locked():
        for file in metadata.files(name) or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                (inside / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), inside / file)
    shutil.copytree(ROOT / "nettop", inside / "nettop", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "bpf", inside / "nettop/bpf")
    packed: Path = build.pack(directory / "nettop", directory / "nettop.pyz")
    return packed


def started(pyz: Path, cache: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Under the distribution's Python, with nothing from the environment of the tests."""
    bare = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "NETTOP_PYZ_CACHE": str(cache)}
    command = ["/usr/bin/python3", "-I", str(pyz), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env=bare, timeout=60)


def test_the_pyz_runs_from_where_it_has_unpacked_itself(pyz: Path, tmp_path: Path) -> None:
    cache = tmp_path / "made/by it"
    for _ in range(2):
        done = started(pyz, cache, "--version")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"nettop {__version__}\n", "")
        (unpacked,) = cache.iterdir()
        assert unpacked.name.startswith(f"{__version__}-")
    assert unpacked.stat().st_mode & 0o777 == 0o755  # nobody can read it
    assert '"qname": "payments' in started(pyz, cache, "replay", "--demo", "--snapshot").stdout
    assert started(pyz, cache, "snapshot", "--nonsense").returncode == 2


def test_the_pyz_takes_no_code_that_others_could_change(pyz: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert started(pyz, cache, "--version").returncode == 0
    (unpacked,) = cache.iterdir()
    for open_to_all in (cache, unpacked):
        open_to_all.chmod(0o777)
        done = started(pyz, cache, "--version")
        assert (done.returncode, done.stdout) == (3, "")
        assert f"other users could change {open_to_all}" in done.stderr
        open_to_all.chmod(0o755)
    assert started(pyz, cache, "--version").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_pyz_takes_no_code_of_another_user(pyz: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert started(pyz, cache, "--version").returncode == 0
    (unpacked,) = cache.iterdir()
    os.chown(unpacked, 65534, 65534)
    done = started(pyz, cache, "--version")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"other users could change {unpacked}" in done.stderr


def test_the_pyz_says_that_it_finds_no_room(pyz: Path) -> None:
    done = started(pyz, Path("/proc/nowhere"), "--version")
    assert (done.returncode, done.stdout) == (3, "")
    assert "/proc/nowhere" in done.stderr
    assert "NETTOP_PYZ_CACHE" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_pyz_says_that_it_has_nothing_for_this_python(pyz: Path, tmp_path: Path) -> None:
    for library in (pyz.parent / "nettop/lib").rglob("*.so"):
        assert sys.implementation.cache_tag is not None
        other = library.name.replace(sys.implementation.cache_tag, "cpython-27")
        (tmp_path / "nettop/lib").mkdir(parents=True, exist_ok=True)
        shutil.copy(library, tmp_path / "nettop/lib" / other)
    foreign = build.pack(tmp_path / "nettop", tmp_path / "nettop.pyz")
    done = started(foreign, tmp_path / "cache", "--version")
    assert (done.returncode, done.stdout) == (3, "")
    assert "it has nothing for this Python" in done.stderr
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_old_python_can_read_how_the_pyz_starts() -> None:
    ast.parse((PACKAGING / "pyz/__main__.py").read_text(), feature_version=(3, 6))


def test_the_same_content_makes_the_same_pyz(pyz: Path, tmp_path: Path) -> None:
    shutil.copytree(pyz.parent / "nettop/lib", tmp_path / "nettop/lib", copy_function=shutil.copy)  # of another time
    again: Path = build.pack(tmp_path / "nettop", tmp_path / "nettop.pyz")
    assert again.read_bytes() == pyz.read_bytes()
