"""Machine code taken apart: as a disassembler does, or not at all."""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nettop.errors import CannotRunError
from nettop.kernel import instructions_arm64
from nettop.kernel.elf import code_at, function_codes
from nettop.kernel.instructions import UnknownInstructionError, instructions, places

SSL_READ = bytes.fromhex(  # of Debian's OpenSSL 3.0, but for what it does where its argument is negative
    "4883ec18 64488b042528000000 4889442408 31c0 85d2 7831 4889e1 4863d2 e83dfeffff 85c0 7e03 8b0424 488b542408"
    "64482b142528000000 7544 4883c418 31d2 31c9 31f6 31ff c3"
)
LIBRARIES = ("libssl.so.3", "libgnutls.so.30", "libc.so.6", "libstdc++.so.6", "libz.so.1")


def test_where_a_function_of_openssl_may_be_watched() -> None:
    found = places(SSL_READ)
    assert found.entry == 22  # the first jump: the kernel need not single-step it
    assert found.returns == (70,)


@pytest.mark.parametrize(
    ("code", "entry"),
    [
        ("f30f1efa 55 c3", 4),  # push, behind the mark of CET
        ("f30f1efa 4889f8 55 c3", 0),  # something else first
        ("4157 c3", 0),  # push %r15
        ("4883ec08 e800000000 4883c408 c3", 4),
        ("53 74fd 5b c3", 0),
        ("31c0 53 74fd 5b c3", 0),  # a loop leads to the push: it would be taken for one more call
        ("493b6610 7605 4883ec08 c3", 4),  # Go: jbe, behind the question whether there is room on the stack
        ("4c8d6424e0 4d3b6610 0f8605000000 c3", 9),
        ("4c8da42428ffffff 4d3b6610 7601 53 c3", 12),
        ("498b6610 7605 4883ec08 c3", 0),
        ("c3", 0),
    ],
)
def test_where_a_call_is_seen(code: str, entry: int) -> None:
    assert places(bytes.fromhex(code)).entry == entry


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("c5f877 c3", "unknown opcode c5"),  # AVX
        ("0f01f8 c3", "unknown opcode 0f 01"),
        ("eb01 b8c3000000 c3", "to the inside"),
        ("48", "cut"),
        ("b8c300", "cut"),
        ("66e900000000", "jump of two bytes"),
        ("660f8400000000", "jump of two bytes"),
        ("06", "unknown opcode"),  # not in 64-bit mode
    ],
)
def test_what_is_not_certain_is_refused(code: str, why: str) -> None:
    with pytest.raises(UnknownInstructionError, match=why):
        places(bytes.fromhex(code))


def test_which_functions_return_for_it() -> None:
    """Those that it always jumps to; not one that it may jump to, nor one that it calls."""
    code = bytes.fromhex("85ff 7405 e900010000 740c 31c0 e800020000 c3")
    found = places(code)
    assert (found.returns, found.continues) == ((len(code) - 1,), (9 + 0x100,))


def test_a_return_is_no_part_of_another_instruction() -> None:
    """The same byte as a constant, a distance, and in an operand."""
    code = bytes.fromhex("b8c3c3c3c3 83c0c3 488d83c3000000 c6c3c3 f3c3")
    assert places(code).returns == (len(code) - 2,)


def arm64(*words: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


STORE, LOAD, CALL, RETURN = 0xA9BE7BFD, 0xA8C27BFD, 0x94000123, 0xD65F03C0  # stp, ldp of x29 and x30; bl; ret


@pytest.mark.parametrize(
    ("words", "returns", "continues"),
    [
        ((STORE, CALL, LOAD, RETURN), (12,), ()),
        ((0xD503233F, STORE, LOAD, 0xD65F0BFF, RETURN), (12, 16), ()),  # paciasp, retaa
        ((0x17FFFFFC, STORE, 0x14000002, RETURN, 0x14000007), (12,), (-16, 44)),  # b out, b within, b out
        ((0xB4000062, RETURN, RETURN, RETURN), (4, 8, 12), ()),  # cbz
        ((0x58000100, RETURN), (4,), ()),  # ldr x0 of a place far behind
    ],
)
def test_where_a_function_of_arm64_returns(words: tuple[int, ...], returns: object, continues: object) -> None:
    found = instructions_arm64.places(arm64(*words))
    assert (found.entry, found.returns, found.continues) == (0, returns, continues)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (arm64(0x58000040, RETURN, RETURN, RETURN), "reads its own code"),  # ldr x0 of what looks like a return
        (arm64(0x10000040, RETURN, RETURN, RETURN), "reads its own code"),  # adr
        (arm64(RETURN, 0x0000C3C3), "no instruction"),
        (arm64(STORE, 0xD65F0120), "another register"),  # ret x9
        (arm64(RETURN)[:3], "cut"),
    ],
)
def test_what_is_not_certain_on_arm64_is_refused(code: bytes, why: str) -> None:
    with pytest.raises(UnknownInstructionError, match=why):
        instructions_arm64.places(code)


class Function(NamedTuple):
    name: str
    address: int
    code: bytes


def test_a_function_without_a_name() -> None:
    """As Debian's GnuTLS returns from gnutls_record_recv(): what is told for unwinding says how far one reaches."""
    library = next((each for each in Path("/usr/lib").glob("*-linux-gnu/libgnutls.so.30")), None)
    if library is None:
        pytest.skip("GnuTLS is not installed")
    names = ("gnutls_record_send2", "gnutls_record_recv", "gnutls_deinit", "gnutls_bye")
    for begin, code in function_codes(library, names).values():
        assert code_at(library, begin) == (begin, code)
        with pytest.raises(CannotRunError, match="no function begins"):
            code_at(library, begin + 1)
    begin, code = function_codes(library, names)["gnutls_record_recv"]
    (other,) = places(code).continues
    assert places(code_at(library, begin + other)[1]).returns


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump of binutils")
@pytest.mark.parametrize("name", LIBRARIES)
def test_as_a_disassembler_does_it(name: str) -> None:
    """Of each function of these libraries that is not refused, every instruction begins where objdump says."""
    library = next((each for each in Path("/usr/lib").glob(f"*-linux-gnu/{name}")), None)
    if library is None:
        pytest.skip(f"{name} is not installed")
    begins = {
        int(at, 16) for at in re.findall(r"^ *([0-9a-f]+):\t", said("objdump", "-dw", str(library)), re.MULTILINE)
    }
    outcomes: Counter[str] = Counter()
    for function in functions(library):
        try:
            found = [function.address + each.at for each in instructions(function.code)]
        except UnknownInstructionError:
            outcomes["refused"] += 1
            continue
        outcomes["taken apart"] += 1
        end = function.address + len(function.code)
        assert found == sorted(begins & set(range(function.address, end))), function.name
    assert outcomes["taken apart"] > 50
    assert outcomes["refused"] <= outcomes["taken apart"] // 50


def functions(library: Path) -> Iterator[Function]:
    raw = library.read_bytes()
    text = re.search(r" \.text +PROGBITS +(\w+) (\w+) (\w+)", said("readelf", "-SW", str(library)))
    assert text is not None
    begin, offset, size = (int(each, 16) for each in text.groups())
    for line in set(said("readelf", "-W", "--dyn-syms", str(library)).splitlines()):
        fields = line.split()
        if len(fields) < 8 or fields[3] != "FUNC":
            continue
        address, code_bytes = int(fields[1], 16), int(fields[2], 0)
        if code_bytes and begin <= address < begin + size:
            at = address - begin + offset
            yield Function(fields[7], address, raw[at : at + code_bytes])


def said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
