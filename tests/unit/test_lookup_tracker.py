"""Look-ups in C libraries: what came of each, which queries are theirs, and what is said where nobody knows."""

import pytest
from dnslib import DNSRecord

from nettop.kernel import abi
from nettop.model.events import DnsChanged, LookupChanged
from nettop.model.rows import Lookup
from nettop.tracking.dns import DnsTracker
from nettop.tracking.lookups import MAX_KNOWN, LookupTracker, asks_for
from nettop.tracking.names import NameTable
from tests.builders import CLOCK, CURL, NETNS, at, dns_packet, lookup_record, ns


class Subject:
    """Both trackers, as the facade connects them."""

    def __init__(self) -> None:
        self.names = NameTable()
        self.lookups = LookupTracker(CLOCK, self.names)
        self.dns = DnsTracker(CLOCK, self.names, self.lookups)

    def asks(self, qname: str, seconds: float, lookup: float | None, thread: int = CURL.pid) -> int | None:
        """The look-up of a query that its thread sends while it is in one that began at `lookup`."""
        of = None if lookup is None else abi.DnsLookup(ns(lookup), thread)
        packet = dns_packet(bytes(DNSRecord.question(qname).pack()), seconds, lookup=of)
        (event,) = self.dns.packet(packet)
        assert isinstance(event, DnsChanged)
        return event.dns.lookup_id

    def told(self, seconds: float, *still_open: abi.LookupRecord) -> list[Lookup]:
        return [observed.event.lookup for observed in self.lookups.tick(ns(seconds), still_open)]


@pytest.fixture
def subject() -> Subject:
    return Subject()


def test_what_came_of_it(subject: Subject) -> None:
    subject.lookups.record(lookup_record("www.example.com", 1.0, "192.0.2.1", "2001:db8::1", queries=2))
    (observed,) = subject.lookups.tick(ns(2), ())
    assert observed.event == LookupChanged(
        time=at(2),
        lookup=Lookup(
            id=1,
            asked_at=at(1),
            pid=CURL.pid,
            process_start_time=CLOCK.wall_of_boot(CURL.start_boot_ns),
            comm="curl",
            netns=NETNS,
            function="getaddrinfo",
            name="www.example.com",
            status="returned",
            result="OK",
            latency_ms=20.0,
            addresses=("192.0.2.1", "2001:db8::1"),
            queries=2,
        ),
    )
    assert observed.owned.process == CURL
    assert subject.told(3) == []


@pytest.mark.parametrize(
    ("function", "result", "said", "failed"),
    [
        (abi.LOOKUP_GETADDRINFO, 0, "OK", False),
        (abi.LOOKUP_GETADDRINFO, (1 << 32) - 2, "EAI_NONAME", True),
        (abi.LOOKUP_GETADDRINFO, (1 << 32) - 3, "EAI_AGAIN", True),
        (abi.LOOKUP_GETADDRINFO, (1 << 32) - 104, "EAI_104", True),
        (abi.LOOKUP_GETHOSTBYNAME_R, 1, "HOST_NOT_FOUND", True),
        (abi.LOOKUP_GETHOSTBYNAME_R, 2, "TRY_AGAIN", True),
        (abi.LOOKUP_GETHOSTBYNAME_R, abi.LOOKUP_NO_ROOM, "ERANGE", False),
        (abi.LOOKUP_GETHOSTBYNAME, abi.LOOKUP_FAILED, "FAILED", True),
        (abi.LOOKUP_GETHOSTBYNAME2_R, 77, "NETDB_77", True),
    ],
)
def test_results_have_their_names(subject: Subject, function: int, result: int, said: str, failed: bool) -> None:
    subject.lookups.record(lookup_record(function=function, result=result))
    (row,) = subject.told(2)
    assert (row.result, row.failed, row.outcome) == (said, failed, said)


def test_a_query_is_of_the_look_up_that_its_thread_is_in(subject: Subject) -> None:
    """Whether or not the look-up has ended when the query is told."""
    subject.lookups.record(lookup_record("a.example", 1.0, thread=1))
    subject.lookups.record(lookup_record("b.example", 1.0, thread=2, end=abi.LOOKUP_OPEN, queries=1))
    assert subject.asks("a.example", 1.001, 1.0, thread=1) == 1
    assert subject.asks("b.example", 1.002, 1.0, thread=2) == 2  # began at the same time, in another thread
    assert subject.asks("b.example", 1.003, None) is None
    subject.lookups.record(lookup_record("b.example", 1.0, thread=2))
    assert {row.id: (row.name, row.status) for row in subject.told(2)} == {
        1: ("a.example", "returned"),
        2: ("b.example", "returned"),
    }


