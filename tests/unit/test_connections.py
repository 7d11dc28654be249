"""TCP connections from the kernel's records to rows."""

import errno
from typing import Any

import pytest

from nettop.kernel import abi
from nettop.kernel.abi import ProcessKey, SocketRecord
from nettop.model.rows import Answer, Connection, Endpoint, RemoteEndpoint, TcpState
from nettop.tracking.clock import JIFFY_NS
from nettop.tracking.connections import ConnectionTracker, Observed, how_it_ended, is_over
from nettop.tracking.listeners import ListenerTracker
from nettop.tracking.names import NameTable
from tests.builders import (
    CLIENT_ADDRESS,
    CLOCK,
    CURL,
    NETNS,
    NGINX,
    SERVER_ADDRESS,
    accepted_record,
    at,
    comm,
    listener_record,
    ns,
    packed,
    socket_record,
    without_owner,
)

ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT_1, FIN_WAIT_2 = 1, 2, 3, 4, 5
CLOSED, CLOSE_WAIT, LAST_ACK, CLOSING = 7, 8, 9, 11
EPERM, EACCES, EPIPE, ENETUNREACH, ECONNABORTED, ECONNRESET = 1, 13, 32, 101, 103, 104
ETIMEDOUT, ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH = 110, 111, 112, 113
PASS = ns(2)


class Subject(ConnectionTracker):
    """With the listeners that the connections come in through."""

    def __init__(self, names: NameTable) -> None:
        self.listeners = ListenerTracker(CLOCK)
        super().__init__(CLOCK, names, self.listeners)

    def listener(self, record: SocketRecord, pass_ns: int) -> None:
        self.listeners.found(record, pass_ns)

    def finish_pass(self, pass_ns: int, complete: bool, rates: bool = True, is_last: bool = False) -> list[Observed]:
        output = super().finish_pass(pass_ns, complete, rates, is_last)
        self.listeners.finish_pass(pass_ns, complete, rates)
        return output


def tracker(names: NameTable | None = None) -> Subject:
    """One whose last pass was a second before PASS."""
    subject = Subject(names or NameTable())
    subject.finish_pass(ns(1), complete=False)
    return subject


def rows_of(observations: list[Observed]) -> list[Connection]:
    return [observation.event.connection for observation in observations]


def only(observations: list[Observed]) -> Connection:
    (row,) = rows_of(observations)
    return row


def ended(**changes: Any) -> SocketRecord:
    return socket_record(**{"closed": 1, "time_ns": ns(3), **changes})


def test_a_live_connection() -> None:
    record = socket_record(tx_bytes=500, rx_bytes=70_000, srtt_us8=200_000, retransmits=2, tx_packets=7, rx_packets=9)
    (observation,) = tracker().live(record, PASS)
    assert observation.event.time == at(2)
    assert observation.event.connection == Connection(
        id=1,
        pid=CURL.pid,
        process_start_time=CLOCK.wall_of_boot(CURL.start_boot_ns),
        comm="curl",
        owner="exact",
        netns=NETNS,
        family="ipv4",
        direction="outbound",
        local=Endpoint(address=CLIENT_ADDRESS, port=40_000),
        remote=RemoteEndpoint(address=SERVER_ADDRESS, port=443),
        state="established",
        opened_at=at(1),
        opened_before_start=False,
        connect_ms=25.0,
        state_since=at(1.025),
        states_ms={"syn-sent": 25.0},
        tx_bytes=500,
        rx_bytes=70_000,
        tx_bytes_per_s=500.0,
        rx_bytes_per_s=70_000.0,
        srtt_ms=25.0,
        retransmits=2,
        tx_packets=7,
        rx_packets=9,
    )


def test_segments_are_counted_on_where_the_kernel_begins_anew() -> None:
    subject = tracker()
    told = [only(subject.live(socket_record(tx_packets=count), ns(2 + n))) for n, count in enumerate((2**32 - 2, 3, 9))]
    assert [row.tx_packets for row in told] == [2**32 - 2, 2**32 + 3, 2**32 + 9]


def test_an_end() -> None:
    subject = tracker()
    subject.live(socket_record(), PASS)
    row = only(subject.ended(ended(tx_bytes=600, rx_bytes=80_000, state=FIN_WAIT_2)))
    assert (row.id, row.state, row.end, row.closed_at, row.duration_ms) == (1, "closed", "normal", at(3), 2000.0)
    assert (row.tx_bytes, row.rx_bytes, row.tx_bytes_per_s) == (600, 80_000, 0.0)


def test_a_connection_shorter_than_a_tick() -> None:
    row = only(tracker().ended(ended(time_ns=ns(1.004), tx_bytes=9, state=LAST_ACK)))
    assert (row.id, row.state, row.opened_at, row.duration_ms, row.tx_bytes) == (1, "closed", at(1), 4.0, 9)


