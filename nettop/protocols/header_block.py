"""HPACK (RFC 7541) as an observer reads it: nothing it must not keep, nothing that it does not know for certain.

The library `hpack` has the tables. Its decoder is for the ends of a connection: it keeps every header, cookies
included, refuses what was indexed before it came by, and copies the rest of the block for each literal.

Entries are counted from the newest on. So a table that begins later than the connection, or that forgets sooner than
the sender's, is never wrong: what it has is right, and what it lacks lies behind its end.
"""

from collections import deque
from functools import lru_cache
from typing import Final

from hpack.huffman_table import HUFFMAN_COMPLETE, HUFFMAN_EMIT_SYMBOL, HUFFMAN_FAIL, HUFFMAN_TABLE
from hpack.table import HeaderTable

MAX_ENTRIES = 256  # remembered; encoders use 4,096 bytes, which are 128 entries at most
_MAX_VALUE_BYTES = 256  # decoded of a value
_MAX_NAME_BYTES = 20  # the longest that is wanted has 14, and Huffman's code makes no letter longer than two bytes
READ_AT_ONCE = 6144  # of one segment, in indexed fields and bytes of coded values: 2 ms; a hundred heads have 3,000
_LITERAL = 4  # of them, as long as a literal takes
_MAX_INTEGER_BYTES = 4  # behind the first
_PATH: Final = b":path"
_QUERY = ord("?")
_SECRETIVE = frozenset((_PATH, b":authority", b"host"))
WANTED = frozenset(
    b":method :authority :path :scheme :status host content-type content-length grpc-status traceparent".split()
)

Field = tuple[bytes | None, bytes | None]
"""Name and value: a name of None is unknown; a value of None is unknown, or not wanted."""

_UNWANTED = b""
_UNKNOWN: Final[Field] = (None, None)
_STATIC: tuple[Field, ...] = tuple(
    (name, value) if name in WANTED else (_UNWANTED, None) for name, value in HeaderTable.STATIC_TABLE
)


class HeaderBlocks:
    """The table of one direction of a connection. Only what is wanted stays in it, and no secret.

    With `query` a path keeps its query.
    """

    def __init__(self, query: bool = False) -> None:
        self._query = query
        self._entries: deque[Field] = deque(maxlen=MAX_ENTRIES)
        self.left = READ_AT_ONCE  # whoever reads sets it anew for each segment

    def forget(self) -> None:
        """Bytes were not seen: what the sender indexes from now on counts from entries that may be others."""
        self._entries.clear()

    def read(self, block: bytes) -> list[Field]:
        """The wanted fields of a whole block, and unknown ones. Raises ValueError where it is none: then forget()."""
        fields: list[Field] = []
        at, end = 0, len(block)
        while at < end:
            first = block[at]
            if 0x80 < first <= 0x80 + len(_STATIC):
                field, at = _STATIC[first - 0x81], at + 1
                self.left -= 1
            elif first & 0x80:
                index, at = (first & 0x7F, at + 1) if first != 0xFF else _integer(block, at, 0x7F)
                field = self._entry(index)
                self.left -= 1
            elif first & 0xE0 == 0x20:  # the table's size, which only its owner needs
                at = _integer(block, at, 0x1F)[1]
                self.left -= 1
                continue
            else:
                field, at = self._literal(block, at, 0x3F if first & 0x40 else 0x0F)
                if first & 0x40:
                    self._entries.appendleft(field)
                self.left -= _LITERAL
            if field[0] is not _UNWANTED:
                fields.append(field)
            if self.left < 0:
                raise ValueError("more than anybody sends at once")
        return fields

    def _entry(self, index: int) -> Field:
        if not index:
            raise ValueError("no field has this index")
        if index <= len(_STATIC):
            return _STATIC[index - 1]
        index -= len(_STATIC) + 1
        return self._entries[index] if index < len(self._entries) else _UNKNOWN

    def _literal(self, block: bytes, at: int, mask: int) -> tuple[Field, int]:
        index, at = _integer(block, at, mask)
        if index:
            name = self._entry(index)[0]
        else:
            name_at, at, coded = _string(block, at)
            name = _name(block[name_at:at], coded) if at - name_at <= _MAX_NAME_BYTES else _UNWANTED
        value_at, at, coded = _string(block, at)
        if not name:
            return (name, None), at
        most = value_at + _MAX_VALUE_BYTES
        raw = block[value_at : min(at, most)]
        self.left -= len(raw) if coded else 0
        value = _decoded(raw, name == _PATH and not self._query, at <= most) if coded else raw
        return (name, value if name == _PATH and self._query else _kept(name, value, at <= most)), at


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """The number at this place, and where it ends: RFC 7541 section 5.1."""
    number = block[at] & mask
    at += 1
    if number < mask:
        return number, at
    for place in range(_MAX_INTEGER_BYTES):
        if at >= len(block):
            break
        byte = block[at]
        at += 1
        number += (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at
    raise ValueError("a number that does not end")


def _string(block: bytes, at: int) -> tuple[int, int, bool]:
    """Where a string begins and ends, and whether it is in Huffman's code."""
    if at >= len(block):
        raise ValueError("a block that ends early")
    coded = block[at] >= 0x80
    size, at = _integer(block, at, 0x7F)
    if at + size > len(block):
        raise ValueError("a block that ends early")
    return at, at + size, coded


@lru_cache(maxsize=512)  # names alone, never values: the same few recur on every connection
def _name(raw: bytes, coded: bool) -> bytes | None:
    name = _decoded(raw, False, True) if coded else raw
    return name if name is None or name in WANTED else _UNWANTED


def _kept(name: bytes, value: bytes | None, whole: bool) -> bytes | None:
    """A path without its query, a host without the user and the password that may stand in front of it."""
    if value is None or name not in _SECRETIVE:
        return value
    if name == _PATH:
        return value.partition(b"?")[0]
    return value.rpartition(b"@")[2] if whole else None


def _decoded(raw: bytes, is_path: bool, whole: bool) -> bytes | None:
    """Out of Huffman's code: a path up to its query; None where it is not in that code."""
    decoded = bytearray()
    state, flags = 0, HUFFMAN_COMPLETE
    for byte in raw:
        for nibble in (byte >> 4, byte & 0x0F):
            state, flags, symbol = HUFFMAN_TABLE[state * 16 + nibble]
            if flags & HUFFMAN_FAIL:
                return None
            if flags & HUFFMAN_EMIT_SYMBOL:
                if is_path and symbol == _QUERY:
                    return bytes(decoded)
                decoded.append(symbol)
    return bytes(decoded) if flags & HUFFMAN_COMPLETE or not whole else None
