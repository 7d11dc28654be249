"""Untrusted text, made printable once, where bytes are decoded.

Printable means str.isprintable(), which excludes control, format (bidi, zero-width), private and unassigned
characters, surrogates, and every space except U+0020; minus characters that Unicode renders as nothing; and no more
marks on a character than scripts need. This does not escape markup: never pass the result to a markup parser.
"""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

MAX_MARKS = 8  # on one character. Tibetan stacks five; text made to overflow into other lines stacks dozens
# Default_Ignorable_Code_Point (DerivedCoreProperties.txt) among the printable ones, and the empty Braille cell.
_INVISIBLE_RANGES = (
    *((0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2800, 0x2800)),
    *((0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xE0100, 0xE01EF)),
)
_INVISIBLE = frozenset(chr(code) for first, last in _INVISIBLE_RANGES for code in range(first, last + 1))
# Not marks, but drawn onto the preceding character: medial and final Hangul letters, skin tones.
_JOINING = ((0x1161, 0x11FF), (0xD7B0, 0xD7FB), (0x1F3FB, 0x1F3FF))


def printable(raw: bytes) -> str:
    r"""Bytes as printable text from which the bytes can be recovered.

    Printable UTF-8 stays. Everything else becomes an escape: \\ for a backslash, \xNN for a byte below 0x80 or one that
    is not UTF-8, \u{N} for any other unprintable character (C1 and bidi controls, zero-width ones).
    """
    text = raw.decode("utf-8", "surrogateescape")
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(_pieces(text, also_escaped="\\"))


def printable_text(text: str) -> str:
    """Decoded text with unprintable characters escaped as in printable()."""
    return text if text.isascii() and text.isprintable() else "".join(_pieces(text))


def printable_head(text: str, cells: int) -> str:
    """The start of a text, enough to fill `cells`, so that a long text costs no more than a short one."""
    return printable_text(text[: (cells + 1) * (1 + MAX_MARKS)])


def cell_width(text: str) -> int:
    """How many cells of a terminal a printable text takes: wide characters two, marks none."""
    if text.isascii():
        return len(text)
    return sum(0 if _is_mark(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, cells: int) -> str:
    """The printable text, or what of it fits into so many cells in front of an ellipsis."""
    text = printable_head(text, cells)
    if cell_width(text) <= cells:
        return text
    while text and cell_width(text) >= cells:
        text = text[:-1]
    return f"{text}…" if cells > 0 else ""


def printing(text: str) -> str:
    """What the user types, without unprintable characters."""
    return text if printable_text(text) == text else "".join(c for c in text if printable_text(c) == c)


@lru_cache(maxsize=4096)  # the same few names recur
def comm_text(raw: bytes) -> str:
    """A task's comm, NUL-terminated in TASK_COMM_LEN bytes, as printable text."""
    return printable(raw.split(b"\0", 1)[0])


def _pieces(text: str, also_escaped: str = "") -> Iterator[str]:
    marks_left = 0  # a mark needs a character to sit on, other than a space or an escape
    for character in text:
        if not character.isprintable() or character in _INVISIBLE or character in also_escaped:
            marks_left = 0
            yield _escape(character)
        elif not _is_mark(character):
            marks_left = MAX_MARKS if character != " " else 0
            yield character
        elif marks_left:
            marks_left -= 1
            yield character
        else:
            yield _escape(character)


def _is_mark(character: str) -> bool:
    if character.isascii():
        return False
    code = ord(character)
    return unicodedata.category(character)[0] == "M" or any(first <= code <= last for first, last in _JOINING)


def _escape(character: str) -> str:
    if character == "\\":
        return "\\\\"
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: the byte code - 0xDC00
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{{{code:x}}}"
