"""All trackers together: the order of events, and the scope where the kernel could not decide."""

from typing import Any

import pytest
from dnslib import DNSRecord

from nettop.kernel import abi
from nettop.kernel.abi import PROCESS_EXEC
from nettop.kernel.scope import Scope
from nettop.model.events import (
    AnyEvent,
    ConnectionChanged,
    DnsChanged,
    OtherChanged,
    ProcessChanged,
    UdpChanged,
    Unlisted,
)
from nettop.model.rows import Answer, Connection
from nettop.tracking.tracker import Lookups, Tracker
from tests.builders import (
    CLOCK,
    CURL,
    NETNS,
    NGINX,
    SERVER_ADDRESS,
    accepted_record,
    at,
    dns_answer,
    dns_packet,
    http_head,
    listener_record,
    ns,
    process_event,
    socket_record,
    udp_record,
    without_owner,
)
from tests.captured import conversation

QUESTION = bytes(DNSRecord.question("www.example.com").pack())


def tracker(scope: Scope | None = None) -> Tracker:
    subject = Tracker(CLOCK, scope or Scope(), Lookups(lambda _: None, lambda _: None))
    subject.tick(ns(0.5), complete=False, map_was_full=False)
    return subject


def kinds(events: list[AnyEvent]) -> list[type]:
    return [type(event) for event in events]


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (dns_packet(QUESTION), DnsChanged),
        (socket_record(closed=1), ConnectionChanged),
        (udp_record(), UdpChanged),
        (udp_record(closed=1), UdpChanged),
        (udp_record(protocol=abi.PROTOCOL_OTHER), OtherChanged),
        (udp_record(protocol=abi.PROTOCOL_OTHER, closed=1), OtherChanged),
    ],
)
def test_a_process_is_told_before_what_it_did_and_once(record: Any, kind: type) -> None:
    subject = tracker()
    assert kinds(subject.record(record)) == [ProcessChanged, kind]
    assert kinds(subject.record(dns_packet(QUESTION, 5.0))) == [DnsChanged]


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (dns_packet(QUESTION, owner_pid=0, owner_start_boot_ns=0), DnsChanged),
        (socket_record(closed=1, **without_owner()), ConnectionChanged),
        (udp_record(**without_owner()), UdpChanged),
        (udp_record(flags=abi.SOCKET_SHARED), UdpChanged),
        (udp_record(protocol=abi.PROTOCOL_OTHER, **without_owner()), OtherChanged),
    ],
)
def test_of_nobody_no_process_is_told(record: Any, kind: type) -> None:
    assert kinds(tracker().record(record)) == [kind]


def test_an_answer_that_nobody_waits_for_makes_no_process() -> None:
    assert tracker().record(dns_answer(QUESTION)) == []


def test_listeners_are_taken_before_their_children() -> None:
    events = tracker().sockets([accepted_record(), listener_record()], ns(2))
    assert kinds(events) == [ProcessChanged, ConnectionChanged]
    assert [event.connection.pid for event in events if isinstance(event, ConnectionChanged)] == [NGINX.pid]


def test_the_tick_tells_timeouts_and_ends_that_waited() -> None:
    subject = tracker()
    subject.record(dns_packet(QUESTION, 1.0))
    subject.record(accepted_record(closed=1, time_ns=ns(5)))
    events = subject.tick(ns(6), complete=False, map_was_full=False)
    assert kinds(events) == [ConnectionChanged, DnsChanged]
    assert events[1].time == at(6)


def test_after_lost_events_processes_are_looked_up_again() -> None:
    subject = tracker()
    subject.record(dns_packet(QUESTION, 1.0))
    events = subject.tick(ns(2), complete=True, map_was_full=False)
    assert [event.process.exited_at for event in events if isinstance(event, ProcessChanged)] == [at(2)]


@pytest.mark.parametrize(
    ("scope", "passed"),
    [
        (Scope(pids=(CURL.pid,)), True),
        (Scope(pids=(1,)), False),
        (Scope(comms=(b"curl",)), True),
        (Scope(comms=(b"nginx",)), False),
    ],
)
@pytest.mark.parametrize("record", [socket_record(closed=1), udp_record()], ids=["tcp", "udp"])
def test_the_scope_is_completed_here(scope: Scope, passed: bool, record: Any) -> None:
    assert bool(tracker(scope).record(record)) is passed


