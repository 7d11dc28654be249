"""OTLP/JSON as OpenTelemetry's own messages read it."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from nettop.export.otlp import LINE_BYTES, Otlp
from nettop.metrics.counting import Counting
from nettop.model import events, rows
from tests.builders import (
    BASE,
    SERVER_ADDRESS,
    a_recording,
    answered,
    at,
    connection,
    dns_query,
    identity,
    listener,
    lookup,
    request,
    start,
    tick,
    told,
    udp_socket,
)

HOST = rows.Host(name="web1", kernel="6.1.0", arch="x86_64", boot_id="b007", id="5" * 32)
END = events.End(time=at(100))
REQUESTS: dict[str, Any] = {"resourceLogs": ExportLogsServiceRequest, "resourceMetrics": ExportMetricsServiceRequest}


def lines(*given: events.AnyEvent, most_series: int = 1000) -> list[Any]:
    otlp = Otlp(Counting(most_series))
    return [json.loads(line) for event in (start(host=HOST), *given) for line in otlp.take(event)]


def accepted(line: Any) -> Any:
    """What OpenTelemetry's messages make of it; raises for a field that they do not know."""
    (signal,) = line
    return Parse(json.dumps(line), REQUESTS[signal]())


def records(said: Iterable[Any]) -> list[Any]:
    logs = [accepted(line) for line in said if "resourceLogs" in line]
    return [record for log in logs for record in log.resource_logs[0].scope_logs[0].log_records]


def metrics(said: Iterable[Any]) -> dict[str, Any]:
    told_ = [accepted(line) for line in said if "resourceMetrics" in line]
    return {metric.name: metric for each in told_ for metric in each.resource_metrics[0].scope_metrics[0].metrics}


def attributes(message: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in message.attributes}


def test_every_line_is_accepted_and_ends_itself() -> None:
    otlp = Otlp(Counting())
    said = [line for event in a_recording() for line in otlp.take(event)]
    assert said
    for line in said:
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        accepted(json.loads(line))


def test_the_resource_is_this_run_on_this_host() -> None:
    (line, *_) = lines(told(connection(state="closed")), tick(2))
    log = accepted(line).resource_logs[0]
    said = attributes(log.resource)
    assert said == {
        "service.name": "nettop",
        "service.version": "0.1.0",
        "service.instance.id": f"{'5' * 32}-{log.scope_logs[0].log_records[0].time_unix_nano - 1_000_000_000}",
        "host.name": "web1",
        "host.id": "5" * 32,
        "host.arch": "amd64",
        "os.type": "linux",
        "os.version": "6.1.0",
        "nettop.boot_id": "b007",
    }


@pytest.mark.parametrize(
    ("row", "name", "wanted", "severity"),
    [
        (
            connection(state="closed", end="refused"),
            "nettop.connection",
            {
                "network.transport": "tcp",
                "network.type": "ipv4",
                "network.peer.address": SERVER_ADDRESS,
                "network.peer.port": 443,
                "server.address": "www.example.com",
                "error.type": "refused",
                "process.pid": 4242,
                "nettop.comm": "curl",
            },
            "WARN",
        ),
        (answered(), "nettop.dns", {"dns.question.name": "www.example.com", "network.peer.port": 53}, "INFO"),
        (answered(rcode="NXDOMAIN"), "nettop.dns", {"error.type": "NXDOMAIN"}, "WARN"),
        (dns_query(status="timeout"), "nettop.dns", {"error.type": "timeout"}, "WARN"),
        (
            request(),
            "nettop.request",
            {"http.request.method": "GET", "http.response.status_code": 200, "url.path": "/users/17"},
            "INFO",
        ),
        (
            request(protocol="redis", method="GET", path=None, status=None, error="server", error_code="WRONGTYPE"),
            "nettop.request",
            {"db.operation.name": "GET", "error.type": "WRONGTYPE"},
            "WARN",
        ),
        (request(decrypted=True, remote=None), "nettop.request", {"server.address": "www.example.com"}, "INFO"),
        (lookup(), "nettop.lookup", {"dns.question.name": "www.example.com"}, "INFO"),
        (lookup(result="EAI_NONAME"), "nettop.lookup", {"error.type": "EAI_NONAME"}, "WARN"),
        (udp_socket(closed=True), "nettop.udp", {"network.transport": "udp"}, "INFO"),
        (listener(closed=True), "nettop.listener", {"network.local.port": 80}, "INFO"),
        (
            identity(exited_at=at(1), unit="cron.service"),
            "nettop.process",
            {"process.owner": "ada", "nettop.unit": "cron.service"},
            "INFO",
        ),
    ],
)
def test_a_row_is_a_log_record(row: Any, name: str, wanted: dict[str, Any], severity: str) -> None:
    (record,) = records(lines(told(row), tick(6), END))
    assert record.event_name == name
    assert record.severity_text == severity
    assert record.time_unix_nano == int(BASE.timestamp()) * 1_000_000_000 + 123_457_000 + 1_000_000_000
    assert attributes(record).items() >= wanted.items()
    body = {pair.key for pair in record.body.kvlist_value.values}
    assert {"pid", "comm"} <= body


