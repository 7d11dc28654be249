"""Programs that make the traffic: each function runs in a process of its own, started by lab.Namespace.play().

They talk to the test in lines of JSON. Only the standard library, so that they start quickly.
"""

import ctypes
import errno
import fcntl
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

DNS_PORT = 53
CLONE_NEWNET = 0x40000000  # setns(2)
PR_SET_NAME = 15  # prctl(2)
ICMPV6_FILTER, ICMPV6_ECHO_REPLY = 1, 129  # include/uapi/linux/icmpv6.h
SO_ATTACH_FILTER = 26  # include/uapi/asm-generic/socket.h
SIOCOUTQ = 0x5411  # ioctl(2): bytes that are not acknowledged
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s


def forbid_new_calls() -> None:
    """From now on a seccomp filter kills this process for any system call that Linux 6.0 does not have."""
    no_new_privileges, set_seccomp, mode_filter = 38, 22, 2
    kill, allow, newest = 0x8000_0000, 0x7FFF_0000, 450
    program = b"".join(
        struct.pack("<HBBI", *each)
        for each in (
            (0x20, 0, 0, 0),  # load seccomp_data.nr
            (0x15, 2, 0, 335),  # uretprobe(2)
            (0x35, 1, 0, newest),
            (0x06, 0, 0, allow),
            (0x06, 0, 0, kill),
        )
    )
    code = ctypes.create_string_buffer(program)
    fprog = ctypes.create_string_buffer(struct.pack("<H6xQ", len(program) // 8, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(no_new_privileges, *map(ctypes.c_ulong, (1, 0, 0, 0)))
    assert libc.prctl(set_seccomp, ctypes.c_ulong(mode_filter), fprog) == 0


def say(message: object) -> None:
    """One line to the test."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def hear() -> Any:
    """One line from the test."""
    return json.loads(sys.stdin.readline())


def until_acknowledged(tcp: socket.socket) -> None:
    """Wait until the far end has all that was sent: what is sent next has a segment of its own."""
    while int.from_bytes(fcntl.ioctl(tcp, SIOCOUTQ, bytes(4)), sys.byteorder):
        time.sleep(0.001)


def script(address: str, port: int, listens: bool, waits: bool = False) -> None:
    """One connection: each step waits for so many bytes, then sends each piece (hexadecimal) in a segment of its own.

    It hears the steps in its first line. Instead of a number null waits for a line. Those in a list of their own do not
    wait for one another.
    """
    steps: list[list[Any]] = hear()
    if listens:
        with socket.create_server((address, port)) as listener:
            say("listening")
            tcp, _ = listener.accept()
    else:
        tcp = socket.create_connection((address, port))
    with tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for wanted, pieces in steps:
            if wanted is None:
                say("waits")
                hear()
            left = wanted or 0
            while left:
                received = len(tcp.recv(min(left, 1 << 16)))
                assert received
                left -= received
            for piece in pieces:
                for segment in [piece] if isinstance(piece, str) else piece:
                    tcp.sendall(bytes.fromhex(segment))
                until_acknowledged(tcp)
        say("done")
        if waits:
            hear()


def rename(comm: str) -> None:
    """Give the calling thread another name."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, comm.encode(), 0, 0, 0)


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def query(txid: int, qname: str, qtype: int = 1, edns_bytes: int = 0) -> bytes:
    """A DNS query (RFC 1035 section 4.1), with EDNS if a buffer size is given."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in qname.split("."))
    additional = struct.pack("!BHHIH", 0, 41, edns_bytes, 0, 0) if edns_bytes else b""
    head = struct.pack("!HHHHHH", txid, 0x0100, 1, 0, 0, 1 if edns_bytes else 0)
    return head + labels + b"\0" + struct.pack("!HH", qtype, 1) + additional


# DNS clients


def ask_udp(server: str, questions: list[list[Any]], comm: str = "asker", connected: bool = True) -> None:
    """Ask [txid, qname, qtype] one after the other on one socket; says the nanoseconds and bytes of each answer."""
    rename(comm)
    told = []
    with socket.socket(family_of(server), socket.SOCK_DGRAM) as udp:
        udp.settimeout(20)
        if connected:
            udp.connect((server, DNS_PORT))
        for txid, qname, qtype in questions:
            message = query(txid, qname, qtype, edns_bytes=4096)
            before = time.monotonic_ns()
            if connected:
                udp.send(message)
            else:
                udp.sendto(message, (server, DNS_PORT))
            while (answer := udp.recv(65535))[:2] != message[:2]:
                pass
            told.append([time.monotonic_ns() - before, len(answer)])
    say(told)


def ask_again(server: str, txid: int, qname: str, waits_s: list[float]) -> None:
    """Send the same query again after each wait, then wait for the answer; says the nanoseconds since the first."""
    with socket.socket(family_of(server), socket.SOCK_DGRAM) as udp:
        udp.settimeout(20)
        udp.connect((server, DNS_PORT))
        before = time.monotonic_ns()
        udp.send(query(txid, qname))
        for wait_s in waits_s:
            time.sleep(wait_s)
            udp.send(query(txid, qname))
        udp.recv(65535)
        say(time.monotonic_ns() - before)


def ask_in_vain(servers: list[str], qname: str) -> None:
    """Ask each server once and listen to none until told to stop."""
    sockets = []
    for txid, server in enumerate(servers, 1):
        udp = socket.socket(family_of(server), socket.SOCK_DGRAM)
        udp.sendto(query(txid, qname), (server, DNS_PORT))
        sockets.append(udp)
    say("asked")
    hear()


def ask_all(servers: list[str], txid: int, qname: str, answers: int = 1) -> None:
    """Ask all servers at once, from one socket and with one id, as musl does; says who sent so many answers."""
    with socket.socket(family_of(servers[0]), socket.SOCK_DGRAM) as udp:
        udp.settimeout(20)
        for server in servers:
            udp.sendto(query(txid, qname), (server, DNS_PORT))
        say([udp.recvfrom(65535)[1][0] for _ in range(answers)])


def ask_aside(connected_to: str, server: str, port: int, qname: str) -> None:
    """Ask on a socket that is connected to a DNS server, but somebody else, on another port."""
    with socket.socket(family_of(server), socket.SOCK_DGRAM) as udp:
        udp.connect((connected_to, DNS_PORT))
        udp.sendto(query(7, qname), (server, port))
    say("sent")


def ask_where_nobody_serves(address: str, qnames: list[str]) -> None:
    """Ask all names at once on a connected socket; says the error that the first answer is."""
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
        udp.connect((address, DNS_PORT))
        udp.settimeout(20)
        try:
            for txid, qname in enumerate(qnames, 1):
                udp.send(query(txid, qname))
            udp.recv(65535)
        except OSError as error:
            say(error.errno)
        udp.send(query(9, "told.test"))  # or the error of the second would be told at the end of the socket only
        hear()


def ask_without_room(server: str, qname: str) -> None:
    """Ask on a socket that has no room for an answer, once told again on one that has."""
    with socket.socket(family_of(server), socket.SOCK_DGRAM) as udp:
        udp.settimeout(20)
        udp.connect((server, DNS_PORT))
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # the least that there is
        before = dropped_datagrams()
        txid = 0
        while dropped_datagrams() == before:  # nobody reads them
            txid += 1
            udp.send(query(txid, qname))
            time.sleep(0.01)
        say(txid)
        hear()
        while True:
            answer = udp.recv(65535)
            if int.from_bytes(answer[:2]) == txid - 1:
                break
        udp.send(query(txid, qname))
        say(int.from_bytes(udp.recv(65535)[:2]))
        hear()


def dropped_datagrams() -> int:
    """Of this network namespace, for want of room: RcvbufErrors in /proc/net/snmp."""
    names, counts = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line[:4] == "Udp:")
    return int(counts[names.index("RcvbufErrors")])


def answer_for_another(asked: str, other: str, address: str) -> None:
    """A server at `asked`; every question is answered from `other` first, with this address, which says a lie."""
    with (
        socket.socket(family_of(asked), socket.SOCK_DGRAM) as server,
        socket.socket(family_of(asked), socket.SOCK_DGRAM) as stranger,
    ):
        server.bind((asked, DNS_PORT))
        stranger.bind((other, DNS_PORT))
        say("serving")
        while True:
            message, client = server.recvfrom(65535)
            head = message[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + message[12:]
            record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4"
            stranger.sendto(head + record + socket.inet_aton(address), client)
            server.sendto(head + record + socket.inet_aton("192.0.2.1"), client)


def answer_when_told(address: str, questions: int) -> None:
    """Over UDP: read so many questions, then answer all of them."""
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
        udp.bind((address, DNS_PORT))
        say("serving")
        for message, client in [udp.recvfrom(65535) for _ in range(questions)]:
            udp.sendto(message[:2] + b"\x81\x80" + message[4:], client)
        say("answered")
        hear()


def serve_pipeline(address: str, questions: int, answer_bytes: int) -> None:
    """Over TCP: read so many questions, then answer all of them in one write."""
    with socket.create_server((address, DNS_PORT)) as listener:
        say("serving")
        tcp, _ = listener.accept()
        with tcp:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
            whole = b""
            for _ in range(questions):
                size = int.from_bytes(tcp.recv(2, socket.MSG_WAITALL))
                message = tcp.recv(size, socket.MSG_WAITALL)
                size = answer_bytes - len(message) - 12
                record = b"\xc0\x0c\0\x0a\0\1\0\0\0\x3c" + struct.pack("!H", size) + bytes(size)  # NULL
                answer = message[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + message[12:] + record
                whole += struct.pack("!H", len(answer)) + answer
            tcp.sendall(whole)
            tcp.recv(1)


def ask_same_id(server: str, txid: int, qnames: list[str]) -> None:
    """The same id on a socket for each name, all open at once."""
    sockets = []
    for qname in qnames:
        udp = socket.socket(family_of(server), socket.SOCK_DGRAM)
        udp.connect((server, DNS_PORT))
        udp.send(query(txid, qname))
        sockets.append(udp)
    for udp in sockets:
        udp.settimeout(20)
        udp.recv(65535)


def ask_tcp(server: str, qnames: list[str], pieces: list[int], qtype: int = 16) -> None:
    """Ask all names on one TCP connection at once, sent in pieces that end at these bytes, each in its own segment."""
    with socket.create_connection((server, DNS_PORT), timeout=20) as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        messages = [query(txid, qname, qtype) for txid, qname in enumerate(qnames, 1)]
        whole = b"".join(struct.pack("!H", len(message)) + message for message in messages)
        for start, end in zip([0, *pieces], [*pieces, len(whole)], strict=True):
            tcp.sendall(whole[start:end])
            time.sleep(0.02)
        said = b""
        answers: list[int] = []
        while len(answers) < len(qnames):
            said += tcp.recv(65535)
            while len(said) >= 2 and len(said) >= 2 + (size := int.from_bytes(said[:2])):
                answers.append(size)
                said = said[2 + size :]
    say(answers)


def ask_tcp_from_child(server: str, qname: str) -> None:
    """A child asks on the connection that its parent has made; says the child's pid."""
    with socket.create_connection((server, DNS_PORT), timeout=20) as tcp:
        pid = os.fork()
        if pid == 0:
            message = query(1, qname)
            tcp.sendall(struct.pack("!H", len(message)) + message)
            tcp.recv(65535)
            os._exit(0)
        os.waitpid(pid, 0)
    say(pid)


def ask_in_thread(server: str, qname: str, comm: str, thread_comm: str) -> None:
    """Ask from a thread that has a name of its own."""
    rename(comm)

    def ask() -> None:
        rename(thread_comm)
        ask_once(server, 1, qname)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()


def ask_once(server: str, txid: int, qname: str) -> None:
    """One query and its answer."""
    with socket.socket(family_of(server), socket.SOCK_DGRAM) as udp:
        udp.settimeout(20)
        udp.connect((server, DNS_PORT))
        udp.send(query(txid, qname))
        udp.recv(65535)


def ask_and_rename(server: str, qnames: list[str], comms: list[str]) -> None:
    """One query under each name."""
    for txid, (qname, comm) in enumerate(zip(qnames, comms, strict=True), 1):
        rename(comm)
        ask_once(server, txid, qname)


def ask_from_children(server: str, qname: str, children: int) -> None:
    """Children that share one socket each ask once; says their pids and the bytes that passed."""
    with socket.socket(family_of(server), socket.SOCK_DGRAM) as udp:
        udp.settimeout(20)
        udp.connect((server, DNS_PORT))
        pids, sent, received = [], 0, 0
        for txid in range(1, children + 1):
            message = query(txid, qname)
            pid = os.fork()
            if pid == 0:
                udp.send(message)
                os._exit(0)
            os.waitpid(pid, 0)
            pids.append(pid)
            sent += len(message)
            received += len(udp.recv(65535))
    say({"pids": pids, "bytes": sent + received})


def resolve(host: str, port: int, connections: int = 0) -> None:
    """getaddrinfo, then connections to the first address that it gave."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    for _ in range(connections):
        with socket.create_connection((addresses[0], port), timeout=20) as tcp:
            tcp.shutdown(socket.SHUT_WR)
            while tcp.recv(65536):
                pass
    say({"addresses": addresses})


def resolve_often(host: str, times: int) -> None:
    """getaddrinfo, one after the other, whether or not it finds anything."""
    for _ in range(times):
        with suppress(socket.gaierror):
            socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)


def resolve_at_once(hosts: list[str]) -> None:
    """The same for each host, in threads."""
    threads = [threading.Thread(target=resolve_often, args=(host, 1)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# TCP


def tcp_server(address: str, port: int, mode: str = "answer") -> None:
    """Serve until killed. The first 8 bytes that a client sends say how many it wants back.

    Modes: "answer" after the client's end of file; "reset" as soon as it has sent anything; "fork" answers in a child
    for each connection, whose pid it says; "hold" accepts and answers the first 8 bytes, but never closes first;
    "ignore" never accepts.
    """
    family = family_of(address)
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address == "::" else 1)
        listener.bind((address, port))
        listener.listen(1024)
        say("listening")
        if mode == "ignore":
            hear()
        while True:
            _serve_one(listener.accept()[0], mode)


def _serve_one(connection: socket.socket, mode: str) -> None:
    if mode == "fork":
        pid = os.fork()
        if pid == 0:
            _answer(connection)
            os._exit(0)
        connection.close()
        os.waitpid(pid, 0)
        say(pid)
    elif mode == "reset":
        connection.recv(65536)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        connection.close()
    elif mode == "hold":
        threading.Thread(target=_hold, args=(connection,), daemon=True).start()
    else:
        _answer(connection)


def _answer(connection: socket.socket) -> None:
    with connection:
        head = b""
        while len(head) < 8 and (chunk := connection.recv(8 - len(head))):
            head += chunk
        while connection.recv(1 << 20):
            pass
        if head:
            connection.sendall(bytes(int.from_bytes(head)))


def _hold(connection: socket.socket) -> None:
    with connection:
        wanted = int.from_bytes(connection.recv(8))
        connection.sendall(bytes(wanted))
        try:
            while connection.recv(1 << 20):
                pass
        except OSError:
            pass


def tcp_client(address: str, port: int, sizes: list[list[int]], comm: str = "talker", pause_s: float = 0.0) -> None:
    """For each [up, down] a connection that sends so much (8 bytes at least) and receives so much; says its ports."""
    rename(comm)
    ports = []
    for up, down in sizes:
        with socket.create_connection((address, port), timeout=20) as tcp:
            ports.append(tcp.getsockname()[1])
            tcp.sendall(down.to_bytes(8) + bytes(up - 8))
            tcp.shutdown(socket.SHUT_WR)
            received = 0
            while chunk := tcp.recv(1 << 20):
                received += len(chunk)
            if received != down:
                raise AssertionError(f"{received} of {down} bytes came back")
        time.sleep(pause_s)
    say(ports)


def tcp_leak(address: str, port: int) -> None:
    """Accept one connection and read to its end; says when that was. Once told, closes it; says when it has."""
    with socket.socket(family_of(address), socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        say("listening")
        tcp = listener.accept()[0]
        say("accepted")
        while tcp.recv(1024):
            pass
        say(time.monotonic_ns())
        hear()
        tcp.close()
        say(time.monotonic_ns())
        hear()


def tcp_lose(address: str, ports: list[int], comm: str = "loser") -> None:
    """A connection to each port, and says its own; then which of them breaks first, and how."""
    rename(comm)
    connections = [socket.create_connection((address, port), timeout=20) for port in ports]
    say([connection.getsockname()[1] for connection in connections])
    broken, _, _ = select.select(connections, [], [])
    try:
        broken[0].recv(1)
        say([connections.index(broken[0]), None])
    except OSError as error:
        say([connections.index(broken[0]), errno.errorcode[error.errno or 0]])
    hear()


def tcp_leave(address: str, port: int) -> None:
    """Connect and, once told, close; says when it has."""
    with socket.create_connection((address, port), timeout=20) as tcp:
        say("connected")
        hear()
        tcp.close()
        say(time.monotonic_ns())
        hear()


def tcp_sendfile(address: str, port: int, path: str, size: int) -> None:
    """Send a file of this size without it passing through the process."""
    with socket.create_connection((address, port), timeout=20) as tcp, Path(path).open("rb") as file:
        tcp.sendall((0).to_bytes(8))
        sent = 0
        while sent < size:
            sent += os.sendfile(tcp.fileno(), file.fileno(), sent, size - sent)
        tcp.shutdown(socket.SHUT_WR)
        tcp.recv(1)


def tcp_fail(address: str, port: int, syn_retries: int = 0) -> None:
    """Connect where that cannot work; says the error."""
    with socket.socket(family_of(address), socket.SOCK_STREAM) as tcp:
        if syn_retries:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, syn_retries)
        try:
            tcp.connect((address, port))
        except OSError as error:
            say(error.errno)


def tcp_fail_when_told(address: str, port: int, syn_retries: int) -> None:
    """The same, once told."""
    say("ready")
    hear()
    tcp_fail(address, port, syn_retries)


def fail_to_connect(addresses: list[str], port: int, comm: str = "unlucky", protocol: int = 0) -> None:
    """Once told, connect to each address on its own socket; says the errors, and closes at the end of its input."""
    rename(comm)
    say("ready")
    hear()
    sockets, errors = [], []
    for address in addresses:
        tcp = socket.socket(family_of(address), socket.SOCK_STREAM, protocol)
        errors.append(tcp.connect_ex((address, port)))
        sockets.append(tcp)
    say(errors)
    sys.stdin.readline()


def attempt(addresses: list[str], port: int, comm: str = "attempter") -> None:
    """For each line that it hears: connect by TCP, connect by UDP and send without, to each address; how each went.

    A port where nobody listens refuses, which says that the attempt was made.
    """
    rename(comm)
    say("ready")
    while hear():
        outcomes = {}
        for address in addresses:
            for how, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM), ("sendto", socket.SOCK_DGRAM)):
                with socket.socket(family_of(address), kind) as made:
                    try:
                        if how == "sendto":
                            made.sendto(b"x", (address, port))
                        else:
                            made.connect((address, port))
                    except OSError as error:
                        outcomes[f"{how} {address}"] = errno.errorcode[error.errno or 0]
                    else:
                        outcomes[f"{how} {address}"] = "done"
        say(outcomes)


def connect_again(attempts: list[list[Any]], listen: bool = False) -> None:
    """Connect to each [address, port] on the same socket, once told each time; says the errors. Then perhaps listen."""
    with socket.socket(family_of(attempts[0][0]), socket.SOCK_STREAM) as tcp:
        for address, port in attempts:
            hear()
            say(tcp.connect_ex((address, port)))
        if listen:
            tcp.listen()
            say("listening")
            hear()


def connect_without_port(address: str, port: int, source: list[Any]) -> None:
    """Two connections from one address and port to another: says the error of the second."""
    with (
        socket.socket(family_of(address), socket.SOCK_STREAM) as first,
        socket.socket(family_of(address), socket.SOCK_STREAM) as second,
    ):
        for tcp in (first, second):
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind(tuple(source))
        first.connect((address, port))
        say(second.connect_ex((address, port)))


TCP_FASTOPEN_CONNECT = 30  # include/uapi/linux/tcp.h


def connect_and_send_nothing(address: str, port: int) -> None:
    """With Fast Open the first segment waits for data, which never come."""
    with socket.socket(family_of(address), socket.SOCK_STREAM) as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        say(tcp.connect_ex((address, port)))


def tcp_fail_often(address: str, port: int, times: int) -> None:
    """Connect so often where nobody listens."""
    for _ in range(times):
        tcp_fail(address, port)


def tcp_give_up(address: str, port: int) -> None:
    """Begin to connect, and close before that came to anything."""
    with socket.socket(family_of(address), socket.SOCK_STREAM) as tcp:
        tcp.setblocking(False)
        tcp.connect_ex((address, port))
        time.sleep(0.05)


def tcp_be_reset(address: str, port: int, sent: int) -> None:
    """Send, and read until the server's reset; says the error."""
    with socket.create_connection((address, port), timeout=20) as tcp:
        tcp.sendall(bytes(sent))
        try:
            tcp.recv(1)
        except OSError as error:
            say(error.errno)


def tcp_close_unread(address: str, port: int, wanted: int) -> None:
    """Have so much sent, and close without reading any of it."""
    with socket.create_connection((address, port), timeout=20) as tcp:
        tcp.sendall(wanted.to_bytes(8))
        tcp.recv(1, socket.MSG_PEEK)


def tcp_reset_often(address: str, port: int, times: int) -> None:
    """Connections that send a byte and end by a reset."""
    for _ in range(times):
        with socket.create_connection((address, port), timeout=20) as tcp:
            tcp.sendall(b"x")
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    say("reset")


def tcp_reset(address: str, port: int, wanted: int) -> None:
    """Receive so much, then end the connection by a reset."""
    with socket.create_connection((address, port), timeout=20) as tcp:
        tcp.sendall(wanted.to_bytes(8))
        _receive(tcp, wanted)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


def tcp_stay(address: str, port: int, up: int, down: int) -> None:
    """Exchange so much as soon as connected, and as often again as told: a number of bytes up; "close" ends it."""
    with socket.create_connection((address, port), timeout=20) as tcp:
        tcp.sendall(down.to_bytes(8) + bytes(up - 8))
        _receive(tcp, down)
        say("exchanged")
        while isinstance(more := hear(), int):
            tcp.sendall(bytes(more))
            say("sent")


def visit_cpus(server: str, port: int, rounds: int) -> None:
    """On each CPU in turn a query to the server's port 53 and a connection; names and bytes count the visits."""
    cpus = sorted(os.sched_getaffinity(0))
    say(cpus)
    for number, cpu in enumerate(cpus * rounds):
        os.sched_setaffinity(0, {cpu})
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.connect((server, DNS_PORT))
            label = f"cpu-{number}".encode()
            header = struct.pack(">6H", number + 1, 0x0100, 1, 0, 0, 0)
            udp.send(header + bytes([len(label)]) + label + b"\x04test\0" + struct.pack(">HH", 1, 1))
            udp.recv(4096)
        with socket.create_connection((server, port), timeout=20) as tcp:
            tcp.sendall((number + 1).to_bytes(8) + bytes(number))
            tcp.shutdown(socket.SHUT_WR)
            _receive(tcp, number + 1)


def tcp_many(address: str, port: int, connections: int) -> None:
    """Connections of which the n-th sends n bytes, again as often as told, and all stay until told otherwise."""
    opened = [socket.create_connection((address, port), timeout=20) for _ in range(connections)]
    while True:
        for number, tcp in enumerate(opened, 1):
            tcp.sendall(bytes(number))
        say("sent")
        if hear() != "again":
            break
    for tcp in opened:
        tcp.close()


def tcp_listen(address: str, port: int, backlog: int, workers: int = 0, how: str = "") -> None:
    """Listen; so many children hold the socket too. Accept as many as told, keeping them; "stop" ends it all.

    `how` is "mptcp" or "reuseport".
    """
    rename("keeper")
    protocol = IPPROTO_MPTCP if how == "mptcp" else 0
    listener = socket.socket(family_of(address), socket.SOCK_STREAM, protocol)
    if how == "reuseport":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((address, port))
    listener.listen(backlog)
    parent = os.getpid()
    children = []
    for _ in range(workers):
        child = os.fork()
        if child == 0:
            while os.getppid() == parent:
                time.sleep(0.05)
            os._exit(0)
        children.append(child)
    say(children)
    accepted = []
    while (told := hear()) != "stop":
        accepted += [listener.accept()[0] for _ in range(told)]
        say("accepted")
    listener.close()
    say("stopped")
    hear()


def tcp_knock(address: str, port: int, times: int) -> None:
    """Begin to connect so often, without waiting for an answer; hold all until told."""
    knocking = []
    for _ in range(times):
        tcp = socket.socket(family_of(address), socket.SOCK_STREAM)
        tcp.setblocking(False)
        tcp.connect_ex((address, port))
        knocking.append(tcp)
    say("knocked")
    hear()


def tcp_until_timeout(address: str, port: int, user_timeout_ms: int) -> None:
    """Once told that the far end is gone, send into the void; says the error that ends it."""
    with socket.create_connection((address, port), timeout=20) as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout_ms)
        tcp.sendall((5).to_bytes(8))
        _receive(tcp, 5)
        say("exchanged")
        hear()
        tcp.sendall(bytes(13))
        try:
            tcp.recv(1)
        except OSError as error:
            say(error.errno)


def tcp_both_ends(address: str, port: int) -> None:
    """A connection that carried 5 bytes, of which this program has both ends; does what it is told, until null.

    "keep alive" sends a keepalive every second, "quiet" ends that; "fill" sends until the window is shut, as nobody
    reads; ["forge", n, hexadecimal] sends a segment that begins n bytes after what is expected next. Each of these, and
    "count", says how many segments each end has sent and received.
    """
    with socket.create_server((address, port)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # the accepted end's
        near = socket.create_connection((address, port), timeout=20)
        far = listener.accept()[0]
    near.sendall(b"hello")
    _receive(far, 5)
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    near.setblocking(False)
    say("connected")
    while (told := hear()) is not None:
        if told in ("keep alive", "quiet"):
            near.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, told == "keep alive")
        elif told == "fill":
            with suppress(BlockingIOError):
                while True:
                    near.send(bytes(4096))
        elif told != "count":
            _forge(near, far, told[1], bytes.fromhex(told[2]))
        say([_segments(near), _segments(far)])


def _segments(tcp: socket.socket) -> tuple[int, ...]:
    """Sent and received: tcpi_segs_out and tcpi_segs_in of struct tcp_info (include/uapi/linux/tcp.h)."""
    return struct.unpack_from("=II", tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 144), 136)


