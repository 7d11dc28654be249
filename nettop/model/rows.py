"""The rows of the panes, as they stand in the snapshot, in the stream and on the screen.

Frozen: a change makes a new row with the same id. Times are UTC, sizes are payload bytes, None is unknown. The JSON
contract is these classes: nettop/export.py encodes them as they are, and the published schema is made from them. A
field with a default may be absent from what an older nettop wrote, which is read all the same; what is written has all.
"""

from datetime import datetime
from typing import Annotated, Literal, Self, get_args

from msgspec import Meta, Struct

from nettop.model.services import Runtime

MAX_COUNT = 2**63 - 1  # what every reader of JSON with 64-bit integers can hold; msgspec's bounds end here too

Time = Annotated[datetime, Meta(tz=True)]  # with its zone: a recording that leaves it out is refused
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]  # also ids and inode numbers
Port = Annotated[int, Meta(ge=0, le=65_535)]
Pid = Annotated[int, Meta(ge=0, le=4_194_304)]  # PID_MAX_LIMIT of the kernel
Txid = Annotated[int, Meta(ge=0, le=65_535)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]  # 30,000 years, more than lie between any two dates
Milliseconds = Annotated[float, Meta(ge=0, le=1e15)]
BytesPerSecond = Annotated[float, Meta(ge=0, le=1e25)]  # MAX_COUNT within a microsecond
PerSecond = BytesPerSecond  # of whatever is counted
Owner = Literal["exact", "scanned", "listener", "unknown"]
Family = Literal["ipv4", "ipv6"]
Direction = Literal["outbound", "inbound", "unknown"]
TcpState = Literal[
    "established",
    "syn-sent",
    "syn-recv",
    "fin-wait-1",
    "fin-wait-2",
    "time-wait",
    "closed",
    "close-wait",
    "last-ack",
    "listen",
    "closing",
]
End = Literal[
    "normal",
    "reset-by-peer",
    "reset-by-us",
    "refused",
    "timeout",
    "given-up",
    "unreachable",
    "other",
    "no-route",
    "denied",
    "unsent",
    "no-port",
    "rejected",
]
Side = Literal["local", "remote"]
RequestSide = Literal["client", "server"]
RequestProtocol = Literal["http/1.0", "http/1.1", "h2", "grpc", "postgresql", "mysql", "redis", "memcached"]
RequestError = Literal["reset", "closed", "timeout", "unknown", "cancelled", "server"]
Reasons = dict[str, Count]  # number of packets by the kernel's name of the reason
Sending = Literal["nothing", "busy", "rwnd-limited", "sndbuf-limited"]
WaitsFor = Literal["local", "remote", "remote-window", "network", "none"]
LookupFunction = Literal["getaddrinfo", "gethostbyname", "gethostbyname2", "gethostbyname_r", "gethostbyname2_r"]
LookupStatus = Literal["pending", "returned", "abandoned", "unknown"]
NotCoveredReason = Literal["later", "unreadable", "file-system", "too-many", "refused"]
NotDecryptedReason = Literal[
    "later", "unreadable", "file-system", "too-many", "refused", "other-library", "some-connections"
]
LOOKED_UP = "OK"  # the result of a look-up that found something
DnsStatus = Literal["pending", "answered", "timeout", "refused", "forgotten"]
DNS_STATUSES: tuple[DnsStatus, ...] = get_args(DnsStatus)
AddressScope = Literal["loopback", "host", "link", "private", "public"]
FIRST_FAILED_STATUS = 400
COMM_CHARACTERS = 15  # bytes: TASK_COMM_LEN without its NUL; the kernel keeps no more of a name
DNS_PORTS = (53,)  # of the servers whose queries are looked at, unless told otherwise


class Row(Struct, frozen=True, gc=False):
    """Base of everything that is part of the JSON contract."""

    def __deepcopy__(self, _memo: object) -> Self:
        """Nothing changes a row, so that copies of a store share theirs."""
        return self


class Endpoint(Row, frozen=True, gc=False, kw_only=True):
    """One end of a connection or query."""

    address: str
    port: Port


NameSource = Literal["process", "tls", "other-process"]
OWN_NAMES = ("process", "tls")  # what the owner itself called it


class RemoteEndpoint(Row, frozen=True, gc=False, kw_only=True):
    """The far end, with the name under which it was looked up.

    `name_source` is "process" where the owner itself asked, "tls" where its handshake named the server and no look-up
    of its own was seen, "other-process" where only somebody else in the same network namespace asked, which may be a
    coincidence. `names` are others under which these looked it up before: if there are any, which one is meant is not
    known.
    """

    address: str
    port: Port
    name: str | None = None
    name_source: NameSource | None = None
    names: tuple[str, ...] = ()


DECIDES = {  # reasons that are somebody's decision
    "NETFILTER_DROP": "firewall",
    "BPF_CGROUP_EGRESS": "cgroup program",
    "TC_EGRESS": "tc filter",
    "TC_INGRESS": "tc filter",
    "XDP": "XDP program",
    "XFRM_POLICY": "IPsec policy",
    "SOCKET_FILTER": "socket filter",
}


