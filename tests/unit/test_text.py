"""Text that strangers choose becomes printable, and nothing of it is lost."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettop.text import comm_text, printable


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b"curl", "curl"),
        (b"my program", "my program"),
        ("naïve-日本".encode(), "naïve-日本"),
        (b"a\\b", "a\\\\b"),
        (b"\x1b[31m", "\\x1b[31m"),
        (b"a\tb\nc\0", "a\\x09b\\x0ac\\x00"),
        (b"\x7f", "\\x7f"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"\xc3", "\\xc3"),
        ("\x9b31m".encode(), "\\u{9b}31m"),
        ("\u202egnp.exe".encode(), "\\u{202e}gnp.exe"),
        ("zero\u200bwidth".encode(), "zero\\u{200b}width"),
        ("\u00a0\u2028".encode(), "\\u{a0}\\u{2028}"),
        ("\U000e0041".encode(), "\\u{e0041}"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        (b"[/foo]", "[/foo]"),
    ],
)
def test_bytes_become_printable_text(raw: bytes, text: str) -> None:
    assert printable(raw) == text


@given(st.binary())
def test_all_output_is_printable(raw: bytes) -> None:
    assert printable(raw).isprintable()


@given(st.binary() | st.text("\\xu{}0189abf\x01é\x9b").map(str.encode))
def test_the_bytes_can_be_told_from_the_text(raw: bytes) -> None:
    def byte_of(escape: re.Match[str]) -> bytes:
        if escape["byte"]:
            return bytes([int(escape["byte"], 16)])
        if escape["code"]:
            return chr(int(escape["code"], 16)).encode()
        return escape[0].removeprefix("\\").encode()

    escapes = re.compile(r"\\\\|\\x(?P<byte>[0-9a-f]{2})|\\u\{(?P<code>[0-9a-f]+)\}|.", re.DOTALL)
    assert b"".join(map(byte_of, escapes.finditer(printable(raw)))) == raw


@given(st.binary(max_size=6), st.binary(max_size=6))
def test_distinct_bytes_give_distinct_text(one: bytes, other: bytes) -> None:
    assert (printable(one) == printable(other)) == (one == other)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"curl" + bytes(12), "curl"),
        (b"fifteen-letters\0", "fifteen-letters"),
        (b"sixteen--letters", "sixteen--letters"),
        (b"old\0junk" + bytes(8), "old"),
        (bytes(16), ""),
        (b"\x1b]0;x\x07\0\0", "\\x1b]0;x\\x07"),
    ],
)
def test_comm_ends_at_its_nul(raw: bytes, text: str) -> None:
    assert comm_text(raw) == text
