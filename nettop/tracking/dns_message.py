"""DNS messages off the wire, never trusted: whatever they say, nothing raises, and the cost of each is bounded.

The frame (header, names, sections) is read here, because dnslib took 9 s for one 64 KB answer of compressed names; what
is inside a record's RDATA is dnslib's to know.
"""

import itertools
import socket
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from dnslib import CAA, CNAME, HTTPS, NAPTR, OPCODE, QTYPE, RCODE, RD, RDMAP, DNSBuffer, DNSLabel
from msgspec import Struct

from nettop.model.rows import Answer

HEADER_BYTES = 12  # RFC 1035 section 4.1.1
MAX_ANSWER_BYTES = 16_384  # kept of one message's answers: 110 addresses; if all 10,000 rows had them, 160 MB
ADDRESSES_ALONE_BYTES = 8192  # of that: what else there is takes longer to read
ANSWER_OVERHEAD_BYTES = 130  # what Python needs for an Answer besides its text
NAME_OVERHEAD_BYTES = 50  # and for its name, where it is not the one that was asked for
_MOST_ITEMS = (
    MAX_ANSWER_BYTES - ADDRESSES_ALONE_BYTES
) // 3  # of one record: each is shown as three characters at least
_MOST_PARAMETERS = 128  # of a service; some ten are registered, and dnslib takes 3 us for each
_MANDATORY, _ALPN = 0, 1  # RFC 9460 section 14.3.2
_BITMAP_BYTES = 32  # RFC 4034 section 4.1.2
_CACHED_QUESTIONS = 4096  # every answer repeats its question, and hosts ask the same few over and over; below 2 MB
_NAME_BYTES = 255  # RFC 1035 section 2.3.4
_LABEL_BYTES = 63
_POINTER = 0xC0  # the two upper bits of what is no label's length: RFC 1035 section 4.1.4
_TO_THE_QUESTION = bytes((_POINTER, HEADER_BYTES))
_NAME_POINTERS = 127  # more than a name can have labels
MAX_QUESTIONS = 64  # of one message; what browses for services asks for a dozen at once
_MESSAGE_POINTERS = 8192  # in all names that are read: 2 ms
_ADDRESSES = {(1, 4): socket.AF_INET, (28, 16): socket.AF_INET6}  # type and bytes of A and AAAA
_QUERY, _OPT = OPCODE.QUERY, QTYPE.OPT  # which dnslib looks up anew each time
_HEADER = struct.Struct("!2xBBHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
# Names in these may be compressed (RFC 3597 section 4), so that the same data need not be packed to the same bytes.
_COMPRESSIBLE = frozenset({"CNAME", "NS", "PTR", "DNAME", "MX", "SOA", "SRV", "RP", "NAPTR"})

QTYPE.forward[53] = "SMIMEA"  # which dnslib 0.9 calls HIP as it does 55
RDMAP.setdefault("DNAME", CNAME)  # which dnslib 0.9 leaves out
RDMAP.setdefault("SVCB", HTTPS)  # one format for both (RFC 9460 section 2.2), of which dnslib 0.9 reads the one only


class DnsMessage(Struct, frozen=True, gc=False):
    """What nettop uses of a message. `qname` is None where there is no question or it could not be parsed.

    `answers_cut` counts the records of the answer section beyond MAX_ANSWER_BYTES, and those that make no sense.
    """

    response: bool
    rcode: str
    truncated: bool
    qname: str | None
    qtype: str | None
    answers: tuple[Answer, ...]
    parsed: bool
    answers_cut: int = 0


NOT_A_MESSAGE = DnsMessage(False, "NOERROR", False, None, None, (), False)


def parse(message: bytes) -> DnsMessage | None:
    """A message without its id; None if it is too short to be one.

    `parsed` is False if it does not make sense to its end; what is whole before that is there.
    """
    if len(message) < HEADER_BYTES:
        return None
    flags, code, questions, answers, authorities, additionals = _HEADER.unpack_from(message)
    response, truncated, rcode = bool(flags & 0x80), bool(flags & 0x02), code & 0x0F
    kept: list[Answer] = []
    qname, qtype, cut, parsed = None, None, 0, False
    try:
        if flags >> 3 & 0x0F != _QUERY or questions > 1:
            raise ValueError("not an ordinary query")
        qname, qtype, end = _first_question(message) if questions else (None, None, HEADER_BYTES)
        cut = answers
        buffer = _Buffer(message, end)
        if answers:
            _keep_answers(kept, buffer, answers, qname)
        for _ in range(authorities + additionals):
            buffer.skip_name()
            kind, ttl, _, buffer.offset = buffer.record()
            if kind == _OPT:
                rcode |= ttl >> 24 << 4  # the upper bits of the extended code: RFC 6891 section 6.1.3
        parsed = True
    except (ValueError, IndexError, struct.error):
        pass
    return DnsMessage(
        response, _rcode_text(rcode), truncated, qname, qtype, tuple(kept), parsed, cut - len(kept) if cut else 0
    )


class _Label(DNSLabel):  # type: ignore[misc] # dnslib ships no types
    """A name that dnslib's record types show as nettop shows every name."""

    def __str__(self) -> str:
        return name_text(self.label)


class _Buffer(DNSBuffer):  # type: ignore[misc]
    """A message; its names may be of any bytes (RFC 2181 section 11), and are bounded in length and in what they cost.

    Every method raises ValueError, IndexError or struct.error where the message does not hold what it promises.
    """

    data: bytes
    offset: int

    def __init__(self, data: bytes, offset: int) -> None:
        # Not dnslib's own, which copies the message so that it could be written to.
        self.data = data
        self.offset = offset
        self.pointers = 0

    def decode_name(self, last: int = -1) -> _Label:  # noqa: ARG002 - dnslib's signature
        """The name at the offset, which moves behind it, as dnslib's records want it."""
        return _Label(self.labels())

    def name(self) -> str:
        """The name at the offset, which moves behind it."""
        return name_text(self.labels())

    def labels(self) -> list[bytes]:
        """Those of the name at the offset, which moves behind it."""
        labels: list[bytes] = []
        name_bytes, pointers, end = 1, 0, 0
        at = self.offset
        while length := self.data[at]:
            if length >= _POINTER:
                end = end or at + 2
                pointers += 1
                target = (length & 0x3F) << 8 | self.data[at + 1]
                if target >= at or pointers > _NAME_POINTERS:
                    raise ValueError("a name that points forward or too often")
                at = target
                continue
            name_bytes += 1 + length
            if length > _LABEL_BYTES or name_bytes > _NAME_BYTES:
                raise ValueError("a name that is too long")
            labels.append(self.data[at + 1 : at + 1 + length])
            at += 1 + length
        self.offset = end or at + 1
        self.pointers += pointers
        if self.pointers > _MESSAGE_POINTERS:
            raise ValueError("names that point too often")
        return labels

    def skip_name(self) -> None:
        """Move behind a name without reading what it points to."""
        at = self.offset
        while length := self.data[at]:
            if length >= _POINTER:
                at += 1
                break
            if length > _LABEL_BYTES:
                raise ValueError("a label that is too long")
            at += 1 + length
        self.offset = at + 1

    def record(self) -> tuple[int, int, int, int]:
        """What follows a record's name: its type, TTL, and where its RDATA starts and ends."""
        kind, _, ttl, size = _RECORD.unpack_from(self.data, self.offset)
        start = self.offset + _RECORD.size
        if start + size > len(self.data):
            raise ValueError("a record that is longer than the message")
        return kind, ttl, start, start + size


def questions(message: bytes) -> tuple[tuple[str, str], ...] | None:
    """Names and types that a message asks for, of which multicast DNS allows several; None if it cannot be parsed."""
    if len(message) < HEADER_BYTES:
        return None
    number = _HEADER.unpack_from(message)[2]
    if number > MAX_QUESTIONS:
        return None
    buffer = _Buffer(message, HEADER_BYTES)
    try:
        return tuple(_question(buffer) for _ in range(number))
    except (ValueError, IndexError, struct.error):
        return None


def _question(buffer: _Buffer) -> tuple[str, str]:
    name = buffer.name()
    kind, _ = _QUESTION.unpack_from(buffer.data, buffer.offset)
    buffer.offset += _QUESTION.size
    return name, _type_text(kind)


def _first_question(message: bytes) -> tuple[str, str, int]:
    """The question right after the header, and where it ends."""
    # The first zero ends its name, unless that points elsewhere or is hostile.
    name_bytes = message.find(0, HEADER_BYTES) + 1 - HEADER_BYTES
    if 0 < name_bytes <= _NAME_BYTES:
        end = HEADER_BYTES + name_bytes + _QUESTION.size
        question = _whole_question(message[HEADER_BYTES:end])
        if question is not None:
            return *question, end
    buffer = _Buffer(message, HEADER_BYTES)
    return *_question(buffer), buffer.offset


@lru_cache(maxsize=_CACHED_QUESTIONS)
def _whole_question(raw: bytes) -> tuple[str, str] | None:
    """The question that these bytes are; None where they are more or less than one, or its name points elsewhere."""
    buffer = _Buffer(raw, 0)
    try:
        question = _question(buffer)
    except (ValueError, IndexError, struct.error):
        return None
    return question if buffer.offset == len(raw) and not buffer.pointers else None


def _keep_answers(kept: list[Answer], buffer: _Buffer, count: int, qname: str | None) -> None:
    """The answers that there is room for. Most have the name that was asked for."""
    room = MAX_ANSWER_BYTES
    for _ in range(count):
        name_at = buffer.offset
        asked = qname is not None and buffer.data.startswith(_TO_THE_QUESTION, name_at)
        if asked:
            buffer.offset += len(_TO_THE_QUESTION)
        else:
            buffer.skip_name()
        kind, ttl, start, end = buffer.record()
        reserved = 0 if (kind, end - start) in _ADDRESSES else ADDRESSES_ALONE_BYTES
        if room - reserved >= ANSWER_OVERHEAD_BYTES + end - start:
            buffer.offset = name_at
            name = qname if asked and qname is not None else buffer.name()
            answer = Answer(name=name, type=_type_text(kind), ttl=ttl, data=_rdata_text(buffer, kind, start, end))
            room -= ANSWER_OVERHEAD_BYTES + len(answer.data)
            if answer.name is not qname:
                room -= NAME_OVERHEAD_BYTES + len(answer.name)
            if room >= reserved:
                kept.append(answer)
        buffer.offset = end


def name_text(labels: Sequence[bytes]) -> str:
    r"""Labels in presentation format without the final dot: `\DDD` for what does not print, `\.` within a label.

    RFC 1035 section 5.1 and RFC 4343 section 2.1. The root is a single dot.
    """
    dotted = b".".join(labels)
    # Only the dots are left of nearly every name, at a tenth of the cost.
    if len(dotted.translate(None, _HOST_NAME_CHARACTERS)) == len(labels) - 1:
        return dotted.decode("ascii")
    return ".".join("".join(map(_NAME_CHARACTERS.__getitem__, label)) for label in labels) or "."


def _presented(also_plain: str, backslashed: str) -> list[str]:
    """How each byte is written in presentation format."""
    plain = {*map(chr, range(0x21, 0x7F)), *also_plain} - {*backslashed}
    return [
        chr(code) if chr(code) in plain else f"\\{chr(code)}" if chr(code) in backslashed else f"\\{code:03d}"
        for code in range(256)
    ]


_NAME_CHARACTERS = _presented("", ".\\")
_HOST_NAME_CHARACTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
_QUOTED_CHARACTERS = _presented(" ", '"\\')
_LISTED_CHARACTERS = [f"\\{ord(text):03d}" if text in '"(),;\\' else text for text in _presented("", "")]


def _quoted(raw: bytes) -> str:
    return f'"{"".join(map(_QUOTED_CHARACTERS.__getitem__, raw))}"'


def _rcode_text(rcode: int) -> str:
    return RCODE.forward.get(rcode) or f"RCODE{rcode}"


def _type_text(number: int) -> str:
    return QTYPE.forward.get(number) or f"TYPE{number}"  # RFC 3597 section 5


def _rdata_text(buffer: _Buffer, number: int, start: int, end: int) -> str:
    """RDATA in presentation format, different for different data; as RFC 3597 section 5 has it where that fails."""
    size = end - start
    if (number, size) in _ADDRESSES:  # nine of ten records, and dnslib takes 7 us for one
        return socket.inet_ntop(_ADDRESSES[number, size], buffer.data[start:end])
    kind = _type_text(number)
    whole = buffer.data
    buffer.offset, buffer.data = start, whole[:end]  # dnslib's HTTPS reads on behind its record
    try:
        if read := _READERS.get(number):
            return read(buffer)
        rdata = RDMAP.get(kind, RD).parse(buffer, size)
        text = _FORMATS.get(type(rdata), str)(rdata)
        if buffer.offset == end and text.isprintable() and _is_whole(kind, rdata, whole[start:end]):
            return text
    except Exception:  # noqa: BLE001, S110 - dnslib raises whatever its parts raise, and strangers choose the bytes
        pass
    finally:
        buffer.data = whole
    return f"\\# {size} {whole[start:end].hex().upper()}".rstrip()


def _is_whole(kind: str, rdata: Any, raw: bytes) -> bool:
    """Whether the parsed data stands for these bytes alone."""
    if kind in _COMPRESSIBLE:
        return True
    packed = DNSBuffer()
    rdata.pack(packed)
    return bytes(packed.data) == raw


def _strings(raw: bytes) -> list[bytes]:
    """Each behind a byte that says how long it is."""
    strings: list[bytes] = []
    at = 0
    while at < len(raw):
        start, at = at + 1, at + 1 + raw[at]
        strings.append(raw[start:at])
        if at > len(raw) or len(strings) > _MOST_ITEMS:
            raise ValueError("a string that ends early, or more than are kept")
    return strings


def _txt(buffer: _Buffer) -> str:
    return " ".join(map(_quoted, _strings(buffer.data[buffer.offset :])))


def _nsec(buffer: _Buffer) -> str:
    """The next name, which must not be compressed, and the types of this one: RFC 4034 section 4.1."""
    start = buffer.offset
    labels = buffer.labels()
    if buffer.offset - start != 1 + sum(1 + len(label) for label in labels):
        raise ValueError("a compressed name")
    types = (
        _type_text(window << 8 | bit)
        for window, bitmap in _bitmaps(buffer.data[buffer.offset :])
        for bit in range(8 * len(bitmap))
        if bitmap[bit >> 3] << (bit & 7) & 0x80
    )
    return " ".join((name_text(labels), *types))


def _bitmaps(raw: bytes) -> list[tuple[int, bytes]]:
    """By window, in the one form that RFC 4034 section 4.1.2 allows."""
    bitmaps: list[tuple[int, bytes]] = []
    last, at, types = -1, 0, 0
    while at < len(raw):
        window, size = raw[at : at + 2]
        bitmap = raw[at + 2 : at + 2 + size]
        if window <= last or not 1 <= size == len(bitmap) <= _BITMAP_BYTES or not bitmap[-1]:
            raise ValueError("a bitmap that may not be written so")
        bitmaps.append((window, bitmap))
        types += int.from_bytes(bitmap).bit_count()
        last, at = window, at + 2 + size
    if not 1 <= types <= _MOST_ITEMS:
        raise ValueError("no types, or more than are kept")
    return bitmaps


def _caa(rdata: Any) -> str:
    return f"{rdata.flags} {_quoted(rdata.tag.encode())[1:-1]} {_quoted(rdata.value.encode())}"


def _naptr(rdata: Any) -> str:
    strings = " ".join(map(_quoted, (rdata.flags, rdata.service, rdata.regexp)))
    return f"{rdata.order} {rdata.preference} {strings} {rdata.replacement}"


def _service(rdata: Any) -> str:
    keys = [key for key, _ in rdata.params]
    if len(keys) > _MOST_PARAMETERS or any(key >= following for key, following in itertools.pairwise(keys)):
        raise ValueError("parameters out of order (RFC 9460 section 2.2), or too many")
    parameters = (_service_parameter(rdata, key, value) for key, value in rdata.params)
    return " ".join((str(rdata.priority), name_text(tuple(map(bytes, rdata.target))), *parameters))


def _service_parameter(rdata: Any, key: int, value: bytes) -> str:
    # Of a key that it does not know dnslib shows the value without quotes, and of a port the first two bytes.
    if key >= len(rdata.paramkeys) or (rdata.zf_format_key(key) == "port" and len(value) != 2):
        return f"key{key}={_quoted(value)}"
    if key == _MANDATORY and len(value) > 2 * _MOST_PARAMETERS:
        raise ValueError("more keys than there may be parameters")
    if key == _ALPN and value:
        return f"alpn={','.join(map(_protocol, _strings(bytes(value))))}"
    return str(rdata.zf_format_param(key, value))


def _protocol(identifier: bytes) -> str:
    """One of a list in presentation format: RFC 9460 section 7.1.1 and appendix A.1."""
    if not identifier:
        raise ValueError("a protocol without a name")
    return "".join(map(_LISTED_CHARACTERS.__getitem__, identifier))


# What dnslib takes too long for: 10 ms for 8 KB of empty strings, 96 ms for 8 KB of types.
_READERS = {QTYPE.TXT: _txt, QTYPE.NSEC: _nsec}
_FORMATS = {CAA: _caa, NAPTR: _naptr, HTTPS: _service}
