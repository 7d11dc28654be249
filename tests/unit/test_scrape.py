"""The page over HTTP: real sockets on the loopback, time from the test."""

import gzip
import socket
from collections.abc import Iterator

import pytest

from nettop.export.scrape import MAX_CLIENTS, MAX_HEAD_BYTES, PATIENCE_S, ScrapeServer

LONG = b"x" * 8_000_000  # more than the buffers of two sockets take


def page(wants_openmetrics: bool) -> tuple[str, bytes]:
    return ("newer", b"new") if wants_openmetrics else ("older", b"old")


class Served:
    """A server, and what talks to it."""

    def __init__(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = listening.getsockname()
        self.server = ScrapeServer(listening, page)
        self.clients: list[socket.socket] = []

    def connect(self) -> socket.socket:
        client = socket.create_connection(self.address)
        client.settimeout(0.02)
        self.clients.append(client)
        return client

    def answer(self, asked: bytes, now_s: float = 0.0) -> bytes:
        client = self.connect()
        client.sendall(asked)
        return self.heard(client, now_s)

    def heard(self, client: socket.socket, now_s: float = 0.0) -> bytes:
        """All that comes until it is hung up on."""
        heard = bytearray()
        while True:
            self.server.serve(now_s)
            try:
                said = client.recv(1 << 20)
            except TimeoutError:
                continue
            except ConnectionResetError:
                return bytes(heard)
            if not said:
                return bytes(heard)
            heard += said


@pytest.fixture
def served() -> Iterator[Served]:
    subject = Served()
    yield subject
    subject.server.close()
    for client in subject.clients:
        client.close()


def get(path: str = "/metrics", *fields: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: x", *fields, "\r\n")).encode()


def test_the_page_in_the_format_that_is_asked_for(served: Served) -> None:
    older = served.answer(get())
    assert older.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: older\r\nContent-Length: 3\r\n")
    assert older.endswith(b"\r\n\r\nold")
    newer = served.answer(get("/metrics?x=1", "ACCEPT: application/openmetrics-text;version=1.0.0,text/plain;q=0.5"))
    assert b"Content-Type: newer\r\n" in newer
    assert newer.endswith(b"\r\n\r\nnew")


def test_compressed_if_the_client_takes_it(served: Served) -> None:
    head, _, body = served.answer(get("/metrics", "Accept-Encoding: gzip")).partition(b"\r\n\r\n")
    assert b"Content-Encoding: gzip" in head
    assert gzip.decompress(body) == b"old"


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (get("/"), b"404"),
        (get("/metrics/../etc/passwd"), b"404"),
        (get().replace(b"GET", b"POST"), b"405"),
        (get("http://[::1/metrics/"), b"404"),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1", b"400"),  # the beginning of TLS, which would wait for an answer
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /metrics SIP/2.0\r\n\r\n", b"400"),
        (b"GET /" + b"x" * MAX_HEAD_BYTES * 2, b"431"),
        (b"\xff\xfe\r\n\r\n", b"400"),
    ],
)
def test_everything_else_is_refused(served: Served, asked: bytes, status: bytes) -> None:
    answer = served.answer(asked)
    assert answer[9:12] == status or (status == b"431" and answer == b"")  # unread bytes may reset the connection


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ((), b"old"),
        (("Accept: */*",), b"old"),
        (("Accept: Application/OpenMetrics-Text; version=1.0.0",), b"new"),
        (("Accept: application/openmetrics-text;q=0, text/plain",), b"old"),
        (("Accept: text/plain, application/openmetrics-text;q=0.1",), b"old"),
        (("Accept: text/plain;q=0.5", "Accept: application/openmetrics-text;q=0.5"), b"new"),
        (("Accept: application/openmetrics-text;q=x",), b"new"),
        (("Accept-Encoding: gzip;q=0, identity",), b"old"),
        (("Accept-Encoding: x-gzip",), b"old"),
    ],
)
def test_what_the_client_likes_better(served: Served, fields: tuple[str, ...], found: bytes) -> None:
    assert served.answer(get("/metrics", *fields)).endswith(b"\r\n\r\n" + found)


@pytest.mark.parametrize(
    "asked",
    [
        b"GET /metrics HTTP/1.0\r\n\r\n",
        b"\r\n" + get(),
        get("http://web1.example:9469/metrics?x=1"),  # through a proxy
    ],
)
def test_other_ways_to_ask(served: Served, asked: bytes) -> None:
    assert served.answer(asked).endswith(b"old")


def test_head_is_answered_without_a_body(served: Served) -> None:
    answer = served.answer(get().replace(b"GET", b"HEAD"))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: older\r\nContent-Length: 3\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert served.answer(get("/").replace(b"GET", b"HEAD")).endswith(b"\r\n\r\n")


def test_a_request_in_pieces(served: Served) -> None:
    client = served.connect()
    for byte in get():
        client.sendall(bytes((byte,)))
        assert served.server.serve(0.0) or True
    assert served.heard(client).endswith(b"old")


def test_a_long_page_goes_out_as_it_is_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.server, "_page", lambda _: ("long", LONG))
    client = served.connect()
    client.sendall(get())
    for _ in range(10):
        assert served.server.serve(0.0), "nobody reads yet"
    assert served.heard(client).endswith(LONG)
    assert not served.server.serve(0.0)
    assert served.server.refused == 0


def test_a_silent_client_is_hung_up_on(served: Served) -> None:
    client = served.connect()
    client.sendall(b"GET /met")
    while not served.server.serve(1.0):
        pass
    assert served.server.serve(PATIENCE_S)
    assert not served.server.serve(1.0 + PATIENCE_S)
    assert client.recv(1) == b""
    assert served.server.refused == 1


def test_too_many_clients_do_not_wait(served: Served) -> None:
    clients = [served.connect() for _ in range(MAX_CLIENTS + 3)]
    for _ in range(len(clients) + 10):
        served.server.serve(0.0)
    assert served.server.refused == 3
    clients[0].sendall(get())
    assert served.heard(clients[0]).endswith(b"old")


def test_a_client_that_goes_away_leaves_nothing(served: Served) -> None:
    client = served.connect()
    while not served.server.serve(0.0):
        pass
    client.close()
    while served.server.serve(0.0):
        pass
    assert served.answer(get()).endswith(b"old")
