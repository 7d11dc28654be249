"""DNS queries: each question matched with its answer, its retries counted, its silence noticed."""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import DnsPacket, ProcessKey
from nettop.model.events import DnsChanged
from nettop.model.rows import Answer, DnsQuery, Endpoint
from nettop.text import comm_text
from nettop.tracking.addresses import address_text
from nettop.tracking.clock import Clock, milliseconds
from nettop.tracking.dns_message import HEADER_BYTES, NOT_A_MESSAGE, DnsMessage, parse, questions
from nettop.tracking.dns_queries import LATE_ANSWERS, TIMEOUT, Query, QueryKey, WaitingQueries, with_status
from nettop.tracking.dns_stream import DnsStream, StreamMessage
from nettop.tracking.lookups import LookupTracker
from nettop.tracking.names import NameTable

MAX_STREAMS = 4096  # directions of DNS-over-TCP connections; resolvers hold a few at a time
MAX_STREAM_BYTES = 64 << 20  # of all of them that wait to become messages: a thousand of the longest
UNPARSED_BYTES = 512  # of a message that could not be parsed, kept for the person
MULTICAST_DNS_PORT = 5353  # of both ends, except for simple resolvers, who ask as in any DNS: RFC 6762 section 6.7
_FIRST_MULTICAST_BYTE = 224  # of IPv4: RFC 5771; the limited broadcast lies there too
_SILENT_NS = TIMEOUT // timedelta(microseconds=1) * 1000  # after the start, of answers that nobody asked for


class LeftOut(NamedTuple):
    """What the kernel side did not hand on, counted since the start."""

    lost: int = 0  # records for which a buffer had no room
    segments: int = 0  # of DNS over TCP, and messages of multicast DNS
    pushed_out: int = 0  # questions, of its table of those that wait
    unasked: int = 0  # answers for which no question waited


