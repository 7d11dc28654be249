"""The work that is watched: real clients against real servers, in a network namespace of its own.

Each load starts its server once; run() is one measurement of a client's, which ends by itself.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from ipaddress import IPv4Address
from pathlib import Path

from tests.live.lab import Namespace, Program, certificate, dnsmasq, listens, wait_until

ADDRESS = "127.0.0.1"
HTTP_PORT, HTTP2_PORT, HTTPS_PORT, IPERF_PORT = 8080, 8081, 8443, 5201
FIRST_CONNECTION, CONNECTION_PORT = int(IPv4Address("127.1.0.0")), 7000  # as in connections.c
ZONE = "bench.test"
FAR_TOO_MANY = 1 << 24  # of what is ended by time
GRACE_S = 30.0  # beyond the time of a measurement
_NGINX = """
daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 1000000000;
  server {{ listen {address}:{port}{options}; location / {{ return 200 "hello\\n"; }} }} }}
"""


@dataclass(frozen=True)
class Done:
    """What a client did; `pid` is the client's, where one process made all of it."""

    per_s: float
    offered: int | None = None
    completed: int | None = None
    pid: int | None = None


@dataclass(frozen=True)
class Load:
    """`serve` keeps its server while one measures, `run` makes the traffic for so many seconds."""

    name: str
    unit: str
    serve: Callable[[Namespace, Path], Program | None]
    run: Callable[[Namespace, Path, float], Done]


class HungError(Exception):
    """A client that did not end; it has been ended."""


class Server:
    """A load's server. Where a client hung it may serve nobody any more: begin() makes another."""

    def __init__(self, load: Load, where: Namespace, directory: Path) -> None:
        self._serve = partial(load.serve, where, directory)
        self._program: Program | None = None

    def begin(self) -> None:
        self.stop()
        self._program = self._serve()

    def stop(self) -> None:
        if self._program is not None:
            self._program.stop()


@contextmanager
def served(load: Load, where: Namespace, directory: Path) -> Iterator[Server]:
    """The load's server for a while."""
    server = Server(load, where, directory)
    try:
        server.begin()
        yield server
    finally:
        server.stop()


def said_by(client: Program, patience_s: float) -> str:
    """What a client says until its end. Raises HungError."""
    try:
        return client.end(patience_s)
    except AssertionError as error:
        if client.exit_code is not None:
            raise
        client.stop()
        raise HungError(f"it did not end within {patience_s:g} s") from error


# DNS


def serve_dns(where: Namespace, _directory: Path) -> Program:
    """dnsmasq, which answers from its configuration."""
    return dnsmasq(where, [ADDRESS], f"--address=/{ZONE}/192.0.2.1", f"--local=/{ZONE}/")


def start_dns(where: Namespace, directory: Path, seconds: float, rate: int = 0, number: int | None = None) -> Program:
    """dnsperf: each of `number` names once, or 100,000 of them again and again; at a rate, or as fast as it goes."""
    options = ["-n", "1"] if number else ["-l", f"{seconds:g}"]
    if rate:
        options += ["-Q", str(rate)]
    questions = str(_questions(directory, number or 100_000))
    return where.start("dnsperf", "-s", ADDRESS, "-d", questions, "-c", "4", "-T", "2", *options)


def dns_done(program: Program, patience_s: float) -> Done:
    """What dnsperf says once it has ended."""
    return read_dnsperf(said_by(program, patience_s), program.pid)


def run_dns(where: Namespace, directory: Path, seconds: float) -> Done:
    """As many queries as possible."""
    return dns_done(start_dns(where, directory, seconds), seconds + GRACE_S)


def read_dnsperf(said: str, pid: int | None = None) -> Done:
    """dnsperf's statistics."""
    told = dict(re.findall(r"^ *(Queries [a-z ]+): +([\d.]+)", said, re.MULTILINE))
    return Done(float(told["Queries per second"]), int(told["Queries sent"]), int(told["Queries completed"]), pid)


@cache
def _questions(directory: Path, number: int) -> Path:
    path = directory / f"questions-{number}"
    path.write_text("".join(f"{serial}.{ZONE} A\n" for serial in range(number)))
    return path


