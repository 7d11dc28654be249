"""A virtual machine under QEMU without KVM that runs tests/kernels/inside.py and tells how each step went."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from tests.kernels import ONE_FILE, MatrixError
from tests.kernels.kernels import Kernel
from tests.kernels.processes import OF_ITS_OWN, are_ending, ending_with_us
from tests.kernels.settings import Setting
from tests.kernels.userland import ROOT, Userland

_HERE = Path(__file__).parent
_HALF_WRITTEN = shutil.ignore_patterns("*.pyc.*")
_TREE = ("nettop", "bpf", "tests", "pyproject.toml")
_PACKED = "lib/nettop"  # in the one file: the package, and bpf/ inside
_MEMORY = "1536M"
_TIMEOUT_S = 1800.0  # five hundred suffice on an idle host
_BOOT_TRIES = 3
_APPEND = "loglevel=4 panic=-1"
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")  # no guest outlives the matrix
_QEMU = ("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", _MEMORY)


@dataclass(frozen=True)
class Step:
    """One thing that was tried in the guest, and what it says that this kernel lacks."""

    name: str
    passed: bool
    seconds: float
    absent: Sequence[str] = ()


@dataclass(frozen=True)
class Run:
    """What came of a guest: its steps, everything they said, and why it died if it did, with the console's end.

    `compiled` are the files that nettop's cache has got there.
    """

    steps: dict[str, Step] = field(default_factory=dict)
    compiled: dict[str, bytes] = field(default_factory=dict)
    output: str = ""
    seconds: float = 0.0
    boots: int = 0
    died: str | None = None


def copy_tree(to: Path) -> None:
    """What a guest needs of the working tree, so that all guests run the same, whoever is editing."""
    (to / ONE_FILE).parent.mkdir(parents=True)
    for name in (*_TREE, ONE_FILE):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=_HALF_WRITTEN)
        elif (ROOT / name).exists():
            shutil.copy2(ROOT / name, to / name)


def require_one_file(tree: Path) -> None:
    """Raises MatrixError unless nettop.pyz was made from this tree."""
    if not (tree / ONE_FILE).exists():
        raise MatrixError(f"There is no {ONE_FILE}: 'make pyz' builds it.")
    with zipfile.ZipFile(tree / ONE_FILE) as packed:
        for name in packed.namelist():
            path = PurePath(name)
            if path.is_relative_to(_PACKED) and path.suffix in (".py", ".c", ".h"):
                source = path.relative_to(_PACKED)
                file = tree / source if source.is_relative_to("bpf") else tree / "nettop" / source
                if not file.exists() or file.read_bytes() != packed.read(name):
                    raise MatrixError(f"{ONE_FILE} has another {source} than this tree: 'make pyz' builds it anew.")


def run_guest(kernel: Kernel, userland: Userland, setting: Setting, tree: Path, compiled: Path | None) -> Run:
    """Boot, run the steps, and clean up. A guest that dies before its first step is booted again.

    `compiled` is a directory of ahead.py's, which is there where this machine can compile for the guest.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nettop-guest-") as directory:
        work = Path(directory)
        _make_initramfs(kernel, userland, tree, compiled, work)
        boots = 0
        steps: dict[str, Step] = {}
        got: dict[str, bytes] = {}
        while not steps and boots < _BOOT_TRIES and not are_ending():
            died = _boot(kernel, userland, setting, work)
            steps, got = _results(work / "results")
            boots += 1
        return Run(steps, got, _text(work / "output"), time.monotonic() - started, boots, died)


def _boot(kernel: Kernel, userland: Userland, setting: Setting, work: Path) -> str | None:
    """Run QEMU to its end; the end of the console if the guest did not get to its own."""
    machine = userland.machine
    output, results = machine.ports
    told = f"OUTPUT={output} RESULTS={results} SETTING={setting.name} STEPS={','.join(setting.steps)}"
    words = f"{machine.append} {_APPEND} {setting.append} {told}"
    command = [*_ENDS_WITH_US, *machine.qemu, *_QEMU, "-smp", setting.processors]
    command += ["-kernel", str(kernel.image), "-initrd", str(work / "initramfs"), "-append", words]
    command += ["-drive", f"file={userland.image},if=none,id=disk,format=raw,snapshot=on"]
    command += ["-device", "nvme,drive=disk,serial=userland"]
    for name in ("console", "output", "results"):
        (work / name).unlink(missing_ok=True)
        command += ["-chardev", f"file,id={name},path={work / name}"]
    command += ["-serial", "chardev:console", *machine.serial]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=OF_ITS_OWN
    )
    with process as qemu, ending_with_us(qemu):
        try:
            said = qemu.communicate(timeout=_TIMEOUT_S)[1]
            end = f"the guest ended before its last step; QEMU's exit code is {qemu.returncode}. {said}"
        except subprocess.TimeoutExpired:
            qemu.kill()
            end = f"the guest did not end within {_TIMEOUT_S:g} s"
    if "end" in _results(work / "results")[0]:
        return None
    return "\n".join([*_text(work / "console").splitlines()[-40:], end])


def _results(file: Path) -> tuple[dict[str, Step], dict[str, bytes]]:
    """The lines of JSON that inside.py wrote: steps, and files."""
    steps, files = {}, {}
    for line in _text(file).splitlines():
        try:
            told = json.loads(line)
            if "file" in told:
                files[told["file"]] = zlib.decompress(base64.b64decode(told["content"]))
            else:
                steps[told["name"]] = Step(**told)
        except (ValueError, TypeError, KeyError, zlib.error):  # cut by the guest's end
            continue
    return steps, files


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


def _make_initramfs(kernel: Kernel, userland: Userland, tree: Path, compiled: Path | None, work: Path) -> None:
    root = work / "initramfs.d"
    for name in ("bin", "proc", "sys", "dev", "userland", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy2(userland.busybox, root / "bin/busybox")
    shutil.copy2(_HERE / "init", root / "init")
    for module in kernel.modules:
        shutil.copy2(module, root / "modules")
    shutil.copytree(tree, root / "tree", ignore=_HALF_WRITTEN)
    if compiled is not None and compiled.exists():
        shutil.copytree(compiled, root / "compiled")
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with (work / "initramfs").open("wb") as packed:
        subprocess.run(
            ["cpio", "--create", "--format=newc", "--quiet"], cwd=root, input=names.encode(), stdout=packed, check=True
        )
    shutil.rmtree(root)
