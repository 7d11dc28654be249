"""What events add up to, and the text of it as Prometheus' own parsers read it."""

from collections.abc import Iterable
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_0_0_4

from nettop.export.openmetrics import openmetrics, prometheus_text
from nettop.metrics.counting import MAX_ENDED, MAX_TOLD, Counting
from nettop.metrics.families import BUCKETS_S, FAMILIES, Family
from nettop.metrics.labels import unit_label
from nettop.metrics.series import MIN_SERIES
from nettop.model import events, rows
from nettop.model.filter import Filter
from nettop.model.stream_filter import StreamFilter
from tests.builders import (
    BASE,
    a_recording,
    answered,
    at,
    connection,
    dns_query,
    identity,
    listener,
    other_socket,
    request,
    start,
    tick,
    told,
    udp_socket,
)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def counted(*told_events: events.AnyEvent, most_series: int = 1000) -> Counting:
    counting = Counting(most_series)
    for event in (start(), *told_events):
        counting.apply(event)
    return counting


def samples(counting: Counting) -> Samples:
    """What Prometheus' parser finds in the text, by name and labels; it refuses what is no OpenMetrics."""
    families = list(parse_openmetrics(openmetrics(counting.series()).decode()))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(counting: Counting, name: str, **labels: str) -> float | None:
    """Of curl, in no unit, unless the labels say otherwise."""
    wanted = tuple(sorted(({"unit": "", "comm": "curl"} | labels).items()))
    return samples(counting).get((name, wanted))


def test_both_parsers_read_everything_alike() -> None:
    counting = counted(*a_recording()[1:])
    newer = samples(counting)
    older = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_0_0_4(prometheus_text(counting.series()).decode())
        for sample in family.samples
    }
    assert older == newer
    assert len(newer) > 20
    assert openmetrics(counting.series()).endswith(b"\n# EOF\n")


def test_types_and_units_are_declared() -> None:
    read = {
        family.name: family for family in parse_openmetrics(openmetrics(counted(*a_recording()[1:]).series()).decode())
    }
    assert read["nettop_process_network_io_bytes"].type == "counter"
    assert read["nettop_process_network_io_bytes"].unit == "bytes"
    assert read["nettop_dns_lookup_duration_seconds"].type == "histogram"
    assert all(family.documentation for family in read.values())


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_no_label_has_no_bound(family: Family) -> None:
    assert not {"pid", "address", "host", "qname", "path", "remote"} & {*family.label_names}
    assert family.unit is None or family.name.endswith(f"_{family.unit}")
    assert family.others < MIN_SERIES // family.series_each


def test_bytes_are_what_was_carried_since_the_start() -> None:
    before = {"tx_bytes_before_start": 100, "rx_bytes_before_start": 1000, "opened_before_start": True}
    counting = counted(
        told(identity()),
        told(connection(tx_bytes=130, rx_bytes=1500, **before)),
        told(connection(tx_bytes=230, rx_bytes=1500, retransmits=3, **before), 2),
    )
    io = "nettop_process_network_io_bytes_total"
    assert value(counting, io, transport="tcp", direction="transmit") == 130
    assert value(counting, io, transport="tcp", direction="receive") == 500
    assert value(counting, "nettop_tcp_retransmits_total") == 3
    assert value(counting, "nettop_tcp_connections") == 1
    assert value(counting, "nettop_tcp_connections_opened_total", direction="outbound") is None


def test_a_connection_is_counted_once_however_often_it_is_told() -> None:
    closed = connection(state="closed", end="refused", connect_ms=None)
    counting = counted(told(identity()), told(connection()), told(connection(srtt_ms=3.0), 2), told(closed, 3))
    assert value(counting, "nettop_tcp_connections_opened_total", direction="outbound") == 1
    assert value(counting, "nettop_tcp_connections") == 0
    assert value(counting, "nettop_tcp_connections_ended_total", end="refused") == 1
    assert value(counting, "nettop_tcp_connect_failures_total", reason="refused") == 1


def test_what_a_wrong_owner_got_stays_and_the_gauge_moves() -> None:
    other = identity(pid=9, comm="wget")
    moved = connection(pid=9, comm="wget", tx_bytes=70)
    counting = counted(told(identity()), told(other), told(connection(tx_bytes=50)), told(moved, 2))
    io = {"transport": "tcp", "direction": "transmit"}
    assert value(counting, "nettop_process_network_io_bytes_total", **io) == 50
    assert value(counting, "nettop_process_network_io_bytes_total", comm="wget", **io) == 20
    assert value(counting, "nettop_tcp_connections") == 0
    assert value(counting, "nettop_tcp_connections", comm="wget") == 1


