"""Remote hosts: summed up from connections, UDP flows and what interfaces received."""

from typing import Any

import pytest

from nettop.model.events import AnyEvent, Dropped
from nettop.model.hosts import scope_of
from nettop.model.rows import Dropped as Drops
from nettop.model.rows import Endpoint, InterfacePackets, RemoteEndpoint, RemoteHost
from nettop.model.snapshot import Snapshot
from nettop.model.store import Store, replayed
from tests.builders import (
    CLIENT_ADDRESS,
    NETNS,
    SERVER_ADDRESS,
    at,
    connection,
    host_packets,
    start,
    tick,
    told,
    udp_socket,
)

REMOTE = RemoteEndpoint(address=SERVER_ADDRESS, port=443)


def host(events: list[AnyEvent] | Snapshot, address: str = SERVER_ADDRESS) -> RemoteHost:
    snapshot = events if isinstance(events, Snapshot) else replayed([start(), *events]).snapshot()
    (row,) = [row for row in snapshot.hosts if row.address == address]
    return row


def over(**changes: Any) -> AnyEvent:
    return told(connection(state="closed", end="normal", **changes))


def test_connections_and_flows_are_summed_up() -> None:
    row = host(
        [
            told(connection(tx_bytes=10, rx_bytes=20, srtt_ms=3.0, retransmits=1, tx_packets=4, rx_packets=5)),
            told(connection(tx_bytes=100, rx_bytes=200, srtt_ms=1.0, retransmits=3, tx_packets=40, rx_packets=50)),
            told(connection(id=2, pid=7, comm="wget", tx_bytes=1, srtt_ms=2.0, tx_packets=1, rx_packets=1)),
            over(id=3, tx_bytes=1_000, tx_packets=10, rx_packets=10),
            told(udp_socket(remote=REMOTE, tx_bytes=30, rx_bytes=7, tx_packets=2, rx_packets=1)),
        ]
    )
    assert (row.netns, row.connections, row.udp_flows, row.failed) == (NETNS, 2, 1, 0)
    assert (row.tx_bytes, row.rx_bytes, row.retransmits, row.srtt_ms) == (1_131, 207, 3, 1.5)
    assert (row.tx_packets, row.rx_packets, row.syns) == (53, 62, None)
    assert (row.pids, set(row.comms)) == ((7, 4242), {"wget", "curl"})
    assert (row.name, row.name_source, row.names) == ("www.example.com", "process", ())


def test_only_what_was_carried_since_nettop_started_counts() -> None:
    before = connection(tx_bytes=500, tx_bytes_before_start=480, rx_bytes=7, rx_bytes_before_start=7)
    row = host([told(before)])
    assert (row.tx_bytes, row.rx_bytes) == (20, 0)


def test_failed_connects_are_counted_once() -> None:
    """As those of a process are: what was reset later had been established."""
    refused = told(connection(state="closed", end="refused", connect_ms=None))
    assert host([told(connection(state="closed", end="reset-by-peer"))]).failed == 0
    assert host([told(connection(state="syn-sent")), refused, refused]).failed == 1


def test_rates_are_those_of_the_last_tick() -> None:
    store = replayed(
        [start(), told(connection(tx_bytes=100)), tick(1), told(connection(tx_bytes=400, rx_bytes=50)), tick(3)]
    )
    row = host(store.snapshot())
    assert (row.tx_bytes_per_s, row.rx_bytes_per_s) == (150.0, 25.0)
    store.apply(tick(4))
    assert host(store.snapshot()).tx_bytes_per_s == 0.0


def test_packets_are_those_of_the_interface_with_the_most() -> None:
    """A bridge and its port receive the same ones."""
    row = host(
        [
            told(connection(tx_packets=3, rx_packets=2)),
            told(host_packets(packets=10, bytes=1_000, syns=1)),
            told(host_packets(packets=5, bytes=500, syns=2)),
            told(host_packets(ifindex=5, interface="br0", packets=12, bytes=900, syns=2)),
        ]
    )
    assert (row.rx_packets, row.tx_packets, row.syns) == (15, 3, 3)
    assert row.interfaces == (
        InterfacePackets(ifindex=2, interface="eth0", packets=15, bytes=1_500, syns=3),
        InterfacePackets(ifindex=5, interface="br0", packets=12, bytes=900, syns=2),
    )


def test_a_host_that_no_socket_knows() -> None:
    row = host([told(host_packets(address="203.0.113.9", syns=10)), tick(2)], "203.0.113.9")
    assert (row.pids, row.connections, row.tx_packets, row.rx_packets, row.syns) == ((), 0, None, 10, 10)
    assert (row.pid, row.comm, row.name, row.is_quiet) == (None, None, None, False)


