"""The recording that ships: whole, of nobody real, and with everything in it that a picture or a first look needs."""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from html import unescape
from importlib import resources
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema_rs import Draft202012Validator

from nettop.export.json import event_json
from nettop.model import rows
from nettop.model.events import AnyEvent
from nettop.model.store import replayed
from nettop.player import Player
from nettop.sources.input_file import InputFile
from nettop.sources.recording import read_events
from screenshots import make as pictures
from tests.demo.publish import BEGIN, HOST, strangers

PACKAGE = Path(str(resources.files("nettop")))
RECORDING = PACKAGE / "demo" / "demo.jsonl"
MAX_BYTES = 2_000_000  # it ships in every wheel, where it takes a tenth of that
# replay must not need bcc, which not every machine has
WITHOUT_BCC = "import sys; sys.modules['bcc'] = None; from nettop.cli.main import main; sys.exit(main(sys.argv[1:]))"


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((PACKAGE / "schema" / f"{name}.schema.json").read_text()))


def nettop(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", WITHOUT_BCC, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def events() -> Sequence[AnyEvent]:
    return list(read_events(RECORDING, partial=False))


@pytest.fixture(scope="module")
def snapshot() -> Any:
    run = nettop("replay", "--demo", "--snapshot")
    assert (run.returncode, run.stderr) == (0, "")
    document = json.loads(run.stdout)
    validator("snapshot").validate(document)
    return document


# The recording


def test_every_line_is_valid(events: Sequence[AnyEvent]) -> None:
    """As it is written today: the recording may lack fields that are newer than it is."""
    valid = validator("stream")
    for number, event in enumerate(events, 1):
        errors = [error.message for error in valid.iter_errors(json.loads(event_json(event)))]
        assert errors == [], f"line {number}"


def test_it_names_nobody_real(events: Sequence[AnyEvent]) -> None:
    assert strangers(events) == []


def test_it_is_small_and_a_minute_long(events: Sequence[AnyEvent]) -> None:
    assert RECORDING.stat().st_size < MAX_BYTES
    assert events[0].time == BEGIN
    assert timedelta(seconds=60) <= events[-1].time - BEGIN <= timedelta(seconds=90)


# What it shows


def test_the_host_is_made_up_and_nothing_is_missing(snapshot: Any) -> None:
    assert snapshot["host"] == {
        "name": HOST.name,
        "kernel": HOST.kernel,
        "arch": HOST.arch,
        "boot_id": HOST.boot_id,
        "id": None,
    }
    tables = [value for value in snapshot["losses"].values() if isinstance(value, dict)]
    assert not any(count for table in tables for count in table.values())


def test_dns_of_every_kind(snapshot: Any) -> None:
    queries = snapshot["dns"]
    assert {query["rcode"] for query in queries} == {"NOERROR", "NXDOMAIN", "SERVFAIL", None}
    assert {query["status"] for query in queries} >= {"answered", "timeout"}
    assert {query["qtype"] for query in queries} >= {"A", "AAAA", "HTTPS", "MX", "PTR", "TXT"}
    assert {query["transport"] for query in queries} == {"udp", "tcp"}
    assert any(query["truncated"] for query in queries)
    assert {query["attempts"] for query in queries if query["status"] == "answered"} >= {1, 3}
    chains = [[answer["type"] for answer in query["answers"]] for query in queries]
    assert ["CNAME", "CNAME", "A"] in chains


def test_connections_of_every_kind(snapshot: Any) -> None:
    connections = snapshot["connections"]
    unsent = {"no-route", "no-port", "denied", "rejected", "unsent"}  # told since later than the demo was recorded
    assert {connection["end"] for connection in connections} == {None, *get_args(rows.End)} - {"other"} - unsent
    assert {connection["direction"] for connection in connections} >= {"inbound", "outbound"}
    assert {connection["family"] for connection in connections} == {"ipv4", "ipv6"}
    assert {connection["owner"] for connection in connections} >= {"exact", "scanned"}
    assert any(connection["opened_before_start"] for connection in connections)
    assert any(connection["retransmits"] for connection in connections)
    assert any(connection["tx_bytes_per_s"] > 10_000 for connection in connections if connection["end"] is None)
    names = Counter(connection["remote"]["name"] for connection in connections)
    assert names["payments.example.net"] > 5


def test_a_slow_and_a_failed_request_whose_causes_are_there(snapshot: Any) -> None:
    """At each end of the host: what the web server passed on, what the application answered and asked others."""
    requests = snapshot["requests"]
    connections = {row["id"]: row for row in snapshot["connections"]}
    assert {(row["comm"], row["side"]) for row in requests} >= {
        ("nginx", "client"), ("api-server", "server"), ("api-server", "client"), ("curl", "client"),
    }  # fmt: skip
    searches = [row for row in requests if row["path"] in ("/search", "/products/_search")]
    slow = [row for row in searches if row["latency_ms"] > 600]
    assert sorted((row["comm"], row["side"]) for row in slow) == [
        ("api-server", "client"), ("api-server", "server"), ("nginx", "client"),
    ]  # fmt: skip
    again = {row["comm"]: connections[row["connection_id"]]["retransmits"] for row in slow if row["side"] == "client"}
    assert again["api-server"] > 1
    assert again["nginx"] == 0
    assert all(row["latency_ms"] < 500 for row in searches if row not in slow)
    failed = [row for row in requests if row["status"] == 502]
    assert {(row["comm"], row["side"], row["path"]) for row in failed} == {
        ("nginx", "client", "/checkout"), ("api-server", "server", "/checkout"),
    }  # fmt: skip
    assert len(failed) < sum(row["path"] == "/checkout" for row in requests)


def test_processes_of_every_kind(snapshot: Any) -> None:
    processes = snapshot["processes"]
    assert len({process["comm"] for process in processes}) > 10
    assert {process["user"] for process in processes} >= {"root", "www-data", "postgres", "nobody"}
    short = [process for process in processes if process["exited_at"] and process["comm"] in ("curl", "dig")]
    assert len(short) > 5
    assert all(process["cmdline"] and process["cgroup"] for process in processes)


# The command


def test_a_filter_applies_to_it() -> None:
    run = nettop("replay", "--demo", "--snapshot", "--filter", "dns:failed")
    assert run.returncode == 0
    queries = json.loads(run.stdout)["dns"]
    assert queries
    assert all(query["status"] == "timeout" or query["rcode"] != "NOERROR" for query in queries)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("replay",), "There is nothing to replay."),
        (("replay", "--demo", "file.jsonl"), "FILE and --demo cannot be combined"),
    ],
)
def test_file_or_demo(arguments: Sequence[str], sentence: str) -> None:
    run = nettop(*arguments, "--snapshot")
    assert run.returncode == 2
    assert run.stdout == ""
    assert sentence in run.stderr


