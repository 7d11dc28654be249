"""How a guest differs from a plain one: its CPUs, what its kernel is told, what is mounted; and what is tried there."""

from dataclasses import dataclass

_SHORT = ("report", "short")
_HIDES_MPTCP = "BTF=without-mptcp"


@dataclass(frozen=True)
class Setting:
    """What QEMU and the kernel are told. The kernel hands words of the form name=value on to the guest's init."""

    name: str = ""
    processors: str = "2"  # QEMU's -smp
    append: str = ""
    steps: tuple[str, ...] = ("report", "core", "opt_in", "machine", "cutting")

    @property
    def compiles(self) -> bool:
        """Whether nettop gets so far there."""
        return self.steps != ("refused",)

    @property
    def hides_mptcp(self) -> bool:
        """Whether its type information says nothing of Multipath TCP."""
        return self.append == _HIDES_MPTCP


PLAIN = Setting()
# Once for each userland: what else is tried there depends on that, and not on the kernel.
COMPILING = Setting(steps=("doctor", *PLAIN.steps[1:], "screen", "one_file"))
LARGE_PAGES = Setting(steps=COMPILING.steps[:3])  # for what depends on them: memory that the kernel and nettop share
QUICK = Setting("quick", steps=_SHORT)
VARIANTS = (
    Setting("8-cpus", processors="8", steps=("report", "cpus")),
    Setting("16-cpus", processors="16", steps=("report", "cpus")),
    Setting("possible-cpus", processors="2,sockets=16,cores=1,maxcpus=16", steps=("report", "cpus")),
    Setting("cgroup-v1", append="CGROUPS=v1", steps=_SHORT),
    Setting("cgroup-hybrid", append="CGROUPS=hybrid", steps=_SHORT),
    Setting("integrity", append="lockdown=integrity", steps=_SHORT),
    Setting("confidentiality", append="lockdown=confidentiality", steps=("refused",)),
    Setting("no-conntrack", append="MODULES=few", steps=_SHORT),
    Setting("no-mptcp", append=_HIDES_MPTCP, steps=_SHORT),
    Setting("no-btf", append="BTF=none", steps=("refused",)),
)
