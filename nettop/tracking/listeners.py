"""Listening TCP sockets: from the kernel's records to rows with queue, drops, holders and what came in through them."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import HolderRecord, ProcessKey, SocketRecord
from nettop.model.events import ListenerChanged
from nettop.model.rows import Holder, Listener
from nettop.text import comm_text
from nettop.tracking.addresses import family_of, local_end
from nettop.tracking.clock import Clock
from nettop.tracking.listening import Listening, ListeningPorts
from nettop.tracking.live_sockets import Known, LiveSockets
from nettop.tracking.owners import NOBODY, Owned, owner_of

MAX_HOLDERS = 16  # that are named of each; the others are counted: the workers of a server are all alike
_CLOSED = 7


class _Live(Known, frozen=True, gc=False):
    listening: Listening


class ObservedListener(Struct, frozen=True, gc=False):
    """A listener's event, and the process that has it."""

    event: ListenerChanged
    owned: Owned


class ListenerTracker:
    """Takes listeners as they are `found` and `ended`, and connections as they are `opened`, `closed` and `passed`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sockets: LiveSockets[_Live] = LiveSockets()
        self._ports = ListeningPorts()  # also of those that have ended since the last tick
        self._changed: dict[Listening, None] = {}
        self._moving: set[Listening] = set()
        self._passed: list[SocketRecord] = []
        self._unlisted: list[tuple[int, int, int, int]] = []
        self._groups: dict[int, int] = {}  # numbers of reuseport groups, by their kernel addresses
        self._last_group = self._last_id = self._last_number = 0
        self._last_pass_ns = 0
        self.map_was_full = False

    def found(self, record: SocketRecord, pass_ns: int) -> None:
        """A listener as the pass that began at pass_ns found it."""
        known = self._sockets.found(record, pass_ns)
        if record.state == _CLOSED:
            self._end(self._sockets.take(record))
            return
        listening = self._observed(record, known)
        self._sockets.put(record.socket, _Live(record.seen_ns, pass_ns, listening))

    def ended(self, record: SocketRecord) -> None:
        """It does not listen any longer. The tick tells that, with what came through it until then."""
        listening = self._observed(record, self._sockets.take(record))
        listening.over, listening.closed_ns = True, record.time_ns

    def lose(self, record: SocketRecord) -> None:
        """It is not to be looked at any longer."""
        self._end(self._sockets.take(record))

    def is_new(self, record: SocketRecord) -> bool:
        """Whether it has not been told yet."""
        return self._sockets.is_new(record)

    def owned_by(self, processes: Container[ProcessKey | None]) -> bool:
        """Whether one of these listens."""
        return any(known.listening.owned.process in processes for known in self._sockets)

    def hold(self, holders: Iterable[HolderRecord]) -> None:
        """Take who holds which listener, as a scan of all open files found it."""
        found: defaultdict[tuple[int, int], dict[ProcessKey, bytes]] = defaultdict(dict)
        for each in holders:  # once for each descriptor
            found[each.socket, each.seen_ns][ProcessKey(each.holder_pid, each.holder_start_boot_ns)] = each.holder_comm
        for (socket, seen_ns), comms in found.items():
            known = self._sockets.at(socket)
            if known is None or known.seen_ns != seen_ns:
                continue
            in_order = sorted(comms, key=lambda process: (process.pid, process.start_boot_ns))
            listening = known.listening
            listening.holders = tuple(self._holder(process, comms[process]) for process in in_order[:MAX_HOLDERS])
            listening.holders_cut = len(in_order[MAX_HOLDERS:])
            self._changed[listening] = None

    # What comes in through them

    def owner_of(self, record: SocketRecord) -> Owned:
        """Who has the listener of an accepted connection whose own owner is not known."""
        # Several processes that hold it may accept from it: which of them has got a connection is not known.
        owners = {
            NOBODY if listening.record.flags & abi.SOCKET_SHARED else listening.owned
            for listening in self._ports.of_connection(record)
        }
        # Several owners share the port (SO_REUSEPORT): which of them got this one is not known.
        if len({owned.process for owned in owners}) != 1:
            return NOBODY
        return replace(owners.pop(), certainty="listener")

    def has_one_on(self, netns: int, port: int) -> bool:
        """Whether somebody listens on this port."""
        return self._ports.has_one_on(netns, port)

    def opened(self, record: SocketRecord) -> Listening | None:
        """A connection is alive that was not known: the listener that it came through, for closed()."""
        if record.flags & abi.SOCKET_OUTBOUND:
            return None
        through = self._ports.of_connection(record)
        self._count(through, 1 if _came_in_now(record) else 0)
        if len(through) != 1:
            return None
        through[0].open += 1
        return through[0]

    def closed(self, through: Listening | None) -> None:
        """A connection has ended that came through this one."""
        if through is None:
            return
        through.open -= 1
        if not through.over:
            self._changed[through] = None

    def passed(self, record: SocketRecord) -> None:
        """A connection has ended before it was found alive; its listener may be found only later."""
        if _came_in_now(record):
            self._passed.append(record)

    def unlisted(self, netns: int, port: int, family: int, connections: int) -> None:
        """So many connections that came in through this port have ended and were counted only."""
        self._unlisted.append((netns, port, family, connections))

    # The tick

    def finish_pass(self, pass_ns: int, complete: bool, rates: bool = True) -> list[ObservedListener]:
        """After the last record: what has changed or ended, with its rates.

        `complete` says that the pass reported every socket, changed or not.
        """
        for record in self._passed:
            self._count(self._ports.of_connection(record), 1)
        for netns, port, family, connections in self._unlisted:
            self._count(self._ports.of_port(netns, port, family), connections)
        self._passed.clear()
        self._unlisted.clear()
        for known in self._sockets.finish_pass(pass_ns, complete):
            self._end(known)
        if rates:
            self._changed.update(dict.fromkeys(self._moving))
            self._moving.clear()
        # A pass finds them in the order of a hash map.
        changed = sorted(self._changed, key=lambda listening: (listening.record.opened_ns, listening.number))
        self._changed.clear()
        seconds = (pass_ns - self._last_pass_ns) / 1e9 if rates else None
        output = [observed for listening in changed for observed in self._tell(listening, pass_ns, seconds)]
        for listening in changed:
            if listening.over:
                self._forget(listening)
        if complete:  # what was not found owns nothing more, though its end may still be told
            self._ports = ListeningPorts(known.listening for known in self._sockets)
        if rates or not self._last_pass_ns:
            self._last_pass_ns = pass_ns
        return output

    def _observed(self, record: SocketRecord, known: _Live | None) -> Listening:
        if known is None:
            self._last_number += 1
            listening = Listening(record, self._last_number)
            self._ports.add(listening)
        else:
            listening = known.listening
            listening.record = record
            listening.owned = owner_of(record)
        listening.group = record.listener_group or listening.group
        self._changed[listening] = None
        return listening

    def _end(self, known: _Live | None) -> None:
        """When is not known."""
        if known is not None:
            known.listening.over = True
            self._changed[known.listening] = None

    def _forget(self, listening: Listening) -> None:
        self._ports.remove(listening)
        self._moving.discard(listening)
        if listening.group and all(known.listening.group != listening.group for known in self._sockets):
            self._groups.pop(listening.group, None)

    def _count(self, through: list[Listening], accepted: int) -> None:
        """Connections that came through one of these; through which is known only where there is no other."""
        for listening in through:
            if len(through) > 1:
                listening.certain = False
            listening.accepted += accepted
            self._changed[listening] = None

    # Rows

    def _tell(self, listening: Listening, pass_ns: int, seconds: float | None) -> Iterator[ObservedListener]:
        row = self._row(listening, seconds)
        if row.drops_per_s or row.accepted_per_s:
            self._moving.add(listening)
        if row == listening.row:
            return
        listening.row = row
        time = self._clock.wall(listening.closed_ns or pass_ns)
        yield ObservedListener(ListenerChanged(time=time, listener=row), listening.owned)

    def _row(self, listening: Listening, seconds: float | None) -> Listener:
        """As it is now, with rates over so many seconds; None: those of the last interval stand."""
        if listening.row is None and listening.record.flags & abi.SOCKET_OLD:
            # some of those that wait are not known: the queue is longer than what is looked at, or of Multipath TCP
            listening.certain = listening.certain and listening.record.listener_queue <= listening.open
        before = listening.row or self._new_row(listening)
        record, certain = listening.record, listening.certain
        row = replace(
            self._with_owner(listening, before),
            holders_cut=listening.holders_cut,
            queue=record.listener_queue,
            queue_limit=record.listener_queue_limit,
            syn_queue=record.listener_syn_queue,
            drops=record.rx_dropped,
            accepted=listening.accepted if certain else None,
            accepted_per_s=before.accepted_per_s if certain else None,
            open=listening.open if certain else None,
            reuseport=self._group(listening.group),
        )
        if listening.over:
            closed_at = self._clock.wall(listening.closed_ns) if listening.closed_ns else None
            rate = 0.0 if certain else None
            return replace(row, closed=True, closed_at=closed_at, drops_per_s=0.0, accepted_per_s=rate)
        return row if seconds is None else _with_rates(row, listening, seconds)

    def _new_row(self, listening: Listening) -> Listener:
        record = listening.record
        is_old = bool(record.flags & abi.SOCKET_OLD)
        self._last_id += 1
        return Listener(
            id=self._last_id,  # in the order in which rows are told, not found
            pid=None,
            process_start_time=None,
            comm=None,
            owner="unknown",
            netns=record.netns,
            family=family_of(record, record.local_address),
            address=local_end(record).address,
            port=record.local_port,
            opened_at=self._clock.wall(record.opened_ns) if record.opened_ns else None,
            opened_before_start=(None if self.map_was_full else True) if is_old else False,
            drops_before_start=record.listener_kept_dropped if is_old else 0,
        )

    def _with_owner(self, listening: Listening, row: Listener) -> Listener:
        owned = listening.owned
        process = owned.process
        holders = listening.holders
        if process is not None:
            row = replace(
                row,
                pid=process.pid,
                process_start_time=self._clock.wall_of_boot(process.start_boot_ns),
                comm=comm_text(owned.comm),
                owner=owned.certainty,
            )
            holders = holders or (self._holder(process, owned.comm),)
        return replace(row, holders=holders or ())

    def _holder(self, process: ProcessKey, comm: bytes) -> Holder:
        start_time = self._clock.wall_of_boot(process.start_boot_ns)
        return Holder(pid=process.pid, process_start_time=start_time, comm=comm_text(comm))

    def _group(self, address: int) -> int | None:
        if not address:
            return None
        if address not in self._groups:
            self._last_group += 1
            self._groups[address] = self._last_group
        return self._groups[address]


def _came_in_now(record: SocketRecord) -> bool:
    """Whether a connection was made while nettop ran."""
    return bool(record.flags & abi.SOCKET_INBOUND) and not record.flags & abi.SOCKET_OLD


def _with_rates(row: Listener, listening: Listening, seconds: float) -> Listener:
    """What came since rates were computed last."""
    accepted, dropped = listening.accepted - listening.accepted_then, row.drops - listening.dropped_then
    listening.accepted_then, listening.dropped_then = listening.accepted, row.drops
    return replace(
        row,
        accepted_per_s=round(accepted / seconds, 1) if listening.certain else None,
        drops_per_s=max(round(dropped / seconds, 1), 0.0),
    )
