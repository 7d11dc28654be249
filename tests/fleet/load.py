"""What many hosts cost their Prometheus: one server plays them, a real Prometheus scrapes them for a while.

    python -m tests.fleet.load TOOLS [--hosts 100] [--comms 60] [--interval 5] [--seconds 60]

TOOLS is where `make fleet` unpacked the programs. The pages are those of nettop, with counters that rise.
"""

import argparse
import gzip
import json
import os
import subprocess
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from nettop.export.openmetrics import CONTENT_TYPE, openmetrics
from nettop.metrics.counting import Counting
from tests.builders import answered, connection, identity, request, start, tick, told, udp_socket

PROMETHEUS_PORT = 19_090


def page(comms: int) -> list[tuple[str, float | None]]:
    """The lines of one host's page: what stands before a value, and the value; None: it has none."""
    counting = Counting()
    counting.apply(start())
    for number in range(comms):
        who: dict[str, Any] = {"pid": 10_000 + number, "comm": f"daemon-{number}", "id": number + 1}
        process = identity(unit=f"d{number}.service", pid=who["pid"], comm=who["comm"])
        carried = connection(tx_bytes=500, rx_bytes=9000, tx_packets=5, rx_packets=9, **who)
        flow = udp_socket(tx_bytes=50, rx_bytes=90, tx_packets=1, rx_packets=1, **who)
        for row in (process, carried, answered(**who), request(**who), flow):
            counting.apply(told(row))
    counting.apply(tick(1))
    lines: list[tuple[str, float | None]] = []
    for line in openmetrics(counting.series()).decode().splitlines():
        before, _, value = line.rpartition(" ")
        lines.append((line, None) if line.startswith("#") else (before, float(value)))
    return lines


class Hosts(ThreadingHTTPServer):
    """All hosts: each scrape finds counters that have risen."""

    daemon_threads = True

    def __init__(self, lines: list[tuple[str, float | None]]) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self._lines = lines
        self._made: dict[int, bytes] = {}

    def page(self, second: int) -> bytes:
        """Compressed, as nettop sends it; the same for all hosts of a second, so that making it costs little."""
        if second not in self._made:
            text = "".join(
                f"{before}\n" if value is None else f"{before} {value * second:g}\n" for before, value in self._lines
            )
            self._made = {second: gzip.compress(text.encode(), 1)}
        return self._made[second]


class _Page(BaseHTTPRequestHandler):
    server: Hosts

    def do_GET(self) -> None:
        body = self.server.page(int(time.monotonic()))
        self.send_response(200)
        for name, value in (("Type", CONTENT_TYPE), ("Encoding", "gzip"), ("Length", str(len(body)))):
            self.send_header(f"Content-{name}", value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def configuration(hosts: int, interval_s: int, port: int) -> str:
    """JSON is YAML."""
    return json.dumps(
        {
            "global": {"scrape_interval": f"{interval_s}s"},
            "scrape_configs": [
                {
                    "job_name": "nettop",
                    "static_configs": [{"targets": [f"host{number}:9469" for number in range(hosts)]}],
                    "relabel_configs": [
                        {"source_labels": ["__address__"], "target_label": "instance"},
                        {"target_label": "__address__", "replacement": f"127.0.0.1:{port}"},
                    ],
                }
            ],
        }
    )


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid: int | str = "self") -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def asked(query: str) -> float:
    url = f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/query?query={query}"
    with urllib.request.urlopen(url) as answer:
        result = json.load(answer)["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0


def measure(tools: Path, hosts: int, comms: int, interval_s: int, seconds: float) -> dict[str, float]:
    server = Hosts(page(comms))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "prometheus.yml").write_text(configuration(hosts, interval_s, server.server_port))
        command = (
            str(tools / "usr/bin/prometheus"), f"--config.file={home}/prometheus.yml",
            f"--storage.tsdb.path={home}/data", f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}",
        )  # fmt: skip
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                time.sleep(3 * interval_s)  # until every series is there
                first_s, before = time.monotonic(), cpu_s(process.pid)
                time.sleep(seconds)
                lasted_s, used_s = time.monotonic() - first_s, cpu_s(process.pid) - before
                scraped = asked("sum(scrape_samples_scraped)")
                found = {
                    "hosts": asked("sum(up)"),
                    "series_per_host": scraped / hosts,
                    "samples_per_s": scraped / interval_s,
                    "cpu_us_per_sample": used_s * 1e6 / (scraped / interval_s * lasted_s),
                    "rss_bytes_per_series": rss_bytes(process.pid) / scraped,
                    "page_bytes": float(len(server.page(1))),
                    "scrape_ms": asked("avg(scrape_duration_seconds)") * 1e3,
                }
            finally:
                process.terminate()
    server.shutdown()
    server.server_close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", type=Path)
    for name, default in (("hosts", 100), ("comms", 60), ("interval", 5), ("seconds", 60)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    found = measure(options.tools, options.hosts, options.comms, options.interval, options.seconds)
    for name, value in found.items():
        print(f"{name:>22} {value:,.1f}")  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
