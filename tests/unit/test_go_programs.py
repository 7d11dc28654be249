"""Functions of stripped programs of Go: found in the runtime's own table, or not at all."""

import struct
from pathlib import Path

import pytest

from nettop.errors import CannotRunError
from nettop.kernel.go_programs import go_functions

READ, WRITE = "crypto/tls.(*Conn).Read", "crypto/tls.(*Conn).Write"
NAMES = ("runtime.text", READ, WRITE, f"{WRITE}.func1")
BODY = bytes.fromhex("493b6610 7605 4883ec08 4883c408 c3 cccc")
TEXT, DATA = 0x401000, 0x500000


def table(magic: int, **changes: int) -> bytes:
    """As the linker of that version writes it, for NAMES, one function behind the other."""
    later = magic != 0xFFFFFFFA
    number = "<I" if later else "<Q"
    names = b"\0" + b"".join(name.encode() + b"\0" for name in NAMES)
    base = 0 if later else TEXT
    entries, described, at = b"", b"", (2 * len(NAMES) + 1) * struct.calcsize(number)
    for index, name in enumerate(NAMES):
        begins = base + index * len(BODY)
        entries += struct.pack(number, begins) + struct.pack(number, at + len(described))
        described += struct.pack(number, begins + changes.get("moved", 0))
        described += struct.pack("<i", names.index(name.encode() + b"\0"))
        described += bytes(-len(described) % 8)
    entries += struct.pack(number, base + len(NAMES) * len(BODY))
    words = [changes.get("functions", len(NAMES)), 1, *([TEXT] if later else [])]
    header = 8 + 8 * (len(words) + 5)
    files = header + len(names)
    words += [header, files, files, files, files]
    head = struct.pack(f"<I2xBB{len(words)}Q", magic, 1, changes.get("pointer", 8), *words)
    return head + names + entries + described


def program(folder: Path, build: bytes, functions: bytes, text: bytes = BODY * len(NAMES)) -> Path:
    """A file in ELF, with these sections and nothing else."""
    titles = (b"", b".text", b".go.buildinfo", b".gopclntab", b".shstrtab")
    strings = b"\0".join(titles) + b"\0"
    raw, sections = bytearray(64 + 2 * 56), [bytes(64)]
    segments = b""
    contents = ((TEXT, text), (DATA, build), (DATA + 0x1000, functions), (0, strings))
    for title, (address, content) in zip(titles[1:], contents, strict=True):
        begins = len(raw)
        raw += content
        sections.append(struct.pack("<IIQQQQ24x", strings.index(title + b"\0"), 1, 0, address, begins, len(content)))
        if title in titles[1:3]:
            segments += struct.pack("<IIQQQQQQ", 1, 5, begins, address, address, len(content), len(content), 1)
    raw[64 : 64 + len(segments)] = segments
    raw[:64] = struct.pack(
        "<4sB11xHHIQQQIHHHHHH", b"\x7fELF", 2, 2, 62, 1, TEXT, 64, len(raw), 0, 64, 56, 2, 64, len(sections), 4
    )
    file = folder / "program"
    file.write_bytes(raw + b"".join(sections))
    return file


def told_inline(version: str) -> bytes:
    return struct.pack("<14sBB16xB", b"\xff Go buildinf:", 8, 2, len(version)) + version.encode()


def told_by_address(version: str) -> bytes:
    """Of Go 1.17 and before: the address of a string, which is an address and a length."""
    places = (DATA + 32, 0, DATA + 48, len(version))
    return struct.pack("<14sBBQQQQ", b"\xff Go buildinf:", 8, 0, *places) + version.encode()


@pytest.mark.parametrize(
    ("build", "magic"),
    [
        (told_by_address("go1.17.13"), 0xFFFFFFFA),
        (told_inline("go1.18"), 0xFFFFFFF0),
        (told_inline("go1.22.1 X:nocoverageredesign"), 0xFFFFFFF1),
        (told_inline("devel go1.25-0abcdef"), 0xFFFFFFF1),
    ],
    ids=["1.17", "1.18", "1.22", "devel"],
)
def test_functions_and_how_far_they_reach(tmp_path: Path, build: bytes, magic: int) -> None:
    file = program(tmp_path, build, table(magic))
    found = go_functions(file, (READ, WRITE, "runtime.Goexit"))
    raw = file.read_bytes()
    begins = raw.index(BODY)
    assert found == {READ: (begins + len(BODY), BODY), WRITE: (begins + 2 * len(BODY), BODY)}


@pytest.mark.parametrize(
    ("build", "functions", "why"),
    [
        (told_by_address("go1.16.5"), table(0xFFFFFFFA), "Go 1.16 passes arguments on the stack"),
        (told_inline("go2.1"), table(0xFFFFFFF1), "version of its compiler is unknown"),
        (told_inline(""), table(0xFFFFFFF1), "version of its compiler is unknown"),
        (told_inline("go1.20").replace(b"\x08\x02", b"\x04\x02"), table(0xFFFFFFF1), "in an unknown form"),
        (told_inline("go1.20"), table(0xFFFFFFF2), "unknown kind"),
        (told_inline("go1.20"), table(0xFFFFFFFA), "unknown kind"),
        (told_inline("go1.20"), table(0xFFFFFFF1, pointer=4), "unknown kind"),
        (told_inline("go1.20"), table(0xFFFFFFF1, functions=0), "unknown kind"),
        (told_inline("go1.20"), table(0xFFFFFFF1, functions=9999), "cut"),
        (told_inline("go1.20"), table(0xFFFFFFF1, moved=1), "out of order"),
        (told_inline("go1.20"), table(0xFFFFFFF1)[:-60], "cut"),
        (told_inline("go1.20"), table(0xFFFFFFF1)[:20], "cannot be read"),
    ],
)
def test_what_is_not_certain_is_refused(tmp_path: Path, build: bytes, functions: bytes, why: str) -> None:
    with pytest.raises(CannotRunError, match=why):
        go_functions(program(tmp_path, build, functions), (READ, WRITE))


def test_a_function_that_keeps_its_goroutine_elsewhere_is_refused(tmp_path: Path) -> None:
    """As all have where arguments are passed on the stack: mov %fs:-8,%rcx."""
    other = bytes.fromhex("64488b0c25f8ffffff 483b6110 c3").ljust(len(BODY), b"\xcc")
    file = program(tmp_path, told_inline("go1.17.1").replace(b"1.17", b"1.18"), table(0xFFFFFFF0), other * len(NAMES))
    with pytest.raises(CannotRunError, match="begins in an unknown way"):
        go_functions(file, (READ,))


def test_a_program_of_another_language(tmp_path: Path) -> None:
    with pytest.raises(CannotRunError, match="no program of Go"):
        go_functions(Path("/bin/true"), (READ,))
    text = tmp_path / "text"
    text.write_text("#!/bin/sh\n")
    with pytest.raises(CannotRunError, match="cannot be read as a program"):
        go_functions(text, (READ,))
