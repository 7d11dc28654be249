"""Messages made with dnslib, and by hand where it refuses to make them, as parse() sees them."""

import time

import pytest
from dnslib import AAAA, CNAME, EDNS0, MX, NS, PTR, QTYPE, RCODE, RR, SOA, SRV, TXT, A, DNSLabel, DNSRecord
from hypothesis import example, given
from hypothesis import strategies as st

from nettop.model.rows import Answer
from nettop.tracking import dns_message
from nettop.tracking.dns_message import DnsMessage, name_text, parse

HEADER = b"\x12\x34\x01\x00\x00\x01" + bytes(6)
ANSWER_HEADER = b"\x12\x34\x81\x80\x00\x00\x00\x01" + bytes(4)


def reply(qname: str, qtype: str, *records: RR) -> DNSRecord:
    answer = DNSRecord.question(qname, qtype).reply()
    answer.add_answer(*records)
    return answer


def parsed(message: bytes | DNSRecord) -> DnsMessage:
    result = parse(message if isinstance(message, bytes) else bytes(message.pack()))
    assert result is not None
    return result


def test_query() -> None:
    assert parsed(DNSRecord.question("www.example.com", "A")) == DnsMessage(
        response=False, rcode="NOERROR", truncated=False, qname="www.example.com", qtype="A", answers=(), parsed=True
    )


def test_answer() -> None:
    message = reply("Example.com", "A", RR("Example.com", QTYPE.A, rdata=A("198.51.100.7"), ttl=60))
    assert parsed(message) == DnsMessage(
        response=True,
        rcode="NOERROR",
        truncated=False,
        qname="Example.com",
        qtype="A",
        answers=(Answer(name="Example.com", type="A", ttl=60, data="198.51.100.7"),),
        parsed=True,
    )


@pytest.mark.parametrize(
    ("qtype", "rdata", "text"),
    [
        ("A", A("192.0.2.1"), "192.0.2.1"),
        ("AAAA", AAAA("2001:db8::1"), "2001:db8::1"),
        ("CNAME", CNAME("target.example.com"), "target.example.com"),
        ("NS", NS("ns.example.com"), "ns.example.com"),
        ("PTR", PTR("host.example.com"), "host.example.com"),
        ("PTR", PTR(DNSLabel([b"odd.label", b"example"])), "odd\\.label.example"),
        ("MX", MX("mail.example.com", 10), "10 mail.example.com"),
        ("SRV", SRV(1, 2, 5060, "sip.example.com"), "1 2 5060 sip.example.com"),
        (
            "SOA",
            SOA("ns.example.com", "admin.example.com", (1, 2, 3, 4, 5)),
            "ns.example.com admin.example.com 1 2 3 4 5",
        ),
        ("TXT", TXT("v=spf1 -all"), '"v=spf1 -all"'),
        ("TXT", TXT([b"one", b"two"]), '"one" "two"'),
        ("TXT", TXT([b'\x1b[31m"\\\xff\x00']), '"\\027[31m\\"\\\\\\255\\000"'),
    ],
)
def test_data_in_presentation_format(qtype: str, rdata: object, text: str) -> None:
    message = reply("x.example.com", qtype, RR("x.example.com", getattr(QTYPE, qtype), rdata=rdata, ttl=5))
    assert parsed(message).answers == (Answer(name="x.example.com", type=qtype, ttl=5, data=text),)


@pytest.mark.parametrize("qtype", ["HTTPS", "SVCB"])
def test_service_binding(qtype: str) -> None:
    answer = DNSRecord.question("example.com", qtype).reply()
    answer.add_answer(*RR.fromZone(f"example.com. 300 {qtype} 1 . alpn=h2,h3 ipv4hint=192.0.2.1"))
    result = parsed(answer)
    assert result.qtype == qtype
    assert [(row.type, row.data) for row in result.answers] == [(qtype, "1 . alpn=h2,h3 ipv4hint=192.0.2.1")]


