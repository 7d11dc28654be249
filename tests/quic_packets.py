"""Initial packets of QUIC, made as a client makes them: RFC 9001."""

import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nettop.protocols import quic

CONNECTION = bytes.fromhex("8394c8f03e515708")  # that of the RFC's examples


def varint(number: int) -> bytes:
    return (0x40000000 | 0x80000000 | number).to_bytes(4) if number > 16383 else (0x4000 | number).to_bytes(2)


def initial(
    frames: bytes, number: int = 0, *, connection: bytes = CONNECTION, keys_of: bytes = CONNECTION, size: int = 1100
) -> bytes:
    """An Initial packet, as a client makes it."""
    known = quic._VERSIONS[1]
    secret = quic._expanded(hmac.digest(known.salt, keys_of, "sha256"), b"client in", 32)
    key, nonce, mask_key = (quic._expanded(secret, *each) for each in zip(known.labels, (16, 12, 16), strict=True))
    frames = frames.ljust(size, b"\0")
    head = b"\xc1" + (1).to_bytes(4) + bytes((len(connection),)) + connection + b"\0\0"
    head += varint(2 + len(frames) + 16)
    numbered = (int.from_bytes(nonce) ^ number).to_bytes(12)
    protected = AESGCM(key).encrypt(numbered, frames, head + number.to_bytes(2))
    mask = Cipher(algorithms.AES(mask_key), modes.ECB()).encryptor().update(protected[2:18])
    masked = bytes(one ^ two for one, two in zip(number.to_bytes(2), mask[1:3], strict=True))
    return bytes((head[0] ^ mask[0] & 0x0F,)) + head[1:] + masked + protected


def crypto(offset: int, content: bytes) -> bytes:
    return b"\6" + varint(offset) + varint(len(content)) + content
