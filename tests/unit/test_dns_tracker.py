"""Questions matched with their answers."""

from typing import Any

import pytest
from dnslib import QTYPE, RCODE, RR, A, DNSHeader, DNSQuestion, DNSRecord
from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import DnsPacket
from nettop.model.events import DnsChanged
from nettop.model.rows import Answer, DnsQuery, Endpoint
from nettop.tracking import dns, dns_queries
from nettop.tracking.dns import DnsTracker, LeftOut
from nettop.tracking.names import Name, NameTable
from tests.builders import (
    CLIENT_ADDRESS,
    CLOCK,
    CURL,
    NETNS,
    at,
    comm,
    dns_answer,
    dns_packet,
    ns,
    packed,
)

TXID = 0x1234
BROKEN_QUERY = b"\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\x05ab"
BROKEN_ANSWER = b"\x12\x34\x81\x82\x00\x01" + bytes(6) + b"\x05ab"


def question(qname: str = "www.example.com", qtype: str = "A", txid: int = TXID) -> bytes:
    record = DNSRecord.question(qname, qtype)
    record.header.id = txid
    return bytes(record.pack())


def answer(qname: str = "www.example.com", qtype: str = "A", txid: int = TXID, rcode: int = RCODE.NOERROR) -> bytes:
    record = DNSRecord.question(qname, qtype).reply()
    record.header.id = txid
    record.header.rcode = rcode
    if rcode == RCODE.NOERROR:
        record.add_answer(RR(qname, QTYPE.A, rdata=A("198.51.100.7"), ttl=60))
    return bytes(record.pack())


def tracker(names: NameTable | None = None) -> DnsTracker:
    return DnsTracker(CLOCK, names or NameTable())


def only_row(events: list[DnsChanged]) -> DnsQuery:
    (event,) = events
    return event.dns


def test_a_query() -> None:
    events = tracker().packet(dns_packet(question(), 1.0))
    assert events == [
        DnsChanged(
            time=at(1.0),
            dns=DnsQuery(
                id=1,
                asked_at=at(1.0),
                pid=CURL.pid,
                process_start_time=CLOCK.wall_of_boot(CURL.start_boot_ns),
                comm="curl",
                netns=NETNS,
                transport="udp",
                client=Endpoint(address=CLIENT_ADDRESS, port=33_333),
                server=Endpoint(address="192.0.2.53", port=53),
                txid=TXID,
                qname="www.example.com",
                qtype="A",
                status="pending",
            ),
        )
    ]


def test_where_nat_sent_a_query() -> None:
    packet = dns_packet(question(), via_address=packed("192.0.2.99"), via_port=40_053)
    asked = only_row(tracker().packet(packet))
    assert (asked.server, asked.via) == (
        Endpoint(address="192.0.2.53", port=53),
        Endpoint(address="192.0.2.99", port=40_053),
    )


@pytest.mark.parametrize("via", [{}, {"via_address": packed("192.0.2.53"), "via_port": 53}])
def test_a_query_that_went_where_it_was_sent(via: dict[str, Any]) -> None:
    assert only_row(tracker().packet(dns_packet(question(), **via))).via is None


def test_a_query_of_nobody_known_over_ipv6() -> None:
    packet = dns_packet(
        question(),
        owner_pid=0,
        owner_start_boot_ns=0,
        ip_version=6,
        client_address=packed("2001:db8::10"),
        server_address=packed("2001:db8::53"),
    )
    row = only_row(tracker().packet(packet))
    assert (row.pid, row.process_start_time, row.comm) == (None, None, None)
    assert (row.client.address, row.server.address) == ("2001:db8::10", "2001:db8::53")


def test_an_answer() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    (event,) = subject.packet(dns_answer(answer(), 1.0125))
    assert event.time == at(1.0125)
    row = event.dns
    assert (row.id, row.status, row.rcode, row.latency_ms, row.attempts) == (1, "answered", "NOERROR", 12.5, 1)
    assert row.answers == (Answer(name="www.example.com", type="A", ttl=60, data="198.51.100.7"),)
    assert (row.response_bytes, row.unparsed, row.pid) == (len(answer()), None, CURL.pid)


