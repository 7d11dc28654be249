"""Programs that speak HTTP/2 inside TLS: each function runs in a process of its own, started by lab.Namespace.play().

The path of each request says the port of its connection's client: `/PORT/PID/NUMBER`.
"""

import ctypes
import os
import socket

from hpack import Decoder, Encoder

from nettop.protocols.http2 import PREFACE
from tests.live.https_programs import BODY, COOKIE, CREDENTIALS, context
from tests.live.programs import hear, say

LIKE_A_HEAD = bytes.fromhex("000008010500000007828684418a0f01ff")
_HEADERS, _SETTINGS, _PING = 1, 4, 6
_SESSION_AT = 24  # struct PySSLSocket: behind the object's head and a pointer
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1


class _Client:
    """One connection, which writes its heads and bodies `piece` bytes at a time; 0: each frame at once."""

    def __init__(self, address: str, port: int, piece: int = 0) -> None:
        made = context()
        made.set_alpn_protocols(["h2"])
        self._tls = made.wrap_socket(socket.create_connection((address, port)))
        self._received = self._tls.makefile("rb")
        self._piece = piece
        self._encoder, self._decoder = Encoder(), Decoder()
        self._stream = -1
        self.own_port = self._tls.getsockname()[1]
        self._tls.sendall(PREFACE + _frame(_SETTINGS, 0, 0, b""))

    def ask(self, number: int, body: bytes = b"") -> None:
        """One request, of which some of the headers were said before; a body comes in frames of its own."""
        self._stream += 2
        fields = [
            (":method", "POST" if body else "GET"),
            (":scheme", "https"),
            (":path", f"/{self.own_port}/{os.getpid()}/{number}"),
            (":authority", "shop.nettop.test"),
            ("cookie", COOKIE),
            ("authorization", CREDENTIALS),
        ]
        flags = _END_HEADERS if body else _END_HEADERS | _END_STREAM
        self._write(_frame(_HEADERS, flags, self._stream, self._encoder.encode(fields)))
        if body:
            self._write(_frame(0, 0, self._stream, body))
            self._write(_frame(0, _END_STREAM, self._stream, LIKE_A_HEAD))

    def answer(self) -> int:
        """Read to the end of the newest request's answer; its status."""
        status = 0
        while True:
            header = self._received.read(9)
            body = self._received.read(int.from_bytes(header[:3]))
            kind, flags, stream = header[3], header[4], int.from_bytes(header[5:])
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                self._write(_frame(kind, _ACK, 0, body if kind == _PING else b""))
            if kind == _HEADERS:
                fields = self._decoder.decode(body, raw=True)
                if stream == self._stream:
                    status = int(next(value for name, value in fields if name == b":status"))
            if stream == self._stream and kind in (0, _HEADERS) and flags & _END_STREAM:
                return status

    def cancel(self) -> None:
        """Reset the stream of the newest request."""
        self._write(_frame(3, 0, self._stream, (8).to_bytes(4)))

    def send_file(self) -> None:
        """Call SSL_sendfile(3), which refuses without the kernel's TLS."""
        session = ctypes.c_void_p.from_address(id(self._tls._sslobj) + _SESSION_AT)  # type: ignore[attr-defined]
        assert ctypes.CDLL("libssl.so.3").SSL_sendfile(session, 0, 0, 0, 0) < 0

    def close(self) -> None:
        """Without a word."""
        self._received.close()
        self._tls.close()

    def _write(self, frames: bytes) -> None:
        step = self._piece or len(frames)
        for at in range(0, len(frames), step):
            self._tls.sendall(frames[at : at + step])


def one_thread(address: str, port: int, connections: int, requests: int, piece: int = 0) -> None:
    """So many connections at a time, all by one thread, of which each asks before any of them reads its answer."""
    made = [_Client(address, port, piece) for _ in range(connections)]
    body = LIKE_A_HEAD * 20 + BODY.encode()
    for number in range(requests):
        for client in made:
            client.ask(number, body if number % 3 == 0 else b"")
        for client in reversed(made):
            assert client.answer() == 200
    for client in made:
        client.close()
    say("done")


def one_after_the_other(address: str, port: int, connections: int, requests: int) -> None:
    """Each connection has the memory of the one before."""
    for _ in range(connections):
        client = _Client(address, port)
        for number in range(requests):
            client.ask(number)
            assert client.answer() == 200
        client.close()
    say("done")


def waits(address: str, port: int) -> None:
    """Two requests, of which it cancels the second one; it goes once it hears something."""
    client = _Client(address, port)
    client.ask(1)
    client.ask(2)
    client.cancel()
    say("asked")
    hear()
    client.close()


def sends_a_file(address: str, port: int) -> None:
    """Between two requests, in a way that nettop does not look at."""
    client = _Client(address, port)
    for number in range(2):
        client.ask(number)
        assert client.answer() == 200
        client.send_file()
    client.close()


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body