def _forge(near: socket.socket, far: socket.socket, beyond: int, payload: bytes) -> None:
    """As if `near` sent it, at this distance from what `far` expects next."""
    ports = struct.pack("!HH", near.getsockname()[1], far.getsockname()[1])
    ends = ((_next_sequence(far, 1) + beyond) % (1 << 32), _next_sequence(far, 2))
    addresses = b"".join(socket.inet_aton(end.getsockname()[0]) for end in (near, far))
    head = ports + struct.pack("!IIBBHHH", *ends, 5 << 4, 0x10, 1000, 0, 0)
    body = addresses + struct.pack("!HH", socket.IPPROTO_TCP, len(head + payload)) + head + payload + b"\0"
    words = sum(struct.unpack(f"!{len(body) // 2}H", body[: len(body) & ~1]))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.sendto(head[:16] + struct.pack("!H", 0xFFFF & ~words) + head[18:] + payload, (far.getsockname()[0], 0))


def _next_sequence(tcp: socket.socket, queue: int) -> int:
    """Of what it receives (1) or sends (2), as a checkpoint of the connection reads it (include/uapi/linux/tcp.h)."""
    repair, repair_queue, queue_seq, off_without_probe = 19, 20, 21, -1
    tcp.setsockopt(socket.IPPROTO_TCP, repair, 1)
    tcp.setsockopt(socket.IPPROTO_TCP, repair_queue, queue)
    sequence = int.from_bytes(tcp.getsockopt(socket.IPPROTO_TCP, queue_seq, 4), sys.byteorder)
    tcp.setsockopt(socket.IPPROTO_TCP, repair, off_without_probe)
    return sequence


