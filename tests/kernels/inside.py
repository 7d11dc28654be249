"""Runs in the guest: each step in a process of its own, results as JSON lines on the third serial port."""

import json
import subprocess
import sys
import time
from pathlib import Path

_NETTOP = Path(sys.executable).with_name("nettop")
_PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", "-q", "--tb=short")
_TREE = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 280.0
_STEPS: dict[str, tuple[str, ...]] = {
    "doctor": (str(_NETTOP), "doctor", "--debug"),
    "core": (*_PYTEST, "tests/kernels/core.py"),
    "machine": (*_PYTEST, "tests/kernels/machine.py"),
    "screen": (*_PYTEST, "tests/kernels/screen.py"),
}


def main() -> None:
    with Path("/dev/ttyS2").open("w", buffering=1) as results:

        def tell(name: str, passed: bool, seconds: float) -> None:
            results.write(json.dumps({"name": name, "passed": passed, "seconds": round(seconds, 1)}) + "\n")

        tell("boot", True, time.clock_gettime(time.CLOCK_BOOTTIME))
        for name, command in _STEPS.items():
            sys.stdout.write(f"\n--- {name}\n")
            sys.stdout.flush()
            before = time.monotonic()
            tell(name, _passes(command), time.monotonic() - before)
        tell("end", True, time.clock_gettime(time.CLOCK_BOOTTIME))


def _passes(command: tuple[str, ...]) -> bool:
    try:
        return subprocess.run(command, cwd=_TREE, check=False, timeout=_TIMEOUT_S).returncode == 0
    except subprocess.TimeoutExpired:
        sys.stdout.write(f"It did not end within {_TIMEOUT_S:g} s.\n")
        return False


if __name__ == "__main__":
    main()
