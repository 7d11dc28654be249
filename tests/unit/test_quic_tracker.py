"""What the first datagrams of a flow make of its row."""

from typing import Any

import pytest

from nettop.kernel import abi
from nettop.model.rows import Answer, RemoteEndpoint, Tls, UdpFlow
from nettop.tracking import quic as tracking
from nettop.tracking.names import NameTable
from nettop.tracking.quic import FlowKey, Greeting, QuicTracker
from nettop.tracking.udp import UdpTracker
from nettop.tracking.udp_flows import UdpFlows
from tests.builders import CLOCK, CURL, NETNS, at, http_head, ns, packed, udp_record
from tests.quic_packets import crypto, initial
from tests.unit.test_quic import HELLO, client_datagrams
from tests.unit.test_udp import FIRST, flow, flow_key, row_of

FAR = bytes(10) + b"\xff\xff" + packed("192.0.2.1")[:4]
KEY = FlowKey(udp_record().socket, ns(1), FAR, 443)
OTHER = FlowKey(udp_record().socket, ns(1), bytes(10) + b"\xff\xff" + packed("192.0.2.2")[:4], 443)
SAID = Tls(server_name="quic.example", ech=False)
NAMED = RemoteEndpoint(address="192.0.2.1", port=443, name="quic.example", name_source="tls")


def datagram(payload: bytes, key: FlowKey = KEY, **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "kind": abi.QUIC_INITIAL,
        "family": 10,
        "remote_address": key.address,
        "remote_port": key.port,
    }
    return http_head(payload, **fields | {"socket": key.socket, "seen_ns": key.seen_ns} | changes)


WHOLE = initial(crypto(0, HELLO))


def test_what_a_client_says() -> None:
    tracker = QuicTracker()
    tracker.head(datagram(client_datagrams("quic-2")[0]))
    greeting = tracker.of(KEY)
    assert greeting == Greeting(2, Tls(server_name="api.quic.example", alpn_offered=("h3",), ech=False), asks=True)
    assert tracker.take_changed() == [(KEY, greeting)]
    assert tracker.take_changed() == []


@pytest.mark.parametrize("bundled", [False, True])
def test_a_hello_over_two_datagrams_in_any_order(bundled: bool) -> None:
    tracker = QuicTracker()
    parts = initial(crypto(60, HELLO[60:])), initial(crypto(0, HELLO[:60]), number=1)
    if bundled:
        tracker.head(datagram(b"".join(parts), number=len(parts[0])))
    else:
        for part in parts:
            tracker.head(datagram(part))
    assert tracker.of(KEY) == Greeting(1, SAID, asks=True)
    assert not tracker._hellos


def test_what_only_looks_like_quic_takes_no_room() -> None:
    tracker = QuicTracker()
    for payload in (WHOLE[:-1], WHOLE[:7] + bytes(1200), b"", bytes(1200)):
        tracker.head(datagram(payload))
    assert (tracker.of(KEY), tracker._hellos, tracker.take_changed()) == (None, {}, [])


def test_an_answer_changes_nothing() -> None:
    tracker = QuicTracker()
    tracker.head(datagram(WHOLE, egress=0))
    tracker.head(datagram(initial(crypto(0, HELLO.replace(b"quic", b"evil"))), egress=1))
    tracker.head(datagram(initial(crypto(0, HELLO.replace(b"quic", b"evil"))), egress=0))
    assert tracker.of(KEY) == Greeting(1, SAID, asks=False)


def test_the_oldest_gives_way_and_is_counted_unless_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "MAX_GREETINGS", 2)
    monkeypatch.setattr(tracking, "MAX_UNFINISHED", 2)
    tracker = QuicTracker()
    part = initial(crypto(0, HELLO[:50]))
    for port in (1, 2):
        tracker.head(datagram(part, KEY._replace(port=port)))
    tracker.take_changed()
    for port in (3, 4, 5):
        tracker.head(datagram(part, KEY._replace(port=port)))
    assert [key.port for key, _ in tracker.take_changed()] == [4, 5]
    assert (tracker.evicted, [key.port for key in tracker._hellos]) == (1, [4, 5])


