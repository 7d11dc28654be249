"""Functions of Go programs, also of those that were stripped: the runtime has a table of all functions for its own use.

Only of programs whose compiler passes arguments in registers (Go 1.17 and later, cmd/compile/abi-internal.md): what is
watched there reads them.
"""

import mmap
import re
import struct
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from nettop.errors import CannotRunError
from nettop.kernel.elf import code_of, function_codes, mapped_file, place_in_file, section

# debug/buildinfo/buildinfo.go: the size of a pointer and flags, and with that flag the version itself behind 32 bytes;
# else the address of a string in Go's form
_BUILD_MAGIC = b"\xff Go buildinf:\x08"
_VERSION_INLINE, _VERSION_AT = 2, 32
_FLAGS, _POINTER, _STRING = struct.Struct("<15xB"), struct.Struct("<16xQ"), struct.Struct("<QQ")
_VERSION = re.compile(rb"(?:devel )?go1\.(\d{1,3})\b")
_WITH_REGISTERS = 17
_MOST_VERSION_BYTES = 127
# debug/gosym/pclntab.go, runtime/symtab.go: magic, two zeros, the least size of an instruction and that of a pointer;
# then words
_TABLE = struct.Struct("<I2xBB")
_OF_1_16, _OF_1_18 = (0xFFFFFFFA,), (0xFFFFFFF0, 0xFFFFFFF1)
_WORD = struct.Struct("<Q")
_MOST_FUNCTIONS = 1_000_000  # kubelet has 130,000
_MOST_NAME_BYTES = 64 << 20
# lea ..(%rsp),%r12; cmp 0x10(%r14),%r12 or %rsp; jbe: the goroutine is in R14, as only that way of calling has it
_PROLOGUE = re.compile(
    rb"(?:\x4c\x8d(?:\x64\x24.|\xa4\x24.{4})\x4d\x3b\x66\x10|\x49\x3b\x66\x10)(?:\x76|\x0f\x86)", re.DOTALL
)


def go_functions(file: Path, functions: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """Where in the file those of them begin that the program has, with the code of each.

    Raises CannotRunError where it is not a program of Go that is known.
    """
    with mapped_file(file) as raw:
        version = _minor_version(raw)
    if version is None:
        raise CannotRunError("it is no program of Go", "")
    if version < _WITH_REGISTERS:
        raise CannotRunError(f"Go 1.{version} passes arguments on the stack", "")
    found = function_codes(file, functions, _MOST_FUNCTIONS)
    if not found:
        with mapped_file(file) as raw:
            found = {name: code_of(raw, *place) for name, *place in _in_table(raw, version, functions)}
    for name, (_, code) in found.items():
        if _PROLOGUE.match(code) is None:
            raise CannotRunError(f"its {name} begins in an unknown way", "")
    return found


def _minor_version(raw: mmap.mmap) -> int | None:
    found = section(raw, b".go.buildinfo")
    if found is None:
        return None
    _, at, size = found
    (flags,) = _FLAGS.unpack_from(raw, at)
    if size < _VERSION_AT or raw[at : at + len(_BUILD_MAGIC)] != _BUILD_MAGIC:
        raise ValueError("what it says of its compiler is in an unknown form")
    if flags & _VERSION_INLINE:
        begins, length = at + _VERSION_AT + 1, raw[at + _VERSION_AT]  # of a number that takes one byte
    else:
        (address,) = _POINTER.unpack_from(raw, at)
        address, length = _STRING.unpack_from(raw, place_in_file(raw, address))
        begins = place_in_file(raw, address)
    match = _VERSION.match(raw[begins : begins + length]) if length <= _MOST_VERSION_BYTES else None
    if match is None:
        raise ValueError("the version of its compiler is unknown")
    return int(match[1])


def _in_table(raw: mmap.mmap, version: int, functions: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Name, address and how far it is to the next function. Raises ValueError where the table is not as expected."""
    found = section(raw, b".gopclntab", b".data.rel.ro.gopclntab")
    if found is None:
        raise ValueError("it has no table of functions")
    _, at, size = found
    magic, quantum, pointer = _TABLE.unpack_from(raw, at)
    later = magic in _OF_1_18
    if (
        (quantum, pointer) != (1, _WORD.size)
        or not (later or magic in _OF_1_16)
        or later != (version > _WITH_REGISTERS)
    ):
        raise ValueError("its table of functions is of an unknown kind")
    count, _, *words = (_WORD.unpack_from(raw, at + (number + 1) * _WORD.size)[0] for number in range(8))
    text = words.pop(0) if later else 0
    names, files, functions_at = words[0], words[1], words[4]
    if (
        not 0 < count < _MOST_FUNCTIONS
        or not 0 < names <= files <= functions_at < size
        or files - names > _MOST_NAME_BYTES
    ):
        raise ValueError("its table of functions is of an unknown kind")
    width = "I" if later else "Q"
    numbers = array(width)  # of each function where it begins, and where it is described; at last where they end
    table = at + functions_at
    if functions_at + (2 * count + 1) * numbers.itemsize > size:
        raise ValueError("its table of functions is cut")
    numbers.frombytes(raw[table : table + (2 * count + 1) * numbers.itemsize])
    wanted = dict(_named(raw, at + names, at + files, functions))
    described = struct.Struct("<Ii" if later else "<Qi")  # again where it begins, and its name
    for begins, description, ends in zip(numbers[::2], numbers[1::2], numbers[2::2], strict=False):
        if description + described.size > size - functions_at:
            raise ValueError("its table of functions is cut")
        again, name_at = described.unpack_from(raw, table + description)
        if again != begins or ends < begins:
            raise ValueError("its table of functions is out of order")
        if name_at in wanted:
            yield wanted[name_at], text + begins, ends - begins


def _named(raw: mmap.mmap, begins: int, ends: int, functions: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Where among the names these are."""
    for name in functions:
        at = raw.find(b"\0" + name.encode() + b"\0", begins - 1, ends)
        if at >= 0:
            yield at + 1 - begins, name
