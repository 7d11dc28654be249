"""Programs that speak TLS: each function runs in a process of its own, started by lab.Namespace.play()."""

import socket
import ssl
from collections.abc import Callable

from tests.live.http_programs import TCP_DEFER_ACCEPT
from tests.live.programs import hear, say, until_acknowledged

VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}


def tls_server(address: str, port: int, certificate: str, version: str, deferred: bool = False) -> None:
    """Answers "ok" on one connection after the other, in this version only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["http/1.1"])
    context.minimum_version = context.maximum_version = VERSIONS[version]
    with socket.create_server((address, port)) as listener:
        if deferred:
            listener.setsockopt(socket.IPPROTO_TCP, TCP_DEFER_ACCEPT, 10)
        say("listening")
        while True:
            tcp, _ = listener.accept()
            with tcp:
                try:
                    tls = context.wrap_socket(tcp, server_side=True)
                    tls.recv(100)
                    tls.sendall(b"ok")
                    tls.recv(1)
                except ssl.SSLError:
                    pass


def tls_client(
    *, address: str, port: int, name: str, version: str, connections: int = 1, segment_bytes: int = 0
) -> None:
    """So many connections, each of which resumes the session before; what is sent lies in segments of this size.

    Says after each how it went, and closes it once it hears something.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.minimum_version = context.maximum_version = VERSIONS[version]
    session = None
    for _ in range(connections):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with socket.create_connection((address, port), timeout=60) as tcp:
            tls = context.wrap_bio(incoming, outgoing, server_hostname=name, session=session)
            try:
                _until_done(tcp, tls, incoming, outgoing, segment_bytes)
            except ssl.SSLError as error:
                say(error.reason)
            else:
                session = tls.session
                say(tls.version())
            hear()


def _until_done(
    tcp: socket.socket, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, segment_bytes: int
) -> None:
    """Handshake, question and answer."""
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    steps: list[Callable[[], object]] = [tls.do_handshake, lambda: tls.write(b"what"), lambda: tls.read(2)]
    while steps:
        try:
            steps[0]()
            steps.pop(0)
            waits = False
        except ssl.SSLWantReadError:
            waits = True
        _send(tcp, outgoing.read(), segment_bytes)
        if waits:
            chunk = tcp.recv(1 << 16)
            if not chunk:
                incoming.write_eof()
            incoming.write(chunk)


def _send(tcp: socket.socket, payload: bytes, segment_bytes: int) -> None:
    """In segments, each sent once the one before is acknowledged."""
    size = segment_bytes or len(payload) or 1
    for at in range(0, len(payload), size):
        tcp.sendall(payload[at : at + size])
        if segment_bytes:
            until_acknowledged(tcp)