class TurnLatency(Row, frozen=True, gc=False, kw_only=True):
    """Of the answers on a connection, from the last payload that was asked to the first that was answered.

    `recent` are the newest, four at most, oldest first.
    """

    avg: Milliseconds | None = None
    max: Milliseconds | None = None
    recent: tuple[Milliseconds, ...] = ()


class Turns(Row, frozen=True, gc=False, kw_only=True):
    """How often the end that connected asked, and how long the other took to answer, since nettop started.

    `asked_by` is "local" if this end connected. A question is what it sends until the other end sends something.
    """

    asked_by: Side
    count: Count = 0
    answered: Count = 0
    latency_ms: TurnLatency = TurnLatency()


class Transmission(Row, frozen=True, gc=False, kw_only=True):
    """What the kernel knows of how a connection sends (struct tcp_sock), when it was last seen to change.

    `window_bytes` is what the far end allows. `timeouts` counts how often in a row the last time-out has made it send
    again. `ssthresh_segments` is None before the first loss. Until `counted_at` it had anything to send for `busy_ms`,
    during which the far end's window or the size of the send buffer held it back for so long; `sending` says which of
    these times went on.
    """

    unsent_bytes: Count
    window_bytes: Count
    mss_bytes: Count
    cwnd_segments: Count
    ssthresh_segments: Count | None
    timeouts: Count
    backoff: Count
    out_of_order_segments: Count
    counted_at: Time
    sending: Sending
    busy_ms: Milliseconds
    rwnd_limited_ms: Milliseconds
    sndbuf_limited_ms: Milliseconds


class RequestLatency(Row, frozen=True, gc=False, kw_only=True):
    """From the first byte of a request to the first of its response: of the last 64 that have rows, and of all.

    Of HTTP/2 `max` too is of those that have rows.
    """

    p50: Milliseconds | None = None
    max: Milliseconds | None = None


class ConnectionRequests(Row, frozen=True, gc=False, kw_only=True):
    """Requests on one connection since it was first seen, also those that have no rows.

    `side` is what this end is. `failed` were answered with 4xx or 5xx, a status of gRPC or the error of a database, or
    not before the connection ended; `failed_4xx` and `failed_5xx` of these with such a status (None: an older nettop
    did not say). Of HTTP/2 `unlisted` have no row, and nobody knows whether they failed; where it is
    `partial`, something was missed, and there may be more than `count`, of a database also more that failed.
    `retried` are those that a client sent again, which have rows.
    """

    side: RequestSide
    count: Count = 0
    failed: Count = 0
    latency_ms: RequestLatency = RequestLatency()
    unlisted: Count = 0
    partial: bool = False
    retried: Count = 0
    failed_4xx: Count | None = None
    failed_5xx: Count | None = None


class Tls(Row, frozen=True, gc=False, kw_only=True):
    """What a handshake of TLS, on a connection or in QUIC, says to everybody; None where it does not, or was not seen.

    `server_name` and `alpn_offered` are the client's words. `alpn` is the server's choice, which TLS 1.3 encrypts. With
    `ech` the name may be that of a front; some clients only pretend. `handshake_ms` is from the ClientHello to the
    ServerHello with the server's choice, at the socket of this end. `alert` is why the handshake ended, in the words
    of RFC 8446, if that was not encrypted.
    """

    server_name: str | None = None
    alpn: str | None = None
    alpn_offered: tuple[str, ...] = ()
    version: str | None = None
    cipher: str | None = None
    resumed: bool | None = None
    ech: bool | None = None
    handshake_ms: Milliseconds | None = None
    alert: str | None = None


class Peer(Row, frozen=True, gc=False, kw_only=True):
    """The row of the other end of a connection, where that is on this host, and the process that has it."""

    id: Count
    pid: Pid | None
    comm: str | None


