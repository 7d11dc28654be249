"""Programs of the live test of mDNS: who asks and who answers on 224.0.0.251, with dnslib's messages. Run by play()."""

import json
import socket
import sys
import time
from typing import Any

from dnslib import QTYPE, RR, A, DNSHeader, DNSQuestion, DNSRecord

GROUP, PORT = "224.0.0.251", 5353


def member(address: str) -> socket.socket:
    """A socket of the group, on the interface with this address."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    udp.bind(("", PORT))
    both = socket.inet_aton(GROUP) + socket.inet_aton(address)
    udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, both)
    udp.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    udp.settimeout(20)
    return udp


def respond(address: str, names: list[str]) -> None:
    """Tell the group the address of these names when asked for it, until killed."""
    udp = member(address)
    say("responding")
    while True:
        message, _ = udp.recvfrom(65535)
        asked = DNSRecord.parse(message)
        told = [str(each.qname).rstrip(".") for each in asked.questions]
        known = [name for name in told if name in names]
        if asked.header.qr == 0 and known:
            answer = DNSRecord(DNSHeader(id=0, qr=1, aa=1, rd=0))
            for name in known:
                answer.add_answer(RR(name, QTYPE.A, rclass=0x8001, rdata=A("192.0.2.9"), ttl=120))
            udp.sendto(answer.pack(), (GROUP, PORT))


def ask(address: str, names: list[str], answers: int) -> None:
    """Ask for all names in one message and wait for so many answers; says the nanoseconds until the first."""
    udp = member(address)
    record = DNSRecord(DNSHeader(id=0, qr=0, rd=0))
    for name in names:
        record.add_question(DNSQuestion(name, QTYPE.A))
    before = time.monotonic_ns()
    udp.sendto(record.pack(), (GROUP, PORT))
    passed = []
    while answers:
        heard = DNSRecord.parse(udp.recv(65535))
        if heard.header.qr:
            answers -= len(heard.rr)
            passed.append(time.monotonic_ns() - before)
    say(passed[0])


def say(message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