def test_one_that_has_ended_is_not_open_again(subject: Subject) -> None:
    """Two CPUs told of it, and what was first comes last."""
    subject.lookups.record(lookup_record())
    subject.lookups.record(lookup_record(end=abi.LOOKUP_OPEN, queries=1))
    (row,) = subject.told(2)
    assert row.status == "returned"
    assert subject.told(3) == subject.told(4) == []


@pytest.mark.parametrize(
    ("name", "qname", "same"),
    [
        ("db", "db.shop.svc.test", True),
        ("db", "db", True),
        ("DB.Example.", "db.example", True),
        ("db", "database.shop.svc.test", False),
        ("db.example", "other.example", False),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("a" * 80 + "ü", "a.example", False),  # no label is as long
    ],
)
def test_a_query_for_another_name_is_not_of_it(subject: Subject, name: str, qname: str, same: bool) -> None:
    assert asks_for(name, qname) is same
    subject.lookups.record(lookup_record(name, end=abi.LOOKUP_OPEN))
    assert subject.asks(qname, 1.001, 1.0) == (1 if same else None)
    subject.lookups.record(lookup_record(name))
    assert subject.asks(qname, 1.001, 1.0) == (1 if same else None)


def test_one_that_waits_is_told_once_and_again_when_it_has_returned(subject: Subject) -> None:
    waits = lookup_record(end=abi.LOOKUP_OPEN, queries=1, lasted_ns=0)
    (row,) = subject.told(2, waits)
    assert (row.status, row.name, row.result, row.queries, row.outcome) == (
        "pending", "www.example.com", None, 1, "pending",
    )  # fmt: skip
    assert subject.told(3, waits) == []
    (row,) = subject.told(4, lookup_record(end=abi.LOOKUP_OPEN, queries=2, lasted_ns=0))
    assert row.queries == 2
    subject.lookups.record(lookup_record(queries=2))
    (row,) = subject.told(5)
    assert (row.id, row.status) == (1, "returned")


def test_one_whose_record_was_lost_is_unknown(subject: Subject) -> None:
    subject.told(2, lookup_record(end=abi.LOOKUP_OPEN))
    assert subject.told(3) == []  # its record may just be coming
    (row,) = subject.told(4)
    assert (row.status, row.result, row.failed) == ("unknown", None, False)
    assert subject.told(5) == []


def test_a_query_is_of_no_look_up_whose_name_is_not_known(subject: Subject) -> None:
    """It might be one that its thread has left by longjmp(3)."""
    assert subject.asks("www.example.com", 1.001, 1.0) is None
    subject.lookups.record(_named(bytes(abi.LOOKUP_NAME_BYTES)))
    assert subject.asks("www.example.com", 1.002, 1.0) is None


def test_a_thread_that_ended_has_abandoned_it(subject: Subject) -> None:
    subject.lookups.record(lookup_record(end=abi.LOOKUP_ABANDONED, queries=1))
    (row,) = subject.told(2)
    assert (row.status, row.result, row.latency_ms, row.addresses, row.queries) == ("abandoned", None, None, (), 1)


def test_where_returns_are_not_seen_nothing_is_said_of_them(subject: Subject) -> None:
    subject.lookups.record(lookup_record(end=abi.LOOKUP_UNSEEN, lasted_ns=0))
    (row,) = subject.told(2)
    assert (row.status, row.result, row.latency_ms, row.queries) == ("unknown", None, None, None)


def test_what_answered_without_the_wire_names_connections(subject: Subject) -> None:
    subject.lookups.record(lookup_record("backend.internal", 1.0, "192.0.2.7", queries=0))
    found = subject.names.find(CURL, NETNS, "192.0.2.7")
    assert found is not None
    assert (found.name, found.source) == ("backend.internal", "process")


def test_what_came_over_the_wire_is_named_by_what_was_asked_there(subject: Subject) -> None:
    subject.lookups.record(lookup_record("db", 1.0, "192.0.2.7", queries=2))
    assert subject.names.find(CURL, NETNS, "192.0.2.7") is None


def test_names_are_made_printable(subject: Subject) -> None:
    raw = b"a\x1b[31m\xff".ljust(abi.LOOKUP_NAME_BYTES, b"\0")
    subject.lookups.record(_named(raw))
    (row,) = subject.told(2)
    assert row.name == r"a\x1b[31m\xff"


def _named(raw: bytes) -> abi.LookupRecord:
    record = lookup_record()
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return abi.LookupRecord(**{**fields, "name": raw})


def test_what_is_known_is_bounded(subject: Subject) -> None:
    waits = [lookup_record(seconds=number / 1000, end=abi.LOOKUP_OPEN) for number in range(1, MAX_KNOWN + 3)]
    told = subject.told(100, *waits)
    assert subject.lookups.evicted == 2
    assert sum(row.status == "unknown" for row in told) == 2
