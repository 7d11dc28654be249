"""Programs that speak gRPC: each function runs in a process of its own, started by lab.Namespace.play()."""

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from hpack import Decoder, Encoder

from nettop.protocols.http2 import PREFACE
from tests.live.programs import hear, say

_LIKE_A_HEAD = bytes.fromhex("000008010500000007828684418a0f01ff")
_OPTIONS = (("grpc.http2.max_frame_size", 16_384), ("grpc.use_local_subchannel_pool", 1))


class _Shop(grpc.GenericRpcHandler):
    """`/shop.Cart/Add` gives back what it got, `/shop.Cart/Fail5` fails with status 5, `/shop.Cart/Slow50` after ms."""

    def service(self, call: Any) -> Any:
        method = call.method.split("/")[2]
        if method.startswith("Count"):
            return grpc.unary_stream_rpc_method_handler(_counting(int(method.removeprefix("Count"))))
        return grpc.unary_unary_rpc_method_handler(_answering(method))


def _answering(method: str) -> Callable[[bytes, Any], bytes]:
    def answer(request: bytes, context: Any) -> bytes:
        if method.startswith("Slow"):
            time.sleep(int(method.removeprefix("Slow")) / 1000)
        if method.startswith("Fail"):
            number = int(method.removeprefix("Fail"))
            context.abort(next(code for code in grpc.StatusCode if code.value[0] == number), "as asked")
        if method == "Hang":
            gone = threading.Event()
            context.add_callback(gone.set)
            gone.wait()
        return request

    return answer


def _counting(most: int) -> Callable[[bytes, Any], Iterator[bytes]]:
    def count(request: bytes, _: Any) -> Iterator[bytes]:
        for _ in range(most):
            yield request

    return count


def grpc_server(address: str, port: int, certificate: str = "") -> None:
    """Serve for ever; with a certificate inside TLS, for which it has a library in itself."""
    server = grpc.server(ThreadPoolExecutor(8), options=_OPTIONS)
    server.add_generic_rpc_handlers((_Shop(),))
    if certificate:
        pem = Path(certificate).read_bytes()
        server.add_secure_port(f"{address}:{port}", grpc.ssl_server_credentials([(pem, pem)]))
    else:
        server.add_insecure_port(f"{address}:{port}")
    server.start()
    say("listening")
    server.wait_for_termination()


def grpc_client(address: str, port: int, calls: list[list[Any]], certificate: str = "") -> None:
    """[method, bytes of the message] one after the other on one connection; "Hang", true is cancelled at the next line.

    So for each other line that it hears but null, which is one more method; says for each the status and its ms. With a
    server's certificate inside TLS.
    """
    with _channel(f"{address}:{port}", certificate) as channel:
        grpc.channel_ready_future(channel).result(60)
        say("connected")
        while (method := hear()) is not None:
            say([_call(channel, *call) for call in [*calls, [method, 10]]])


def _channel(target: str, certificate: str) -> grpc.Channel:
    if not certificate:
        return grpc.insecure_channel(target, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(Path(certificate).with_suffix(".crt").read_bytes())
    named = ("grpc.ssl_target_name_override", "shop.nettop.test")
    return grpc.secure_channel(target, credentials, options=(*_OPTIONS, named))


def grpc_crowd(address: str, port: int, methods: list[str], calls: int, threads: int) -> None:
    """So many calls on one connection, by so many threads at once; says how often each method had which status."""
    with (
        grpc.insecure_channel(f"{address}:{port}", options=_OPTIONS) as channel,
        ThreadPoolExecutor(threads) as crowd,
    ):
        grpc.channel_ready_future(channel).result(60)
        source = random.Random(calls)
        made = [source.choice(methods[: 1 + number % len(methods)]) for number in range(calls)]  # some of them often
        answers = crowd.map(lambda method: _call(channel, method, 10), made)
        calls_by_outcome = Counter((method, status) for method, (status, _) in zip(made, answers, strict=True))
        say([[*outcome, times] for outcome, times in calls_by_outcome.items()])


def _call(channel: Any, method: str, size: int, cancels: bool = False) -> list[Any]:
    message, path = _LIKE_A_HEAD * (size // len(_LIKE_A_HEAD) + 1), f"/shop.Cart/{method}"
    began = time.monotonic()
    try:
        if method.startswith("Count"):
            list(channel.unary_stream(path)(message))
        elif method == "Hang" and cancels:
            call = channel.unary_unary(path).future(message)
            hear()
            call.cancel()
            return [call.code().value[0], (time.monotonic() - began) * 1000]
        else:
            channel.unary_unary(path)(message)
    except grpc.RpcError as error:
        return [error.code().value[0], (time.monotonic() - began) * 1000]
    return [0, (time.monotonic() - began) * 1000]


def indexing_server(address: str, port: int) -> None:
    """One connection: `/7` is answered with STATUSES[7 % 3], in a byte that needs no table."""
    with socket.create_server((address, port)) as listener:
        say("listening")
        tcp, _ = listener.accept()
    decoder = Decoder()
    with tcp, tcp.makefile("rb") as received:
        assert received.read(len(PREFACE)) == PREFACE
        tcp.sendall(_frame(4, 0, 0, b""))
        while header := received.read(9):
            body = received.read(int.from_bytes(header[:3]))
            if header[3] == 1:
                path = next(value for name, value in decoder.decode(body, raw=True) if name == b":path")
                status = (b"\x88", b"\x8d", b"\x8e")[int(path[1:]) % 3]
                tcp.sendall(_frame(1, 5, int.from_bytes(header[5:]), status))


def indexing_client(address: str, port: int, calls: int, paths: int) -> None:
    """So many requests, which have all that they say in a table, some of it often."""
    encoder, source = Encoder(), random.Random(calls)
    with socket.create_connection((address, port)) as tcp, tcp.makefile("rb") as received:
        tcp.sendall(PREFACE + _frame(4, 0, 0, b""))
        received.read(9)
        for number in range(calls):
            path = f"/{source.randrange(1 + number % paths)}"
            fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "raw.test")]
            tcp.sendall(_frame(1, 5, 2 * number + 1, encoder.encode(fields)))
            assert received.read(10)


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body
