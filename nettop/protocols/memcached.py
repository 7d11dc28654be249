"""Memcached: the text protocol with its meta commands, and the binary one. Keys and values are passed over.

https://github.com/memcached/memcached/blob/master/doc/protocol.txt and its wiki's BinaryProtocolRevamped.
"""

from nettop.protocols.messages import MAX_MESSAGES, Answer, Request

_MAX_LINES = 256  # of one payload that are looked at
_LONGEST_LINE = 2048  # memcached takes as many bytes of a line with keys
_STORE = frozenset((b"set", b"add", b"replace", b"append", b"prepend", b"cas"))
_WITH_DATA = {**dict.fromkeys(_STORE, 4), b"ms": 2}  # which of its words says how many bytes follow
_QUIET = _STORE | frozenset((b"delete", b"incr", b"decr", b"touch", b"flush_all", b"verbosity"))  # with `noreply`
_META = frozenset((b"mg", b"ms", b"md", b"ma", b"me", b"mn"))
_READS = frozenset((b"get", b"gets", b"gat", b"gats"))
_OTHERS = _READS | frozenset((b"stats", b"version", b"quit", b"shutdown", b"slabs", b"lru"))
_COMMANDS = _QUIET | _META | _OTHERS | {b"lru_crawler", b"watch", b"misbehave", b"cache_memlimit"}
_UNPAIRED = frozenset((b"quit", b"shutdown", b"watch"))
_ERRORS = frozenset((b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"))
_ENDS = _ERRORS | frozenset(
    b"END STORED NOT_STORED EXISTS NOT_FOUND DELETED TOUCHED OK RESET VERSION HD EN NF NS EX MN ME BUSY BADCLASS "
    b"NOSPARE NOTFULL UNSAFE SAME".split()
)
_ASKED, _ANSWERED, _BINARY_HEADER_BYTES = 0x80, 0x81, 24
_NO_ERROR, _MISSING, _THERE, _NOT_STORED = 0, 1, 2, 5  # statuses that say what was found: no failures
_OPCODES = (
    "GET", "SET", "ADD", "REPLACE", "DELETE", "INCREMENT", "DECREMENT", "QUIT", "FLUSH", "GETQ", "NOOP", "VERSION",
    "GETK", "GETKQ", "APPEND", "PREPEND", "STAT", "SETQ", "ADDQ", "REPLACEQ", "DELETEQ", "INCREMENTQ", "DECREMENTQ",
    "QUITQ", "FLUSHQ", "APPENDQ", "PREPENDQ", "VERBOSITY", "TOUCH", "GAT", "GATQ",
)  # fmt: skip
_SASL = {0x20: "SASL LIST", 0x21: "SASL AUTH", 0x22: "SASL STEP"}
_STAT = 0x10


def requests(payload: bytes) -> tuple[Request, ...]:
    """The commands in a payload; empty where it does not begin with one."""
    if payload[:1] == bytes((_ASKED,)):
        return tuple(map(_binary_request, _binary(payload, _ASKED)))
    found: list[Request] = []
    at = 0
    while 0 <= at < len(payload) and len(found) < MAX_MESSAGES:
        end = payload.find(b"\n", at, at + _LONGEST_LINE)
        words = payload[at : end if end >= 0 else at + _LONGEST_LINE].split()
        if (
            not words
            or words[0] not in _COMMANDS
            or (end < 0 and payload[at + len(words[0]) : at + len(words[0]) + 1] != b" ")
        ):
            break
        answers = _answers_to(words) if end >= 0 or words[0] in _READS else None
        found.append(Request(words[0].decode("ascii").upper(), answers))
        at = _behind(words, end + 1) if end >= 0 else -1
    return tuple(found)


def answers(payload: bytes) -> tuple[Answer, ...]:
    """The answers in a payload, the last of which may go on behind it."""
    if payload[:1] == bytes((_ANSWERED,)):
        return _binary_answers(payload)
    found: list[Answer] = []
    at, begun = 0, False
    for _ in range(_MAX_LINES):
        end = payload.find(b"\n", at, at + _LONGEST_LINE) if 0 <= at < len(payload) else -1
        if end < 0 or len(found) == MAX_MESSAGES:
            break
        words = payload[at:end].split(maxsplit=4)
        word = words[0] if words else b""
        at = end + 1
        if word in (b"VALUE", b"VA"):
            at = _behind_value(words, at)
            begun = word == b"VALUE"
            if not begun:
                found.append(Answer(ends=0 <= at <= len(payload)))
        elif word == b"STAT":
            begun = True
        elif word in _ENDS or word.isdigit():
            found.append(Answer(word.decode("ascii") if word in _ERRORS else None))
            begun = False
        else:
            break
    if begun and len(found) < MAX_MESSAGES:
        found.append(Answer(ends=False))
    return tuple(found)


def _answers_to(words: list[bytes]) -> int | None:
    command = words[0]
    if command in _UNPAIRED or (command in _QUIET and words[-1] == b"noreply"):
        return 0 if command != b"watch" else None
    if command in _META and any(word[:1] == b"q" for word in words[2:]):
        return None  # only if it fails, or is found
    return 1


def _behind(words: list[bytes], at: int) -> int:
    """Where the next command begins: behind the data, if there are some; -1 where that is not known."""
    place = _WITH_DATA.get(words[0])
    return at if place is None else _behind_data(words, place, at)


def _behind_value(words: list[bytes], at: int) -> int:
    return _behind_data(words, 3 if words[0] == b"VALUE" else 1, at)


def _behind_data(words: list[bytes], place: int, at: int) -> int:
    size = words[place] if place < len(words) else b""
    return at + int(size) + 2 if size.isdigit() and len(size) <= 10 else -1


def _binary(payload: bytes, magic: int) -> list[tuple[int, int, int]]:
    """Opcode, status and opaque number of each message."""
    found: list[tuple[int, int, int]] = []
    at = 0
    while at + _BINARY_HEADER_BYTES <= len(payload) and payload[at] == magic and len(found) < MAX_MESSAGES:
        opcode, status = payload[at + 1], int.from_bytes(payload[at + 6 : at + 8])
        key, extras, body = (
            int.from_bytes(payload[at + 2 : at + 4]), payload[at + 4], int.from_bytes(payload[at + 8 : at + 12])
        )  # fmt: skip
        if (opcode >= len(_OPCODES) and opcode not in _SASL) or payload[at + 5] or key + extras > body:
            break
        found.append((opcode, status, body))
        at += _BINARY_HEADER_BYTES + body
    return found


def _binary_request(message: tuple[int, int, int]) -> Request:
    name = _SASL.get(message[0]) or _OPCODES[message[0]]
    quiet = name.endswith("Q")
    return Request(name, 0 if name in ("QUIT", "QUITQ") else None if quiet else 1)


def _binary_answers(payload: bytes) -> tuple[Answer, ...]:
    found: list[Answer] = []
    going_on = False
    for opcode, status, body in _binary(payload, _ANSWERED):
        if opcode == _STAT and status == _NO_ERROR and body:
            going_on = True  # one message for each, and an empty one behind them
            continue
        harmless = status in (_NO_ERROR, _MISSING, _THERE, _NOT_STORED)
        found.append(Answer(None if harmless else f"0x{status:04x}"))
        going_on = False
    if going_on:
        found.append(Answer(ends=False))
    return tuple(found)
