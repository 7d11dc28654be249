"""Requests of HTTP/2 and gRPC by real programs: each has its row at both ends, and none is invented."""

import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hpack import Encoder

from nettop.kernel import program
from nettop.model.rows import Request
from nettop.protocols.http2 import PREFACE
from tests.live import http2_programs
from tests.live.lab import (
    Lab,
    Namespace,
    Program,
    Watch,
    connections_of,
    listens,
    lossy,
    namespace,
    process_of,
    scripted,
    wait_until,
    watched_namespace,
)
from tests.live.nginx import nginx
from tests.live.test_floods import REQUESTS_AT_ONCE, watched
from tests.live.test_requests import LOOPBACK, rows_of, served

SERVER = """
server {
    listen 127.0.0.1:%d http2;
    client_max_body_size 10m;
    location / { return 200 "short"; }
    location /teapot { return 418; }
    location /files { alias %s; }
    location /gone { return 410; }
}
"""
HEAD_LIKE = bytes.fromhex("00000a010500000003828684418a0f010203040000040800000000000000ffff")
_ports = count(8600)


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with watched_namespace(directory) as made:
        yield made


def grpc_server(inside: Namespace) -> tuple[Program, int]:
    port = next(_ports)
    server = inside.play(http2_programs.grpc_server, address=LOOPBACK, port=port)
    assert server.hear() == "listening"
    return server, port


def test_grpc(lab: Lab) -> None:
    server, port = grpc_server(lab.inside)
    calls: list[Any] = [
        ["Add", 10],
        ["Add", 100_000],
        ["Fail5", 10],
        ["Slow60", 10],
        ["Count20", 5_000],
    ]
    client = lab.inside.play(http2_programs.grpc_client, address=LOOPBACK, port=port, calls=calls)
    assert client.hear() == "connected"
    client.say("Add")
    calls.append(["Add", 10])
    answers = client.hear()
    client.say(None)
    client.end()
    snapshot = lab.watch.up_to_now()
    wanted = [
        ("POST", f"/shop.Cart/{method}", 200, status) for (method, _), (status, _) in zip(calls, answers, strict=True)
    ]
    for end, side in ((client, "client"), (server, "server")):
        rows = rows_of(snapshot, end.pid)
        assert [(row.method, row.path, row.status, row.grpc_status) for row in rows] == wanted
        assert {(row.side, row.protocol, row.error, row.host, row.partial) for row in rows} == {
            (side, "grpc", None, LOOPBACK, False)
        }
        (connection,) = connections_of(snapshot, end)
        assert {row.connection_id for row in rows} == {connection.id}
        assert connection.requests is not None
        assert (connection.requests.side, connection.requests.count, connection.requests.failed) == (side, 6, 1)
        assert (connection.requests.failed_4xx, connection.requests.failed_5xx) == (0, 0)  # it is gRPC's status
        assert (connection.requests.unlisted, connection.requests.partial) == (0, False)
    for row, (_, took_ms) in zip(rows_of(snapshot, client.pid), answers, strict=True):
        assert row.latency_ms is not None
        assert row.latency_ms <= took_ms
    (slow,) = (row for row in rows_of(snapshot, client.pid) if row.path == "/shop.Cart/Slow60")
    assert slow.latency_ms is not None
    assert slow.latency_ms >= 60
    assert process_of(snapshot, server).requests.served.count == 6


def await_calls(watch: Watch, made: int, *ends: Program) -> None:
    watch.until(lambda s: all(len(rows_of(s, end.pid)) == made for end in ends), "the call that is not answered")


def test_a_call_that_is_given_up_and_one_whose_server_dies(lab: Lab) -> None:
    server, port = grpc_server(lab.inside)
    calls = [["Add", 10], ["Hang", 10, True]]
    client = lab.inside.play(http2_programs.grpc_client, address=LOOPBACK, port=port, calls=calls)
    assert client.hear() == "connected"
    client.say("Hang")
    await_calls(lab.watch, 2, client, server)
    client.say("cancel")
    await_calls(lab.watch, 3, client, server)
    server.stop(signal.SIGKILL)
    assert [status for status, _ in client.hear()] == [0, 1, 14]  # OK, CANCELLED, UNAVAILABLE
    client.say(None)
    client.end()
    snapshot = lab.watch.up_to_now()
    for end in (client, server):
        rows = rows_of(snapshot, end.pid)
        assert [(row.path, row.status, row.error) for row in rows[:2]] == [
            ("/shop.Cart/Add", 200, None), ("/shop.Cart/Hang", None, "cancelled"),
        ]  # fmt: skip
        assert [row.failed for row in rows] == [False, True, True]
        assert rows[2].error in ("reset", "closed", "cancelled")
        (connection,) = (row for row in connections_of(snapshot, end) if row.requests is not None)
        assert connection.requests is not None
        assert (connection.requests.count, connection.requests.failed) == (3, 2)


