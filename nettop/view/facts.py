"""What the detail of a row says: labels and values, and the rows that belong to it. Pure functions, no Textual."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from nettop.model.kinds import (
    CONNECTIONS,
    DNS,
    HOSTS,
    IN_SNAPSHOT,
    LISTENERS,
    LOOKUPS,
    PROCESSES,
    REQUESTS,
    UDP,
    AnyRow,
    Kind,
)
from nettop.model.rows import (
    DECIDES,
    Connection,
    ConnectionRequests,
    DnsQuery,
    End,
    Endpoint,
    Listener,
    Lookup,
    OtherTotals,
    Process,
    Reasons,
    RemoteEndpoint,
    RemoteHost,
    Request,
    RequestTotals,
    Side,
    Tls,
    TurnTotals,
    UdpFlow,
    UdpTotals,
)
from nettop.model.snapshot import Snapshot, sent_by
from nettop.view import format as human
from nettop.view import services
from nettop.view.columns import (
    Context,
    endpoint,
    in_state_ms,
    least_age_ms,
    local,
    lookup_addresses,
    request_status,
    wait_ms,
    who,
)
from nettop.view.panes import pane_of
from nettop.view.words import ENDS

_MS = timedelta(milliseconds=1)
_OWNERS = {
    "exact": "seen to connect, send or close",
    "scanned": "found holding the socket open",
    "listener": "owner of the listening socket; which process accepted is not known",
    "unknown": "unknown",
}

_WHY_FAILED: Mapping[End, str] = {
    end: ENDS[end] for end in ("given-up", "rejected", "no-route", "denied", "unsent", "no-port")
}


@dataclass(frozen=True)
class Detail:
    """One row in full."""

    title: str
    facts: tuple[tuple[str, str], ...]
    related: Mapping[Kind[Any], tuple[Any, ...]]  # of each kind whose rows may belong to it


def detail(row: AnyRow, snapshot: Snapshot, context: Context) -> Detail:
    """Everything known about a row."""
    kind = pane_of(row).kind
    found = _DETAILS[kind](row, snapshot, context)
    if snapshot.mark is None or not kind.sums:
        return found
    return replace(
        found, facts=(("counted", f"since the mark at {human.timestamp(snapshot.mark, 'seconds')}"), *found.facts)
    )


def _process(row: Process, snapshot: Snapshot, _context: Context) -> Detail:
    parent = next((known.comm for known in snapshot.processes if known.pid == row.parent_pid), None)
    facts = (
        ("TCP", f"tx {human.size(row.tcp.tx_bytes)}  rx {human.size(row.tcp.rx_bytes)}  {_tcp_counts(row)}"),
        ("UDP", _both_ways(row.udp)),
        ("DNS", _dns_counts(row)),
        *_drops(row),
        ("command", _command(row)),
        ("user", f"{row.user or '?'} (uid {row.uid})"),
        *_belonging(row),
        ("cgroup", "unknown" if row.cgroup is None else row.cgroup),
        ("was asked", _turn_totals(row.turns.was_asked)),
        ("asked", _turn_totals(row.turns.asked)),
        ("requests", f"sent {_requests(row.requests.sent)}; served {_requests(row.requests.served)}"),
        ("other", f"{_both_ways(row.other)}  (ICMP, SCTP, raw sockets)"),
        ("parent", "unknown" if row.parent_pid is None else f"{row.parent_pid}{f' {parent}' if parent else ''}"),
        ("netns", _named(row.netns, row.netns_name)),
        ("started", human.timestamp(row.start_time)),
        ("first seen", human.timestamp(row.first_seen)),
        ("ended", human.timestamp(row.exited_at) if row.exited_at else "still running"),
    )
    return Detail(
        f"Process {row.pid} {row.comm}",
        facts,
        {
            kind: owned
            for kind in IN_SNAPSHOT
            if kind not in (PROCESSES, HOSTS)
            and ((owned := _owned(kind, row, snapshot)) or kind not in (LISTENERS, REQUESTS, LOOKUPS))
        },
    )


def _belonging(row: Process) -> Iterator[tuple[str, str]]:
    """Its unit, container and pod, if it is in any."""
    facts = ("unit", row.unit), ("container", services.container(row)), ("pod", services.pod(row))
    yield from ((label, text) for label, text in facts if text is not None)


def _owned(kind: Kind[Any], owner: Process, snapshot: Snapshot) -> tuple[Any, ...]:
    who = owner.pid, owner.start_time
    return tuple(row for row in kind.rows_of(snapshot) if (row.pid, row.process_start_time) == who or _holds(who, row))


def _holds(who: tuple[int, datetime], row: AnyRow) -> bool:
    return isinstance(row, Listener) and who in {(holder.pid, holder.process_start_time) for holder in row.holders}


def _command(row: Process) -> str:
    if not row.cmdline:
        return "unknown"
    return " ".join(
        argument if place == row.cmdline_cut else shlex.quote(argument) for place, argument in enumerate(row.cmdline)
    )


def _tcp_counts(row: Process) -> str:
    tcp = row.tcp
    return (
        f"{tcp.active} open, {tcp.opened} opened, {tcp.accepted} accepted, {tcp.failed} failed, "
        f"{tcp.retransmits} segments sent again{_leaking(row)}"
    )


def _leaking(row: Process) -> str:
    return f", {row.leaking} closed by the far end over a minute ago and still open here" if row.leaking else ""


def _both_ways(totals: UdpTotals | OtherTotals) -> str:
    return f"tx {human.size(totals.tx_bytes)}  rx {human.size(totals.rx_bytes)}{_refused(totals.rx_dropped)}"


def _refused(datagrams: int) -> str:
    if not datagrams:
        return ""
    return f"  {human.count(datagrams)} datagrams refused, mostly for lack of space in the receive buffer"


def _dns_counts(row: Process) -> str:
    dns = row.dns
    text = f"{dns.queries} queries, {dns.answered} answered, {dns.failed} with an error, {dns.timeouts} timeouts"
    if dns.latency_ms.max is None:
        return text
    return f"{text}; latency median {human.duration(dns.latency_ms.p50)}, longest {human.duration(dns.latency_ms.max)}"


def _turn_totals(totals: TurnTotals) -> str:
    times = totals.latency_ms
    text = f"{human.count(totals.count)} times over TCP"
    if times.p50 is None:
        return text
    return (
        f"{text}; answers median {human.duration(times.p50)}, 95 % within {human.duration(times.p95)}, "
        f"longest {human.duration(times.max)}"
    )


def _requests(totals: RequestTotals) -> str:
    retried = f", {human.count(totals.retried)} were sent again" if totals.retried else ""
    if totals.failed:
        return f"{human.count(totals.count)} ({human.count(totals.failed)} failed{_codes(totals)}{retried})"
    return str(totals.count)


def _codes(totals: RequestTotals | ConnectionRequests) -> str:
    """How many of those that failed have such a status, if any has."""
    codes = (totals.failed_4xx, "4xx"), (totals.failed_5xx, "5xx")
    return "".join(f", {human.count(number)} with {code}" for number, code in codes if number)


def _owner_text(pid: int | None, comm: str | None) -> str:
    return "unknown" if pid is None else f"{pid} {comm}"


def _service(row: AnyRow, context: Context) -> Iterator[tuple[str, str]]:
    said = services.service(context.owners.of(row))
    if said is not None:
        yield "service", said


def _named(netns: int, name: str | None) -> str:
    """A network namespace by its name in ip-netns(8), if it has one, and its inode number."""
    return str(netns) if name is None else f"{name} ({netns})"


def _connection(row: Connection, snapshot: Snapshot, context: Context) -> Detail:
    named_by = _named_by(row, snapshot)
    opened = human.timestamp(row.opened_at)
    if row.opened_before_start:
        opened = "before nettop started"
    connected = row.connect_ms
    end: str = "still open" if row.state != "closed" else _end_text(row.end)
    if row.silenced_by:
        end = f"{row.end or end}; a {row.silenced_by} on this host dropped packets of it"
    facts = [
        # What one asks first comes first: on a small screen the rest has to be scrolled to.
        ("process", _owner_text(row.pid, row.comm)),
        *_service(row, context),
        ("remote", endpoint(row.remote.address, row.remote.port)),
        *_other_end(row),
        ("name", _name_text(row)),
        ("state", row.state),
        ("end", end),
        ("duration", _duration(row, context)),
        ("sent", f"{human.count(row.tx_bytes)} bytes{_before(row.tx_bytes_before_start)}"),
        ("received", f"{human.count(row.rx_bytes)} bytes{_before(row.rx_bytes_before_start)}"),
        ("now", f"tx {human.size(round(row.tx_bytes_per_s))}/s  rx {human.size(round(row.rx_bytes_per_s))}/s"),
        ("round trip", human.duration(row.srtt_ms)),
        ("retransmits", f"{row.retransmits} segments"),
        ("waits for", _waits_text(row, context)),
        *_drops(row),
        ("turns", _turns_text(row)),
        *_requests_of(row),
        *_tls_of(row),
        ("local", local(row) or "none was chosen"),
        ("direction", row.direction),
        ("owner is", _OWNERS[row.owner]),
        ("opened", opened),
        ("connected", "-" if connected is None else f"after {human.duration(connected)}"),
        ("closed", "-" if row.closed_at is None else human.timestamp(row.closed_at)),
        ("closed first", _CLOSED_FIRST[row.closed_first]),
        ("states", _states(row, context)),
        *_transmission_facts(row, context),
        ("segments", _packets(row.tx_packets, row.rx_packets)),
        ("netns", _named(row.netns, context.owners.netns_name(row.netns))),
    ]
    other = () if row.peer is None else tuple(each for each in snapshot.connections if each.id == row.peer.id)
    related: dict[Kind[Any], tuple[AnyRow, ...]] = {CONNECTIONS: other} if other else {}
    if row.requests is not None:
        related[REQUESTS] = tuple(each for each in snapshot.requests if each.connection_id == row.id)
    return Detail(f"Connection {row.id}", tuple(facts), {**related, DNS: named_by})


def _other_end(row: Connection) -> Iterator[tuple[str, str]]:
    if row.peer is not None:
        yield "other end", f"{who(row.peer.comm, row.peer.pid)} on this host, connection {row.peer.id}"


def _duration(row: Connection, context: Context) -> str:
    least = least_age_ms(row, context)
    older = row.opened_before_start and least is not None
    return f"{'more than ' if older else ''}{human.long_duration(least)}"


def _packets(sent: int | None, received: int | None) -> str:
    def text(number: int | None) -> str:
        return "unknown" if number is None else human.count(number)

    return f"{text(sent)} sent, {text(received)} received"


_CLOSED_FIRST: Mapping[Side | None, str] = {"local": "this end", "remote": "the far end", None: "-"}


def _states(row: Connection, context: Context) -> str:
    """How long it was in each state, in the order in which it came through them: `syn-sent 57ms, established 4m05s`."""
    lasted = dict(row.states_ms)
    so_far = in_state_ms(row, context)
    if so_far is not None:
        lasted[row.state] = so_far
    seen = "seen for " if lasted and row.opened_before_start else ""
    return seen + ", ".join(f"{state} {human.duration(lasted[state])}" for state in lasted) or "-"


def _drops(row: Connection | Process) -> Iterator[tuple[str, str]]:
    """What happened to its packets, if anything did."""
    if row.drops:
        yield "dropped", _reasons(row.drops, {reason: f" ({who})" for reason, who in DECIDES.items()})
    if row.resets_sent:
        yield "resets sent", _reasons(row.resets_sent)
    if row.resets_received:
        yield "resets received", human.count(row.resets_received)
    if isinstance(row, Process) and row.icmp_errors:
        yield "ICMP errors", _reasons(row.icmp_errors)


def _reasons(counts: Reasons, remarks: Mapping[str, str] = MappingProxyType({})) -> str:
    """`5 NETFILTER_DROP (firewall), 2 TCP_OFOMERGE`, the most frequent first."""
    frequent_first = sorted(counts.items(), key=lambda counted: (-counted[1], counted[0]))
    return ", ".join(f"{human.count(packets)} {reason}{remarks.get(reason, '')}" for reason, packets in frequent_first)


_WAITS = {
    "local": "this process, which has not read what came, or owes an answer or the close",
    "remote": "the far end, which owes an answer or the close",
    "remote-window": "the far end's program, which does not read: its window is shut",
    "network": "the network: what was sent is not acknowledged, and is being sent again",
    "none": "nobody",
}


def _waits_text(row: Connection, context: Context) -> str:
    if row.waits_for is None:
        return "unknown" if row.state != "closed" else "-"
    waited = wait_ms(row, context)
    return _WAITS[row.waits_for] + ("" if waited is None else f", for {human.long_duration(waited)}")


def _turns_text(row: Connection) -> str:
    turns = row.turns
    if turns is None:
        return "unknown"
    who = "this end" if turns.asked_by == "local" else "the far end"
    text = f"{who} asked {human.count(turns.count)} times, {human.count(turns.answered)} answered"
    if turns.latency_ms.max is None:
        return text
    times = turns.latency_ms
    return f"{text}; answers mean {human.duration(times.avg)}, longest {human.duration(times.max)}"


def _transmission_facts(row: Connection, context: Context) -> tuple[tuple[str, str], ...]:
    if row.transmission is None or row.recv_queue_bytes is None or row.send_queue_bytes is None:
        return ()
    sends = sent_by(row.transmission, context.now)
    threshold = "none yet" if sends.ssthresh_segments is None else str(sends.ssthresh_segments)
    return (
        ("not read", f"{human.count(row.recv_queue_bytes)} bytes that came"),
        (
            "not acked",
            f"{human.count(row.send_queue_bytes)} bytes, {human.count(sends.unsent_bytes)} of them not sent yet",
        ),
        ("window", f"{human.count(sends.window_bytes)} bytes allowed by the far end"),
        ("congestion", f"cwnd {sends.cwnd_segments}, ssthresh {threshold}, mss {sends.mss_bytes}"),
        ("timeouts", f"{sends.timeouts} in a row, doubled {sends.backoff} times"),
        ("reordered", f"{human.count(sends.out_of_order_segments)} segments came out of order"),
        (
            "sending",
            f"busy {human.duration(sends.busy_ms)}, of which the far end's window held it back "
            f"{human.duration(sends.rwnd_limited_ms)}, the send buffer {human.duration(sends.sndbuf_limited_ms)}",
        ),
    )


def _end_text(end: End | None) -> str:
    if end is None:
        return "its end was not seen"
    return f"{end}: {_WHY_FAILED[end]}" if end in _WHY_FAILED else end


def _before(byte_count: int) -> str:
    return f", {human.count(byte_count)} of them before nettop started" if byte_count else ""


def _name_text(row: Connection) -> str:
    return _looked_up(row.remote)


def _looked_up(far: RemoteEndpoint | RemoteHost) -> str:
    """The name, with what it is worth; of names that other processes asked for, all."""
    if far.name is None:
        return "nobody was seen to look the address up"
    if far.name_source == "tls":
        return f"{far.name} (the server that the TLS handshake asks for)"
    if far.name_source != "other-process":
        return far.name
    if far.names:
        return f"one of {', '.join((far.name, *far.names))} (looked up by other processes: which is not known)"
    return f"{far.name} (looked up by another process: may be a coincidence)"


def _named_by(row: Connection, snapshot: Snapshot) -> tuple[DnsQuery, ...]:
    return tuple(query for query in snapshot.dns if _leads_to(query, row))


def _leads_to(query: DnsQuery, row: Connection) -> bool:
    """Whether the connection carries the name that this query asked for, from its answers."""
    if row.remote.name is None or row.remote.name_source == "tls" or query.netns != row.netns:
        return False
    if query.qname not in (row.remote.name, *row.remote.names):
        return False
    same_process = (query.pid, query.process_start_time) == (row.pid, row.process_start_time)
    if same_process != (row.remote.name_source == "process"):
        return False
    return any(answer.data == row.remote.address for answer in query.answers)


def _query(row: DnsQuery, snapshot: Snapshot, context: Context) -> Detail:
    facts = [
        ("process", _owner_text(row.pid, row.comm)),
        *_service(row, context),
        ("question", f"{row.qname or 'unknown'} {row.qtype or ''}".rstrip()),
        ("status", _status(row)),
        ("latency", human.duration(row.latency_ms)),
        ("attempts", _attempts(row)),
        ("server", f"{endpoint(row.server.address, row.server.port)} over {row.transport.upper()}"),
        *((("via", _via(row.via)),) if row.via else ()),
        ("asked", human.timestamp(row.asked_at)),
        *((answer.type, f"{answer.name}  {answer.data}  (ttl {answer.ttl} s)") for answer in row.answers),
        ("answer", _answer_size(row)),
        ("client", endpoint(row.client.address, row.client.port)),
        ("netns", _named(row.netns, context.owners.netns_name(row.netns))),
        ("id", str(row.txid)),
    ]
    if row.unparsed is not None:
        facts.append(("unparsed", row.unparsed))
    led_to = tuple(connection for connection in snapshot.connections if _leads_to(row, connection))
    related: dict[Kind[Any], tuple[AnyRow, ...]] = {CONNECTIONS: led_to}
    if row.lookup_id is not None:
        related = {LOOKUPS: tuple(each for each in snapshot.lookups if each.id == row.lookup_id), **related}
    return Detail(f"DNS query {row.id}", tuple(facts), related)


def _lookup(row: Lookup, snapshot: Snapshot, context: Context) -> Detail:
    facts = (
        ("process", _owner_text(row.pid, row.comm)),
        *_service(row, context),
        ("name", row.name or "unknown"),
        ("result", _lookup_result(row)),
        ("latency", human.duration(row.latency_ms)),
        ("addresses", lookup_addresses(row) or "none"),
        ("DNS sent", _wire(row)),
        ("function", row.function or "unknown"),
        ("asked", human.timestamp(row.asked_at)),
        ("netns", str(row.netns)),
    )
    sent = tuple(query for query in snapshot.dns if query.lookup_id == row.id)
    led_to = tuple(connection for connection in snapshot.connections if _carries(connection, row))
    return Detail(f"Look-up {row.id}", facts, {DNS: sent, CONNECTIONS: led_to})


_LOOKUP_STATUS = {
    "pending": "pending: the function has not returned",
    "abandoned": "abandoned: its thread has ended, or left the function without waiting",
    "unknown": "unknown: what came of it was not seen",
}
_RESULTS = {
    "EAI_NONAME": "there is no such name",
    "EAI_NODATA": "the name has no such address",
    "EAI_AGAIN": "no server answered, or one failed: it may work later",
    "EAI_FAIL": "a server refused to answer",
    "HOST_NOT_FOUND": "there is no such name",
    "NO_DATA": "the name has no such address",
    "TRY_AGAIN": "no server answered, or one failed: it may work later",
    "NO_RECOVERY": "a server refused to answer",
    "FAILED": "the function does not say why",
    "ERANGE": "its caller had too little room for the answer, and will ask again",
}


def _lookup_result(row: Lookup) -> str:
    if row.result is None:
        return _LOOKUP_STATUS.get(row.status, row.status)
    return f"{row.result}: {_RESULTS[row.result]}" if row.result in _RESULTS else row.result


def _wire(row: Lookup) -> str:
    if row.queries is None:
        return "unknown"
    return human.count(row.queries) if row.queries else "none: a hosts file, a cache or another service answered"


def _carries(connection: Connection, row: Lookup) -> bool:
    """Whether the process connected to what it had looked up."""
    same_process = (connection.pid, connection.process_start_time) == (row.pid, row.process_start_time)
    if not same_process or connection.netns != row.netns or connection.remote.address not in row.addresses:
        return False
    return connection.opened_at is not None and connection.opened_at >= row.asked_at


def _listener(row: Listener, snapshot: Snapshot, context: Context) -> Detail:
    opened = "before nettop started" if row.opened_before_start else human.timestamp(row.opened_at)
    closed = "its end was not seen" if row.closed_at is None else human.timestamp(row.closed_at)
    full = ": full, nobody else gets in" if row.full and not row.closed else ""
    before = f", and {human.count(row.drops_before_start)} before nettop started" if row.drops_before_start else ""
    facts = (
        ("listens on", endpoint(row.address, row.port)),
        ("process", _owner_text(row.pid, row.comm)),
        *_service(row, context),
        ("owner is", "seen to listen" if row.owner == "exact" else _OWNERS[row.owner]),
        ("held by", _holders(row)),
        ("netns", _named(row.netns, context.owners.netns_name(row.netns))),
        ("opened", opened),
        ("closed", closed if row.closed else "still listening"),
        ("accept queue", f"{row.queue} waiting, limit {row.queue_limit}{full}"),
        ("SYN queue", f"{row.syn_queue} handshakes under way"),
        ("drops", f"{human.count(row.drops)} SYNs and handshakes refused{before}; {row.drops_per_s:g} per second now"),
        ("accepted", _accepted(row)),
        ("open", _SHARED_PORT if row.open is None else f"{human.count(row.open)} connections"),
        ("reuseport", _reuseport(row, snapshot)),
    )
    came_in = tuple(connection for connection in snapshot.connections if _came_through(connection, row))
    return Detail(f"Listener {row.id}", facts, {CONNECTIONS: came_in})


_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - nobody binds to it
_SHARED_PORT = "unknown: other sockets listen on the same address and port"


def _holders(row: Listener) -> str:
    named = ", ".join(_owner_text(holder.pid, holder.comm) for holder in row.holders)
    return f"{named} and {row.holders_cut} more" if row.holders_cut else named or "no process"


def _accepted(row: Listener) -> str:
    if row.accepted is None or row.accepted_per_s is None:
        return _SHARED_PORT
    return f"{human.count(row.accepted)} connections; {row.accepted_per_s:g} per second now"


def _reuseport(row: Listener, snapshot: Snapshot) -> str:
    if row.reuseport is None:
        return "no"
    sockets = sum(other.reuseport == row.reuseport and not other.closed for other in snapshot.listeners)
    return f"group {row.reuseport}, {sockets} socket{'' if sockets == 1 else 's'}"


def _came_through(connection: Connection, row: Listener) -> bool:
    """Whether it came in on this address and port while the listener was there."""
    if connection.direction == "outbound" or connection.netns != row.netns or connection.local.port != row.port:
        return False
    if row.address not in (*_EVERY_ADDRESS, connection.local.address):
        return False
    if row.opened_at is not None and (connection.opened_at is None or connection.opened_at < row.opened_at):
        return False
    return row.closed_at is None or connection.opened_at is None or connection.opened_at <= row.closed_at


def _via(via: Endpoint) -> str:
    return f"{endpoint(via.address, via.port)}, where NAT sent it"


def _status(row: DnsQuery) -> str:
    if row.status == "refused":
        return "refused: the program was told at once that nobody serves there (ICMP)"
    return row.status if row.rcode is None else f"{row.status}: {row.rcode}"


def _attempts(row: DnsQuery) -> str:
    if not row.answers_dropped:
        return str(row.attempts)
    plural = "s" if row.answers_dropped > 1 else ""
    return f"{row.attempts}; the socket had no room for {row.answers_dropped} answer{plural}"


def _answer_size(row: DnsQuery) -> str:
    if row.response_bytes is None:
        return "none"
    cut = ", truncated" if row.truncated else ""
    records = len(row.answers) + row.answers_cut
    plural = "" if records == 1 else "s"
    why = "are not kept" if row.unparsed is None else "could not be read"
    left_out = f", of which {human.count(row.answers_cut)} {why}" if row.answers_cut else ""
    return f"{human.count(row.response_bytes)} bytes, {human.count(records)} record{plural}{left_out}{cut}"


def _host(row: RemoteHost, snapshot: Snapshot, context: Context) -> Detail:
    facts = [
        ("address", row.address),
        ("name", _host_name(row)),
        ("scope", _SCOPES[row.scope]),
        ("netns", _named(row.netns, context.owners.netns_name(row.netns))),
        ("processes", ", ".join(map(str, row.pids)) or "none"),
        ("connections", f"{row.connections} open, {row.accepted} accepted, {row.failed} failed"),
        ("UDP", f"{row.udp_flows} flows open"),
        ("sent", f"{human.count(row.tx_bytes)} bytes"),
        ("received", f"{human.count(row.rx_bytes)} bytes"),
        ("now", f"tx {human.size(round(row.tx_bytes_per_s))}/s  rx {human.size(round(row.rx_bytes_per_s))}/s"),
        ("packets", _packets(row.tx_packets, row.rx_packets)),
        ("unwanted", "unknown" if row.unwanted_packets is None else f"{human.count(row.unwanted_packets)} packets"),
        ("round trip", f"median {human.duration(row.srtt_ms)}"),
        ("retransmits", f"{row.retransmits} segments"),
    ]
    facts += [
        (
            each.interface,
            f"received {human.count(each.packets)} packets, {human.count(each.bytes)} bytes, "
            f"{human.count(each.syns)} requests for a connection",
        )
        for each in row.interfaces
    ]
    return Detail(
        f"Host {row.address}",
        tuple(facts),
        {kind: _with(kind, row, snapshot) for kind in (CONNECTIONS, UDP)},
    )


_SCOPES = {
    "loopback": "loopback",
    "host": "host: an address of this network namespace",
    "link": "link: reached without a router",
    "private": "private network",
    "public": "public",
}


def _host_name(row: RemoteHost) -> str:
    others = f"; also {', '.join(row.names)}" if row.names and row.name_source != "other-process" else ""
    return f"{_looked_up(row)}{others}"


def _with(kind: Kind[Any], host: RemoteHost, snapshot: Snapshot) -> tuple[Any, ...]:
    return tuple(
        row
        for row in kind.rows_of(snapshot)
        if row.remote is not None and row.remote.address == host.address and row.netns == host.netns
    )


def _udp(row: UdpFlow, _snapshot: Snapshot, context: Context) -> Detail:
    remote = "unknown" if row.socket in (None, row.id) else "others than the flows that have rows"
    if row.remote is not None:
        name = f" {row.remote.name}" if row.remote.name else ""
        remote = f"{endpoint(row.remote.address, row.remote.port)}{name}"
    facts = (
        ("process", _owner_text(row.pid, row.comm)),
        ("local", "unknown" if row.local is None else endpoint(row.local.address, row.local.port)),
        ("remote", remote),
        *_quic_of(row),
        ("netns", _named(row.netns, context.owners.netns_name(row.netns))),
        ("state", "ended" if row.closed else "open"),
        ("sent", f"{human.count(row.tx_bytes)} bytes"),
        ("received", f"{human.count(row.rx_bytes)} bytes"),
        ("datagrams", f"{_packets(row.tx_packets, row.rx_packets)}{_refused(row.rx_dropped)}"),
    )
    return Detail(f"UDP flow {row.id}", facts, {})


def _requests_of(row: Connection) -> Iterator[tuple[str, str]]:
    if row.requests is None:
        return
    requests = row.requests
    verb = "sent" if requests.side == "client" else "served"
    times = f"p50 {human.duration(requests.latency_ms.p50)}, longest {human.duration(requests.latency_ms.max)}"
    at_least = "at least " if requests.partial else ""
    listed = " of those with rows" if requests.unlisted else ""
    unlisted = f", {human.count(requests.unlisted)} without a row" if requests.unlisted else ""
    retried = f", {human.count(requests.retried)} repeat others" if requests.retried else ""
    failed = f"{human.count(requests.failed)} failed{listed}{_codes(requests)}{unlisted}{retried}"
    yield "requests", f"{at_least}{human.count(requests.count)} {verb}, {failed}; {times}"


def _tls_of(row: Connection) -> Iterator[tuple[str, str]]:
    tls = row.tls
    if tls is None:
        return
    if tls.alert is not None:
        yield "TLS", f"the handshake failed: {tls.alert}"
    elif tls.version is None:
        yield "TLS", "the server's hello was not seen"
    if tls.version is not None:
        resumed = ", resumed" if tls.resumed else ""
        took = "" if tls.handshake_ms is None else f"; the server's hello came after {human.duration(tls.handshake_ms)}"
        yield "TLS", f"{tls.version}, {tls.cipher or 'unknown cipher'}{resumed}{took}"
    yield from _asked_for(tls)


def _quic_of(row: UdpFlow) -> Iterator[tuple[str, str]]:
    if row.tls is not None:
        yield "QUIC", f"version {row.quic_version}"
        yield from _asked_for(row.tls)


def _asked_for(tls: Tls) -> Iterator[tuple[str, str]]:
    front = " (with ECH: it may be that of a front)" if tls.ech else ""
    yield "server name", f"{tls.server_name}{front}" if tls.server_name is not None else "none was seen"
    if tls.alpn is not None:
        yield "ALPN", tls.alpn
    elif tls.alpn_offered:
        yield "ALPN", f"{', '.join(tls.alpn_offered)} offered; what the server chose was not seen"


def _request(row: Request, snapshot: Snapshot, context: Context) -> Detail:
    connection = next((each for each in snapshot.connections if each.id == row.connection_id), None)
    other = _other_side(row, connection, snapshot)
    facts = (
        ("process", _owner_text(row.pid, row.comm)),
        *_service(row, context),
        ("side", row.side),
        ("request", row.method if row.path is None else f"{row.method} {row.path}"),
        ("host", row.host or "unknown"),
        ("status", request_status(row)),
        ("latency", human.duration(row.latency_ms)),
        ("sent", "unknown" if row.request_bytes is None else f"{human.count(row.request_bytes)} bytes"),
        ("response", "unknown" if row.response_bytes is None else f"{human.count(row.response_bytes)} bytes"),
        ("remote", endpoint(row.remote.address, row.remote.port)),
        ("connection", _under(row, connection, context)),
        *(() if other is None else (("other side", _shares(row, other)),)),
        ("asked", human.timestamp(row.asked_at)),
        ("protocol", row.protocol),
        *(() if row.grpc_status is None else (("gRPC status", str(row.grpc_status)),)),
        *((("partial", "some of its fields were said before nettop looked, or missed"),) if row.partial else ()),
        ("trace", row.trace_id or "none"),
        *(() if row.retry_of is None else (("sent again", f"request {row.retry_of} had no response"),)),
        ("netns", _named(row.netns, context.owners.netns_name(row.netns))),
    )
    if connection is None:
        return Detail(f"Request {row.id}", facts, {CONNECTIONS: ()})
    related: dict[Kind[Any], tuple[AnyRow, ...]] = {CONNECTIONS: (connection,)}
    if other is not None:
        related = {REQUESTS: (other,), **related}
    return Detail(f"Request {row.id}", facts, {**related, DNS: _named_by(connection, snapshot)})


def _under(row: Request, connection: Connection | None, context: Context) -> str:
    if connection is None:
        return "none with a row" if row.connection_id is None else str(row.connection_id)
    waits = f"waits for {_waits_text(connection, context)}" if connection.state != "closed" else "closed"
    again = f"{human.count(connection.retransmits)} segments sent again"
    return f"{connection.id}, {waits}; round trip {human.duration(connection.srtt_ms)}, {again}"


def _other_side(row: Request, connection: Connection | None, snapshot: Snapshot) -> Request | None:
    """The row of the same request at the other end of its connection, if that is on this host and has one."""
    if connection is None or connection.peer is None:
        return None
    peer = connection.peer.id
    alike = (
        each
        for each in snapshot.requests
        if each.connection_id == peer and each.side != row.side and _is_same(*_by_side(row, each))
    )
    return min(alike, key=lambda each: abs(each.asked_at - row.asked_at), default=None)


def _by_side(row: Request, other: Request) -> tuple[Request, Request]:
    return (row, other) if row.side == "client" else (other, row)


def _is_same(client: Request, server: Request) -> bool:
    """By what it says and when: it comes while its client waits."""
    if (client.method, client.path) != (server.method, server.path):
        return False
    later_ms = (server.asked_at - client.asked_at) / _MS
    return later_ms >= 0 and (client.latency_ms is None or later_ms <= client.latency_ms)


def _shares(row: Request, other: Request) -> str:
    client, server = _by_side(row, other)
    text = f"{other.side} {_owner_text(other.pid, other.comm)}, {human.duration(other.latency_ms)}"
    if client.latency_ms is None or server.latency_ms is None:
        return text
    between = max(client.latency_ms - server.latency_ms, 0.0)
    return f"{text}; {human.duration(server.latency_ms)} in the server, {human.duration(between)} on the way"


_DETAILS: Mapping[Kind[Any], Callable[[Any, Snapshot, Context], Detail]] = {
    DNS: _query,
    CONNECTIONS: _connection,
    PROCESSES: _process,
    HOSTS: _host,
    UDP: _udp,
    LISTENERS: _listener,
    REQUESTS: _request,
    LOOKUPS: _lookup,
}
