"""The tables behind the panes: takes events, keeps bounded rows and totals, makes snapshots."""

import statistics
from collections import Counter, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Self, TypeVar

from msgspec import Struct
from msgspec.structs import asdict, astuple, replace

from nettop.model import dropped, events, rows
from nettop.model.filter import left_out
from nettop.model.hosts import Hosts
from nettop.model.kinds import CONNECTIONS, DNS, HOSTS, KINDS, PROCESSES, UDP, Kind
from nettop.model.peers import Peers
from nettop.model.rows import MAX_COUNT, Connection, DnsQuery, DnsStatus, Process, ProcessIdentity
from nettop.model.services import NONE, of_path
from nettop.model.snapshot import Snapshot
from nettop.model.table import BoundedTable, Keeping
from nettop.model.timeline import Doer, Sums, Timeline, failure_of

LATENCIES_KEPT = 255  # per process, for its percentiles
MAX_OPEN_EVICTED = 131_072  # statuses of queries without a row; twice what the tracker waits for, some 12 MB
LEAKING_AFTER = timedelta(seconds=60)  # in CLOSE_WAIT: a program that means to close does so within moments
_OPEN = ("pending", "timeout", "refused")  # what an answer may still follow on

SECONDS = "seconds"  # stands among the kinds in a History
History = Mapping[str, int]  # how many rows are kept of what is over, by kind; for how long at least, by SECONDS
DEFAULT_HISTORY: History = {kind.name: kind.history for kind in KINDS}


class _ProcessKey(Struct, frozen=True, gc=False):
    pid: int
    start_time: datetime

    def __deepcopy__(self, _memo: object) -> Self:
        return self


class _TcpShare(rows.TcpTotals, frozen=True, gc=False, kw_only=True):
    """TCP with the turns and requests, which the row of a process has elsewhere.

    `..._untold` failed, and nobody said whether with 4xx or 5xx.
    """

    asked: int = 0
    was_asked: int = 0
    requests: int = 0
    requests_failed: int = 0
    requests_4xx: int = 0
    requests_5xx: int = 0
    requests_untold: int = 0
    requests_retried: int = 0
    served: int = 0
    served_failed: int = 0
    served_4xx: int = 0
    served_5xx: int = 0
    served_untold: int = 0


class _Answers:
    """Times of the answers to one process, or of its own."""

    __slots__ = ("last_ms", "slowest_ms")

    def __init__(self) -> None:
        self.last_ms: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self.slowest_ms: float | None = None

    def take(self, before: rows.Turns | None, turns: rows.Turns) -> None:
        """What has come on a connection since the row before."""
        fresh = turns.answered - (before.answered if before is not None else 0)
        if fresh > 0:
            self.last_ms.extend(turns.latency_ms.recent[-fresh:])
        slowest = turns.latency_ms.max
        if slowest is not None and (before is None or slowest != before.latency_ms.max):
            self.slowest_ms = max(self.slowest_ms or 0.0, slowest)

    def row(self, count: int) -> rows.TurnTotals:
        """As the row of the process has them."""
        ordered = sorted(self.last_ms)
        p50, p95 = (_percentile(ordered, share) for share in (50, 95))
        times = rows.AnswerTimes(p50=p50, p95=p95, max=self.slowest_ms)
        return rows.TurnTotals(count=_bounded(count), latency_ms=times)


