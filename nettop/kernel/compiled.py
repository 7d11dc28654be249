"""The compiled kernel side as a value: the compiler makes it, compiled_cache.py keeps it, program.py loads it."""

from collections.abc import Collection

import msgspec

from nettop.kernel.syscalls import MapShape


class Program(msgspec.Struct, frozen=True, gc=False):
    """One BPF program."""

    instructions: bytes
    map_references: tuple[tuple[int, str], ...]  # byte offset of an instruction that takes a map's descriptor, its name

    def linked(self, map_fds: dict[str, int]) -> bytes:
        """The instructions with the descriptors of maps that were made."""
        code = bytearray(self.instructions)
        for at, name in self.map_references:
            code[at + _IMMEDIATE_AT : at + _IMMEDIATE_AT + 4] = map_fds[name].to_bytes(4, "little")
        return bytes(code)


class CompiledPrograms(msgspec.Struct, frozen=True, gc=False, tag="compiled"):
    """All maps and programs for one kernel and one shape of the scope."""

    maps: dict[str, MapShape]
    programs: dict[str, Program]
    attach_types: dict[str, int]  # BTF type id of what a tracing program attaches to, by the hook's target
    enumerators: dict[str, dict[int, str]] = {}  # the kernel's names of reasons; see nettop/kernel/reasons.py


_LOAD_64, _MAP_FD = 0x18, 1  # BPF_LD | BPF_DW | BPF_IMM; BPF_PSEUDO_MAP_FD, include/uapi/linux/bpf.h
_CALL, _HELPER, _KFUNC_CALL = 0x85, 0, 2  # BPF_JMP | BPF_CALL; 0, BPF_PSEUDO_KFUNC_CALL
_IMMEDIATE_AT = 4  # in struct bpf_insn


def unlinked(code: bytes, map_names: dict[int, str], kfuncs: Collection[int] = ()) -> Program:
    """The reverse of linked(), given the names of the maps whose descriptors stand in the code.

    `kfuncs` are the BTF type ids of functions of the kernel that programs call: BCC knows only helpers, so the sources
    call them as if they were helpers of that number.
    """
    references = []
    plain = bytearray(code)
    for at in range(0, len(code), 8):
        immediate = slice(at + _IMMEDIATE_AT, at + 8)
        number = int.from_bytes(code[immediate], "little")
        if code[at] == _LOAD_64 and code[at + 1] >> 4 == _MAP_FD:
            references.append((at, map_names[number]))
            plain[immediate] = bytes(4)
        elif code[at] == _CALL and code[at + 1] >> 4 == _HELPER and number in kfuncs:
            plain[at + 1] |= _KFUNC_CALL << 4
    return Program(bytes(plain), tuple(references))
