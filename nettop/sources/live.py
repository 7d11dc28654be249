"""The running kernel as a source of events."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from nettop import __version__
from nettop.kernel import abi, cgroups, uretprobes
from nettop.kernel.abi import ProcessKey, RawRecord, SocketRecord
from nettop.kernel.blocks import Blocks
from nettop.kernel.cage import shut_in
from nettop.kernel.compiled_cache import compiled_programs
from nettop.kernel.hooks import (
    HOOKS,
    HTTP_EVENTS,
    LOOKUP_EVENTS,
    LOOKUPS_MECHANISM,
    PLAINTEXT_CALLS,
    PLAINTEXT_MECHANISM,
)
from nettop.kernel.library_probes import Coverage
from nettop.kernel.place import has_host_pids
from nettop.kernel.plaintext import Undecrypted
from nettop.kernel.privileges import KILL, give_up_privileges
from nettop.kernel.program import KernelProgram, Lookups, Losses, OptIn, defines, open_cgroup2
from nettop.kernel.scope import Scope
from nettop.model import rows
from nettop.model.events import AnyEvent, DecryptCovered, End, LookupsCovered, LossesChanged, Start, Tick
from nettop.model.kinds import LOOKUPS, REQUESTS
from nettop.sources import procfs
from nettop.sources.container_names import RuntimeFiles
from nettop.sources.cutting import Cutter, Found, powers, ssh_clients
from nettop.sources.netns_names import NetnsNames
from nettop.sources.owner_search import OwnerSearch
from nettop.text import comm_text, printable, printable_text
from nettop.tracking.clock import Clock
from nettop.tracking.dns import LeftOut
from nettop.tracking.request_rows import Privacy
from nettop.tracking.services import Services
from nettop.tracking.sources import PacketSources
from nettop.tracking.tracker import Lookups as Host
from nettop.tracking.tracker import Tracker
from nettop.tracking.unseen_tls import UnseenTls

MAX_WAIT_S = 0.25  # of one poll: how late a signal may be noticed
INTERVALS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # what adjust() steps through
COLLECT_EVERY = 256  # records worked on, some 5 ms, until the buffers are read again: they hold more than a thousand
BATCH_NS = 250_000_000  # least time between two rounds of work: a record costs half as much among many as among few
FLOOD_OF_REQUESTS_PER_S = 10_000  # without rows
_TELLING = frozenset(hook.program for hook in HOOKS if hook.buffers)
MAX_NOT_COVERED = 16  # libraries by name: more are counted
DECRYPT_COVERAGE_S = 2.0  # which processes speak TLS changes as fast as they come
LIBRARIES_EVERY_S = 5.0  # how often to look for libraries that were replaced, which takes 3 ms
COVERAGE_EVERY_S = 10.0  # how often to look which libraries are mapped


class LookedAt(NamedTuple):
    """What of payload is read: DNS of servers on these ports, and (None: not) what is kept of requests of HTTP.

    And what is done only if asked for: `lookups` in C libraries are watched; `decrypt`, which takes `requests`, is for
    what is said inside TLS; with `may_cut` the source has a cutter.
    """

    dns_ports: tuple[int, ...] = rows.DNS_PORTS
    requests: Privacy | None = Privacy()
    lookups: bool = False
    decrypt: bool = False
    may_cut: bool = False


class LiveSource:
    """Attaches on construction: from then on nothing in scope is missed. Raises CannotRunError."""

    def __init__(  # noqa: PLR0913 - what is watched, how, and who is told of the wait
        self,
        scope: Scope,
        interval_s: float,
        filter_text: str | None = None,
        looked_at: LookedAt = LookedAt(),  # noqa: B008
        list_everything: bool = False,
        *,
        when_compiling: Callable[[], None] = lambda: None,
    ) -> None:
        dns_ports, privacy, lookups, decrypt, may_cut = looked_at
        self._returns_seen = lookups and uretprobes.are_harmless()
        watched: Lookups = "off" if not lookups else "with-returns" if self._returns_seen else "without-returns"
        opt_in: OptIn = {"lookups": watched, "decrypt": decrypt, "cut": may_cut}
        wanted = defines(scope, dns_ports, privacy is not None, **opt_in)
        compiled = compiled_programs(wanted, when_compiling=when_compiling)
        self._program = KernelProgram(scope, compiled, list_everything=list_everything)
        cgroup = open_cgroup2()
        try:
            self._program.attach(cgroup)
            if lookups:
                self._program.attach_lookups(self._returns_seen)
            if decrypt:
                self._program.attach_plaintext()
        except BaseException:
            self._program.close()
            raise
        finally:
            os.close(cgroup)
        self._coverage: rows.LookupCoverage | None = None
        self._next_libraries_ns = 0
        self._next_coverage_ns = 0 if lookups else None
        self._decrypt_coverage: rows.DecryptCoverage | None = None
        self._next_decrypt_ns = 0 if decrypt else None
        self._unseen_tls = UnseenTls()
        self._interval_ns = int(interval_s * 1e9)
        self._clock = Clock.now(procfs.time_namespace())
        self._proc = procfs.open_proc()
        # in a container of its own process ids /proc speaks of other processes than the kernel's records do
        describe = partial(procfs.describe, self._proc) if has_host_pids() and procfs.shows_pids(self._proc) else None
        hooks = [hook.need for hook in self._program.hooks]
        self._containers = RuntimeFiles()
        ask = Host(describe, procfs.UserNames(), _services(self._containers), self._program.is_member)
        self._tracker = Tracker(self._clock, scope, ask, hooks, privacy)
        self.cutter = None if self._program.blocks is None else self._make_cutter(self._program.blocks)
        self._sources = PacketSources(self._clock, self._program.take_packet_source)
        self._held: list[RawRecord] = []
        self._losses = rows.Losses()
        self._kernel_losses = Losses()
        self._unlisted_requests = self._paced_ns = 0
        self._unseen_ends = 0
        self._heads_lost = 0
        self.finished = False
        now_ns = self._clock.kernel_ns()
        self._next_tick_ns = self._last_tick_ns = now_ns
        self._owner_search = OwnerSearch(self._interval_ns, now_ns)
        self._start = Start(
            time=self._clock.wall(now_ns),
            nettop=__version__,
            host=procfs.this_host(),
            scope=_as_row(scope, dns_ports),
            hooks={
                **{hook.need: hook.mechanism for hook in self._program.hooks},
                **({LOOKUPS.name: LOOKUPS_MECHANISM} if lookups else {}),
                **({PLAINTEXT_CALLS[0].need: PLAINTEXT_MECHANISM} if decrypt else {}),
            },
            interval_s=interval_s,
            filter=filter_text,
        )
        self._told_start = False
        self._next_batch_ns = 0

    def _make_cutter(self, blocks: Blocks) -> Cutter:
        def is_alive(key: ProcessKey) -> bool:
            return procfs.describe(self._proc, key) is not None

        found = Found(
            process=lambda one: self._tracker.process_of(one.pid, one.start_time),
            connection=self._tracker.socket_of,
            ssh_clients=lambda: set(ssh_clients(self._tracker.open_connections())),
            is_alive=is_alive if has_host_pids() and procfs.shows_pids(self._proc) else None,
        )
        return Cutter(blocks, self._clock, found, powers(allowed=True, closes=blocks.can_close))

    def read(self, timeout_s: float) -> Iterator[AnyEvent]:
        """See Source. Ticks come at every interval."""
        now_ns = self._clock.kernel_ns()
        wait_ns = min(int(min(timeout_s, MAX_WAIT_S) * 1e9), self._next_tick_ns - now_ns)
        if wait_ns > 0:
            self._program.poll(wait_ns // 1_000_000 + 1)
        yield from self._starting()
        now_ns = self._clock.kernel_ns()
        if now_ns >= self._next_tick_ns:
            yield from self._tick(hold_back=True)
            self._next_tick_ns = max(self._next_tick_ns + self._interval_ns, now_ns)
        elif now_ns >= self._next_batch_ns:
            self._next_batch_ns = now_ns + BATCH_NS
            yield from self._told(self._perf_records(hold_back=True))

    def finish(self) -> Iterator[AnyEvent]:
        """See Source."""
        yield from self._starting()
        yield from self._tick(hold_back=False)
        self.finished = True
        yield End(time=self._clock.wall(self._clock.kernel_ns()))

    def close(self) -> None:
        """Detach from the kernel."""
        self._program.close()
        os.close(self._proc)

    def give_up_privileges(self, written_to: Path | None) -> None:
        """Keep only what reading takes; see nettop.kernel.privileges. Raises CannotRunError."""
        kept = () if self.cutter is None else (KILL,)
        give_up_privileges(self._program.losses, written_to, self._containers.directories, kept)

    def shut_in(self, writable: Iterable[Path], listening: int | None = None) -> None:
        """Have the kernel refuse what is not needed from now on; see nettop.kernel.cage."""
        directories = [Path(hierarchy.directory) for hierarchy in cgroups.hierarchies()]
        readable: tuple[Path | int, ...] = (*directories, *self._containers.directories, self._proc)
        shut_in(writable, readable, self.cutter is not None, listening, self._program.watches_libraries)

    @property
    def pace(self) -> str:
        """See Source."""
        return f"every {self._interval_ns / 1e9:g} s"

    def adjust(self, step: int) -> None:
        """See Source: the interval between ticks."""
        now = INTERVALS_S.index(min(INTERVALS_S, key=lambda interval: abs(interval - self._interval_ns / 1e9)))
        chosen = INTERVALS_S[max(min(now - step, len(INTERVALS_S) - 1), 0)]
        self._interval_ns = int(chosen * 1e9)
        self._next_tick_ns = min(self._next_tick_ns, self._clock.kernel_ns() + self._interval_ns)

    def hold(self, held: bool) -> None:
        """See Source: the kernel does not wait."""

    def _starting(self) -> list[AnyEvent]:
        if self._told_start:
            return []
        self._told_start = True
        return [self._start]

    def _perf_records(self, hold_back: bool) -> list[RawRecord]:
        self._clock.follow()
        # The buffers are per CPU and read one after the other: of what is younger than the start of the read, earlier
        # records may still lie in a buffer that was read already.
        horizon_ns = self._clock.kernel_ns()
        self._pace_requests(horizon_ns)
        records = self._held + self._program.drain()
        lost = self._program.heads_lost()
        if lost != self._heads_lost:  # before the ends of connections are told, on which nothing may wait in vain then
            self._heads_lost = lost
            self._tracker.heads_lost()
        records.sort(key=attrgetter("time_ns"))
        self._held = []
        if hold_back:
            ready = len(records)
            while ready and records[ready - 1].time_ns >= horizon_ns:
                ready -= 1
            records, self._held = records[:ready], records[ready:]
        return records

    def _told(self, records: Iterable[RawRecord]) -> Iterator[AnyEvent]:
        for number, record in enumerate(records, 1):
            yield from self._tracker.record(record.decode(record.raw))
            if number % COLLECT_EVERY == 0:
                self._program.collect()

    def _socket_events(self, records: list[SocketRecord], pass_ns: int, rates: bool) -> Iterator[AnyEvent]:
        """In parts, listeners first as always: what many new sockets take to tell is longer than the buffers last."""
        listeners = [record for record in records if record.flags & abi.SOCKET_LISTENER]
        others = [record for record in records if not record.flags & abi.SOCKET_LISTENER]
        yield from self._tracker.sockets(listeners, pass_ns, rates)
        for start in range(0, len(others), COLLECT_EVERY):
            yield from self._tracker.sockets(others[start : start + COLLECT_EVERY], pass_ns, rates)
            self._program.collect()

    def _tick(self, hold_back: bool) -> Iterator[AnyEvent]:
        """What has happened until now, as told by parts of the kernel side that change while they are read.

        The order keeps each part true to the others. The losses come first: a complete pass must begin after the loss
        that it makes up for, and what is lost meanwhile counts for the next tick. The counts of what is not listed
        change halves then and are read late, so that programs that still add to the old half have ended. The pass over
        the sockets comes before the perf buffers are read and is told after them, so that an end is told before what
        took its address, and a socket whose end was read is left out of the pass. Between the two, records move to new
        owners: only when the ends of processes are known is it clear which sockets have outlived their owner. The
        trackers finish the pass once everything is in, and take for vanished what neither side has told of. The Tick is
        last: whoever reads it has all that belongs to it.
        """
        # Half an interval is the least that says something of a rate: the first tick and the last may come sooner.
        rates = self._clock.kernel_ns() - self._last_tick_ns >= self._interval_ns // 2
        losses = self._program.losses()
        complete = self._lost_ends(losses)
        self._program.begin_counting()
        pass_ns = self._clock.kernel_ns()
        records = self._program.sockets(everything=complete)
        if self._owner_search.is_due(records, pass_ns):
            records = self._scanned(records)
        perf_records = self._perf_records(hold_back)
        ended = {ended for record in perf_records if (ended := record.ended_socket)}
        self._owner_search.ended(ended)
        records = [record for record in records if (record.socket, record.seen_ns) not in ended]
        ghosts = self._tracker.ghosts(records)
        for socket in ghosts:
            self._program.forget(socket)
        self._unseen_ends += len(ghosts)
        yield from self._told(perf_records)
        records = yield from self._handed_on(records, pass_ns)
        if rates:
            self._last_tick_ns = pass_ns
        yield from self._socket_events(records, pass_ns, rates)
        holders = self._program.holders()
        if holders is not None:
            self._tracker.holders(holders)
        yield from self._udp_flows(pass_ns)
        yield from self._sources.counted(self._program.packet_sources(), pass_ns)
        self._tracker.dns_left_out(_dns_left_out(losses), pass_ns)
        if pass_ns >= self._next_libraries_ns:
            self._next_libraries_ns = pass_ns + int(LIBRARIES_EVERY_S * 1e9)
            self._program.attach_later()
        yield from self._lookups(pass_ns)
        yield from self._decrypted(pass_ns)
        yield from self._tracker.unlisted(self._program.unlisted(), pass_ns)
        yield from self._tracker.dropped(self._program.drops(), self._program.strays(), self._program.reason, pass_ns)
        yield from self._tracker.tick(pass_ns, complete, losses.map_full["sockets"] > 0, rates, is_last=not hold_back)
        now = self._clock.wall(self._clock.kernel_ns())
        all_losses = self._all_losses(losses)
        if all_losses != self._losses:
            self._losses = all_losses
            yield LossesChanged(time=now, losses=all_losses)
        yield Tick(time=now, rates=rates)

    def _lookups(self, now_ns: int) -> Iterator[AnyEvent]:
        if self._next_coverage_ns is None:
            return
        if now_ns >= self._next_coverage_ns:
            self._next_coverage_ns = now_ns + int(COVERAGE_EVERY_S * 1e9)
            coverage = _coverage_row(
                self._program.lookup_coverage(), self._program.libraries_covered, self._returns_seen
            )
            if coverage != self._coverage:
                self._coverage = coverage
                yield LookupsCovered(time=self._clock.wall(now_ns), coverage=coverage)
        yield from self._tracker.lookups(self._program.open_lookups() if self._returns_seen else (), now_ns)

    def _decrypted(self, now_ns: int) -> Iterator[AnyEvent]:
        if self._next_decrypt_ns is None or now_ns < self._next_decrypt_ns:
            return
        self._next_decrypt_ns = now_ns + int(DECRYPT_COVERAGE_S * 1e9)
        program = self._program
        unseen = self._unseen_tls.look(list(self._tracker.tls_speaking()), program.tls_sessions)
        found = program.undecrypted(self._tracker.tls_speakers(), unseen)
        coverage = _decrypt_coverage_row(found, program.tls_libraries_covered, program.tls_http2_sessions)
        if coverage != self._decrypt_coverage:
            self._decrypt_coverage = coverage
            yield DecryptCovered(time=self._clock.wall(now_ns), coverage=coverage)

    def _pace_requests(self, now_ns: int) -> None:
        """Have fewer listed where many times more come: their rows cost more than all that counts them."""
        if now_ns - self._paced_ns < BATCH_NS // 2:
            return
        unlisted = self._program.requests_unlisted()
        per_s = (unlisted - self._unlisted_requests) * 1e9 / (now_ns - self._paced_ns)
        self._unlisted_requests, self._paced_ns = unlisted, now_ns
        self._program.list_requests(in_flood=per_s > FLOOD_OF_REQUESTS_PER_S)

    def _udp_flows(self, pass_ns: int) -> list[AnyEvent]:
        """Read after the sockets that they belong to have been told, whose sums they are then never less than."""
        events, gone = self._tracker.udp_flows(self._program.udp_flows(), pass_ns)
        for key in gone:
            self._program.forget_udp_flow(key)
        return events

    def _all_losses(self, losses: Losses) -> rows.Losses:
        """The kernel side's, and the trackers'."""
        return rows.Losses(
            perf_buffer=losses.perf_buffer,
            map_full=losses.map_full,
            # a kernel may leave a program out without counting that; every end that was not shown is found here
            missed_runs={**losses.missed_runs, "tcp_state": max(losses.missed_runs["tcp_state"], self._unseen_ends)},
            evicted=self._tracker.evicted,
            dns_unparsed=self._tracker.dns_unparsed,
            dns_unasked=self._tracker.dns_unasked,
            dns_repeats=losses.dns_repeats,
            dns_left_out=losses.dns_left_out + self._tracker.dns_unclear,
            drops_without_room=losses.drops_without_room,
            udp_unattributed_bytes=losses.udp_unattributed_bytes,
            packets_without_host=losses.packets_without_host + self._sources.unlisted,
            handshakes_left_out=losses.handshakes_left_out,
            unlisted={
                REQUESTS.name: losses.requests_unlisted,
                **({} if self._next_coverage_ns is None else {LOOKUPS.name: losses.lookups_unlisted}),
            },
        )

    def _handed_on(self, records: list[SocketRecord], pass_ns: int) -> Generator[AnyEvent, None, list[SocketRecord]]:
        """The records, with the new owners of sockets whose owner has ended."""
        orphans = self._tracker.new_of_ended(records)
        if self._tracker.outlives_owner() or orphans:
            # Who opened them is told too, but no bytes: those may be of the process that has them now.
            yield from self._tracker.sockets([_before_any_bytes(each) for each in orphans], pass_ns, rates=False)
            self._program.scan_files()  # twice: see there
            return self._scanned(records)
        return self._scanned(records) if self._tracker.waits_for_listeners else records

    def _scanned(self, records: list[SocketRecord]) -> list[SocketRecord]:
        """The records, with what a scan of the open files changed: all that has another owner now."""
        self._program.scan_files()
        later = self._program.sockets()
        self._owner_search.scanned(later)
        found = {record.socket for record in later}
        return [record for record in records if record.socket not in found] + later

    def _lost_ends(self, losses: Losses) -> bool:
        before, self._kernel_losses = self._kernel_losses, losses
        missed, missed_before = _missed_ends(losses), _missed_ends(before)
        if not before.perf_buffer:
            return any(_of_sockets(losses).values()) or any(missed.values())
        return _of_sockets(losses) != _of_sockets(before) or missed != missed_before


def _services(containers: RuntimeFiles) -> Services:
    """Call it before the privileges are dropped: what containers are called stands in files of root."""
    containers.read_running()
    has_v1 = any(hierarchy.v1 for hierarchy in cgroups.hierarchies())
    return Services(cgroups.walk, containers, NetnsNames(), has_v1)


def _as_row(scope: Scope, dns_ports: tuple[int, ...]) -> rows.Scope:
    return rows.Scope(
        pid=scope.pids,
        comm=tuple(map(printable, scope.comms)),
        netns=scope.netns,
        dns_ports=dns_ports,
        netns_name=tuple(map(printable_text, scope.netns_names)),
        unit=tuple(map(printable_text, scope.units)),
        container=tuple(map(printable_text, scope.containers)),
    )


def _coverage_row(found: Coverage | None, covered: int, results: bool) -> rows.LookupCoverage:
    if found is None:
        return rows.LookupCoverage(libraries=covered, results=results)
    first = tuple(
        rows.UncoveredLibrary(
            name=printable(each.library.name),
            reason=each.reason,
            pid=each.library.mapped[0].pid,
            comm=comm_text(each.library.mapped[0].comm),
            processes=len({mapping.pid for mapping in each.library.mapped}),
        )
        for each in found.not_covered[:MAX_NOT_COVERED]
    )
    cut = len(found.not_covered) - len(first)
    return rows.LookupCoverage(libraries=found.libraries, not_covered=first, not_covered_cut=cut, results=results)


def _decrypt_coverage_row(found: tuple[Undecrypted, ...] | None, covered: int, http2: int) -> rows.DecryptCoverage:
    if found is None:
        return rows.DecryptCoverage(libraries=covered, http2_sessions=http2)
    first = tuple(
        rows.NotDecrypted(pid=each.process.pid, comm=comm_text(each.comm), reason=each.reason)
        for each in found[:MAX_NOT_COVERED]
    )
    cut = len(found) - len(first)
    return rows.DecryptCoverage(libraries=covered, not_covered=first, not_covered_cut=cut, http2_sessions=http2)


def _missed_ends(losses: Losses) -> dict[str, int]:
    """Of the programs that tell of sockets; the others only count."""
    return {program: missed for program, missed in losses.missed_runs.items() if program in _TELLING}


def _of_sockets(losses: Losses) -> dict[str, int]:
    """Records that were lost, but for those that tell of no socket's end."""
    others = HTTP_EVENTS.name, LOOKUP_EVENTS.name
    return {name: lost for name, lost in losses.perf_buffer.items() if name not in others}


def _before_any_bytes(record: SocketRecord) -> SocketRecord:
    if record.flags & abi.SOCKET_LISTENER:
        return record
    # of all others what was kept is what has been counted
    before = (record.kept_tx_bytes, record.kept_rx_bytes) if record.protocol == abi.IPPROTO_TCP else (0, 0)
    return replace(record, tx_bytes=before[0], rx_bytes=before[1])


def _dns_left_out(losses: Losses) -> LeftOut:
    return LeftOut(
        lost=losses.perf_buffer["dns_events"],
        segments=losses.dns_left_out,
        pushed_out=losses.dns_questions_pushed_out,
        unasked=losses.dns_unasked,
    )