def test_a_count_that_sinks_is_not_counted_again() -> None:
    counting = counted(*(told(connection(tx_bytes=sent)) for sent in (100, 60, 100, 101)))
    sent = value(
        counting, "nettop_process_network_io_bytes_total", unit="_unknown", transport="tcp", direction="transmit"
    )
    assert sent == 101


def test_sockets_of_udp_and_others() -> None:
    counting = counted(
        told(identity()),
        told(udp_socket(tx_bytes=10, rx_bytes=20, rx_dropped=2)),
        told(udp_socket(tx_bytes=15, rx_bytes=20, rx_dropped=2, closed=True), 2),
        told(udp_socket(id=2, tx_bytes=1)),
        told(other_socket(tx_bytes=64, rx_bytes=32)),
        told(listener(drops=7, drops_before_start=5)),
    )
    io = "nettop_process_network_io_bytes_total"
    assert value(counting, io, transport="udp", direction="transmit") == 16
    assert value(counting, io, transport="other", direction="receive") == 32
    assert value(counting, "nettop_socket_receive_drops_total", transport="udp") == 2
    assert value(counting, "nettop_listen_drops_total", unit="_unknown", comm="nginx") == 2


def test_queries_by_answer() -> None:
    counting = counted(
        told(identity()),
        told(dns_query()),
        told(answered()),
        told(answered(id=2, rcode="NXDOMAIN", latency_ms=30.0)),
        told(dns_query(id=3)),
        told(dns_query(id=3, status="timeout")),
        told(dns_query(id=4, status="refused")),
    )
    assert value(counting, "nettop_dns_queries_total") == 4
    assert value(counting, "nettop_dns_answers_total", rcode="NOERROR") == 1
    assert value(counting, "nettop_dns_answers_total", rcode="NXDOMAIN") == 1
    assert value(counting, "nettop_dns_unanswered_total", reason="timeout") == 1
    assert value(counting, "nettop_dns_unanswered_total", reason="refused") == 1
    duration = "nettop_dns_lookup_duration_seconds"
    assert value(counting, f"{duration}_bucket", le="0.01") == 0
    assert value(counting, f"{duration}_bucket", le="0.025") == 1
    assert value(counting, f"{duration}_bucket", le="0.05") == 2
    assert value(counting, f"{duration}_bucket", le="+Inf") == value(counting, f"{duration}_count") == 2
    assert value(counting, f"{duration}_sum") == pytest.approx(0.0425)


def test_a_query_that_is_asked_again_times_out_once() -> None:
    """As a resolver asks that gives each attempt as long as nettop does."""
    timeout = dns_query(status="timeout")
    again = dns_query(attempts=2)
    counting = counted(told(identity()), told(dns_query()), told(timeout), told(again), told(timeout), told(answered()))
    assert value(counting, "nettop_dns_queries_total") == 1
    assert value(counting, "nettop_dns_unanswered_total", reason="timeout") == 1
    assert value(counting, "nettop_dns_answers_total", rcode="NOERROR") == 1


def test_an_answer_that_did_not_arrive_and_comes_again_counts_once() -> None:
    counting = counted(told(identity()), told(answered()), told(dns_query()), told(answered(rcode="SERVFAIL"), 2))
    assert value(counting, "nettop_dns_queries_total") == 1
    assert value(counting, "nettop_dns_answers_total", rcode="NOERROR") == 1
    assert value(counting, "nettop_dns_answers_total", rcode="SERVFAIL") is None


def test_queries_that_are_forgotten_are_not_counted_again() -> None:
    counting = counted(told(identity()), *(told(dns_query(id=number)) for number in range(1, MAX_TOLD + 11)))
    counting.apply(told(answered(id=10)))
    counting.apply(told(answered(id=11)))
    assert value(counting, "nettop_dns_queries_total") == MAX_TOLD + 10
    assert value(counting, "nettop_dns_answers_total", rcode="NOERROR") == 1


def test_a_slow_request_is_counted_however_many_came_meanwhile() -> None:
    pending = told(request(status=None, latency_ms=None))
    others = (told(request(id=number)) for number in range(2, MAX_TOLD + 12))
    counting = counted(told(identity()), pending, *others, told(request(status=504)), told(request(status=504)))
    counting.apply(told(request(id=2)))  # forgotten
    outcomes = "nettop_request_outcomes_total"
    assert value(counting, outcomes, side="client", protocol="http/1.1", status="5xx") == 1
    assert value(counting, outcomes, side="client", protocol="http/1.1", status="2xx") == MAX_TOLD + 10


