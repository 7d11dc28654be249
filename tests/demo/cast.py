"""The programs of the demo's host: each function runs in a process of its own, under a name and a user.

Run by record.py as root. Names are looked up by the C library, as real programs do.
"""

import asyncio
import itertools
import json
import math
import random
import socket
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from dnslib import QTYPE, DNSQuestion, DNSRecord

from tests.demo import story, web
from tests.demo.talk import become, request, reset, respond

_PATIENCE_S = 2.0  # of the programs that give up by themselves


async def until(t0: float, moment_s: float) -> None:
    """Sleep until a moment of the story."""
    await asyncio.sleep(max(0.0, t0 + moment_s - time.monotonic()))


async def look_up(name: str, port: int, family: socket.AddressFamily = socket.AF_INET) -> str:
    """The first address. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(name, port, family=family, type=socket.SOCK_STREAM)
    return str(found[0][4][0])


async def close(writer: StreamWriter) -> None:
    with suppress(OSError):  # what ended the connection is told again
        writer.close()
        await writer.wait_closed()


async def exchange(address: str, port: int, send: int, receive: int, patience_s: float = 30.0) -> bool:
    """One request on a connection of its own, given up after so long; whether it was answered."""
    answered = False
    with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
        reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), patience_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(request(reader, writer, send, receive, 0.03), patience_s)
            answered = True
        await close(writer)
    return answered


# Servers


async def nginx(t0: float) -> None:
    """Serves the users; under stress it drops two of them."""
    live: dict[StreamWriter, None] = {}

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        live[writer] = None
        await respond(reader, writer)
        live.pop(writer, None)

    await asyncio.start_server(serve, [story.HOST_IPV4, story.HOST_IPV6], 443)
    pages = asyncio.ensure_future(passed_on(t0))
    for moment in (31.7, 39.6):
        await until(t0, moment)
        if live:
            reset(list(live)[-1])
    await pages


async def passed_on(t0: float) -> None:
    """What the users ask for goes on to the application, each kind of page on a connection of its own."""
    await asyncio.gather(*(_pass_on(t0, at_s, request) for at_s, request in story.PAGES))


async def _pass_on(t0: float, at_s: float, request: str) -> None:
    await until(t0, 1.4)
    reader, writer = await asyncio.open_connection(story.HOST_IPV4, 8080)
    for beat in range(int(story.LENGTH_S / story.PAGES_EVERY_S)):
        await until(t0, 3.0 + at_s + story.PAGES_EVERY_S * beat)
        body = 180 if request.startswith("POST") else 0
        await web.ask(reader, writer, request.format(101 + 7 * beat), "www.example.com", body)
    await asyncio.sleep(120)


def server(port: int) -> Callable[[float], Awaitable[None]]:
    async def serve(_t0: float) -> None:
        await asyncio.start_server(respond, story.HOST_IPV4, port)
        await asyncio.sleep(120)

    return serve


# Clients


async def api_server(t0: float) -> None:
    """Keeps connections to its database and cache, serves pages, and pays through somebody else's network."""
    await until(t0, 0.5)
    reader, writer = await asyncio.open_connection(await look_up("search.example.com", 9200), 9200)

    async def answer(request: str) -> tuple[int, int]:
        if request == "GET /search":
            return await web.ask(reader, writer, "GET /products/_search", "search.example.com"), 7_400
        if request == "POST /checkout":
            return (201, 90) if await pay() else (502, 40)
        await asyncio.sleep(0.006)
        return 200, 12_300

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        await web.serve(reader, writer, answer)

    await asyncio.start_server(serve, story.HOST_IPV4, 8080)
    await asyncio.gather(
        kept(t0, "db.example.com", 5432, every_s=5.0, sizes=(2_100, 9_600)),
        kept(t0, "db.example.com", 5432, every_s=7.0, sizes=(1_400, 31_000)),
        kept(t0, "cache.example.com", 6379, every_s=4.0, sizes=(640, 5_200)),
        webhooks(t0), payments(t0),
    )  # fmt: skip


async def kept(t0: float, name: str, port: int, every_s: float, sizes: tuple[int, int]) -> None:
    await until(t0, 0.6)
    reader, writer = await asyncio.open_connection(await look_up(name, port), port)
    for beat in itertools.count():
        await until(t0, 0.9 + every_s * beat)
        await request(reader, writer, *sizes, 0.01)


