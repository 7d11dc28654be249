"""Connections of QUIC by aioquic: both ends have what the client's first packets say, however they are sent."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from nettop.model.rows import UdpFlow
from nettop.model.snapshot import Snapshot
from tests.live import programs, quic_programs
from tests.live.lab import PATIENCE_S, Namespace, Program, Watch, check_snapshot, namespace, snapshot_running
from tests.live.lab import certificate as lab_certificate

ADDRESSES = {"ipv4": "127.0.0.1", "ipv6": "::1"}
NAME = "video.nettop.test"
LONG = 110  # protocols, with which a hello takes two datagrams
FLOOD = 1_000  # in half a second,
LOOKED_AT = 300 + 500 // 2  # of which that many at once and so many a second are looked at (bpf/quic.c)
_ports = count(8440)


@dataclass
class Lab:
    inside: Namespace
    watch: Watch
    certificate: Path

    def server(self, address: str = ADDRESSES["ipv4"], retry: bool = False) -> tuple[Program, int]:
        port = next(_ports)
        server = self.inside.play(
            quic_programs.quic_server, address=address, port=port, certificate=str(self.certificate), retry=retry
        )
        assert server.hear() == "listening"
        return server, port

    def client(
        self, *ports: int, address: str = ADDRESSES["ipv4"], version: int = 1, protocols: int = 0, bundled: bool = False
    ) -> Program:
        """Has said nothing yet."""
        return self.inside.play(
            quic_programs.quic_client, ends=[[address, port] for port in ports], name=NAME, version=version,
            protocols=protocols, bundled=bundled,
        )  # fmt: skip


@pytest.fixture(scope="module")
def certificate(directory: Path) -> Path:
    return lab_certificate(directory / "quic.pem", NAME)


@contextmanager
def watched(directory: Path, certificate: Path, *scope: str) -> Iterator[Lab]:
    with namespace(directory) as inside, Watch(directory, *(scope or ("--netns", str(inside.path)))) as watch:
        yield Lab(inside, watch, certificate)
        watch.stop()


@pytest.fixture(scope="module")
def lab(directory: Path, certificate: Path) -> Iterator[Lab]:
    with watched(directory, certificate) as made:
        yield made


def flows_of(snapshot: Snapshot, program: Program) -> list[UdpFlow]:
    return [row for row in snapshot.udp if row.pid == program.pid]


def names(snapshot: Snapshot, program: Program) -> list[str | None]:
    return [row.tls.server_name for row in flows_of(snapshot, program) if row.tls is not None]


def until_named(watch: Watch, *ends: Program, times: int = 1) -> Snapshot:
    return watch.until(lambda s: all(names(s, end) == [NAME] * times for end in ends), "the name at each end")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("version", [1, 2])
def test_both_ends_know_what_the_client_has_said(lab: Lab, family: str, version: int) -> None:
    server, port = lab.server(ADDRESSES[family])
    client = lab.client(port, address=ADDRESSES[family], version=version)
    assert len(client.hear()) == 1
    snapshot = until_named(lab.watch, client, server)
    for end in (client, server):
        (row,) = flows_of(snapshot, end)
        assert row.tls is not None
        assert (row.quic_version, row.tls.alpn_offered, row.tls.ech, row.tls.version) == (version, ("h3",), False, None)
        assert row.remote is not None
        assert (row.remote.name, row.remote.name_source) == ((NAME, "tls") if end is client else (None, None))
    assert [(host.name, host.name_source) for host in snapshot.hosts if host.address == ADDRESSES[family]] == [
        (NAME, "tls")
    ]
    client.say("close")
    client.end()
    snapshot = lab.watch.until(lambda s: all(row.closed for row in flows_of(s, client)), "its end")
    assert names(snapshot, client) == [NAME]


def test_a_server_that_sends_the_client_away_first(lab: Lab) -> None:
    """Retry: the hello comes again, under keys of another connection ID."""
    server, port = lab.server(retry=True)
    client = lab.client(port, protocols=LONG)
    assert len(client.hear()) == 2
    until_named(lab.watch, client, server)


@pytest.mark.parametrize("bundled", [False, True], ids=["two packets", "one packet"])
def test_a_hello_over_two_datagrams(lab: Lab, bundled: bool) -> None:
    server, port = lab.server()
    client = lab.client(port, protocols=LONG, bundled=bundled)
    assert len(client.hear()) == 2
    snapshot = until_named(lab.watch, client, server)
    for end in (client, server):
        (row,) = flows_of(snapshot, end)
        assert row.tls is not None
        assert row.tls.alpn_offered[:2] == ("h3", "protocol-0000")


def test_several_connections_of_one_socket(lab: Lab) -> None:
    servers = [lab.server() for _ in range(3)]
    client = lab.client(*(port for _, port in servers))
    for _ in servers:
        client.hear()
    snapshot = until_named(lab.watch, client, times=3)
    assert {row.remote.name for row in flows_of(snapshot, client) if row.remote} == {NAME}
    until_named(lab.watch, *(server for server, _ in servers))


def test_what_only_looks_like_quic(lab: Lab) -> None:
    sink = lab.inside.play(programs.udp_sink, address=ADDRESSES["ipv4"], port=7100)
    assert sink.hear() == "bound"
    sender = lab.inside.play(quic_programs.look_like_quic, address=ADDRESSES["ipv4"], ports=[7100, 7101], each=20)
    assert sender.hear() == "sent"
    snapshot = lab.watch.until(lambda s: sum(row.tx_packets or 0 for row in flows_of(s, sender)) == 20, "its datagrams")
    assert [(row.tls, row.quic_version) for row in flows_of(lab.watch.up_to_now(), sender)] == [(None, None)]
    assert snapshot.losses.handshakes_left_out == 0
    server, port = lab.server()
    client = lab.client(port)
    client.hear()
    until_named(lab.watch, client, server)


def test_of_a_flood_a_bounded_number_is_looked_at(directory: Path, certificate: Path) -> None:
    """By a snapshot: a stream tells everything that its buffers hold."""
    with watched(directory, certificate) as lab, snapshot_running("--netns", lab.inside.name) as nettop:
        sender = lab.inside.play(
            quic_programs.flood_with_quic, address=ADDRESSES["ipv4"], first_port=10_000, at_once=FLOOD, within_s=0.5
        )
        sent = sender.hear()
        time.sleep(1)  # what may be looked at at once is due again after 0.6 s
        server, port = lab.server()
        client = lab.client(port)
        client.hear()
        until_named(lab.watch, client, server)
        nettop.terminate()
        output, errors = nettop.communicate(timeout=PATIENCE_S)
    assert (nettop.returncode, errors) == (0, b"")
    snapshot = check_snapshot(output)
    assert sum(row.tx_packets or 0 for row in flows_of(snapshot, sender)) == sent
    assert snapshot.losses.handshakes_left_out >= FLOOD - LOOKED_AT
    for end in (client, server):
        assert names(snapshot, end) == [NAME]


@pytest.mark.parametrize("scope", ["--pid", "--comm"])
def test_a_scope(directory: Path, certificate: Path, scope: str) -> None:
    """Of a process: the other end's row is not there, nor is its name."""
    with namespace(directory) as inside:
        port = next(_ports)
        server = inside.play(
            quic_programs.quic_server, address=ADDRESSES["ipv4"], port=port, certificate=str(certificate)
        )
        assert server.hear() == "listening"
        wanted = str(server.pid) if scope == "--pid" else Path(f"/proc/{server.pid}/comm").read_text().strip()
        with Watch(directory, scope, wanted) as watch:
            client = Lab(inside, watch, certificate).client(port)
            client.hear()
            if scope == "--pid":
                until_named(watch, server)
                assert not flows_of(watch.up_to_now(), client)
            else:  # they have the same
                until_named(watch, server, client)


def test_nothing_is_looked_at_if_it_is_switched_off(
    directory: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETTOP_REQUESTS_ENABLED", "false")
    with watched(directory, certificate) as lab:
        server, port = lab.server()
        client = lab.client(port)
        client.hear()
        snapshot = lab.watch.until(lambda s: bool(flows_of(s, client) and flows_of(s, server)), "both rows")
        assert all(row.tls is None and row.remote and row.remote.name is None for row in snapshot.udp)
