"""Initial packets: aioquic's as they were sent, the RFC's own, and hellos split over several."""

import hmac
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettop.protocols import quic
from nettop.protocols.quic import MAX_DATAGRAMS, QuicHello
from tests.captured import conversation
from tests.quic_packets import CONNECTION, crypto, initial
from tests.unit.test_tls import hello, server_name


def client_datagrams(name: str) -> list[bytes]:
    return [segment.payload for segment in conversation(name) if segment.from_client]


HELLO = hello(server_name(b"quic.example"))[5:]


def test_keys() -> None:
    """RFC 9001 appendix A.1."""
    secret = quic._expanded(hmac.digest(quic._VERSIONS[1].salt, CONNECTION, "sha256"), b"client in", 32)
    assert quic._expanded(secret, b"quic key", 16).hex() == "1f369613dd76d5467730efcbe3b1a22d"
    assert quic._expanded(secret, b"quic iv", 12).hex() == "fa044b2f42a3fd3b46fb255c"
    assert quic._expanded(secret, b"quic hp", 16).hex() == "9f50449e04a0e810283a1e9933adedd2"


@pytest.mark.parametrize(("name", "version"), [("quic-1", 1), ("quic-2", 2)])
def test_aioquic(name: str, version: int) -> None:
    flow = QuicHello()
    read = flow.datagram(client_datagrams(name)[0])
    assert read is not None
    assert flow.version == version
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


def test_two_packets_in_one_datagram() -> None:
    flow = QuicHello()
    second = initial(crypto(0, HELLO[:30]), number=1, size=500)
    read = flow.datagram(initial(crypto(30, HELLO[30:]), size=500) + second)
    assert read is not None
    assert (read.server_name, read.cut) == ("quic.example", False)


@pytest.mark.parametrize("at", [1, 6, 20, 700, -1], ids=["version", "connection", "length", "text", "tag"])
def test_what_was_changed_on_the_way_says_nothing(at: int) -> None:
    """Chance could make frames out of it, but for the tag."""
    packet = bytearray(initial(crypto(0, HELLO)))
    packet[at] ^= 1
    flow = QuicHello()
    assert flow.datagram(bytes(packet)) is None
    assert flow.version is None


def test_a_hello_in_more_pieces_than_are_kept() -> None:
    flow = QuicHello()
    for number in range(MAX_DATAGRAMS):
        pieces = b"".join(crypto(2 * (number * 50 + at), b"x") for at in range(50))
        assert flow.datagram(initial(pieces, number)) is None
    assert len(flow._pieces) <= quic._MAX_PIECES + 50


def test_the_library_is_loaded_with_the_first_packet_only() -> None:
    program = """
import sys
from nettop.protocols.quic import QuicHello
QuicHello().datagram(bytes(1200))
assert "cryptography" not in sys.modules
QuicHello().datagram(bytes.fromhex(sys.argv[1]))
assert "cryptography" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, initial(crypto(0, HELLO)).hex()], check=True)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 1200))
def test_any_frames_and_any_bytes(frames: bytes, cut: int) -> None:
    QuicHello().datagram(initial(frames))
    QuicHello().datagram(initial(crypto(0, HELLO))[:cut] + frames)
    QuicHello().datagram(b"\xc0\0\0\0\1" + frames)
