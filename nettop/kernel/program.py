"""nettop's kernel side as one object: compiled once through BCC, attached by links, read through perf buffers.

Everything it holds in the kernel hangs on file descriptors of this process, so nothing outlives it, not even kill -9.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import string_at
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nettop.errors import CannotRunError
from nettop.kernel import abi, syscalls
from nettop.kernel.btf import Btf
from nettop.kernel.scope import Scope
from nettop.kernel.trust import require_trusted_sources

DNS_PORT = 53
SOCKETS_ENTRIES = 131_072  # 31 MB of kernel memory; twice the ports of one address
# Perf pages per CPU (4 KiB each, a power of two) and how many records wake the reader. Reading waits for that many or
# for the next tick, so a buffer holds several times as much: 256 KiB are 1,300 connections, 1 MiB 250 large answers.
_BUFFERS = {
    "tcp_events": (64, 64),
    "udp_events": (64, 64),
    "dns_events": (256, 32),
    "process_events": (64, 64),
}
_SOURCES = ("common.c", "tcp.c", "packets.c", "process.c", "iterators.c")
# Where clang and BCC would look for what to compile besides what they are given.
_FOREIGN_SOURCES = (
    "BCC_KERNEL_MODULES_SUFFIX",
    "BCC_LINUX_VERSION_CODE",
    "COMPILER_PATH",
    "CPATH",
    "C_INCLUDE_PATH",
    "LIBRARY_PATH",
    "RC_DEBUG_OPTIONS",
    "SDKROOT",
)
_OFFSETS = {
    "task_struct": ("group_leader", "cred", "tgid", "start_boottime", "comm", "mm", "signal"),
    "cred": ("uid",),
    "mm_struct": ("arg_start", "arg_end"),
    "signal_struct": ("live",),
    "net": ("ns.inum",),
    "sock_common": (
        "skc_family",
        "skc_state",
        "skc_dport",
        "skc_daddr",
        "skc_rcv_saddr",
        "skc_v6_daddr",
        "skc_v6_rcv_saddr",
        "skc_net",
        "skc_flags",
    ),
    "sock": ("sk_protocol", "sk_err", "sk_lock.owned"),
    "inet_sock": ("inet_sport",),
    "tcp_sock": ("bytes_sent", "bytes_retrans", "bytes_received", "srtt_us", "total_retrans"),
    "file": ("f_inode", "private_data"),
    "inode": ("i_mode",),
    "socket": ("sk",),
}
_BITS = {"sock": ("sk_kern_sock",)}


@dataclass(frozen=True)
class Hook:
    """One attach point: what it is for, its program, and what it attaches to."""

    need: str
    program: str
    kind: str  # raw_tracepoint, cgroup_skb, cgroup_sock, iterator
    target: str

    @property
    def mechanism(self) -> str:
        """For people and the JSON: `raw_tracepoint inet_sock_set_state`."""
        return f"{self.kind} {self.target}"


HOOKS = (
    Hook("dns_queries", "packet_egress", "cgroup_skb", "egress"),
    Hook("dns_answers", "packet_ingress", "cgroup_skb", "ingress"),
    Hook("tcp_connections", "tcp_state", "raw_tracepoint", "inet_sock_set_state"),
    Hook("udp_bytes", "socket_release", "cgroup_sock", "sock_release"),
    Hook("live_counters", "bpf_iter__bpf_map_elem", "iterator", "bpf_map_elem"),
    Hook("older_sockets", "bpf_iter__task_file", "iterator", "task_file"),
    Hook("process_starts", "process_exec", "raw_tracepoint", "sched_process_exec"),
    Hook("process_ends", "process_exit", "raw_tracepoint", "sched_process_exit"),
)
_CGROUP_ATTACH_TYPES = {
    "egress": syscalls.CGROUP_INET_EGRESS,
    "ingress": syscalls.CGROUP_INET_INGRESS,
    "sock_release": syscalls.CGROUP_INET_SOCK_RELEASE,
}


class RefusedError(CannotRunError):
    """The kernel refused a program or its attachment."""

    def __init__(self, hook: Hook, reason: str, details: str) -> None:
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


class KernelProgram:
    """Compile on construction, then attach(); read with poll(), drain(), sockets() and scan_files()."""

    def __init__(self, scope: Scope) -> None:
        bpf_class = import_bcc()
        directory = source_directory()
        require_trusted_sources(directory)
        for name in _FOREIGN_SOURCES:
            os.environ.pop(name, None)
        os.environ["BCC_KERNEL_SOURCE"] = str(directory / "kernel")
        flags = [*_defines(Btf.of_running_kernel(), scope), f"-I{directory}", "-nostdinc", "-Wno-everything"]
        with _captured_stderr() as captured:
            try:
                self._bpf = bpf_class(text=_joined_source(directory).encode(), cflags=flags)
            except Exception as error:
                raise CannotRunError(
                    "The kernel programs could not be compiled or their maps not be made.",
                    "Run as root, and run 'nettop doctor'; --debug shows what the compiler and the kernel said.",
                    f"{error}\n{captured()}",
                ) from error
        self._write_scope(scope)
        self._links: list[int] = []
        self._program_fds: dict[str, int] = {}
        self._iterators: dict[str, int] = {}
        self._sockets_fd = self._bpf[b"sockets"].map_fd
        self._losses_fd = self._bpf[b"losses"].map_fd
        self._queue: list[tuple[Callable[[bytes], abi.KernelRecord], bytes]] = []

    def attach(self, cgroup_fd: int) -> None:
        """Load and attach every hook; the network ones to this cgroup. Raises RefusedError."""
        self._open_buffers()
        for hook in HOOKS:
            self.attach_hook(hook, cgroup_fd)
        syscalls.return_free_memory()  # 18 MB that the compiler has no more use for

    def attach_hook(self, hook: Hook, cgroup_fd: int) -> None:
        """Load and attach one hook. Raises RefusedError."""
        program_fd = self.load(hook)
        try:
            if hook.kind == "raw_tracepoint":
                link = syscalls.link_raw_tracepoint(program_fd, hook.target)
            elif hook.kind == "iterator":
                over_map = self._sockets_fd if hook.target == "bpf_map_elem" else None
                link = self._iterators[hook.target] = syscalls.link_iterator(program_fd, over_map)
            else:
                link = syscalls.link_cgroup(program_fd, cgroup_fd, _CGROUP_ATTACH_TYPES[hook.target])
        except OSError as error:
            raise RefusedError(hook, f"attaching: {error.strerror}", "") from error
        self._links.append(link)

    def load(self, hook: Hook) -> int:
        """Load one program and return its descriptor. Raises RefusedError with the verifier's words in `details`."""
        bcc = self._bpf
        kinds = {
            "raw_tracepoint": (bcc.RAW_TRACEPOINT, -1),
            "cgroup_skb": (bcc.CGROUP_SKB, -1),
            "cgroup_sock": (bcc.CGROUP_SOCK, syscalls.CGROUP_INET_SOCK_RELEASE),
            "iterator": (_PROGRAM_TYPE_TRACING, -1),
        }
        program_type, attach_type = kinds[hook.kind]
        with _captured_stderr() as captured:
            try:
                function = bcc.load_func(hook.program.encode(), program_type, attach_type=attach_type)
            except Exception as error:
                raise RefusedError(hook, str(error).rsplit(": ", 1)[-1], captured()) from error
        self._program_fds[hook.program] = function.fd
        return int(function.fd)

    def poll(self, timeout_ms: int) -> None:
        """Wait until a buffer holds a batch or the time is over."""
        self._bpf.perf_buffer_poll(timeout_ms)

    def drain(self) -> list[abi.KernelRecord]:
        """Every record that the buffers hold, per CPU in order, decoded after the buffers were released."""
        self._bpf.perf_buffer_consume()
        queue, self._queue = self._queue, []
        return [decode(raw) for decode, raw in queue]

    def sockets(self, everything: bool = False) -> list[abi.SocketRecord]:
        """The sockets whose counters, state or owner changed since the last call, or all that are alive."""
        switch = self._bpf[b"report_all"]
        if everything:
            switch[switch.Key(0)] = switch.Leaf(1)
        try:
            return abi.decode_sockets(syscalls.run_iterator(self._iterators["bpf_map_elem"]))
        finally:
            if everything:
                switch[switch.Key(0)] = switch.Leaf(0)

    def scan_files(self) -> None:
        """Enter TCP sockets older than nettop and look for owners in every process's open files."""
        syscalls.run_iterator(self._iterators["task_file"])

    def forget(self, socket: int) -> None:
        """Drop a socket whose end was missed."""
        syscalls.delete_u64(self._sockets_fd, socket)

    def losses(self) -> Losses:
        """The counters as they stand."""
        counts = [syscalls.lookup_u64(self._losses_fd, index) for index in range(abi.LOSS_COUNTERS)]
        return Losses(
            perf_buffer={
                "tcp_events": counts[abi.LOST_TCP_EVENTS],
                "udp_events": counts[abi.LOST_UDP_EVENTS],
                "dns_events": counts[abi.LOST_DNS_EVENTS],
                "process_events": counts[abi.LOST_PROCESS_EVENTS],
            },
            map_full={"sockets": counts[abi.SOCKETS_MAP_FULL]},
            missed_runs={
                hook.program: syscalls.missed_runs(self._program_fds[hook.program])
                for hook in HOOKS
                if hook.kind == "raw_tracepoint"
            },
            udp_unattributed_bytes=counts[abi.UDP_UNATTRIBUTED_BYTES],
        )

    def close(self) -> None:
        """Detach everything at once."""
        for link in self._links:
            os.close(link)
        self._links.clear()
        self._bpf.cleanup()

    def _open_buffers(self) -> None:
        decoders: dict[str, Callable[[bytes], abi.KernelRecord]] = {
            "tcp_events": abi.decode_socket,
            "udp_events": abi.decode_socket,
            "dns_events": abi.decode_dns,
            "process_events": abi.decode_process,
        }
        for name, (pages, wakeup_events) in _BUFFERS.items():

            def copy(
                _cpu: int, data: int, size: int, decode: Callable[[bytes], abi.KernelRecord] = decoders[name]
            ) -> None:
                self._queue.append((decode, string_at(data, size)))

            # The array `losses` counts refused records at once and exactly. Without a lost_cb BCC would print here.
            self._bpf[name.encode()].open_perf_buffer(
                copy, page_cnt=pages, lost_cb=lambda _lost: None, wakeup_events=wakeup_events
            )

    def _write_scope(self, scope: Scope) -> None:
        if scope.netns:
            table = self._bpf[b"scope_netns"]
            for netns in scope.netns:
                table[table.Key(netns)] = table.Leaf(1)
        if scope.pids:
            table = self._bpf[b"scope_pid"]
            for pid in scope.pids:
                table[table.Key(pid)] = table.Leaf(1)
        if scope.comms:
            table = self._bpf[b"scope_comm"]
            for comm in scope.comms:
                table[table.Key(comm=comm)] = table.Leaf(1)


