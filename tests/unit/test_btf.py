"""Structure offsets out of a BTF blob made by hand (include/uapi/linux/btf.h)."""

import struct
from pathlib import Path

import pytest

from nettop.kernel.btf import Btf, BtfError

INT, PTR, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, CONST, FUNC, FUNC_PROTO = 1, 2, 3, 4, 5, 6, 8, 10, 12, 13
VAR, DATASEC, TYPE_TAG, ENUM64 = 14, 15, 18, 19
ITERATOR_ID = 19


class Blob:
    """Types and strings as the kernel lays them out; each method returns the id of the type that it adds."""

    def __init__(self) -> None:
        self._types = b""
        self._strings = b"\0"
        self._count = 0

    def string(self, text: str) -> int:
        if not text:
            return 0
        at = self._strings.find(b"\0" + text.encode() + b"\0")
        if at < 0:
            at = len(self._strings) - 1
            self._strings += text.encode() + b"\0"
        return at + 1

    def add(self, kind: int, name: str, size_or_type: int, *extra: int, vlen: int = 0, flag: int = 0) -> int:
        words = (self.string(name), flag << 31 | kind << 24 | vlen, size_or_type, *extra)
        self._types += struct.pack(f"<{len(words)}I", *words)
        self._count += 1
        return self._count

    def structure(self, kind: int, name: str, *members: tuple[str, int, int], bitfields: bool = False) -> int:
        words = [word for member, type_id, offset in members for word in (self.string(member), type_id, offset)]
        return self.add(kind, name, 64, *words, vlen=len(members), flag=bitfields)

    def bytes(self, magic: int = 0xEB9F) -> bytes:
        header = struct.pack("<HBBIIIII", magic, 1, 0, 24, 0, len(self._types), len(self._types), len(self._strings))
        return header + self._types + self._strings


def kernel() -> Btf:
    """`struct sock` with everything that the walk must get through before and inside of it."""
    blob = Blob()
    integer = blob.add(INT, "int", 4, 32)
    pointer = blob.add(PTR, "", integer)
    blob.add(ARRAY, "", 0, integer, integer, 4)
    blob.add(ENUM, "state", 4, blob.string("OPEN"), 1, blob.string("SHUT"), 2, vlen=2)
    blob.add(ENUM64, "wide", 8, blob.string("BIG"), 0, 1, vlen=1)
    blob.add(VAR, "some_variable", integer, 0)
    blob.add(DATASEC, ".data", 8, 6, 0, 4, vlen=1)
    blob.add(TYPEDEF, "sock", integer)  # of the same name, and no structure
    lock = blob.structure(STRUCT, "lock", ("slock", integer, 0), ("owned", integer, 32))
    lock_type = blob.add(TYPEDEF, "socket_lock_t", lock)
    const_lock = blob.add(CONST, "", lock_type)
    tagged_lock = blob.add(TYPE_TAG, "tag", const_lock)
    ports = blob.structure(STRUCT, "", ("dport", integer, 0), ("num", integer, 16))
    group = blob.structure(UNION, "", ("portpair", integer, 0), ("", ports, 0))
    blob.structure(
        STRUCT,
        "sock",
        ("sk_family", integer, 0),
        ("sk_family_too", integer, 16),
        ("", group, 96),
        ("sk_lock", tagged_lock, 128),
        ("sk_next", pointer, 256),
    )
    blob.structure(
        STRUCT,
        "flags",
        ("before", integer, 0),
        ("sk_kern_sock", integer, 1 << 24 | 35),
        ("chrono_type", integer, 2 << 24 | 45),
        ("", group, 64),
        ("after", integer, 128),
        bitfields=True,
    )
    prototype = blob.add(FUNC_PROTO, "", 0, 0, pointer, 0, pointer, 0, pointer, vlen=3)
    blob.add(TYPEDEF, "bpf_iter_task_file", prototype)  # of the same name, and no function
    assert blob.add(FUNC, "bpf_iter_task_file", prototype) == ITERATOR_ID
    blob.add(TYPEDEF, "btf_trace_fired", blob.add(PTR, "", prototype))
    return Btf(blob.bytes())


@pytest.mark.parametrize(
    ("structure", "path", "offset"),
    [
        ("sock", "sk_family", 0),
        ("sock", "sk_family_too", 2),
        ("sock", "portpair", 12),
        ("sock", "dport", 12),
        ("sock", "num", 14),
        ("sock", "sk_lock", 16),
        ("sock", "sk_lock.slock", 16),
        ("sock", "sk_lock.owned", 20),
        ("sock", "sk_next", 32),
        ("lock", "owned", 4),
        ("flags", "num", 10),
        ("flags", "after", 16),
    ],
)
def test_offsets(structure: str, path: str, offset: int) -> None:
    assert kernel().offset(structure, path) == offset


@pytest.mark.parametrize(
    ("member", "place"),
    [("before", (0, 0xFF)), ("sk_kern_sock", (4, 0b1000)), ("chrono_type", (5, 0b1100000)), ("after", (16, 0xFF))],
)
def test_bits(member: str, place: tuple[int, int]) -> None:
    assert kernel().bit("flags", member) == place


def test_arguments_of_a_raw_tracepoint() -> None:
    """Its probe has one more, which is its own."""
    assert kernel().raw_tracepoint_arguments("fired") == 2


def test_names_of_an_enum() -> None:
    assert kernel().enumerators("state") == {1: "OPEN", 2: "SHUT"}
    with pytest.raises(BtfError, match="no type nothing"):
        kernel().enumerators("nothing")


def test_type_id_of_a_function() -> None:
    assert kernel().function("bpf_iter_task_file") == ITERATOR_ID


@pytest.mark.parametrize(
    ("structure", "path", "message"),
    [
        ("sock", "sk_fam", "This kernel's sock has no member sk_fam."),
        ("sock", "sk_lock.nothing", "This kernel's sock has no member sk_lock.nothing."),
        ("sock", "sk_family.deeper", "This kernel's sock has no member sk_family.deeper."),
        ("sock", "sk_next.deeper", "This kernel's sock has no member sk_next.deeper."),
        ("so", "sk_family", "This kernel has no type so."),
        ("nothing", "x", "This kernel has no type nothing."),
        ("socket_lock_t", "owned", "This kernel has no type socket_lock_t."),
    ],
)
def test_what_this_kernel_does_not_have(structure: str, path: str, message: str) -> None:
    with pytest.raises(BtfError) as caught:
        kernel().offset(structure, path)
    assert caught.value.message == message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("blob", [b"", b"\x9f\xeb", Blob().bytes(magic=0x9FEB)], ids=["empty", "cut", "other magic"])
def test_what_is_no_btf(blob: bytes) -> None:
    with pytest.raises(BtfError, match="has an unknown format"):
        Btf(blob)


def test_a_kernel_without_btf(tmp_path: Path) -> None:
    with pytest.raises(BtfError) as caught:
        Btf.of_running_kernel(tmp_path / "vmlinux")
    assert "No such file or directory" in caught.value.message
    assert "CONFIG_DEBUG_INFO_BTF=y" in caught.value.remedy