def test_a_host_is_quiet_when_nothing_is_open_and_nothing_came() -> None:
    store = replayed([start(), told(connection()), tick(1)])
    assert not host(store.snapshot()).is_quiet
    store.apply(over())
    store.apply(tick(2))
    assert host(store.snapshot()).is_quiet


@pytest.mark.parametrize(
    ("address", "scope"),
    [
        ("127.0.0.1", "loopback"), ("127.9.9.9", "loopback"), ("::1", "loopback"),
        ("169.254.1.1", "link"), ("fe80::1", "link"), ("224.0.0.251", "link"), ("255.255.255.255", "link"),
        ("ff02::fb", "link"), ("::", "link"), ("0.0.0.0", "link"),
        ("10.1.2.3", "private"), ("172.31.0.1", "private"), ("192.168.0.1", "private"), ("100.64.0.1", "private"),
        ("fd88::1", "private"), ("239.1.1.1", "private"), ("ff05::2", "private"),
        ("172.32.0.1", "public"), ("8.8.8.8", "public"), ("2001:db8::1", "public"), ("233.1.1.1", "public"),
        ("no address", "public"),
    ],
)  # fmt: skip
def test_scopes(address: str, scope: str) -> None:
    assert scope_of(address) == scope


def test_an_address_of_this_network_namespace() -> None:
    mine = RemoteEndpoint(address=CLIENT_ADDRESS, port=80)
    first, second = told(connection(remote=mine, local=Endpoint(address="10.0.0.1", port=1))), told(connection(id=2))
    assert host([first], CLIENT_ADDRESS).scope == "public"
    assert host([first, second], CLIENT_ADDRESS).scope == "host"  # the second is from there
    assert host([first, told(connection(id=2, netns=5))], CLIENT_ADDRESS).scope == "public"
    itself = Endpoint(address=CLIENT_ADDRESS, port=53)
    assert host([told(udp_socket(remote=mine, local=itself))], CLIENT_ADDRESS).scope == "host"


def test_a_name_that_the_owner_asked_for_is_preferred() -> None:
    def named(number: int, name: str, source: str) -> AnyEvent:
        remote = RemoteEndpoint(address=SERVER_ADDRESS, port=443, name=name, name_source=source)  # type: ignore[arg-type]
        return told(connection(id=number, remote=remote))

    row = host([named(1, "a.test", "process"), named(2, "b.test", "process"), named(3, "c.test", "other-process")])
    assert (row.name, row.names) == ("b.test", ("a.test",))
    row = host([named(1, "c.test", "other-process"), named(2, "b.test", "process")])
    assert (row.name, row.names) == ("b.test", ())
    row = host([named(1, "a.test", "tls"), named(2, "c.test", "other-process")])
    assert (row.name, row.name_source, row.names) == ("a.test", "tls", ())
    row = host([named(3, "c.test", "other-process")])
    assert (row.name, row.name_source) == ("c.test", "other-process")


def test_quiet_hosts_are_bounded_and_counted_and_those_with_connections_stay() -> None:
    store = Store({"hosts": 2})
    store.apply(start())
    store.apply(told(connection()))
    for number in range(5):
        store.apply(told(host_packets(address=f"203.0.113.{number}")))
    for second in (1, 2):
        store.apply(tick(second))
    snapshot = store.snapshot()
    assert [row.address for row in snapshot.hosts] == [SERVER_ADDRESS, "203.0.113.3", "203.0.113.4"]
    assert store.snapshot().losses.evicted["hosts"] == 3
    store.apply(told(host_packets(address="203.0.113.0", packets=1)))
    assert host(store.snapshot(), "203.0.113.0").rx_packets == 1


def test_a_recording_of_an_older_nettop_has_no_packets() -> None:
    row = host([told(connection(tx_bytes=5)), told(udp_socket(tx_bytes=9))])
    assert (row.tx_bytes, row.tx_packets, row.rx_packets) == (5, None, None)


@pytest.mark.parametrize(("hooks", "unwanted"), [({"packet_drops": "raw_tracepoint kfree_skb"}, 7), ({}, None)])
def test_packets_that_nobody_listens_for(hooks: dict[str, str], unwanted: int | None) -> None:
    drops = {"NO_SOCKET": 4, "NETFILTER_DROP": 5, "IP_NOPROTO": 3}
    drop = Drops(pid=None, process_start_time=None, netns=NETNS, remote=SERVER_ADDRESS, drops=drops)
    snapshot = replayed([start(hooks=hooks), Dropped(time=at(1), dropped=drop)]).snapshot()
    assert host(snapshot).unwanted_packets == unwanted
