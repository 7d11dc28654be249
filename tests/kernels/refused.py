"""What somebody reads where no kernel would let nettop run: one that is locked down for confidentiality.

Named so that pytest collects it only when asked for by name.
"""

import subprocess

import pytest

from tests.live.lab import NETTOP

SENTENCE = "This kernel is locked down for confidentiality: nobody may read its memory, not even root."
REMEDY = "Boot with lockdown=integrity, with which nettop works, instead of lockdown=confidentiality."
EXIT_CANNOT_RUN = 3


@pytest.mark.parametrize("command", [["snapshot", "--for", "1"], ["stream", "--for", "1"], []])
def test_commands(command: list[str]) -> None:
    done = subprocess.run([*NETTOP, *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (EXIT_CANNOT_RUN, "")
    assert SENTENCE in done.stderr
    assert REMEDY in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor() -> None:
    done = subprocess.run([*NETTOP, "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert [line for line in done.stdout.splitlines() if line.startswith("MISSING")] == [
        f"MISSING  leave to read the kernel's memory: {SENTENCE} (kernel_lockdown)"
    ]
    assert f"  - {REMEDY}" in done.stdout
