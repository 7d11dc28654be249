"""UDP flows and remote hosts: who exchanged what with which address, packets as the kernel's own counters have them."""

import errno
from collections.abc import Iterator
from pathlib import Path

from tests.live import programs
from tests.live.lab import FAR_IPV4, NEAR_IPV4, Program, wait_until
from tests.live.truth import owners, talk
from tests.live.truth.place import Place, without_ipv6
from tests.live.truth.rows import Host
from tests.live.truth.scenario import scenario
from tests.live.truth.tcp_scenarios import ASK, DOWN, FOLLOW, LEAVE, PORT, REPLY, UP, fail

UDP_PORT, CLOSED, FORGED = 7020, 7029, 11
SIZES = [101, 211, 331, 0, 1472]


def received(program: Program) -> int:
    """Packets that came into the program's network namespace (IpExt of /proc/net/netstat), each of a bundle."""
    lines = Path(f"/proc/{program.pid}/net/netstat").read_text().splitlines()
    names, numbers = (line.split() for line in lines if line.startswith("IpExt:"))
    return int(numbers[names.index("InNoECTPkts")])


@scenario("Hosts", "UDP flows: one socket to several far ends, several sockets to one", far=True)
def flows(place: Place) -> Iterator[None]:
    without_ipv6(place)
    yield
    servers = [place.echo(FAR_IPV4, UDP_PORT + number, far=True) for number in range(3)]
    targets: list[tuple[str, int, list[int]]] = [(FAR_IPV4, UDP_PORT + number, SIZES[number:]) for number in range(3)]
    clients = [
        place.run(owners.exchange, source=NEAR_IPV4, targets=some, comm=f"client-{number}")
        for number, some in enumerate((targets, targets[:1], targets[::-1]))
    ]
    sizes = [size for some in (targets, targets[:1], targets) for _, _, sizes in some for size in sizes]
    for netns, address, pids in (
        (place.near.inode, FAR_IPV4, clients),
        (place.far.inode, NEAR_IPV4, servers),
    ):
        place.add(
            Host(
                netns=netns, address=address, scope="private", pids=tuple(sorted(each.pid for each in pids)),
                accepted=0, failed=0, tx_bytes=sum(sizes), rx_bytes=sum(sizes), tx_packets=len(sizes),
                rx_packets=len(sizes), syns=0, unwanted_packets=0,
            )
        )  # fmt: skip
    assert received(servers[0]) == len(sizes)


@scenario("Hosts", "UDP flows over IPv6, within a host")
def flows_ipv6(place: Place) -> Iterator[None]:
    yield
    for number in range(2):
        place.echo("::1", UDP_PORT + number)
    place.run(owners.exchange, source="::1", targets=[["::1", UDP_PORT + number, SIZES] for number in range(2)])


@scenario("Hosts", "connections, refusals and SYNs from everywhere", far=True)
def strangers(place: Place) -> Iterator[None]:
    without_ipv6(place)
    for name in ("all", "veth0"):
        place.far.sysctl(f"net.ipv4.conf.{name}.rp_filter", 0)
    place.far.ip("route", "add", "11.0.0.0/8", "via", NEAR_IPV4)  # their answers come here
    yield
    server = place.serve(FAR_IPV4, PORT, REPLY + FOLLOW, far=True)
    idler = place.play(programs.udp_echo, address=NEAR_IPV4, port=UDP_PORT)
    assert idler.hear() == "bound"
    client = place.run(talk.connect, address=FAR_IPV4, port=PORT, steps=ASK + LEAVE, times=7)
    for _ in range(3):
        fail(place, FAR_IPV4, CLOSED, ("refused", errno.ECONNREFUSED))
    place.written(connections=2 * 7 + 3)
    unlucky = [each.pid for each in place.truth().connections if each.end == "refused"]
    here, there = received(idler), received(server)
    forger = place.play(programs.forge_syns, address=FAR_IPV4, port=CLOSED, sources=FORGED, checksum=True)
    assert forger.hear() == "sent"
    wait_until(lambda: received(server) == there + FORGED, "the forged SYNs")
    wait_until(lambda: received(idler) == here + FORGED, "the resets that answer them")
    place.add(
        Host(
            netns=place.near.inode, address=FAR_IPV4, scope="private", pids=tuple(sorted([client.pid, *unlucky])),
            accepted=0, failed=3, tx_bytes=7 * UP, rx_bytes=7 * DOWN, rx_packets=here + FORGED, syns=0,
            unwanted_packets=0,
        ),
        Host(
            netns=place.far.inode, address=NEAR_IPV4, scope="private", pids=(server.pid,), accepted=7, failed=0,
            tx_bytes=7 * DOWN, rx_bytes=7 * UP, rx_packets=there, syns=7 + 3, unwanted_packets=3,
        ),
        *(
            Host(
                netns=place.far.inode, address=f"11.0.0.{number}", scope="public", pids=(), accepted=0, failed=0,
                tx_bytes=0, rx_bytes=0, rx_packets=1, syns=1, unwanted_packets=1,
            )
            for number in range(FORGED)
        ),
    )  # fmt: skip