def _receive(tcp: socket.socket, wanted: int) -> None:
    while wanted:
        wanted -= len(tcp.recv(wanted))


# UDP


def udp_echo(address: str, port: int) -> None:
    """Send every datagram back until killed."""
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        udp.bind((address, port))
        say("bound")
        while True:
            datagram, peer = udp.recvfrom(65535)
            udp.sendto(datagram, peer)


def udp_client(address: str, port: int, sizes: list[int], stay: bool = False, comm: str = "pinger") -> None:
    """Send a datagram of each size and wait for it to come back; with `stay` keep the socket until told."""
    rename(comm)
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
        udp.settimeout(20)
        for size in sizes:
            udp.sendto(bytes([size % 251]) * size, (address, port))
            if udp.recv(65535) != bytes([size % 251]) * size:
                raise AssertionError("it came back changed")
        say("exchanged")
        if stay:
            hear()


def udp_to_nobody(address: str, port: int, datagrams: int) -> None:
    """Send so many where nobody is, each after the error that the one before brought; says how many errors came."""
    errors = 0
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.5)
        udp.connect((address, port))
        for _ in range(datagrams):
            udp.send(b"x")
            try:
                udp.recv(1)
            except OSError as error:
                errors += error.errno == errno.ECONNREFUSED
    say(errors)
    sys.stdin.readline()