def test_ids_are_not_used_again() -> None:
    subject = tracker()
    assert [only(subject.ended(ended(socket=number))).id for number in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("error", "state", "owned", "end"),
    [
        (0, FIN_WAIT_2, 0, "normal"),
        (0, LAST_ACK, 0, "normal"),
        (0, FIN_WAIT_2, 1, "normal"),
        (ECONNRESET, ESTABLISHED, 0, "reset-by-peer"),
        (EPIPE, CLOSE_WAIT, 0, "reset-by-peer"),
        (ECONNABORTED, ESTABLISHED, 1, "reset-by-us"),
        (0, ESTABLISHED, 1, "reset-by-us"),
        (0, CLOSE_WAIT, 1, "reset-by-us"),
        (ECONNREFUSED, SYN_SENT, 0, "refused"),
        (ETIMEDOUT, SYN_SENT, 0, "timeout"),
        (ETIMEDOUT, ESTABLISHED, 0, "timeout"),
        (0, SYN_SENT, 1, "given-up"),
        (ENETUNREACH, SYN_SENT, 0, "unreachable"),
        (EHOSTUNREACH, SYN_SENT, 0, "unreachable"),
        (EHOSTDOWN, SYN_SENT, 0, "unreachable"),
        (EACCES, SYN_SENT, 0, "rejected"),
        (EPERM, ESTABLISHED, 0, "other"),
        (0, SYN_SENT, 0, "other"),
        (0, ESTABLISHED, 0, "other"),
    ],
)
def test_how_it_ended(error: int, state: int, owned: int, end: str) -> None:
    assert how_it_ended(ended(error=error, state=state, owned=owned)) == end


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"unsent": abi.UNSENT_NO_ROUTE, "state": CLOSED}, "no-route"),
        ({"unsent": abi.UNSENT_DENIED, "state": CLOSED}, "denied"),
        ({"unsent": abi.UNSENT_NO_ROUTE_OR_DENIED, "state": CLOSED}, "unsent"),
        ({"unsent": abi.UNSENT_NO_PORT, "state": SYN_SENT}, "no-port"),
        ({"flags": abi.SOCKET_OUTBOUND | abi.SOCKET_REJECTED, "state": SYN_SENT}, "rejected"),
        ({"flags": abi.SOCKET_OUTBOUND | abi.SOCKET_REJECTED, "state": SYN_SENT, "error": ECONNREFUSED}, "refused"),
        ({"flags": abi.SOCKET_OUTBOUND | abi.SOCKET_REJECTED, "state": ESTABLISHED}, "reset-by-us"),
    ],
)
def test_why_a_connect_failed(changes: dict[str, int], end: str) -> None:
    assert how_it_ended(ended(**{"owned": 1, **changes})) == end


def test_a_connect_that_never_left_was_over_at_once() -> None:
    """It is told when its socket is closed, long after."""
    (observed,) = tracker().ended(
        ended(
            unsent=abi.UNSENT_NO_ROUTE, state=CLOSED, owned=1, opened_ns=ns(1), time_ns=ns(3), established_ns=0,
            local_port=0, local_address=bytes(16),
        )
    )  # fmt: skip
    row = observed.event.connection
    assert (observed.event.time, row.opened_at, row.closed_at, row.duration_ms) == (at(3), at(1), at(1), 0)
    assert (row.state, row.end, row.failed, row.connect_ms) == ("closed", "no-route", True, None)
    assert row.local == Endpoint(address="0.0.0.0", port=0)


@pytest.mark.parametrize(("certainty", "owner"), [(abi.OWNER_EXACT, "exact"), (abi.OWNER_SCANNED, "scanned")])
def test_an_owner_that_the_kernel_names(certainty: int, owner: str) -> None:
    row = only(tracker().live(socket_record(owner_certainty=certainty), PASS))
    assert (row.pid, row.owner) == (CURL.pid, owner)


def test_no_owner() -> None:
    row = only(tracker().live(socket_record(**without_owner()), PASS))
    assert (row.pid, row.process_start_time, row.comm, row.owner) == (None, None, None, "unknown")


def test_an_owner_that_is_found_later() -> None:
    subject = tracker()
    subject.live(accepted_record(), PASS)
    subject.finish_pass(PASS, complete=False)
    row = only(subject.live(accepted_record(owner_pid=7, owner_certainty=abi.OWNER_SCANNED), ns(3)))
    assert (row.id, row.pid, row.owner) == (1, 7, "scanned")


def test_an_owner_once_known_is_not_forgotten() -> None:
    subject = tracker()
    subject.listener(listener_record(), PASS)
    subject.live(accepted_record(), PASS)
    subject.listeners.ended(listener_record(closed=1))
    row = only(subject.live(accepted_record(), ns(3)))
    assert (row.pid, row.owner) == (NGINX.pid, "listener")


@pytest.mark.parametrize(
    ("listener", "child"),
    [
        ({}, {}),
        ({"local_address": packed(CLIENT_ADDRESS)}, {}),
        ({"family": 10}, {}),
        (
            {"family": 10},
            {"family": 10, "local_address": packed("2001:db8::1"), "remote_address": packed("2001:db8::2")},
        ),
        (
            {"family": 10},
            {
                "family": 10,
                "local_address": packed("::ffff:192.0.2.10"),
                "remote_address": packed("::ffff:198.51.100.7"),
            },
        ),
        (
            {"family": 10, "local_address": packed("::ffff:192.0.2.10")},
            {
                "family": 10,
                "local_address": packed("::ffff:192.0.2.10"),
                "remote_address": packed("::ffff:198.51.100.7"),
            },
        ),
    ],
    ids=["wildcard", "address", "dual-stack, IPv4 child", "IPv6", "dual-stack, mapped child", "mapped listener"],
)
def test_the_listener_owns_what_came_in(listener: dict[str, Any], child: dict[str, Any]) -> None:
    subject = tracker()
    subject.listener(listener_record(**listener), PASS)
    row = only(subject.live(accepted_record(**child), PASS))
    assert (row.pid, row.comm, row.owner, row.direction) == (NGINX.pid, "nginx", "listener", "inbound")


@pytest.mark.parametrize(
    "listener",
    [
        {"netns": NETNS + 1},
        {"local_port": 81},
        {"local_address": packed("192.0.2.99")},
        {"state": CLOSED},
    ],
    ids=["other network namespace", "other port", "other address", "closed state"],
)
def test_a_listener_elsewhere_owns_nothing(listener: dict[str, Any]) -> None:
    subject = tracker()
    subject.listener(listener_record(**listener), PASS)
    assert only(subject.live(accepted_record(), PASS)).owner == "unknown"


def test_a_listener_on_the_address_comes_before_one_on_all() -> None:
    subject = tracker()
    subject.listener(listener_record(), PASS)
    subject.listener(listener_record(socket=2, owner_pid=55, local_address=packed(CLIENT_ADDRESS)), PASS)
    assert only(subject.live(accepted_record(), PASS)).pid == 55


