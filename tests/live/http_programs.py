"""Programs that speak HTTP/1: each function runs in a process of its own, started by lab.Namespace.play()."""

import contextlib
import ctypes
import http.client
import os
import signal
import socket
import struct
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.live.programs import hear, say, until_acknowledged

PR_SET_PDEATHSIG = 1  # prctl(2)
TCP_DEFER_ACCEPT, TCP_FASTOPEN = 9, 23  # include/uapi/linux/tcp.h
LOOKALIKE = b"HTTP/1.1 500 Not a head\r\nContent-Length: 0\r\n\r\n"


class _Handler(BaseHTTPRequestHandler):
    """`/status/404` answers with that, `/slow/50` after so many ms, `/chunked` and `/lookalike` with such bodies."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each body waits 40 ms for the client to acknowledge its head

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        _, what, *rest = self.path.partition("?")[0].split("/")
        if what == "slow":
            time.sleep(int(rest[0]) / 1000)
        if what == "abort":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        self.send_response(int(rest[0]) if what == "status" else 200)
        self.send_header("X-Pid", str(os.getpid()))
        if what == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for _ in range(3):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(LOOKALIKE), LOOKALIKE))
            self.wfile.write(b"0\r\n\r\n")
            return
        pieces = [LOOKALIKE] * 100 if what == "lookalike" else [b"ok\n"]
        self.send_header("Content-Length", str(sum(map(len, pieces))))
        self.end_headers()
        if self.command != "HEAD":
            for piece in pieces:
                self.wfile.write(piece)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_PROPFIND = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    deferred = False

    def server_bind(self) -> None:
        if self.deferred:
            self.socket.setsockopt(socket.IPPROTO_TCP, TCP_DEFER_ACCEPT, 10)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)


def http_server(address: str, port: int, workers: int = 0, deferred: bool = False) -> None:
    """Serve for ever, or from so many forked workers, each of which says its pid."""
    _Server.deferred = deferred
    server = _Server((address, port), _Handler)
    for _ in range(workers):
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            say(os.getpid())
            server.serve_forever()
    say("listening")
    if workers:
        os.wait()
    server.serve_forever()


def http_client(address: str, port: int, requests: list[list[Any]]) -> None:
    """[method, path, bytes of a body] over one connection; says for each the status, what it took in ms and the pid.

    A round for each line that it hears; the last one is null.
    """
    connection = http.client.HTTPConnection(address, port, timeout=60)
    connection.connect()
    say("connected")
    while hear() is not None:
        answers = []
        for method, path, body in requests:
            began = time.monotonic()
            connection.request(method, path, (b"GET /not-a-head HTTP/1.1\r\nHost: no\r\n\r\n" * body) or None)
            response = connection.getresponse()
            took_ms = (time.monotonic() - began) * 1000
            response.read()
            answers.append([response.status, took_ms, int(response.headers["X-Pid"])])
        say(answers)
    connection.close()


def http_pieces(address: str, port: int, pieces: list[str], answers: int) -> None:
    """Each piece in a segment of its own; waits for so many answers of "ok"."""
    with socket.create_connection((address, port)) as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            tcp.sendall(piece.encode())
            until_acknowledged(tcp)
        received = b""
        while received.count(b"\r\n\r\nok\n") < answers:
            chunk = tcp.recv(1 << 16)
            assert chunk, received
            received += chunk
        say(received.count(b"HTTP/1.1 200"))


def http_upload(address: str, port: int, body: list[str], times: int) -> None:
    """POSTs with their bodies in pieces, none of which waits for what was sent before it; each time a GET behind it."""
    connection = http.client.HTTPConnection(address, port)
    length = str(sum(map(len, body)))
    for _ in range(times):
        connection.request("POST", "/upload", (piece.encode() for piece in body), {"Content-Length": length})
        connection.getresponse().read()
        connection.request("GET", "/behind")
        connection.getresponse().read()
    say("done")


def http_script_server(address: str, port: int, steps: list[list[Any]], fast_open: bool = False) -> None:
    """One connection: after so many heads more the text that stands with the number, in one segment."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        if fast_open:
            listener.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, 16)
        listener.listen()
        say("listening")
        tcp, _ = listener.accept()
        with tcp:
            _take_turns(tcp, steps)
            tcp.recv(1)


def http_script_client(address: str, port: int, steps: list[list[Any]], fast_open: bool = False) -> None:
    """Sends each text in one segment and waits for as many heads as stand with it; the first may go with the SYN."""
    with socket.socket() as tcp:
        tcp.settimeout(60)
        if fast_open:
            tcp.sendto(steps[0][1].encode(), socket.MSG_FASTOPEN, (address, port))
        else:
            tcp.connect((address, port))
            tcp.sendall(steps[0][1].encode())
        after = [heads for heads, _ in steps]
        _take_turns(tcp, [[heads, text] for heads, (_, text) in zip(after, [*steps[1:], [0, ""]], strict=True)])
        say("done")


def _take_turns(tcp: socket.socket, steps: list[list[Any]]) -> None:
    received = b""
    for heads, text in steps:
        while received.count(b"\r\n\r\n") < heads:
            chunk = tcp.recv(1 << 16)
            assert chunk, received
            received += chunk
        received = b""
        tcp.sendall(text.encode())


def http_flood(address: str, port: int, requests: int, failed: int, last: str = "/") -> None:
    """So many requests over one connection as fast as they are answered: first 404, the last to a path."""
    connection = http.client.HTTPConnection(address, port, timeout=60)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for number in range(requests):
        connection.request("GET", "/status/404" if number < failed else last if number == requests - 1 else "/")
        connection.getresponse().read()
    connection.close()


def http_all_in_vain(address: str, port: int, path: str, connections: int) -> None:
    """So many connections, one after the other, each with a request that is reset."""
    for _ in range(connections):
        with socket.create_connection((address, port)) as tcp:
            tcp.sendall(f"GET {path} HTTP/1.1\r\nHost: vain.test\r\n\r\n".encode())
            with contextlib.suppress(ConnectionResetError):
                tcp.recv(1)


def http_in_vain(address: str, port: int, path: str) -> None:
    """A request that is never answered."""
    with socket.create_connection((address, port)) as tcp:
        tcp.sendall(f"GET {path} HTTP/1.1\r\nHost: vain.test\r\n\r\n".encode())
        try:
            tcp.recv(1)
        except ConnectionResetError:
            say("reset")
        else:
            say("closed")
