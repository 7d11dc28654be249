"""Requests of databases and caches: each has its row at both ends, with process and error, and none is invented."""

import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from nettop.kernel import program
from nettop.model.rows import Connection, Request
from nettop.model.snapshot import Snapshot
from tests.captured import conversation
from tests.live import database_programs
from tests.live.lab import (
    Lab,
    Program,
    Said,
    Watch,
    connections_of,
    listens,
    lossy,
    namespace,
    played,
    process_of,
    scripted,
    steps,
    wait_until,
    watched_namespace,
)
from tests.live.test_floods import REQUESTS_AT_ONCE, watched

LOOPBACK = "127.0.0.1"
POSTGRESQL, MYSQL, REDIS, MEMCACHED = 5432, 3306, 6379, 11211


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with watched_namespace(directory) as made:
        yield made


Outline = Sequence[tuple[str, str | None]]  # commands and errors


def rows_of(snapshot: Snapshot, pid: int) -> list[Request]:
    return [row for row in snapshot.requests if row.pid == pid]


def outline(rows: list[Request]) -> list[tuple[str, str | None]]:
    return [(row.method, row.error_code or row.error) for row in rows]


def counted(connection: Connection) -> tuple[int, int, bool]:
    assert connection.requests is not None
    return connection.requests.count, connection.requests.failed, connection.requests.partial


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


def packet(number: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "little") + bytes((number,)) + body


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


STARTUP = b"\0\0\0\x15\0\3\0\0user\0secret\0\0"
READY = message(b"Z", b"I")
DONE = message(b"C", b"DONE\0") + READY
FAILED = message(b"E", b"SERROR\0VERROR\0C42P01\0Msecret\0\0") + READY
HELLO = message(b"R", bytes(4)) + READY
LOOKALIKES = b"*1\r\n$4\r\nPING\r\n" * 5000 + message(b"Q", b"SELECT 1\0") * 500 + b"get a\r\n" * 500
GREETING = packet(0, b"\x0a8.0.36\0" + bytes(8) + b"12345678\0" + b"\xff\xf7" + bytes(40))
LOGIN = packet(1, b"\x05\xa2\0\0" + bytes((0, 0, 0, 1, 45)) + bytes(23) + b"root\0\0")
OK = packet(1, b"\0\0\0\2\0\0\0")
SUBSCRIBED = b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
MESSAGE = command(b"message", b"a", b"secret")
TLS_WANTED = b"\0\0\0\x08\x04\xd2\x16\x2f"
ROWS = packet(1, b"\1") + packet(2, b"\3def") + packet(3, b"*1\r\n$4\r\nPING\r\n")

