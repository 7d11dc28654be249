"""Handshakes of TLS: what their messages in the clear say, by connection."""

from collections import OrderedDict

from msgspec import Struct
from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import HttpHead, SocketRecord
from nettop.model.rows import Tls
from nettop.protocols.tls import ClientHello, ServerHello, TlsAlert, parse
from nettop.tracking.places import Place, SocketKey, place_of

MAX_HANDSHAKES = 8_192  # of open connections, and eight seconds of all that is listed; 16 MB if all wait for more
MAX_EARLY = 1_024  # hellos whose sockets were only being made
MAX_HELLO_BYTES = 2_048  # as bpf/requests.c hands on


class _Handshake(Struct, gc=False):
    """`raw` is a hello that goes on in the segment with the sequence number `next_seq`."""

    row: Tls = Tls()
    began_ns: int | None = None
    raw: bytes = b""
    next_seq: int = 0


class TlsTracker:
    """Takes the messages of handshakes in order of time."""

    def __init__(self) -> None:
        self._handshakes: OrderedDict[SocketKey, _Handshake] = OrderedDict()
        self._changed: dict[SocketKey, None] = {}
        self._early: OrderedDict[Place, HttpHead] = OrderedDict()
        self.evicted = 0

    def head(self, head: HttpHead) -> None:
        """A message, or more of one."""
        if not head.socket:
            self._early[place_of(head)] = head
            if len(self._early) > MAX_EARLY:
                self._early.popitem(last=False)
            return
        if self._early:
            self._adopt(head)
        self._take((head.socket, head.seen_ns), head)

    def of(self, record: SocketRecord) -> Tls | None:
        """What is known of a connection's handshake; None: nothing, or what has been told before."""
        if self._early:
            self._adopt(record)
        known = self._handshakes.get((record.socket, record.seen_ns))
        return None if known is None else known.row

    def greeted(self) -> list[SocketKey]:
        """The connections of which something is known."""
        return list(self._handshakes)

    def forget(self, key: SocketKey) -> None:
        """After the last row of a connection."""
        self._handshakes.pop(key, None)
        self._changed.pop(key, None)

    def take_changed(self) -> list[tuple[SocketKey, Tls]]:
        """What has changed since the last call."""
        changed, self._changed = self._changed, {}
        return [(key, self._handshakes[key].row) for key in changed]

    def _adopt(self, told: HttpHead | SocketRecord) -> None:
        """The hello that came to the listener when this socket was being made."""
        hello = self._early.pop(place_of(told), None)
        if hello is not None:
            self._take((told.socket, told.seen_ns), hello)

    def _take(self, key: SocketKey, head: HttpHead) -> None:
        known = self._handshakes.get(key)
        if known is None:
            known = self._handshakes[key] = _Handshake()
            if len(self._handshakes) > MAX_HANDSHAKES:
                self._forget_oldest()
        payload = _joined(known, head)
        if payload is None:
            return
        row = _told(known, head, payload)
        if row != known.row:
            known.row = row
            self._changed[key] = None

    def _forget_oldest(self) -> None:
        oldest, known = self._handshakes.popitem(last=False)
        if oldest in self._changed:
            del self._changed[oldest]
            self.evicted += known.row != Tls()


def _joined(known: _Handshake, head: HttpHead) -> bytes | None:
    """A message from its beginning on; None for what does not go on where it ended."""
    if head.kind == abi.TLS_REST:
        if not known.raw or head.seq != known.next_seq:
            return None
        raw = known.raw + head.payload
    else:
        raw = head.payload
    if head.kind in (abi.TLS_CLIENT_HELLO, abi.TLS_REST):
        known.raw, known.next_seq = raw[:MAX_HELLO_BYTES], (head.seq + len(head.payload)) & 0xFFFF_FFFF
    return raw


def _told(known: _Handshake, head: HttpHead, payload: bytes) -> Tls:
    row, message = known.row, parse(payload)
    if isinstance(message, ClientHello):
        if known.began_ns is None:
            known.began_ns = head.time_ns
        if not message.cut:
            known.raw = b""
        return replace(row, server_name=message.server_name, alpn_offered=message.alpn, ech=message.ech)
    if isinstance(message, TlsAlert):
        return replace(row, alert=message.description) if message.ends else row
    if not isinstance(message, ServerHello) or message.retry:
        return row
    return replace(
        row,
        version=message.version,
        cipher=message.cipher,
        alpn=message.alpn,
        resumed=message.resumed,
        handshake_ms=None if known.began_ns is None else max(head.time_ns - known.began_ns, 0) // 1000 / 1000,
    )
