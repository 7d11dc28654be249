"""The kernel side's records as Python reads them: each declared once, by its fields and their types, like bpf/abi.h.

What unpacks a record follows from its declaration. tests/abi compares each field and constant with what clang compiled.
"""

import itertools
import struct
from collections.abc import Callable
from typing import Annotated, ClassVar, NamedTuple, get_args

from msgspec import Struct

OWNER_UNKNOWN, OWNER_SCANNED, OWNER_EXACT = 0, 1, 2
SOCKET_OUTBOUND, SOCKET_INBOUND, SOCKET_OLD, SOCKET_LISTENER, SOCKET_SHARED = 1, 2, 4, 8, 16
PACKET_DROPPED, RESET_SENT, RESET_RECEIVED, ICMP_SENT, ICMP_RECEIVED = 0, 1, 2, 3, 4
REASON_UNTOLD = 0xFFFF_FFFF
SOCKET_REJECTED, SOCKET_UNSENT, SOCKET_DENIED = 32, 64, 128
UNSENT_NO_ROUTE, UNSENT_DENIED, UNSENT_NO_ROUTE_OR_DENIED, UNSENT_NO_PORT = 1, 2, 3, 4
SENDING_UNKNOWN, SENDING_NOTHING, SENDING_BUSY, SENDING_RWND_LIMITED, SENDING_SNDBUF_LIMITED = 0, 1, 2, 3, 4
SPEAKER_NOBODY, SPEAKER_LOCAL, SPEAKER_REMOTE, RECENT_ANSWERS = 0, 1, 2, 4
PROCESS_EXEC, PROCESS_EXIT, PROCESS_EXEC_CUT, CGROUP_MADE = 1, 2, 3, 4
DNS_MESSAGE, DNS_REFUSED, DNS_ANSWER_DROPPED = 0, 1, 2
HTTP_REQUEST, HTTP_RESPONSE, HTTP_REST = 1, 2, 3
TLS_CLIENT_HELLO, TLS_SERVER_HELLO, TLS_ALERT, TLS_REST = 4, 5, 6, 7
HTTP2_FRAMES, QUIC_INITIAL = 8, 9
DATABASE_REQUEST, DATABASE_ANSWER = 10, 11
PLAINTEXT_REQUEST, PLAINTEXT_RESPONSE, PLAINTEXT_PIPELINED, PLAINTEXT_ENDED = 12, 13, 14, 15
PLAINTEXT_FRAMES = 16
PLAINTEXT_ANSWER_BYTES = 256
DATABASE_KINDS, DATABASE_POSTGRESQL, DATABASE_MYSQL, DATABASE_REDIS, DATABASE_MEMCACHED = 7, 1, 2, 3, 4
DATABASE_PARTIAL, DATABASE_LISTED, DATABASE_OVERLAPS, DATABASE_FOLLOWED, DATABASE_BEGINS = 8, 16, 32, 64, 128
HTTP2_SPOKEN, HTTP2_PARTIAL, HTTP2_JOINED, HTTP2_LEFT_OUT, HTTP2_ASKS = 1, 2, 4, 8, 16
LOOKUP_GETADDRINFO, LOOKUP_GETHOSTBYNAME, LOOKUP_GETHOSTBYNAME2 = 1, 2, 3
LOOKUP_GETHOSTBYNAME_R, LOOKUP_GETHOSTBYNAME2_R = 4, 5
LOOKUP_OPEN, LOOKUP_RETURNED, LOOKUP_ABANDONED, LOOKUP_UNSEEN = 0, 1, 2, 3
LOOKUP_NAME_BYTES, LOOKUP_ADDRESSES, LOOKUP_ADDRESSES_BYTES = 256, 16, 256
LOOKUP_FAILED, LOOKUP_NO_ROOM = 0xFFFF_FFFF, 0xFFFF_FFFE
OPEN_LOOKUP_HEAD_BYTES, LIBRARY_NAME_BYTES = 40, 32
EXEC_ARGUMENT_BYTES = 512
SOCKET_RECORD_HEAD_BYTES = 272
SOCKETS_ASKED = 16
CGROUP_NAME_BYTES = 128
IN_UNIT, IN_CONTAINER = 1, 2
BLOCK_PROCESS, BLOCK_CGROUP, BLOCK_REMOTE = 1, 2, 3
BLOCKS_PROCESS, BLOCKS_CGROUP, BLOCKS_REMOTE, BLOCKS_LEVEL, CGROUP_LEVELS = 1, 2, 4, 8, 12
CLOSING_NOT_FOUND, CLOSING_DONE, CLOSING_REFUSED, CLOSING_SUBFLOW = 0, 1, 2, 3
IPPROTO_TCP, IPPROTO_UDP, PROTOCOL_OTHER = 6, 17, 255

