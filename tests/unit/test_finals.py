"""A stream that tells each row once, and that still replays to the same rows."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from nettop.model import events, rows
from nettop.model import finals as subject
from nettop.model.finals import Finals
from nettop.model.kinds import HOSTS, KIND_OF_EVENT
from nettop.model.store import replayed
from tests.builders import (
    a_recording,
    answered,
    at,
    connection,
    dns_query,
    host_packets,
    identity,
    listener,
    lookup,
    other_socket,
    request,
    start,
    tick,
    told,
    udp_socket,
)


def after(*given: events.AnyEvent) -> list[events.AnyEvent]:
    finals = Finals()
    return [said for event in (start(), *given) for said in finals.take(event)]


def row(event: events.AnyEvent) -> Any:
    return getattr(event, KIND_OF_EVENT[type(event)].told)


def told_rows(said: Iterable[events.AnyEvent]) -> list[Any]:
    return [row(event) for event in said if type(event) in KIND_OF_EVENT]


END = events.End(time=at(100))


def test_a_connection_is_told_when_it_is_closed() -> None:
    closed = connection(state="closed", tx_bytes=9)
    assert told_rows(after(told(connection()), told(connection(tx_bytes=5)), tick(50))) == []
    assert told_rows(after(told(connection()), told(closed), tick(50), END)) == [closed]


@pytest.mark.parametrize(
    ("open_row", "over"),
    [
        (udp_socket(), udp_socket(closed=True)),
        (listener(), listener(closed=True)),
        (identity(), identity(exited_at=at(1))),
        (dns_query(), answered()),
        (dns_query(), dns_query(status="timeout")),
        (request(status=None, latency_ms=None), request()),
        (request(protocol="grpc"), request(protocol="grpc", grpc_status=0)),
        (lookup(status="pending", result=None, latency_ms=None), lookup()),
        (lookup(status="pending", result=None, latency_ms=None), lookup(status="abandoned", result=None)),
    ],
)
def test_each_kind_has_its_end(open_row: Any, over: Any) -> None:
    assert told_rows(after(told(open_row), tick(50))) == []
    assert told_rows(after(told(open_row), told(over, 2), tick(2 + 5))) == [over]
    assert told_rows(after(told(open_row), END)) == [open_row]


def test_an_answer_that_is_taken_back_is_waited_for() -> None:
    late = answered(rcode="SERVFAIL")
    given = (told(dns_query(), 1), told(answered(), 2), tick(3), told(dns_query(attempts=2), 4), tick(20))
    assert told_rows(after(*given)) == []
    assert told_rows(after(*given, told(late, 21), tick(22), tick(26))) == [late]


def test_every_kind_with_rows_of_its_own_in_a_stream_is_held() -> None:
    assert set(subject._OVER) == {*KIND_OF_EVENT.values()} - {HOSTS}, "hosts are told as increments"


def test_a_look_up_whose_record_comes_late_is_told_with_it() -> None:
    unknown = lookup(status="unknown", result=None, latency_ms=None)
    assert told_rows(after(told(unknown, 1), tick(2), told(lookup(), 3), tick(4), tick(8), END)) == [lookup()]


def test_what_was_told_is_not_told_again() -> None:
    said = after(told(answered(), 1), tick(6), told(answered(answers_dropped=1), 7), tick(20), END)
    assert told_rows(said) == [answered()]


def test_nor_after_many_others() -> None:
    """An answer that comes half a minute after its time-out, on a host with thousands of queries a second."""
    finals, many = Finals(), subject.MAX_TOLD + 1_000
    timeout, answer = dns_query(status="timeout"), answered()
    others = (told(msgspec.structs.replace(answer, id=number), 2) for number in range(2, many))
    given = (start(), told(timeout), tick(7), *others, tick(20), told(answer, 21), tick(30), END)
    said = Counter(each.id for event in given for each in told_rows(finals.take(event)))
    assert (len(said), max(said.values())) == (many - 1, 1)


def test_what_is_remembered_of_what_was_told_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_BLOCKS", 2)
    known = subject._ToldNumbers()
    for number in (1, subject.NUMBERS_EACH, 2 * subject.NUMBERS_EACH, 2):
        known.add(number)
    assert [number in known for number in (1, 2, subject.NUMBERS_EACH, 2 * subject.NUMBERS_EACH)] == [
        False, False, True, True,
    ]  # fmt: skip


def test_increments_stay_and_sums_come_at_the_end() -> None:
    losses = [events.LossesChanged(time=at(number), losses=rows.Losses(dns_unasked=number)) for number in (1, 2)]
    more = [told(host_packets(packets=number)) for number in (3, 4)]
    dropped = events.Dropped(time=at(1), dropped=rows.Dropped(pid=None, process_start_time=None, netns=1))
    sockets = [told(other_socket(tx_bytes=1)), told(other_socket(tx_bytes=2)), told(other_socket(id=2, closed=True))]
    said = after(*losses, *more, dropped, *sockets, tick(2), tick(3), END)
    plain = [msgspec.structs.replace(event, origin=msgspec.UNSET) for event in said]
    assert plain == [start(), *more, dropped, sockets[2], sockets[1], losses[1], tick(3), END]


def test_every_line_says_where_it_comes_from() -> None:
    host = rows.Host(name="web1", kernel="6.1.0", arch="x86_64", boot_id="b007", id="5" * 32)
    finals = Finals()
    said = [told_ for event in (start(host=host), told(connection()), END) for told_ in finals.take(event)]
    origin = events.Origin(host="web1", host_id="5" * 32, boot_id="b007", started_at=start().time)
    assert [event.origin for event in said] == [origin] * 3
    line = msgspec.json.decode(msgspec.json.encode(said[1]))
    assert line["origin"]["host_id"] == "5" * 32


def test_other_streams_have_no_origin() -> None:
    assert b"origin" not in msgspec.json.encode(told(connection()))


def test_each_row_once_and_the_same_as_the_whole_stream_replays_to() -> None:
    whole = a_recording()
    finals = Finals()
    said = [told_ for event in whole for told_ in finals.take(event)]
    assert max(Counter((type(event), KIND_OF_EVENT[type(event)].key(row(event)))
                       for event in said if type(event) in KIND_OF_EVENT).values()) == 1  # fmt: skip
    once, all_of_it = replayed(said).snapshot(), replayed(whole).snapshot()
    assert (once.connections, once.dns, once.udp, once.listeners) == (
        all_of_it.connections, all_of_it.dns, all_of_it.udp, all_of_it.listeners,
    )  # fmt: skip
    assert once.losses == all_of_it.losses


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_HELD", 3)
    monkeypatch.setattr(subject, "MAX_TOLD", 2)
    said = after(*(told(connection(id=number)) for number in range(1, 6)))
    assert [each.id for each in told_rows(said)] == [1, 2]
