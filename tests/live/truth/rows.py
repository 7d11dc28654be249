"""What a scenario knows of its own traffic, each row as the program that made it saw it.

Times are CLOCK_MONOTONIC of the machine, which all programs of a scenario share. None: the program cannot know it, and
nobody is measured by it.
"""

from typing import Literal

from msgspec import Struct

from nettop.model.rows import DnsStatus, End


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


class Connection(Struct, frozen=True, kw_only=True):
    """One end of a connection, as the process knows it that has this end.

    `tx_before` and `rx_before` are what it had carried before nettop started.
    `over_ns` is when this end had sent its FIN and read the other's, or was told of the failure; a connection is over
    when both of its ends are.
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


class Fact(Struct, frozen=True, kw_only=True):
    """One line of a scenario's ledger: what a program writes once it knows."""

    query: Query | None = None
    connection: Connection | None = None
    datagrams: Datagrams | None = None
    process: Process | None = None


class Truth(Struct, frozen=True, kw_only=True):
    """All that a scenario made. `bystanders` are the processes that may be seen too: its servers."""

    queries: tuple[Query, ...] = ()
    connections: tuple[Connection, ...] = ()
    processes: tuple[Process, ...] = ()
    bystanders: frozenset[int] = frozenset()
