"""Where nettop attaches to the kernel: each hook declared once, with what it is for, its program and its buffers.

A new hook is a line in HOOKS and its program in bpf/. How it is loaded and attached, its buffers, what was lost there,
and its line in doctor follow from here.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nettop.kernel import abi, syscalls
from nettop.kernel.btf import Btf, BtfError
from nettop.kernel.elf import function_offset

_KB, _MB = 1 << 10, 1 << 20
_MOST_HTTP_BYTES = 1024  # of a head, and of the headers before it a tenth of that
_MOST_DNS_BYTES = 4096  # of a packet as a rule: bpf/dns.c bounds what is longer, 64 KB at most, to few at a time

_DNS_HEAD_BYTES = abi.DNS_PACKET.size + abi.DNS_LOOKUP.size

Decoder = Callable[[bytes], abi.KernelRecord]


@dataclass(frozen=True)
class Kind:
    """A kind of hook: as what its programs are loaded, and how they are attached."""

    name: str
    program_type: int
    counts_missed_runs: bool = field(default=False, kw_only=True)  # each time the program already ran on that CPU

    def attach_type(self, target: str) -> int:
        """The attach type that the kernel is told when it loads a program for this target."""
        raise NotImplementedError

    def btf_type(self, btf: Btf, target: str) -> int | None:
        """Type id of what the program is verified against, if it is. Raises BtfError where the kernel has no such."""
        del btf, target
        return None

    def link(self, program_fd: int, target: str, cgroup_fd: int) -> int:
        """Attach the program, if need be to the cgroup; returns the link's descriptor. Raises OSError."""
        raise NotImplementedError


@dataclass(frozen=True)
class _RawTracepoint(Kind):
    least_arguments: int = 0  # a kernel that gives fewer counts as one that does not have it

    def attach_type(self, target: str) -> int:
        del target
        return syscalls.TRACE_RAW_TP

    def btf_type(self, btf: Btf, target: str) -> int:
        if self.least_arguments and btf.raw_tracepoint_arguments(target) < self.least_arguments:
            raise BtfError(f"This kernel's {target} has fewer arguments.", "Run a later kernel.")
        return btf.raw_tracepoint(target)

    def link(self, program_fd: int, target: str, cgroup_fd: int) -> int:
        del target, cgroup_fd
        return syscalls.link_raw_tracepoint(program_fd)


@dataclass(frozen=True)
class _Iterator(Kind):
    def attach_type(self, target: str) -> int:
        del target
        return syscalls.TRACE_ITER

    def btf_type(self, btf: Btf, target: str) -> int:
        return btf.function(f"bpf_iter_{target}")

    def link(self, program_fd: int, target: str, cgroup_fd: int) -> int:
        del target, cgroup_fd
        return syscalls.link_iterator(program_fd)


@dataclass(frozen=True)
class OnCgroup(Kind):
    """What runs for the processes of a cgroup and of all below it. Another program there may keep others out."""

    attach_types: Mapping[str, int]

    def attach_type(self, target: str) -> int:
        """See Kind."""
        return self.attach_types[target]

    def link(self, program_fd: int, target: str, cgroup_fd: int) -> int:
        """See Kind."""
        return syscalls.link_cgroup(program_fd, cgroup_fd, self.attach_types[target])


@dataclass(frozen=True)
class _OnPackets(OnCgroup):
    """Programs that continue in the same one must be loaded for one direction; they may be attached to either."""

    def attach_type(self, target: str) -> int:
        """See Kind."""
        del target
        return syscalls.CGROUP_INET_INGRESS


@dataclass(frozen=True)
class _Uprobe(Kind):
    """In a program or library; the target is `FILE:FUNCTION`."""

    at_return: bool

    def attach_type(self, target: str) -> int:
        del target
        return syscalls.TRACE_UPROBE_MULTI

    def link(self, program_fd: int, target: str, cgroup_fd: int) -> int:
        del cgroup_fd
        file, _, function = target.rpartition(":")
        offset = function_offset(Path(file), function)
        (link,) = syscalls.link_uprobes(program_fd, Path(file), (offset,), self.at_return)
        return link


@dataclass(frozen=True)
class _OnRequest(Kind):
    """Attached to nothing: nettop runs it (BPF_PROG_TEST_RUN, Documentation/bpf/bpf_prog_run.rst)."""

    def attach_type(self, target: str) -> int:
        del target
        return 0

    def link(self, program_fd: int, target: str, cgroup_fd: int) -> int:
        del target, cgroup_fd
        return os.dup(program_fd)