# The types of C, by their character in the module struct. A field without one of them is what follows the record.
U64 = Annotated[int, "Q"]
U32 = Annotated[int, "I"]
U16 = Annotated[int, "H"]
U8 = Annotated[int, "B"]
Bytes256 = Annotated[bytes, "256s"]
Bytes32 = Annotated[bytes, "32s"]
Bytes16 = Annotated[bytes, "16s"]
Bytes7 = Annotated[bytes, "7s"]
Bytes6 = Annotated[bytes, "6s"]
Bytes4 = Annotated[bytes, "4s"]
Bytes3 = Annotated[bytes, "3s"]


def codes(record: type[Struct]) -> dict[str, str]:
    """The character in the module struct of each declared field, but for what follows the record."""
    hints = {
        name: hint if name in record.__struct_fields__ else get_args(hint)[0]  # of a ClassVar
        for name, hint in record.__annotations__.items()
    }
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


def layout(record: type[Struct], only: tuple[str, ...] = ()) -> struct.Struct:
    """What unpacks the fields of a record, or `only` some, in the order in which they are declared.

    A ClassVar takes its place but is not read: it is the kernel's own. Alignment is natural, as in abi.h.
    """
    parts = []
    for name, code in codes(record).items():
        if name in (only or record.__struct_fields__):
            parts.append(code)
        else:
            parts.append(f"{'' if code.endswith('s') else '0' + code}{struct.calcsize(code)}x")
    return struct.Struct(f"@{''.join(parts)}0Q")  # every record begins with 64 bits, so it ends on a multiple of them


class ProcessKey(Struct, frozen=True, gc=False):
    """Identity of a process: pids are reused, a pid with its start time is not."""

    pid: int
    start_boot_ns: int


class SocketRecord(Struct, frozen=True, gc=False):
    """`struct socket_record`: a socket at its end, or as a pass found it."""

    time_ns: U64
    socket: U64
    owner_start_boot_ns: U64
    owner_pid: U32
    owner_uid: U32
    owner_comm: Bytes16
    seen_ns: U64
    opened_ns: U64
    established_ns: U64
    closing_ns: U64
    closing_on_ns: U64
    kept_tx_bytes: U64
    kept_rx_bytes: U64
    kept_tx_packets: ClassVar[U64]
    kept_rx_packets: ClassVar[U64]
    others_tx_bytes: U64
    others_rx_bytes: U64
    reported_sum: ClassVar[U64]
    netns: U32
    family: U16
    local_port: U16
    remote_port: U16
    protocol: U8
    owner_certainty: U8
    flags: U8
    reported_state: ClassVar[U8]
    reported_owner: ClassVar[U8]
    dropped: U8
    pad: ClassVar[Bytes4]
    kept_dropped: ClassVar[U32]
    held_scan: ClassVar[U32]
    unlisted_queries: U32
    unlisted_answered: U32
    unlisted_failed: U32
    local_address: Bytes16
    remote_address: Bytes16
    tx_bytes: U64
    rx_bytes: U64
    tx_packets: U64
    rx_packets: U64
    srtt_us8: U32
    retransmits: U32
    error: U32
    rx_dropped: U32
    state: U8
    owned: U8
    closed: U8
    peer_closed: U8
    unsent: U8
    database: U8
    spoke_ns: U64
    answers_ns: U64
    asked: U32
    slowest_us: U32
    answers_us: Bytes16
    unread_bytes: U32
    unacked_bytes: U32
    unsent_bytes: U32
    window_bytes: U32
    mss_bytes: U32
    cwnd: U32
    ssthresh: U32
    out_of_order: U32
    busy_jiffies: U32
    rwnd_jiffies: U32
    sndbuf_jiffies: U32
    for_jiffies: U32
    asker: U8
    speaker: U8
    sending: U8
    retries: U8
    backoff: U8
    requester: U8
    request_waits: ClassVar[U8]
    http2: U8
    requests: U32
    responses: U32
    failed_4xx: U32
    failed_5xx: U32
    slowest_request_us: U32
    requests_unlisted: U32

    # What a listener has instead of counters, as in abi.h.

    @property
    def listener_group(self) -> int:
        """Kernel address of its group of SO_REUSEPORT; 0: none."""
        return self.tx_bytes

    @property
    def listener_queue_limit(self) -> int:
        """Connections; one more fits."""
        return self.rx_bytes

    @property
    def listener_queue(self) -> int:
        """Connections that wait for accept()."""
        return self.srtt_us8

    @property
    def listener_syn_queue(self) -> int:
        """Handshakes under way."""
        return self.retransmits

    @property
    def listener_kept_dropped(self) -> int:
        """`rx_dropped`, before the entry was made."""
        return self.error