class Connection(Row, frozen=True, gc=False, kw_only=True):
    """One TCP connection.

    `owner` says how the pid is known: "exact" (it was seen to connect or close), "scanned" (it held the socket open),
    "listener" (it owns the listening socket), "unknown". Bytes count the whole life; what was carried before nettop
    started is in `*_before_start`. Rates are those of the last interval. `opened_before_start` is None where the
    beginning was missed for want of room. Packets are segments since nettop started, also those without payload.
    `drops` are packets of either direction that this host dropped, by the kernel's reason (enum skb_drop_reason; None:
    before Linux 5.17); several segments that the kernel handles as one packet are one. `resets_sent` has the kernel's
    reason too (enum sk_rst_reason; "UNKNOWN" before Linux 6.12).

    `state_since` is when it was first seen in its state, `states_ms` how long it was seen in each state: in a snapshot
    until then, in a stream only in those that it has left. "syn-recv" and "time-wait" are not among them, nor is
    "fin-wait-2" once the process has let go of the socket: the kernel keeps no socket for these. `closed_first` says
    which end sent the first FIN: None if neither did, or both at the same time.

    `waits_for` says who keeps it waiting: "local" (this process does not read, or owes an answer or the close),
    "remote" (the far end owes it), "remote-window" (the far end's program does not read), "network" (payload is out
    and being sent again), "none" (nobody owes anything); None where it cannot be told, and once it has ended.
    `waits_ms` is how long by now. `recv_queue_bytes` have come and were not read by the process, `send_queue_bytes`
    were written by it and are not acknowledged.

    `peer` is the other end if it is on this host too: the row whose addresses and ports are these the other way round,
    at the same time. None if there is none, or if more than one might be it; a snapshot has it, a stream does not.
    """

    id: Count
    pid: Pid | None
    process_start_time: Time | None
    comm: str | None
    owner: Owner
    netns: Count
    family: Family
    direction: Direction
    local: Endpoint
    remote: RemoteEndpoint
    state: TcpState
    opened_at: Time | None
    opened_before_start: bool | None
    closed_at: Time | None = None
    duration_ms: Milliseconds | None = None
    connect_ms: Milliseconds | None = None
    end: End | None = None
    tx_bytes: Count = 0
    rx_bytes: Count = 0
    tx_bytes_before_start: Count = 0
    rx_bytes_before_start: Count = 0
    tx_bytes_per_s: BytesPerSecond = 0.0
    rx_bytes_per_s: BytesPerSecond = 0.0
    srtt_ms: Milliseconds | None = None
    retransmits: Count = 0
    state_since: Time | None = None
    states_ms: dict[TcpState, Milliseconds] = {}
    closed_first: Side | None = None
    drops: Reasons | None = None
    resets_sent: Reasons | None = None
    resets_received: Count | None = None
    waits_for: WaitsFor | None = None
    waits_since: Time | None = None
    waits_ms: Milliseconds | None = None
    recv_queue_bytes: Count | None = None
    send_queue_bytes: Count | None = None
    turns: Turns | None = None
    transmission: Transmission | None = None
    tx_packets: Count | None = None
    rx_packets: Count | None = None
    peer: Peer | None = None
    requests: ConnectionRequests | None = None
    tls: Tls | None = None

    def in_state_ms(self, state: TcpState, now: datetime) -> float | None:
        """How long it has been seen in this state until now; None if it never was."""
        if self.state != state or self.state_since is None:
            return self.states_ms.get(state)
        return max((now - self.state_since).total_seconds() * 1000, 0.0)

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than by both sides closing it."""
        return ended_badly(self.end)

    @property
    def failed_to_connect(self) -> bool:
        """Whether this end wanted it, and it was over before it was established."""
        if self.direction != "outbound" or self.state != "closed" or not self.failed:
            return False
        if self.opened_before_start:  # nobody saw when it was established
            return self.states_ms.keys() == {"syn-sent"}
        return self.connect_ms is None

    @property
    def dropped_by(self) -> str | None:
        """Who on this host decided to drop packets of it: a firewall, or a filter of another kind."""
        return next((DECIDES[reason] for reason in self.drops or () if reason in DECIDES), None)

    @property
    def silenced_by(self) -> str | None:
        """The same where that can be why no answer came: it timed out or was given up."""
        return self.dropped_by if self.end in ("timeout", "given-up") else None


def ended_badly(end: End | None) -> bool:
    """Whether this is the end of a connection that failed."""
    return end not in (None, "normal")


class Holder(Row, frozen=True, gc=False, kw_only=True):
    """A process that has a socket among its open files."""

    pid: Pid
    process_start_time: Time
    comm: str


class Listener(Row, frozen=True, gc=False, kw_only=True):
    """One listening TCP socket, as the last tick found it.

    The owner is who called listen(), or of those that hold it one; `owner` is as in a connection. `holders` are the
    processes that the last scan of open files found, by pid, the first ones of them; `holders_cut` is how many more
    there are. `queue` are the connections that wait for accept(), of which `queue_limit` + 1 have room, `syn_queue` the
    handshakes under way. `drops` counts what the kernel refused, mostly because the queue was full: a SYN, or the last
    packet of a handshake, each time it comes (nstat: TcpExtListenDrops). `accepted` are connections that came in since
    nettop started, with those that still wait in the queue, `open` those of them and of older ones that have not ended.
    Both are None once something came in that may have come through another socket on the same address and port.
    `reuseport` is the same number in all sockets of a group. After the end all is as it was then; `closed_at` is None
    if the end was not seen.
    """

    id: Count
    pid: Pid | None
    process_start_time: Time | None
    comm: str | None
    owner: Owner
    holders: tuple[Holder, ...] = ()
    holders_cut: Count = 0
    netns: Count
    family: Family
    address: str
    port: Port
    queue: Count = 0
    queue_limit: Count = 0
    syn_queue: Count = 0
    drops: Count = 0
    drops_before_start: Count = 0
    drops_per_s: PerSecond = 0.0
    accepted: Count | None = None
    accepted_per_s: PerSecond | None = 0.0
    open: Count | None = None
    reuseport: Count | None = None
    opened_at: Time | None
    opened_before_start: bool | None
    closed: bool = False
    closed_at: Time | None = None

    @property
    def full(self) -> bool:
        """Whether one more connection finds no room (include/net/sock.h, sk_acceptq_is_full())."""
        return self.queue > self.queue_limit

    @property
    def failed(self) -> bool:
        """Whether it refuses connections, or is about to."""
        return not self.closed and (self.full or self.drops_per_s > 0)


class Answer(Row, frozen=True, gc=False, kw_only=True):
    """One resource record of an answer section; `data` in presentation format (RFC 1035 section 5)."""

    name: str
    type: str
    ttl: Count
    data: str


class DnsQuery(Row, frozen=True, gc=False, kw_only=True):
    """One DNS question of one process, from the first time it was sent until its answer or timeout.

    `server` is what was asked, and the only one whose answer counts (except for what was sent to a group of servers).
    `via` is where NAT sent the query instead: the port of Docker's resolver, a redirected port, the server behind a
    service's address. None where it went to `server`, or where the kernel's connection tracker does not know it.
    "refused" are queries of which the kernel told the program that nobody serves there (ICMP: port unreachable, or not
    allowed). "forgotten" are queries for whose answers nettop has stopped waiting, because there was no room, the same
    socket used the same id for another question, or records were lost: whether an answer came is not known.
    `attempts` counts how often it was sent, `answers_dropped` the answers that came and found no room in the socket.
    `answers_cut` are the records of the answer that are not among `answers`, because those are bounded to some 16 KB
    or the message ended before them. `lookup_id` is the row of the look-up that sent it, which only a watch with
    `--lookups` knows: None if it is none, or nobody knows. `unparsed` holds the message (hexadecimal, at most 512
    bytes) that could not be parsed to its end: the query, or the answer if there is a qname.
    """

    id: Count
    asked_at: Time
    pid: Pid | None
    process_start_time: Time | None
    comm: str | None
    netns: Count
    transport: Literal["udp", "tcp"]
    client: Endpoint
    server: Endpoint
    txid: Txid
    qname: str | None
    qtype: str | None
    status: DnsStatus = "pending"
    rcode: str | None = None
    latency_ms: Milliseconds | None = None
    attempts: Count = 1
    truncated: bool = False
    answers: tuple[Answer, ...] = ()
    answers_cut: Count = 0
    response_bytes: Count | None = None
    unparsed: str | None = None
    answers_dropped: Count = 0
    via: Endpoint | None = None
    lookup_id: Count | None = None

    @property
    def failed(self) -> bool:
        """Whether it went wrong: an error code, or no answer."""
        return failed_with(self.status, self.rcode)


def failed_with(status: DnsStatus, rcode: str | None) -> bool:
    """Whether this is the outcome of a query that failed."""
    return status in ("timeout", "refused") or rcode not in (None, "NOERROR")


class Lookup(Row, frozen=True, gc=False, kw_only=True):
    """One name that a program looked up by a function of its C library, as a watch with `--lookups` sees it.

    `name` is what the program asked for, before a search list came in; None where it could not be read. Numeric
    addresses are not among them. `result` is "OK", an EAI_* of getaddrinfo(3), or an error of gethostbyname(3) by its
    name in netdb.h ("FAILED" where the function does not say which, "ERANGE": its caller had too little room and asks
    again). A look-up is "abandoned" if its thread ended or left it without waiting (longjmp), "unknown" if nettop does
    not see what comes of it: its record was lost, or this kernel cannot show how functions return without harm.
    `addresses` are the first 16; `more_addresses` says that there are more. `queries` are the DNS messages that its
    thread has sent, also those without rows: where there is none, a hosts file, a cache or another service answered.
    """

    id: Count
    asked_at: Time
    pid: Pid | None
    process_start_time: Time | None
    comm: str | None
    netns: Count
    function: LookupFunction | None = None
    name: str | None = None
    status: LookupStatus = "pending"
    result: str | None = None
    latency_ms: Milliseconds | None = None
    addresses: tuple[str, ...] = ()
    more_addresses: bool = False
    queries: Count | None = None

    @property
    def failed(self) -> bool:
        """Whether nothing was found."""
        return self.result not in (None, LOOKED_UP, "ERANGE")

    @property
    def outcome(self) -> str:
        """The result, or what is known instead."""
        return self.result or self.status


class UncoveredLibrary(Row, frozen=True, gc=False, kw_only=True):
    """A C library whose look-ups are not seen, with the first of the processes that have it mapped, by their number.

    `reason` is "later" (it was mapped when nettop had given up its privileges), "unreadable" (its file cannot be
    opened, or is none of a 64-bit C library), "file-system" (opening it might wait for ever: FUSE), "too-many" or
    "refused" (by the kernel).
    """

    name: str
    reason: NotCoveredReason
    pid: Pid
    comm: str
    processes: Count


class LookupCoverage(Row, frozen=True, gc=False, kw_only=True):
    """Whose look-ups a watch with `--lookups` sees: those of every process with one of so many C libraries.

    Programs that look names up by themselves (Go, c-ares, Java) or are linked statically are in neither number.
    `not_covered` are the libraries that most processes have, 16 at most, `not_covered_cut` how many more there are;
    both are None where the kernel does not tell (before Linux 5.12). `results` is false where nettop sees what is
    looked up, but not what comes of it.
    """

    libraries: Count
    not_covered: tuple[UncoveredLibrary, ...] | None = None
    not_covered_cut: Count | None = None
    results: bool = True


class NotDecrypted(Row, frozen=True, gc=False, kw_only=True):
    """A process with an open connection of TLS, of which no request inside it is seen.

    `reason` is "other-library" where it has none that nettop knows (a program that is linked statically, another
    implementation, a process in which it was loaded under another name), and "some-connections" where it has one that
    is watched, and a connection, begun since, that passes it by: it has another one too, or passes on what others
    encrypt. The others say why the one that it has is not watched: see UncoveredLibrary.
    """

    pid: Pid
    comm: str
    reason: NotDecryptedReason


class DecryptCoverage(Row, frozen=True, gc=False, kw_only=True):
    """Whose requests inside TLS a watch with `--decrypt` sees: those of processes with one of so many TLS libraries.

    `not_covered` are the other processes that were seen to begin TLS, 16 at most, `not_covered_cut` how many more there
    are; both are None where the kernel does not tell (before Linux 5.12). `http2_sessions` is how many sessions of
    HTTP/2, at either end, are read no further, because a call was missed.
    """

    libraries: Count
    not_covered: tuple[NotDecrypted, ...] | None = None
    not_covered_cut: Count | None = None
    http2_sessions: Count = 0


class Request(Row, frozen=True, gc=False, kw_only=True):
    """One request of HTTP, a database or a cache as one end on this host sees it; where both are here, each has a row.

    `host` is what the request says, without a port. `path` is without a query unless the setting `requests.query` is
    on, and 256 bytes at most. Both `status` and `error` are None until the response begins. `error` is "reset" or
    "timeout" (of the connection) or "closed" if the connection ended before that; "unknown" if a response may have
    come, and was not seen. `latency_ms` is from the first byte of the request to the first of the response, at this
    end's socket. `request_bytes` and `response_bytes` are what head and Content-Length say; of HTTP/2 without the head.
    `connection_id` is the row of the connection; None where that has none. `trace_id` is that of a traceparent (W3C
    Trace Context). `retry_of` is the row of the request that this one repeats: the same process had sent the same
    method, host and path on another connection, which ended without a response less than a minute before.
    `local_port` is that of this end; None where it was not recorded.

    What was read inside TLS (`--decrypt`) is `decrypted`; its times are those at which the process handed the bytes to
    its library or got them. Which connection it came on is not known where the process sends what the library has
    encrypted later and by itself: then `connection_id`, `remote` and `local_port` are None. No other request lacks a
    `remote`.

    Of HTTP/2 `error` may also be "reset" or "cancelled", which is what the client did, of the stream alone.
    `grpc_status` comes behind the response of gRPC. A request is `partial` where a field of its head or of its
    response's refers to one that was not seen; method, host and path are "?" then unless they are known.

    Of databases and caches `method` is the command, or the kind of the statement ("SELECT"), "?" where that is not
    known; `host`, `path`, `status`, sizes are None. `error` is "server" if the answer is an error, and
    `error_code` says which: an SQLSTATE, a number of MySQL, the first word of Redis or Memcached ("WRONGTYPE"), "?" if
    it has none.
    """

    id: Count
    asked_at: Time
    pid: Pid | None
    process_start_time: Time | None
    comm: str | None
    side: RequestSide
    protocol: RequestProtocol
    method: str
    host: str | None = None
    path: str | None = None
    status: Annotated[int, Meta(ge=100, le=599)] | None = None
    error: RequestError | None = None
    latency_ms: Milliseconds | None = None
    request_bytes: Count | None = None
    response_bytes: Count | None = None
    connection_id: Count | None = None
    netns: Count
    remote: RemoteEndpoint | None
    trace_id: str | None = None
    retry_of: Count | None = None
    grpc_status: Count | None = None
    partial: bool = False
    local_port: Port | None = None
    decrypted: bool = False
    error_code: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it went wrong: 4xx, 5xx, a status of gRPC, an error of the server, or no response."""
        if self.error in ("reset", "closed", "timeout", "server") or (
            self.error == "cancelled" and self.status is None
        ):
            return True
        return bool(self.grpc_status) or (self.status is not None and self.status >= FIRST_FAILED_STATUS)

    @property
    def pending(self) -> bool:
        """Whether its response has not begun, and may still do so."""
        return self.status is None and self.error is None and self.latency_ms is None

    @property
    def outcome(self) -> str:
        """The status code, or what came instead; "ok" is an answer of a protocol that has no status."""
        if self.error is not None:
            return self.error
        if self.status is not None:
            return str(self.status)
        return "pending" if self.pending else "ok"


