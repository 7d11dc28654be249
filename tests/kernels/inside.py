"""Runs in the guest: each step in a process of its own, results as JSON lines on a serial port of their own."""

import base64
import ctypes
import json
import multiprocessing
import os
import re
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
from tests.kernels import DOCTOR, ONE_FILE, kernel_version
from tests.kernels.ahead import (
    compared,
    compiled_elsewhere,
    compiled_files,
    hiding_mptcp,
    not_as_compiled_here,
    plain_shape,
)
from tests.kernels.conditions import not_as_wanted
from tests.kernels.settings import conditions_of
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
_TIMEOUT_S = 900.0  # a hundred and fifty suffice on an idle host
_BTF = Path("/sys/kernel/btf/vmlinux")
_MS_BIND = 4096  # mount(2)
_ABSENT = "absent "  # how a line of the report begins (nettop/cli/checks.py)
_SINCE = re.compile(r"needs Linux (\d+\.\d+) or later")  # nettop/cli/checks.py
# By their whole names: pytest fails for one that is there no more, where -k would go on without it.
_FIRST = ("dns_over_udp", "dns_over_tcp", "opened_and_accepted")
_SHORT = (
    *_FIRST,
    "refused",
    "older_than_nettop",
    "owner_of_an_accepted_connection_that_lives",
    "units_and_containers_of_processes_that_are_gone",
)


def _doctor() -> int:
    if compiled_files() and compared().exists():
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
    _NETTOP.write_text(f'#!/bin/sh\nexec /usr/bin/python3 {_TREE / ONE_FILE} "$@"\n')
    return _tests(*_of_core(_FIRST))


def _of_core(names: Iterable[str]) -> Iterable[str]:
    return (f"tests/kernels/core.py::test_{name}" for name in names)


class _Outcomes:
    """A plugin of pytest that counts."""

    def __init__(self) -> None:
        self.passed = self.skipped = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed
        self.skipped += report.skipped


def _tests(*arguments: str) -> int:
    outcomes = _Outcomes()
    code = pytest.main([*_PYTEST, *arguments], [outcomes])
    if code == pytest.ExitCode.OK and not outcomes.passed:
        _say(f"Nothing was tried: {outcomes.skipped} skipped.\n")
        return pytest.ExitCode.NO_TESTS_COLLECTED
    return code


_STEPS: dict[str, Callable[[], int]] = {
    "doctor": _doctor,
    "report": _report,
    "short": partial(_tests, *_of_core(_SHORT)),
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

        booted_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        if os.environ.get("BTF") == "without-mptcp":
            _hide_mptcp()
        wrong = _complain(not_as_wanted(conditions_of(os.environ.get("SETTING", ""))))
        tell("boot", booted_s, _Done(not wrong))
        ahead, before_us = compiled_elsewhere(), compiled_files()
        stamp = None if ahead is None else compared()  # before doctor replaces what it is of
        for name in os.environ["STEPS"].split(","):
            _say(f"\n--- {name}\n")
            before = time.monotonic()
            passed = _passes(_STEPS[name])
            absent: tuple[str, ...] = ()
            if name in ("doctor", "report"):
                said = DOCTOR.read_text()
                _say(said)
                absent = tuple(_absences(said.splitlines()))
                passed &= not _complain(_not_so(absent, kernel_version()))
            if name == "doctor" and passed:
                passed = ahead is None or not _complain(not_as_compiled_here(ahead))
                if passed:
                    (stamp or compared()).touch()
            done = _Done(passed, absent)
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


def _not_so(absent: Iterable[str], kernel: tuple[int, ...]) -> Iterable[str]:
    """What is absent, but not for the kernel's age: all kernels here are Debian's, which have everything else."""
    for sentence in absent:
        since = _SINCE.search(sentence)
        if since is None or kernel >= kernel_version(since[1]):
            yield f"Doctor says that this is absent, but this kernel is not too old for it: {sentence}"


def _complain(sentences: Iterable[str]) -> bool:
    """Whether there are any."""
    said = [f"{sentence}\n" for sentence in sentences]
    _say("".join(said))
    return bool(said)


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