def test_cname_chain_in_order() -> None:
    message = reply(
        "www.example.com",
        "A",
        RR("www.example.com", QTYPE.CNAME, rdata=CNAME("edge.example.net"), ttl=30),
        RR("edge.example.net", QTYPE.CNAME, rdata=CNAME("pop.example.org"), ttl=20),
        RR("pop.example.org", QTYPE.A, rdata=A("192.0.2.9"), ttl=10),
    )
    assert [(row.name, row.type, row.data) for row in parsed(message).answers] == [
        ("www.example.com", "CNAME", "edge.example.net"),
        ("edge.example.net", "CNAME", "pop.example.org"),
        ("pop.example.org", "A", "192.0.2.9"),
    ]


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ((), "."),
        ((b"com",), "com"),
        ((b"www", b"example", b"com"), "www.example.com"),
        ((b"a.b", b"com"), "a\\.b.com"),
        ((b"a\\b",), "a\\\\b"),
        ((b"a b",), "a\\032b"),
        ((b"\x00\x1b\x7f",), "\\000\\027\\127"),
        ((b"\xe9\xff",), "\\233\\255"),
        (("日".encode(),), "\\230\\151\\165"),
        ((b"[/b]",), "[/b]"),
    ],
)
def test_names_in_presentation_format(labels: tuple[bytes, ...], text: str) -> None:
    assert name_text(labels) == text


def test_the_root_is_asked_for() -> None:
    assert parsed(DNSRecord.question(".", "NS")).qname == "."


def test_a_name_of_any_bytes() -> None:
    message = HEADER + b"\x04\xff\x00.\\\x03com\x00\x00\x01\x00\x01"
    read = parsed(message)
    assert (read.qname, read.qtype, read.answers, read.parsed) == ("\\255\\000\\.\\\\.com", "A", (), True)


def test_a_type_without_a_name() -> None:
    message = HEADER + b"\x01x\x00\xff\x78\x00\x01"
    assert parsed(message).qtype == "TYPE65400"


@pytest.mark.parametrize(
    ("code", "extended", "text"),
    [
        (RCODE.NOERROR, 0, "NOERROR"),
        (RCODE.SERVFAIL, 0, "SERVFAIL"),
        (RCODE.NXDOMAIN, 0, "NXDOMAIN"),
        (RCODE.REFUSED, 0, "REFUSED"),
        (0, 1, "RCODE16"),
        (0, 255, "RCODE4080"),
    ],
)
def test_rcode_with_its_upper_bits_from_edns(code: int, extended: int, text: str) -> None:
    answer = DNSRecord.question("x.example", "A").reply()
    answer.header.rcode = code
    answer.add_ar(EDNS0(ext_rcode=extended))
    assert parsed(answer).rcode == text


def test_refused_without_its_question() -> None:
    message = b"\x12\x34\x81\x85" + bytes(8)
    assert parse(message) == DnsMessage(True, "REFUSED", False, None, None, (), True)


def test_truncated_bit() -> None:
    answer = DNSRecord.question("big.example", "TXT").reply()
    answer.header.tc = 1
    assert parsed(answer).truncated


@pytest.mark.parametrize("message", [b"", b"\x12", bytes(11)])
def test_too_short_for_a_message(message: bytes) -> None:
    assert parse(message) is None


@pytest.mark.parametrize(
    "message",
    [
        HEADER,
        HEADER + b"\x03ab",
        HEADER + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
        HEADER + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",
        HEADER + b"\xc0\x0c\0\1\0\1",
        HEADER + b"\xc0\xff\0\1\0\1",
        HEADER + b"\1a\xc0\x0c\0\1\0\1",
        b"\x12\x34\x28" + HEADER[3:] + b"\1a\0\0\1\0\1",
        b"\x12\x34\x01\x00\x00\x02" + bytes(6) + b"\1a\0\0\1\0\1" * 2,
    ],
    ids=[
        "no question",
        "cut in a label",
        "label of 64 bytes",
        "name of 257 bytes",
        "pointer to itself",
        "pointer forward",
        "loop",
        "update",
        "two questions",
    ],
)
def test_what_cannot_be_parsed_keeps_its_header(message: bytes) -> None:
    response = message[2] >= 0x80
    assert parse(message) == DnsMessage(response, "NOERROR", False, None, None, (), False)


CUT = (b"\xc0\x0c" + b"\0\1\0\1\0\0\0\5\0\4\xc0\0\2\1") * 5
ANSWER_TO_A = b"\0\0\x81\x80\0\1\0\5\0\1\0\1" + b"\1a\0\0\1\0\1"


