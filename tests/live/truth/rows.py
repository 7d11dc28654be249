"""What a scenario knows of its own traffic, each row as the program that made it saw it.

Times are CLOCK_MONOTONIC of the machine, which all programs of a scenario share. None: the program cannot know it, and
nobody is measured by it.
"""

from typing import Literal

from msgspec import Struct

from nettop.model.rows import (
    MAX_COUNT,
    AddressScope,
    DnsStatus,
    End,
    LookupFunction,
    RequestProtocol,
    RequestSide,
    Side,
    TcpState,
    WaitsFor,
)


class Query(Struct, frozen=True, kw_only=True):
    """One question: first sent after `asked_ns`, its answer in the program's hands by `answered_ns`."""

    pid: int
    comm: str
    qname: str
    qtype: str
    server: str
    transport: Literal["udp", "tcp"] = "udp"
    status: DnsStatus = "answered"
    rcode: str | None = "NOERROR"
    answers: tuple[str, ...] | None = None
    attempts: int = 1
    asked_ns: int | None = None
    answered_ns: int | None = None


class Lookup(Struct, frozen=True, kw_only=True):
    """A call of a function of the C library. `asked` are the names of its queries, sorted as the `addresses` are."""

    pid: int
    comm: str
    name: str
    function: LookupFunction
    result: str
    asked: tuple[str, ...]
    addresses: tuple[str, ...] | None = None
    took_ms: float | None = None


class Connection(Struct, frozen=True, kw_only=True):
    """One end of a connection, as the process knows it that has this end.

    `tx_before` and `rx_before` are what it had carried before nettop started.
    `fin_ns` is before and after the call that sent its FIN, if nobody else held the socket; `eof_ns` when it had read
    the other end's. `other_fin_ns` and `other_eof_ns` are those of the other end.
    `over_ns` is when this end had sent its FIN and read the other's, or was told of the failure; a connection is over
    when both of its ends are.
    `waits_for` is for whom one that stays alive keeps waiting, `asked` how often the asking end asked on it.
    `drops` and `resets_sent` are packets by the kernel's reason.
    """

    pid: int
    comm: str
    direction: Literal["outbound", "inbound"]
    local: tuple[str | None, int | None]
    remote: tuple[str, int]
    tx_bytes: int | None = None
    rx_bytes: int | None = None
    tx_before: int = 0
    rx_before: int = 0
    opened_ns: int | None = None
    established_ns: int | None = None
    over_ns: int | None = None
    end: End | None = None
    fin_ns: tuple[int, int] | None = None
    eof_ns: int | None = None
    other_fin_ns: tuple[int, int] | None = None
    other_eof_ns: int | None = None
    waits_for: WaitsFor | None = None
    asked: int | None = None
    drops: dict[str, int] | None = None
    resets_sent: dict[str, int] | None = None
    resets_received: int | None = None

    @property
    def closed_first(self) -> Side | None:
        """Which end sent its FIN first, where one of them had read the other's before it sent its own."""
        if self.fin_ns and self.eof_ns and self.eof_ns <= self.fin_ns[0]:
            return "remote"
        if self.other_fin_ns and self.other_eof_ns and self.other_eof_ns <= self.other_fin_ns[0]:
            return "local"
        return None

    def closing_ms(self) -> dict[tuple[TcpState, ...], tuple[float, float]]:
        """How long it was in these states, at least and at most, as far as the two programs can tell."""
        first = self.closed_first
        if first is None or self.eof_ns is None:
            return {}
        sent = self.fin_ns if first == "local" else self.other_fin_ns  # of the first FIN
        spans: dict[tuple[TcpState, ...], tuple[float, float]] = {}
        if sent and self.opened_ns and self.established_ns:
            reached = sent[1] if first == "local" else self.eof_ns
            spans["established",] = ((sent[0] - self.established_ns) / 1e6, (reached - self.opened_ns) / 1e6)
        if first == "remote" and self.fin_ns:
            longest = self.fin_ns[1] - sent[0] if sent else MAX_COUNT
            spans["close-wait",] = ((self.fin_ns[0] - self.eof_ns) / 1e6, longest / 1e6)
        if first == "local" and self.fin_ns and self.other_fin_ns:
            least = self.other_fin_ns[0] - self.fin_ns[1]
            spans["fin-wait-1", "fin-wait-2"] = (least / 1e6, (self.eof_ns - self.fin_ns[0]) / 1e6)
        return spans


