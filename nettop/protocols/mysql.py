"""The protocol of MySQL and MariaDB: commands, and how their answers begin.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html. Packets are numbered: a command has
0, and the first packet of its answer 1. Nothing is read of compressed or encrypted connections.
"""

from nettop.protocols.messages import MAX_MESSAGES, Answer, Request
from nettop.protocols.sql import statement_kind

_MAX_PACKETS = 512  # of one payload that are looked at; a large result has one for each row
_HEADER_BYTES = 4
_QUERY, _PREPARE, _EXECUTE = 0x03, 0x16, 0x17
_COMMANDS = {
    0x01: "QUIT", 0x02: "INIT_DB", _QUERY: "QUERY", 0x04: "FIELD_LIST", 0x05: "CREATE_DB", 0x06: "DROP_DB",
    0x07: "REFRESH", 0x08: "SHUTDOWN", 0x09: "STATISTICS", 0x0A: "PROCESS_INFO", 0x0C: "PROCESS_KILL", 0x0D: "DEBUG",
    0x0E: "PING", 0x11: "CHANGE_USER", 0x12: "BINLOG_DUMP", 0x13: "TABLE_DUMP", 0x15: "REGISTER_SLAVE",
    _PREPARE: "STMT_PREPARE", _EXECUTE: "STMT_EXECUTE", 0x18: "STMT_SEND_LONG_DATA", 0x19: "STMT_CLOSE",
    0x1A: "STMT_RESET", 0x1B: "SET_OPTION", 0x1C: "STMT_FETCH", 0x1E: "BINLOG_DUMP_GTID", 0x1F: "RESET_CONNECTION",
    0xFA: "STMT_BULK_EXECUTE",
}  # fmt: skip
_SILENT = frozenset((0x01, 0x18, 0x19))  # quit, a part of a long value, close: they ask for nothing
_STREAMS = frozenset((0x12, 0x13, 0x1E))  # replication, which does not end
_OF_A_STATEMENT = frozenset((_EXECUTE, 0x18, 0x19, 0x1A, 0x1C, 0xFA))
_RUNS = frozenset((_EXECUTE, 0xFA))
_LONGEST = {
    0x01: 1,
    0x09: 1,
    0x0A: 1,
    0x0D: 1,
    0x0E: 1,
    0x1F: 1,
    0x19: 5,
    0x1A: 5,
    0x1C: 9,
    0x1B: 3,
    0x0C: 5,
}  # bytes of commands
_LOGIN = Request("LOGIN")  # a conversation, whose packets are numbered on
_OK, _ERROR, _END = 0x00, 0xFF, 0xFE
_AFTER_LOGIN = (_OK, _END, 0x01)  # or another way to log in, or more of this one
_PREPARED_BYTES = 12  # of the answer to a prepared statement: 0, its number, columns, parameters, 0, warnings


def requests(payload: bytes) -> tuple[Request, ...]:
    """The commands that begin here."""
    found: list[Request] = []
    for number, begins, size, body in _packets(payload):
        if number == 0 and begins and body:
            request = _command(size, body)
            if request is None:
                break
            if body[0] not in _SILENT:
                found.append(request)
        elif number == 1 and not found and _is_login(size, body):
            found.append(_LOGIN)
        if len(found) == MAX_MESSAGES:
            break
    return tuple(found)


def answers(payload: bytes) -> tuple[Answer, ...]:
    """How the answers that begin here begin, and errors wherever they come: no row begins with that byte."""
    found: list[Answer] = []
    for number, begins, size, body in _packets(payload):
        if not body:
            continue
        if body[0] == _ERROR:
            if found and not found[-1].ends and not begins:
                found.pop()
            found.append(Answer(str(int.from_bytes(body[1:3], "little")) if len(body) >= 3 else "?"))
        elif begins and (number == 1 or (number == 2 and body[0] in _AFTER_LOGIN)):
            found.append(_answer(size, body))
        if len(found) == MAX_MESSAGES:
            break
    return tuple(found)


def _packets(payload: bytes) -> list[tuple[int, bool, int, bytes]]:
    """Number, whether it is not just the next one, length and what was captured of each, as far as they are packets.

    Numbers begin anew after 255.
    """
    packets: list[tuple[int, bool, int, bytes]] = []
    at, expected = 0, -1
    while at + _HEADER_BYTES < len(payload) and len(packets) < _MAX_PACKETS:
        size, number = int.from_bytes(payload[at : at + 3], "little"), payload[at + 3]
        if not size or (expected >= 0 and number not in (expected, 0, 1)):
            break
        packets.append((number, number != expected, size, payload[at + _HEADER_BYTES : at + _HEADER_BYTES + size]))
        at += _HEADER_BYTES + size
        expected = (number + 1) & 0xFF
    return packets


def _is_login(size: int, body: bytes) -> bool:
    """Capabilities of protocol 4.1, and the zeros that follow them, their size and the character set."""
    return 32 <= size <= 4096 and len(body) >= 32 and bool(body[1] & 0x02) and body[9:28] == bytes(19)


def _command(size: int, body: bytes) -> Request | None:
    code = body[0]
    name = _COMMANDS.get(code)
    if name is None or size > _LONGEST.get(code, size):
        return None
    answers = None if code in _STREAMS else 1
    if code == _QUERY:
        # Behind the number of attributes and 1 where a client of MySQL 8 sends attributes.
        return Request(statement_kind(body[3:] if body[1:3] == b"\0\1" else body[1:]), answers)
    if code == _PREPARE:
        return Request(statement_kind(body[1:]), answers, prepares=True)
    statement = body[1:5] if code in _OF_A_STATEMENT else b""
    number = str(int.from_bytes(statement, "little")) if len(statement) == 4 else None
    return Request(None if code in _RUNS and number else name, answers, statement=number)


def _answer(size: int, body: bytes) -> Answer:
    if body[0] == _OK and size == _PREPARED_BYTES and len(body) >= 10 and body[9] == 0:
        return Answer(statement=str(int.from_bytes(body[1:5], "little")))
    return Answer(ends=body[0] == _OK or (body[0] == _END and size < 9))
