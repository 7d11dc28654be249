"""TCP connections: from the kernel's records to rows with owner, name, rates and end."""

from collections.abc import Callable, Collection, Container, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import ProcessKey, SocketRecord
from nettop.model import dropped
from nettop.model.events import ConnectionChanged
from nettop.model.rows import (
    Connection,
    ConnectionRequests,
    Direction,
    Dropped,
    End,
    Reasons,
    RemoteEndpoint,
    Side,
    TcpState,
    Tls,
)
from nettop.text import comm_text
from nettop.tracking.addresses import address_text, family_of, ip_version, local_end
from nettop.tracking.clock import Clock, at, milliseconds
from nettop.tracking.listeners import ListenerTracker
from nettop.tracking.listening import Listening
from nettop.tracking.live_sockets import Known, LiveSockets
from nettop.tracking.names import NameTable
from nettop.tracking.owners import Owned, owner_of
from nettop.tracking.waits import (
    CLOSE_WAIT,
    ESTABLISHED,
    FIN_WAIT_2,
    SYN_SENT,
    UNKNOWN,
    Asker,
    Verdict,
    transmission,
    turns,
    verdict,
)

_STATES: dict[int, TcpState] = {  # include/net/tcp_states.h
    1: "established",
    2: "syn-sent",
    3: "syn-recv",
    4: "fin-wait-1",
    5: "fin-wait-2",
    6: "time-wait",
    7: "closed",
    8: "close-wait",
    9: "last-ack",
    10: "listen",
    11: "closing",
    12: "syn-recv",
}
_FIN_WAIT_1, _CLOSED, _LAST_ACK, _CLOSING = 4, 7, 9, 11
# The states that a connection has been in, by the last one, and what of its record tells when each began. TCP_SYN_RECV
# is left out, because for most of it there is no socket yet.
_BACK_FROM: dict[int, tuple[int, ...]] = {
    SYN_SENT: (SYN_SENT,),
    ESTABLISHED: (ESTABLISHED, SYN_SENT),
    _FIN_WAIT_1: (_FIN_WAIT_1, ESTABLISHED, SYN_SENT),
    FIN_WAIT_2: (FIN_WAIT_2, _FIN_WAIT_1, ESTABLISHED, SYN_SENT),
    _CLOSING: (_CLOSING, _FIN_WAIT_1, ESTABLISHED, SYN_SENT),
    CLOSE_WAIT: (CLOSE_WAIT, ESTABLISHED, SYN_SENT),
    _LAST_ACK: (_LAST_ACK, CLOSE_WAIT, ESTABLISHED, SYN_SENT),
}
_BEGAN = {
    SYN_SENT: "opened_ns",
    ESTABLISHED: "established_ns",
    _FIN_WAIT_1: "closing_ns",
    CLOSE_WAIT: "closing_ns",
    FIN_WAIT_2: "closing_on_ns",
    _CLOSING: "closing_on_ns",
    _LAST_ACK: "closing_on_ns",
}
_CLOSED_FIRST: dict[int, Side] = {  # both at once: _CLOSING
    _FIN_WAIT_1: "local",
    FIN_WAIT_2: "local",
    CLOSE_WAIT: "remote",
    _LAST_ACK: "remote",
}
_ENDS_BY_ERROR: dict[int, End] = {  # include/uapi/asm-generic/errno.h
    13: "rejected",  # EACCES: ICMPv6 says that it is not allowed
    32: "reset-by-peer",  # EPIPE: a reset in CLOSE_WAIT, net/ipv4/tcp_input.c tcp_reset()
    101: "unreachable",  # ENETUNREACH
    103: "reset-by-us",  # ECONNABORTED: ended by an administrator
    104: "reset-by-peer",  # ECONNRESET
    110: "timeout",  # ETIMEDOUT
    111: "refused",  # ECONNREFUSED
    112: "unreachable",  # EHOSTDOWN
    113: "unreachable",  # EHOSTUNREACH
}
_ENDS_UNSENT: dict[int, End] = {
    abi.UNSENT_NO_ROUTE: "no-route",
    abi.UNSENT_DENIED: "denied",
    abi.UNSENT_NO_ROUTE_OR_DENIED: "unsent",
    abi.UNSENT_NO_PORT: "no-port",
}
_DIRECTIONS: dict[Asker, Direction] = {
    abi.SPEAKER_LOCAL: "outbound",
    abi.SPEAKER_REMOTE: "inbound",
    None: "unknown",
}
# skc_state is stored just after the tracepoint, so a socket that connects may for an instant still read as closed
_GHOST_AFTER_NS = 10_000_000
MAX_WAITING_ENDS = 8_192  # for counts of the kernel side, which keeps half as many a tick; others are told without
_RESET_WITHIN_NS = 10_000_000  # after the end of its connection; whoever closes may lose the CPU in between