def test_two_owners_of_one_port_are_not_guessed_between() -> None:
    """SO_REUSEPORT."""
    subject = tracker()
    subject.listener(listener_record(), PASS)
    subject.listener(listener_record(socket=2, owner_pid=55), PASS)
    row = only(subject.live(accepted_record(), PASS))
    assert (row.pid, row.owner) == (None, "unknown")


def test_two_listeners_of_one_owner_are_no_question() -> None:
    subject = tracker()
    subject.listener(listener_record(), PASS)
    subject.listener(listener_record(socket=2, seen_ns=ns(1.5)), PASS)
    row = only(subject.live(accepted_record(), PASS))
    assert (row.pid, row.owner) == (NGINX.pid, "listener")


def test_a_listener_without_an_owner_lends_none() -> None:
    subject = tracker()
    subject.listener(listener_record(**without_owner()), PASS)
    assert only(subject.live(accepted_record(), PASS)).owner == "unknown"


def test_the_listener_does_not_own_what_went_out() -> None:
    subject = tracker()
    subject.listener(listener_record(), PASS)
    row = only(subject.live(socket_record(**without_owner(local_port=80)), PASS))
    assert row.owner == "unknown"


def test_an_inbound_end_without_owner_waits_for_its_listener() -> None:
    subject = tracker()
    assert subject.ended(accepted_record(closed=1, time_ns=ns(1.5), state=FIN_WAIT_2)) == []
    subject.listener(listener_record(), PASS)
    row = only(subject.finish_pass(PASS, complete=False))
    assert (row.pid, row.owner, row.end, row.closed_at) == (NGINX.pid, "listener", "normal", at(1.5))
    assert subject.finish_pass(ns(3), complete=False) == []


def test_an_inbound_end_without_owner_waits_for_one_tick_only() -> None:
    subject = tracker()
    subject.ended(accepted_record(closed=1))
    assert only(subject.finish_pass(PASS, complete=False)).owner == "unknown"


def test_the_end_that_waited_is_that_of_its_row() -> None:
    subject = tracker()
    subject.live(accepted_record(), PASS)
    subject.ended(accepted_record(closed=1, time_ns=ns(2.5)))
    row = only(subject.finish_pass(ns(3), complete=False))
    assert (row.id, row.state, row.end) == (1, "closed", "other")


def test_the_end_that_waited_leaves_the_next_socket_at_its_address_alone() -> None:
    # GIVEN an end that waits, and a newer connection at the address that the iterator has found
    subject = tracker()
    subject.live(accepted_record(), PASS)
    subject.ended(accepted_record(closed=1, time_ns=ns(2.5)))
    new = only(subject.live(accepted_record(seen_ns=ns(2.6), opened_ns=ns(2.6), time_ns=ns(3)), ns(3)))
    # WHEN the tick is over
    old = only(subject.finish_pass(ns(3), complete=False))
    # THEN each has one row
    assert (old.id, old.state, old.closed_at) == (1, "closed", at(2.5))
    assert (new.id, new.state) == (2, "established")
    assert only(subject.live(accepted_record(seen_ns=ns(2.6), opened_ns=ns(2.6), tx_bytes=1), ns(4))).id == 2


def test_an_end_that_is_read_after_the_iterator_found_the_next_socket_at_its_address() -> None:
    # GIVEN a connection whose end lies in a buffer while the iterator already finds its successor
    subject = tracker()
    subject.live(socket_record(tx_bytes=5), PASS)
    new = only(subject.live(socket_record(seen_ns=ns(2.9), opened_ns=ns(2.9), time_ns=ns(3)), ns(3)))
    assert subject.finish_pass(ns(3), complete=False) == []
    # WHEN the end is read
    old = only(subject.ended(ended(time_ns=ns(2.8), tx_bytes=7, state=FIN_WAIT_2)))
    # THEN it is the first one's, and the second lives on
    assert (old.id, old.state, old.end, old.tx_bytes) == (1, "closed", "normal", 7)
    assert (new.id, new.state) == (2, "established")
    end = only(subject.ended(ended(seen_ns=ns(2.9), opened_ns=ns(2.9), time_ns=ns(3.5))))
    assert (end.id, end.state) == (2, "closed")
    assert subject.finish_pass(ns(4), complete=False) == []


def test_an_end_of_a_short_connection_leaves_the_next_socket_at_its_address_alone() -> None:
    subject = tracker()
    new = only(subject.live(socket_record(seen_ns=ns(1.9), opened_ns=ns(1.9)), PASS))
    short = only(subject.ended(ended(time_ns=ns(1.8))))
    assert [(row.id, row.state) for row in (new, short)] == [(1, "established"), (2, "closed")]
    assert only(subject.live(socket_record(seen_ns=ns(1.9), opened_ns=ns(1.9), tx_bytes=1), ns(3))).id == 1


def test_a_connection_whose_address_is_reused_has_vanished_when_no_end_comes() -> None:
    subject = tracker()
    subject.live(socket_record(tx_bytes=5), PASS)
    subject.finish_pass(PASS, complete=False)
    new = only(subject.live(socket_record(seen_ns=ns(2.5), opened_ns=ns(2.5), time_ns=ns(3)), ns(3)))
    assert new.id == 2
    assert rows_of(subject.finish_pass(ns(3), complete=False)) == []
    subject.live(socket_record(seen_ns=ns(2.5), opened_ns=ns(2.5), time_ns=ns(4)), ns(4))
    old = only(subject.finish_pass(ns(4), complete=False))
    assert (old.id, old.state, old.closed_at, old.duration_ms, old.end) == (1, "closed", None, None, None)
    assert (old.tx_bytes, old.tx_bytes_per_s) == (5, 0.0)


