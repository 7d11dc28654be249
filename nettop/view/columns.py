"""The columns of the panes, declared: what a cell says, how wide it is, how it sorts, when it is dropped."""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import cycle
from operator import attrgetter
from typing import Any, Generic, Literal, TypeVar

from nettop.model.kinds import (
    CONNECTIONS,
    DNS,
    HOSTS,
    LISTENERS,
    LOOKUPS,
    NO_SUCH_NAME,
    PROCESSES,
    REQUESTS,
    UDP,
    AnyRow,
    Kind,
    waited_ms,
)
from nettop.model.mark import Mark
from nettop.model.owners import NOBODY, Owners
from nettop.model.rows import (
    Connection,
    DnsQuery,
    Listener,
    Lookup,
    Process,
    RemoteEndpoint,
    RemoteHost,
    Request,
    UdpFlow,
)
from nettop.view import format as human
from nettop.view.services import service

RowT = TypeVar("RowT")
_DASH = "-"
FAILED_CONNECTS = "connects that were never established; a connection that was reset later is not among them"
FAILURE = "! "  # begins a cell that says that something went wrong
Outcome = Literal["failed", "doubtful"]


@dataclass(frozen=True)
class Context:
    """What a cell may depend on besides its row."""

    now: datetime
    names: bool = True  # show remote names instead of addresses
    traffic: Mapping[Any, Sequence[float]] = field(default_factory=dict)  # bytes/s of the last ticks, by process
    owners: Owners = NOBODY  # the processes that rows belong to
    start: datetime | None = None  # when nettop began to watch; what began then or later is new
    mark: Mark | None = None

    @cached_property
    def traffic_top(self) -> float:
        """The highest of these rates, of which all bars are parts: they can be compared."""
        return max(map(max, self.traffic.values()), default=0.0)


@dataclass(frozen=True)
class Column(Generic[RowT]):
    """One column. `priority` 1 stays longest on a narrow terminal; `grow` shares what width is left.

    Attributes:
        sort: the name of a field, or what a row sorts by.
        descending: the direction that one wants first.
        shorter: other wordings for less room, each shorter than the one before and than `text`.
        keeps: where the text is cut, what begins with the last of these stays: a port, a pid, an address.
        instead_of: columns that this one replaces where not all columns have room.
        pair: the column that is dropped with it.
        anchor: it stays in its place while the others are scrolled.
        matters: whether rows have something in this column that is to be seen even where width is short.
        doubtful: whether what went wrong may be harmless, or long ago.
        also: names of what else the values tell by which it sorts, if each is several.
        chart: drawn, from what the screen has seen before: nothing for a text.
        yields: gives the cells that its rows do not need to columns that grow.

    """

    key: str
    title: str
    meaning: str
    cells: int
    priority: int
    text: Callable[[RowT, Context], str]
    sort: str | Callable[[RowT, Context], Any]
    align: Literal["left", "right"] = "left"
    grow: int = 0
    descending: bool = False
    shorter: Callable[[RowT, Context], Sequence[str]] | None = None
    keeps: Literal["", ":", "[", " "] = ""
    instead_of: tuple[str, ...] = ()
    pair: str = ""
    anchor: bool = False
    matters: Callable[[Sequence[RowT], Context], bool] | None = None
    doubtful: Callable[[RowT], bool] | None = None
    also: tuple[str, ...] = ()
    chart: bool = False
    yields: bool = False

    def mark(self, row: RowT, text: str) -> Outcome | None:
        """How the cell with this text stands out, if it does."""
        if not text.startswith(FAILURE):
            return None
        return "doubtful" if self.doubtful is not None and self.doubtful(row) else "failed"

    def sort_key(self, context: Context) -> Callable[[RowT], Any]:
        """What a row sorts by in this column; None where that is unknown."""
        if isinstance(self.sort, str):
            return attrgetter(self.sort)  # five times faster than a function of ours
        by = self.sort
        return lambda row: by(row, context)