@dataclass
class Nginx:
    port: int
    folder: Path

    def log(self, lines: int) -> list[list[str]]:
        """What it says of so many requests: pid, method, path and status."""
        path = self.folder / "access.log"
        wait_until(lambda: path.read_text().count("\n") >= lines, "what nginx says")
        return sorted(line.split() for line in path.read_text().splitlines())


@pytest.fixture
def served_by_nginx(lab: Lab, tmp_path: Path) -> Iterator[Nginx]:
    port = next(_ports)
    (tmp_path / "frames").write_bytes(HEAD_LIKE * 100_000)
    (tmp_path / "small").write_bytes(b"small")
    program = nginx(lab.inside, tmp_path, port, SERVER % (port, tmp_path), workers=1)
    yield Nginx(port, tmp_path)
    program.stop(signal.SIGTERM)


def told(rows: list[Request]) -> list[list[str]]:
    return sorted([str(row.pid), row.method, str(row.path), str(row.status)] for row in rows)


def test_nginx_logs_what_curl_asks_for(lab: Lab, served_by_nginx: Nginx) -> None:
    """Bodies full of frames, either way. One at a time: this curl cannot use such a connection again."""
    paths = ["/plain?key=secret", "/gone/1", "/files/frames", "/files/none", "/teapot", "/teapot/2", "/files/small"]
    url = f"http://{LOOPBACK}:{served_by_nginx.port}"
    (served_by_nginx.folder / "upload").write_bytes(HEAD_LIKE * 20_000)
    curl = ["curl", "-s", "-S", "-o", "/dev/null", "--http2-prior-knowledge", "-w", "%{http_version} %{http_code}\n"]
    ended = [lab.inside.start(*curl, url + path) for path in paths]
    assert [client.end() for client in ended] == [f"2 {status}\n" for status in (200, 410, 200, 404, 418, 418, 200)]
    lab.inside.start("nghttp", "-n", "-d", str(served_by_nginx.folder / "upload"), f"{url}/posted").end()
    logged = served_by_nginx.log(len(paths) + 1)
    snapshot = lab.watch.up_to_now()
    workers = {int(pid) for pid, *_ in logged}
    served_by = [row for row in snapshot.requests if row.pid in workers]
    assert told(served_by) == logged
    sent = [
        row
        for row in snapshot.requests
        if row.remote and row.remote.port == served_by_nginx.port and row.side == "client"
    ]
    assert sorted((row.path, row.status) for row in sent) == sorted((row.path, row.status) for row in served_by)
    assert {(row.protocol, row.host, row.partial, row.error) for row in (*sent, *served_by)} == {
        ("h2", LOOPBACK, False, None)
    }
    assert "secret" not in repr(snapshot.requests)
    for client, failed in zip(ended, (0, 1, 0, 1, 1, 1, 0), strict=True):
        (connection,) = connections_of(snapshot, client)
        assert connection.requests is not None
        assert (connection.requests.count, connection.requests.failed, connection.requests.unlisted) == (1, failed, 0)


@pytest.fixture
def nghttpd(lab: Lab, tmp_path: Path) -> Iterator[tuple[Program, int]]:
    port = next(_ports)
    (tmp_path / "frames").write_bytes(HEAD_LIKE * 100_000)
    (tmp_path / "small").write_bytes(b"small")
    program = lab.inside.start("nghttpd", "--no-tls", "-d", str(tmp_path), str(port))
    wait_until(lambda: listens(program, port), "nghttpd")
    yield program, port
    program.stop(signal.SIGTERM)


