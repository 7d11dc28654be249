"""The commands of docs/fleet.md as they stand there, on traffic of our own, and what the other side has afterwards."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.live.lab import Namespace, dnsmasq, namespace

pytestmark = pytest.mark.live

PAGE = Path(__file__).resolve().parents[2] / "docs" / "fleet.md"
PATIENCE_S = 120
MACHINE = Path("/etc/machine-id").read_text().strip()
WRAPPER = """#!/bin/sh
exec env LD_LIBRARY_PATH={libraries} {kcat} "$@" -v -v -X test.mock.num.brokers=1
"""
CLICKHOUSE = """#!{python}
import sys
from chdb.session import Session
query = sys.argv[sys.argv.index("-q") + 1]
before, _, form = query.partition(" FORMAT ")
assert sys.argv[1:3] == ["--date_time_input_format", "best_effort"]
rows = sys.stdin.read()
Session({home!r}).query(f"{{before}} SETTINGS date_time_input_format = 'best_effort' FORMAT {{form}} {{rows}}")
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def recipe(part: str) -> str:
    (found,) = (block for block in blocks("sh") if part in block)
    return found


@pytest.fixture(scope="module")
def busy(directory: Path) -> Iterator[Namespace]:
    """Somebody asks for a name that there is, and for one that there is not."""
    with namespace(directory) as inside:
        dnsmasq(inside, ["127.0.0.1"], "--local=/test/", "--host-record=there.test,192.0.2.10")
        dig = "dig @127.0.0.1 +tries=1"
        inside.start("sh", "-c", f"while {dig} there.test >/dev/null; do {dig} missing.test >/dev/null; done")
        yield inside


class Loki(BaseHTTPRequestHandler):
    """Takes what is pushed as Loki does: 204, or 400 if it is not of its form."""

    pushed: list[Any] = []  # noqa: RUF012 - of the class: there is one server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        good = self.path == "/loki/api/v1/push" and self.headers["Content-Type"] == "application/json"
        for stream in body["streams"]:
            good &= all(isinstance(value, str) for value in stream["stream"].values())
            good &= all(time.isdigit() and isinstance(line, str) for time, line in stream["values"])
        self.pushed.append(body)
        self.send_response(204 if good else 400)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def loki() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Loki)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def environment(busy: Namespace, tools: Path, tmp_path: Path) -> dict[str, str]:
    """Programs with stand-ins for what is elsewhere; nettop sees only this namespace."""
    libraries = next((tools.parent / "lib").glob("*-linux-gnu"))
    programs = {
        "sudo": '#!/bin/sh\nexec "$@"\n',
        "kcat": WRAPPER.format(libraries=libraries, kcat=tools / "kcat"),
        "clickhouse-client": CLICKHOUSE.format(python=sys.executable, home=str(tmp_path / "clickhouse")),
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "NETTOP_FILTER": f"netns:{busy.inode}", "HOME": str(tmp_path)}


def done(command: str, environment: dict[str, str], directory: Path) -> tuple[str, str]:
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], cwd=directory, env=environment, capture_output=True, text=True,
        check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr


def test_parquet(environment: dict[str, str], tmp_path: Path) -> None:
    output, _ = done(recipe("parquet"), environment, tmp_path)
    rows = [line.split(",") for line in output.splitlines() if line.startswith(os.uname().nodename)]
    assert {row[2] for row in rows} == {"there.test", "missing.test"}
    told = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert sum(int(row[3]) for row in rows) == sum(line["type"] == "dns" for line in told) > 10


def test_clickhouse(environment: dict[str, str], tmp_path: Path) -> None:
    session = pytest.importorskip("chdb.session")
    (table,) = blocks("sql")
    engine = session.Session(str(tmp_path / "clickhouse"))
    engine.query(table)
    engine.close()
    inserted = recipe("clickhouse-client")
    done(inserted, environment, tmp_path)
    engine = session.Session(str(tmp_path / "clickhouse"))
    asked = "SELECT host_id, qname, rcode, count() AS n, max(latency_ms) < 5000 AS sane FROM nettop_dns"
    text = str(engine.query(f"{asked} GROUP BY ALL ORDER BY ALL", "JSONEachRow"))
    rows = [json.loads(line) for line in text.splitlines()]
    assert {(row["host_id"], row["qname"], row["rcode"]) for row in rows if row["rcode"]} == {
        (MACHINE, "there.test", "NOERROR"), (MACHINE, "missing.test", "NXDOMAIN"),
    }  # fmt: skip
    assert all(row["sane"] for row in rows if row["rcode"])
    before = sum(int(row["n"]) for row in rows)
    assert before > 10
    engine.query("INSERT INTO nettop_dns SELECT * FROM nettop_dns")  # sent twice
    assert int(str(engine.query("SELECT count() FROM nettop_dns FINAL", "TSV"))) == before
    engine.close()


def test_kafka(environment: dict[str, str], tmp_path: Path) -> None:
    _, said = done(recipe("kcat"), environment, tmp_path)
    assert said.count("Message delivered") > 10


def test_loki(environment: dict[str, str], tmp_path: Path) -> None:
    started = datetime.now(UTC).timestamp()
    with loki() as port:
        (tmp_path / ".curlrc").write_text(f'connect-to = "loki.example:3100:127.0.0.1:{port}"\n')
        done(recipe("loki"), environment, tmp_path)
    (pushed,) = Loki.pushed
    streams = {stream["stream"]["type"]: stream for stream in pushed["streams"]}
    assert streams["dns"]["stream"] == {"job": "nettop", "host": os.uname().nodename, "type": "dns"}
    values = streams["dns"]["values"]
    assert len(values) > 10
    times = [int(time) / 1e9 for time, _ in values]
    assert times == sorted(times)
    assert all(started - 1 < time < started + PATIENCE_S for time in times)
    assert {json.loads(line)["dns"]["qname"] for _, line in values} == {"there.test", "missing.test"}
