"""Answers Prometheus over HTTP on one socket, in rounds of the loop that counts: no thread, and nobody is waited for.

It knows one page, and each connection gets one answer. A client that is slow, says too much or comes when there are too
many is hung up on.
"""

import gzip
import selectors
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus

MAX_CLIENTS = 16  # Prometheus has one connection at a time; a second Prometheus and a person with curl have room
MAX_HEAD_BYTES = 8_192  # what web servers take; Prometheus sends some 400
PATIENCE_S = 10.0  # for a request and its answer: as long as Prometheus waits by default
PATH = "/metrics"
_OPENMETRICS = "application/openmetrics-text"
_END_OF_HEAD = b"\r\n\r\n"
_READ_BYTES = 4_096
_FASTEST = 1  # level of gzip: a fifth of the time of the default

Page = Callable[[bool], tuple[str, bytes]]
"""Makes the page, as OpenMetrics or not: its content type and its text."""


class _Client:
    """One connection: what it has said, what it is to get, and until when."""

    __slots__ = ("asked", "unsent", "until_s")

    def __init__(self, until_s: float) -> None:
        self.asked = b""
        self.unsent = memoryview(b"")
        self.until_s = until_s


class ScrapeServer:
    """Serves what `page` makes on a listening socket, which it owns from now on.

    `refused` counts the clients that it hung up on.
    """

    def __init__(self, listening: socket.socket, page: Page) -> None:
        self.refused = 0
        self._listening = listening
        self._page = page
        self._clients: dict[socket.socket, _Client] = {}
        self._ready = selectors.DefaultSelector()
        listening.setblocking(False)
        self._ready.register(listening, selectors.EVENT_READ)

    def serve(self, now_s: float) -> bool:
        """Do what can be done at once; returns whether somebody is being served: the next round should be soon then.

        `now_s` is a monotonic time.
        """
        for key, _ in self._ready.select(0):
            if key.fileobj is self._listening:
                self._accept(now_s)
            else:
                self._talk(key.fileobj)  # type: ignore[arg-type] # only sockets are registered
        for connection, client in list(self._clients.items()):
            if now_s >= client.until_s:
                self.refused += 1
                self._hang_up(connection)
        return bool(self._clients)

    def close(self) -> None:
        """Hang up on everybody."""
        for connection in list(self._clients):
            self._hang_up(connection)
        self._ready.close()
        self._listening.close()

    def _accept(self, now_s: float) -> None:
        with suppress(OSError):  # it has gone away meanwhile, or there are no descriptors
            connection, _ = self._listening.accept()
            if len(self._clients) >= MAX_CLIENTS:
                self.refused += 1
                connection.close()
                return
            connection.setblocking(False)
            self._clients[connection] = _Client(now_s + PATIENCE_S)
            self._ready.register(connection, selectors.EVENT_READ)

    def _talk(self, connection: socket.socket) -> None:
        client = self._clients[connection]
        try:
            if not client.unsent:
                said = connection.recv(_READ_BYTES)
                client.asked += said
                client.unsent = memoryview(self._answer(client.asked))
                if not said and not client.unsent:
                    self._hang_up(connection)
                    return
            if client.unsent:
                client.unsent = client.unsent[connection.send(client.unsent) :]
                if not client.unsent:
                    self._hang_up(connection)
                    return
                self._ready.modify(connection, selectors.EVENT_WRITE)
        except BlockingIOError:
            return
        except OSError:  # it has gone away
            self._hang_up(connection)

    def _hang_up(self, connection: socket.socket) -> None:
        del self._clients[connection]
        self._ready.unregister(connection)
        connection.close()

    def _answer(self, asked: bytes) -> bytes:
        """Empty as long as the head of the request is not complete."""
        head, found, _ = asked.partition(_END_OF_HEAD)
        if len(head) > MAX_HEAD_BYTES:
            return _response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if not found:
            return b""
        line, *fields = head.decode("latin-1").split("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response(HTTPStatus.BAD_REQUEST)
        method, target, _ = words
        if target.partition("?")[0] != PATH:
            return _response(HTTPStatus.NOT_FOUND)
        if method != "GET":
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET"})
        said = {name.strip().lower(): value for name, _, value in (field.partition(":") for field in fields)}
        content_type, text = self._page(_OPENMETRICS in said.get("accept", ""))
        more = {"Content-Type": content_type}
        if "gzip" in said.get("accept-encoding", ""):
            more["Content-Encoding"] = "gzip"
            text = gzip.compress(text, _FASTEST)
        return _response(HTTPStatus.OK, more, text)


def _response(status: HTTPStatus, more: Mapping[str, str] | None = None, body: bytes | None = None) -> bytes:
    if body is None:
        body = f"{status.value} {status.phrase}\n".encode()
    fields = {"Content-Type": "text/plain", **(more or {}), "Content-Length": str(len(body)), "Connection": "close"}
    lines = (f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in fields.items()))
    return "\r\n".join((*lines, "\r\n")).encode("latin-1") + body
