"""HTTP/1 as the demo's programs speak it: as much as requests and their answers need."""

import asyncio
import re
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import suppress

REASONS = {200: "OK", 201: "Created", 404: "Not Found", 502: "Bad Gateway"}
_END = b"\r\n\r\n"


async def ask(reader: StreamReader, writer: StreamWriter, request: str, host: str, body: int = 0) -> int:
    """The status that `GET /path` or the like is answered with, on a connection that stays open."""
    length = f"Content-Length: {body}\r\n" if body else ""
    writer.write(f"{request} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n".encode() + b"x" * body)
    head = await reader.readuntil(_END)
    await reader.readexactly(_length(head))
    return int(head.split()[1])


async def serve(
    reader: StreamReader, writer: StreamWriter, answer: Callable[[str], Awaitable[tuple[int, int]]]
) -> None:
    """Answers each `GET /path` with what it is told: a status, and the bytes of a body."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(_END)
            await reader.readexactly(_length(head))
            status, size = await answer(" ".join(head.decode().split()[:2]))
            writer.write(
                f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Length: {size}\r\n\r\n".encode() + b"x" * size
            )
            await writer.drain()
    with suppress(ConnectionError):
        writer.close()
        await writer.wait_closed()


def _length(head: bytes) -> int:
    found = re.search(rb"Content-Length: (\d+)", head)
    return int(found[1]) if found else 0