def udp_flood(address: str, port: int, datagrams: int, sources: int = 0) -> None:
    """Send so many as fast as can be; with `sources` from so many addresses of 127.0.0.0/8 in turn."""
    rename("flooder")
    senders = []
    for number in range(sources or 1):
        udp = socket.socket(family_of(address), socket.SOCK_DGRAM)
        if sources:
            udp.bind((f"127.9.{number >> 8}.{number & 255}", 0))
        senders.append(udp)
    for number in range(datagrams):
        senders[number % len(senders)].sendto(b"x", (address, port))
    say("sent")


def udp_overflow(address: str, port: int, datagrams: int) -> None:
    """Send oneself more than a small receive buffer holds; says how many the kernel counted as dropped."""
    rename("flooded")
    with (
        socket.socket(family_of(address), socket.SOCK_DGRAM) as udp,
        socket.socket(family_of(address), socket.SOCK_DGRAM) as sender,
    ):
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        udp.bind((address, port))
        for _ in range(datagrams):
            sender.sendto(bytes(500), (address, port))
        table = Path("/proc/net/udp").read_text().splitlines()[1:]
        say(next(int(line.split()[-1]) for line in table if line.split()[1].endswith(f":{port:04X}")))
        sys.stdin.readline()


def udp_sink(address: str, port: int) -> None:
    """Receive until told; says how many bytes came."""
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
        udp.bind((address, port))
        say("bound")
        wanted = hear()
        received = 0
        while received < wanted:
            received += len(udp.recv(65535))
        say(received)