def test_it_plays_faster_than_it_was_made(events: Sequence[AnyEvent]) -> None:
    player = Player(InputFile(RECORDING), speed=1024)
    begin = time.monotonic()
    while not player.finished:
        player.step(1.0)
    assert player.latest == replayed(events[:-1]).snapshot()  # the end comes some microseconds after the last tick
    assert time.monotonic() - begin < 30
    player.stop()


# The pictures


def differences(kept: str, now: str) -> str:
    """Where two pictures say something else, in a line; a diff of all their text would take minutes."""
    texts = [[unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)] for svg in (kept, now)]
    for one, other in zip_longest(*texts):
        if one != other:
            return f"{one!r} is now {other!r}"
    return "the text is the same"


@pytest.mark.parametrize("picture", pictures.PICTURES, ids=lambda picture: str(picture.name))
def test_a_picture_is_what_the_screen_shows_today(picture: pictures.Picture, events: Sequence[AnyEvent]) -> None:
    """Byte for byte, drawn in another process, on another day."""
    kept = pictures.HERE / f"{picture.name}.svg"
    svg = pictures.drawn(picture, events)
    same = svg == kept.read_text()
    assert same, f"{differences(kept.read_text(), svg)}: run 'make screenshots', and look at them"
    same = pictures.png(svg) == kept.with_suffix(".png").read_bytes()
    assert same, "the PNG is not that of the SVG: run 'make screenshots'"
    assert "http://" not in svg.replace("http://www.w3.org/", "")
    assert "https://" not in svg.replace("https://www.textualize.io", "")


def test_no_other_pictures_are_kept() -> None:
    kept = {path.name for path in pictures.HERE.iterdir() if path.suffix in (".svg", ".png")}
    assert kept == {f"{picture.name}{suffix}" for picture in pictures.PICTURES for suffix in (".svg", ".png")}