class _Live(Known, frozen=True, gc=False):
    row: Connection
    owned: Owned
    through: Listening | None  # the listener that it came through, where that is known
    unread: "_Unread | None" = None


class _Unread(Struct, frozen=True, gc=False):
    """Bytes that wait for the process to read them."""

    record: SocketRecord
    since_ns: int
    since_last_tick: bool  # those of the tick before are among them


class _Ending(Struct, gc=False):
    """An end that waits for a tick; with `has_counts` for one that began after it."""

    record: SocketRecord
    known: _Live | None
    has_counts: bool
    counts: Dropped | None = None


class PayloadTold(NamedTuple):
    """What others know of the payload of a connection."""

    requests: Callable[[SocketRecord], ConnectionRequests | None] = lambda _record: None
    """All requests until then; None where it has none."""
    tls: Callable[[SocketRecord], Tls | None] = lambda _record: None
    """Its handshake; None where it has none, or none that is new."""


class Observed(Struct, frozen=True, gc=False):
    """A connection's event, and the process it concerns (None: unknown)."""

    event: ConnectionChanged
    owned: Owned
    ended: tuple[int, int] | None = None  # socket and seen_ns of one that has ended


class ConnectionTracker:
    """Takes records in order of time; `ended` at the perf events, `live` and `finish_pass` at each tick."""

    def __init__(
        self,
        clock: Clock,
        names: NameTable,
        listeners: ListenerTracker,
        hooks: Collection[str] = (),
        payload: PayloadTold = PayloadTold(),  # noqa: B008
    ) -> None:
        self._clock = clock
        self._payload = payload
        # what a row begins with: None where no hook tells it
        self._drops: Reasons | None = {} if dropped.DROPS in hooks else None
        self._resets_sent: Reasons | None = {} if dropped.RESETS_SENT in hooks else None
        self._resets_received = 0 if dropped.RESETS_RECEIVED in hooks else None
        self._names = names
        self._listeners = listeners
        self._sockets: LiveSockets[_Live] = LiveSockets()
        self._moving: set[int] = set()
        self._unread: set[int] = set()  # where the next tick tells whether the process reads
        self._waiting_ends: dict[tuple[int, int], _Ending] = {}  # by socket and seen_ns
        self._last_id = 0
        self._last_pass_ns = 0
        self.map_was_full = False

    @property
    def waits_for_listener(self) -> bool:
        """Whether connections have ended whose owner their listener alone can tell."""
        return any(_is_ownerless(ending.record) for ending in self._waiting_ends.values())

    def is_new(self, record: SocketRecord) -> bool:
        """Whether this socket has not been told yet."""
        return self._sockets.is_new(record)

    def owned_by(self, processes: Container[ProcessKey | None]) -> bool:
        """Whether one of these has a connection."""
        return any(known.owned.process in processes for known in self._sockets)

    def ended(self, record: SocketRecord) -> list[Observed]:
        """A connection reached TCP_CLOSE.

        Without an owner it waits for the tick, which may bring its listener; and if packets of it were dropped, or a
        reset follows, for the tick that brings these counts.
        """
        before, known = self._take(record)
        has_counts = bool(record.dropped) or how_it_ended(record) == "reset-by-us"
        has_counts = has_counts and len(self._waiting_ends) < MAX_WAITING_ENDS
        if has_counts or _is_ownerless(record):
            self._waiting_ends[record.socket, record.seen_ns] = _Ending(record, known, has_counts)
            return before
        return [*before, self._end(record, known)]

    def live(self, record: SocketRecord, pass_ns: int, rates: bool = True) -> list[Observed]:
        """A connection as the pass that began at pass_ns found it; new rates only with `rates`."""
        known = self._sockets.found(record, pass_ns)
        if record.state == _CLOSED:
            if not is_over(record):
                return []
            return self._vanished(self._sockets.take(record), record.time_ns)
        owned = self._owner(record)
        if known is None:
            row, through = self._new_row(record, owned), self._listeners.opened(record)
        else:
            row, through = self._with_owner(known, owned), known.through
        unread = _unread(record, known, pass_ns, rates)
        time = self._clock.wall(record.time_ns)
        counted = self._counted(record, row, self._verdict(record, unread), time)
        if rates:
            counted |= self._rates(record, row, known, pass_ns)
        row = replace(row, **counted)
        self._sockets.put(record.socket, _Live(record.seen_ns, pass_ns, row, owned, through, unread))
        if row.tx_bytes_per_s or row.rx_bytes_per_s:
            self._moving.add(record.socket)
        if unread is not None:
            self._unread.add(record.socket)
        return [_observed(time, row, owned)]

    def lose(self, record: SocketRecord) -> list[Observed]:
        """A connection that is not to be looked at any longer, as it was known last."""
        self._moving.discard(record.socket)
        self._unread.discard(record.socket)
        return self._vanished(self._sockets.take(record), record.time_ns)

    def find(self, socket: int, seen_ns: int) -> tuple[Connection, Owned] | None:
        """A connection that is alive, as it was told last, and who has it."""
        known = self._sockets.at(socket)
        return None if known is None or known.seen_ns != seen_ns else (known.row, known.owned)

    def socket_of(self, row_id: int) -> tuple[int, int] | None:
        """Address and seen_ns of the socket that a row is about, while it is alive."""
        return next(((at, known.seen_ns) for at, known in self._sockets.items() if known.row.id == row_id), None)

    def rows(self) -> Iterator[Connection]:
        """Those that are alive, as they were told last."""
        return (known.row for known in self._sockets)

    def dropped(self, socket: int, seen_ns: int, counts: Dropped) -> tuple[list[Observed], Owned] | None:
        """What happened to packets of a socket; its owner, or None if it is not known here."""
        ending = self._waiting_ends.get((socket, seen_ns))
        if ending is not None:
            ending.counts = counts if ending.counts is None else dropped.both(ending.counts, counts)
            return [], self._owner(ending.record)
        known = self._sockets.at(socket)
        if known is None or known.seen_ns != seen_ns:
            return None
        row = dropped.of_connection(known.row, counts)
        self._sockets.put(socket, replace(known, row=row))
        return [_observed(self._clock.wall(known.pass_ns), row, known.owned)], known.owned

    def greeted(self, socket: int, seen_ns: int, tls: Tls) -> list[Observed]:
        """What a handshake says of a connection, where no pass has told it since."""
        known = self._sockets.at(socket)
        if known is None or known.seen_ns != seen_ns or known.row.tls == tls:
            return []
        row = replace(known.row, tls=tls, remote=_named(known.row, tls))
        self._sockets.put(socket, replace(known, row=row))
        return [_observed(self._clock.wall(known.pass_ns), row, known.owned)]

    def finish_pass(self, pass_ns: int, complete: bool, rates: bool = True, is_last: bool = False) -> list[Observed]:
        """After the last record of a pass: what stood still, ends that waited, with `complete` what is gone.

        `complete` says that the pass reported every socket, changed or not; `is_last` that no other pass will come.
        """
        output = self._stood_still(pass_ns) if rates else []
        waiting, self._waiting_ends = self._waiting_ends, {}
        for key, ending in waiting.items():
            # what was counted before the pass began has come with it, but a reset is sent a moment after the end
            if ending.has_counts and not is_last and ending.record.time_ns + _RESET_WITHIN_NS >= pass_ns:
                self._waiting_ends[key] = ending
            else:
                output.append(self._end(ending.record, ending.known, ending.counts))
        for known in self._sockets.finish_pass(pass_ns, complete):
            output.extend(self._vanished(known, pass_ns))
        if rates or not self._last_pass_ns:
            self._last_pass_ns = pass_ns
        return output

    def _stood_still(self, pass_ns: int) -> list[Observed]:
        """What the pass did not report: no bytes have moved, and nobody has read what was unread."""
        output = []
        for socket in self._moving | self._unread:
            known = self._sockets.at(socket)
            if known is not None and known.pass_ns == pass_ns:
                continue
            self._moving.discard(socket)
            self._unread.discard(socket)
            if known is None:
                continue
            row, unread = known.row, known.unread
            if row.tx_bytes_per_s or row.rx_bytes_per_s:
                row = replace(row, tx_bytes_per_s=0.0, rx_bytes_per_s=0.0)
            if unread is not None and not unread.since_last_tick:
                unread = replace(unread, since_last_tick=True)
                found, then = self._verdict(unread.record, unread), self._clock.wall(unread.record.time_ns)
                row = replace(row, **self._waiting(row, found, then))
            if row is not known.row:
                self._sockets.put(socket, replace(known, row=row, unread=unread))
                output.append(_observed(self._clock.wall(pass_ns), row, known.owned))
        return output

    def _take(self, record: SocketRecord) -> tuple[list[Observed], _Live | None]:
        """The row of a connection that has ended, if there is one, out of the tables; an older one there vanishes."""
        known = self._sockets.take(record)
        if known is None:
            self._listeners.passed(record)
        else:
            self._listeners.closed(known.through)
        before = self._vanished(self._sockets.take_older(record), record.time_ns) if known is None else []
        if self._sockets.at(record.socket) is None:  # else a pass was quicker with the next one there
            self._moving.discard(record.socket)
            self._unread.discard(record.socket)
        return before, known

    def _end(self, record: SocketRecord, known: _Live | None, counts: Dropped | None = None) -> Observed:
        owned = self._owner(record)
        row = self._new_row(record, owned) if known is None else self._with_owner(known, owned)
        if counts is not None:
            row = dropped.of_connection(row, counts)
        # What failed before it left did so at once; it is told when the socket is used again or closed.
        over_ns = record.opened_ns if record.state == _CLOSED else record.time_ns
        closed_at = self._clock.wall(over_ns)
        time = closed_at if over_ns == record.time_ns else self._clock.wall(record.time_ns)
        fields = self._counted(record, row, UNKNOWN, time)
        if "state" in fields:
            state, since, lasted = fields["state"], fields["state_since"], fields["states_ms"]
        else:
            state, since, lasted = row.state, row.state_since, row.states_ms
        if since is not None and since < closed_at and not _goes_on_unseen(record):
            lasted = {**lasted, state: milliseconds(since, closed_at)}
        fields |= {
            "state": "closed",
            "state_since": None,
            "states_ms": lasted,
            "closed_at": closed_at,
            "duration_ms": None if row.opened_at is None else milliseconds(row.opened_at, closed_at),
            "end": how_it_ended(record),
            "tx_bytes_per_s": 0.0,
            "rx_bytes_per_s": 0.0,
        }
        row = replace(row, **fields)
        return _observed(time, row, owned, (record.socket, record.seen_ns))

    def _vanished(self, known: _Live | None, now_ns: int) -> list[Observed]:
        """Its end was lost: when and how is unknown, that it is over is not."""
        if known is None:
            return []
        self._listeners.closed(known.through)
        row = replace(
            known.row,
            state="closed",
            state_since=None,
            tx_bytes_per_s=0.0,
            rx_bytes_per_s=0.0,
            waits_for=None,
            waits_since=None,
            recv_queue_bytes=None,
            send_queue_bytes=None,
        )
        return [_observed(self._clock.wall(now_ns), row, known.owned)]

    def _owner(self, record: SocketRecord) -> Owned:
        owned = owner_of(record)
        if owned.process is None and record.flags & abi.SOCKET_INBOUND:
            return self._listeners.owner_of(record)
        return owned

    def _new_row(self, record: SocketRecord, owned: Owned) -> Connection:
        self._last_id += 1
        remote = address_text(ip_version(record), record.remote_address)
        name = self._names.find(owned.process, record.netns, remote)
        direction = self._direction(record)
        if name is not None and name.source == "other-process" and direction == "inbound":
            name = None  # somebody's look-up says nothing of who calls here
        process, opened_ns = owned.process, record.opened_ns
        # Of more than 15 arguments by name Python 3.11 makes a dictionary, which takes five times as long.
        return Connection(
            id=self._last_id,
            pid=process.pid if process else None,
            process_start_time=self._clock.wall_of_boot(process.start_boot_ns) if process else None,
            comm=comm_text(owned.comm) if process else None,
            owner=owned.certainty if process else "unknown",
            netns=record.netns,
            family=family_of(record, record.remote_address),
            direction=direction,
            local=local_end(record),
            remote=RemoteEndpoint(
                address=remote,
                port=record.remote_port,
                name=name.name if name else None,
                name_source=name.source if name else None,
                names=name.others if name else (),
            ),
            state="closed",
            opened_at=self._clock.wall(opened_ns) if opened_ns else None,
            opened_before_start=self._before_start(record),
            tx_bytes_before_start=record.kept_tx_bytes,
            rx_bytes_before_start=record.kept_rx_bytes,
            drops=self._drops,
            resets_sent=self._resets_sent,
            resets_received=self._resets_received,
        )

    def _before_start(self, record: SocketRecord) -> bool | None:
        if record.flags & abi.SOCKET_OLD:
            return None if self.map_was_full else True
        return False

    def _with_owner(self, known: _Live, owned: Owned) -> Connection:
        if owned.process is None or owned == known.owned:
            return known.row
        return replace(
            known.row,
            pid=owned.process.pid,
            process_start_time=self._clock.wall_of_boot(owned.process.start_boot_ns),
            comm=comm_text(owned.comm),
            owner=owned.certainty,
        )

    def _rates(self, record: SocketRecord, row: Connection, known: _Live | None, pass_ns: int) -> dict[str, Any]:
        """Fields of the row."""
        # What did not change since the last pass is not reported, so the difference is always that of one interval.
        seconds = (pass_ns - self._last_pass_ns) / 1e9
        before = row.tx_bytes_before_start, row.rx_bytes_before_start
        if known is not None:
            before = known.row.tx_bytes, known.row.rx_bytes
        return {
            "tx_bytes_per_s": _rate(record.tx_bytes - before[0], seconds),
            "rx_bytes_per_s": _rate(record.rx_bytes - before[1], seconds),
        }

    def _asker(self, record: SocketRecord) -> Asker:
        """Which end connected. Of a connection older than nettop a listener tells, on one of its ports."""
        if record.flags & abi.SOCKET_OUTBOUND:
            return abi.SPEAKER_LOCAL
        if record.flags & abi.SOCKET_INBOUND or record.asker == abi.SPEAKER_REMOTE:
            return abi.SPEAKER_REMOTE
        here, there = (
            self._listeners.has_one_on(record.netns, port) for port in (record.local_port, record.remote_port)
        )
        if here == there:
            return None
        return abi.SPEAKER_REMOTE if here else abi.SPEAKER_LOCAL

    def _direction(self, record: SocketRecord) -> Direction:
        return _DIRECTIONS[self._asker(record)]

    def _verdict(self, record: SocketRecord, unread: _Unread | None) -> Verdict:
        since_ns = unread.since_ns if unread is not None and unread.since_last_tick else None
        return verdict(record, self._asker(record), since_ns)

    def _waiting(self, row: Connection, found: Verdict, time: datetime) -> dict[str, Any]:
        """Fields of the row: for whom it waits, and since when; as before where it still does."""
        since_ns, since = found.since_ns, row.waits_since
        if found.waits_for in (None, "none"):
            since = None
        elif row.waits_for == found.waits_for and (since_ns is None or found.waits_for == "network"):
            pass  # what is sent meanwhile waits with the rest
        else:
            since = time if since_ns is None else self._clock.wall(since_ns)
            if row.opened_at is not None:  # the kernel reckons in jiffies
                since = max(since, row.opened_at)
        return {"waits_for": found.waits_for, "waits_since": since}

    def _counted(self, record: SocketRecord, row: Connection, found: Verdict, time: datetime) -> dict[str, Any]:
        """Fields of the row: what a record of this time tells."""
        asker = self._asker(record)
        counted = self._waiting(row, found, time)
        counted |= {
            "tx_bytes": record.tx_bytes,
            "rx_bytes": record.rx_bytes,
            "srtt_ms": record.srtt_us8 // 8 / 1000 if record.srtt_us8 else None,
            "retransmits": record.retransmits,
            "recv_queue_bytes": record.unread_bytes if record.sending else None,
            "send_queue_bytes": record.unacked_bytes if record.sending else None,
            "turns": turns(record, asker, row.turns),
            "requests": self._payload.requests(record) or row.requests,
            "transmission": transmission(record, time) or row.transmission,
            "tx_packets": _unwrapped(row.tx_packets, record.tx_packets),
            "rx_packets": _unwrapped(row.rx_packets, record.rx_packets),
        }
        tls = self._payload.tls(record)
        if tls is not None and tls is not row.tls:
            counted |= {"tls": tls, "remote": _named(row, tls)}
        if record.flags & abi.SOCKET_OUTBOUND and record.established_ns:
            counted["connect_ms"] = (record.established_ns - record.opened_ns) // 1000 / 1000
        if row.local.port != record.local_port:  # it is chosen while the connection is being made
            counted["local"] = local_end(record)
        if row.direction == "unknown":  # of an older connection a listener may tell later
            counted["direction"] = _DIRECTIONS[asker]
        state = _STATES.get(record.state, "closed")
        if state != row.state:
            states_ms, since = self._states(record)
            counted |= {"state": state, "state_since": since, "states_ms": states_ms}
            counted["closed_first"] = _CLOSED_FIRST.get(record.state)
        return counted

    def _states(self, record: SocketRecord) -> tuple[dict[TcpState, float], datetime | None]:
        """How long it was seen in each state that it has left, and since when it is in its last one."""
        lasted: dict[TcpState, float] = {}
        last, since_us = None, 0
        for state, time_ns in _began(record):
            time_us = self._clock.wall_us(time_ns)
            if last is not None:
                lasted[last] = (time_us - since_us) / 1000
            last, since_us = _STATES[state], time_us
        return lasted, None if last is None else at(since_us)