@pytest.mark.parametrize(
    "record", [socket_record(closed=1, **without_owner()), udp_record(**without_owner())], ids=["tcp", "udp"]
)
def test_what_nobody_owns_is_in_no_scope_of_processes(record: Any) -> None:
    assert tracker(Scope(pids=(CURL.pid,))).record(record) == []
    assert len(tracker(Scope(netns=(1,))).record(record)) == 1


def test_a_connection_that_comes_into_scope_with_its_owner_is_told_then() -> None:
    subject = tracker(Scope(pids=(NGINX.pid,)))
    assert subject.sockets([accepted_record()], ns(2)) == []
    subject.tick(ns(2), complete=False, map_was_full=False)
    later = accepted_record(owner_pid=NGINX.pid, owner_certainty=abi.OWNER_SCANNED, time_ns=ns(3))
    assert kinds(subject.sockets([later], ns(3))) == [ProcessChanged, ConnectionChanged]


def test_a_live_socket_does_not_rename_its_owner_back() -> None:
    subject = tracker()
    subject.sockets([socket_record(owner_comm=b"sh".ljust(16, b"\0"))], ns(2))
    subject.record(process_event(PROCESS_EXEC, 2.5, arguments=b"curl\0"))
    subject.tick(ns(2.6), complete=False, map_was_full=False)
    events = subject.sockets([socket_record(owner_comm=b"sh".ljust(16, b"\0"), time_ns=ns(3))], ns(3))
    assert kinds(events) == [ConnectionChanged]


def test_over_tcp_a_query_does_not_rename_its_asker_back() -> None:
    subject = tracker()
    subject.record(process_event(PROCESS_EXEC, 2.5, arguments=b"curl\0"))
    segment = len(QUESTION).to_bytes(2) + QUESTION
    events = subject.record(dns_packet(segment, 3.0, protocol=6, owner_comm=b"sh".ljust(16, b"\0")))
    assert [event.process.comm for event in events if isinstance(event, ProcessChanged)] == ["curl"]


def test_counters_of_what_was_lost() -> None:
    subject = tracker()
    subject.record(dns_packet(b"\0"))
    assert subject.dns_unparsed == 1
    tables = (
        "dns_open",
        "dns_late",
        "dns_streams",
        "dns_answers",
        "names",
        "requests_waiting",
        "http2_tables",
        "database_connections",
        "handshakes",
    )
    assert subject.evicted == dict.fromkeys(tables, 0)


def test_what_is_counted_only_comes_after_who_did_it() -> None:
    subject = tracker()
    key = abi.UnlistedKey(CURL.start_boot_ns, CURL.pid, netns=7, generation=1, port=0, family=0)
    counts = abi.Unlisted(
        owner_start_boot_ns=CURL.start_boot_ns, owner_pid=CURL.pid, owner_uid=0, owner_comm=b"curl", queries=5,
        answered=4, failed=3, udp_tx_bytes=11, udp_rx_bytes=12, udp_rx_dropped=1, opened=2, accepted=1,
        tcp_tx_bytes=10, tcp_rx_bytes=20, retransmits=6, asked=7, was_asked=8, failed_connects=1,
        requests=9, requests_failed=4, requests_failed_4xx=2, requests_failed_5xx=1,
        served=3, served_failed=1, served_failed_4xx=0, served_failed_5xx=1,
    )  # fmt: skip
    process, counted = subject.unlisted([(key, counts)], ns(2))
    assert isinstance(process, ProcessChanged)
    assert isinstance(counted, Unlisted)
    assert (process.process.comm, process.process.netns, counted.time) == ("curl", 7, at(2))
    row = counted.unlisted
    assert (row.pid, row.process_start_time) == (process.process.pid, process.process.start_time)
    assert (row.queries, row.answered, row.failed) == (5, 4, 3)
    assert (row.opened, row.accepted, row.tcp_tx_bytes, row.tcp_rx_bytes, row.retransmits) == (2, 1, 10, 20, 6)
    assert (row.udp_tx_bytes, row.udp_rx_bytes) == (11, 12)
    assert (row.asked, row.was_asked, row.failed_connects) == (7, 8, 1)
    assert (row.requests, row.requests_failed, row.served, row.served_failed) == (9, 4, 3, 1)
    assert (row.requests_failed_4xx, row.requests_failed_5xx) == (2, 1)
    assert (row.served_failed_4xx, row.served_failed_5xx) == (0, 1)
    assert kinds(subject.unlisted([(key, counts)], ns(3))) == [Unlisted]


