"""Programs that speak QUIC, by aioquic: each function runs in a process of its own, started by lab.Namespace.play()."""

import asyncio
import os
import random
import socket
import ssl
import sys
import time
from collections.abc import Iterable

from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import HandshakeCompleted
from aioquic.quic.packet import QuicProtocolVersion

from tests.live.programs import family_of, hear, say

UDP_SEGMENT = 103  # include/uapi/linux/udp.h
VERSIONS = {1: QuicProtocolVersion.VERSION_1, 2: QuicProtocolVersion.VERSION_2}
INITIAL_BYTES = 1200


def quic_server(address: str, port: int, certificate: str, retry: bool = False) -> None:
    """Completes handshakes; with `retry` only of clients that have shown that they get what is sent to them."""

    async def run() -> None:
        configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
        configuration.load_cert_chain(certificate, certificate)
        await serve(address, port, configuration=configuration, retry=retry)
        say("listening")
        await asyncio.Event().wait()

    asyncio.run(run())


def quic_client(
    *, ends: list[list[object]], name: str, version: int = 1, protocols: int = 0, bundled: bool = False
) -> None:
    """One connection after the other from one socket, which it keeps until it is told to close it.

    So many more `protocols` on offer make the hello longer; `bundled`: what is sent at a time is one packet (GSO).
    """
    with socket.socket(family_of(str(ends[0][0])), socket.SOCK_DGRAM) as udp:
        udp.settimeout(60)
        for address, port in ends:
            assert isinstance(port, int)
            configuration = QuicConfiguration(
                is_client=True,
                alpn_protocols=["h3", *(f"protocol-{number:04}" for number in range(protocols))],
                server_name=name,
                verify_mode=ssl.CERT_NONE,
                original_version=VERSIONS[version],
                supported_versions=[VERSIONS[version]],
            )
            say(_shake_hands(udp, (str(address), port), QuicConnection(configuration=configuration), bundled))
        hear()


def _shake_hands(udp: socket.socket, end: tuple[str, int], connection: QuicConnection, bundled: bool) -> list[int]:
    """Returns how many bytes each datagram of the first flight has."""
    connection.connect(end, now=time.monotonic())
    first: list[int] = []
    while True:
        flight = [payload for payload, _ in connection.datagrams_to_send(now=time.monotonic())]
        first = first or [len(payload) for payload in flight]
        _send(udp, end, flight, bundled)
        while (event := connection.next_event()) is not None:
            if isinstance(event, HandshakeCompleted):
                return first
        connection.receive_datagram(udp.recv(65535), end, now=time.monotonic())


def _send(udp: socket.socket, end: tuple[str, int], flight: list[bytes], bundled: bool) -> None:
    if bundled and len(flight) > 1:
        assert len(set(map(len, flight[:-1]))) == 1
        size = len(flight[0]).to_bytes(2, sys.byteorder)
        udp.sendmsg([b"".join(flight)], [(socket.IPPROTO_UDP, UDP_SEGMENT, size)], 0, end)
        return
    for payload in flight:
        udp.sendto(payload, end)


def look_like_quic(address: str, ports: list[int], each: int) -> None:
    """So many datagrams to each port: they begin as Initial packets do, and the rest is noise."""
    noise = random.Random(4)
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
        for payload, port in _noise(noise, ports, each):
            udp.sendto(payload, (address, port))
        say("sent")
        hear()


def flood_with_quic(address: str, first_port: int, at_once: int, within_s: float) -> None:
    """Such datagrams, each to a port of its own, until so many have gone within so long; says how many there were."""
    noise = random.Random(4)
    sent = 0
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
        fast = False
        while not fast:
            ports = first_port + sent, first_port + sent + at_once
            datagrams = list(_noise(noise, ports, 1))
            begun = time.monotonic()
            for payload, port in datagrams:
                udp.sendto(payload, (address, port))
            fast = time.monotonic() - begun < within_s
            sent += at_once
        say(sent)
        hear()


def _noise(source: random.Random, ports: Iterable[int], each: int) -> Iterable[tuple[bytes, int]]:
    rest = source.randbytes(INITIAL_BYTES - 6)
    for port in range(*ports):
        for _ in range(each):
            yield b"\xc3\0\0\0\1\x08" + os.urandom(8) + rest[8:], port
