"""PostgreSQL, MySQL, Redis and memcached as programs speak them; by hand what those do not say."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettop.protocols import memcached, mysql, postgresql, redis
from nettop.protocols.messages import MAX_MESSAGES, Answer, Request
from nettop.protocols.pairing import MAX_STATEMENTS, MAX_WAITING, Pairing
from nettop.protocols.sql import statement_kind
from nettop.protocols.table import ORDERED, Protocol
from tests.captured import conversation, names

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in ORDERED}


@dataclass
class Exchange:
    """A request of a conversation, with the numbers of the segments."""

    command: str | None
    asked: int
    answered: int | None = None
    error: str | None = None


def exchanges(name: str) -> list[Exchange]:
    """Of a conversation."""
    pairing: Pairing[Exchange] = Pairing(PROTOCOLS[name.partition("-")[0]])
    done: list[Exchange] = []
    for number, segment in enumerate(conversation(name)):
        if segment.from_client:
            for request in pairing.requests(segment.payload):
                done.append(Exchange(request.command, number))
                assert pairing.wait(request, done[-1]) in ([], [done[-1]])
        for each, error, begins in () if segment.from_client else pairing.answered(segment.payload):
            assert each is not None
            assert begins == (each.answered is None)
            each.answered = number if begins else each.answered
            each.error = each.error or error
    assert pairing.lose() == []
    return done


def told(name: str) -> list[tuple[str | None, str | None]]:
    """Commands and errors of a conversation."""
    return [(each.command, each.error) for each in exchanges(name)]


@pytest.mark.parametrize("name", [name for protocol in PROTOCOLS for name in names(protocol)])
def test_every_request_has_the_answer_that_came_next(name: str) -> None:
    for each in exchanges(name):
        assert each.answered is not None or name.startswith("memcached-")
        assert each.answered is None or each.answered > each.asked


@pytest.mark.parametrize("name", [name for protocol in PROTOCOLS for name in names(protocol)])
def test_no_value_is_told(name: str) -> None:
    assert "secret" not in repr(exchanges(name))


def test_psql() -> None:
    assert told("postgresql-psql") == [
        ("STARTUP", None), ("SELECT", None), (None, "42601"), ("CREATE TABLE", None),
        ("BEGIN", None), ("COPY", None), ("SELECT", "42P01"),
    ]  # fmt: skip


def test_prepared_statements_of_postgresql() -> None:
    commands = [command for command, _ in told("postgresql-prepared")][1:]
    assert commands[:6] == ["BEGIN", "BEGIN", "UPDATE", "UPDATE", "SELECT", "SELECT"]
    assert None not in commands


def test_postgresql_in_one_batch() -> None:
    assert ("SELECT", None) in told("postgresql-extended")
    assert None not in [command for command, _ in told("postgresql-extended")]


def test_an_answer_of_postgresql_in_many_segments() -> None:
    assert [each for each in told("postgresql-pg8000") if each[1]] == [("SELECT", "22012")]
    assert ("UPDATE", None) in told("postgresql-pg8000")


def test_mariadb_s_client() -> None:
    assert told("mysql-client") == [
        ("LOGIN", None), ("CREATE DATABASE", None), ("SELECT", None), ("INIT_DB", None), ("CREATE TABLE", None),
        ("INSERT", None), ("SELECT", None), (None, "1064"),
    ]  # fmt: skip


def test_pymysql() -> None:
    assert told("mysql-pymysql") == [
        ("LOGIN", None), ("SET", None), ("SET", None), ("UPDATE", None), ("SELECT", None), ("SELECT", "1146"),
        ("PING", None), ("INIT_DB", None),
    ]  # fmt: skip


def test_prepared_statements_of_mysql() -> None:
    commands = [command for command, _ in told("mysql-prepared")]
    assert commands[4:8] == ["INSERT", "STMT_RESET", "INSERT", "COMMIT"]
    assert commands[-3:] == ["SELECT", "STMT_RESET", "SELECT"]


def test_redis() -> None:
    assert told("redis-cli")[:2] == [("SET", None), ("LPUSH", "WRONGTYPE")]
    assert told("redis-cli")[2:] == [
        ("SET", None), ("GET", None), ("AUTH", "ERR"), ("CONFIG GET", None), (None, "ERR"), ("MULTI", None),
        ("INCR", None), ("EXEC", None), ("EVAL", None),
    ]  # fmt: skip
    assert told("redis-benchmark") == [("SET", None)] * 8
    assert told("redis-inline") == [("PING", None), ("SET", None), ("QUIT", None)]
    assert told("redis-resp3")[-5:] == [
        ("MULTI", None), ("SET", None), ("INCRBY", None), ("HGETALL", None), ("EXEC", None)
    ]  # fmt: skip


def test_memcached() -> None:
    said = told("memcached-text")
    assert [command for command, error in said if not error] == [
        "SET", "GET", "SET", "MG", "MS", "DELETE", "GETS", "GET", "STATS", "VERSION",
    ]  # fmt: skip
    assert ("INCR", "CLIENT_ERROR") in said
    assert told("memcached-pymemcache") == [("SET", None), ("GET", None), ("GET", None), ("TOUCH", None)]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (b"select 1", "SELECT"),
        (b"  (SELECT 1)", "SELECT"),
        (b"/* a */ -- b\n# c\nUPDATE t", "UPDATE"),
        (b"/*!40101 SET NAMES utf8 */", "SET"),
        (b"/*M!100100 SET a */", "SET"),
        (b"CREATE OR REPLACE FUNCTION f()", "CREATE FUNCTION"),
        (b"create unlogged table t", "CREATE TABLE"),
        (b"DROP INDEX CONCURRENTLY i", "DROP INDEX"),
        (b"alter secret", "ALTER"),
        (b"", None),
        (b"selec 1", None),
        (b"secret", None),
        (b"selectx", None),
        (b"select_1", None),
        (b"SELECT\0", "SELECT"),
        (b"/* never ends SELECT", None),
        (b"/**/" * 50 + b"SELECT 1", None),
        (b" " * 1020 + b"DESCRIBE t", None),  # what is looked at ends within the word
        ("été".encode(), None),
    ],
)
def test_kinds_of_statements(statement: bytes, kind: str | None) -> None:
    assert statement_kind(statement) == kind


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


@pytest.mark.parametrize(
    ("payload", "requests"),
    [
        (message(b"Q", b"select 1\0") * 2, (Request("SELECT"), Request("SELECT"))),
        (message(b"Q", b"select secret" * 100)[:40], (Request("SELECT"),)),
        (message(b"P", b"one\0select 1\0\0\0") + message(b"H", b""), (Request("SELECT", 1, "one", prepares=True),)),
        (message(b"B", b"\0one\0\0\0\0\0\0\0") + message(b"S", b""), (Request(None, 1, "one"),)),
        (message(b"S", b""), (Request("SYNC"),)),
        (message(b"D", b"Sone\0") + message(b"S", b""), (Request("DESCRIBE"),)),
        (message(b"d", b"secret"), ()),
        (message(b"p", b"secret\0"), ()),
        (b"\0\0\0\x10\x04\xd2\x16\x2e" + bytes(8), ()),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", ()),
        (b"\0\0\0\x10\0\3\0\0user\0me\0\0", (Request("STARTUP"),)),
        (message(b"X", b""), ()),
        (b"", ()),
        (b"GET / HTTP/1.1\r\n", ()),
    ],
)
def test_requests_of_postgresql(payload: bytes, requests: tuple[Request, ...]) -> None:
    assert postgresql.requests(payload) == requests


ERROR = message(b"E", b"SERROR\0C42P01\0Msecret\0\0")
READY = message(b"Z", b"I")


@pytest.mark.parametrize(
    ("payload", "answers"),
    [
        (ERROR + READY, (Answer("42P01"),)),
        (ERROR + message(b"E", b"SERROR\0C22012\0\0") + READY + READY, (Answer("42P01"), Answer())),
        (message(b"E", b"SERROR\0Msecret\0\0") + READY, (Answer("?"),)),
        (message(b"E", b"C22012\0\0") + READY, (Answer("?"),)),
        (message(b"T", b"") + message(b"D", b"secret")[:7], (Answer(ends=False),)),
        (message(b"S", b"a\0b\0") + message(b"A", b"secret"), ()),  # nobody asked for these
        (message(b"N", b"C42P07\0\0"), (Answer(ends=False),)),
        (b"", ()),
    ],
)
def test_answers_of_postgresql(payload: bytes, answers: tuple[Answer, ...]) -> None:
    assert postgresql.answers(payload) == answers


def packet(number: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "little") + bytes((number,)) + body


@pytest.mark.parametrize(
    ("payload", "requests"),
    [
        (packet(0, b"\3SELECT 1"), (Request("SELECT"),)),
        (packet(0, b"\3\0\1SELECT 1"), (Request("SELECT"),)),  # no attributes
        (packet(0, b"\3\1\1\0\1\3\0\1asecretSELECT 1"), (Request(None),)),
        (packet(0, b"\x0e") + packet(0, b"\1"), (Request("PING"),)),
        (packet(0, b"\x19\7\0\0\0") + packet(0, b"\3BEGIN"), (Request("BEGIN"),)),
        (packet(0, b"\x17\7\0\0\0\0\1\0\0\0"), (Request(None, 1, "7"),)),
        (packet(0, b"\x0esecret"), ()),
        (packet(255, b"secret") + packet(0, b"\3SELECT"), ()),  # data, numbered on
        (packet(0, b"\x40"), ()),
        (b"", ()),
    ],
)
def test_requests_of_mysql(payload: bytes, requests: tuple[Request, ...]) -> None:
    assert mysql.requests(payload) == requests


@pytest.mark.parametrize(
    ("payload", "answers"),
    [
        (packet(1, b"\0\0\0\2\0\0\0") * 2, (Answer(), Answer())),
        (packet(1, b"\2") + packet(2, b"\3def") + packet(3, b"\xff\x25\5#70100x"), (Answer("1317"),)),
        (packet(255, b"row") + packet(0, b"row") + packet(1, b"row"), ()),  # numbered on
        (packet(2, b"\xff\x15\4#28000Access denied"), (Answer("1045"),)),
        (packet(2, b"\0\0\0\2\0\0\0"), (Answer(),)),  # of a login
        (packet(2, b"\3def"), ()),
    ],
)
def test_answers_of_mysql(payload: bytes, answers: tuple[Answer, ...]) -> None:
    assert mysql.answers(payload) == answers


@pytest.mark.parametrize(
    ("payload", "requests"),
    [
        (b"*2\r\n$3\r\nget\r\n$1000\r\nsecret", (Request("GET"),)),
        (b"*3\r\n$6\r\nCONFIG\r\n$6\r\nsecret\r\n$1\r\na\r\n", (Request("CONFIG"),)),
        (b"*2\r\n$8\r\nJSON.GET\r\n$1\r\na\r\n", (Request("JSON.GET"),)),
        (b"*1\r\n$6\r\nsecret\r\n", (Request(None),)),
        (b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n", (Request("SUBSCRIBE", subscribes=True),)),
        (b"*0\r\n", ()),
        (b"*99999999999\r\n", ()),
        (b"secret value\r\n", ()),
        (b"GET is how a text begins", ()),
        (b"*1\r\n$4\r\nPI", ()),
    ],
)
def test_requests_of_redis(payload: bytes, requests: tuple[Request, ...]) -> None:
    assert redis.requests(payload) == requests


@pytest.mark.parametrize(
    ("payload", "answers"),
    [
        (b"-WRONGTYPE secret\r\n:1\r\n", (Answer("WRONGTYPE"), Answer())),
        (b"-secret\r\n", (Answer("?"),)),
        (b"!21\r\nSYNTAX invalid syntax\r\n", (Answer("SYNTAX"),)),
        (b"*2\r\n*1\r\n$1\r\na\r\n%1\r\n+a\r\n+b\r\n$-1\r\n", (Answer(), Answer())),
        (b"*2\r\n$1\r\na\r\n", (Answer(ends=False),)),
        (b">2\r\n+message\r\n+secret\r\n+OK\r\n", (Answer(),)),
        (b"|1\r\n+ttl\r\n:3\r\n+OK\r\n", (Answer(),)),
        (b"$100\r\nsecret", (Answer(ends=False),)),
        (b"*9999999999\r\n", (Answer(ends=False),)),
        (b"secret", ()),
    ],
)
def test_answers_of_redis(payload: bytes, answers: tuple[Answer, ...]) -> None:
    assert redis.answers(payload) == answers


@pytest.mark.parametrize(
    ("payload", "requests"),
    [
        (b"set secret 0 0 2\r\nhi\r\nget secret\r\n", (Request("SET"), Request("GET"))),
        (b"set secret 0 0 2000\r\nhi", (Request("SET"),)),
        (b"set a 0 0 2 noreply\r\nhi\r\n", (Request("SET", answers=0),)),
        (b"get " + b"a" * 3000, (Request("GET"),)),
        (b"mg a v q\r\n", (Request("MG", answers=None),)),
        (b"secret\r\n", ()),
        (b"get", ()),
        (b"getting on\r\n", ()),
    ],
)
def test_requests_of_memcached(payload: bytes, requests: tuple[Request, ...]) -> None:
    assert memcached.requests(payload) == requests


def asked(pairing: Pairing[int], number: int, payload: bytes) -> list[int]:
    """What one segment asks for; returns what waits no longer."""
    return [each for request in pairing.requests(payload) for each in pairing.wait(request, number)]


def test_nobody_waits_for_an_answer_that_nobody_asked_for() -> None:
    pairing: Pairing[int] = Pairing(PROTOCOLS["redis"])
    assert pairing.answered(b"+OK\r\n") == []
    assert asked(pairing, 1, b"PING\r\n") == []
    assert pairing.answered(b"+PONG\r\n+OK\r\n") == [(1, None, True)]
    assert pairing.answered(b"-ERR in a value\r\n") == []


CONFIRMED = b"%b3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
MESSAGE = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\n-E\r\n"


@pytest.mark.parametrize("kind", [b"*", b">"], ids=["RESP2", "RESP3"])
def test_each_channel_is_confirmed_and_what_is_pushed_answers_nothing(kind: bytes) -> None:
    pairing: Pairing[int] = Pairing(PROTOCOLS["redis"])
    asked(pairing, 1, b"*3\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n$1\r\nb\r\n")
    asked(pairing, 2, b"PING\r\n")
    assert pairing.answered(CONFIRMED % kind) == [(1, None, True)]
    assert asked(pairing, 3, b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n") == []
    assert pairing.answered(MESSAGE + CONFIRMED % kind + MESSAGE) == []
    assert pairing.answered(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n" + MESSAGE + CONFIRMED % kind) == [
        (2, None, True), (3, None, True),
    ]  # fmt: skip


def test_a_refused_subscription() -> None:
    pairing: Pairing[int] = Pairing(PROTOCOLS["redis"])
    asked(pairing, 1, b"*3\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n$1\r\nb\r\n")
    assert pairing.answered(b"-NOPERM no\r\n") == [(1, "NOPERM", True)]


def test_nobody_knows_how_many_channels_are_left() -> None:
    pairing: Pairing[int] = Pairing(PROTOCOLS["redis"])
    asked(pairing, 1, b"PING\r\n")
    assert asked(pairing, 2, b"*1\r\n$11\r\nUNSUBSCRIBE\r\n") == [1, 2]
    assert pairing.begin() == []
    assert asked(pairing, 3, b"PING\r\n") == [3]


def test_behind_the_answer_to_monitor_nothing_is_paired() -> None:
    pairing: Pairing[int] = Pairing(PROTOCOLS["redis"])
    asked(pairing, 1, b"MONITOR\r\n")
    assert pairing.answered(b'+OK\r\n+1.5 [0 lua] "PING"\r\n') == [(1, None, True)]
    assert pairing.begin() == []
    assert asked(pairing, 2, b"PING\r\n") == [2]
    assert pairing.answered(b"+PONG\r\n") == []


def test_after_a_loss_nothing_is_paired_until_it_begins_anew() -> None:
    pairing: Pairing[int] = Pairing(PROTOCOLS["redis"])
    asked(pairing, 1, b"PING\r\n")
    assert pairing.lose() == [1]
    assert asked(pairing, 2, b"PING\r\n") == [2]
    assert pairing.answered(b"+PONG\r\n") == []
    assert pairing.begin() == []
    asked(pairing, 3, b"PING\r\n")
    assert pairing.answered(b"+PONG\r\n") == [(3, None, True)]


def test_an_answer_to_a_request_that_was_not_seen_is_not_another_s() -> None:
    pairing: Pairing[int] = Pairing(PROTOCOLS["redis"])
    pairing.wait(None, None)
    asked(pairing, 2, b"PING\r\n")
    assert pairing.answered(b"-ERR no\r\n+PONG\r\n") == [(None, "ERR", True), (2, None, True)]


def test_an_answer_that_goes_on_hides_where_the_next_one_begins() -> None:
    pairing: Pairing[int] = Pairing(PROTOCOLS["redis"])
    for number in (1, 2):
        asked(pairing, number, b"PING\r\n")
    assert pairing.answered(b"$100\r\nhalf of it") == [(1, None, True)]
    assert pairing.broke_off
    assert pairing.awaits


@pytest.mark.parametrize(
    ("protocol", "request_", "first", "second", "code"),
    [
        ("postgresql", b"\0\0\0\x10\0\3\0\0user\0me\0\0", message(b"R", b"\0\0\0\x0a"),
         message(b"E", b"SFATAL\0C28P01\0\0"), "28P01"),
        ("mysql", packet(1, b"\0\2" + bytes(26) + b"root\0\0"), packet(2, b"\xfemysql_native_password\0"),
         packet(4, b"\xff\x15\4#28000Access denied"), "1045"),
    ],
)  # fmt: skip
def test_a_login_fails_after_it_was_answered(
    protocol: str, request_: bytes, first: bytes, second: bytes, code: str
) -> None:
    pairing: Pairing[int] = Pairing(PROTOCOLS[protocol])
    asked(pairing, 1, request_)
    assert pairing.answered(first) == [(1, None, True)]
    assert pairing.answered(second) == [(1, code, False)]


def test_pairing_is_bounded() -> None:
    redis_: Pairing[int] = Pairing(PROTOCOLS["redis"])
    done = [each for number in range(MAX_WAITING + 1) for each in asked(redis_, number, b"PING\r\n")]
    assert len(done) == MAX_WAITING + 1
    pairing: Pairing[int] = Pairing(PROTOCOLS["postgresql"])
    for number in range(MAX_STATEMENTS + 9):
        pairing.requests(message(b"P", b"%d\0select 1\0\0\0" % number) + message(b"S", b""))
    assert len(pairing._kinds) == MAX_STATEMENTS


@pytest.mark.parametrize("protocol", ORDERED, ids=lambda protocol: protocol.name)
def test_any_bytes_and_every_cut(protocol: Protocol) -> None:
    @given(st.binary(max_size=300), st.sampled_from(SEEDS[protocol.name]), st.integers(0, 400))
    def check(noise: bytes, seed: bytes, cut: int) -> None:
        for payload in (noise, seed[:cut], seed[:cut] + noise, noise[:5] + seed):
            assert len(protocol.requests(payload)) <= MAX_MESSAGES
            assert len(protocol.answers(payload)) <= MAX_MESSAGES

    check()


SEEDS = {
    protocol: [segment.payload for name in names(protocol) for segment in conversation(name)] for protocol in PROTOCOLS
}
