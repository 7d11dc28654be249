"""Runs in the guest: each step in a process of its own, results as JSON lines on a serial port of their own."""

import base64
import ctypes
import json
import multiprocessing
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest

from nettop.cli import main as command
from nettop.kernel.compiled_cache import compiled_programs
from tests.kernels import DOCTOR
from tests.kernels.ahead import (
    compared,
    compiled_elsewhere,
    compiled_files,
    hiding_mptcp,
    not_as_compiled_here,
    plain_shape,
)
from tests.live import (
    lab,  # noqa: F401 - what most tests would import
    terminal,  # noqa: F401
)

_NETTOP = Path(sys.executable).with_name("nettop")
# tests/conftest.py has nothing to do here, and imports what takes a guest seconds
_PYTEST = (
    *("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--noconftest", "-p", "tests.live.conftest"),
    *("--color=no", "-q", "--tb=short", "--durations=12"),
)
_TREE = Path(__file__).resolve().parents[2]
_ONE_FILE = _TREE / "dist/nettop.pyz"
_TIMEOUT_S = 900.0  # a hundred and fifty suffice on an idle host
_BTF = Path("/sys/kernel/btf/vmlinux")
_MS_BIND = 4096  # mount(2)
_ABSENT = "absent "  # how a line of the report begins (nettop/cli/checks.py)
_SHORT = "dns_over or opened_and_accepted or refused or older_than or owner_of or units_and_containers"


def _doctor() -> int:
    if compared().exists():
        return _report()
    plain_shape().unlink(missing_ok=True)  # or a doctor that keeps nothing would be compared with it
    with DOCTOR.open("w") as said:
        return subprocess.run([_NETTOP, "doctor", "--debug"], stdout=said, check=False).returncode


def _report() -> int:
    """As doctor, of what was compiled already, where a guest with this userland has found that to be right."""
    with DOCTOR.open("w") as said:
        os.dup2(said.fileno(), sys.stdout.fileno())
    with mock.patch("nettop.cli.checks.compile_and_keep", compiled_programs):
        return command.main(["doctor", "--debug"])


def _one_file() -> int:
    """The last step: what stood in the virtual environment is replaced."""
    if not _ONE_FILE.exists():
        _say("There is no dist/nettop.pyz: 'make pyz' builds it.\n")
        return 1
    _NETTOP.write_text(f'#!/bin/sh\nexec /usr/bin/python3 {_ONE_FILE} "$@"\n')
    return _tests("tests/kernels/core.py", "-k", "dns_over or opened_and_accepted")


def _tests(*arguments: str) -> int:
    return pytest.main([*_PYTEST, *arguments])


_STEPS: dict[str, Callable[[], int]] = {
    "doctor": _doctor,
    "report": _report,
    "short": partial(_tests, "tests/kernels/core.py", "-k", _SHORT),
    "one_file": _one_file,
    "cutting": partial(_tests, "tests/live/test_blocks_pass.py", "tests/kernels/cutting.py"),
    **{
        name: partial(_tests, f"tests/kernels/{name}.py")
        for name in ("core", "opt_in", "machine", "screen", "cpus", "refused")
    },
}


class _Done(NamedTuple):
    passed: bool
    absent: Sequence[str] = ()


def main() -> None:
    with Path("/dev", os.environ["RESULTS"]).open("w", buffering=1) as results:

        def tell(name: str, seconds: float, done: _Done) -> None:
            step = {"name": name, "passed": done.passed, "seconds": round(seconds, 1), "absent": done.absent}
            results.write(json.dumps(step) + "\n")

        tell("boot", time.clock_gettime(time.CLOCK_BOOTTIME), _Done(True))
        if os.environ.get("BTF") == "without-mptcp":
            _hide_mptcp()
        ahead, before_us = compiled_elsewhere(), compiled_files()
        for name in os.environ["STEPS"].split(","):
            _say(f"\n--- {name}\n")
            before = time.monotonic()
            done = _Done(_passes(_STEPS[name]))
            if name in ("doctor", "report"):
                said = DOCTOR.read_text()
                _say(said)
                done = _Done(done.passed, list(_absences(said.splitlines())))
                if name == "doctor" and ahead is not None and (other := not_as_compiled_here(ahead)):
                    _say(f"What doctor has compiled is not what was compiled elsewhere: {', '.join(other)}\n")
                    done = _Done(False)
                if name == "doctor" and done.passed:
                    compared().touch()
            tell(name, time.monotonic() - before, done)
        for name, content in compiled_files().items():
            if name not in before_us:  # or what doctor finds to be wrong would be right for the next guest
                packed = base64.b64encode(zlib.compress(content)).decode()
                results.write(json.dumps({"file": name, "content": packed}) + "\n")
        tell("end", time.clock_gettime(time.CLOCK_BOOTTIME), _Done(True))


def _passes(step: Callable[[], int]) -> bool:
    """Run it in a fork of this process, which has imported already what takes a guest twenty seconds."""

    def run() -> None:
        os.chdir(_TREE)
        sys.exit(step())

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(_TIMEOUT_S)
    if process.exitcode is None:
        process.kill()
        process.join()
        _say(f"It did not end within {_TIMEOUT_S:g} s.\n")
    return process.exitcode == 0


def _absences(report: Iterable[str]) -> Iterable[str]:
    return (line.removeprefix(_ABSENT).strip() for line in report if line.startswith(_ABSENT))


def _hide_mptcp() -> None:
    """Have the type information say what that of a kernel without CONFIG_MPTCP does, but for the numbers of types."""
    edited = Path("/run/vmlinux")
    edited.write_bytes(hiding_mptcp(_BTF.read_bytes()))
    mount = ctypes.CDLL(None, use_errno=True).mount
    if mount(os.fsencode(edited), os.fsencode(_BTF), None, ctypes.c_ulong(_MS_BIND), None):
        raise OSError(ctypes.get_errno(), "mount")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
