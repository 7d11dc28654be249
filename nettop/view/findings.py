"""What is wrong, in sentences: declared rules over one snapshot, each with its threshold. Pure.

A rule looks at the rows of a kind that one process, listener, resolver or far end has in common, and says one sentence
that those rows prove. Nothing is said below the threshold, so a host where all is well has no findings.
"""

import ipaddress
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import ceil
from typing import Generic, Literal, TypeVar

from nettop.model.kinds import CONNECTIONS, DNS, HOSTS, LISTENERS, REQUESTS, UDP, AnyRow, Kind, waited_ms
from nettop.model.rows import OWN_NAMES, Connection, DnsQuery, End, Listener, RemoteHost, Request, UdpFlow
from nettop.model.snapshot import Snapshot
from nettop.view import format as human
from nettop.view.columns import dns_server, endpoint
from nettop.view.notable import SLOW_MS, WAITS, Notable
from nettop.view.proofs import (
    RECENT,
    RECENT_S,
    Proof,
    grouped,
    in_the_last,
    many,
    percent,
    pid_term,
    process,
    program,
    program_term,
    terms,
    who,
    whose,
)
from nettop.view.request_findings import RequestScene, are_overdue, are_slow, fail, get_no_response, service

Severity = Literal["critical", "warning", "notice"]
RowT = TypeVar("RowT", bound=AnyRow)


@dataclass(frozen=True)
class Finding:
    """One sentence, the rows that prove it, and what shows these (a filter for a pane).

    `sort` is the column by which they are shown, where another order would hide the proof.

    `subject` stays the same while the numbers in the sentence change. `weight` orders those of one rule.
    """

    rule: str
    severity: Severity
    subject: Hashable
    sentence: str
    pane: str
    filter: str
    weight: float
    rows: tuple[AnyRow, ...]
    sort: str = ""


@dataclass(frozen=True)
class Rule(Generic[RowT]):
    """A declared rule: `of` picks the rows that may matter, `by` what they have in common, `says` the sentence or None.

    `meaning` says with its threshold when it speaks, for the manual.
    """

    name: str
    severity: Severity
    kind: Kind[RowT]
    meaning: str
    of: Callable[["Scene"], Iterable[RowT]]
    by: Callable[[RowT], Hashable]
    says: Callable[[Sequence[RowT], "Scene"], Proof | None]
    sort: str = ""

    def findings(self, scene: "Scene") -> Iterator[Finding]:
        """One for each group that the rule says something of."""
        for subject, rows in grouped(self.by, self.of(scene)).items():
            proof = self.says(rows, scene)
            if proof is not None:
                sentence, chosen, proving, weight = proof
                yield Finding(
                    self.name,
                    self.severity,
                    subject,
                    sentence,
                    self.kind.name,
                    chosen,
                    weight or len(proving),
                    tuple(proving),
                    self.sort,
                )