def test_the_end_of_the_next_socket_at_an_address_says_that_the_first_has_vanished() -> None:
    subject = tracker()
    subject.live(socket_record(), PASS)
    old, new = rows_of(subject.ended(ended(seen_ns=ns(2.5), opened_ns=ns(2.5))))
    assert (old.id, old.state, old.end, old.closed_at) == (1, "closed", None, None)
    assert (new.id, new.state, new.end, new.closed_at) == (2, "closed", "other", at(3))


def test_a_complete_pass_without_a_connection_says_that_it_has_vanished() -> None:
    # GIVEN two connections, and lost events
    subject = tracker()
    subject.live(socket_record(socket=1), PASS)
    subject.live(socket_record(socket=2), PASS)
    subject.finish_pass(PASS, complete=False)
    # WHEN a pass over every socket finds one
    subject.live(socket_record(socket=2), ns(3))
    assert subject.finish_pass(ns(3), complete=True) == []
    # THEN the other is over, unless its end was only late
    row = only(subject.finish_pass(ns(4), complete=False))
    assert (row.id, row.state, row.closed_at, row.end) == (1, "closed", None, None)


def test_a_complete_pass_does_not_take_a_late_end_away() -> None:
    subject = tracker()
    subject.live(socket_record(), PASS)
    subject.finish_pass(ns(2.9), complete=True)
    row = only(subject.ended(ended(state=FIN_WAIT_2)))
    assert (row.id, row.state, row.end, row.closed_at) == (1, "closed", "normal", at(3))
    assert subject.finish_pass(ns(4), complete=False) == []


def test_a_pass_that_is_not_complete_says_nothing_of_what_it_leaves_out() -> None:
    subject = tracker()
    subject.live(socket_record(), PASS)
    subject.finish_pass(PASS, complete=False)
    assert subject.finish_pass(ns(3), complete=False) == []
    assert subject.finish_pass(ns(4), complete=False) == []


def test_rates_are_those_of_the_last_interval() -> None:
    subject = tracker()
    first = only(subject.live(socket_record(tx_bytes=100, rx_bytes=1000), PASS))
    subject.finish_pass(PASS, complete=False)
    second = only(subject.live(socket_record(tx_bytes=150, rx_bytes=4000), ns(4)))
    assert (first.tx_bytes_per_s, first.rx_bytes_per_s) == (100.0, 1000.0)
    assert (second.tx_bytes_per_s, second.rx_bytes_per_s) == (25.0, 1500.0)


def test_a_pass_without_rates_leaves_those_of_the_last_interval() -> None:
    subject = tracker()
    subject.live(socket_record(tx_bytes=100), PASS)
    subject.finish_pass(PASS, complete=False)
    row = only(subject.live(socket_record(tx_bytes=150), PASS + 1_000_000, rates=False))
    assert (row.tx_bytes, row.tx_bytes_per_s) == (150, 100.0)
    assert subject.finish_pass(PASS + 1_000_000, complete=False, rates=False) == []


def test_rates_return_to_zero_when_a_connection_stands_still() -> None:
    subject = tracker()
    subject.live(socket_record(tx_bytes=100), PASS)
    assert subject.finish_pass(PASS, complete=False) == []
    row = only(subject.finish_pass(ns(3), complete=False))
    assert (row.id, row.tx_bytes, row.tx_bytes_per_s, row.rx_bytes_per_s) == (1, 100, 0.0, 0.0)
    assert subject.finish_pass(ns(4), complete=False) == []


def test_the_end_of_the_first_leaves_the_rates_of_the_next_socket_at_its_address_alone() -> None:
    subject = tracker()
    subject.live(socket_record(), PASS)
    subject.finish_pass(PASS, complete=False)
    subject.live(socket_record(seen_ns=ns(2.9), opened_ns=ns(2.9), tx_bytes=100), ns(3))
    subject.finish_pass(ns(3), complete=False)
    subject.ended(ended(time_ns=ns(2.8)))
    row = only(subject.finish_pass(ns(4), complete=False))
    assert (row.id, row.state, row.tx_bytes_per_s) == (2, "established", 0.0)


def test_a_connection_that_ended_while_it_moved_is_told_once() -> None:
    subject = tracker()
    subject.live(socket_record(tx_bytes=100), PASS)
    subject.finish_pass(PASS, complete=False)
    subject.ended(ended())
    assert subject.finish_pass(ns(3), complete=False) == []


def old_record(**changes: Any) -> SocketRecord:
    return socket_record(
        **{
            "flags": abi.SOCKET_OLD,
            "opened_ns": 0,
            "established_ns": 0,
            "owner_certainty": abi.OWNER_SCANNED,
            "kept_tx_bytes": 1000,
            "kept_rx_bytes": 9000,
            "tx_bytes": 1100,
            "rx_bytes": 9000,
            **changes,
        }
    )


def test_a_connection_older_than_nettop() -> None:
    subject = tracker()
    row = only(subject.live(old_record(), PASS))
    assert (row.opened_at, row.opened_before_start, row.direction, row.connect_ms) == (None, True, "unknown", None)
    assert (row.tx_bytes, row.tx_bytes_before_start, row.rx_bytes_before_start) == (1100, 1000, 9000)
    assert (row.tx_bytes_per_s, row.rx_bytes_per_s) == (100.0, 0.0)
    end = only(subject.ended(old_record(closed=1, time_ns=ns(3), state=FIN_WAIT_2)))
    assert (end.id, end.closed_at, end.duration_ms, end.end) == (1, at(3), None, "normal")


@pytest.mark.parametrize(
    ("listening_on", "changes", "direction"),
    [
        (40_000, {}, "inbound"),
        (443, {}, "outbound"),
        (80, {}, "unknown"),
        (None, {"asker": abi.SPEAKER_REMOTE}, "inbound"),  # it has its listener's limit: the kernel side is sure
    ],
)
def test_who_opened_an_older_connection(listening_on: int | None, changes: dict[str, Any], direction: str) -> None:
    subject = tracker()
    if listening_on is not None:
        subject.listener(listener_record(local_port=listening_on), PASS)
    assert only(subject.live(old_record(**changes), PASS)).direction == direction


