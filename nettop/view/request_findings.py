"""What is wrong with requests: rules over those of one service, as one end of them saw it. Pure.

A service is a program with a port of its own, or what a program asks elsewhere. Where both ends are on this host, the
rows of the server say what is wrong, and those of its clients who waits.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from math import ceil
from operator import attrgetter
from typing import NamedTuple, Protocol

from nettop.model.filter import exactly, like
from nettop.model.kinds import REQUESTS
from nettop.model.rows import Connection, Peer, Request
from nettop.model.snapshot import Snapshot
from nettop.view import format as human
from nettop.view.columns import endpoint
from nettop.view.grouping import route
from nettop.view.notable import SLOW_MS, Notable
from nettop.view.proofs import Proof, grouped, in_the_last, many, percent, program, program_term, terms, whose

LEAST_REQUESTS, BAD_REQUESTS_SHARE = 5, 0.1  # of one path: a program that fails now and then is not to be spoken of
LEAST_ANSWERS, SLOWER_THAN_MOST = 10, 10  # how many make a measure, and how many times their median is slow
LONG_POLL_MS = 5_000.0  # what never takes less waits for something to happen
OVERDUE_MS, OVERDUE_TIMES = 20_000.0, 10  # as of connections, and times the longest answer so far: a long poll is none
FIRST_STATUS_OF_SERVER = 500
UNANSWERED = ("reset", "closed", "timeout")
GRPC_OF_SERVER = {  # the others are about what was asked, as 4xx are (OpenTelemetry's conventions for spans of servers)
    2: "UNKNOWN", 4: "DEADLINE_EXCEEDED", 12: "UNIMPLEMENTED", 13: "INTERNAL", 14: "UNAVAILABLE", 15: "DATA_LOSS",
}  # fmt: skip
ROUTINE_ERRORS = frozenset({  # that programs expect: conflicts of rows, retries, and what Redis tells clients to do
    "40001", "1062", "1213", "MOVED", "ASK", "NOSCRIPT", "BUSYGROUP",
})  # fmt: skip
_CONFLICT = "23"  # class of SQLSTATE: integrity constraints
WAITING_COMMANDS = frozenset({  # of Redis, which answers once there is something
    "BLMOVE", "BLMPOP", "BLPOP", "BRPOP", "BRPOPLPUSH", "BZMPOP", "BZPOPMAX", "BZPOPMIN", "MONITOR", "PSUBSCRIBE",
    "SSUBSCRIBE", "SUBSCRIBE", "WAIT", "WAITAOF", "XREAD", "XREADGROUP",
})  # fmt: skip
_NO_RESPONSE = {"reset": "reset", "closed": "closed before it came", "timeout": "timed out"}
_HTTP = ("http/1.0", "http/1.1", "h2")
_id = attrgetter("id")


class Places(Protocol):
    """What else a rule asks of the scene."""

    now: datetime
    requests: "RequestScene"

    def place(self, row: Request) -> tuple[str, str]:
        """Where a row is, in words and as a term of a filter, if there are several such places."""


class RequestScene:
    """The requests of a snapshot that rules may speak of, the newest first."""

    def __init__(self, snapshot: Snapshot, notable: Notable, recent_s: float, since: datetime) -> None:
        self._snapshot = snapshot
        self._now = snapshot.captured_at
        # Failed and slow ones outlive others: shares are right only for the time of which all are there.
        complete = snapshot.complete_since(REQUESTS.name)
        self._since = since if complete is None else max(since, complete)
        self.recent_s = min(recent_s, ceil((self._now - self._since).total_seconds()))
        self.listed = "listed " if snapshot.losses.unlisted.get(REQUESTS.name) else ""  # before what rows tell
        self.broken: list[Request] = []
        self.unanswered: list[Request] = []
        self.slow: list[Request] = []
        self.waiting: list[Request] = []
        self._asked: dict[Hashable, Counter[Hashable]] = {}
        for row in reversed(notable.requests.look(snapshot.requests)):
            new = row.pending or row.asked_at >= self._since
            if new and (row.side == "server" or not self._server_says(row)):
                self._take(row)

    def _take(self, row: Request) -> None:
        if row.pending:
            self.waiting.append(row)
            return
        if is_broken(row):
            self.broken.append(row)
        elif row.error in UNANSWERED:
            self.unanswered.append(row)
        if (row.latency_ms or 0.0) >= SLOW_MS and not _waits_by_nature(row):
            self.slow.append(row)

    @property
    def span(self) -> str:
        """How far back all of them are known."""
        return in_the_last(self.recent_s)

    @property
    def recent(self) -> str:
        """The same as a term of a filter."""
        return f"since:{ceil(self.recent_s)}s"

    @cached_property
    def by_service(self) -> Mapping[Hashable, Sequence[Request]]:
        """All of that time that have come to an end."""
        since = self._since
        return grouped(service, (row for row in self._snapshot.requests if row.asked_at >= since and is_decided(row)))

    def asked(self, key: Hashable) -> Counter[Hashable]:
        """How often what was asked of a service, in that time."""
        found = self._asked.get(key)
        if found is None:
            found = self._asked[key] = Counter(map(subject, self.by_service.get(key, ())))
        return found

    @cached_property
    def _longest_ms(self) -> Mapping[Hashable, float]:
        """To a response, by service and what was asked for, of all requests that are there."""
        longest: dict[Hashable, float] = {}
        for row in self._snapshot.requests:
            if row.latency_ms is not None:
                key = service(row), subject(row)
                longest[key] = max(longest.get(key, 0.0), row.latency_ms)
        return longest

    def longest_ms(self, row: Request) -> float | None:
        """To a response to one like this."""
        return self._longest_ms.get((service(row), subject(row)))

    @cached_property
    def _long(self) -> list[Request]:
        return [row for row in self.waiting if self.waited_ms(row) >= OVERDUE_MS and _may_be_overdue(row)]

    @cached_property
    def overdue(self) -> list[Request]:
        """Those that have waited for long, by the measure of those before, too."""
        return [row for row in self._long if self.waited_ms(row) >= OVERDUE_TIMES * (self.longest_ms(row) or 0.0)]

    @cached_property
    def judged(self) -> set[int]:
        """Connections, of both ends, of whose waiting request it is known whether that is meant to wait so long."""
        meant = (row for row in self.waiting if _waits_by_nature(row))
        found: set[int] = set()
        for row in (*self._long, *meant):
            peer = self.peer(row)
            ends = row.connection_id, None if peer is None else peer.id
            found.update(number for number in ends if number is not None)
        return found

    def waited_ms(self, row: Request) -> float:
        """How long it has waited by now."""
        return max((self._now - row.asked_at).total_seconds() * 1000, 0.0)

    def connection(self, row: Request) -> Connection | None:
        """The one under it, if that is still there."""
        if row.connection_id is None:
            return None
        rows = self._snapshot.connections
        place = bisect_left(rows, row.connection_id, key=_id)
        return rows[place] if place < len(rows) and rows[place].id == row.connection_id else None

    def peer(self, row: Request) -> Peer | None:
        """The other end of that, if it is on this host."""
        connection = self.connection(row)
        return None if connection is None else connection.peer

    def askers(self, rows: Sequence[Request]) -> str:
        """Who on this host asked a server, those with most first."""
        peers = (self.peer(row) for row in rows)
        names = Counter(peer.comm for peer in peers if peer is not None and peer.comm is not None)
        return ", ".join(name for name, _ in names.most_common(3))

    @cached_property
    def _of_servers(self) -> set[int | None]:
        """The connections on which the server's end tells of requests."""
        return {row.connection_id for row in self._snapshot.requests if row.side == "server"}

    def _server_says(self, row: Request) -> bool:
        peer = self.peer(row)
        return peer is not None and peer.id in self._of_servers


