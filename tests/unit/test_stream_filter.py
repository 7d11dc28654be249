"""A filtered stream tells whole stories."""

import pytest
from msgspec.structs import replace

from nettop.model import events, rows, stream_filter
from nettop.model.filter import Filter
from nettop.model.stream_filter import StreamFilter
from tests.builders import answered, at, connection, dns_query, host_packets, identity, other_socket, tick, udp_socket


def changed(row: rows.Connection) -> events.ConnectionChanged:
    return events.ConnectionChanged(time=at(1), connection=row)


def test_a_row_that_has_passed_is_told_to_its_end() -> None:
    passes = StreamFilter(Filter("state:established")).passes
    row = connection(state="established")
    assert passes(changed(row))
    assert passes(changed(replace(row, state="fin-wait-1")))
    assert passes(changed(replace(row, state="closed", end="normal")))


def test_a_row_that_never_passed_is_not_told() -> None:
    passes = StreamFilter(Filter("state:established")).passes
    assert not passes(changed(connection(state="syn-sent")))
    assert not passes(changed(connection(state="closed", end="refused")))


def test_a_query_that_timed_out_is_told_when_it_is_answered_late() -> None:
    passes = StreamFilter(Filter("dns:timeout")).passes
    row = dns_query(status="timeout")
    assert not passes(events.DnsChanged(time=at(1), dns=replace(row, status="pending")))
    assert passes(events.DnsChanged(time=at(6), dns=row))
    late = answered(id=row.id)
    assert passes(events.DnsChanged(time=at(7), dns=late))
    assert not passes(events.DnsChanged(time=at(8), dns=answered(id=row.id + 1)))


def test_a_query_whose_answer_did_not_arrive_is_told_on() -> None:
    passes = StreamFilter(Filter("dns:answered")).passes
    assert passes(events.DnsChanged(time=at(1), dns=answered()))
    assert passes(events.DnsChanged(time=at(1), dns=dns_query(answers_dropped=1)))


def test_a_raw_socket_passes_with_its_process() -> None:
    passes = StreamFilter(Filter("user:www-data")).passes
    mine, other = identity(user="www-data"), identity(pid=2, user="root")
    for process in (mine, other):
        told = passes(events.ProcessChanged(time=at(1), process=process))
        assert told == (process is mine)
        raw = other_socket(pid=process.pid, process_start_time=process.start_time)
        assert passes(events.OtherChanged(time=at(2), other=raw)) == (process is mine)


def test_a_udp_flow_passes_by_itself() -> None:
    passes = StreamFilter(Filter("port:53")).passes
    for port in (53, 54):
        flow = udp_socket(id=port, remote=rows.RemoteEndpoint(address="192.0.2.53", port=port))
        assert passes(events.UdpChanged(time=at(2), udp=flow)) == (port == 53)


def test_packets_of_a_host_pass_with_its_address() -> None:
    passes = StreamFilter(Filter("host:198.51.100.0/24")).passes
    for address in ("198.51.100.7", "192.0.2.1"):
        counted = events.HostPacketsCounted(time=at(2), host_packets=host_packets(address=address))
        assert passes(counted) == (address == "198.51.100.7")
    assert not StreamFilter(Filter("pid:1")).passes(counted)


def test_what_frames_the_stream_always_passes() -> None:
    passes = StreamFilter(Filter("pid:1")).passes
    assert passes(tick(1))
    assert passes(events.End(time=at(2)))


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_filter, "MAX_ROWS", 5)
    filtered = StreamFilter(Filter("state:established"))
    for number in range(1, stream_filter.MAX_ROWS + 3):
        filtered.passes(changed(connection(id=number, state="established")))
    assert not filtered.passes(changed(connection(id=1, state="close-wait")))
    assert filtered.passes(changed(connection(id=3, state="close-wait")))


def test_what_changed_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_filter, "MAX_ROWS", 2)
    passes = StreamFilter(Filter("state:established")).passes
    for number in (1, 2, 1, 3):
        assert passes(changed(connection(id=number, state="established")))
    assert not passes(changed(connection(id=2, state="close-wait")))
    assert passes(changed(connection(id=1, state="close-wait")))
    assert passes(changed(connection(id=3, state="close-wait")))


def test_what_has_ended_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_filter, "MAX_ROWS", 2)
    passes = StreamFilter(Filter("state:established")).passes
    for row in (
        connection(id=1, state="established"),
        connection(id=2, state="established"),
        connection(id=2, state="closed"),
        connection(id=3, state="established"),
    ):
        assert passes(changed(row))
    assert not passes(changed(connection(id=2, state="close-wait")))
    assert passes(changed(connection(id=1, state="close-wait")))


def test_what_depends_on_the_time_is_judged_when_the_row_changes() -> None:
    passes = StreamFilter(Filter("close-wait:>60s")).passes
    row = connection(state="close-wait", state_since=at(1))
    assert not passes(events.ConnectionChanged(time=at(61), connection=row))
    assert passes(events.ConnectionChanged(time=at(61.5), connection=row))
    assert passes(events.ConnectionChanged(time=at(62), connection=replace(row, state="closed", state_since=None)))
