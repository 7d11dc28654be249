"""What `make deb`, `make pyz` and `make release` run: packages into dist/, what they are made from into build/."""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tomllib
import zipapp
import zipfile
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from pathlib import Path

from nettop.packaging.libraries import HERE, PROCESSORS, BuildError, lay_out

ROOT = HERE.parents[1]
DIST = ROOT / "dist"
WORK = ROOT / "build" / "packages"
_INTERPRETER = "/usr/bin/python3 -I"  # the distribution's, which has its BCC; nothing from the environment or the user
_ZIP_BEGINS = 315_532_800  # 1980-01-01, before which a ZIP file knows no time
_NO_ADDRESS = "nettop@nettop.invalid"  # a package must name one, and nobody can have this one (RFC 2606)


def version() -> str:
    """What nettop calls itself, without importing it."""
    return (ROOT / "nettop/__init__.py").read_text().partition('__version__ = "')[2].partition('"')[0]


def build_wheel() -> Path:
    """Build the wheel; returns its path."""
    _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(DIST))
    return DIST / f"nettop-{version()}-py3-none-any.whl"


def build_sdist() -> Path:
    """Build the source archive; returns its path."""
    _run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(DIST))
    return DIST / f"nettop-{version()}.tar.gz"


def build_pyz() -> Path:
    """Build the one file for an incident, for every Python and processor; returns its path."""
    tree = _fresh(WORK / "pyz")
    lay_out(build_wheel(), tree / "lib", PROCESSORS)
    return pack(tree, DIST / "nettop.pyz")


def pack(tree: Path, target: Path) -> Path:
    """Make one executable file of a directory with nettop and its libraries in lib/; returns its path.

    The same content makes the same file.
    """
    shutil.copy(HERE / "pyz/__main__.py", tree)
    paths = sorted(path for path in tree.rglob("*") if path.is_file() and path.suffix != ".pyc")
    identity = hashlib.sha256()
    for path in paths:
        identity.update(f"{path.relative_to(tree)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\0".encode())
    (tree / "identity.py").write_text(f'ID = "{version()}-{identity.hexdigest()[:16]}"\n')
    packed = tree.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in [*paths, tree / "identity.py"]:
            entry = zipfile.ZipInfo(str(path.relative_to(tree)))  # of 1980
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    zipapp.create_archive(packed, target, interpreter=_INTERPRETER)
    target.chmod(0o755)
    return target


def build_own_deb() -> Path:
    """Build the Debian package for this machine's processor; returns its path."""
    return build_deb(platform.machine())


def build_deb(processor: str) -> Path:
    """Build the Debian package for a processor with debhelper; returns its path.

    Nothing in it is compiled here, so any machine can build for all of them.
    """
    architecture = PROCESSORS[processor]
    tree = _fresh(WORK / f"deb-{architecture}") / "nettop"
    tree.mkdir()
    lay_out(build_wheel(), tree / "lib", [processor])
    shutil.copytree(HERE / "debian", tree / "debian")
    shutil.copytree(ROOT / "nettop/share", tree / "share")
    shutil.copy2(HERE / "nettop.service", tree / "debian")
    for page in ("README.md", "SECURITY.md", "CHANGELOG.md", "LICENSE", "docs"):
        (shutil.copytree if (ROOT / page).is_dir() else shutil.copy2)(ROOT / page, tree / page)
    (tree / "debian/copyright").write_text("\n\n".join(_licenses(tree / "lib")))
    control, date = tree / "debian/control", formatdate(_source_date())
    control.write_text(control.read_text().replace("@MAINTAINER@", maintainer()))
    (tree / "debian/changelog").write_text(
        f"nettop ({version()}-1) unstable; urgency=medium\n\n"
        f"  * See /usr/share/doc/nettop/changelog.gz.\n\n -- {maintainer()}  {date}\n"
    )
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(_source_date()), "PYTHONDONTWRITEBYTECODE": "1"}
    _run(
        "dpkg-buildpackage", "--build=binary", f"--host-arch={architecture}", "--no-sign", "--no-check-builddeps",
        cwd=tree, environment=environment,
    )  # fmt: skip
    (built,) = tree.parent.glob("nettop_*.deb")
    return Path(shutil.copy2(built, DIST))


def maintainer() -> str:
    """Who answers for the Debian package: DEBFULLNAME and DEBEMAIL, as for debchange(1), or the author of nettop."""
    author = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["authors"][0]
    name = os.environ.get("DEBFULLNAME") or author["name"]
    return f"{name} <{os.environ.get('DEBEMAIL') or author.get('email', _NO_ADDRESS)}>"


def _licenses(libraries: Path) -> Iterator[str]:
    """What each of the libraries, nettop among them, says about its copyright, in full."""
    for about in sorted(libraries.glob("*.dist-info")):
        for text in sorted(path for path in about.rglob("*") if path.name.upper().startswith(("LICEN", "COPYING"))):
            if text.is_file():
                yield f"{about.stem} ({text.name})\n{'=' * 72}\n{text.read_text()}"


def build_bom() -> Path:
    """Write the list of what is inside, with licenses (CycloneDX), from what build_pyz() laid out; returns its path."""
    target, environment = DIST / f"nettop-{version()}.cdx.json", _fresh(WORK / "bom")
    _run("/usr/bin/python3", "-m", "venv", "--without-pip", str(environment))
    (site,) = environment.glob("lib/python3*/site-packages")
    (site / "inside.pth").write_text(f"{WORK / 'pyz/lib'}\n")
    project = environment / "pyproject.toml"
    project.write_text(
        (ROOT / "pyproject.toml").read_text().replace('dynamic = ["version"]', f'version = "{version()}"')
    )
    _run(
        str(Path(sys.executable).with_name("cyclonedx-py")), "environment", str(environment),
        "--pyproject", str(project), "--mc-type", "application",
        "--output-reproducible", "--output-file", str(target),
    )  # fmt: skip
    return target


def build_release() -> Path:
    """Build all of it and the checksums, in a dist/ that holds nothing else; returns the path of the checksums."""
    _fresh(DIST)
    built = [build_sdist(), build_wheel(), build_pyz(), *map(build_deb, PROCESSORS), build_bom()]
    sums = DIST / "SHA256SUMS"
    sums.write_text("".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in built))
    return sums


def main() -> int:
    """Build what the argument names. Returns 1, after a message, if that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=_BUILDS)
    try:
        target = _BUILDS[parser.parse_args().what]()
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{target.relative_to(ROOT)}\n")
    return 0


_BUILDS: Mapping[str, Callable[[], Path]] = {"deb": build_own_deb, "pyz": build_pyz, "release": build_release}


def _fresh(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def _source_date() -> int:
    """When the sources were committed last: what is built from them is the same tomorrow."""
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(os.environ.get("SOURCE_DATE_EPOCH") or done.stdout.strip() or _ZIP_BEGINS)


def _run(*command: str, cwd: Path = ROOT, environment: Mapping[str, str] | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not installed.") from error
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command[:3])} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
