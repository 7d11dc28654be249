"""Handshakes of TLS by real programs: each connection has what both hellos say, at both ends, and never a secret."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from operator import itemgetter
from pathlib import Path

import pytest

from nettop.model.rows import Connection, Tls
from nettop.model.snapshot import Snapshot
from tests.live import tls_programs
from tests.live.lab import Namespace, Program, Watch, connections_of, namespace
from tests.live.lab import certificate as lab_certificate

LOOPBACK, NAME = "127.0.0.1", "shop.nettop.test"
_ports = count(8400)


@dataclass
class Lab:
    inside: Namespace
    watch: Watch
    certificate: Path

    def server(self, version: str, deferred: bool = False) -> tuple[Program, int]:
        port = next(_ports)
        server = self.inside.play(
            tls_programs.tls_server, address=LOOPBACK, port=port, certificate=str(self.certificate), version=version,
            deferred=deferred,
        )  # fmt: skip
        assert server.hear() == "listening"
        return server, port

    def client(self, port: int, version: str, connections: int = 1, segment_bytes: int = 0) -> Program:
        return self.inside.play(
            tls_programs.tls_client, address=LOOPBACK, port=port, name=NAME, version=version, connections=connections,
            segment_bytes=segment_bytes,
        )  # fmt: skip


@pytest.fixture(scope="module")
def certificate(directory: Path) -> Path:
    return lab_certificate(directory / "certificate.pem", NAME)


@pytest.fixture(scope="module")
def lab(directory: Path, certificate: Path) -> Iterator[Lab]:
    with namespace(directory) as inside, Watch(directory, "--netns", str(inside.path)) as watch:
        yield Lab(inside, watch, certificate)


def greeted(snapshot: Snapshot, program: Program) -> list[Tls]:
    """In the order in which they were made; a pass tells rows in the order of a hash map."""
    greeting = [(row.opened_at, row.tls) for row in connections_of(snapshot, program) if row.tls and row.opened_at]
    return [tls for _, tls in sorted(greeting, key=itemgetter(0))]


def test_what_the_hellos_say_is_known_while_the_connection_is_open(lab: Lab) -> None:
    server, port = lab.server("TLS 1.3")
    client = lab.client(port, "TLS 1.3")
    assert client.hear() == "TLSv1.3"
    snapshot = lab.watch.until(
        lambda s: all(any(tls.version for tls in greeted(s, end)) for end in (client, server)), "hellos at both ends"
    )
    for end in (client, server):
        (tls,) = greeted(snapshot, end)
        assert (tls.server_name, tls.version, tls.cipher) == (NAME, "TLS 1.3", "TLS_AES_256_GCM_SHA384")
        assert (tls.alpn, tls.alpn_offered, tls.resumed, tls.ech, tls.alert) == (
            None, ("h2", "http/1.1"), False, False, None
        )  # fmt: skip
        assert tls.handshake_ms is not None
        assert 0 < tls.handshake_ms < 60_000
    assert [named(row) for row in connections_of(snapshot, client)] == [(NAME, "tls")]
    assert [named(row) for row in connections_of(snapshot, server)] == [(None, None)]
    client.say("close")
    client.end()
    snapshot = lab.watch.up_to_now()
    assert [named(row) for row in connections_of(snapshot, client)] == [(NAME, "tls")]


def named(row: Connection) -> tuple[str | None, str | None]:
    return row.remote.name, row.remote.name_source


@pytest.mark.parametrize(("version", "chosen"), [("TLS 1.2", "http/1.1"), ("TLS 1.3", None)])
def test_a_session_that_is_resumed(lab: Lab, version: str, chosen: str | None) -> None:
    server, port = lab.server(version)
    client = lab.client(port, version, connections=2)
    for _ in range(2):
        assert client.hear() == version.replace(" ", "v")
        client.say("close")
    client.end()
    snapshot = lab.watch.up_to_now()
    for end in (client, server):
        rows = greeted(snapshot, end)
        assert [(tls.version, tls.alpn, tls.resumed) for tls in rows] == [(version, chosen, f) for f in (False, True)]


def test_a_listener_that_waits_for_the_hello(lab: Lab) -> None:
    """As Apache does: it completes the handshake of TCP, when there is no socket yet."""
    server, port = lab.server("TLS 1.3", deferred=True)
    client = lab.client(port, "TLS 1.3")
    assert client.hear() == "TLSv1.3"
    client.say("close")
    client.end()
    snapshot = lab.watch.up_to_now()
    for end in (client, server):
        assert [(tls.server_name, tls.version) for tls in greeted(snapshot, end)] == [(NAME, "TLS 1.3")]


def test_a_hello_in_small_segments(lab: Lab) -> None:
    server, port = lab.server("TLS 1.3")
    client = lab.client(port, "TLS 1.3", segment_bytes=50)
    assert client.hear() == "TLSv1.3"
    client.say("close")
    client.end()
    snapshot = lab.watch.up_to_now()
    for end in (client, server):
        assert [(tls.server_name, tls.alpn_offered) for tls in greeted(snapshot, end)] == [(NAME, ("h2", "http/1.1"))]


def test_a_handshake_that_fails(lab: Lab) -> None:
    server, port = lab.server("TLS 1.3")
    client = lab.client(port, "TLS 1.2")
    assert client.hear() == "TLSV1_ALERT_PROTOCOL_VERSION"
    client.say("close")
    client.end()
    snapshot = lab.watch.up_to_now()
    for end in (client, server):
        assert [(tls.server_name, tls.version, tls.alert) for tls in greeted(snapshot, end)] == [
            (NAME, None, "protocol_version")
        ]


def test_nothing_is_looked_at_if_it_is_switched_off(
    directory: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETTOP_REQUESTS_ENABLED", "false")
    with namespace(directory) as inside, Watch(directory, "--netns", str(inside.path)) as watch:
        off = Lab(inside, watch, certificate)
        _, port = off.server("TLS 1.3")
        client = off.client(port, "TLS 1.3")
        assert client.hear() == "TLSv1.3"
        client.say("close")
        client.end()
        snapshot = watch.settled(client, connections=1)
        assert all(row.tls is None and row.remote.name is None for row in snapshot.connections)
        watch.stop()


def test_openssl(lab: Lab) -> None:
    """Another implementation, which offers less."""
    server, port = lab.server("TLS 1.2")
    client = lab.inside.start(
        "openssl", "s_client", "-connect", f"{LOOPBACK}:{port}", "-noservername", "-tls1_2", "-quiet", "-no_ign_eof"
    )
    snapshot = lab.watch.until(lambda s: any(tls.version for tls in greeted(s, client)), "the server's hello")
    (tls,) = greeted(snapshot, client)
    assert (tls.server_name, tls.alpn_offered, tls.version, tls.alpn) == (None, (), "TLS 1.2", None)
    client.stop()
    assert [tls.version for tls in greeted(lab.watch.up_to_now(), server)] == ["TLS 1.2"]
