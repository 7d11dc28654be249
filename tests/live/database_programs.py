"""Programs that speak the protocols of databases and caches: each function runs in a process of its own.

Clients and servers of a few lines, so that the tests run on every machine; test_databases.py has the real servers too.
"""

import contextlib
import socket
import time

from tests.live.programs import say


def redis_server(address: str, port: int) -> None:
    """Serves for ever: +OK to each command, -WRONGTYPE to LPUSH, nothing to BLPOP, after 50 ms to EVAL."""
    with socket.create_server((address, port)) as listener:
        say("listening")
        while True:
            tcp, _ = listener.accept()
            with tcp, contextlib.suppress(ConnectionError), tcp.makefile("rb") as received:
                while line := received.readline():
                    words = []
                    for _ in range(int(line[1:])):
                        size = int(received.readline()[1:])
                        words.append(received.read(size + 2)[:-2])
                    _answer_redis(tcp, words)


def _answer_redis(tcp: socket.socket, words: list[bytes]) -> None:
    if words[0] == b"BLPOP":
        return
    if words[0] == b"EVAL":
        time.sleep(0.05)
    tcp.sendall(b"-WRONGTYPE secret\r\n" if words[0] == b"LPUSH" else b"+OK\r\n")


def redis_times(address: str, port: int, command: str, times: int) -> None:
    """Says how long each answer to a command (hexadecimal) took, in ms."""
    took_ms = []
    with socket.create_connection((address, port)) as tcp:
        for _ in range(times):
            began = time.monotonic()
            tcp.sendall(bytes.fromhex(command))
            assert tcp.recv(100)
            took_ms.append((time.monotonic() - began) * 1000)
    say(took_ms)


def redis_flood(address: str, port: int, requests: int, failed: int) -> None:
    """So many commands over one connection, each as soon as the last one is answered; first such that fail."""
    wrong, right = b"*3\r\n$5\r\nLPUSH\r\n$1\r\nk\r\n$1\r\nv\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"
    with socket.create_connection((address, port)) as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(requests):
            tcp.sendall(wrong if number < failed else right)
            assert tcp.recv(100).endswith(b"\r\n")
