"""Which metrics there are: each family declared once. Names and units follow OpenTelemetry where it has any.

Every family but those of nettop itself is by `unit` and `comm`, never by pid, address or question: those are without
bound, and a time series lasts for months.
"""

from typing import Final, Literal

from msgspec import Struct

OTHER: Final = "_other"  # stands for what found no series of its own
UNKNOWN: Final = "_unknown"  # the owner is not known

# Of dns.lookup.duration and http.*.request.duration (OpenTelemetry), and one below: what a local cache takes.
BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_OF_HISTOGRAM = len(BUCKETS_S) + 3  # series of one: its buckets, that of infinity, sum and count

FamilyType = Literal["counter", "gauge", "histogram"]


class Label(Struct, frozen=True):
    """A label besides unit and comm. `most` values are possible; None: others decide, and `_other` has none of them."""

    name: str
    most: int | None = None


class Family(Struct, frozen=True, eq=False):
    """One metric. `unit` is its base unit, with which its name ends; counters get `_total` behind it.

    `by_process`: it has the labels unit and comm before its own.
    """

    name: str
    type: FamilyType
    help: str
    labels: tuple[Label, ...] = ()
    unit: str | None = None
    by_process: bool = True

    @property
    def label_names(self) -> tuple[str, ...]:
        """All of them, in the order of the values."""
        return (*(("unit", "comm") if self.by_process else ()), *(label.name for label in self.labels))

    @property
    def series_each(self) -> int:
        """How many time series one set of labels is."""
        return _OF_HISTOGRAM if self.type == "histogram" else 1

    @property
    def others(self) -> int:
        """How many sets of labels `_other` can have."""
        product = 1
        for label in self.labels:
            product *= label.most or 1
        return product

    def other(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """The set of labels that stands for this one if it finds no room."""
        own = (value if label.most else OTHER for label, value in zip(self.labels, labels[2:], strict=True))
        return (OTHER, OTHER, *own)


_TRANSPORT, _DIRECTION = Label("transport", 3), Label("direction", 2)
_SIDE, _REASON = Label("side", 2), Label("reason")

IO = Family(
    "nettop_process_network_io_bytes",
    "counter",
    "Payload of TCP and UDP, and of IP for other protocols.",
    (_TRANSPORT, _DIRECTION),
    "bytes",
)
PACKETS = Family(
    "nettop_process_network_packets",
    "counter",
    "TCP segments, also without payload, and UDP datagrams; not those of connections that had no row.",
    (_TRANSPORT, _DIRECTION),
)
OPENED = Family(
    "nettop_tcp_connections_opened",
    "counter",
    "TCP connections that the process opened (outbound, also in vain) or accepted (inbound).",
    (_DIRECTION,),
)
OPEN = Family("nettop_tcp_connections", "gauge", "TCP connections that are open now.")
CONNECT_FAILURES = Family(
    "nettop_tcp_connect_failures",
    "counter",
    "TCP connections that the process wanted and that were never established, by why.",
    (_REASON,),
)
ENDED = Family(
    "nettop_tcp_connections_ended",
    "counter",
    "TCP connections that ended, by how; not those that had no row.",
    (Label("end"),),
)
RETRANSMITS = Family("nettop_tcp_retransmits", "counter", "TCP segments that were sent again.")
DROPS = Family("nettop_packet_drops", "counter", "Packets that this host dropped, by the kernel's reason.", (_REASON,))
RESETS_SENT = Family(
    "nettop_tcp_resets_sent", "counter", "TCP resets that this host sent, by the kernel's reason.", (_REASON,)
)
RESETS_RECEIVED = Family("nettop_tcp_resets_received", "counter", "TCP resets that came in.")
RECEIVE_DROPS = Family(
    "nettop_socket_receive_drops",
    "counter",
    "Datagrams that a socket refused, mostly because its buffer was full.",
    (_TRANSPORT,),
)
LISTEN_DROPS = Family(
    "nettop_listen_drops", "counter", "Connections that the kernel refused, mostly because the accept queue was full."
)
QUERIES = Family("nettop_dns_queries", "counter", "DNS queries that the process asked.")
ANSWERS = Family(
    "nettop_dns_answers",
    "counter",
    "Answers to them by code; 'failed' is one other than NOERROR of a query that had no row.",
    (Label("rcode"),),
)
UNANSWERED = Family(
    "nettop_dns_unanswered",
    "counter",
    "DNS queries that timed out, were refused by ICMP, or of which nettop lost track (forgotten). "
    "An answer that comes later counts too.",
    (Label("reason", 3),),
)
LOOKUP = Family(
    "nettop_dns_lookup_duration_seconds",
    "histogram",
    "Time from a DNS query to its answer; of those that had rows.",
    unit="seconds",
)
REQUESTS = Family(
    "nettop_requests",
    "counter",
    "Requests of HTTP, databases and caches, sent (client) and served (server); all that were seen.",
    (_SIDE,),
)
REQUESTS_FAILED = Family(
    "nettop_requests_failed",
    "counter",
    "Those of them that failed: with 4xx, with 5xx, or otherwise.",
    (_SIDE, Label("status", 3)),
)
OUTCOMES = Family(
    "nettop_request_outcomes",
    "counter",
    "Requests that had rows, by protocol and class of status, or what came instead.",
    (_SIDE, Label("protocol"), Label("status", 14)),
)
REQUEST_DURATION = Family(
    "nettop_request_duration_seconds",
    "histogram",
    "Time from the first byte of a request to the first of its response; of those that had rows.",
    (_SIDE, Label("protocol")),
    "seconds",
)
LOSSES = Family(
    "nettop_losses",
    "counter",
    "What is missing from everything else, by kind (losses of a snapshot) and where.",
    (Label("kind"), Label("where")),
    by_process=False,
)
OTHER_LABEL_SETS = Family(
    "nettop_other_label_sets",
    "gauge",
    "Sets of labels that found no series of their own and are in _other, by metric; at least so many.",
    (Label("metric"),),
    by_process=False,
)
HOOKS = Family(
    "nettop_hook_info",
    "gauge",
    "What is watched, and how; what is not here is not counted.",
    (Label("need"), Label("mechanism")),
    by_process=False,
)
BUILD = Family("nettop_build_info", "gauge", "Always 1.", (Label("version"),), by_process=False)
STARTED = Family("nettop_start_time_seconds", "gauge", "When nettop began to count.", unit="seconds", by_process=False)
TICKED = Family(
    "nettop_last_tick_time_seconds",
    "gauge",
    "Until when everything is counted.",
    unit="seconds",
    by_process=False,
)

FAMILIES: tuple[Family, ...] = (
    IO, PACKETS, OPENED, OPEN, CONNECT_FAILURES, ENDED, RETRANSMITS, DROPS, RESETS_SENT, RESETS_RECEIVED,
    RECEIVE_DROPS, LISTEN_DROPS, QUERIES, ANSWERS, UNANSWERED, LOOKUP, REQUESTS, REQUESTS_FAILED, OUTCOMES,
    REQUEST_DURATION, LOSSES, OTHER_LABEL_SETS, HOOKS, BUILD, STARTED, TICKED,
)  # fmt: skip
"""In the order in which they are written."""