# All of it


def errand(comm: str, tcp_port: int, udp_port: int) -> None:
    """When told: a query, a connection with 29 bytes up and 31 down, and 37 bytes of UDP both ways."""
    rename(comm)
    say("ready")
    hear()
    ask_once("127.0.0.1", 1, f"{comm}.test")
    with socket.create_connection(("127.0.0.1", tcp_port), timeout=20) as tcp:
        tcp.sendall((31).to_bytes(8) + bytes(21))
        tcp.shutdown(socket.SHUT_WR)
        while tcp.recv(65536):
            pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(20)
        udp.sendto(bytes(37), ("127.0.0.1", udp_port))
        udp.recv(65535)
    say("done")
    hear()


def short_lives(netns: str, groups: list[str], address: str, port: int) -> None:
    """A child in each of these cgroups that sends one byte and ends; says their pids once all are over."""
    pids = []
    with Path(
        netns
    ).open() as namespace:  # here and not before: with `ip netns exec` there is another /sys, without cgroups
        if ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET):
            raise AssertionError("it did not get into the namespace")
    for group in groups:
        child = os.fork()
        if not child:
            Path(group, "cgroup.procs").write_text("0")  # cgroup.procs takes it for whoever writes
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.sendto(b"x", (address, port))
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            raise AssertionError("it did not get there")
        pids.append(child)
    say(pids)
    hear()


