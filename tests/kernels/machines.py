"""The processors that guests have: what Debian, pip and QEMU call them, and how QEMU plays them without KVM."""

import platform
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """A kind of processor, and the board around it."""

    debian: str
    python: str  # as platform.machine() and the tags of wheels have it
    qemu: tuple[str, ...]
    append: str
    serial: tuple[str, ...]  # QEMU's arguments for the two ports beside the console
    ports: tuple[str, str]  # what these are called in the guest: what the steps say, and their results

    @property
    def is_foreign(self) -> bool:
        """Whether its programs need an emulator here."""
        return self.python != platform.machine()


# Features that cost an emulator more than they save: copying by bytes, page tables of five levels, checks of access
_SLOW = ",erms=off,fsrm=off,la57=off,smap=off,smep=off"
_AMD64 = Machine(
    debian="amd64",
    python="x86_64",
    # thread=single: with a thread per processor the guest's kernel oopses while it patches its own code
    # cx16=off: QEMU 7.2 spoils the flags around cmpxchg16b when an interrupt comes, which kills 6.12's slab allocator
    qemu=("qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", f"max,cx16=off{_SLOW}"),
    append="console=ttyS0 mitigations=off nokaslr clocksource=acpi_pm",
    serial=("-serial", "chardev:output", "-serial", "chardev:results"),
    ports=("ttyS1", "ttyS2"),
)
_ARM64 = Machine(
    debian="arm64",
    python="aarch64",
    qemu=("qemu-system-aarch64", "-machine", "virt,gic-version=3", "-cpu", "neoverse-n1"),
    append="console=ttyAMA0 mitigations=off nokaslr",
    # the board has one port of its own; Debian's kernels have a driver for these built in
    serial=("-device", "pci-serial,chardev=output", "-device", "pci-serial,chardev=results"),
    ports=("ttyS0", "ttyS1"),
)
MACHINES = {machine.debian: machine for machine in (_AMD64, _ARM64)}