def test_many_streams_at_once(lab: Lab, nghttpd: tuple[Program, int]) -> None:
    server, port = nghttpd
    paths = [f"/{name}" for name in ("frames", "small", "none")] * 10
    client = lab.inside.start("nghttp", "-n", "-s", *(f"http://{LOOPBACK}:{port}{path}" for path in paths))
    said = re.findall(r"^ +\d+ +\S+ +\+?(\S+) +\S+ +(\d+) +\S+ (/\S*)$", client.end(), re.MULTILINE)
    asked = sorted((path, int(status)) for _, status, path in said)
    assert len(asked) >= 3
    snapshot = lab.watch.up_to_now()
    for end in (client, server):
        assert sorted((row.path, row.status) for row in rows_of(snapshot, end.pid)) == asked


def test_an_upgrade_from_http_1(lab: Lab) -> None:
    """The request that asks for it is answered on stream 1."""
    _, backend, _ = served(lab.inside)
    port = next(_ports)
    proxy = lab.inside.start(
        "nghttpx", "--single-process", "--workers=1", "--conf=/dev/null", f"--frontend={LOOPBACK},{port};no-tls",
        f"--backend={LOOPBACK},{backend}",
    )  # fmt: skip
    wait_until(lambda: listens(proxy, port), "nghttpx")
    urls = [f"http://{LOOPBACK}:{port}{path}" for path in ("/status/201", "/status/404", "/slow/30")]
    curl = ["curl", "-s", "-S", "--http2", "-w", "%{http_version} %{http_code}\n"]
    client = lab.inside.start(*curl, *(word for url in urls for word in ("-o", "/dev/null", url)))
    assert client.end().split() == ["2", "201", "2", "404", "2", "200"]
    snapshot = lab.watch.up_to_now()
    proxy.stop(signal.SIGTERM)
    for pid, side in ((client.pid, "client"), (proxy.pid, "server")):
        rows = [row for row in rows_of(snapshot, pid) if row.side == side]
        assert [(row.protocol, row.path, row.status) for row in rows] == [
            ("h2", "/status/201", 201), ("h2", "/status/404", 404), ("h2", "/slow/30", 200),
        ]  # fmt: skip
        assert all(row.latency_ms is not None and row.latency_ms > 0 for row in rows)
        spoken = [row.requests for row in snapshot.connections if row.pid == pid and row.requests is not None]
        counts = [each for each in spoken if each.side == side]
        assert [(each.count, each.failed) for each in counts] == [(3, 1)]


def test_an_upgrade_that_is_answered_after_others_were_asked(lab: Lab) -> None:
    _, backend, _ = served(lab.inside)
    port = next(_ports)
    proxy = lab.inside.start(
        "nghttpx", "--single-process", "--workers=1", "--conf=/dev/null", f"--frontend={LOOPBACK},{port};no-tls",
        f"--backend={LOOPBACK},{backend}",
    )  # fmt: skip
    wait_until(lambda: listens(proxy, port), "nghttpx")
    paths = ("/slow/30", "/status/404")
    client = lab.inside.start("nghttp", "-n", "-u", *(f"http://{LOOPBACK}:{port}{path}" for path in paths))
    client.end()
    snapshot = lab.watch.up_to_now()
    proxy.stop(signal.SIGTERM)
    for pid, side in ((client.pid, "client"), (proxy.pid, "server")):
        rows = [row for row in rows_of(snapshot, pid) if row.side == side]
        assert sorted((row.protocol, row.path, row.status) for row in rows) == [
            ("h2", "/slow/30", 200),
            ("h2", "/status/404", 404),
        ]


def test_connections_older_than_nettop(directory: Path) -> None:
    """Names that were said before are unknown, and the row says so; what is new is known. None is wrong."""
    with namespace(directory) as inside:
        server, port = grpc_server(inside)
        calls = [["Add", 10], ["Fail5", 10]]
        clients = [
            inside.play(http2_programs.grpc_client, address=LOOPBACK, port=port, calls=calls[:size]) for size in (1, 2)
        ]
        for client in clients:
            assert client.hear() == "connected"
            client.say("Add")
            client.hear()
        with Watch(directory, "--netns", str(inside.path)) as watch:
            for client in clients:
                client.say("Fresh")
                client.hear()
            snapshot = watch.up_to_now()
            for program, calls_made in zip((*clients, server), (2, 3, 5), strict=True):
                rows = rows_of(snapshot, program.pid)
                assert [(row.status, row.error) for row in rows] == [(200, None)] * calls_made
                assert {(row.path, row.partial) for row in rows} == {("?", True), ("/shop.Cart/Fresh", True)}
                for connection in connections_of(snapshot, program):
                    assert connection.requests is not None
                    assert connection.requests.partial
            watch.stop()