class _CountedSocket(Row, frozen=True, gc=False, kw_only=True):
    id: Count
    pid: Pid | None
    process_start_time: Time | None
    comm: str | None
    netns: Count
    tx_bytes: Count
    rx_bytes: Count
    rx_dropped: Count = 0
    closed: bool = False


class UdpFlow(_CountedSocket, frozen=True, gc=False, kw_only=True):
    """What one UDP socket exchanged with one remote end since nettop started.

    A socket has a row with its first remote end and one with each further one; those beyond the bounds of the kernel's
    table have one together, without `remote`. `pid` is None where the owner of the socket is not known, or where more
    than one process has sent on it. `local` is what the socket is bound to. `rx_dropped` counts datagrams that the
    socket refused, from whomever, mostly because its receive buffer was full; it is in the row of the first remote end,
    and `rx_bytes` leaves them out. `closed` is true once the socket is, or nothing has come or gone for a minute.

    `quic_version` and `tls` are what a client's first packets of QUIC say: of `tls` what a client's hello has, that is
    server name, ALPN on offer and ECH. None: it is not QUIC, or its beginning was not seen.
    """

    socket: Count | None = None
    local: Endpoint | None = None
    remote: RemoteEndpoint | None = None
    tx_packets: Count | None = None
    rx_packets: Count | None = None
    quic_version: Count | None = None
    tls: Tls | None = None


