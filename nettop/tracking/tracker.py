"""Facade over the trackers: kernel records in, events out, in the order in which things happened."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import (
    DnsPacket,
    DropCount,
    DropKey,
    HolderRecord,
    HttpHead,
    KernelRecord,
    LookupRecord,
    ProcessEvent,
    ProcessKey,
    SocketRecord,
    StrayKey,
)
from nettop.kernel.scope import Scope
from nettop.model import events as told
from nettop.model.events import AnyEvent, Unlisted
from nettop.model.rows import Connection, Dropped
from nettop.model.rows import Unlisted as UnlistedRow
from nettop.tracking import drops
from nettop.tracking.clock import Clock
from nettop.tracking.connections import ConnectionTracker, Observed, PayloadTold, how_it_ended, is_over
from nettop.tracking.dns import DnsTracker, LeftOut
from nettop.tracking.listeners import ListenerTracker, ObservedListener
from nettop.tracking.lookups import LookupTracker
from nettop.tracking.names import NameTable
from nettop.tracking.owners import Owned
from nettop.tracking.processes import Described, ProcessTracker, Sighting
from nettop.tracking.quic import QuicTracker
from nettop.tracking.request_rows import Linked, Privacy
from nettop.tracking.requests import RequestTracker
from nettop.tracking.services import Services
from nettop.tracking.tls import TlsTracker
from nettop.tracking.udp import UdpTracker, owner
from nettop.tracking.udp_flows import UdpFlows
from nettop.tracking.unseen_tls import Speaking

_COUNTS = abi.Unlisted.__struct_fields__[abi.Unlisted.__struct_fields__.index("queries") :]


class Lookups(NamedTuple):
    """What the trackers ask the host: see ProcessTracker; and with a scope of cgroups whether a process is in it."""

    describe: Callable[[ProcessKey], Described | None] | None
    user_name: Callable[[int], str | None]
    services: Services | None = None
    is_member: Callable[[ProcessKey], bool] = lambda _: True


class Tracker:
    """Call `record` for each record of the perf buffers, `sockets` with each pass, `tick` last."""

    def __init__(
        self,
        clock: Clock,
        scope: Scope,
        ask: Lookups,
        hooks: Collection[str] = (),
        privacy: Privacy | None = None,
    ) -> None:
        self._clock = clock
        self._scope = scope
        self._services = ask.services or Services()
        self._is_member = ask.is_member
        self._names = NameTable()
        self._lookups = LookupTracker(clock, self._names)
        self._dns = DnsTracker(clock, self._names, self._lookups)
        self._listeners = ListenerTracker(clock)
        self._requests = RequestTracker(clock, privacy)
        self._tls = TlsTracker()
        payload = PayloadTold(self._requests.on, self._tls.of)
        self._connections = ConnectionTracker(clock, self._names, self._listeners, hooks, payload)
        # of sockets that are not TCP's, by what their packets are counted as
        self._quic = QuicTracker()
        self._flows = UdpFlows(clock, self._names, self._quic.of)
        self._udp = UdpTracker(clock, self._flows)
        self._counted = {abi.IPPROTO_UDP: self._udp, abi.PROTOCOL_OTHER: UdpTracker(clock)}
        self._processes = ProcessTracker(clock, ask.describe, ask.user_name, self._services)

    @property
    def dns_unparsed(self) -> int:
        """Messages that could not be parsed."""
        return self._dns.unparsed

    @property
    def dns_unasked(self) -> int:
        """Answers that nobody waited for."""
        return self._dns.unasked

    @property
    def dns_unclear(self) -> int:
        """Answers that were not looked at, and of which it is not known whether anybody waited for them."""
        return self._dns.unclear

    @property
    def evicted(self) -> dict[str, int]:
        """How much was forgotten per table because there was no room."""
        handshakes = self._tls.evicted + self._quic.evicted
        return {
            **self._dns.evicted,
            **self._requests.evicted,
            "handshakes": handshakes,
            "names": self._names.evicted,
            **({"lookups_open": self._lookups.evicted} if self._lookups.evicted else {}),
        }

    def process_of(self, pid: int, start_time: datetime) -> ProcessKey | None:
        """The living process that a row is about."""
        return self._processes.key_of(pid, start_time)

    def socket_of(self, connection: int) -> tuple[int, int] | None:
        """Kernel address and seen_ns of the connection with this id, while it is open."""
        return self._connections.socket_of(connection)

    def open_connections(self) -> Iterator[Connection]:
        """As they were told last."""
        return self._connections.rows()

    def record(self, record: KernelRecord) -> list[AnyEvent]:
        """One record of a perf buffer."""
        if isinstance(record, DnsPacket):
            return self._dns_packet(record)
        if isinstance(record, HttpHead):
            if abi.TLS_CLIENT_HELLO <= record.kind <= abi.TLS_REST:
                self._tls.head(record)
                return []
            if record.kind == abi.QUIC_INITIAL:
                self._quic.head(record)
                return []
            self._requests.head(record)
            return self._told_requests(record.time_ns) if self._requests.is_full else []
        if isinstance(record, LookupRecord):
            self._lookups.record(record)
            return []
        if isinstance(record, ProcessEvent):
            return self._process_event(record)
        if record.flags & abi.SOCKET_LISTENER:
            self._listeners.ended(record)
            return []
        if record.protocol == abi.IPPROTO_TCP:
            self._requests.ended(record, how_it_ended(record))
            return self._told(self._connections.ended(record))
        return self._counted_record(record, None)

    def sockets(self, records: Sequence[SocketRecord], pass_ns: int, rates: bool = True) -> list[AnyEvent]:
        """Records of a pass that began at pass_ns; without `rates` those of the last stand."""
        events: list[AnyEvent] = []
        for record in records:  # first, so that accepted connections find theirs
            if record.flags & abi.SOCKET_LISTENER:
                self._listener_record(record, pass_ns)
        for record in records:
            if record.flags & abi.SOCKET_LISTENER:
                continue
            if self._is_out_of_scope(record):
                events.extend(self._lost_sight(record))
            elif record.protocol != abi.IPPROTO_TCP:
                events.extend(self._counted_record(record, pass_ns))
            else:
                events.extend(self._told(self._connections.live(record, pass_ns, rates)))
        return events

    def udp_flows(self, table: Mapping[bytes, bytes], now_ns: int) -> tuple[list[AnyEvent], list[bytes]]:
        """After sockets(): the kernel's table of further remote ends of UDP sockets; what to remove from it."""
        events, gone = self._flows.tell(table, now_ns)
        return list(events), gone

    def holders(self, holders: Sequence[HolderRecord]) -> None:
        """Who holds which listener, as a scan of the open files found it."""
        self._listeners.hold(holders)

    def unlisted(self, counted: Sequence[tuple[abi.UnlistedKey, abi.Unlisted]], time_ns: int) -> list[AnyEvent]:
        """The sockets that have ended by time_ns and were counted only."""
        events: list[AnyEvent] = []
        for key, counts in counted:
            who = Sighting(ProcessKey(key.pid, key.start_boot_ns), counts.owner_uid, counts.owner_comm, 0)
            events.extend(self._unlisted(who, key.netns, time_ns, {name: getattr(counts, name) for name in _COUNTS}))
            if key.port:
                self._listeners.unlisted(key.netns, key.port, key.family, counts.accepted)
        return events

    def dropped(
        self,
        of_sockets: Sequence[tuple[DropKey, DropCount]],
        strays: Sequence[tuple[StrayKey, int]],
        reason: drops.Reason,
        time_ns: int,
    ) -> list[AnyEvent]:
        """What happened to packets until time_ns. Call it after sockets(), which makes the rows of new connections."""
        events: list[AnyEvent] = []
        for (socket, seen_ns), (count, happened) in drops.by_socket(of_sockets, reason).items():
            key = ProcessKey(count.owner_pid, count.owner_start_boot_ns) if count.owner_pid else None
            who = Owned(key, "exact", count.owner_uid, count.owner_comm, 0)
            of_connection = self._connections.dropped(socket, seen_ns, happened)
            if of_connection is not None:
                observed, who = of_connection
                events.extend(self._told(observed))
            events.extend(self._dropped(who, happened, time_ns))
        time = self._clock.wall(time_ns)
        events.extend(told.Dropped(time=time, dropped=stray) for stray in drops.by_far_end(strays, reason))
        return events

    def _dropped(self, who: Owned, happened: Dropped, time_ns: int) -> list[AnyEvent]:
        """Told of nobody too: else the sum over all would not be whole."""
        if not self._is_watched(who.process, who.comm):
            return []
        time, key = self._clock.wall(time_ns), who.process
        if key is None:
            return [told.Dropped(time=time, dropped=happened)]
        start_time = self._clock.wall_of_boot(key.start_boot_ns)
        happened = replace(happened, pid=key.pid, process_start_time=start_time)
        sighting = Sighting(key, who.uid, who.comm, who.since_ns)
        return [*self._processes.seen(sighting, happened.netns, time), told.Dropped(time=time, dropped=happened)]

    def ghosts(self, records: Sequence[SocketRecord]) -> list[int]:
        """Keys of map entries whose end was missed, to be removed from the kernel's map."""
        return [record.socket for record in records if is_over(record)]

    @property
    def waits_for_listeners(self) -> bool:
        """Whether it matters now who holds the listeners: an accepted connection has ended without an owner."""
        return self._connections.waits_for_listener

    def outlives_owner(self) -> bool:
        """Whether there is a socket that is owned by a process that has ended since the last call."""
        ended = self._processes.newly_ended()
        trackers: tuple[ConnectionTracker | ListenerTracker | UdpTracker, ...]
        trackers = self._connections, self._listeners, *self._counted.values()
        return bool(ended) and any(tracker.owned_by(ended) for tracker in trackers)

    def new_of_ended(self, records: Sequence[SocketRecord]) -> list[SocketRecord]:
        """The sockets that have not been told yet and are owned by a process that has ended."""
        return [
            record
            for record in records
            if record.owner_certainty != abi.OWNER_UNKNOWN
            and self._tracker_of(record).is_new(record)
            and self._processes.has_ended(ProcessKey(record.owner_pid, record.owner_start_boot_ns))
        ]

    def lookups(self, still_open: Sequence[LookupRecord], time_ns: int) -> list[AnyEvent]:
        """What is new of look-ups in C libraries; `still_open` are those that have not ended by time_ns."""
        events: list[AnyEvent] = []
        for event, owned in self._lookups.tick(time_ns, still_open):
            events.extend(self._told_of(event, owned, event.lookup.netns))
        return events

    def tls_speakers(self) -> list[tuple[ProcessKey, bytes]]:
        """The processes with an open connection of which a handshake of TLS was seen, each with its name."""
        found = (self._connections.find(*key) for key in self._tls.greeted())
        owners = {owned.process: owned.comm for row, owned in filter(None, found) if row.tls and row.tls.version}
        return [(process, comm) for process, comm in owners.items() if process is not None]

    def tls_speaking(self) -> Iterator[Speaking]:
        """The established connections of which a handshake of TLS was seen, and which a process holds for certain."""
        for key in self._tls.greeted():
            row, owned = self._connections.find(*key) or (None, None)
            if row is None or owned is None or owned.process is None or row.owner not in ("exact", "scanned"):
                continue
            if row.state == "established" and row.turns and row.tls and row.tls.version:
                yield Speaking(key, owned.process, row.turns.answered)

    def heads_lost(self) -> None:
        """Before tick(): records of HTTP were lost."""
        self._requests.lost()

    def dns_left_out(self, counts: LeftOut, time_ns: int) -> None:
        """Before tick(): what of DNS the kernel side did not hand on until then."""
        self._dns.left_out(counts, self._clock.wall(time_ns))

    def tick(
        self, pass_ns: int, complete: bool, map_was_full: bool, rates: bool = True, is_last: bool = False
    ) -> list[AnyEvent]:
        """After the passes of a tick; `complete` if they reported every socket, because ends were lost."""
        now = self._clock.wall(pass_ns)
        self._connections.map_was_full = self._listeners.map_was_full = map_was_full
        events: list[AnyEvent] = []
        for (socket, seen_ns), tls in self._tls.take_changed():
            events.extend(self._told(self._connections.greeted(socket, seen_ns, tls)))
        events.extend(self._told(self._connections.finish_pass(pass_ns, complete, rates, is_last)))
        events.extend(self._told_listeners(self._listeners.finish_pass(pass_ns, complete, rates)))
        for counted in self._counted.values():
            events.extend(counted.finish_pass(pass_ns, complete))
        for flow, greeting in self._quic.take_changed():
            events.extend(self._udp.greeted(flow, greeting, now))
        events.extend(self._told_requests(pass_ns))
        events.extend(self._dns.tick(now))
        events.extend(self._processes.tick(now))
        if complete:
            events.extend(self._processes.check_alive(now))
        return events

    def _tracker_of(self, record: SocketRecord) -> ConnectionTracker | ListenerTracker | UdpTracker:
        if record.flags & abi.SOCKET_LISTENER:
            return self._listeners
        return self._connections if record.protocol == abi.IPPROTO_TCP else self._counted[record.protocol]

    def _listener_record(self, record: SocketRecord, pass_ns: int) -> None:
        if self._is_out_of_scope(record):
            self._listeners.lose(record)
        else:
            self._listeners.found(record, pass_ns)

    def _process_event(self, record: ProcessEvent) -> list[AnyEvent]:
        if record.kind == abi.CGROUP_MADE:
            self._services.made(record)
            return []
        if record.kind == abi.PROCESS_EXIT:
            self._requests.process_ended(ProcessKey(record.owner_pid, record.owner_start_boot_ns))
        return list(self._processes.event(record))

    def _dns_packet(self, packet: DnsPacket) -> list[AnyEvent]:
        output: list[AnyEvent] = []
        events = self._dns.packet(packet)
        if packet.query and packet.owner_pid and events:
            key = ProcessKey(packet.owner_pid, packet.owner_start_boot_ns)
            # over TCP the name comes with the socket, from whenever that got its owner
            named_ns = 0 if packet.protocol == abi.IPPROTO_TCP else packet.time_ns
            who = Sighting(key, packet.owner_uid, packet.owner_comm, named_ns)
            output.extend(self._processes.seen(who, packet.netns, events[0].time))
        output.extend(events)
        return output

    def _unlisted(self, who: Sighting, netns: int, time_ns: int, counts: dict[str, int]) -> list[AnyEvent]:
        time = self._clock.wall(time_ns)
        start_time = self._clock.wall_of_boot(who.key.start_boot_ns)
        row = UnlistedRow(pid=who.key.pid, process_start_time=start_time, **counts)
        return [*self._processes.seen(who, netns, time), Unlisted(time=time, unlisted=row)]

    def _counted_record(self, record: SocketRecord, pass_ns: int | None) -> list[AnyEvent]:
        """A socket as the pass that began at pass_ns found it, or (None) at its release."""
        process, tracker = owner(record), self._counted[record.protocol]
        if not self._is_watched(process, record.owner_comm):
            return []
        output: list[AnyEvent] = []
        if counts := tracker.newly_unlisted(record):
            first_owner = ProcessKey(record.owner_pid, record.owner_start_boot_ns)
            who = Sighting(first_owner, record.owner_uid, record.owner_comm, record.seen_ns)
            output.extend(self._unlisted(who, record.netns, record.time_ns, counts))
        lives = pass_ns is not None and not is_over(record)
        event = tracker.live(record, pass_ns or 0) if lives else tracker.released(record)
        if process is not None:
            who = Sighting(process, record.owner_uid, record.owner_comm, record.seen_ns)
            output.extend(self._processes.seen(who, record.netns, event.time))
        output.append(event)
        return output

    def _is_watched(self, process: ProcessKey | None, comm: bytes) -> bool:
        if not self._scope.by_process:
            return True
        return process is not None and self._covers(process, comm)

    def _covers(self, process: ProcessKey, comm: bytes) -> bool:
        if not self._scope.covers_process(process.pid, comm):
            return False
        return not self._scope.by_cgroup or self._is_member(process)

    def _is_out_of_scope(self, record: SocketRecord) -> bool:
        return (
            self._scope.by_process
            and record.owner_certainty != abi.OWNER_UNKNOWN
            and not self._covers(ProcessKey(record.owner_pid, record.owner_start_boot_ns), record.owner_comm)
        )

    def _lost_sight(self, record: SocketRecord) -> list[AnyEvent]:
        """A socket that was passed on to a process that is not watched: for those that are, it is over."""
        if record.protocol != abi.IPPROTO_TCP:
            return list(self._counted[record.protocol].lose(record))
        return [observed.event for observed in self._connections.lose(record)]

    def _told(self, observations: Sequence[Observed]) -> list[AnyEvent]:
        output: list[AnyEvent] = []
        for observed in observations:
            if observed.ended is not None:
                self._requests.linked(observed.ended, observed.event.connection, observed.owned)
                self._tls.forget(observed.ended)
            output.extend(self._told_of(observed.event, observed.owned, observed.event.connection.netns))
        return output

    def _told_requests(self, time_ns: int) -> list[AnyEvent]:
        output: list[AnyEvent] = []
        for event, owned in self._requests.tick(self._clock.wall(time_ns), self._connection_at):
            output.extend(self._told_of(event, owned, event.request.netns))
        return output

    def _connection_at(self, key: tuple[int, int]) -> Linked | None:
        found = self._connections.find(*key)
        return None if found is None else Linked(*found)

    def _told_listeners(self, observations: Sequence[ObservedListener]) -> list[AnyEvent]:
        output: list[AnyEvent] = []
        for observed in observations:
            output.extend(self._told_of(observed.event, observed.owned, observed.event.listener.netns))
        return output

    def _told_of(self, event: AnyEvent, owned: Owned, netns: int) -> list[AnyEvent]:
        """The event, after what is new of the process that it concerns."""
        if not self._is_watched(owned.process, owned.comm):
            return []
        if owned.process is None:
            return [event]
        who = Sighting(owned.process, owned.uid, owned.comm, owned.since_ns)
        return [*self._processes.seen(who, netns, event.time), event]
