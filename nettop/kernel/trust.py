"""Whether others could change what nettop compiles or loads: a file is as safe as every directory above it."""

import os
import stat
from collections.abc import Collection
from pathlib import Path

from nettop.errors import CannotRunError
from nettop.invoker import invoking_user


def trusted_owners() -> frozenset[int]:
    """Root, the effective user and the user who ran sudo: each can already make this process do anything."""
    caller = invoking_user()
    return frozenset({0, os.geteuid(), *(caller[:1] if caller else ())})


def weakness(path: Path, owners: Collection[int], group_may_write: bool = False) -> str | None:
    """How somebody else could change what an absolute path leads to; None if nobody can.

    Looks at the file and at every directory above it. Raises OSError if there is no such file.
    """
    for place in (path, *path.parents):
        reason = weakness_of(place.lstat(), owners, group_may_write)
        if reason is not None:
            return f"{place} {reason}"
    return None


def weakness_of(status: os.stat_result, owners: Collection[int], group_may_write: bool = False) -> str | None:
    """The same for one file, directory or open descriptor, as the end of a sentence. An ACL shows as the group's bits.

    What is in a sticky directory can be replaced by its owner alone, so others may write to such a directory.
    """
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if status.st_uid not in owners:
        return f"belongs to the user with uid {status.st_uid}"
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return None
    if status.st_mode & stat.S_IWOTH:
        return "can be written by everybody"
    if status.st_mode & stat.S_IWGRP and not group_may_write:
        return "can be written by its group"
    return None


def require_trusted_sources(directory: Path) -> None:
    """That nobody else can change the BPF sources and stub headers in this directory. Raises CannotRunError.

    Installed, inside the package, they belong to a trusted owner and only owners write. In a clone, beside the package,
    they may also belong to whoever owns the Python code that runs here anyway, and the group may write, as a umask of
    002 leaves it.
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
            f"nettop compiles no kernel programs that others could change: {reason}.",
            "Install it anew with 'make install', or give the place back: chown -R root PATH; chmod -R go-w PATH.",
        )
