"""Whether other users could change what nettop compiles or loads. A file is as safe as every directory above it."""

import os
import stat
from collections.abc import Collection
from pathlib import Path

from nettop.errors import CannotRunError
from nettop.invoker import invoking_user


def trusted_owners() -> frozenset[int]:
    """Root, the effective user, and the user who ran sudo: each can already make this process do anything."""
    caller = invoking_user()
    return frozenset({0, os.geteuid(), *(caller[:1] if caller else ())})


def weakness(path: Path, owners: Collection[int], group_may_write: bool = False) -> str | None:
    """How another user could change the file at an absolute path; None if no other user can.

    Checks the file and every directory above it. Raises OSError if the file does not exist.
    """
    for place in (path, *path.parents):
        reason = weakness_of(place.lstat(), owners, group_may_write)
        if reason is not None:
            return f"{place} {reason}"
    return None


def weakness_of(status: os.stat_result, owners: Collection[int], group_may_write: bool = False) -> str | None:
    """The same for one file or directory, as the end of a sentence. An ACL appears in the group's bits.

    Others may write to a sticky directory, because only the owner of an entry can replace it.
    """
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if status.st_uid not in owners:
        return f"is owned by uid {status.st_uid}"
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return None
    if status.st_mode & stat.S_IWOTH:
        return "is writable by everybody"
    if status.st_mode & stat.S_IWGRP and not group_may_write:
        return "is writable by its group"
    return None


def require_trusted_sources(directory: Path) -> None:
    """Raise CannotRunError if other users can change the BPF sources and stub headers in this directory.

    Installed inside the package, they need a trusted owner and may be writable by the owner only. In a clone, they may
    also belong to the owner of the Python code, which runs here anyway, and be writable by the group, as a umask of
    002 leaves them.
    """
    code = Path(__file__).resolve()
    installed = directory.is_relative_to(code.parent.parent)
    owners = trusted_owners() if installed else trusted_owners() | {code.stat().st_uid}
    try:
        reason = weakness(directory, owners, group_may_write=not installed)
        for path in directory.rglob("*"):
            found = weakness_of(path.lstat(), owners, group_may_write=not installed)
            reason = reason or (found and f"{path} {found}")
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
    if reason is not None:
        raise CannotRunError(
            f"nettop does not compile kernel programs that other users could change: {reason}.",
            "Reinstall it with 'make install', or make PATH safe: chown -R root PATH; chmod -R go-w PATH.",
        )
