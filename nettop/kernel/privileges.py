"""Whether this process may do the main job."""

from pathlib import Path

from nettop.errors import CannotRunError

# include/uapi/linux/capability.h
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_PTRACE": 19, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
_SYS_ADMIN = "CAP_SYS_ADMIN"


def missing_capabilities() -> tuple[str, ...]:
    """The capabilities that loading and attaching need and this process lacks; CAP_SYS_ADMIN stands for its parts."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    held = {name for name, bit in _CAPABILITIES.items() if effective >> bit & 1}
    if _SYS_ADMIN in held:
        held |= {"CAP_BPF", "CAP_PERFMON"}
    return tuple(name for name in _CAPABILITIES if name not in held and name not in (_SYS_ADMIN, "CAP_SYS_PTRACE"))


def require_privileges() -> None:
    """Raises CannotRunError."""
    missing = missing_capabilities()
    if missing:
        raise CannotRunError(
            f"nettop may not watch the network here: it lacks {', '.join(missing)}.", "Run it as root: sudo nettop."
        )
