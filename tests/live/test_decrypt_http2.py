"""HTTP/2 and gRPC inside TLS (--decrypt) by real programs: both ends of each request, and nothing of a body."""

import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from nettop.model.rows import Request
from nettop.model.snapshot import Snapshot
from tests.live import https2_programs, https_programs
from tests.live.decrypt_lab import ADDRESS, HTTP2_PORT, Lab, decrypt_lab, joins, of, serve
from tests.live.lab import Program, listens, namespace, wait_until
from tests.live.test_floods import REQUESTS_AT_ONCE, watched

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: uprobes")]

URL = f"https://{ADDRESS}:{HTTP2_PORT}"
WAITING_PORT, NGHTTPD_PORT = 8480, 8481


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with decrypt_lab(directory) as made:
        yield made


def served(lab: Lab, snapshot: Snapshot) -> tuple[list[list[str]], list[Request]]:
    """What nginx logged of HTTP/2, and the rows of its workers."""
    lines = (lab.folder / "access.log").read_text().splitlines()
    workers = {int(line.split()[0]) for line in lines}
    return [line.split() for line in lines], [row for row in snapshot.requests if row.pid in workers]


def test_curl_and_nginx(lab: Lab) -> None:
    """Rows of both ends, as each of them saw it."""
    program = lab.inside.start("curl", "-sk", "--http2", f"{URL}/cart?token=1", f"{URL}/missing")
    program.end()
    snapshot, rows = lab.answered(program, 2)
    assert [(row.comm, row.side, row.method, row.host, row.path, row.status, row.protocol) for row in rows] == [
        ("curl", "client", "GET", ADDRESS, "/cart", 200, "h2"),
        ("curl", "client", "GET", ADDRESS, "/missing", 404, "h2"),
    ]
    assert all(row.decrypted and not row.partial and row.error is None for row in rows)
    assert [(row.request_bytes, row.response_bytes) for row in rows] == [(0, 3), (0, 153)]
    (connection,) = [row for row in snapshot.connections if row.id == rows[0].connection_id]
    assert (connection.pid, connection.remote.port) == (program.pid, HTTP2_PORT)
    assert connection.requests is not None
    assert (connection.requests.side, connection.requests.count, connection.requests.unlisted) == ("client", 2, 0)
    assert (connection.requests.failed, connection.requests.failed_4xx) == (1, 1)
    assert {row.connection_id for row in rows} == {connection.id}
    answered = [row for row in snapshot.requests if row.side == "server" and row.remote]
    own = [row for row in answered if row.remote and row.remote.port == rows[0].local_port]
    assert [(row.comm, row.path, row.status, row.local_port) for row in own] == [
        ("nginx", "/cart", 200, HTTP2_PORT), ("nginx", "/missing", 404, HTTP2_PORT),
    ]  # fmt: skip
    for asked, answer in zip(rows, own, strict=True):
        assert asked.latency_ms is not None
        assert answer.latency_ms is not None
        assert asked.latency_ms >= answer.latency_ms


@pytest.mark.parametrize("piece", [0, 7], ids=["whole", "in-pieces"])
def test_many_connections_of_one_thread(lab: Lab, piece: int) -> None:
    """Their calls interleave, and each has tables of its own: none may be taken for another's."""
    program = lab.inside.play(
        https2_programs.one_thread, address=ADDRESS, port=HTTP2_PORT, connections=30, requests=9, piece=piece
    )
    check_each(lab, program, 270)


def test_connections_one_after_the_other(lab: Lab) -> None:
    """Each has the address in memory of the one before, and often the file descriptor."""
    program = lab.inside.play(
        https2_programs.one_after_the_other, address=ADDRESS, port=HTTP2_PORT, connections=60, requests=3
    )
    check_each(lab, program, 180)


def check_each(lab: Lab, program: Program, number: int) -> None:
    """Every request of the client, and every one that nginx logged, has its row, on the right connection."""
    assert program.hear() == "done"
    program.end()
    snapshot, rows = lab.answered(program, number)
    assert joins(snapshot, rows) == {"right": number}
    assert {(row.status, row.error, row.decrypted, row.protocol, row.partial) for row in rows} == {
        (200, None, True, "h2", False)
    }
    assert len({(row.connection_id, row.path) for row in rows}) == number
    paths = {row.path for row in rows}
    logged, rows_of_workers = served(lab, snapshot)
    own = [row for row in rows_of_workers if row.path in paths]
    assert joins(snapshot, own) == {"right": number}
    assert Counter((str(row.pid), row.method, row.path, str(row.status)) for row in own) == Counter(
        (pid, method, path, status) for pid, _, method, path, status in logged if path in paths
    )


def test_many_streams_at_once(lab: Lab, tmp_path: Path) -> None:
    """nghttp and nghttpd: bodies that are full of frames, and streams that are answered out of order."""
    (tmp_path / "frames").write_bytes(https2_programs.LIKE_A_HEAD * 60_000)
    (tmp_path / "small").write_bytes(b"small")
    pem = str(lab.certificate)
    server = lab.inside.start("nghttpd", "-d", str(tmp_path), str(NGHTTPD_PORT), pem, pem)
    wait_until(lambda: listens(server, NGHTTPD_PORT), "nghttpd")
    paths = [f"/{name}" for name in ("frames", "small", "none")] * 10
    urls = (f"https://{ADDRESS}:{NGHTTPD_PORT}{path}" for path in paths)
    client = lab.inside.start("nghttp", "-n", "-s", "--no-verify-peer", *urls)
    said = re.findall(r"^ +\d+ +\S+ +\+?(\S+) +\S+ +(\d+) +\S+ (/\S*)$", client.end(), re.MULTILINE)
    asked = sorted((path, int(status)) for _, status, path in said)
    assert len(asked) >= 3
    snapshot, _ = lab.answered(client, len(asked))
    server.stop(signal.SIGTERM)
    for end in (client, server):
        assert sorted((row.path, row.status) for row in of(snapshot, end)) == asked