@pytest.mark.parametrize("records", [CUT[:50], CUT[:63], CUT[:48] + b"\xc0\xff" + CUT[50:]], ids=["in", "at", "odd"])
def test_the_records_before_the_end_of_what_makes_sense_are_kept(records: bytes) -> None:
    result = parsed(ANSWER_TO_A + records)
    assert (result.parsed, result.qname, result.qtype, result.rcode) == (False, "a", "A", "NOERROR")
    assert [row.data for row in result.answers] == ["192.0.2.1"] * 3
    assert result.answers_cut == 2


def test_a_message_cut_behind_its_answers_has_them_all() -> None:
    result = parsed(ANSWER_TO_A + CUT + b"\1b")
    assert (result.parsed, len(result.answers), result.answers_cut) == (False, 5, 0)


def test_longest_name() -> None:
    label = b"\x3f" + b"a" * 63
    message = HEADER + label * 3 + b"\x3d" + b"b" * 61 + b"\0\0\1\0\1"
    assert parsed(message).qname == ".".join(["a" * 63] * 3 + ["b" * 61])


@given(st.binary(max_size=600))
@example(ANSWER_HEADER + b"\0\0\x29\0\0\0\0\0\0\0\0")
def test_arbitrary_bytes_never_raise(message: bytes) -> None:
    result = parse(message)
    assert (result is None) == (len(message) < 12)


@given(st.binary(max_size=300), st.integers(0, 3), st.integers(0, 3), st.sampled_from([0x01, 0x81]))
def test_arbitrary_sections_never_raise(body: bytes, questions: int, answers: int, flags: int) -> None:
    message = b"\0\0" + bytes([flags, 0, 0, questions, 0, answers]) + bytes(4) + body
    result = parsed(message)
    assert all(row.name.isprintable() and row.data.isprintable() for row in result.answers)
    assert result.qname is None or result.qname.isprintable()


def test_a_good_message_cut_at_any_byte() -> None:
    answer = reply("www.example.com", "A", RR("www.example.com", QTYPE.A, rdata=A("192.0.2.1"), ttl=1))
    answer.add_answer(RR("www.example.com", QTYPE.TXT, rdata=TXT("text"), ttl=1))
    answer.add_ar(EDNS0(udp_len=1232))
    message = bytes(answer.pack())
    for length in range(12, len(message)):
        assert parsed(message[:length]).parsed is False
    assert parsed(message).parsed is True


def chained(pointers: int, label: bytes, size: int) -> bytes:
    """An answer of `size` bytes at most, all its records named by the end of one chain of pointers."""
    chain, last = b"\1a\0", 23
    for _ in range(pointers):
        link = label + (0xC000 | last).to_bytes(2)
        last = 23 + len(chain)
        chain += link
    first = b"\0\x03\xe8\0\1\0\0\0\0" + len(chain).to_bytes(2) + chain
    record = (0xC000 | last).to_bytes(2) + b"\x03\xe8\0\1\0\0\0\0\0\1x"
    count = (size - 12 - len(first)) // len(record)
    return b"\0\0\x81\x80\0\0" + (count + 1).to_bytes(2) + bytes(4) + first + record * count


@pytest.mark.parametrize(
    ("message", "names"),
    [
        (chained(120, b"\1b", 65_535), {".", ".".join("b" * 120 + "a")}),
        (chained(120, b"", 65_535), {".", "a"}),
        (chained(900, b"", 65_535), {"."}),
    ],
    ids=["labels", "pointers only", "too many pointers"],
)
def test_a_hostile_chain_of_pointers_costs_little(message: bytes, names: set[str]) -> None:
    before = time.thread_time()
    result = parsed(message)
    assert {row.name for row in result.answers} == names
    assert time.thread_time() - before < 0.1  # 9 s with dnslib's own names; 0.003 s measured


def kept_bytes(message: DnsMessage) -> int:
    return sum(
        dns_message.ANSWER_OVERHEAD_BYTES
        + len(row.data)
        + (0 if row.name == message.qname else dns_message.NAME_OVERHEAD_BYTES + len(row.name))
        for row in message.answers
    )


ADDRESS_RECORD = b"\0\1\0\1\0\0\0\5\0\4\xc0\0\2\1"  # without its name
LONG_NAME = (b"\x3f" + b"\x01" * 63) * 3 + b"\0"


