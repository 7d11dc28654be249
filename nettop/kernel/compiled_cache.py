"""Compiled programs kept between runs: compiling takes most of the start, and only a new kernel or nettop requires it.

They are loaded into the kernel, so nettop reads only files and a directory that are owned by root and that nobody else
can write to. An unusable directory is not an error: nettop then compiles at every start.
"""

import hashlib
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from nettop.kernel.btf import VMLINUX
from nettop.kernel.compiled import CompiledPrograms
from nettop.kernel.compiler import compile_apart, compiler_identity, ingredients
from nettop.kernel.trust import weakness_of

DIRECTORY = Path("/var/cache/nettop")
_KEPT = 32  # files of 20 KB: two kernels with every kind of scope
_DIGEST_BYTES = 32
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def compiled_programs(
    defines: tuple[str, ...], directory: Path = DIRECTORY, when_compiling: Callable[[], None] = lambda: None
) -> CompiledPrograms:
    """The kernel side for the running kernel and these -D, from the cache or compiled. Raises CannotRunError.

    `when_compiling` is called before it is compiled, which takes seconds.
    """
    with suppress(OSError, _UnfitError, msgspec.MsgspecError), _opened(directory) as cache:
        return _read(cache, _name(defines))
    when_compiling()
    return compile_and_keep(defines, directory)


def compile_and_keep(defines: tuple[str, ...], directory: Path = DIRECTORY) -> CompiledPrograms:
    """Compile unconditionally and cache the result. Raises CannotRunError."""
    compiled = compile_apart(defines)
    if os.geteuid() == 0:
        with suppress(OSError, _UnfitError):
            directory.mkdir(0o755, exist_ok=True)
            with _opened(directory) as cache:
                _write(cache, _name(defines), compiled)
                _remove_old(cache)
    return compiled


class _UnfitError(Exception):
    """Not owned by root, or incomplete."""


def _name(defines: tuple[str, ...]) -> str:
    """A hash of all that they depend on. BTF identifies the kernel: its layouts can change within a version."""
    identity = hashlib.sha256(VMLINUX.read_bytes())
    for part in (platform.machine(), compiler_identity(), *defines, *ingredients()):
        identity.update(part.encode() + b"\0")
    return f"{identity.hexdigest()}.programs"


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, _READ | os.O_DIRECTORY)
    try:
        _require_roots(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _require_roots(descriptor: int) -> None:
    if weakness_of(os.fstat(descriptor), owners={0}) is not None:
        raise _UnfitError


def _read(cache: int, name: str) -> CompiledPrograms:
    with os.fdopen(os.open(name, _READ, dir_fd=cache), "rb") as file:
        _require_roots(file.fileno())
        digest, encoded = file.read(_DIGEST_BYTES), file.read()
    if hashlib.sha256(encoded).digest() != digest:
        raise _UnfitError
    return msgspec.msgpack.decode(encoded, type=CompiledPrograms)


def _write(cache: int, name: str, compiled: CompiledPrograms) -> None:
    """Written atomically, because two processes may write at once and a disk may be full."""
    encoded = msgspec.msgpack.encode(compiled)
    partial = f"{name}.{os.getpid()}.partial"
    with os.fdopen(os.open(partial, _WRITE, 0o644, dir_fd=cache), "wb") as file:
        try:
            file.write(hashlib.sha256(encoded).digest() + encoded)
            file.flush()
            os.rename(partial, name, src_dir_fd=cache, dst_dir_fd=cache)
        except OSError:
            os.unlink(partial, dir_fd=cache)
            raise


def _remove_old(cache: int) -> None:
    """Remove all but the newest files, including what a killed writer left."""
    by_age = sorted(os.listdir(cache), key=lambda name: os.stat(name, dir_fd=cache, follow_symlinks=False).st_mtime_ns)
    for name in by_age[:-_KEPT]:
        os.unlink(name, dir_fd=cache)