def test_an_answer_teaches_the_asker_a_name() -> None:
    names = NameTable()
    subject = tracker(names)
    subject.packet(dns_packet(question()))
    subject.packet(dns_answer(answer()))
    assert names.find(CURL, NETNS, "198.51.100.7") == Name("www.example.com", "process")


@pytest.mark.parametrize("rcode", ["NXDOMAIN", "SERVFAIL", "REFUSED"])
def test_an_answer_that_says_no(rcode: str) -> None:
    subject = tracker()
    subject.packet(dns_packet(question()))
    row = only_row(subject.packet(dns_answer(answer(rcode=getattr(RCODE, rcode)))))
    assert (row.status, row.rcode, row.answers) == ("answered", rcode, ())


def test_an_answer_that_is_truncated() -> None:
    subject = tracker()
    subject.packet(dns_packet(question()))
    message = bytearray(answer())
    message[2] |= 0x02
    assert only_row(subject.packet(dns_answer(bytes(message)))).truncated


def test_the_same_query_again_is_an_attempt_and_latency_counts_from_the_first() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    again = only_row(subject.packet(dns_packet(question(), 3.0)))
    row = only_row(subject.packet(dns_answer(answer(), 3.25)))
    assert (again.id, again.attempts, again.asked_at, again.status) == (1, 2, at(1.0), "pending")
    assert (row.id, row.attempts, row.latency_ms) == (1, 2, 2250.0)


def test_silence_becomes_a_timeout_five_seconds_after_the_last_attempt() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    subject.packet(dns_packet(question(), 3.0))
    assert subject.tick(at(7.999)) == []
    (event,) = subject.tick(at(8.0))
    assert (event.time, event.dns.status, event.dns.attempts, event.dns.latency_ms) == (at(8.0), "timeout", 2, None)
    assert subject.tick(at(9.0)) == []


def test_timeouts_come_in_the_order_of_the_last_attempts() -> None:
    subject = tracker()
    for txid in (1, 2, 1):
        subject.packet(dns_packet(question(txid=txid), 1.0 + txid))
    assert [event.dns.txid for event in subject.tick(at(20))] == [2, 1]


def test_a_retry_after_the_timeout_is_pending_again() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    subject.tick(at(6.0))
    row = only_row(subject.packet(dns_packet(question(), 6.5)))
    assert (row.id, row.status, row.attempts) == (1, "pending", 2)
    assert subject.tick(at(11.4)) == []
    assert only_row(subject.tick(at(11.5))).status == "timeout"


def test_a_late_answer_still_counts() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    subject.tick(at(6.0))
    row = only_row(subject.packet(dns_answer(answer(), 20.0)))
    assert (row.id, row.status, row.latency_ms) == (1, "answered", 19_000.0)


def test_a_late_answer_counts_once() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    subject.tick(at(6.0))
    subject.packet(dns_answer(answer(), 20.0))
    assert subject.packet(dns_answer(answer(), 20.1)) == []
    row = only_row(subject.packet(dns_packet(question(), 21.0)))
    assert (row.id, row.status, row.attempts) == (2, "pending", 1)


def test_an_answer_that_is_much_too_late_does_not() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    subject.tick(at(6.0))
    subject.tick(at(36.0))
    assert subject.packet(dns_answer(answer(), 36.1)) == []
    assert subject.evicted["dns_late"] == 0


@pytest.mark.parametrize(
    "changes",
    [{"socket_cookie": 7002}, {"payload": answer(txid=TXID + 1), "payload_bytes": 1}],
    ids=["socket", "id"],
)
def test_an_answer_never_asked_for_is_ignored(changes: dict[str, Any]) -> None:
    subject = tracker()
    subject.packet(dns_packet(question()))
    assert subject.packet(replace(dns_answer(answer()), **changes)) == []
    assert only_row(subject.packet(dns_answer(answer()))).status == "answered"


def test_a_second_answer_is_ignored() -> None:
    subject = tracker()
    subject.packet(dns_packet(question()))
    subject.packet(dns_answer(answer(), 1.1))
    assert subject.packet(dns_answer(answer(), 1.2)) == []


@pytest.mark.parametrize("wrong", [answer("bank.example"), answer(qtype="AAAA")], ids=["name", "type"])
def test_an_answer_to_another_question_is_ignored(wrong: bytes) -> None:
    subject = tracker()
    subject.packet(dns_packet(question()))
    assert subject.packet(dns_answer(wrong)) == []
    assert only_row(subject.packet(dns_answer(answer()))).status == "answered"