SETTINGS = bytes.fromhex("000000040000000000")
LIKE_A_REQUEST = bytes.fromhex("0000080105000000038286844103616263")  # of stream 3
LIKE_AN_ANSWER = bytes.fromhex("00000101040000000188000000000100000001")
PIECES = 50


def header(size: int, kind: int, flags: int, stream: int = 1) -> bytes:
    return size.to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4)


def conversation() -> tuple[list[bytes], list[bytes]]:
    """What client and server send, a segment each: one request with a body and trailers, and its answer with a body."""
    encoder = Encoder()
    head = encoder.encode([(":method", "POST"), (":scheme", "http"), (":path", "/body"), (":authority", "raw.test")])
    trailers = encoder.encode([("x-checksum", "1")])
    asked = [
        PREFACE + SETTINGS,
        header(len(head), 1, 4) + head + header(PIECES * len(LIKE_A_REQUEST), 0, 0),
        *[LIKE_A_REQUEST] * PIECES,
        header(len(trailers), 1, 5) + trailers,
    ]
    answered = [
        SETTINGS,
        header(1, 1, 4) + b"\x88" + header(PIECES * len(LIKE_AN_ANSWER), 0, 1),
        *[LIKE_AN_ANSWER] * PIECES,
    ]
    return asked, answered


def pieces(payloads: list[bytes]) -> list[str]:
    return [payload.hex() for payload in payloads]


def size(payloads: list[bytes]) -> int:
    return sum(map(len, payloads))


def exchanged(lab: Lab, asked: list[bytes], answered: list[bytes]) -> tuple[Program, Program]:
    """Client and server, once they have sent each other that, on one connection."""
    port = next(_ports)
    server = scripted(lab.inside, port, True, [[size(asked), pieces(answered)]])
    assert server.hear() == "listening"
    client = scripted(lab.inside, port, False, [[0, pieces(asked)], [size(answered), []]])
    for end in (client, server):
        assert end.hear() == "done"
        end.end()
    return client, server


def test_bodies_that_are_frames_in_segments_of_their_own(lab: Lab) -> None:
    ends = exchanged(lab, *conversation())
    snapshot = lab.watch.up_to_now()
    for end in ends:
        assert [(row.path, row.status, row.partial) for row in rows_of(snapshot, end.pid)] == [("/body", 200, False)]
        (connection,) = connections_of(snapshot, end)
        assert connection.requests is not None
        assert (connection.requests.count, connection.requests.partial) == (1, False)


def test_more_frames_in_a_segment_than_are_walked_at_once(lab: Lab) -> None:
    encoder = Encoder()
    heads = [
        encoder.encode([(":method", "GET"), (":scheme", "http"), (":path", f"/{name}"), (":authority", "raw.test")])
        for name in ("first", "last")
    ]
    crumbs = header(10, 0, 0) + b"ten bytes."
    asked = [
        PREFACE + SETTINGS,
        header(len(heads[0]), 1, 4) + heads[0] + crumbs * 500 + header(0, 0, 1)
        + header(len(heads[1]), 1, 5, 3) + heads[1],
    ]  # fmt: skip
    answered = [SETTINGS, header(1, 1, 5) + b"\x88" + header(1, 1, 5, 3) + b"\x88"]
    ends = exchanged(lab, asked, answered)
    snapshot = lab.watch.up_to_now()
    for end in ends:
        known = [(row.path, row.status, row.partial) for row in rows_of(snapshot, end.pid)]
        assert sorted(known, key=str) == [("/first", 200, False), ("/last", 200, False)]


def test_a_body_of_frames_does_not_make_an_older_connection_tell_of_them(directory: Path) -> None:
    asked, answered = conversation()
    with namespace(directory) as inside:
        port = next(_ports)
        server = scripted(inside, port, True, [[size(asked), pieces(answered)]])
        assert server.hear() == "listening"
        client = scripted(
            inside, port, False, [[0, pieces(asked[:3])], [None, pieces(asked[3:])], [size(answered), []]]
        )
        assert client.hear() == "waits"
        with Watch(directory, "--netns", str(inside.path)) as watch:
            client.say(1)
            for end in (client, server):
                assert end.hear() == "done"
                end.end()
            snapshot = watch.up_to_now()
            assert snapshot.requests == ()
            assert [row.requests for end in (client, server) for row in connections_of(snapshot, end)] == [None, None]
            watch.stop()


