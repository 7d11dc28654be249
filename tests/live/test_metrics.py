"""Metrics of known traffic: scraped while it goes on, in a file, and on standard output."""

import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_0_0_4

from tests.live import dns_server, http_programs, programs
from tests.live.conftest import Figures
from tests.live.lab import NETTOP, PATIENCE_S, Namespace, attached, namespace, nettop, wait_until

pytestmark = pytest.mark.live

PORT, UDP_PORT, WEB_PORT, SCRAPE_PORT = 7015, 7016, 7017, 9469
QUESTIONS, CONNECTIONS, DATAGRAMS, PAGES = 101, 53, 13, 7
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def served(directory: Path) -> Iterator[Namespace]:
    with namespace(directory) as inside:
        server = inside.play(programs.tcp_server, address="127.0.0.1", port=PORT)
        echo = inside.play(programs.udp_echo, address="127.0.0.1", port=UDP_PORT)
        names = inside.play(dns_server.serve, addresses=["127.0.0.1"])
        pages = inside.play(http_programs.http_server, address="127.0.0.1", port=WEB_PORT)
        said = (server.hear(), echo.hear(), names.hear(), pages.hear())
        assert said == ("listening", "bound", "serving", "listening")
        yield inside


def talk(inside: Namespace) -> None:
    questions = [[txid, f"n{txid}.test", 1] for txid in range(1, QUESTIONS + 1)]
    for program in (
        inside.play(programs.ask_udp, server="127.0.0.1", questions=questions),
        inside.play(programs.tcp_client, address="127.0.0.1", port=PORT, sizes=[[13, 17]] * CONNECTIONS),
        inside.play(programs.udp_client, address="127.0.0.1", port=UDP_PORT, sizes=[331] * DATAGRAMS),
        inside.play(programs.tcp_fail, address="127.0.0.1", port=7999),
    ):
        program.end()
    for _ in range(PAGES):
        inside.start("curl", "-s", f"http://127.0.0.1:{WEB_PORT}/there").end()


@contextmanager
def running(*arguments: str, inside: Namespace | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """`nettop metrics` for a long time, once it is attached; ended by SIGTERM if it has not ended before."""
    command = [*NETTOP, "metrics", *arguments]
    process = subprocess.Popen(
        command if inside is None else inside.inside(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        try:
            wait_until(lambda: attached(process.pid), "nettop to attach")
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
    assert process.returncode == 0


def read(text: str, older: bool = False) -> Samples:
    families = list((parse_0_0_4 if older else parse_openmetrics)(text))
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def total(samples: Samples, name: str, **labels: str) -> float:
    """Over all series that have these labels."""
    return sum(value for (one, has), value in samples.items() if one == name and has >= frozenset(labels.items()))


def scraped(inside: Namespace, *options: str) -> str:
    url = f"http://127.0.0.1:{SCRAPE_PORT}/metrics"
    return inside.start("curl", "-sf", "--retry", "20", "--retry-connrefused", *options, url).end()


def without_scrapes(samples: Samples) -> Samples:
    """Without what nettop itself answered."""
    return {key: value for key, value in samples.items() if ("comm", "nettop") not in key[1]}


def has_all(samples: Samples) -> bool:
    """What the tick tells last."""
    return (
        total(samples, "nettop_dns_answers_total") >= QUESTIONS
        and total(samples, "nettop_tcp_connections_opened_total", comm="talker", direction="outbound") >= CONNECTIONS
        and total(without_scrapes(samples), "nettop_request_duration_seconds_count", side="server") >= PAGES
        and total(samples, "nettop_process_network_io_bytes_total", transport="udp", direction="receive") >= 331
    )


def check(samples: Samples) -> None:
    io = "nettop_process_network_io_bytes_total"
    assert total(samples, io, comm="talker", transport="tcp", direction="transmit") == 13 * CONNECTIONS
    assert total(samples, io, comm="talker", transport="tcp", direction="receive") == 17 * CONNECTIONS
    assert total(samples, "nettop_tcp_connections_opened_total", comm="talker", direction="outbound") == CONNECTIONS
    assert total(samples, "nettop_tcp_connect_failures_total", reason="refused") == 1
    assert total(samples, "nettop_dns_queries_total") == QUESTIONS
    assert total(samples, "nettop_dns_answers_total", rcode="NOERROR") == QUESTIONS
    assert total(samples, "nettop_dns_lookup_duration_seconds_count") == QUESTIONS
    assert total(samples, "nettop_requests_total", side="server") == PAGES
    assert total(samples, "nettop_request_outcomes_total", side="server", status="2xx") == PAGES
    assert total(samples, "nettop_request_duration_seconds_bucket", side="server", le="+Inf") == PAGES
    assert not any(has & {("unit", "_other")} for _, has in samples)


def test_known_traffic_in_every_way(served: Namespace, tmp_path: Path) -> None:
    file = tmp_path / "nettop.prom"
    scope = ("--netns", served.name)
    with (
        running(*scope, "-o", str(file)) as publishes,
        running(*scope, "--for", "600") as writes,
        running(*scope, "--listen", f"127.0.0.1:{SCRAPE_PORT}", inside=served),
    ):
        talk(served)
        ours = Samples()

        def complete() -> bool:
            nonlocal ours
            ours = read(scraped(served, "-H", "Accept: application/openmetrics-text"))
            return has_all(ours)

        wait_until(complete, "all to be counted")
        check(without_scrapes(ours))
        older = read(scraped(served, "--compressed"), older=True)
        assert {name for name, _ in ours} <= {name for name, _ in older}
        wait_until(lambda: has_all(read(file.read_text(), older=True)), "the file to have all")
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
        first = file.stat().st_ino
        wait_until(lambda: file.stat().st_ino != first, "the file to be replaced")
        publishes.send_signal(signal.SIGTERM)
        writes.send_signal(signal.SIGTERM)
        written, _ = writes.communicate(timeout=PATIENCE_S)
        publishes.wait(PATIENCE_S)
    assert total(read(written.decode()), "nettop_dns_answers_total", rcode="NOERROR") == QUESTIONS
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_what_cannot_be_is_said_before_anything_is_watched(quiet: Namespace, tmp_path: Path) -> None:
    file = tmp_path / "there.prom"
    file.write_text("mine")
    for arguments, sentence in (
        (("-o", str(file)), "already exists"),
        (("-o", str(file), "--listen", "127.0.0.1:1"), "cannot be combined"),
        (("--listen", "localhost:9469"), "has no IP address"),
        (("--listen", "127.0.0.1"), "has no IP address"),
        (("--listen", "192.0.2.1:9469"), "cannot listen on 192.0.2.1 port 9469"),
        (("--series", "7"), "100"),
    ):
        done = nettop("metrics", "--netns", quiet.name, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert sentence in done.stderr
    assert file.read_text() == "mine"


def test_clients_that_say_nothing_keep_nobody_waiting(served: Namespace, figures: Figures) -> None:
    with running("--netns", served.name, "--listen", f"127.0.0.1:{SCRAPE_PORT}", inside=served) as process:
        silent = [served.play(programs.tcp_stay, address="127.0.0.1", port=SCRAPE_PORT, up=8, down=0) for _ in range(4)]
        started = time.monotonic()
        assert scraped(served).endswith("\n")
        figures.tell(f"a scrape beside 4 silent clients took {(time.monotonic() - started) * 1e3:.0f} ms")
        threads = list(Path(f"/proc/{process.pid}/task").iterdir())
        assert len(threads) == 1
        for program in silent:
            program.stop()
