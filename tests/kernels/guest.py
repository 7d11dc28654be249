"""A virtual machine under QEMU without KVM that runs tests/kernels/inside.py and tells how each step went."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.kernels.kernels import Kernel
from tests.kernels.userland import ROOT, Userland

_HERE = Path(__file__).parent
_TREE = ("nettop", "bpf", "tests", "pyproject.toml")
_MEMORY = "1536M"
_TIMEOUT_S = 1200.0  # five hundred suffice on an idle host
_BOOT_TRIES = 3
_PROCESSORS = 2
_APPEND = "console=ttyS0 loglevel=4 panic=-1 mitigations=off nokaslr clocksource=acpi_pm"
_QEMU = (
    "setpriv", "--pdeathsig", "KILL",  # no guest outlives the matrix
    "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
    # thread=single: with a thread per processor the guest's kernel oopses while it patches its own code
    "-accel", "tcg,thread=single", "-smp", str(_PROCESSORS), "-m", _MEMORY,
    # cx16=off: QEMU 7.2 spoils the flags around cmpxchg16b when an interrupt comes, which kills 6.12's slab allocator
    "-cpu", "max,cx16=off",
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One thing that was tried in the guest, and what it says that this kernel lacks."""

    name: str
    passed: bool
    seconds: float
    absent: Sequence[str] = ()


@dataclass(frozen=True)
class Run:
    """What came of a guest: its steps, everything they said, and why it died if it did, with the console's end."""

    steps: dict[str, Step] = field(default_factory=dict)
    output: str = ""
    seconds: float = 0.0
    boots: int = 0
    died: str | None = None


def copy_tree(to: Path) -> None:
    """What a guest needs of the working tree, so that all guests run the same, whoever is editing."""
    for name in _TREE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("*.pyc.*"))  # half written
        else:
            shutil.copy2(ROOT / name, to / name)


def run_guest(kernel: Kernel, userland: Userland, tree: Path) -> Run:
    """Boot, run the steps, and clean up. A guest that dies before its first step is booted again."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nettop-guest-") as directory:
        work = Path(directory)
        _make_initramfs(kernel, tree, work)
        boots = 0
        steps: dict[str, Step] = {}
        while not steps and boots < _BOOT_TRIES:
            died = _boot(kernel, userland, work)
            steps = _results(work / "results")
            boots += 1
        return Run(steps, _text(work / "output"), time.monotonic() - started, boots, died)


def _boot(kernel: Kernel, userland: Userland, work: Path) -> str | None:
    """Run QEMU to its end; the end of the console if the guest did not get to its own."""
    command = [*_QEMU, "-kernel", str(kernel.image), "-initrd", str(work / "initramfs"), "-append", _APPEND]
    command += ["-drive", f"file={userland.image},if=none,id=disk,format=raw,snapshot=on"]
    command += ["-device", "nvme,drive=disk,serial=userland"]
    for name in ("console", "output", "results"):
        (work / name).unlink(missing_ok=True)
        command += ["-chardev", f"file,id={name},path={work / name}", "-serial", f"chardev:{name}"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, timeout=_TIMEOUT_S
        )
        end = f"the guest ended before its last step; QEMU's exit code is {done.returncode}. {done.stderr}"
    except subprocess.TimeoutExpired:
        end = f"the guest did not end within {_TIMEOUT_S:g} s"
    if "end" in _results(work / "results"):
        return None
    return "\n".join([*_text(work / "console").splitlines()[-40:], end])


def _results(file: Path) -> dict[str, Step]:
    """The lines of JSON that inside.py wrote."""
    steps = {}
    for line in _text(file).splitlines():
        try:
            step = Step(**json.loads(line))
        except (ValueError, TypeError):  # cut by the guest's end
            continue
        steps[step.name] = step
    return steps


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


def _make_initramfs(kernel: Kernel, tree: Path, work: Path) -> None:
    root = work / "initramfs.d"
    for name in ("bin", "proc", "sys", "dev", "userland", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy2("/bin/busybox", root / "bin/busybox")
    shutil.copy2(_HERE / "init", root / "init")
    for module in kernel.modules:
        shutil.copy2(module, root / "modules")
    shutil.copytree(tree, root / "tree")
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with (work / "initramfs").open("wb") as packed:
        subprocess.run(
            ["cpio", "--create", "--format=newc", "--quiet"], cwd=root, input=names.encode(), stdout=packed, check=True
        )
    shutil.rmtree(root)
