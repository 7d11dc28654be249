"""Dropped packets, resets and ICMP errors: from the kernel's counts to connections, processes and far ends."""

from collections.abc import Sequence
from typing import Any

import pytest

from nettop.kernel import abi
from nettop.kernel.scope import Scope
from nettop.model import dropped, events, rows
from nettop.model.filter import Filter
from nettop.model.store import Store, replayed
from nettop.model.stream_filter import StreamFilter
from nettop.tracking.tracker import Lookups, Tracker
from tests.builders import (
    CLOCK,
    CURL,
    NETNS,
    NGINX,
    SERVER_ADDRESS,
    accepted_record,
    at,
    drop,
    identity,
    listener_record,
    ns,
    socket_record,
    start,
    stray,
    tick,
    told,
)

HOOKS = (dropped.DROPS, dropped.RESETS_SENT, dropped.RESETS_RECEIVED, dropped.ICMP_SENT, dropped.ICMP_RECEIVED)
FIREWALL = {"NETFILTER_DROP": 2}
ESTABLISHED, SYN_SENT = 1, 2


def reason(_kind: int, number: int) -> str:
    return {12: "NETFILTER_DROP", 3: "NO_SOCKET", 11: "TCP_ABORT_ON_CLOSE", 0: ""}[number]


def tracker(scope: Scope | None = None, hooks: Sequence[str] = HOOKS) -> Tracker:
    subject = Tracker(CLOCK, scope or Scope(), Lookups(lambda _: None, lambda _: None), hooks)
    subject.tick(ns(0.5), complete=False, map_was_full=False)
    return subject


def told_by(
    subject: Tracker, *counted: tuple[abi.DropKey, abi.DropCount], strays: Sequence[Any] = (), seconds: float = 3
) -> list[events.AnyEvent]:
    return subject.dropped(counted, strays, reason, ns(seconds))


def connections(told: Sequence[events.AnyEvent]) -> list[rows.Connection]:
    return [event.connection for event in told if isinstance(event, events.ConnectionChanged)]


def drops(told: Sequence[events.AnyEvent]) -> list[rows.Dropped]:
    return [event.dropped for event in told if isinstance(event, events.Dropped)]


def of_curl(**counts: Any) -> rows.Dropped:
    start_time = CLOCK.wall_of_boot(CURL.start_boot_ns)
    return rows.Dropped(pid=CURL.pid, process_start_time=start_time, netns=NETNS, **counts)


def test_a_live_connection_and_its_process() -> None:
    subject = tracker()
    (row,) = connections(subject.sockets([socket_record()], ns(2)))
    assert (row.drops, row.resets_sent, row.resets_received) == ({}, {}, 0)
    first = told_by(subject, drop(), drop(kind=abi.RESET_RECEIVED, reason=0, packets=1))
    (row,) = connections(first)
    assert (row.drops, row.resets_sent, row.resets_received) == (FIREWALL, {}, 1)
    assert drops(first) == [of_curl(drops=FIREWALL, resets_received=1)]
    (row,) = connections(told_by(subject, drop(packets=5)))
    assert row.drops == {"NETFILTER_DROP": 7}
    (row,) = connections(subject.sockets([socket_record(tx_bytes=9)], ns(4)))
    assert (row.tx_bytes, row.drops) == (9, {"NETFILTER_DROP": 7})


def test_what_no_hook_tells_is_unknown_and_not_nothing() -> None:
    (row,) = connections(tracker(hooks=()).sockets([socket_record()], ns(2)))
    assert (row.drops, row.resets_sent, row.resets_received) == (None, None, None)


def test_the_next_socket_at_the_address_gets_nothing() -> None:
    subject = tracker()
    subject.sockets([socket_record(seen_ns=ns(1.5))], ns(2))
    events_of = told_by(subject, drop())
    assert (connections(events_of), drops(events_of)) == ([], [of_curl(drops=FIREWALL)])


def test_a_process_without_a_connection_that_is_known() -> None:
    """UDP, a listener, a connection that was only counted: the kernel side says who has the socket."""
    told = told_by(tracker(), drop())
    assert [type(event) for event in told] == [events.ProcessChanged, events.Dropped]
    assert drops(told) == [of_curl(drops=FIREWALL)]


def test_a_socket_without_one_known_process() -> None:
    told = told_by(tracker(), drop(owner_pid=0, owner_start_boot_ns=0))
    assert drops(told) == [rows.Dropped(pid=None, process_start_time=None, netns=NETNS, drops=FIREWALL)]


def test_an_accepted_connection_is_its_listeners() -> None:
    subject = tracker()
    subject.sockets([accepted_record(), listener_record()], ns(2))
    (happened,) = drops(told_by(subject, drop(owner_pid=0, owner_start_boot_ns=0)))
    assert happened.pid == NGINX.pid


@pytest.mark.parametrize(
    ("scope", "told_of"), [(Scope(comms=(b"curl",)), 1), (Scope(comms=(b"nginx",)), 0), (Scope(netns=(1,)), 1)]
)
def test_scope(scope: Scope, told_of: int) -> None:
    assert len(drops(told_by(tracker(scope), drop()))) == told_of


def aborted(**changes: Any) -> abi.SocketRecord:
    return socket_record(**{"closed": 1, "owned": 1, "time_ns": ns(3), **changes})


def finish(subject: Tracker, seconds: float, **how: Any) -> list[rows.Connection]:
    return connections(subject.tick(ns(seconds), complete=False, map_was_full=False, **how))


