"""What nettop writes to a terminal, taken apart strictly: printable text, and the sequences that Textual makes."""

import base64
import re

from tests.hostile.strings import unprintable

# ECMA-48 and xterm's control sequences, as Textual 8 writes them and no others: no title, no link, no device control.
_SEQUENCE = re.compile(
    r"""
    \x1b\[[0-9;:]*m                          # colours and attributes
    | \x1b\[(?:[0-9]+(?:;[0-9]+)?)?H         # cursor position
    | \x1b\[\?[0-9;]+[hl]                    # private modes
    | \x1b\[\?[0-9]+\$p                      # asks for one
    | \x1b\[(?:>[0-9]+|<|\?)u                # keyboard protocol
    | \x1b\[[0-9;]*c                         # asks what terminal it is
    | \x1b\[[0-9]*[ABCDGJK]                  # cursor moves, erasing
    | \x1b\[[0-9;]*t                         # asks for the size
    | \x1b\]22;[a-z-]*\x07                    # shape of the mouse pointer
    | \x1b\]52;c;(?P<clipboard>[A-Za-z0-9+/=]*)\x07
    """,
    re.VERBOSE,
)
_CONTROLS = "\r\n"


class TerminalOutput:
    """`texts` is what stands between the sequences, `wrong` what is neither, `copied` what went to the clipboard."""

    def __init__(self, raw: bytes) -> None:
        said = raw.decode("utf-8", "surrogateescape")
        self.texts: list[str] = []
        self.wrong: list[str] = []
        self.copied: list[bytes] = []
        at = 0
        while at < len(said):
            sequence = _SEQUENCE.match(said, at)
            if sequence is not None:
                if sequence["clipboard"] is not None:
                    self.copied.append(base64.b64decode(sequence["clipboard"], validate=True))
                at = sequence.end()
                continue
            if said[at] == "\x1b":
                self.wrong.append(repr(said[at : at + 20]))
                at += 1
                continue
            end = said.find("\x1b", at)
            end = len(said) if end < 0 else end
            text = said[at:end].translate(dict.fromkeys(map(ord, _CONTROLS)))
            if unprintable(text):
                self.wrong.append(f"{text!r}: {unprintable(text)}")
            self.texts.append(text)
            at = end
