"""Answers Prometheus over HTTP on one socket, in rounds of the loop that counts: no thread, and nobody is waited for.

It knows one page, and each connection gets one answer. A client that is slow, says too much or comes when there are too
many is hung up on.
"""

import gzip
import selectors
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus

MAX_CLIENTS = 16  # Prometheus has one connection at a time; a second Prometheus and a person with curl have room
MAX_HEAD_BYTES = 8_192  # what web servers take; Prometheus sends some 400
PATIENCE_S = 10.0  # for a request and its answer: as long as Prometheus waits by default
PATH = "/metrics"
_OPENMETRICS, _PLAIN = "application/openmetrics-text", "text/plain"
_METHODS = ("GET", "HEAD")
_END_OF_LINE, _END_OF_HEAD = b"\r\n", b"\r\n\r\n"
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
            self._talk(connection)  # mostly it has asked by now: no need to wait for another round

    def _talk(self, connection: socket.socket) -> None:
        client = self._clients[connection]
        try:
            if not client.unsent:
                said = connection.recv(_READ_BYTES)
                client.asked = (client.asked + said).lstrip(_END_OF_LINE)  # empty ones before it: RFC 9112, 2.2
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
            speaks_http = not asked or asked[:1].isalpha()  # TLS does not, and would wait for an answer
            return b"" if speaks_http else _response(HTTPStatus.BAD_REQUEST)
        line, *fields = head.decode("latin-1").split("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response(HTTPStatus.BAD_REQUEST)
        method, target, _ = words
        with_body = method != "HEAD"
        if _path(target) != PATH:
            return _response(HTTPStatus.NOT_FOUND, with_body=with_body)
        if method not in _METHODS:
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": ", ".join(_METHODS)})
        accepted = _weights(fields, "accept")
        newer = accepted.get(_OPENMETRICS, 0.0)
        content_type, text = self._page(newer > 0 and newer >= accepted.get(_PLAIN, 0.0))
        more = {"Content-Type": content_type}
        if _weights(fields, "accept-encoding").get("gzip", 0.0) > 0:
            more["Content-Encoding"] = "gzip"
            text = gzip.compress(text, _FASTEST)
        return _response(HTTPStatus.OK, more, text, with_body)


def _path(target: str) -> str:
    """Without a query; a proxy is told the whole URL, and a server has to take that too: RFC 9112, 3.2.2."""
    path = target.partition("?")[0]
    scheme, found, rest = path.partition("://")
    return f"/{rest.partition('/')[2]}" if found and scheme.lower() == "http" else path


def _weights(fields: Iterable[str], wanted: str) -> dict[str, float]:
    """How much a client wants what it names in these fields, from 0 (not at all) to 1: RFC 9110, 12.4.2."""
    named = (field.partition(":") for field in fields)
    weights: dict[str, float] = {}
    for each in ",".join(value for name, _, value in named if name.strip().lower() == wanted).split(","):
        name, *parameters = (part.strip().lower() for part in each.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                with suppress(ValueError):
                    weight = float(parameter.removeprefix("q="))
        weights[name] = max(weight, weights.get(name, 0.0))
    return weights


def _response(
    status: HTTPStatus, more: Mapping[str, str] | None = None, body: bytes | None = None, with_body: bool = True
) -> bytes:
    """`with_body` is false for HEAD: the length is told all the same."""
    if body is None:
        body = f"{status.value} {status.phrase}\n".encode()
    fields = {"Content-Type": _PLAIN, **(more or {}), "Content-Length": str(len(body)), "Connection": "close"}
    lines = (f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in fields.items()))
    head = "\r\n".join((*lines, "\r\n")).encode("latin-1")
    return head + body if with_body else head
