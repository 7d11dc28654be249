"""Requests that were read inside TLS: of HTTP/1 each is paired with its response here by session and number, of HTTP/2
in streams.py, where a session is a conversation.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import HttpHead, ProcessKey
from nettop.model.rows import ConnectionRequests, End, RequestLatency, RequestSide
from nettop.protocols.http1 import RequestHead, parse_request, parse_response
from nettop.tracking.places import SocketKey
from nettop.tracking.request_rows import ERRORS, MAX_TIMED, MAX_WAITING, Known, Privacy, RequestRows, remote_of
from nettop.tracking.streams import StreamTracker

_FAILURES, _OF_SERVER = 400, 500  # status codes, RFC 9110 section 15
_BARE = frozenset(("GET", "HEAD", "DELETE", "OPTIONS", "TRACE"))  # what follows such a head is the next one

Said = Callable[[RequestHead], dict[str, Any]]
"""The fields of a row that a head tells."""


class _Session(NamedTuple):
    process: ProcessKey
    identity: bytes


class _Sums(Struct, gc=False):
    """Of a connection: `count` are those up to the newest that was told, `told` how many were.

    With a `session` it is that of HTTP/2, whose outcomes are kept by its streams.
    """

    side: RequestSide
    session: _Session | None = None
    count: int = 0
    told: int = 0
    failed: int = 0
    refused: int = 0
    broken: int = 0
    slowest_ms: float | None = None


class PlaintextTracker:
    """Takes heads in order of time; `ended` at the end of a connection, `process_ended` at that of a process."""

    def __init__(self, rows: RequestRows, said: Said, privacy: Privacy) -> None:
        self._rows = rows
        self._said = said
        self._query = privacy.query
        self._streams = StreamTracker(rows, privacy, decrypted=True)
        self._sockets: OrderedDict[_Session, SocketKey] = OrderedDict()  # of HTTP/2
        self._waiting: OrderedDict[_Session, dict[int, Known]] = OrderedDict()
        self._on: dict[SocketKey, _Session] = {}  # of those that wait
        self._number = 0
        self._sums: OrderedDict[SocketKey, _Sums] = OrderedDict()
        self._evicted = 0

    @property
    def evicted(self) -> int:
        """How many requests were forgotten because there was no room."""
        return self._evicted + self._streams.evicted

    @property
    def tables_evicted(self) -> int:
        """How many sessions of HTTP/2 were."""
        return self._streams.tables_evicted

    def head(self, head: HttpHead) -> None:
        """A request, its response, frames of HTTP/2, or the end of a session in which requests wait."""
        session = _Session(ProcessKey(head.owner_pid, head.owner_start_boot_ns), head.prefix)
        if head.kind == abi.PLAINTEXT_FRAMES:
            self._frames(session, head)
        elif head.kind == abi.PLAINTEXT_RESPONSE:
            self._answered(session, head)
        elif head.kind == abi.PLAINTEXT_ENDED:
            if not any(known.socket[0] for known in self._waiting.get(session, {}).values()):
                self._fail(self._take_all(session), "normal", head.time_ns)  # else the connection's end says how
            self._frames_ended(session, head)
        else:
            self._asked(session, head)

    def ended(self, socket: SocketKey, how: End, time_ns: int) -> None:
        """A connection is over: what waits on it has failed."""
        session = self._on.get(socket)
        if session is not None:
            self._fail(self._take_all(session), how, time_ns)
        sums = self._sums.get(socket)
        if sums is not None and sums.session is not None:
            self._streams.ended(sums.session, how, time_ns, missed=False)

    def process_ended(self, process: ProcessKey) -> None:
        """What waits where no connection is known: a response may have come."""
        for session in [each for each in self._waiting if each.process == process]:
            if any(not known.socket[0] for known in self._waiting[session].values()):
                self._give_up(self._take_all(session))
        for key in self._streams.conversations():
            if isinstance(key, _Session) and key.process == process and key not in self._sockets:
                self._streams.forget(key)

    def on(self, socket: SocketKey) -> ConnectionRequests | None:
        """All requests inside the TLS of a connection until now; None: it has none."""
        sums = self._sums.get(socket)
        if sums is None:
            return None
        failed, refused, broken, slowest_ms = sums.failed, sums.refused, sums.broken, sums.slowest_ms
        if sums.session is not None:
            outcomes = self._streams.of(sums.session)
            failed, refused, broken = outcomes.failed, outcomes.refused, outcomes.broken
            slowest_ms = outcomes.slowest_ms or None
        latency_ms = RequestLatency(p50=self._rows.median_ms(socket), max=slowest_ms)
        return ConnectionRequests(
            side=sums.side,
            count=sums.count,
            failed=failed,
            failed_4xx=refused,
            failed_5xx=broken,
            latency_ms=latency_ms,
            unlisted=sums.count - sums.told,
            retried=self._rows.retried(socket),
            partial=True,  # what comes too fast is counted as unlisted only once another one is told
        )

    def forget(self, socket: SocketKey) -> None:
        """After the last row of a connection."""
        sums = self._sums.pop(socket, None)
        if sums is not None and sums.session is not None:
            self._sockets.pop(sums.session, None)
            self._streams.forget(sums.session)

    def lost(self) -> None:
        """Records were lost: whatever waits may have been answered."""
        for session in list(self._waiting):
            self._give_up(self._take_all(session))
        self._streams.lost()

    def _frames(self, session: _Session, head: HttpHead) -> None:
        if head.socket:
            self._tie(session, head)
        before = self._streams.told(session)
        self._streams.frames(session, head)
        sums = self._sums.get((head.socket, head.seen_ns))
        if sums is not None:
            sums.count = max(sums.count, head.payload_bytes)
            sums.told += self._streams.told(session) - before

    def _tie(self, session: _Session, head: HttpHead) -> None:
        """What was asked before its connection was known belongs there too."""
        socket = head.socket, head.seen_ns
        if self._sockets.get(session) == socket:
            return
        before = self._sums.pop(socket, None)
        if before is not None and before.session is not None:  # the same connection, by another object of the library
            self._sockets.pop(before.session, None)
            self._streams.forget(before.session)
        self._sockets[session] = socket
        if len(self._sockets) > MAX_TIMED:
            self._sockets.popitem(last=False)
        side: RequestSide = "client" if bool(head.egress) == bool(head.http2 & abi.HTTP2_ASKS) else "server"
        self._keep(socket, _Sums(side, session, told=self._streams.told(session)))
        self._streams.place(session, head)

    def _frames_ended(self, session: _Session, head: HttpHead) -> None:
        """A session of HTTP/2 is over, or followed no longer. What waits on a known connection is left to its end."""
        missed = bool(head.http2 & abi.HTTP2_LEFT_OUT)
        sums = self._sums.get(self._sockets.get(session, (0, 0)))
        if sums is not None:
            sums.count = max(sums.count, head.payload_bytes)
        if missed or session not in self._sockets:
            self._streams.ended(session, "normal", head.time_ns, missed)
        if session not in self._sockets:
            self._streams.forget(session)

    def _asked(self, session: _Session, head: HttpHead) -> None:
        parsed = parse_request(head.payload, self._query)
        if parsed is None:
            return
        known = self._rows.make(
            head, head.number, parsed.version or "http/1.1", parsed.method, decrypted=True, **self._said(parsed)
        )
        self._count(known, head)
        if head.kind == abi.PLAINTEXT_PIPELINED or _is_pipelined(head, parsed):
            # several answers may share a call, of which the first is seen: which one is whose is not certain
            self._give_up([*self._take_all(session), known])
            return
        self._rows.look_for_retry(known)
        self._rows.changed(known)
        self._waiting.setdefault(session, {})[head.number] = known
        self._number += 1
        if head.socket:
            before = self._on.get(known.socket)
            if before not in (None, session):  # the same connection, by another object of the library
                self._give_up(self._take_all(before))
            self._on[known.socket] = session
        if self._number > MAX_WAITING:
            oldest = self._take_all(next(iter(self._waiting)))
            self._give_up(oldest)
            self._evicted += len(oldest)

    def _answered(self, session: _Session, head: HttpHead) -> None:
        parsed = parse_response(head.payload)
        if parsed is None:  # something else was said, which may have been the beginning of one
            self._give_up(self._take_all(session))
            return
        known = self._waiting.get(session, {}).get(head.number)
        if known is None:
            return
        if head.socket and not known.socket[0]:  # it has become known since
            known.socket = head.socket, head.seen_ns
            known.row = replace(known.row, local_port=head.local_port or None, remote=remote_of(head))
            self._count(known, head)
        self._forget(session, head.number)
        latency_ms = self._rows.answered_ms(known, head)
        length = 0 if known.row.method == "HEAD" or parsed.status in (204, 304) else parsed.content_length
        received = None if parsed.end is None or length is None else parsed.end + length
        sums = self._sums.get(known.socket)
        if sums is not None:
            sums.failed += parsed.status >= _FAILURES
            sums.refused += _FAILURES <= parsed.status < _OF_SERVER
            sums.broken += parsed.status >= _OF_SERVER
            sums.slowest_ms = max(sums.slowest_ms or 0, latency_ms)
        known.row = replace(known.row, status=parsed.status, latency_ms=latency_ms, response_bytes=received)
        self._rows.changed(known)

    def _count(self, known: Known, head: HttpHead) -> None:
        """On its connection, as soon as that is known."""
        if not known.socket[0]:
            return
        sums = self._sums.get(known.socket)
        if sums is None:
            sums = self._keep(known.socket, _Sums(known.row.side))
        sums.count = max(sums.count, head.number + 1)
        sums.told += 1

    def _keep(self, socket: SocketKey, sums: _Sums) -> _Sums:
        self._sums[socket] = sums
        if len(self._sums) > MAX_TIMED:
            self._sums.popitem(last=False)
        return sums

    def _forget(self, session: _Session, number: int) -> None:
        waiting = self._waiting[session]
        known = waiting.pop(number)
        self._number -= 1
        if not waiting:
            del self._waiting[session]
            self._on.pop(known.socket, None)

    def _take_all(self, session: _Session) -> list[Known]:
        waiting = list(self._waiting.pop(session, {}).values())
        self._number -= len(waiting)
        for known in waiting:
            self._on.pop(known.socket, None)
        return waiting

    def _give_up(self, waiting: Iterable[Known]) -> None:
        for known in waiting:
            self._rows.give_up(known)

    def _fail(self, waiting: Iterable[Known], how: End, time_ns: int) -> None:
        for known in waiting:
            known.row = replace(known.row, error=ERRORS.get(how, "closed"))
            if (sums := self._sums.get(known.socket)) is not None:
                sums.failed += 1
            self._rows.retries.failed(known.row, known.owned, time_ns)
            self._rows.changed(known)


def _is_pipelined(head: HttpHead, parsed: RequestHead) -> bool:
    """Whether more than one request was said at once, of which the kernel side counts the first."""
    if parsed.end is None or (parsed.content_length is None and parsed.method not in _BARE):
        return False
    return head.payload_bytes > parsed.end + (parsed.content_length or 0)
