"""Everything that the demo's host talks to: resolvers, services, users. One process, run by record.py as root."""

import asyncio
import itertools
import json
import random
import sys
import time
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from typing import Any

from dnslib import QTYPE, RCODE, RR, DNSRecord

from tests.demo import story, web
from tests.demo.talk import request, reset, respond

_UDP_ANSWER_BYTES = 512  # without EDNS (RFC 1035 section 2.3.4)
_TTL_S = 60


# DNS


class Resolver:
    """One resolver address."""

    def __init__(self, address: str, t0: float) -> None:
        self._address = address
        self._t0 = t0
        self._asked: dict[str, int] = {}

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(self._address, 53))
        await asyncio.start_server(self._converse, self._address, 53)

    async def answer(self, message: bytes, most_bytes: int) -> bytes | None:
        """The answer, once it is due; None for silence."""
        question = DNSRecord.parse(message)
        qname = str(question.q.qname).rstrip(".").lower()
        attempt = self._asked.get(qname, 0)
        self._asked[qname] = attempt + 1
        planned = story.dns_answer(self._address, qname, attempt, time.monotonic() - self._t0)
        if planned is None:
            return None
        rcode, wait_s = planned
        await asyncio.sleep(wait_s)
        reply = question.reply(aa=0)
        reply.header.ra = 1
        if rcode == "NOERROR":
            for record in chain(qname, QTYPE[question.q.qtype]):
                reply.add_answer(*RR.fromZone(record))
        else:
            reply.header.rcode = getattr(RCODE, rcode)
        packed: bytes = reply.pack()
        if len(packed) > most_bytes:
            reply.header.tc, reply.rr = 1, []
            packed = reply.pack()
        return packed

    async def _converse(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
                reply = await self.answer(message, 65_535)
                if reply is not None:
                    writer.write(len(reply).to_bytes(2) + reply)
                    await writer.drain()
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        task = asyncio.ensure_future(self._answer(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, addr: Any) -> None:
        reply = await self._resolver.answer(data, _UDP_ANSWER_BYTES)
        if reply is not None:
            self._transport.sendto(reply, addr)


def chain(qname: str, qtype: str) -> list[str]:
    """The answer section in zone file format: CNAMEs followed."""
    lines = []
    for kind, value in story.ZONE.get(qname, ()):
        if kind not in (qtype, "CNAME"):
            continue
        text = {"TXT": f'"{value}"', "HTTPS": value, "A": value, "AAAA": value}.get(kind, f"{value}.")
        lines.append(f"{qname}. {_TTL_S} IN {kind} {text}")
        if kind == "CNAME":
            lines += chain(value, qtype)
    return lines


# Services


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(data, addr)


async def status_page(reader: StreamReader, writer: StreamWriter) -> None:
    """HTTP for a real curl."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.03)
        body = b"ok\n" * 80
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()


async def index(reader: StreamReader, writer: StreamWriter) -> None:
    """Finds everything."""

    async def answer(_: str) -> tuple[int, int]:
        await asyncio.sleep(0.015)
        return 200, 6_800

    await web.serve(reader, writer, answer)


async def log_server(t0: float) -> None:
    """Answers, resets everybody, refuses, answers again."""
    live: set[StreamWriter] = set()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        live.add(writer)
        await respond(reader, writer)
        live.discard(writer)

    server = await asyncio.start_server(serve, story.LOGS, 6514)
    await until(t0, story.LOGS_DOWN[0])
    server.close()
    for writer in live:
        reset(writer)
    await until(t0, story.LOGS_DOWN[1])
    await asyncio.start_server(serve, story.LOGS, 6514)


# Those who call


async def until(t0: float, moment_s: float) -> None:
    """Sleep until a moment of the story."""
    await asyncio.sleep(max(0.0, t0 + moment_s - time.monotonic()))


async def call(address: str, port: int, source: str) -> tuple[StreamReader, StreamWriter]:
    return await asyncio.open_connection(address, port, local_addr=(source, 0))


async def hang_up(writer: StreamWriter) -> None:
    with suppress(ConnectionError):
        writer.close()
        await writer.wait_closed()


def host_address(source: str) -> str:
    return story.HOST_IPV6 if ":" in source else story.HOST_IPV4


async def user(source: str, chance: random.Random) -> None:
    """A few pages on one connection."""
    with suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await call(host_address(source), 443, source)
        for _ in range(chance.randint(1, 3)):
            size = chance.choice((1_800, 6_400, 22_000, 71_000))
            await request(reader, writer, chance.randint(400, 900), size, chance.uniform(0.02, 0.25))
            await asyncio.sleep(chance.uniform(0.05, 0.6))
        await hang_up(writer)


async def users(t0: float) -> None:
    chance = random.Random(7)
    running = []
    moment = -0.5
    while moment < story.LENGTH_S - 2:
        await until(t0, moment)
        source = chance.choice(story.USERS_V6 if chance.random() < 0.25 else story.USERS_V4)
        running.append(asyncio.ensure_future(user(source, chance)))
        moment += chance.uniform(0.5, 1.6)
    await asyncio.gather(*running)


async def download(t0: float, source: str, begin: float, end: float, abort: bool = False) -> None:
    """Something large, at a pace; `abort`: gone in the middle of it."""
    await until(t0, begin)
    chance = random.Random(source)
    with suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await call(host_address(source), 443, source)
        while time.monotonic() < t0 + end:
            await request(reader, writer, 500, chance.randint(20_000, 60_000))
            await asyncio.sleep(0.12)
        if abort:
            reset(writer)
        else:
            await hang_up(writer)


async def replica(t0: float) -> None:
    """A standby that streams the write-ahead log."""
    chance = random.Random(3)
    reader, writer = await call(story.HOST_IPV4, 5432, story.REPLICA)
    for beat in itertools.count():
        calm = 0.35 if story.INCIDENT < time.monotonic() - t0 < story.RECOVERY else 1.0
        await request(reader, writer, 110, int(calm * (60_000 + 50_000 * (beat % 11) / 11) * chance.uniform(0.7, 1.2)))
        await asyncio.sleep(0.25)


async def scraper(t0: float) -> None:
    """Metrics every five seconds, each time on a new connection."""
    for beat in range(int(story.LENGTH_S / 5)):
        await until(t0, 1.3 + 5 * beat)
        reader, writer = await call(story.HOST_IPV4, 9100, story.MONITORING)
        await request(reader, writer, 320, 18_432, 0.02)
        await hang_up(writer)


async def admin(t0: float) -> None:
    """Somebody types now and then."""
    reader, writer = await call(story.HOST_IPV4, 22, story.ADMIN)
    chance = random.Random(5)
    for beat in range(int(story.LENGTH_S / 6)):
        await until(t0, 2 + 6 * beat)
        await request(reader, writer, 80, chance.randint(90, 1_900))
    await asyncio.sleep(60)


async def everything(t0: float) -> None:
    loop = asyncio.get_running_loop()
    for address in story.RESOLVERS:
        await Resolver(address, t0).serve()
    await asyncio.start_server(respond, [story.PAYMENTS, story.SHOP, story.CDN, story.BACKUP_V6], 443)
    await asyncio.start_server(respond, [story.MAIL], 25)
    await asyncio.start_server(respond, [story.CACHE], 6379)
    await asyncio.start_server(index, [story.INDEX], 9200)
    await asyncio.start_server(status_page, [story.STATUS, story.STATUS_V6], 80)
    await loop.create_datagram_endpoint(_Echo, local_addr=(story.TIME, 123))
    logs = asyncio.ensure_future(log_server(t0))
    await asyncio.sleep(0)
    sys.stdout.write('"serving"\n')
    sys.stdout.flush()
    await until(t0, -1.0)  # the host's programs listen by now
    await asyncio.gather(
        logs, users(t0), replica(t0), scraper(t0), admin(t0),
        download(t0, story.USERS_V4[-1], 5.0, 18.0),
        download(t0, story.USERS_V6[-1], 23.0, 45.0),
        download(t0, story.USERS_V4[-2], 30.0, 40.5, abort=True),
        download(t0, story.USERS_V4[-3], 53.0, 64.0),
    )  # fmt: skip


if __name__ == "__main__":
    asyncio.run(everything(**json.loads(sys.argv[1])))
