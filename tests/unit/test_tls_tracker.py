"""What the hellos of real programs become, and what none of them is allowed to."""

import pytest

from nettop.kernel import abi
from nettop.model.rows import Tls
from nettop.protocols.tls import ClientHello, ServerHello, TlsAlert, parse
from nettop.tracking import tls as tracking
from nettop.tracking.tls import TlsTracker
from tests.builders import http_head, socket_record
from tests.captured import conversation
from tests.unit.test_tls import hello, server_name

RECORD = socket_record()
_KINDS = {ClientHello: abi.TLS_CLIENT_HELLO, ServerHello: abi.TLS_SERVER_HELLO, TlsAlert: abi.TLS_ALERT}


def played(name: str) -> TlsTracker:
    """A segment every ten milliseconds."""
    tracker = TlsTracker()
    for number, segment in enumerate(conversation(name)):
        message = parse(segment.payload)
        if message is not None:
            seconds = 1 + number / 100
            tracker.head(http_head(segment.payload, seconds, kind=_KINDS[type(message)], seq=segment.sequence))
    return tracker


def test_both_hellos() -> None:
    tracker = played("tls13")
    row = tracker.of(RECORD)
    assert row == Tls(
        server_name="api.shop.example",
        alpn_offered=("h2", "http/1.1"),
        version="TLS 1.3",
        cipher="TLS_AES_256_GCM_SHA384",
        resumed=False,
        ech=False,
        handshake_ms=10.0,
    )
    assert tracker.take_changed() == [((RECORD.socket, RECORD.seen_ns), row)]
    assert tracker.take_changed() == []


def test_a_server_that_asks_again_has_chosen_the_second_time() -> None:
    row = played("tls13-retry").of(RECORD)
    assert row is not None
    assert (row.version, row.resumed) == ("TLS 1.3", False)
    assert row.handshake_ms is not None
    assert row.handshake_ms > 10.0


def test_an_alert() -> None:
    row = played("tls13-refused").of(RECORD)
    assert row is not None
    assert row.alert is not None
    assert row.version is None


def test_a_hello_in_three_segments() -> None:
    payload = conversation("tls13")[0].payload
    tracker = TlsTracker()
    for number, at in enumerate(range(0, len(payload), 120)):
        kind = abi.TLS_REST if number else abi.TLS_CLIENT_HELLO
        tracker.head(http_head(payload[at : at + 120], kind=kind, seq=(2**32 - 100 + at) % 2**32))
    row = tracker.of(RECORD)
    assert row is not None
    assert (row.server_name, row.alpn_offered) == ("api.shop.example", ("h2", "http/1.1"))


def test_what_does_not_go_on_where_the_hello_ended_is_none_of_it() -> None:
    payload = conversation("tls13")[0].payload
    tracker = TlsTracker()
    tracker.head(http_head(payload[:70], kind=abi.TLS_CLIENT_HELLO, seq=1))
    tracker.head(http_head(payload[100:], kind=abi.TLS_REST, seq=101))
    row = tracker.of(RECORD)
    assert row is not None
    assert row.server_name is None


def test_another_connection_at_the_same_address_knows_nothing_of_it() -> None:
    tracker = played("tls13")
    assert tracker.of(socket_record(seen_ns=RECORD.seen_ns + 1)) is None
    tracker.forget((RECORD.socket, RECORD.seen_ns))
    assert tracker.of(RECORD) is None
    assert tracker.take_changed() == []


def test_the_oldest_gives_way_and_is_counted_unless_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "MAX_HANDSHAKES", 2)
    tracker = TlsTracker()
    greeting = hello(server_name(b"a.test"))
    for socket in (1, 2):
        tracker.head(http_head(greeting, socket=socket, kind=abi.TLS_CLIENT_HELLO))
    tracker.take_changed()
    for socket in (3, 4, 5):
        tracker.head(http_head(greeting, socket=socket, kind=abi.TLS_CLIENT_HELLO))
    assert tracker.evicted == 1
    assert [socket for (socket, _), _ in tracker.take_changed()] == [4, 5]


def test_a_hello_that_came_before_its_socket_was_there() -> None:
    early = http_head(conversation("tls13")[0].payload, socket=0, seen_ns=0, kind=abi.TLS_CLIENT_HELLO)
    by_record, by_answer = TlsTracker(), TlsTracker()
    by_record.head(early)
    by_answer.head(early)
    by_answer.head(http_head(conversation("tls13")[1].payload, 1.25, kind=abi.TLS_SERVER_HELLO))
    for tracker in (by_record, by_answer):
        row = tracker.of(RECORD)
        assert row is not None
        assert row.server_name == "api.shop.example"
    answered = by_answer.of(RECORD)
    assert answered is not None
    assert answered.handshake_ms == 250.0
    assert by_record.of(socket_record(seen_ns=RECORD.seen_ns + 1)) is None
