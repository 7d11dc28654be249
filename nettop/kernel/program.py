"""The kernel side as one object: loads compiled programs, attaches them by links, reads through BCC's perf buffers.

Everything it holds in the kernel hangs on file descriptors of this process, so nothing outlives it, not even kill -9.
"""

import errno
import os
import struct
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Literal, TypedDict, Unpack

from nettop.errors import CannotRunError
from nettop.kernel import abi, cgroups, reasons, syscalls
from nettop.kernel.asked_sockets import AskedSockets
from nettop.kernel.blocks import Blocks, is_compiled_in
from nettop.kernel.compiled import CompiledPrograms
from nettop.kernel.hooks import (
    BUFFERS,
    CGROUP_SKB,
    CGROUPS,
    CONTINUATIONS,
    CUT_HOOKS,
    HOOKS,
    LIBRARIES,
    LOOKUPS,
    LOOKUPS_RETURNED,
    ON_REQUEST,
    OPT_IN_BUFFERS,
    PLAINTEXT_CALLS,
    PLAINTEXT_CONTINUATIONS,
    PLAINTEXT_FORGOTTEN,
    PLAINTEXT_GO_CALLS,
    PLAINTEXT_GO_OTHERS,
    PLAINTEXT_GO_RETURNED,
    PLAINTEXT_MISSED,
    PLAINTEXT_RETURNED,
    Continuation,
    Decoder,
    Hook,
    OnCgroup,
)
from nettop.kernel.libraries import IsWanted, Library, by_file, in_proc, is_c_library, may_have_tls
from nettop.kernel.library_probes import Coverage
from nettop.kernel.lookups import LookupProbes
from nettop.kernel.perf_buffers import PAGE_BYTES, PerfBuffers
from nettop.kernel.plaintext import PlaintextProbes, Undecrypted
from nettop.kernel.scope import Scope
from nettop.model.rows import COMM_CHARACTERS, DNS_PORTS
from nettop.protocols.table import ORDERED

SOCKETS_ENTRIES = 131_072  # 31 MB of kernel memory; twice the ports of one address
_KB, _MB = 1 << 10, 1 << 20
_SPILLED_BYTES = 1 * _MB  # for all CPUs: as many ends and queries as are listed at once, and read soon after
_DECRYPTED_SHARE = 4  # times as much where all that is decrypted is handed on there: a second of it takes 1.5 MB
# To wake the reader costs as much as to read ten records: it sleeps until this share of a buffer may be full, or until
# the next batch is due.
_WAKING_SHARE = 1 / 2
_BUFFER_BYTES = 8 * _MB  # of one map, over all CPUs: with more than eight of them each gets less,
_FEWEST_BYTES = 256 * _KB  # but as much as holds what comes while the reader is not on a CPU
_LOADING_AT_ONCE = 4  # programs
_NUMBER_BYTES = 8  # of what the programs count
_ELEMENT_BYTES = 64  # that the kernel adds to an element of a hash

_BUFFERS = (*BUFFERS, *OPT_IN_BUFFERS)
_HASHES = (syscalls.HASH, syscalls.LRU_HASH)

# So many queries a second, and ends of connections, become rows of their own, and so many more at a time; what comes on
# top is counted by process. A query costs 30 us of a CPU, an end with its host 50: floods of both take a tenth of one.
QUERIES_LISTED_PER_S, ENDS_LISTED_PER_S, LISTED_AT_ONCE = 1_500, 1_000, 3_000
REQUESTS_LISTED_PER_S = 1_000  # of HTTP, and as many handshakes of TLS; bpf/requests.c says how many more at a time
REQUESTS_LISTED_IN_FLOOD_PER_S = 250  # which say as much of 10,000 and more: a request costs 50 us too
_SECOND_NS = 1_000_000_000


# Beyond 2, which Debian and Ubuntu set, their kernels take nothing but CAP_SYS_ADMIN for perf_event_open(2).
_PERF_EVENT_PARANOID, _PERFMON_SUFFICES = Path("/proc/sys/kernel/perf_event_paranoid"), 2


Lookups = Literal["off", "with-returns", "without-returns"]
"""Whether look-ups in C libraries are watched, and what comes of them."""