def test_an_answer_without_its_question() -> None:
    subject = tracker()
    subject.packet(dns_packet(question()))
    row = only_row(subject.packet(dns_answer(b"\x12\x34\x81\x85" + bytes(8))))
    assert (row.status, row.rcode, row.qname, row.unparsed) == ("answered", "REFUSED", "www.example.com", None)


@pytest.mark.parametrize(
    "message",
    [b"\x12\x34", b"\x12\x34\x81\x83", b"\x12\x34\x81\x80" + bytes(8)],
    ids=["two bytes", "half a header", "a good answer to no question"],
)
def test_what_no_resolver_takes_answers_nothing(message: bytes) -> None:
    subject = tracker()
    subject.packet(dns_packet(question()))
    assert subject.packet(dns_answer(message)) == []
    assert only_row(subject.packet(dns_answer(answer(), 2.5))).rcode == "NOERROR"


def test_random_case_does_not_matter() -> None:
    subject = tracker()
    subject.packet(dns_packet(question("wWw.eXamPle.cOM")))
    again = only_row(subject.packet(dns_packet(question("WWW.example.com"), 2.0)))
    row = only_row(subject.packet(dns_answer(answer("www.EXAMPLE.com"), 2.5)))
    assert (again.attempts, row.status, row.qname) == (2, "answered", "wWw.eXamPle.cOM")


def test_the_same_id_for_another_question_is_another_query() -> None:
    subject = tracker()
    subject.packet(dns_packet(question("a.example"), 1.0))
    second, first = (event.dns for event in subject.packet(dns_packet(question("b.example"), 1.5)))
    assert (second.id, second.qname, second.attempts, second.status) == (2, "b.example", 1, "pending")
    # what becomes of the first can no longer be known
    assert (first.id, first.qname, first.status) == (1, "a.example", "forgotten")
    assert subject.packet(dns_answer(answer("a.example"), 1.6)) == []
    assert only_row(subject.packet(dns_answer(answer("b.example"), 1.7))).id == 2


def test_the_same_id_on_another_socket_is_another_query() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    assert only_row(subject.packet(dns_packet(question(), 1.0, socket_cookie=7002))).id == 2


def test_the_same_question_after_its_answer_is_a_new_query() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    subject.packet(dns_answer(answer(), 1.1))
    row = only_row(subject.packet(dns_packet(question(), 2.0)))
    assert (row.id, row.attempts, row.asked_at) == (2, 1, at(2.0))


def test_from_port_53_to_port_53_both_hooks_see_both_kinds() -> None:
    """A server that forwards from its own port 53: what it answers and what it is asked is not its own business."""
    subject = tracker()
    own = {"client_port": 53, "server_port": 53}
    assert subject.packet(dns_answer(question(), 1.0, **own)) == []  # it is asked
    assert only_row(subject.packet(dns_packet(question(), 1.1, **own))).id == 1  # it asks
    assert only_row(subject.packet(dns_answer(answer(), 1.2, **own))).status == "answered"
    assert subject.packet(dns_packet(answer(), 1.3, **own)) == []  # it answers
    assert subject.unparsed == 0


def test_a_query_that_cannot_be_parsed_is_kept_and_counted() -> None:
    subject = tracker()
    row = only_row(subject.packet(dns_packet(BROKEN_QUERY)))
    assert (row.status, row.txid, row.qname, row.qtype) == ("pending", TXID, None, None)
    assert row.unparsed == BROKEN_QUERY.hex()
    assert subject.unparsed == 1


def test_only_the_beginning_of_what_cannot_be_parsed_is_kept() -> None:
    message = BROKEN_QUERY + b"\xff" * 4000
    row = only_row(tracker().packet(dns_packet(message)))
    assert row.unparsed == message[:512].hex()


def test_an_answer_that_cannot_be_parsed_is_kept_and_counted() -> None:
    subject = tracker()
    subject.packet(dns_packet(question()))
    row = only_row(subject.packet(dns_answer(BROKEN_ANSWER)))
    assert (row.status, row.rcode, row.answers, row.qname) == ("answered", "SERVFAIL", (), "www.example.com")
    assert row.unparsed == BROKEN_ANSWER.hex()
    assert subject.unparsed == 1


