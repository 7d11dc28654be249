"""Uprobes where TLS libraries take plaintext and give it, also where a program has such a library in itself (node).

A call is seen to end by probes on the instructions that return from its function, which `instructions` finds; a
library of which it cannot take a function apart for certain is not watched at all. Besides what processes have mapped,
the files that programs started later will map are watched, if they are where distributions put them.
"""

import mmap
import platform
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from nettop.errors import CannotRunError
from nettop.kernel import instructions, instructions_arm64
from nettop.kernel.abi import ProcessKey
from nettop.kernel.elf import code_at, function_codes, stub_of
from nettop.kernel.go_programs import go_functions
from nettop.kernel.hooks import (
    PLAINTEXT_CALLS,
    PLAINTEXT_FORGOTTEN,
    PLAINTEXT_GO_CALLS,
    PLAINTEXT_GO_OTHERS,
    PLAINTEXT_GO_RETURNED,
    PLAINTEXT_MISSED,
    PLAINTEXT_RETURNED,
    Hook,
)
from nettop.kernel.instructions import Places, UnknownInstructionError
from nettop.kernel.libraries import AS_CODE, Library
from nettop.kernel.library_probes import LibraryProbes, Probed
from nettop.model.rows import NotDecryptedReason

MAX_LIBRARIES = 32  # a host has one or two, and those of its containers' images
_MOST_RETURNS = 8  # of a function, and those that return for it: compilers make one in each, or a few
_MOST_GO_RETURNS = 24  # one for each `return` of the source; a handshake has 15
_MOST_PROBES = 64  # of a library; of a program of Go 50
FILES = MAX_LIBRARIES * _MOST_PROBES  # descriptors
_NEEDED = (  # of OpenSSL, of GnuTLS
    {"SSL_write", "SSL_read", "SSL_free"},
    {"gnutls_record_send2", "gnutls_record_recv", "gnutls_deinit"},
)
_HOOKS = (*PLAINTEXT_CALLS, *PLAINTEXT_FORGOTTEN, *PLAINTEXT_MISSED)
_FUNCTIONS = tuple(hook.target for hook in _HOOKS)
_CALLS = {hook.target for hook in PLAINTEXT_CALLS}
_PLACES = {"x86_64": instructions.places, "aarch64": instructions_arm64.places}
_GO_HOOKS = (*PLAINTEXT_GO_CALLS, *PLAINTEXT_GO_OTHERS)
_GO_FUNCTIONS = tuple(hook.target for hook in _GO_HOOKS)
_GO_NEEDED = {  # with one handshake at least, of clients or servers
    *(f"crypto/tls.(*Conn).{method}" for method in ("Read", "Write", "Close")),
    "runtime.gopanic",
}
_GO_HANDSHAKES = {hook.target for hook in PLAINTEXT_GO_CALLS} - _GO_NEEDED
_USUAL = (  # where programs that are started later will find them
    "/usr/lib*/libssl.so.*",
    "/usr/lib/*-linux-gnu/libssl.so.*",
    "/usr/local/lib*/libssl.so.*",
    "/lib/libssl.so.*",
    "/usr/lib*/libgnutls.so.*",
    "/usr/lib/*-linux-gnu/libgnutls.so.*",
    "/usr/bin/node",
    "/usr/local/bin/node",
)
_MOST_USUAL = 16
_RETURNED = (PLAINTEXT_RETURNED.program, PLAINTEXT_GO_RETURNED.program)


class Undecrypted(NamedTuple):
    """A process that speaks TLS, of which nothing is decrypted, and why."""

    process: ProcessKey
    comm: bytes
    reason: NotDecryptedReason


