"""What strangers may call things, and what may be shown of it."""

import unicodedata

from nettop.text import MAX_MARKS, printable_text

LONG = 65_536
HOSTILE: dict[str, str] = {
    "markup that ends nothing": "[/",
    "markup that ends something": "[/foo]",
    "markup that acts": "[@click=app.quit]x[/]",
    "markup that colours": "[red on white]x[/red on white]",
    "markup of variables": "[$error]{x}%s$(reboot)`id`",
    "escape": "\x1b",
    "sequence that clears": "\x1b[2J\x1b[H",
    "sequence that asks": "\x1b[6n\x1b[c\x1b[>q",
    "title": "\x1b]0;owned\x07",
    "clipboard": "\x1b]52;c;cm0gLXJmIC8=\x1b\\",
    "link": "\x1b]8;;http://example.com/\x1b\\x\x1b]8;;\x1b\\",
    "device control": "\x1bP+q544e\x1b\\\x1bX\x1b^\x1b_x\x1b\\",
    "C0": "".join(map(chr, range(1, 32))),
    "C1": "".join(map(chr, range(0x80, 0xA0))),
    "C1 sequence": "\x9b2J\x9d0;owned\x9c",
    "NUL": "a\0b",
    "DEL": "a\x7fb",
    "lines": "a\nb\r\nc\vd\fe\u2028f\u2029g\x85h",
    "tabs": "a\tb\t\tc",
    "bidi": "\u202egnp.exe\u202c\u2066x\u2069\u061c\u200e\u200f",
    "zero width": "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg",
    "invisible": "a\u034fb\u3164c\u115fd\ufe0fe\u2800f\U000e0101g\u00a0h\u3000i",
    "tags": "a\U000e0041\U000e007fb",
    "surrogates": "\ud800a\udfff\udc80",
    "unassigned and private": "\ue000\uffff\U0010ffff\ufdd0",
    "marks on nothing": "\u0301\u20dd",
    "marks": "a" + "\u0335\u0489\u20dd" * 100,
    "CJK": "日本語の名前と漢字",
    "emoji": "🚀👩\u200d👩\u200d👧🏽❤\ufe0f🇩🇪",
    "right to left": "שלום مرحبا",
    "backslashes": "\\x1b[2J \\ \\\\ \\u{202e} \\033",
    "quotes": "'\"`;| & $HOME",
    "spaces": "   ",
    "64 KB": "x" * LONG,
    "64 KB of sequences": "\x1b[31m" * (LONG // 5),
    "64 KB of CJK": "漢" * (LONG // 3),
    "64 KB of marks": "a" + "\u0301" * (LONG // 2),
    "64 KB of markup": "[b]" * (LONG // 3),
    "64 KB of lines": "\n" * LONG,
}


def unprintable(text: str) -> set[str]:
    """What of a line on the screen must not be there, as names of characters."""
    found = {
        character
        for character in text
        if not character.isprintable() or printable_text(f"a{character}")[1:] != character
    }
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character)[0] == "M" else 0
        if marks > MAX_MARKS:
            found.add(character)
    return {f"U+{ord(character):04X}" for character in found}
