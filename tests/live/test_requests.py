"""Requests of HTTP/1 by real programs: each has its row at both ends, with the right process, and none is invented."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from nettop.model.rows import Request
from nettop.model.snapshot import Snapshot
from tests.live import http_programs
from tests.live.lab import Namespace, Program, Watch, connections_of, namespace, process_of, wait_until
from tests.live.nginx import nginx

LOOPBACK = "127.0.0.1"
OK_GET = "GET {} HTTP/1.1\r\nHost: raw.test\r\n\r\n"
DEAF = """
table inet deaf {{
    chain in {{
        type filter hook input priority 0
        tcp sport {port} drop
    }}
}}
"""
_ports = count(8200)


@dataclass
class Lab:
    inside: Namespace
    watch: Watch
    older: "Pair"

    def server(self, workers: int = 0, deferred: bool = False) -> tuple[Program, int, list[int]]:
        return served(self.inside, workers, deferred)


@dataclass
class Pair:
    client: Program
    server: Program


def served(inside: Namespace, workers: int = 0, deferred: bool = False) -> tuple[Program, int, list[int]]:
    port = next(_ports)
    server = inside.play(http_programs.http_server, address=LOOPBACK, port=port, workers=workers, deferred=deferred)
    said = [server.hear() for _ in range(workers + 1)]
    return server, port, [pid for pid in said if pid != "listening"]


def rows_of(snapshot: Snapshot, pid: int) -> list[Request]:
    return [row for row in snapshot.requests if row.pid == pid]


def outline(rows: list[Request]) -> list[tuple[str, str | None, int | None]]:
    return [(row.method, row.path, row.status) for row in rows]


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with namespace(directory) as inside:
        server, port, _ = served(inside)
        client = inside.play(http_programs.http_client, address=LOOPBACK, port=port, requests=[["GET", "/older", 0]])
        assert client.hear() == "connected"
        client.say(1)
        client.hear()
        with Watch(directory, "--netns", str(inside.path)) as watch:
            yield Lab(inside, watch, Pair(client, server))


def test_keep_alive_with_every_kind_of_body(lab: Lab) -> None:
    server, port, _ = lab.server()
    requests: list[Any] = [
        ["GET", "/a?token=secret", 0],
        ["POST", "/status/201", 100],
        ["HEAD", "/head", 0],
        ["GET", "/chunked", 0],
        ["GET", "/status/404", 0],
        ["PUT", "/status/503", 1],
        ["GET", "/lookalike", 0],
        ["PROPFIND", "/dav", 0],
        ["POST", "/long", 20_000],
        ["GET", "/slow/60", 0],
    ]
    client = lab.inside.play(http_programs.http_client, address=LOOPBACK, port=port, requests=requests)
    client.hear()
    client.say(1)
    answers = client.hear()
    client.say(None)
    client.end()
    wanted = [
        (method, path.partition("?")[0], status)
        for (method, path, _), (status, _, _) in zip(requests, answers, strict=True)
    ]
    snapshot = lab.watch.up_to_now()
    for end, side in ((client, "client"), (server, "server")):
        rows = rows_of(snapshot, end.pid)
        assert outline(rows) == wanted
        assert {(row.side, row.error, row.host) for row in rows} == {(side, None, LOOPBACK)}
        (connection,) = connections_of(snapshot, end)
        assert {row.connection_id for row in rows} == {connection.id}
        assert connection.requests is not None
        assert (connection.requests.side, connection.requests.count, connection.requests.failed) == (side, 10, 2)
        refused = sum(400 <= status < 500 for _, _, status in wanted)
        assert (connection.requests.failed_4xx, connection.requests.failed_5xx) == (refused, 2 - refused)
    assert "secret" not in repr(snapshot.requests)
    for row, (_, took_ms, _) in zip(rows_of(snapshot, client.pid), answers, strict=True):
        assert row.latency_ms is not None
        assert row.latency_ms <= took_ms
    slow = rows_of(snapshot, client.pid)[-1]
    assert slow.latency_ms is not None
    assert slow.latency_ms >= 60
    assert process_of(snapshot, server).requests.served.count == 10


def test_connections_older_than_nettop(lab: Lab) -> None:
    lab.older.client.say(1)
    lab.older.client.hear()
    snapshot = lab.watch.up_to_now()
    for end in (lab.older.client, lab.older.server):
        assert outline(rows_of(snapshot, end.pid)) == [("GET", "/older", 200)]


@pytest.mark.parametrize(
    ("pieces", "paths"),
    [
        ([OK_GET.format("/p1") + OK_GET.format("/p2") + OK_GET.format("/p3")], ["/p1", "/p2", "/p3"]),
        ([OK_GET.format("/q1"), OK_GET.format("/q2"), OK_GET.format("/q3")], ["/q1", "/q2", "/q3"]),
        (["GE", "T /tiny HT", "TP/1.1\r\nHost: raw.test\r\n\r\n"], ["/tiny"]),
        (["GET /split HTTP/1.1\r\n", "Host: raw.te", "st\r\n\r\n"], ["/split"]),
        (["PROPFIND /dav HTTP/1.1\r\nHost: raw.test\r\n\r\n"], ["/dav"]),
    ],
    ids=["sharing a segment", "in segments of their own", "of a few bytes", "split in a header", "unusual"],
)
def test_heads_in_pieces(lab: Lab, pieces: list[str], paths: list[str]) -> None:
    server, port, _ = lab.server()
    client = lab.inside.play(http_programs.http_pieces, address=LOOPBACK, port=port, pieces=pieces, answers=len(paths))
    assert client.hear() == len(paths)
    client.end()
    snapshot = lab.watch.up_to_now()
    for end in (client, server):
        rows = rows_of(snapshot, end.pid)
        assert [(row.path, row.status) for row in rows] == [(path, 200) for path in paths]
        assert connections_of(snapshot, end)[-1].requests.count == len(paths)  # type: ignore[union-attr]
    assert rows_of(snapshot, client.pid)[0].host in ("raw.test", None)


def test_workers_answer_for_themselves(lab: Lab) -> None:
    _, port, workers = lab.server(workers=3)
    answered: list[tuple[int, int]] = []
    for number in range(12):
        requests = [["GET", f"/worker/{number}", 0]]
        client = lab.inside.play(http_programs.http_client, address=LOOPBACK, port=port, requests=requests)
        client.hear()
        client.say(1)
        ((_, _, pid),) = client.hear()
        client.say(None)
        client.end()
        answered.append((pid, number))
    snapshot = lab.watch.up_to_now()
    found = [(row.pid, int(str(row.path).rpartition("/")[2])) for pid in workers for row in rows_of(snapshot, pid)]
    assert sorted(found) == sorted(answered)


def test_deferred_accept(lab: Lab) -> None:
    server, port, _ = lab.server(deferred=True)
    client = lab.inside.play(
        http_programs.http_pieces, address=LOOPBACK, port=port, pieces=[OK_GET.format("/deferred")], answers=1
    )
    client.hear()
    client.end()
    snapshot = lab.watch.up_to_now()
    for end in (client, server):
        assert outline(rows_of(snapshot, end.pid)) == [("GET", "/deferred", 200)]


def answer(status: int) -> str:
    return f"HTTP/1.1 {status} As asked\r\nContent-Length: 0\r\n\r\n"


def scripted(lab: Lab, server_steps: list[Any], client_steps: list[Any], **both: Any) -> tuple[Program, Program]:
    """Both ends once they have ended: what each says after how many heads of the other."""
    port = next(_ports)
    server = lab.inside.play(http_programs.http_script_server, address=LOOPBACK, port=port, steps=server_steps, **both)
    assert server.hear() == "listening"
    client = lab.inside.play(http_programs.http_script_client, address=LOOPBACK, port=port, steps=client_steps, **both)
    assert client.hear() == "done"
    client.end()
    server.end()
    return client, server


@pytest.mark.parametrize(
    ("ask", "status", "path"),
    [("CONNECT inside.test:80 HTTP/1.1\r\n\r\n", 200, None), (OK_GET.format("/socket"), 101, "/socket")],
    ids=["CONNECT", "101"],
)
def test_what_passes_a_tunnel_is_none_of_its_requests(lab: Lab, ask: str, status: int, path: str | None) -> None:
    ends = scripted(
        lab,
        [[1, f"HTTP/1.1 {status} Tunnel\r\n\r\n"], [1, answer(500)], [1, answer(500)]],
        [[1, ask], [1, OK_GET.format("/inside")], [1, OK_GET.format("/inside")]],
    )
    snapshot = lab.watch.up_to_now()
    for end in ends:
        assert outline(rows_of(snapshot, end.pid)) == [(ask.partition(" ")[0], path, status)]
        assert [row.requests.count for row in connections_of(snapshot, end) if row.requests] == [1]


def test_answers_that_share_a_segment(lab: Lab) -> None:
    """What comes after them belongs to what was asked after them."""
    statuses = [200, 404, 302, 503, 200]
    ends = scripted(
        lab,
        [[5, "".join(map(answer, statuses))], [1, answer(201)]],
        [[5, "".join(OK_GET.format(f"/{number}") for number in range(5))], [1, OK_GET.format("/5")]],
    )
    snapshot = lab.watch.up_to_now()
    for end in ends:
        rows = rows_of(snapshot, end.pid)
        assert [(row.path, row.status) for row in rows] == [(f"/{n}", s) for n, s in enumerate([*statuses, 201])]
        (connection,) = connections_of(snapshot, end)
        assert connection.requests is not None
        assert (connection.requests.count, connection.requests.failed) == (6, 2)
        assert connection.requests.failed_4xx == sum(400 <= status < 500 for status in statuses)
        assert connection.requests.failed_5xx == sum(status >= 500 for status in statuses)


def test_fast_open(lab: Lab) -> None:
    lab.inside.sysctl("net.ipv4.tcp_fastopen", 0x207)  # both ends, and without a cookie
    try:
        ends = scripted(
            lab,
            [[1, answer(201)], [1, answer(404)]],
            [[1, OK_GET.format("/with-syn")], [1, OK_GET.format("/later")]],
            fast_open=True,
        )
    finally:
        lab.inside.sysctl("net.ipv4.tcp_fastopen", 1)
    snapshot = lab.watch.up_to_now()
    for end in ends:
        assert outline(rows_of(snapshot, end.pid)) == [("GET", "/with-syn", 201), ("GET", "/later", 404)]


def test_a_listener_that_does_not_take_what_comes_with_the_syn(lab: Lab) -> None:
    lab.inside.sysctl("net.ipv4.tcp_fastopen", 0x5)  # clients only
    try:
        server, port, _ = lab.server()
        client = lab.inside.play(
            http_programs.http_script_client, address=LOOPBACK, port=port, steps=[[1, OK_GET.format("/again")]],
            fast_open=True,
        )  # fmt: skip
        assert client.hear() == "done"
        client.end()
    finally:
        lab.inside.sysctl("net.ipv4.tcp_fastopen", 1)
    snapshot = lab.watch.up_to_now()
    for end in (client, server):
        assert outline(rows_of(snapshot, end.pid)) == [("GET", "/again", 200)]


def test_what_is_sent_again_is_the_same_request(lab: Lab) -> None:
    server, port, _ = lab.server()
    client = lab.inside.play(
        http_programs.http_client, address=LOOPBACK, port=port, requests=[["GET", "/again", 0], ["GET", "/last", 0]]
    )
    assert client.hear() == "connected"
    # the client hears nothing: it sends its request again, and the server its answer
    lab.inside.nft(DEAF.format(port=port))
    client.say(1)
    lab.watch.until(
        lambda snapshot: all(any(row.retransmits for row in connections_of(snapshot, end)) for end in (client, server)),
        "retransmissions of both",
    )
    lab.inside.nft("delete table inet deaf")
    assert [status for status, _, _ in client.hear()] == [200, 200]
    client.say(None)
    client.end()
    snapshot = lab.watch.up_to_now()
    for end in (client, server):
        assert outline(rows_of(snapshot, end.pid)) == [("GET", "/again", 200), ("GET", "/last", 200)]
        assert [row.requests.count for row in connections_of(snapshot, end) if row.requests] == [2]


def test_a_request_without_an_answer_fails(lab: Lab) -> None:
    _, port, _ = lab.server()
    client = lab.inside.play(http_programs.http_in_vain, address=LOOPBACK, port=port, path="/abort")
    assert client.hear() == "reset"
    client.end()
    snapshot = lab.watch.until(lambda s: any(row.error for row in rows_of(s, client.pid)), "the failure")
    (row,) = rows_of(snapshot, client.pid)
    assert (row.status, row.error, row.failed) == (None, "reset", True)


def test_a_request_that_is_sent_again(lab: Lab) -> None:
    server, port, _ = lab.server()
    client = lab.inside.play(http_programs.http_all_in_vain, address=LOOPBACK, port=port, path="/abort", connections=3)
    client.end()
    snapshot = lab.watch.up_to_now()
    first, second, third = rows_of(snapshot, client.pid)
    assert (first.retry_of, second.retry_of, third.retry_of) == (None, first.id, second.id)
    assert [row.retry_of for row in rows_of(snapshot, server.pid)] == [None] * 3
    snapshot = lab.watch.until(lambda s: process_of(s, client).requests.sent.retried == 2, "both in its totals")
    assert sorted(row.requests.retried for row in connections_of(snapshot, client) if row.requests) == [0, 1, 1]
    assert process_of(snapshot, server).requests.served.retried == 0
    assert {row.local_port for row in rows_of(snapshot, server.pid)} == {port}


def test_curl_expects_100_continue(lab: Lab) -> None:
    server, port, _ = lab.server()
    url = f"http://{LOOPBACK}:{port}/continued?key=secret"
    client = lab.inside.start(
        "curl", "-s", "-S", "-H", "Expect: 100-continue", "-H", "traceparent: 00-" + "a1" * 16 + "-" + "b2" * 8 + "-01",
        "-d", "x" * 5000, url,
    )  # fmt: skip
    assert client.end() == "ok\n"
    snapshot = lab.watch.up_to_now()
    for end in (client, server):
        (row,) = rows_of(snapshot, end.pid)
        assert (row.method, row.path, row.status, row.trace_id) == ("POST", "/continued", 200, "a1" * 16)


def test_nothing_is_looked_at_if_it_is_switched_off(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "NETTOP_REQUESTS_ENABLED", "false")
    with namespace(directory) as inside, Watch(directory, "--netns", str(inside.path)) as watch:
        _, port, _ = served(inside)
        client = inside.play(
            http_programs.http_pieces, address=LOOPBACK, port=port, pieces=[OK_GET.format("/off")], answers=1
        )
        client.hear()
        client.end()
        snapshot = watch.settled(client, connections=1)
        assert snapshot.requests == ()
        assert all(row.requests is None for row in snapshot.connections)
        watch.stop()


def test_only_what_is_in_scope_is_listed_and_counted(directory: Path) -> None:
    with namespace(directory) as inside:
        server, port, _ = served(inside)
        with Watch(directory, "--netns", str(inside.path), "--comm", "curl") as watch:
            client = inside.start("curl", "-s", "-S", *(f"http://{LOOPBACK}:{port}/{number}" for number in range(5)))
            client.end()
            snapshot = watch.settled(client, connections=1)
            assert [(row.comm, row.side, row.path) for row in snapshot.requests] == [
                ("curl", "client", f"/{number}") for number in range(5)
            ]
            assert process_of(snapshot, client).requests.sent.count == 5
            assert all(row.pid != server.pid for row in snapshot.processes)


SERVER = """
server {
    listen 127.0.0.1:%d deferred reuseport;
    location / { return 200 "HTTP/1.1 500 Not a head\r\n\r\nGET /not-a-head HTTP/1.1\r\n"; }
    location /files { alias %s; }
    location /gone { return 410; }
}
"""


def test_nginx_logs_what_is_listed(lab: Lab, tmp_path: Path) -> None:
    """Two workers, deferred accept, sendfile, bodies like heads, and answers to pipelined requests in one segment."""
    port = next(_ports)
    (tmp_path / "large").write_bytes(b"HTTP/1.1 200 OK\r\n\r\n" * 50_000)
    server = nginx(lab.inside, tmp_path, port, SERVER % (port, tmp_path))
    asked = ["/plain", "/gone/1", "/files/large", "/files/none", "/plain?key=secret", "/gone/2", "/files/large"]
    curl = ["curl", "-s", "-S", "-o", "/dev/null"]
    for _ in range(3):
        lab.inside.start(*curl, *(f"http://{LOOPBACK}:{port}{path}" for path in asked)).end()
    shared = "".join(OK_GET.format(path) for path in ("/gone/3", "/gone/4", "/gone/5"))
    steps = [[3, shared], [1, OK_GET.format("/gone/6")]]
    pipelining = lab.inside.play(http_programs.http_script_client, address=LOOPBACK, port=port, steps=steps)
    assert pipelining.hear() == "done"
    pipelining.end()
    log = tmp_path / "access.log"
    wait_until(lambda: log.read_text().count("\n") == 3 * len(asked) + 4, "what nginx says")
    snapshot = lab.watch.up_to_now()
    server.stop(signal.SIGTERM)
    told = sorted(line.split() for line in log.read_text().splitlines())
    workers = {int(pid) for pid, *_ in told}
    served_by = [row for row in snapshot.requests if row.pid in workers]
    assert sorted([str(row.pid), row.method, row.path, str(row.status)] for row in served_by) == told
    sent = [row for row in snapshot.requests if row.remote and row.remote.port == port and row.side == "client"]
    assert sorted((row.path, row.status) for row in sent) == sorted((row.path, row.status) for row in served_by)
