"""Initial packets: aioquic's as they were sent, the RFC's own, and hellos split over several."""

import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettop.protocols import quic
from nettop.protocols.aes import counter_mode, encrypt, key_schedule
from nettop.protocols.quic import MAX_DATAGRAMS, QuicHello
from tests.captured import conversation
from tests.unit.test_tls import hello, server_name

CONNECTION = bytes.fromhex("8394c8f03e515708")


def client_datagrams(name: str) -> list[bytes]:
    return [segment.payload for segment in conversation(name) if segment.from_client]


def varint(number: int) -> bytes:
    return (0x40000000 | 0x80000000 | number).to_bytes(4) if number > 16383 else (0x4000 | number).to_bytes(2)


def initial(frames: bytes, number: int = 0, connection: bytes = CONNECTION, keys_of: bytes = CONNECTION) -> bytes:
    """An Initial of version 1 with a tag of zeros, which nobody checks."""
    keys = quic._keys(1, keys_of)
    frames = frames.ljust(1100, b"\0")
    nonce = (keys.nonce ^ number).to_bytes(12)
    protected = counter_mode(keys.packet, nonce, frames) + bytes(16)
    mask = encrypt(keys.header, protected[2:18])
    head = bytes((len(connection),)) + connection + b"\0\0" + varint(2 + len(protected))
    first = 0xC1 ^ mask[0] & 0x0F
    masked = bytes(one ^ two for one, two in zip(number.to_bytes(2), mask[1:3], strict=True))
    return bytes((first,)) + (1).to_bytes(4) + head + masked + protected


def crypto(offset: int, content: bytes) -> bytes:
    return b"\6" + varint(offset) + varint(len(content)) + content


HELLO = hello(server_name(b"quic.example"))[5:]


def test_aes() -> None:
    """FIPS 197 appendix C.1."""
    words = key_schedule(bytes(range(16)))
    assert encrypt(words, bytes.fromhex("00112233445566778899aabbccddeeff")).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


def test_keys() -> None:
    """RFC 9001 appendix A.1."""
    secret = quic._expanded(hmac.digest(quic._VERSIONS[1].salt, CONNECTION, "sha256"), b"client in", 32)
    assert quic._expanded(secret, b"quic key", 16).hex() == "1f369613dd76d5467730efcbe3b1a22d"
    assert quic._expanded(secret, b"quic iv", 12).hex() == "fa044b2f42a3fd3b46fb255c"
    assert quic._expanded(secret, b"quic hp", 16).hex() == "9f50449e04a0e810283a1e9933adedd2"


@pytest.mark.parametrize("name", ["quic-1", "quic-2"])
def test_aioquic(name: str) -> None:
    read = QuicHello().datagram(client_datagrams(name)[0])
    assert read is not None
    assert (read.server_name, read.alpn, read.versions, read.cut) == ("api.quic.example", ("h3",), ("TLS 1.3",), False)


def test_frames_in_any_order_over_two_datagrams() -> None:
    first = crypto(60, HELLO[60:]) + b"\1" + crypto(0, HELLO[:20])
    second = b"\0\0\0" + crypto(20, HELLO[20:60])
    flow = QuicHello()
    assert flow.datagram(initial(first)) is None
    read = flow.datagram(initial(second, number=1, connection=b"another"))  # the keys stay those of the first
    assert read is not None
    assert (read.server_name, read.cut) == ("quic.example", False)


def test_a_hello_that_goes_on() -> None:
    read = QuicHello().datagram(initial(crypto(0, HELLO[:50])))
    assert read is not None
    assert (read.server_name, read.cut) == (None, True)


def test_after_a_retry_there_are_other_keys() -> None:
    flow = QuicHello()
    flow.datagram(initial(crypto(0, HELLO[:10])))
    read = flow.datagram(initial(crypto(0, HELLO), connection=b"retried", keys_of=b"retried"))
    assert read is not None
    assert read.server_name == "quic.example"


def test_an_acknowledgement_in_front() -> None:
    read = QuicHello().datagram(initial(b"\2\5\7\0\5" + crypto(0, HELLO)))
    assert read is not None
    assert read.server_name == "quic.example"


def test_no_more_datagrams_than_a_hello_takes() -> None:
    flow = QuicHello()
    for _ in range(MAX_DATAGRAMS):
        flow.datagram(b"")
    assert flow.datagram(initial(crypto(0, HELLO))) is None


@pytest.mark.parametrize(
    "payload", [b"", b"\xc0", b"\xc0\0\0\0\1", bytes(1200), b"\x40" + bytes(40), b"\xc3\0\0\0\1\xff"]
)
def test_what_is_no_initial(payload: bytes) -> None:
    assert QuicHello().datagram(payload) is None


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 1200))
def test_any_frames_and_any_bytes(frames: bytes, cut: int) -> None:
    QuicHello().datagram(initial(frames))
    QuicHello().datagram(initial(crypto(0, HELLO))[:cut] + frames)
    QuicHello().datagram(b"\xc0\0\0\0\1" + frames)