def leave_socket_to_child(address: str, port: int, sizes: list[int]) -> None:
    """Parent and child send on one socket; the parent ends, and once told the child sends the last datagram."""
    rename("parent")
    udp = socket.socket(family_of(address), socket.SOCK_DGRAM)
    udp.sendto(bytes(sizes[0]), (address, port))
    say("sent")
    hear()
    sent, done = os.pipe()
    child = os.fork()
    if child:
        os.read(sent, 1)
        say(child)
        os._exit(0)
    rename("child")
    udp.sendto(bytes(sizes[1]), (address, port))
    os.write(done, b"x")
    hear()
    udp.sendto(bytes(sizes[2]), (address, port))
    sys.stdin.readline()


def ask_at_once(server: str, questions: list[list[Any]]) -> None:
    """Ask [txid, qname, qtype] on one socket, all before the first answer; answer them; says how many came back."""
    rename("asker")
    with (
        socket.socket(family_of(server), socket.SOCK_DGRAM) as served,
        socket.socket(family_of(server), socket.SOCK_DGRAM) as udp,
    ):
        served.bind((server, DNS_PORT))
        udp.settimeout(20)
        for txid, qname, qtype in questions:
            udp.sendto(query(txid, qname, qtype), (server, DNS_PORT))
        for _ in questions:
            message, asker = served.recvfrom(65535)
            served.sendto(message[:2] + b"\x81\x80" + message[4:], asker)
        say(len([udp.recv(65535) for _ in questions]))
        sys.stdin.readline()


