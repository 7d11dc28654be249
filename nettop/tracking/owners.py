"""Who has a socket, as the kernel's records tell it."""

from msgspec import Struct

from nettop.kernel import abi
from nettop.kernel.abi import ProcessKey, SocketRecord
from nettop.model.rows import Owner

_CERTAINTIES: dict[int, Owner] = {abi.OWNER_UNKNOWN: "unknown", abi.OWNER_SCANNED: "scanned", abi.OWNER_EXACT: "exact"}


class Owned(Struct, frozen=True, gc=False):
    """Who has a socket, how surely, and under which name; the name was read at `since_ns` or later."""

    process: ProcessKey | None
    certainty: Owner
    uid: int
    comm: bytes
    since_ns: int


NOBODY = Owned(None, "unknown", 0, b"", 0)


def certainty(number: int) -> Owner:
    """What one of abi.OWNER_* is called."""
    return _CERTAINTIES[number]


def owner_of(record: SocketRecord) -> Owned:
    """Who the kernel side says has it."""
    if record.owner_certainty == abi.OWNER_UNKNOWN:
        return NOBODY
    key = ProcessKey(record.owner_pid, record.owner_start_boot_ns)
    return Owned(key, _CERTAINTIES[record.owner_certainty], record.owner_uid, record.owner_comm, record.seen_ns)
