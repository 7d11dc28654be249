"""Listening sockets from the kernel's records to rows."""

from typing import Any

import pytest

from nettop.kernel import abi
from nettop.kernel.abi import HolderRecord, SocketRecord
from nettop.model.rows import Holder, Listener
from nettop.tracking.listeners import MAX_HOLDERS, ListenerTracker
from tests.builders import CLOCK, NETNS, NGINX, accepted_record, at, comm, listener_record, ns, packed, socket_record

CLOSED = 7
PASS, NEXT = ns(2), ns(3)


def tracker() -> ListenerTracker:
    """One whose last pass was a second before PASS."""
    subject = ListenerTracker(CLOCK)
    subject.finish_pass(ns(1), complete=False)
    return subject


def rows_of(subject: ListenerTracker, pass_ns: int = PASS, **how: Any) -> list[Listener]:
    return [told.event.listener for told in subject.finish_pass(pass_ns, **{"complete": False, **how})]


def only(subject: ListenerTracker, pass_ns: int = PASS, **how: Any) -> Listener:
    (row,) = rows_of(subject, pass_ns, **how)
    return row


def queued(queue: int = 0, limit: int = 511, syn: int = 0, group: int = 0, **changes: Any) -> SocketRecord:
    """As the kernel side lays it out: see abi.h."""
    return listener_record(srtt_us8=queue, rx_bytes=limit, retransmits=syn, tx_bytes=group, **changes)


def test_a_listener() -> None:
    subject = tracker()
    subject.found(queued(3, 511, 2, rx_dropped=5), PASS)
    start_time = CLOCK.wall_of_boot(NGINX.start_boot_ns)
    assert only(subject) == Listener(
        id=1,
        pid=NGINX.pid,
        process_start_time=start_time,
        comm="nginx",
        owner="exact",
        holders=(Holder(pid=NGINX.pid, process_start_time=start_time, comm="nginx"),),
        netns=NETNS,
        family="ipv4",
        address=".".join("0" * 4),
        port=80,
        queue=3,
        queue_limit=511,
        syn_queue=2,
        drops=5,
        drops_per_s=5.0,
        accepted=0,
        open=0,
        opened_at=at(1),
        opened_before_start=False,
    )
    assert rows_of(subject, NEXT)[0].drops_per_s == 0.0  # once more, since the rate has changed
    assert rows_of(subject, ns(4)) == []


def test_rows_are_numbered_as_they_are_told() -> None:
    subject = tracker()
    for number in (3, 1, 2):  # a pass finds them in the order of a hash map
        subject.found(queued(socket=number, local_port=80 + number, opened_ns=ns(number / 10)), PASS)
    assert [(row.id, row.port) for row in rows_of(subject)] == [(1, 81), (2, 82), (3, 83)]


@pytest.mark.parametrize(
    ("changes", "address", "family"),
    [
        ({"family": 10}, "::", "ipv6"),
        ({"family": 10, "local_address": packed("2001:db8::1")}, "2001:db8::1", "ipv6"),
        ({"family": 10, "local_address": packed("::ffff:192.0.2.1")}, "192.0.2.1", "ipv4"),
        ({"local_address": packed("192.0.2.1")}, "192.0.2.1", "ipv4"),
    ],
)
def test_addresses(changes: dict[str, Any], address: str, family: str) -> None:
    subject = tracker()
    subject.found(queued(**changes), PASS)
    row = only(subject)
    assert (row.address, row.family) == (address, family)


@pytest.mark.parametrize(("queue", "full"), [(0, False), (2, False), (3, True)])
def test_it_is_full_when_not_one_more_has_room(queue: int, full: bool) -> None:
    subject = tracker()
    subject.found(queued(queue, 2), PASS)
    row = only(subject)
    assert (row.full, row.failed) == (full, full)


def test_one_older_than_nettop_keeps_apart_what_it_dropped_before() -> None:
    subject = tracker()
    subject.found(queued(flags=abi.SOCKET_LISTENER | abi.SOCKET_OLD, opened_ns=0, rx_dropped=1, error=48), PASS)
    row = only(subject)
    assert (row.opened_at, row.opened_before_start, row.drops, row.drops_before_start) == (None, True, 1, 48)


def test_what_a_socket_dropped_when_it_listened_before_is_not_from_before_nettop() -> None:
    subject = tracker()
    subject.found(queued(error=48), PASS)
    assert only(subject).drops_before_start == 0


def test_where_the_map_was_full_its_beginning_is_unknown() -> None:
    subject = tracker()
    subject.map_was_full = True
    subject.found(queued(flags=abi.SOCKET_LISTENER | abi.SOCKET_OLD, opened_ns=0), PASS)
    assert only(subject).opened_before_start is None