def test_an_older_connection_that_is_reset_has_not_failed_to_connect() -> None:
    subject = tracker()
    subject.listener(listener_record(local_port=443), PASS)
    subject.live(old_record(), PASS)
    end = only(subject.ended(old_record(closed=1, time_ns=ns(3), error=errno.ECONNRESET)))
    assert (end.direction, end.end, end.connect_ms, end.failed_to_connect) == ("outbound", "reset-by-peer", None, False)


def test_a_listener_that_is_found_later_tells_who_opened_an_older_connection() -> None:
    subject = tracker()
    assert only(subject.live(old_record(), PASS)).direction == "unknown"
    subject.listener(listener_record(local_port=40_000), PASS)
    assert only(subject.live(old_record(time_ns=ns(3)), ns(3))).direction == "inbound"
    subject.listeners.ended(listener_record(local_port=40_000, time_ns=ns(4)))
    assert only(subject.live(old_record(time_ns=ns(5)), ns(5))).direction == "inbound"


def test_where_the_map_was_full_a_missed_beginning_is_no_sign_of_age() -> None:
    subject = tracker()
    subject.map_was_full = True
    assert only(subject.ended(old_record(closed=1))).opened_before_start is None


@pytest.mark.parametrize(
    ("error", "owned", "end"), [(ECONNREFUSED, 0, "refused"), (ETIMEDOUT, 0, "timeout"), (0, 1, "given-up")]
)
def test_a_failed_connect_has_its_local_port(error: int, owned: int, end: str) -> None:
    """At SYN_SENT the iterator may have found none yet."""
    subject = tracker()
    connecting = {"established_ns": 0, "state": SYN_SENT}
    first = only(subject.live(socket_record(local_port=0, local_address=bytes(16), **connecting), PASS))
    row = only(subject.ended(ended(error=error, owned=owned, **connecting)))
    assert (first.local, first.state) == (Endpoint(address="0.0.0.0", port=0), "syn-sent")
    assert (row.id, row.local, row.connect_ms, row.end) == (
        1,
        Endpoint(address=CLIENT_ADDRESS, port=40_000),
        None,
        end,
    )


def test_an_inbound_connection_has_no_time_to_connect() -> None:
    assert only(tracker().live(accepted_record(), PASS)).connect_ms is None


def test_counters_beyond_32_bits() -> None:
    record = socket_record(tx_bytes=2**40 + 1, rx_bytes=2**63, kept_tx_bytes=2**33, retransmits=2**32 - 1)
    row = only(tracker().live(record, PASS))
    assert (row.tx_bytes, row.rx_bytes, row.tx_bytes_before_start) == (2**40 + 1, 2**63, 2**33)
    assert row.retransmits == 2**32 - 1


@pytest.mark.parametrize(
    ("address", "family", "shown"),
    [
        ("2001:db8::7", "ipv6", "2001:db8::7"),
        ("::ffff:198.51.100.7", "ipv4", "198.51.100.7"),
        ("::1", "ipv6", "::1"),
        ("fe80::1", "ipv6", "fe80::1"),
    ],
)
def test_a_mapped_address_is_ipv4_to_a_person(address: str, family: str, shown: str) -> None:
    record = socket_record(family=10, local_address=packed("::1"), remote_address=packed(address))
    row = only(tracker().live(record, PASS))
    assert (row.family, row.remote.address) == (family, shown)


@pytest.mark.parametrize(
    ("number", "state"),
    [
        (1, "established"),
        (2, "syn-sent"),
        (3, "syn-recv"),
        (4, "fin-wait-1"),
        (5, "fin-wait-2"),
        (6, "time-wait"),
        (8, "close-wait"),
        (9, "last-ack"),
        (11, "closing"),
        (12, "syn-recv"),
    ],
)
def test_states(number: int, state: str) -> None:
    assert only(tracker().live(socket_record(state=number), PASS)).state == state


@pytest.mark.parametrize(("age_ns", "over"), [(0, False), (9_999_999, False), (10_000_000, True)])
def test_a_socket_that_reads_as_closed_but_is_brand_new_is_left_alone(age_ns: int, over: bool) -> None:
    subject = tracker()
    subject.live(socket_record(seen_ns=PASS), PASS)
    record = socket_record(state=CLOSED, seen_ns=PASS, time_ns=PASS + age_ns)
    assert [row.state for row in rows_of(subject.live(record, ns(3)))] == ["closed"] * over
    assert is_over(record) == over


def test_a_socket_whose_end_the_kernel_side_missed_has_vanished() -> None:
    subject = tracker()
    subject.live(socket_record(), PASS)
    ghost = socket_record(state=CLOSED, time_ns=ns(3))
    row = only(subject.live(ghost, ns(3)))
    assert (row.id, row.state, row.end, row.closed_at) == (1, "closed", None, None)
    assert is_over(ghost)
    assert not is_over(socket_record())


def test_a_listener_that_a_whole_pass_did_not_find_is_gone() -> None:
    subject = tracker()
    subject.listener(listener_record(), PASS)
    subject.finish_pass(ns(3), complete=False)
    assert only(subject.live(accepted_record(), ns(4))).owner == "listener"
    subject.finish_pass(ns(4), complete=True)
    assert only(subject.live(accepted_record(socket=5), ns(5))).owner == "unknown"


def test_a_listener_that_has_ended_owns_nothing_that_comes_later() -> None:
    subject = tracker()
    subject.listener(listener_record(), PASS)
    subject.listeners.ended(listener_record(closed=1, time_ns=ns(2.5)))
    subject.finish_pass(ns(3), complete=False)
    assert only(subject.live(accepted_record(), ns(4))).owner == "unknown"