# What rows say


def is_broken(row: Request) -> bool:
    """Whether its server says that it failed, and that this is not the fault of who asked."""
    if row.error == "server":
        code = row.error_code or ""
        return code not in ROUTINE_ERRORS and not (row.protocol == "postgresql" and code.startswith(_CONFLICT))
    return (row.status or 0) >= FIRST_STATUS_OF_SERVER or row.grpc_status in GRPC_OF_SERVER


def is_decided(row: Request) -> bool:
    """Whether it has come to an end that is known."""
    return not row.pending and row.error != "unknown"


def service(row: Request) -> Hashable:
    """Who answers, as one end sees it, and in what terms."""
    protocol = "http" if row.protocol in _HTTP else row.protocol
    if row.side == "server":
        return protocol, "server", program(row), row.local_port
    return protocol, "client", program(row), *_far_end(row)


def _far_end(row: Request) -> tuple[str, int | None]:
    """By the name in the request, or the address; without a port where that is not known."""
    if row.remote is None:
        return row.host or "an unknown host", None
    return row.host or row.remote.address, row.remote.port


def subject(row: Request) -> str:
    """What is asked for: method and path, of a database or cache its command."""
    return _subject(row.method, row.path)


@lru_cache(maxsize=32_768)  # as of routes
def _subject(method: str, path: str | None) -> str:
    return method if path is None else f"{method} {route(path)}"


