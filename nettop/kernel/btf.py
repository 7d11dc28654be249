"""Structure offsets of the running kernel, from its BTF (Documentation/bpf/btf.rst)."""

import struct
from pathlib import Path

from nettop.errors import CannotRunError

VMLINUX = Path("/sys/kernel/btf/vmlinux")

_HEADER = struct.Struct("<HBBIIIII")  # btf_header: magic, version, flags, hdr_len, type off+len, string off+len
_MAGIC = 0xEB9F
_STRUCT, _UNION, _ENUM, _TYPEDEF, _FUNCTION = 4, 5, 6, 8, 12
_MODIFIERS = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type_tag: `type` is what they refer to
# Words after the 3-word btf_type, per kind: a fixed number and a number per member (vlen).
_FIXED_WORDS = {1: 1, 3: 3, 14: 1, 17: 1}
_MEMBER_WORDS = {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}


class BtfError(CannotRunError):
    """The kernel's type information is missing or lacks what nettop reads."""


class Btf:
    """One BTF blob, indexed once; look-ups walk only the structures that are asked for."""

    def __init__(self, blob: bytes) -> None:
        try:
            magic, _, _, header, type_at, type_bytes, string_at, string_bytes = _HEADER.unpack_from(blob)
        except struct.error:
            magic = 0
        if magic != _MAGIC:
            raise BtfError(
                "The kernel's type information (BTF) has an unknown format.",
                f"Check that {VMLINUX} belongs to the running kernel.",
            )
        start = header + type_at
        self._words = memoryview(blob[start : start + type_bytes]).cast("I")
        self._strings = blob[header + string_at : header + string_at + string_bytes]
        self._types = self._index()

    @classmethod
    def of_running_kernel(cls, path: Path = VMLINUX) -> "Btf":
        """The running kernel's BTF. Raises BtfError, which names the missing kernel option."""
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise BtfError(
                f"This kernel offers no type information (BTF): {path}: {error.strerror}.",
                "Run a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions have shipped since 2020-2021.",
            ) from error

    def offset(self, structure: str, path: str) -> int:
        """Bytes from the start of `structure` to the member that `path` names, through dots and anonymous members."""
        return self._locate(structure, path)[0] // 8

    def bit(self, structure: str, member: str) -> tuple[int, int]:
        """Byte offset of a bit field, and its mask within that byte (little-endian), which may be all of it."""
        bits, _, width = self._locate(structure, member)
        return bits // 8, ((1 << (width or 8)) - 1) << bits % 8

    def function(self, name: str) -> int:
        """Type id of a kernel function."""
        return self._find(name, _FUNCTION)

    def raw_tracepoint(self, name: str) -> int:
        """Type id of the typedef that describes a raw tracepoint's arguments to the kernel."""
        return self._find(f"btf_trace_{name}", _TYPEDEF)

    def raw_tracepoint_arguments(self, name: str) -> int:
        """How many arguments a raw tracepoint gives to a program: one less than its probe has."""
        at = self._types[self.raw_tracepoint(name)]
        prototype = self._types[self._words[self._types[self._words[at + 2]] + 2]]  # typedef to pointer to prototype
        return (self._words[prototype + 1] & 0xFFFF) - 1

    def enumerators(self, name: str) -> dict[int, str]:
        """The names of an enum's values. Of several for one value the first."""
        at = self._types[self._find(name, _ENUM)]
        names: dict[int, str] = {}
        for member in range(at + 3, at + 3 + 2 * (self._words[at + 1] & 0xFFFF), 2):
            name_at, value = self._words[member : member + 2]
            names.setdefault(value, self._strings[name_at : self._strings.index(b"\0", name_at)].decode())
        return names

    def _index(self) -> list[int]:
        """Word index of each type, by type id; id 0 is void."""
        fixed = [3 + _FIXED_WORDS.get(kind, 0) for kind in range(32)]
        per_member = [_MEMBER_WORDS.get(kind, 0) for kind in range(32)]
        words, types, at, end = self._words, [0], 0, len(self._words)
        append = types.append
        while at < end:
            append(at)
            kind_and_vlen = words[at + 1]
            kind = kind_and_vlen >> 24 & 31
            at += fixed[kind] + per_member[kind] * (kind_and_vlen & 0xFFFF)
        return types

    def _find(self, name: str, kind: int) -> int:
        name_at = self._strings.find(b"\0" + name.encode() + b"\0") + 1
        words = self._words
        for type_id, at in enumerate(self._types):
            if type_id and words[at] == name_at and words[at + 1] >> 24 & 31 == kind and name_at:
                return type_id
        raise BtfError(
            f"This kernel has no type {name}.", "This is a bug: please report it with the output of 'uname -r'."
        )

    def _locate(self, structure: str, path: str) -> tuple[int, int, int]:
        """Where a member begins, in bits; its type; of how many bits it is, 0 if it is not a bit field."""
        bits, type_id, width = 0, self._find(structure, _STRUCT), 0
        for part in path.split("."):
            found = self._member(type_id, part.encode(), 0)
            if found is None:
                raise BtfError(
                    f"This kernel's {structure} has no member {path}.",
                    "This is a bug: please report it with the output of 'uname -r'.",
                )
            bits, type_id, width = bits + found[0], found[1], found[2]
        return bits, type_id, width

    def _member(self, type_id: int, name: bytes, base_bits: int) -> tuple[int, int, int] | None:
        words, at = self._words, self._types[type_id]
        kind_and_vlen = words[at + 1]
        kind = kind_and_vlen >> 24 & 31
        if kind in _MODIFIERS:
            return self._member(words[at + 2], name, base_bits)
        if kind not in (_STRUCT, _UNION):
            return None
        has_bitfields = kind_and_vlen >> 31
        for member in range(at + 3, at + 3 + 3 * (kind_and_vlen & 0xFFFF), 3):
            name_at, member_type, offset = words[member : member + 3]
            bits = base_bits + (offset & 0xFFFFFF if has_bitfields else offset)
            if name_at == 0:
                found = self._member(member_type, name, bits)
                if found is not None:
                    return found
            elif self._strings.startswith(name + b"\0", name_at):
                return bits, member_type, offset >> 24 if has_bitfields else 0
        return None