# TCP


@cache
def _program(directory: Path, name: str) -> Path:
    """Of the C source beside this file that has this name."""
    path = directory / name
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(["gcc", "-O2", "-o", path, source], check=True)
    return path


def start_connections(
    where: Namespace, directory: Path, seconds: float, rate: int = 0, number: int = FAR_TOO_MANY
) -> Program:
    """connections.c, server and client."""
    return where.start(str(_program(directory, "connections")), str(number), str(rate), f"{seconds:g}")


def connections_done(program: Program, patience_s: float) -> Done:
    """What it says once it has ended."""
    said = json.loads(said_by(program, patience_s))
    return Done(said["offered"] / said["seconds"], said["offered"], said["offered"], said["client"])


def connection_number(address: str, port: int) -> int | None:
    """Which of the connections has this end at the server's side."""
    if port != CONNECTION_PORT or not address.startswith("127."):
        return None
    number = int(IPv4Address(address)) - FIRST_CONNECTION
    return number if number >= 0 else None  # below is the one that ends the server


def remember_closed(where: Namespace, _directory: Path) -> None:
    """Let a network namespace remember more closed connections than the 131,072 that it does by default.

    Of what comes beyond them, after three seconds, each server's end is reset, and that is another load.
    """
    where.sysctl("net.ipv4.tcp_max_tw_buckets", 1 << 22)


def run_connections(where: Namespace, directory: Path, seconds: float) -> Done:
    """As many connections as possible."""
    return connections_done(start_connections(where, directory, seconds), seconds + GRACE_S)


def serve_http(where: Namespace, directory: Path) -> Program:
    """nginx in one process."""
    return _serve_by_nginx(where, directory, HTTP_PORT)


def serve_https(where: Namespace, directory: Path) -> Program:
    """The same, inside TLS."""
    pem = certificate(directory / "certificate.pem", "bench.test")
    return _serve_by_nginx(where, directory, HTTPS_PORT, f" ssl; ssl_certificate {pem}; ssl_certificate_key {pem}")


def _serve_by_nginx(where: Namespace, directory: Path, port: int, options: str = "") -> Program:
    configuration = directory / "nginx.conf"
    configuration.write_text(_NGINX.format(directory=directory, address=ADDRESS, port=port, options=options))
    server = where.start("nginx", "-c", str(configuration))
    wait_until(lambda: listens(server, port), "nginx")
    return server


def run_requests(where: Namespace, _directory: Path, seconds: float) -> Done:
    """wrk on 16 connections that stay."""
    return _run_wrk(where, f"http://{ADDRESS}:{HTTP_PORT}/", seconds)


def run_https(where: Namespace, _directory: Path, seconds: float) -> Done:
    """The same, inside TLS."""
    return _run_wrk(where, f"https://{ADDRESS}:{HTTPS_PORT}/", seconds)


def _run_wrk(where: Namespace, url: str, seconds: float) -> Done:
    client = where.start("wrk", "-t", "1", "-c", "16", "-d", f"{seconds:.0f}s", url)
    return read_wrk(said_by(client, seconds + GRACE_S), client.pid)


def read_wrk(said: str, pid: int | None = None) -> Done:
    """wrk's requests per second."""
    rate = re.search(r"Requests/sec: +([\d.]+)", said)
    number = re.search(r"(\d+) requests in", said)
    assert rate, said
    assert number, said
    assert "Socket errors" not in said, said
    return Done(float(rate[1]), int(number[1]), int(number[1]), pid)


def start_requests(where: Namespace, seconds: float, rate: int) -> Program:
    """h2load with HTTP/1, ten connections that stay, at a rate."""
    return where.start(
        "h2load", "--h1", "-c", "10", f"--rps={rate / 10:g}", "-D", f"{seconds:g}", f"http://{ADDRESS}:{HTTP_PORT}/"
    )


def serve_http2(where: Namespace, directory: Path) -> Program:
    """nghttpd in one thread."""
    (directory / "hello").write_text("hello\n")
    server = where.start("nghttpd", "--no-tls", "-d", str(directory), str(HTTP2_PORT))
    wait_until(lambda: listens(server, HTTP2_PORT), "nghttpd")
    return server