def test_its_end() -> None:
    subject = tracker()
    subject.found(queued(1), PASS)
    subject.finish_pass(PASS, complete=False)
    subject.ended(queued(2, closed=1, time_ns=ns(2.5), rx_dropped=7))
    row = only(subject, NEXT)
    assert (row.id, row.closed, row.closed_at, row.queue, row.drops, row.drops_per_s) == (1, True, at(2.5), 2, 7, 0.0)
    assert not row.failed
    assert rows_of(subject, ns(4)) == []


def test_one_that_lived_shorter_than_a_tick() -> None:
    subject = tracker()
    subject.passed(accepted_record(opened_ns=ns(1.2)))
    subject.ended(queued(closed=1, time_ns=ns(1.5)))
    row = only(subject)
    assert (row.id, row.closed_at, row.accepted, row.open, row.queue_limit) == (1, at(1.5), 1, 0, 511)


def test_one_whose_end_was_lost() -> None:
    subject = tracker()
    subject.found(queued(), PASS)
    subject.finish_pass(PASS, complete=False)
    assert rows_of(subject, NEXT, complete=True) == []  # its end may still come
    row = only(subject, ns(4))
    assert (row.closed, row.closed_at) == (True, None)


def test_one_that_is_found_closed() -> None:
    subject = tracker()
    subject.found(queued(), PASS)
    subject.finish_pass(PASS, complete=False)
    subject.found(queued(state=CLOSED, time_ns=NEXT), NEXT)
    assert only(subject, NEXT).closed


def test_one_that_is_lost_sight_of() -> None:
    subject = tracker()
    subject.found(queued(), PASS)
    subject.finish_pass(PASS, complete=False)
    subject.lose(queued())
    assert only(subject, NEXT).closed
    subject.lose(queued())
    assert rows_of(subject, ns(4)) == []


def test_another_one_at_the_same_kernel_address_is_another_row() -> None:
    subject = tracker()
    subject.found(queued(), PASS)
    subject.finish_pass(PASS, complete=False)
    subject.ended(queued(closed=1, time_ns=ns(2.1)))
    subject.found(queued(seen_ns=ns(2.2), opened_ns=ns(2.2)), NEXT)
    assert [(row.id, row.closed) for row in rows_of(subject, NEXT)] == [(1, True), (2, False)]


# Who holds it


def holder(pid: int, **changes: Any) -> HolderRecord:
    record = listener_record()
    fields: dict[str, Any] = {
        "socket": record.socket, "seen_ns": record.seen_ns, "holder_start_boot_ns": pid, "holder_pid": pid,
        "holder_uid": 33, "holder_comm": comm("worker"),
    }  # fmt: skip
    return HolderRecord(**fields | changes)


def test_every_holder_once_by_pid() -> None:
    subject = tracker()
    subject.found(queued(), PASS)
    subject.hold([holder(902), holder(901), holder(902), holder(7, seen_ns=1), holder(8, socket=1)])
    row = only(subject)
    assert [(each.pid, each.comm) for each in row.holders] == [(901, "worker"), (902, "worker")]
    assert (row.pid, row.holders_cut) == (NGINX.pid, 0)


def test_of_many_holders_the_first_are_named() -> None:
    subject = tracker()
    subject.found(queued(), PASS)
    subject.hold(holder(1_000 + number) for number in range(MAX_HOLDERS + 5))
    row = only(subject)
    assert (len(row.holders), row.holders[0].pid, row.holders_cut) == (MAX_HOLDERS, 1_000, 5)


def test_it_gets_another_owner() -> None:
    subject = tracker()
    subject.found(queued(), PASS)
    subject.finish_pass(PASS, complete=False)
    subject.found(queued(owner_pid=55, owner_comm=comm("heir"), owner_certainty=abi.OWNER_SCANNED), NEXT)
    row = only(subject, NEXT)
    assert (row.id, row.pid, row.comm, row.owner) == (1, 55, "heir", "scanned")


# What comes in


def test_accepted_and_open() -> None:
    subject = tracker()
    subject.found(queued(), PASS)
    through = [subject.opened(accepted_record(socket=number)) for number in range(3)]
    subject.passed(accepted_record(socket=9))
    subject.passed(socket_record(local_port=80))  # outbound
    assert subject.opened(socket_record(local_port=80)) is None
    row = only(subject)
    assert (row.accepted, row.accepted_per_s, row.open) == (4, 4.0, 3)
    subject.closed(through[0])
    subject.closed(None)
    row = only(subject, NEXT)
    assert (row.accepted, row.accepted_per_s, row.open) == (4, 0.0, 2)


def test_connections_older_than_nettop_are_open_and_were_not_accepted_since() -> None:
    subject = tracker()
    subject.found(queued(flags=abi.SOCKET_LISTENER | abi.SOCKET_OLD, opened_ns=0), PASS)
    subject.opened(accepted_record(flags=abi.SOCKET_OLD, opened_ns=0))
    row = only(subject)
    assert (row.accepted, row.open) == (0, 1)


