"""Kernel records, rows and events with plausible values, of which a test names only what it is about."""

import re
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

from nettop.kernel import abi
from nettop.kernel.abi import DnsPacket, HttpHead, LookupRecord, ProcessEvent, ProcessKey, SocketRecord
from nettop.model import events, rows
from nettop.tracking.clock import Clock

BASE = datetime(2026, 3, 1, 12, 0, 0, 123_457, tzinfo=UTC)
CLOCK = Clock(monotonic_offset_ns=1_772_366_400_123_457_000, boot_offset_ns=1_772_366_300_100_000_000)
"""Monotonic 0 is BASE; boot time 0 is some 100 s earlier."""

SECOND_NS = 1_000_000_000
NETNS = 4_026_531_840
CURL = ProcessKey(4242, 77_000_000_000)
NGINX = ProcessKey(900, 5_000_000_000)
CLIENT_ADDRESS, SERVER_ADDRESS = "192.0.2.10", "198.51.100.7"


def at(seconds: float) -> datetime:
    """A moment so many seconds after BASE."""
    return BASE + timedelta(seconds=seconds)


def ns(seconds: float) -> int:
    """The same moment as the kernel's monotonic clock has it."""
    return round(seconds * SECOND_NS)


def packed(address: str) -> bytes:
    """An address as `abi.h` keeps it: 16 bytes, IPv4 in the first four."""
    if ":" in address:
        return socket.inet_pton(socket.AF_INET6, address)
    return socket.inet_pton(socket.AF_INET, address) + bytes(12)


def comm(name: str) -> bytes:
    """A comm as the kernel keeps it."""
    return name.encode().ljust(16, b"\0")


def socket_record(**changes: Any) -> SocketRecord:
    """An established outbound TCP connection of curl, opened at 1 s, as the iterator finds it at 2 s."""
    fields: dict[str, Any] = {
        "time_ns": ns(2),
        "socket": 0xFFFF_8880_0000_1000,
        "owner_start_boot_ns": CURL.start_boot_ns,
        "owner_pid": CURL.pid,
        "owner_uid": 1000,
        "owner_comm": comm("curl"),
        "seen_ns": ns(1),
        "opened_ns": ns(1),
        "established_ns": ns(1.025),
        "closing_ns": 0,
        "closing_on_ns": 0,
        "kept_tx_bytes": 0,
        "kept_rx_bytes": 0,
        "others_tx_bytes": 0,
        "others_rx_bytes": 0,
        "netns": NETNS,
        "family": socket.AF_INET,
        "local_port": 40_000,
        "remote_port": 443,
        "protocol": 6,
        "owner_certainty": abi.OWNER_EXACT,
        "flags": abi.SOCKET_OUTBOUND,
        "dropped": 0,
        "unlisted_queries": 0,
        "unlisted_answered": 0,
        "unlisted_failed": 0,
        "local_address": packed(CLIENT_ADDRESS),
        "remote_address": packed(SERVER_ADDRESS),
        "tx_bytes": 0,
        "rx_bytes": 0,
        "tx_packets": 0,
        "rx_packets": 0,
        "srtt_us8": 0,
        "retransmits": 0,
        "error": 0,
        "rx_dropped": 0,
        "spoke_ns": 0,
        "answers_ns": 0,
        "asked": 0,
        "slowest_us": 0,
        "answers_us": bytes(16),
        "unread_bytes": 0,
        "unacked_bytes": 0,
        "unsent_bytes": 0,
        "window_bytes": 65_536,
        "mss_bytes": 1448,
        "cwnd": 10,
        "ssthresh": 0x7FFF_FFFF,
        "out_of_order": 0,
        "busy_jiffies": 0,
        "rwnd_jiffies": 0,
        "sndbuf_jiffies": 0,
        "for_jiffies": 0,
        "state": 1,
        "owned": 0,
        "closed": 0,
        "unsent": 0,
        "peer_closed": 0,
        "asker": abi.SPEAKER_NOBODY,
        "speaker": abi.SPEAKER_NOBODY,
        "sending": abi.SENDING_UNKNOWN,
        "retries": 0,
        "backoff": 0,
        "requester": abi.SPEAKER_NOBODY,
        "http2": 0,
        "requests": 0,
        "responses": 0,
        "database": 0,
        "failed_4xx": 0,
        "failed_5xx": 0,
        "slowest_request_us": 0,
        "requests_unlisted": 0,
    }
    assert changes.keys() <= fields.keys()
    return SocketRecord(**(fields | changes))


