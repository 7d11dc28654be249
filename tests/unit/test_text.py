"""Text that strangers choose becomes printable, and nothing of it is lost."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettop.text import MAX_MARKS, comm_text, printable, printable_text, printing
from tests.builders import bytes_of


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
        ("e\u0301".encode(), "e\u0301"),
        (b"e" + "\u0301".encode() * 10, "e" + "\u0301" * 8 + "\\u{301}" * 2),
        ("\u0301e".encode(), "\\u{301}e"),
        ("a \u0336b".encode(), "a \\u{336}b"),
        ("\x1b\u0336".encode(), "\\x1b\\u{336}"),
        ("x\u034f\u3164\ufe0f\u2800".encode(), "x\\u{34f}\\u{3164}\\u{fe0f}\\u{2800}"),
        ("👍🏽".encode(), "👍🏽"),
        ("한".encode(), "한"),
    ],
)
def test_bytes_become_printable_text(raw: bytes, text: str) -> None:
    assert printable(raw) == text


HOSTILE_CHARACTERS = st.characters() | st.sampled_from(
    "\x00\x1b\x7f\x9b\u200b\u202e\u2066\ufeff\u0301\u20dd\u3164\U000e0101\\{}xu"
)


@given(st.text(HOSTILE_CHARACTERS))
def test_text_that_is_printable_stays_as_it_is(text: str) -> None:
    shown = printable_text(text)
    assert shown.isprintable()
    assert printable_text(shown) == shown
    assert printable_text(printable(text.encode("utf-8", "surrogatepass"))) == printable(
        text.encode("utf-8", "surrogatepass")
    )


@given(st.text(HOSTILE_CHARACTERS | st.sampled_from("\u0301\u0302")))
def test_no_character_carries_more_marks_than_scripts_need(text: str) -> None:
    for shown in (printable_text(text), printing(text)):
        categories = "".join(unicodedata.category(character)[0] for character in shown)
        assert "M" * (MAX_MARKS + 1) not in categories
        assert not categories.startswith("M")
        assert " " not in {before for before, kind in zip(shown, categories[1:], strict=False) if kind == "M"}


@given(st.text(HOSTILE_CHARACTERS))
def test_what_is_typed_keeps_only_what_prints(text: str) -> None:
    typed = printing(text)
    assert printable_text(typed) == typed


def test_an_accent_that_is_typed_stays() -> None:
    assert printing("cafe\u0301") == "cafe\u0301"
    assert printing("a\tb\u202ec\x1b[2J") == "abc[2J"


@given(st.binary())
def test_all_output_is_printable(raw: bytes) -> None:
    assert printable(raw).isprintable()


@given(st.binary() | st.text("\\xu{}0189abf\x01é\x9b").map(str.encode))
def test_the_bytes_can_be_told_from_the_text(raw: bytes) -> None:
    assert bytes_of(printable(raw)) == raw


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