class HolderRecord(Struct, frozen=True, gc=False):
    """`struct holder_record`: a process holds a listener."""

    socket: U64
    seen_ns: U64
    holder_start_boot_ns: U64
    holder_pid: U32
    holder_uid: U32
    holder_comm: Bytes16


class DnsLookup(Struct, frozen=True, gc=False):
    """`struct dns_lookup`: the look-up that sent a query; LookupRecord has the same two."""

    time_ns: U64
    thread: U32
    pad: ClassVar[U32]


class DnsPacket(Struct, frozen=True, gc=False):
    """`struct dns_packet`, and the payload that was captured of the message or TCP segment."""

    time_ns: U64
    socket_cookie: U64
    owner_start_boot_ns: U64
    owner_pid: U32
    owner_uid: U32
    owner_comm: Bytes16
    netns: U32
    tcp_seq: U32
    payload_bytes: U32
    captured_bytes: U32
    payload_offset: U16
    client_port: U16
    server_port: U16
    txid: U16
    query: U8
    kind: U8
    protocol: U8
    ip_version: U8
    has_lookup: U8
    pad: ClassVar[U8]
    via_port: U16
    client_address: Bytes16
    server_address: Bytes16
    via_address: Bytes16
    payload: bytes  # follows, as far as it was captured
    lookup: DnsLookup | None = None  # before it, with --lookups


class HttpHead(Struct, frozen=True, gc=False):
    """`struct http_head`: the first bytes of a message of HTTP/1 or TLS; what came before it is in `prefix`."""

    time_ns: U64
    socket: U64
    seen_ns: U64
    owner_start_boot_ns: U64
    owner_pid: U32
    owner_uid: U32
    owner_comm: Bytes16
    netns: U32
    seq: U32
    number: U32
    payload_bytes: U32
    captured_bytes: U32
    payload_offset: U16
    family: U16
    local_port: U16
    remote_port: U16
    kind: U8
    egress: U8
    owner_certainty: U8
    requests: U8
    prefix_bytes: U8
    http2: U8
    pad: ClassVar[Bytes6]
    prefix: Bytes16
    local_address: Bytes16
    remote_address: Bytes16
    payload: bytes  # follows, as far as it was captured


class ProcessEvent(Struct, frozen=True, gc=False):
    """`struct process_event`: an exec with its arguments, the exit of a whole process, or a cgroup with its path."""

    time_ns: U64
    owner_start_boot_ns: U64
    owner_pid: U32
    owner_uid: U32
    owner_comm: Bytes16
    cgroup: U64
    cgroup_v1: U64
    kind: U32
    arguments_bytes: U32
    arguments: bytes  # follow