class Scene:
    """The rows of a snapshot that rules may speak of."""

    def __init__(self, snapshot: Snapshot, notable: Notable) -> None:
        self._snapshot = snapshot
        self.now = snapshot.captured_at
        self.recent_s = min(snapshot.elapsed_s, RECENT_S)
        self.since = self.now - min(timedelta(seconds=RECENT_S), self.now - datetime.min.replace(tzinfo=UTC))
        self.at_least = "at least " if snapshot.losses.unlisted.get(CONNECTIONS.name) else ""  # before what rows tell
        self.close_wait: list[Connection] = []
        self.waiting: dict[str | None, list[Connection]] = {whom: [] for whom in WAITS}
        self.failed_to_connect: list[Connection] = []
        self.reset: list[Connection] = []
        for row in notable.connections.look(snapshot.connections):
            if row.state == "closed":
                if row.closed_at is not None and row.closed_at >= self.since:
                    self._take_failed(row)
            elif row.state == "close-wait":
                self.close_wait.append(row)
            else:
                self.waiting[row.waits_for].append(row)
        # Failures outlive other queries: shares are right only for the time of which all queries are there.
        complete = snapshot.complete_since(DNS.name)
        dns_since = self.since if complete is None else max(self.since, complete)
        self.dns_recent_s = min(self.recent_s, ceil((self.now - dns_since).total_seconds()))
        self._dns_since = dns_since
        self.failed_queries: list[DnsQuery] = []  # by what their resolver does
        self.slow_queries: list[DnsQuery] = []
        self.names_in_vain: list[DnsQuery] = []
        for query in reversed(notable.dns.look(snapshot.dns)):
            if query.asked_at >= dns_since:
                self._take_query(query)
        self.requests = RequestScene(snapshot, notable, self.recent_s, self.since)
        self.listeners = [row for row in snapshot.listeners if row.failed]
        self.udp = [row for row in snapshot.udp if row.rx_dropped and not row.closed]
        self.hosts = [row for row in snapshot.hosts if row.syns or row.unwanted_packets]

    @property
    def span(self) -> str:
        """How far back failures are known."""
        return in_the_last(self.recent_s)

    @property
    def dns_span(self) -> str:
        """How far back all queries are known."""
        return in_the_last(self.dns_recent_s)

    @property
    def dns_recent(self) -> str:
        """The same as a term of a filter."""
        return f"since:{ceil(self.dns_recent_s)}s"

    def _take_failed(self, row: Connection) -> None:
        if row.failed_to_connect:
            self.failed_to_connect.append(row)
        elif row.end == "reset-by-peer" and (row.tx_bytes or row.rx_bytes):  # else somebody only tried the port
            self.reset.append(row)

    def _take_query(self, row: DnsQuery) -> None:
        if _is_of_resolver(row):
            self.failed_queries.append(row)
        if (row.latency_ms or 0.0) >= SLOW_MS:
            self.slow_queries.append(row)
        if row.rcode == "NXDOMAIN":
            self.names_in_vain.append(row)

    @cached_property
    def _dns(self) -> list[DnsQuery]:
        """All that came to an end, the newest first."""
        since = self._dns_since
        return [row for row in reversed(self._snapshot.dns) if row.status != "pending" and row.asked_at >= since]

    @cached_property
    def queries_by_resolver(self) -> Mapping[Hashable, Sequence[DnsQuery]]:
        """All queries of the time for which these are known."""
        return grouped(_resolver, self._dns)

    @cached_property
    def queries_by_program(self) -> Mapping[Hashable, Sequence[DnsQuery]]:
        """The same."""
        return grouped(program, self._dns)

    @cached_property
    def reached(self) -> dict[Hashable, datetime]:
        """When a program was last connected to a far end."""
        return {_program_and_far_end(row): opened_at for row, opened_at in self._connects()}

    @cached_property
    def addresses(self) -> dict[Hashable, set[str]]:
        """Which addresses a process was connected to, by port and second."""
        found: defaultdict[Hashable, set[str]] = defaultdict(set)
        for row, opened_at in self._connects():
            found[process(row), row.remote.port, int(opened_at.timestamp())].add(row.remote.address)
        return found

    def _connects(self) -> Iterator[tuple[Connection, datetime]]:
        for row in self._snapshot.connections:
            if row.direction == "outbound" and row.connect_ms is not None and row.opened_at is not None:
                yield row, row.opened_at

    @cached_property
    def answered(self) -> dict[Hashable, set[Hashable]]:
        """Who answered, by who asked, for what, and in which second."""
        found: defaultdict[Hashable, set[Hashable]] = defaultdict(set)
        for row in self._dns:
            if row.status == "answered":
                found[_asked(row, 0)].add(_resolver(row))
        return found

    @cached_property
    def _networks(self) -> int:
        return len({row.netns for table in (self._snapshot.connections, self._snapshot.dns) for row in table})

    def place(self, row: Connection | DnsQuery | Request) -> tuple[str, str]:
        """Where a row is, in words and as a term of a filter, if there are several such places."""
        return (f" in netns {row.netns}", f"netns:{row.netns}") if self._networks > 1 else ("", "")


