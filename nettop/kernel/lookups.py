"""Uprobes on the functions of C libraries that look names up, and which libraries they cover.

Attached before privileges are dropped; a library that is mapped later is found by the kernel's iterator, and counted as
not covered.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from nettop.errors import CannotRunError
from nettop.kernel import syscalls
from nettop.kernel.elf import function_offsets
from nettop.kernel.hooks import LOOKUPS, LOOKUPS_RETURNED
from nettop.kernel.libraries import Library, opened
from nettop.model.rows import NotCoveredReason

MAX_LIBRARIES = 64  # each takes ten descriptors; a host has one, and one more for each image of its containers
FILES = MAX_LIBRARIES * 2 * len(LOOKUPS)  # descriptors
_FUNCTIONS = tuple(hook.target for hook in LOOKUPS)


class NotCovered(NamedTuple):
    """A library whose look-ups are not seen, and why."""

    library: Library
    reason: NotCoveredReason


class Coverage(NamedTuple):
    """How many of the libraries that are mapped are covered, and which are not."""

    libraries: int
    not_covered: tuple[NotCovered, ...]


class LookupProbes:
    """Holds the descriptors that keep the probes in place. `load` gives a program's descriptor by its name."""

    def __init__(self, load: Callable[[str], int], with_returns: bool) -> None:
        self._load = load
        self._with_returns = with_returns
        self._links: list[int] = []
        self._covered: set[tuple[int, int]] = set()
        self._refused: dict[tuple[int, int], NotCoveredReason] = {}

    def attach(self, libraries: Iterable[Library]) -> None:
        """Watch these, those first that most processes have. Raises CannotRunError if none of them can be."""
        problem = "no process has a C library mapped"
        for library in sorted(libraries, key=lambda each: -len(each.mapped)):
            if len(self._covered) >= MAX_LIBRARIES:
                self._refused[library.key] = "too-many"
                continue
            file = opened(library)
            if file is None:
                self._refused[library.key] = "file-system" if library.is_foreign else "unreadable"
                continue
            try:
                self._attach_to(Path(f"/proc/self/fd/{file}"))
                self._covered.add(library.key)
            except CannotRunError as error:
                self._refused[library.key] = "unreadable"
                problem = error.message
            except OSError as error:
                self._refused[library.key] = "refused"
                problem = error.strerror or str(error)
                if isinstance(error, PermissionError):
                    problem = f"{problem}; newer kernels ask for CAP_SYS_ADMIN"
            finally:
                os.close(file)
        if not self._covered:
            raise CannotRunError(
                f"No C library's look-ups can be watched: {problem}.",
                "Run it without --lookups; 'nettop doctor' says what this kernel allows.",
            )

    def _attach_to(self, file: Path) -> None:
        offsets = function_offsets(file, _FUNCTIONS)
        if not offsets:
            raise CannotRunError("it has none of the functions", "")
        links: list[int] = []
        try:
            # a return is only seen of calls that begin after its probe is there
            if self._with_returns:
                returned = self._load(LOOKUPS_RETURNED.program)
                links += [syscalls.link_uprobe(returned, file, at, True) for at in sorted(set(offsets.values()))]
            for hook in LOOKUPS:
                if hook.target in offsets:
                    links.append(syscalls.link_uprobe(self._load(hook.program), file, offsets[hook.target], False))
        except OSError:
            for link in links:
                os.close(link)
            raise
        self._links += links

    @property
    def covered(self) -> int:
        """How many libraries are watched."""
        return len(self._covered)

    def coverage(self, libraries: Iterable[Library]) -> Coverage:
        """Of the libraries that are mapped now."""
        mapped = list(libraries)
        covered = [library for library in mapped if library.key in self._covered]
        others = sorted((each for each in mapped if each.key not in self._covered), key=lambda each: -len(each.mapped))
        return Coverage(
            libraries=len(covered),
            not_covered=tuple(NotCovered(each, self._refused.get(each.key, "later")) for each in others),
        )

    def close(self) -> None:
        """Take the probes away."""
        links, self._links = self._links, []
        for link in links:
            os.close(link)