def test_what_waited_in_the_queue_was_accepted_before() -> None:
    subject = tracker()
    subject.found(queued(1, opened_ns=0, flags=abi.SOCKET_LISTENER | abi.SOCKET_OLD), PASS)
    subject.opened(accepted_record(opened_ns=0, flags=abi.SOCKET_INBOUND | abi.SOCKET_OLD))
    row = only(subject)
    assert (row.queue, row.accepted, row.open) == (1, 0, 1)


@pytest.mark.parametrize(("waiting", "known"), [(1, 1), (2, None)])
def test_where_fewer_are_known_than_wait_some_are_not_known(waiting: int, known: int | None) -> None:
    subject = tracker()
    subject.found(queued(waiting, 511, opened_ns=0, flags=abi.SOCKET_LISTENER | abi.SOCKET_OLD), PASS)
    subject.opened(accepted_record(opened_ns=0, flags=abi.SOCKET_INBOUND | abi.SOCKET_OLD))
    assert only(subject).open == known


def test_a_tick_tells_them_in_the_order_in_which_they_began() -> None:
    subject = tracker()
    for second in (3, 1, 2):  # the order of a hash map
        subject.found(queued(socket=0xA000 + second, opened_ns=ns(second)), ns(4))
    assert [row.opened_at for row in rows_of(subject, ns(4))] == [at(1), at(2), at(3)]


def test_an_older_connection_is_not_of_a_listener_that_came_later() -> None:
    subject = tracker()
    subject.found(queued(), PASS)
    assert subject.opened(accepted_record(flags=abi.SOCKET_OLD, opened_ns=0)) is None
    assert only(subject).open == 0


def test_a_server_that_was_restarted_within_a_tick() -> None:
    subject = tracker()
    for opened in (1.1, 1.2, 1.6):
        subject.passed(accepted_record(opened_ns=ns(opened)))
    subject.ended(queued(closed=1, time_ns=ns(1.4)))
    subject.found(queued(socket=2, opened_ns=ns(1.5)), PASS)
    assert [(row.closed, row.accepted) for row in rows_of(subject)] == [(True, 2), (False, 1)]


def test_through_which_of_several_is_not_guessed() -> None:
    subject = tracker()
    subject.found(queued(group=0xA), PASS)
    subject.found(queued(socket=2, group=0xA), PASS)
    subject.found(queued(socket=3, local_port=81, group=0xB), PASS)
    rows = rows_of(subject)
    assert [(row.reuseport, row.accepted, row.open) for row in rows] == [(1, 0, 0), (1, 0, 0), (2, 0, 0)]
    assert subject.opened(accepted_record()) is None
    rows = rows_of(subject, NEXT)
    assert [(row.accepted, row.accepted_per_s, row.open) for row in rows] == [(None, None, None)] * 2


def test_of_one_port_the_address_then_the_family_decides() -> None:
    subject = tracker()
    subject.found(queued(), PASS)
    subject.found(queued(socket=2, family=10), PASS)
    subject.found(queued(socket=3, local_address=packed("192.0.2.10")), PASS)
    mapped = {"family": 10, "local_address": packed("::ffff:192.0.2.99")}
    for record in (
        accepted_record(),
        accepted_record(local_address=packed("192.0.2.99")),
        accepted_record(local_address=packed("192.0.2.98")),
        accepted_record(**mapped),
        accepted_record(family=10, local_address=packed("2001:db8::1")),
        accepted_record(family=10, local_address=packed("2001:db8::2")),
    ):
        subject.passed(record)
    assert [row.accepted for row in rows_of(subject)] == [2, 3, 1]


def test_what_is_counted_only_counts_by_port_and_family() -> None:
    subject = tracker()
    subject.found(queued(), PASS)
    subject.found(queued(socket=2, family=10), PASS)
    subject.unlisted(NETNS, 80, 2, 100)
    subject.unlisted(NETNS, 80, 10, 7)
    subject.unlisted(NETNS, 81, 2, 1_000)
    assert [row.accepted for row in rows_of(subject)] == [100, 7]


def test_what_is_counted_only_may_be_of_one_of_two_addresses() -> None:
    subject = tracker()
    subject.found(queued(local_address=packed("192.0.2.1")), PASS)
    subject.found(queued(socket=2, local_address=packed("192.0.2.2")), PASS)
    subject.unlisted(NETNS, 80, 2, 100)
    assert [row.accepted for row in rows_of(subject)] == [None, None]


def test_rates_of_a_whole_interval_stand() -> None:
    subject = tracker()
    subject.found(queued(rx_dropped=5), PASS)
    subject.passed(accepted_record())
    subject.finish_pass(PASS, complete=False)
    subject.found(queued(rx_dropped=6), ns(2.1))
    row = only(subject, ns(2.1), rates=False)
    assert (row.drops, row.drops_per_s, row.accepted_per_s) == (6, 5.0, 1.0)
    row = only(subject, NEXT)
    assert (row.drops_per_s, row.accepted_per_s) == (1.0, 0.0)