class OtherSocket(_CountedSocket, frozen=True, gc=False, kw_only=True):
    """What one socket for ICMP, SCTP or another protocol, or a raw one, carried since nettop started: IP payload.

    That includes the protocol's own header. What a raw socket receives are copies: each counts its own.
    """


class Unlisted(Row, frozen=True, gc=False, kw_only=True):
    """Queries and connections of one process that have no rows, but are part of its totals.

    `failed` are answers other than NOERROR. Of queries without an answer it is not known whether one will come; the
    connections have ended, `failed_connects` of them before they were established; turns on those that it opened are
    `asked`, on those that it accepted `was_asked`; `requests` and `served` leave out HTTP/2. UDP payload is that of
    sockets that were counted too.
    """

    pid: Pid
    process_start_time: Time
    queries: Count = 0
    answered: Count = 0
    failed: Count = 0
    udp_tx_bytes: Count = 0
    udp_rx_bytes: Count = 0
    udp_rx_dropped: Count = 0
    opened: Count = 0
    accepted: Count = 0
    tcp_tx_bytes: Count = 0
    tcp_rx_bytes: Count = 0
    retransmits: Count = 0
    asked: Count = 0
    was_asked: Count = 0
    failed_connects: Count = 0
    requests: Count = 0
    requests_failed: Count = 0
    served: Count = 0
    served_failed: Count = 0
    requests_failed_4xx: Count | None = None
    requests_failed_5xx: Count | None = None
    served_failed_4xx: Count | None = None
    served_failed_5xx: Count | None = None


