"""UDP sockets from the kernel's records to rows."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettop.kernel import abi
from nettop.model.events import OtherChanged, UdpChanged
from nettop.model.rows import Answer, Endpoint, RemoteEndpoint, UdpFlow
from nettop.sources.live import _before_any_bytes
from nettop.tracking.names import NameTable
from nettop.tracking.udp import Changed, UdpTracker
from nettop.tracking.udp_flows import IDLE_NS, UdpFlows
from tests.builders import CLOCK, CURL, NETNS, at, ns, packed, socket_record, udp_record, without_owner

PASS, NEXT_PASS, LAST_PASS = ns(2), ns(3), ns(4)


def row_of(event: Changed) -> UdpFlow:
    assert isinstance(event, UdpChanged)
    return event.udp


def tracker() -> UdpTracker:
    return UdpTracker(CLOCK, UdpFlows(CLOCK, NameTable()))


def live(subject: UdpTracker, pass_ns: int = PASS, **changes: Any) -> UdpFlow:
    return row_of(subject.live(udp_record(**changes), pass_ns))


def released(subject: UdpTracker, **changes: Any) -> UdpFlow:
    return row_of(subject.released(udp_record(closed=1, **changes)))


def test_a_socket() -> None:
    assert tracker().live(udp_record(tx_bytes=33, rx_bytes=2**33), PASS) == UdpChanged(
        time=at(2),
        udp=UdpFlow(
            id=1,
            pid=CURL.pid,
            process_start_time=CLOCK.wall_of_boot(CURL.start_boot_ns),
            comm="curl",
            netns=NETNS,
            tx_bytes=33,
            rx_bytes=2**33,
            closed=False,
            socket=1,
            local=Endpoint(address="0.0.0.0", port=0),
            tx_packets=0,
            rx_packets=0,
        ),
    )


@pytest.mark.parametrize(
    "changes", [without_owner(), {"flags": abi.SOCKET_SHARED}], ids=["nobody is known", "several have sent"]
)
def test_a_socket_without_one_owner(changes: dict[str, Any]) -> None:
    row = live(tracker(), **changes)
    assert (row.pid, row.process_start_time, row.comm) == (None, None, None)


def test_a_socket_keeps_its_id_until_its_release() -> None:
    subject = tracker()
    told = [live(subject), live(subject, NEXT_PASS, tx_bytes=9), released(subject)]
    assert [(row.id, row.tx_bytes, row.closed) for row in told] == [(1, 0, False), (1, 9, False), (1, 0, True)]
    assert live(subject, LAST_PASS, seen_ns=ns(5)).id == 2


def test_the_next_socket_at_an_address_is_another() -> None:
    subject = tracker()
    assert live(subject).id == 1
    assert live(subject, NEXT_PASS, seen_ns=ns(1.5)).id == 2


def test_a_release_that_is_read_after_the_iterator_found_the_next_socket_at_its_address() -> None:
    subject = tracker()
    live(subject, tx_bytes=5)
    live(subject, NEXT_PASS, seen_ns=ns(1.5))
    assert subject.finish_pass(NEXT_PASS, complete=False) == []
    row = released(subject, tx_bytes=6)
    assert (row.id, row.closed) == (1, True)
    assert released(subject, seen_ns=ns(1.5)).id == 2


def test_a_release_of_a_short_lived_socket_leaves_the_next_one_at_its_address_alone() -> None:
    subject = tracker()
    assert live(subject, seen_ns=ns(1.5)).id == 1
    assert released(subject).id == 2
    assert live(subject, NEXT_PASS, seen_ns=ns(1.5), tx_bytes=1).id == 1


def test_a_socket_whose_release_was_lost_ends_with_what_was_last_seen_of_it() -> None:
    subject = tracker()
    row = live(subject, tx_bytes=5)
    assert subject.finish_pass(PASS, complete=False) == []
    assert subject.finish_pass(NEXT_PASS, complete=True) == []  # its release may be in a buffer still
    assert subject.finish_pass(LAST_PASS, complete=False) == [UdpChanged(time=at(4), udp=replace(row, closed=True))]
    assert subject.finish_pass(ns(5), complete=True) == []


def test_a_socket_whose_release_was_only_late_ends_once() -> None:
    subject = tracker()
    live(subject, tx_bytes=5)
    subject.finish_pass(NEXT_PASS, complete=True)
    assert released(subject, tx_bytes=6).id == 1
    assert subject.finish_pass(LAST_PASS, complete=False) == []


def test_a_socket_that_a_later_one_replaced_and_whose_release_was_lost_ends() -> None:
    subject = tracker()
    live(subject, tx_bytes=5)
    live(subject, NEXT_PASS, seen_ns=ns(1.5))
    subject.finish_pass(NEXT_PASS, complete=False)
    assert [row_of(event).id for event in subject.finish_pass(LAST_PASS, complete=False)] == [1]


def test_a_pass_that_reports_only_what_changed_ends_nothing() -> None:
    subject = tracker()
    live(subject)
    assert [subject.finish_pass(ns(second), complete=False) for second in (3, 4, 5)] == [[], [], []]
    assert live(subject, ns(6), tx_bytes=1).id == 1


def test_what_was_counted_and_taken_back_is_counted_once() -> None:
    """An answer that found no room: the iterator may come by in between."""
    subject = tracker()
    told = []
    for second, answered in ((2, 1), (3, 0), (4, 2)):
        record = udp_record(unlisted_queries=2, unlisted_answered=answered, tx_bytes=second)
        told.append(subject.newly_unlisted(record))
        subject.live(record, ns(second))
    assert told == [
        {"queries": 2, "answered": 1, "failed": 0},
        {},
        {"queries": 0, "answered": 1, "failed": 0},
    ]


def test_what_was_counted_of_a_socket_that_is_set_aside_is_not_counted_again() -> None:
    subject = tracker()
    first = udp_record(unlisted_queries=3)
    subject.live(first, PASS)
    live(subject, ns(3), seen_ns=ns(2.5))  # the next socket at its address
    told = subject.newly_unlisted(replace(first, unlisted_queries=5, closed=1))
    assert told == {"queries": 2, "answered": 0, "failed": 0}


def test_a_socket_for_another_protocol() -> None:
    subject = UdpTracker(CLOCK)
    record = udp_record(protocol=abi.PROTOCOL_OTHER, tx_bytes=64, rx_bytes=128, rx_dropped=1)
    event = subject.live(record, PASS)
    assert isinstance(event, OtherChanged)
    row = event.other
    assert (row.pid, row.tx_bytes, row.rx_bytes, row.rx_dropped) == (CURL.pid, 64, 128, 1)
    assert subject.lose(record) == [OtherChanged(time=event.time, other=replace(row, closed=True))]


def flow_key(address: str, port: int, **changes: Any) -> bytes:
    mapped = bytes(10) + b"\xff\xff" + packed(address)[:4]
    fields = {"socket": udp_record().socket, "seen_ns": ns(1), "address": mapped, "port": port}
    return abi.UDP_FLOW_KEY.pack(*(fields | changes).values())


def flow(*counts: int) -> bytes:
    return abi.UDP_FLOW.pack(*counts)


FIRST: dict[str, Any] = {"remote_address": bytes(10) + b"\xff\xff" + packed("192.0.2.1")[:4], "remote_port": 443}


def test_the_first_remote_end_stands_in_the_record_and_further_ones_in_the_table() -> None:
    flows = UdpFlows(CLOCK, NameTable())
    subject = UdpTracker(CLOCK, flows)
    first = live(subject, **FIRST, tx_bytes=100, rx_bytes=50, others_tx_bytes=60, others_rx_bytes=10, tx_packets=4)
    assert (first.tx_bytes, first.rx_bytes, first.tx_packets) == (40, 40, 4)
    assert first.remote == RemoteEndpoint(address="192.0.2.1", port=443)
    table = {flow_key("192.0.2.2", 53): flow(60, 10, 3, 1), flow_key("192.0.2.2", 53, seen_ns=7): flow(9, 9, 9, 9)}
    events, gone = flows.tell(table, PASS)
    (row,) = [event.udp for event in events]
    assert (row.id, row.socket, row.pid, row.comm) == (2, 1, CURL.pid, "curl")
    assert row.remote == RemoteEndpoint(address="192.0.2.2", port=53)
    assert (row.tx_bytes, row.rx_bytes, row.tx_packets, row.rx_packets) == (60, 10, 3, 1)
    assert gone == []
    assert flows.tell(table, NEXT_PASS) == ([], [])


def test_what_the_table_had_no_room_for_is_told_together() -> None:
    flows = UdpFlows(CLOCK, NameTable())
    subject = UdpTracker(CLOCK, flows)
    live(subject, **FIRST, tx_bytes=100, others_tx_bytes=90)
    key = flow_key("192.0.2.2", 53)
    events, _ = flows.tell({key: flow(60, 0, 1, 0)}, PASS)
    assert [(event.udp.remote is None, event.udp.tx_bytes) for event in events] == [(False, 60), (True, 30)]
    assert events[1].udp.tx_packets is None
    events, _ = flows.tell({key: flow(90, 0, 2, 0)}, NEXT_PASS)  # it was read a moment later than the socket
    assert [(event.udp.id, event.udp.tx_bytes) for event in events] == [(2, 90), (3, 0)]


def test_flows_end_with_their_socket() -> None:
    flows = UdpFlows(CLOCK, NameTable())
    subject = UdpTracker(CLOCK, flows)
    live(subject, **FIRST, tx_bytes=70, others_tx_bytes=60)
    key = flow_key("192.0.2.2", 53)
    flows.tell({key: flow(60, 0, 1, 0)}, PASS)
    assert released(subject, **FIRST, tx_bytes=80, others_tx_bytes=65).tx_bytes == 15
    events, gone = flows.tell({key: flow(65, 0, 2, 0)}, NEXT_PASS)
    assert [(event.udp.id, event.udp.tx_bytes, event.udp.closed) for event in events] == [(2, 65, False), (2, 65, True)]
    assert gone == [key]
    assert flows.tell({}, LAST_PASS) == ([], [])


def test_a_flow_that_has_been_silent_for_a_minute_gives_up_its_place_and_its_bytes_stay() -> None:
    flows = UdpFlows(CLOCK, NameTable())
    subject = UdpTracker(CLOCK, flows)
    live(subject, **FIRST, tx_bytes=60, others_tx_bytes=60)
    table = {flow_key("192.0.2.2", 53): flow(60, 0, 1, 0)}
    flows.tell(table, PASS)
    events, gone = flows.tell(table, PASS + IDLE_NS)
    assert [(event.udp.tx_bytes, event.udp.closed) for event in events] == [(60, True)]
    assert gone == list(table)
    live(subject, ns(90), **FIRST, tx_bytes=67, others_tx_bytes=67)
    events, _ = flows.tell({flow_key("192.0.2.2", 53): flow(7, 0, 1, 0)}, ns(90))
    assert [(event.udp.id, event.udp.tx_bytes) for event in events] == [(3, 7)]


def test_a_remote_end_has_the_name_under_which_the_owner_looked_it_up() -> None:
    names = NameTable()
    answer = Answer(name="quic.test", type="A", ttl=1, data="192.0.2.1")
    names.learn(CURL, NETNS, "quic.test", (answer,))
    assert live(UdpTracker(CLOCK, UdpFlows(CLOCK, names)), **FIRST).remote == RemoteEndpoint(
        address="192.0.2.1", port=443, name="quic.test", name_source="process"
    )
    other = live(UdpTracker(CLOCK, UdpFlows(CLOCK, names)), **FIRST, owner_pid=7).remote
    assert other == RemoteEndpoint(address="192.0.2.1", port=443)


@pytest.mark.parametrize("protocol", [abi.IPPROTO_UDP, abi.PROTOCOL_OTHER])
def test_a_socket_that_has_outlived_its_owner_begins_without_bytes(protocol: int) -> None:
    """What was counted may be of the process that has it now; kept_tx_bytes is what was counted."""
    record = udp_record(protocol=protocol, tx_bytes=64, rx_bytes=128, kept_tx_bytes=64, kept_rx_bytes=128)
    before = _before_any_bytes(record)
    assert (before.tx_bytes, before.rx_bytes) == (0, 0)


def test_a_connection_that_has_outlived_its_owner_begins_with_what_it_had_before_nettop() -> None:
    before = _before_any_bytes(socket_record(tx_bytes=64, rx_bytes=128, kept_tx_bytes=7, kept_rx_bytes=9))
    assert (before.tx_bytes, before.rx_bytes) == (7, 9)
