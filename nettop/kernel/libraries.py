"""The C and TLS libraries that processes have mapped, each once, however many processes and containers share it."""

import errno
import mmap
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from nettop.kernel.abi import LibraryRecord

_C_LIBRARY = re.compile(rb"(libc\.so(\.6)?|libc-2\.\d+\.so|ld-musl-[\w-]+\.so\.1)(?: \(deleted\))?")
_TLS_LIBRARY = re.compile(rb"lib(ssl\.so\.(1\.1|3)|gnutls\.so\.30)[.\d]*(?: \(deleted\))?")
_MAPPING = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) ..x. [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) (\d+) +(/.*)")  # proc(5), maps
_FUSE = 0x65735546  # FUSE_SUPER_MAGIC, include/uapi/linux/magic.h
_MINOR_BITS = 20  # of the kernel's dev_t
AS_CODE = mmap.PROT_READ | mmap.PROT_EXEC
_OPENED = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class Mapping(NamedTuple):
    """Where a process has a library."""

    pid: int
    comm: bytes
    begins: int
    ends: int


class Library(NamedTuple):
    """A file, by device and inode, and who has it mapped."""

    device: int
    inode: int
    name: bytes
    is_foreign: bool  # its file system is a program's, which may keep whoever opens a file there waiting
    executable: bool  # it is the program that a process runs
    mapped: tuple[Mapping, ...]

    @property
    def key(self) -> tuple[int, int]:
        """Its identity."""
        return self.device, self.inode


IsWanted = Callable[[bytes, bool], bool]
"""Whether files of this name are looked for; and whether it is the program that a process runs."""


def is_c_library(name: bytes, _executable: bool) -> bool:
    """See IsWanted: musl's is also a program, which runs others."""
    return _C_LIBRARY.fullmatch(name) is not None


def may_have_tls(name: bytes, executable: bool) -> bool:
    """See IsWanted: a program may have the library in itself."""
    return executable or name == b"node" or _TLS_LIBRARY.fullmatch(name) is not None


def by_file(records: Iterable[LibraryRecord], is_wanted: IsWanted = is_c_library) -> list[Library]:
    """Those that the kernel's iterator over mappings tells; what is only named like a library is left out."""
    found: dict[tuple[int, int], Library] = {}
    for record in records:
        name = record.name.split(b"\0", 1)[0]
        if not is_wanted(name, bool(record.executable)):
            continue
        mapping = Mapping(record.owner_pid, record.owner_comm, record.begins, record.ends)
        key = record.device, record.inode
        known = found.get(key) or Library(*key, name, record.file_system == _FUSE, bool(record.executable), ())
        found[key] = known._replace(mapped=(*known.mapped, mapping))
    return list(found.values())


def in_proc(proc: Path = Path("/proc"), is_wanted: IsWanted = is_c_library) -> list[Library]:
    """The same from /proc, for kernels without that iterator (before Linux 5.12); it takes privileges."""
    programs = set(_file_systems_of_programs(proc))
    found: dict[tuple[int, int], Library] = {}
    for directory in proc.iterdir():
        if not directory.name.isdecimal():
            continue
        with suppress(OSError):
            for device, inode, name, executable, mapping in _mapped(directory, is_wanted):
                known = found.get((device, inode))
                known = known or Library(device, inode, name, device in programs, executable, ())
                found[device, inode] = known._replace(mapped=(*known.mapped, mapping))
    return list(found.values())


def _mapped(process: Path, is_wanted: IsWanted) -> Iterator[tuple[int, int, bytes, bool, Mapping]]:
    program = b""
    with suppress(OSError):
        program = os.fsencode((process / "exe").readlink())
    for line in (process / "maps").read_bytes().splitlines():
        match = _MAPPING.fullmatch(line)
        if match is None:
            continue
        begins, ends, _, _, inode, path = match.groups()
        name = path.rpartition(b"/")[2]
        executable = path == program
        if is_wanted(name, executable):
            pid = int(process.name)
            comm = (process / "comm").read_bytes().rstrip(b"\n")
            yield _device(match), int(inode), name, executable, Mapping(pid, comm, int(begins, 16), int(ends, 16))


def _file_systems_of_programs(proc: Path) -> Iterator[int]:
    with suppress(OSError):
        for line in (proc / "self" / "mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            if after.startswith("fuse"):
                major, _, minor = before.split(" ")[2].partition(":")
                yield int(major) << _MINOR_BITS | int(minor)


def key_when_mapped(file: Path) -> tuple[int, int]:
    """The key of a library that is mapped from there: stat(2) may name another device. Raises OSError."""
    with file.open("rb") as there, mmap.mmap(there.fileno(), mmap.PAGESIZE, mmap.MAP_PRIVATE, AS_CODE):
        for key, path in _own():
            if path == os.fsencode(file):
                return key
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))


def opened(library: Library) -> int | None:
    """A descriptor of its file, also of one that is in a container or was deleted; None if it cannot be opened."""
    if library.is_foreign:
        return None
    for mapping in library.mapped:
        with suppress(OSError):
            return os.open(f"/proc/{mapping.pid}/map_files/{mapping.begins:x}-{mapping.ends:x}", _OPENED)
    own = _own_path(library)
    if own is not None:  # map_files takes CAP_SYS_ADMIN
        with suppress(OSError):
            return os.open(own, _OPENED)
    return None


def _own_path(library: Library) -> bytes | None:
    """Where nettop itself has this library, if it does."""
    return next((path for key, path in _own() if key == library.key), None)


def _own() -> Iterator[tuple[tuple[int, int], bytes]]:
    """Keys and paths of what nettop itself has mapped as code."""
    for line in Path("/proc/self/maps").read_bytes().splitlines():
        match = _MAPPING.fullmatch(line)
        if match is not None:
            yield (_device(match), int(match[5])), match[6]


def _device(match: re.Match[bytes]) -> int:
    return int(match[3], 16) << _MINOR_BITS | int(match[4], 16)