@pytest.mark.parametrize(
    ("message", "unparsed"), [(answer(), 1), (BROKEN_ANSWER, 2)], ids=["whole answer", "broken answer"]
)
def test_a_query_that_cannot_be_parsed_is_answered_all_the_same(message: bytes, unparsed: int) -> None:
    subject = tracker()
    subject.packet(dns_packet(BROKEN_QUERY))
    row = only_row(subject.packet(dns_answer(message)))
    assert (row.id, row.status, row.unparsed) == (1, "answered", BROKEN_QUERY.hex())
    assert subject.unparsed == unparsed


@pytest.mark.parametrize("message", [b"", b"\x12", b"\x12\x34\x01"])
def test_a_message_too_short_to_be_one(message: bytes) -> None:
    subject = tracker()
    row = only_row(subject.packet(dns_packet(message)))
    assert (row.txid, row.qname, row.unparsed) == (int.from_bytes(message[:2]), None, message.hex())
    assert subject.packet(dns_answer(b"\x77\x77")) == []
    assert subject.unparsed == 2


def test_over_tcp_messages_are_put_together() -> None:
    # GIVEN two questions in one segment
    subject = tracker()
    asked = b"".join(
        len(message).to_bytes(2) + message for message in (question("a.example", txid=1), question("b.example", txid=2))
    )
    replied = answer("b.example", txid=2)
    framed = len(replied).to_bytes(2) + replied
    tcp: dict[str, Any] = {"protocol": 6}
    # WHEN they are asked, and the second is answered in two segments
    queries = subject.packet(dns_packet(asked, 1.0, tcp_seq=100, **tcp))
    first = subject.packet(dns_answer(framed[:2], 1.1, tcp_seq=900, **tcp))
    second = subject.packet(dns_answer(framed[2:], 1.2, tcp_seq=902, **tcp))
    # THEN
    assert [(event.dns.id, event.dns.qname, event.dns.transport) for event in queries] == [
        (1, "a.example", "tcp"),
        (2, "b.example", "tcp"),
    ]
    assert first == []
    assert (only_row(second).id, only_row(second).response_bytes) == (2, len(replied))


def test_over_tcp_a_retransmission_is_no_second_attempt() -> None:
    subject = tracker()
    segment = len(question()).to_bytes(2) + question()
    subject.packet(dns_packet(segment, 1.0, tcp_seq=5, protocol=6))
    assert subject.packet(dns_packet(segment, 1.3, tcp_seq=5, protocol=6)) == []


def test_over_tcp_what_the_stream_lost_is_counted_as_unparsed() -> None:
    subject = tracker()
    subject.packet(dns_packet(b"\0\x03abc", tcp_seq=5, protocol=6))
    assert subject.unparsed == 1


def test_the_bytes_of_an_answer_are_those_on_the_wire() -> None:
    subject = tracker()
    subject.packet(dns_packet(question()))
    row = only_row(subject.packet(dns_answer(answer(), payload_bytes=5000)))
    assert row.response_bytes == 5000


def test_the_oldest_open_query_makes_room_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_queries, "MAX_OPEN_QUERIES", 2)
    subject = tracker()
    told = [subject.packet(dns_packet(question(txid=txid))) for txid in (1, 2, 3)]
    assert subject.evicted["dns_open"] == 1
    assert [[(event.dns.id, event.dns.status) for event in events] for events in told] == [
        [(1, "pending")],
        [(2, "pending")],
        [(3, "pending"), (1, "forgotten")],
    ]
    assert subject.packet(dns_answer(answer(txid=1))) == []
    assert only_row(subject.packet(dns_answer(answer(txid=2)))).status == "answered"


def test_the_oldest_timed_out_query_makes_room_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_queries, "MAX_OPEN_QUERIES", 2)
    subject = tracker()
    for txid in (1, 2, 3):
        subject.packet(dns_packet(question(txid=txid), txid * 10.0))
        subject.tick(at(txid * 10.0 + 5))
    assert subject.evicted == {"dns_open": 0, "dns_late": 1, "dns_streams": 0, "dns_answers": 0}
    assert subject.packet(dns_answer(answer(txid=1), 35.1)) == []
    assert only_row(subject.packet(dns_answer(answer(txid=2), 35.1))).status == "answered"