class PlaintextProbes(LibraryProbes):
    """See LibraryProbes."""

    def __init__(self, load: Callable[[str], int]) -> None:
        super().__init__(load, MAX_LIBRARIES, _USUAL)

    def attach(self, libraries: Iterable[Library]) -> str:
        """See LibraryProbes. Raises CannotRunError if none of them can be watched."""
        problem = super().attach(libraries)
        if not self.covered:
            raise CannotRunError(
                f"No TLS library can be watched: {problem or 'there is none that nettop knows'}.",
                "Run it without --decrypt; 'nettop doctor' says what this kernel allows.",
            )
        return problem

    def undecrypted(
        self,
        processes: Iterable[tuple[ProcessKey, bytes]],
        libraries: Iterable[Library],
        unseen: Collection[ProcessKey] = (),
    ) -> tuple[Undecrypted, ...]:
        """Those of these processes that have none of the libraries that are watched, or speak without it as well."""
        covered: set[int] = set()
        alive: set[int] = set()
        reasons: dict[int, NotDecryptedReason] = {}
        for library in libraries:
            pids = [mapping.pid for mapping in library.mapped]
            alive.update(pids)
            if self.is_covered(library):
                covered.update(pids)
            elif not library.executable:
                reasons.update(dict.fromkeys(pids, self.reason(library)))

        def reason(process: ProcessKey) -> NotDecryptedReason | None:
            if process.pid not in alive:  # it has ended: not even its program is mapped
                return None
            if process.pid in reasons or process.pid not in covered:
                return reasons.get(process.pid, "other-library")
            return "some-connections" if process in unseen else None

        return tuple(
            Undecrypted(process, comm, why) for process, comm in processes if (why := reason(process)) is not None
        )

    def _probed(self, file: Path) -> Sequence[Probed]:
        places = list(_probes(file))
        if len(places) > _MOST_PROBES:
            raise CannotRunError(f"it has {len(places)} places to watch", "")
        wanted: dict[str, list[int]] = {}
        # a call whose end is not seen would be taken for one that goes on: ends first
        for program, at in sorted(places, key=lambda each: each[0] not in _RETURNED):
            wanted.setdefault(program, []).append(at)
        return [Probed(program, offsets) for program, offsets in wanted.items()]

    @contextmanager
    def mapped_here(self) -> Iterator[None]:
        """Have files mapped that programs started later will use, so that they are found as those of processes are."""
        with ExitStack() as kept:
            for file in islice(self.usual_files(), _MOST_USUAL):
                with suppress(OSError, ValueError), file.open("rb") as opened:
                    kept.enter_context(mmap.mmap(opened.fileno(), mmap.PAGESIZE, mmap.MAP_PRIVATE, AS_CODE))
            yield


def _probes(file: Path) -> Iterator[tuple[str, int]]:
    """Programs and where in the file they go. Raises CannotRunError."""
    functions = function_codes(file, _FUNCTIONS)
    if not any(needed <= functions.keys() for needed in _NEEDED):
        yield from _probes_of_go(file)
        return
    for hook, begin, found in _taken_apart(functions, _HOOKS):
        if hook in PLAINTEXT_CALLS and not found.returns and _leads_to(file, begin, found) <= functions.keys() & _CALLS:
            continue  # it does nothing but jump to one that is watched
        yield hook.program, begin + found.entry
        if hook in PLAINTEXT_CALLS:
            returns = {*(begin + at for at in found.returns), *_returns_for(file, begin, found)}
            yield from _at_returns(PLAINTEXT_RETURNED, hook, returns, _MOST_RETURNS)


def _probes_of_go(file: Path) -> Iterator[tuple[str, int]]:
    """The same of a program of Go, whose functions do not return for each other."""
    functions = go_functions(file, _GO_FUNCTIONS) if platform.machine() == "x86_64" else {}
    if not functions.keys() >= _GO_NEEDED or not _GO_HANDSHAKES & functions.keys():
        raise CannotRunError("it has none of the functions", "")
    for hook, begin, found in _taken_apart(functions, _GO_HOOKS):
        yield hook.program, begin + found.entry
        if hook in PLAINTEXT_GO_CALLS:
            returns = {begin + at for at in found.returns}
            yield from _at_returns(PLAINTEXT_GO_RETURNED, hook, returns, _MOST_GO_RETURNS)


def _taken_apart(functions: dict[str, tuple[int, bytes]], hooks: Iterable[Hook]) -> Iterator[tuple[Hook, int, Places]]:
    for hook in hooks:
        if hook.target not in functions:
            continue
        begin, code = functions[hook.target]
        try:
            yield hook, begin, _PLACES[platform.machine()](code)
        except UnknownInstructionError as error:
            raise CannotRunError(f"its {hook.target} {error}", "") from None


def _at_returns(returned: Hook, hook: Hook, returns: set[int], most: int) -> Iterator[tuple[str, int]]:
    if not 0 < len(returns) <= most:
        raise CannotRunError(f"its {hook.target} returns in {len(returns)} places", "")
    yield from ((returned.program, at) for at in sorted(returns))


def _leads_to(file: Path, begin: int, found: Places) -> set[str | None]:
    """The names of functions to which one jumps by stubs; of any other None."""
    return {stub_of(file, begin + at) for at in found.continues} or {None}


def _returns_for(file: Path, begin: int, found: Places) -> Iterator[int]:
    """Where functions return to which one jumps instead of calling them, if they are in the same file."""
    for at in found.continues:
        with suppress(CannotRunError, UnknownInstructionError):
            other, code = code_at(file, begin + at)
            yield from (other + each for each in _PLACES[platform.machine()](code).returns)