def findings(snapshot: Snapshot, notable: Notable | None = None) -> list[Finding]:
    """All of them, the most severe first. `notable` makes those of the next snapshot cheap."""
    scene = Scene(snapshot, notable or Notable())
    return [each for rule in RULES for each in sorted(rule.findings(scene), key=lambda each: -each.weight)]


def _asked(row: DnsQuery, seconds: int) -> Hashable:
    """A question with the second in which it was asked, or one so much later."""
    return process(row), row.qname, row.qtype, int(row.asked_at.timestamp()) + seconds


# How the sentences name things


def _process_and_far_end(row: Connection) -> Hashable:
    return row.pid, row.process_start_time, row.netns, row.remote.address, row.remote.port


def _server_term(row: DnsQuery) -> str:
    return f"host:{row.server.address} port:{row.server.port}"


def _far_end(row: Connection) -> str:
    name = row.remote.name if row.remote.name_source in OWN_NAMES else None
    return endpoint(name or row.remote.address, row.remote.port)


def _host_term(row: Connection) -> str:
    return f"host:{row.remote.address} port:{row.remote.port}"


def _waiting(whom: str, least_ms: float) -> tuple[str, ...]:
    """The terms for connections that have waited so long; those in CLOSE_WAIT are another matter."""
    return f"wait:{whom}", f"wait:>={least_ms / 1000:.0f}s", "-state:close-wait"


def _held_up(rows: Sequence[Connection], now: datetime, least_ms: float) -> list[Connection]:
    """Those that have waited so long."""
    return [row for row in rows if (waited_ms(row, now) or 0.0) >= least_ms]


def _how_many_for_how_long(rows: Sequence[Connection], now: datetime) -> str:
    longest = max(waited_ms(row, now) or 0.0 for row in rows)
    return f"{many(len(rows), 'connection')} for {human.duration(longest)}"


# Connections that go on

LEAKED_MS, FOUND_MS, LEAST_LEAKED = 60_000.0, 20_000.0, 5


def _was_found_so(row: Connection) -> bool:
    """Whether its state is older than nettop."""
    return bool(row.opened_before_start) and not row.states_ms


def _leaks(every: Sequence[Connection], scene: Scene) -> Proof | None:
    rows = [row for row in every if not row.tx_bytes_per_s]  # else it is half closed: the far end still gets its answer
    ages = [(row.in_state_ms("close-wait", scene.now) or 0.0, _was_found_so(row)) for row in rows]
    if sum(age > (FOUND_MS if found else LEAKED_MS) for age, found in ages) < LEAST_LEAKED:
        return None
    fresh = sum(age <= RECENT_S * 1000 and not found for age, found in ages) * RECENT_S / (scene.recent_s or RECENT_S)
    oldest, found = max(ages)
    where, term = scene.place(rows[0])
    sentence = (
        f"{whose(rows)}{where}: {human.count(len(rows))} in CLOSE_WAIT, oldest {'over ' if found else ''}"
        f"{human.duration(oldest)}{f', +{fresh:.0f}/min' if fresh else ''}: the far end has closed, this program has "
        "not."
    )
    return Proof(sentence, terms(program_term(rows), term, "state:close-wait"), rows)


UNREAD_MS, OWED_MS, WINDOW_MS, RESENT_MS = 20_000.0, 20_000.0, 20_000.0, 3_000.0
MUCH_UNREAD = 4096  # bytes: a client that has nothing to ask leaves the session tickets of TLS unread
_SLOWER_THAN_EVER = 10  # times the longest answer so far: a long poll is none


