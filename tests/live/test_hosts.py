"""Remote hosts and UDP flows: what is counted is what was sent, by whom, and what the interface says."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettop.model.rows import RemoteHost, UdpFlow
from nettop.model.snapshot import Snapshot
from tests.live import programs
from tests.live.lab import (
    FAR_IPV4,
    NEAR_IPV4,
    Namespace,
    Program,
    Watch,
    connections_of,
    listens,
    two_namespaces,
    wait_until,
)
from tests.live.truth import host_scenarios

UDP_PORT, TCP_PORT, CLOSED_PORT = 7020, 7021, 7029
FORGED = 20_000  # more than the kernel's table has room for
ETHERNET_BYTES = 14


@dataclass
class Lab:
    near: Namespace
    far: Namespace
    watch: Watch


@contextmanager
def watched(directory: Path) -> Iterator[Lab]:
    """Two namespaces between which nothing but what a test sends comes, with IPv4 alone and without ARP."""
    with two_namespaces(directory) as (near, far):
        for here, there, address in ((near, far, FAR_IPV4), (far, near, NEAR_IPV4)):
            here.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
            here.sysctl("net.ipv4.conf.all.rp_filter", 0)
            here.sysctl("net.ipv4.conf.veth0.rp_filter", 0)
            here.ip("neigh", "replace", address, "lladdr", there.mac("veth0"), "dev", "veth0")
        with Watch(directory, "--netns", near.name, "--netns", far.name) as watch:
            yield Lab(near, far, watch)


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with watched(directory) as made:
        yield made


def host_of(snapshot: Snapshot, where: Namespace, address: str) -> RemoteHost:
    found = [row for row in snapshot.hosts if (row.netns, row.address) == (where.inode, address)]
    return found[0] if found else RemoteHost(netns=where.inode, address=address, scope="private")


def flows_of(snapshot: Snapshot, program: Program) -> list[UdpFlow]:
    return [row for row in snapshot.udp if row.pid == program.pid]


def received_by(where: Namespace) -> tuple[int, int]:
    """Packets and bytes that an interface received by its own count, without Ethernet headers."""
    command = ["ip", "-n", where.name, "-s", "-j", "link", "show", "veth0"]
    counted = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)[0]["stats64"]["rx"]
    return counted["packets"], counted["bytes"] - ETHERNET_BYTES * counted["packets"]


def test_flows_and_hosts_of_udp(lab: Lab) -> None:
    """Two clients of one server, whose socket has two far ends."""
    server = lab.far.play(programs.udp_echo, address=FAR_IPV4, port=UDP_PORT)
    assert server.hear() == "bound"
    device, before = received_by(lab.far), host_of(lab.watch.up_to_now(), lab.far, NEAR_IPV4)
    sizes = [[101, 211, 331], [1_009] * 5]
    clients = [
        lab.near.play(programs.udp_client, address=FAR_IPV4, port=UDP_PORT, sizes=each, stay=True) for each in sizes
    ]
    for client in clients:
        assert client.hear() == "exchanged"
    total = sum(map(sum, sizes))

    def both_ends(snapshot: Snapshot) -> bool:
        rows = [row for program in (*clients, server) for row in flows_of(snapshot, program)]
        return sum(row.tx_bytes for row in rows) == sum(row.rx_bytes for row in rows) == 2 * total

    lab.watch.until(both_ends, "all bytes at both ends")
    snapshot = lab.watch.up_to_now()
    expected = set()
    for client, each in zip(clients, sizes, strict=True):
        (flow,) = flows_of(snapshot, client)
        assert flow.local is not None
        assert flow.remote is not None
        assert (flow.remote.address, flow.remote.port) == (FAR_IPV4, UDP_PORT)
        assert (flow.tx_bytes, flow.rx_bytes, flow.tx_packets, flow.rx_packets) == (sum(each),) * 2 + (len(each),) * 2
        expected.add((NEAR_IPV4, flow.local.port, sum(each), len(each)))
    found = [row for row in flows_of(snapshot, server) if row.remote is not None and row.local is not None]
    assert len({row.socket for row in found}) == 1
    assert {(row.local.address, row.local.port) for row in found if row.local} == {(FAR_IPV4, UDP_PORT)}
    assert {
        (row.remote.address, row.remote.port, row.rx_bytes, row.tx_packets) for row in found if row.remote
    } == expected
    near, far = host_of(snapshot, lab.near, FAR_IPV4), host_of(snapshot, lab.far, NEAR_IPV4)
    assert (near.udp_flows, near.tx_bytes, near.rx_bytes) == (2, total, total)
    assert set(near.pids) == {client.pid for client in clients}
    assert (far.pids, far.tx_packets, far.scope) == ((server.pid,), sum(map(len, sizes)), "private")
    now = received_by(lab.far)
    assert (far.rx_packets or 0) - (before.rx_packets or 0) == now[0] - device[0] == sum(map(len, sizes))
    assert far.interfaces[0].interface == "veth0"
    assert far.interfaces[0].bytes - sum(each.bytes for each in before.interfaces) == now[1] - device[1]
    for client in clients:
        client.say("close")
        client.end()
    lab.watch.until(
        lambda snapshot: all(row.closed for client in clients for row in flows_of(snapshot, client)), "their ends"
    )


def test_what_one_socket_sends_to_many(lab: Lab) -> None:
    """Further remote ends than the first have rows of their own, and end with the socket."""
    ports = list(range(7100, 7140))
    sender = lab.near.play(programs.send_to_many, address=FAR_IPV4, ports=ports, rounds=3)
    assert sender.hear() == "sent"

    def sent(snapshot: Snapshot) -> dict[int, tuple[int, int | None]]:
        rows = flows_of(snapshot, sender)
        return {row.remote.port: (row.tx_bytes, row.tx_packets) for row in rows if row.remote is not None}

    snapshot = lab.watch.until(
        lambda snapshot: sent(snapshot) == {port: (3 * (port - 7000), 3) for port in ports}, "a row for each"
    )
    assert len({row.socket for row in flows_of(snapshot, sender)}) == 1
    assert all(row.remote is not None for row in flows_of(snapshot, sender))
    sender.say("close")
    sender.end()
    lab.watch.until(lambda snapshot: all(row.closed for row in flows_of(snapshot, sender)), "their end")
    assert {row.udp.tx_bytes for row in lab.watch.events if hasattr(row, "udp") and row.udp.remote is None} <= {0}


def test_a_stream_counts_as_the_packets_that_it_is_made_of(lab: Lab) -> None:
    """As segments leave a socket, so many packets come from the address, though they come in bundles."""
    server = lab.far.play(programs.tcp_server, address=FAR_IPV4, port=TCP_PORT)
    wait_until(lambda: listens(server, TCP_PORT), "the server")
    before, packets = lab.watch.up_to_now(), host_scenarios.received(server)
    client = lab.near.play(programs.tcp_client, address=FAR_IPV4, port=TCP_PORT, sizes=[[3_000_017, 29]])
    client.end()
    lab.watch.settled(client, connections=1)

    def counted(snapshot: Snapshot) -> bool:
        (connection,) = connections_of(snapshot, client)
        there, earlier = host_of(snapshot, lab.far, NEAR_IPV4), host_of(before, lab.far, NEAR_IPV4)
        came = (there.rx_packets or 0) - (earlier.rx_packets or 0)
        # the last segments may leave after the socket has ended
        return came == host_scenarios.received(server) - packets and came >= (connection.tx_packets or 0) > 2_000

    lab.watch.until(counted, "as many packets as segments")
    snapshot = lab.watch.up_to_now()
    there, earlier = host_of(snapshot, lab.far, NEAR_IPV4), host_of(before, lab.far, NEAR_IPV4)
    assert (there.syns or 0) - (earlier.syns or 0) == there.accepted - earlier.accepted == 1


def test_refused_connections_count_as_failed_and_their_syns_as_requests(lab: Lab) -> None:
    before = lab.watch.up_to_now()
    for _ in range(3):
        lab.near.play(programs.tcp_fail, address=FAR_IPV4, port=CLOSED_PORT).end()
    lab.watch.until(
        lambda now: (
            host_of(now, lab.near, FAR_IPV4).failed - host_of(before, lab.near, FAR_IPV4).failed == 3
            and (host_of(now, lab.far, NEAR_IPV4).syns or 0) - (host_of(before, lab.far, NEAR_IPV4).syns or 0) == 3
        ),
        "three refusals",
    )
    if "packet_drops" in before.hooks:  # since Linux 5.17
        lab.watch.until(
            lambda now: (
                (host_of(now, lab.far, NEAR_IPV4).unwanted_packets or 0)
                - (host_of(before, lab.far, NEAR_IPV4).unwanted_packets or 0)
                == 3
            ),
            "three packets that nobody wanted",
        )


def test_own_addresses_and_loopback(lab: Lab) -> None:
    """What goes over loopback is not received by an interface: packets are then those of sockets."""
    for address, scope in ((FAR_IPV4, "host"), ("127.0.0.1", "loopback")):
        server = lab.far.play(programs.udp_echo, address=address, port=UDP_PORT + 5)
        assert server.hear() == "bound"
        client = lab.far.play(programs.udp_client, address=address, port=UDP_PORT + 5, sizes=[7, 9])
        client.end()

        def complete(snapshot: Snapshot, address: str = address, scope: str = scope) -> bool:
            row = host_of(snapshot, lab.far, address)
            return (row.rx_packets, row.tx_bytes, row.syns, row.scope, row.interfaces) == (4, 32, None, scope, ())

        lab.watch.until(complete, f"the traffic with {address}")


def test_a_tag_in_the_frame_is_passed_over(lab: Lab) -> None:
    for source, tags in (("198.51.100.1", 0), ("198.51.100.2", 1)):
        sender = lab.near.play(
            programs.tag_frame, interface="veth0", source=source, destination_mac=lab.far.mac("veth0"), tags=tags
        )
        assert sender.hear() == "sent"

        def came(snapshot: Snapshot, source: str = source) -> bool:
            row = host_of(snapshot, lab.far, source)
            return [(each.packets, each.bytes) for each in row.interfaces] == [(1, 29)]

        snapshot = lab.watch.until(came, f"the datagram of {source}")
        row = host_of(snapshot, lab.far, source)
        assert (row.scope, row.pids, row.tx_bytes, row.rx_bytes) == ("public", (), 0, 0)


def test_a_flood_from_forged_addresses_evicts_nobody_and_is_counted_exactly(directory: Path) -> None:
    with watched(directory) as lab:
        server = lab.far.play(programs.udp_echo, address=FAR_IPV4, port=UDP_PORT)
        assert server.hear() == "bound"
        client = lab.near.play(programs.udp_client, address=FAR_IPV4, port=UDP_PORT, sizes=[100] * 10, stay=True)
        assert client.hear() == "exchanged"
        lab.watch.until(lambda now: host_of(now, lab.far, NEAR_IPV4).rx_packets == 10, "the real host")
        flood = lab.near.play(programs.forge_syns, address=FAR_IPV4, port=CLOSED_PORT, sources=FORGED)
        assert flood.hear() == "sent"
        again = lab.near.play(programs.udp_client, address=FAR_IPV4, port=UDP_PORT, sizes=[100] * 10)
        again.end()

        def all_of_it(now: Snapshot) -> bool:
            forged = [row for row in now.hosts if row.netns == lab.far.inode and row.address.startswith("11.")]
            listed = sum(row.rx_packets or 0 for row in forged) + now.losses.packets_without_host
            real = host_of(now, lab.far, NEAR_IPV4)
            return listed == FORGED and (real.rx_packets, real.syns) == (20, 0)

        snapshot = lab.watch.until(all_of_it, "every forged packet")
        assert sum(row.address.startswith("11.") for row in snapshot.hosts) < FORGED / 2
        client.say("close")
        client.end()


def test_a_tunnel_is_counted_apart_from_what_carries_it(lab: Lab) -> None:
    """Inner packets come from the inner address on the tunnel, outer ones from the outer address on its link."""
    made = []
    for here, to in ((lab.near, FAR_IPV4), (lab.far, NEAR_IPV4)):
        command = ["ip", "-n", here.name, "link", "add", "vx0", "type", "vxlan", "id", "7", "remote", to]
        made.append(subprocess.run([*command, "dstport", "4789"], check=False))
    if any(each.returncode for each in made):
        pytest.skip("this kernel has no VXLAN")
    for here, there, own, to in (
        (lab.near, lab.far, "10.89.0.1", "10.89.0.2"),
        (lab.far, lab.near, "10.89.0.2", "10.89.0.1"),
    ):
        here.ip("addr", "add", f"{own}/24", "dev", "vx0")
        here.ip("link", "set", "vx0", "up")
        here.ip("neigh", "replace", to, "lladdr", there.mac("vx0"), "dev", "vx0")
    before = host_of(lab.watch.up_to_now(), lab.far, NEAR_IPV4)
    sender = lab.near.play(programs.send_to_many, address="10.89.0.2", ports=[7101] * 11, rounds=1)
    assert sender.hear() == "sent"

    def counted(snapshot: Snapshot) -> bool:
        inner, outer = host_of(snapshot, lab.far, "10.89.0.1"), host_of(snapshot, lab.far, NEAR_IPV4)
        seen = [(each.interface, each.packets) for each in inner.interfaces]
        return seen == [("vx0", 11)] and (outer.rx_packets or 0) - (before.rx_packets or 0) == 11

    snapshot = lab.watch.until(counted, "both counts")
    assert [each.interface for each in host_of(snapshot, lab.far, NEAR_IPV4).interfaces] == ["veth0"]