RAW_TRACEPOINT = _RawTracepoint("raw_tracepoint", syscalls.TRACING, counts_missed_runs=True)
KFREE_SKB = _RawTracepoint("raw_tracepoint", syscalls.TRACING, 3, counts_missed_runs=True)
ITERATOR = _Iterator("iterator", syscalls.TRACING)
CGROUP_SKB = _OnPackets(
    "cgroup_skb",
    syscalls.CGROUP_SKB,
    {"egress": syscalls.CGROUP_INET_EGRESS, "ingress": syscalls.CGROUP_INET_INGRESS},
)
CGROUP_SOCK = OnCgroup(
    "cgroup_sock",
    syscalls.CGROUP_SOCK,
    {"sock_create": syscalls.CGROUP_INET_SOCK_CREATE, "sock_release": syscalls.CGROUP_INET_SOCK_RELEASE},
)
CGROUP_SOCK_ADDR = OnCgroup(
    "cgroup_sock_addr",
    syscalls.CGROUP_SOCK_ADDR,
    {
        "connect4": syscalls.CGROUP_INET4_CONNECT,
        "connect6": syscalls.CGROUP_INET6_CONNECT,
        "sendmsg4": syscalls.CGROUP_UDP4_SENDMSG,
        "sendmsg6": syscalls.CGROUP_UDP6_SENDMSG,
    },
)
UPROBE = _Uprobe("uprobe", syscalls.KPROBE, at_return=False)
ON_REQUEST = _OnRequest("raw_tracepoint", syscalls.RAW_TRACEPOINT)
URETPROBE = _Uprobe("uretprobe", syscalls.KPROBE, at_return=True)


@dataclass(frozen=True)
class Buffer:
    """A perf buffer: what decodes its records, its size on each CPU (a power of two) and the size of a long record.

    `number` is the index of its counter in `losses`. It also marks its records in `spilled`, which takes the records
    of a CPU that has no perf buffer.
    """

    name: str
    number: int
    decode: Decoder
    most_bytes: int
    record_bytes: int


TCP_EVENTS = Buffer("tcp_events", abi.LOST_TCP_EVENTS, abi.decode_socket, 1 * _MB, abi.SOCKET_RECORD.size)
UDP_EVENTS = Buffer("udp_events", abi.LOST_UDP_EVENTS, abi.decode_socket, 512 * _KB, abi.SOCKET_RECORD_HEAD_BYTES)
DNS_EVENTS = Buffer("dns_events", abi.LOST_DNS_EVENTS, abi.decode_dns, 1 * _MB, _DNS_HEAD_BYTES + _MOST_DNS_BYTES)
HTTP_EVENTS = Buffer(
    "http_events", abi.LOST_HTTP_EVENTS, abi.decode_http, 512 * _KB, abi.HTTP_HEAD.size + _MOST_HTTP_BYTES
)
PROCESS_EVENTS = Buffer(
    "process_events",
    abi.LOST_PROCESS_EVENTS,
    abi.decode_process,
    256 * _KB,
    abi.PROCESS_EVENT.size + abi.EXEC_ARGUMENT_BYTES,
)


LOOKUP_EVENTS = Buffer("lookup_events", abi.LOST_LOOKUP_EVENTS, abi.decode_lookup, 512 * _KB, abi.LOOKUP_RECORD.size)


@dataclass(frozen=True)
class Continuation:
    """A program that others continue in (bpf_tail_call), so that the verifier follows it once and not in each of them.

    `index` is where they find it in the map `among`, which has programs of one kind. `need` is that of the
    hooks that continue in it, where they are watched only if asked for.
    """

    program: str
    kind: Kind
    index: int
    target: str = "continuation"
    among: str = "continuations"
    need: str = ""

    @property
    def mechanism(self) -> str:
        """For people: how the kernel runs it."""
        return f"{self.kind.name} {self.target}"


CONTINUATIONS = (
    Continuation("frames", CGROUP_SKB, 0),
    Continuation("databases", CGROUP_SKB, 1),
    Continuation("requests", CGROUP_SKB, 2),
)