_ESCAPE = re.compile(r"\\\\|\\x(?P<byte>[0-9a-f]{2})|\\u\{(?P<code>[0-9a-f]+)\}|.", re.DOTALL)


def bytes_of(text: str) -> bytes:
    """The bytes that nettop.text.printable() made this text of."""

    def raw(escape: re.Match[str]) -> bytes:
        if escape["byte"]:
            return bytes([int(escape["byte"], 16)])
        if escape["code"]:
            return chr(int(escape["code"], 16)).encode()
        return escape[0].removeprefix("\\").encode() if escape[0] != "\\\\" else b"\\"

    return b"".join(map(raw, _ESCAPE.finditer(text)))


def without_owner(**changes: Any) -> dict[str, Any]:
    """The fields of a socket of which nobody is known to be the owner."""
    return {
        "owner_start_boot_ns": 0,
        "owner_pid": 0,
        "owner_uid": 0,
        "owner_comm": bytes(16),
        "owner_certainty": abi.OWNER_UNKNOWN,
        **changes,
    }


def accepted_record(**changes: Any) -> SocketRecord:
    """A connection that came in on port 80, whose owner is not known."""
    return socket_record(
        **without_owner(flags=abi.SOCKET_INBOUND, established_ns=ns(1), local_port=80, remote_port=50_000) | changes
    )


def listener_record(**changes: Any) -> SocketRecord:
    """A socket of nginx listening on every IPv4 address, port 80."""
    fields: dict[str, Any] = {
        "socket": 0xFFFF_8880_0000_2000,
        "owner_start_boot_ns": NGINX.start_boot_ns,
        "owner_pid": NGINX.pid,
        "owner_uid": 33,
        "owner_comm": comm("nginx"),
        "established_ns": 0,
        "local_port": 80,
        "remote_port": 0,
        "flags": abi.SOCKET_LISTENER,
        "local_address": bytes(16),
        "remote_address": bytes(16),
        "state": 10,
    }
    return socket_record(**fields | changes)


def drop(**changes: Any) -> tuple[abi.DropKey, abi.DropCount]:
    """Two packets of the connection of socket_record() that a firewall dropped."""
    key: dict[str, Any] = {
        "socket": 0xFFFF_8880_0000_1000,
        "seen_ns": ns(1),
        "reason": 12,
        "kind": abi.PACKET_DROPPED,
        "generation": 0,
    }
    count: dict[str, Any] = {
        "owner_start_boot_ns": CURL.start_boot_ns,
        "owner_pid": CURL.pid,
        "owner_uid": 1000,
        "owner_comm": comm("curl"),
        "packets": 2,
        "netns": NETNS,
    }
    assert changes.keys() <= key.keys() | count.keys()
    return (
        abi.DropKey(**{name: changes.get(name, value) for name, value in key.items()}),
        abi.DropCount(**{name: changes.get(name, value) for name, value in count.items()}),
    )


def stray(packets: int = 3, **changes: Any) -> tuple[abi.StrayKey, int]:
    """Datagrams from afar to a port where nobody is."""
    fields: dict[str, Any] = {
        "remote_address": packed(SERVER_ADDRESS),
        "netns": NETNS,
        "reason": 3,
        "kind": abi.PACKET_DROPPED,
        "ip_version": 4,
        "generation": 0,
    }
    return abi.StrayKey(**fields | changes), packets


def udp_record(**changes: Any) -> SocketRecord:
    """A UDP socket of curl."""
    return socket_record(
        **{
            "protocol": 17,
            "flags": 0,
            "opened_ns": 0,
            "established_ns": 0,
            "local_port": 0,
            "remote_port": 0,
            "local_address": bytes(16),
            "remote_address": bytes(16),
            **changes,
        }
    )


def dns_packet(payload: bytes, seconds: float = 1.0, **changes: Any) -> DnsPacket:
    """A DNS query of curl over UDP, sent so many seconds after BASE."""
    fields: dict[str, Any] = {
        "time_ns": ns(seconds),
        "socket_cookie": 7001,
        "owner_start_boot_ns": CURL.start_boot_ns,
        "owner_pid": CURL.pid,
        "owner_uid": 1000,
        "owner_comm": comm("curl"),
        "netns": NETNS,
        "tcp_seq": 0,
        "payload_bytes": len(payload),
        "captured_bytes": len(payload),
        "payload_offset": 28,
        "client_port": 33_333,
        "server_port": 53,
        "txid": 0,
        "query": 1,
        "kind": abi.DNS_MESSAGE,
        "protocol": 17,
        "ip_version": 4,
        "client_address": packed(CLIENT_ADDRESS),
        "server_address": packed("192.0.2.53"),
        "has_lookup": 0,
        "via_port": 0,
        "via_address": bytes(16),
        "payload": payload,
        "lookup": None,
    }
    assert changes.keys() <= fields.keys()
    return DnsPacket(**(fields | changes))


