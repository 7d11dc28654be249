"""UDP sockets from the kernel's records to rows."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettop.kernel import abi
from nettop.model.events import OtherChanged, UdpChanged
from nettop.model.rows import OtherSocket, UdpSocket
from nettop.tracking.udp import Changed, UdpTracker
from tests.builders import CLOCK, CURL, NETNS, at, ns, udp_record, without_owner

PASS, NEXT_PASS, LAST_PASS = ns(2), ns(3), ns(4)


def row_of(event: Changed) -> UdpSocket:
    assert isinstance(event, UdpChanged)
    return event.udp


def live(subject: UdpTracker, pass_ns: int = PASS, **changes: Any) -> UdpSocket:
    return row_of(subject.live(udp_record(**changes), pass_ns))


def released(subject: UdpTracker, **changes: Any) -> UdpSocket:
    return row_of(subject.released(udp_record(closed=1, **changes)))


def test_a_socket() -> None:
    assert UdpTracker(CLOCK).live(udp_record(tx_bytes=33, rx_bytes=2**33), PASS) == UdpChanged(
        time=at(2),
        udp=UdpSocket(
            id=1,
            pid=CURL.pid,
            process_start_time=CLOCK.wall_of_boot(CURL.start_boot_ns),
            comm="curl",
            netns=NETNS,
            tx_bytes=33,
            rx_bytes=2**33,
            closed=False,
        ),
    )


@pytest.mark.parametrize(
    "changes", [without_owner(), {"flags": abi.SOCKET_SHARED}], ids=["nobody is known", "several have sent"]
)
def test_a_socket_without_one_owner(changes: dict[str, Any]) -> None:
    row = live(UdpTracker(CLOCK), **changes)
    assert (row.pid, row.process_start_time, row.comm) == (None, None, None)


def test_a_socket_keeps_its_id_until_its_release() -> None:
    subject = UdpTracker(CLOCK)
    told = [live(subject), live(subject, NEXT_PASS, tx_bytes=9), released(subject)]
    assert [(row.id, row.tx_bytes, row.closed) for row in told] == [(1, 0, False), (1, 9, False), (1, 0, True)]
    assert live(subject, LAST_PASS, seen_ns=ns(5)).id == 2


def test_the_next_socket_at_an_address_is_another() -> None:
    subject = UdpTracker(CLOCK)
    assert live(subject).id == 1
    assert live(subject, NEXT_PASS, seen_ns=ns(1.5)).id == 2


def test_a_release_that_is_read_after_the_iterator_found_the_next_socket_at_its_address() -> None:
    subject = UdpTracker(CLOCK)
    live(subject, tx_bytes=5)
    live(subject, NEXT_PASS, seen_ns=ns(1.5))
    assert subject.finish_pass(NEXT_PASS, complete=False) == []
    row = released(subject, tx_bytes=6)
    assert (row.id, row.closed) == (1, True)
    assert released(subject, seen_ns=ns(1.5)).id == 2


def test_a_release_of_a_short_lived_socket_leaves_the_next_one_at_its_address_alone() -> None:
    subject = UdpTracker(CLOCK)
    assert live(subject, seen_ns=ns(1.5)).id == 1
    assert released(subject).id == 2
    assert live(subject, NEXT_PASS, seen_ns=ns(1.5), tx_bytes=1).id == 1


def test_a_socket_whose_release_was_lost_ends_with_what_was_last_seen_of_it() -> None:
    subject = UdpTracker(CLOCK)
    row = live(subject, tx_bytes=5)
    assert subject.finish_pass(PASS, complete=False) == []
    assert subject.finish_pass(NEXT_PASS, complete=True) == []  # its release may be in a buffer still
    assert subject.finish_pass(LAST_PASS, complete=False) == [UdpChanged(time=at(4), udp=replace(row, closed=True))]
    assert subject.finish_pass(ns(5), complete=True) == []


def test_a_socket_whose_release_was_only_late_ends_once() -> None:
    subject = UdpTracker(CLOCK)
    live(subject, tx_bytes=5)
    subject.finish_pass(NEXT_PASS, complete=True)
    assert released(subject, tx_bytes=6).id == 1
    assert subject.finish_pass(LAST_PASS, complete=False) == []


def test_a_socket_that_a_later_one_replaced_and_whose_release_was_lost_ends() -> None:
    subject = UdpTracker(CLOCK)
    live(subject, tx_bytes=5)
    live(subject, NEXT_PASS, seen_ns=ns(1.5))
    subject.finish_pass(NEXT_PASS, complete=False)
    assert [row_of(event).id for event in subject.finish_pass(LAST_PASS, complete=False)] == [1]


def test_a_pass_that_reports_only_what_changed_ends_nothing() -> None:
    subject = UdpTracker(CLOCK)
    live(subject)
    assert [subject.finish_pass(ns(second), complete=False) for second in (3, 4, 5)] == [[], [], []]
    assert live(subject, ns(6), tx_bytes=1).id == 1


def test_what_was_counted_and_taken_back_is_counted_once() -> None:
    """An answer that found no room: the iterator may come by in between."""
    subject = UdpTracker(CLOCK)
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
    subject = UdpTracker(CLOCK)
    first = udp_record(unlisted_queries=3)
    subject.live(first, PASS)
    live(subject, ns(3), seen_ns=ns(2.5))  # the next socket at its address
    told = subject.newly_unlisted(replace(first, unlisted_queries=5, closed=1))
    assert told == {"queries": 2, "answered": 0, "failed": 0}


def test_a_socket_for_another_protocol() -> None:
    subject = UdpTracker(CLOCK, OtherSocket)
    record = udp_record(protocol=abi.PROTOCOL_OTHER, tx_bytes=64, rx_bytes=128, rx_dropped=1)
    event = subject.live(record, PASS)
    assert isinstance(event, OtherChanged)
    row = event.other
    assert (row.pid, row.tx_bytes, row.rx_bytes, row.rx_dropped) == (CURL.pid, 64, 128, 1)
    assert subject.lose(record) == [OtherChanged(time=event.time, other=replace(row, closed=True))]