@pytest.mark.parametrize(
    ("records", "count"),
    [
        ((b"\0" + ADDRESS_RECORD) * 4000, 4000),
        (b"\0\0\x10\0\1\0\0\0\5\0\5\4text" * 3000, 3000),
        ((b"\0\0\x10\0\1\0\0\0\5\x04\0" + (b"\xff" + b"\x1b" * 255) * 4) * 60, 60),
        (LONG_NAME + ADDRESS_RECORD + (b"\xc0\x0c" + ADDRESS_RECORD) * 3000, 3001),
    ],
    ids=["addresses", "short texts", "texts that do not print", "long names"],
)
def test_the_answers_of_a_large_message_are_bounded_in_bytes_and_the_rest_is_counted(
    records: bytes, count: int
) -> None:
    result = parsed(b"\0\0\x81\x80\0\0" + count.to_bytes(2) + bytes(4) + records)
    assert result.parsed
    assert len(result.answers) + result.answers_cut == count
    assert len(result.answers) > 0
    assert kept_bytes(result) <= dns_message.MAX_ANSWER_BYTES


def test_a_record_too_large_to_keep_does_not_take_the_others_with_it() -> None:
    large = b"\0\0\x10\0\1\0\0\0\5\x3f\xff" + (b"\xff" + bytes(255)) * 64
    small = b"\1a\0\0\1\0\1\0\0\0\5\0\4\xc0\0\2\1"
    result = parsed(b"\0\0\x81\x80\0\0\0\2" + bytes(4) + large[: 11 + 0x3FFF] + small)
    assert ([row.data for row in result.answers], result.answers_cut) == (["192.0.2.1"], 1)


@pytest.mark.parametrize(
    ("number", "rdata", "text"),
    [
        (1, b"\1\2\3", "\\# 3 010203"),
        (1, b"", "\\# 0"),
        (15, b"\0\x0a\1a\0rest", "\\# 9 000A01610072657374"),
        (35, b'\0\1\0\2\1u\3a b\3!"!\1x\0', '1 2 "u" "a b" "!\\"!" x'),
        (35, b"\0\1\0\2\1\xff\0\0\0", '1 2 "\\255" "" "" .'),
        (257, b'\0\5issue";"', '0 issue "\\";\\""'),
        (47, b"\1a\0\0\1\x40", "a A"),
        (16, b"", ""),
        (16, b'\1a\0\2"\n', '"a" "" "\\"\\010"'),
        (16, b"\1a\2b", "\\# 4 01610262"),
        (47, b"\1a\0\0\2\x40\0", "\\# 7 01610000024000"),
        (47, b"\1a\0\0\1\x40\0\1\x40", "\\# 9 016100000140000140"),
        (47, b"\1a\0", "\\# 3 016100"),
        (47, b"\1a\0\0\7" + bytes(6) + b"\5\1\1\x40", "a SMIMEA HIP CAA"),
        (65, b"\0\1\0\0\1\0\7\2h2\3a\\,", "1 . alpn=h2,a\\092\\044"),
        (65, b"\0\1\0\0\1\0\1\0", "\\# 8 0001000001000100"),
        (65, b"\0\1\3svc\0\0\7\0\4/a b", '1 svc key7="/a b"'),
        (65, b"\0\1\0\0\3\0\3\1\xbb\0", '1 . key3="\\001\\187\\000"'),
        (65, b"\0\1\0\0\7\0\0\0\7\0\0", "\\# 11 0001000007000000070000"),
        (39, b"\1a\0", "a"),
        (65280, b"\0\xff", "\\# 2 00FF"),
    ],
)
def test_data_that_dnslib_would_refuse_or_show_like_other_data(number: int, rdata: bytes, text: str) -> None:
    record = b"\0" + number.to_bytes(2) + b"\0\1\0\0\0\5" + len(rdata).to_bytes(2) + rdata
    result = parsed(ANSWER_HEADER + record)
    assert [row.data for row in result.answers] == [text]


def test_no_more_is_kept_of_a_message_than_its_question() -> None:
    dns_message._whole_question.cache_clear()
    parse(HEADER + b"\1a" * 600 + bytes(5))
    assert dns_message._whole_question.cache_info().currsize == 0
    for _ in range(2):
        parse(HEADER + b"\1a\0\0\1\0\1" + bytes(600))
    assert dns_message._whole_question.cache_info()[:2] == (1, 1)


def test_a_question_whose_name_points_elsewhere() -> None:
    # into the header, where 0x0161 reads as the label "a"
    result = parsed(b"\0\0\x01a\0\1" + bytes(6) + b"\1b\xc0\2\0\1\0\1")
    assert (result.qname, result.qtype) == ("b.a", "A")