async def webhooks(t0: float) -> None:
    """One long-lived connection, which dies when nobody acknowledges any more."""
    await until(t0, 3.0)
    reader, writer = await asyncio.open_connection(await look_up("payments.example.net", 443), 443)
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 14_000)
    with suppress(OSError, asyncio.IncompleteReadError):
        for beat in itertools.count():
            await until(t0, 3.2 + 3.0 * beat)
            await request(reader, writer, 900, 300, 0.05)
    await close(writer)


async def pay() -> bool:
    """Whether the provider took it."""
    try:
        return await exchange(await look_up("payments.example.net", 443), 443, 1_350, 2_800, _PATIENCE_S)
    except OSError:
        return False


async def payments(t0: float) -> None:
    moment = 1.5
    while moment < story.LENGTH_S - 1:
        await until(t0, moment)
        await pay()
        moment = max(moment + 2.6, time.monotonic() - t0 + 0.8)


async def cron_backup(t0: float) -> None:
    """Uploads over IPv6, faster and slower, until it is done."""
    await until(t0, story.BACKUP[0])
    address = await look_up("backup.example.org", 443, socket.AF_UNSPEC)
    reader, writer = await asyncio.open_connection(address, 443)
    while (now := time.monotonic() - t0) < story.BACKUP[1]:
        stress = 0.45 if story.INCIDENT < now < story.RECOVERY else 1.0
        await request(reader, writer, int(stress * 140_000 * (1.15 + math.sin(now / 3.5))), 32)
        await asyncio.sleep(0.05)
    await close(writer)


async def fluent_bit(t0: float) -> None:
    """Ships logs, and comes back after each failure."""
    chance = random.Random(11)
    while time.monotonic() < t0 + story.LENGTH_S:
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(await look_up("logs.example.org", 6514), 6514)
            while True:
                await request(reader, writer, chance.randint(9_000, 42_000), 16)
                await asyncio.sleep(0.7)
        await asyncio.sleep(2.2)


async def config_agent(t0: float) -> None:
    """Asks for a name that is gone, and for one that answers the third time only."""
    for beat in range(6):
        await until(t0, 5.0 + 11 * beat)
        with suppress(OSError):
            await look_up("config-v1.example.com", 443, socket.AF_UNSPEC)
        await asyncio.to_thread(ask, "slow.example.com", "A", 3)


async def smtp(t0: float) -> None:
    """Mail: MX, TXT over TCP because it is too long, and an exchanger that is down."""
    await until(t0, 6.5)
    await asyncio.to_thread(ask, "example.net", "MX")
    await asyncio.to_thread(ask, "example.net", "TXT")
    await exchange(await look_up("mx1.example.net", 25), 25, 24_000, 240)
    await until(t0, 18.0)
    await asyncio.to_thread(ask, "134.113.0.203.in-addr.arpa", "PTR")
    await until(t0, 30.2)
    await asyncio.to_thread(ask, "example.net", "TXT")
    await exchange(await look_up("mx2.example.net", 25), 25, 24_000, 240)  # the kernel gives up after 3 s
    await until(t0, 39.0)
    await asyncio.to_thread(ask, "147.113.0.203.in-addr.arpa", "PTR")
    await until(t0, 54.0)
    await exchange(await look_up("mx1.example.net", 25), 25, 61_000, 240)


def ask(name: str, qtype: str, attempts: int = 2) -> None:
    """A stub resolver of its own, as mail servers have: asks again on silence, over TCP after a truncated answer."""
    message = bytes(DNSRecord(q=DNSQuestion(name, getattr(QTYPE, qtype))).pack())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.9)
        udp.connect((story.RESOLVERS[0], 53))
        for _ in range(attempts):
            udp.send(message)
            with suppress(TimeoutError):
                answer = udp.recv(4096)
                break
        else:
            return
    if answer[2] & 0x02:  # TC, RFC 1035 section 4.1.1
        with socket.create_connection((story.RESOLVERS[0], 53), 3) as tcp:
            tcp.sendall(len(message).to_bytes(2) + message)
            tcp.recv(65_535)


async def chronyd(t0: float) -> None:
    address = await look_up("time.example.com", 123)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect((address, 123))
        for beat in range(int(story.LENGTH_S / 8)):
            await until(t0, 2.7 + 8 * beat)
            udp.send(bytes(48))