def test_requests_of_connections_and_of_rows() -> None:
    of_connection = rows.ConnectionRequests(side="client", count=5, failed=3, failed_4xx=1, failed_5xx=1)
    counting = counted(
        told(identity()),
        told(connection()),
        told(connection(requests=of_connection), 2),
        told(request(status=None, latency_ms=None)),
        told(request(status=503, latency_ms=2000.0)),
        told(request(status=503, latency_ms=2000.0, response_bytes=3)),
        told(request(id=2, protocol="grpc")),
        told(request(id=2, protocol="grpc", grpc_status=14)),
        told(request(id=3, protocol="redis", status=None)),
    )
    assert value(counting, "nettop_requests_total", side="client") == 5
    failed = "nettop_requests_failed_total"
    assert [value(counting, failed, side="client", status=status) for status in ("4xx", "5xx", "other")] == [1, 1, 1]
    outcomes = "nettop_request_outcomes_total"
    assert value(counting, outcomes, side="client", protocol="http/1.1", status="5xx") == 1
    assert value(counting, outcomes, side="client", protocol="grpc", status="grpc-error") == 1
    assert value(counting, outcomes, side="client", protocol="redis", status="ok") == 1
    bucket = "nettop_request_duration_seconds_bucket"
    assert value(counting, bucket, side="client", protocol="http/1.1", le="1.0") == 0
    assert value(counting, bucket, side="client", protocol="http/1.1", le="2.5") == 1


def of_curl(**counts: Any) -> dict[str, Any]:
    curl = identity()
    return {"pid": curl.pid, "process_start_time": curl.start_time, **counts}


def test_what_has_no_row_is_counted_too() -> None:
    without_row = rows.Unlisted(
        **of_curl(queries=10, answered=8, failed=3, opened=4, tcp_tx_bytes=99, failed_connects=1, served=6),
        served_failed=2,
    )
    counting = counted(told(identity()), events.Unlisted(time=at(1), unlisted=without_row))
    assert value(counting, "nettop_dns_queries_total") == 10
    assert value(counting, "nettop_dns_answers_total", rcode="NOERROR") == 5
    assert value(counting, "nettop_dns_answers_total", rcode="failed") == 3
    assert value(counting, "nettop_tcp_connections_opened_total", direction="outbound") == 4
    assert value(counting, "nettop_tcp_connect_failures_total", reason="_unknown") == 1
    assert value(counting, "nettop_process_network_io_bytes_total", transport="tcp", direction="transmit") == 99
    assert value(counting, "nettop_requests_total", side="server") == 6
    assert value(counting, "nettop_requests_failed_total", side="server", status="other") == 2


def test_drops_and_resets_with_and_without_an_owner() -> None:
    of_nobody = rows.Dropped(pid=None, process_start_time=None, netns=1, remote="192.0.2.1", drops={"NO_SOCKET": 2})
    of_process = rows.Dropped(**of_curl(netns=1, drops={"TCP_RESET": 1}, resets_received=4))
    counting = counted(
        told(identity()), events.Dropped(time=at(1), dropped=of_nobody), events.Dropped(time=at(1), dropped=of_process)
    )
    drops = "nettop_packet_drops_total"
    assert value(counting, drops, unit="_unknown", comm="_unknown", reason="NO_SOCKET") == 2
    assert value(counting, drops, reason="TCP_RESET") == 1
    assert value(counting, "nettop_tcp_resets_received_total") == 4


def test_losses_do_not_go_back() -> None:
    def lost(number: int) -> events.AnyEvent:
        return events.LossesChanged(time=at(1), losses=rows.Losses(perf_buffer={"dns_events": number}, dns_unasked=1))

    counting = counted(lost(7), lost(5))
    read = samples(counting)
    assert read["nettop_losses_total", (("kind", "perf_buffer"), ("where", "dns_events"))] == 7
    assert read["nettop_losses_total", (("kind", "dns_unasked"), ("where", ""))] == 1


def test_what_says_of_nettop_itself() -> None:
    read = samples(counted(tick(2)))
    assert read["nettop_build_info", (("version", "0.1.0"),)] == 1
    assert read["nettop_hook_info", (("mechanism", "cgroup_skb egress"), ("need", "dns_queries"))] == 1
    assert read["nettop_start_time_seconds", ()] == at(0).timestamp()
    assert read["nettop_last_tick_time_seconds", ()] == at(2).timestamp()


CHURN = 100_000
IDENTITY, ANSWERED, REQUEST = identity(), answered(), request()
CLOSED = connection(tx_bytes=3, state="closed", end="normal")


def churn(number: int) -> Iterable[events.AnyEvent]:
    """A short-lived process with a name of its own, in a unit of its own: a query, a request and a connection."""
    who: dict[str, Any] = {"pid": 10_000 + number, "comm": f"job-{number}"}
    process = replace(IDENTITY, unit=f"job@{number}.service", **who)
    yield events.ProcessChanged(time=BASE, process=process)
    yield events.DnsChanged(time=BASE, dns=replace(ANSWERED, id=number, **who))
    yield events.ConnectionChanged(time=BASE, connection=replace(CLOSED, id=number, **who))
    yield events.RequestChanged(time=BASE, request=replace(REQUEST, id=number, **who))
    yield events.ProcessChanged(time=BASE, process=replace(process, exited_at=BASE))