def _does_not_read(rows: Sequence[Connection], scene: Scene) -> Proof | None:
    stuck = [
        row
        for row in _held_up(rows, scene.now, UNREAD_MS)
        if row.recv_queue_bytes and (row.recv_queue_bytes >= MUCH_UNREAD or row.direction == "inbound")
    ]
    if not stuck:
        return None
    sentence = (
        f"{who(stuck[0])} does not read from {_how_many_for_how_long(stuck, scene.now)}: "
        f"{human.size(sum(row.recv_queue_bytes or 0 for row in stuck))} wait for it."
    )
    return Proof(sentence, terms(pid_term(stuck[0]), *_waiting("local", UNREAD_MS)), stuck)


def _is_late(row: Connection, scene: Scene) -> bool:
    """Whether an answer takes long, also by the measure of those before it, and no rule about requests says it."""
    now = scene.now
    if row.id in scene.requests.judged:
        return False
    waited = waited_ms(row, now) or 0.0
    before = row.turns.latency_ms.max if row.turns is not None else None
    return waited >= OWED_MS and (before is None or waited >= before * _SLOWER_THAN_EVER)


def _usual(rows: Sequence[Connection]) -> str:
    longest = (row.turns.latency_ms.max for row in rows if row.turns is not None)
    slowest = [took for took in longest if took is not None]
    return f"; no answer before took over {human.duration(max(slowest))}" if slowest else ""


def _owes(rows: Sequence[Connection], scene: Scene) -> Proof | None:
    late = [row for row in rows if not row.recv_queue_bytes and _is_late(row, scene)]
    if not late:
        return None
    sentence = f"{who(late[0])} owes an answer on {_how_many_for_how_long(late, scene.now)}{_usual(late)}."
    return Proof(sentence, terms(pid_term(late[0]), *_waiting("local", OWED_MS)), late)


def _waits_for_far_end(rows: Sequence[Connection], scene: Scene) -> Proof | None:
    late = [row for row in rows if row.state == "established" and _is_late(row, scene)]
    if not late:
        return None
    sentence = (
        f"{who(late[0])} waits for {_far_end(late[0])} on {_how_many_for_how_long(late, scene.now)}{_usual(late)}."
    )
    return Proof(sentence, terms(pid_term(late[0]), _host_term(late[0]), *_waiting("remote", OWED_MS)), late)


def _window_is_shut(rows: Sequence[Connection], scene: Scene) -> Proof | None:
    shut = _held_up(rows, scene.now, WINDOW_MS)
    if not shut:
        return None
    sentence = (
        f"{_far_end(shut[0])} does not read what {who(shut[0])} sends on {_how_many_for_how_long(shut, scene.now)}: "
        "its window is shut."
    )
    shown = terms(pid_term(shut[0]), _host_term(shut[0]), *_waiting("remote-window", WINDOW_MS))
    return Proof(sentence, shown, shut)


def _is_sent_again(rows: Sequence[Connection], scene: Scene) -> Proof | None:
    lost = _held_up(rows, scene.now, RESENT_MS)
    if not lost:
        return None
    by = next(filter(None, (row.dropped_by for row in lost)), None)
    sentence = (
        f"{_far_end(lost[0])} does not acknowledge what {who(lost[0])} sends again on "
        f"{_how_many_for_how_long(lost, scene.now)}"
        f"{f'; a {by} of this host drops packets of it' if by else ''}."
    )
    return Proof(sentence, terms(pid_term(lost[0]), _host_term(lost[0]), *_waiting("network", RESENT_MS)), lost)


# Connections that ended

LEAST_FAILED, LEAST_RESET = 3, 10
_AT_ONCE_S = range(-2, 3)
_RECOVERED = timedelta(seconds=10)
_HOW_THEY_FAILED: dict[End, str] = {
    "refused": "were refused",
    "reset-by-peer": "were reset",
    "timeout": "got no answer",
    "given-up": "were given up without an answer",
    "unreachable": "found the host unreachable",
    "rejected": "were rejected",
    "no-route": "found no route",
    "denied": "were denied by a BPF program on a cgroup",
    "unsent": "failed before anything was sent",
    "no-port": "found no free local port",
}


