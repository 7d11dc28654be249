"""Where a function begins in the file of a program or library: what the kernel is told to attach a uprobe there."""

import mmap
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from nettop.errors import CannotRunError

# elf(5), ELFCLASS64: what nettop runs on is little-endian
_MAGIC = b"\x7fELF\x02"
_PLACES = struct.Struct("<32xQQ8xH2xH2x")  # of Elf64_Ehdr: e_phoff, e_shoff, e_phnum, e_shnum
_SEGMENT = struct.Struct("<I4xQQ8xQ16x")  # of Elf64_Phdr: p_type, p_offset, p_vaddr, p_filesz
_SECTION = struct.Struct("<4xI16xQQI20x")  # of Elf64_Shdr: sh_type, sh_offset, sh_size, sh_link
_SYMBOL = struct.Struct("<IB3xQ8x")  # of Elf64_Sym: st_name, st_info, st_value
_MAX_SYMBOLS = 100_000  # of a table: glibc has 3,000, and anybody may name a file as it is named
_LOADED, _SYMBOLS, _DYNAMIC_SYMBOLS, _FUNCTION = 1, 2, 11, 2  # PT_LOAD, SHT_SYMTAB, SHT_DYNSYM, STT_FUNC


def function_offset(file: Path, function: str) -> int:
    """Bytes from the beginning of the file to the function's first instruction. Raises CannotRunError."""
    found = function_offsets(file, (function,))
    if not found:
        raise CannotRunError(f"{file} has no function {function}.", "Report this with the version of the library.")
    return found[function]


def function_offsets(file: Path, functions: Sequence[str]) -> dict[str, int]:
    """The same of those of the functions that the file has. Raises CannotRunError."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            found: dict[str, int] = {}
            for function, address in _addresses(raw, functions):
                found.setdefault(function, _in_file(raw, address))
            return found
    except (OSError, ValueError, struct.error, IndexError) as error:
        raise CannotRunError(f"{file} cannot be read as a program: {error}.", "Install it again.") from error


def _addresses(raw: mmap.mmap, functions: Sequence[str]) -> Iterator[tuple[str, int]]:
    if raw[: len(_MAGIC)] != _MAGIC:
        raise ValueError("it is not a 64-bit ELF file")
    wanted = {function.encode(): function for function in functions}
    longest = max(map(len, wanted)) + 1
    _, sections_at, _, count = _PLACES.unpack_from(raw)
    sections = [_SECTION.unpack_from(raw, sections_at + _SECTION.size * number) for number in range(count)]
    for kind, begins, size, strings in sections:
        if kind in (_SYMBOLS, _DYNAMIC_SYMBOLS):
            names = sections[strings][1]
            for at in range(begins, begins + min(size, _MAX_SYMBOLS * _SYMBOL.size), _SYMBOL.size):
                name, information, address = _SYMBOL.unpack_from(raw, at)
                if information & 15 != _FUNCTION or not address:
                    continue
                function = wanted.get(raw[names + name : names + name + longest].partition(b"\0")[0])
                if function is not None:
                    yield function, address


def _in_file(raw: mmap.mmap, address: int) -> int:
    segments_at, _, count, _ = _PLACES.unpack_from(raw)
    for number in range(count):
        kind, begins, loaded_at, size = _SEGMENT.unpack_from(raw, segments_at + _SEGMENT.size * number)
        if kind == _LOADED and loaded_at <= address < loaded_at + size:
            return int(address - loaded_at + begins)
    raise ValueError(f"nothing of it is loaded at {address:#x}")