FLOOD, STREAMS = 40_000, 100


def test_a_flood_is_counted_and_some_of_it_listed(lab: Lab, directory: Path) -> None:
    """Each path has a status of its own, which is known without a table."""
    with (
        namespace(directory) as outside,
        serve(outside, directory / "flood", lab.certificate),
        watched(outside, decrypt=True) as watching,
    ):
        urls = (f"{URL}/flood", f"{URL}/missing")
        client = outside.start("h2load", f"-n{FLOOD}", "-c2", f"-m{STREAMS}", *urls)
        watching.until_ended(client)
        watching.until(
            lambda snapshot: all(row.end for row in snapshot.connections), "nginx, which ends after its client"
        )
        snapshot = watching.finish()
        assert f"{FLOOD // 2} 2xx, 0 3xx, {FLOOD // 2} 4xx" in client.end()
    for side in ("client", "server"):
        rows = [row for row in snapshot.requests if row.side == side]
        spoken = [row.requests for row in snapshot.connections if row.requests and row.requests.side == side]
        assert REQUESTS_AT_ONCE / 2 <= len(rows) < FLOOD / 4
        assert {each.partial for each in spoken} == {True}
        assert sum(each.count - each.unlisted for each in spoken) == len(rows)
        if side == "server":  # nginx ends its session of TLS before the connection, which tells how many there were
            assert [each.count for each in spoken] == [FLOOD // 2] * 2
        else:
            assert all(0 < each.count <= FLOOD // 2 for each in spoken)
        assert {row.path for row in rows} <= {"/flood", "/missing", "?"}
        known = {(row.path, row.status) for row in rows if row.status is not None and row.path != "?"}
        assert known == {("/flood", 200), ("/missing", 404)}
    assert snapshot.losses.unlisted["requests"] == 2 * FLOOD - len(snapshot.requests)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_node_and_the_status_of_grpc(lab: Lab) -> None:
    script = str(Path(__file__).with_name("https2.js"))
    program = lab.inside.start("node", script, str(lab.certificate), "4", "10")
    assert program.hear() == "done"
    program.end()
    _, rows = lab.answered(program, 80)
    wanted = {
        (side, "grpc", "POST", "/shop.Cart/Fail5" if number % 2 else f"/shop.Cart/Add{number}", 200, 5 * (number % 2))
        for side in ("client", "server")
        for number in range(10)
    }
    assert {(row.side, row.protocol, row.method, row.path, row.status, row.grpc_status) for row in rows} == wanted
    assert Counter(row.side for row in rows) == {"client": 40, "server": 40}
    assert {(row.error, row.partial, row.decrypted) for row in rows} == {(None, False, True)}


def test_a_request_that_waits_one_that_is_cancelled_and_a_server_that_hangs_up(lab: Lab) -> None:
    server = lab.inside.play(
        https_programs.silent_server, address=ADDRESS, port=WAITING_PORT, certificate=str(lab.certificate)
    )
    assert server.hear() == "listening"
    program = lab.inside.play(https2_programs.waits, address=ADDRESS, port=WAITING_PORT)
    assert (program.hear(), server.hear()) == ("asked", "asked")
    snapshot = lab.watch.until(
        lambda each: [row.error for row in of(each, program)] == [None, "cancelled"], "what became of both"
    )
    assert {(row.status, row.latency_ms) for row in of(snapshot, program)} == {(None, None)}
    server.say("hang up")
    server.end()
    program.say("go")
    program.end()
    snapshot = lab.watch.until(
        lambda each: all(row.error for row in of(each, program)), "the end of the one that waits"
    )
    first, _ = of(snapshot, program)
    assert first.error in ("closed", "reset")


def test_no_secret_is_kept(lab: Lab) -> None:
    program = lab.inside.play(https2_programs.one_thread, address=ADDRESS, port=HTTP2_PORT, connections=1, requests=4)
    assert program.hear() == "done"
    program.end()
    lab.answered(program, 4)
    recorded = lab.watch.recording.read_bytes()
    assert b'/3"' in recorded
    assert b"must-not-keep" not in recorded


def test_all_sessions_were_followed(lab: Lab) -> None:
    """Those of the tests above."""
    snapshot = lab.watch.up_to_now()
    assert snapshot.decrypt_coverage is not None
    assert snapshot.decrypt_coverage.http2_sessions == 0


def test_a_session_of_which_something_was_missed_is_read_no_further(lab: Lab) -> None:
    def missed(snapshot: Snapshot) -> int:
        return 0 if snapshot.decrypt_coverage is None else snapshot.decrypt_coverage.http2_sessions

    program = lab.inside.play(https2_programs.sends_a_file, address=ADDRESS, port=HTTP2_PORT)
    program.end()
    snapshot = lab.watch.until(lambda each: missed(each) > 0, "the session to be counted")
    snapshot = lab.watch.up_to_now()
    assert missed(snapshot) == 1
    assert [(row.path or "").split("/")[3] for row in of(snapshot, program)] == ["0"]
    assert {(row.status, row.error) for row in of(snapshot, program)} == {(200, None)}
