"""What somebody reads where nettop cannot run: locked down for confidentiality, or without type information (BTF).

Named so that pytest collects it only when asked for by name.
"""

import subprocess

import pytest

from nettop.kernel.btf import VMLINUX
from tests.live.lab import NETTOP

COMMANDS = [["snapshot", "--for", "1"], ["stream", "--for", "1"]]
if VMLINUX.exists():
    COMMANDS.append([])  # else the terminal comes first, which is not there
    SENTENCE = "This kernel is locked down for confidentiality: nobody may read its memory, not even root."
    REMEDY = "Boot with lockdown=integrity, with which nettop works, instead of lockdown=confidentiality."
    MISSING = f"leave to read the kernel's memory: {SENTENCE} (kernel_lockdown)"
else:
    SENTENCE = f"This kernel offers no type information (BTF): {VMLINUX}: No such file or directory."
    REMEDY = "Run a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions have shipped since 2020-2021."
    MISSING = f"the layout of kernel structures: {SENTENCE} (BTF, {VMLINUX})"
EXIT_CANNOT_RUN = 3


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: list[str]) -> None:
    done = subprocess.run([*NETTOP, *command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (EXIT_CANNOT_RUN, "")
    assert SENTENCE in done.stderr
    assert REMEDY in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor() -> None:
    done = subprocess.run([*NETTOP, "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert [line for line in done.stdout.splitlines() if line.startswith("MISSING")] == [f"MISSING  {MISSING}"]
    assert f"  - {REMEDY}" in done.stdout