class OptIn(TypedDict, total=False):
    """What is compiled in only if it is asked for."""

    lookups: Lookups
    decrypt: bool
    cut: bool


class RefusedError(CannotRunError):
    """The kernel refused a program or its attachment."""

    def __init__(self, hook: Hook | Continuation, reason: str, details: str) -> None:
        super().__init__(
            f"The kernel refused the program {hook.program} ({hook.mechanism}): {reason}.",
            "Run 'nettop doctor' to see what this kernel allows, or again with --debug for the verifier's words.",
            details,
        )


@dataclass(frozen=True)
class Losses:
    """What the kernel side could not deliver, counted since the start."""

    perf_buffer: dict[str, int] = field(default_factory=dict)
    map_full: dict[str, int] = field(default_factory=dict)
    missed_runs: dict[str, int] = field(default_factory=dict)
    udp_unattributed_bytes: int = 0
    dns_unasked: int = 0
    dns_repeats: int = 0
    dns_left_out: int = 0
    dns_questions_pushed_out: int = 0
    drops_without_room: int = 0
    packets_without_host: int = 0
    requests_unlisted: int = 0
    handshakes_left_out: int = 0
    lookups_unlisted: int = 0


class KernelProgram:
    """Makes its maps on construction, then attach(); read with poll(), drain(), sockets() and scan_files().

    With `list_everything` no query or connection is merely counted, however many there are. Raises CannotRunError where
    the maps cannot be made.
    """

    def __init__(
        self,
        scope: Scope,
        compiled: CompiledPrograms,
        sockets_entries: int = SOCKETS_ENTRIES,
        list_everything: bool = False,
    ) -> None:
        self._compiled = compiled
        self._generation = 0
        self._buffers: PerfBuffers[Decoder] = PerfBuffers()
        self._maps: dict[str, int] = {}
        self._links: dict[str, int] = {}  # by need
        self._program_fds: dict[str, int] = {}
        self._asked_sockets: AskedSockets | None = None
        self._lookups: LookupProbes | None = None
        self._plaintext: PlaintextProbes | None = None
        self._blocks: Blocks | None = None
        self._scans = 0
        self._holders: list[abi.HolderRecord] | None = None
        self._scope = scope
        self._lists_everything = list_everything
        self._older_without_room: int | None = None  # unknown before the first scan
        try:
            self._make_maps(sockets_entries)
            self._write_scope(scope)
            self._control(abi.PIDS_HIERARCHY, cgroups.pids_hierarchy())
            if not list_everything:
                self._control(abi.QUERY_INTERVAL_NS, _SECOND_NS // QUERIES_LISTED_PER_S)
                self._control(abi.END_INTERVAL_NS, _SECOND_NS // ENDS_LISTED_PER_S)
                self._control(abi.LISTED_AT_ONCE, LISTED_AT_ONCE)
                self.list_requests(in_flood=False)
        except OSError as error:
            self.close()
            memory = f"{_megabytes(map_bytes(compiled, sockets_entries))} MB"
            raise CannotRunError(
                f"The kernel's maps could not be made: {error.strerror}.",
                f"Run it as root with enough memory ({memory}); "
                "before Linux 5.11 without root with CAP_SYS_RESOURCE too.",
            ) from error

    def attach(self, cgroup_fd: int) -> None:
        """Load and attach every hook; the network ones to this cgroup. Raises CannotRunError.

        In this order: whoever makes a cgroup is seen before those that are there are looked for, and whoever makes a
        socket before older sockets are, so that none is missed; packets are seen last, because they are counted in the
        sockets' entries, and answers before questions, so that no question is taken for one that nobody answers.
        """
        self._load_all()
        self.open_buffers()
        self.attach_hook(CGROUPS, cgroup_fd)
        if self._scope.by_cgroup:
            self._watch_cgroups()
        for hook in self.hooks:
            if hook.kind is not CGROUP_SKB and hook is not CGROUPS:
                self.attach_hook(hook, cgroup_fd)
        self.scan_files()
        for hook in self.hooks:
            if hook.kind is CGROUP_SKB:
                self.attach_hook(hook, cgroup_fd)
        if is_compiled_in(self._maps):
            self._blocks = Blocks(self._maps, self._links)

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """Those that this kernel has; those of --allow-cut only if they are compiled in.

        These first: to what comes after them in connect() the kernel says whether a program before has refused it.
        """
        cut = tuple(hook for hook in CUT_HOOKS if hook.program in self._compiled.programs)
        return (*cut, *(hook for hook in HOOKS if not hook.since or hook.target in self._compiled.attach_types))

    @property
    def blocks(self) -> Blocks | None:
        """What --allow-cut can do, if it is compiled in and attached."""
        return self._blocks

    def load_opt_in(self, need: str) -> None:
        """Load what one option needs, which attach() does with all others. Raises RefusedError."""
        for hook in self._opt_in():
            if hook.need in (need, LIBRARIES.need) and hook.program not in self._program_fds:
                self.load(hook)

    def attach_lookups(self, with_returns: bool) -> None:
        """Watch look-ups in the C libraries that are mapped now. Raises CannotRunError if there is none to watch."""
        self._attach_libraries()
        self._lookups = LookupProbes(self._program_fds.__getitem__, with_returns)
        self._lookups.attach(self._libraries(is_c_library))

    def attach_plaintext(self) -> None:
        """Watch what is said inside TLS, in libraries that are mapped now or may be later. Raises CannotRunError."""
        self._attach_libraries()
        self._plaintext = PlaintextProbes(self._program_fds.__getitem__)
        with self._plaintext.mapped_here():
            self._plaintext.attach(self._libraries(may_have_tls))

    def attach_later(self) -> None:
        """Watch libraries that have come since to where distributions put them, if the kernel lets nettop."""
        for probes in (self._lookups, self._plaintext):
            if probes is not None:
                probes.attach_later()

    def may_attach_later(self, give_up_privileges: Callable[[], None]) -> bool:
        """Whether the kernel lets it do so without privileges. Call this before there are other threads."""
        probes = [each for each in (self._lookups, self._plaintext) if each is not None]
        return all(each.may_attach_later(give_up_privileges) for each in probes)

    def _attach_libraries(self) -> None:
        if self._has_libraries and LIBRARIES.need not in self._links:
            self.attach_hook(LIBRARIES, -1)

    @property
    def _has_libraries(self) -> bool:
        return LIBRARIES.target in self._compiled.attach_types

    def _libraries(self, is_wanted: IsWanted) -> list[Library]:
        if not self._has_libraries:
            return in_proc(is_wanted=is_wanted)
        return by_file(abi.decode_libraries(syscalls.run_iterator(self._links[LIBRARIES.need])), is_wanted)

    @property
    def watches_libraries(self) -> bool:
        """Whether libraries are watched, also some that come later."""
        return self._lookups is not None or self._plaintext is not None

    @property
    def tls_libraries_covered(self) -> int:
        """How many TLS libraries are watched."""
        return 0 if self._plaintext is None else self._plaintext.covered

    @property
    def tls_http2_sessions(self) -> int:
        """How many sessions of HTTP/2 inside TLS, at either end, are read no further, because a call was missed."""
        return self._counter(abi.TLS_HTTP2_SESSIONS)

    def undecrypted(
        self, speakers: Sequence[tuple[abi.ProcessKey, bytes]], unseen: Collection[abi.ProcessKey]
    ) -> tuple[Undecrypted, ...] | None:
        """Those of these processes that speak TLS otherwise, also if only some do; None where nobody can tell."""
        if self._plaintext is None or not self._has_libraries:
            return None
        return self._plaintext.undecrypted(speakers, self._libraries(may_have_tls), unseen) if speakers else ()

    def tls_sessions(self) -> list[abi.TlsSession]:
        """Those of which a call was seen, until the program frees them."""
        found = syscalls.elements(self._maps["tls_sessions"], abi.TLS_SESSION_KEY.size, abi.TLS_SESSION.size)
        return [abi.decode_tls_session(key, value) for key, value in found.items()]

    @property
    def libraries_covered(self) -> int:
        """How many libraries' look-ups are watched."""
        return 0 if self._lookups is None else self._lookups.covered

    def lookup_coverage(self) -> Coverage | None:
        """Of the C libraries that are mapped now; None where nobody can tell."""
        if self._lookups is None or not self._has_libraries:
            return None
        return self._lookups.coverage(self._libraries(is_c_library))

    def open_lookups(self) -> list[abi.LookupRecord]:
        """The look-ups that have begun and not ended."""
        if self._lookups is None:
            return []
        found = syscalls.elements(self._maps["open_lookups"], _NUMBER_BYTES, abi.OPEN_LOOKUP.size)
        return [record for raw in found.values() if (record := abi.decode_open_lookup(raw)).time_ns]

    def open_buffers(self) -> None:
        """Make the perf buffers. Raises CannotRunError, above all where so much memory may not be locked."""
        cpus = len(syscalls.online_cpus())
        opening = "ring buffer spilled"
        try:
            self._buffers.open_spilled(self._maps["spilled"], {buffer.number: buffer.decode for buffer in _BUFFERS})
            for buffer in _BUFFERS:
                if buffer.name not in self._maps:  # what fills it is not compiled in
                    continue
                opening = f"perf buffer {buffer.name}"
                size = bytes_per_cpu(buffer.most_bytes, cpus)
                wakeup_events = int(size * _WAKING_SHARE) // buffer.record_bytes
                self._buffers.open(self._maps[buffer.name], buffer.decode, size, wakeup_events)
        except OSError as error:
            raise CannotRunError(
                f"The {opening} could not be opened: {error.strerror}.", _remedy_for_buffers(cpus)
            ) from error

    def attach_hook(self, hook: Hook, cgroup_fd: int) -> None:
        """Attach one hook, loaded before or not. Raises RefusedError."""
        loadables: list[Hook | Continuation] = [
            hook,
            *(each for each in self._continuations() if each.kind is hook.kind),
        ]
        for each in loadables:
            if each.program not in self._program_fds:
                self.load(each)
        program_fd = self._program_fds[hook.program]
        try:
            if hook.kind is ON_REQUEST:
                self._asked_sockets = AskedSockets(program_fd, self._maps["asked_sockets"], self._maps["sockets"])
            self._links[hook.need] = hook.kind.link(program_fd, hook.target, cgroup_fd)
        except OSError as error:
            reason = f"attaching: {error.strerror}"
            if error.errno == errno.EPERM and isinstance(hook.kind, OnCgroup):
                reason += ": another BPF program may have the root of cgroup2 for itself ('bpftool cgroup tree' tells)"
            raise RefusedError(hook, reason, "") from error

    def load(self, hook: Hook | Continuation) -> int:
        """Load one program and return its descriptor. Raises RefusedError with the verifier's words in `details`."""
        instructions = self._compiled.programs[hook.program].linked(self._maps)
        attached_to = self._compiled.attach_types.get(hook.target, 0)
        try:
            descriptor = syscalls.load_program(
                hook.program, hook.kind.program_type, hook.kind.attach_type(hook.target), attached_to, instructions
            )
        except syscalls.VerifierError as error:
            raise RefusedError(hook, f"loading: {error.strerror}", error.words) from error
        self._program_fds[hook.program] = descriptor
        if isinstance(hook, Continuation):
            syscalls.update(self._maps[hook.among], struct.pack("=I", hook.index), struct.pack("=I", descriptor))
        return descriptor

    def poll(self, timeout_ms: int) -> None:
        """Wait until a buffer holds a batch or the time is over."""
        self._buffers.poll(timeout_ms)

    def collect(self) -> None:
        """Make room in the buffers while what drain() gave is being worked on."""
        self._buffers.collect()

    def drain(self) -> list[abi.RawRecord]:
        """Every record that the buffers hold, per CPU and map in order but for those of CPUs that came later."""
        return [
            abi.RawRecord(int.from_bytes(raw[:8], sys.byteorder), decode, raw) for decode, raw in self._buffers.drain()
        ]

    def sockets(self, everything: bool = False) -> list[abi.SocketRecord]:
        """The sockets whose counters, state or owner changed since the last call, or all that are alive."""
        self._control(abi.PASS, abi.PASS_ALL if everything else abi.PASS_CHANGED)
        try:
            return abi.decode_sockets(self._asked_sockets.read() if self._asked_sockets else b"")
        finally:
            self._control(abi.PASS, 0)

    def list_requests(self, in_flood: bool) -> None:
        """As many a second as in ordinary times, or fewer."""
        if not self._lists_everything:
            per_s = min(REQUESTS_LISTED_PER_S, REQUESTS_LISTED_IN_FLOOD_PER_S) if in_flood else REQUESTS_LISTED_PER_S
            self._control(abi.REQUEST_INTERVAL_NS, _SECOND_NS // per_s)

    def begin_counting(self) -> None:
        """Count anew what is not listed. unlisted() tells the counts until now, once programs that run have ended."""
        self._generation = 1 - self._generation
        self._control(abi.GENERATION, self._generation)

    def unlisted(self) -> list[tuple[abi.UnlistedKey, abi.Unlisted]]:
        """What was counted until begin_counting() was called last, but for what was told already."""
        return [
            (abi.UnlistedKey(*abi.UNLISTED_KEY.unpack(key)), abi.Unlisted(*abi.UNLISTED.unpack(counts)))
            for key, counts in self._taken("unlisted", abi.UNLISTED_KEY.size, abi.UNLISTED.size)
        ]

    def drops(self) -> list[tuple[abi.DropKey, abi.DropCount]]:
        """The same of what happened to packets of sockets."""
        return [
            (abi.DropKey(*abi.DROP_KEY.unpack(key)), abi.DropCount(*abi.DROP_COUNT.unpack(count)))
            for name in ("drops", "owner_drops")
            for key, count in self._taken(name, abi.DROP_KEY.size, abi.DROP_COUNT.size)
        ]

    def strays(self) -> list[tuple[abi.StrayKey, int]]:
        """The same of packets that no known socket has, with their number."""
        return [
            (abi.StrayKey(*abi.STRAY_KEY.unpack(key)), int.from_bytes(packets, sys.byteorder))
            for key, packets in self._taken("strays", abi.STRAY_KEY.size, _NUMBER_BYTES)
        ]

    def reason(self, kind: int, number: int) -> str:
        """What this kernel calls the reason in one of these keys."""
        return reasons.reason(self._compiled.enumerators, kind, number)

    def udp_flows(self) -> dict[bytes, bytes]:
        """What UDP sockets exchanged with others than the first remote end: raw abi.UdpFlowKey to abi.UdpFlow."""
        return syscalls.elements(self._maps["udp_flows"], abi.UDP_FLOW_KEY.size, abi.UDP_FLOW.size)

    def forget_udp_flow(self, key: bytes) -> None:
        """Drop one of udp_flows()."""
        with suppress(FileNotFoundError):
            syscalls.delete(self._maps["udp_flows"], key)

    def packet_sources(self) -> dict[bytes, bytes]:
        """What came from which address: raw abi.PacketSource to abi.SourcePackets."""
        return syscalls.elements(self._maps["packet_sources"], abi.PACKET_SOURCE.size, abi.SOURCE_PACKETS.size)

    def take_packet_source(self, key: bytes) -> bytes | None:
        """Drop one of packet_sources(); what it held at last."""
        with suppress(FileNotFoundError):
            return syscalls.take(self._maps["packet_sources"], key, abi.SOURCE_PACKETS.size)
        return None

    def scan_files(self) -> None:
        """Go through every process's open files: enter sockets that are not known yet, look for owners.

        Of two scans the second hands a socket that its owner held during neither to a process that holds it.
        """
        self._scans += 1
        self._control(abi.SCAN, self._scans)
        self._holders = abi.decode_holders(syscalls.run_iterator(self._links["older_sockets"]))
        if self._older_without_room is None:
            # Later passes count these again; what has come since was counted when it came.
            self._older_without_room = syscalls.lookup_u64(self._maps["losses"], abi.OLDER_WITHOUT_ROOM)

    def holders(self) -> list[abi.HolderRecord] | None:
        """Who holds which listener, as the last scan found it; None if there was no scan since the last call."""
        holders, self._holders = self._holders, None
        return holders

    def forget(self, socket: int) -> None:
        """Drop a socket whose end was missed."""
        with suppress(FileNotFoundError):
            syscalls.delete(self._maps["sockets"], socket.to_bytes(8, sys.byteorder))

    def is_member(self, process: abi.ProcessKey) -> bool:
        """In a scope of units and containers: whether the process was in one of them when it was identified last."""
        with suppress(FileNotFoundError):
            known = syscalls.lookup(self._maps["scope_member"], struct.pack("=I", process.pid), _NUMBER_BYTES)
            return int.from_bytes(known, sys.byteorder) == process.start_boot_ns
        return False

    def losses(self) -> Losses:
        """The counters as they stand."""
        counts = {index: syscalls.lookup_u64(self._maps["losses"], index) for index in range(abi.REQUESTS_UNLISTED)}
        return Losses(
            perf_buffer={**{buffer.name: counts[buffer.number] for buffer in BUFFERS}, **self._lost_of_lookups()},
            map_full={
                "sockets": counts[abi.SOCKETS_MAP_FULL] + (self._older_without_room or 0),
                "turns": counts[abi.TURNS_WITHOUT_ROOM],
                **({"lookups": self._counter(abi.LOOKUPS_WITHOUT_ROOM)} if self._lookups is not None else {}),
                **({"tls_calls": self._counter(abi.TLS_CALLS_WITHOUT_ROOM)} if self._plaintext is not None else {}),
            },
            missed_runs={
                hook.program: syscalls.missed_runs(self._program_fds[hook.program])
                for hook in self.hooks
                if hook.kind.counts_missed_runs
            },
            udp_unattributed_bytes=counts[abi.UDP_UNATTRIBUTED_BYTES],
            dns_unasked=counts[abi.DNS_UNASKED],
            dns_repeats=counts[abi.DNS_REPEATS],
            dns_left_out=counts[abi.DNS_LEFT_OUT],
            dns_questions_pushed_out=counts[abi.DNS_QUESTIONS_PUSHED_OUT],
            drops_without_room=counts[abi.DROPS_WITHOUT_ROOM],
            packets_without_host=counts[abi.PACKETS_WITHOUT_HOST],
            handshakes_left_out=counts[abi.HANDSHAKES_LEFT_OUT],
            requests_unlisted=self.requests_unlisted(),
            lookups_unlisted=self._counter(abi.LOOKUPS_UNLISTED),
        )

    def _lost_of_lookups(self) -> dict[str, int]:
        if self._lookups is None:
            return {}
        return {buffer.name: self._counter(buffer.number) for buffer in OPT_IN_BUFFERS}

    def _counter(self, which: int) -> int:
        return syscalls.lookup_u64(self._maps["losses"], which)

    def heads_lost(self) -> int:
        """The one of them that says how many heads of requests and responses there was no room for."""
        return self._counter(abi.LOST_HTTP_EVENTS)

    def requests_unlisted(self) -> int:
        """The one of them that says whether there is a flood of requests."""
        by_cpu = range(abi.REQUESTS_UNLISTED, abi.LOST_LOOKUP_EVENTS, abi.REQUESTS_UNLISTED_APART)
        return sum(map(self._counter, by_cpu))

    def close(self) -> None:
        """Detach everything at once, and give back what it took."""
        if self._lookups is not None:
            self._lookups.close()
            self._lookups = None
        if self._plaintext is not None:
            self._plaintext.close()
            self._plaintext = None
        if self._asked_sockets is not None:
            self._asked_sockets.close()
            self._asked_sockets = None
        for descriptor in (*self._links.values(), *self._program_fds.values(), *self._maps.values()):
            os.close(descriptor)
        self._links.clear()
        self._program_fds.clear()
        self._maps.clear()
        self._buffers.close()

    def _load_all(self) -> None:
        """Several at a time: half of a start is the verifier's, and it takes a CPU for each program."""
        waiting: list[Hook | Continuation] = [*self.hooks, *self._continuations(), *self._opt_in()]
        waiting.sort(key=lambda hook: len(self._compiled.programs[hook.program].instructions))
        failures: list[Exception] = []

        def load() -> None:
            while True:
                try:
                    hook = waiting.pop()  # the largest: beside it the others are loaded
                except IndexError:
                    return
                try:
                    self.load(hook)
                except Exception as error:  # noqa: BLE001 - raised below, in the thread that asked for it
                    failures.append(error)

        threads = [Thread(target=load) for _ in range(min(len(syscalls.online_cpus()), _LOADING_AT_ONCE))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _continuations(self) -> list[Continuation]:
        """Those that are compiled in."""
        return [each for each in CONTINUATIONS if each.program in self._compiled.programs]

    def _opt_in(self) -> list[Hook | Continuation]:
        """The programs of what is watched only if asked for, as far as they are compiled in."""
        plaintext = (*PLAINTEXT_CALLS, PLAINTEXT_RETURNED, *PLAINTEXT_FORGOTTEN, *PLAINTEXT_MISSED)
        of_go = (*PLAINTEXT_GO_CALLS, PLAINTEXT_GO_RETURNED, *PLAINTEXT_GO_OTHERS)
        every = (*LOOKUPS, LOOKUPS_RETURNED, *plaintext, *of_go)
        hooks = {hook.program: hook for hook in every if hook.program in self._compiled.programs}
        if hooks and self._has_libraries:
            hooks[LIBRARIES.program] = LIBRARIES
        continued = [each for each in PLAINTEXT_CONTINUATIONS if each.program in self._compiled.programs]
        return [*hooks.values(), *continued]

    def _make_maps(self, sockets_entries: int) -> None:
        syscalls.allow_locked_memory()
        for name, shape in _sized(self._compiled, sockets_entries):
            self._maps[name] = syscalls.create_map(name, shape)

    def _write_scope(self, scope: Scope) -> None:
        for netns in scope.netns:
            syscalls.update(self._maps["scope_netns"], struct.pack("=I", netns), b"\1")
        for pid in scope.pids:
            syscalls.update(self._maps["scope_pid"], struct.pack("=I", pid), b"\1")
        for comm in scope.comms:
            syscalls.update(self._maps["scope_comm"], comm.ljust(COMM_CHARACTERS + 1, b"\0"), b"\1")
        self._control(abi.SCOPE_CGROUPS, scope.cgroup_kinds)
        for name, kinds in scope.cgroup_names.items():
            key = os.fsencode(name)[: abi.CGROUP_NAME_BYTES - 1].ljust(abi.CGROUP_NAME_BYTES, b"\0")
            syscalls.update(self._maps["scope_cgroup_name"], key, bytes([kinds]))

    def _watch_cgroups(self) -> None:
        """Enter the cgroups in scope that there are, and all below them. The kernel side enters what is made now."""
        for cgroup in cgroups.walk():
            kinds = self._scope.kinds_of(cgroup.path)
            if kinds:
                key = struct.pack("=QQ", cgroup.id, cgroup.v1)
                syscalls.update(self._maps["scope_cgroup"], key, bytes([kinds]))

    def _taken(self, name: str, key_bytes: int, value_bytes: int) -> Iterator[tuple[bytes, bytes]]:
        """The elements of a map that were counted until begin_counting() was called last; they are removed."""
        counters = self._maps[name]
        for key in syscalls.keys(counters, key_bytes):
            if int.from_bytes(key[-_NUMBER_BYTES:], sys.byteorder) != self._generation:  # stands last in every key
                yield key, syscalls.lookup(counters, key, value_bytes)
                syscalls.delete(counters, key)

    def _control(self, which: int, value: int) -> None:
        syscalls.update(self._maps["controls"], struct.pack("=I", which), struct.pack("=Q", value))


def _sized(compiled: CompiledPrograms, sockets_entries: int) -> Iterator[tuple[str, syscalls.MapShape]]:
    """The maps of the compiled programs as they are made here."""
    for name, shape in compiled.maps.items():
        entries = shape.entries
        if name == "sockets":
            entries = sockets_entries
        elif name == "spilled":
            entries = _SPILLED_BYTES * (_DECRYPTED_SHARE if "tls_calls" in compiled.maps else 1)
        elif shape.type == syscalls.PERF_EVENT_ARRAY:  # they may have been compiled when there were fewer CPUs
            entries = syscalls.possible_cpus()
        yield name, shape._replace(entries=entries)


def map_bytes(compiled: CompiledPrograms, sockets_entries: int = SOCKETS_ENTRIES) -> int:
    """About as much memory as the maps take."""
    total = 0
    for _, shape in _sized(compiled, sockets_entries):
        element = shape.value_bytes + (shape.key_bytes + _ELEMENT_BYTES if shape.type in _HASHES else 0)
        if shape.type == syscalls.PERCPU_ARRAY:
            element *= syscalls.possible_cpus()
        total += shape.entries * max(element, 1)  # of a ring buffer `entries` are bytes
    return total


def bytes_per_cpu(most: int, cpus: int, page_bytes: int = PAGE_BYTES) -> int:
    """Of one map's perf buffer on each of so many CPUs: `most`, or half of it and so on; at least a page."""
    size = most
    while size > _FEWEST_BYTES and size * cpus > _BUFFER_BYTES:
        size //= 2
    return max(size, page_bytes)


def locked_bytes(cpus: int, page_bytes: int = PAGE_BYTES) -> int:
    """As much memory as the perf buffers of so many CPUs lock. One more page of each is for where it is read."""
    return cpus * sum(bytes_per_cpu(buffer.most_bytes, cpus, page_bytes) + page_bytes for buffer in BUFFERS)


def _megabytes(size: int) -> int:
    return -(-size // _MB)


def defines(
    scope: Scope, dns_ports: Sequence[int] = DNS_PORTS, requests: bool = True, **opt_in: Unpack[OptIn]
) -> tuple[str, ...]:
    """What the kernel side is compiled with; the entries themselves are no part of it."""
    kinds = {"NETNS": scope.netns, "PID": scope.pids, "COMM": scope.comms, "CGROUP": scope.by_cgroup}
    lookups = opt_in.get("lookups", "off")
    ports = {"DNS": dns_ports, **{protocol.name.upper(): protocol.ports for protocol in ORDERED}}
    return (
        *(f"-DIS_{name}_PORT(port)=({' || '.join(f'(port) == {port}' for port in of)})" for name, of in ports.items()),
        f"-DSCOPE_ENTRIES={Scope.MAX_ENTRIES}",
        f"-DSCOPE_CGROUP_NAMES={Scope.MAX_NAMES}",
        *(("-DREQUESTS",) if requests else ()),
        *(("-DLOOKUPS",) if lookups != "off" else ()),
        *(("-DLOOKUPS_WITHOUT_RETURNS",) if lookups == "without-returns" else ()),
        *(("-DDECRYPT",) if opt_in.get("decrypt") else ()),
        *(("-DCUT",) if opt_in.get("cut") else ()),
        *(f"-DSCOPE_{name}" for name, given in kinds.items() if given),
    )


def _remedy_for_buffers(cpus: int) -> str:
    with suppress(OSError):
        if int(_PERF_EVENT_PARANOID.read_text()) > _PERFMON_SUFFICES:
            return "Run it as root; without root, allow what CAP_PERFMON is for: sysctl kernel.perf_event_paranoid=2."
    memory = f"{_megabytes(locked_bytes(cpus))} MB for {cpus} CPUs"
    return (
        f"Run it as root with enough memory ({memory}); without root give it CAP_IPC_LOCK too, or ulimit -l unlimited."
    )


def open_cgroup2() -> int:
    """A descriptor of the cgroup2 root, wherever it is mounted; of a mount of our own if it is nowhere.

    Raises CannotRunError where there is none and none can be mounted.
    """
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, directory, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            path = directory.encode().decode("unicode_escape")  # fstab escapes: \040 is a space
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return syscalls.mount("cgroup2")
    except OSError as error:
        raise CannotRunError(
            f"cgroup2 is not mounted and cannot be: {error.strerror}.",
            "Mount it: mount -t cgroup2 none /sys/fs/cgroup (the kernel needs CONFIG_CGROUP_BPF=y).",
        ) from error