def _program_and_far_end(row: Connection) -> Hashable:
    return program(row), row.remote.address, row.remote.port


def _program_far_end_and_end(row: Connection) -> Hashable:
    return _program_and_far_end(row), row.end


def _went_elsewhere(row: Connection, scene: Scene) -> bool:
    """Whether its process reached another address at once: the host has two, of which one is not meant to answer."""
    second = int((row.closed_at or scene.now).timestamp())
    known = (scene.addresses.get((process(row), row.remote.port, second + more), set()) for more in _AT_ONCE_S)
    return bool(set().union(*known) - {row.remote.address})


def _is_over(rows: Sequence[Connection], scene: Scene) -> bool:
    """Whether the far end has been reached since the last failure, and that was a while ago."""
    last = max(row.closed_at or scene.now for row in rows)
    reached = scene.reached.get(_program_and_far_end(rows[0]))
    return scene.now - last >= _RECOVERED and reached is not None and reached > last


def _cannot_connect(every: Sequence[Connection], scene: Scene) -> Proof | None:
    if len(every) < LEAST_FAILED:
        return None
    rows = [row for row in every if not _went_elsewhere(row, scene)]
    if len(rows) < LEAST_FAILED or _is_over(rows, scene):
        return None
    end = rows[0].end
    by = next(filter(None, (row.silenced_by for row in rows)), None)
    how = _HOW_THEY_FAILED.get(end, "failed") if end is not None else "failed"
    where, term = scene.place(rows[0])
    sentence = (
        f"{whose(rows)}{where}: {scene.at_least}{many(len(rows), 'connect')} to {_far_end(rows[0])}"
        f" {how} {scene.span}"
        f"{f', and a {by} of this host dropped packets of them' if by else ''}."
    )
    return Proof(sentence, terms(program_term(rows), term, _host_term(rows[0]), f"end:{end}", RECENT), rows)


def _is_reset(rows: Sequence[Connection], scene: Scene) -> Proof | None:
    if len(rows) < LEAST_RESET:
        return None
    where, place = scene.place(rows[0])
    if rows[0].direction == "inbound":
        sentence = f"{whose(rows)}{where} :{rows[0].local.port}: clients reset"
        term = f"port:{rows[0].local.port}"
    else:
        sentence, term = f"{_far_end(rows[0])} reset", _host_term(rows[0])
        sentence = f"{whose(rows)}{where}: {sentence}"
    sentence += f" {scene.at_least}{many(len(rows), 'connection')} {scene.span}."
    return Proof(sentence, terms(program_term(rows), place, term, "end:reset-by-peer", RECENT), rows)


def _program_and_service(row: Connection) -> Hashable:
    if row.direction == "inbound":
        return program(row), row.local.port
    return _program_and_far_end(row)


# DNS

LEAST_QUERIES, BAD_SHARE = 10, 0.1
LEAST_NAMES_FAILED, LEAST_SEARCHED, BAD_NAMES_SHARE = 60, 30, 0.5
_REVERSED = re.compile(r"(?:[0-9]{1,3}\.){4}|(?:[0-9a-f]\.){32}", re.IGNORECASE)
_OF_RESOLVER = ("servfail", "refused", "formerr", "notimp", "timeout")  # as the filter has them


def _result(row: DnsQuery) -> str:
    if row.status in ("timeout", "refused"):
        return {"timeout": "timed out", "refused": "refused"}[row.status]
    return row.rcode or "answered"


def _resolver(row: DnsQuery) -> Hashable:
    return row.netns, row.server.address, row.server.port


def _is_asked_of_all(row: DnsQuery) -> bool:
    """Whether it went to a multicast group: that nobody has the name is no answer (RFC 6762 section 6)."""
    return ipaddress.ip_address(row.server.address).is_multicast


def _is_of_resolver(row: DnsQuery) -> bool:
    return row.status in _OF_RESOLVER or (row.rcode or "").lower() in _OF_RESOLVER


