"""Runs in the guest: each step in a process of its own, results as JSON lines on a serial port of their own."""

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.kernels.ahead import is_as_compiled_here, take_compiled

_NETTOP = Path(sys.executable).with_name("nettop")
_PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", "-q", "--tb=short", "--durations=12")
_TREE = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 900.0  # a hundred and fifty suffice on an idle host
DOCTOR = Path("/run/nettop-doctor")  # what it said, for the steps after it
_BTF, _MPTCP = Path("/sys/kernel/btf/vmlinux"), b"\0mptcp_sock\0"
_MS_BIND = 4096  # mount(2)
_ABSENT = "absent "  # how a line of the report begins (nettop/cli/checks.py)
_SHORT = "dns_over or opened_and_accepted or refused or older_than or owner_of or units_and_containers"
# The same report of what was compiled ahead, where that has been found to be right on the same kernel.
_REPORT = """
import sys
from nettop.cli import checks, main
from nettop.kernel.compiled_cache import compiled_programs
checks.compile_and_keep = compiled_programs
sys.exit(main.main(["doctor", "--debug"]))
"""
_STEPS: dict[str, tuple[str, ...]] = {
    "doctor": (str(_NETTOP), "doctor", "--debug"),
    "report": (sys.executable, "-c", _REPORT),
    **{
        name: (*_PYTEST, f"tests/kernels/{name}.py")
        for name in ("core", "lookups", "decrypt", "machine", "screen", "cpus", "refused")
    },
    "short": (*_PYTEST, "tests/kernels/core.py", "-k", _SHORT),
    # but for tests that need programs of util-linux
    "cutting": (
        *_PYTEST,
        "tests/live/test_blocks_pass.py",
        "tests/live/test_cutting.py",
        "-k",
        "not anybody and not command",
    ),
}


def main() -> None:
    with Path("/dev", os.environ["RESULTS"]).open("w", buffering=1) as results:

        def tell(name: str, passed: bool, seconds: float, absent: Sequence[str] = ()) -> None:
            step = {"name": name, "passed": passed, "seconds": round(seconds, 1), "absent": absent}
            results.write(json.dumps(step) + "\n")

        tell("boot", True, time.clock_gettime(time.CLOCK_BOOTTIME))
        changed = os.environ.get("BTF")  # what init and this have made of the type information
        if changed == "without-mptcp":
            _hide_mptcp()
        ahead = None if changed else take_compiled()
        for name in os.environ["STEPS"].split(","):
            sys.stdout.write(f"\n--- {name}\n")
            sys.stdout.flush()
            before = time.monotonic()
            passed, said = _run(_STEPS[name], kept=name in ("doctor", "report"))
            if said:
                DOCTOR.write_text(said)
                if name == "doctor" and not is_as_compiled_here(ahead):
                    sys.stdout.write("What was compiled for this kernel elsewhere is not what doctor has compiled.\n")
                    passed = False
            absent = [line.removeprefix(_ABSENT).strip() for line in said.splitlines() if line.startswith(_ABSENT)]
            tell(name, passed, time.monotonic() - before, absent)
        tell("end", True, time.clock_gettime(time.CLOCK_BOOTTIME))


def _hide_mptcp() -> None:
    """Have the type information say what that of a kernel without CONFIG_MPTCP does, but for the numbers of types."""
    types = _BTF.read_bytes()
    assert types.count(_MPTCP) == 1
    edited = Path("/run/vmlinux")
    edited.write_bytes(types.replace(_MPTCP, _MPTCP.replace(b"mptcp", b"none_")))
    mount = ctypes.CDLL(None, use_errno=True).mount
    if mount(os.fsencode(edited), os.fsencode(_BTF), None, ctypes.c_ulong(_MS_BIND), None):
        raise OSError(ctypes.get_errno(), "mount")


def _run(command: tuple[str, ...], kept: bool) -> tuple[bool, str]:
    """Whether it passed; and what it said, if that is kept."""
    output = subprocess.PIPE if kept else None
    try:
        done = subprocess.run(command, cwd=_TREE, check=False, timeout=_TIMEOUT_S, stdout=output, text=True)
    except subprocess.TimeoutExpired:
        sys.stdout.write(f"It did not end within {_TIMEOUT_S:g} s.\n")
        return False, ""
    sys.stdout.write(done.stdout or "")
    return done.returncode == 0, done.stdout or ""


if __name__ == "__main__":
    main()