def subject(greetings: dict[FlowKey, Greeting], names: NameTable | None = None) -> tuple[UdpTracker, UdpFlows]:
    flows = UdpFlows(CLOCK, names or NameTable(), greetings.get)
    return UdpTracker(CLOCK, flows), flows


def said(row: UdpFlow) -> tuple[object, ...]:
    return row.quic_version, row.tls, row.remote and row.remote.name


@pytest.mark.parametrize("late", [False, True])
def test_the_row_of_a_socket(late: bool) -> None:
    """The datagram may be read before the first row is told, or after."""
    greeting = Greeting(1, SAID, asks=True)
    udp, _ = subject({} if late else {KEY: greeting})
    row = row_of(udp.live(udp_record(**FIRST), ns(2)))
    assert said(row) == ((None, None, None) if late else (1, SAID, "quic.example"))
    told = udp.greeted(KEY, greeting, at(2))
    assert [row_of(event).remote for event in told] == ([NAMED] if late else [])
    assert udp.greeted(KEY, greeting, at(2)) == []
    for row in (
        row_of(udp.live(udp_record(**FIRST, tx_bytes=9), ns(3))),
        row_of(udp.released(udp_record(**FIRST, closed=1))),
    ):
        assert said(row) == (1, SAID, "quic.example")
    assert udp.greeted(KEY, greeting, at(4)) == []


@pytest.mark.parametrize("late", [False, True])
def test_the_row_of_a_further_remote_end(late: bool) -> None:
    greeting = Greeting(1, SAID, asks=True)
    udp, flows = subject({} if late else {OTHER: greeting})
    first = row_of(udp.live(udp_record(**FIRST, tx_bytes=9, others_tx_bytes=9), ns(2)))
    table = {flow_key("192.0.2.2", 443): flow(9, 0, 1, 0)}
    (event,), _ = flows.tell(table, ns(2))
    assert said(event.udp) == ((None, None, None) if late else (1, SAID, "quic.example"))
    told = udp.greeted(OTHER, greeting, at(2))
    assert [said(row_of(event)) for event in told] == ([(1, SAID, "quic.example")] if late else [])
    events, _ = flows.tell({flow_key("192.0.2.2", 443): flow(8, 0, 1, 0)}, ns(3))
    assert [said(event.udp) for event in events if event.udp.remote] == [(1, SAID, "quic.example")]
    assert said(first) == said(row_of(udp.live(udp_record(**FIRST, tx_bytes=10, others_tx_bytes=9), ns(3))))
    assert all(said(event.udp) == (None, None, None) for event in events if event.udp.remote is None)


def test_a_server_does_not_name_its_clients() -> None:
    udp, _ = subject({KEY: Greeting(1, SAID, asks=False)})
    assert said(row_of(udp.live(udp_record(**FIRST), ns(2)))) == (1, SAID, None)


def test_a_look_up_of_its_own_is_worth_more() -> None:
    names = NameTable()
    names.learn(CURL, NETNS, "looked.up", (Answer(name="looked.up", type="A", ttl=1, data="192.0.2.1"),))
    udp, _ = subject({KEY: Greeting(1, SAID, asks=True)}, names)
    assert said(row_of(udp.live(udp_record(**FIRST), ns(2)))) == (1, SAID, "looked.up")


def test_another_socket_at_the_same_address_knows_nothing_of_it() -> None:
    udp, _ = subject({KEY: Greeting(1, SAID, asks=True)})
    assert said(row_of(udp.live(udp_record(**FIRST, seen_ns=ns(1.5)), ns(2)))) == (None, None, None)
    assert udp.greeted(KEY, Greeting(1, SAID, asks=True), at(2)) == []