def _began(record: SocketRecord) -> list[tuple[int, int]]:
    """The states of a connection, each with when it was first seen in it, up to the state of the record."""
    began = []
    for state in _BACK_FROM.get(record.state, ()):
        time_ns = getattr(record, _BEGAN[state])
        if not time_ns or (state == SYN_SENT and not record.flags & abi.SOCKET_OUTBOUND):
            if record.flags & abi.SOCKET_OLD:  # it was in this state when nettop found it
                began.append((state, record.seen_ns))
            break
        began.append((state, time_ns))
    began.reverse()
    return began


def _goes_on_unseen(record: SocketRecord) -> bool:
    """Whether a connection that has ended for its process still waits for the far end to close.

    The kernel keeps the rest of FIN_WAIT2 without a socket once the process has closed (net/ipv4/tcp.c, __tcp_close()).
    """
    return record.state == FIN_WAIT_2 and not record.peer_closed and not record.error


def _unread(record: SocketRecord, known: _Live | None, pass_ns: int, rates: bool) -> _Unread | None:
    """What waits to be read, if anything does; ticks are the passes with `rates`."""
    if not record.unread_bytes:
        return None
    before = known.unread if known is not None else None
    read_until = record.rx_bytes - record.unread_bytes
    if known is not None and before is not None and read_until < known.row.rx_bytes:
        later = before.since_last_tick or (rates and known.pass_ns < pass_ns)
        return _Unread(record, before.since_ns, later)
    came_last = record.speaker == abi.SPEAKER_REMOTE and record.spoke_ns
    return _Unread(record, min(record.spoke_ns, record.time_ns) if came_last else record.time_ns, False)


