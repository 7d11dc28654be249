"""Uprobes on the functions of C libraries that look names up."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from nettop.errors import CannotRunError
from nettop.kernel import syscalls
from nettop.kernel.elf import function_offsets
from nettop.kernel.hooks import LOOKUPS, LOOKUPS_RETURNED
from nettop.kernel.libraries import Library
from nettop.kernel.library_probes import LibraryProbes

MAX_LIBRARIES = 64  # each takes ten descriptors; a host has one, and one more for each image of its containers
FILES = MAX_LIBRARIES * 2 * len(LOOKUPS)  # descriptors
_FUNCTIONS = tuple(hook.target for hook in LOOKUPS)


class LookupProbes(LibraryProbes):
    """`load` gives a program's descriptor by its name."""

    def __init__(self, load: Callable[[str], int], with_returns: bool) -> None:
        super().__init__(MAX_LIBRARIES)
        self._load = load
        self._with_returns = with_returns

    def attach(self, libraries: Iterable[Library]) -> str:
        """See LibraryProbes. Raises CannotRunError if none of them can be watched."""
        problem = super().attach(libraries)
        if not self.covered:
            raise CannotRunError(
                f"No C library's look-ups can be watched: {problem or 'no process has a C library mapped'}.",
                "Run it without --lookups; 'nettop doctor' says what this kernel allows.",
            )
        return problem

    def _attach_to(self, file: Path) -> list[int]:
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
        return links