class Request(Struct, frozen=True, kw_only=True):
    """One request as one of its ends logged it.

    `took_ms` is what the client waited by its own clock, from before it sent the request until it had the beginning of
    the answer; the server took no longer.
    """

    pid: int
    side: RequestSide
    protocol: RequestProtocol
    method: str
    path: str
    status: int
    comm: str | None = None
    host: str | None = None
    grpc_status: int | None = None
    took_ms: float | None = None

    @property
    def failed(self) -> bool:
        """Whether it counts as one that failed."""
        return self.status >= 400 or bool(self.grpc_status)


class Handshake(Struct, frozen=True, kw_only=True):
    """What both ends of a connection of TLS agreed on, as one of them logged it; `alpn` "" where that is encrypted."""

    pid: int
    server_name: str
    version: str
    alpn: str
    alpn_offered: tuple[str, ...]
    resumed: bool
    cipher: str | None = None


class Datagrams(Struct, frozen=True, kw_only=True):
    """UDP payload that a process sent and received, and datagrams for which its sockets had no room."""

    pid: int
    comm: str
    tx_bytes: int = 0
    rx_bytes: int = 0
    rx_dropped: int = 0


class Process(Struct, frozen=True, kw_only=True):
    """The totals of a process."""

    pid: int
    comm: str
    tcp_tx_bytes: int | None = None
    tcp_rx_bytes: int | None = None
    udp_tx_bytes: int | None = None
    udp_rx_bytes: int | None = None
    udp_rx_dropped: int | None = None
    cgroup: str | None = None


class Flow(Struct, frozen=True, kw_only=True):
    """What one UDP socket exchanged with one remote end, in payload and datagrams."""

    pid: int
    comm: str
    local: tuple[str, int]
    remote: tuple[str, int]
    tx_bytes: int
    rx_bytes: int
    tx_packets: int
    rx_packets: int


class Listener(Struct, frozen=True, kw_only=True):
    """A listening socket as it is in the end. `holders` are the pids that have it open, in their order."""

    pid: int
    comm: str
    address: str
    port: int
    holders: tuple[int, ...]
    queue: int
    queue_limit: int
    drops: int
    accepted: int
    open: int


class Host(Struct, frozen=True, kw_only=True):
    """What a network namespace exchanged with a remote address. `pids` are those who talked to it, in their order."""

    netns: int
    address: str
    scope: AddressScope
    pids: tuple[int, ...]
    accepted: int
    failed: int
    tx_bytes: int
    rx_bytes: int
    tx_packets: int | None = None
    rx_packets: int | None = None
    unwanted_packets: int | None = None
    syns: int | None = None


class Dropped(Struct, frozen=True, kw_only=True):
    """What happened to packets of a process, by the kernel's reason."""

    pid: int
    comm: str
    drops: dict[str, int] = {}
    resets_sent: dict[str, int] = {}
    resets_received: int = 0
    icmp_errors: dict[str, int] = {}


class Stray(Struct, frozen=True, kw_only=True):
    """The same of packets that no process has, of one far end."""

    netns: int
    remote: str
    drops: dict[str, int] = {}
    resets_sent: dict[str, int] = {}
    resets_received: int = 0
    icmp_sent: dict[str, int] = {}


class Fact(Struct, frozen=True, kw_only=True):
    """One line of a scenario's ledger: what a program writes once it knows."""

    query: Query | None = None
    connection: Connection | None = None
    datagrams: Datagrams | None = None
    process: Process | None = None
    flow: Flow | None = None
    listener: Listener | None = None
    host: Host | None = None
    dropped: Dropped | None = None
    stray: Stray | None = None
    request: Request | None = None
    handshake: Handshake | None = None
    lookup: Lookup | None = None


class Truth(Struct, frozen=True, kw_only=True):
    """All that a scenario made. `bystanders` are the processes that may be seen too: its servers.

    `foreign` are programs of others, which log their requests and nothing else: their connections are not asked about.
    Of the kinds from `flows` to `handshakes`, and of `lookups`, only a scenario that has one says that these are all.
    """

    queries: tuple[Query, ...] = ()
    connections: tuple[Connection, ...] = ()
    processes: tuple[Process, ...] = ()
    flows: tuple[Flow, ...] = ()
    listeners: tuple[Listener, ...] = ()
    hosts: tuple[Host, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    strays: tuple[Stray, ...] = ()
    handshakes: tuple[Handshake, ...] = ()
    requests: tuple[Request, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    bystanders: frozenset[int] = frozenset()
    foreign: frozenset[int] = frozenset()
