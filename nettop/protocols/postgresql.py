"""PostgreSQL's protocol, version 3: what is asked, and how it ended.

https://www.postgresql.org/docs/current/protocol-message-formats.html. Every request ends with a Query or a Sync,
and every answer to it with ReadyForQuery, so that both pair by order. What is asked for before a startup message, such
as encryption, is none.
"""

from nettop.protocols.messages import MAX_MESSAGES, MAX_STATEMENT_NAME, Answer, Request
from nettop.protocols.sql import statement_kind
from nettop.text import printable

_MAX_PARTS = 512  # messages of one payload that are looked at; a batch has three a statement
_MAX_BYTES = 1 << 30  # of a message: what the server takes
_LENGTH_BYTES = 4
_STARTUPS = (0x00030000, 0x00030002)  # versions of the protocol, where other messages have their type
_ASKED = frozenset(b"QPBEDCSHFXdcfp")
_ANSWERED = frozenset(b"RKSZTDCEINA123nsGHWVvdct")
_WITHOUT_STATEMENT = {"": "SYNC", "E": "EXECUTE", "D": "DESCRIBE", "C": "CLOSE"}
_ASIDE = frozenset(b"AS")  # notifications, changed settings: they may come at any time


def requests(payload: bytes) -> tuple[Request, ...]:
    """What these messages ask for; empty where they are none, or carry data alone."""
    if payload[:1] == b"\0":
        return (Request("STARTUP"),) if int.from_bytes(payload[4:8]) in _STARTUPS else ()
    found: list[Request] = []
    batch = _Batch()
    for kind, body in _parts(payload, _ASKED):
        if kind == "S":
            found.append(batch.request())
            batch = _Batch()
        elif kind in "PBEDC":
            batch.take(kind, body)
        elif kind == "Q":
            found.append(Request(statement_kind(body)))
        elif kind == "F":
            found.append(Request("FUNCTION"))
        if len(found) == MAX_MESSAGES:
            return tuple(found)
    if batch.first:  # it goes on in the next segment, or behind what was captured
        found.append(batch.request())
    return tuple(found)


class _Batch:
    """Messages of the extended protocol up to a Sync: the first statement gives the batch its name."""

    def __init__(self) -> None:
        self.first = ""
        self._kind: str | None = None
        self._statement: str | None = None
        self._prepares = False

    def take(self, kind: str, body: bytes) -> None:
        self.first = self.first or kind
        if self._statement is not None or kind not in "PB":
            return
        name, _, rest = body.partition(b"\0")
        if kind == "P":
            self._kind, self._prepares = statement_kind(rest), True
        else:
            name = rest.partition(b"\0")[0]
        self._statement = printable(name[:MAX_STATEMENT_NAME])

    def request(self) -> Request:
        command = self._kind if self._statement is not None else _WITHOUT_STATEMENT.get(self.first)
        return Request(command, statement=self._statement, prepares=self._prepares)


def answers(payload: bytes) -> tuple[Answer, ...]:
    """The answers in these messages, the last of which may go on behind them."""
    found: list[Answer] = []
    error, begun = None, False
    for kind, body in _parts(payload, _ANSWERED):
        if kind == "Z":
            found.append(Answer(error))
            error, begun = None, False
        elif kind == "E":
            error, begun = error or _sql_state(body) or "?", True
        elif ord(kind) not in _ASIDE:
            begun = True
        if len(found) == MAX_MESSAGES:
            break
    if begun and len(found) < MAX_MESSAGES:
        found.append(Answer(error, ends=False))
    return tuple(found)


def _parts(payload: bytes, kinds: frozenset[int]) -> list[tuple[str, bytes]]:
    """Messages by their types, as far as they are ones; of the last one what was captured."""
    parts: list[tuple[str, bytes]] = []
    at = 0
    while at + 1 + _LENGTH_BYTES <= len(payload) and len(parts) < _MAX_PARTS:
        size = int.from_bytes(payload[at + 1 : at + 1 + _LENGTH_BYTES])
        if payload[at] not in kinds or not _LENGTH_BYTES <= size <= _MAX_BYTES:
            break
        parts.append((chr(payload[at]), payload[at + 1 + _LENGTH_BYTES : at + 1 + size]))
        at += 1 + size
    return parts


def _sql_state(body: bytes) -> str | None:
    """The error's code, behind its severity. What else it says may hold values."""
    if body[:1] != b"S":
        return None
    at = 0
    for _ in range(24):  # kinds of fields
        end = body.find(b"\0", at)
        if end <= at:
            return None
        if body[at] == ord("C"):
            code = body[at + 1 : end]
            return code.decode("ascii") if len(code) == 5 and code.isalnum() and code.isascii() else None
        at = end + 1
    return None
