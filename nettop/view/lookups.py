"""Look-ups: which DNS queries one question of a program has caused.

getaddrinfo() asks for A and AAAA, appends the search list of resolv.conf until a name exists, and asks again, perhaps
another server, where no answer comes. Nothing on the wire says which queries belong together, so these are rules, and
where they do not hold, queries stay apart. A query belongs to a look-up of the same process (and network namespace) if

- it asks for the same name but another type, within a second of the last one that was asked or answered;
- it asks the same again (name and type): the one before has no answer, and the new one has the same id and comes within
  30 s, or another id and comes 250 ms to 8 s after the first; or an answer has come that makes resolvers ask again
  (SERVFAIL, REFUSED, FORMERR, NOTIMP), and within a second of it the same message goes out again or another server is
  asked; or the answer was truncated, and within a second the query goes over TCP;
- nothing that was asked so far has brought records, something has failed, it comes within a second of that (15 s if no
  answer came), and its name and the last one are the same but for the search list: one is the other with a domain
  appended, or both are the same labels before two domains of which one lies in the other
  (`db.shop.svc.cluster.local`, then `db.svc.cluster.local`).

Of several look-ups that could have it, it belongs to the one that asked from the same socket last, else to the latest.
A query that says of which look-up it is (`lookup_id`: a watch with `--lookups` knows) belongs to that one, without a
rule. The name looked up is what all names of a look-up begin with.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from types import MappingProxyType

from nettop.model.rows import DnsQuery

MAX_QUERIES = 64  # of a look-up: a search list of six domains, two types and two servers make 28
_SOON = timedelta(seconds=1)
_SAME_MESSAGE = timedelta(seconds=30)  # glibc sends the same message again, as often as resolv.conf says
# Go and others send a new one after their time-out of 5 s; who comes 10 s later has looked the name up again
_NEW_MESSAGE = timedelta(milliseconds=250), timedelta(seconds=8)
_NO_ANSWER = timedelta(seconds=15)  # until the next name: 5 s a server, three servers
_OVER = _SAME_MESSAGE
_ELSEWHERE = ("SERVFAIL", "REFUSED", "FORMERR", "NOTIMP")  # glibc, resolv/res_send.c
_CANDIDATES = 4  # look-ups of one process at the same time whose names begin alike
_MAX_BEGINNINGS = 12  # of a name: names that are looked up through a search list have few labels
_SWEEP_EVERY = 16_384  # queries: those of 10 s at the rate above which nettop does not list each

_id = attrgetter("id")
_Owner = tuple[int | None, datetime | None, int]


class Lookup:
    """What one question of a program has caused. Its `name` gets shorter while that goes through the search list."""

    __slots__ = ("name", "number", "queries")

    def __init__(self, query: DnsQuery) -> None:
        self.number = query.id  # of its first query
        self.name = _name(query)
        self.queries = [query]

    def refresh(self, rows: Sequence[DnsQuery]) -> None:
        """Take the newest versions of what was still without an answer."""
        for place, query in enumerate(self.queries):
            if query.status in ("pending", "timeout"):
                self.queries[place] = _newest(query, rows)

    def is_over(self, now: datetime) -> bool:
        """Whether nothing that is asked from now on can belong to it."""
        return now - self.queries[-1].asked_at > _OVER

    def takes(self, query: DnsQuery) -> bool:
        """Whether the query belongs to it."""
        asked, name = query.asked_at, _name(query)
        if asked < self.queries[-1].asked_at or len(self.queries) >= MAX_QUERIES:
            return False
        same_name = [other for other in self.queries if _name(other) == name]
        if not same_name:
            return self._searches_on(query)
        same = [other for other in same_name if other.qtype == query.qtype]
        return _repeats(same, query) if same else self._is_soon(asked)

    def add(self, query: DnsQuery) -> None:
        """It does."""
        self.name = ".".join(_common(self.name.split("."), _name(query).split(".")))
        self.queries.append(query)

    def _searches_on(self, query: DnsQuery) -> bool:
        answered = [other for other in self.queries if _answered_by(other, query.asked_at)]
        if any(map(_has_records, answered)):
            return False
        unanswered = [other for other in self.queries if other.status in ("timeout", "refused")]
        soon = self._is_soon(query.asked_at) or any(query.asked_at - each.asked_at <= _NO_ANSWER for each in unanswered)
        related = _same_but_for_search_list(_name(self.queries[-1]), _name(query))
        return bool(answered or unanswered) and soon and related

    def _is_soon(self, asked: datetime) -> bool:
        moments = [answered_at(other) for other in self.queries]
        heard = [at for at in moments if at is not None and at <= asked]
        return asked - max((self.queries[-1].asked_at, *heard)) <= _SOON


def answered_at(query: DnsQuery) -> datetime | None:
    """When the answer arrived; None if none has."""
    if query.status != "answered" or query.latency_ms is None:
        return None
    try:
        return query.asked_at + timedelta(milliseconds=query.latency_ms)
    except OverflowError:  # a recording may say anything
        return None


def _answered_by(query: DnsQuery, moment: datetime) -> bool:
    answered = answered_at(query)
    return answered is not None and answered <= moment


def _has_records(query: DnsQuery) -> bool:
    return bool(query.answers or query.answers_cut or query.truncated) and query.rcode == "NOERROR"


def _newest(query: DnsQuery, rows: Sequence[DnsQuery]) -> DnsQuery:
    place = bisect_left(rows, query.id, key=_id)
    return rows[place] if place < len(rows) and rows[place].id == query.id else query


def _name(query: DnsQuery) -> str:
    return (query.qname or "").lower()


def _repeats(before: Sequence[DnsQuery], query: DnsQuery) -> bool:
    first, last = before[0], before[-1]
    answered = answered_at(last)
    if answered is None or answered > query.asked_at:
        if query.txid == last.txid:
            return query.asked_at - last.asked_at <= _SAME_MESSAGE
        return _NEW_MESSAGE[0] <= query.asked_at - first.asked_at <= _NEW_MESSAGE[1]
    if query.asked_at - answered > _SOON:
        return False
    if last.truncated:
        return query.transport == "tcp" != last.transport
    return last.rcode in _ELSEWHERE and (query.txid == last.txid or query.server != last.server)


def _common(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """What both begin with."""
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    return list(one[:same])


def _same_but_for_search_list(one: str, other: str) -> bool:
    ones, others = one.split("."), other.split(".")
    same = len(_common(ones, others))
    shorter, longer = sorted((ones[same:], others[same:]), key=len)
    return longer[len(longer) - len(shorter) :] == shorter


class Lookups:
    """Finds the look-up of each query. What has been decided stays, so a tick costs only its new queries."""

    def __init__(self) -> None:
        self._of: dict[int, Lookup] = {}
        self._asking: dict[tuple[_Owner, str], list[Lookup]] = {}  # by the names asked for, and what these begin with
        self._searching: dict[
            _Owner, datetime
        ] = {}  # who may go through a search list: when a query brought no records
        self._told: dict[int, Lookup] = {}  # by the id that their queries say
        self._seen = 0
        self.decided_anew = 0  # how often queries were given another name than before, or were forgotten

    def of(self, query: DnsQuery) -> Lookup:
        """The look-up of a query that was among the rows read last."""
        return self._of[query.id]

    def read(self, rows: Sequence[DnsQuery], names: Mapping[int, str] = MappingProxyType({})) -> None:
        """Take the queries of a snapshot: all of them, in the order in which they were asked.

        `names` are what look-ups that are told asked for, by their ids.
        """
        known = self._of
        for row in rows:
            if row.id not in known:
                if row.lookup_id is None:
                    self._sort_in(row, rows)
                else:
                    self._take(row, row.lookup_id, names.get(row.lookup_id))
        if len(known) > 2 * len(rows) + _SWEEP_EVERY:
            self._of = {row.id: known[row.id] for row in rows}
            self._told = {row.lookup_id: known[row.id] for row in rows if row.lookup_id is not None}
            self.decided_anew += 1

    def _take(self, query: DnsQuery, told: int, name: str | None) -> None:
        lookup = self._told.get(told)
        if lookup is None:
            lookup = self._told[told] = Lookup(query)
        else:
            before = lookup.name
            lookup.add(query)
            self.decided_anew += name is None and lookup.name != before
        if name is not None:
            lookup.name = name.lower()
        self._of[query.id] = lookup

    def _sort_in(self, query: DnsQuery, rows: Sequence[DnsQuery]) -> None:
        owner = query.pid, query.process_start_time, query.netns
        name = _name(query)
        lookup = None if query.qname is None else self._find(owner, name, query, rows)
        if lookup is None:
            lookup = Lookup(query)
        else:
            before = lookup.name
            lookup.add(query)
            self.decided_anew += lookup.name != before
        self._of[query.id] = lookup
        found = _has_records(query)
        if not found:
            self._searching[owner] = query.asked_at
        for beginning in (name,) if found else _beginnings(name):  # where records came, no search goes on
            asking = self._asking.setdefault((owner, beginning), [])
            if lookup not in asking:
                asking.append(lookup)
                del asking[:-_CANDIDATES]
        self._seen += 1
        if self._seen % _SWEEP_EVERY == 0:
            self._forget(query.asked_at)

    def _find(self, owner: _Owner, name: str, query: DnsQuery, rows: Sequence[DnsQuery]) -> Lookup | None:
        for beginning in _beginnings(name) if owner in self._searching else (name,):
            found = []
            for lookup in reversed(self._asking.get((owner, beginning), ())):
                lookup.refresh(rows)
                if lookup.takes(query):
                    found.append(lookup)
            if found:
                return next((each for each in found if each.queries[-1].client == query.client), found[0])
        return None

    def _forget(self, now: datetime) -> None:
        self._asking = {
            key: asking for key, asking in self._asking.items() if not all(each.is_over(now) for each in asking)
        }
        self._searching = {owner: asked for owner, asked in self._searching.items() if now - asked <= _OVER}


def _beginnings(name: str) -> Iterator[str]:
    """The name, and its first labels, fewer and fewer."""
    yield name
    end = len(name)
    for _ in range(_MAX_BEGINNINGS):
        end = name.rfind(".", 0, end)
        if end <= 0:
            return
        yield name[:end]
