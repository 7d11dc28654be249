"""Where in a function's machine code a breakpoint may stand: on the first byte of an instruction, and nowhere else.

A breakpoint inside an instruction would make another one of it, in the program that is watched. So the code is taken
apart from the function's first byte to its last, by a table of the instructions of x86-64 that compilers use. A
function with any other is refused as a whole, as is one with a jump into the middle of what was found. The tests
compare this with a disassembler, function by function.
"""

from collections.abc import Iterator
from typing import NamedTuple

ENDBR64 = b"\xf3\x0f\x1e\xfa"  # where indirect calls may go to (CET)
_PREFIXES = frozenset((0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0xF2, 0xF3, 0xF0))  # segments, operand size, repeat, lock
_MOST_BYTES = 15  # of an instruction
# One byte of opcode: those with a ModR/M byte behind it, those without, and which have how many bytes of a constant.
_WITH_MODRM = frozenset(
    (*(base + low for base in range(0x00, 0x40, 8) for low in range(4)), 0x63, 0x69, 0x6B, *range(0x80, 0x90),
     0xC0, 0xC1, 0xC6, 0xC7, 0xD0, 0xD1, 0xD2, 0xD3, 0xF6, 0xF7, 0xFE, 0xFF)
)  # fmt: skip
_WITHOUT_MODRM = frozenset(
    (*(base + low for base in range(0x00, 0x40, 8) for low in (4, 5)), *range(0x50, 0x60), 0x68, 0x6A,
     *range(0x70, 0x80), *range(0x90, 0x9A), 0xA4, 0xA5, 0xA8, 0xA9, 0xAA, 0xAB, *range(0xB0, 0xC0), 0xC2, 0xC3, 0xC9,
     0xCC, 0xE8, 0xE9, 0xEB)
)  # fmt: skip
_BYTE_CONSTANT = frozenset(
    (*(base + 4 for base in range(0x00, 0x40, 8)), 0x6A, 0x6B, *range(0x70, 0x80), 0x80, 0x83, 0xA8,
     *range(0xB0, 0xB8), 0xC0, 0xC1, 0xC6, 0xEB)
)  # fmt: skip
_LONG_CONSTANT = frozenset(  # of four bytes, or two with the prefix of the operand size
    (*(base + 5 for base in range(0x00, 0x40, 8)), 0x68, 0x69, 0x81, 0xA9, *range(0xB8, 0xC0), 0xC7)
)
# Two bytes, 0F first: with ModR/M, and of these those with a byte of a constant.
_ESCAPE = 0x0F
_TWO_BYTES_WITH_MODRM = frozenset(
    (0x0D, *range(0x10, 0x20), *range(0x28, 0x30), *range(0x40, 0x77), 0x7E, 0x7F, *range(0x90, 0xA0), 0xA3, 0xA4, 0xA5,
     *range(0xAB, 0xB2), 0xB3, 0xB6, 0xB7, *range(0xBA, 0xC3), 0xC4, 0xC5, 0xC6, *range(0xD0, 0x100))
)  # fmt: skip
_TWO_BYTES_CONSTANT = frozenset((0x70, 0x71, 0x72, 0x73, 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6))
_TWO_BYTES_ALONE = frozenset((0x05, 0x0B, 0xA2, *range(0xC8, 0xD0)))  # syscall, ud2, cpuid, bswap
_CONDITIONAL = range(0x80, 0x90)  # jumps of two bytes and four of a distance
_RETURN = 0xC3
# What may stand before the first instruction that the kernel need not single-step: it leaves the arguments as they are.
_HARMLESS = (
    ENDBR64,
    b"\x48\x83\xec",  # sub $..,%rsp
    b"\x48\x81\xec",
    b"\x64\x48\x8b\x04\x25\x28\x00\x00\x00",  # mov %fs:0x28,%rax
    b"\x48\x89\x44\x24",  # mov %rax,..(%rsp)
    b"\x31\xc0",  # xor %eax,%eax
    b"\x85\xd2",  # test %edx,%edx
    b"\x48\x85\xff",  # test %rdi,%rdi
    b"\x4c\x8d\x64\x24",  # Go's prologue: lea ..(%rsp),%r12
    b"\x4c\x8d\xa4\x24",
    b"\x4d\x3b\x66\x10",  # cmp 0x10(%r14),%r12
    b"\x49\x3b\x66\x10",  # cmp 0x10(%r14),%rsp
)


class UnknownInstructionError(ValueError):
    """The function has an instruction that the table does not, or does not end with its last one."""