def run_http2(where: Namespace, _directory: Path, seconds: float) -> Done:
    """h2load on two connections, each with 20 requests at a time."""
    url = f"http://{ADDRESS}:{HTTP2_PORT}/hello"
    client = where.start("h2load", "-c", "2", "-m", "20", "-D", f"{seconds:g}", url)
    return read_h2load(said_by(client, seconds + GRACE_S), client.pid)


def read_h2load(said: str, pid: int | None = None) -> Done:
    """h2load's requests per second, and how many were answered."""
    rate = re.search(r"^finished in .*?, ([\d.]+) req/s", said, re.MULTILINE)
    number = re.search(r"^requests: .* (\d+) done, (\d+) succeeded", said, re.MULTILINE)
    assert rate, said
    assert number, said
    return Done(float(rate[1]), int(number[1]), int(number[2]), pid)


def serve_nobody(_where: Namespace, _directory: Path) -> None:
    """The load needs no server."""


def run_calls(where: Namespace, directory: Path, seconds: float, kind: str) -> Done:
    """calls.c."""
    client = where.start(str(_program(directory, "calls")), kind, f"{seconds:g}")
    said = json.loads(said_by(client, seconds + GRACE_S))
    return Done(said["calls"] / said["seconds"], pid=client.pid)


def serve_iperf(where: Namespace, _directory: Path) -> Program:
    """iperf3's server."""
    server = where.start("iperf3", "-s", "-p", str(IPERF_PORT))
    wait_until(lambda: listens(server, IPERF_PORT), "iperf3")
    return server


def run_streams(where: Namespace, _directory: Path, seconds: float) -> Done:
    """iperf3 with two streams; Gbit/s that were received."""
    client = where.start("iperf3", "-c", ADDRESS, "-p", str(IPERF_PORT), "-P", "2", "-t", f"{seconds:.0f}", "-J")
    return read_iperf(said_by(client, seconds + GRACE_S), client.pid)


def run_datagrams(where: Namespace, _directory: Path, seconds: float) -> Done:
    """iperf3 with datagrams of 64 bytes as fast as it goes; those per second that arrived."""
    client = where.start(
        "iperf3", "-c", ADDRESS, "-p", str(IPERF_PORT), "-u", "-l", "64", "-b", "0", "-t", f"{seconds:.0f}", "-J"
    )
    return read_iperf(said_by(client, seconds + GRACE_S), client.pid)


def read_iperf(said: str, pid: int | None = None) -> Done:
    """Gbit/s that were received; of UDP the datagrams per second."""
    end = json.loads(said)["end"]
    if "sum_received" in end and "packets" not in end.get("sum", {}):
        return Done(end["sum_received"]["bits_per_second"] / 1e9, pid=pid)
    total = end["sum"]
    return Done((total["packets"] - total["lost_packets"]) / total["seconds"], pid=pid)


DNS = Load("DNS: dnsperf, dnsmasq", "queries/s", serve_dns, run_dns)
CONNECTIONS = Load("short connections", "connections/s", remember_closed, run_connections)
REQUESTS = Load("requests: wrk, nginx", "requests/s", serve_http, run_requests)
HTTP2 = Load("HTTP/2: h2load, nghttpd", "requests/s", serve_http2, run_http2)
STREAMS = Load("streams: iperf3", "Gbit/s", serve_iperf, run_streams)
DATAGRAMS = Load("64-byte UDP: iperf3", "packets/s", serve_iperf, run_datagrams)
HTTPS = Load("HTTPS: wrk, nginx", "requests/s", serve_https, run_https)
LOOKUPS = Load("getaddrinfo(), /etc/hosts", "calls/s", serve_nobody, partial(run_calls, kind="lookups"))
CONNECTS = Load("connect() of UDP", "calls/s", serve_nobody, partial(run_calls, kind="connects"))
LOADS = (DNS, CONNECTIONS, REQUESTS, HTTP2, STREAMS, DATAGRAMS)