def _is_ownerless(record: SocketRecord) -> bool:
    return bool(record.flags & abi.SOCKET_INBOUND) and record.owner_certainty == abi.OWNER_UNKNOWN


def is_over(record: SocketRecord) -> bool:
    """Whether a pass found a socket that has ended, though the kernel side has not seen that."""
    just_made = record.protocol == abi.IPPROTO_TCP and record.time_ns - record.seen_ns < _GHOST_AFTER_NS
    return record.state == _CLOSED and not just_made


def _unwrapped(before: int | None, now: int) -> int:
    """A counter of the kernel's that begins anew at 2^32, as one that does not."""
    return now if before is None else before + ((now - before) & 0xFFFF_FFFF)


def _rate(moved: int, seconds: float) -> float:
    """Not below 0: the kernel's counters are read one after the other while the connection goes on."""
    return round(moved / seconds, 1) if moved > 0 else 0.0


def _named(row: Connection, tls: Tls) -> RemoteEndpoint:
    """The far end, by the name that this end has asked it for, unless a look-up of its own has told one."""
    if tls.server_name is None or row.direction == "inbound" or row.remote.name_source == "process":
        return row.remote
    return replace(row.remote, name=tls.server_name, name_source="tls", names=())


def _observed(time: datetime, row: Connection, owned: Owned, ended: tuple[int, int] | None = None) -> Observed:
    return Observed(ConnectionChanged(time=time, connection=row), owned, ended)


def how_it_ended(record: SocketRecord) -> End:
    """From the state before TCP_CLOSE, the socket's error, and whether its owner held it (net/ipv4/tcp.c)."""
    if record.unsent:
        return _ENDS_UNSENT[record.unsent]
    if record.error:
        return _ENDS_BY_ERROR.get(record.error, "other")
    if record.owned and record.state == SYN_SENT:
        return "rejected" if record.flags & abi.SOCKET_REJECTED else "given-up"
    if record.owned and record.state in (ESTABLISHED, CLOSE_WAIT):
        return "reset-by-us"  # a close that skips the FIN: unread data, or SO_LINGER with 0 s
    return "other" if record.state in (SYN_SENT, ESTABLISHED) else "normal"
