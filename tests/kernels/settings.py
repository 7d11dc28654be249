"""How a guest differs from a plain one: its CPUs, what its kernel is told, what is mounted; and what is tried there."""

from dataclasses import dataclass
from typing import NamedTuple

_SHORT = ("report", "short")
_HIDES_MPTCP = "BTF=without-mptcp"


class Conditions(NamedTuple):
    """What a guest must be found to have (conditions.py). None: it is as in this kernel."""

    cpus: int = 2
    possible_cpus: int = 2
    cgroups: tuple[str, ...] = ("cgroup2",)  # file systems
    lockdown: str = "none"
    conntrack: bool = True
    btf: bool = True
    mptcp: bool | None = None  # Debian's 5.10 has none


_USUAL = Conditions()


@dataclass(frozen=True)
class Setting:
    """What QEMU and the kernel are told. The kernel hands words of the form name=value on to the guest's init."""

    name: str = ""
    processors: str = "2"  # QEMU's -smp
    append: str = ""
    steps: tuple[str, ...] = ("report", "core", "opt_in", "machine", "cutting")
    conditions: Conditions = _USUAL

    @property
    def compiles(self) -> bool:
        """Whether nettop gets so far there."""
        return self.steps != _REFUSED

    @property
    def hides_mptcp(self) -> bool:
        """Whether its type information says nothing of Multipath TCP."""
        return self.append == _HIDES_MPTCP


PLAIN = Setting()
# Once for each userland: what else is tried there depends on that, and not on the kernel.
COMPILING = Setting(steps=("doctor", *PLAIN.steps[1:], "screen", "one_file"))
LARGE_PAGES = Setting(steps=COMPILING.steps[:3])  # for what depends on them: memory that the kernel and nettop share
QUICK = Setting("quick", steps=_SHORT)
_CPUS = ("report", "cpus")
_REFUSED = ("refused",)
VARIANTS = (
    Setting("8-cpus", "8", steps=_CPUS, conditions=Conditions(cpus=8, possible_cpus=8)),
    Setting("16-cpus", "16", steps=_CPUS, conditions=Conditions(cpus=16, possible_cpus=16)),
    Setting("possible-cpus", "2,sockets=16,cores=1,maxcpus=16", steps=_CPUS, conditions=Conditions(possible_cpus=16)),
    Setting("cgroup-v1", append="CGROUPS=v1", steps=_SHORT, conditions=Conditions(cgroups=("cgroup",))),
    Setting(
        "cgroup-hybrid", append="CGROUPS=hybrid", steps=_SHORT, conditions=Conditions(cgroups=("cgroup", "cgroup2"))
    ),
    Setting("integrity", append="lockdown=integrity", steps=_SHORT, conditions=Conditions(lockdown="integrity")),
    Setting(
        "confidentiality",
        append="lockdown=confidentiality",
        steps=_REFUSED,
        conditions=Conditions(lockdown="confidentiality"),
    ),
    Setting("no-conntrack", append="MODULES=few", steps=_SHORT, conditions=Conditions(conntrack=False)),
    Setting("no-mptcp", append=_HIDES_MPTCP, steps=_SHORT, conditions=Conditions(mptcp=False)),
    Setting("no-btf", append="BTF=none", steps=_REFUSED, conditions=Conditions(btf=False, mptcp=False)),
)


def conditions_of(name: str) -> Conditions:
    """Of the setting with this name."""
    return next((each.conditions for each in VARIANTS if each.name == name), PLAIN.conditions)
