"""Uprobes on functions of libraries, by the library's file, and which of the libraries that processes have they cover.

Attached before privileges are dropped. What comes later to the places where distributions put such files is watched too
if the kernel takes no privileges for that (Linux 6.6). Any other library that is mapped later is found by the kernel's
iterator, and counted as not covered.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from nettop.errors import CannotRunError
from nettop.kernel import syscalls
from nettop.kernel.libraries import Library, key_when_mapped, opened
from nettop.model.rows import NotCoveredReason


class NotCovered(NamedTuple):
    """A library of which nothing is seen, and why."""

    library: Library
    reason: NotCoveredReason


class Coverage(NamedTuple):
    """How many of the libraries that are mapped are covered, and which are not."""

    libraries: int
    not_covered: tuple[NotCovered, ...]


class Probed(NamedTuple):
    """Where in a file a program, by its name, is to run, or where the functions return that begin there."""

    program: str
    offsets: Sequence[int]
    at_return: bool = False


class LibraryProbes(ABC):
    """Holds the descriptors that keep the probes in place, of so many libraries at most.

    `load` gives a program's descriptor by its name. `usual` are the places where distributions have such files, as
    patterns.
    """

    def __init__(self, load: Callable[[str], int], most: int, usual: Sequence[str]) -> None:
        self._load = load
        self._most = most
        self._usual = usual
        self._links: list[int] = []
        self._covered: set[tuple[int, int]] = set()
        self._refused: dict[tuple[int, int], NotCoveredReason] = {}
        self._usual_before: Collection[tuple[int, int]] = ()

    @abstractmethod
    def _probed(self, file: Path) -> Sequence[Probed]:
        """What of this file is to be watched, in this order. Raises CannotRunError if it has not what it takes."""

    def _attach_to(self, file: Path) -> list[int]:
        links: list[int] = []
        try:
            for each in self._probed(file):
                links += syscalls.link_uprobes(self._load(each.program), file, each.offsets, each.at_return)
        except OSError:
            for link in links:
                os.close(link)
            raise
        return links

    def usual_files(self) -> list[Path]:
        """Those that there are in the usual places."""
        try:
            return sorted({path.resolve() for pattern in self._usual for path in Path("/").glob(pattern[1:])})
        except OSError:
            return []

    def attach_later(self) -> None:
        """Watch what has come to the usual places since, as by an upgrade; without privileges. Each is tried once."""
        for path in self._new_usual_files():
            if len(self._covered) >= self._most:
                return
            with suppress(OSError, CannotRunError):
                key = key_when_mapped(path)
                if key not in self._covered:
                    self._links += self._attach_to(path)
                    self._covered.add(key)

    def may_attach_later(self, give_up_privileges: Callable[[], None]) -> bool:
        """Whether the kernel takes no privileges for it, as a child tries. Call this before there are other threads."""
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            try:
                syscalls.die_with(parent)
                give_up_privileges()
                os._exit(not any(self._attach_to(file) for file in self.usual_files()))
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        return status == 0

    def _new_usual_files(self) -> list[Path]:
        """Those that were not there at the last call."""
        there = {}
        for path in self.usual_files():
            with suppress(OSError):
                status = path.stat()
                there[status.st_dev, status.st_ino] = path
        known, self._usual_before = self._usual_before, there.keys()
        return [path for identity, path in there.items() if identity not in known]

    def attach(self, libraries: Iterable[Library]) -> str:
        """Watch these, those first that most processes have. Returns why the last of the others could not be."""
        problem = ""
        self._new_usual_files()
        for library in sorted(libraries, key=lambda each: -len(each.mapped)):
            if len(self._covered) >= self._most:
                self._refused[library.key] = "too-many"
                continue
            file = opened(library)
            if file is None:
                self._refused[library.key] = "file-system" if library.is_foreign else "unreadable"
                continue
            try:
                self._links += self._attach_to(Path(f"/proc/self/fd/{file}"))
                self._covered.add(library.key)
            except CannotRunError as error:
                self._refused[library.key] = "unreadable"
                if not library.executable:  # most programs have no library in themselves
                    problem = error.message
            except OSError as error:
                self._refused[library.key] = "refused"
                problem = error.strerror or str(error)
                if isinstance(error, PermissionError):
                    problem = f"{problem}; newer kernels ask for CAP_SYS_ADMIN"
            finally:
                os.close(file)
        return problem

    @property
    def covered(self) -> int:
        """How many libraries are watched."""
        return len(self._covered)

    def is_covered(self, library: Library) -> bool:
        """Whether it is watched."""
        return library.key in self._covered

    def reason(self, library: Library) -> NotCoveredReason:
        """Why it is not."""
        return self._refused.get(library.key, "later")

    def coverage(self, libraries: Iterable[Library]) -> Coverage:
        """Of the libraries that are mapped now."""
        mapped = list(libraries)
        others = sorted((each for each in mapped if not self.is_covered(each)), key=lambda each: -len(each.mapped))
        return Coverage(
            libraries=len(mapped) - len(others),
            not_covered=tuple(NotCovered(each, self.reason(each)) for each in others),
        )

    def close(self) -> None:
        """Take the probes away."""
        links, self._links = self._links, []
        for link in links:
            os.close(link)
