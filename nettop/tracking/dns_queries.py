"""Queries that wait for their answers: found by what an answer must repeat, given up in order of time."""

import itertools
from collections import OrderedDict
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from nettop.kernel.abi import ProcessKey
from nettop.model.rows import DnsQuery, DnsStatus

TIMEOUT = timedelta(seconds=5)  # glibc's and dig's own default for one attempt
LATE_ANSWERS = timedelta(seconds=30)  # how long after its timeout an answer still counts
MAX_OPEN_QUERIES = 65_536  # pending and timed out: 10 s of 6,000 unanswered queries/s; about 60 MB if it ever fills
MAX_LOOKED_THROUGH = 4096  # for those of one socket
MAX_ANSWERED = 1024  # in case that an answer is dropped, which the kernel says right after it


class QueryKey(Struct, frozen=True, gc=False):
    """What an answer must repeat, RFC 5452 section 9.1: the socket, its id, and the server that was asked.

    The cookie stands for both ends of a TCP connection; the server is left out there, and where a group was asked.
    """

    socket_cookie: int
    txid: int
    server: bytes = b""
    server_port: int = 0
    question: tuple[str, str] | None = None  # of multicast DNS, where every id is 0 (RFC 6762 section 18.1)

    def of_a_group(self) -> "QueryKey":
        """The key of the same question if it went to a group, from which any member may answer."""
        return QueryKey(self.socket_cookie, self.txid)


class Query(Struct, frozen=True, gc=False):
    """A row, and what else is known of it."""

    row: DnsQuery
    process: ProcessKey
    last_attempt: datetime


class WaitingQueries:
    """Bounded; what makes room is told by the calls that make it."""

    def __init__(self) -> None:
        self._open: OrderedDict[QueryKey, Query] = OrderedDict()  # in order of their last attempt
        self._late: OrderedDict[QueryKey, Query] = OrderedDict()  # in order of their timeout
        # Those that were answered last, in two halves, of which the older one goes when the newer one is full.
        self._answered: dict[QueryKey, tuple[Query, DnsQuery]] = {}
        self._answered_before: dict[QueryKey, tuple[Query, DnsQuery]] = {}

    def find(self, key: QueryKey) -> Query | None:
        """Open or late."""
        return self._open.get(key) or self._late.get(key)

    def is_open(self, key: QueryKey) -> bool:
        """Whether it is pending."""
        return key in self._open

    def open_of(self, socket_cookie: int) -> list[QueryKey]:
        """The pending ones of a socket, as far as they are among the last that were sent."""
        last = itertools.islice(reversed(self._open), MAX_LOOKED_THROUGH)
        return [key for key in last if key.socket_cookie == socket_cookie][::-1]

    def wait(self, key: QueryKey, query: Query) -> Query | None:
        """Take a query that was just sent, under a key that is free; what made room for it, if anything had to."""
        self._open[key] = query
        return None if len(self._open) <= MAX_OPEN_QUERIES else self._open.popitem(last=False)[1]

    def remove(self, key: QueryKey) -> Query | None:
        """Forget an open or late query."""
        return self._open.pop(key, None) or self._late.pop(key, None)

    def answered(self, key: QueryKey, query: Query, row: DnsQuery) -> None:
        """Remember for a moment a query that was answered, and its row with the answer."""
        if len(self._answered) >= MAX_ANSWERED // 2:
            self._answered_before, self._answered = self._answered, {}
        self._answered[key] = query, row

    def was_answered(self, key: QueryKey) -> bool:
        """Whether it is among the last that were."""
        return key in self._answered or key in self._answered_before

    def take_answered(self, key: QueryKey) -> tuple[Query, DnsQuery] | None:
        """One of the last that were answered, as it was before and with its answer; it is forgotten."""
        return self._answered.pop(key, None) or self._answered_before.pop(key, None)

    def set_late(self, key: QueryKey, query: Query) -> None:
        """Keep a query for an answer that may still come."""
        self.remove(key)
        self._late[key] = query

    def timed_out(self, now: datetime) -> list[tuple[QueryKey, Query]]:
        """Those that have waited too long, which are forgotten."""
        output = []
        while self._open:
            key, query = next(iter(self._open.items()))
            if now - query.last_attempt < TIMEOUT:
                break
            self.remove(key)
            output.append((key, query))
        return output

    def forget_late(self, now: datetime) -> int:
        """Forget what has waited much too long, and what there is no room for: how many of the latter."""
        evicted = 0
        while self._late:
            key, late = next(iter(self._late.items()))
            too_old = now - late.last_attempt >= TIMEOUT + LATE_ANSWERS
            if not too_old and len(self._late) <= MAX_OPEN_QUERIES:
                break
            del self._late[key]
            evicted += not too_old
        return evicted


def with_status(query: Query, status: DnsStatus) -> Query:
    """The same query, its row with another status."""
    return replace(query, row=replace(query.row, status=status))