def _was_answered_elsewhere(row: DnsQuery, scene: Scene) -> bool:
    """Whether another server was asked at the same time and answered: who asks two (musl) takes what comes first."""
    if row.status != "timeout":
        return False
    others = (scene.answered.get(_asked(row, seconds), set()) for seconds in (-1, 0, 1))
    return bool(set().union(*others) - {_resolver(row)})


def _resolver_fails(bad: Sequence[DnsQuery], scene: Scene) -> Proof | None:
    if len(bad) < LEAST_QUERIES * BAD_SHARE:
        return None
    rows = scene.queries_by_resolver[_resolver(bad[0])]
    known = [row for row in rows if row.status != "forgotten" and not _was_answered_elsewhere(row, scene)]
    failed = [row for row in known if _is_of_resolver(row)]
    if len(known) < LEAST_QUERIES or len(failed) < len(known) * BAD_SHARE or _is_asked_of_all(known[0]):
        return None
    (most, number), *others = Counter(map(_result, failed)).most_common()
    how = most if not others else f"fail, {human.count(number)} of them {most},"
    where, term = scene.place(rows[0])
    sentence = (
        f"resolver {dns_server(rows[0])}{where}: {percent(len(failed), len(known))} of {human.count(len(known))} "
        f"queries {how} {scene.dns_span}."
    )
    shown = terms(_server_term(rows[0]), term, f"dns:{','.join(_OF_RESOLVER)}", scene.dns_recent)
    return Proof(sentence, shown, failed, len(failed) + len(failed) / len(known))  # of as many the larger share


def _resolver_is_slow(slow: Sequence[DnsQuery], scene: Scene) -> Proof | None:
    if len(slow) < LEAST_QUERIES / 2:
        return None
    rows = scene.queries_by_resolver[_resolver(slow[0])]
    answered = sum(row.latency_ms is not None for row in rows)
    half = (answered + 1) // 2
    if answered < LEAST_QUERIES or len(slow) < half:
        return None
    slowest = sorted(slow, key=lambda row: -(row.latency_ms or 0.0))[:half]
    where, term = scene.place(rows[0])
    sentence = (
        f"resolver {dns_server(rows[0])}{where}: half of {human.count(answered)} answers took over "
        f"{human.duration(slowest[-1].latency_ms)} {scene.dns_span}."
    )
    return Proof(sentence, terms(_server_term(rows[0]), term, f"latency:>={SLOW_MS:.0f}ms", scene.dns_recent), slowest)


def _in_vain(every: Sequence[DnsQuery], rows: Sequence[DnsQuery], least: int, searched: bool) -> list[DnsQuery]:
    """The queries for names that do not exist, if they are so many and half of all: `every` of them, of these rows.

    `searched`: those that only a search list can have caused, as the name exists without a domain behind it; or others.
    """
    failed = [row for row in every if row.qname is not None and not _is_a_lookup_of_address(row)]
    if len(failed) < least or len(failed) < len(rows) * BAD_NAMES_SHARE:
        return []
    there = {row.qname for row in rows if row.rcode == "NOERROR" and row.qname is not None}
    extended = {name for name in {row.qname or "" for row in failed} if any(map(there.__contains__, _beginnings(name)))}
    vain = [row for row in failed if (row.qname in extended) is searched]
    return vain if len(vain) >= least and len(vain) >= len(rows) * BAD_NAMES_SHARE else []


def _is_a_lookup_of_address(row: DnsQuery) -> bool:
    """Where no name is as good an answer: PTR, and lists of addresses that send spam (RFC 5782 section 2.1)."""
    return row.qtype == "PTR" or _REVERSED.match(row.qname or "") is not None


def _beginnings(name: str) -> Iterator[str]:
    labels = name.split(".")
    return (".".join(labels[:number]) for number in range(1, len(labels)))


