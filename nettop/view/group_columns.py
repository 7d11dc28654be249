"""The columns of groups, by the kind of their rows: what the columns of rows say, but of all rows together."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from nettop.model.kinds import CONNECTIONS, DNS, HOSTS, LISTENERS, LOOKUPS, PROCESSES, REQUESTS, UDP, Kind
from nettop.model.rows import DnsQuery, Request, ended_badly, failed_with
from nettop.view import format as human
from nettop.view import group as of
from nettop.view.columns import FAILED_CONNECTS, Column, Context, dns_result, name_in_order
from nettop.view.group import Group, Measure, Spread, measure
from nettop.view.lookups import Lookup, answered_at

GroupColumn = Column[Group[Any]]
_DASH = "-"
_MS = timedelta(milliseconds=1)
_RANKS = {"pending": 3, "forgotten": 4, "timeout": 5, "refused": 5}  # of what has no answer, see _best()


LABEL_CELLS = 18


def label_column(heading: str, cells: int = LABEL_CELLS) -> GroupColumn:
    """What the groups are called."""
    return Column(
        "group", heading, "what the rows of a line have in common", cells, 1, lambda g, _: g.label,
        lambda g, _: name_in_order(g.label), grow=3, keeps=" ", anchor=True,
    )  # fmt: skip


# Columns of which there are many


_Name = tuple[str, str, str]  # key, title, meaning


def _numbers(
    name: _Name, priority: int, value: Measure[Any], text: Callable[[Any], str] | None = None, cells: int = 6
) -> GroupColumn:
    shown = text or _nonzero
    key, title, meaning = name
    return Column(
        key, title, meaning, max(cells, len(title)), priority, lambda g, _: shown(value(g)), lambda g, _: value(g),
        "right", descending=True,
    )  # fmt: skip


def _nonzero(number: int) -> str:
    return str(number) if number else _DASH


def _alarms(name: _Name, priority: int, value: Measure[int]) -> GroupColumn:
    return _numbers(name, priority, value, lambda number: f"! {number}" if number else _DASH, 7)


def _sizes(name: _Name, priority: int) -> GroupColumn:
    return _numbers(name, priority, of.total(f"{name[0]}_bytes"), human.size)


def _rates(name: _Name, priority: int) -> GroupColumn:
    return _numbers(name, priority, of.total(name[0].replace("rate", "bytes_per_s")), human.rate)


def _per_second(name: _Name, priority: int, value: Measure[float]) -> GroupColumn:
    return _numbers(name, priority, value, human.number_per_s)


def _spread(
    name: str, titles: tuple[str, str], what: str, priority: int, value: Measure[Spread]
) -> tuple[GroupColumn, ...]:
    middle = (f"{name}_p50", titles[0], f"median of {what}")
    most = (f"{name}_max", titles[1], f"longest of {what}")
    return (
        _numbers(middle, priority + 1, lambda g: value(g).p50, human.duration, 7),
        _numbers(most, priority, lambda g: value(g).max, human.duration, 7),
    )


class _Failed(NamedTuple):
    """How many failed, of how many for which that is decided."""

    failed: int
    of: int


def _failures(what: str, over: str, value: Measure[_Failed]) -> GroupColumn:
    first_over = of.earliest(over)

    def text(group: Group[Any], _context: Context) -> str:
        failed, decided = value(group)
        if not failed:
            return _DASH
        complete_since, first = group.window.complete_since, first_over(group)
        if complete_since is not None and first is not None and first < complete_since:
            return f"! {failed}"  # they have outlived what they would be a share of
        return f"! {failed} {human.share(failed, decided)}"

    return Column(
        "failed", "FAILED", f"{what}, and their share if all rows of the time are kept", 11, 1, text,
        lambda g, _: value(g), "right", descending=True, also=("failed_of",),
    )  # fmt: skip


class _Age(NamedTuple):
    """How long ago something began; `at_least` if that was before nettop started."""

    ms: float
    at_least: bool


def _oldest(meaning: str, began: Measure[datetime | None], before_start: Measure[int] | None = None) -> GroupColumn:
    def age(group: Group[Any], _context: Context) -> _Age | None:
        window, moment = group.window, began(group)
        at_least = before_start is not None and before_start(group) > 0
        if at_least:
            moment = window.started_at
        return None if moment is None else _Age(max((window.now - moment) / _MS, 0.0), at_least)

    def text(group: Group[Any], context: Context) -> str:
        known = age(group, context)
        return _DASH if known is None else f"{'>' if known.at_least else ''}{human.duration(known.ms)}"

    return Column(
        "oldest", "OLDEST", meaning, 7, 6, text, age, "right", descending=True, also=("oldest_at_least",)
    )  # fmt: skip


_WHO: GroupColumn = Column(
    "who", "WHO", "processes behind it, the busiest first: comm[pid] for one, else how many of each name", 15, 2,
    lambda g, _: of.said(of.who(g)) or _DASH, lambda g, _: name_in_order(of.said(of.who(g))), grow=2,
)  # fmt: skip


# DNS

_outcomes = of.tally("status", "rcode")


@measure
def _dns_failed(group: Group[DnsQuery]) -> _Failed:
    outcomes = _outcomes(group).items()
    failed = sum(times for outcome, times in outcomes if failed_with(*outcome))
    return _Failed(failed, sum(times for (status, _), times in outcomes if status not in ("pending", "forgotten")))


def _code(code: str) -> Measure[int]:
    return measure(lambda g: sum(times for (_, rcode), times in _outcomes(g).items() if rcode == code))


def _status(wanted: str) -> Measure[int]:
    return measure(lambda g: sum(times for (status, _), times in _outcomes(g).items() if status == wanted))


_sent: Measure[int] = of.total("attempts")
_asked_per_s = _per_second(("rate", "/s", "queries asked per second, of the last 10 s"), 2, of.per_second("asked_at"))
_first_asked = of.earliest("asked_at")
_OLDEST_QUERY = _oldest("how long ago the first of them was asked", _first_asked)

_DNS: tuple[GroupColumn, ...] = (
    _numbers(("count", "COUNT", "queries"), 1, of.count),
    _asked_per_s,
    _failures("queries that failed", "asked_at", _dns_failed),
    _numbers(("nxdomain", "NXDOMAIN", "of these, names that do not exist"), 5, _code("NXDOMAIN")),
    _numbers(("servfail", "SERVFAIL", "of these, servers that could not tell"), 5, _code("SERVFAIL")),
    _numbers(("timeout", "TIMEOUT", "of these, without an answer"), 5, _status("timeout")),
    *_spread("latency", ("P50", "MAX"), "the times until the answer", 3, of.spread("latency_ms")),
    _numbers(("resent", "RESENT", "times that a query was sent again"), 7, measure(lambda g: _sent(g) - len(g.rows))),
    _OLDEST_QUERY,
    _WHO,
)  # fmt: skip


# DNS look-ups


@measure
def _by_lookup(group: Group[DnsQuery]) -> Mapping[int, tuple[Lookup, list[DnsQuery]]]:
    """The rows of each look-up."""
    found: dict[int, tuple[Lookup, list[DnsQuery]]] = {}
    lookups = group.keying.lookups
    if lookups is not None:
        for row in group.rows:
            lookup = lookups.of(row)
            found.setdefault(lookup.number, (lookup, []))[1].append(row)
    return found


def _lookups(group: Group[Any]) -> int:
    return len(_by_lookup(group))


def _each(group: Group[Any]) -> float:
    return _sent(group) / max(_lookups(group), 1)


def _took_ms(rows: Iterable[DnsQuery]) -> float | None:
    """From the first question to the last answer."""
    answers = [at for at in map(answered_at, rows) if at is not None]
    first = min(map(attrgetter("asked_at"), rows))
    return max((max(answers) - first) / _MS, 0.0) if answers else None


@measure
def _took(group: Group[DnsQuery]) -> Spread:
    times = (_took_ms(rows) for _, rows in _by_lookup(group).values())
    return of.spread_of([each for each in times if each is not None])


@measure
def _lookups_failed(group: Group[DnsQuery]) -> _Failed:
    best = [_best(rows) for _, rows in _by_lookup(group).values()]
    decided = [row for row in best if row.status not in ("pending", "forgotten")]
    return _Failed(sum(row.failed for row in decided), len(decided))


def _best(rows: Iterable[DnsQuery]) -> DnsQuery:
    """What came of a look-up: NOERROR, else that the name does not exist, else an error of a server, else no answer."""
    return min(rows, key=_rank)


def _rank(row: DnsQuery) -> int:
    if row.status != "answered":
        return _RANKS[row.status]
    if not row.failed:
        return 0
    return 1 if row.rcode == "NXDOMAIN" else 2


@measure
def _names(group: Group[DnsQuery]) -> int:
    return len({row.qname.lower() for row in group.rows if row.qname is not None})


@measure
def _wasted(group: Group[DnsQuery]) -> int:
    """What was sent beyond one query for each type of each look-up."""
    needed = sum(len({row.qtype for row in rows}) for _, rows in _by_lookup(group).values())
    return _sent(group) - needed


def _result(group: Group[DnsQuery], context: Context) -> str:
    return dns_result(_best(group.rows), context)


_WASTED = _numbers(("wasted", "WASTED", "of these, beyond one for each record type: search list, retries"), 3, _wasted)

LOOKUP: tuple[GroupColumn, ...] = (
    Column("time", "TIME", "when its first query was asked", 8, 3,
           lambda g, _: human.clock(g.rows[0].asked_at), lambda g, _: g.rows[0].asked_at, descending=True),
    _numbers(("queries", "QUERIES", "queries that it took, each time that one was sent"), 1, _sent),
    _WASTED,
    _numbers(("names", "NAMES", "names that were asked for: more than one with a search list"), 4, _names),
    Column("result", "RESULT", "what came of it; ! marks a failure", 10, 1, _result, _result),
    Column("took", "TOOK", "from its first question to its last answer", 7, 2,
           lambda g, _: human.duration(_took_ms(g.rows)), lambda g, _: _took_ms(g.rows), "right", descending=True),
    _WHO,
)  # fmt: skip
"""Of a group that is one look-up."""

LOOKED_UP: tuple[GroupColumn, ...] = (
    _numbers(("lookups", "LOOKUPS", "look-ups: what a program asked for"), 1, _lookups),
    _numbers(("queries", "QUERIES", "queries that these took, each time that one was sent"), 2, _sent),
    Column("each", "EACH", "queries a look-up", 5, 1, lambda g, _: f"{_each(g):.1f}", lambda g, _: _each(g), "right",
           descending=True),
    _WASTED,
    _failures("look-ups that failed", "asked_at", _lookups_failed),
    _asked_per_s,
    *_spread("took", ("P50", "MAX"), "the times from the first question to the last answer", 3, _took),
    _OLDEST_QUERY,
    _WHO,
)  # fmt: skip
"""Of the look-ups of a name."""


# Connections


@measure
def _connections_failed(group: Group[Any]) -> _Failed:
    return _Failed(sum(times for end, times in _ends(group).items() if ended_badly(end)), len(group.rows))


_ends = of.tally("end")
_ended = of.number("state", "closed")

_CONNECTIONS: tuple[GroupColumn, ...] = (
    _numbers(("count", "COUNT", "connections"), 1, of.count),
    _numbers(("open", "OPEN", "of these, open"), 3, lambda g: len(g.rows) - _ended(g)),
    _per_second(("rate", "/s", "connections opened per second, of the last 10 s"), 4, of.per_second("opened_at")),
    _failures("connections that ended otherwise than by both sides closing them", "closed_at", _connections_failed),
    _numbers(("close_wait", "CLOSEWAIT", "in CLOSE_WAIT: the far end has closed, the process has not"), 6,
             of.number("state", "close-wait")),
    _sizes(("tx", "TX", "payload sent"), 5),
    _sizes(("rx", "RX", "payload received"), 5),
    _rates(("tx_rate", "TX/s", "payload sent per second"), 2),
    _rates(("rx_rate", "RX/s", "payload received per second"), 2),
    *_spread("connect", ("CONN50", "CONNMAX"), "the times that the handshake took", 6, of.spread("connect_ms")),
    _numbers(("retransmits", "RTX", "segments sent again"), 7, of.total("retransmits")),
    _oldest("how long the oldest has been there; > since before nettop started", of.earliest("opened_at"),
            of.number("opened_before_start")),
    _WHO,
)  # fmt: skip


# Processes

_dns_errors, _dns_timeouts = of.total("dns.failed"), of.total("dns.timeouts")

_PROCESSES: tuple[GroupColumn, ...] = (
    _numbers(("count", "COUNT", "processes"), 2, of.count),
    _rates(("tx_rate", "TX/s", "payload sent per second, TCP and UDP"), 1),
    _rates(("rx_rate", "RX/s", "payload received per second, TCP and UDP"), 1),
    _sizes(("tx", "TX", "payload sent, TCP and UDP"), 3),
    _sizes(("rx", "RX", "payload received, TCP and UDP"), 3),
    _numbers(("active", "CONN", "open connections"), 2, of.total("tcp.active")),
    _numbers(("leaking", "LEAK", "of these, in CLOSE_WAIT for more than a minute"), 5, of.total("leaking")),
    _alarms(("failed", "FAIL", FAILED_CONNECTS), 3, of.total("tcp.failed")),
    _numbers(("dns", "DNS", "queries"), 3, of.total("dns.queries")),
    _alarms(("dns_failed", "DNSFAIL", "queries answered with an error, or not at all"), 4,
            measure(lambda g: _dns_errors(g) + _dns_timeouts(g))),
    _numbers(("retransmits", "RTX", "segments sent again"), 7, of.total("tcp.retransmits")),
    _oldest("when the first of them was started", of.earliest("start_time")),
    _WHO,
)  # fmt: skip


# Listeners

_drops_per_s, _accepted_per_s = of.total("drops_per_s"), of.total("accepted_per_s")

_LISTENERS: tuple[GroupColumn, ...] = (
    _numbers(("count", "COUNT", "listening sockets"), 1, of.count),
    _numbers(("queue", "QUEUE", "connections that wait for accept()"), 2, of.total("queue")),
    _alarms(("full", "FULL", "sockets whose queue has no room for one more"), 2, of.number("full")),
    _numbers(("drops", "DROPS", "SYNs and ends of handshakes that were refused"), 1, of.total("drops")),
    _per_second(("drop_rate", "DROPS/s", "the same per second"), 3, _drops_per_s),
    _numbers(("accepted", "ACCEPTED", "connections that came in, as far as that is known"), 4, of.total("accepted")),
    _per_second(("accept_rate", "ACCEPT/s", "the same per second"), 2, _accepted_per_s),
    _numbers(("open", "OPEN", "connections that came in and are open"), 2, of.total("open")),
    _WHO,
)  # fmt: skip


# Hosts

_HOSTS: tuple[GroupColumn, ...] = (
    _numbers(("count", "COUNT", "remote hosts"), 1, of.count),
    _numbers(("connections", "CONN", "open connections"), 3, of.total("connections")),
    _numbers(("udp", "UDP", "open UDP flows"), 5, of.total("udp_flows")),
    _alarms(("failed", "FAILED", FAILED_CONNECTS), 4, of.total("failed")),
    _sizes(("tx", "TX", "payload sent, TCP and UDP"), 6),
    _sizes(("rx", "RX", "payload received, TCP and UDP"), 6),
    _rates(("tx_rate", "TX/s", "payload sent per second"), 2),
    _rates(("rx_rate", "RX/s", "payload received per second"), 2),
    _per_second(("packets_rate", "PKTS/s", "packets received per second, also those that no socket took"), 5,
                of.total("rx_packets_per_s")),
    *_spread("srtt", ("SRTT50", "SRTTMAX"), "the smoothed round-trip times to them", 7, of.spread("srtt_ms")),
    _numbers(("retransmits", "RTX", "segments sent again"), 7, of.total("retransmits")),
    _alarms(("unwanted", "UNWANTED", "packets received that went where nobody listens"), 3,
            of.total("unwanted_packets")),
    _numbers(("syns", "SYN", "requests for a connection that an interface received"), 8, of.total("syns")),
    _WHO,
)  # fmt: skip


# UDP

_closed = of.number("closed")

_UDP: tuple[GroupColumn, ...] = (
    _numbers(("count", "COUNT", "flows: a socket and a far end"), 1, of.count),
    _numbers(("open", "OPEN", "of these, open"), 3, lambda g: len(g.rows) - _closed(g)),
    _sizes(("tx", "TX", "payload sent"), 2),
    _sizes(("rx", "RX", "payload received"), 2),
    _numbers(("tx_packets", "TXPKT", "datagrams sent"), 4, of.total("tx_packets")),
    _numbers(("rx_packets", "RXPKT", "datagrams received"), 4, of.total("rx_packets")),
    _alarms(("rx_dropped", "DROPS", "datagrams that the sockets refused"), 3, of.total("rx_dropped")),
    _WHO,
)  # fmt: skip


# Requests


@measure
def _requests_failed(group: Group[Request]) -> _Failed:
    decided = [row for row in group.rows if not row.pending]
    return _Failed(sum(row.failed for row in decided), len(decided))


@measure
def _latencies(group: Group[Request]) -> list[float]:
    return sorted(row.latency_ms for row in group.rows if row.latency_ms is not None)


def _percentile(share: int) -> Measure[float | None]:
    """The least latency that is no less than this share of them, in percent (nearest rank)."""

    def found(group: Group[Request]) -> float | None:
        ordered = _latencies(group)
        return ordered[-(-len(ordered) * share // 100) - 1] if ordered else None

    return measure(found)


def _of_hundreds(hundreds: int) -> Measure[int]:
    return measure(lambda g: sum(row.status is not None and row.status // 100 == hundreds for row in g.rows))


@measure
def _retried(group: Group[Request]) -> int:
    return sum(row.retry_of is not None for row in group.rows)


def _within(share: int, priority: int) -> GroupColumn:
    name = (f"latency_p{share}", f"P{share}", f"{share} of a hundred responses began within this time")
    return _numbers(name, priority, _percentile(share), human.duration, 7)


_REQUESTS: tuple[GroupColumn, ...] = (
    _numbers(("count", "COUNT", "requests"), 1, of.count),
    _per_second(("rate", "/s", "requests per second, of the last 10 s"), 2, of.per_second("asked_at")),
    _failures("requests that failed", "asked_at", _requests_failed),
    _numbers(("status_4xx", "4XX", "of these, refused: the request was wrong"), 5, _of_hundreds(4)),
    _numbers(("status_5xx", "5XX", "of these, answered with an error of the server"), 4, _of_hundreds(5)),
    _numbers(("retried", "AGAIN", "of these, sent again: one like it had no response"), 6, _retried),
    _within(50, 4),
    _within(95, 3),
    _within(99, 4),
    _numbers(("latency_max", "MAX", "longest time until a response began"), 3, _percentile(100), human.duration, 7),
    _oldest("how long ago the first of them was sent", of.earliest("asked_at")),
    _WHO,
)  # fmt: skip


# Look-ups


@measure
def _calls_failed(group: Group[Any]) -> _Failed:
    return _Failed(sum(row.failed for row in group.rows), len(group.rows))


_CALLS: tuple[GroupColumn, ...] = (
    _numbers(("count", "COUNT", "look-ups"), 1, of.count),
    _per_second(("rate", "/s", "look-ups per second, of the last 10 s"), 2, of.per_second("asked_at")),
    _failures("look-ups that found nothing", "asked_at", _calls_failed),
    _numbers(("without_query", "LOCAL", "of these, answered without a DNS query"), 4,
             measure(lambda g: sum(row.queries == 0 for row in g.rows))),
    *_spread("latency", ("P50", "MAX"), "the times that they took", 3, of.spread("latency_ms")),
    _oldest("how long ago the first of them began", of.earliest("asked_at")),
    _WHO,
)  # fmt: skip


GROUP_COLUMNS: Mapping[Kind[Any], tuple[GroupColumn, ...]] = {
    DNS: _DNS,
    CONNECTIONS: _CONNECTIONS,
    PROCESSES: _PROCESSES,
    LISTENERS: _LISTENERS,
    HOSTS: _HOSTS,
    UDP: _UDP,
    REQUESTS: _REQUESTS,
    LOOKUPS: _CALLS,
}
"""Of groups of each kind, but for what the groups are called."""
