"""Programs that write down what they did: each function runs in a process of its own, started by place.Place.

Every fact is a line of JSON appended to the scenario's ledger (rows.Fact). Only the standard library, so that they
start quickly.
"""

import array
import ctypes
import errno
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.live.play import playing
from tests.live.programs import (
    DNS_PORT,
    IPPROTO_MPTCP,
    RESET_ON_CLOSE,
    dropped_datagrams,
    family_of,
    hear,
    query,
    rename,
    say,
)

QTYPES = {1: "A", 6: "SOA", 12: "PTR", 16: "TXT", 28: "AAAA", 33: "SRV", 64: "SVCB", 65: "HTTPS"}
PATIENCE_S = 20
FULL_AFTER_S = 0.5  # without room for more
SENT_AGAIN_NS = 900_000_000  # TCP_TIMEOUT_INIT in include/net/tcp.h, less what its clock is off
MSG_ZEROCOPY, SO_ZEROCOPY = 0x4000000, 60  # include/linux/socket.h, include/uapi/asm-generic/socket.h
MAPPED = "::ffff:"  # IPv4 in IPv6, RFC 4291 section 2.5.5.2
PR_SET_PDEATHSIG = 1  # prctl(2)
SYS_CLONE3, SIGCHLD = 435, 17


def tell(ledger: str, kind: str, **fact: object) -> None:
    """One line, in one write: processes and threads share the file."""
    fact = {"pid": global_pid(), "comm": Path("/proc/self/comm").read_text().rstrip("\n"), **fact}
    line = json.dumps({kind: fact}).encode() + b"\n"
    descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, line)
    os.close(descriptor)


def end_with_parent() -> None:
    """A worker is killed with its server."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)


def watch_the_clock() -> None:
    """Run as soon as there is something to do, so that the times that are written down are those of the kernel."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def global_pid() -> int:
    """As the pid namespace of the mounted /proc counts it, whichever this process lives in."""
    return int(str(Path("/proc/self").readlink()))


# DNS


def ask(
    ledger: str,
    server: str,
    questions: list[list[Any]],
    *,
    comm: str = "asker",
    connected: bool = True,
    edns_bytes: int = 0,
    patience_s: float = PATIENCE_S,
    tries: int = 1,
    expected: dict[str, object] | None = None,
) -> None:
    """Ask [qname, qtype] one after the other on one socket, each again after `patience_s` without an answer."""
    rename(comm)
    with socket.socket(family_of(server), socket.SOCK_DGRAM) as udp:
        udp.settimeout(patience_s)
        if connected:
            udp.connect((server, DNS_PORT))
        _ask_on(
            ledger, udp, server, questions, connected=connected, edns_bytes=edns_bytes, tries=tries,
            expected=expected or {},
        )  # fmt: skip


def _ask_on(
    ledger: str,
    udp: socket.socket,
    server: str,
    questions: list[list[Any]],
    *,
    connected: bool = True,
    edns_bytes: int = 0,
    tries: int = 1,
    expected: dict[str, object],
    timed: bool = True,
) -> None:
    sent = received = 0
    for number, (qname, qtype) in enumerate(questions, 1):
        message = query(number, qname, qtype, edns_bytes)
        fact: dict[str, object] = {"qname": qname, "qtype": QTYPES[qtype], "server": server}
        fact["asked_ns"] = time.monotonic_ns()
        attempts, answer, status = 0, b"", ""
        while attempts < tries and not answer:
            attempts += 1
            sent += udp.send(message) if connected else udp.sendto(message, (server, DNS_PORT))
            try:
                while not answer:
                    said = udp.recv(65535)
                    fact["answered_ns"] = time.monotonic_ns()
                    received += len(said)
                    if said[:2] == message[:2]:
                        answer = said
            except TimeoutError:
                status = "timeout"
            except ConnectionRefusedError:
                status = "refused"
        outcome = {} if answer else {"status": status, "rcode": None, "answered_ns": None}
        if not timed:
            del fact["asked_ns"], fact["answered_ns"]
        tell(ledger, "query", **(fact | outcome | expected), attempts=attempts)
    tell(ledger, "datagrams", tx_bytes=sent, rx_bytes=received)


def ask_all(ledger: str, servers: list[str], qname: str, answering: str, comm: str) -> None:
    """All servers at once, from one socket and with one id, as musl asks; one of them answers."""
    rename(comm)
    message = query(7, qname)
    with socket.socket(family_of(answering), socket.SOCK_DGRAM) as udp:
        udp.settimeout(PATIENCE_S)
        asked_ns = {}
        for server in servers:
            asked_ns[server] = time.monotonic_ns()
            udp.sendto(message, (server, DNS_PORT))
        said, who = udp.recvfrom(65535)
        answered_ns = time.monotonic_ns()
    if who[0] != answering:
        raise AssertionError(who)
    for server in servers:
        outcome: dict[str, object] = {"status": "timeout", "rcode": None}
        if server == answering:
            outcome = {"answered_ns": answered_ns}
        tell(ledger, "query", qname=qname, qtype="A", server=server, asked_ns=asked_ns[server], **outcome)
    tell(ledger, "datagrams", tx_bytes=len(servers) * len(message), rx_bytes=len(said))


def ask_and_distrust(ledger: str, server: str, qname: str, answer: str, comm: str) -> None:
    """One question, of which only the asked server's answer is taken, as every resolver does."""
    rename(comm)
    with socket.socket(family_of(server), socket.SOCK_DGRAM) as udp:
        udp.settimeout(PATIENCE_S)
        asked_ns = time.monotonic_ns()
        sent, received, who = udp.sendto(query(7, qname), (server, DNS_PORT)), 0, None
        while who != server:
            said, (who, *_) = udp.recvfrom(65535)
            received += len(said)
        answered_ns = time.monotonic_ns()
    tell(
        ledger, "query", qname=qname, qtype="A", server=server, asked_ns=asked_ns, answered_ns=answered_ns,
        answers=[answer],
    )  # fmt: skip
    tell(ledger, "datagrams", tx_bytes=sent, rx_bytes=received)


def ask_without_room(ledger: str, server: str, qnames: list[str], comm: str) -> None:
    """All names, of which no answer is read until the last: those that there was no room for never came."""
    rename(comm)
    with socket.socket(family_of(server), socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        udp.connect((server, DNS_PORT))
        before = dropped_datagrams()
        asked_ns = time.monotonic_ns()
        sent = sum(udp.send(query(txid, qname)) for txid, qname in enumerate(qnames))
        say("asked")
        hear()  # the server has answered all
        dropped = dropped_datagrams() - before
        answers = [udp.recv(65535) for _ in range(len(qnames) - dropped)]
    came = [int.from_bytes(answer[:2]) for answer in answers]
    tell(ledger, "datagrams", tx_bytes=sent, rx_bytes=sum(map(len, answers)), rx_dropped=dropped)
    for txid, qname in enumerate(qnames):
        outcome: dict[str, object] = {"asked_ns": asked_ns, "status": "timeout", "rcode": None}
        if txid in came:
            outcome = {}
        tell(ledger, "query", qname=qname, qtype="A", server=server, **outcome)


def ask_in_threads(ledger: str, server: str, threads: int, questions: int, comm: str) -> None:
    """Each thread has a name of its own, a socket of its own, and asks names of its own."""
    rename(comm)

    def run(number: int) -> None:
        rename(f"worker-{number}")
        with socket.socket(family_of(server), socket.SOCK_DGRAM) as udp:
            udp.settimeout(PATIENCE_S)
            udp.connect((server, DNS_PORT))
            asked = [[f"t{number}-{count}.test", 1] for count in range(questions)]
            # they wait for each other before they look at the clock
            _ask_on(ledger, udp, server, asked, expected={}, timed=False)

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def ask_from_children(ledger: str, server: str, qname: str, children: int, comm: str) -> None:
    """Children that share one socket each ask once, one after the other."""
    rename(comm)
    with socket.socket(family_of(server), socket.SOCK_DGRAM) as udp:
        udp.settimeout(PATIENCE_S)
        udp.connect((server, DNS_PORT))
        for number in range(children):
            pid = os.fork()
            if pid == 0:
                message = query(number, qname)
                asked_ns = time.monotonic_ns()
                udp.send(message)
                udp.recv(65535)
                answered_ns = time.monotonic_ns()
                fact = {"qname": qname, "qtype": "A", "server": server}
                tell(ledger, "query", asked_ns=asked_ns, answered_ns=answered_ns, **fact)
                os._exit(0)
            os.waitpid(pid, 0)


def ask_stream(ledger: str, server: str, qnames: list[str], pieces: list[int], comm: str = "streamer") -> None:
    """All names on one TCP connection, sent in pieces that end at these bytes; answers in any order."""
    rename(comm)
    opened_ns = time.monotonic_ns()
    with socket.create_connection((server, DNS_PORT), timeout=PATIENCE_S) as tcp:
        established_ns = time.monotonic_ns()
        local = tcp.getsockname()[:2]
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        messages = [query(txid, qname) for txid, qname in enumerate(qnames, 1)]
        whole = b"".join(struct.pack("!H", len(message)) + message for message in messages)
        for start, end in zip([0, *pieces], [*pieces, len(whole)], strict=True):
            asked_ns = time.monotonic_ns()
            tcp.sendall(whole[start:end])
            time.sleep(0.02 if end < len(whole) else 0)
        said, received = b"", 0
        answered: dict[int, int] = {}
        while len(answered) < len(qnames):
            chunk = tcp.recv(65535)
            received += len(chunk)
            said += chunk
            while len(said) >= 2 and len(said) >= 2 + (size := int.from_bytes(said[:2])):
                answered[int.from_bytes(said[2:4])] = time.monotonic_ns()
                said = said[2 + size :]
        tcp.shutdown(socket.SHUT_WR)
        tcp.recv(1)
        over_ns = time.monotonic_ns()
    for txid, qname in enumerate(qnames, 1):
        tell(
            ledger, "query", qname=qname, qtype="A", server=server, transport="tcp",
            # when a message that is sent in pieces was asked is a matter of taste
            asked_ns=None if pieces else asked_ns, answered_ns=answered[txid],
        )  # fmt: skip
    tell(
        ledger, "connection", direction="outbound", local=local, remote=(server, DNS_PORT), tx_bytes=len(whole),
        rx_bytes=received, opened_ns=opened_ns, established_ns=established_ns, over_ns=over_ns,
        end="normal",
    )  # fmt: skip


def ask_by_cares(ledger: str, server: str, qnames: list[str], comm: str) -> None:
    """c-ares, the resolver library of Node.js and of curl elsewhere."""
    import pycares  # noqa: PLC0415 - nobody else here waits for it

    rename(comm)
    done = threading.Semaphore(0)
    failed = []

    def answered(_result: object, error: int | None) -> None:
        failed.append(error)
        done.release()

    channel = pycares.Channel(servers=[server], timeout=PATIENCE_S, tries=1)
    for qname in qnames:
        asked_ns = time.monotonic_ns()
        channel.query(qname, pycares.QUERY_TYPE_A, callback=answered)
        done.acquire()
        fact = {"qname": qname, "qtype": "A", "server": server, "answers": ["192.0.2.1"]}
        tell(ledger, "query", asked_ns=asked_ns, answered_ns=time.monotonic_ns(), **fact)
    channel.close()
    if any(failed):
        raise AssertionError(failed)


def answer_unasked(address: str, port: int, times: int) -> None:
    """Answers from port 53 to somebody who never asked, once told."""
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
        udp.bind((address, DNS_PORT))
        say("bound")
        hear()
        for txid in range(times):
            message = bytearray(query(txid, "unasked.test"))
            message[2:4] = b"\x81\x80"
            udp.sendto(message, (address, port))


# Conversations over TCP: both ends follow a list of steps


class Talk:
    """One end of a connection; steps are [verb, argument]."""

    def __init__(
        self, ledger: str, tcp: socket.socket, direction: str, comm: str | None = None, alone: bool = True
    ) -> None:
        self.ledger, self.tcp = ledger, tcp
        self.alone = alone  # nobody else holds the socket
        self.fact: dict[str, Any] = {"direction": direction, "tx_bytes": 0, "rx_bytes": 0, "end": "normal"}
        if comm is not None:
            self.fact["comm"] = comm
        self.told = False

    def follow(self, steps: list[list[Any]]) -> None:
        """Do all of them, and write down what came of it."""
        try:
            for verb, *arguments in steps:
                getattr(self, verb)(*arguments)
        except OSError as error:
            self._over()
            self.fact["end"] = {104: "reset-by-peer", 32: "reset-by-peer", 110: "timeout"}[error.errno or 0]
        if not self.told:
            tell(self.ledger, "connection", **self.fact)

    def _over(self) -> None:
        self.fact["over_ns"] = time.monotonic_ns()

    def send(self, size: int, way: str = "send") -> None:
        self.fact["tx_bytes"] += SENDERS[way](self.tcp, size)

    def recv(self, size: int, flags: int = 0) -> None:
        while size:
            if flags:
                self.tcp.recv(size, flags)
            got = len(self.tcp.recv(size))
            if not got:
                raise AssertionError("it ended early")
            size -= got
            self.fact["rx_bytes"] += got

    def eof(self) -> None:
        while chunk := self.tcp.recv(1 << 20):
            self.fact["rx_bytes"] += len(chunk)
        self._over()
        if self.tcp.proto != IPPROTO_MPTCP:  # whose subflows are closed later, by the kernel
            self.fact["eof_ns"] = self.fact["over_ns"]

    def shutdown(self) -> None:
        self._send_fin(lambda: self.tcp.shutdown(socket.SHUT_WR))

    def close(self) -> None:
        self._send_fin(self.tcp.close, certainly=self.alone)

    def _send_fin(self, call: Callable[[], None], certainly: bool = True) -> None:
        plain_tcp, before_ns = self.tcp.proto != IPPROTO_MPTCP, time.monotonic_ns()
        call()
        self._over()
        if certainly and plain_tcp:
            self.fact.setdefault("fin_ns", (before_ns, self.fact["over_ns"]))

    def reset(self) -> None:
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.tcp.close()
        self._over()
        self.fact["end"] = "reset-by-us"

    def abort(self) -> None:
        """Close what was not read, once it is there."""
        self.tcp.recv(1, socket.MSG_PEEK)
        self.tcp.close()
        self._over()
        self.fact |= {"end": "reset-by-us", "resets_sent": {"TCP_ABORT_ON_CLOSE": 1}, "resets_received": 0}

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def mark(self) -> None:
        """What is carried so far is older than nettop."""
        self.fact |= {"tx_before": self.fact["tx_bytes"], "rx_before": self.fact["rx_bytes"]}

    def say(self, word: str) -> None:
        say(word)

    def hear(self) -> None:
        hear()

    def tell(self) -> None:
        """Write it down already, for who will not live to do so."""
        tell(self.ledger, "connection", **self.fact)
        self.told = True

    def asked(self, times: int) -> None:
        """So often the end that connected has asked by now."""
        self.fact["asked"] = times

    def fill(self) -> None:
        """Send until no more fits, also a while later: the kernel makes room for more while some of it goes out."""
        self.tcp.settimeout(FULL_AFTER_S)
        with suppress(TimeoutError):
            while True:
                self.tcp.send(bytes(65_536))
        self.fact["tx_bytes"] = None

    def unread(self, size: int | None = None) -> None:
        """So much comes and is not read; None: who knows how much."""
        self.fact["rx_bytes"] = None if size is None else self.fact["rx_bytes"] + size

    def stay(self, waits_for: str) -> None:
        """Stay as it is until killed."""
        self.fact |= {"waits_for": waits_for, "end": None}
        self.tell()
        say("stays")
        hear()

    def execute(self) -> None:
        """Become another program, which closes."""
        os.set_inheritable(self.tcp.fileno(), True)
        fact = self.fact | {"comm": Path("/proc/self/comm").read_text().strip()}  # as it was called when it connected
        command = playing(closes_after_exec, ledger=self.ledger, descriptor=self.tcp.fileno(), fact=fact)
        os.execv(command[0], command)


def closes_after_exec(ledger: str, descriptor: int, fact: dict[str, Any]) -> None:
    """The rest of a conversation in another program."""
    os.close(descriptor)
    tell(ledger, "connection", **fact, over_ns=time.monotonic_ns())
    tell(ledger, "datagrams")  # none, but under the name that the process has now


def connect(
    ledger: str,
    address: str,
    port: int,
    steps: list[list[Any]],
    *,
    times: int = 1,
    comm: str = "talker",
    pause_s: float = 0,
    as_threads: bool = False,
    protocol: int = 0,
    first_in_vain: list[Any] | None = None,
) -> None:
    """So many connections one after the other, each with these steps; as_threads: each in a thread of its own name.

    `first_in_vain` is an address and port to which each socket finds no route before.
    """
    rename(comm)

    def one() -> None:
        with socket.socket(family_of(address), socket.SOCK_STREAM, protocol) as tcp:
            talk = Talk(ledger, tcp, "outbound")
            if first_in_vain:
                _find_no_route(ledger, tcp, first_in_vain)
            opened_ns = time.monotonic_ns()
            tcp.connect((address, port))
            talk.fact |= {"opened_ns": opened_ns, "established_ns": time.monotonic_ns()}
            talk.fact |= {"local": plain(tcp), "remote": (address.removeprefix(MAPPED), port)}
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            talk.follow(steps)

    def named(number: int) -> None:
        rename(f"thread-{number}")
        one()

    for number in range(times):
        if as_threads:
            thread = threading.Thread(target=named, args=(number,))
            thread.start()
            thread.join()
        else:
            one()
        time.sleep(pause_s)


def _find_no_route(ledger: str, tcp: socket.socket, remote: list[Any]) -> None:
    opened_ns = time.monotonic_ns()
    if tcp.connect_ex(tuple(remote)) != errno.ENETUNREACH:
        raise AssertionError("there is a route")
    tell(
        ledger, "connection", direction="outbound", local=(None, None), remote=remote, tx_bytes=0, rx_bytes=0,
        opened_ns=opened_ns, over_ns=time.monotonic_ns(), end="no-route",
    )  # fmt: skip


def connect_in_vain(
    ledger: str,
    address: str,
    port: int,
    *,
    end: str,
    give_up_s: float | None = None,
    comm: str = "unlucky",
    wait: bool = False,
    patience_s: float | None = None,
    later: str | None = None,
    drops: dict[str, int] | None = None,
) -> None:
    """Connect where that cannot work, perhaps once told to; with `give_up_s` close after so long.

    With `patience_s` connect() does not block, and poll() tells of its error. It may miss the first, and the connection
    ends otherwise, `later`, when its segment has been sent again.
    """
    rename(comm)
    if wait:
        say("ready")
        hear()
    with socket.socket(family_of(address), socket.SOCK_STREAM) as tcp:
        opened_ns = time.monotonic_ns()
        if give_up_s is not None:
            tcp.setblocking(False)
            tcp.connect_ex((address, port))
            local = tcp.getsockname()[:2]
            time.sleep(give_up_s)
            tcp.close()
            over_ns = time.monotonic_ns()
        else:
            local = (None, None)
            tcp.settimeout(patience_s)
            try:
                tcp.connect((address, port))
            except OSError as error:
                over_ns = time.monotonic_ns()
                if later is not None and over_ns - opened_ns >= SENT_AGAIN_NS:
                    end = later
                say(error.errno)
    tell(
        ledger, "connection", direction="outbound", local=local, remote=(address.removeprefix(MAPPED), port),
        tx_bytes=0, rx_bytes=0, opened_ns=opened_ns, over_ns=over_ns, end=end, drops=drops,
    )  # fmt: skip


def connect_and_wait(ledger: str, address: str, port: int, comm: str = "waiter") -> None:
    """Connect where nobody answers, until killed."""
    rename(comm)
    with socket.socket(family_of(address), socket.SOCK_STREAM) as tcp:
        tcp.setblocking(False)
        tcp.connect_ex((address, port))
        tell(
            ledger, "connection", direction="outbound", local=tcp.getsockname()[:2], remote=(address, port),
            tx_bytes=0, rx_bytes=0, waits_for="network",
        )  # fmt: skip
        say("stays")
        hear()


def knock(ledger: str, address: str, port: int, room: int, more: int) -> None:
    """Connect as often as there is room, and once told begin to as many times more; leave once told."""
    rename("knocker")
    let_in = [socket.create_connection((address, port), timeout=PATIENCE_S) for _ in range(room)]
    say("in")
    hear()
    in_vain = [socket.socket(family_of(address), socket.SOCK_STREAM) for _ in range(more)]
    for tcp in in_vain:
        tcp.setblocking(False)
        tcp.connect_ex((address, port))
    hear()
    for tcp in (*let_in, *in_vain):
        local, end = plain(tcp), "normal" if tcp in let_in else "given-up"
        tcp.close()
        tell(
            ledger, "connection", direction="outbound", local=local, remote=(address, port), tx_bytes=0, rx_bytes=0,
            end=end,
        )  # fmt: skip


def serve(
    ledger: str,
    address: str,
    port: int,
    steps: list[list[Any]],
    *,
    how: str = "alone",
    comm: str = "server",
    protocol: int = 0,
) -> None:
    """Serve until killed, following these steps: alone, or by "thread", "fork", "pool" or "passing" to a worker."""
    rename(comm)
    with socket.socket(family_of(address), socket.SOCK_STREAM, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, port))
        listener.listen(4096)
        if how == "pool":
            for _ in range(3):
                if os.fork() == 0:
                    end_with_parent()
                    while True:
                        answer(ledger, listener.accept()[0], steps)
        hand_on = _worker(ledger, steps) if how == "passing" else HANDLERS.get(how, answer)
        say("listening")
        if how == "pool":
            hear()
        while True:
            hand_on(ledger, listener.accept()[0], steps)


