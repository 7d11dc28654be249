"""Where a function begins in the file of a program or library: what the kernel is told to attach a uprobe there."""

import mmap
import platform
import re
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nettop.errors import CannotRunError

# elf(5), ELFCLASS64: what nettop runs on is little-endian
_MAGIC = b"\x7fELF\x02"
_MACHINE, _MACHINES = struct.Struct("<18xH"), {"x86_64": 62, "aarch64": 183}  # e_machine: EM_X86_64, EM_AARCH64
_PLACES = struct.Struct("<32xQQ8xH2xH2x")  # of Elf64_Ehdr: e_phoff, e_shoff, e_phnum, e_shnum
_SEGMENT = struct.Struct("<I4xQQ8xQ16x")  # of Elf64_Phdr: p_type, p_offset, p_vaddr, p_filesz
_SECTION = struct.Struct("<4xI16xQQI20x")  # of Elf64_Shdr: sh_type, sh_offset, sh_size, sh_link
_NAMED_SECTION = struct.Struct("<I12xQQQ24x")  # of the same: sh_name, sh_addr, sh_offset, sh_size
_STRINGS = struct.Struct("<62xH")  # of Elf64_Ehdr: e_shstrndx
_SYMBOL = struct.Struct("<IB3xQQ")  # of Elf64_Sym: st_name, st_info, st_value, st_size
_MOST_CODE_BYTES = 16_384  # of a function
_MOST_SYMBOLS = 100_000  # of a table: glibc has 3,000, and anybody may name a file as it is named
# .eh_frame_hdr, Linux Standard Base Core 10.6.2: a version, what the numbers behind it are, how many entries there are,
# and of each two distances from here. What they lead to (DWARF 5 section 6.4.1): where a function begins, and its size.
_UNWINDING = 0x6474E550  # PT_GNU_EH_FRAME
_HEADER, _ENTRY, _DESCRIBED = struct.Struct("<Bx2s4xI"), struct.Struct("<ii"), struct.Struct("<8xiI")
_TABLE = (1, b"\x03\x3b")
# How a stub of .plt begins on x86-64: endbr64, if need be, and a jump by way of a slot at a distance from its end.
_JUMP_X86 = re.compile(rb"(?:\xf3\x0f\x1e\xfa)?\xf2?\xff\x25(.{4})", re.DOTALL)
_RELOCATIONS, _RELOCATION = 4, struct.Struct("<QQ8x")  # SHT_RELA; of Elf64_Rela: r_offset, r_info
_LOADED, _SYMBOLS, _DYNAMIC_SYMBOLS, _FUNCTION = 1, 2, 11, 2  # PT_LOAD, SHT_SYMTAB, SHT_DYNSYM, STT_FUNC


def function_offset(file: Path, function: str) -> int:
    """Bytes from the beginning of the file to the function's first instruction. Raises CannotRunError."""
    found = function_offsets(file, (function,))
    if not found:
        raise CannotRunError(f"{file} has no function {function}.", "Report this with the version of the library.")
    return found[function]


def function_offsets(file: Path, functions: Sequence[str]) -> dict[str, int]:
    """The same of those of the functions that the file has. Raises CannotRunError."""
    return {function: begin for function, (begin, _) in function_codes(file, functions).items()}


def function_codes(
    file: Path, functions: Sequence[str], most_symbols: int = _MOST_SYMBOLS
) -> dict[str, tuple[int, bytes]]:
    """The same with the machine code of each. Raises CannotRunError."""
    with mapped_file(file) as raw:
        found: dict[str, tuple[int, bytes]] = {}
        for function, address, size in _addresses(raw, functions, most_symbols):
            if function not in found:
                found[function] = code_of(raw, address, size)
        return found


def code_at(file: Path, begin: int) -> tuple[int, bytes]:
    """A function that may have no name, if one begins there: as function_codes(), by what the file says for unwinding.

    Raises CannotRunError.
    """
    with mapped_file(file) as raw:
        return code_of(raw, *_unwound(raw, begin))


def stub_of(file: Path, begin: int) -> str | None:
    """The function whose stub begins at this place: one that the dynamic linker finds, which may be in the same file.

    None if that is no stub. Raises CannotRunError.
    """
    with mapped_file(file) as raw:
        slot = _slot(raw, begin)
        _, sections_at, _, count = _PLACES.unpack_from(raw)
        sections = [_SECTION.unpack_from(raw, sections_at + _SECTION.size * number) for number in range(count)]
        for kind, at, size, symbols in sections if slot is not None else ():
            if kind != _RELOCATIONS:
                continue
            for place, what in _RELOCATION.iter_unpack(raw[at : at + size - size % _RELOCATION.size]):
                if place == slot:
                    (name, *_) = _SYMBOL.unpack_from(raw, sections[symbols][1] + (what >> 32) * _SYMBOL.size)
                    names = sections[sections[symbols][3]][1]
                    return raw[names + name : raw.find(b"\0", names + name)].decode(errors="replace")
        return None


