"""Handshakes of QUIC: what the first packets of clients say, by flow."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from nettop.kernel.abi import HttpHead
from nettop.model.rows import RemoteEndpoint, Tls
from nettop.protocols.quic import QuicHello
from nettop.protocols.tls import ClientHello

MAX_GREETINGS = 4_096  # which wait for their rows: eight seconds of all that is listed
MAX_UNFINISHED = 256  # hellos that wait for another datagram; 6 MB if strangers make the most of them


class FlowKey(NamedTuple):
    """A socket, by its kernel address and seen_ns, and whom it talks to."""

    socket: int
    seen_ns: int
    address: bytes  # IPv4 as IPv4-mapped IPv6
    port: int


class Greeting(NamedTuple):
    """What a client has said. `asks`: this end is the client."""

    version: int
    tls: Tls
    asks: bool

    def named(self, remote: RemoteEndpoint) -> RemoteEndpoint:
        """The far end, by the name that this end has asked it for, unless a look-up of its own has told one."""
        if self.tls.server_name is None or not self.asks or remote.name_source == "process":
            return remote
        return replace(remote, name=self.tls.server_name, name_source="tls", names=())


class QuicTracker:
    """Takes the first datagrams of flows in order of time."""

    def __init__(self) -> None:
        self._hellos: OrderedDict[FlowKey, QuicHello] = OrderedDict()
        self._greetings: OrderedDict[FlowKey, Greeting] = OrderedDict()
        self._changed: dict[FlowKey, None] = {}
        self.evicted = 0

    def head(self, head: HttpHead) -> None:
        """A datagram, or several."""
        key = FlowKey(head.socket, head.seen_ns, head.remote_address, head.remote_port)
        known = self._greetings.get(key)
        hello = self._hellos.pop(key, None)
        if known is not None and (hello is None or known.asks != bool(head.egress)):
            return  # all has been said, or this is the answer
        hello = hello or QuicHello()
        read = None
        for datagram in _datagrams(head):
            read = hello.datagram(datagram) or read
        if hello.version is None:
            return  # it only looks like QUIC
        self._greet(key, Greeting(hello.version, Tls() if read is None else _said(read), bool(head.egress)))
        if (read is None or read.cut) and not hello.is_over:
            self._hellos[key] = hello
            if len(self._hellos) > MAX_UNFINISHED:
                self._hellos.popitem(last=False)

    def of(self, key: FlowKey) -> Greeting | None:
        """What was said lately on a flow."""
        return self._greetings.get(key)

    def take_changed(self) -> list[tuple[FlowKey, Greeting]]:
        """What has changed since the last call."""
        changed, self._changed = self._changed, {}
        return [(key, self._greetings[key]) for key in changed]

    def _greet(self, key: FlowKey, greeting: Greeting) -> None:
        known = self._greetings.get(key)
        if known is not None and (known == greeting or greeting.tls == Tls()):
            return
        self._greetings[key] = greeting
        self._changed[key] = None
        if len(self._greetings) > MAX_GREETINGS:
            oldest, _ = self._greetings.popitem(last=False)
            if oldest in self._changed:
                del self._changed[oldest]
                self.evicted += 1


def _datagrams(head: HttpHead) -> Iterator[bytes]:
    """Of one packet that is several, all have as many bytes, but for the last."""
    size = head.number or len(head.payload)
    for at in range(0, len(head.payload), max(size, 1)):
        yield head.payload[at : at + size]


def _said(hello: ClientHello) -> Tls:
    return Tls(server_name=hello.server_name, alpn_offered=hello.alpn, ech=hello.ech)