class _Totals:
    """What is added up for one process."""

    __slots__ = (
        "answered",
        "answers",
        "dns_failed",
        "dropped",
        "latencies_ms",
        "leaking",
        "max_latency_ms",
        "other",
        "queries",
        "summed",
        "tcp",
        "ticked_rx",
        "ticked_tx",
        "timeouts",
        "udp",
    )

    def __init__(self) -> None:
        self.tcp = _TcpShare()
        self.udp = rows.UdpTotals()
        self.other = rows.OtherTotals()
        self.dropped: rows.Dropped | None = None
        self.ticked_tx = self.ticked_rx = 0  # the sums at the last tick, for the rates
        self.queries = self.answered = self.dns_failed = self.timeouts = 0
        self.summed = Sums()  # for the timeline, at the last tick
        self.leaking = 0
        self.latencies_ms: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self.max_latency_ms: float | None = None
        self.answers: dict[str, _Answers] = {}

    @property
    def tx_bytes(self) -> int:
        """Over TCP and UDP."""
        return self.tcp.tx_bytes + self.udp.tx_bytes

    @property
    def rx_bytes(self) -> int:
        """Over TCP and UDP."""
        return self.tcp.rx_bytes + self.udp.rx_bytes

    def sum_up(self) -> Sums:
        """What has come since the last time."""
        now = Sums(
            self.tx_bytes,
            self.rx_bytes,
            self.queries,
            self.dns_failed + self.timeouts,
            self.tcp.opened,
            self.tcp.accepted,
            self.tcp.failed,
        )
        then, self.summed = self.summed, now
        return now.since(then)

    def add_tcp(self, share: _TcpShare, sign: int = 1) -> None:
        """With -1: take it away."""
        tcp = self.tcp
        self.tcp = _TcpShare(
            tx_bytes=tcp.tx_bytes + sign * share.tx_bytes,
            rx_bytes=tcp.rx_bytes + sign * share.rx_bytes,
            active=tcp.active + sign * share.active,
            opened=tcp.opened + sign * share.opened,
            accepted=tcp.accepted + sign * share.accepted,
            failed=tcp.failed + sign * share.failed,
            retransmits=tcp.retransmits + sign * share.retransmits,
            asked=tcp.asked + sign * share.asked,
            was_asked=tcp.was_asked + sign * share.was_asked,
            requests=tcp.requests + sign * share.requests,
            requests_failed=tcp.requests_failed + sign * share.requests_failed,
            requests_4xx=tcp.requests_4xx + sign * share.requests_4xx,
            requests_5xx=tcp.requests_5xx + sign * share.requests_5xx,
            requests_untold=tcp.requests_untold + sign * share.requests_untold,
            requests_retried=tcp.requests_retried + sign * share.requests_retried,
            served=tcp.served + sign * share.served,
            served_failed=tcp.served_failed + sign * share.served_failed,
            served_4xx=tcp.served_4xx + sign * share.served_4xx,
            served_5xx=tcp.served_5xx + sign * share.served_5xx,
            served_untold=tcp.served_untold + sign * share.served_untold,
        )

    def add_udp(self, share: rows.UdpTotals, sign: int = 1) -> None:
        """With -1: take it away."""
        self.udp = _sum(self.udp, share, sign)

    def add_other(self, share: rows.OtherTotals, sign: int = 1) -> None:
        """With -1: take it away."""
        self.other = _sum(self.other, share, sign)

    def add_unlisted(self, counted: rows.Unlisted) -> None:
        """What the process did without rows."""
        self.queries += counted.queries
        self.answered += counted.answered
        self.dns_failed += counted.failed
        self.add_tcp(
            _TcpShare(
                tx_bytes=counted.tcp_tx_bytes,
                rx_bytes=counted.tcp_rx_bytes,
                opened=counted.opened,
                accepted=counted.accepted,
                failed=counted.failed_connects,
                retransmits=counted.retransmits,
                asked=counted.asked,
                was_asked=counted.was_asked,
                **_answered_share(
                    "requests",
                    counted.requests,
                    counted.requests_failed,
                    counted.requests_failed_4xx,
                    counted.requests_failed_5xx,
                ),
                **_answered_share(
                    "served",
                    counted.served,
                    counted.served_failed,
                    counted.served_failed_4xx,
                    counted.served_failed_5xx,
                ),
            )
        )
        self.add_udp(
            rows.UdpTotals(
                tx_bytes=counted.udp_tx_bytes, rx_bytes=counted.udp_rx_bytes, rx_dropped=counted.udp_rx_dropped
            )
        )


_Counted = TypeVar("_Counted", rows.UdpTotals, rows.OtherTotals)


def _sum(totals: _Counted, share: _Counted, sign: int) -> _Counted:
    return type(totals)(
        tx_bytes=totals.tx_bytes + sign * share.tx_bytes,
        rx_bytes=totals.rx_bytes + sign * share.rx_bytes,
        rx_dropped=totals.rx_dropped + sign * share.rx_dropped,
    )


_CountedSocket = rows.UdpFlow | rows.OtherSocket
_Carrier = Connection | _CountedSocket
# What one row contributes; taken away when a newer one replaces it.
_Share = _TcpShare | rows.UdpTotals | rows.OtherTotals
_ShareT = TypeVar("_ShareT", _TcpShare, rows.UdpTotals, rows.OtherTotals)
_PROTOCOLS: Mapping[type[_Share], str] = {_TcpShare: "tcp", rows.UdpTotals: "udp", rows.OtherTotals: "other"}


