"""Disk images with what nettop runs on: a suite's Python and BCC, and a virtual environment with nettop's libraries.

Made from packages without installing them: unpacked, then packed into ext4 by mke2fs. No mount, no loop device.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.kernels.archive import Archive, ArchiveError, unpack
from tests.kernels.machines import Machine

ROOT = Path(__file__).resolve().parents[2]
TREE = "/nettop"  # where a guest finds this working tree
VENV = "/opt/nettop"
_PACKAGES = (
    "python3",
    "python3-bpfcc",
    "libcap-ng0",
    "libseccomp2",
    "iproute2",
    "nftables",
    "dash",
    "coreutils",
    "mount",
    "libc-bin",
    "ncurses-base",
    "busybox-static",
)
_TEST_LIBRARIES = ("hypothesis", "jsonschema-rs", "pyte", "pytest")  # of the project's development dependencies
_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
_MERGED = ("bin", "sbin", "lib", "lib64")  # what usr-merge makes links to /usr
_EMPTY = ("proc", "sys", "dev", "run", "tmp", "root", "etc", "var/tmp", TREE.lstrip("/"))
_ROOM = 1.15  # for ext4's own tables and for what a guest writes: byte code, logs
_LAUNCHER = f"""#!{VENV}/bin/python
import sys
from nettop.cli.main import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Userland:
    """A disk image and what is on it."""

    suite: str
    machine: Machine
    image: Path
    busybox: Path  # for the initramfs
    bcc: str  # version of the package


def provide_userland(suite: str, archive: Archive, machine: Machine, cache: Path) -> Userland:
    """The image of a suite, made anew where its packages, the libraries or this file have changed."""
    packages = archive.files(_PACKAGES, dependencies=True)
    requirements = _requirements()
    recipe = "\n".join((*packages, *requirements, Path(__file__).read_text()))
    begin = f"{suite}-{machine.debian}"
    image = cache / f"{begin}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.ext4"
    busybox = image.with_suffix(".busybox")
    if not image.exists():
        for outdated in cache.glob(f"{begin}-*"):
            outdated.unlink() if outdated.is_file() else shutil.rmtree(outdated)
        work = cache / f"{begin}-work"
        root = work / "root"
        root.mkdir(parents=True)
        archive.fetch(_PACKAGES, dependencies=True, into=work / "packages")
        _lay_out(root, work / "packages")
        _make_venv(root, requirements, machine)
        _compile(root, machine)
        (root / "usr/bin/busybox").rename(busybox)
        _pack(root, work / "image")
        (work / "image").rename(image)
        shutil.rmtree(work)
    (bcc,) = (name.split("_")[1] for name in packages if name.startswith("libbpfcc_"))
    return Userland(suite, machine, image, busybox, bcc)


def _requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    development = project["optional-dependencies"]["dev"]
    wanted = [line for line in development if re.split(r"[<>=~! ]", line)[0] in _TEST_LIBRARIES]
    return [*project["dependencies"], *wanted]


def _lay_out(root: Path, packages: Path) -> None:
    for name in _MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in _EMPTY:
        (root / name).mkdir(parents=True, exist_ok=True)
    unpack(sorted(packages.glob("*.deb")), root)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    for ballast in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"):
        shutil.rmtree(root / ballast, ignore_errors=True)


def _make_venv(root: Path, requirements: list[str], machine: Machine) -> None:
    """A virtual environment made by hand, because its Python need not be able to run here."""
    python = (root / "usr/bin/python3").readlink().name
    version = python.removeprefix("python")
    venv = root / VENV.lstrip("/")
    libraries = venv / "lib" / python / "site-packages"
    libraries.mkdir(parents=True)
    (venv / "bin").mkdir()
    (venv / "bin/python").symlink_to("/usr/bin/python3")
    (venv / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = true\nversion = {version}\n")
    launcher = venv / "bin/nettop"
    launcher.write_text(_LAUNCHER)
    launcher.chmod(0o755)
    (libraries / "nettop.pth").write_text(f"{TREE}\n")
    command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile"]
    command += ["--target", str(libraries), "--python-version", version, "--only-binary", ":all:"]
    command += [word for tag in _PLATFORMS for word in ("--platform", f"{tag}_{machine.python}")]
    _run([*command, *requirements])


def _compile(root: Path, machine: Machine) -> None:
    """Byte code, as the packages' scripts would have made it: without KVM a guest takes minutes for it."""
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    folders = ["/usr/lib/python3", *(f"/usr/lib/{path.name}" for path in (root / "usr/lib").glob("python3.*"))]
    emulator = root / f"qemu-{machine.python}-static"
    if machine.is_foreign:
        shutil.copy2(f"/usr/bin/{emulator.name}", emulator)  # needs no other file
    command = ["unshare", *as_root, f"--root={root}", *([f"/{emulator.name}"] if machine.is_foreign else [])]
    command += ["/usr/bin/python3", "-m", "compileall", "-q", *folders, VENV]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)  # some test files are not meant to compile
    emulator.unlink(missing_ok=True)


def _pack(root: Path, image: Path) -> None:
    used_mb = int(_run(["du", "-s", "--block-size=1M", str(root)]).split()[0])
    command = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal,^metadata_csum", "-m", "0", "-d", str(root)]
    _run([*command, str(image), f"{int(used_mb * _ROOM) + 128}M"])


def _run(command: list[str]) -> str:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # where mke2fs is
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PATH": path})
    if done.returncode != 0:
        raise ArchiveError(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout
