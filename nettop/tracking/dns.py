"""DNS queries: each question matched with its answer, its retries counted, its silence noticed."""

from collections import OrderedDict
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from nettop.kernel.abi import DnsPacket, ProcessKey
from nettop.model.events import DnsChanged
from nettop.model.rows import DnsQuery, Endpoint
from nettop.text import comm_text
from nettop.tracking.addresses import address_text
from nettop.tracking.clock import Clock, milliseconds
from nettop.tracking.dns_message import NOT_A_MESSAGE, DnsMessage, parse, questions
from nettop.tracking.dns_stream import DnsStream
from nettop.tracking.names import NameTable

TIMEOUT = timedelta(seconds=5)  # glibc's and dig's own default for one attempt
LATE_ANSWERS = timedelta(seconds=30)  # how long after its timeout an answer still counts
MAX_OPEN_QUERIES = 65_536  # pending and timed out: 10 s of 6,000 unanswered queries/s; about 60 MB if it ever fills
MAX_STREAMS = 4096  # directions of DNS-over-TCP connections; resolvers hold a few at a time
MAX_STREAM_BYTES = 64 << 20  # of all of them that wait to become messages: a thousand of the longest
UNPARSED_BYTES = 512  # of a message that could not be parsed, kept for the person
MULTICAST_DNS_PORT = 5353  # of both ends, except for simple resolvers, who ask as in any DNS: RFC 6762 section 6.7
_TCP = 6


class _Key(Struct, frozen=True, gc=False):
    """RFC 5452 section 3: what an answer must repeat. The cookie stands for both ends of the socket."""

    socket_cookie: int
    txid: int
    question: tuple[str, str] | None = None  # of multicast DNS, where every id is 0 (RFC 6762 section 18.1)


class _Open(Struct, frozen=True, gc=False):
    row: DnsQuery
    process: ProcessKey
    last_attempt: datetime


class DnsTracker:
    """Takes packets in order of time; each call returns the events they make."""

    def __init__(self, clock: Clock, names: NameTable) -> None:
        self._clock = clock
        self._names = names
        self._open: OrderedDict[_Key, _Open] = OrderedDict()  # in order of their last attempt
        self._late: OrderedDict[_Key, _Open] = OrderedDict()  # in order of their timeout
        self._streams: OrderedDict[tuple[int, int], DnsStream] = OrderedDict()
        self._stream_bytes = 0
        self._last_id = 0
        self.unparsed = 0
        self.evicted = {"dns_open": 0, "dns_late": 0, "dns_streams": 0, "dns_answers": 0}

    def packet(self, packet: DnsPacket) -> list[DnsChanged]:
        """A DNS packet left for a server or came from one."""
        multicast = packet.client_port == packet.server_port == MULTICAST_DNS_PORT
        take = self._multicast_message if multicast else self._message
        if packet.protocol != _TCP:
            return take(packet, packet.payload)
        return [event for message in self._stream_messages(packet) for event in take(packet, message)]

    def tick(self, now: datetime) -> list[DnsChanged]:
        """Turn what has waited too long into timeouts, and forget what has waited much too long."""
        events = []
        while self._open:
            key, pending = next(iter(self._open.items()))
            if now - pending.last_attempt < TIMEOUT:
                break
            del self._open[key]
            timed_out = replace(pending, row=replace(pending.row, status="timeout"))
            self._late[key] = timed_out
            events.append(DnsChanged(time=now, dns=timed_out.row))
        while self._late:
            key, late = next(iter(self._late.items()))
            too_old = now - late.last_attempt >= TIMEOUT + LATE_ANSWERS
            if not too_old and len(self._late) <= MAX_OPEN_QUERIES:
                break
            del self._late[key]
            self.evicted["dns_late"] += not too_old
        return events

    def _stream_messages(self, packet: DnsPacket) -> list[bytes]:
        key = (packet.socket_cookie, packet.query)
        stream = self._streams.setdefault(key, DnsStream())
        self._streams.move_to_end(key)
        held_before = stream.held_bytes
        output = stream.segment(packet.tcp_seq, packet.payload, packet.payload_bytes)
        self.unparsed += output.lost
        self._stream_bytes += stream.held_bytes - held_before
        while len(self._streams) > MAX_STREAMS or self._stream_bytes > MAX_STREAM_BYTES:
            self._stream_bytes -= self._streams.popitem(last=False)[1].held_bytes
            self.evicted["dns_streams"] += 1
        return output.messages

    def _message(self, packet: DnsPacket, message: bytes) -> list[DnsChanged]:
        parsed = parse(message)
        if parsed is None:
            parsed = replace(NOT_A_MESSAGE, response=not packet.query)
        # A server that asks from port 53 sends and receives both kinds through both hooks.
        if parsed.response == bool(packet.query):
            return []
        if not parsed.parsed:
            self.unparsed += 1
        key = _Key(packet.socket_cookie, int.from_bytes(message[:2]))
        return (
            self._asked(packet, message, parsed, key) if packet.query else self._answered(packet, message, parsed, key)
        )

    def _multicast_message(self, packet: DnsPacket, message: bytes) -> list[DnsChanged]:
        # RFC 6762: a query may ask several things; an answer repeats no question, and comes to every socket
        asked, parsed = questions(message), parse(message)
        if asked is None or parsed is None:
            return self._message(packet, message)
        if parsed.response == bool(packet.query):
            return []
        events = []
        if packet.query:
            for name, kind in asked:
                key = _Key(packet.socket_cookie, 0, (name.lower(), kind))
                question = replace(parsed, qname=name, qtype=kind, parsed=True)
                events += self._asked(packet, message, question, key)
            return events
        for name, kind in dict.fromkeys((answer.name.lower(), answer.type) for answer in parsed.answers):
            answers = tuple(each for each in parsed.answers if (each.name.lower(), each.type) == (name, kind))
            part = replace(parsed, qname=None, answers=answers, answers_cut=0)
            for wanted in (kind, "ANY"):
                events += self._answered(packet, message, part, _Key(packet.socket_cookie, 0, (name, wanted)))
        return events

    def _asked(self, packet: DnsPacket, message: bytes, parsed: DnsMessage, key: _Key) -> list[DnsChanged]:
        now = self._clock.wall(packet.time_ns)
        known = self._open.get(key) or self._late.get(key)
        mistakable = None
        if known is not None:
            if _asks_the_same(known.row, parsed):
                self._forget(key)
                row = replace(known.row, attempts=known.row.attempts + 1, status="pending")
                return self._await(key, replace(known, row=row, last_attempt=now))
            # The same id for another question on the same socket: the older one can no longer be told from it.
            mistakable = self._open.get(key)
            self._forget(key)
        row = self._new_row(packet, key.txid, now, parsed.qname, parsed.qtype)
        if not parsed.parsed:
            row = replace(row, unparsed=message[:UNPARSED_BYTES].hex())
        asker = ProcessKey(packet.owner_pid, packet.owner_start_boot_ns)
        events = self._await(key, _Open(row, asker, now))
        return events if mistakable is None else [*events, _forgotten(mistakable, now)]

    def _answered(self, packet: DnsPacket, message: bytes, parsed: DnsMessage, key: _Key) -> list[DnsChanged]:
        known = self._open.get(key) or self._late.get(key)
        # REFUSED and FORMERR may come back without the question; of a query that could not be parsed it is not known.
        if known is None or (known.row.qname and parsed.qname is not None and not _asks_the_same(known.row, parsed)):
            return []
        self._forget(key)
        now = self._clock.wall(packet.time_ns)
        row = replace(
            known.row,
            status="answered",
            rcode=parsed.rcode,
            latency_ms=milliseconds(known.row.asked_at, now),
            truncated=parsed.truncated,
            answers=parsed.answers,
            answers_cut=parsed.answers_cut,
            response_bytes=len(message) if packet.protocol == _TCP else packet.payload_bytes,
            unparsed=known.row.unparsed if parsed.parsed or known.row.unparsed else message[:UNPARSED_BYTES].hex(),
        )
        self.evicted["dns_answers"] += row.answers_cut
        if row.qname is not None:
            self._names.learn(known.process, packet.netns, row.qname, row.answers)
        return [DnsChanged(time=now, dns=row)]

    def _new_row(self, packet: DnsPacket, txid: int, now: datetime, qname: str | None, qtype: str | None) -> DnsQuery:
        self._last_id += 1
        known_owner = packet.owner_pid != 0
        return DnsQuery(
            id=self._last_id,
            asked_at=now,
            pid=packet.owner_pid if known_owner else None,
            process_start_time=self._clock.wall_of_boot(packet.owner_start_boot_ns) if known_owner else None,
            comm=comm_text(packet.owner_comm) if known_owner else None,
            netns=packet.netns,
            transport="tcp" if packet.protocol == _TCP else "udp",
            client=Endpoint(address=address_text(packet.ip_version, packet.client_address), port=packet.client_port),
            server=Endpoint(address=address_text(packet.ip_version, packet.server_address), port=packet.server_port),
            txid=txid,
            qname=qname,
            qtype=qtype,
        )

    def _await(self, key: _Key, query: _Open) -> list[DnsChanged]:
        self._open[key] = query
        events = [DnsChanged(time=query.last_attempt, dns=query.row)]
        if len(self._open) > MAX_OPEN_QUERIES:
            events.append(_forgotten(self._open.popitem(last=False)[1], query.last_attempt))
            self.evicted["dns_open"] += 1
        return events

    def _forget(self, key: _Key) -> None:
        self._open.pop(key, None)
        self._late.pop(key, None)


def _forgotten(query: _Open, now: datetime) -> DnsChanged:
    return DnsChanged(time=now, dns=replace(query.row, status="forgotten"))


def _asks_the_same(row: DnsQuery, parsed: DnsMessage) -> bool:
    # Without regard to case, which some resolvers vary at random (RFC 1035 section 2.3.3).
    if row.qtype != parsed.qtype or row.qname is None or parsed.qname is None:
        return row.qtype == parsed.qtype and row.qname == parsed.qname
    return row.qname == parsed.qname or row.qname.lower() == parsed.qname.lower()
