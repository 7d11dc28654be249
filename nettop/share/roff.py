"""Text as troff takes it."""

from collections.abc import Iterator

_ESCAPES = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "~": "\\(ti", "^": "\\(ha"}


def plain(text: str) -> str:
    """Text that is printed literally."""
    text = text.translate({ord(character): written for character, written in _ESCAPES.items()})
    return f"\\&{text}" if text.startswith(".") else text


def bold(text: str) -> str:
    """What one types."""
    return f"\\fB{plain(text)}\\fR"


def italic(text: str) -> str:
    """What something else stands for."""
    return f"\\fI{plain(text)}\\fR"


def definition(term: str, meaning: str) -> Iterator[str]:
    """A term, and indented below what it means; both are roff already."""
    yield ".TP"
    yield term
    yield meaning


def capital(text: str) -> str:
    """Text as a sentence begins."""
    return f"{text[:1].upper()}{text[1:]}"
