"""Python's view of bpf/abi.h: the layouts, and typed records decoded from them. tests/abi compares both sides."""

import itertools
import struct
from collections.abc import Callable

from msgspec import Struct

OWNER_UNKNOWN, OWNER_SCANNED, OWNER_EXACT = 0, 1, 2
SOCKET_OUTBOUND, SOCKET_INBOUND, SOCKET_OLD, SOCKET_LISTENER, SOCKET_SHARED = 1, 2, 4, 8, 16
PROCESS_EXEC, PROCESS_EXIT, PROCESS_EXEC_CUT = 1, 2, 3
DNS_MESSAGE, DNS_REFUSED, DNS_ANSWER_DROPPED = 0, 1, 2
EXEC_ARGUMENT_BYTES = 512

_PROCESS_ID = "QII16s"
_SOCKET_ENTRY = _PROCESS_ID + "QQQQQ8x4xIHHHBBB2xx8xIII16s16s"

SOCKET_RECORD = struct.Struct("=QQ" + _SOCKET_ENTRY + "QQIIIIBBB5x")
_SOCKET_KEY = struct.Struct("=8xQ32xQ")  # of SOCKET_RECORD the socket and its seen_ns
DNS_PACKET = struct.Struct("=QQ" + _PROCESS_ID + "IIIIHHHHBBBB4x16s16s")
PROCESS_EVENT = struct.Struct("=Q" + _PROCESS_ID + "II")
SPILLED_HEAD = struct.Struct("=Q")
UNLISTED_KEY = struct.Struct("=QIIQ")
UNLISTED = struct.Struct("=" + _PROCESS_ID + "11Q")


class ProcessKey(Struct, frozen=True, gc=False):
    """Identity of a process: pids are reused, a pid with its start time is not."""

    pid: int
    start_boot_ns: int


class SocketRecord(Struct, frozen=True, gc=False):
    """`struct socket_record`: a socket at its end, or as the iterator found it."""

    time_ns: int
    socket: int
    owner_start_boot_ns: int
    owner_pid: int
    owner_uid: int
    owner_comm: bytes
    seen_ns: int
    opened_ns: int
    established_ns: int
    kept_tx_bytes: int
    kept_rx_bytes: int
    netns: int
    family: int
    local_port: int
    remote_port: int
    protocol: int
    owner_certainty: int
    flags: int
    unlisted_queries: int
    unlisted_answered: int
    unlisted_failed: int
    local_address: bytes
    remote_address: bytes
    tx_bytes: int
    rx_bytes: int
    srtt_us8: int
    retransmits: int
    error: int
    rx_dropped: int
    state: int
    owned: int
    closed: int


class DnsPacket(Struct, frozen=True, gc=False):
    """`struct dns_packet`, and the payload that was captured of the message or TCP segment."""

    time_ns: int
    socket_cookie: int
    owner_start_boot_ns: int
    owner_pid: int
    owner_uid: int
    owner_comm: bytes
    netns: int
    tcp_seq: int
    payload_bytes: int
    captured_bytes: int
    payload_offset: int
    client_port: int
    server_port: int
    txid: int
    query: int
    kind: int
    protocol: int
    ip_version: int
    client_address: bytes
    server_address: bytes
    payload: bytes


class ProcessEvent(Struct, frozen=True, gc=False):
    """`struct process_event`: an exec with its arguments, or the exit of a whole process."""

    time_ns: int
    owner_start_boot_ns: int
    owner_pid: int
    owner_uid: int
    owner_comm: bytes
    kind: int
    arguments: bytes


class UnlistedKey(Struct, frozen=True, gc=False):
    """`struct unlisted_key`."""

    start_boot_ns: int
    pid: int
    netns: int
    generation: int


class Unlisted(Struct, frozen=True, gc=False):
    """`struct unlisted`: the sockets of a process that were counted instead of being listed."""

    owner_start_boot_ns: int
    owner_pid: int
    owner_uid: int
    owner_comm: bytes
    queries: int
    answered: int
    failed: int
    udp_tx_bytes: int
    udp_rx_bytes: int
    udp_rx_dropped: int
    opened: int
    accepted: int
    tcp_tx_bytes: int
    tcp_rx_bytes: int
    retransmits: int


KernelRecord = SocketRecord | DnsPacket | ProcessEvent


class RawRecord(Struct, frozen=True, gc=False):
    """A record of a perf buffer as it was copied out: a fifth of the memory that it takes decoded."""

    time_ns: int  # with which every record begins
    decode: Callable[[bytes], KernelRecord]
    raw: bytes

    @property
    def ended_socket(self) -> tuple[int, int] | None:
        """The socket and its `seen_ns` if it is the end of one."""
        return _SOCKET_KEY.unpack_from(self.raw) if self.decode is decode_socket else None


def decode_socket(raw: bytes) -> SocketRecord:
    """One record of tcp_events or udp_events."""
    return SocketRecord(*SOCKET_RECORD.unpack_from(raw))


def decode_sockets(raw: bytes) -> list[SocketRecord]:
    """What a pass of the map iterator wrote: records back to back."""
    return list(itertools.starmap(SocketRecord, SOCKET_RECORD.iter_unpack(raw)))


def decode_dns(raw: bytes) -> DnsPacket:
    """One record of dns_events. The perf buffer pads records, so the lengths bound the payload."""
    fields = DNS_PACKET.unpack_from(raw)
    captured_bytes, payload_offset = fields[9], fields[10]
    start = DNS_PACKET.size + payload_offset
    return DnsPacket(*(*fields, raw[start : start + captured_bytes]))


def decode_process(raw: bytes) -> ProcessEvent:
    """One record of process_events."""
    *fields, arguments_bytes = PROCESS_EVENT.unpack_from(raw)
    return ProcessEvent(*(*fields, raw[PROCESS_EVENT.size : PROCESS_EVENT.size + arguments_bytes]))


# Index into the array `losses`, and the mark of a buffer's records in `spilled`.
LOST_TCP_EVENTS, LOST_UDP_EVENTS, LOST_DNS_EVENTS, LOST_PROCESS_EVENTS = 0, 1, 2, 3
SOCKETS_MAP_FULL, UDP_UNATTRIBUTED_BYTES, OLDER_WITHOUT_ROOM = 4, 5, 6
DNS_UNASKED, DNS_REPEATS, DNS_LEFT_OUT, DNS_QUESTIONS_PUSHED_OUT, LOSS_COUNTERS = 7, 8, 9, 10, 11

# Index into the array `controls`.
PASS, GENERATION, QUERY_INTERVAL_NS, END_INTERVAL_NS, LISTED_AT_ONCE = 0, 1, 2, 3, 4
SCAN, CONTROLS = 5, 6
PASS_CHANGED, PASS_ALL = 1, 2
