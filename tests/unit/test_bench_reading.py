"""How the benchmark reads what the tools of others say, and settles what was offered with what was seen."""

import json

import msgspec
import pytest

from nettop.model.events import LossesChanged
from nettop.model.rows import Connection, Losses, RemoteEndpoint
from tests import builders
from tests.bench.completeness import Score, rows_of, score_connections, score_dns
from tests.bench.traffic import Done, connection_number, read_dnsperf, read_h2load, read_iperf, read_wrk

DNSPERF = """
Statistics:

  Queries sent:         146242
  Queries completed:    146240 (100.00%)
  Queries lost:         2 (0.00%)

  Run time (s):         2.004038
  Queries per second:   72973.666168
"""


def test_dnsperf() -> None:
    assert read_dnsperf(DNSPERF, 7) == Done(per_s=72973.666168, offered=146_242, completed=146_240, pid=7)


def test_wrk() -> None:
    said = "  154321 requests in 3.00s, 22.52MB read\n{}Requests/sec:  51404.06\nTransfer/sec:      7.50MB\n"
    assert read_wrk(said.format("")) == Done(51404.06, 154321, 154321)
    with pytest.raises(AssertionError, match="timeout 7"):
        read_wrk(said.format("  Socket errors: connect 0, read 0, write 0, timeout 7\n"))


def test_h2load() -> None:
    said = (
        "finished in 3.00s, 88423.00 req/s, 3.12MB/s\n"
        "requests: 265269 total, 265309 started, 265269 done, 265260 succeeded, 9 failed, 9 errored, 0 timeout\n"
    )
    assert read_h2load(said, 7) == Done(88423.0, 265269, 265260, 7)


def test_iperf3() -> None:
    stream = {"end": {"sum_received": {"bits_per_second": 16.5e9}}}
    assert read_iperf(json.dumps(stream)) == Done(16.5)
    datagrams = {"end": {"sum": {"packets": 1_000, "lost_packets": 100, "seconds": 2.0, "bits_per_second": 1.0}}}
    assert read_iperf(json.dumps(datagrams)) == Done(450.0)


@pytest.mark.parametrize(
    ("address", "port", "number"),
    [
        ("127.1.0.0", 7000, 0),
        ("127.1.1.2", 7000, 258),
        ("127.0.0.1", 7000, None),  # the one that ends the server
        ("127.1.0.0", 7001, None),
        ("192.0.2.1", 7000, None),
        ("::1", 7000, None),
    ],
)
def test_the_number_of_a_connection_is_in_its_address(address: str, port: int, number: int | None) -> None:
    assert connection_number(address, port) == number


@pytest.mark.parametrize(
    ("seen", "ended", "reported", "silent"),
    [
        (100, 100, 0, 0),
        (90, 90, 10, 0),  # lost and said so
        (90, 90, 9, 1),
        (100, 98, 0, 2),  # rows that stay open without a report
        (100, 98, 2, 0),
        (90, 85, 10, 5),
        (90, 90, 25, 0),  # a query and its answer lost are one row and two reports
    ],
)
def test_what_is_missing_beyond_what_is_reported(seen: int, ended: int, reported: int, silent: int) -> None:
    assert Score(100, 100, seen, ended, reported).silent == silent


def test_a_query_that_was_never_answered_may_stay_open() -> None:
    assert Score(offered=100, ended_offered=97, seen=100, ended=97, reported=0).silent == 0


def _to(number: int, address: str, state: str) -> Connection:
    return builders.connection(id=number, remote=RemoteEndpoint(address=address, port=7000), state=state)


def test_a_recording_comes_to_the_last_row_of_each_id() -> None:
    losses = Losses(perf_buffer={"dns_events": 3, "tcp_events": 5}, missed_runs={"tcp_state": 1})
    told = [
        builders.told(builders.dns_query(id=1, qname="0.bench.test")),
        builders.told(builders.dns_query(id=1, qname="0.bench.test", status="answered")),
        builders.told(builders.dns_query(id=2, qname="elsewhere.test", status="answered")),
        builders.told(_to(1, "127.1.0.0", "established")),
        builders.told(_to(1, "127.1.0.0", "closed")),
        builders.told(_to(2, "127.1.0.1", "established")),
        builders.told(_to(3, "192.0.2.1", "closed")),
        LossesChanged(time=builders.BASE, losses=losses),
    ]
    rows = rows_of(map(msgspec.json.encode, told))
    assert score_dns(rows, Done(1.0, offered=2, completed=2)) == Score(2, 2, seen=1, ended=1, reported=3)
    assert score_connections(rows, Done(1.0, offered=2)) == Score(4, 4, seen=2, ended=1, reported=6)
