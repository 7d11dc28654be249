"""Uprobes on the functions of C libraries that look names up."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from nettop.errors import CannotRunError
from nettop.kernel.elf import function_offsets
from nettop.kernel.hooks import LOOKUPS, LOOKUPS_RETURNED
from nettop.kernel.libraries import Library
from nettop.kernel.library_probes import LibraryProbes, Probed

MAX_LIBRARIES = 64  # each takes ten descriptors; a host has one, and one more for each image of its containers
FILES = MAX_LIBRARIES * 2 * len(LOOKUPS)  # descriptors
_FUNCTIONS = tuple(hook.target for hook in LOOKUPS)
_USUAL = (
    "/usr/lib*/libc.so.6",
    "/usr/lib/*-linux-gnu/libc.so.6",
    "/lib*/libc.so.6",
    "/lib/*-linux-gnu/libc.so.6",
    "/lib/ld-musl-*.so.1",
)


class LookupProbes(LibraryProbes):
    """See LibraryProbes."""

    def __init__(self, load: Callable[[str], int], with_returns: bool) -> None:
        super().__init__(load, MAX_LIBRARIES, _USUAL)
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

    def _probed(self, file: Path) -> Sequence[Probed]:
        offsets = function_offsets(file, _FUNCTIONS)
        if not offsets:
            raise CannotRunError("it has none of the functions", "")
        calls = [Probed(hook.program, (offsets[hook.target],)) for hook in LOOKUPS if hook.target in offsets]
        if not self._with_returns:
            return calls
        # a return is only seen of calls that begin after its probe is there
        return [Probed(LOOKUPS_RETURNED.program, sorted(set(offsets.values())), at_return=True), *calls]