@pytest.mark.parametrize(
    "record",
    [aborted(), aborted(owned=0, dropped=1, state=SYN_SENT, error=110)],
    ids=["a reset follows", "packets were dropped"],
)
def test_an_end_waits_for_its_counts(record: abi.SocketRecord) -> None:
    subject = tracker()
    assert connections(subject.record(record)) == []
    assert finish(subject, 2.9) == []  # counted until then: the reset may have come later
    told_by(subject, drop())
    told_by(subject, drop(kind=abi.RESET_SENT, reason=11, packets=1))
    (row,) = finish(subject, 4)
    assert (row.closed_at, row.drops, row.resets_sent) == (at(3), FIREWALL, {"TCP_ABORT_ON_CLOSE": 1})
    assert finish(subject, 5) == []


def test_an_end_of_which_nothing_was_counted_does_not_wait() -> None:
    assert len(connections(tracker().record(aborted(owned=0, state=9)))) == 1


def test_only_so_many_ends_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nettop.tracking.connections.MAX_WAITING_ENDS", 2)
    subject = tracker()
    assert [len(connections(subject.record(aborted(socket=number)))) for number in range(3)] == [0, 0, 1]
    assert len(finish(subject, 4)) == 2


def test_the_last_tick_waits_for_nothing() -> None:
    subject = tracker()
    subject.record(aborted())
    assert [row.end for row in finish(subject, 3, is_last=True)] == ["reset-by-us"]


def test_strays_by_far_end() -> None:
    told = told_by(
        tracker(),
        strays=[
            stray(),
            stray(1, kind=abi.RESET_SENT),
            stray(2, remote_address=bytes([0x20, 1, 0xD, 0xB8]) + bytes(12), ip_version=6),
        ],
    )
    nobody: dict[str, Any] = {"pid": None, "process_start_time": None, "netns": NETNS}
    assert drops(told) == [
        rows.Dropped(**nobody, remote=SERVER_ADDRESS, drops={"NO_SOCKET": 3}, resets_sent={"NO_SOCKET": 1}),
        rows.Dropped(**nobody, remote="2001:db8::", drops={"NO_SOCKET": 2}),
    ]


# In the store


def happened(**changes: Any) -> events.Dropped:
    who: dict[str, Any] = {
        "pid": CURL.pid,
        "process_start_time": CLOCK.wall_of_boot(CURL.start_boot_ns),
        "netns": NETNS,
    }
    return events.Dropped(time=at(1), dropped=rows.Dropped(**who | changes))


def store(*more: events.AnyEvent, hooks: Sequence[str] = HOOKS) -> Store:
    return replayed([start(hooks=dict.fromkeys(hooks, "")), told(identity()), *more])


def test_totals_of_a_process() -> None:
    subject = store(
        happened(drops={"A": 1}, icmp_errors={"ECONNREFUSED": 4}),
        tick(2),
        happened(drops={"A": 2, "B": 3}, resets_sent={"C": 1}, resets_received=2),
        tick(3),
    )
    (row,) = subject.snapshot().processes
    assert (row.drops, row.resets_sent, row.resets_received) == ({"A": 3, "B": 3}, {"C": 1}, 2)
    assert row.icmp_errors == {"ECONNREFUSED": 4}


@pytest.mark.parametrize(("hooks", "nothing", "none"), [(HOOKS, {}, 0), ((), None, None)])
def test_nothing_or_unknown(hooks: Sequence[str], nothing: Any, none: Any) -> None:
    (row,) = store(tick(2), hooks=hooks).snapshot().processes
    assert (row.drops, row.resets_sent, row.icmp_errors, row.resets_received) == (nothing, nothing, nothing, none)


NOBODY: dict[str, Any] = {"pid": None, "process_start_time": None}


def test_strays_add_up() -> None:
    from_afar = {**NOBODY, "remote": SERVER_ADDRESS}
    subject = store(
        happened(**from_afar, drops={"A": 1}),
        happened(**from_afar, drops={"A": 2}, icmp_sent={"B": 1}),
        happened(**from_afar, drops={"A": 1}, netns=7),
        happened(**NOBODY, resets_received=1),
    )
    assert subject.snapshot().strays == (
        rows.Stray(
            netns=NETNS, remote=SERVER_ADDRESS, drops={"A": 3}, resets_sent={}, resets_received=0, icmp_sent={"B": 1}
        ),
        rows.Stray(netns=7, remote=SERVER_ADDRESS, drops={"A": 1}, resets_sent={}, resets_received=0, icmp_sent={}),
        rows.Stray(netns=NETNS, remote=None, drops={}, resets_sent={}, resets_received=1, icmp_sent={}),
    )


def test_far_ends_beyond_the_room_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropped, "MAX_STRAYS", 2)
    subject = store(*(happened(**NOBODY, remote=f"192.0.2.{number % 5}", drops={"A": 1}) for number in range(10)))
    counted = [(row.netns, row.remote, row.drops) for row in subject.snapshot().strays]
    assert counted == [(NETNS, "192.0.2.0", {"A": 2}), (NETNS, "192.0.2.1", {"A": 2}), (0, None, {"A": 6})]


def test_no_recording_makes_a_count_that_cannot_be_written() -> None:
    most = happened(drops={"A": rows.MAX_COUNT}, resets_received=rows.MAX_COUNT)
    (row,) = store(most, most, tick(2)).snapshot().processes
    assert (row.drops, row.resets_received) == ({"A": rows.MAX_COUNT}, rows.MAX_COUNT)


def test_what_is_dropped_passes_a_filter_with_its_process() -> None:
    passes = StreamFilter(Filter("comm:curl")).passes
    passes(told(identity()))
    assert passes(happened(drops={"A": 1}))
    assert not passes(happened(pid=7, drops={"A": 1}))
    assert not passes(happened(**NOBODY, drops={"A": 1}))
    assert StreamFilter(Filter("")).passes(happened(**NOBODY, drops={"A": 1}))