class DnsTracker:
    """Takes packets in order of time; each call returns the events they make."""

    def __init__(self, clock: Clock, names: NameTable, lookups: LookupTracker | None = None) -> None:
        self._clock = clock
        self._names = names
        self._lookups = lookups or LookupTracker(clock, names)
        self._waiting = WaitingQueries()
        self._streams: OrderedDict[tuple[int, int], DnsStream] = OrderedDict()
        self._stream_bytes = 0
        self._last_id = 0
        self._doubts = _Doubts()
        self._begun_ns = 0  # the first packet's time: what was asked before is not known
        self.unparsed = 0
        self._left_out = LeftOut()
        self._pushed_out: datetime | None = None
        self.unasked = 0
        self.unclear = 0  # answers of which it is not known whether somebody asked for them
        self.evicted = {"dns_open": 0, "dns_late": 0, "dns_streams": 0, "dns_answers": 0}

    def packet(self, packet: DnsPacket) -> list[DnsChanged]:
        """A DNS packet left for a server or came from one, or did not arrive."""
        if not self._begun_ns:
            self._begun_ns = packet.time_ns
        if packet.kind != abi.DNS_MESSAGE:
            return self._refused(packet) if packet.kind == abi.DNS_REFUSED else self._dropped(packet)
        multicast = packet.client_port == packet.server_port == MULTICAST_DNS_PORT
        take = self._multicast_message if multicast else self._message
        if packet.protocol != abi.IPPROTO_TCP:
            return take(packet, packet.payload, packet.payload_bytes)
        return [event for message in self._stream_messages(packet) for event in take(packet, *message)]

    def left_out(self, counts: LeftOut, now: datetime) -> None:
        """Tell what the kernel side did not hand on until now. What waits meanwhile may have been answered unseen."""
        before, self._left_out = self._left_out, counts
        if counts.pushed_out != before.pushed_out:
            self._pushed_out = now
        # the answers of questions that were pushed out look like answers that nobody asked for
        mistakable = self._pushed_out is not None and now - self._pushed_out <= TIMEOUT + LATE_ANSWERS
        unasked = counts.unasked - before.unasked
        self.unclear += unasked if mistakable else 0
        self.unasked += 0 if mistakable else unasked
        if counts.lost != before.lost or (unasked and mistakable):
            self._doubts.anything = now
        if counts.segments != before.segments:
            self._doubts.segments = now

    def tick(self, now: datetime) -> list[DnsChanged]:
        """Turn what has waited too long into timeouts, and forget what has waited much too long."""
        events = []
        for key, query in self._waiting.timed_out(now):
            if self._in_doubt(key, query):
                events.append(_forgotten(query, now))
                continue
            timed_out = with_status(query, "timeout")
            self._waiting.set_late(key, timed_out)
            events.append(DnsChanged(time=now, dns=timed_out.row))
        self.evicted["dns_late"] += self._waiting.forget_late(now)
        return events

    def _in_doubt(self, key: QueryKey, query: Query) -> bool:
        """Whether its answer may have come and not been seen."""
        over_tcp = query.row.transport == "tcp"
        if self._doubts.since(query.last_attempt, segments=over_tcp or key.question is not None):
            return True
        stream = self._streams.get((key.socket_cookie, 0)) if over_tcp else None
        return stream is not None and (
            stream.out_of_place or self._clock.wall(stream.last_lost_ns) >= query.last_attempt
        )

    def _stream_messages(self, packet: DnsPacket) -> list[StreamMessage]:
        key = (packet.socket_cookie, packet.query)
        stream = self._streams.setdefault(key, DnsStream())
        self._streams.move_to_end(key)
        held_before = stream.held_bytes
        output = stream.segment(packet.tcp_seq, packet.payload, packet.payload_bytes)
        if output.lost:
            self.unparsed += output.lost
            stream.last_lost_ns = packet.time_ns
        self._stream_bytes += stream.held_bytes - held_before
        while len(self._streams) > MAX_STREAMS or self._stream_bytes > MAX_STREAM_BYTES:
            self._stream_bytes -= self._streams.popitem(last=False)[1].held_bytes
            self.evicted["dns_streams"] += 1
            self._doubts.segments = self._clock.wall(packet.time_ns)
        return output.messages

    def _message(self, packet: DnsPacket, message: bytes, wire_bytes: int) -> list[DnsChanged]:
        parsed = parse(message)
        if parsed is None:
            parsed = replace(NOT_A_MESSAGE, response=not packet.query)
        # A server that asks from port 53 sends and receives both kinds through both hooks.
        if parsed.response == bool(packet.query):
            return []
        if not parsed.parsed:
            self.unparsed += 1
        key = _key(packet, int.from_bytes(message[:2]))
        if packet.query:
            return self._asked(packet, message, parsed, key)
        events = self._answered(packet, message, wire_bytes, parsed, key)
        if not events and packet.protocol != abi.IPPROTO_TCP:
            events = self._answered(packet, message, wire_bytes, parsed, key.of_a_group())
            self._count_unasked(packet, key, events)
        return events

    def _count_unasked(self, packet: DnsPacket, key: QueryKey, events: list[DnsChanged]) -> None:
        """Count an answer of which no question is known, unless one may have been missed."""
        if events or self._waiting.was_answered(key):
            return
        if packet.time_ns >= self._begun_ns + _SILENT_NS:
            now = self._clock.wall(packet.time_ns)
            self.unasked += not self._doubts.since(now - TIMEOUT - LATE_ANSWERS, segments=False)

    def _multicast_message(self, packet: DnsPacket, message: bytes, wire_bytes: int) -> list[DnsChanged]:
        # RFC 6762: a query may ask several things; an answer repeats no question, and comes to every socket
        asked, parsed = questions(message), parse(message)
        if asked is None or parsed is None:
            return self._message(packet, message, wire_bytes)
        if parsed.response == bool(packet.query):
            return []
        events = []
        if packet.query:
            for name, kind in asked:
                key = QueryKey(packet.socket_cookie, 0, question=(name.lower(), kind))
                question = replace(parsed, qname=name, qtype=kind, parsed=True)
                events += self._asked(packet, message, question, key)
            return events
        told: dict[tuple[str, str], list[Answer]] = {}
        for answer in parsed.answers:
            told.setdefault((answer.name.lower(), answer.type), []).append(answer)
        for (name, kind), answers in told.items():
            part = replace(parsed, qname=None, answers=tuple(answers), answers_cut=0)
            for wanted in (kind, "ANY"):
                key = QueryKey(packet.socket_cookie, 0, question=(name, wanted))
                events += self._answered(packet, message, wire_bytes, part, key)
        return events

    def _asked(self, packet: DnsPacket, message: bytes, parsed: DnsMessage, key: QueryKey) -> list[DnsChanged]:
        now = self._clock.wall(packet.time_ns)
        known = self._waiting.find(key)
        mistakable = None
        if known is not None:
            if _asks_the_same(known.row, parsed):
                self._waiting.remove(key)
                row = replace(known.row, attempts=known.row.attempts + 1, status="pending")
                return self._await(key, replace(known, row=row, last_attempt=now))
            # The same id for another question on the same socket: the older one can no longer be told from it.
            mistakable = known if self._waiting.is_open(key) else None
            self._waiting.remove(key)
        row = self._new_row(packet, key.txid, now, parsed.qname, parsed.qtype)
        if not parsed.parsed:
            row = replace(row, unparsed=message[:UNPARSED_BYTES].hex())
        asker = ProcessKey(packet.owner_pid, packet.owner_start_boot_ns)
        events = self._await(key, Query(row, asker, now))
        return events if mistakable is None else [*events, _forgotten(mistakable, now)]

    def _answered(
        self, packet: DnsPacket, message: bytes, wire_bytes: int, parsed: DnsMessage, key: QueryKey
    ) -> list[DnsChanged]:
        known = self._waiting.find(key)
        # REFUSED and FORMERR may come back without the question; of a query that could not be parsed it is not known.
        if known is None or (known.row.qname and parsed.qname is not None and not _asks_the_same(known.row, parsed)):
            return []
        # No resolver takes what is shorter than a header, or a good answer to no question (mDNS repeats none).
        if len(message) < HEADER_BYTES or (
            parsed.parsed and parsed.qname is None and parsed.rcode == "NOERROR" and key.question is None
        ):
            return []
        self._waiting.remove(key)
        now = self._clock.wall(packet.time_ns)
        unparsed = None if parsed.parsed else message[:UNPARSED_BYTES].hex()
        row = replace(
            known.row,
            status="answered",
            rcode=parsed.rcode,
            latency_ms=milliseconds(known.row.asked_at, now),
            truncated=parsed.truncated,
            answers=parsed.answers,
            answers_cut=parsed.answers_cut,
            response_bytes=wire_bytes,
            unparsed=known.row.unparsed or unparsed,
        )
        self._waiting.answered(key, known, row)
        if parsed.parsed:
            self.evicted["dns_answers"] += row.answers_cut
        if row.qname is not None:
            self._names.learn(known.process, packet.netns, row.qname, row.answers)
        return [DnsChanged(time=now, dns=row)]

    def _refused(self, packet: DnsPacket) -> list[DnsChanged]:
        """The socket was told that nobody serves where it asked: all that it asked there waits in vain."""
        now = self._clock.wall(packet.time_ns)
        events = []
        for key in self._waiting.open_of(packet.socket_cookie):
            query = self._waiting.find(key)
            if query is not None and (key.server, key.server_port) == (packet.server_address, packet.server_port):
                refused = with_status(query, "refused")
                self._waiting.set_late(key, refused)
                events.append(DnsChanged(time=now, dns=refused.row))
        return events

    def _dropped(self, packet: DnsPacket) -> list[DnsChanged]:
        """The answer that was told last found no room in its socket: the query waits on."""
        key = QueryKey(packet.socket_cookie, packet.txid, packet.server_address, packet.server_port)
        if not self._waiting.was_answered(key):
            key = key.of_a_group()
        answered = self._waiting.take_answered(key)
        if answered is None or self._waiting.find(key) is not None:
            return []
        query, told = answered
        if told.qname is not None:
            self._names.forget(query.process, packet.netns, told.qname, told.answers)
        row = replace(query.row, status="pending", answers_dropped=query.row.answers_dropped + 1)
        now = self._clock.wall(packet.time_ns)
        return [replace(event, time=now) for event in self._await(key, replace(query, row=row))]

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
            transport="tcp" if packet.protocol == abi.IPPROTO_TCP else "udp",
            client=Endpoint(address=address_text(packet.ip_version, packet.client_address), port=packet.client_port),
            server=Endpoint(address=address_text(packet.ip_version, packet.server_address), port=packet.server_port),
            txid=txid,
            qname=qname,
            qtype=qtype,
            via=_via(packet),
            lookup_id=self._lookups.sent(packet, qname) if known_owner else None,
        )

    def _await(self, key: QueryKey, query: Query) -> list[DnsChanged]:
        events = [DnsChanged(time=query.last_attempt, dns=query.row)]
        oldest = self._waiting.wait(key, query)
        if oldest is not None:
            events.append(_forgotten(oldest, query.last_attempt))
            self.evicted["dns_open"] += 1
        return events


