"""DNS on other ports than 53: what --dns-ports names is seen, mDNS with its multicast answers too, and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettop.model.events import Start
from nettop.model.rows import DnsQuery
from tests.live import multicast
from tests.live.lab import Namespace, Program, Watch, dns_of, dnsmasq, namespace

ADDRESS = "127.0.0.1"
PORTS = (53, 5353, 5355, 8053)
UNWATCHED = 8054


@dataclass
class Lab:
    inside: Namespace
    watch: Watch


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with namespace(directory) as inside:
        inside.ip("link", "set", "lo", "multicast", "on")
        inside.ip("route", "add", "224.0.0.0/4", "dev", "lo")
        for port in (5355, 8053, UNWATCHED):
            dnsmasq(inside, [ADDRESS], "--host-record=www.test,192.0.2.10", port=port)
        ports = ",".join(map(str, PORTS))
        with Watch(directory, "--netns", inside.name, "--dns-ports", ports) as watch:
            yield Lab(inside, watch)
            watch.stop()


def asked_by(lab: Lab, program: Program, queries: int, connections: int = 0) -> list[DnsQuery]:
    return dns_of(lab.watch.settled(program, dns=queries, connections=connections), program)


def test_the_recording_tells_which_ports(lab: Lab) -> None:
    start = lab.watch.events[0]
    assert isinstance(start, Start)
    assert start.scope.dns_ports == PORTS


@pytest.mark.parametrize("port", [5355, 8053])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_port_that_is_watched(lab: Lab, port: int, transport: str) -> None:
    program = lab.inside.start("dig", f"@{ADDRESS}", "-p", str(port), f"+{'no' * (transport == 'udp')}tcp", "www.test")
    program.end()
    (row,) = asked_by(lab, program, 1, connections=int(transport == "tcp"))
    assert (row.qname, row.status, row.rcode, row.transport) == ("www.test", "answered", "NOERROR", transport)
    assert row.server.port == port


def test_a_port_that_is_not(lab: Lab) -> None:
    elsewhere = lab.inside.start("dig", f"@{ADDRESS}", "-p", str(UNWATCHED), "www.test")
    elsewhere.end()
    watched = lab.inside.start("dig", f"@{ADDRESS}", "-p", "8053", "www.test")
    watched.end()
    assert len(asked_by(lab, watched, 1)) == 1
    assert asked_by(lab, elsewhere, 0) == []


def test_multicast_dns(lab: Lab) -> None:
    responder = lab.inside.play(multicast.respond, address=ADDRESS, names=["a.local", "b.local"])
    assert responder.hear() == "responding"
    program = lab.inside.play(multicast.ask, address=ADDRESS, names=["a.local", "nobody.local", "b.local"], answers=2)
    client_ms = program.hear() / 1e6
    program.end()
    rows = asked_by(lab, program, 3)
    assert [(row.qname, row.status, [each.data for each in row.answers]) for row in rows] == [
        ("a.local", "answered", ["192.0.2.9"]),
        ("nobody.local", "timeout", []),
        ("b.local", "answered", ["192.0.2.9"]),
    ]
    assert all((row.server.address, row.server.port, row.txid) == ("224.0.0.251", 5353, 0) for row in rows)
    assert rows[0].latency_ms is not None
    assert 0 < rows[0].latency_ms <= client_ms
    assert asked_by(lab, responder, 0) == []