def _asks_in_vain(every: Sequence[DnsQuery], scene: Scene) -> Proof | None:
    if len(every) < LEAST_NAMES_FAILED:
        return None
    rows = scene.queries_by_program[program(every[0])]
    failed = _in_vain(every, rows, LEAST_NAMES_FAILED, searched=False)
    if not failed:
        return None
    names = {row.qname for row in failed}
    what = f"{human.count(len(names))} names that do not exist"
    if len(names) == 1:
        what = f"{names.pop()}, which does not exist"
    sentence = (
        f"{whose(rows)} asks for {what}: {human.count(len(failed))} of {human.count(len(rows))} queries "
        f"{scene.dns_span}."
    )
    return Proof(sentence, terms(program_term(rows), "dns:nxdomain", scene.dns_recent), failed)


def _searches_first(every: Sequence[DnsQuery], scene: Scene) -> Proof | None:
    if len(every) < LEAST_SEARCHED:
        return None
    rows = scene.queries_by_program[program(every[0])]
    searched = _in_vain(every, rows, LEAST_SEARCHED, searched=True)
    if not searched:
        return None
    answered = sum(row.rcode == "NOERROR" for row in rows)
    sentence = (
        f"{whose(rows)} asks {(len(searched) + answered) / answered:.1f} times for each answer, "
        f"{human.count(len(rows))} queries {scene.dns_span}: the search list comes before the name itself."
    )
    return Proof(sentence, terms(program_term(rows), "dns:nxdomain", scene.dns_recent), searched)


# Listeners, UDP, hosts


def _queue_is_full(rows: Sequence[Listener], _scene: Scene) -> Proof | None:
    row = rows[0]
    dropped = f", {human.count(row.drops)} dropped" if row.drops else ""
    if row.full:
        what = f"accept queue full ({row.queue} of {row.queue_limit}){dropped}"
    else:
        what = f"{row.drops_per_s:.0f} connections a second dropped{dropped and f', {human.count(row.drops)} so far'}"
    sentence = f"{who(row)} :{row.port} {what}: it does not accept fast enough."
    return Proof(sentence, terms(f"listen:{row.port}", pid_term(row)), rows, row.drops_per_s + row.drops)


LEAST_DATAGRAMS_REFUSED, REFUSED_SHARE = 100, 0.01


def _drops_datagrams(rows: Sequence[UdpFlow], _scene: Scene) -> Proof | None:
    refused = sum(row.rx_dropped for row in rows)
    received = sum(row.rx_packets or 0 for row in rows)
    if refused < LEAST_DATAGRAMS_REFUSED or refused < (refused + received) * REFUSED_SHARE:
        return None
    sentence = (
        f"{who(rows[0])}: {human.count(refused)} of {human.count(refused + received)} datagrams found its receive "
        "buffer full since nettop started."
    )
    return Proof(sentence, pid_term(rows[0]), rows, refused)


LEAST_SYNS, LEAST_UNWANTED = 100, 1000


def _scans(rows: Sequence[RemoteHost], _scene: Scene) -> Proof | None:
    row = rows[0]
    syns, unwanted = row.syns or 0, row.unwanted_packets or 0
    packets = row.rx_packets or 0
    # what this host only forwards has packets behind each of these
    if syns >= LEAST_SYNS and syns > 10 * (row.accepted + row.connections) and packets < 2 * syns:
        what = f"{human.count(syns)} connection requests, of which {human.count(row.accepted)} came through"
    elif unwanted >= LEAST_UNWANTED:
        what = f"{human.count(unwanted)} packets to where nobody listens"
    else:
        return None
    return Proof(f"{row.address} has sent {what}, since nettop started.", f"host:{row.address}", rows, syns + unwanted)


