"""Programs that speak HTTP/1 inside TLS: each function runs in a process of its own, started by lab.Namespace.play().

The path of each request says the port of its connection's client: `/PORT/NUMBER`.
"""

import asyncio
import http.client
import http.server
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.live.programs import forbid_new_calls, hear, say
from tests.live.tls_programs import VERSIONS

COOKIE, CREDENTIALS, BODY = "session=nettop-must-not-keep-1", "Bearer nettop-must-not-keep-2", "nettop-must-not-keep-3"
HEADERS = {"Host": "shop.nettop.test", "Cookie": COOKIE, "Authorization": CREDENTIALS}


def context(version: str = "TLS 1.3") -> ssl.SSLContext:
    """Of a client that trusts everybody."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.minimum_version = made.maximum_version = VERSIONS[version]
    made.set_ciphers("ALL:@SECLEVEL=0")  # also of a server without a certificate, before TLS 1.3
    return made


def connected(address: str, port: int, version: str) -> http.client.HTTPSConnection:
    """A connection whose handshake is complete."""
    made = http.client.HTTPSConnection(address, port, context=context(version), timeout=60)
    made.connect()
    return made


def ask(connection: http.client.HTTPSConnection, number: int) -> int:
    """One request; the status."""
    send(connection, number)
    response = connection.getresponse()
    response.read()
    return response.status


def send(connection: http.client.HTTPSConnection, number: int) -> None:
    """One request, of which every third has a body."""
    path = f"/{connection.sock.getsockname()[1]}/{number}"
    body = f"GET /not-a-head HTTP/1.1\r\n{BODY}" if number % 3 == 0 else None
    connection.request("POST" if body else "GET", path, body, HEADERS)


def one_thread(*, address: str, port: int, connections: int, requests: int, version: str = "TLS 1.3") -> None:
    """So many connections at a time, all by one thread, of which each asks before any of them reads its answer."""
    made = [connected(address, port, version) for _ in range(connections)]
    for number in range(requests):
        for connection in made:
            send(connection, number)
        for connection in reversed(made):
            connection.getresponse().read()
    for connection in made:
        connection.close()
    say("done")


def one_after_the_other(address: str, port: int, connections: int, requests: int) -> None:
    """Each connection has the memory of the one before, and threads of its own."""
    for _ in range(connections):
        connection = connected(address, port, "TLS 1.3")
        for number in range(requests):
            threads = [threading.Thread(target=ask, args=(connection, number))]
            for thread in threads:
                thread.start()
                thread.join()
        connection.close()
    say("done")


def threads(address: str, port: int, connections: int, requests: int) -> None:
    """Each connection by a thread of its own, all at the same time."""
    begin = threading.Barrier(connections)

    def talk() -> None:
        connection = connected(address, port, "TLS 1.3")
        begin.wait()
        for number in range(requests):
            ask(connection, number)
        connection.close()

    running = [threading.Thread(target=talk) for _ in range(connections)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    say("done")


def through_memory(address: str, port: int, connections: int, requests: int) -> None:
    """By asyncio, which has the library encrypt into memory, and sends that itself."""

    async def talk() -> None:
        reader, writer = await asyncio.open_connection(address, port, ssl=context())
        own = writer.get_extra_info("sockname")[1]
        for number in range(requests):
            writer.write(f"GET /{own}/{number} HTTP/1.1\r\nHost: shop.nettop.test\r\n\r\n".encode())
            await writer.drain()
            await reader.readuntil(b"ok\n")
        writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*[talk() for _ in range(connections)])

    asyncio.run(all_of_them())
    say("done")


def sandboxed(address: str, port: int, requests: int, version: str = "TLS 1.3") -> None:
    """In a process whose seccomp filter kills it for any system call that is newer."""
    connection = connected(address, port, version)
    forbid_new_calls()
    say([ask(connection, number) for number in range(requests)])


def for_ever(address: str, port: int, version: str = "TLS 1.3", pause_s: float = 0.0) -> None:
    """Requests on one connection until it hears something, with pauses; then how many were answered."""
    connection = connected(address, port, version)
    stopped = threading.Event()

    def listen() -> None:
        hear()
        stopped.set()

    threading.Thread(target=listen, daemon=True).start()
    say("connected")
    number = 0
    while not stopped.is_set():
        assert ask(connection, number) == 200
        number += 1
        time.sleep(pause_s)
    say(number)


def for_ever_through_memory(address: str, port: int) -> None:
    """The same by asyncio, with a pause after each."""

    async def talk() -> int:
        reader, writer = await asyncio.open_connection(address, port, ssl=context())
        own, number = writer.get_extra_info("sockname")[1], 0
        say("connected")
        while not select.select([sys.stdin], [], [], 0.01)[0]:
            writer.write(f"GET /{own}/{number} HTTP/1.1\r\nHost: shop.nettop.test\r\n\r\n".encode())
            await reader.readuntil(b"ok\n")
            number += 1
        writer.close()
        return number

    say(asyncio.run(talk()))


def serve_without_certificate(address: str, port: int) -> None:
    """Answers each connection in a thread of its own, up to TLS 1.2."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers("aNULL:@SECLEVEL=0")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        do_POST = do_GET  # noqa: N815 - as the library calls it

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer((address, port), Handler) as server:
        server.socket = made.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        say("listening")
        server.serve_forever()


@contextmanager
def accepted(address: str, port: int, certificate: str) -> Iterator[ssl.SSLSocket]:
    """The server's end of the first connection that comes."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate)
    with socket.create_server((address, port)) as listener:
        say("listening")
        tcp, _ = listener.accept()
        with made.wrap_socket(tcp, server_side=True) as tls:
            yield tls


def answer_in_pieces(address: str, port: int, certificate: str, answers: list[list[str]]) -> None:
    """On one connection: of each answer, each piece by a call of its own."""
    with accepted(address, port, certificate) as tls:
        for pieces in answers:
            tls.recv(1 << 14)
            for piece in pieces:
                tls.sendall(piece.encode())
        hear()


def ask_for_bytes(address: str, port: int, asked: list[tuple[str, int]], at_once: int) -> None:
    """On one connection: each request, and so many bytes of its answer, some at a time."""
    with context().wrap_socket(socket.create_connection((address, port))) as tls:
        for request, answer_bytes in asked:
            tls.sendall(request.encode())
            left = answer_bytes
            while left:
                left -= len(tls.recv(min(left, at_once)))
        say("done")
        hear()


def silent_server(address: str, port: int, certificate: str) -> None:
    """Takes a request and never answers; hangs up once it hears something."""
    with accepted(address, port, certificate) as tls:
        tls.recv(1 << 14)
        say("asked")
        hear()


def pipelined(address: str, port: int) -> None:
    """Two requests at once, and one when both are answered."""
    with context().wrap_socket(socket.create_connection((address, port))) as tls:
        own = tls.getsockname()[1]
        one, two, three = (f"GET /{own}/{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for number in range(3))
        tls.sendall(one + two)
        received = b""
        while received.count(b"ok\n") < 2:
            received += tls.recv(1 << 14)
        tls.sendall(three)
        tls.recv(1 << 14)
    say("done")
