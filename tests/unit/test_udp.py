"""UDP sockets from the kernel's records to rows."""

from typing import Any

import pytest

from nettop.kernel import abi
from nettop.model.events import UdpChanged
from nettop.model.rows import UdpSocket
from nettop.tracking.udp import UdpTracker
from tests.builders import CLOCK, CURL, NETNS, at, ns, udp_record, without_owner


def test_a_socket() -> None:
    assert UdpTracker(CLOCK).record(udp_record(tx_bytes=33, rx_bytes=2**33)) == UdpChanged(
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
    row = UdpTracker(CLOCK).record(udp_record(**changes)).udp
    assert (row.pid, row.process_start_time, row.comm) == (None, None, None)


def test_a_socket_keeps_its_id_until_its_release() -> None:
    subject = UdpTracker(CLOCK)
    changes: tuple[dict[str, Any], ...] = ({}, {"tx_bytes": 9}, {"closed": 1})
    told = [subject.record(udp_record(**fields)).udp for fields in changes]
    assert [(row.id, row.tx_bytes, row.closed) for row in told] == [(1, 0, False), (1, 9, False), (1, 0, True)]
    assert subject.record(udp_record(seen_ns=ns(5))).udp.id == 2


def test_the_next_socket_at_an_address_is_another() -> None:
    subject = UdpTracker(CLOCK)
    assert subject.record(udp_record()).udp.id == 1
    assert subject.record(udp_record(seen_ns=ns(1.5))).udp.id == 2


def test_a_release_that_is_read_after_the_iterator_found_the_next_socket_at_its_address() -> None:
    subject = UdpTracker(CLOCK)
    subject.record(udp_record(tx_bytes=5))
    subject.record(udp_record(seen_ns=ns(1.5)))
    released = subject.record(udp_record(tx_bytes=6, closed=1)).udp
    assert (released.id, released.closed) == (1, True)
    assert subject.record(udp_record(seen_ns=ns(1.5), closed=1)).udp.id == 2


def test_a_release_of_a_short_lived_socket_leaves_the_next_one_at_its_address_alone() -> None:
    subject = UdpTracker(CLOCK)
    assert subject.record(udp_record(seen_ns=ns(1.5))).udp.id == 1
    assert subject.record(udp_record(closed=1)).udp.id == 2
    assert subject.record(udp_record(seen_ns=ns(1.5), tx_bytes=1)).udp.id == 1