def lookup_record(name: str = "www.example.com", seconds: float = 1.0, *found: str, **changes: Any) -> LookupRecord:
    """A look-up of curl by getaddrinfo() that began so many seconds after BASE and took 20 ms, and what it found."""
    addresses = b"".join(packed(address) if ":" in address else mapped(address) for address in found)
    fields: dict[str, Any] = {
        "time_ns": ns(seconds),
        "owner_start_boot_ns": CURL.start_boot_ns,
        "owner_pid": CURL.pid,
        "owner_uid": 1000,
        "owner_comm": comm("curl"),
        "lasted_ns": 20_000_000,
        "thread": CURL.pid,
        "netns": NETNS,
        "result": 0,
        "queries": 0,
        "function": abi.LOOKUP_GETADDRINFO,
        "end": abi.LOOKUP_RETURNED,
        "found": len(found),
        "found_more": 0,
        "listed": 0,
        "name": name.encode().ljust(abi.LOOKUP_NAME_BYTES, b"\0"),
        "addresses": addresses.ljust(abi.LOOKUP_ADDRESSES_BYTES, b"\0"),
    }
    assert changes.keys() <= fields.keys()
    return LookupRecord(**(fields | changes))


def mapped(address: str) -> bytes:
    """An IPv4 address as IPv4-mapped IPv6."""
    return bytes(10) + b"\xff\xff" + socket.inet_pton(socket.AF_INET, address)


def http_head(payload: bytes, seconds: float = 1.0, **changes: Any) -> HttpHead:
    """The head of a request of curl on the connection of socket_record()."""
    fields: dict[str, Any] = {
        "time_ns": ns(seconds),
        "socket": 0xFFFF_8880_0000_1000,
        "seen_ns": ns(1),
        "owner_start_boot_ns": CURL.start_boot_ns,
        "owner_pid": CURL.pid,
        "owner_uid": 1000,
        "owner_comm": comm("curl"),
        "netns": NETNS,
        "seq": 1,
        "number": 0,
        "payload_bytes": len(payload),
        "captured_bytes": len(payload),
        "payload_offset": 52,
        "family": 2,
        "local_port": 40_000,
        "remote_port": 443,
        "kind": abi.HTTP_REQUEST,
        "egress": 1,
        "owner_certainty": abi.OWNER_EXACT,
        "requests": 1,
        "prefix_bytes": 0,
        "http2": 0,
        "prefix": bytes(16),
        "local_address": packed(CLIENT_ADDRESS),
        "remote_address": packed(SERVER_ADDRESS),
        "payload": payload,
    }
    assert changes.keys() <= fields.keys()
    return HttpHead(**(fields | changes))


def dns_answer(payload: bytes, seconds: float = 1.1, **changes: Any) -> DnsPacket:
    """What comes back to the socket of dns_packet(): the kernel names no owner in answers."""
    fields: dict[str, Any] = {
        "query": 0,
        "owner_start_boot_ns": 0,
        "owner_pid": 0,
        "owner_uid": 0,
        "owner_comm": bytes(16),
    }
    return dns_packet(payload, seconds, **fields | changes)


def process_event(kind: int, seconds: float = 1.0, **changes: Any) -> ProcessEvent:
    """An exec or the exit of curl."""
    fields: dict[str, Any] = {
        "time_ns": ns(seconds),
        "owner_start_boot_ns": CURL.start_boot_ns,
        "owner_pid": CURL.pid,
        "owner_uid": 1000,
        "owner_comm": comm("curl"),
        "cgroup": 0,
        "cgroup_v1": 0,
        "kind": kind,
        "arguments_bytes": len(changes.get("arguments", b"")),
        "arguments": b"",
    }
    assert changes.keys() <= fields.keys()
    return ProcessEvent(**(fields | changes))


def identity(**changes: Any) -> rows.ProcessIdentity:
    """The process curl as its row."""
    fields: dict[str, Any] = {
        "pid": CURL.pid,
        "start_time": CLOCK.wall_of_boot(CURL.start_boot_ns),
        "comm": "curl",
        "cmdline": ("curl", "https://example.com/"),
        "uid": 1000,
        "user": "ada",
        "parent_pid": 4000,
        "cgroup": "/user.slice",
        "netns": NETNS,
        "first_seen": at(1),
    }
    return rows.ProcessIdentity(**fields | changes)


