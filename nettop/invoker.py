"""The user who ran sudo, if any: nettop reads and writes files on their behalf."""

import os
from contextlib import suppress


def invoking_user() -> tuple[int, int] | None:
    """uid and gid of the user who ran sudo, also after nettop has switched to that user. None without sudo."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if not uid.isdecimal() or not gid.isdecimal() or os.geteuid() not in (0, int(uid)):
        return None
    return int(uid), int(gid)


def give_to_invoking_user(fd: int) -> None:
    """Make the user who ran sudo, if any, the owner of a file."""
    owner = invoking_user()
    if owner is not None:
        # nettop stays root without CAP_CHOWN only if that user may not write here (give_up_privileges): root keeps it.
        with suppress(PermissionError):
            os.fchown(fd, *owner)
