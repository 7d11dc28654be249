"""Programs that hand sockets on, share them, or have somebody else handle their packets; as in talk.py."""

import mmap
import os
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.live.programs import DNS_PORT, family_of, hear, query, rename, say
from tests.live.truth.talk import PATIENCE_S, Talk, plain, tell, watch_the_clock  # noqa: F401 - play.py calls the last

NFQUEUE, NFQNL_MSG_PACKET, NFQNL_MSG_VERDICT, NFQNL_MSG_CONFIG = 3, 0, 1, 2  # nfnetlink_queue.h of the kernel's uapi
NFQA_CFG_CMD, NFQA_CFG_PARAMS, NFQA_PACKET_HDR, NFQA_VERDICT_HDR = 1, 2, 1, 2
NETLINK_NETFILTER, NLM_F_REQUEST, NLM_F_ACK = 12, 1, 4
TCP_FASTOPEN, MSG_FASTOPEN = 23, 0x20000000
LEAST_BUFFER = 1  # bytes: the kernel rounds it up to what it allows


def connect_and_leave(ledger: str, address: str, port: int, size: int, pause_s: float) -> None:
    """Connect and end; a child goes on with the connection, which carries all of its bytes (ssh -f, most daemons)."""
    rename("opener")
    tcp = socket.create_connection((address, port), timeout=PATIENCE_S)
    if pause_s:  # else it is over before anybody looks, and all of it is the child's
        tell(ledger, "process", tcp_tx_bytes=0, tcp_rx_bytes=0, udp_tx_bytes=0, udp_rx_bytes=0)
    if os.fork():
        os._exit(0)
    rename("heir")
    time.sleep(pause_s)
    heir = Talk(ledger, tcp, "outbound", alone=False)
    heir.fact |= {"local": plain(tcp), "remote": (address, port)}
    heir.follow([["send", size // 2], ["sleep", pause_s], ["send", size - size // 2], ["shutdown"], ["eof"], ["close"]])


def lose_to_administrator(ledger: str, address: str, port: int) -> None:
    """Has both ends of a connection, of which somebody else ends the accepted one (ss -K)."""
    rename("victim")
    with socket.create_server((address, port)) as listener:
        near = socket.create_connection((address, port), timeout=PATIENCE_S)
        far, _ = listener.accept()
        near.sendall(bytes(11))
        assert len(far.recv(100)) == 11
        ends = (("outbound", near, 11, 0, "reset-by-peer"), ("inbound", far, 0, 11, "reset-by-us"))
        facts = [
            {
                "direction": direction,
                "local": plain(tcp),
                "remote": tcp.getpeername(),
                "tx_bytes": tx,
                "rx_bytes": rx,
                "end": end,
            }
            for direction, tcp, tx, rx, end in ends
        ]
        say("connected")
        hear()
        with suppress(ConnectionError):
            near.recv(1)
        for fact in facts:
            tell(ledger, "connection", **fact)
        near.close()
        far.close()


def send_by_child(ledger: str, address: str, port: int, size: int) -> None:
    """A parent makes the socket, a child is the only one that sends on it."""
    rename("parent")
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect((address, port))
    if child := os.fork():
        os.waitpid(child, 0)
        return
    rename("child")
    tell(ledger, "datagrams", tx_bytes=udp.send(bytes(size)))
    os._exit(0)


def judge_packets(queue: int) -> None:
    """A firewall in user space that lets everything pass, as OpenSnitch, Portmaster and inline Suricata do."""
    rename("firewall")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.bind((0, 0))

        def attribute(kind: int, value: bytes) -> bytes:
            padding = bytes(-len(value) % 4)
            return struct.pack("=HH", 4 + len(value), kind) + value + padding

        def send(kind: int, attributes: bytes, flags: int) -> None:
            body = struct.pack("!BBH", 0, 0, queue) + attributes
            netlink.send(struct.pack("=IHHII", 16 + len(body), NFQUEUE << 8 | kind, flags, 1, 0) + body)

        for setting in (
            attribute(NFQA_CFG_CMD, struct.pack("!BxH", 1, 0)),  # bind
            attribute(NFQA_CFG_PARAMS, struct.pack("!IB", 0xFFFF, 2)),  # with the packet
        ):
            send(NFQNL_MSG_CONFIG, setting, NLM_F_REQUEST | NLM_F_ACK)
            netlink.recv(4096)
        say("judging")
        while True:
            message = netlink.recv(1 << 16)
            if message[4] != NFQNL_MSG_PACKET or message[5] != NFQUEUE:
                continue
            length, kind = struct.unpack_from("=HH", message, 20)  # the packet's head comes first
            assert (kind & 0x7FFF, length) == (NFQA_PACKET_HDR, 11)
            (number,) = struct.unpack_from("!I", message, 24)
            send(NFQNL_MSG_VERDICT, attribute(NFQA_VERDICT_HDR, struct.pack("!II", 1, number)), NLM_F_REQUEST)


def read_late(ledger: str, address: str, port: int) -> None:
    """Has the smallest receive buffer, and reads what is left in it once told."""
    rename("slow")
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LEAST_BUFFER)
        udp.bind((address, port))
        say("bound")
        sent = hear()
        udp.setblocking(False)
        read = datagrams = 0
        try:
            while True:
                read += len(udp.recv(1 << 16))
                datagrams += 1
        except BlockingIOError:
            pass
    assert 0 < datagrams < sent, "its buffer was meant to be too small"
    tell(
        ledger, "process", tcp_tx_bytes=0, tcp_rx_bytes=0, udp_tx_bytes=0, udp_rx_bytes=read,
        udp_rx_dropped=sent - datagrams,
    )  # fmt: skip
    tell(ledger, "dropped", drops={"SOCKET_RCVBUFF": sent - datagrams})


def send_behind_headers(port: int, datagrams: int, size: int, fragment: bool) -> None:
    """IPv6 datagrams to ::1 behind an atomic fragment header (RFC 6946), or six of destination options."""
    rename("sender")
    local = socket.inet_pton(socket.AF_INET6, "::1")
    udp_bytes = 8 + size
    pseudo = local + local + struct.pack("!IHBB", udp_bytes, 0, 0, socket.IPPROTO_UDP)
    payload = bytes(size)
    checksum = _checksum(pseudo + struct.pack("!HHHH", port, port, udp_bytes, 0) + payload) or 0xFFFF
    udp = struct.pack("!HHHH", port, port, udp_bytes, checksum) + payload
    if fragment:
        first, headers = 44, struct.pack("!BBHI", socket.IPPROTO_UDP, 0, 0, 7)
    else:
        kinds = [60, 60, 60, 60, 60, socket.IPPROTO_UDP]
        first, headers = 60, b"".join(struct.pack("!BB", kind, 0) + b"\1\4\0\0\0\0" for kind in kinds)
    packet = struct.pack("!IHBB", 6 << 28, len(headers) + udp_bytes, first, 64) + local + local + headers + udp
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for _ in range(datagrams):
            raw.sendto(packet, ("::1", 0))


def stall(address: str, port: int) -> None:
    """Has the smallest receive buffer and never reads; says, when asked, how many datagrams the kernel dropped."""
    rename("stalled")
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LEAST_BUFFER)
        udp.bind((address, port))
        say("bound")
        while hear() is not None:
            sockets = [line.split() for line in Path("/proc/self/net/udp").read_text().splitlines()[1:]]
            say(next(int(fields[-1]) for fields in sockets if fields[1].endswith(f":{port:04X}")))


def shut_down_by_grandchild(ledger: str, address: str, port: int, size: int) -> None:
    """Sends all of it and keeps the connection; a grandchild that never sent shuts it down."""
    rename("sender")
    tcp = socket.create_connection((address, port), timeout=PATIENCE_S)
    sender = Talk(ledger, tcp, "outbound", alone=False)
    sender.fact |= {"local": plain(tcp), "remote": (address, port)}
    sender.send(size)
    child = os.fork()
    if child == 0:
        child = os.getpid()
        if os.fork() == 0:
            while os.getppid() == child:
                time.sleep(0.001)
            tcp.shutdown(socket.SHUT_WR)
        os._exit(0)
    os.waitpid(child, 0)
    sender.follow([["eof"], ["close"]])


def leave_connection_to_child(ledger: str, address: str, port: int, size: int) -> None:
    """Connects, and lives on without the connection, which its child has."""
    rename("parent")
    tcp = socket.create_connection((address, port), timeout=PATIENCE_S)
    released, done = os.pipe()
    child = os.fork()
    if child:
        tcp.close()
        os.write(done, b"x")
        os.waitpid(child, 0)
        return
    rename("child")
    os.read(released, 1)
    heir = Talk(ledger, tcp, "outbound", alone=False)
    heir.fact |= {"local": plain(tcp), "remote": (address, port)}
    heir.follow([["send", size], ["close"]])
    os._exit(0)


def send_many(ledger: str, address: str, port: int, datagrams: int, size: int) -> None:
    """So many datagrams, as fast as it goes."""
    rename("sender")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for _ in range(datagrams):
            udp.sendto(bytes(size), (address, port))
    tell(ledger, "datagrams", tx_bytes=datagrams * size)


def meet_on_fresh_sockets(ledger: str, address: str, first_port: int, sockets: int, rounds: int) -> None:
    """Two senders, each bound to a processor, send one datagram each to sockets that nobody has sent to before."""
    rename("receiver")
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # who is watched must not starve the watcher
    shared = mmap.mmap(-1, 64)  # three numbers: the round that may begin, and the rounds that each sender has ended
    size, senders = 8, []
    # Of each round its own: a socket that is closed while a scan of open files looks at it gives its port back late.
    ports = [range(first_port + each * sockets, first_port + (each + 1) * sockets) for each in range(rounds)]
    for number in (1, 2):
        pid = os.fork()
        if pid == 0:
            rename(f"sender-{number}")
            processors = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {processors[number % len(processors)]})
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                send, payload = udp.sendto, bytes(size)
                for each in range(1, rounds + 1):
                    targets = [(address, port) for port in ports[each - 1]]
                    while struct.unpack_from("q", shared)[0] < each:
                        pass
                    for target in targets:
                        send(payload, target)
                    struct.pack_into("q", shared, number * 8, each)
            tell(ledger, "datagrams", tx_bytes=rounds * sockets * size)
            os._exit(0)
        senders.append(pid)
    received = 0
    for each in range(1, rounds + 1):
        opened = []
        for port in ports[each - 1]:
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind((address, port))
            udp.settimeout(PATIENCE_S)
            opened.append(udp)
        struct.pack_into("q", shared, 0, each)
        for udp in opened:
            received += len(udp.recv(size)) + len(udp.recv(size))
            udp.close()
    for pid in senders:
        os.waitpid(pid, 0)
    assert received == 2 * rounds * sockets * size
    tell(ledger, "datagrams", rx_bytes=received)


