"""The kinds of rows, each declared once: tables, panes, filter, settings and history are made from here.

What a kind costs beside its declaration: its rows (rows.py), its event (events.py), its field of the snapshot
(snapshot.py), its columns and its facts (nettop/view). Text that changes with the kind stands here too, so that
nothing else has to know which kinds there are.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Generic, NamedTuple, Self, TypeVar

from nettop.model import events, rows
from nettop.model.amounts import (
    Amount,
    Moment,
    Numbers,
    Test,
    beginning,
    compared,
    happening,
    lasting,
    within,
)
from nettop.model.owners import JOINED, Owners
from nettop.model.rows import (
    Connection,
    DnsQuery,
    Endpoint,
    HostPackets,
    Listener,
    Lookup,
    Process,
    ProcessIdentity,
    RemoteHost,
    Request,
    UdpFlow,
)
from nettop.model.snapshot import Snapshot

AnyRow = ProcessIdentity | Connection | DnsQuery | RemoteHost | UdpFlow | Listener | Request | Lookup
RowT = TypeVar("RowT", bound=AnyRow)
TextTest = Callable[[str | None], bool]  # of one of its texts
BARE = ""  # stands among the keys of the filter for a word without one


class Place(NamedTuple):
    """What `host:` asks for."""

    test: TextTest
    network: bool = False  # the test is of addresses, not of names
    port: int | None = None


def _never(_row: Any) -> bool:
    return False


@dataclass(frozen=True, eq=False)
class Kind(Generic[RowT]):
    """One kind of rows.

    Attributes:
        name: its field of the snapshot, its table in config.toml and in the losses.
        label: its name on the screen; `plural` names its rows in sentences.
        empty: what its pane says before the first row.
        row: the class of its rows in the snapshot.
        event: what tells such a row, in the field `told`.
        key: what stays the same in all versions of a row.
        sort: the column by which its pane is sorted at first.
        history: how many rows that have ended are kept; `history_help` says it for the setting.
        tests: for each key of the filter that says something about these rows, from its value to a test of a row.
        timed: as tests, of keys whose test depends on the time at which the rows are looked at.
        summed: keys of the filter that ask for sums, which the rows of a stream do not have.
        said: for keys of the filter whose values the rows themselves have: these, as one writes them in a filter.
        joined: as tests, of keys that ask for what is known of the processes that a row belongs to.
        ended: whether a row has ended. None: rows are events, which do not last; all count as history.
        over: what rows that have ended are called.
        over_at: when a row became history. None: nobody knows.
        began: when a row began, None if that is not known. No function: no row says it.
        sums: its fields that are added up from the start, as `tcp.opened`: a mark counts them from there.
        failed: whether a row stands for something that went wrong.
        outlives: whether a row stays in the history when ordinary ones of the same age go.
        final: whether no other version of a row can follow.
        unlisted: how many of these an Unlisted event stands for, besides what the losses say. None: there is always a
            row.
        numbered: whether keys are numbers that rise with every new row.
        stacked: whether its pane is among those that one sees first, unless the setting `panes` says otherwise.
        option: what has to be given on the command line for there to be such rows. Its pane is in the way otherwise.

    """

    name: str
    label: str
    plural: str
    empty: str
    row: type[RowT]
    event: type[events.Event]
    told: str
    key: Callable[[RowT], Hashable]
    sort: str
    history: int
    history_help: str
    tests: Mapping[str, Callable[[Any], Test]]
    timed: Mapping[str, Callable[[Any, Moment], Test]] = field(default_factory=dict)
    joined: Mapping[str, Callable[[Any, Owners], Test]] = field(default_factory=lambda: JOINED)
    summed: frozenset[str] = frozenset()
    said: Mapping[str, Callable[[RowT], Iterable[str | None]]] = field(default_factory=dict)
    ended: Callable[[RowT], bool] | None = None
    over: str = "ended"
    over_at: Callable[[RowT], datetime | None] | None = None
    began: Callable[[RowT], datetime | None] | None = None
    sums: tuple[str, ...] = ()
    failed: Callable[[RowT], bool] = _never
    outlives: Callable[[RowT], bool] = _never
    final: Callable[[RowT], bool] = _never
    unlisted: Callable[[rows.Unlisted], int] | None = None
    numbered: bool = False
    stacked: bool = True
    option: str = ""

    def __deepcopy__(self, _memo: object) -> Self:
        """Itself: a kind is what it is by identity."""
        return self

    @property
    def title(self) -> str:
        """Its label where a sentence or a line begins."""
        return capitalized(self.label)

    def rows_of(self, snapshot: Snapshot) -> tuple[RowT, ...]:
        """Its rows in a snapshot."""
        found: tuple[RowT, ...] = getattr(snapshot, self.name)
        return found


def capitalized(text: str) -> str:
    """The text with a capital first letter, the others as they are."""
    return text[:1].upper() + text[1:]


# Tests of the filter


def _owned_by(pids: Numbers) -> Test:
    pid, last = pids
    # the filter that one sets most often: without another call
    return (lambda row: row.pid == pid) if pid == last else within(pids, attrgetter("pid"))


_OWNED: Mapping[str, Callable[[Any], Test]] = {
    "pid": _owned_by,
    "comm": lambda test: lambda row: test(row.comm),
}
"""What can be asked of all rows, because each has an owner."""

_OWNERS: Mapping[str, Callable[[Any], Iterable[str | None]]] = {
    "pid": lambda row: (None if row.pid is None else str(row.pid),),
    "comm": lambda row: (row.comm,),
}


def _number_in(numbers: Numbers, all_of: Callable[[Any], Iterable[int]]) -> Test:
    first, last = numbers
    return lambda row: any(first <= number <= last for number in all_of(row))


def _bytes(row: Connection | RemoteHost | UdpFlow | Process) -> int:
    return row.tx_bytes + row.rx_bytes


def _rate(row: Connection | RemoteHost | Process) -> float:
    return row.tx_bytes_per_s + row.rx_bytes_per_s


def _process_failed(row: Process) -> bool:
    return bool(row.tcp.failed or row.dns.failed or row.dns.timeouts)


def _answered_at(row: DnsQuery) -> datetime | None:
    return None if row.latency_ms is None else row.asked_at + timedelta(milliseconds=row.latency_ms)


def _lasted_ms(row: Process) -> float | None:
    return None if row.exited_at is None else (row.exited_at - row.start_time).total_seconds() * 1000


def _listened_ms(row: Listener) -> float | None:
    if row.closed_at is None or row.opened_at is None:
        return None
    return (row.closed_at - row.opened_at).total_seconds() * 1000


def _dns_hosts(row: DnsQuery) -> Iterable[str | None]:
    yield row.qname
    yield row.server.address
    for answer in row.answers:
        yield answer.data


def _connection_hosts(row: Connection) -> Iterable[str | None]:
    return row.remote.name, row.remote.address, row.local.address


def _udp_hosts(row: UdpFlow) -> Iterable[str | None]:
    if row.remote is not None:
        yield row.remote.name
        yield row.remote.address
    if row.local is not None:
        yield row.local.address


def _host_names(row: RemoteHost | HostPackets) -> Iterable[str | None]:
    yield row.address
    if isinstance(row, RemoteHost):
        yield row.name
        yield from row.names


def _comms(row: RemoteHost | HostPackets) -> Iterable[str]:
    return row.comms if isinstance(row, RemoteHost) else ()


def _pids(row: RemoteHost | HostPackets) -> Iterable[int]:
    return row.pids if isinstance(row, RemoteHost) else ()


def _udp_word(test: TextTest) -> Test:
    return lambda row: test(row.comm) or any(map(test, _udp_hosts(row)))


def _host_word(test: TextTest) -> Test:
    return lambda row: any(map(test, _comms(row))) or any(map(test, _host_names(row)))


def _udp_at(place: Place) -> Test:
    test, port = place.test, place.port
    if port is not None:
        return lambda row: (
            (row.remote is not None and row.remote.port == port and (test(row.remote.address) or test(row.remote.name)))
            or (row.local is not None and row.local.port == port and test(row.local.address))
        )
    return lambda row: any(map(test, _udp_hosts(row)))


def _host_at(place: Place) -> Test:
    if place.network:
        return lambda row: place.test(row.address)
    return lambda row: any(map(place.test, _host_names(row)))


def _udp_ports(ports: Numbers) -> Test:
    return _number_in(ports, lambda row: (end.port for end in (row.local, row.remote) if end is not None))


def _dns_word(test: TextTest) -> Test:
    return lambda row: test(row.comm) or any(map(test, _dns_hosts(row)))


def _connection_word(test: TextTest) -> Test:
    return lambda row: test(row.comm) or any(map(test, _connection_hosts(row)))


def _dns_at(place: Place) -> Test:
    test, port = place.test, place.port
    if port is not None:
        return lambda row: row.server.port == port and test(row.server.address)
    if place.network:
        return lambda row: test(row.server.address) or any(test(answer.data) for answer in row.answers)
    return lambda row: any(map(test, _dns_hosts(row)))


def _connection_at(place: Place) -> Test:
    test, port = place.test, place.port
    if port is not None:
        return lambda row: (
            (row.remote.port == port and (test(row.remote.address) or test(row.remote.name)))
            or (row.local.port == port and test(row.local.address))
        )
    if place.network:
        return lambda row: test(row.remote.address) or test(row.local.address)
    return lambda row: any(map(test, _connection_hosts(row)))


def _dns_ports(ports: Numbers) -> Test:
    first, last = ports
    return lambda row: first <= row.client.port <= last or first <= row.server.port <= last


def _connection_ports(ports: Numbers) -> Test:
    first, last = ports
    return lambda row: first <= row.local.port <= last or first <= row.remote.port <= last


def _dropped(test: TextTest) -> Test:
    return lambda row: any(map(test, row.drops or ()))


def _listener_word(test: TextTest) -> Test:
    return lambda row: test(row.address) or (row.full and test("full")) or any(map(test, _listener_comms(row)))


def _listener_comms(row: Listener) -> Iterable[str | None]:
    yield row.comm
    for holder in row.holders:
        yield holder.comm


def _listener_pids(row: Listener) -> Iterable[int]:
    if row.pid is not None:
        yield row.pid
    for holder in row.holders:
        if holder.pid != row.pid:
            yield holder.pid


def _listener_at(place: Place) -> Test:
    test, port = place.test, place.port
    if port is not None:
        return lambda row: row.port == port and test(row.address)
    return lambda row: test(row.address)


def _listens(wanted: Numbers | None) -> Test:
    """`wanted` is a range of ports; None: the queue is full."""
    if wanted is None:
        return attrgetter("full")
    first, last = wanted
    return lambda row: first <= row.port <= last


def _dns_outcome(wanted: str) -> Test:
    """`wanted` is a status, an answer code, both ("refused"), or "failed"."""
    if wanted == "failed":
        return DNS.failed
    if wanted == "refused":
        return lambda row: "refused" in (row.status, (row.rcode or "").lower())
    if wanted in rows.DNS_STATUSES:
        return lambda row: row.status == wanted
    return lambda row: (row.rcode or "").lower() == wanted


def _tls_said(row: Connection) -> Iterable[str | None]:
    """None stands for what was not seen."""
    tls = row.tls
    if tls is None:
        return ()
    number = None if tls.version is None else tls.version.rpartition(" ")[2]
    protocols = (tls.alpn,) if tls.alpn is not None else tls.alpn_offered
    return dict.fromkeys((tls.version or "TLS", number, tls.cipher, *protocols, tls.alert))


def _has_server_name(test: TextTest) -> Test:
    return lambda row: row.tls is not None and test(row.tls.server_name)


def _server_names(row: Connection | UdpFlow) -> Iterable[str | None]:
    return () if row.tls is None else (row.tls.server_name,)


def _quic_said(row: UdpFlow) -> Iterable[str | None]:
    if row.tls is None:
        return ()
    return dict.fromkeys(("QUIC", f"QUIC {row.quic_version}", *row.tls.alpn_offered))


def _request_hosts(row: Request) -> Iterable[str | None]:
    return row.host, row.remote.name, row.remote.address


def _request_ports(wanted: Numbers) -> Test:
    """Of either end; the near one is not known in older recordings."""
    far, near = within(wanted, attrgetter("remote.port")), within(wanted, attrgetter("local_port"))
    return lambda row: far(row) or near(row)


def _request_word(test: TextTest) -> Test:
    return lambda row: test(row.comm) or test(row.path) or any(map(test, _request_hosts(row)))


def _request_at(place: Place) -> Test:
    test, port = place.test, place.port
    if port is not None:
        return lambda row: row.remote.port == port and any(map(test, _request_hosts(row)))
    if place.network:
        return lambda row: test(row.remote.address)
    return lambda row: any(map(test, _request_hosts(row)))


def _request_status(wanted: Numbers | str) -> Test:
    """`wanted` is a range of status codes, an error, "pending" or "failed"."""
    if isinstance(wanted, str):
        if wanted == "failed":
            return attrgetter("failed")
        return attrgetter("pending") if wanted == "pending" else lambda row: row.error == wanted
    return within(wanted, attrgetter("status"))


def _request_said(row: Request) -> tuple[str | None, ...]:
    return (row.outcome, "failed") if row.failed else (row.outcome,)


def _grpc_said(row: Request) -> tuple[str, ...]:
    return () if row.grpc_status is None else (str(row.grpc_status),)


def _lookup_hosts(row: Lookup) -> Iterable[str | None]:
    return row.name, *row.addresses


def _lookup_word(test: TextTest) -> Test:
    return lambda row: test(row.comm) or any(map(test, _lookup_hosts(row)))


def _lookup_at(place: Place) -> Test:
    if place.port is not None:
        return lambda _: False  # it has none
    if place.network:
        return lambda row: any(map(place.test, row.addresses))
    return lambda row: any(map(place.test, _lookup_hosts(row)))


def _lookup_said(row: Lookup) -> tuple[str, ...]:
    return (row.outcome.lower(), "failed") if row.failed else (row.outcome.lower(),)


def _returned_at(row: Lookup) -> datetime | None:
    return None if row.latency_ms is None else row.asked_at + timedelta(milliseconds=row.latency_ms)


def _responded_at(row: Request) -> datetime | None:
    return None if row.latency_ms is None else row.asked_at + timedelta(milliseconds=row.latency_ms)


def _in_close_wait(amount: Amount, moment: Moment) -> Test:
    return lambda row: amount.covers(row.in_state_ms("close-wait", moment.now))


def _waits(wanted: Any, moment: Moment) -> Test:
    """`wanted` is for whom, or an Amount."""
    if isinstance(wanted, Amount):
        return lambda row: wanted.covers(waited_ms(row, moment.now))
    return lambda row: row.waits_for == wanted


def _in_state(wanted: str) -> Test:
    """`wanted` is a state, or "open" for all but one."""
    if wanted == "open":
        return lambda row: row.state != "closed"
    return lambda row: row.state == wanted


def _answer_ms(row: Connection) -> float | None:
    return None if row.turns is None else row.turns.latency_ms.avg


def _connection_said(row: Connection) -> tuple[str, ...]:
    """The address, and the name under which it is shown."""
    return (row.remote.address,) if row.remote.name is None else (row.remote.name, row.remote.address)


def _dns_said(row: DnsQuery) -> tuple[str, ...]:
    said = (row.status,) if row.rcode in (None, row.status.upper()) else (row.status, row.rcode.lower())
    return (*said, "failed") if row.failed else said


def _ports(*ends: Endpoint | rows.RemoteEndpoint | None) -> Iterable[str]:
    """Each one once."""
    return dict.fromkeys(str(end.port) for end in ends if end is not None)


_DIRECTIONS = {"inbound": "in", "outbound": "out", "unknown": "unknown"}


def waited_ms(row: Connection, now: datetime) -> float | None:
    """How long a connection has waited by now; None if it does not, or nobody knows."""
    if row.waits_since is None:
        return None
    return max((now - row.waits_since).total_seconds() * 1000, 0.0)


# What outlives ordinary rows

NO_SUCH_NAME = ("EAI_NONAME", "EAI_NODATA", "HOST_NOT_FOUND", "NO_DATA", "FAILED")  # of look-ups; the last may be
SLOW_MS = 1_000.0  # far more than a far end or a chain of resolvers takes; TCP sends the first SYN again after it


def _query_outlives(row: DnsQuery) -> bool:
    """A failure or a slow answer, or one that may still become so; not each name of a search list that is none."""
    if row.status == "pending" or (row.latency_ms is not None and row.latency_ms >= SLOW_MS):
        return True
    return row.failed and row.rcode != "NXDOMAIN"


def _request_outlives(row: Request) -> bool:
    """A failure or a slow response, or what may still become so."""
    return row.pending or row.failed or (row.latency_ms is not None and row.latency_ms >= SLOW_MS)


def _lookup_outlives(row: Lookup) -> bool:
    """As of a query: not each name that there is none of."""
    if row.status == "pending" or (row.latency_ms is not None and row.latency_ms >= SLOW_MS):
        return True
    return row.failed and row.result not in NO_SUCH_NAME


def _connection_outlives(row: Connection) -> bool:
    return row.failed or (row.connect_ms is not None and row.connect_ms >= SLOW_MS)


# What is added up from the start

_PROCESS_SUMS = (
    "tx_bytes", "rx_bytes", "drops", "resets_sent", "resets_received", "icmp_errors",
    "tcp.tx_bytes", "tcp.rx_bytes", "tcp.opened", "tcp.accepted", "tcp.failed", "tcp.retransmits",
    "udp.tx_bytes", "udp.rx_bytes", "udp.rx_dropped", "other.tx_bytes", "other.rx_bytes", "other.rx_dropped",
    "dns.queries", "dns.answered", "dns.failed", "dns.timeouts", "turns.asked.count", "turns.was_asked.count",
    "requests.sent.count", "requests.sent.failed", "requests.sent.retried",
    "requests.sent.failed_4xx", "requests.sent.failed_5xx",
    "requests.served.count", "requests.served.failed", "requests.served.retried",
    "requests.served.failed_4xx", "requests.served.failed_5xx",
)  # fmt: skip
_HOST_SUMS = (
    "accepted", "failed", "tx_bytes", "rx_bytes", "tx_packets", "rx_packets", "retransmits", "unwanted_packets", "syns",
)  # fmt: skip


# The kinds


DNS: Kind[DnsQuery] = Kind(
    name="dns",
    label="DNS",
    plural="DNS queries",
    empty="no DNS queries yet",
    row=DnsQuery,
    event=events.DnsChanged,
    told="dns",
    key=attrgetter("id"),
    numbered=True,
    began=attrgetter("asked_at"),
    over_at=attrgetter("asked_at"),
    failed=attrgetter("failed"),
    outlives=_query_outlives,
    final=lambda row: row.status == "forgotten",  # an answer may turn out not to have arrived
    sort="time",
    history=10_000,  # about 15 MB with their answers: the last minutes of a busy host
    history_help="DNS queries that are kept, some 1.5 KB each",
    unlisted=attrgetter("queries"),
    tests={
        **_OWNED,
        BARE: _dns_word,
        "port": _dns_ports,
        "host": _dns_at,
        "dns": _dns_outcome,
        "type": lambda test: lambda row: test(row.qtype),
        "latency": compared(attrgetter("latency_ms")),
        "failed": lambda _: attrgetter("failed"),
    },
    timed={
        "since": happening(attrgetter("asked_at"), _answered_at),
        "new": beginning(attrgetter("asked_at")),
    },
    said={
        **_OWNERS,
        "dns": _dns_said,
        "type": lambda row: (row.qtype,),
        "host": lambda row: (row.qname, row.server.address),
        "port": lambda row: _ports(row.client, row.server),
    },
)

CONNECTIONS: Kind[Connection] = Kind(
    name="connections",
    label="connections",
    plural="connections",
    empty="no TCP connections yet",
    row=Connection,
    event=events.ConnectionChanged,
    told="connection",
    key=attrgetter("id"),
    numbered=True,
    began=attrgetter("opened_at"),
    ended=lambda row: row.state == "closed",
    over_at=attrgetter("closed_at"),
    failed=attrgetter("failed"),
    outlives=_connection_outlives,
    final=lambda row: row.state == "closed",
    sort="opened",
    history=10_000,  # about 8 MB; the open ones are bounded by the kernel's map
    history_help="closed connections that are kept, some 0.8 KB each",
    unlisted=lambda counted: counted.opened + counted.accepted,
    tests={
        **_OWNED,
        BARE: _connection_word,
        "port": _connection_ports,
        "host": _connection_at,
        "state": _in_state,
        "dir": lambda direction: lambda row: row.direction == direction,
        "end": lambda end: lambda row: row.end == end,
        "drop": _dropped,
        "answer": compared(_answer_ms),
        "rtt": compared(attrgetter("srtt_ms")),
        "connect": compared(attrgetter("connect_ms")),
        "rtx": compared(attrgetter("retransmits")),
        "rate": compared(_rate),
        "bytes": compared(_bytes),
        "tls": lambda test: lambda row: any(map(test, _tls_said(row))),
        "sni": _has_server_name,
        "failed": lambda _: attrgetter("failed"),
    },
    timed={
        "close-wait": _in_close_wait,
        "wait": _waits,
        "age": lasting(
            attrgetter("duration_ms"),
            attrgetter("opened_at"),
            lambda row: row.state == "closed",
            attrgetter("opened_before_start"),
        ),
        "since": happening(attrgetter("opened_at"), attrgetter("closed_at")),
        "new": beginning(attrgetter("opened_at")),
    },
    said={
        **_OWNERS,
        "state": lambda row: (row.state,) if row.state == "closed" else (row.state, "open"),
        "dir": lambda row: (_DIRECTIONS[row.direction],),
        "end": lambda row: (row.end,),
        "wait": lambda row: (row.waits_for,),
        "drop": lambda row: row.drops or (),
        "tls": _tls_said,
        "sni": _server_names,
        "host": _connection_said,
        "port": lambda row: _ports(row.local, row.remote),
    },
)

PROCESSES: Kind[Process] = Kind(
    name="processes",
    label="processes",
    plural="processes",
    empty="no process has used the network yet",
    row=Process,
    event=events.ProcessChanged,
    told="process",
    key=lambda row: (row.pid, row.start_time),  # pids are reused
    began=attrgetter("start_time"),
    sums=_PROCESS_SUMS,
    ended=lambda row: row.exited_at is not None,
    over_at=attrgetter("exited_at"),
    sort="traffic",
    history=4_000,  # about 6 MB
    history_help="ended processes that are kept, some 1.5 KB each",
    tests={
        **_OWNED,
        BARE: _OWNED["comm"],
        "drop": _dropped,
        "rtx": compared(attrgetter("tcp.retransmits")),
        "rate": compared(_rate),
        "bytes": compared(_bytes),
        "failed": lambda _: _process_failed,
    },
    timed={
        "age": lasting(_lasted_ms, attrgetter("start_time"), _never, _never),
        "since": happening(attrgetter("start_time"), attrgetter("exited_at")),
        "new": beginning(attrgetter("start_time")),
    },
    summed=frozenset({"drop", "rtx", "rate", "bytes", "failed"}),
    said={**_OWNERS, "drop": lambda row: row.drops or ()},
)

HOSTS: Kind[RemoteHost] = Kind(
    name="hosts",
    label="hosts",
    plural="remote hosts",
    empty="no remote host yet",
    row=RemoteHost,
    event=events.HostPacketsCounted,
    told="host_packets",
    key=lambda row: (row.netns, row.address),
    sums=_HOST_SUMS,
    ended=attrgetter("is_quiet"),
    over="quiet",
    outlives=lambda row: row.failed > 0,
    sort="rx_rate",
    history=4_000,  # about 6 MB; those with something open are bounded by the kernel's map of sockets
    history_help="hosts that are kept though nothing comes or is open, some 1.5 KB each",
    tests={
        BARE: _host_word,
        "pid": lambda numbers: _number_in(numbers, _pids),
        "comm": lambda test: lambda row: any(map(test, _comms(row))),
        "host": _host_at,
        "scope": lambda scope: lambda row: getattr(row, "scope", None) == scope,
        "rtt": compared(attrgetter("srtt_ms")),
        "rtx": compared(attrgetter("retransmits")),
        "rate": compared(_rate),
        "bytes": compared(_bytes),
        "failed": lambda _: lambda row: row.failed > 0,
    },
    summed=frozenset({"rtt", "rtx", "rate", "bytes", "failed"}),
    said={
        "pid": lambda row: map(str, row.pids),
        "comm": attrgetter("comms"),
        "host": lambda row: (row.name, row.address),
        "scope": lambda row: (row.scope,),
    },
    stacked=False,
)

UDP: Kind[UdpFlow] = Kind(
    name="udp",
    label="UDP",
    plural="UDP flows",
    empty="no UDP yet",
    row=UdpFlow,
    event=events.UdpChanged,
    told="udp",
    key=attrgetter("id"),
    numbered=True,
    ended=attrgetter("closed"),
    outlives=lambda row: row.rx_dropped > 0,
    final=attrgetter("closed"),
    sort="rx",
    history=10_000,  # about 7 MB, as many as queries; the open ones are bounded by the kernel's maps
    history_help="UDP flows that are kept after their end, some 0.7 KB each",
    tests={
        **_OWNED,
        BARE: _udp_word,
        "port": _udp_ports,
        "host": _udp_at,
        "bytes": compared(_bytes),
        "tls": lambda test: lambda row: any(map(test, _quic_said(row))),
        "sni": _has_server_name,
    },
    said={
        **_OWNERS,
        "tls": _quic_said,
        "sni": _server_names,
        "host": lambda row: () if row.remote is None else (row.remote.name, row.remote.address),
        "port": lambda row: _ports(row.local, row.remote),
    },
    stacked=False,
)

LISTENERS: Kind[Listener] = Kind(
    name="listeners",
    label="listeners",
    plural="listening sockets",
    empty="no listening sockets yet",
    row=Listener,
    event=events.ListenerChanged,
    told="listener",
    key=attrgetter("id"),
    numbered=True,
    began=attrgetter("opened_at"),
    ended=attrgetter("closed"),
    over_at=attrgetter("closed_at"),
    failed=attrgetter("failed"),
    outlives=lambda row: row.drops > row.drops_before_start,
    final=attrgetter("closed"),
    sort="drops",
    history=1_000,  # about 1 MB; the open ones are bounded by the kernel's map
    history_help="closed listening sockets that are kept, some 1 KB each",
    stacked=False,
    tests={
        "pid": lambda numbers: _number_in(numbers, _listener_pids),
        "comm": lambda test: lambda row: any(map(test, _listener_comms(row))),
        BARE: _listener_word,
        "port": _listens,
        "host": _listener_at,
        "listen": _listens,
        "failed": lambda _: attrgetter("failed"),
    },
    timed={
        "age": lasting(_listened_ms, attrgetter("opened_at"), attrgetter("closed"), attrgetter("opened_before_start")),
        "since": happening(attrgetter("opened_at"), attrgetter("closed_at")),
        "new": beginning(attrgetter("opened_at")),
    },
    said={
        "pid": lambda row: map(str, _listener_pids(row)),
        "comm": lambda row: dict.fromkeys(_listener_comms(row)),
        "host": lambda row: (row.address,),
        "port": lambda row: (str(row.port),),
        "listen": lambda row: (str(row.port), "full") if row.full else (str(row.port),),
    },
)

REQUESTS: Kind[Request] = Kind(
    name="requests",
    label="requests",
    plural="requests",
    empty="no request yet",
    row=Request,
    event=events.RequestChanged,
    told="request",
    key=attrgetter("id"),
    numbered=True,
    began=attrgetter("asked_at"),
    over_at=attrgetter("asked_at"),
    failed=attrgetter("failed"),
    outlives=_request_outlives,
    sort="time",
    history=10_000,  # about 10 MB
    history_help="requests that are kept, some 1 KB each",
    unlisted=lambda _counted: 0,  # the losses say it: connections that have rows have such requests too
    stacked=False,
    tests={
        **_OWNED,
        BARE: _request_word,
        "port": _request_ports,
        "host": _request_at,
        "side": lambda side: lambda row: row.side == side,
        "method": lambda test: lambda row: test(row.method),
        "path": lambda test: lambda row: test(row.path),
        "status": _request_status,
        "grpc": compared(attrgetter("grpc_status")),
        "protocol": lambda test: lambda row: test(row.protocol),
        "error": lambda test: lambda row: test(row.error_code),
        "latency": compared(attrgetter("latency_ms")),
        "failed": lambda _: attrgetter("failed"),
    },
    timed={
        "since": happening(attrgetter("asked_at"), _responded_at),
        "new": beginning(attrgetter("asked_at")),
    },
    said={
        **_OWNERS,
        "side": lambda row: (row.side,),
        "method": lambda row: (row.method,),
        "path": lambda row: (row.path,),
        "status": _request_said,
        "grpc": _grpc_said,
        "protocol": lambda row: (row.protocol,),
        "error": lambda row: (row.error_code,),
        "host": lambda row: dict.fromkeys(_request_hosts(row)),  # a row counts once
        "port": lambda row: dict.fromkeys(str(port) for port in (row.local_port, row.remote.port) if port is not None),
    },
)

LOOKUPS: Kind[Lookup] = Kind(
    name="lookups",
    label="look-ups",
    plural="look-ups",
    empty="no look-up yet",
    row=Lookup,
    event=events.LookupChanged,
    told="lookup",
    key=attrgetter("id"),
    numbered=True,
    began=attrgetter("asked_at"),
    over_at=attrgetter("asked_at"),
    failed=attrgetter("failed"),
    outlives=_lookup_outlives,
    final=lambda row: row.status in ("returned", "abandoned"),
    sort="time",
    history=10_000,  # about 7 MB, as many as queries
    history_help="look-ups that are kept, some 0.7 KB each",
    stacked=False,
    option="--lookups",
    tests={
        **_OWNED,
        BARE: _lookup_word,
        "host": _lookup_at,
        "lookup": lambda test: lambda row: any(map(test, _lookup_said(row))),
        "latency": compared(attrgetter("latency_ms")),
        "failed": lambda _: attrgetter("failed"),
    },
    timed={
        "since": happening(attrgetter("asked_at"), _returned_at),
        "new": beginning(attrgetter("asked_at")),
    },
    said={
        **_OWNERS,
        "lookup": _lookup_said,
        "host": lambda row: dict.fromkeys(_lookup_hosts(row)),
    },
)

KINDS: tuple[Kind[Any], ...] = (DNS, CONNECTIONS, PROCESSES, LISTENERS, HOSTS, UDP, REQUESTS, LOOKUPS)
"""In the order of the screen and of the settings."""

KIND_OF_EVENT: Mapping[type[events.Event], Kind[Any]] = {kind.event: kind for kind in KINDS}

IN_SNAPSHOT: tuple[Kind[Any], ...] = tuple(
    kind for field in Snapshot.__struct_fields__ for kind in KINDS if kind.name == field
)
"""In the order in which a snapshot has them."""
