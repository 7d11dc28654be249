"""DNS messages off the wire, through dnslib and never trusted: whatever it says of them, nothing raises."""

from functools import lru_cache
from typing import Any, NamedTuple

from dnslib import OPCODE, QTYPE, RCODE, DNSRecord

from nettop.model.rows import Answer

HEADER_BYTES = 12  # RFC 1035 section 4.1.1
_CACHED_MESSAGES = 4096  # hosts ask the same few names over and over: a query costs 1 us instead of 15; 4 MB at most
_NAME_ONLY = ("CNAME", "NS", "PTR", "DNAME")


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
    return _parse(message[2:])


@lru_cache(maxsize=_CACHED_MESSAGES)
def _parse(after_id: bytes) -> DnsMessage:
    response, truncated, rcode = bool(after_id[0] & 0x80), bool(after_id[0] & 0x02), after_id[1] & 0x0F
    try:
        record = DNSRecord.parse(b"\0\0" + after_id)
        if record.header.get_opcode() != OPCODE.QUERY or len(record.questions) > 1:
            raise ValueError("not an ordinary query")
        qname, qtype = None, None
        if record.questions:
            qname = name_text(record.q.qname.label)
            qtype = str(QTYPE.get(record.q.qtype))
        for extra in record.ar:
            if extra.rtype == QTYPE.OPT:
                rcode |= extra.ttl >> 24 << 4  # the upper bits of the extended code: RFC 6891 section 6.1.3
        answers = tuple(map(_answer, record.rr))
        return DnsMessage(response, _rcode_text(rcode), truncated, qname, qtype, answers, True)
    except Exception:  # noqa: BLE001 - dnslib raises whatever its parts raise, and strangers choose the bytes
        return DnsMessage(response, _rcode_text(rcode), truncated, None, None, (), False)


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


def _answer(record: Any) -> Answer:
    return Answer(
        name=name_text(record.rname.label),
        type=str(QTYPE.get(record.rtype)),
        ttl=record.ttl,
        data=_rdata_text(record),
    )


def _rdata_text(record: Any) -> str:
    kind = QTYPE.get(record.rtype)
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
