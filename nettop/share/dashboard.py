"""The dashboard for Grafana, made from a list of panels. `make share` writes it."""

import json
from typing import Any, NamedTuple

_SCHEMA_VERSION = 39  # of Grafana 11; older ones from 8 on read it too
_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 8  # of a screen of 24 units
_CHOSEN = 'instance=~"$instance",unit=~"$unit",comm=~"$comm"'
_ON_HOST = 'instance=~"$instance"'
_MOST = 10  # lines of a panel: more are not told apart


_WHO = "instance unit comm"


class Query(NamedTuple):
    """An expression, and the legend of what it finds."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """A diagram over time, in a unit of Grafana's."""

    title: str
    unit: str
    queries: tuple[Query, ...]


def _rates(metric: str, by: str = _WHO, where: str = "", says: str = "") -> Query:
    """The largest rates of a counter by these labels."""
    rate = f"sum by ({by.replace(' ', ', ')}) (rate({metric}{{{_chosen(where)}}}[$__rate_interval]))"
    return Query(_top(rate), _legend(by, says))


def _slowest(metric: str, where: str = "") -> Query:
    """The 99th percentile of a histogram."""
    buckets = f"rate({metric}_bucket{{{_chosen(where)}}}[$__rate_interval])"
    return Query(_top(f"histogram_quantile(0.99, sum by (instance, unit, comm, le) ({buckets}))"), _legend(_WHO))


def _chosen(where: str) -> str:
    return f"{_CHOSEN},{where}" if where else _CHOSEN


def _top(expression: str) -> str:
    return f"topk({_MOST}, {expression})"


def _legend(by: str, says: str = "") -> str:
    return " ".join((*says.split(), *(f"{{{{{label}}}}}" for label in by.split())))


_IO = "nettop_process_network_io_bytes_total"
_SERVED = 'side="server"'
_OPEN = Query(_top(f"sum by (instance, unit, comm) (nettop_tcp_connections{{{_CHOSEN}}})"), _legend(_WHO))
_LOST = Query(
    f"sum by (instance, kind, where) (increase(nettop_losses_total{{{_ON_HOST}}}[$__rate_interval])) > 0",
    _legend("instance kind where"),
)
_FOLDED = Query(f"nettop_other_label_sets{{{_ON_HOST}}}", _legend("instance metric", "in _other:"))
_PER_REASON = "instance comm reason"

PANELS = (
    Panel("Sent", "Bps", (_rates(_IO, where='direction="transmit"'),)),
    Panel("Received", "Bps", (_rates(_IO, where='direction="receive"'),)),
    Panel("DNS queries", "reqps", (_rates("nettop_dns_queries_total"),)),
    Panel(
        "DNS that failed",
        "reqps",
        (
            _rates("nettop_dns_answers_total", "instance comm rcode", 'rcode!="NOERROR"'),
            _rates("nettop_dns_unanswered_total", _PER_REASON),
        ),
    ),
    Panel("DNS, 99th percentile", "s", (_slowest("nettop_dns_lookup_duration_seconds"),)),
    Panel("Open connections", "short", (_OPEN,)),
    Panel(
        "Connections opened and accepted",
        "ops",
        (_rates("nettop_tcp_connections_opened_total", "instance comm direction"),),
    ),
    Panel(
        "Connections that were never established", "ops", (_rates("nettop_tcp_connect_failures_total", _PER_REASON),)
    ),
    Panel("How connections ended", "ops", (_rates("nettop_tcp_connections_ended_total", "instance comm end"),)),
    Panel("Retransmitted segments", "pps", (_rates("nettop_tcp_retransmits_total"),)),
    Panel(
        "Resets",
        "ops",
        (
            _rates("nettop_tcp_resets_sent_total", _PER_REASON, says="sent:"),
            _rates("nettop_tcp_resets_received_total", "instance comm", says="received:"),
        ),
    ),
    Panel("Dropped packets by reason", "pps", (_rates("nettop_packet_drops_total", _PER_REASON),)),
    Panel(
        "Refused by full queues",
        "ops",
        (
            _rates("nettop_listen_drops_total", says="connections:"),
            _rates("nettop_socket_receive_drops_total", says="datagrams:"),
        ),
    ),
    Panel("Packets", "pps", (_rates("nettop_process_network_packets_total", "instance transport direction"),)),
    Panel("Requests served", "reqps", (_rates("nettop_requests_total", where=_SERVED),)),
    Panel("Requests that failed", "reqps", (_rates("nettop_requests_failed_total", "instance comm side status"),)),
    Panel("Requests served, 99th percentile", "s", (_slowest("nettop_request_duration_seconds", _SERVED),)),
    Panel(
        "Requests served, by outcome", "reqps", (_rates("nettop_request_outcomes_total", "protocol status", _SERVED),)
    ),
    Panel("What is missing", "short", (_LOST, _FOLDED)),
)


def dashboard() -> str:
    """The dashboard as Grafana imports it: it asks for the Prometheus that it shall read."""
    return (
        json.dumps(
            {
                "__inputs": [
                    {"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus"}
                ],
                "title": "nettop",
                "description": "Network by host, unit and program, from 'nettop metrics'.",
                "uid": "nettop",
                "schemaVersion": _SCHEMA_VERSION,
                "tags": ["network"],
                "editable": True,
                "refresh": "30s",
                "time": {"from": "now-1h", "to": "now"},
                "templating": {"list": [_variable(name) for name in ("instance", "unit", "comm")]},
                "panels": [_panel(number, panel) for number, panel in enumerate(PANELS)],
            },
            indent=2,
        )
        + "\n"
    )


_SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}


def _variable(name: str) -> dict[str, Any]:
    query = f"label_values(nettop_process_network_io_bytes_total, {name})"
    return {
        "name": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,  # with the time range
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "sort": 1,
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for place, (expression, legend) in enumerate(panel.queries)
        ],
    }
