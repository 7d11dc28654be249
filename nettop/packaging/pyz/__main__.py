"""How nettop.pyz starts: it unpacks itself once, because extension modules and BPF sources do not load from an archive.

Each build has a directory of its own, kept from run to run: root's in /var/cache/nettop.pyz, others' in ~/.cache. What
is in it runs with root's rights, so nobody else may write there. Any Python 3 can read this file, so that an old one
gets a sentence and no traceback.
"""

import os
import stat
import sys
from importlib.machinery import EXTENSION_SUFFIXES

from identity import ID  # type: ignore[import-not-found] # nettop/packaging/build.py writes it into the archive

_VARIABLE = "NETTOP_PYZ_CACHE"
_CANNOT_RUN = 3  # exit code of nettop.errors.CannotRunError
_SUFFIX = EXTENSION_SUFFIXES[0]  # says Python, processor and C library: .cpython-311-x86_64-linux-gnu.so


def main() -> int:
    """Unpack if need be, then run nettop. Returns its exit code; 3, after a message, if it cannot be unpacked here."""
    archive = os.path.abspath(sys.path[0])
    place = os.path.join(_cache(), ID + _SUFFIX[: -len(".so")])
    try:
        if not os.path.isdir(place):
            _unpack(archive, place)
        _require_own(place)
    except _UnfitError as error:
        return _failed(*error.args)
    except OSError as error:
        return _failed(str(error), "Set %s to a directory with 30 MB of room, such as /dev/shm/nettop" % _VARIABLE)
    sys.path[0] = os.path.join(place, "lib")
    from nettop.__main__ import main as run

    return run()


class _UnfitError(Exception):
    """Why, and what to do about it."""


def _cache() -> str:
    chosen = os.environ.pop(_VARIABLE, None)  # nettop knows no setting of this name
    if chosen:
        return os.path.abspath(chosen)
    if os.geteuid() == 0:
        return "/var/cache/nettop.pyz"
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "nettop.pyz")


def _unpack(archive: str, place: str) -> None:
    """Unpack what this Python needs; if another process does so at the same time, one of the two results stays."""
    import shutil
    import tempfile

    umask = os.umask(0o022)  # nettop may go on as nobody, who has to read this
    os.makedirs(os.path.dirname(place), exist_ok=True)
    partial = tempfile.mkdtemp(dir=os.path.dirname(place), prefix=".partial-")
    try:
        _extract(archive, partial)
        os.chmod(partial, 0o755)  # noqa: S103 - mkdtemp() lets only its user in
        try:
            os.rename(partial, place)
        except OSError:
            if not os.path.isdir(place):
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.umask(umask)


def _extract(archive: str, into: str) -> None:
    import zipfile

    with zipfile.ZipFile(archive) as packed:
        names = [name for name in packed.namelist() if name.startswith("lib/")]
        fitting = [name for name in names if not name.endswith(".so") or name.endswith(_SUFFIX)]
        if not any(name.endswith(".so") for name in fitting):
            reason = "it has nothing for this Python (%s)" % _SUFFIX
            raise _UnfitError(reason, "It takes 3.11 to 3.13 on x86_64 or arm64, with glibc")
        packed.extractall(into, fitting)


def _require_own(place: str) -> None:
    """Neither this directory nor the one that holds it may be another user's; a sticky one protects its entries."""
    for path in (place, os.path.dirname(place)):
        status = os.lstat(path)
        shared = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        if status.st_uid not in (0, os.geteuid()) or not stat.S_ISDIR(status.st_mode) or shared:
            raise _UnfitError("other users could change %s" % path, "Remove it, or set %s to another" % _VARIABLE)


def _failed(reason: str, remedy: str) -> int:
    sys.stderr.write("nettop.pyz: cannot start: %s. %s.\n" % (reason, remedy))
    return _CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main())
