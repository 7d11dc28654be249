"""`nettop diagnose` on traffic that goes wrong, and where all is well."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft202012Validator
from msgspec.structs import replace

from nettop.export.schema import schemas
from nettop.model.rows import Request
from nettop.view.findings import findings
from tests.live import http_programs, programs
from tests.live.lab import NETTOP, PATIENCE_S, Namespace, Watch, attached, nettop, wait_until

LOOPBACK = "127.0.0.1"
CLOSED_PORT, TIMES = 7990, 4
WEB_PORT, WAITING_PORT, UNSEEN_PORT = 7991, 7992, 7993


@contextmanager
def diagnosed(where: Namespace, *scope: str) -> Iterator[dict[str, Any]]:
    """What `nettop diagnose` says of what happens meanwhile, once that is over."""
    command = [*NETTOP, "diagnose", "--netns", where.name, *scope, "--for", "600", "--json"]
    document: dict[str, Any] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            wait_until(lambda: process.poll() is not None or attached(process.pid), "nettop diagnose to attach")
            yield document
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 1
    document.update(json.loads(said))
    Draft202012Validator(schemas()["findings.schema.json"]).validate(document)


def test_connects_that_are_refused(quiet: Namespace) -> None:
    program = quiet.play(programs.fail_to_connect, addresses=["127.0.0.1"] * TIMES, port=CLOSED_PORT)
    assert program.hear() == "ready"
    with diagnosed(quiet) as document:
        program.say("go")
        assert len(program.hear()) == TIMES
    program.end()
    (finding,) = document["findings"]
    assert finding["sentence"].startswith(
        f"unlucky[{program.pid}]: {TIMES} connects to 127.0.0.1:{CLOSED_PORT} were refused in the last "
    )
    assert (finding["rule"], finding["table"]) == ("connect-fails", "connections")
    assert [row["end"] for row in finding["rows"]] == ["refused"] * TIMES


def test_requests_that_fail_take_long_and_get_no_response(quiet: Namespace) -> None:
    """Both ends are here: the server's rows prove it."""
    server = quiet.play(http_programs.http_server, address=LOOPBACK, port=WEB_PORT)
    assert server.hear() == "listening"
    paths = ["/status/500"] * 6 + ["/status/200"] * 14 + ["/"] * 20 + ["/slow/700"] * 5
    with diagnosed(quiet) as document:
        client = quiet.play(
            http_programs.http_client, address=LOOPBACK, port=WEB_PORT, requests=[["GET", path, 0] for path in paths]
        )
        assert client.hear() == "connected"
        client.say(1)
        assert len(client.hear()) == len(paths)
        client.say(None)
        client.end()
        quiet.play(
            http_programs.http_all_in_vain, address=LOOPBACK, port=WEB_PORT, path="/abort", connections=5
        ).end()  # fmt: skip
    server.stop()
    unanswered, failed, slow = document["findings"]
    assert [each["rule"] for each in document["findings"]] == ["no-response", "requests-fail", "requests-slow"]
    for finding, said, path in (
        (unanswered, "100 % of 5 requests GET /abort of ", "/abort"),
        (failed, "30 % of 20 requests GET /status/* failed (with 500) in the last ", "/status/500"),
        (slow, "100 % of 5 requests GET /slow/* took over 7", "/slow/700"),
    ):
        comm = finding["rows"][0]["comm"]
        assert finding["sentence"].startswith(f"{comm}[{server.pid}] :{WEB_PORT}: {said}")
        assert finding["table"] == "requests"
        assert {(row["pid"], row["side"], row["path"]) for row in finding["rows"]} == {(server.pid, "server", path)}
        assert len(finding["rows"]) == 5
    assert "got no response (reset) in the last " in unanswered["sentence"]


def test_of_a_server_that_is_not_watched_its_client_speaks(quiet: Namespace) -> None:
    server = quiet.play(http_programs.http_server, address=LOOPBACK, port=UNSEEN_PORT)
    assert server.hear() == "listening"
    requests = [["GET", path, 0] for path in ["/status/503"] * 6 + ["/status/404"] * 6]
    client = quiet.play(http_programs.http_client, address=LOOPBACK, port=UNSEEN_PORT, requests=requests)
    assert client.hear() == "connected"
    with diagnosed(quiet, "--pid", str(client.pid)) as document:
        client.say(1)
        assert len(client.hear()) == len(requests)
    server.stop()
    (finding,) = document["findings"]
    assert (
        f"[{client.pid}] to {LOOPBACK}:{UNSEEN_PORT}: 50 % of 12 requests GET /status/* failed (with 503)"
        in (finding["sentence"])
    )
    assert {(row["pid"], row["side"], row["status"]) for row in finding["rows"]} == {(client.pid, "client", 503)}


def test_a_request_that_waits(quiet: Namespace, directory: Path) -> None:
    """As it will look in 21 seconds: the connections under it say nothing besides."""
    server = quiet.play(http_programs.http_server, address=LOOPBACK, port=WAITING_PORT)
    assert server.hear() == "listening"
    with Watch(directory, "--netns", quiet.name) as watch:
        requests = [["GET", path, 0] for path in ("/slow/1", "/slow/600000")]
        client = quiet.play(http_programs.http_client, address=LOOPBACK, port=WAITING_PORT, requests=requests)
        assert client.hear() == "connected"
        client.say(1)
        watch.until(lambda seen: sum(row.pending for row in seen.requests) == 2, "both ends of the request")
        snapshot = watch.up_to_now()
    assert findings(snapshot) == []
    (finding,) = findings(replace(snapshot, captured_at=snapshot.captured_at + timedelta(seconds=21)))
    (row,) = finding.rows
    assert isinstance(row, Request)
    assert (finding.rule, row.pid, row.side, row.path) == ("response-overdue", server.pid, "server", "/slow/600000")
    assert f"[{server.pid}] :{WAITING_PORT} owes a response to 1 request GET /slow/* for 2" in finding.sentence


def test_all_is_well(quiet: Namespace) -> None:
    done = nettop("diagnose", "--netns", quiet.name, "--for", "0.5")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Nothing found on ")


def test_what_could_not_watch_found_nothing() -> None:
    done = nettop("diagnose", "--netns", "no-such-namespace", "--for", "1")
    assert (done.returncode, done.stdout) == (2, "")
