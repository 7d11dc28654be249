"""The user who ran sudo, if somebody did: whose files nettop reads and writes."""

import os
from contextlib import suppress


def invoking_user() -> tuple[int, int] | None:
    """Who called sudo for root: uid and gid, also when root has become them. None if not under sudo."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if not uid.isdecimal() or not gid.isdecimal() or os.geteuid() not in (0, int(uid)):
        return None
    return int(uid), int(gid)


def give_to_invoking_user(fd: int) -> None:
    """Make a file belong to who called sudo, if somebody did."""
    owner = invoking_user()
    if owner is not None:
        # Root that has given up CAP_CHOWN is root in a place of root's (see give_up_privileges): the file stays so.
        with suppress(PermissionError):
            os.fchown(fd, *owner)
