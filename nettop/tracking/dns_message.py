"""DNS messages off the wire, through dnslib and never trusted: whatever it says of them, nothing raises."""

from functools import lru_cache
from typing import Any, NamedTuple

from dnslib import HTTPS, OPCODE, QTYPE, RCODE, RDMAP, RR, DNSBuffer, DNSHeader, DNSLabel, DNSQuestion

from nettop.model.rows import Answer

HEADER_BYTES = 12  # RFC 1035 section 4.1.1
_CACHED_MESSAGES = 4096  # hosts ask the same few names over and over: a query costs 1 us instead of 15
_CACHED_BYTES = 512  # longer messages are answers, which seldom come twice: keeps the cache below 10 MB
_NAME_BYTES = 255  # RFC 1035 section 2.3.4
_NAME_POINTERS = 127  # more than a name can have labels
_NAME_ONLY = ("CNAME", "NS", "PTR", "DNAME")

RDMAP.setdefault("SVCB", HTTPS)  # one format for both (RFC 9460 section 2.2), of which dnslib 0.9 reads the one only


class DnsMessage(NamedTuple):
    """What nettop uses of a message. `qname` is None where there is no question or it could not be parsed."""

    response: bool
    rcode: str
    truncated: bool
    qname: str | None
    qtype: str | None
    answers: tuple[Answer, ...]
    parsed: bool


NOT_A_MESSAGE = DnsMessage(False, "NOERROR", False, None, None, (), False)


def parse(message: bytes) -> DnsMessage | None:
    """A message without its id; None if it is too short to be one. `parsed` is False if only the header made sense."""
    if len(message) < HEADER_BYTES:
        return None
    return (_parse_cached if len(message) <= _CACHED_BYTES else _parse)(message[2:])


class _Buffer(DNSBuffer):  # type: ignore[misc] # dnslib ships no types
    """dnslib's, but for names: of any bytes (RFC 2181 section 11), and bounded in length and in what they cost.

    With dnslib's own, one 64 KB answer whose names are long chains of pointers took 9 s.
    """

    offset: int

    def decode_name(self, last: int = -1) -> DNSLabel:  # noqa: ARG002 - dnslib's signature
        """The name at the offset, which moves behind it. Raises ValueError."""
        labels: list[bytes] = []
        name_bytes, pointers, end = 1, 0, 0
        at = self.offset
        while length := self.data[at]:
            if length >= 0xC0:
                end = end or at + 2
                pointers += 1
                target = (length & 0x3F) << 8 | self.data[at + 1]
                if target >= at or pointers > _NAME_POINTERS:
                    raise ValueError("a name that points forward or too often")
                at = target
                continue
            name_bytes += 1 + length
            if length > 63 or name_bytes > _NAME_BYTES:
                raise ValueError("a name that is too long")
            labels.append(bytes(self.data[at + 1 : at + 1 + length]))
            at += 1 + length
        self.offset = end or at + 1
        return DNSLabel(labels)


def _parse(after_id: bytes) -> DnsMessage:
    response, truncated, rcode = bool(after_id[0] & 0x80), bool(after_id[0] & 0x02), after_id[1] & 0x0F
    try:
        buffer = _Buffer(b"\0\0" + after_id)
        header = DNSHeader.parse(buffer)
        if header.get_opcode() != OPCODE.QUERY or header.q > 1:
            raise ValueError("not an ordinary query")
        qname, qtype = None, None
        if header.q:
            question = DNSQuestion.parse(buffer)
            qname, qtype = name_text(question.qname.label), _type_text(question.qtype)
        records = [RR.parse(buffer) for _ in range(header.a + header.auth + header.ar)]
        for record in records[header.a + header.auth :]:
            if record.rtype == QTYPE.OPT:
                rcode |= record.ttl >> 24 << 4  # the upper bits of the extended code: RFC 6891 section 6.1.3
        answers = tuple(map(_answer, records[: header.a]))
        return DnsMessage(response, _rcode_text(rcode), truncated, qname, qtype, answers, True)
    except Exception:  # noqa: BLE001 - dnslib raises whatever its parts raise, and strangers choose the bytes
        return DnsMessage(response, _rcode_text(rcode), truncated, None, None, (), False)


_parse_cached = lru_cache(maxsize=_CACHED_MESSAGES)(_parse)


def name_text(labels: tuple[bytes, ...]) -> str:
    r"""Labels in presentation format without the final dot: `\DDD` for what does not print, `\.` within a label.

    RFC 1035 section 5.1 and RFC 4343 section 2.1. The root is a single dot.
    """
    return ".".join("".join(map(_label_character, label)) for label in labels) or "."


def _label_character(code: int) -> str:
    if code in b".\\":
        return "\\" + chr(code)
    return chr(code) if 0x21 <= code <= 0x7E else f"\\{code:03d}"


def _rcode_text(rcode: int) -> str:
    return str(RCODE.forward.get(rcode, f"RCODE{rcode}"))


def _type_text(number: int) -> str:
    return str(QTYPE.forward.get(number, f"TYPE{number}"))  # RFC 3597 section 5


def _answer(record: Any) -> Answer:
    return Answer(
        name=name_text(record.rname.label),
        type=_type_text(record.rtype),
        ttl=record.ttl,
        data=_rdata_text(record),
    )


def _rdata_text(record: Any) -> str:
    kind = _type_text(record.rtype)
    if kind in _NAME_ONLY:
        return name_text(record.rdata.label.label)
    if kind == "TXT":
        return " ".join('"' + "".join(map(_quoted_character, part)) + '"' for part in record.rdata.data)
    text = str(record.rdata)
    if text.isprintable():
        return text
    return "".join(part if part.isprintable() else "".join(f"\\{b:03d}" for b in part.encode()) for part in text)


def _quoted_character(code: int) -> str:
    if code in b'"\\':
        return "\\" + chr(code)
    return chr(code) if 0x20 <= code <= 0x7E else f"\\{code:03d}"