async def collectd(t0: float) -> None:
    """Sends to an address that routers know nothing of."""
    for moment in (10.0, 31.0, 43.4):
        await until(t0, moment)
        with suppress(OSError):
            await exchange(await look_up("metrics.example.org", 25_826), 25_826, 4_000, 16)


@dataclass(frozen=True)
class Member:
    """A program: what it runs, and what it is called. `command` and `cgroup` are put in when it is published."""

    play: Callable[[float], Awaitable[None]]
    comm: str
    command: tuple[str, ...]
    uid: int
    cgroup: str


WWW_DATA, POSTGRES, API, POSTFIX, CHRONY, NOBODY = 33, 101, 1001, 105, 106, 65_534
USERS = {0: "root", WWW_DATA: "www-data", POSTGRES: "postgres", API: "api", POSTFIX: "postfix", CHRONY: "_chrony",
         NOBODY: "nobody"}  # fmt: skip
_CONTAINER = "5d1c9f0e7ab34e2f8c6b90d1a2f34e5b6c7d8e9f0a1b2c3d4e5f60718293a4b5"


def _service(name: str) -> str:
    return f"/system.slice/{name}.service"


CAST = (
    Member(nginx, "nginx", ("nginx: worker process",), WWW_DATA, _service("nginx")),
    Member(server(5432), "postgres", ("postgres: 15/main: walsender",), POSTGRES,
           "/system.slice/system-postgresql.slice/postgresql@15-main.service"),
    Member(server(9100), "node-exporter", ("/usr/bin/node-exporter", "--web.listen-address=:9100"), NOBODY,
           _service("node-exporter")),
    Member(server(22), "sshd", ("sshd: admin@pts/0",), 0, "/user.slice/user-1000.slice/session-4.scope"),
    Member(api_server, "api-server", ("/app/api-server", "--listen", ":8080", "--workers", "4"), API,
           f"/system.slice/docker-{_CONTAINER}.scope"),
    Member(cron_backup, "cron-backup", ("/usr/local/bin/cron-backup", "--nightly", "https://backup.example.org/demo"),
           0, _service("cron")),
    Member(fluent_bit, "fluent-bit", ("/usr/bin/fluent-bit", "-c", "/etc/fluent-bit/fluent-bit.conf"), 0,
           _service("fluent-bit")),
    Member(config_agent, "config-agent", ("/usr/bin/config-agent", "--interval", "11s"), 0, _service("config-agent")),
    Member(smtp, "smtp", ("smtp", "-t", "unix", "-u", "-c"), POSTFIX, _service("postfix@-")),
    Member(chronyd, "chronyd", ("/usr/sbin/chronyd", "-F", "1"), CHRONY, _service("chrony")),
    Member(collectd, "collectd", ("/usr/sbin/collectd",), 0, _service("collectd")),
)  # fmt: skip

# Real programs that come and go: when, what, who, where
ERRANDS: tuple[tuple[float, Sequence[str], int, str], ...] = tuple(
    (moment, ("curl", "-sS", "-o", "/dev/null", "-m", "3", "http://status.example.com/healthz"), NOBODY,
     _service("healthcheck"))
    for moment in (4.0, 15.0, 25.0, 42.5, 56.0)
) + tuple(
    (moment, ("dig", *arguments), 0, "/user.slice/user-1000.slice/session-4.scope")
    for moment, arguments in (
        (13.0, ("+short", "HTTPS", "shop.example.com")),
        (23.0, ("+short", "-x", "203.0.113.134")),
        (30.5, ("+tries=1", "+time=2", "payments.example.net")),
        (36.0, ("+tries=2", "+time=2", "payments.example.net")),
        (41.2, ("@198.51.100.54", "+tcp", "payments.example.net")),
        (60.0, ("+short", "www.example.org")),
    )
)  # fmt: skip


def main(comm: str, t0: float) -> None:
    """Play a member of the cast."""
    (member,) = [member for member in CAST if member.comm == comm]
    become(member.comm, member.uid)
    with suppress(TimeoutError):
        asyncio.run(asyncio.wait_for(play(member, t0), t0 + story.LENGTH_S + 10 - time.monotonic()))


async def play(member: Member, t0: float) -> None:
    await member.play(t0)
    if member.comm != "cron-backup":
        await asyncio.sleep(120)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