@lru_cache(maxsize=32_768)  # some 5 MB: the addresses of a full connection table
def _in_order(address: str) -> tuple[int, int]:
    """What an address sorts by: its number, IPv4 first. What is none comes before."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return 0, 0
    return parsed.version, int(parsed)


@lru_cache(maxsize=32_768)
def name_in_order(name: str) -> tuple[str | int, ...]:
    """What a name sorts by: letters without regard to case, numbers by their value, so that web9 precedes web10."""
    parts = _DIGITS.split(name.lower())  # text and digits in turn, so that only like is compared
    return tuple(int(part) if odd else part for part, odd in zip(parts, cycle((False, True)), strict=False))


_DIGITS = re.compile(r"([0-9]{1,18})")


def _number(value: int | None) -> str:
    return _DASH if value is None else str(value)


def _nonzero(value: int) -> str:
    return str(value) if value else _DASH


def _alarming(value: int) -> str:
    """In six cells."""
    return f"! {human.short_count(value, 4)}" if value else _DASH


def _since_start(_row: Any) -> bool:
    """A count only grows: what it counts may have been over for hours."""
    return True


# What the columns of several kinds have in common


def _service(row: AnyRow, context: Context) -> str | None:
    return service(context.owners.of(row))


def _service_order(row: AnyRow, context: Context) -> tuple[str | int, ...] | None:
    said = _service(row, context)
    return None if said is None else name_in_order(said)


def _service_column(priority: int, cells: int = 16) -> Column[Any]:
    meaning = "systemd unit, container or pod that the process belongs to"
    return Column(
        "service", "SERVICE", meaning, cells, priority, lambda r, c: _service(r, c) or _DASH, _service_order, grow=1
    )


def who(comm: str | None, pid: int | None) -> str:
    """A process in one word: `nginx[900]`."""
    return comm or _DASH if pid is None else f"{comm or '?'}[{pid}]"


_BEFORE_OTHERS = 20  # share of the width that is left, of a column whose words are few and say most
_WHO_CELLS = 17  # `api-server[15234]`; the longest takes 24


def _who_column(text: Callable[[RowT], str]) -> Column[RowT]:
    """The process in one column instead of two."""

    def order(row: Any, _context: Context) -> tuple[str, int] | None:
        return None if row.comm is None else (row.comm, row.pid or 0)

    return Column(
        "who", "WHO", "PID and COMM in one where width is short", _WHO_CELLS, 1, lambda row, _: text(row), order,
        grow=4, keeps="[", instead_of=("pid", "comm"), anchor=True,
    )  # fmt: skip


# DNS


def dns_result(row: DnsQuery, _context: Context) -> str:
    """The answer's code, or what came instead; `!` marks a failure."""
    results = {
        "answered": row.rcode or "?",
        "timeout": "TIMEOUT",
        "refused": "CLOSED",
    }  # the port; REFUSED is an answer code
    result = results.get(row.status, row.status)
    return f"! {result}" if row.failed else result


def _dns_answers(row: DnsQuery, _context: Context) -> str:
    if row.unparsed is not None and not row.answers:
        return "(could not be parsed)"
    if row.truncated:
        return "(truncated)"
    addresses_first = sorted(row.answers, key=lambda answer: answer.type not in ("A", "AAAA"))  # before their CNAMEs
    kept = " ".join(answer.data for answer in addresses_first)
    if row.unparsed is not None:
        return f"(cut) {kept}"
    return f"({len(row.answers) + row.answers_cut} records) {kept}" if row.answers_cut else kept


def _answers_order(row: DnsQuery, context: Context) -> tuple[int, tuple[str | int, ...]]:
    """By the first record that is shown: an address by its number, after names and remarks."""
    first = next((answer for answer in row.answers if answer.type in ("A", "AAAA")), None)
    if first is not None and row.unparsed is None and not row.truncated:
        return 1, _in_order(first.data)
    return 0, name_in_order(_dns_answers(row, context))


def dns_server(row: DnsQuery, _context: Context | None = None) -> str:
    """Its address; with its port if that is not 53."""
    return row.server.address if row.server.port == 53 else endpoint(row.server.address, row.server.port)


DNS_COLUMNS: tuple[Column[DnsQuery], ...] = (
    Column(
        "time", "TIME", "when it was first asked", 8, 3, lambda r, _: human.clock(r.asked_at), "asked_at",
        descending=True,
    ),
    Column("pid", "PID", "process that asked", 7, 2, lambda r, _: _number(r.pid), "pid", "right", anchor=True),
    Column("comm", "COMM", "its name", 15, 1, lambda r, _: r.comm or _DASH, "comm", anchor=True),
    _who_column(lambda r: who(r.comm, r.pid)),
    _service_column(8),
    Column(
        "name", "NAME", "name asked for", 18, 1, lambda r, _: r.qname or "(unknown)",
        lambda r, _: None if r.qname is None else name_in_order(r.qname), grow=3, anchor=True,
    ),
    Column("type", "TYPE", "record type asked for", 5, 4, lambda r, _: r.qtype or _DASH, "qtype"),
    Column("result", "RESULT", "answer code or state; ! marks a failure", 10, 1, dns_result, dns_result,
           doubtful=lambda r: r.rcode == "NXDOMAIN"),
    Column(
        "latency", "LATENCY", "from first question to answer", 7, 2, lambda r, _: human.duration(r.latency_ms),
        "latency_ms", "right", descending=True,
    ),
    Column(
        "attempts", "TRY", "how often it was sent", 3, 4, lambda r, _: str(r.attempts), "attempts",
        "right", descending=True,
    ),
    Column(
        "server", "SERVER", "where it was sent", 15, 5, dns_server,
        lambda r, _: (_in_order(r.server.address), r.server.port), grow=1,
    ),
    Column("answers", "ANSWERS", "what came back", 16, 7, _dns_answers, _answers_order, grow=3),
)  # fmt: skip


# Connections

_ARROWS = {"outbound": "out", "inbound": "in", "unknown": "?"}