@dataclass(frozen=True)
class Hook:
    """One attach point: the need that it serves, by name and in plain words, and the program that runs there.

    With `since`, the Linux version that brought it, nettop does without it where the kernel does not have it.
    """

    need: str
    words: str
    program: str
    kind: Kind
    target: str
    buffers: tuple[Buffer, ...] = ()
    since: str = ""

    @property
    def mechanism(self) -> str:
        """For people and the JSON: `raw_tracepoint inet_sock_set_state`."""
        return f"{self.kind.name} {self.target}"


CGROUPS = Hook(
    "cgroups", "units and containers that come later, and may be gone soon",
    "cgroup_made", RAW_TRACEPOINT, "cgroup_mkdir", (PROCESS_EVENTS,),
)  # fmt: skip
# fmt: off
HOOKS = (
    Hook("dns_answers", "DNS answers, bytes received over UDP and other protocols, response times on TCP, requests",
         "packet_ingress", CGROUP_SKB, "ingress", (DNS_EVENTS, HTTP_EVENTS)),
    Hook("dns_queries", "DNS queries, bytes sent over UDP and other protocols, response times on TCP, requests",
         "packet_egress", CGROUP_SKB, "egress", (DNS_EVENTS, HTTP_EVENTS)),
    Hook("dns_refusals", "DNS queries refused because no server is running, and other ICMP errors",
         "socket_error", RAW_TRACEPOINT, "inet_sk_error_report", (DNS_EVENTS,), since="5.14"),
    Hook("tcp_connections", "start, end and owner of TCP connections",
         "tcp_state", RAW_TRACEPOINT, "inet_sock_set_state", (TCP_EVENTS,)),
    # after tcp_connections, which says that a connect() has not failed
    Hook("failed_connects_ipv4", "IPv4 connections that fail before anything is sent",
         "connect4", CGROUP_SOCK_ADDR, "connect4", (TCP_EVENTS,)),
    Hook("failed_connects_ipv6", "IPv6 connections that fail before anything is sent",
         "connect6", CGROUP_SOCK_ADDR, "connect6", (TCP_EVENTS,)),
    Hook("udp_owners", "owners of UDP, ICMP, SCTP and raw sockets",
         "socket_create", CGROUP_SOCK, "sock_create"),
    Hook("udp_bytes", "bytes of closed UDP, ICMP, SCTP and raw sockets, and failed connections that sent nothing",
         "socket_release", CGROUP_SOCK, "sock_release", (UDP_EVENTS, TCP_EVENTS)),
    Hook("udp_drops", "UDP datagrams dropped because a receive buffer was full",
         "udp_dropped", RAW_TRACEPOINT, "udp_fail_queue_rcv_skb", (DNS_EVENTS,)),
    Hook("other_drops", "ICMP, SCTP and raw datagrams dropped because a receive buffer was full",
         "other_dropped", RAW_TRACEPOINT, "sock_rcvqueue_full"),
    Hook("packet_drops", "dropped packets, with the kernel's reason",
         "packet_dropped", KFREE_SKB, "kfree_skb", since="5.17"),
    Hook("resets_sent", "TCP resets sent",
         "reset_sent", RAW_TRACEPOINT, "tcp_send_reset"),
    Hook("resets_received", "TCP resets that end connections",
         "reset_received", RAW_TRACEPOINT, "tcp_receive_reset"),
    Hook("icmp_errors", "ICMP errors sent",
         "icmp_sent", RAW_TRACEPOINT, "icmp_send", since="6.10"),
    Hook("packet_sources", "packets received, per remote address",
         "packet_received", RAW_TRACEPOINT, "netif_receive_skb"),
    Hook("live_counters", "bytes, round-trip time, retransmits and queues of open connections",
         "report_asked", ON_REQUEST, "test_run"),
    Hook("older_sockets", "connections that were open before nettop started, and owners of accepted ones",
         "bpf_iter__task_file", ITERATOR, "task_file"),
    Hook("process_starts", "command lines of short-lived processes",
         "process_exec", RAW_TRACEPOINT, "sched_process_exec", (PROCESS_EVENTS,)),
    Hook("process_ends", "process exits",
         "process_exit", RAW_TRACEPOINT, "sched_process_exit", (PROCESS_EVENTS,)),
    CGROUPS,
)
# fmt: on
LIBRARIES = Hook(
    "libraries",
    "libraries that are mapped later than nettop can watch them",
    "bpf_iter__task_vma",
    ITERATOR,
    "task_vma",
    since="5.12",
)
"""Only with look-ups (`--lookups`) or plaintext (`--decrypt`)."""
# Only with look-ups: attached to each C library (kernel/lookups.py).
LOOKUPS = tuple(
    Hook("lookups", "names that programs look up in their C library",
         f"lookup_{function}", UPROBE, function, (LOOKUP_EVENTS,))
    for function in ("getaddrinfo", "gethostbyname", "gethostbyname2", "gethostbyname_r", "gethostbyname2_r")
)  # fmt: skip
LOOKUPS_MECHANISM = "uprobe getaddrinfo, gethostbyname"
LOOKUPS_RETURNED = Hook(
    "lookups", "what comes of look-ups", "lookup_returned", URETPROBE, "getaddrinfo", (LOOKUP_EVENTS,)
)
OPT_IN_BUFFERS = (LOOKUP_EVENTS,)
# Only with plaintext: attached to each TLS library (kernel/plaintext.py).
_PLAINTEXT_WORDS = "requests of HTTP inside TLS"
PLAINTEXT_CALLS = tuple(
    Hook("plaintext", _PLAINTEXT_WORDS, program, UPROBE, function)
    for function, program in (
        ("SSL_write", "tls_write"), ("SSL_write_ex", "tls_write_ex"), ("SSL_write_ex2", "tls_write_ex2"),
        ("SSL_read", "tls_read"), ("SSL_read_ex", "tls_read_ex"),
        ("gnutls_record_send2", "tls_write"),  # to which gnutls_record_send jumps
        ("gnutls_record_recv", "tls_read"),
    )
)  # fmt: skip
PLAINTEXT_RETURNED = Hook("plaintext", "what such a call came to", "tls_returned", UPROBE, "SSL_read")
PLAINTEXT_FORGOTTEN = tuple(
    Hook("plaintext", "the end of a session of TLS", "tls_forgotten", UPROBE, function)
    for function in ("SSL_free", "SSL_clear", "SSL_set_bio", "gnutls_deinit")
)
PLAINTEXT_MISSED = tuple(
    Hook("plaintext", "what is said by other functions of TLS libraries", "tls_missed", UPROBE, function)
    for function in (
        "SSL_sendfile",
        "gnutls_record_send_file", "gnutls_record_send_range", "gnutls_record_recv_packet",
    )
)  # fmt: skip
# Attached to each program that has Go's crypto/tls in itself (kernel/go_programs.py); x86-64 only.
PLAINTEXT_GO_CALLS = tuple(
    Hook("plaintext", _PLAINTEXT_WORDS, program, UPROBE, f"crypto/tls.(*Conn).{method}")
    for method, program in (
        ("Read", "go_read"), ("Write", "go_write"),
        ("clientHandshake", "go_shakes"), ("serverHandshake", "go_shakes"),
    )
)  # fmt: skip
PLAINTEXT_GO_RETURNED = Hook("plaintext", "what such a call came to", "go_returned", UPROBE, "crypto/tls.(*Conn).Read")
PLAINTEXT_GO_OTHERS = (
    Hook("plaintext", "the end of a session of TLS", "go_closed", UPROBE, "crypto/tls.(*Conn).Close"),
    *(
        Hook("plaintext", "calls that are left without a return", "go_left", UPROBE, function)
        for function in ("runtime.gopanic", "runtime.Goexit")
    ),
)
PLAINTEXT_CONTINUATIONS = tuple(
    Continuation(program, UPROBE, index, among="tls_continuations", need="plaintext")
    for index, program in enumerate(("tls_frames", "tls_taken"))
)
PLAINTEXT_MECHANISM = "uprobe SSL_write, gnutls_record_send"

CLOSING = Hook(
    "closing", "ending a TCP connection that is open (--allow-cut)", "bpf_iter__tcp", ITERATOR, "tcp", since="6.5"
)
# Those of --allow-cut, which alone are compiled and loaded with it (bpf/blocks.c).
CUT_HOOKS = (
    *(
        Hook(f"blocks_{target}", f"refusing what {target} is about (--allow-cut)", f"block_{target}", CGROUP_SOCK_ADDR,
             target)
        for target in ("connect4", "connect6", "sendmsg4", "sendmsg6")
    ),
    CLOSING,
)  # fmt: skip
BUFFERS = tuple(sorted({buffer for hook in HOOKS for buffer in hook.buffers}, key=lambda buffer: buffer.number))