def test_churn_stays_within_the_bound_and_no_counter_goes_back() -> None:
    most = 200
    counting = counted(told(identity()), told(connection(tx_bytes=5)), most_series=most)
    first, before = samples(counting), Samples()
    for number in range(2, CHURN + 2):
        for event in churn(number):
            counting.apply(event)
        if number in (50, 100, 500, 50_000, CHURN + 1):
            now = samples(counting)
            falls = {key for key, then in before.items() if now.get(key, -1) < then}
            assert not falls
            before = now
    counting.apply(told(connection(tx_bytes=9), 3))
    now = samples(counting)
    for series in counting.series():
        number_of_series = (len(series.values) + len(series.histograms)) * series.family.series_each
        assert number_of_series <= most, series.family.name
    assert len(now) <= most * len(FAMILIES)
    # nobody is lost: the sums are those of all of them
    sums: dict[str, float] = {}
    for (name, _), amount in now.items():
        sums[name] = sums.get(name, 0) + amount
    assert sums["nettop_process_network_io_bytes_total"] == CHURN * 3 + 9
    assert sums["nettop_dns_queries_total"] == sums["nettop_dns_answers_total"] == CHURN
    assert sums["nettop_request_outcomes_total"] == CHURN
    assert sums["nettop_dns_lookup_duration_seconds_count"] == CHURN
    # who was there first has kept its place, and the others are told of
    io = ("nettop_process_network_io_bytes_total", tuple(sorted({
        "unit": "", "comm": "curl", "transport": "tcp", "direction": "transmit"}.items())))  # fmt: skip
    assert (first[io], now[io]) == (5, 9)
    assert now["nettop_other_label_sets", (("metric", "nettop_dns_queries"),)] >= CHURN // 10
    assert len(counting._labels) <= MAX_ENDED + 1
    assert len(counting._counted) == 1


def test_text_from_outside_is_escaped() -> None:
    name = 'a"b\\c\nd'
    counting = counted(told(identity(comm=name)), told(connection(comm=name, tx_bytes=1)))
    assert value(counting, "nettop_tcp_connections", comm=name) == 1


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"unit": "nginx.service"}, "nginx.service"),
        ({"unit": "user@1000.service"}, "user@1000.service"),
        ({"unit": "session-12.scope"}, "session-*.scope"),
        ({"unit": "run-u341.service"}, "run-u*.service"),
        ({"unit": None}, ""),
        ({"unit": "docker-5d1c.scope", "container": "5d1c", "container_runtime": "docker"}, "docker"),
        ({"container": "5d1c", "container_runtime": "docker", "container_name": "web"}, "docker:web"),
        ({"container": "5d1c"}, "container"),
        (
            {"pod": "web-6f7c-x2x", "pod_namespace": "shop", "container": "5d1c", "container_name": "web"},
            "pod:shop/web",
        ),
        ({"pod_uid": "1-2", "container": "5d1c"}, "pod"),
    ],
)
def test_the_unit_has_nothing_that_is_new_with_each_start(fields: dict[str, Any], label: str) -> None:
    assert unit_label(identity(**fields)) == label


def test_the_buckets_are_those_of_opentelemetry_and_one_more() -> None:
    assert BUCKETS_S[0] == 0.001
    assert set(BUCKETS_S[1:]) <= {0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}


def test_a_process_whose_end_is_taken_back_keeps_its_unit() -> None:
    alive, ended = identity(unit="shop.service"), identity(unit="shop.service", exited_at=at(1))
    others = (told(identity(pid=10_000 + number, exited_at=at(2))) for number in range(MAX_ENDED + 1))
    counting = counted(told(alive), told(ended), told(alive), *others, told(connection(), 3))
    assert value(counting, "nettop_tcp_connections", unit="shop.service") == 1


def test_a_filter_that_a_process_does_not_pass_leaves_its_rows_their_unit() -> None:
    """Such as a word that only the far end's name has, or `new` of a process that is older."""
    counting, passes = Counting(), StreamFilter(Filter("example.com or new")).passes
    owner = identity(unit="shop.service", start_time=at(-50))
    given = (start(), told(owner), told(connection(process_start_time=owner.start_time, tx_bytes=7)), tick(1))
    assert [passes(event) for event in given] == [True, False, True, True]
    for event in given:
        counting.apply(event, passes(event))
    assert value(counting, "nettop_tcp_connections", unit="shop.service") == 1