def _to_a_thread(ledger: str, tcp: socket.socket, steps: list[list[Any]]) -> None:
    threading.Thread(target=answer, args=(ledger, tcp, steps), daemon=True).start()


def _to_a_child(ledger: str, tcp: socket.socket, steps: list[list[Any]]) -> None:
    if os.fork() == 0:
        answer(ledger, tcp, steps, alone=False)
        os._exit(0)
    tcp.close()


HANDLERS = {"thread": _to_a_thread, "fork": _to_a_child}


def _worker(ledger: str, steps: list[list[Any]]) -> Callable[[str, socket.socket, list[list[Any]]], None]:
    """Passes what was accepted to a process that exists already."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    if os.fork() == 0:
        end_with_parent()
        ours.close()
        work_on_passed(ledger, theirs, steps)
        os._exit(0)

    def pass_on(_ledger: str, tcp: socket.socket, _steps: list[list[Any]]) -> None:
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [tcp.fileno()]))])
        tcp.close()

    return pass_on


def work_on_passed(ledger: str, channel: socket.socket, steps: list[list[Any]]) -> None:
    """The worker that gets descriptors."""
    rename("passed-to")
    size = array.array("i", [0]).itemsize
    while True:
        said, ancillary, _, _ = channel.recvmsg(1, socket.CMSG_SPACE(size))
        if not said:
            return
        descriptor = array.array("i", ancillary[0][2][:size])[0]
        answer(ledger, socket.socket(fileno=descriptor), steps, alone=False)


def answer(ledger: str, tcp: socket.socket, steps: list[list[Any]], alone: bool = True) -> None:
    """The server's end of a connection."""
    with tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        talk = Talk(ledger, tcp, "inbound", alone=alone)
        remote = tcp.getpeername()
        talk.fact |= {"local": plain(tcp), "remote": (remote[0].removeprefix(MAPPED), remote[1])}
        talk.follow(steps)


