"""Programs that call themselves, and everything that they say, what nobody should. Run by lab.Namespace.play()."""

import ctypes
import json
import os
import socket
import struct
import sys
import threading
import time
from typing import Any

DNS_PORT = 53
CHUNK_BYTES = 4000
PR_SET_NAME = 15  # prctl(2)


def say(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def labels(texts: list[bytes]) -> bytes:
    return b"".join(bytes([len(text)]) + text for text in texts) + b"\0"


def record(name: bytes, kind: int, rdata: bytes) -> bytes:
    return name + struct.pack("!HHIH", kind, 1, 5, len(rdata)) + rdata


def serve(address: str, texts: list[str]) -> None:
    """Answers every question over UDP and TCP: TXT, CNAME and unknown data of these texts (hexadecimal)."""
    raw = [bytes.fromhex(text) for text in texts]
    text_data = b"".join(bytes([len(text)]) + text for text in raw)
    records = [record(b"\xc0\x0c", 16, text_data), record(b"\xc0\x0c", 65280, b"".join(raw))]
    records += [record(b"\xc0\x0c", 5, labels([text, b"example"])) for text in raw]

    def answer(question: bytes, answers: list[bytes]) -> bytes:
        return question[:2] + struct.pack("!HHHHH", 0x8180, 1, len(answers), 0, 0) + question[12:] + b"".join(answers)

    def over_tcp() -> None:
        while True:
            connection, _ = tcp.accept()
            with connection:
                question = connection.recv(65535)[2:]
                message = answer(question, [record(b"\xc0\x0c", 16, text_data)] * (60_000 // (len(text_data) + 12)))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                whole = len(message).to_bytes(2, "big") + message
                for start in range(0, len(whole), CHUNK_BYTES):
                    connection.sendall(whole[start : start + CHUNK_BYTES])
                    time.sleep(0.003)  # or they would be joined, and of a segment 4 KB are captured
                connection.recv(1)

    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((address, DNS_PORT))
    tcp = socket.create_server((address, DNS_PORT))
    threading.Thread(target=over_tcp, daemon=True).start()
    say("serving")
    while True:
        question, client = udp.recvfrom(65535)
        udp.sendto(answer(question, records), client)


def ask(server: str, text: bytes, over_tcp: bool) -> socket.socket:
    message = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels([text, b"example"]) + b"\0\x10\0\1"
    asking = socket.socket(socket.AF_INET, socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM)
    asking.connect((server, DNS_PORT))
    asking.sendall(len(message).to_bytes(2, "big") + message if over_tcp else message)
    received = 0
    while received < (50_000 if over_tcp else 1):
        received += len(asking.recv(65535))
    return asking


def impostors(server: str, names: list[str]) -> None:
    """A process under each of these names (hexadecimal) asks for it; all stay until told. Says their pids."""
    pids = []
    for number, name in enumerate(map(bytes.fromhex, names)):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(PR_SET_NAME, name, 0, 0, 0)
            kept = ask(server, name, over_tcp=number == 0)
            os.write(writer, b"!")
            sys.stdin.read()
            kept.close()
            os._exit(0)
        assert os.read(reader, 1) == b"!"
        pids.append(pid)
    say(pids)
    sys.stdin.read()
    for pid in pids:
        os.waitpid(pid, 0)


def with_arguments(server: str, arguments: list[str]) -> None:
    """Become a program with these arguments (hexadecimal), once in the right place; that says its pid and asks."""
    sys.stdin.readline()
    known = [sys.executable, __file__, "asker", json.dumps({"server": server})]
    os.execv(sys.executable, [*map(os.fsencode, known), *map(bytes.fromhex, arguments)])


def asker(server: str) -> None:
    """Ask once and stay until told."""
    kept = ask(server, b"plain", over_tcp=False)
    say(os.getpid())
    sys.stdin.read()
    kept.close()


if __name__ == "__main__":
    function: Any = globals()[sys.argv[1]]
    function(**json.loads(sys.argv[2]))