SCRIPTS: dict[str, tuple[int, Said, list[tuple[str, str | None]], bool]] = {
    "PostgreSQL, one after the other": (
        7000,
        [
            (True, STARTUP), (False, HELLO),
            (True, message(b"Q", b"SELECT secret\0")), (False, message(b"T") + message(b"D", LOOKALIKES[:60]) + DONE),
            (True, message(b"Q", b"SELECT\0")), (False, FAILED),
            (True, message(b"Q", b"INSERT '" + LOOKALIKES + b"'\0")), (False, DONE),
            (True, message(b"X")),
        ],
        [("STARTUP", None), ("SELECT", None), ("SELECT", "42P01"), ("INSERT", None)],
        False,
    ),
    "PostgreSQL, prepared": (
        7001,
        [
            (True, STARTUP), (False, HELLO),
            (True, message(b"P", b"one\0UPDATE secret\0\0\0") + message(b"D", b"Sone\0") + message(b"S")),
            (False, message(b"1") + message(b"t") + message(b"n") + READY),
            (True, message(b"B", b"\0one\0\0\0\0\0\0\0") + message(b"E", bytes(5)) + message(b"S")),
            (False, message(b"2") + DONE),
            (True, message(b"B", b"\0one\0\0\0\0\0\0\0") + message(b"E", bytes(5)) + message(b"S")),
            (False, message(b"2") + FAILED),
        ],
        [("STARTUP", None), ("UPDATE", None), ("UPDATE", None), ("UPDATE", "42P01")],
        False,
    ),
    "PostgreSQL, a batch in segments": (
        7002,
        [
            (True, STARTUP), (False, HELLO),
            (True, message(b"P", b"\0INSERT\0\0\0")), (True, message(b"B", b"\0\0" + LOOKALIKES)[:30_000]),
            (True, message(b"B", b"\0\0" + LOOKALIKES)[30_000:]), (True, message(b"E", bytes(5)) + message(b"S")),
            (False, message(b"1") + message(b"2") + DONE),
            (True, message(b"Q", b"COMMIT\0")), (False, DONE),
        ],
        [("STARTUP", None), ("INSERT", None), ("COMMIT", None)],
        False,
    ),
    "PostgreSQL, COPY": (
        7003,
        [
            (True, STARTUP), (False, HELLO),
            (True, message(b"Q", b"COPY t FROM STDIN\0")), (False, message(b"G", bytes(3))),
            *[(True, message(b"d", b"secret\n") * 100)] * 5, (True, message(b"c")), (False, DONE),
            (True, message(b"Q", b"COPY t FROM STDIN\0")), (False, message(b"G", bytes(3))),
            (True, message(b"d", b"secret\n") + message(b"c")), (False, FAILED),
            (True, message(b"Q", b"SELECT\0")), (False, DONE),
        ],
        [("STARTUP", None), ("COPY", None), ("COPY", "42P01"), ("SELECT", None)],
        False,
    ),
    "PostgreSQL, a wrong password": (
        7004,
        [
            (True, TLS_WANTED), (False, b"N"), (True, STARTUP), (False, message(b"R", b"\0\0\0\5salt")),
            (True, message(b"p", b"secret\0")), (False, message(b"E", b"SFATAL\0VFATAL\0C28P01\0Msecret\0\0")),
        ],
        [("STARTUP", "28P01")],
        False,
    ),
    "PostgreSQL, batches in one segment": (
        7005,
        [
            (True, STARTUP), (False, HELLO),
            (True, message(b"Q", b"BEGIN\0") + message(b"Q", b"SELECT\0") + message(b"Q", b"COMMIT\0")),
            (False, DONE + FAILED + DONE),
        ],
        [("STARTUP", None), ("BEGIN", None), ("SELECT", "42P01"), ("COMMIT", None)],
        False,
    ),
    "MySQL": (
        MYSQL,
        [
            (False, GREETING), (True, LOGIN), (False, packet(2, b"\xfemysql_native_password\0salt")),
            (True, packet(3, b"12345678901234567890")), (False, packet(4, b"\0\0\0\2\0\0\0")),
            (True, packet(0, b"\3SELECT secret")), (False, ROWS + packet(4, b"\xfe\0\0\2\0\0\0")),
            (True, packet(0, b"\x16UPDATE secret SET a=?")), (False, packet(1, b"\0\7\0\0\0" + bytes(7))),
            (True, packet(0, b"\x17\7\0\0\0\0\1\0\0\0" + LOOKALIKES)), (False, OK),
            (True, packet(0, b"\x17\7\0\0\0\0\1\0\0\0")), (False, packet(1, b"\xff\x26\4#42S02secret")),
            (True, packet(0, b"\x19\7\0\0\0")), (True, packet(0, b"\x0e")), (False, OK),
            (True, packet(0, b"\1")),
        ],
        [
            ("LOGIN", None), ("SELECT", None), ("UPDATE", None), ("UPDATE", None), ("UPDATE", "1062"), ("PING", None),
        ],
        False,
    ),
    "MySQL, a wrong password": (
        MYSQL,
        [
            (False, GREETING), (True, LOGIN), (False, packet(2, b"\xfemysql_native_password\0salt")),
            (True, packet(3, b"12345678901234567890")), (False, packet(4, b"\xff\x15\4#28000secret")),
        ],
        [("LOGIN", "1045")],
        False,
    ),
    "Redis, one after the other": (
        7006,
        [
            (True, command(b"SET", b"k", LOOKALIKES)), (False, b"+OK\r\n"),
            (True, command(b"get", b"k")), (False, b"$%d\r\n%b\r\n" % (len(LOOKALIKES), LOOKALIKES)),
            (True, command(b"LPUSH", b"k", b"secret")), (False, b"-WRONGTYPE secret\r\n"),
            (True, command(b"CONFIG", b"GET", b"secret")), (False, b"*0\r\n"),
            (True, command(b"secret")), (False, b"-ERR secret\r\n"),
        ],
        [("SET", None), ("GET", None), ("LPUSH", "WRONGTYPE"), ("CONFIG GET", None), ("?", "ERR")],
        False,
    ),
    "Redis, pipelined": (
        7007,
        [
            (True, command(b"PING")), (False, b"+PONG\r\n"),
            (True, command(b"SET", b"k", b"v") * 12 + command(b"LPUSH", b"k", b"v") + command(b"INCR", b"n")),
            (False, b"+OK\r\n" * 12 + b"-WRONGTYPE secret\r\n:1\r\n"),
            (True, command(b"MULTI") + command(b"INCR", b"n") + command(b"EXEC")),
            (False, b"+OK\r\n"), (False, b"+QUEUED\r\n"), (False, b"*1\r\n:2\r\n"),
        ],
        [
            ("PING", None), *[("SET", None)] * 12, ("LPUSH", "WRONGTYPE"), ("INCR", None),
            ("MULTI", None), ("INCR", None), ("EXEC", None),
        ],
        False,
    ),
    "Redis, several at once": (
        7008,
        [
            (True, command(b"GET", b"a")), (True, command(b"SET", b"b", b"v")), (False, b"$1\r\na\r\n"),
            (True, command(b"LPUSH", b"c", b"v")), (False, b"+OK\r\n"), (False, b"-WRONGTYPE secret\r\n"),
            (True, command(b"GET", b"a")), (False, b"$1\r\na\r\n"),
        ],
        [("GET", None), ("SET", None), ("LPUSH", "WRONGTYPE"), ("GET", None)],
        False,
    ),
    "Redis, commands cut anywhere": (
        7009,
        [
            (True, command(b"GET", b"a")), (False, b"$1\r\na\r\n"),
            (True, command(b"SET", b"b", b"v" * 30)[:29]), (True, command(b"SET", b"b", b"v" * 30)[29:]),
            (False, b"+OK\r\n"), (True, command(b"GET", b"a")), (False, b"$1\r\na\r\n"),
        ],
        [("GET", None), ("SET", None), ("GET", None)],
        False,
    ),
    "Redis, subscribed": (
        7010,
        [
            (True, command(b"SUBSCRIBE", b"a", b"b")), (False, SUBSCRIBED * 2), (False, MESSAGE), (False, MESSAGE),
            (True, command(b"PING")), (False, command(b"pong", b"")),
            (True, command(b"PSUBSCRIBE", b"*")), (False, MESSAGE), (False, SUBSCRIBED),
            (True, command(b"SUBSCRIBE", b"c")), (False, b"-NOPERM secret\r\n"),
        ],
        [("SUBSCRIBE", None), ("PING", None), ("PSUBSCRIBE", "unknown"), ("SUBSCRIBE", "NOPERM")],
        False,
    ),
    "Redis, monitored": (
        7011,
        [
            (True, command(b"MONITOR")), (False, b"+OK\r\n"), (False, b"+1.5 [0 lua] \"PING\"\r\n"),
            (True, command(b"PING")), (False, b"+1.5 [0 lua] \"PING\"\r\n"), (False, b"+PONG\r\n"),
        ],
        [("MONITOR", None), ("PING", "unknown")],
        False,
    ),
    "Memcached": (
        MEMCACHED,
        [
            (True, b"set secret 0 0 2\r\nhi\r\n"), (False, b"STORED\r\n"),
            (True, b"get secret\r\n"), (False, b"VALUE secret 0 2\r\nhi\r\nEND\r\n"),
            (True, b"incr secret x\r\n"), (False, b"CLIENT_ERROR secret\r\n"),
            (True, b"mg secret v\r\n"), (False, b"EN\r\n"),
            (True, b"secret secret\r\n"), (False, b"ERROR\r\n"), (True, b"get a\r\n"), (False, b"END\r\n"),
            (True, b"quit\r\n"),
        ],
        [
            ("SET", None), ("GET", None), ("INCR", "CLIENT_ERROR"), ("MG", None), ("?", "ERROR"), ("GET", None),
        ],
        False,
    ),
    "Memcached, no answer": (
        MEMCACHED,
        [
            (True, b"set secret 0 0 2 noreply\r\nhi\r\n"), (True, b"delete secret\r\n"), (False, b"DELETED\r\n"),
            (True, b"set secret 0 0 45000\r\n" + LOOKALIKES[:45_000] + b"\r\n"), (False, b"SERVER_ERROR secret\r\n"),
            (True, b"cas secret 0 0 2 77\r\nhi\r\n"), (False, b"EXISTS\r\n"),
        ],
        [("DELETE", None), ("SET", "SERVER_ERROR"), ("CAS", None)],
        False,
    ),
    "Memcached, several in a segment": (
        MEMCACHED,
        [
            (True, b"get secret\r\nget secret2\r\n"), (False, b"VALUE secret 0 2\r\nhi\r\nEND\r\nEND\r\n"),
            (True, b"set secret 0 0 7\r\nget a\r\n\r\nget secret\r\nincr secret 1\r\n" + b"gets secret\r\n" * 3),
            (False, b"STORED\r\nVALUE secret 0 7\r\nget a\r\n\r\nEND\r\nCLIENT_ERROR no\r\n"), (False, b"END\r\n" * 3),
            (True, b"mg secret v\r\nms secret 2\r\nhi\r\nmg secret v\r\n"), (False, b"EN\r\nHD\r\n"),
            (False, b"VA 2\r\nhi\r\n"),
            (True, b"delete secret noreply\r\nset secret 0 0 5 noreply\r\nget a\r\nget secret\r\n"),
            (False, b"END\r\n"),
            (True, b"get secret\r\nset secret 0 0 45000\r\n" + LOOKALIKES[:45_000] + b"\r\n"),
            (False, b"END\r\nSERVER_ERROR secret\r\n"),
            (True, b"get " + b"secret" * 20 + b"\r\ntouch secret 0\r\n"), (False, b"END\r\nTOUCHED\r\n"),
        ],
        [
            ("GET", None), ("GET", None), ("SET", None), ("GET", None), ("INCR", "CLIENT_ERROR"), *[("GETS", None)] * 3,
            ("MG", None), ("MS", None), ("MG", None), ("GET", None), ("GET", None), ("SET", "SERVER_ERROR"),
            ("GET", None), ("TOUCH", None),
        ],
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_client_says_has_its_rows(lab: Lab, name: str) -> None:
    port, said, wanted, partial = SCRIPTS[name]
    ends = played(lab.inside, port, said)
    snapshot = lab.watch.up_to_now()
    for end, side in zip(ends, ("client", "server"), strict=True):
        rows = rows_of(snapshot, end.pid)
        assert outline(rows) == wanted
        assert {row.side for row in rows} == {side}
        assert {row.protocol for row in rows} == {name.partition(",")[0].lower()}
        assert all(row.latency_ms is not None for row in rows if row.error != "unknown")
        assert not any(row.pending or row.path or row.host or row.status for row in rows)
        (connection,) = connections_of(snapshot, end)
        assert {row.connection_id for row in rows} == {connection.id}
        failed = sum(row.failed for row in rows)
        assert failed == sum(error not in (None, "unknown") for _, error in wanted)
        assert counted(connection) == (len(wanted), failed, partial)
        process = process_of(snapshot, end).requests
        assert (process.sent if side == "client" else process.served).failed == failed
    assert "secret" not in repr(snapshot.requests)


def test_a_length_that_does_not_end_its_line(lab: Lab) -> None:
    said: Said = [
        (True, b"get a\r\nms secret 2 T0\r\nhi\r\nget a\r\n"), (False, b"END\r\nHD\r\nEND\r\n"),
        (True, b"get a\r\n"), (False, b"END\r\n"),
    ]  # fmt: skip
    ends = played(lab.inside, MEMCACHED, said)
    snapshot = lab.watch.up_to_now()
    for end in ends:
        assert outline(rows_of(snapshot, end.pid)) == [("GET", None), ("MS", None), ("GET", None), ("GET", None)]
        (connection,) = connections_of(snapshot, end)
        assert counted(connection)[1:] == (0, True)


NONE: dict[str, tuple[int, Said]] = {
    "TLS to PostgreSQL": (
        POSTGRESQL,
        [
            (True, TLS_WANTED), (False, b"S"),
            (True, b"\x16\3\1\0\7\1\0\0\3abc"), (False, b"\x15\3\3\0\2\2\x28"),
        ],
    ),
    "TLS to MySQL": (
        MYSQL,
        [
            (False, GREETING), (True, packet(1, b"\x05\xaa\0\0" + bytes((0, 0, 0, 1, 45)) + bytes(23))),
            *[(True, b"\x17\3\3\0\7abcdefg"), (False, b"\x17\3\3\0\7abcdefg")] * 2,
        ],
    ),
    "compressed MySQL": (
        MYSQL,
        [
            (False, GREETING), (True, packet(1, b"\x25\xa2\0\0" + LOGIN[8:])), (False, packet(2, b"\0\0\0\2\0\0\0")),
            (True, packet(0, b"\3SELECT 1")), (False, OK),
        ],
    ),
    "HTTP that looks like it": (7020, [(True, b"*1\r\n$4\r\nPING\r\n"), (False, b"HTTP/1.1 400 No\r\n\r\n")]),
    "a greeting on another port": (
        7021, [(False, GREETING), (True, LOGIN), (False, OK), (True, packet(0, b"\3SELECT 1")), (False, OK)],
    ),
    "text on another port": (7022, [(True, b"get a\r\n"), (False, b"END\r\n")] * 2),
    "commands behind another beginning": (
        7023,
        [
            (True, b"hello"), (False, b"hello"), (True, command(b"PING")), (False, b"+PONG\r\n"),
            (True, message(b"Q", b"SELECT\0")), (False, DONE),
        ],
    ),
    "only a part of a startup": (7024, [(True, STARTUP[:-1]), (False, HELLO)]),
}  # fmt: skip


@pytest.mark.parametrize("name", NONE)
def test_what_is_none_has_no_row(lab: Lab, name: str) -> None:
    port, said = NONE[name]
    ends = played(lab.inside, port, said)
    snapshot = lab.watch.up_to_now()
    for end in ends:
        assert rows_of(snapshot, end.pid) == []
        (connection,) = connections_of(snapshot, end)
        assert connection.requests is None


def test_conversations_of_real_programs(lab: Lab) -> None:
    wanted = {
        "postgresql-psql": [
            ("STARTUP", None), ("SELECT", None), ("?", "42601"), ("CREATE TABLE", None), ("BEGIN", None),
            ("COPY", None), ("SELECT", "42P01"),
        ],
        "mysql-client": [
            ("LOGIN", None), ("CREATE DATABASE", None), ("SELECT", None), ("INIT_DB", None), ("CREATE TABLE", None),
            ("INSERT", None), ("SELECT", None), ("?", "1064"),
        ],
        "redis-benchmark": [("SET", None)] * 8,
        "memcached-pymemcache": [("GET", None), ("GET", None)],
    }  # fmt: skip
    ports = {"postgresql": POSTGRESQL, "mysql": MYSQL, "redis": REDIS, "memcached": MEMCACHED}
    for name, outlines in wanted.items():
        said = [(segment.from_client, segment.payload) for segment in conversation(name)]
        ends = played(lab.inside, ports[name.partition("-")[0]], said)
        snapshot = lab.watch.up_to_now()
        for end in ends:
            assert outline(rows_of(snapshot, end.pid)) == outlines, name


def test_what_is_sent_again_counts_once(lab: Lab) -> None:
    port = 7031
    server = lab.inside.play(database_programs.redis_server, address=LOOPBACK, port=port)
    assert server.hear() == "listening"
    lab.inside.nft(lossy(port, 6, 60, 56))
    client = lab.inside.play(database_programs.redis_flood, address=LOOPBACK, port=port, requests=60, failed=20)
    client.end()
    lab.inside.nft("delete table inet lossy")
    snapshot = lab.watch.up_to_now()
    again = 0
    for end in (client, server):
        assert outline(rows_of(snapshot, end.pid)) == [("LPUSH", "WRONGTYPE")] * 20 + [("SET", None)] * 40
        (connection,) = connections_of(snapshot, end)
        assert counted(connection) == (60, 20, False)
        again += connection.retransmits or 0
    assert again


def test_a_request_without_an_answer(lab: Lab) -> None:
    port = 7030
    server = lab.inside.play(database_programs.redis_server, address=LOOPBACK, port=port)
    assert server.hear() == "listening"
    does = [[0, [command(b"SET", b"k", b"v").hex()]], [5, [command(b"BLPOP", b"k", b"0").hex()]]]
    client = scripted(lab.inside, port, False, does, waits=True)
    client.hear()
    waits = lab.watch.up_to_now()
    for end in (client, server):
        assert [(row.method, row.pending) for row in rows_of(waits, end.pid)] == [("SET", False), ("BLPOP", True)]
    client.say(1)
    client.end()
    snapshot = lab.watch.up_to_now()
    for end in (client, server):
        assert outline(rows_of(snapshot, end.pid)) == [("SET", None), ("BLPOP", "closed")]
        (connection,) = connections_of(snapshot, end)
        assert counted(connection) == (2, 1, False)


OLDER: dict[str, tuple[int, Said, Said]] = {
    "postgresql": (
        POSTGRESQL,
        [(True, STARTUP), (False, HELLO)],
        [(True, message(b"Q", b"SELECT\0")), (False, DONE), (True, message(b"Q", b"UPDATE\0")), (False, FAILED)],
    ),
    "mysql": (
        MYSQL,
        [(False, GREETING), (True, LOGIN), (False, OK)],
        [
            (True, packet(0, b"\3SELECT")), (False, OK),
            (True, packet(0, b"\3UPDATE")), (False, packet(1, b"\xff\x26\4#42S02no")),
        ],
    ),
    "redis": (
        REDIS,
        [(True, command(b"PING")), (False, b"+PONG\r\n")],
        [
            (True, command(b"GET", b"k")), (False, b"$-1\r\n"),
            (True, command(b"LPUSH", b"k", b"v")), (False, b"-WRONGTYPE no\r\n"),
        ],
    ),
    "memcached": (
        MEMCACHED,
        [(True, b"version\r\n"), (False, b"VERSION 1\r\n")],
        [(True, b"get k\r\n"), (False, b"END\r\n"), (True, b"incr k x\r\n"), (False, b"CLIENT_ERROR no\r\n")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("protocol", OLDER)
def test_connections_older_than_nettop_are_joined_behind_an_answer(directory: Path, protocol: str) -> None:
    port, before, said = OLDER[protocol]
    with namespace(directory) as inside:
        server = scripted(inside, port, True, [*steps(before, False), *steps(said, False)])
        assert server.hear() == "listening"
        first, *later = steps(said, True)
        client = scripted(inside, port, False, [*steps(before, True), [None, first[1]], *later])
        assert client.hear() == "waits"
        with Watch(directory, "--netns", str(inside.path)) as watch:
            client.say(1)
            for end in (client, server):
                end.hear()
                end.end()
            snapshot = watch.up_to_now()
            for end in (client, server):
                (row,) = rows_of(snapshot, end.pid)  # the one behind the first answer that was seen
                assert row.protocol == protocol
                assert row.failed
            watch.stop()


FLOOD, WRONG = 6_000, 2_000


def test_a_scope_of_one_process_has_its_rows_alone(directory: Path) -> None:
    with namespace(directory) as inside:
        port, said, wanted, _ = SCRIPTS["PostgreSQL, prepared"]
        server = scripted(inside, port, True, steps(said, False))
        assert server.hear() == "listening"
        with Watch(directory, "--pid", str(server.pid)) as watch:
            client = scripted(inside, port, False, steps(said, True))
            for end in (client, server):
                end.hear()
                end.end()
            snapshot = watch.up_to_now()
            assert outline(rows_of(snapshot, server.pid)) == wanted
            assert {row.pid for row in snapshot.requests} == {server.pid}
            watch.stop()


FLOODS: dict[str, tuple[int, Said, Said]] = {
    "postgresql": (
        7040,
        [(True, STARTUP), (False, HELLO)],
        [
            (True, message(b"Q", b"SELECT\0")), (False, FAILED),
            (True, message(b"P", b"\0SELECT\0\0\0") + message(b"B", bytes(8)) + message(b"S")),
            (False, message(b"1") + message(b"2") + FAILED),
            (True, message(b"Q", b"SELECT\0")), (False, message(b"T", b"\0\0") + message(b"D", b"EEEE") + DONE),
        ],
    ),
    "mysql": (
        MYSQL,
        [(False, GREETING), (True, LOGIN), (False, packet(2, b"\0\0\0\2\0\0\0"))],
        [
            (True, packet(0, b"\3SELECT")), (False, packet(1, b"\xff\x26\4#42S02no")),
            (True, packet(0, b"\x17\7\0\0\0\0\1\0\0\0")), (False, packet(1, b"\xff\x26\4#42S02no")),
            (True, packet(0, b"\3SELECT")), (False, ROWS),
        ],
    ),
    "memcached": (
        MEMCACHED,
        [(True, b"version\r\n"), (False, b"VERSION 1\r\n")],
        [
            (True, b"set k 0 0 2000\r\n" + bytes(2000) + b"\r\n"), (False, b"SERVER_ERROR no\r\n"),
            (True, b"incr k x\r\n"), (False, b"CLIENT_ERROR no\r\n"), (True, b"get k\r\n"), (False, b"END\r\n"),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("protocol", FLOODS)
def test_what_has_no_row_is_counted_with_its_failures(
    directory: Path, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "REQUESTS_LISTED_PER_S", 1)
    port, before, said = FLOODS[protocol]
    rounds = REQUESTS_AT_ONCE // 3 + 100
    with namespace(directory) as inside, watched(inside) as watching:
        server = scripted(inside, port, True, steps([*before, *said * rounds], False))
        assert server.hear() == "listening"
        client = scripted(inside, port, False, steps([*before, *said * rounds], True))
        watching.until_ended(client)
        snapshot = watching.finish()
    for pid in (client.pid, server.pid):
        assert 100 <= len(rows_of(snapshot, pid)) < 3 * rounds
        (connection,) = (row for row in snapshot.connections if row.pid == pid)
        assert counted(connection) == (3 * rounds + 1, 2 * rounds, False)


def test_a_flood_is_counted_to_the_last_one(directory: Path) -> None:
    with namespace(directory) as inside:
        server = inside.play(database_programs.redis_server, address=LOOPBACK, port=REDIS)
        assert server.hear() == "listening"
        with watched(inside) as watching:
            client = inside.play(
                database_programs.redis_flood, address=LOOPBACK, port=REDIS, requests=FLOOD, failed=WRONG
            )
            watching.until_ended(client)
            snapshot = watching.finish()
    for pid in (client.pid, server.pid):
        rows = rows_of(snapshot, pid)
        assert REQUESTS_AT_ONCE / 2 <= len(rows) < FLOOD
        (connection,) = (row for row in snapshot.connections if row.pid == pid)
        assert counted(connection) == (FLOOD, WRONG, False)
    assert snapshot.losses.unlisted["requests"] == 2 * FLOOD - len(snapshot.requests)


# The real programs


def program_file(name: str) -> str | None:
    """The command of this name, also where Debian keeps those of PostgreSQL."""
    folders = ["/usr/sbin", "/usr/bin", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))]
    return shutil.which(name, path=":".join(folders))


REDIS_SERVER, REDIS_CLI = program_file("redis-server"), program_file("redis-cli")
MEMCACHED_SERVER = program_file("memcached")
POSTGRES, INITDB, PSQL = program_file("postgres"), program_file("initdb"), program_file("psql")
MARIADBD, MARIADB, INSTALL_DB = program_file("mariadbd"), program_file("mariadb"), program_file("mariadb-install-db")


def without(*programs: str | None) -> pytest.MarkDecorator:
    return pytest.mark.skipif(None in programs, reason="a program is not installed")


def asked_by(lab: Lab, *command_line: str | None, fails: bool = False) -> Program:
    """A client, once it has ended."""
    client = lab.inside.start(*map(str, command_line))
    if fails:
        wait_until(lambda: client.exit_code is not None, "the client")
    else:
        client.end()
    return client


def assert_both_sides(lab: Lab, client: Program, port: int, wanted: Outline) -> list[Request]:
    """The rows of the client, which are those of the server too."""
    snapshot = lab.watch.up_to_now()
    rows = rows_of(snapshot, client.pid)
    assert outline(rows) == [*wanted]
    ends = {connection.local.port for connection in connections_of(snapshot, client) if connection.local}
    served = [row for row in snapshot.requests if row.side == "server" and row.remote and row.remote.port in ends]
    assert outline(served) == [*wanted]
    assert len({row.pid for row in served}) == 1
    assert served[0].pid not in (None, client.pid)
    for row, other in zip(rows, served, strict=True):
        assert row.remote is not None
        assert row.remote.port == port
        assert None not in (row.latency_ms, other.latency_ms)
    return rows


@pytest.fixture(scope="module")
def redis_(lab: Lab) -> Program:
    server = lab.inside.start(str(REDIS_SERVER), "--port", str(REDIS), "--save", "", "--bind", LOOPBACK)
    wait_until(lambda: listens(server, REDIS), "redis-server")
    return server


@without(REDIS_SERVER, REDIS_CLI)
def test_redis(lab: Lab, redis_: Program) -> None:
    lines = [
        ["SET", "k", LOOKALIKES.decode()[:2000]], ["GET", "k"], ["LPUSH", "k", "v"], ["CONFIG", "GET", "save"],
        ["nonsense"], ["EVAL", "return redis.call('SET', 'a', 'b')", "0"],
    ]  # fmt: skip
    wanted = [("SET", None), ("GET", None), ("LPUSH", "WRONGTYPE"), ("CONFIG GET", None), ("?", "ERR"), ("EVAL", None)]
    for words, said in zip(lines, wanted, strict=True):
        client = asked_by(lab, REDIS_CLI, "-h", LOOPBACK, *words)
        (row,) = assert_both_sides(lab, client, REDIS, [said])
        assert row.protocol == "redis"
    client = asked_by(lab, "redis-benchmark", "-h", LOOPBACK, "-c", "1", "-n", "40", "-P", "8", "-t", "set", "-q")
    snapshot = lab.watch.up_to_now()
    assert outline(rows_of(snapshot, client.pid)).count(("SET", None)) == 40
    assert outline(rows_of(snapshot, redis_.pid)).count(("SET", None)) == 41


@without(REDIS_SERVER)
@pytest.mark.usefixtures("redis_")
def test_subscriptions_of_redis(lab: Lab) -> None:
    does = [
        [0, [command(b"SUBSCRIBE", b"a", b"b").hex()]],
        [2 * len(SUBSCRIBED), [command(b"PING").hex()]],
        [len(command(b"pong", b"")), [command(b"UNSUBSCRIBE", b"a").hex()]],
        [len(SUBSCRIBED) + len(b"un") + 1, []],  # of 11 characters
    ]
    client = scripted(lab.inside, REDIS, False, does)
    client.hear()
    client.end()
    assert_both_sides(lab, client, REDIS, [("SUBSCRIBE", None), ("PING", None), ("UNSUBSCRIBE", None)])
    client = scripted(lab.inside, REDIS, False, [[0, [command(b"MONITOR").hex()]], [5, []]])
    client.hear()
    client.end()
    assert_both_sides(lab, client, REDIS, [("MONITOR", None)])


@without(REDIS_SERVER)
def test_times_are_those_of_the_client(lab: Lab, redis_: Program) -> None:
    said = command(b"EVAL", b"local a = 0 for i = 1, 600000 do a = a + i end return 1", b"0").hex()
    client = lab.inside.play(database_programs.redis_times, address=LOOPBACK, port=REDIS, command=said, times=15)
    took_ms = client.hear()
    client.end()
    snapshot = lab.watch.up_to_now()
    for pid in (client.pid, redis_.pid):
        told_ms = [row.latency_ms for row in rows_of(snapshot, pid) if row.method == "EVAL"][-15:]
        assert len(told_ms) == 15
        assert abs(statistics.median(filter(None, told_ms)) - statistics.median(took_ms)) < 1


@without(MEMCACHED_SERVER)
def test_memcached(lab: Lab) -> None:
    server = lab.inside.start(str(MEMCACHED_SERVER), "-u", "root", "-l", LOOPBACK, "-p", str(MEMCACHED))
    wait_until(lambda: listens(server, MEMCACHED), "memcached")
    said = [
        (b"set k 0 0 5\r\nvalue\r\n", 8), (b"get k\r\n", 24), (b"incr k 1\r\n", 58), (b"delete k\r\n", 9),
        (b"get k\r\n", 5), (b"nonsense k\r\n", 7),
    ]  # fmt: skip
    does = [[0, [said[0][0].hex()]], *([said[at][1], [said[at + 1][0].hex()]] for at in range(5)), [7, []]]
    client = scripted(lab.inside, MEMCACHED, False, does)
    client.hear()
    client.end()
    wanted = [("SET", None), ("GET", None), ("INCR", "CLIENT_ERROR"), ("DELETE", None), ("GET", None), ("?", "ERROR")]
    assert_both_sides(lab, client, MEMCACHED, wanted)
    server.stop()


@pytest.fixture(scope="module")
def postgresql(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list[str]]]:
    """Its server, which root may not run; gives command lines of psql."""
    folder = tmp_path_factory.mktemp("postgresql")
    for place in (folder, *folder.parents[:2]):
        place.chmod(0o755)
    as_nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    place = folder / "data"
    place.mkdir()
    shutil.chown(place, "nobody")
    subprocess.run(
        [*as_nobody, str(INITDB), "-D", str(place), "-A", "trust", "-U", "me", "-N"], check=True, capture_output=True
    )
    (place / "postgresql.conf").write_text(
        f"listen_addresses = '{LOOPBACK}'\nport = {POSTGRESQL}\nunix_socket_directories = '{place}'\nfsync = off\n"
    )
    server = lab.inside.start(*as_nobody, str(POSTGRES), "-D", str(place))
    wait_until(lambda: listens(server, POSTGRESQL), "postgres")
    yield lambda *statements: [
        str(PSQL),
        "-X",
        "-q",
        f"host={LOOPBACK} user=me dbname=postgres",
        *(f"-c{statement}" for statement in statements),
    ]
    server.stop()


@without(POSTGRES, INITDB, PSQL)
def test_postgresql(lab: Lab, postgresql: Callable[..., list[str]]) -> None:
    client = asked_by(
        lab,
        *postgresql(
            "CREATE TABLE t (a int, b text)", "INSERT INTO t SELECT n, 'secret' FROM generate_series(1, 20000) n",
            "BEGIN", "SELECT * FROM nothing", "ROLLBACK", "SELECT * FROM t", "PREPARE one AS SELECT 1", "EXECUTE one",
            "COPY t TO STDOUT", "DO 'BEGIN RAISE NOTICE $$a$$; END'", "SELECT 1/0", "VACUUM",
        ),
    )  # fmt: skip
    rows = assert_both_sides(
        lab, client, POSTGRESQL,
        [
            ("STARTUP", None), ("CREATE TABLE", None), ("INSERT", None), ("BEGIN", None), ("SELECT", "42P01"),
            ("ROLLBACK", None), ("SELECT", None), ("PREPARE", None), ("EXECUTE", None), ("COPY", None), ("DO", None),
            ("SELECT", "22012"), ("VACUUM", None),
        ],
    )  # fmt: skip
    assert {row.protocol for row in rows} == {"postgresql"}
    snapshot = lab.watch.up_to_now()
    assert "secret" not in repr(snapshot.requests)


@without(POSTGRES, INITDB, PSQL)
def test_postgresql_copy_and_a_wrong_database(lab: Lab, postgresql: Callable[..., list[str]], tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.write_text("1\tQuery\n" * 50_000)
    client = asked_by(
        lab, *postgresql("CREATE TABLE c (a int, b text)", f"\\copy c FROM '{rows}'", "SELECT count(*) FROM c")
    )
    wanted = [("STARTUP", None), ("CREATE TABLE", None), ("COPY", None), ("SELECT", None)]
    assert_both_sides(lab, client, POSTGRESQL, wanted)
    client = asked_by(lab, str(PSQL), "-X", f"host={LOOPBACK} user=me dbname=nothing", "-cSELECT 1", fails=True)
    assert_both_sides(lab, client, POSTGRESQL, [("STARTUP", "3D000")])


@pytest.fixture(scope="module")
def mariadb(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list[str]]]:
    """Its server; gives command lines of its client."""
    place = tmp_path_factory.mktemp("mariadb")
    subprocess.run(
        [
            str(INSTALL_DB), "--no-defaults", f"--datadir={place}", "--auth-root-authentication-method=normal",
            "--user=root",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    server = lab.inside.start(
        str(MARIADBD), "--no-defaults", f"--datadir={place}", "--user=root", f"--bind-address={LOOPBACK}",
        f"--port={MYSQL}", f"--socket={place}/socket", f"--pid-file={place}/pid",
    )  # fmt: skip
    wait_until(lambda: listens(server, MYSQL), "mariadbd")
    yield lambda *statements, password="": [
        str(MARIADB), "--no-defaults", "--skip-ssl", "--force", "-h", LOOPBACK, "-uroot", f"--password={password}",
        "-e", ";".join(statements),
    ]  # fmt: skip
    server.stop()


@without(MARIADBD, MARIADB, INSTALL_DB)
def test_mariadb(lab: Lab, mariadb: Callable[..., list[str]]) -> None:
    client = asked_by(
        lab,
        *mariadb(
            "CREATE DATABASE d", "CREATE TABLE d.t (a int, b text)", "INSERT INTO d.t VALUES (1, 'secret')", "BEGIN",
            "UPDATE d.t SET a = 2", "COMMIT", "SELECT * FROM d.t", "SHOW TABLES IN d", "SELECT * FROM d.nothing",
        ),
        fails=True,
    )  # fmt: skip
    wanted = [
        ("LOGIN", None), ("CREATE DATABASE", None), ("CREATE TABLE", None), ("INSERT", None),
        ("BEGIN", None), ("UPDATE", None), ("COMMIT", None), ("SELECT", None), ("SHOW", None), ("SELECT", "1146"),
    ]  # fmt: skip
    rows = assert_both_sides(lab, client, MYSQL, wanted)
    assert {row.protocol for row in rows} == {"mysql"}
    client = asked_by(lab, *mariadb("SELECT 1", password="wrong"), fails=True)
    assert_both_sides(lab, client, MYSQL, [("LOGIN", "1045")])
