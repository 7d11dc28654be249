"""Requests of databases and caches, paired with their answers by the order in which they come on a connection."""

from collections import OrderedDict
from collections.abc import Iterable

from msgspec import Struct, field
from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import HttpHead, SocketRecord
from nettop.model.rows import End, RequestError
from nettop.protocols.messages import Request
from nettop.protocols.pairing import Pairing
from nettop.protocols.table import ORDERED, Protocol
from nettop.tracking.places import SocketKey
from nettop.tracking.request_rows import ERRORS, Known, RequestRows

MAX_CONNECTIONS = 4_096  # whose prepared statements are remembered: pools of all processes of a host have some hundred
UNKNOWN = "?"  # a command that the protocol has not, or whose beginning was not seen


class _Spoken(Struct, gc=False):
    """A protocol on one connection."""

    protocol: Protocol
    pairing: Pairing[Known]
    failed: int = 0
    held: list[Known] = field(default_factory=list)  # not told before an answer shows that it is this protocol
    is_certain: bool = False
    told_ns: int = 0  # when the last segment came
    next_seq: int | None = None  # where what comes back goes on


class DatabaseTracker:
    """Takes heads in order of time; see RequestTracker."""

    def __init__(self, rows: RequestRows) -> None:
        self._rows = rows
        self._spoken: OrderedDict[SocketKey, _Spoken] = OrderedDict()
        self.evicted = 0

    def head(self, head: HttpHead) -> None:
        """A segment with requests, or with answers."""
        if head.kind == abi.DATABASE_REQUEST:
            self._asked(head)
        else:
            self._answered(head)

    def ended(self, record: SocketRecord, how: End) -> None:
        """A connection is over: what waits on it has failed, if its answer cannot have been missed."""
        spoken = self._spoken.get((record.socket, record.seen_ns))
        if spoken is None:
            return
        self._tell(spoken)
        for known in spoken.pairing.forget():
            if record.database & abi.DATABASE_FOLLOWED:
                self._fail(spoken, known, ERRORS.get(how, "closed"))
            else:
                self._rows.give_up(known)

    def lost(self) -> None:
        """Records were lost: whatever waits may have been answered."""
        for spoken in self._spoken.values():
            self._give_up(spoken.pairing.lose())

    def failed_on(self, record: SocketRecord) -> int:
        """How many requests of a connection failed that were handed on.

        What waits there, though the kernel side no longer hands on its answers, is given up.
        """
        spoken = self._spoken.get((record.socket, record.seen_ns))
        if spoken is None:
            return 0
        if not record.database & abi.DATABASE_FOLLOWED and spoken.told_ns < record.time_ns and spoken.pairing.awaits:
            self._give_up(spoken.pairing.lose())
        return spoken.failed

    def forget(self, key: SocketKey) -> None:
        """After the last row of a connection."""
        spoken = self._spoken.pop(key, None)
        if spoken is not None:
            self._give_up(spoken.pairing.forget())

    def _spoken_on(self, head: HttpHead) -> _Spoken:
        key = head.socket, head.seen_ns
        spoken = self._spoken.get(key)
        if spoken is not None:
            self._spoken.move_to_end(key)
            return spoken
        protocol = ORDERED[(head.http2 & abi.DATABASE_KINDS) - 1]
        port = head.remote_port if head.egress else head.local_port
        # only Redis begins in a way that another protocol might
        is_certain = protocol.name != "redis" or port in protocol.ports
        spoken = self._spoken[key] = _Spoken(protocol, Pairing(protocol), is_certain=is_certain)
        if len(self._spoken) > MAX_CONNECTIONS:
            self.forget(next(iter(self._spoken)))
            self.evicted += 1
        return spoken

    def _asked(self, head: HttpHead) -> None:
        spoken = self._spoken_on(head)
        spoken.told_ns = head.time_ns
        found = spoken.pairing.requests(head.payload) or (Request(None),)
        requests = [request for request in found if request.answers != 0]  # what asks for no answer is no request
        if head.http2 & abi.DATABASE_BEGINS:
            self._give_up(spoken.pairing.begin())
            spoken.next_seq = None
        elif not head.http2 & abi.DATABASE_FOLLOWED:
            self._give_up(spoken.pairing.lose())
        for offset, request in enumerate(requests):
            known = self._rows.make(head, head.number + offset, spoken.protocol.name, request.command or UNKNOWN)
            if not spoken.is_certain:
                known.held = True
                spoken.held.append(known)
            self._rows.changed(known)
            self._give_up(spoken.pairing.wait(request, known))
        for _ in range(head.requests - len(requests)):  # that are behind what was captured
            self._give_up(spoken.pairing.wait(None, None))

    def _answered(self, head: HttpHead) -> None:
        key = head.socket, head.seen_ns
        spoken = self._spoken.get(key)
        if spoken is None:
            return
        if not head.http2 & abi.DATABASE_KINDS:  # another protocol after all
            spoken.pairing.forget()
            del self._spoken[key]
            return
        self._tell(spoken)
        if spoken.next_seq not in (None, head.seq):
            self._give_up(spoken.pairing.lose())
        spoken.next_seq = (head.seq + head.payload_bytes) & 0xFFFF_FFFF
        answers = spoken.pairing.answered(head.payload)
        for known, error, begins in answers:
            if known is None:
                continue
            if begins:
                known.row = replace(known.row, latency_ms=self._rows.answered_ms(known, head))
                self._rows.changed(known)
            if error is not None and known.row.error is None:
                known.row = replace(known.row, error_code=error)
                self._fail(spoken, known, "server")
        if not answers or spoken.pairing.broke_off or head.captured_bytes < head.payload_bytes:
            self._give_up(spoken.pairing.lose() if spoken.pairing.awaits else ())

    def _tell(self, spoken: _Spoken) -> None:
        """What was held: it is this protocol."""
        spoken.is_certain = True
        held, spoken.held = spoken.held, []
        for known in held:
            known.held = False
            self._rows.changed(known)

    def _fail(self, spoken: _Spoken, known: Known, error: RequestError) -> None:
        known.row = replace(known.row, error=error)
        spoken.failed += 1
        self._rows.changed(known)

    def _give_up(self, missed: Iterable[Known]) -> None:
        for known in missed:
            self._rows.give_up(known)
