"""The same for arm64, where every instruction has four bytes: what matters is which of them are none.

GCC and Clang keep constants behind the code in a few cases, and load them from there: a breakpoint would change them.
So a function that reads its own code is refused as a whole, as is one with a word that is no instruction.
"""

from nettop.kernel.instructions import Places, UnknownInstructionError

_BYTES = 4
# Arm Architecture Reference Manual for A-profile, C4.1: of each class the bits that tell, and what they are.
_RETURNS = frozenset((0xD65F03C0, 0xD65F0BFF, 0xD65F0FFF))  # RET, RETAA, RETAB: to the address in x30
_RETURN_ELSEWHERE = 0xFFFFF01F, 0xD65F0000  # by another register
_JUMP = 0xFC000000, 0x14000000  # B
_NO_INSTRUCTION = 0xFFFF0000, 0x00000000  # UDF
_LOAD = 0x3B000000, 0x18000000  # LDR, LDRSW and PRFM of what lies at a distance
_ADDRESS = 0x9F000000, 0x10000000  # ADR


def places(code: bytes) -> Places:
    """See nettop.kernel.instructions. Nothing stands before a function's first instruction."""
    if len(code) % _BYTES:
        raise UnknownInstructionError("is cut")
    returns, outside = [], set()
    for at in range(0, len(code), _BYTES):
        word = int.from_bytes(code[at : at + _BYTES], "little")
        if _is(word, _NO_INSTRUCTION):
            raise UnknownInstructionError("has a word that is no instruction")
        if word in _RETURNS:
            returns.append(at)
        elif _is(word, _RETURN_ELSEWHERE):
            raise UnknownInstructionError("returns by another register")
        elif _is(word, _JUMP):
            target = at + _signed(word, 26) * _BYTES
            if not 0 <= target < len(code):
                outside.add(target)
        elif (_is(word, _LOAD) and 0 <= at + _signed(word >> 5, 19) * _BYTES < len(code)) or (
            _is(word, _ADDRESS) and 0 <= at + (_signed(word >> 5, 19) << 2 | word >> 29 & 3) < len(code)
        ):
            raise UnknownInstructionError("reads its own code")
    return Places(0, tuple(returns), tuple(sorted(outside)))


def _is(word: int, kind: tuple[int, int]) -> bool:
    mask, value = kind
    return word & mask == value


def _signed(word: int, bits: int) -> int:
    value = word & (1 << bits) - 1
    return value - (value >> bits - 1 << bits)
