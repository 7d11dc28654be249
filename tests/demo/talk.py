"""What all the demo's TCP speak: a header says how many bytes come, how many are wanted and after how long."""

import asyncio
import ctypes
import json
import os
import socket
import struct
from asyncio import StreamReader, StreamWriter
from contextlib import suppress

_HEADER_BYTES = 64
_CHUNK_BYTES = 65_536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s
_PR_SET_NAME = 15  # prctl(2)


async def request(reader: StreamReader, writer: StreamWriter, send: int, receive: int, think_s: float = 0.0) -> None:
    """Send so many bytes and wait for so many."""
    header = json.dumps([max(send - _HEADER_BYTES, 0), receive, think_s]).encode().ljust(_HEADER_BYTES)
    writer.write(header + bytes(max(send - _HEADER_BYTES, 0)))
    await writer.drain()
    await reader.readexactly(receive)


async def respond(reader: StreamReader, writer: StreamWriter) -> None:
    """Serve requests until the other end closes."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            comes, wanted, think_s = json.loads(await reader.readexactly(_HEADER_BYTES))
            while comes:
                comes -= len(await reader.readexactly(min(comes, _CHUNK_BYTES)))
            await asyncio.sleep(think_s)
            writer.write(bytes(wanted))
            await writer.drain()
    with suppress(ConnectionError):
        writer.close()
        await writer.wait_closed()


def reset(writer: StreamWriter) -> None:
    """Close without a FIN."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


def become(comm: str, uid: int) -> None:
    """Run on under another name and user."""
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    ctypes.CDLL(None).prctl(_PR_SET_NAME, comm.encode(), 0, 0, 0)