class Instruction(NamedTuple):
    """`target` is where a jump within one function goes to, in bytes from its beginning; None of any other."""

    at: int
    raw: bytes
    target: int | None = None

    @property
    def returns(self) -> bool:
        """Whether it goes back to the caller."""
        return self.raw in (b"\xc3", b"\xf3\xc3")

    @property
    def leaves(self) -> bool:
        """Whether it always jumps, over a distance."""
        return self.raw[0] in (0xE9, 0xEB)

    @property
    def is_emulated(self) -> bool:
        """Whether the kernel does its work by itself, for a tenth of the cost (arch/x86/kernel/uprobes.c).

        A push of a register, a call or a jump with a distance.
        """
        first = self.raw[0]
        if first == 0x41:  # REX.B: of the registers from r8 on
            return len(self.raw) == 2 and 0x50 <= self.raw[1] < 0x58
        if first == _ESCAPE:
            return self.raw[1] in _CONDITIONAL
        return 0x50 <= first < 0x58 or first in (0xE8, 0xE9, 0xEB) or 0x70 <= first < 0x80


class Places(NamedTuple):
    """Bytes from the beginning of a function: where its arguments are still there, and where it returns.

    And where functions begin that return for it, because it jumps to them.
    """

    entry: int
    returns: tuple[int, ...]
    continues: tuple[int, ...]


def places(code: bytes) -> Places:
    """Of a whole function. Raises UnknownInstructionError."""
    found = list(instructions(code))
    begins = {each.at for each in found}
    targets = {each.target for each in found if each.target is not None and 0 <= each.target < len(code)}
    if not targets <= begins:
        raise UnknownInstructionError("has a jump to the inside of an instruction")
    outside = {each.target for each in found if each.leaves and each.target is not None} - begins
    return Places(_entry(found, targets), tuple(each.at for each in found if each.returns), tuple(sorted(outside)))


def _entry(found: list[Instruction], targets: set[int]) -> int:
    """The first that is emulated, if nothing before it matters and nothing else leads to it; else the very first."""
    for each in found:
        if each.is_emulated and each.at not in targets:
            return each.at
        if not each.raw.startswith(_HARMLESS):
            break
    return 0


def instructions(code: bytes) -> Iterator[Instruction]:
    """One after the other. Raises UnknownInstructionError."""
    at = 0
    while at < len(code):
        end, distance = _decoded(code, at)
        if end > len(code) or end - at > _MOST_BYTES:
            raise UnknownInstructionError("is cut")
        target = None
        if distance:
            target = end + int.from_bytes(code[end - distance : end], "little", signed=True)
        yield Instruction(at, code[at:end], target)
        at = end


def _decoded(code: bytes, begin: int) -> tuple[int, int]:
    """Where an instruction ends, and how many bytes at its end are the distance of a jump."""
    at, wide = begin, False
    try:
        while code[at] in _PREFIXES:
            at += 1
        short = 0x66 in code[begin:at]
        if code[at] & 0xF0 == 0x40:  # REX
            wide = bool(code[at] & 8)
            at += 1
        opcode = code[at]
        if opcode == _ESCAPE:
            end, distance = _two_bytes(code, at + 1)
        else:
            end, distance = _one_byte(code, at, wide, short)
    except IndexError:
        raise UnknownInstructionError("is cut") from None
    if short and distance:
        raise UnknownInstructionError("has a jump of two bytes")  # which processors take apart differently
    return end, distance


def _one_byte(code: bytes, at: int, wide: bool, short: bool) -> tuple[int, int]:
    opcode, constant = code[at], 0
    at += 1
    if opcode in _WITH_MODRM:
        if opcode in (0xF6, 0xF7) and code[at] >> 3 & 7 < 2:  # test, with a constant
            constant = 1 if opcode == 0xF6 else 2 if short and not wide else 4
        at = _past_operand(code, at)
    elif opcode not in _WITHOUT_MODRM:
        raise UnknownInstructionError(f"has the unknown opcode {opcode:02x}")
    if opcode in _BYTE_CONSTANT:
        constant = 1
    elif opcode in _LONG_CONSTANT:
        constant = 8 if wide and 0xB8 <= opcode < 0xC0 else 2 if short and not wide else 4
    elif opcode == 0xC2:
        constant = 2
    elif opcode in (0xE8, 0xE9):
        return at + 4, 4
    return at + constant, int(0x70 <= opcode < 0x80 or opcode == 0xEB)


def _two_bytes(code: bytes, at: int) -> tuple[int, int]:
    opcode = code[at]
    at += 1
    if opcode in _CONDITIONAL:
        return at + 4, 4
    if opcode in _TWO_BYTES_ALONE:
        return at, 0
    if opcode not in _TWO_BYTES_WITH_MODRM:
        raise UnknownInstructionError(f"has the unknown opcode 0f {opcode:02x}")
    return _past_operand(code, at) + (opcode in _TWO_BYTES_CONSTANT), 0


def _past_operand(code: bytes, at: int) -> int:
    """Behind ModR/M, SIB and displacement (Intel SDM volume 2, section 2.1.5)."""
    mode, operand = code[at] >> 6, code[at] & 7
    at += 1
    if mode == 3:
        return at
    if operand == 4:
        base = code[at] & 7
        at += 1
        if mode == 0 and base == 5:
            return at + 4
    elif mode == 0 and operand == 5:
        return at + 4
    return at + (1 if mode == 1 else 4 if mode == 2 else 0)