class Dropped(Row, frozen=True, gc=False, kw_only=True):
    """What happened to packets since the last of these: of one process, or else of no known process.

    The latter is told by network namespace and, of packets that no known socket has, by `remote`: who sent the packet,
    or of one that this host made, to whom. Reasons are as in Connection and Process; those of `icmp_sent` are names
    from RFC 792, like "port-unreachable".
    """

    pid: Pid | None
    process_start_time: Time | None
    netns: Count
    remote: str | None = None
    drops: Reasons = {}
    resets_sent: Reasons = {}
    resets_received: Count = 0
    icmp_sent: Reasons = {}
    icmp_errors: Reasons = {}


class Stray(Row, frozen=True, gc=False, kw_only=True):
    """Packets of no known process, of one far end in one network namespace; fields as in Dropped.

    `remote` is None for packets of sockets without one known owner, and for far ends beyond those that have a row
    (`netns` is 0 then). `drops` and `icmp_sent` are None where the kernel does not tell them: before Linux 5.17, and
    mostly before 6.10.
    """

    netns: Count
    remote: str | None
    drops: Reasons | None = None
    resets_sent: Reasons | None = None
    resets_received: Count | None = None
    icmp_sent: Reasons | None = None


class ProcessIdentity(Row, frozen=True, gc=False, kw_only=True):
    """Who a process is; start_time tells it from an earlier one with the same pid.

    `cmdline_cut` is None if `cmdline` is whole. Of a very long one the beginning is kept and, where it could be read,
    the end; between them stands what is not an argument, but says how much is left out: `cmdline_cut` is its place.

    `unit` is the innermost systemd unit. `container` is the id that its runtime gave it, or the name of one of LXC or
    systemd-nspawn; what runtimes and kubelet call it (`container_name`, `image`, `pod`, `pod_namespace`) is known where
    nettop could read their files. `netns_name` is the name of the network namespace in ip-netns(8), if it has one.
    """

    pid: Pid
    start_time: Time
    comm: str
    cmdline: tuple[str, ...] | None
    uid: Count
    user: str | None
    parent_pid: Pid | None
    cgroup: str | None
    netns: Count
    first_seen: Time
    exited_at: Time | None = None
    cmdline_cut: Count | None = None
    unit: str | None = None
    container: str | None = None
    container_runtime: Runtime | None = None
    container_name: str | None = None
    image: str | None = None
    pod: str | None = None
    pod_namespace: str | None = None
    pod_uid: str | None = None
    netns_name: str | None = None


class TcpTotals(Row, frozen=True, gc=False, kw_only=True):
    """TCP of one process since nettop started; `failed` are connects that never got established."""

    tx_bytes: Count = 0
    rx_bytes: Count = 0
    active: Count = 0
    opened: Count = 0
    accepted: Count = 0
    failed: Count = 0
    retransmits: Count = 0


class UdpTotals(Row, frozen=True, gc=False, kw_only=True):
    """UDP payload of one process since nettop started, and the datagrams that its sockets refused."""

    tx_bytes: Count = 0
    rx_bytes: Count = 0
    rx_dropped: Count = 0


