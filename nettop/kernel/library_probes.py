"""Uprobes on functions of libraries, by the library's file, and which of the libraries that processes have they cover.

Attached before privileges are dropped; a library that is mapped later is found by the kernel's iterator, and counted as
not covered.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from nettop.errors import CannotRunError
from nettop.kernel.libraries import Library, opened
from nettop.model.rows import NotCoveredReason


class NotCovered(NamedTuple):
    """A library of which nothing is seen, and why."""

    library: Library
    reason: NotCoveredReason


class Coverage(NamedTuple):
    """How many of the libraries that are mapped are covered, and which are not."""

    libraries: int
    not_covered: tuple[NotCovered, ...]


class LibraryProbes(ABC):
    """Holds the descriptors that keep the probes in place, of so many libraries at most."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._links: list[int] = []
        self._covered: set[tuple[int, int]] = set()
        self._refused: dict[tuple[int, int], NotCoveredReason] = {}

    @abstractmethod
    def _attach_to(self, file: Path) -> list[int]:
        """Watch this file; returns the descriptors. Raises CannotRunError if it has not what it takes, and OSError."""

    def attach(self, libraries: Iterable[Library]) -> str:
        """Watch these, those first that most processes have. Returns why the last of the others could not be."""
        problem = ""
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