def _waits_by_nature(row: Request) -> bool:
    return row.protocol == "redis" and row.method in WAITING_COMMANDS


def _may_be_overdue(row: Request) -> bool:
    """Not what is meant to wait: such commands, and calls of gRPC, which may be streams that begin with an event."""
    return row.protocol != "grpc" and not _waits_by_nature(row)


# How sentences name things


def _where(rows: Sequence[Request], scene: Places) -> str:
    """The service, from the side of which it is seen."""
    where, _ = scene.place(rows[0])
    if rows[0].side == "server":
        port = rows[0].local_port
        return f"{whose(rows)}{where}{'' if port is None else f' :{port}'}"
    host, far_port = _far_end(rows[0])
    return f"{whose(rows)}{where} to {host if far_port is None else endpoint(host, far_port)}"


def _seen(rows: Sequence[Request]) -> str:
    return f"(as the {rows[0].side} saw it)"


def _outcome(row: Request) -> str:
    if row.error == "server":
        return f"error {row.error_code or '?'}"
    if row.grpc_status in GRPC_OF_SERVER and row.error is None:
        return f"gRPC status {row.grpc_status} {GRPC_OF_SERVER[row.grpc_status or 0]}"
    return _NO_RESPONSE.get(row.outcome, row.outcome)


def _how(rows: Sequence[Request], by: str = "") -> str:
    """How they came out, in parentheses; `most` if not all of them did so."""
    (outcome, number), *_ = Counter(map(_outcome, rows)).most_common()
    return f"({'' if number == len(rows) else 'most '}{by}{outcome})"


def _of_service(rows: Sequence[Request], scene: Places) -> Iterator[str]:
    """The terms for requests of this service."""
    first = rows[0]
    _, place = scene.place(first)
    yield from (program_term(rows), place, f"side:{first.side}")
    if first.side == "server":
        yield "" if first.local_port is None else f"port:{first.local_port}"
    else:
        addresses = {row.remote and row.remote.address for row in rows}
        address = addresses.pop()
        yield f"host:{address}" if address is not None and not addresses else ""
        yield "" if first.remote is None else f"port:{first.remote.port}"


def _of_subject(rows: Sequence[Request]) -> Iterator[str]:
    """The terms for what they ask for, if that is one thing."""
    if len(set(map(subject, rows))) > 1:
        return
    yield exactly("method", rows[0].method)
    paths = {row.path for row in rows if row.path is not None}
    if paths:
        yield exactly("path", paths.pop()) if len(paths) == 1 else like("path", route(paths.pop()))


def _of_outcome(rows: Sequence[Request]) -> str:
    """The term for how they failed."""
    if rows[0].error == "server":
        codes = {exactly("error", row.error_code or "?").removeprefix("error:") for row in rows}
        return f"error:{','.join(sorted(codes))}"
    if rows[0].protocol != "grpc":
        return "status:5xx"
    return f"(status:5xx or grpc:{','.join(map(str, GRPC_OF_SERVER))})"


class _Share(NamedTuple):
    """Bad requests of a service that are enough to be spoken of: all, the worst of them, and what these are part of."""

    rows: Sequence[Request]
    worst: Sequence[Request]
    asked: int
    what: str
    rest: str  # what others do so too, or which ones mostly

    @property
    def text(self) -> str:
        """How many of what."""
        return f"{percent(len(self.worst), self.asked)} of {human.count(self.asked)}"


def _share(bad: Sequence[Request], seen: RequestScene) -> _Share | None:
    """By what they ask for; of all that are asked for where nothing of it has enough."""
    if len(bad) < LEAST_REQUESTS:
        return None
    asked = seen.asked(service(bad[0]))
    groups = {what: rows for what, rows in grouped(subject, bad).items() if _are_enough(rows, asked[what])}
    if groups:
        worst = max(groups, key=lambda what: len(groups[what]))
        rows = [row for row in bad if subject(row) in groups]
        others = len(groups) - 1
        rest = f", and so of {many(others, 'other path')}" if others else ""
        return _Share(rows, groups[worst], asked[worst], f"requests {worst}", rest)
    if not _are_enough(bad, asked.total()):
        return None
    (most, number), *_ = Counter(map(subject, bad)).most_common()
    return _Share(bad, bad, asked.total(), "requests", f", {number} of them {most}," if number > 1 else "")