class OtherTotals(Row, frozen=True, gc=False, kw_only=True):
    """The rest of one process since nettop started: ICMP, SCTP, and raw sockets of any protocol.

    Bytes are the payload of IP, so they include the header of ICMP or SCTP. A raw socket receives a copy of each packet
    of its protocol, whoever else gets it too. Packets that are sent and received below IP (AF_PACKET) are not here.
    """

    tx_bytes: Count = 0
    rx_bytes: Count = 0
    rx_dropped: Count = 0


class Latency(Row, frozen=True, gc=False, kw_only=True):
    """Of the last answered queries of a process; the maximum is of all."""

    p50: Milliseconds | None = None
    max: Milliseconds | None = None


class DnsTotals(Row, frozen=True, gc=False, kw_only=True):
    """DNS of one process since nettop started; `failed` are answers other than NOERROR, and refused queries."""

    queries: Count = 0
    answered: Count = 0
    failed: Count = 0
    timeouts: Count = 0
    latency_ms: Latency = Latency()


class AnswerTimes(Row, frozen=True, gc=False, kw_only=True):
    """Of the last 255 answers whose times were read: the newest four a tick of each connection.

    The maximum is of all.
    """

    p50: Milliseconds | None = None
    p95: Milliseconds | None = None
    max: Milliseconds | None = None


class TurnTotals(Row, frozen=True, gc=False, kw_only=True):
    """How often somebody asked, and how long the answers took."""

    count: Count = 0
    latency_ms: AnswerTimes = AnswerTimes()


class ProcessTurns(Row, frozen=True, gc=False, kw_only=True):
    """Turns on the connections of a process since nettop started.

    `asked` on those that it opened: the answers are those of others. `was_asked` on those that it accepted: the answers
    are its own.
    """

    asked: TurnTotals = TurnTotals()
    was_asked: TurnTotals = TurnTotals()


class RequestTotals(Row, frozen=True, gc=False, kw_only=True):
    """Requests on one side; `failed`, `failed_4xx`, `failed_5xx` and `retried` as in ConnectionRequests."""

    count: Count = 0
    failed: Count = 0
    retried: Count = 0
    failed_4xx: Count | None = None
    failed_5xx: Count | None = None


class ProcessRequests(Row, frozen=True, gc=False, kw_only=True):
    """Requests of a process since nettop started, also those without rows.

    `sent` on connections that it opened, `served` on those that it accepted.
    """

    sent: RequestTotals = RequestTotals()
    served: RequestTotals = RequestTotals()


class Process(ProcessIdentity, frozen=True, gc=False, kw_only=True):
    """A process with its totals since nettop started; rates are those of the last interval.

    `tx_bytes`, `rx_bytes` and the rates are those of TCP and UDP; what is in `other` is not among them.
    `leaking` are its connections that have been in CLOSE_WAIT for more than a minute: the far end has closed them long
    ago, and the process has not.
    `drops`, `resets_sent` and `resets_received` are those of its sockets, UDP and listening ones too, as in Connection.
    `icmp_errors` are what its UDP sockets were told, by the error that the program gets ("ECONNREFUSED"); None before
    Linux 5.14.
    """

    tx_bytes: Count = 0
    rx_bytes: Count = 0
    tx_bytes_per_s: BytesPerSecond = 0.0
    rx_bytes_per_s: BytesPerSecond = 0.0
    tcp: TcpTotals = TcpTotals()
    udp: UdpTotals = UdpTotals()
    dns: DnsTotals = DnsTotals()
    leaking: Count = 0
    other: OtherTotals = OtherTotals()
    drops: Reasons | None = None
    resets_sent: Reasons | None = None
    resets_received: Count | None = None
    icmp_errors: Reasons | None = None
    turns: ProcessTurns = ProcessTurns()
    requests: ProcessRequests = ProcessRequests()


class HostPackets(Row, frozen=True, gc=False, kw_only=True):
    """What a network interface has received from an address since the last of these."""

    netns: Count
    address: str
    ifindex: Count
    interface: str
    packets: Count
    bytes: Count
    syns: Count


class InterfacePackets(Row, frozen=True, gc=False, kw_only=True):
    """What a network interface has received from a host since nettop started.

    `packets` are those on the wire, `bytes` counts from the IP header on, `syns` are requests for a TCP connection.
    """

    ifindex: Count
    interface: str
    packets: Count = 0
    bytes: Count = 0
    syns: Count = 0