def test_what_is_missed_makes_no_wrong_name(lab: Lab) -> None:
    """Segments are lost and come out of order, at either end."""
    server, port = grpc_server(lab.inside)
    lab.inside.nft(lossy(port, 8, 100, 100))
    methods = [f"{name}/{number}" for number in range(12) for name in ("Add", "Fail5", "Fail7")]
    client = lab.inside.play(
        http2_programs.grpc_crowd, address=LOOPBACK, port=port, methods=methods, calls=1_500, threads=24
    )
    answers = {(f"/shop.Cart/{method}", status): times for method, status, times in client.hear()}
    lab.inside.nft("delete table inet lossy")
    client.end()
    snapshot = lab.watch.up_to_now()
    for end in (client, server):
        rows = rows_of(snapshot, end.pid)
        (connection,) = connections_of(snapshot, end)
        assert connection.requests is not None
        assert len(rows) == connection.requests.count - connection.requests.unlisted
        if end is client:  # it sends in order, and what it sends again is known
            assert (connection.requests.count, connection.requests.partial) == (sum(answers.values()), False)
            assert connection.retransmits
        known = [(row.path, row.grpc_status) for row in rows if row.path != "?" and row.grpc_status is not None]
        assert set(known) <= set(answers)
    sent = Counter((row.path, row.grpc_status) for row in rows_of(snapshot, client.pid) if row.grpc_status is not None)
    assert sent <= Counter(answers)
    assert any(row.partial for row in rows_of(snapshot, server.pid))


def test_what_is_left_out_makes_no_wrong_name(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each path has a status of its own, which is known without a table."""
    monkeypatch.setattr(program, "REQUESTS_LISTED_PER_S", 200)  # however slow the client is
    port = next(_ports)
    server = lab.inside.play(http2_programs.indexing_server, address=LOOPBACK, port=port)
    assert server.hear() == "listening"
    with watched(lab.inside) as watching:
        client = lab.inside.play(http2_programs.indexing_client, address=LOOPBACK, port=port, calls=6_000, paths=120)
        watching.until_ended(client)
        snapshot = watching.finish()
    for end in (client, server):
        (connection,) = connections_of(snapshot, end)
        assert connection.requests is not None
        rows = rows_of(snapshot, end.pid)
        assert (connection.requests.count, connection.requests.partial) == (6_000, False)
        assert connection.requests.unlisted == 6_000 - len(rows) > 0
        known = [(int(str(row.path)[1:]) % 3, row.status) for row in rows if row.path != "?" and row.status]
        assert set(known) == {(0, 200), (1, 404), (2, 500)}
        assert {row.partial for row in rows} == {True, False}


FLOOD, STREAMS = 60_000, 100


def test_a_flood_is_counted_and_some_of_it_listed(lab: Lab, nghttpd: tuple[Program, int]) -> None:
    server, port = nghttpd
    urls = [f"http://{LOOPBACK}:{port}/{name}" for name in ("small", "none")]
    with watched(lab.inside) as watching:
        client = lab.inside.start("h2load", f"-n{FLOOD}", "-c2", f"-m{STREAMS}", *urls)
        watching.until_ended(client)
        snapshot = watching.finish()
    assert f"{FLOOD // 2} 2xx, 0 3xx, {FLOOD // 2} 4xx" in client.end()
    for pid in (client.pid, server.pid):
        spoken = [row.requests for row in snapshot.connections if row.pid == pid and row.requests is not None]
        rows = rows_of(snapshot, pid)
        assert [(each.count, each.partial) for each in spoken] == [(FLOOD // 2, False)] * 2
        assert sum(each.unlisted for each in spoken) == FLOOD - len(rows)
        assert REQUESTS_AT_ONCE / 2 <= len(rows) < FLOOD / 10
        assert {row.path for row in rows} <= {"/small", "/none", "?"}
        assert {row.method for row in rows} <= {"GET", "?"}
        for row in rows:
            if row.status is not None and row.path != "?":
                assert row.status == (200 if row.path == "/small" else 404)
    assert snapshot.losses.unlisted["requests"] == 2 * FLOOD - len(snapshot.requests)