def process(**changes: Any) -> rows.Process:
    """The process curl with its totals."""
    first = {name: getattr(identity(), name) for name in rows.ProcessIdentity.__struct_fields__}
    return rows.Process(**first | changes)


def connection(**changes: Any) -> rows.Connection:
    """An established connection of curl."""
    fields: dict[str, Any] = {
        "id": 1,
        "pid": CURL.pid,
        "process_start_time": CLOCK.wall_of_boot(CURL.start_boot_ns),
        "comm": "curl",
        "owner": "exact",
        "netns": NETNS,
        "family": "ipv4",
        "direction": "outbound",
        "local": rows.Endpoint(address=CLIENT_ADDRESS, port=40_000),
        "remote": rows.RemoteEndpoint(address=SERVER_ADDRESS, port=443, name="www.example.com", name_source="process"),
        "state": "established",
        "opened_at": at(1),
        "opened_before_start": False,
        "connect_ms": 25.0,
    }
    return rows.Connection(**fields | changes)


def request(**changes: Any) -> rows.Request:
    """A request of curl on connection(), answered after 40 ms."""
    fields: dict[str, Any] = {
        "id": 1,
        "asked_at": at(1),
        "pid": CURL.pid,
        "process_start_time": CLOCK.wall_of_boot(CURL.start_boot_ns),
        "comm": "curl",
        "side": "client",
        "protocol": "http/1.1",
        "method": "GET",
        "host": "www.example.com",
        "path": "/users/17",
        "status": 200,
        "latency_ms": 40.0,
        "request_bytes": 80,
        "response_bytes": 1200,
        "connection_id": 1,
        "netns": NETNS,
        "remote": rows.RemoteEndpoint(address=SERVER_ADDRESS, port=443, name="www.example.com", name_source="process"),
    }
    return rows.Request(**fields | changes)


def lookup(**changes: Any) -> rows.Lookup:
    """A look-up of curl that found the server's address in 20 ms, by two DNS queries."""
    fields: dict[str, Any] = {
        "id": 1,
        "asked_at": at(1),
        "pid": CURL.pid,
        "process_start_time": CLOCK.wall_of_boot(CURL.start_boot_ns),
        "comm": "curl",
        "netns": NETNS,
        "function": "getaddrinfo",
        "name": "www.example.com",
        "status": "returned",
        "result": "OK",
        "latency_ms": 20.0,
        "addresses": (SERVER_ADDRESS,),
        "queries": 2,
    }
    return rows.Lookup(**fields | changes)


def listener(**changes: Any) -> rows.Listener:
    """nginx listening on every IPv4 address, port 80."""
    start_time = CLOCK.wall_of_boot(NGINX.start_boot_ns)
    fields: dict[str, Any] = {
        "id": 1,
        "pid": NGINX.pid,
        "process_start_time": start_time,
        "comm": "nginx",
        "owner": "exact",
        "holders": (rows.Holder(pid=NGINX.pid, process_start_time=start_time, comm="nginx"),),
        "netns": NETNS,
        "family": "ipv4",
        "address": "0.0.0.0",
        "port": 80,
        "queue_limit": 511,
        "accepted": 0,
        "open": 0,
        "opened_at": at(1),
        "opened_before_start": False,
    }
    return rows.Listener(**fields | changes)


def dns_query(**changes: Any) -> rows.DnsQuery:
    """A pending query of curl."""
    fields: dict[str, Any] = {
        "id": 1,
        "asked_at": at(1),
        "pid": CURL.pid,
        "process_start_time": CLOCK.wall_of_boot(CURL.start_boot_ns),
        "comm": "curl",
        "netns": NETNS,
        "transport": "udp",
        "client": rows.Endpoint(address=CLIENT_ADDRESS, port=33_333),
        "server": rows.Endpoint(address="192.0.2.53", port=53),
        "txid": 4660,
        "qname": "www.example.com",
        "qtype": "A",
    }
    return rows.DnsQuery(**fields | changes)


def answered(**changes: Any) -> rows.DnsQuery:
    """The same query with its answer."""
    fields: dict[str, Any] = {
        "status": "answered",
        "rcode": "NOERROR",
        "latency_ms": 12.5,
        "answers": (rows.Answer(name="www.example.com", type="A", ttl=60, data=SERVER_ADDRESS),),
        "response_bytes": 64,
    }
    return dns_query(**fields | changes)