class LookupRecord(Struct, frozen=True, gc=False):
    """`struct lookup_record`: a look-up that has ended, or (LOOKUP_OPEN) goes on: see bpf/abi.h."""

    time_ns: U64
    owner_start_boot_ns: U64
    owner_pid: U32
    owner_uid: U32
    owner_comm: Bytes16
    lasted_ns: U64
    thread: U32
    netns: U32
    result: U32
    queries: U32
    function: U8
    end: U8
    found: U8
    found_more: U8
    listed: U8
    pad: ClassVar[Bytes3]
    name: Bytes256
    addresses: Bytes256


class LibraryRecord(Struct, frozen=True, gc=False):
    """`struct library_record`: a process has the code of a C library mapped."""

    inode: U64
    begins: U64
    ends: U64
    owner_start_boot_ns: U64
    owner_pid: U32
    owner_uid: U32
    owner_comm: Bytes16
    device: U32
    file_system: U32
    executable: U8
    pad: ClassVar[Bytes7]
    name: Bytes32


class UnlistedKey(Struct, frozen=True, gc=False):
    """`struct unlisted_key`."""

    start_boot_ns: U64
    pid: U32
    netns: U32
    generation: U32
    port: U16
    family: U16


class Unlisted(Struct, frozen=True, gc=False):
    """`struct unlisted`: the sockets of a process that were counted instead of being listed."""

    owner_start_boot_ns: U64
    owner_pid: U32
    owner_uid: U32
    owner_comm: Bytes16
    queries: U64
    answered: U64
    failed: U64
    udp_tx_bytes: U64
    udp_rx_bytes: U64
    udp_rx_dropped: U64
    opened: U64
    accepted: U64
    tcp_tx_bytes: U64
    tcp_rx_bytes: U64
    retransmits: U64
    asked: U64
    was_asked: U64
    failed_connects: U64
    requests: U64
    requests_failed: U64
    requests_failed_4xx: U64
    requests_failed_5xx: U64
    served: U64
    served_failed: U64
    served_failed_4xx: U64
    served_failed_5xx: U64


class DropKey(Struct, frozen=True, gc=False):
    """`struct drop_key`: one kind of thing that happened to packets of one socket, or (with its pid) one process."""

    socket: U64
    seen_ns: U64
    reason: U32
    kind: U32
    generation: U64


class DropCount(Struct, frozen=True, gc=False):
    """`struct drop_count`: how often that was, and who has the socket."""

    owner_start_boot_ns: U64
    owner_pid: U32
    owner_uid: U32
    owner_comm: Bytes16
    packets: U64
    netns: U32


class StrayKey(Struct, frozen=True, gc=False):
    """`struct stray_key`: the same of packets that no known socket has, by far end."""

    remote_address: Bytes16
    netns: U32
    reason: U32
    kind: U8
    ip_version: U8
    pad: ClassVar[Bytes6]
    generation: U64


class UdpFlowKey(Struct, frozen=True, gc=False):
    """`struct udp_flow_key`."""

    socket: U64
    seen_ns: U64
    address: Bytes16
    port: U16
    pad: ClassVar[Bytes6]


class UdpFlow(Struct, frozen=True, gc=False):
    """`struct udp_flow`: what a socket exchanged with another remote end than that of its record."""

    tx_bytes: U64
    rx_bytes: U64
    tx_packets: U64
    rx_packets: U64


class PacketSource(Struct, frozen=True, gc=False):
    """`struct packet_source`."""

    netns: U32
    ifindex: U32
    address: Bytes16


class SourcePackets(Struct, frozen=True, gc=False):
    """`struct source_packets`: what an interface received from an address."""

    packets: U64
    bytes: U64
    syns: U64
    interface: Bytes16


class BlockKey(Struct, frozen=True, gc=False):
    """`struct block_key`: what is blocked, by --allow-cut."""

    id: U64
    kind: U32
    number: U32
    address: Bytes16


class Block(Struct, frozen=True, gc=False):
    """`struct block`: until when, and how often something was refused."""

    until_ns: U64
    refused: U64


