"""A DNS server that misbehaves as the first label of a question says; dnsmasq is the one for ordinary answers.

Run by lab.Namespace.play(). `hold-N-*` answers after N ms, `silent-*` never, `drop-*` the second time only, `size-N-*`
with a message of N bytes, `servfail-*` and `refused-*` with these codes, `ids-*` is answered with a wrong id first,
`cut-*` is truncated over UDP.
Others at once: A with 192.0.2.1, AAAA with 2001:db8::1, TXT with the nanoseconds between question and answer.
Over TCP, `pipe-N-*` waits for N questions and answers them in reverse order in one segment, and `split-*` is answered
in three segments that cut the length in two.
"""

import heapq
import select
import socket
import struct
import sys
import threading
import time
from typing import Any

from dnslib import AAAA, QTYPE, RCODE, RR, TXT, A, DNSHeader, DNSRecord

DNS_PORT = 53


def serve(addresses: list[str], port: int = DNS_PORT) -> None:
    """Answer until killed."""
    sockets: list[socket.socket] = []
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        udp.bind((address, port))
        sockets.append(udp)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((address, port))
        tcp.listen(128)
        threading.Thread(target=accept, args=(tcp,), daemon=True).start()
    sys.stdout.write('"serving"\n')
    sys.stdout.flush()
    answer_datagrams(sockets)


def answer_datagrams(sockets: list[socket.socket]) -> None:
    waiting: list[tuple[float, int, Any]] = []  # due, to tell equal ones apart, what to do then
    dropped: set[tuple[str, int]] = set()
    number = 0
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select(sockets, [], [], timeout)
        while waiting and waiting[0][0] <= time.monotonic():
            udp, client, question, came_ns = heapq.heappop(waiting)[2]
            udp.sendto(answer(question, came_ns), client)
        for udp in ready:
            datagram, client = udp.recvfrom(65535)
            came_ns = time.monotonic_ns()
            question = DNSRecord.parse(datagram)
            kind, _, rest = label(question).partition("-")
            if kind == "silent":
                continue
            if kind == "drop" and (key := (label(question), question.q.qtype)) not in dropped:
                dropped.add(key)
                continue
            if kind == "hold":
                number += 1
                due = came_ns / 1e9 + int(rest.partition("-")[0]) / 1e3
                heapq.heappush(waiting, (due, number, (udp, client, question, came_ns)))
                continue
            if kind == "cut":
                udp.sendto(bytes(DNSRecord(DNSHeader(id=question.header.id, qr=1, tc=1), q=question.q).pack()), client)
                continue
            if kind == "ids":
                udp.sendto(answer(question, came_ns, id_offset=1), client)
            udp.sendto(answer(question, came_ns), client)


def label(question: Any) -> str:
    return str(question.q.qname.label[0].decode())


def answer(question: Any, came_ns: int, id_offset: int = 0) -> bytes:
    """The message for a question; its time is taken last, so that it is no longer than what nettop measures."""
    kind, _, rest = label(question).partition("-")
    header = DNSHeader(id=(question.header.id + id_offset) & 0xFFFF, qr=1, aa=1, rd=1, ra=1)
    reply = DNSRecord(header, q=question.q)
    qname, qtype = question.q.qname, QTYPE[question.q.qtype]
    if kind in ("servfail", "refused"):
        header.set_rcode(getattr(RCODE, kind.upper()))
        return bytes(reply.pack())
    if kind == "size":
        return padded(reply, qname, int(rest.partition("-")[0]))
    if qtype == "A":
        reply.add_answer(RR(qname, QTYPE.A, rdata=A("192.0.2.1"), ttl=7))
    elif qtype == "AAAA":
        reply.add_answer(RR(qname, QTYPE.AAAA, rdata=AAAA("2001:db8::1"), ttl=7))
    elif qtype == "TXT":
        held = str(time.monotonic_ns() - came_ns).encode()
        reply.add_answer(RR(qname, QTYPE.TXT, rdata=TXT(held), ttl=7))
    return bytes(reply.pack())


def padded(reply: Any, qname: Any, size: int) -> bytes:
    """The reply with as many TXT records as bring it to this size."""
    one = RR(qname, QTYPE.TXT, rdata=TXT(b""), ttl=7)
    overhead = len(DNSRecord(reply.header, q=reply.q, rr=[one]).pack()) - len(reply.pack())
    while (room := size - len(reply.pack())) > 0:
        text = min(255, room - overhead)
        left = room - overhead - text
        if 0 < left < overhead:
            text -= overhead
        reply.add_answer(RR(qname, QTYPE.TXT, rdata=TXT(b"x" * text), ttl=7))
    return bytes(reply.pack())


def accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=converse, args=(connection,), daemon=True).start()


def converse(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    said = b""
    collected: list[Any] = []
    with connection:
        while chunk := connection.recv(65535):
            said += chunk
            while len(said) >= 2 and len(said) >= 2 + (size := int.from_bytes(said[:2])):
                collected.append(DNSRecord.parse(said[2 : 2 + size]))
                said = said[2 + size :]
            if collected:
                collected = reply_tcp(connection, collected)


def reply_tcp(connection: socket.socket, questions: list[Any]) -> list[Any]:
    """Answer these; returns those that wait for more."""
    kind, _, rest = label(questions[0]).partition("-")
    if kind == "silent" or (kind == "pipe" and len(questions) < int(rest.partition("-")[0])):
        return questions
    messages = [answer(question, time.monotonic_ns()) for question in reversed(questions)]
    whole = b"".join(struct.pack("!H", len(message)) + message for message in messages)
    if kind == "split":
        for piece in (whole[:1], whole[1:7]):
            connection.sendall(piece)
            time.sleep(0.02)
        whole = whole[7:]
    connection.sendall(whole)
    return []
