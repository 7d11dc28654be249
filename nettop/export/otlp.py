"""OTLP/JSON: rows as log records, sums as metrics, each line one request of OpenTelemetry's protocol.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: names in lowerCamelCase, integers of 64 bits as text,
trace ids as hexadecimal digits. Attributes are those of the semantic conventions (1.44) where these have any.
By hand: the SDK's exporters send by themselves, which nettop must not, and need protobuf.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from nettop.metrics import families
from nettop.metrics.counting import Counting
from nettop.metrics.families import BUCKETS_S, Family
from nettop.metrics.series import Series
from nettop.model import events, rows
from nettop.model.finals import Finals
from nettop.model.kinds import CONNECTIONS, DNS, KIND_OF_EVENT, LISTENERS, LOOKUPS, PROCESSES, REQUESTS, UDP, Kind

LINE_BYTES: Final = 1 << 19  # of records or points, before the last one: the Collector reads lines of 1 MiB by default
METRICS_EVERY_S: Final = 10.0  # sums are cumulative: more often says little more, and is most of the output
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CUMULATIVE: Final = 2  # AGGREGATION_TEMPORALITY_CUMULATIVE
_INFO, _WARN = 9, 13  # severity numbers
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "x86"}
_UNITS = {"bytes": "By", "seconds": "s"}
_ATTRIBUTES = {
    "unit": "nettop.unit",
    "comm": "nettop.comm",
    "transport": "network.transport",
    "direction": "network.io.direction",
}
_NAMES: Mapping[Family, str] = {families.IO: "process.network.io", families.LOOKUP: "dns.lookup.duration"}
_encode = msgspec.json.Encoder().encode


class Otlp:
    """Takes all events of a stream and makes its lines: log records at each tick, metrics also at the end."""

    def __init__(self, counting: Counting) -> None:
        self._finals = Finals()
        self._counting = counting
        self._records: list[dict[str, Any]] = []
        self._resource: dict[str, Any] = {}
        self._started_ns = "0"
        self._measured_at: datetime | None = None

    def take(self, event: events.AnyEvent, passes: bool = True) -> Iterator[bytes]:
        """The lines to write after this event; `passes` as in Counting.apply()."""
        self._counting.apply(event, passes)
        if not passes:
            return
        if isinstance(event, events.Start):
            self._resource, self._started_ns = _resource(event), _ns(event.time)
            self._measured_at = event.time
        for told in self._finals.take(event):
            kind = KIND_OF_EVENT.get(type(told))
            if kind is not None and kind in _DESCRIBED:
                self._records.append(_record(kind, getattr(told, kind.told), told.time))
        if isinstance(event, events.Tick | events.End):
            for some in _batches(self._records):
                yield self._line("Logs", "logRecords", some)
            self._records.clear()
            yield from self._metrics(event)

    def _metrics(self, event: events.Tick | events.End) -> Iterator[bytes]:
        since = self._measured_at
        if (
            isinstance(event, events.Tick)
            and since is not None
            and (event.time - since).total_seconds() < METRICS_EVERY_S
        ):
            return
        self._measured_at = event.time
        now_ns = _ns(event.time)
        for series in self._counting.series():
            for points in _batches(_points(series, self._started_ns, now_ns)):
                yield self._line("Metrics", "metrics", [_metric(series.family, points)])

    def _line(self, signal: str, name: str, told: list[Any]) -> bytes:
        scope = {"scope": {"name": "nettop"}, name: told}
        return _encode({f"resource{signal}": [{"resource": self._resource, f"scope{signal}": [scope]}]}) + b"\n"


def _resource(start: events.Start) -> dict[str, Any]:
    """`service.instance.id` is different for each run on each host."""
    host = start.host
    return {
        "attributes": _pairs(
            {
                "service.name": "nettop",
                "service.version": start.nettop,
                "service.instance.id": f"{host.id or host.name}-{_ns(start.time)}",
                "host.name": host.name,
                "host.id": host.id,
                "host.arch": _ARCHITECTURES.get(host.arch, host.arch),
                "os.type": "linux",
                "os.version": host.kernel,
                "nettop.boot_id": host.boot_id,
            }
        )
    }


# Log records


def _record(kind: Kind[Any], row: Any, time: datetime) -> dict[str, Any]:
    """The row as the body; what others search for as attributes."""
    failed = kind.failed(row)
    record = {
        "timeUnixNano": _ns(time),
        "observedTimeUnixNano": _ns(time),
        "severityNumber": _WARN if failed else _INFO,
        "severityText": "WARN" if failed else "INFO",
        "eventName": f"nettop.{kind.told}",
        "body": _value(msgspec.to_builtins(row)),
        "attributes": _pairs({**_owner(row), **_DESCRIBED[kind](row)}),
    }
    trace_id = getattr(row, "trace_id", None)
    return {**record, "traceId": trace_id} if trace_id is not None else record


def _owner(row: Any) -> dict[str, Any]:
    return {"process.pid": row.pid, "nettop.comm": row.comm}


def _ends(local: rows.Endpoint | None, remote: rows.RemoteEndpoint | None) -> dict[str, Any]:
    return {
        "network.local.address": local and local.address,
        "network.local.port": local and local.port,
        "network.peer.address": remote and remote.address,
        "network.peer.port": remote and remote.port,
    }


def _connection(row: rows.Connection) -> dict[str, Any]:
    return {
        "network.transport": "tcp",
        "network.type": row.family,
        **_ends(row.local, row.remote),
        "server.address": row.remote.name if row.direction == "outbound" else None,
        "error.type": row.end if row.failed else None,
    }


def _udp(row: rows.UdpFlow) -> dict[str, Any]:
    return {"network.transport": "udp", **_ends(row.local, row.remote)}


def _listener(row: rows.Listener) -> dict[str, Any]:
    return {
        "network.transport": "tcp",
        "network.type": row.family,
        "network.local.address": row.address,
        "network.local.port": row.port,
    }


def _dns(row: rows.DnsQuery) -> dict[str, Any]:
    return {
        "network.transport": row.transport,
        "dns.question.name": row.qname,
        "dns.answers": tuple(answer.data for answer in row.answers),
        "network.peer.address": row.server.address,
        "network.peer.port": row.server.port,
        "error.type": (row.rcode or row.status) if row.failed else None,
    }


def _request(row: rows.Request) -> dict[str, Any]:
    is_http = row.path is not None
    return {
        "network.protocol.name": row.protocol,
        "http.request.method" if is_http else "db.operation.name": row.method,
        "http.response.status_code": row.status,
        "rpc.grpc.status_code": row.grpc_status,
        "url.path": row.path,
        "server.address": row.host,
        "network.peer.address": row.remote and row.remote.address,
        "network.peer.port": row.remote and row.remote.port,
        "error.type": (row.error_code or row.outcome) if row.failed else None,
    }


def _lookup(row: rows.Lookup) -> dict[str, Any]:
    return {
        "dns.question.name": row.name,
        "dns.answers": row.addresses,
        "error.type": row.result if row.failed else None,
    }


def _process(row: rows.ProcessIdentity) -> dict[str, Any]:
    return {
        "process.parent_pid": row.parent_pid,
        "process.command_args": row.cmdline,
        "process.owner": row.user,
        "process.linux.cgroup": row.cgroup,
        "container.id": row.container,
        "container.name": row.container_name,
        "k8s.pod.name": row.pod,
        "k8s.namespace.name": row.pod_namespace,
        "nettop.unit": row.unit,
    }


_DESCRIBED: Mapping[Any, Callable[[Any], dict[str, Any]]] = {
    CONNECTIONS: _connection,
    UDP: _udp,
    LISTENERS: _listener,
    DNS: _dns,
    REQUESTS: _request,
    PROCESSES: _process,
    LOOKUPS: _lookup,
}


# Metrics


def _metric(family: Family, points: list[msgspec.Raw]) -> dict[str, Any]:
    shape: dict[str, Any] = {"dataPoints": points}
    if family.type != "gauge":
        shape["aggregationTemporality"] = _CUMULATIVE
    if family.type == "counter":
        shape["isMonotonic"] = True
    name = _NAMES.get(family) or family.name.replace("nettop_", "nettop.", 1).removesuffix(f"_{family.unit}")
    return {
        "name": name,
        "description": family.help,
        "unit": _UNITS.get(family.unit or "", "1"),
        {"counter": "sum", "gauge": "gauge", "histogram": "histogram"}[family.type]: shape,
    }


def _points(series: Series, started_ns: str, now_ns: str) -> Iterator[dict[str, Any]]:
    names = [_ATTRIBUTES.get(name, f"nettop.{name}") for name in series.family.label_names]
    times = {"startTimeUnixNano": started_ns, "timeUnixNano": now_ns}
    for labels, value in series.values.items():
        said = {"asInt": str(value)} if isinstance(value, int) else {"asDouble": value}
        yield {"attributes": _pairs(zip(names, labels, strict=True)), **times, **said}
    for labels, histogram in series.histograms.items():
        yield {
            "attributes": _pairs(zip(names, labels, strict=True)),
            **times,
            "count": str(sum(histogram.buckets)),
            "sum": histogram.sum_s,
            "bucketCounts": list(map(str, histogram.buckets)),
            "explicitBounds": BUCKETS_S,
        }


# Values


def _batches(items: Iterable[dict[str, Any]]) -> Iterator[list[msgspec.Raw]]:
    """The items as JSON, some LINE_BYTES at a time."""
    batch: list[msgspec.Raw] = []
    length = 0
    for item in items:
        encoded = _encode(item)
        batch.append(msgspec.Raw(encoded))
        length += len(encoded)
        if length >= LINE_BYTES:
            yield batch
            batch, length = [], 0
    if batch:
        yield batch


def _ns(time: datetime) -> str:
    """Exactly: a float would lose some 100 ns."""
    since = time - _EPOCH
    return str((since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000)


def _pairs(values: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
    """A list of KeyValue, without what is not known."""
    pairs = values.items() if isinstance(values, Mapping) else values
    return [{"key": key, "value": _value(value)} for key, value in pairs if value is not None]


def _value(value: Any) -> dict[str, Any]:
    """An AnyValue."""
    match value:
        case str():
            return {"stringValue": value}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case Mapping():
            return {"kvlistValue": {"values": _pairs(value)}}
        case None:
            return {}
    return {"arrayValue": {"values": [_value(item) for item in value]}}