def test_retries_of_timed_out_queries_take_no_more_room_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_queries, "MAX_OPEN_QUERIES", 2)
    subject = tracker()
    for txid in (1, 2):
        subject.packet(dns_packet(question(txid=txid), 1.0))
    subject.tick(at(6.0))
    for txid in (3, 4, 1, 2):
        subject.packet(dns_packet(question(txid=txid), 7.0))
    assert subject.evicted["dns_open"] == 2
    assert [event.dns.txid for event in subject.tick(at(20))] == [1, 2]


def test_the_longest_idle_stream_makes_room_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "MAX_STREAMS", 2)
    subject = tracker()
    segment = len(question()).to_bytes(2) + question()
    for cookie in (1, 2, 1, 3):
        subject.packet(dns_packet(segment[:5], socket_cookie=cookie, tcp_seq=0, protocol=6))
    rest: dict[str, Any] = {"tcp_seq": 5, "protocol": 6}
    assert subject.evicted["dns_streams"] == 1
    assert only_row(subject.packet(dns_packet(segment[5:], socket_cookie=1, **rest))).id == 1


def test_streams_that_hold_too_many_bytes_make_room_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "MAX_STREAM_BYTES", 3000)
    subject = tracker()
    head = b"\x0f\xff" + question()
    for cookie in range(1, 5):
        subject.packet(dns_packet(head + bytes(1000 - len(head)), socket_cookie=cookie, tcp_seq=0, protocol=6))
    assert subject.evicted["dns_streams"] == 1
    assert subject._stream_bytes == 3000


def test_records_that_are_not_kept_are_counted() -> None:
    message = DNSRecord.parse(answer())
    message.add_answer(*(RR("www.example.com", QTYPE.A, rdata=A(f"198.51.100.{n}"), ttl=60) for n in range(200)))
    subject = tracker()
    subject.packet(dns_packet(question()))
    row = only_row(subject.packet(dns_answer(bytes(message.pack()))))
    assert len(row.answers) + row.answers_cut == 201
    assert subject.evicted["dns_answers"] == row.answers_cut > 0


def test_the_name_of_the_asker_is_made_printable() -> None:
    row = only_row(tracker().packet(dns_packet(question(), owner_comm=comm("\x1b[2J"))))
    assert row.comm == "\\x1b[2J"


def test_times_are_those_of_the_packets() -> None:
    packet = replace(dns_packet(question()), time_ns=ns(2.000_001_9))
    assert only_row(tracker().packet(packet)).asked_at == at(2.000_001)


# The server that was asked

OTHER: dict[str, Any] = {"server_address": packed("192.0.2.66")}


def test_each_server_that_is_asked_at_once_has_its_row() -> None:
    """musl asks all servers at once, from one socket and with one id."""
    subject = tracker()
    rows = [only_row(subject.packet(dns_packet(question(), 1.0, **changes))) for changes in ({}, OTHER)]
    assert [(row.id, row.server.address, row.attempts) for row in rows] == [
        (1, "192.0.2.53", 1),
        (2, "192.0.2.66", 1),
    ]
    row = only_row(subject.packet(dns_answer(answer(), 1.2, **OTHER)))
    assert (row.id, row.status, row.latency_ms) == (2, "answered", 200.0)
    assert [(event.dns.id, event.dns.status) for event in subject.tick(at(7))] == [(1, "timeout")]


@pytest.mark.parametrize("foreign", [OTHER, {"server_port": 5353}], ids=["address", "port"])
def test_an_answer_from_elsewhere_answers_nothing_and_teaches_nothing(foreign: dict[str, Any]) -> None:
    names = NameTable()
    subject = tracker(names)
    subject.packet(dns_packet(question(), 1.0))
    assert subject.packet(dns_answer(answer(), 10.0, **foreign)) == []
    assert names.find(CURL, NETNS, "198.51.100.7") is None
    assert subject.unasked == 1
    assert only_row(subject.packet(dns_answer(answer(), 10.1))).status == "answered"
    assert subject.unasked == 1