def _slot(raw: mmap.mmap, begin: int) -> int | None:
    """The address from which a stub loads where it jumps to."""
    address = _address(raw, begin)
    jump = _JUMP_X86.match(raw, begin)
    if jump is not None:
        return int(address + jump.end() - begin + int.from_bytes(jump[1], "little", signed=True))
    page, load = struct.unpack_from("<II", raw, begin)
    if page & 0x9F00001F == 0x90000010 and load & 0xFFC003FF == 0xF9400211:  # adrp x16; ldr x17, [x16, ...]
        pages = (page >> 5 & 0x7FFFF) << 2 | page >> 29 & 3
        distance = (pages - (pages >> 20 << 21)) << 12
        return int((address & ~0xFFF) + distance + (load >> 10 & 0xFFF) * 8)
    return None


@contextmanager
def mapped_file(file: Path) -> Iterator[mmap.mmap]:
    """The bytes of a program or library. Raises CannotRunError, also for a ValueError or the like of who reads them."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            if raw[: len(_MAGIC)] != _MAGIC or _MACHINE.unpack_from(raw) != (_MACHINES[platform.machine()],):
                raise ValueError("it is not a 64-bit ELF file for this processor")
            yield raw
    except (OSError, ValueError, struct.error, IndexError) as error:
        raise CannotRunError(f"{file} cannot be read as a program: {error}.", "Install it again.") from error


def code_of(raw: mmap.mmap, address: int, size: int) -> tuple[int, bytes]:
    """Where in the file the code begins that is loaded at an address, and so many bytes of it (16 KB at most)."""
    begin = place_in_file(raw, address)
    return begin, raw[begin : begin + min(size, _MOST_CODE_BYTES)]


def _unwound(raw: mmap.mmap, begin: int) -> tuple[int, int]:
    """Address and size of the function that begins at this place of the file."""
    found_at, header = next(((at, address) for kind, at, address, _ in _segments(raw) if kind == _UNWINDING), (0, 0))
    version, encodings, count = _HEADER.unpack_from(raw, found_at)
    if (version, encodings) != _TABLE:
        raise ValueError("its table for unwinding is of an unknown kind")
    table = found_at + _HEADER.size

    def entry(number: int) -> tuple[int, ...]:
        return tuple(header + distance for distance in _ENTRY.unpack_from(raw, table + number * _ENTRY.size))

    address = _address(raw, begin)
    number = bisect_left(range(count), address, key=lambda each: entry(each)[0])
    if number == count or entry(number)[0] != address:
        raise ValueError(f"no function begins at {begin:#x}")
    _, described = entry(number)
    distance, size = _DESCRIBED.unpack_from(raw, place_in_file(raw, described))
    if described + 8 + distance != address:
        raise ValueError("its table for unwinding is of an unknown kind")
    return address, size


def _segments(raw: mmap.mmap) -> Iterator[tuple[int, ...]]:
    begins, _, count, _ = _PLACES.unpack_from(raw)
    for number in range(count):
        yield _SEGMENT.unpack_from(raw, begins + _SEGMENT.size * number)


def _addresses(raw: mmap.mmap, functions: Sequence[str], most: int) -> Iterator[tuple[str, int, int]]:
    wanted = {function.encode(): function for function in functions}
    longest = max(map(len, wanted)) + 1
    _, sections_at, _, count = _PLACES.unpack_from(raw)
    sections = [_SECTION.unpack_from(raw, sections_at + _SECTION.size * number) for number in range(count)]
    for kind, begins, size, strings in sections:
        if kind in (_SYMBOLS, _DYNAMIC_SYMBOLS):
            _, names, names_bytes, _ = sections[strings]
            if all(raw.find(name + b"\0", names, names + names_bytes) < 0 for name in wanted):
                continue  # without a look at each symbol: most programs
            for at in range(begins, begins + min(size, most * _SYMBOL.size), _SYMBOL.size):
                name, information, address, code_bytes = _SYMBOL.unpack_from(raw, at)
                if information & 15 != _FUNCTION or not address:
                    continue
                function = wanted.get(raw[names + name : names + name + longest].partition(b"\0")[0])
                if function is not None:
                    yield function, address, code_bytes


def _address(raw: mmap.mmap, begin: int) -> int:
    loaded = (each for each in _segments(raw) if each[0] == _LOADED)
    return next((begin - at + place for _, at, place, size in loaded if 0 <= begin - at < size), 0)


def section(raw: mmap.mmap, *names: bytes) -> tuple[int, int, int] | None:
    """Address, place in the file and size of the first section with one of these names."""
    _, sections_at, _, count = _PLACES.unpack_from(raw)
    (strings,) = _STRINGS.unpack_from(raw)
    entries = [_NAMED_SECTION.unpack_from(raw, sections_at + _SECTION.size * number) for number in range(count)]
    texts = entries[strings][2]
    for name, address, begins, size in entries:
        if raw[texts + name : raw.find(b"\0", texts + name)] in names:
            return address, begins, size
    return None


def place_in_file(raw: mmap.mmap, address: int) -> int:
    """Where the file has what is loaded at an address. Raises ValueError."""
    for kind, begins, loaded_at, size in _segments(raw):
        if kind == _LOADED and loaded_at <= address < loaded_at + size:
            return int(address - loaded_at + begins)
    raise ValueError(f"nothing of it is loaded at {address:#x}")
