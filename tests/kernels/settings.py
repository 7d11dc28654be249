"""How a guest differs from a plain one: its CPUs, what its kernel is told, what is mounted; and what is tried there."""

from dataclasses import dataclass

_SHORT = ("doctor", "short")


@dataclass(frozen=True)
class Setting:
    """What QEMU and the kernel are told. The kernel hands words of the form name=value on to the guest's init."""

    name: str = ""
    processors: str = "2"  # QEMU's -smp
    append: str = ""
    steps: tuple[str, ...] = ("doctor", "core", "lookups", "decrypt", "machine", "screen", "cutting")


PLAIN = Setting()
WITHOUT_CUTTING = Setting(steps=PLAIN.steps[:-1])  # for which each guest compiles four shapes, if not compiled for it
QUICK = Setting("quick", steps=_SHORT)
VARIANTS = (
    Setting("8-cpus", processors="8", steps=("doctor", "cpus")),
    Setting("16-cpus", processors="16", steps=("doctor", "cpus")),
    Setting("possible-cpus", processors="2,sockets=16,cores=1,maxcpus=16", steps=("doctor", "cpus")),
    Setting("cgroup-v1", append="CGROUPS=v1", steps=_SHORT),
    Setting("cgroup-hybrid", append="CGROUPS=hybrid", steps=_SHORT),
    Setting("integrity", append="lockdown=integrity", steps=_SHORT),
    Setting("confidentiality", append="lockdown=confidentiality", steps=("refused",)),
    Setting("no-conntrack", append="MODULES=few", steps=_SHORT),
    Setting("no-mptcp", append="BTF=without-mptcp", steps=_SHORT),
    Setting("no-btf", append="BTF=none", steps=("refused",)),
)