def test_which_of_several_processes_accepted_is_not_guessed() -> None:
    subject = tracker()
    subject.listener(listener_record(flags=abi.SOCKET_LISTENER | abi.SOCKET_SHARED), PASS)
    assert only(subject.live(accepted_record(), PASS)).owner == "unknown"


def test_an_end_without_owner_waits_for_who_holds_its_listener_now() -> None:
    subject = tracker()
    subject.listener(listener_record(), PASS)
    subject.ended(accepted_record(closed=1))
    assert subject.waits_for_listener
    subject.listener(listener_record(flags=abi.SOCKET_LISTENER | abi.SOCKET_SHARED), ns(3))
    assert only(subject.finish_pass(ns(3), complete=False)).owner == "unknown"
    assert not subject.waits_for_listener


def test_an_end_without_owner_is_of_the_listener_that_has_ended_since() -> None:
    subject = tracker()
    subject.ended(accepted_record(closed=1))
    subject.listeners.ended(listener_record(closed=1))
    assert only(subject.finish_pass(PASS, complete=False)).owner == "listener"
    assert only(subject.live(accepted_record(socket=5), ns(4))).owner == "unknown"


def test_what_a_process_has_is_known() -> None:
    subject = tracker()
    subject.live(socket_record(), PASS)
    subject.listener(listener_record(), PASS)
    assert subject.owned_by({CURL})
    assert subject.listeners.owned_by({NGINX})
    assert not subject.owned_by({ProcessKey(1, 1)})


def test_a_connection_that_is_passed_on_gets_its_new_owner() -> None:
    subject = tracker()
    before = only(subject.live(socket_record(), PASS))
    passed_on = socket_record(
        owner_pid=55, owner_start_boot_ns=9, owner_comm=comm("child"), owner_certainty=abi.OWNER_SCANNED
    )
    row = only(subject.live(passed_on, ns(3)))
    assert (before.pid, before.owner) == (CURL.pid, "exact")
    assert (row.id, row.pid, row.comm, row.owner) == (before.id, 55, "child", "scanned")


def named(process: Any) -> NameTable:
    names = NameTable()
    answers = (Answer(name="www.example.com", type="A", ttl=60, data=SERVER_ADDRESS),)
    names.learn(process, NETNS, "www.example.com", answers)
    return names


def test_the_far_end_goes_by_the_name_that_its_process_looked_up() -> None:
    row = only(tracker(named(CURL)).live(socket_record(), PASS))
    assert (row.remote.name, row.remote.name_source) == ("www.example.com", "process")


def test_a_name_that_another_process_looked_up_is_marked() -> None:
    row = only(tracker(named(NGINX)).live(socket_record(), PASS))
    assert (row.remote.name, row.remote.name_source) == ("www.example.com", "other-process")


def test_a_caller_does_not_go_by_a_name_that_somebody_looked_up() -> None:
    row = only(tracker(named(CURL)).live(accepted_record(), PASS))
    assert (row.remote.name, row.remote.name_source) == (None, None)


def test_the_name_of_the_owner_is_made_printable() -> None:
    row = only(tracker().live(socket_record(owner_comm=comm("\x1b[2J")), PASS))
    assert row.comm == "\\x1b[2J"


def test_a_connection_that_is_lost_sight_of_is_over_as_it_was_known_last() -> None:
    subject = tracker()
    subject.live(socket_record(tx_bytes=10), PASS)
    later = socket_record(owner_pid=55, tx_bytes=99, time_ns=ns(3))
    row = only(subject.lose(later))
    assert (row.pid, row.state, row.end, row.tx_bytes) == (CURL.pid, "closed", None, 10)
    assert subject.lose(later) == []


# Time in each state

OLD: dict[str, Any] = {"flags": abi.SOCKET_OLD, "opened_ns": 0, "established_ns": 0}
INBOUND: dict[str, Any] = {"flags": abi.SOCKET_INBOUND, "established_ns": ns(1)}


@pytest.mark.parametrize(
    ("changes", "states_ms", "since", "closed_first"),
    [
        ({"state": SYN_SENT, "established_ns": 0}, {}, 1, None),
        ({"state": ESTABLISHED}, {"syn-sent": 25.0}, 1.025, None),
        (INBOUND, {}, 1, None),
        ({"state": FIN_WAIT_1, "closing_ns": ns(1.5)}, {"syn-sent": 25.0, "established": 475.0}, 1.5, "local"),
        (
            {"state": FIN_WAIT_2, "closing_ns": ns(1.5), "closing_on_ns": ns(1.6)},
            {"syn-sent": 25.0, "established": 475.0, "fin-wait-1": 100.0}, 1.6, "local",
        ),
        (
            {"state": CLOSING, "closing_ns": ns(1.5), "closing_on_ns": ns(1.6), **INBOUND},
            {"established": 500.0, "fin-wait-1": 100.0}, 1.6, None,
        ),
        ({"state": CLOSE_WAIT, "closing_ns": ns(1.5), **INBOUND}, {"established": 500.0}, 1.5, "remote"),
        (
            {"state": LAST_ACK, "closing_ns": ns(1.5), "closing_on_ns": ns(1.75), **INBOUND},
            {"established": 500.0, "close-wait": 250.0}, 1.75, "remote",
        ),
        # the kernel side has noted the next state already, which the socket is not in yet
        ({"state": ESTABLISHED, "closing_ns": ns(1.9), **INBOUND}, {}, 1, None),
        ({"state": CLOSE_WAIT, "closing_ns": ns(1.5), "closing_on_ns": ns(1.9), **INBOUND}, {"established": 500.0}, 1.5,
         "remote"),
        # Fast Open, and closed before the handshake was over
        ({"state": FIN_WAIT_1, "closing_ns": ns(1), "flags": abi.SOCKET_INBOUND, "established_ns": 0}, {}, 1, "local"),
        ({"state": SYN_RECV, "flags": abi.SOCKET_INBOUND, "established_ns": 0}, {}, None, None),
        # older than nettop, which found it at 1 s
        ({"state": ESTABLISHED, **OLD}, {}, 1, None),
        ({"state": CLOSE_WAIT, **OLD}, {}, 1, "remote"),
        ({"state": CLOSE_WAIT, "closing_ns": ns(1.5), **OLD}, {"established": 500.0}, 1.5, "remote"),
        ({"state": LAST_ACK, "closing_on_ns": ns(1.5), **OLD}, {"close-wait": 500.0}, 1.5, "remote"),
    ],
)  # fmt: skip
def test_how_long_a_connection_was_in_each_state(
    changes: dict[str, Any], states_ms: dict[str, float], since: float | None, closed_first: str | None
) -> None:
    row = only(tracker().live(socket_record(**changes), PASS))
    assert (row.states_ms, row.closed_first) == (states_ms, closed_first)
    assert row.state_since == (None if since is None else at(since))


