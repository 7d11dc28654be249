"""Uprobes where TLS libraries take plaintext and give it, also where a program has such a library in itself (node).

A call is seen to end by probes on the instructions that return from its function, which `instructions` finds; a
library of which it cannot take a function apart for certain is not watched at all. Besides what processes have mapped,
the files that programs started later will map are watched, if they are where distributions put them.
"""

import mmap
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from nettop.errors import CannotRunError
from nettop.kernel import syscalls
from nettop.kernel.abi import ProcessKey
from nettop.kernel.elf import code_at, function_codes
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
from nettop.kernel.instructions import Places, UnknownInstructionError, places
from nettop.kernel.libraries import Library
from nettop.kernel.library_probes import LibraryProbes
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
_GO_HOOKS = (*PLAINTEXT_GO_CALLS, *PLAINTEXT_GO_OTHERS)
_GO_FUNCTIONS = tuple(hook.target for hook in _GO_HOOKS)
_GO_NEEDED = {  # with one handshake at least, of clients or servers
    *(f"crypto/tls.(*Conn).{method}" for method in ("Read", "Write", "Close")),
    "runtime.gopanic",
}
_GO_HANDSHAKES = {hook.target for hook in PLAINTEXT_GO_CALLS} - _GO_NEEDED
_ELSEWHERE = (  # where programs that are started later will find them
    "/usr/lib*/libssl.so.*",
    "/usr/lib/*-linux-gnu/libssl.so.*",
    "/usr/local/lib*/libssl.so.*",
    "/lib/libssl.so.*",
    "/usr/lib*/libgnutls.so.*",
    "/usr/lib/*-linux-gnu/libgnutls.so.*",
    "/usr/bin/node",
    "/usr/local/bin/node",
)
_MOST_ELSEWHERE = 16
_RETURNED = (PLAINTEXT_RETURNED.program, PLAINTEXT_GO_RETURNED.program)
_AS_CODE = mmap.PROT_READ | mmap.PROT_EXEC


class Undecrypted(NamedTuple):
    """A process that speaks TLS, of which nothing is decrypted, and why."""

    process: ProcessKey
    comm: bytes
    reason: NotDecryptedReason


class PlaintextProbes(LibraryProbes):
    """`load` gives a program's descriptor by its name."""

    def __init__(self, load: Callable[[str], int]) -> None:
        super().__init__(MAX_LIBRARIES)
        self._load = load

    def attach(self, libraries: Iterable[Library]) -> str:
        """See LibraryProbes. Raises CannotRunError if none of them can be watched."""
        if platform.machine() != "x86_64":
            raise CannotRunError("What is said inside TLS can be watched on x86-64 only.", "Run it without --decrypt.")
        problem = super().attach(libraries)
        if not self.covered:
            raise CannotRunError(
                f"No TLS library can be watched: {problem or 'there is none that nettop knows'}.",
                "Run it without --decrypt; 'nettop doctor' says what this kernel allows.",
            )
        return problem

    def undecrypted(
        self, processes: Iterable[tuple[ProcessKey, bytes]], libraries: Iterable[Library]
    ) -> tuple[Undecrypted, ...]:
        """Those of these processes that have none of the libraries that are watched."""
        covered: set[int] = set()
        reasons: dict[int, NotDecryptedReason] = {}
        for library in libraries:
            pids = [mapping.pid for mapping in library.mapped]
            if self.is_covered(library):
                covered.update(pids)
            elif not library.executable:
                reasons.update(dict.fromkeys(pids, self.reason(library)))
        return tuple(
            Undecrypted(process, comm, reasons.get(process.pid, "other-library"))
            for process, comm in processes
            if process.pid in reasons or process.pid not in covered
        )

    def _attach_to(self, file: Path) -> list[int]:
        links: list[int] = []
        try:
            # a call whose end is not seen would be taken for one that goes on: ends first
            wanted = sorted(_probes(file), key=lambda each: each[0] not in _RETURNED)
            if len(wanted) > _MOST_PROBES:
                raise CannotRunError(f"it has {len(wanted)} places to watch", "")
            for program, at in wanted:
                links.append(syscalls.link_uprobe(self._load(program), file, at, False))
        except OSError:
            for link in links:
                os.close(link)
            raise
        return links


def _probes(file: Path) -> Iterator[tuple[str, int]]:
    """Programs and where in the file they go. Raises CannotRunError."""
    functions = function_codes(file, _FUNCTIONS)
    if not any(needed <= functions.keys() for needed in _NEEDED):
        yield from _probes_of_go(file)
        return
    for hook, begin, found in _taken_apart(functions, _HOOKS):
        yield hook.program, begin + found.entry
        if hook in PLAINTEXT_CALLS:
            returns = {*(begin + at for at in found.returns), *_returns_for(file, begin, found)}
            yield from _at_returns(PLAINTEXT_RETURNED, hook, returns, _MOST_RETURNS)


def _probes_of_go(file: Path) -> Iterator[tuple[str, int]]:
    """The same of a program of Go, whose functions do not return for each other."""
    functions = go_functions(file, _GO_FUNCTIONS)
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
            yield hook, begin, places(code)
        except UnknownInstructionError as error:
            raise CannotRunError(f"its {hook.target} {error}", "") from None


def _at_returns(returned: Hook, hook: Hook, returns: set[int], most: int) -> Iterator[tuple[str, int]]:
    if not 0 < len(returns) <= most:
        raise CannotRunError(f"its {hook.target} returns in {len(returns)} places", "")
    yield from ((returned.program, at) for at in sorted(returns))


def _returns_for(file: Path, begin: int, found: Places) -> Iterator[int]:
    """Where functions return to which one jumps instead of calling them, if they are in the same file."""
    for at in found.continues:
        with suppress(CannotRunError, UnknownInstructionError):
            other, code = code_at(file, begin + at)
            yield from (other + each for each in places(code).returns)


@contextmanager
def mapped_here() -> Iterator[None]:
    """Have libraries mapped that programs started later will use, so that they are found as those of processes are."""
    with suppress(OSError):
        kept = []
        files = sorted({path.resolve() for pattern in _ELSEWHERE for path in Path("/").glob(pattern[1:])})
        for file in files[:_MOST_ELSEWHERE]:
            with suppress(OSError, ValueError), file.open("rb") as opened:
                kept.append(mmap.mmap(opened.fileno(), mmap.PAGESIZE, mmap.MAP_PRIVATE, _AS_CODE))
        try:
            yield
        finally:
            for each in kept:
                each.close()