class _OpenQueries:
    """Statuses of queries whose rows were evicted, as long as an answer may still change the totals."""

    def __init__(self) -> None:
        self.evicted: dict[str, int] = {}  # empty until there is something to tell
        self._statuses: dict[int, DnsStatus] = {}
        self._last_evicted_id = 0

    def __len__(self) -> int:
        return len(self._statuses)

    def remember(self, row: DnsQuery) -> None:
        """Until take(), or until there are too many."""
        if row.status not in _OPEN:
            return
        self._statuses[row.id] = row.status
        if len(self._statuses) > MAX_OPEN_EVICTED:
            oldest = next(iter(self._statuses))
            del self._statuses[oldest]
            self._last_evicted_id = max(self._last_evicted_id, oldest)
            self.evicted["dns_statuses"] = self.evicted.get("dns_statuses", 0) + 1

    def take(self, number: int) -> tuple[bool, DnsStatus | None]:
        """Whether it is known how far this query is in the totals, and its status there: None if it is not in them."""
        status = self._statuses.pop(number, None)
        return status is not None or number > self._last_evicted_id, status


class Store:
    """Single-threaded. A snapshot shares the rows that have not changed since the one before."""

    def __init__(self, history: History = DEFAULT_HISTORY) -> None:
        self._start: events.Start | None = None
        self._filter_not_applied: dict[str, tuple[str, ...]] = {}
        self._now: datetime | None = None
        self._last_tick: datetime | None = None
        self._losses = rows.Losses()
        self._lookup_coverage: rows.LookupCoverage | None = None
        self._decrypt_coverage: rows.DecryptCoverage | None = None
        forget: dict[Kind[Any], Callable[[Any, Any], None]] = {
            DNS: self._forget_query,
            CONNECTIONS: self._forget_connection,
            PROCESSES: self._forget_process,
            UDP: self._forget_udp,
        }
        self._kept_for = timedelta(seconds=history.get(SECONDS, 0))
        keeping = {kind: self._keeping(kind) for kind in KINDS}
        self._tables: dict[Kind[Any], BoundedTable[Any, Any]] = {
            kind: BoundedTable(kind.ended, history.get(kind.name, kind.history), forget.get(kind), keeping[kind])
            for kind in KINDS
        }
        self._hosts = Hosts(history.get(HOSTS.name, HOSTS.history), HOSTS.ended or (lambda _: False), keeping[HOSTS])
        self._tables[HOSTS] = self._hosts.table
        self._dns: BoundedTable[int, DnsQuery] = self._tables[DNS]
        self._connections: BoundedTable[int, Connection] = self._tables[CONNECTIONS]
        self._peers = Peers(self._connections.rows)
        self._identities: BoundedTable[_ProcessKey, ProcessIdentity] = self._tables[PROCESSES]
        self._last_evicted_dns_id = 0
        self._dns_without_row = _OpenQueries()
        # Open ones: bounded by the kernel's map.
        self._other: dict[int, rows.OtherSocket] = {}
        # What sockets had carried when another process went on with them.
        self._passed_on: dict[tuple[type[_Carrier], int], _Share] = {}
        self._totals: dict[_ProcessKey, _Totals] = {}
        self._processes: dict[_ProcessKey, Process] = {}
        self._waiting_to_close: dict[int, Connection] = {}  # by id those in CLOSE_WAIT: bounded by the kernel's map
        self._leaking: Counter[tuple[int | None, datetime | None]] = Counter()
        self._changed: dict[_ProcessKey, None] = {}  # a set that keeps the order in which processes were first seen
        self._moving: set[_ProcessKey] = set()
        self._unlisted = {kind.name: 0 for kind in KINDS if kind.unlisted is not None}
        self._unattributed = {"tcp": 0, "udp": 0, "other": 0}
        self._hooks: Collection[str] = ()
        self._strays = dropped.Strays()
        self._timeline = Timeline()
        self._ownerless = {"tx_bytes": 0, "rx_bytes": 0}  # since the last tick
        self._takes: dict[type[events.Event], Callable[[Any], None]] = {
            **{kind.event: partial(_put, kind, self._tables[kind]) for kind in KINDS},
            events.DnsChanged: self._take_dns,
            events.ConnectionChanged: self._take_connection,
            events.ProcessChanged: self._take_process,
            events.UdpChanged: self._take_udp,
            events.OtherChanged: self._take_other,
            events.HostPacketsCounted: self._take_host_packets,
            events.Unlisted: self._take_unlisted,
            events.Dropped: self._take_dropped,
            events.LossesChanged: self._take_losses,
            events.LookupsCovered: self._take_lookup_coverage,
            events.DecryptCovered: self._take_decrypt_coverage,
            events.Tick: self._tick,
            events.Start: self._take_start,
        }

    def apply(self, event: events.AnyEvent) -> None:
        """Take the next event."""
        take = self._takes.get(type(event))
        if take is not None:
            take(event)
        now = self._now
        if now is None or event.time > now:
            self._now = event.time

    def row(self, kind: Kind[Any], key: Hashable) -> Any:
        """The row of this kind with this key, as it was told last; None if there is none, or none any more."""
        return self._tables[kind].rows.get(key)

    def snapshot(self) -> Snapshot:
        """All rows as of the last event. Raises RuntimeError before Start."""
        if self._start is None or self._now is None:
            raise RuntimeError("a snapshot needs a Start event first")
        self._refresh_processes()
        return Snapshot(
            nettop=self._start.nettop,
            host=self._start.host,
            started_at=self._start.time,
            captured_at=self._now,
            elapsed_s=round((self._now - self._start.time).total_seconds(), 6),
            filter=self._start.filter,
            filter_not_applied=self._filter_not_applied,
            scope=self._start.scope,
            hooks=self._start.hooks,
            losses=replace(
                self._losses,
                evicted={
                    **self._losses.evicted,
                    **{kind.name: table.evicted for kind, table in self._tables.items()},
                    **self._dns_without_row.evicted,
                },
                unlisted={
                    **{table: _bounded(count) for table, count in self._unlisted.items()},
                    **self._losses.unlisted,
                },
                udp_unattributed_bytes=_bounded(self._losses.udp_unattributed_bytes + self._unattributed["udp"]),
                tcp_unattributed_bytes=_bounded(self._unattributed["tcp"]),
                other_unattributed_bytes=_bounded(self._unattributed["other"]),
            ),
            **self._rows(),
            lookup_coverage=self._lookup_coverage,
            decrypt_coverage=self._decrypt_coverage,
            strays=self._strays.rows,
            kept=self._kept(),
            timeline=self._timeline.rows(),
        )

    def _keeping(self, kind: Kind[Any]) -> Keeping:
        return Keeping(kind.outlives, kind.over_at or (lambda _: None), self._kept_since)

    def _kept_since(self) -> datetime | None:
        return self._now - self._kept_for if self._kept_for and self._now is not None else None

    def _kept(self) -> dict[str, rows.Kept]:
        return {
            kind.name: rows.Kept(
                complete_since=table.complete_since,
                lasting=table.lasting,
                lasting_since=table.lasting_since,
                lasting_evicted=table.evicted_lasting,
            )
            for kind, table in self._tables.items()
        }

    def _rows(self) -> dict[str, Any]:
        made: dict[Kind[Any], Callable[[], tuple[Any, ...]]] = {kind: self._tables[kind].version for kind in KINDS}
        made[PROCESSES] = lambda: tuple(self._processes.values())  # identities with their totals
        made[HOSTS] = lambda: tuple(self._hosts.rows().values())
        return {kind.name: made[kind]() for kind in KINDS}

    # Rows

    def _take_dns(self, event: events.DnsChanged) -> None:
        row = event.dns
        if row.id <= self._last_evicted_dns_id and row.id not in self._dns.rows:
            self._count_evicted_dns(row, event.time)
            return
        known = self._dns.put(row.id, row)
        before = None if known is None else known.status
        if known is not None and before == "answered" != row.status:
            _take_back(self._totals_of(known.pid, known.process_start_time), known)
            before = "pending"
        self._count_dns(row, before, event.time)

    def _forget_query(self, number: int, row: DnsQuery) -> None:
        self._last_evicted_dns_id = max(self._last_evicted_dns_id, number)
        self._dns_without_row.remember(row)

    def _count_evicted_dns(self, row: DnsQuery, time: datetime) -> None:
        """A row that was evicted meanwhile, or in a filtered stream one that is older than what was."""
        known, before = self._dns_without_row.take(row.id)
        if known:
            self._count_dns(row, before, time)
            self._dns.evicted += before is None
            self._dns_without_row.remember(row)

    def _count_dns(self, row: DnsQuery, before: DnsStatus | None, time: datetime) -> None:
        if before is None:
            self._timeline.count(row.asked_at, "dns_queries")
        failure = failure_of(row) if before != row.status else None
        if failure is not None:
            self._timeline.count(time, failure)
        totals = self._totals_of(row.pid, row.process_start_time)
        if totals is not None:
            _count_dns(totals, before, row)

    def _take_connection(self, event: events.ConnectionChanged) -> None:
        before = self._connections.rows.get(event.connection.id)
        row, others = self._peers.take(before, event.connection)
        if row.state == "close-wait":
            self._waiting_to_close[row.id] = row
        elif self._waiting_to_close:
            self._waiting_to_close.pop(row.id, None)
        self._connections.put(row.id, row)
        for other in others:
            self._connections.put(other.id, other)
        self._share_out(before, row)
        self._note_connection(before, row, event.time)
        if row.turns is not None and row.turns.answered:
            totals = self._totals_of(row.pid, row.process_start_time)
            if totals is not None:
                answers = totals.answers.setdefault(row.turns.asked_by, _Answers())
                answers.take(before.turns if before is not None else None, row.turns)
        self._hosts.connection(before, row)

    def _note_connection(self, before: Connection | None, row: Connection, time: datetime) -> None:
        if before is None and not row.opened_before_start and row.direction != "unknown":
            self._timeline.count(time, "accepted" if row.direction == "inbound" else "opened")
        if row.failed_to_connect and (before is None or before.state != "closed"):
            self._timeline.count(time, "failed_connects")

    def _forget_connection(self, number: int, _row: Connection) -> None:
        self._passed_on.pop((Connection, number), None)

    def _take_udp(self, event: events.UdpChanged) -> None:
        row = event.udp
        before = self._tables[UDP].put(row.id, row)
        self._share_out(before, row)
        self._hosts.udp(before, row)

    def _forget_udp(self, number: int, _row: rows.UdpFlow) -> None:
        self._passed_on.pop((rows.UdpFlow, number), None)

    def _take_other(self, event: events.OtherChanged) -> None:
        row = event.other
        self._share_out(self._other.pop(row.id, None), row)
        if row.closed:
            self._passed_on.pop((rows.OtherSocket, row.id), None)
        else:
            self._other[row.id] = row

    def _take_host_packets(self, event: events.HostPacketsCounted) -> None:
        self._hosts.packets(event.host_packets)

    def _take_unlisted(self, event: events.Unlisted) -> None:
        counted = event.unlisted
        for kind in KINDS:
            if kind.unlisted is not None:
                self._unlisted[kind.name] += kind.unlisted(counted)
        for name, number in (
            ("dns_queries", counted.queries),
            ("dns_other_failed", counted.failed),
            ("opened", counted.opened),
            ("accepted", counted.accepted),
            ("failed_connects", counted.failed_connects),
        ):
            if number:
                self._timeline.count(event.time, name, number)
        totals = self._totals_of(counted.pid, counted.process_start_time)
        if totals is not None:
            totals.add_unlisted(counted)

    def _take_dropped(self, event: events.Dropped) -> None:
        told = event.dropped
        totals = self._totals_of(told.pid, told.process_start_time)
        if totals is not None:
            totals.dropped = told if totals.dropped is None else dropped.both(totals.dropped, told)
        elif told.pid is None:
            self._strays.add(told, self._hooks)
            if told.remote is not None and told.drops:
                self._hosts.drops(told.netns, told.remote, told.drops)

    def _take_process(self, event: events.ProcessChanged) -> None:
        identity = _placed(event.process)
        key = _ProcessKey(identity.pid, identity.start_time)
        if key not in self._totals:
            self._totals[key] = _Totals()
        self._changed[key] = None
        self._identities.put(key, identity)

    def _forget_process(self, key: _ProcessKey, _identity: ProcessIdentity) -> None:
        self._changed.pop(key, None)
        self._moving.discard(key)
        gone = self._totals.pop(key).sum_up()
        self._ownerless["tx_bytes"] += gone.tx_bytes
        self._ownerless["rx_bytes"] += gone.rx_bytes
        self._processes.pop(key, None)

    def _take_losses(self, event: events.LossesChanged) -> None:
        self._losses = event.losses

    def _take_lookup_coverage(self, event: events.LookupsCovered) -> None:
        self._lookup_coverage = event.coverage

    def _take_decrypt_coverage(self, event: events.DecryptCovered) -> None:
        self._decrypt_coverage = event.coverage

    def _take_start(self, event: events.Start) -> None:
        self._start = event
        self._hooks = frozenset(event.hooks)
        self._filter_not_applied = left_out(event.filter)
        self._hosts.tells_unwanted = dropped.DROPS in event.hooks

    # Totals

    def _totals_of(self, pid: int | None, start_time: datetime | None) -> _Totals | None:
        if pid is None or start_time is None:
            return None
        key = _ProcessKey(pid, start_time)
        totals = self._totals.get(key)
        if totals is not None:
            self._changed[key] = None
        return totals

    def _share_out(self, before: _Carrier | None, row: _Carrier) -> None:
        """Give the row's process what it carried, instead of what the row before it gave.

        A row gets another owner where the first was a guess: then all of it moves. Or the socket was passed on: then
        what it carried until now stays with the first, and so does that it was opened.
        """
        share, earlier = _share(row), self._passed_on.get((type(row), row.id)) if self._passed_on else None
        if before is not None:
            if self._was_passed_on(before, row):
                earlier = _share(before)
                if isinstance(earlier, _TcpShare):
                    self._add(before, _TcpShare(active=earlier.active), -1)
                    earlier = replace(earlier, active=0)
                self._passed_on[type(row), row.id] = earlier
            else:
                self._add(before, _less(_share(before), earlier), -1)
        self._add(row, _less(share, earlier), 1)

    def _was_passed_on(self, before: _Carrier, row: _Carrier) -> bool:
        if row.pid is None or (before.pid, before.process_start_time) == (row.pid, row.process_start_time):
            return False
        if isinstance(before, _CountedSocket):
            return True  # also from nobody: several processes had sent on it
        if before.pid is None or before.process_start_time is None:
            return False
        if before.owner == "exact":
            return True
        had_it = self._identities.rows.get(_ProcessKey(before.pid, before.process_start_time))
        return had_it is not None and had_it.exited_at is not None

    def _add(self, row: _Carrier, share: _Share, sign: int) -> None:
        totals = self._totals_of(row.pid, row.process_start_time)
        if totals is None:
            if row.pid is None:
                self._unattributed[_PROTOCOLS[type(share)]] += sign * (share.tx_bytes + share.rx_bytes)
                if not isinstance(share, rows.OtherTotals):
                    self._ownerless["tx_bytes"] += sign * share.tx_bytes
                    self._ownerless["rx_bytes"] += sign * share.rx_bytes
            return
        match share:
            case rows.TcpTotals():
                totals.add_tcp(share, sign)
            case rows.UdpTotals():
                totals.add_udp(share, sign)
            case rows.OtherTotals():
                totals.add_other(share, sign)

    def _count_leaking(self, now: datetime) -> None:
        """Connections leak by time alone, so this is done at each tick."""
        latest = now - LEAKING_AFTER
        leaking = Counter(
            (row.pid, row.process_start_time)
            for row in self._waiting_to_close.values()
            if row.state_since is not None and row.state_since < latest
        )
        if leaking == self._leaking:
            return
        for who in leaking.keys() | self._leaking.keys():
            totals = self._totals_of(*who) if leaking[who] != self._leaking[who] else None
            if totals is not None:
                totals.leaking = leaking[who]
        self._leaking = leaking

    def _tick(self, tick: events.Tick) -> None:
        self._peers.tick()
        self._count_leaking(tick.time)
        self._sum_up(tick.time)
        since = self._last_tick or (self._start.time if self._start else tick.time)
        seconds = (tick.time - since).total_seconds()
        if not tick.rates or seconds <= 0:
            return
        self._last_tick = tick.time
        moved, self._moving = self._moving, set()
        for key in (*self._changed, *(moved - self._changed.keys())):
            totals = self._totals[key]
            tx, rx = totals.tx_bytes, totals.rx_bytes
            # not below 0 where a connection turns out to be another process's
            tx_rate = max(round((tx - totals.ticked_tx) / seconds, 1), 0.0)
            rx_rate = max(round((rx - totals.ticked_rx) / seconds, 1), 0.0)
            totals.ticked_tx, totals.ticked_rx = tx, rx
            if tx_rate or rx_rate:
                self._moving.add(key)
            self._processes[key] = self._process_row(key, totals, tx_rate, rx_rate)
        self._changed.clear()
        self._hosts.tick(seconds)

    def _sum_up(self, time: datetime) -> None:
        """Into the timeline: of processes all that has changed since the last tick."""
        tx, rx = self._ownerless.values()
        for key in self._changed:
            sums = self._totals[key].sum_up()
            if any(sums):
                tx, rx = tx + sums.tx_bytes, rx + sums.rx_bytes
                self._timeline.add(time, Doer(key.pid, key.start_time, self._identities.rows[key].comm), sums)
        self._ownerless = {"tx_bytes": 0, "rx_bytes": 0}
        for name, number in (("tx_bytes", tx), ("rx_bytes", rx)):
            if number:
                self._timeline.count(time, name, number)
        self._timeline.tick(time)

    def _refresh_processes(self) -> None:
        """Rows of what has changed since the last tick, with the rates of that tick."""
        for key in self._changed:
            shown = self._processes.get(key)
            rates = (shown.tx_bytes_per_s, shown.rx_bytes_per_s) if shown else (0.0, 0.0)
            self._processes[key] = self._process_row(key, self._totals[key], *rates)

    def _process_row(self, key: _ProcessKey, totals: _Totals, tx_rate: float, rx_rate: float) -> Process:
        counts = dropped.of_process(totals.dropped, self._hooks)
        return _process_row(self._identities.rows[key], totals, tx_rate, rx_rate, counts)