_PROGRAM_TYPE_TRACING = 26  # BPF_PROG_TYPE_TRACING; BCC 0.26 has no name for it


def bcc_version() -> str:
    """The version of BCC. Raises CannotRunError if it is not there."""
    module = sys.modules[import_bcc().__module__]
    return str(getattr(module, "__version__", "version unknown"))


def import_bcc() -> Any:
    """BCC's class BPF. Raises CannotRunError if the distribution's module is not there."""
    package = (
        "Install the distribution's package: python3-bpfcc (Debian, Ubuntu), python3-bcc (Fedora), python-bcc (Arch)."
    )
    try:
        from bcc import BPF  # noqa: PLC0415 - replays and tests do without
    except ImportError as error:
        raise CannotRunError(
            f"The Python module bcc cannot be imported: {error}.",
            f"{package} PyPI's 'bcc' is an unrelated package; uninstall it if it is there.",
        ) from error
    return BPF


def source_directory() -> Path:
    """Where the BPF sources are: inside the installed package, or beside it in the tree."""
    package = Path(__file__).resolve().parent.parent
    for directory in (package / "bpf", package.parent / "bpf"):
        if (directory / "abi.h").is_file():
            return directory
    raise CannotRunError("The BPF sources that belong to nettop are missing.", "Install nettop again.")


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
        return syscalls.mount_cgroup2()
    except OSError as error:
        raise CannotRunError(
            f"cgroup2 is not mounted and cannot be: {error.strerror}.",
            "Mount it: mount -t cgroup2 none /sys/fs/cgroup (the kernel needs CONFIG_CGROUP_BPF=y).",
        ) from error