class Closing(Struct, frozen=True, gc=False):
    """`struct closing`: a connection that is to be ended, and what came of it."""

    socket: U64
    seen_ns: U64
    verdict: U64


class SpilledHead(Struct, frozen=True, gc=False):
    """`struct spilled_head`: in front of a record that found no room in its perf buffer."""

    buffer: U64


SOCKET_RECORD = layout(SocketRecord)
HOLDER_RECORD = layout(HolderRecord)
_SOCKET_KEY = layout(SocketRecord, only=("socket", "seen_ns"))
DNS_PACKET = layout(DnsPacket)
DNS_LOOKUP = layout(DnsLookup)
_CAPTURED_BYTES, _PAYLOAD_OFFSET, _HAS_LOOKUP = map(
    DnsPacket.__struct_fields__.index, ("captured_bytes", "payload_offset", "has_lookup")
)
HTTP_HEAD = layout(HttpHead)
_HEAD_CAPTURED_BYTES, _HEAD_PAYLOAD_OFFSET = map(HttpHead.__struct_fields__.index, ("captured_bytes", "payload_offset"))
PROCESS_EVENT = layout(ProcessEvent)
UNLISTED_KEY = layout(UnlistedKey)
UNLISTED = layout(Unlisted)
DROP_KEY = layout(DropKey)
DROP_COUNT = layout(DropCount)
STRAY_KEY = layout(StrayKey)
SPILLED_HEAD = layout(SpilledHead)
UDP_FLOW_KEY, UDP_FLOW = layout(UdpFlowKey), layout(UdpFlow)
PACKET_SOURCE, SOURCE_PACKETS = layout(PacketSource), layout(SourcePackets)
BLOCK_KEY, BLOCK, CLOSING = layout(BlockKey), layout(Block), layout(Closing)

LOOKUP_RECORD = layout(LookupRecord)
OPEN_LOOKUP = struct.Struct(
    f"@{OPEN_LOOKUP_HEAD_BYTES}x{LOOKUP_RECORD.format[1:]}"
)  # a value of the map `open_lookups`
LIBRARY_RECORD = layout(LibraryRecord)
# key and value of the map `tls_sessions`, as bpf/plaintext.c has them: what follows `seen_ns` is only its own
TLS_SESSION_KEY, TLS_SESSION = struct.Struct("=8xQI4x"), struct.Struct("=8xQQ72x")

KernelRecord = SocketRecord | DnsPacket | HttpHead | ProcessEvent | LookupRecord


class RawRecord(Struct, frozen=True, gc=False):
    """A record of a perf buffer as it was copied out: a fifth of the memory that it takes decoded."""

    time_ns: int  # with which every record begins
    decode: Callable[[bytes], KernelRecord]
    raw: bytes

    @property
    def ended_socket(self) -> tuple[int, int] | None:
        """The socket and its `seen_ns` if it is the end of one."""
        return _SOCKET_KEY.unpack_from(_whole(self.raw)) if self.decode is decode_socket else None


def decode_socket(raw: bytes) -> SocketRecord:
    """One record of tcp_events or udp_events."""
    return SocketRecord(*SOCKET_RECORD.unpack_from(_whole(raw)))


def _whole(raw: bytes) -> bytes:
    """The record of a socket: those in udp_events end before what only TCP has."""
    return raw.ljust(SOCKET_RECORD.size, b"\0")


def decode_sockets(raw: bytes) -> list[SocketRecord]:
    """What a pass over the sockets wrote: records back to back."""
    return list(itertools.starmap(SocketRecord, SOCKET_RECORD.iter_unpack(raw)))


def decode_holders(raw: bytes) -> list[HolderRecord]:
    """What a scan of the open files wrote."""
    return list(itertools.starmap(HolderRecord, HOLDER_RECORD.iter_unpack(raw)))