def _placed(identity: ProcessIdentity) -> ProcessIdentity:
    """With what its cgroup says, which what wrote an older recording did not look for."""
    if identity.cgroup is None or identity.unit is not None or identity.container is not None:
        return identity
    service = of_path(identity.cgroup)
    if service == NONE:
        return identity
    return replace(
        identity,
        unit=service.unit,
        container=service.container,
        container_runtime=service.runtime,
        pod_uid=service.pod_uid,
    )


def _put(kind: Kind[Any], table: BoundedTable[Any, Any], event: events.Event) -> None:
    """Keep the row of a kind that adds nothing to totals."""
    row = getattr(event, kind.told)
    table.put(kind.key(row), row)


def _less(share: _Share, earlier: _Share | None) -> _Share:
    if earlier is None:
        return share
    then = asdict(earlier)
    return type(share)(**{name: now - then[name] for name, now in asdict(share).items()})


def _share(row: _Carrier) -> _Share:
    if isinstance(row, rows.OtherSocket):
        return rows.OtherTotals(tx_bytes=row.tx_bytes, rx_bytes=row.rx_bytes, rx_dropped=row.rx_dropped)
    if isinstance(row, rows.UdpFlow):
        return rows.UdpTotals(tx_bytes=row.tx_bytes, rx_bytes=row.rx_bytes, rx_dropped=row.rx_dropped)
    closed = row.state == "closed"
    turns, asked_by = (0, None) if row.turns is None else (row.turns.count, row.turns.asked_by)
    return _TcpShare(
        tx_bytes=row.tx_bytes - row.tx_bytes_before_start,
        rx_bytes=row.rx_bytes - row.rx_bytes_before_start,
        active=0 if closed else 1,
        opened=1 if row.direction == "outbound" and not row.opened_before_start else 0,
        accepted=1 if row.direction == "inbound" and not row.opened_before_start else 0,
        failed=1 if closed and row.failed_to_connect else 0,
        retransmits=row.retransmits,
        asked=turns if asked_by == "local" else 0,
        was_asked=turns if asked_by == "remote" else 0,
        **_request_share(row.requests),
    )