def test_messages_that_a_socket_counted_are_told_once() -> None:
    subject = tracker()

    def told(seconds: float, queries: int, answered: int, failed: int = 0, **changes: Any) -> list[tuple[int, ...]]:
        record = udp_record(
            time_ns=ns(seconds), unlisted_queries=queries, unlisted_answered=answered, unlisted_failed=failed, **changes
        )
        events = subject.record(record) if record.closed else subject.sockets([record], ns(seconds))
        rows = [event.unlisted for event in events if isinstance(event, Unlisted)]
        assert {type(event) for event in events} <= {ProcessChanged, Unlisted, UdpChanged}
        assert isinstance(events[-1], UdpChanged)
        return [(row.queries, row.answered, row.failed, row.udp_tx_bytes) for row in rows]

    assert told(1, 5, 4, 1) == [(5, 4, 1, 0)]
    assert told(2, 5, 4, 1) == []
    assert told(3, 2**31, 4, 1) == [(2**31 - 5, 0, 0, 0)]
    assert told(3.5, 2**32 - 1, 4, 1) == [(2**31 - 1, 0, 0, 0)]
    assert told(4, 1, 6, 1) == [(2, 2, 0, 0)]  # the kernel's counter begins anew
    assert told(5, 2, 6, 1, closed=1) == [(1, 0, 0, 0)]
    assert told(6, 3, 0, seen_ns=ns(5.5)) == [(3, 0, 0, 0)]  # another socket at the same address


def test_what_was_counted_belongs_to_the_one_owner_that_the_socket_had_then() -> None:
    record = udp_record(unlisted_queries=5, flags=abi.SOCKET_SHARED)
    _, counted, socket = tracker().record(record)
    assert isinstance(counted, Unlisted)
    assert isinstance(socket, UdpChanged)
    assert (counted.unlisted.pid, counted.unlisted.queries, socket.udp.pid) == (record.owner_pid, 5, None)


def test_nothing_is_told_of_a_socket_that_a_process_in_scope_shares() -> None:
    subject = tracker(Scope(pids=(CURL.pid,)))
    record = udp_record(unlisted_queries=5, flags=abi.SOCKET_SHARED)
    assert subject.sockets([record], ns(1)) == subject.sockets([record], ns(2)) == []


HELLO = conversation("tls13")[0].payload  # to api.shop.example


def greeting(**changes: Any) -> abi.HttpHead:
    return http_head(HELLO, 1.5, kind=abi.TLS_CLIENT_HELLO, **changes)


def connections(events: list[AnyEvent]) -> list[Connection]:
    return [event.connection for event in events if isinstance(event, ConnectionChanged)]


def test_a_handshake_names_the_far_end_of_who_begins_it() -> None:
    subject = tracker()
    assert subject.record(greeting()) == []
    (row,) = connections(subject.sockets([socket_record()], ns(2)))
    assert row.tls is not None
    assert (row.remote.name, row.remote.name_source) == ("api.shop.example", "tls")
    assert connections(subject.tick(ns(2), complete=False, map_was_full=False)) == []
    (row,) = connections(subject.record(socket_record(closed=1)))
    assert (row.remote.name, row.remote.name_source) == ("api.shop.example", "tls")

    (accepted,) = connections([*subject.record(greeting(egress=0)), *subject.sockets([accepted_record()], ns(3))])
    assert accepted.tls is not None
    assert (accepted.remote.name, accepted.remote.name_source) == (None, None)


def test_a_handshake_that_no_pass_tells_is_told_at_the_tick() -> None:
    subject = tracker()
    (row,) = connections(subject.sockets([socket_record()], ns(1.2)))
    assert row.tls is None
    subject.record(greeting())
    (row,) = connections(subject.tick(ns(2), complete=False, map_was_full=False))
    assert (row.remote.name, row.remote.name_source) == ("api.shop.example", "tls")
    assert connections(subject.tick(ns(3), complete=False, map_was_full=False)) == []


@pytest.mark.parametrize(
    ("owner", "expected"), [(CURL, ("looked.up", "process")), (NGINX, ("api.shop.example", "tls"))]
)
def test_the_name_that_a_process_looked_up_itself_is_surer(owner: Any, expected: tuple[str, str]) -> None:
    subject = tracker()
    subject._names.learn(owner, NETNS, "looked.up", (Answer(name="looked.up", type="A", ttl=60, data=SERVER_ADDRESS),))
    subject.record(greeting())
    (row,) = connections(subject.sockets([socket_record()], ns(2)))
    assert (row.remote.name, row.remote.name_source) == expected