# In the order in which they are said, which stays while numbers change: what others may follow from comes first.
RULES: tuple[Rule, ...] = (  # type: ignore[type-arg]
    Rule("accept-queue", "critical", LISTENERS, "a listening socket's accept queue is full, or it drops connections",
         lambda scene: scene.listeners, lambda row: row.id, _queue_is_full),
    Rule("resolver-fails", "critical", DNS,
         "a resolver fails 10 % of at least 10 queries in the last minute (SERVFAIL, REFUSED, no answer)",
         lambda scene: scene.failed_queries, _resolver, _resolver_fails),
    Rule("not-read", "critical", CONNECTIONS,
         "a process leaves data unread for 20 s: 4 KB, or any that came to a server",
         lambda scene: scene.waiting["local"], process, _does_not_read, "wait"),
    Rule("leak", "critical", CONNECTIONS,
         "a program has 5 connections in CLOSE_WAIT for over a minute (20 s if nettop found them so), and is silent",
         lambda scene: scene.close_wait, program, _leaks, "wait"),
    Rule("connect-fails", "critical", CONNECTIONS, "3 connects of a program to one far end fail in a minute",
         lambda scene: scene.failed_to_connect, _program_far_end_and_end, _cannot_connect),
    Rule("no-response", "critical", REQUESTS,
         "5 requests of one path or command, or of one service, end without a response in a minute, and 10 % of all "
         "of these", lambda scene: scene.requests.unanswered, service, get_no_response),
    Rule("requests-fail", "critical", REQUESTS,
         "5 requests of one path or command, or of one service, fail in a minute, and 10 % of all of these (5xx, "
         "gRPC's status of a server, the error of a database)",
         lambda scene: scene.requests.broken, service, fail),
    Rule("sent-again", "warning", CONNECTIONS, "what a process sent is not acknowledged for 3 s and sent again",
         lambda scene: scene.waiting["network"], _process_and_far_end, _is_sent_again, "wait"),
    Rule("response-overdue", "warning", REQUESTS,
         "a request waits for its response for 20 s, and ten times as long as the longest one to the same path so far",
         lambda scene: scene.requests.overdue, service, are_overdue),
    Rule("owes-answer", "warning", CONNECTIONS,
         "a process owes an answer for 20 s, and ten times as long as its longest one so far",
         lambda scene: scene.waiting["local"], process, _owes, "wait"),
    Rule("waits-for-answer", "warning", CONNECTIONS,
         "a process waits for an answer for 20 s, and ten times as long as the longest one so far",
         lambda scene: scene.waiting["remote"], _process_and_far_end, _waits_for_far_end, "wait"),
    Rule("far-end-not-reading", "warning", CONNECTIONS, "the far end's window is shut for 20 s",
         lambda scene: scene.waiting["remote-window"], _process_and_far_end, _window_is_shut, "wait"),
    Rule("resolver-slow", "warning", DNS, "half of at least 10 answers of a resolver in a minute take over 0.5 s",
         lambda scene: scene.slow_queries, _resolver, _resolver_is_slow),
    Rule("requests-slow", "warning", REQUESTS,
         "5 requests of one path or command, and 10 % of all of these, take 0.5 s and ten times the median of their "
         "service in the last minute", lambda scene: scene.requests.slow, service, are_slow),
    Rule("names-in-vain", "warning", DNS,
         "a program asks 60 times a minute for names that do not exist, in half of its queries",
         lambda scene: scene.names_in_vain, program, _asks_in_vain),
    Rule("datagrams-dropped", "warning", UDP, "a process's sockets refuse 100 datagrams and 1 % of all",
         lambda scene: scene.udp, process, _drops_datagrams),
    Rule("search-list", "notice", DNS,
         "half of a program's queries, 30 a minute, are of names with a search domain that has none such",
         lambda scene: scene.names_in_vain, program, _searches_first),
    Rule("reset", "notice", CONNECTIONS, "10 connections of a program with one far end or service are reset a minute",
         lambda scene: scene.reset, _program_and_service, _is_reset),
    Rule("scan", "notice", HOSTS, "a host sends 100 connection requests that hardly come through, or 1,000 packets "
         "to where nobody listens", lambda scene: scene.hosts, lambda row: (row.netns, row.address), _scans),
)  # fmt: skip