def endpoint(address: str, port: int) -> str:
    """`192.0.2.1:443` or `[2001:db8::1]:443` (RFC 5952 section 6)."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def local(row: Connection) -> str | None:
    """The near end; None if none was chosen before connect() failed."""
    return endpoint(row.local.address, row.local.port) if row.local.port else None


def remote(row: Connection | UdpFlow | Request, context: Context) -> str:
    """The far end: its name as its owner looked it up; `~` marks one that only other processes asked for."""
    end = row.remote
    if end is None:
        return _DASH
    name = end.name if context.names else None
    if name is None:
        return endpoint(end.address, end.port)
    if end.name_source != "other-process":
        return f"{name}:{end.port}"
    # they asked for several: no telling which of them this is
    return f"~{len(end.names) + 1} names {endpoint(end.address, end.port)}" if end.names else f"~{name}:{end.port}"


def _is_unclear(end: RemoteEndpoint) -> bool:
    """Whether only other processes asked for it, and for several names."""
    return end.name_source == "other-process" and bool(end.names)


def _remote_order(
    row: Connection | UdpFlow | Request, context: Context
) -> tuple[int, tuple[str | int, ...], int] | None:
    """By what is shown: addresses before names, each with its port."""
    end = row.remote
    if end is None:
        return None
    if end.name is None or end.names or not context.names:
        return 0, _in_order(end.address), end.port
    return 1, name_in_order(end.name), end.port


def service_port(row: Connection) -> str:
    """What an inbound connection begins with: the port that it came in on; empty for others."""
    return f":{row.local.port} < " if row.direction == "inbound" else ""


def _far_end(row: Connection, context: Context) -> str:
    """The far end, of an inbound connection behind the port that it came in on; a local process by its name too."""
    text = f"{service_port(row)}{remote(row, context)}"
    return text if row.peer is None else f"{text} {who(row.peer.comm, row.peer.pid)}"


def _far_end_shorter(row: Connection, context: Context) -> tuple[str, ...]:
    """Less of it: the port of a client, which the kernel chose, goes first, then the address of what is local.

    A name stays, because that is what somebody has asked for; its process goes. How many names there are goes first.
    """
    unclear = _is_unclear(row.remote)
    inbound = service_port(row)
    full = endpoint(row.remote.address, row.remote.port) if unclear else remote(row, context)
    host = full[: full.rindex(":")]
    if row.peer is None:
        return (f"{inbound}{host}",) if inbound else (full,) if unclear else ()
    peer = who(row.peer.comm, row.peer.pid)
    if inbound:
        return f"{inbound}{host} {peer}", f"{inbound}{peer}", f"{inbound}{row.peer.comm or peer}"
    if row.remote.name is not None and context.names and not unclear:
        return f"{full} {row.peer.comm or peer}", full
    return f":{row.remote.port} {peer}", f":{row.remote.port} {row.peer.comm or peer}"


def age_ms(row: Connection, context: Context) -> float | None:
    """Its duration, so far if it is open; None if its beginning is unknown."""
    if row.duration_ms is not None or row.opened_at is None or row.state == "closed":
        return row.duration_ms
    return max((context.now - row.opened_at).total_seconds() * 1000, 0.0)


def least_age_ms(row: Connection, context: Context) -> float | None:
    """How long it has lasted at least: one that is older than nettop as long as nettop has seen it.

    So an open one of these is older than any that was opened since.
    """
    known = age_ms(row, context)
    if known is not None or not row.opened_before_start or context.start is None:
        return known
    until = row.closed_at if row.state == "closed" else context.now
    return None if until is None else max((until - context.start).total_seconds() * 1000, 0.0)


def in_state_ms(row: Connection, context: Context) -> float | None:
    """How long it has been seen in its state; None if it has ended, or if that is unknown."""
    return row.in_state_ms(row.state, context.now)


def wait_ms(row: Connection, context: Context) -> float | None:
    """How long it has waited by now; None if it does not, or nobody knows."""
    return waited_ms(row, context.now)


WAIT_MATTERS_MS = 1_000  # questions and answers that just go to and fro are shorter
_WAITS = {"remote-window": "window"}  # shorter where it is known what it is about


def _wait(row: Connection, context: Context) -> str:
    if row.waits_for is None:
        return _DASH
    whom = _WAITS.get(row.waits_for, row.waits_for)
    waited = wait_ms(row, context)
    if waited is None:
        return whom
    return f"{whom} {'<1s' if waited < WAIT_MATTERS_MS else human.whole(waited)}"


def _answer_ms(row: Connection, _context: Context) -> float | None:
    return None if row.turns is None else row.turns.latency_ms.avg


def _doubt(row: Connection) -> str:
    return "?" if row.owner == "listener" else ""


def _opened(row: Connection, _context: Context) -> str:
    return "> start" if row.opened_before_start else human.clock(row.opened_at)


def _age(row: Connection, context: Context) -> str:
    least = least_age_ms(row, context)
    return f">{human.whole(least)}" if row.opened_before_start and least is not None else human.duration(least)


def _end(row: Connection, _context: Context) -> str:
    if row.state != "closed":
        return ""
    if row.end is None:
        return "unseen"
    if not row.failed:
        return row.end
    return f"! {row.end} (fw)" if row.silenced_by == "firewall" else f"! {row.end}"


def _state_or_end(row: Connection, context: Context) -> str:
    """Its state while it lives, why it failed after it."""
    if row.state != "closed":
        return row.state
    return "closed" if row.end == "normal" else _end(row, context)


def _state_or_end_order(row: Connection, _context: Context) -> tuple[bool, str]:
    return row.state == "closed", row.end or "" if row.state == "closed" else row.state


def _somebody_waits(rows: Sequence[Connection], context: Context) -> bool:
    """Whether one of them has waited for a while."""
    since = min(filter(None, map(attrgetter("waits_since"), rows)), default=context.now)
    return (context.now - since).total_seconds() * 1000 >= WAIT_MATTERS_MS


def drops(row: Connection | Process) -> int | None:
    """Its packets that this host dropped, for whatever reason; None if the kernel does not tell."""
    return None if row.drops is None else sum(row.drops.values())


def _drops(row: Connection, _context: Context) -> str:
    return _nonzero(drops(row) or 0)


CONNECTION_COLUMNS: tuple[Column[Connection], ...] = (
    Column(
        "opened", "OPENED", "when it was opened; > before nettop started", 8, 9, _opened, "opened_at",
        descending=True,
    ),
    Column("pid", "PID", "process that owns it", 7, 2, lambda r, _: _number(r.pid), "pid", "right", anchor=True),
    Column("comm", "COMM", "its name; ? marks an owner known by its listener only", 15, 1,
           lambda r, _: (r.comm or _DASH) + _doubt(r), "comm", anchor=True),
    _who_column(lambda r: who(r.comm, r.pid) + _doubt(r)),
    _service_column(11, 12),  # so that 200 cells have room for all columns
    Column("direction", "DIR", "who opened it", 3, 6, lambda r, _: _ARROWS[r.direction], "direction"),
    Column(
        "local", "LOCAL", "this end", 15, 8, lambda r, _: local(r) or _DASH,
        lambda r, _: (_in_order(r.local.address), r.local.port), grow=1, keeps=":",
    ),
    Column("remote", "REMOTE", "far end, ~ if named by other processes; behind :PORT < if it came in there; with its "
           "process if that is on this host", 17, 1, _far_end, _remote_order, grow=3,
           shorter=_far_end_shorter, keeps=":", anchor=True),
    Column("state", "STATE", "TCP state", 11, 4, lambda r, _: r.state, "state"),
    Column("state_end", "STATE", "TCP state, then how it ended, in one where width is short", 11, 1, _state_or_end,
           _state_or_end_order, grow=_BEFORE_OTHERS, instead_of=("state", "end")),
    Column("in_state", "FOR", "how long it has been seen in this state", 6, 8,
           lambda r, c: human.duration(in_state_ms(r, c)), in_state_ms, "right", descending=True),
    Column("age", "AGE", "how long it has lasted; > one older than nettop, which has watched it for so long", 6, 2,
           _age, least_age_ms, "right", descending=True),
    Column("connect", "CONNECT", "how long it took to be established", 7, 9,
           lambda r, _: human.duration(r.connect_ms), "connect_ms", "right", descending=True),
    Column("tx", "TX", "payload sent", 6, 3, lambda r, _: human.size(r.tx_bytes), "tx_bytes", "right",
           descending=True, pair="rx"),
    Column("rx", "RX", "payload received", 6, 3, lambda r, _: human.size(r.rx_bytes), "rx_bytes", "right",
           descending=True, pair="tx"),
    Column("tx_rate", "TX/s", "payload sent per second", 6, 4, lambda r, _: human.rate(r.tx_bytes_per_s),
           "tx_bytes_per_s", "right", descending=True, pair="rx_rate"),
    Column("rx_rate", "RX/s", "payload received per second", 6, 4, lambda r, _: human.rate(r.rx_bytes_per_s),
           "rx_bytes_per_s", "right", descending=True, pair="tx_rate"),
    Column("srtt", "SRTT", "smoothed round-trip time", 7, 7, lambda r, _: human.duration(r.srtt_ms),
           "srtt_ms", "right", descending=True),
    Column("retransmits", "RTX", "segments sent again", 4, 6, lambda r, _: _nonzero(r.retransmits),
           "retransmits", "right", descending=True),
    Column("drops", "DROPS", "packets of it that this host dropped", 5, 10, _drops, lambda r, _: drops(r), "right",
           descending=True),
    Column("wait", "WAIT", "whom it waits for (local, remote, network, or the far end's window), how long", 10,
           6, _wait, wait_ms, descending=True, grow=1, matters=_somebody_waits),
    Column("answer", "ANSWER", "mean time to an answer, of either end", 7, 8,
           lambda r, c: human.duration(_answer_ms(r, c)), _answer_ms, "right", descending=True),
    Column("end", "END", "how it ended; ! marks a failure, (fw) a firewall of this host", 15, 1, _end, "end"),
)  # fmt: skip


# Processes

SPARKLINE_CELLS = 10


def _traffic(row: Process, context: Context) -> str:
    history = context.traffic.get(PROCESSES.key(row), ())
    return human.sparkline(list(history), SPARKLINE_CELLS, context.traffic_top) if history else ""


def _rates(row: Process, _context: Context) -> float:
    return row.tx_bytes_per_s + row.rx_bytes_per_s


def _command(row: Process, _context: Context) -> str:
    """Where two processes have the same name, their arguments tell them apart: what little room there is, is theirs."""
    if not row.cmdline:
        return _DASH
    program, *arguments = row.cmdline
    if program.startswith("/") and " " not in program:  # not a title that the process gave itself
        program = program.rpartition("/")[2] or program
    return " ".join((program, *arguments))


PROCESS_COLUMNS: tuple[Column[Process], ...] = (
    Column("pid", "PID", "process id", 7, 2, lambda r, _: str(r.pid), "pid", "right", anchor=True),
    Column("comm", "COMM", "its name; x marks one that has ended", 15, 1,
           lambda r, _: r.comm if r.exited_at is None else f"x {r.comm}", "comm", grow=1, anchor=True),
    _who_column(lambda r: who(r.comm if r.exited_at is None else f"x {r.comm}", r.pid)),
    Column("user", "USER", "who runs it", 9, 6, lambda r, _: r.user or str(r.uid),
           lambda r, _: name_in_order(r.user or str(r.uid))),
    _service_column(7),
    Column("tx", "TX", "payload sent, TCP and UDP", 6, 3, lambda r, _: human.size(r.tx_bytes), "tx_bytes",
           "right", descending=True, pair="rx"),
    Column("rx", "RX", "payload received, TCP and UDP", 6, 3, lambda r, _: human.size(r.rx_bytes),
           "rx_bytes", "right", descending=True, pair="tx"),
    Column("tx_rate", "TX/s", "payload sent per second", 6, 1, lambda r, _: human.rate(r.tx_bytes_per_s),
           "tx_bytes_per_s", "right", descending=True, pair="rx_rate"),
    Column("rx_rate", "RX/s", "payload received per second", 6, 1, lambda r, _: human.rate(r.rx_bytes_per_s),
           "rx_bytes_per_s", "right", descending=True, pair="tx_rate"),
    Column("traffic", "TRAFFIC", "both rates over the last ticks, all rows on one scale", SPARKLINE_CELLS, 4, _traffic,
           _rates, descending=True, chart=True),
    Column("active", "CONN", "open connections", 5, 2, lambda r, _: _nonzero(r.tcp.active), "tcp.active",
           "right", descending=True),
    Column("leaking", "LEAK", "connections in CLOSE_WAIT for over a minute: it has not closed them", 5, 4,
           lambda r, _: f"! {r.leaking}" if r.leaking else _DASH, "leaking", "right", descending=True,
           matters=lambda rows, _: any(map(attrgetter("leaking"), rows))),
    Column("opened", "OPENED", "connections opened or accepted", 6, 4,
           lambda r, _: _nonzero(r.tcp.opened + r.tcp.accepted), lambda r, _: r.tcp.opened + r.tcp.accepted, "right",
           descending=True),
    Column("failed", "FAILED", FAILED_CONNECTS, 6, 3,
           lambda r, _: _alarming(r.tcp.failed), "tcp.failed", "right",
           descending=True, doubtful=_since_start),
    Column("dns", "DNS", "queries", 6, 2, lambda r, _: _nonzero(r.dns.queries), "dns.queries", "right",
           descending=True),
    Column("dns_failed", "DNSFAIL", "queries answered with an error, or not at all", 7, 3,
           lambda r, _: f"! {_dns_failures(r)}" if _dns_failures(r) else _DASH, lambda r, _: _dns_failures(r), "right",
           descending=True, doubtful=_since_start),
    Column("retransmits", "RTX", "segments sent again", 5, 6, lambda r, _: _nonzero(r.tcp.retransmits),
           "tcp.retransmits", "right", descending=True),
    Column("rx_dropped", "DROPS", "UDP datagrams that its sockets refused, mostly for lack of buffer space", 6, 8,
           lambda r, _: f"! {r.udp.rx_dropped}" if r.udp.rx_dropped else _DASH, "udp.rx_dropped", "right",
           descending=True, doubtful=_since_start),
    Column("other", "OTHER", "bytes of ICMP, SCTP and raw sockets, both ways; not in TX and RX", 6, 10,
           lambda r, _: human.rate(_other(r)), lambda r, _: _other(r), "right", descending=True),
    Column("answer", "ANSWER", "its own answers: 95 of a hundred came within this time", 7, 8,
           lambda r, _: human.duration(r.turns.was_asked.latency_ms.p95), "turns.was_asked.latency_ms.p95", "right",
           descending=True),
    Column("asked", "ASKED", "answers that it got: 95 of a hundred came within this time", 7, 9,
           lambda r, _: human.duration(r.turns.asked.latency_ms.p95), "turns.asked.latency_ms.p95", "right",
           descending=True),
    Column("exited", "EXITED", "when it ended", 8, 8, lambda r, _: human.clock(r.exited_at), "exited_at",
           descending=True),
    Column("command", "COMMAND", "its command line, the program without its directory", 20, 5, _command, _command,
           grow=8),
)  # fmt: skip


def _other(row: Process) -> int:
    return row.other.tx_bytes + row.other.rx_bytes


def _dns_failures(row: Process) -> int:
    return row.dns.failed + row.dns.timeouts


# Hosts


def _host(row: RemoteHost, context: Context) -> str:
    """Its name and its address; `~` as of a connection."""
    if row.name is None or not context.names:
        return row.address
    own = row.name_source != "other-process"
    if row.names:  # the last one would be another at every look-up
        return f"({len(row.names) + 1} names) {row.address}" if own else f"~{len(row.names) + 1} names {row.address}"
    return f"{'' if own else '~'}{row.name} {row.address}"


def _host_order(row: RemoteHost, context: Context) -> tuple[int, tuple[str | int, ...]]:
    """By what is shown: addresses before names."""
    if row.name is None or row.names or not context.names:
        return 0, _in_order(row.address)
    return 1, (*name_in_order(row.name), *_in_order(row.address))


HOST_COLUMNS: tuple[Column[RemoteHost], ...] = (
    Column("host", "HOST", "name, ~ if other processes looked it up, or how many, and address", 24, 1, _host,
           _host_order, grow=3, keeps=" ", anchor=True),
    Column("scope", "SCOPE", "how far away: loopback, host (this one), link, private, public", 8, 4,
           lambda r, _: r.scope, "scope"),
    Column("who", "WHO", "names of the processes that talked to it last", 15, 2,
           lambda r, _: " ".join(reversed(r.comms)) or _DASH, "comms", grow=1),
    Column("connections", "CONN", "open connections", 5, 3, lambda r, _: _nonzero(r.connections), "connections",
           "right", descending=True),
    Column("udp", "UDP", "open UDP flows", 5, 5, lambda r, _: _nonzero(r.udp_flows), "udp_flows", "right",
           descending=True),
    Column("failed", "FAILED", FAILED_CONNECTS, 6, 4, lambda r, _: _alarming(r.failed),
           "failed", "right", descending=True, doubtful=_since_start),
    Column("tx", "TX", "payload sent, TCP and UDP", 6, 6, lambda r, _: human.size(r.tx_bytes), "tx_bytes", "right",
           descending=True, pair="rx"),
    Column("rx", "RX", "payload received, TCP and UDP", 6, 6, lambda r, _: human.size(r.rx_bytes), "rx_bytes",
           "right", descending=True, pair="tx"),
    Column("tx_rate", "TX/s", "payload sent per second", 6, 2, lambda r, _: human.rate(r.tx_bytes_per_s),
           "tx_bytes_per_s", "right", descending=True, pair="rx_rate"),
    Column("rx_rate", "RX/s", "payload received per second", 6, 2, lambda r, _: human.rate(r.rx_bytes_per_s),
           "rx_bytes_per_s", "right", descending=True, pair="tx_rate"),
    Column("packets_rate", "PKTS/s", "packets received per second, also those that no socket took", 7, 5,
           lambda r, _: human.number_per_s(r.rx_packets_per_s), "rx_packets_per_s", "right", descending=True),
    Column("srtt", "SRTT", "median of the smoothed round-trip times", 7, 7, lambda r, _: human.duration(r.srtt_ms),
           "srtt_ms", "right", descending=True),
    Column("retransmits", "RTX", "segments sent again", 5, 7, lambda r, _: _nonzero(r.retransmits), "retransmits",
           "right", descending=True),
    Column("unwanted", "UNWANTED", "packets received that went where nobody listens", 8, 3,
           lambda r, _: f"! {r.unwanted_packets}" if r.unwanted_packets else _DASH, "unwanted_packets", "right",
           descending=True, doubtful=_since_start),
    Column("syns", "SYN", "requests for a connection that an interface received", 6, 8,
           lambda r, _: "" if r.syns is None else _nonzero(r.syns), "syns", "right", descending=True),
    Column("accepted", "ACCEPT", "of these, connections that became rows", 6, 8,
           lambda r, _: _nonzero(r.accepted), "accepted", "right", descending=True),
)  # fmt: skip


# UDP


def _udp_remote(row: UdpFlow, context: Context) -> str:
    if row.remote is None:
        return _DASH if row.socket in (None, row.id) else "(others)"
    return remote(row, context)


UDP_COLUMNS: tuple[Column[UdpFlow], ...] = (
    Column("pid", "PID", "process that owns the socket", 7, 2, lambda r, _: _number(r.pid), "pid", "right",
           anchor=True),
    Column("comm", "COMM", "its name; x marks a flow that has ended", 15, 1,
           lambda r, _: f"x {r.comm or _DASH}" if r.closed else r.comm or _DASH, "comm", anchor=True),
    _who_column(lambda r: f"x {who(r.comm, r.pid)}" if r.closed else who(r.comm, r.pid)),
    _service_column(6),
    Column("local", "LOCAL", "what the socket is bound to", 15, 5,
           lambda r, _: _DASH if r.local is None else endpoint(r.local.address, r.local.port),
           lambda r, _: None if r.local is None else (_in_order(r.local.address), r.local.port), grow=1,
           keeps=":"),
    Column("remote", "REMOTE", "far end; (others): those beyond the first 16,384", 18, 1, _udp_remote,
           _remote_order, grow=3, keeps=":", anchor=True),
    Column("tx", "TX", "payload sent", 6, 2, lambda r, _: human.size(r.tx_bytes), "tx_bytes", "right",
           descending=True, pair="rx"),
    Column("rx", "RX", "payload received", 6, 2, lambda r, _: human.size(r.rx_bytes), "rx_bytes", "right",
           descending=True, pair="tx"),
    Column("tx_packets", "TXPKT", "datagrams sent", 6, 4, lambda r, _: _number(r.tx_packets), "tx_packets", "right",
           descending=True),
    Column("rx_packets", "RXPKT", "datagrams received", 6, 4, lambda r, _: _number(r.rx_packets), "rx_packets",
           "right", descending=True),
    Column("rx_dropped", "DROPS", "datagrams that the socket refused, mostly for lack of buffer space", 6, 3,
           lambda r, _: f"! {r.rx_dropped}" if r.rx_dropped else _DASH, "rx_dropped", "right", descending=True,
           doubtful=_since_start),
)  # fmt: skip


# Listeners


def _holders(row: Listener, _context: Context) -> str:
    """The owner, and how many others hold it."""
    others = len(row.holders) + row.holders_cut - 1
    return f"{row.comm or _DASH} +{others}" if others > 0 else row.comm or _DASH


def _queue(row: Listener, _context: Context) -> str:
    queue = f"{row.queue}/{row.queue_limit}"
    return f"! {queue}" if row.full and not row.closed else queue


def _refusals(row: Listener, _context: Context) -> str:
    return f"! {row.drops}" if row.drops_per_s else _nonzero(row.drops)


def _known(value: int | None) -> str:
    return "?" if value is None else _nonzero(value)


LISTENER_COLUMNS: tuple[Column[Listener], ...] = (
    Column(
        "address", "LISTENS", "address and port", 18, 1, lambda r, _: endpoint(r.address, r.port),
        lambda r, _: (_in_order(r.address), r.port), grow=2, keeps=":", anchor=True,
    ),
    Column("pid", "PID", "process that listens", 7, 3, lambda r, _: _number(r.pid), "pid", "right"),
    Column("comm", "COMM", "its name, and how many other processes hold the socket", 15, 1, _holders, "comm", grow=1),
    _service_column(6),
    Column("queue", "QUEUE", "connections that wait for accept(), and limit; ! if there is no room for one more", 11, 1,
           _queue, "queue", "right", descending=True),
    Column("syn", "SYN", "handshakes under way", 5, 4, lambda r, _: _nonzero(r.syn_queue), "syn_queue", "right",
           descending=True),
    Column("drops", "DROPS", "SYNs and ends of handshakes that were refused, mostly for a full queue; ! while it grows",
           7, 1, _refusals, "drops", "right", descending=True),
    Column("drop_rate", "DROPS/s", "the same per second", 7, 3, lambda r, _: human.number_per_s(r.drops_per_s),
           "drops_per_s", "right", descending=True),
    Column("accepted", "ACCEPTED", "connections that came in; ? if another socket shares the port", 8, 4,
           lambda r, _: _known(r.accepted), "accepted", "right", descending=True),
    Column("accept_rate", "ACCEPT/s", "the same per second", 8, 2, lambda r, _: human.number_per_s(r.accepted_per_s),
           "accepted_per_s", "right", descending=True),
    Column("open", "OPEN", "connections that came in and are open", 6, 2, lambda r, _: _known(r.open), "open", "right",
           descending=True),
    Column("group", "GROUP", "number of its SO_REUSEPORT group", 5, 6, lambda r, _: _number(r.reuseport), "reuseport",
           "right"),
    Column("opened", "OPENED", "when it began to listen; > before nettop started", 8, 5,
           lambda r, _: "> start" if r.opened_before_start else human.clock(r.opened_at), "opened_at", descending=True),
    Column("closed", "CLOSED", "when it ended", 8, 7,
           lambda r, _: "unseen" if r.closed and r.closed_at is None else human.clock(r.closed_at), "closed_at",
           descending=True),
)  # fmt: skip


# Requests


def request_status(row: Request, _context: Context | None = None) -> str:
    """The status code, or what came instead; `!` marks a failure. gRPC and databases have codes of their own."""
    said = row.error_code or row.outcome
    if row.grpc_status and row.error is None:
        said = f"grpc {row.grpc_status}"
    return f"{FAILURE}{said}" if row.failed else said


def _text_order(value: str | None) -> tuple[str | int, ...] | None:
    return None if value is None else name_in_order(value)


REQUEST_COLUMNS: tuple[Column[Request], ...] = (
    Column(
        "time", "TIME", "when its first byte was sent or came", 8, 3, lambda r, _: human.clock(r.asked_at), "asked_at",
        descending=True,
    ),
    Column("pid", "PID", "process whose request or response it is", 7, 2, lambda r, _: _number(r.pid), "pid", "right",
           anchor=True),
    Column("comm", "COMM", "its name", 15, 1, lambda r, _: r.comm or _DASH, "comm", anchor=True),
    _who_column(lambda r: who(r.comm, r.pid)),
    _service_column(8),
    Column("side", "SIDE", "what the process is: client or server", 6, 4, lambda r, _: r.side, "side"),
    Column("protocol", "PROTOCOL", "what is spoken: http/1.1, h2 (HTTP/2), grpc, postgresql, ...", 8, 6,
           lambda r, _: r.protocol, "protocol", grow=_BEFORE_OTHERS),
    Column("method", "METHOD", "method, command, or kind of statement", 7, 2, lambda r, _: r.method, "method",
           grow=_BEFORE_OTHERS),
    Column("host", "HOST", "host that the request names", 14, 3, lambda r, _: r.host or _DASH,
           lambda r, _: _text_order(r.host), grow=1, yields=True),
    Column("path", "PATH", "path, without its query", 18, 1, lambda r, _: r.path or _DASH,
           lambda r, _: _text_order(r.path), grow=3, anchor=True, yields=True),
    Column("status", "STATUS", "status code, or why there is none; ! marks a failure", 9, 1, request_status,
           lambda r, _: (r.status or 0, r.error or ""), grow=_BEFORE_OTHERS,
           doubtful=lambda r: r.error is None and (r.status or 0) < 500),
    Column(
        "latency", "LATENCY", "from its first byte to the first of the response", 7, 1,
        lambda r, _: human.duration(r.latency_ms), "latency_ms", "right", descending=True,
    ),
    Column("request_bytes", "SENT", "size of the request, as far as its head tells", 6, 7,
           lambda r, _: _size(r.request_bytes), "request_bytes", "right", descending=True),
    Column("response_bytes", "BACK", "size of the response, as far as its head tells", 6, 7,
           lambda r, _: _size(r.response_bytes), "response_bytes", "right", descending=True),
    Column("remote", "REMOTE", "far end, ~ if named by other processes", 15, 5, remote, _remote_order, grow=1,
           keeps=":", yields=True),
)  # fmt: skip


def _size(value: int | None) -> str:
    return _DASH if value is None else human.size(value)


# Look-ups


def lookup_result(row: Lookup, _context: Context | None = None) -> str:
    """What came of it, or what is known instead; `!` marks a failure."""
    return f"{FAILURE}{row.outcome}" if row.failed else row.outcome


def lookup_addresses(row: Lookup, _context: Context | None = None) -> str:
    """Those that it found."""
    return " ".join((*row.addresses, "...") if row.more_addresses else row.addresses)


LOOKUP_COLUMNS: tuple[Column[Lookup], ...] = (
    Column(
        "time", "TIME", "when it began", 8, 3, lambda r, _: human.clock(r.asked_at), "asked_at", descending=True,
    ),
    Column("pid", "PID", "process that asked", 7, 2, lambda r, _: _number(r.pid), "pid", "right", anchor=True),
    Column("comm", "COMM", "its name", 15, 1, lambda r, _: r.comm or _DASH, "comm", anchor=True),
    _who_column(lambda r: who(r.comm, r.pid)),
    _service_column(8),
    Column("name", "NAME", "name asked for, without what a search list appends", 18, 1,
           lambda r, _: r.name or "(unknown)", lambda r, _: _text_order(r.name), grow=3, anchor=True),
    Column("result", "RESULT", "what came of it, or state; ! marks a failure", 16, 1, lookup_result, lookup_result,
           doubtful=lambda r: r.result in NO_SUCH_NAME),
    Column("latency", "LATENCY", "from the call of the function to its return", 7, 2,
           lambda r, _: human.duration(r.latency_ms), "latency_ms", "right", descending=True),
    Column("queries", "SENT", "DNS messages that it sent; -: a hosts file, a cache or another service answered", 4, 3,
           lambda r, _: "?" if r.queries is None else _nonzero(r.queries), "queries", "right", descending=True),
    Column("function", "FUNCTION", "function of the C library", 11, 6, lambda r, _: r.function or _DASH, "function"),
    Column("addresses", "ADDRESSES", "what it found", 16, 5, lookup_addresses,
           lambda r, _: _in_order(r.addresses[0]) if r.addresses else None, grow=3),
)  # fmt: skip


COLUMNS: Mapping[Kind[Any], tuple[Column[Any], ...]] = {
    DNS: DNS_COLUMNS,
    CONNECTIONS: CONNECTION_COLUMNS,
    PROCESSES: PROCESS_COLUMNS,
    HOSTS: HOST_COLUMNS,
    UDP: UDP_COLUMNS,
    LISTENERS: LISTENER_COLUMNS,
    REQUESTS: REQUEST_COLUMNS,
    LOOKUPS: LOOKUP_COLUMNS,
}
"""Those of each kind of rows."""
