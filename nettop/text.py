"""Text that strangers choose, made printable once, where bytes are decoded."""


def printable(raw: bytes) -> str:
    r"""Bytes as text of which every character is printable, and from which the bytes can be told.

    Valid UTF-8 that prints stays. Everything else becomes an escape: \\ for a backslash, \xNN for a byte below 0x80 or
    one that is not UTF-8, \u{N} for any other character that does not print (C1 and bidi controls, zero-width ones).
    """
    text = raw.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_escaped, text))


def printable_text(text: str) -> str:
    """Text in which what does not print is escaped as above; for what has been decoded already."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: the byte code - 0xDC00
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{{{code:x}}}"


def comm_text(raw: bytes) -> str:
    """A task's comm, NUL-terminated in TASK_COMM_LEN bytes, as printable text."""
    return printable(raw.split(b"\0", 1)[0])
