"""Files in the home of the invoking user, which nettop may read as root."""

import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

from nettop.errors import UsageError
from nettop.invoker import invoking_user


def home_directory() -> Path:
    """The invoking user's home: under sudo not root's, but that of the user who ran sudo."""
    caller = invoking_user()
    if caller is not None:
        with suppress(KeyError):  # no user has this uid
            return Path(pwd.getpwuid(caller[0]).pw_dir)
    with suppress(RuntimeError):  # neither HOME nor a passwd entry
        return Path.home()
    return Path("/")


def base_directory(variable: str, default: str) -> Path:
    """One of the XDG Base Directory specification; sudo does not pass its variables on."""
    base = "" if invoking_user() is not None else os.environ.get(variable, "")
    return Path(base) if base.startswith("/") else home_directory() / default


def read_user_file(path: Path, most_bytes: int) -> str | None:
    """The file's text; None if it does not exist. Raises UsageError.

    Root may read what a user has prepared here, so it refuses devices, FIFOs, endless files, and files that the user
    could not read: an error message would reveal a part of them.
    """
    remedy = "Fix its permissions, or remove it."
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        if not _is_there(path):
            return None
        raise UsageError(f"{path} cannot be read: {error.strerror}.", remedy) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", remedy) from error
    try:
        _refuse_what_is_not_theirs(path, os.fstat(descriptor), remedy)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", remedy) from error
    finally:
        os.close(descriptor)
    if len(content) > most_bytes:
        raise UsageError(f"{path} is longer than {most_bytes} bytes.", "Keep nothing but settings in it.")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8.", "Save it as UTF-8.") from error


def _is_there(path: Path) -> bool:
    """Also False if the directory cannot be searched, e.g. another user's home."""
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _refuse_what_is_not_theirs(path: Path, status: os.stat_result, remedy: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{path} cannot be read: it is not a regular file.", "Replace it with a file, or remove it.")
    caller = invoking_user()
    if caller is not None and status.st_uid != caller[0] and not status.st_mode & stat.S_IROTH:
        raise UsageError(f"{path} cannot be read: it is owned by another user.", remedy)