def plain(tcp: socket.socket) -> tuple[str, int]:
    """The local end; IPv4 on a dual-stack socket is IPv4 to a person."""
    address, port, *_ = tcp.getsockname()
    return address.removeprefix(MAPPED), port


def connect_under_names(ledger: str, address: str, port: int, steps: list[list[Any]], comms: list[str]) -> None:
    """A connection and a query's worth of time under each name."""
    for comm in comms:
        connect(ledger, address, port, steps, comm=comm)


def hold_many(ledger: str, address: str, port: int, connections: int, up: int) -> None:
    """Connections that stay; each sends `up` bytes at first and, once told, again."""
    rename("crowd")
    opened = []
    for _ in range(connections):
        tcp = socket.create_connection((address, port), timeout=PATIENCE_S)
        tcp.sendall(bytes(up))
        opened.append(tcp)
    say("holding")
    hear()
    for tcp in opened:
        tcp.sendall(bytes(up))
        tell(
            ledger, "connection", direction="outbound", local=plain(tcp), remote=(address, port), tx_bytes=2 * up,
            rx_bytes=0, tx_before=up,
        )  # fmt: skip
    say("sent")
    hear()


def accept_many(ledger: str, address: str, port: int, connections: int, up: int) -> None:
    """The other end of those."""
    rename("host")
    with socket.socket(family_of(address), socket.SOCK_STREAM) as listener:
        listener.bind((address, port))
        listener.listen(4096)
        say("listening")
        accepted = [listener.accept()[0] for _ in range(connections)]
    say("accepted")
    for tcp in accepted:
        received = 0
        while received < 2 * up:
            received += len(tcp.recv(2 * up))
        tell(
            ledger, "connection", direction="inbound", local=(address, port), remote=tcp.getpeername()[:2], tx_bytes=0,
            rx_bytes=received, rx_before=up,
        )  # fmt: skip
    say("received")
    hear()


