"""Output files, safe even for root in directories that others can write to.

Mode 0600 unless others are to read them, owned by the user who ran sudo, complete as soon as they have their name,
never written through a link, never overwriting unless asked to.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType

from nettop.errors import RunError, UsageError
from nettop.invoker import give_to_invoking_user

OWN, READABLE = 0o600, 0o644  # what a file may be: private, or for a program of another user


class OutputFile:
    """A file that gets its name on commit(); until then it is PATH.PID.partial.

    On failure the partial file is removed, unless `keep_partial` is set and something was written.

    Use as a context manager: entering raises UsageError, before any work is done; writing raises RunError.
    """

    def __init__(self, path: Path, overwrite: bool, keep_partial: bool = False, mode: int = OWN) -> None:
        self._path = path
        self._overwrite = overwrite
        self._mode = mode
        self._keep_partial = keep_partial
        self._partial = f"{path.name}.{os.getpid()}.partial"
        self._directory = -1
        self._fd = -1
        self._length = 0
        self._committed = False

    def __enter__(self) -> "OutputFile":
        if self._path.name in ("", ".", ".."):
            raise UsageError(f"{self._path} is a directory.", "Give the path of a file.")
        try:
            self._directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise UsageError(
                f"The directory {self._path.parent} cannot be used: {_why(error, self._path.parent)}.",
                _where_to_write(error) or "Give a path in an existing directory.",
            ) from error
        try:
            self._check_free()
            self._fd = self._create()
        except BaseException:
            os.close(self._directory)
            raise
        return self

    def write(self, text: bytes) -> None:
        """Append the whole text or nothing, so that a partial file ends with a complete line. Raises RunError."""
        view = memoryview(text)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            self._length += len(text)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._fd, self._length)
            raise self._failed(error) from error

    def commit(self) -> None:
        """Give the file its name. Raises RunError, or UsageError if the name has been taken since."""
        try:
            os.fsync(self._fd)
            self._check_free()
            if self._overwrite:
                os.rename(self._partial, self._path.name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            else:
                self._rename_without_overwriting()
            self._committed = True
        except UsageError as error:
            raise UsageError(f"{error.message}{self._kept()}", error.remedy) from error
        except OSError as error:
            raise self._failed(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        empty = os.fstat(self._fd).st_size == 0
        os.close(self._fd)
        if not self._committed and (empty or not self._keep_partial):
            self._remove_partial()
        os.close(self._directory)

    def _check_free(self) -> None:
        try:
            existing = os.stat(self._path.name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:  # such as a name that is too long
            raise UsageError(f"{self._path} cannot be written: {error.strerror}.", "Give another path.") from error
        if stat.S_ISLNK(existing.st_mode):
            raise UsageError(
                f"{self._path} is a symbolic link.", "Give the path of the file itself; nettop follows no links."
            )
        if stat.S_ISDIR(existing.st_mode):
            raise UsageError(f"{self._path} is a directory.", "Give the path of a file.")
        if not stat.S_ISREG(existing.st_mode):
            raise UsageError(f"{self._path} is not a regular file.", "Give the path of a file.")
        if not self._overwrite:
            raise UsageError(f"{self._path} already exists.", "Give another path, or --force to replace it.")

    def _create(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with _letting(self._mode) if self._mode & ~OWN else nullcontext():
                fd = os.open(self._partial, flags, self._mode, dir_fd=self._directory)
        except OSError as error:
            raise UsageError(
                f"{self._path} cannot be written: {_why(error, self._path.parent)}.",
                _where_to_write(error) or "Give a path in a directory that you can write to.",
            ) from error
        try:
            if (
                stat.S_IMODE(os.fstat(fd).st_mode) != self._mode
            ):  # the umask leaves less, or the file system has no modes
                os.fchmod(fd, self._mode)
            give_to_invoking_user(fd)
        except OSError as error:  # FAT stores neither owner nor mode
            os.close(fd)
            os.unlink(self._partial, dir_fd=self._directory)
            raise UsageError(
                f"{self._path} cannot be protected from other users: {error.strerror}.",
                "Give a path on a file system that stores owners and modes.",
            ) from error
        return fd

    def _rename_without_overwriting(self) -> None:
        # A hard link fails if the name has been taken since the check; some file systems have no hard links. It is
        # made from the descriptor, because others may have put another file under the partial name.
        try:
            os.link(f"/proc/self/fd/{self._fd}", self._path.name, dst_dir_fd=self._directory, follow_symlinks=True)
        except FileExistsError:
            self._check_free()
            raise
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise
            os.rename(self._partial, self._path.name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            return
        self._remove_partial()

    def _remove_partial(self) -> None:
        with suppress(FileNotFoundError):  # others who can write to the directory may have removed it
            os.unlink(self._partial, dir_fd=self._directory)

    def _failed(self, error: OSError) -> RunError:
        return RunError(
            f"{self._path} could not be written: {error.strerror}.{self._kept()}",
            "Free some space, or give another path with -o.",
        )

    def _kept(self) -> str:
        kept = self._keep_partial and os.fstat(self._fd).st_size > 0
        return f" The output so far is in {self._path.with_name(self._partial)}." if kept else ""


@contextmanager
def _letting(mode: int) -> Iterator[None]:
    """A umask that leaves this mode: once it is shut in, nettop may not change the mode of what there is."""
    before = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)


def _where_to_write(error: OSError) -> str | None:
    if error.errno != errno.EACCES or os.geteuid() != 0:
        return None
    return "nettop dropped root's power over other users' files (see SECURITY.md): give a path in a directory of root."


def _why(error: OSError, directory: Path) -> str:
    if error.errno == errno.EACCES and os.access(directory, os.W_OK | os.X_OK):
        # the user may: it is Landlock that refuses (nettop.kernel.cage)
        return "nettop has shut itself in and writes only in your home, in /tmp and where it was started"
    return os.strerror(error.errno or 0)
