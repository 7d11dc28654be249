"""aiohttp at either end: each function runs in a process of its own, started by lab.Namespace.play()."""

import asyncio
import ssl
import time

import aiohttp
from aiohttp import web

from tests.live.programs import say
from tests.live.truth.wsgi import LOOKALIKE


async def _answer(request: web.Request) -> web.StreamResponse:
    """In chunks, each of which begins like a head."""
    await request.read()
    response = web.StreamResponse(status=int(request.path.split("/")[1]))
    response.enable_chunked_encoding()
    await response.prepare(request)
    if request.method != "HEAD":
        for _ in range(5):
            await response.write(LOOKALIKE)
    say([request.method, request.path, response.status])
    return response


def aiohttp_server(address: str, port: int, certificate: str | None = None) -> None:
    """Serve for ever; says each answer's method, path and status."""
    asyncio.run(_serve(address, port, certificate))


async def _serve(address: str, port: int, certificate: str | None) -> None:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", _answer)
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, address, port, ssl_context=context).start()
    say("listening")
    await asyncio.Event().wait()


def aiohttp_client(address: str, port: int, asked: list[list[str]]) -> None:
    """Each after the one before, on one connection; says for each its method, path, status and the ms to its answer."""
    asyncio.run(_ask(f"http://{address}:{port}", asked))


async def _ask(url: str, asked: list[list[str]]) -> None:
    async with aiohttp.ClientSession() as session:
        for method, path in asked:
            began = time.monotonic()
            body = LOOKALIKE * 30 if method == "POST" else None
            async with session.request(method, url + path, data=body, allow_redirects=False) as response:
                say([method, path.partition("?")[0], response.status, (time.monotonic() - began) * 1000])
                await response.read()


def aiohttp_tls_client(address: str, port: int, name: str, connections: int) -> None:
    """So many connections; says of each what was agreed on."""
    asyncio.run(_greet(f"https://{address}:{port}", name, connections))


async def _greet(url: str, name: str, connections: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        for number in range(connections):
            async with session.get(f"{url}/200/{number}", ssl=context, server_hostname=name) as response:
                assert response.connection is not None
                assert response.connection.transport is not None
                tls = response.connection.transport.get_extra_info("ssl_object")
                say({"version": tls.version(), "alpn": tls.selected_alpn_protocol(), "resumed": tls.session_reused})
                await response.read()