def test_the_trace_of_a_request() -> None:
    (line, *_) = lines(told(request(trace_id="0af7651916cd43dd8448eb211c80319c")), tick(6))
    (record,) = line["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert record["traceId"] == "0af7651916cd43dd8448eb211c80319c"


def test_sums_are_cumulative_metrics() -> None:
    said = metrics(lines(told(identity()), told(connection(tx_bytes=500)), told(answered()), END))
    io = said["process.network.io"]
    assert (io.unit, io.sum.is_monotonic, io.sum.aggregation_temporality) == ("By", True, 2)
    (point,) = io.sum.data_points
    assert point.as_int == 500
    assert attributes(point) == {
        "nettop.unit": "", "nettop.comm": "curl", "network.transport": "tcp", "network.io.direction": "transmit",
    }  # fmt: skip
    assert point.time_unix_nano - point.start_time_unix_nano == 100_000_000_000
    assert said["nettop.tcp_connections"].gauge.data_points[0].as_int == 1
    (lookup,) = said["dns.lookup.duration"].histogram.data_points
    assert (lookup.count, sum(lookup.bucket_counts)) == (1, 1)
    assert len(lookup.bucket_counts) == len(lookup.explicit_bounds) + 1
    assert lookup.sum == pytest.approx(0.0125)
    assert lookup.bucket_counts[list(lookup.explicit_bounds).index(0.025)] == 1


def test_who_a_filter_leaves_out_still_names_its_rows() -> None:
    otlp = Otlp(Counting())
    owner = told(identity(unit="shop.service"))
    given = ((start(host=HOST), True), (owner, False), (told(connection(tx_bytes=5)), True), (END, True))
    said = [json.loads(line) for event, passes in given for line in otlp.take(event, passes)]
    assert [record.event_name for record in records(said)] == ["nettop.connection"]
    (point,) = metrics(said)["process.network.io"].sum.data_points
    assert attributes(point)["nettop.unit"] == "shop.service"


def test_metrics_are_not_told_at_every_tick() -> None:
    said = lines(told(identity()), told(connection(tx_bytes=1)), *(tick(number) for number in range(1, 26)), END)
    assert sum("process.network.io" in json.dumps(line) for line in said) == 3


def test_lines_are_bounded() -> None:
    number = 1_000
    closed = [told(connection(id=each, state="closed", end="normal")) for each in range(number)]
    otlp = Otlp(Counting())
    logs = [line for event in (start(host=HOST), *closed, tick(2)) for line in otlp.take(event)]
    assert len(records(map(json.loads, logs))) == number
    assert LINE_BYTES < max(map(len, logs)) < 1 << 20
