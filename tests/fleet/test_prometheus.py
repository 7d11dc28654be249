"""Debian's Prometheus scrapes two nettops in two namespaces and answers; node_exporter serves the file of one."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.live import dns_server, programs
from tests.live.lab import FAR_IPV4, NEAR_IPV4, NETTOP, PATIENCE_S, Namespace, attached, two_namespaces, wait_until

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
PORT, PROMETHEUS_PORT, EXPORTER_PORT = 9469, 9090, 9100
QUESTIONS = {"near": 31, "far": 53}


@contextmanager
def running(inside: Namespace, *arguments: str) -> Iterator[None]:
    process = subprocess.Popen(inside.inside(*NETTOP, "metrics", "--netns", inside.name, *arguments))
    with process:
        try:
            wait_until(lambda: attached(process.pid), "nettop to attach")
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
    assert process.returncode == 0


def get(inside: Namespace, url: str) -> str:
    return inside.start("curl", "-s", "--retry", "40", "--retry-connrefused", "--retry-delay", "1", url).end()


def ask(inside: Namespace, questions: int) -> None:
    server = inside.play(dns_server.serve, addresses=["127.0.0.1"])
    assert server.hear() == "serving"
    asked = [[txid, f"n{txid}.test", 1] for txid in range(1, questions + 1)]
    inside.play(programs.ask_udp, server="127.0.0.1", questions=asked).end()
    server.stop()


def prometheus(inside: Namespace, tools: Path, home: Path, targets: list[str]) -> None:
    """With the configuration that docs/fleet.md shows, but for the hosts and the interval."""
    (shown,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "fleet.md").read_text(), re.DOTALL)
    config, replaced = re.subn(r"targets: \[.*\]", f"targets: {json.dumps(targets)}", shown)
    assert replaced == 1
    (home / "prometheus.yml").write_text(
        config.replace("scrape_interval: 15s", "scrape_interval: 1s\n    scrape_timeout: 1s")
    )
    shutil.copy(ROOT / "nettop" / "share" / "alerts.yml", home)
    inside.start(
        str(tools / "prometheus"), f"--config.file={home / 'prometheus.yml'}", f"--storage.tsdb.path={home / 'data'}",
        f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}",
    )  # fmt: skip


def result_of(inside: Namespace, query: str) -> dict[str, float]:
    """By instance."""
    said = get(inside, f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/query?query={quote(query)}")
    try:
        found: Any = json.loads(said)["data"]["result"]
    except (ValueError, KeyError):  # it starts
        return {}
    return {each["metric"].get("instance", ""): float(each["value"][1]) for each in found}


def test_prometheus_scrapes_two_hosts(directory: Path, tools: Path, tmp_path: Path) -> None:
    with two_namespaces(directory) as (near, far), ExitStack() as stack:
        addresses = {"near": f"{NEAR_IPV4}:{PORT}", "far": f"{FAR_IPV4}:{PORT}"}
        for side, inside in (("near", near), ("far", far)):
            stack.enter_context(running(inside, "--listen", addresses[side]))
        prometheus(near, tools, tmp_path, list(addresses.values()))
        for side, inside in (("near", near), ("far", far)):
            ask(inside, QUESTIONS[side])
        wanted = {addresses[side]: float(number) for side, number in QUESTIONS.items()}
        answers = 'sum by (instance) (nettop_dns_answers_total{comm="asker",rcode="NOERROR"})'
        wait_until(lambda: result_of(near, answers) == wanted, "Prometheus to have all answers")
        assert result_of(near, 'up{job="nettop"}') == dict.fromkeys(wanted, 1.0)
        quantile = "histogram_quantile(0.99, sum by (instance, le) (nettop_dns_lookup_duration_seconds_bucket))"
        slowest = result_of(near, quantile)
        assert set(slowest) == set(wanted)
        assert all(0 < seconds <= 10 for seconds in slowest.values())
        metadata = json.loads(get(near, f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/metadata"))["data"]
        assert metadata["nettop_process_network_io_bytes"][0]["type"] == "counter"
        assert metadata["nettop_process_network_io_bytes"][0]["unit"] == "bytes"
        rules = json.loads(get(near, f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/rules"))["data"]["groups"][0]["rules"]
        assert len(rules) == 12
        assert {rule["health"] for rule in rules} <= {"ok", "unknown"}


def test_node_exporter_serves_the_file(directory: Path, tools: Path, tmp_path: Path) -> None:
    with (
        two_namespaces(directory) as (near, _),
        running(near, "-o", str(tmp_path / "nettop.prom"), "--interval", "0.5"),
    ):
        near.start(
            str(tools / "prometheus-node-exporter"), "--collector.disable-defaults", "--collector.textfile",
            f"--collector.textfile.directory={tmp_path}", f"--web.listen-address=127.0.0.1:{EXPORTER_PORT}",
        )  # fmt: skip
        ask(near, QUESTIONS["near"])
        url = f"http://127.0.0.1:{EXPORTER_PORT}/metrics"
        wait_until(
            lambda: f'rcode="NOERROR",unit=""}} {QUESTIONS["near"]}\n' in get(near, url), "the exporter to have all"
        )
        families = {family.name: family for family in text_string_to_metric_families(get(near, url))}
        assert [sample.value for sample in families["node_textfile_scrape_error"].samples] == [0]
        assert families["nettop_dns_queries"].type == "counter"
        assert families["nettop_dns_lookup_duration_seconds"].type == "histogram"
        assert families["nettop_dns_queries"].documentation == "DNS queries that the process asked."
        assert "nettop.prom" in str(families["node_textfile_mtime_seconds"].samples)