def _request_share(requests: rows.ConnectionRequests | None) -> dict[str, int]:
    if requests is None:
        return {}
    counts = requests.count, requests.failed, requests.failed_4xx, requests.failed_5xx
    if requests.side == "client":
        return {**_answered_share("requests", *counts), "requests_retried": requests.retried}
    return _answered_share("served", *counts)


def _answered_share(of: str, count: int, failed: int, refused: int | None, broken: int | None) -> dict[str, int]:
    """`of`: "requests", which were sent, or "served"."""
    return {
        of: count,
        f"{of}_failed": failed,
        f"{of}_4xx": refused or 0,
        f"{of}_5xx": broken or 0,
        f"{of}_untold": failed if refused is None or broken is None else 0,
    }


def _percentile(ordered: list[float], share: int) -> float | None:
    """The least value that is no less than this share of them, in percent (nearest rank)."""
    return ordered[-(-len(ordered) * share // 100) - 1] if ordered else None


def _take_back(totals: _Totals | None, row: DnsQuery) -> None:
    """Its answer did not arrive."""
    if totals is None:
        return
    totals.answered -= 1
    totals.dns_failed -= row.failed
    if row.latency_ms is not None and row.latency_ms in totals.latencies_ms:
        totals.latencies_ms.remove(row.latency_ms)
        totals.max_latency_ms = max(totals.latencies_ms, default=None)


def _count_dns(totals: _Totals, before: DnsStatus | None, row: DnsQuery) -> None:
    """Count what has changed since the row had this status; None if there was none."""
    if before is None:
        totals.queries += 1
    totals.timeouts += (row.status == "timeout") - (before == "timeout")
    totals.dns_failed += (row.status == "refused") - (before == "refused")
    if row.status == "answered" and before != "answered":
        totals.answered += 1
        totals.dns_failed += row.failed
        if row.latency_ms is not None:
            totals.latencies_ms.append(row.latency_ms)
            totals.max_latency_ms = max(totals.max_latency_ms or 0.0, row.latency_ms)


def _bounded(count: int) -> int:
    """A sum as it may be written: no recording that was tampered with makes it more or less."""
    return min(max(count, 0), MAX_COUNT)


def _in_bounds(totals: _ShareT) -> _ShareT:
    counts = astuple(totals)
    if min(counts) >= 0 and max(counts) <= MAX_COUNT:  # as always but for what was tampered with: five times faster
        return totals
    return type(totals)(**{name: _bounded(count) for name, count in asdict(totals).items()})


def _process_row(
    identity: ProcessIdentity, totals: _Totals, tx_rate: float, rx_rate: float, counts: dict[str, Any]
) -> Process:
    return Process(
        **asdict(identity),
        tx_bytes=_bounded(totals.tx_bytes),
        rx_bytes=_bounded(totals.rx_bytes),
        tx_bytes_per_s=tx_rate,
        rx_bytes_per_s=rx_rate,
        tcp=_tcp_row(totals.tcp),
        udp=_in_bounds(totals.udp),
        other=_in_bounds(totals.other),
        dns=rows.DnsTotals(
            queries=_bounded(totals.queries),
            answered=_bounded(totals.answered),
            failed=_bounded(totals.dns_failed),
            timeouts=_bounded(totals.timeouts),
            latency_ms=rows.Latency(
                p50=round(statistics.median(totals.latencies_ms), 3) if totals.latencies_ms else None,
                max=totals.max_latency_ms,
            ),
        ),
        leaking=totals.leaking,
        turns=rows.ProcessTurns(
            asked=_turns(totals.tcp.asked, totals.answers.get("local")),
            was_asked=_turns(totals.tcp.was_asked, totals.answers.get("remote")),
        ),
        requests=_requests(totals.tcp),
        **counts,
    )


def _tcp_row(share: _TcpShare) -> rows.TcpTotals:
    within = _in_bounds(share)
    return rows.TcpTotals(**{name: getattr(within, name) for name in rows.TcpTotals.__struct_fields__})


_NO_TURNS = rows.TurnTotals()
_NO_REQUESTS = rows.ProcessRequests(
    sent=rows.RequestTotals(failed_4xx=0, failed_5xx=0), served=rows.RequestTotals(failed_4xx=0, failed_5xx=0)
)


def _requests(share: _TcpShare) -> rows.ProcessRequests:
    if not (share.requests or share.served):
        return _NO_REQUESTS
    return rows.ProcessRequests(
        sent=rows.RequestTotals(
            count=_bounded(share.requests),
            failed=_bounded(share.requests_failed),
            failed_4xx=None if share.requests_untold else _bounded(share.requests_4xx),
            failed_5xx=None if share.requests_untold else _bounded(share.requests_5xx),
            retried=_bounded(share.requests_retried),
        ),
        served=rows.RequestTotals(
            count=_bounded(share.served),
            failed=_bounded(share.served_failed),
            failed_4xx=None if share.served_untold else _bounded(share.served_4xx),
            failed_5xx=None if share.served_untold else _bounded(share.served_5xx),
        ),
    )


def _turns(count: int, answers: _Answers | None) -> rows.TurnTotals:
    if answers is not None:
        return answers.row(count)
    return rows.TurnTotals(count=_bounded(count)) if count else _NO_TURNS


def replayed(recorded: Iterable[events.AnyEvent], history: History = DEFAULT_HISTORY) -> Store:
    """A store that has taken all these events."""
    store = Store(history)
    for event in recorded:
        store.apply(event)
    return store
