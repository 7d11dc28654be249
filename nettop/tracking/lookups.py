"""Look-ups in C libraries: each with what came of it, and the DNS queries that its thread has sent for it."""

import encodings.idna
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import DnsPacket, LookupRecord, ProcessKey
from nettop.model.events import LookupChanged
from nettop.model.rows import LOOKED_UP, Lookup, LookupFunction
from nettop.text import comm_text, printable
from nettop.tracking.addresses import address_text
from nettop.tracking.clock import Clock
from nettop.tracking.names import NameTable
from nettop.tracking.owners import Owned

MAX_KNOWN = 16_384  # for queries that belong to them; ten seconds of all that is listed
_ACE = "xn--"
_FUNCTIONS: dict[int, LookupFunction] = {
    abi.LOOKUP_GETADDRINFO: "getaddrinfo",
    abi.LOOKUP_GETHOSTBYNAME: "gethostbyname",
    abi.LOOKUP_GETHOSTBYNAME2: "gethostbyname2",
    abi.LOOKUP_GETHOSTBYNAME_R: "gethostbyname_r",
    abi.LOOKUP_GETHOSTBYNAME2_R: "gethostbyname2_r",
}
# netdb.h; glibc and musl have the same numbers
_ADDRINFO = {
    -1: "EAI_BADFLAGS",
    -2: "EAI_NONAME",
    -3: "EAI_AGAIN",
    -4: "EAI_FAIL",
    -5: "EAI_NODATA",
    -6: "EAI_FAMILY",
    -7: "EAI_SOCKTYPE",
    -8: "EAI_SERVICE",
    -9: "EAI_ADDRFAMILY",
    -10: "EAI_MEMORY",
    -11: "EAI_SYSTEM",
    -12: "EAI_OVERFLOW",
}
_HOST = {
    1: "HOST_NOT_FOUND",
    2: "TRY_AGAIN",
    3: "NO_RECOVERY",
    4: "NO_DATA",
    abi.LOOKUP_FAILED: "FAILED",
    abi.LOOKUP_NO_ROOM: "ERANGE",
}
_STATUS = {
    abi.LOOKUP_RETURNED: "returned",
    abi.LOOKUP_ABANDONED: "abandoned",
    abi.LOOKUP_UNSEEN: "unknown",
}

_Key = tuple[int, int]  # when it began, and its thread


class Observed(NamedTuple):
    """A look-up's event, and the process it concerns."""

    event: LookupChanged
    owned: Owned


class _Known(Struct, gc=False):
    row: Lookup
    owned: Owned
    looked_for: int = 0  # ticks at which it was neither open nor ended