def test_any_member_of_a_group_may_answer() -> None:
    subject = tracker()
    asked = only_row(
        subject.packet(dns_packet(question(), 1.0, server_address=packed("224.0.0.251"), server_port=5353))
    )
    assert asked.server == Endpoint(address="224.0.0.251", port=5353)
    row = only_row(subject.packet(dns_answer(answer(), 1.1, server_port=5353, **OTHER)))
    assert (row.id, row.status, row.server.address) == (1, "answered", "224.0.0.251")


def test_over_tcp_the_connection_says_who_answers() -> None:
    subject = tracker()
    framed = [len(message).to_bytes(2) + message for message in (question(), answer())]
    subject.packet(dns_packet(framed[0], 1.0, protocol=6))
    row = only_row(subject.packet(dns_answer(framed[1], 1.1, protocol=6, **OTHER)))
    assert (row.status, row.server.address) == ("answered", "192.0.2.53")


def test_answers_that_nobody_asked_for_are_counted_once_all_who_asked_are_known() -> None:
    subject = tracker()
    subject.packet(dns_answer(answer(txid=1), 1.0))  # somebody may have asked before nettop started
    subject.packet(dns_answer(answer(txid=2), 5.9))
    assert subject.unasked == 0
    subject.packet(dns_answer(answer(txid=3), 6.0))
    assert subject.unasked == 1


def test_an_answer_may_come_twice() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    for seconds in (10.0, 10.1):
        subject.packet(dns_answer(answer(), seconds))
    assert subject.unasked == 0


def test_an_answer_whose_question_was_lost_is_not_unasked() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    subject.left_out(LeftOut(lost=1), at(9.0))
    subject.packet(dns_answer(answer(txid=7), 10.0))
    assert subject.unasked == 0


# What the kernel tells besides messages


def refusal(seconds: float, **changes: Any) -> DnsPacket:
    return dns_answer(b"", seconds, kind=abi.DNS_REFUSED, payload_offset=0, client_port=0, **changes)


def test_where_nobody_serves_the_query_is_refused_at_once() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    subject.packet(dns_packet(question(txid=2), 1.0))
    subject.packet(dns_packet(question(), 1.0, socket_cookie=7002))
    subject.packet(dns_packet(question(txid=3), 1.0, **OTHER))
    events = subject.packet(refusal(1.001))
    assert [(event.time, event.dns.id, event.dns.status) for event in events] == [
        (at(1.001), 1, "refused"),
        (at(1.001), 2, "refused"),
    ]
    assert all(event.dns.failed for event in events)
    assert {event.dns.id for event in subject.tick(at(7))} == {3, 4}


def test_a_retry_after_a_refusal_is_pending_again() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    subject.packet(refusal(1.001))
    row = only_row(subject.packet(dns_packet(question(), 2.0)))
    assert (row.id, row.status, row.attempts) == (1, "pending", 2)
    assert only_row(subject.packet(dns_answer(answer(), 2.1))).status == "answered"


def test_an_answer_after_a_refusal_counts() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    subject.packet(refusal(1.001))
    assert only_row(subject.packet(dns_answer(answer(), 2.1))).status == "answered"


def dropped(seconds: float, **changes: Any) -> DnsPacket:
    return dns_answer(b"", seconds, kind=abi.DNS_ANSWER_DROPPED, txid=TXID, payload_offset=0, **changes)


def test_an_answer_that_found_no_room_is_none() -> None:
    names = NameTable()
    subject = tracker(names)
    subject.packet(dns_packet(question(), 1.0))
    subject.packet(dns_answer(answer(), 1.1))
    (event,) = subject.packet(dropped(1.100_01))
    row = event.dns
    assert (event.time, row.id, row.status, row.answers_dropped) == (at(1.100_01), 1, "pending", 1)
    assert (row.rcode, row.latency_ms, row.answers, row.response_bytes) == (None, None, (), None)
    assert names.find(CURL, NETNS, "198.51.100.7") is None
    # WHEN nothing else comes, or another answer does
    timed_out = only_row(subject.tick(at(6.0)))
    assert (timed_out.status, timed_out.answers_dropped) == ("timeout", 1)
    answered = only_row(subject.packet(dns_answer(answer(), 7.0)))
    assert (answered.status, answered.answers_dropped, answered.latency_ms) == ("answered", 1, 6000.0)