class _Doubts:
    """Until when DNS was not seen whole: all of it, or what is over TCP or multicast DNS."""

    def __init__(self) -> None:
        self.anything: datetime | None = None
        self.segments: datetime | None = None

    def since(self, time: datetime, segments: bool) -> bool:
        """Whether something was missed since then; `segments`: of DNS over TCP or multicast DNS too."""
        missed = (self.anything, self.segments) if segments else (self.anything,)
        return any(until is not None and until >= time for until in missed)


def _key(packet: DnsPacket, txid: int) -> QueryKey:
    if packet.protocol == abi.IPPROTO_TCP:
        return QueryKey(packet.socket_cookie, txid)
    first = packet.server_address[0]
    if packet.query and (first >= _FIRST_MULTICAST_BYTE if packet.ip_version == 4 else first == 0xFF):
        return QueryKey(packet.socket_cookie, txid)
    return QueryKey(packet.socket_cookie, txid, packet.server_address, packet.server_port)


def _via(packet: DnsPacket) -> Endpoint | None:
    via = packet.via_address, packet.via_port
    if not packet.via_port or via == (packet.server_address, packet.server_port):
        return None
    return Endpoint(address=address_text(packet.ip_version, packet.via_address), port=packet.via_port)


def _forgotten(query: Query, now: datetime) -> DnsChanged:
    return DnsChanged(time=now, dns=with_status(query, "forgotten").row)


def _asks_the_same(row: DnsQuery, parsed: DnsMessage) -> bool:
    # Without regard to case, which some resolvers vary at random (RFC 1035 section 2.3.3).
    if row.qtype != parsed.qtype or row.qname is None or parsed.qname is None:
        return row.qtype == parsed.qtype and row.qname == parsed.qname
    return row.qname == parsed.qname or row.qname.lower() == parsed.qname.lower()
