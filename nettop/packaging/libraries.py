"""One directory with nettop and the libraries that it brings along, for several Pythons and processors at once.

Extension modules carry Python and processor in their names (`_core.cpython-311-x86_64-linux-gnu.so`), so all of them
fit side by side, and each Python finds its own. Everything else in a wheel is the same for all, which is checked. BCC
and cryptography, which the distribution provides, are not among them.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
PYTHONS = ("3.11", "3.12", "3.13")  # Debian 12, Ubuntu 24.04, Debian 13; backports.zstd ends before 3.14
PROCESSORS = {"x86_64": "amd64", "aarch64": "arm64"}  # what wheels call them, and what Debian does
_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")  # of Debian 10's glibc or older
_OF_THE_BUILD = ("RECORD", "WHEEL")  # in .dist-info: which of the wheels it was
_NOT_USED = ("bin", "share", "*.dist-info/RECORD", "*.dist-info/REQUESTED", "*.dist-info/INSTALLER", "**/*.pyi")


class BuildError(Exception):
    """A package cannot be built, in one sentence."""


def lay_out(wheel: Path, into: Path, processors: Iterable[str] = PROCESSORS) -> None:
    """Fill a new directory with the content of nettop's wheel and of its locked libraries.

    Raises BuildError if pip fails, for example without a network, or if wheels of the same release differ.
    """
    with tempfile.TemporaryDirectory() as work:
        for processor in processors:
            for python in PYTHONS:
                one = Path(work, processor, python)
                options = ["--require-hashes", "--only-binary", ":all:", "--implementation", "cp"]
                options += ["--python-version", python]
                options += [word for name in _PLATFORMS for word in ("--platform", f"{name}_{processor}")]
                _pip_install(one, *options, "--requirement", str(HERE / "requirements.txt"))
                _merge(one, into)
    _pip_install(into, str(wheel))
    # As a namespace, it would give way to any package of this name that the distribution has.
    (into / "backports/__init__.py").touch()
    for pattern in _NOT_USED:
        for path in into.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _pip_install(target: Path, *what: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-compile", "--upgrade", "--target", str(target), *what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"pip cannot install the libraries: {done.stderr.strip()}")


def _merge(one: Path, into: Path) -> None:
    for path in sorted(one.rglob("*")):
        place = into / path.relative_to(one)
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif not place.exists():
            shutil.copy2(path, place)
        elif path.name not in _OF_THE_BUILD and path.read_bytes() != place.read_bytes():
            raise BuildError(f"{path.relative_to(one)} is not the same in all wheels of its release.")