def test_any_members_answer_may_find_no_room() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0, server_address=packed("224.0.0.251")))
    subject.packet(dns_answer(answer(), 1.1, **OTHER))
    assert only_row(subject.packet(dropped(1.100_01, **OTHER))).status == "pending"


def test_what_found_no_room_and_answered_nothing_changes_nothing() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    assert subject.packet(dropped(1.1)) == []
    assert only_row(subject.packet(dns_answer(answer(), 1.2))).answers_dropped == 0


# After a loss nothing is called a failure that may have gone well


def test_after_a_loss_what_was_open_is_forgotten_and_no_timeout() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(txid=1), 1.0))
    subject.packet(dns_packet(question(txid=2), 1.0))
    subject.left_out(LeftOut(lost=1), at(2.0))
    subject.packet(dns_packet(question(txid=3), 3.0))
    assert only_row(subject.packet(dns_answer(answer(txid=2), 4.0))).status == "answered"
    subject.left_out(LeftOut(lost=1), at(4.0))  # no more than before
    assert [(event.dns.id, event.dns.status) for event in subject.tick(at(9))] == [(1, "forgotten"), (3, "timeout")]


def test_lost_segments_are_no_loss_of_datagrams() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(), 1.0))
    subject.packet(dns_packet(mdns_query(("a.local", "A")), 1.0, **MDNS))
    subject.packet(dns_packet(len(question()).to_bytes(2) + question(), 1.0, socket_cookie=5, protocol=6))
    subject.left_out(LeftOut(segments=1), at(2.0))
    assert [event.dns.status for event in subject.tick(at(7))] == ["timeout", "forgotten", "forgotten"]


def test_questions_that_the_kernel_side_pushed_out_are_in_doubt_once_answers_are_left_out() -> None:
    subject = tracker()
    subject.packet(dns_packet(question(txid=1), 1.0))
    # WHEN nobody answers, a question that gave way for another is a timeout as any
    subject.left_out(LeftOut(pushed_out=5), at(2.0))
    assert only_row(subject.tick(at(6.0))).status == "timeout"
    # WHEN answers come that nothing in its table waits for, it is not known whose they are
    subject.packet(dns_packet(question(txid=2), 7.0))
    subject.left_out(LeftOut(pushed_out=5, unasked=3), at(8.0))
    assert (subject.unasked, subject.unclear) == (0, 3)
    assert only_row(subject.tick(at(12.0))).status == "forgotten"
    # WHEN all that were pushed out are too old to be answered
    subject.left_out(LeftOut(pushed_out=5, unasked=10), at(38.0))
    assert (subject.unasked, subject.unclear) == (7, 3)


def test_where_a_stream_lost_its_place_what_was_open_is_forgotten() -> None:
    subject = tracker()
    for cookie in (1, 2):
        segment = len(question()).to_bytes(2) + question()
        subject.packet(dns_packet(segment, 1.0, socket_cookie=cookie, protocol=6))
    long = b"\x0f\xff" + answer(txid=9)
    cut: dict[str, Any] = {"socket_cookie": 1, "protocol": 6, "tcp_seq": 10}
    subject.packet(dns_answer(long, 1.5, payload_bytes=20_000, **cut))
    assert [event.dns.status for event in subject.tick(at(7))] == ["forgotten", "timeout"]


def test_the_bytes_of_an_answer_over_tcp_are_those_on_the_wire_however_much_was_captured() -> None:
    subject = tracker()
    subject.packet(dns_packet(len(question()).to_bytes(2) + question(), 1.0, protocol=6))
    message = DNSRecord.parse(answer())
    message.add_answer(*(RR("www.example.com", QTYPE.A, rdata=A(f"198.51.100.{n}"), ttl=60) for n in range(30)))
    framed = len(message.pack()).to_bytes(2) + bytes(message.pack())
    row = only_row(subject.packet(dns_answer(framed[:200], 1.1, payload_bytes=len(framed), protocol=6)))
    assert (row.status, row.response_bytes) == ("answered", len(framed) - 2)
    assert len(row.answers) == 10
    assert row.answers_cut == 21
    assert row.unparsed == framed[2:200].hex()
    assert (subject.unparsed, subject.evicted["dns_answers"]) == (1, 0)


# Multicast DNS (RFC 6762)

MDNS: dict[str, Any] = {"client_port": 5353, "server_port": 5353, "server_address": packed("224.0.0.251")}


