"""Memcached: the text protocol with its meta commands. Keys and values are passed over.

https://github.com/memcached/memcached/blob/master/doc/protocol.txt. The binary protocol, which it no longer recommends,
is not read.
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


def requests(payload: bytes) -> tuple[Request, ...]:
    """The commands in a payload; empty where it does not begin with one."""
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