def udp_socket(**changes: Any) -> rows.UdpFlow:
    """A UDP socket of curl."""
    fields: dict[str, Any] = {
        "id": 1,
        "pid": CURL.pid,
        "process_start_time": CLOCK.wall_of_boot(CURL.start_boot_ns),
        "comm": "curl",
        "netns": NETNS,
        "tx_bytes": 0,
        "rx_bytes": 0,
    }
    return rows.UdpFlow(**fields | changes)


def host_packets(**changes: Any) -> rows.HostPackets:
    """Packets that came from SERVER_ADDRESS."""
    fields: dict[str, Any] = {
        "netns": NETNS,
        "address": SERVER_ADDRESS,
        "ifindex": 2,
        "interface": "eth0",
        "packets": 10,
        "bytes": 1_000,
        "syns": 0,
    }
    return rows.HostPackets(**fields | changes)


def remote_host(**changes: Any) -> rows.RemoteHost:
    """The host that curl is connected to."""
    fields: dict[str, Any] = {
        "netns": NETNS,
        "address": SERVER_ADDRESS,
        "scope": "public",
        "name": "www.example.com",
        "name_source": "process",
        "pids": (CURL.pid,),
        "comms": ("curl",),
        "connections": 1,
    }
    return rows.RemoteHost(**fields | changes)


def other_socket(**changes: Any) -> rows.OtherSocket:
    """A raw socket of curl."""
    same = {name: getattr(udp_socket(), name) for name in rows.OtherSocket.__struct_fields__}
    return rows.OtherSocket(**same | changes)


def start(**changes: Any) -> events.Start:
    """The first line of a stream."""
    fields: dict[str, Any] = {
        "time": BASE,
        "nettop": "0.1.0",
        "host": rows.Host(name="host", kernel="6.1.0", arch="x86_64", boot_id="b007"),
        "scope": rows.Scope(),
        "hooks": {"dns_queries": "cgroup_skb egress"},
        "interval_s": 1.0,
    }
    return events.Start(**fields | changes)


def told(
    row: rows.Connection
    | rows.DnsQuery
    | rows.UdpFlow
    | rows.OtherSocket
    | rows.ProcessIdentity
    | rows.HostPackets
    | rows.Listener
    | rows.Request
    | rows.Lookup,
    seconds: float = 1.0,
) -> events.AnyEvent:
    """The event that tells of a row."""
    match row:
        case rows.Connection():
            return events.ConnectionChanged(time=at(seconds), connection=row)
        case rows.DnsQuery():
            return events.DnsChanged(time=at(seconds), dns=row)
        case rows.Request():
            return events.RequestChanged(time=at(seconds), request=row)
        case rows.Lookup():
            return events.LookupChanged(time=at(seconds), lookup=row)
        case rows.Listener():
            return events.ListenerChanged(time=at(seconds), listener=row)
        case rows.UdpFlow():
            return events.UdpChanged(time=at(seconds), udp=row)
        case rows.OtherSocket():
            return events.OtherChanged(time=at(seconds), other=row)
        case rows.HostPackets():
            return events.HostPacketsCounted(time=at(seconds), host_packets=row)
        case rows.ProcessIdentity():
            return events.ProcessChanged(time=at(seconds), process=row)


def tick(seconds: float) -> events.Tick:
    """All until then has been told."""
    return events.Tick(time=at(seconds))


def a_recording() -> list[events.AnyEvent]:
    """One of everything: a process, its query and answer, connection, UDP socket, a listener, a loss, an end."""
    return [
        start(),
        told(identity(), 1.0),
        told(dns_query(), 1.0),
        told(answered(), 1.1),
        told(connection(), 1.2),
        tick(2),
        told(connection(tx_bytes=500, rx_bytes=70_000, tx_bytes_per_s=500.0, rx_bytes_per_s=70_000.0), 2.9),
        told(udp_socket(tx_bytes=33, rx_bytes=64), 2.9),
        told(listener(accepted=3, open=1, drops=2), 2.9),
        told(request(), 2.9),
        told(lookup(), 2.9),
        events.LossesChanged(time=at(2.9), losses=rows.Losses(perf_buffer={"tcp_events": 3}, dns_unparsed=1)),
        tick(3),
        told(
            connection(
                state="closed", closed_at=at(3.5), duration_ms=2500.0, end="normal", tx_bytes=600, rx_bytes=70_000
            ),
            3.5,
        ),
        tick(4),
        events.End(time=at(4)),
    ]