# Ways to move bytes


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):  # struct msghdr, sendmsg(2)
    _fields_ = (
        ("name", ctypes.c_void_p), ("name_bytes", ctypes.c_uint32), ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_bytes", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )  # fmt: skip


class _Message(ctypes.Structure):  # struct mmsghdr, sendmmsg(2)
    _fields_ = (("header", _Header), ("sent", ctypes.c_uint))


def _sendmmsg(to: socket.socket, size: int) -> int:
    count = 7
    each = [size // count + (number < size % count) for number in range(count)]
    messages = (_Message * count)()
    for message, length in zip(messages, each, strict=True):
        message.header.vectors = ctypes.pointer(_Vector(bytes(length), length))
        message.header.vector_count = 1
    done = ctypes.CDLL(None, use_errno=True).sendmmsg(to.fileno(), messages, count, 0)
    if done != count:
        raise AssertionError(f"sendmmsg sent {done} of {count}: errno {ctypes.get_errno()}")
    return sum(message.sent for message in messages)


def _sendfile(to: socket.socket, size: int) -> int:
    with Path("/proc/self/exe").open("rb") as file:
        sent = 0
        while sent < size:
            sent += os.sendfile(to.fileno(), file.fileno(), sent, size - sent)
    return sent


def _splice(to: socket.socket, size: int) -> int:
    source, drain = os.pipe()
    sent = 0
    while sent < size:
        filled = os.write(drain, bytes(min(16384, size - sent)))
        while filled:
            moved = os.splice(source, to.fileno(), filled)
            filled -= moved
            sent += moved
    os.close(source)
    os.close(drain)
    return sent


def _sendmsg(to: socket.socket, size: int) -> int:
    sent = 0
    while sent < size:
        left = min(size - sent, 60_000)
        sent += to.sendmsg([bytes(left // 2), bytes(left - left // 2)])
    return sent


def _zerocopy(to: socket.socket, size: int) -> int:
    to.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    sent = 0
    while sent < size:
        sent += to.send(bytes(min(size - sent, 30_000)), MSG_ZEROCOPY)
    return sent


def _send(to: socket.socket, size: int) -> int:
    if to.type == socket.SOCK_DGRAM:
        return to.send(bytes(size))
    to.sendall(bytes(size))
    return size


SENDERS: dict[str, Callable[[socket.socket, int], int]] = {
    "send": _send, "sendmsg": _sendmsg, "sendmmsg": _sendmmsg, "sendfile": _sendfile, "splice": _splice,
    "zerocopy": _zerocopy,
}  # fmt: skip


def send_datagrams(
    ledger: str, address: str, port: int, *, size: int, way: str, comm: str = "sender", stay_s: float = 0
) -> None:
    """So many bytes to somebody who only listens."""
    rename(comm)
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
        udp.connect((address, port))
        sent = SENDERS[way](udp, size)
        tell(ledger, "datagrams", tx_bytes=sent)
        time.sleep(stay_s)


def receive_datagrams(ledger: str, address: str, port: int, size: int, peek: bool = False) -> None:
    """Until so many bytes have come; `peek` looks at each datagram before it takes it."""
    rename("receiver")
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        udp.settimeout(PATIENCE_S)
        udp.bind((address, port))
        say("bound")
        received = 0
        while received < size:
            if peek:
                udp.recv(65535, socket.MSG_PEEK)
            received += len(udp.recv(65535))
        tell(ledger, "datagrams", rx_bytes=received)
        say("received")


# Pids used again


def same_pid_twice(ledger: str, address: str, port: int, sizes: list[int]) -> None:
    """Processes that get one and the same pid one after the other (clone3(2), set_tid), each sends so many bytes."""
    pid = 0
    for number, size in enumerate(sizes):
        chosen = (ctypes.c_int * 1)(pid)
        arguments = (ctypes.c_uint64 * 11)()
        arguments[4] = SIGCHLD
        if pid:
            arguments[8], arguments[9] = ctypes.addressof(chosen), 1
        call = ctypes.CDLL(None, use_errno=True).syscall
        born = call(SYS_CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments))
        if born == 0:
            talk = {"ledger": ledger, "address": address, "port": port, "size": size, "way": "send"}
            command = playing(send_datagrams, **talk, comm=f"life-{number}")
            os.execv(command[0], command)
        if born < 0:
            raise OSError(ctypes.get_errno(), "clone3")
        os.waitpid(born, 0)
        pid = born
    say(pid)