def decode_dns(raw: bytes) -> DnsPacket:
    """One record of dns_events. The perf buffer pads records, so the lengths bound the payload."""
    fields = DNS_PACKET.unpack_from(raw)
    captured_bytes, payload_offset = fields[_CAPTURED_BYTES], fields[_PAYLOAD_OFFSET]
    start = DNS_PACKET.size + payload_offset
    lookup = None
    if fields[_HAS_LOOKUP]:
        start += DNS_LOOKUP.size
        lookup = DnsLookup(*DNS_LOOKUP.unpack_from(raw, DNS_PACKET.size))
    return DnsPacket(*(*fields, raw[start : start + captured_bytes], lookup))


def decode_http(raw: bytes) -> HttpHead:
    """One record of http_events; see decode_dns()."""
    fields = HTTP_HEAD.unpack_from(raw)
    captured_bytes, payload_offset = fields[_HEAD_CAPTURED_BYTES], fields[_HEAD_PAYLOAD_OFFSET]
    start = HTTP_HEAD.size + payload_offset
    return HttpHead(*(*fields, raw[start : start + captured_bytes]))


def decode_process(raw: bytes) -> ProcessEvent:
    """One record of process_events."""
    fields = PROCESS_EVENT.unpack_from(raw)
    return ProcessEvent(*(*fields, raw[PROCESS_EVENT.size : PROCESS_EVENT.size + fields[-1]]))


def decode_lookup(raw: bytes) -> LookupRecord:
    """One record of lookup_events."""
    return LookupRecord(*LOOKUP_RECORD.unpack_from(raw))


def decode_open_lookup(raw: bytes) -> LookupRecord:
    """One value of the map `open_lookups`."""
    return LookupRecord(*OPEN_LOOKUP.unpack(raw))


class TlsSession(NamedTuple):
    """A session of a TLS library of which a call was seen, and the socket that it uses (address, seen_ns), if known."""

    process: ProcessKey
    socket: tuple[int, int] | None


def decode_tls_session(key: bytes, value: bytes) -> TlsSession:
    """One element of the map `tls_sessions`."""
    start_boot_ns, pid = TLS_SESSION_KEY.unpack(key)
    socket, seen_ns = TLS_SESSION.unpack(value)
    return TlsSession(ProcessKey(pid, start_boot_ns), (socket, seen_ns) if socket else None)


def decode_libraries(raw: bytes) -> list[LibraryRecord]:
    """What the iterator over mappings wrote."""
    return list(itertools.starmap(LibraryRecord, LIBRARY_RECORD.iter_unpack(raw)))


# Index into the array `losses`, and the mark of a buffer's records in `spilled`.
LOST_TCP_EVENTS, LOST_UDP_EVENTS, LOST_DNS_EVENTS, LOST_PROCESS_EVENTS, LOST_HTTP_EVENTS = 0, 1, 2, 3, 4
SOCKETS_MAP_FULL, UDP_UNATTRIBUTED_BYTES, OLDER_WITHOUT_ROOM = 5, 6, 7
DNS_UNASKED, DNS_REPEATS, DNS_LEFT_OUT, DNS_QUESTIONS_PUSHED_OUT = 8, 9, 10, 11
DROPS_WITHOUT_ROOM, TURNS_WITHOUT_ROOM, PACKETS_WITHOUT_HOST, HANDSHAKES_LEFT_OUT = 12, 13, 14, 15
REQUESTS_UNLISTED, REQUESTS_UNLISTED_APART, REQUESTS_UNLISTED_CPUS = 16, 8, 16
LOST_LOOKUP_EVENTS, LOOKUPS_UNLISTED, LOOKUPS_WITHOUT_ROOM = 144, 145, 146
TLS_CALLS_WITHOUT_ROOM, TLS_HTTP2_SESSIONS = 147, 148
LOSS_COUNTERS = 149

# Index into the array `controls`.
PASS, GENERATION, QUERY_INTERVAL_NS, END_INTERVAL_NS, LISTED_AT_ONCE = 0, 1, 2, 3, 4
SCAN, PIDS_HIERARCHY, SCOPE_CGROUPS, REQUEST_INTERVAL_NS, CONTROLS = 5, 6, 7, 8, 9
PASS_CHANGED, PASS_ALL = 1, 2