# Multipath TCP

IPPROTO_MPTCP = 262


def multipath_server(address: str, port: int, connections: int) -> None:
    """Sends back what it gets, so many times."""
    rename("server")
    with socket.socket(family_of(address), socket.SOCK_STREAM, IPPROTO_MPTCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        say("listening")
        for _ in range(connections):
            accepted, _peer = listener.accept()
            with accepted:
                while chunk := accepted.recv(65536):
                    accepted.sendall(chunk)


def multipath_client(address: str, port: int, connections: int) -> None:
    """So many conversations, each long enough for a second subflow."""
    rename("client")
    for _ in range(connections):
        with socket.socket(family_of(address), socket.SOCK_STREAM, IPPROTO_MPTCP) as tcp:
            tcp.connect((address, port))
            for _ in range(20):
                tcp.sendall(bytes(1000))
                tcp.recv(1000)
                time.sleep(0.02)
            tcp.shutdown(socket.SHUT_WR)
            while tcp.recv(65536):
                pass


# Sockets that come and go


def close_under_a_flood(address: str, port: int, sockets: int) -> None:
    """Bind and close so many sockets while a child sends to their port."""
    child = os.fork()
    if child == 0:
        with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
            parent = os.getppid()
            while os.getppid() == parent:
                udp.sendto(bytes(10), (address, port))
        os._exit(0)
    for _ in range(sockets):
        with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.bind((address, port))
    os.kill(child, 9)
    os.waitpid(child, 0)


def handle_packets(family: int, kind: int, protocol: int, receive_bytes: int = 0, comm: str = "packets") -> None:
    """A socket that does what it is told, until null.

    That is ["send", hexadecimal, address], ["read", packets], ["drain"], or ["refuse"]: a filter lets nothing in.

    Says the bytes that it sent, or how many packets it read and their payload of IP.
    """
    rename(comm)
    with socket.socket(family, kind, protocol) as raw:
        if receive_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        has_header = kind == socket.SOCK_RAW and family == socket.AF_INET  # raw(7)
        if kind == socket.SOCK_RAW and protocol == socket.IPPROTO_ICMPV6:
            raw.setsockopt(protocol, ICMPV6_FILTER, only_echo_replies())  # as ping(8) does
        say("ready")
        while (told := hear()) is not None:
            if told[0] == "send":
                say(raw.sendto(bytes.fromhex(told[1]), (told[2], 0)))
                continue
            if told[0] == "refuse":
                program = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # BPF_RET 0
                filtering = struct.pack("HxxxxxxQ", 1, ctypes.addressof(program))  # struct sock_fprog
                raw.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filtering)
                say("refusing")
                continue
            wanted, packets, payload = (told[1] if told[0] == "read" else None), 0, 0
            raw.settimeout(20 if wanted else 0)
            with suppress(BlockingIOError):
                while packets != wanted:
                    got = raw.recv(65535)
                    packets += 1
                    payload += len(got) - ((got[0] & 15) * 4 if has_header else 0)
            say([packets, payload])


def only_echo_replies() -> bytes:
    """A struct icmp6_filter (RFC 3542 section 3.2): a bit for each type that does not pass."""
    blocked = ~(1 << ICMPV6_ECHO_REPLY) & (1 << 256) - 1
    return b"".join(struct.pack("=I", blocked >> shift & 0xFFFFFFFF) for shift in range(0, 256, 32))