def mdns_query(*asked: tuple[str, str]) -> bytes:
    record = DNSRecord(DNSHeader(id=0, qr=0, rd=0))
    for qname, qtype in asked:
        record.add_question(DNSQuestion(qname, getattr(QTYPE, qtype), 0x8001))  # asks for a unicast answer
    return bytes(record.pack())


def mdns_answer(*names: str) -> bytes:
    record = DNSRecord(DNSHeader(id=0, qr=1, aa=1, rd=0))
    for name in names:
        record.add_answer(RR(name, QTYPE.A, rclass=0x8001, rdata=A("192.0.2.9"), ttl=120))  # flushes the cache
    return bytes(record.pack())


def test_multicast_queries_are_told_apart_by_their_question() -> None:
    subject = tracker()
    asked = subject.packet(dns_packet(mdns_query(("a.local", "A"), ("b.local", "A"), ("a.local", "AAAA")), 1.0, **MDNS))
    assert [(event.dns.id, event.dns.qname, event.dns.qtype) for event in asked] == [
        (1, "a.local", "A"), (2, "b.local", "A"), (3, "a.local", "AAAA"),
    ]  # fmt: skip
    row = only_row(subject.packet(dns_answer(mdns_answer("B.local", "c.local"), 1.25, **MDNS)))
    assert (row.id, row.status, row.latency_ms, [each.name for each in row.answers]) == (
        2,
        "answered",
        250.0,
        ["B.local"],
    )
    assert {(event.dns.id, event.dns.status) for event in subject.tick(at(7))} == {(1, "timeout"), (3, "timeout")}
    assert subject.unparsed == 0


def test_a_multicast_query_that_is_repeated_is_a_retry_until_it_is_answered() -> None:
    subject = tracker()
    subject.packet(dns_packet(mdns_query(("a.local", "A")), 1.0, **MDNS))
    row = only_row(subject.packet(dns_packet(mdns_query(("A.LOCAL", "A")), 2.0, **MDNS)))
    assert (row.id, row.attempts) == (1, 2)
    subject.packet(dns_answer(mdns_answer("a.local"), 2.1, **MDNS))
    assert only_row(subject.packet(dns_packet(mdns_query(("a.local", "A")), 3.0, **MDNS))).id == 2


def test_any_record_answers_a_multicast_question_for_any() -> None:
    subject = tracker()
    subject.packet(dns_packet(mdns_query(("a.local", "ANY")), 1.0, **MDNS))
    assert only_row(subject.packet(dns_answer(mdns_answer("a.local"), 1.1, **MDNS))).status == "answered"


def test_what_a_multicast_socket_hears_and_tells_of_others_is_no_query_of_its_own() -> None:
    subject = tracker()
    assert subject.packet(dns_answer(mdns_query(("a.local", "A")), 1.0, **MDNS)) == []  # somebody asks
    assert subject.packet(dns_packet(mdns_answer("a.local"), 1.1, **MDNS)) == []  # it answers
    assert subject.packet(dns_answer(mdns_answer("a.local"), 1.2, **MDNS)) == []  # an announcement


def test_an_answer_comes_to_each_socket_that_asked() -> None:
    subject = tracker()
    for cookie in (1, 2):
        subject.packet(dns_packet(mdns_query(("a.local", "A")), 1.0, socket_cookie=cookie, **MDNS))
    assert only_row(subject.packet(dns_answer(mdns_answer("a.local"), 1.1, socket_cookie=2, **MDNS))).id == 2


def test_a_simple_resolver_on_the_multicast_port_is_matched_as_in_any_dns() -> None:
    subject = tracker()
    simple = MDNS | {"client_port": 40_000}
    subject.packet(dns_packet(question(), 1.0, **simple))
    assert only_row(subject.packet(dns_answer(answer(), 1.1, **simple))).status == "answered"


@pytest.mark.parametrize(
    "message", [b"", b"\0" * 11, mdns_query(*[("a.local", "A")] * 65), mdns_query(("a", "A"))[:-1]]
)
def test_a_multicast_query_that_cannot_be_parsed_is_kept_and_counted(message: bytes) -> None:
    subject = tracker()
    assert only_row(subject.packet(dns_packet(message, 1.0, **MDNS))).qname is None
    assert subject.unparsed == 1