def _joined_source(directory: Path) -> str:
    # One translation unit, because BCC rewrites map accesses in the main file only; #line keeps error messages true.
    parts = [f'#line 1 "{name}"\n{(directory / name).read_text()}' for name in _SOURCES]
    return "\n".join(parts)


def _defines(btf: Btf, scope: Scope) -> Iterator[str]:
    for structure, members in _OFFSETS.items():
        for member in members:
            yield f"-DOFFSET_{structure}_{member.replace('.', '_')}={btf.offset(structure, member)}"
    for structure, members in _BITS.items():
        for member in members:
            offset, mask = btf.bit(structure, member)
            yield f"-DOFFSET_{structure}_{member}={offset}"
            yield f"-DMASK_{structure}_{member}={mask}"
    yield f"-DDNS_PORT={DNS_PORT}"
    yield f"-DSOCKETS_ENTRIES={SOCKETS_ENTRIES}"
    yield f"-DSCOPE_ENTRIES={Scope.MAX_ENTRIES}"
    for name, given in (("NETNS", scope.netns), ("PID", scope.pids), ("COMM", scope.comms)):
        if given:
            yield f"-DSCOPE_{name}"


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Keep what libbcc and clang print on stderr; they offer no other way to their words."""
    with os.fdopen(os.memfd_create("stderr"), "rb") as capture:  # needs no disk, which may be full or read-only
        saved = os.dup(2)
        os.dup2(capture.fileno(), 2)

        def text() -> str:
            capture.seek(0)
            return capture.read().decode(errors="replace")

        try:
            yield text
        finally:
            os.dup2(saved, 2)
            os.close(saved)