class LookupTracker:
    """Takes records in order of time: a look-up's time is its beginning, so it comes before its queries.

    One that sends queries is told when it sends the first, and when it has ended; one that sends none, only then.
    """

    def __init__(self, clock: Clock, names: NameTable) -> None:
        self._clock = clock
        self._names = names
        self._known: OrderedDict[_Key, _Known] = OrderedDict()
        self._waiting: dict[_Key, _Known] = {}
        self._untold: dict[_Key, _Known] = {}
        self._last_id = 0
        self.evicted = 0

    def record(self, record: LookupRecord) -> None:
        """One that sends its first query, has returned, or was abandoned."""
        key = record.time_ns, record.thread
        if record.end == abi.LOOKUP_OPEN:
            if key not in self._known:  # or it has ended since, on another CPU
                self._open(key, record)
            return
        known = self._of(key, record)
        known.row = replace(_told(known.row, record), **_outcome(record))
        self._waiting.pop(key, None)
        self._untold[key] = known
        if known.row.name is not None and not record.queries and known.row.addresses:
            # what came over the wire has named these already, by the name that was asked for there
            self._names.learn_addresses(known.owned.process, record.netns, known.row.name, known.row.addresses)

    def sent(self, packet: DnsPacket, qname: str | None) -> int | None:
        """The id of the look-up that a query was sent for; None if it is of none, or may be."""
        if packet.lookup is None or qname is None:
            return None
        known = self._known.get((packet.lookup.time_ns, packet.lookup.thread))
        if known is None or known.row.name is None or not asks_for(known.row.name, qname):
            return None
        return known.row.id

    def tick(self, now_ns: int, still_open: Sequence[LookupRecord]) -> list[Observed]:
        """What is new of look-ups, with those that have begun and not ended."""
        for record in still_open:
            key = record.time_ns, record.thread
            if key not in self._known or key in self._waiting:
                self._open(key, record)
        found = {(record.time_ns, record.thread) for record in still_open}
        for key in self._waiting.keys() - found:
            self._miss(key)
        now = self._clock.wall(now_ns)
        untold, self._untold = self._untold, {}
        return [Observed(LookupChanged(time=now, lookup=known.row), known.owned) for known in untold.values()]

    def _open(self, key: _Key, record: LookupRecord) -> None:
        known = self._of(key, record)
        row = _told(known.row, record)
        if row != known.row or key not in self._waiting:
            self._untold[key] = known
        known.row, known.looked_for = row, 0
        self._waiting[key] = known

    def _miss(self, key: _Key) -> None:
        """It is open no more: its record comes with the next batch, or it was lost."""
        known = self._waiting[key]
        known.looked_for += 1
        if known.looked_for > 1:
            del self._waiting[key]
            known.row = replace(known.row, status="unknown")
            self._untold[key] = known

    def _of(self, key: _Key, record: LookupRecord) -> _Known:
        return self._known.get(key) or self._new(key, record)

    def _new(self, key: _Key, record: LookupRecord) -> _Known:
        self._last_id += 1
        process = ProcessKey(record.owner_pid, record.owner_start_boot_ns)
        owned = Owned(process, "exact", record.owner_uid, record.owner_comm, record.time_ns)
        row = Lookup(
            id=self._last_id,
            asked_at=self._clock.wall(key[0]),
            pid=process.pid,
            process_start_time=self._clock.wall_of_boot(process.start_boot_ns),
            comm=comm_text(record.owner_comm),
            netns=record.netns,
        )
        known = self._known[key] = _Known(row, owned)
        if len(self._known) > MAX_KNOWN:
            oldest, gone = self._known.popitem(last=False)
            if self._waiting.pop(oldest, None) is not None:
                gone.row = replace(gone.row, status="unknown")
                self._untold[oldest] = gone
                self.evicted += 1
        return known


def asks_for(name: str, qname: str) -> bool:
    """Whether a look-up of this name sends such a query: the same, or with a domain of the search list behind it.

    A thread that has left a function of its library without returning (longjmp) may ask for anything.
    """
    asked, wanted = qname.lower().rstrip("."), name.lower().rstrip(".")
    if not wanted.isascii():
        wanted = _ascii(wanted)
    return asked == wanted or asked.startswith(f"{wanted}.")


def _ascii(name: str) -> str:
    """As getaddrinfo() sends it with AI_IDN (RFC 3490)."""
    try:
        return ".".join(encodings.idna.ToASCII(label).decode() for label in name.split("."))
    except UnicodeError:
        return name


def _told(row: Lookup, record: LookupRecord) -> Lookup:
    name = record.name.split(b"\0", 1)[0]
    return replace(
        row,
        function=_FUNCTIONS.get(record.function),
        name=printable(name) if name else None,
        queries=record.queries,
    )


def _outcome(record: LookupRecord) -> dict[str, object]:
    """What is known only once it has ended."""
    status = _STATUS[record.end]
    if record.end != abi.LOOKUP_RETURNED:
        return {"status": status, "queries": None if record.end == abi.LOOKUP_UNSEEN else record.queries}
    addresses = [record.addresses[at : at + 16] for at in range(0, 16 * record.found, 16)]
    return {
        "status": status,
        "result": _result(record),
        "latency_ms": record.lasted_ns // 1000 / 1000,
        "addresses": tuple(dict.fromkeys(address_text(6, raw) for raw in addresses)),
        "more_addresses": bool(record.found_more),
    }


def _result(record: LookupRecord) -> str:
    if not record.result:
        return LOOKED_UP
    if record.function == abi.LOOKUP_GETADDRINFO:
        number = record.result - (1 << 32) if record.result >> 31 else record.result
        return _ADDRINFO.get(number, f"EAI_{abs(number)}")
    return _HOST.get(record.result, f"NETDB_{record.result}")
