"""Dropped packets, resets and ICMP errors, each with its reason; the kernel's counters and nftables' are witnesses."""

import re
import subprocess
from collections.abc import Iterator

from tests.live import programs
from tests.live.lab import FAR_IPV4, NEAR_IPV4, Namespace
from tests.live.test_drops import snmp
from tests.live.truth import talk
from tests.live.truth.place import PYTHON, Place, without_ipv6
from tests.live.truth.rows import Dropped, Process, Stray
from tests.live.truth.scenario import scenario
from tests.live.truth.tcp_scenarios import ASK, FOLLOW, LOCAL, PORT, REPLY

NOBODY, SWALLOWED = 81, 82
DATAGRAMS, TIMES = 5, 7
DROPPED = "NETFILTER_DROP"
FIREWALL = f"""
    table inet firewall {{
      chain output {{
        type filter hook output priority 0
        tcp dport {SWALLOWED} counter drop
      }}
      chain input {{
        type filter hook input priority 0
        udp dport {SWALLOWED} counter drop
      }}
    }}
    """


def counted_by_firewall(where: Namespace) -> tuple[int, ...]:
    """Packets that came to each rule with a counter, in their order."""
    listed = subprocess.run(where.inside("nft", "list", "ruleset"), check=True, capture_output=True, text=True).stdout
    return tuple(int(number) for number in re.findall(r"counter packets (\d+)", listed))


@scenario("Drops", "datagrams to a port where nobody is", far=True)
def closed_port(place: Place) -> Iterator[None]:
    without_ipv6(place)
    witness = place.play(programs.tcp_server, far=True, address=FAR_IPV4, port=PORT)
    assert witness.hear() == "listening"
    yield
    client = place.play(programs.udp_to_nobody, address=FAR_IPV4, port=NOBODY, datagrams=DATAGRAMS)
    errors = client.hear()
    dropped, sent = snmp(witness, "Udp", "NoPorts"), snmp(witness, "Icmp", "OutDestUnreachs")
    assert dropped == DATAGRAMS
    assert 0 < errors <= sent
    place.add(
        Process(pid=client.pid, comm=PYTHON, udp_tx_bytes=DATAGRAMS, udp_rx_bytes=0),
        Dropped(pid=client.pid, comm=PYTHON, icmp_errors={"ECONNREFUSED": errors}),
        Stray(
            netns=place.far.inode, remote=NEAR_IPV4, drops={"NO_SOCKET": dropped}, icmp_sent={"port-unreachable": sent}
        ),
    )


@scenario("Drops", "what firewalls drop on the way out and in", far=True)
def firewalls(place: Place) -> Iterator[None]:
    without_ipv6(place)
    for side in (place.near, place.far):
        side.nft(FIREWALL)
    yield
    client = place.run(
        talk.connect_in_vain, address=FAR_IPV4, port=SWALLOWED, end="given-up", give_up_s=0.05,
        drops={DROPPED: 1},
    )  # fmt: skip
    flood = place.run(programs.udp_flood, address=FAR_IPV4, port=SWALLOWED, datagrams=DATAGRAMS)
    assert counted_by_firewall(place.near) == (1, 0)
    assert counted_by_firewall(place.far) == (0, DATAGRAMS)
    place.add(
        Dropped(pid=client.pid, comm="unlucky", drops={DROPPED: 1}),
        Process(pid=flood.pid, comm="flooder", udp_tx_bytes=DATAGRAMS, udp_rx_bytes=0),
        Stray(netns=place.far.inode, remote=NEAR_IPV4, drops={DROPPED: DATAGRAMS}),
    )


@scenario("Drops", "resets, and why they were sent")
def resets(place: Place) -> Iterator[None]:
    yield
    server = place.serve(LOCAL, PORT, [*REPLY, ["reset"]])
    client = place.run(talk.connect, address=LOCAL, port=PORT, steps=ASK + FOLLOW, times=TIMES)
    closer = place.serve(LOCAL, PORT + 1, [["send", 8], ["eof"]])
    unread = place.run(talk.connect, address=LOCAL, port=PORT + 1, steps=[["unread", 8], ["abort"]], comm="hasty")
    place.written(connections=2 * TIMES + 2)
    assert snmp(server, "Tcp", "OutRsts") == TIMES + 1
    place.add(
        Dropped(pid=server.pid, comm="server", resets_sent={"TCP_STATE": TIMES}),
        Dropped(pid=client.pid, comm="talker", resets_received=TIMES),
        Dropped(pid=unread.pid, comm="hasty", resets_sent={"TCP_ABORT_ON_CLOSE": 1}),
        Dropped(pid=closer.pid, comm="server", resets_received=1),
    )
