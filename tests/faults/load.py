"""Programs that load: each function runs in a process of its own, started by lab.Namespace.play().

In the end they say how many questions, connections and processes they made.

Cheap enough that nettop gets its share of the CPUs: no parsing, no threads, only the standard library.
"""

import json
import os
import select
import socket
import struct
import sys
import time
from typing import Any

DNS_PORT = 53
_SLICE_S = 0.01
_QUERY_TAIL = b"\x05flood\x04test\0\0\1\0\1"
_SMALL = 16


def say(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def hear() -> Any:
    return json.loads(sys.stdin.readline())


def query(number: int) -> bytes:
    """A question for a name that nobody asked before: `NUMBER.flood.test`, with the number as the id too."""
    label = b"%08x" % number
    return struct.pack("!HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + bytes([len(label)]) + label + _QUERY_TAIL


def serve(address: str, port: int) -> None:
    """Answer each question with NXDOMAIN and each connection with as many bytes as came, until killed."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.create_server((address, port), backlog=4096) as listener,
    ):
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        udp.bind((address, DNS_PORT))
        say("serving")
        while True:
            ready, _, _ = select.select([udp, listener], [], [])
            if udp in ready:
                datagram, client = udp.recvfrom(512)
                udp.sendto(datagram[:2] + b"\x85\x83" + datagram[4:], client)
            if listener in ready:
                with listener.accept()[0] as connection:
                    connection.sendall(connection.recv(_SMALL))


def ask_in_vain(address: str, count: int, per_s: int, times: int = 1) -> None:
    """So many questions where nobody listens, each sent so often, at this rate (0: as fast as can be)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((address, 0))
        begun = time.monotonic()
        for number in range(count):
            for _ in range(times):
                udp.sendto(query(number), (address, DNS_PORT))
            if per_s:
                time.sleep(max(0.0, begun + (number + 1) / per_s - time.monotonic()))
    say([count, 0, 1])


def ask(address: str, count: int, sockets: int, wait: bool = False) -> None:
    """So many questions in all on so many sockets, one after the other, as fast as they are answered; once told to."""
    if wait:
        say("ready")
        hear()
    for first in range(sockets):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(20)
            udp.connect((address, DNS_PORT))
            for number in range(first, count, sockets):
                udp.send(query(number))
                udp.recv(512)
    say([count, 0, 1])


def ask_where_nobody_is(address: str, count: int) -> None:
    """So many questions at a rate that anybody can follow."""
    ask_in_vain(address, count, per_s=1_000)


def answer_unasked(address: str, count: int, size: int) -> None:
    """So many answers of this size to a socket that has asked nothing, as fast as can be."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim,
    ):
        stranger.bind(("127.0.0.77", DNS_PORT))
        victim.bind((address, 0))
        answer = query(7)[:2] + b"\x81\x80" + query(7)[4:]
        for _ in range(count):
            stranger.sendto(answer.ljust(size, b"\0"), victim.getsockname())
    say([0, 0, 1])


def send_segments(address: str, port: int, count: int) -> None:
    """So many questions over TCP, each in a segment of its own, to somebody who reads and says nothing."""
    with (
        socket.create_server((address, port)) as listener,
        socket.create_connection((address, port), timeout=20) as tcp,
        listener.accept()[0] as other,
    ):
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(count):
            message = query(number)
            tcp.sendall(struct.pack("!H", len(message)) + message)
            other.recv(1 << 16)
    say([count, 1, 1])


def ask_without_reading(address: str, count: int) -> None:
    """So many questions that are answered at once, and no answer read until told; says how many there was room for."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        server.bind((address, DNS_PORT))
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        udp.connect((address, DNS_PORT))
        for number in range(count):
            udp.send(query(number))
            datagram, client = server.recvfrom(512)
            server.sendto(datagram[:2] + b"\x85\x80" + datagram[4:], client)
        say("asked")
        hear()
        udp.setblocking(False)
        received = 0
        try:
            while udp.recv(512):
                received += 1
        except BlockingIOError:
            say(received)


def connect(address: str, port: int, count: int) -> None:
    """So many connections one after the other, 16 bytes each way, as fast as can be."""
    for _ in range(count):
        with socket.create_connection((address, port), timeout=20) as tcp:
            tcp.sendall(bytes(_SMALL))
            while tcp.recv(_SMALL):
                pass
    say([0, count, 1])


def connect_in_vain(address: str, port: int, count: int) -> None:
    """So many connections one after the other where nobody listens, as fast as can be."""
    for _ in range(count):
        with socket.socket() as tcp:
            tcp.connect_ex((address, port))
    say([0, count, 1])


def connect_and_reset(address: str, port: int, count: int) -> None:
    """As connect(), but each is ended with a reset once the answer is there."""
    for _ in range(count):
        with socket.create_connection((address, port), timeout=20) as tcp:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            tcp.sendall(bytes(_SMALL))
            while tcp.recv(_SMALL):
                pass
    say([0, count, 1])


def talk(address: str, port: int, per_s: int, seconds: float) -> None:
    """Questions and connections, per_s of each, answered, over the time."""
    asked = connected = 0
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.settimeout(20)
    udp.connect((address, DNS_PORT))
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < seconds:
        due = int(now * per_s)
        while asked < due:
            udp.send(query(asked))
            udp.recv(512)
            asked += 1
            connect_once(address, port)
            connected += 1
        time.sleep(_SLICE_S)
    udp.close()
    say([asked, connected, 1])


def connect_once(address: str, port: int) -> None:
    with socket.create_connection((address, port), timeout=20) as tcp:
        tcp.sendall(bytes(_SMALL))
        while tcp.recv(_SMALL):
            pass


def sockets(address: str, port: int, count: int) -> None:
    """Open UDP sockets that have sent one byte each; closes them when told, ends when told again."""
    opened = []
    for _ in range(count):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.sendto(b"x", (address, port))
        opened.append(udp)
    say("opened")
    hear()
    for udp in opened:
        udp.close()
    say("closed")
    hear()


def exits(address: str, port: int, count: int) -> None:
    """Children that each send one byte and are gone, one after the other."""
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.sendto(b"x", (address, port))
            os._exit(0)
        os.waitpid(pid, 0)
    say([0, 0, count])
