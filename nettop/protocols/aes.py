"""AES-128 (FIPS 197), encryption alone: all that a QUIC Initial needs, whose keys everybody can derive.

It hides no secret, so that it need not run in constant time. A library would be the largest dependency of nettop, for
0.3 ms of each QUIC connection.
"""

import struct

BLOCK_BYTES = 16
_BLOCK = struct.Struct("!4I")
_WORDS = 44  # of the key schedule: ten rounds and the key itself
_MASK = 0xFFFFFFFF


def _doubled(byte: int) -> int:
    """In the field of 256 elements: FIPS 197 section 4.2.1."""
    return byte << 1 ^ (0x11B if byte & 0x80 else 0)


def _substitutions() -> list[int]:
    """The S-box: inverses in that field, their bits mixed."""
    box = [0x63] * 256
    number = inverse = 1
    for _ in range(255):
        number ^= _doubled(number)
        for shift in (1, 2, 4):
            inverse ^= inverse << shift & 0xFF
        if inverse & 0x80:
            inverse ^= 0x09
        mixed = inverse
        for shift in (1, 2, 3, 4):
            mixed ^= inverse << shift & 0xFF | inverse >> (8 - shift)
        box[number] = mixed ^ 0x63
    return box


_BOX = _substitutions()
# SubBytes, ShiftRows and MixColumns of a byte in one look-up, for each of its four places in a column.
_FIRST = [_doubled(byte) << 24 | byte << 16 | byte << 8 | (_doubled(byte) ^ byte) for byte in _BOX]
_SECOND, _THIRD, _FOURTH = (
    [word >> shift | word << 32 - shift & _MASK for word in _FIRST] for shift in (8, 16, 24)
)  # fmt: skip


def key_schedule(key: bytes) -> tuple[int, ...]:
    """The words of all rounds for a key of 16 bytes."""
    words = list(_BLOCK.unpack(key))
    constant = 1
    for place in range(4, _WORDS):
        word = words[-1]
        if place % 4 == 0:
            word = (
                _BOX[word >> 16 & 0xFF] << 24 | _BOX[word >> 8 & 0xFF] << 16 | _BOX[word & 0xFF] << 8 | _BOX[word >> 24]
            )
            word ^= constant << 24
            constant = _doubled(constant)
        words.append(words[place - 4] ^ word)
    return tuple(words)


def encrypt(words: tuple[int, ...], block: bytes) -> bytes:
    """A block of 16 bytes under a key's schedule."""
    a, b, c, d = (word ^ key for word, key in zip(_BLOCK.unpack(block), words[:4], strict=True))
    for at in range(4, _WORDS - 4, 4):
        a, b, c, d = (
            _FIRST[a >> 24] ^ _SECOND[b >> 16 & 0xFF] ^ _THIRD[c >> 8 & 0xFF] ^ _FOURTH[d & 0xFF] ^ words[at],
            _FIRST[b >> 24] ^ _SECOND[c >> 16 & 0xFF] ^ _THIRD[d >> 8 & 0xFF] ^ _FOURTH[a & 0xFF] ^ words[at + 1],
            _FIRST[c >> 24] ^ _SECOND[d >> 16 & 0xFF] ^ _THIRD[a >> 8 & 0xFF] ^ _FOURTH[b & 0xFF] ^ words[at + 2],
            _FIRST[d >> 24] ^ _SECOND[a >> 16 & 0xFF] ^ _THIRD[b >> 8 & 0xFF] ^ _FOURTH[c & 0xFF] ^ words[at + 3],
        )
    last = (
        (_BOX[one >> 24] << 24 | _BOX[two >> 16 & 0xFF] << 16 | _BOX[three >> 8 & 0xFF] << 8 | _BOX[four & 0xFF]) ^ key
        for one, two, three, four, key in zip(
            (a, b, c, d), (b, c, d, a), (c, d, a, b), (d, a, b, c), words[-4:], strict=True
        )
    )
    return _BLOCK.pack(*last)


def counter_mode(words: tuple[int, ...], nonce: bytes, text: bytes) -> bytes:
    """Decrypt what AES-GCM encrypted under a nonce of 12 bytes, without a look at its tag: NIST SP 800-38D."""
    blocks = (len(text) + BLOCK_BYTES - 1) // BLOCK_BYTES
    stream = b"".join([encrypt(words, nonce + counter.to_bytes(4)) for counter in range(2, 2 + blocks)])
    return (int.from_bytes(text) ^ int.from_bytes(stream[: len(text)])).to_bytes(len(text))