class RemoteHost(Row, frozen=True, gc=False, kw_only=True):
    """One remote address, as seen from one network namespace, since nettop started.

    Sums are those of TCP connections and UDP flows: `connections` and `udp_flows` are open now, `accepted` are those so
    far, `failed` the connects that were never established, `srtt_ms` is the median of the last 250 that are open.
    `tx_packets` are segments and datagrams. `pids` and `comms` are the last processes that have talked to it. `name` is
    the last one under which an owner looked it up, `names` are others. `scope` is "host" where the address is one of
    this network namespace.

    `rx_packets` and `syns` are what a network interface received, also what no socket took: those of the interface with
    the most, since what passes a bridge or a tunnel is received more than once; `interfaces` has each. Without such an
    interface, as over loopback, `rx_packets` are those of connections and flows, and `syns` is None.
    `unwanted_packets` were dropped because nobody listens where they went, or knows their protocol (None: before Linux
    5.17).
    """

    netns: Count
    address: str
    scope: AddressScope
    name: str | None = None
    name_source: NameSource | None = None
    names: tuple[str, ...] = ()
    pids: tuple[Pid, ...] = ()
    comms: tuple[str, ...] = ()
    connections: Count = 0
    accepted: Count = 0
    failed: Count = 0
    udp_flows: Count = 0
    tx_bytes: Count = 0
    rx_bytes: Count = 0
    tx_bytes_per_s: BytesPerSecond = 0.0
    rx_bytes_per_s: BytesPerSecond = 0.0
    tx_packets: Count | None = None
    rx_packets: Count | None = None
    rx_packets_per_s: BytesPerSecond = 0.0
    srtt_ms: Milliseconds | None = None
    retransmits: Count = 0
    unwanted_packets: Count | None = None
    syns: Count | None = None
    interfaces: tuple[InterfacePackets, ...] = ()

    @property
    def pid(self) -> int | None:
        """Of the only process that has talked to it."""
        return self.pids[0] if len(self.pids) == 1 else None

    @property
    def comm(self) -> str | None:
        """The only name of the processes that have talked to it."""
        return self.comms[0] if len(self.comms) == 1 else None

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is open, and nothing came during the last interval."""
        return not (self.connections or self.udp_flows or self.rx_packets_per_s)


class Host(Row, frozen=True, gc=False, kw_only=True):
    """The machine that was watched; `id` is that of machine-id(5), which stays the same when it boots or is renamed."""

    name: str
    kernel: str
    arch: str
    boot_id: str | None
    id: str | None = None


class Scope(Row, frozen=True, gc=False, kw_only=True):
    """What was watched: pids, comms, inode numbers of network namespaces (empty: everything), ports of DNS servers.

    `netns_name` is how the user named each of `netns`: a name of ip-netns(8), a path or a pid. `unit` and `container`
    are as they were given; a container by its name may stand for several.
    """

    pid: tuple[Pid, ...] = ()
    comm: tuple[str, ...] = ()
    netns: tuple[Count, ...] = ()
    dns_ports: tuple[Port, ...] = DNS_PORTS
    netns_name: tuple[str, ...] = ()
    unit: tuple[str, ...] = ()
    container: tuple[str, ...] = ()


class Kept(Row, frozen=True, gc=False, kw_only=True):
    """How far back the rows of a kind go: those of connections and others that last, since they ended.

    All that ended after `complete_since` are here; None if none has been evicted, or if nobody knows when such rows
    end. Failed and slow rows outlive ordinary ones: `lasting` are those that did, and `lasting_since` is the same for
    them, `lasting_evicted` how many had to go too (part of `evicted` in the losses).
    """

    complete_since: Time | None = None
    lasting: Count = 0
    lasting_since: Time | None = None
    lasting_evicted: Count = 0


class Losses(Row, frozen=True, gc=False, kw_only=True):
    """What is missing from everything else here. All zero means that nothing is.

    Attributes:
        perf_buffer: records that found no room, per buffer.
        map_full: sockets that found no room, per map; a UDP socket once per datagram. Of a connection that found none
            in "turns" only these are unknown.
        missed_runs: transitions that the kernel did not show to a program, per program.
        evicted: rows that made room for newer ones, per table.
        unlisted: what came too fast for a row each, per table; it is in the totals of processes.
        dns_unparsed: DNS messages that could not be parsed to their end.
        dns_unasked: DNS answers over UDP that nobody waited for: of servers that were not asked, and forged ones.
        dns_repeats: questions sent again that came too fast to be counted among the attempts of their row.
        dns_left_out: DNS that came too fast to be looked at: segments over TCP, multicast DNS, refusals, and answers
            that may be of questions which had to give way to newer ones.
        handshakes_left_out: handshakes of TLS that came too fast to be looked at; of QUIC their datagrams.
        drops_without_room: dropped packets, resets and ICMP errors that found no room in the tables by reason.
        udp_unattributed_bytes: UDP payload without one known owner.
        tcp_unattributed_bytes: TCP payload of connections without a known owner.
        other_unattributed_bytes: what would be `other` of a process, without one known owner.
        packets_without_host: packets received from addresses that have no row, because there were too many at once.

    """

    perf_buffer: dict[str, Count] = {}
    map_full: dict[str, Count] = {}
    missed_runs: dict[str, Count] = {}
    evicted: dict[str, Count] = {}
    unlisted: dict[str, Count] = {}
    dns_unparsed: Count = 0
    dns_unasked: Count = 0
    dns_repeats: Count = 0
    dns_left_out: Count = 0
    drops_without_room: Count = 0
    udp_unattributed_bytes: Count = 0
    tcp_unattributed_bytes: Count = 0
    other_unattributed_bytes: Count = 0
    packets_without_host: Count = 0
    handshakes_left_out: Count = 0