@pytest.mark.parametrize(
    ("changes", "last"),
    [
        ({"state": SYN_SENT, "established_ns": 0, "error": ETIMEDOUT}, {"syn-sent": 2000.0}),
        ({"state": FIN_WAIT_1, "closing_ns": ns(2)}, {"fin-wait-1": 1000.0}),
        ({"state": FIN_WAIT_2, "closing_ns": ns(2), "closing_on_ns": ns(2.5), "peer_closed": 1}, {"fin-wait-2": 500.0}),
        # the process has closed and the far end has not: the kernel goes on without the socket
        ({"state": FIN_WAIT_2, "closing_ns": ns(2), "closing_on_ns": ns(2.5)}, {}),
        ({"state": FIN_WAIT_2, "closing_ns": ns(2), "closing_on_ns": ns(2.5), "error": ECONNRESET},
         {"fin-wait-2": 500.0}),
        ({"state": LAST_ACK, "closing_ns": ns(2), "closing_on_ns": ns(2.5)}, {"last-ack": 500.0}),
        # its beginning was missed
        ({"state": ESTABLISHED, "seen_ns": ns(3), **OLD}, {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seen_before", [False, True])
def test_the_last_state_lasts_until_the_end(
    changes: dict[str, Any], last: dict[TcpState, float], seen_before: bool
) -> None:
    subject = tracker()
    if seen_before:
        subject.live(socket_record(**OLD | changes if changes["state"] == ESTABLISHED else changes), PASS)
    row = only(subject.ended(ended(**changes)))
    assert {state: row.states_ms[state] for state in last} == last
    assert ("fin-wait-2" in row.states_ms) == ("fin-wait-2" in last)
    assert (row.state, row.state_since) == ("closed", None)
    if "fin-wait-2" in last or changes["state"] in (FIN_WAIT_1, LAST_ACK):
        assert sum(row.states_ms.values()) == row.duration_ms


def test_a_state_that_stands_still_is_not_told_anew() -> None:
    subject = tracker()
    first = only(subject.live(socket_record(state=CLOSE_WAIT, closing_ns=ns(1.5)), PASS))
    again = only(subject.live(socket_record(state=CLOSE_WAIT, closing_ns=ns(1.5), tx_bytes=1), ns(3)))
    assert again.states_ms is first.states_ms
    assert again.in_state_ms("close-wait", at(4)) == 2500.0
    assert again.in_state_ms("established", at(4)) == 475.0
    assert again.in_state_ms("last-ack", at(4)) is None


def test_of_a_connection_that_vanished_only_the_states_that_it_left_are_known() -> None:
    subject = tracker()
    subject.live(socket_record(state=CLOSE_WAIT, closing_ns=ns(1.5)), PASS)
    subject.finish_pass(ns(3), complete=True)
    row = only(subject.finish_pass(ns(4), complete=True))
    assert (row.state, row.state_since, row.closed_first) == ("closed", None, "remote")
    assert row.states_ms == {"syn-sent": 25.0, "established": 475.0}


# For whom a connection waits, from tick to tick

THINKS = {"sending": abi.SENDING_NOTHING, "asker": abi.SPEAKER_LOCAL, "speaker": abi.SPEAKER_LOCAL, "asked": 1}
UNREAD = {**THINKS, "speaker": abi.SPEAKER_REMOTE, "spoke_ns": ns(1.5), "unread_bytes": 100}


def waits(row: Connection) -> tuple[str | None, Any]:
    return row.waits_for, row.waits_since


def test_a_wait_has_the_time_at_which_it_began() -> None:
    subject = tracker()
    asked = only(subject.live(socket_record(spoke_ns=ns(1.75), **THINKS), PASS))
    assert waits(asked) == ("remote", at(1.75))
    assert (asked.recv_queue_bytes, asked.send_queue_bytes) == (0, 0)
    answered = only(subject.live(socket_record(spoke_ns=ns(3), **THINKS | {"speaker": abi.SPEAKER_REMOTE}), ns(4)))
    assert waits(answered) == ("none", None)
    assert answered.turns is not None
    assert (answered.turns.asked_by, answered.turns.count, answered.turns.answered) == ("local", 1, 1)


def test_a_wait_of_which_the_beginning_is_unknown_began_when_it_was_seen() -> None:
    subject = tracker()
    lost = {"sending": abi.SENDING_BUSY, "retries": 1, "unacked_bytes": 5}
    assert waits(only(subject.live(socket_record(**lost), PASS))) == ("network", at(2))
    assert waits(only(subject.live(socket_record(time_ns=ns(3), **lost | {"retries": 2}), ns(3)))) == ("network", at(2))


def test_a_wait_does_not_begin_before_its_connection() -> None:
    """The kernel tells some of these times in jiffies."""
    shut = {"sending": abi.SENDING_RWND_LIMITED, "unsent_bytes": 5, "for_jiffies": int(1.2e9 // JIFFY_NS)}
    assert waits(only(tracker().live(socket_record(**shut), PASS))) == ("remote-window", at(1))


def test_what_is_sent_while_the_network_is_waited_for_waits_with_the_rest() -> None:
    subject = tracker()
    lost = {**THINKS, "sending": abi.SENDING_BUSY, "retries": 1, "unacked_bytes": 5}
    assert waits(only(subject.live(socket_record(spoke_ns=ns(1.5), **lost), PASS))) == ("network", at(1.5))
    later = socket_record(time_ns=ns(3), spoke_ns=ns(2.5), **lost)
    assert waits(only(subject.live(later, ns(3)))) == ("network", at(1.5))


def test_the_end_waits_for_nobody_and_has_the_last_turns() -> None:
    subject = tracker()
    subject.live(socket_record(spoke_ns=ns(1.75), unread_bytes=0, **THINKS), PASS)
    over = ended(asker=abi.SPEAKER_LOCAL, speaker=abi.SPEAKER_REMOTE, asked=2, answers_ns=4_000_000, slowest_us=3_000)
    row = only(subject.ended(over))
    assert waits(row) == (None, None)
    assert (row.recv_queue_bytes, row.send_queue_bytes) == (None, None)
    assert row.turns is not None
    assert (row.turns.answered, row.turns.latency_ms.avg, row.turns.latency_ms.max) == (2, 2.0, 3.0)


def test_what_has_vanished_waits_for_nobody() -> None:
    subject = tracker()
    subject.live(socket_record(spoke_ns=ns(1.75), **THINKS), PASS)
    subject.finish_pass(PASS, complete=False)
    subject.finish_pass(ns(3), complete=True)
    row = only(subject.finish_pass(ns(4), complete=True))
    assert (row.state, row.recv_queue_bytes, *waits(row)) == ("closed", None, None, None)


def test_bytes_are_unread_for_long_if_a_tick_later_nobody_has_read_them() -> None:
    """A socket at which nothing happens is not reported again, so that its row changes with the tick."""
    subject = tracker()
    assert waits(only(subject.live(socket_record(rx_bytes=100, **UNREAD), PASS))) == (None, None)
    assert subject.finish_pass(PASS, complete=False) == []
    assert subject.finish_pass(ns(2.1), complete=False, rates=False) == []
    row = only(subject.finish_pass(ns(3), complete=False))
    assert waits(row) == ("local", at(1.5))
    assert row.recv_queue_bytes == 100
    assert subject.finish_pass(ns(4), complete=False) == []


@pytest.mark.parametrize(
    ("received", "unread", "expected"),
    [
        (100, 100, ("local", at(1.5))),
        (100, 40, ("local", at(1.5))),  # of the same bytes
        (5_000, 4_901, ("local", at(1.5))),
        (5_000, 4_900, (None, None)),  # all have been read that there were
        (5_000, 0, ("none", None)),
    ],
)
def test_bytes_are_unread_for_long_if_some_of_them_were_there_a_tick_ago(
    received: int, unread: int, expected: tuple[str | None, Any]
) -> None:
    subject = tracker()
    subject.live(socket_record(rx_bytes=100, **UNREAD), PASS)
    subject.finish_pass(PASS, complete=False)
    again = socket_record(time_ns=ns(3), rx_bytes=received, **UNREAD | {"unread_bytes": unread})
    assert waits(only(subject.live(again, ns(3)))) == expected


def test_two_passes_of_one_tick_are_no_time() -> None:
    subject = tracker()
    subject.live(socket_record(rx_bytes=100, **UNREAD), PASS)
    assert waits(only(subject.live(socket_record(rx_bytes=100, **UNREAD), PASS))) == (None, None)
    assert waits(only(subject.live(socket_record(rx_bytes=100, **UNREAD), ns(2.1), rates=False))) == (None, None)


OLDER = {**THINKS, "flags": abi.SOCKET_OLD, "opened_ns": 0, "spoke_ns": ns(1.75)}


@pytest.mark.parametrize(
    ("listener", "record", "expected"),
    [
        (None, {}, None),
        ({"local_port": 443}, {}, "remote"),  # where it goes somebody listens: this end connected
        ({"local_port": 443, "netns": 1}, {}, None),
        ({"local_port": 40_000}, {}, "none"),  # but the turns were followed for the other end
        ({"local_port": 40_000}, {"asker": abi.SPEAKER_REMOTE, "speaker": abi.SPEAKER_REMOTE}, "local"),
        (None, {"asker": abi.SPEAKER_REMOTE, "speaker": abi.SPEAKER_REMOTE}, "local"),  # the kernel side is sure
    ],
)
def test_who_asks_on_an_older_connection(
    listener: dict[str, Any] | None, record: dict[str, Any], expected: str | None
) -> None:
    subject = tracker()
    if listener is not None:
        subject.listener(listener_record(**listener), PASS)
    row = only(subject.live(socket_record(**OLDER | record), PASS))
    assert row.waits_for == expected
    assert (row.turns is None) == (expected is None or (listener == {"local_port": 40_000} and not record))


def test_a_listener_on_both_ports_says_nothing_of_an_older_connection() -> None:
    subject = tracker()
    for number, port in enumerate((443, 40_000)):
        subject.listener(listener_record(local_port=port, socket=0xFFFF_8880_0000_2000 + 64 * number), PASS)
    assert only(subject.live(socket_record(**OLDER), PASS)).waits_for is None
    subject.listeners.ended(listener_record(local_port=443, socket=0xFFFF_8880_0000_2000))
    assert only(subject.live(socket_record(time_ns=ns(3), **OLDER), ns(3))).waits_for == "none"