def fast_open_server(ledger: str, address: str, port: int, request: int, reply: int) -> None:
    """Accepts a connection with its first segment, answers and closes at once."""
    rename("hasty")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, 16)
        listener.listen()
        say("listening")
        tcp, remote = listener.accept()
        with tcp:
            local = plain(tcp)
            assert len(tcp.recv(1 << 16)) == request
            tcp.sendall(bytes(reply))
    tell(
        ledger, "connection", direction="inbound", local=local, remote=remote, tx_bytes=reply, rx_bytes=request,
        end="normal",
    )  # fmt: skip


def fast_open_by_hand(*, source: str, target: str, port: int, source_mac: str, target_mac: str, size: int) -> None:
    """The other end without a TCP of its own: data with the SYN (RFC 7413), and the handshake's end late."""
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    link.bind(("veth0", 0))
    link.settimeout(PATIENCE_S)
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    ethernet = bytes.fromhex(target_mac.replace(":", "") + source_mac.replace(":", "")) + b"\x08\0"

    def send(sequence: int, acknowledged: int, flags: int, payload: bytes = b"") -> None:
        def segment(checksum: int) -> bytes:
            head = struct.pack("!HHIIBBHHH", 5555, port, sequence, acknowledged, 5 << 4, flags, 65535, checksum, 0)
            return head + payload

        pseudo = addresses + struct.pack("!BBH", 0, 6, len(segment(0)))
        tcp = segment(_checksum(pseudo + segment(0)))
        length = 20 + len(tcp)
        head = struct.pack("!BBHHHBBH", 0x45, 0, length, 1, 0, 64, 6, 0) + addresses
        head = struct.pack("!BBHHHBBH", 0x45, 0, length, 1, 0, 64, 6, _checksum(head)) + addresses
        link.send(ethernet + head + tcp)

    send(1000, 0, 0x02, bytes(size))
    end = 0
    while not end:
        frame = link.recv(4096)
        ip = frame[14:]
        if ip[9] == 6 and ip[12:16] == socket.inet_aton(target):
            tcp = ip[(ip[0] & 15) * 4 :]
            sequence, _, offset, flags = struct.unpack("!IIBB", tcp[4:14])
            if flags & 1:  # FIN: everything has been said
                payload = int.from_bytes(ip[2:4]) - (ip[0] & 15) * 4 - (offset >> 4) * 4
                end = sequence + payload + 1
    send(1001 + size, end, 0x10)  # ACK
    send(1001 + size, end, 0x11)  # FIN


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def exchange(ledger: str, source: str, targets: list[list[Any]], comm: str = "exchanger") -> None:
    """From one socket a datagram of each size to each target, [address, port, sizes], each of which comes back."""
    rename(comm)
    sent = 0
    with socket.socket(family_of(source), socket.SOCK_DGRAM) as udp:
        udp.settimeout(PATIENCE_S)
        udp.bind((source, 0))
        for address, port, sizes in targets:
            for size in sizes:
                udp.sendto(bytes(size), (address, port))
                assert len(udp.recv(1 << 16)) == size
            total = sum(sizes)
            sent += total
            tell(
                ledger, "flow", local=udp.getsockname()[:2], remote=(address, port), tx_bytes=total, rx_bytes=total,
                tx_packets=len(sizes), rx_packets=len(sizes),
            )  # fmt: skip
    tell(ledger, "datagrams", tx_bytes=sent, rx_bytes=sent)


def ask_once(ledger: str, server: str, qname: str) -> None:
    """One question, and its UDP payload."""
    rename("asker")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(PATIENCE_S)
        message = query(7, qname)
        asked_ns = time.monotonic_ns()
        udp.sendto(message, (server, DNS_PORT))
        answer = udp.recv(1 << 16)
        answered_ns = time.monotonic_ns()
    tell(
        ledger, "query", qname=qname, qtype="A", server=server, asked_ns=asked_ns, answered_ns=answered_ns,
    )  # fmt: skip
    tell(ledger, "datagrams", tx_bytes=len(message), rx_bytes=len(answer))