def _are_enough(rows: Sequence[Request], of: int) -> bool:
    return len(rows) >= LEAST_REQUESTS and len(rows) >= of * BAD_REQUESTS_SHARE


# Rules


def fail(bad: Sequence[Request], scene: Places) -> Proof | None:
    """Requests that a server answers with an error of its own."""
    seen = scene.requests
    share = _share(bad, seen)
    if share is None:
        return None
    sentence = (
        f"{_where(share.rows, scene)}: {share.text} {seen.listed}{share.what} failed {_how(share.worst, 'with ')}"
        f"{share.rest} {seen.span} {_seen(bad)}."
    )
    shown = terms(*_of_service(share.rows, scene), *_of_subject(share.rows), _of_outcome(share.rows), seen.recent)
    return Proof(sentence, shown, share.rows)


def get_no_response(bad: Sequence[Request], scene: Places) -> Proof | None:
    """Requests whose connection ended first."""
    seen = scene.requests
    share = _share(bad, seen)
    if share is None:
        return None
    asked_by = seen.askers(share.rows) if bad[0].side == "server" else ""
    sentence = (
        f"{_where(share.rows, scene)}: {share.text} {seen.listed}{share.what}{f' of {asked_by}' if asked_by else ''} "
        f"got no response {_how(share.worst)}{share.rest} {seen.span} {_seen(bad)}."
    )
    shown = terms(
        *_of_service(share.rows, scene), *_of_subject(share.rows), f"status:{','.join(UNANSWERED)}", seen.recent
    )
    return Proof(sentence, shown, share.rows)


def are_overdue(rows: Sequence[Request], scene: Places) -> Proof | None:
    """Requests that wait for a response."""
    seen = scene.requests
    longest = max(map(seen.waited_ms, rows))
    what = Counter(map(subject, rows)).most_common(1)[0][0]
    slowest = seen.longest_ms(rows[0]) if all(subject(row) == what for row in rows) else None
    before = "" if slowest is None else f"; none before took over {human.duration(slowest)}"
    for_how_long = f"{many(len(rows), 'request')} {what}{'' if len(rows) == 1 else ', the longest'} for "
    for_how_long += human.duration(longest)
    if rows[0].side == "server":
        asked_by = seen.askers(rows)
        sentence = (
            f"{_where(rows, scene)} owes a response to {for_how_long}{f', and {asked_by} waits' if asked_by else ''}"
            f"{before}."
        )
    else:
        sentence = f"{_where(rows, scene)} waits for a response to {for_how_long}{before}."
    shown = terms(*_of_service(rows, scene), *_of_subject(rows), "status:pending")
    return Proof(sentence, shown, rows)


def are_slow(long: Sequence[Request], scene: Places) -> Proof | None:
    """Requests that take long by the measure of all others of their service."""
    seen = scene.requests
    if len(long) < LEAST_REQUESTS:
        return None
    answered = [row for row in seen.by_service.get(service(long[0]), ()) if row.latency_ms is not None]
    took = sorted(row.latency_ms or 0.0 for row in answered)
    if len(took) < LEAST_ANSWERS:
        return None
    quick = {subject(row) for row in answered if (row.latency_ms or 0.0) < LONG_POLL_MS}
    long = [row for row in long if subject(row) in quick]
    if not long:
        return None
    median = took[(len(took) - 1) // 2]
    least = max(ceil(median * SLOWER_THAN_MOST), ceil(SLOW_MS))
    share = _share([row for row in long if (row.latency_ms or 0.0) >= least], seen)
    if share is None:
        return None
    fastest = min(row.latency_ms or 0.0 for row in share.worst)
    asked_by = seen.askers(share.rows) if long[0].side == "server" else ""
    sentence = (
        f"{_where(share.rows, scene)}: {share.text} {seen.listed}{share.what} took over {human.duration(fastest)}"
        f"{share.rest} {seen.span}, while half of all took up to {human.duration(median)}"
        f"{f'; {asked_by} waits' if asked_by else ''} {_seen(long)}."
    )
    shown = terms(*_of_service(share.rows, scene), *_of_subject(share.rows), f"latency:>={least}ms", seen.recent)
    return Proof(sentence, shown, share.rows)