def echo_request(family: int, size: int, number: int = 1) -> bytes:
    """An ICMP echo request with so many bytes of data (RFC 792, RFC 4443 section 4.1)."""
    body = struct.pack("!HH", 7, number) + bytes(size)
    if family == socket.AF_INET6:
        return struct.pack("!BBH", 128, 0, 0) + body  # the kernel fills in the checksum
    return struct.pack("!BBH", 8, 0, _internet_checksum(b"\x08\0" + body)) + body


def _internet_checksum(whole: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    words: int = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    return 0xFFFF & ~words


def send_to_many(address: str, ports: list[int], rounds: int) -> None:
    """From one socket, to each port as many bytes as it is above 7000."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for _ in range(rounds):
            for port in ports:
                udp.sendto(bytes(port - 7000), (address, port))
        say("sent")
        hear()


def forge_syns(address: str, port: int, sources: int, checksum: bool = False) -> None:
    """Ask for a connection once from each of so many addresses that are not ours, 11.0.0.0 and the following.

    Without the checksum of TCP they are dropped before anybody looks who listens.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        to = _number_of(address)
        for number in range(0x0B000000, 0x0B000000 + sources):
            tcp = struct.pack("!HHIIBBHHH", 40_000, port, 1, 0, 5 << 4, 2, 1_000, 0, 0)
            if checksum:
                pseudo = struct.pack("!IIHH", number, to, socket.IPPROTO_TCP, len(tcp))
                tcp = tcp[:16] + struct.pack("!H", _internet_checksum(pseudo + tcp)) + tcp[18:]
            head = struct.pack("!BBHHHBBHII", 0x45, 0, 40, 0, 0, 64, socket.IPPROTO_TCP, 0, number, to)
            raw.sendto(head + tcp, (address, 0))
    say("sent")


def tag_frame(interface: str, source: str, destination_mac: str, tags: int) -> None:
    """Send one UDP datagram with this many VLAN tags in the frame itself, which no device has taken out."""
    ethernet = bytes.fromhex(destination_mac.replace(":", "")) + bytes.fromhex("020000000001")
    udp = struct.pack("!HHHH", 1, 9, 9, 0) + b"x"
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, _number_of(source), 0)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((interface, 0))
        raw.send(ethernet + struct.pack("!HH", 0x8100, 7) * tags + struct.pack("!H", 0x0800) + ip + udp)
    say("sent")


def _number_of(address: str) -> int:
    (number,) = struct.unpack("!I", socket.inet_aton(address))
    return int(number)


def make_sockets(count: int) -> None:
    """Make UDP sockets once told, as far as that is allowed; says how many, and closes them at the end of its input."""
    say("ready")
    hear()
    made = []
    for _ in range(count):
        with suppress(PermissionError):
            made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    say(len(made))
    sys.stdin.readline()


# One end of a connection, told what to do


def turn_end(
    address: str, port: int, *, connects: bool, tls: str | None = None, deferred: bool = False, waits: bool = True
) -> None:
    """Connect once told, or accept, say so, then do what is heard, [verb, argument], and say what came of it.

    `tls` is a file with a certificate and its key. `deferred`: accepted only with the first request. Without `waits`
    nobody waits until the connection is made.
    """
    # it runs as soon as there is something to do, so that the times that it takes are those of the kernel
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with socket.socket(family_of(address), socket.SOCK_STREAM) as tcp:
        if connects:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tcp.setblocking(waits)
            hear()
            tcp.connect_ex((address, port))
            end = tcp
        else:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if deferred:
                tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 60)
            tcp.bind((address, port))
            tcp.listen(5)
            say("listening")
            end = tcp.accept()[0]
        if tls is not None:
            import ssl  # noqa: PLC0415 - nobody else here waits for it

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if connects else ssl.PROTOCOL_TLS_SERVER)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if not connects:
                context.load_cert_chain(tls)
            end = context.wrap_socket(end, server_side=not connects)
        say("connected")
        while True:
            verb, argument = hear()
            say(_TURN[verb](end, argument))


def _take(end: socket.socket, size: int) -> int:
    while size:
        size -= len(end.recv(size))
    return time.monotonic_ns()


def _ask(end: socket.socket, times: int) -> list[float]:
    """So many questions of one byte, each with how many milliseconds its answer took."""
    took = []
    for _ in range(times):
        begun_ns = time.monotonic_ns()
        end.send(b"?")
        took.append((_take(end, 1) - begun_ns) / 1e6)
    return took


def _answer_slowly(end: socket.socket, thinks_ms: list[int]) -> None:
    for think_ms in thinks_ms:
        _take(end, 1)
        time.sleep(think_ms / 1000)
        end.send(b"!")


def _fill(end: socket.socket, _argument: None) -> int:
    """Send until no more fits, also a while later: the kernel makes room for more while some of it goes out."""
    end.settimeout(0.5)
    sent = 0
    with suppress(TimeoutError):
        while True:
            sent += end.send(bytes(65_536))
    end.settimeout(None)
    return sent


_TURN: dict[str, Callable[[socket.socket, Any], Any]] = {
    "send": lambda end, size: end.send(bytes(size)),
    "receive": _take,
    "ask": _ask,
    "answer": _answer_slowly,
    "fill": _fill,
    "shutdown": lambda end, _: end.shutdown(socket.SHUT_WR),
    "close": lambda end, _: end.close(),
}
