"""Requests and handshakes by programs that everybody runs: what both ends log is what there is.

A path begins with the status that it is answered with and stands for one request, so that its rows are known.
"""

import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nettop.model.rows import RequestProtocol
from tests.live import http2_programs
from tests.live.lab import Program, certificate, listens, wait_until
from tests.live.nginx import nginx
from tests.live.truth import web
from tests.live.truth.place import Place
from tests.live.truth.rows import Handshake, Request
from tests.live.truth.scenario import scenario
from tests.live.truth.wsgi import LOOKALIKE

ADDRESS, PORT, BEHIND = "127.0.0.1", 7080, 7081
NAME = "shop.nettop.test"
JAVASCRIPT = Path(__file__).with_name("web.js")
REAL_TIME = ("chrt", "--rr", "1")  # so that what curl measures is not how busy the machine is
ASKED = [
    [method, f"/{status}/{method.lower()}/{number}?key=secret"]
    for number in range(4)
    for method, status in (("GET", 200), ("POST", 201), ("HEAD", 404), ("GET", 503), ("DELETE", 410))
]
Logged = tuple[str, str, int]  # method, path and status
APACHE = """
ServerRoot {folder}
ServerName {address}
PidFile {folder}/pid
ErrorLog {folder}/error.log
Listen {address}:{port}
AcceptFilter http {accept}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule alias_module {modules}/mod_alias.so
LoadModule http2_module {modules}/mod_http2.so
Protocols h2c http/1.1
StartServers 2
LogFormat "%P %m %U %>s" told
CustomLog {folder}/access.log told
DocumentRoot {folder}
AliasMatch "^/20" {folder}/lookalike
RedirectMatch 404 "^/404"
RedirectMatch 410 "^/410"
RedirectMatch 503 "^/503"
<Directory {folder}>
    Require all granted
</Directory>
"""


class Server:
    """A program that answers, and the file in which it logs pid, method, path and status of each request."""

    def __init__(self, place: Place, program: Program, log: Path, port: int = PORT) -> None:
        self._place = place
        self.pid = program.pid
        self._log = log
        wait_until(lambda: listens(program, port), f"port {port}")

    def logged(self, requests: int) -> dict[str, tuple[int, Logged]]:
        """By path, once there are so many: the pid that answered, and the request."""
        wait_until(lambda: self._log.exists() and len(self._log.read_text().splitlines()) >= requests, f"{self._log}")
        lines = [line.split() for line in self._log.read_text().splitlines()]
        told = {path: (int(pid.strip("<>")), (method, path, int(status))) for pid, method, path, status in lines}
        assert len(told) == len(lines) == requests
        self._place.foreign(*(pid for pid, _ in told.values()))
        return told


def folder_of(place: Place, name: str) -> Path:
    folder = place.directory / f"{place.near.name}-{name}"
    folder.mkdir()
    return folder


def served_by_nginx(place: Place, http: str, **told: Any) -> Server:
    folder = folder_of(place, "nginx")
    program = place.known(nginx(place.near, folder, PORT, http, **told))
    return Server(place, program, folder / "access.log")


def apache(place: Place, accept: str) -> Server:
    """`accept` data defers until the client has sent something, which is what Apache does by itself."""
    folder = folder_of(place, "apache")
    settings = folder / "apache.conf"
    (folder / "lookalike").write_bytes(LOOKALIKE * 500)
    modules = "/usr/lib/apache2/modules"
    settings.write_text(APACHE.format(folder=folder, address=ADDRESS, port=PORT, accept=accept, modules=modules))
    program = place.start("apache2", "-f", str(settings), "-DFOREGROUND")
    return Server(place, program, folder / "access.log")


def gunicorn(place: Place) -> Server:
    folder = folder_of(place, "gunicorn")
    log = folder / "access.log"
    program = place.start(
        str(Path(sys.executable).with_name("gunicorn")), "--workers", "3", "--bind", f"{ADDRESS}:{BEHIND}",
        "--chdir", str(Path(__file__).parent), "--worker-tmp-dir", str(folder), "--access-logfile", str(log),
        "--access-logformat", "%(p)s %(m)s %(U)s %(s)s", "wsgi:application",
    )  # fmt: skip
    return Server(place, program, log, BEHIND)


def node(place: Place, function: str, **arguments: Any) -> Program:
    program = place.start("node", str(JAVASCRIPT), function, json.dumps(arguments))
    place.foreign(program.pid)
    return program


def aiohttp(place: Place, function: Callable[..., None], **arguments: Any) -> Program:
    program = place.play(function, **arguments)
    place.foreign(program.pid)
    return program


def heard(program: Program, number: int) -> dict[str, list[Any]]:
    """So many requests as a program says them, by path."""
    told = {path: [method, path, *rest] for method, path, *rest in (program.hear() for _ in range(number))}
    assert len(told) == number
    return told


def curl(place: Place, *options: str, again: bool = True) -> dict[str, tuple[int, Logged, float | None]]:
    """One curl for all of them, or one for each: by path its pid, the request, and how long the answer took, in ms.

    What it says of that is wrong where it has a body to send.
    """
    body = place.directory / f"{place.near.name}-body"
    body.write_bytes(LOOKALIKE * 30)
    format_ = "%{method} %{url} %{http_code} %{time_pretransfer} %{time_starttransfer}\\n"
    commands: list[list[str]] = []
    for method, path in ASKED:
        how = {"POST": ["--data-binary", f"@{body}"], "HEAD": ["--head"]}.get(method, ["--request", method])
        url = f"http://{ADDRESS}:{PORT}{path}"
        commands.append(["-s", "-S", "-o", "/dev/null", "-w", format_, *options, *how, url])
    if again:
        commands = [[word for command in commands for word in ("--next", *command)][1:]]
    told: dict[str, tuple[int, Logged, float | None]] = {}
    for command in commands:
        program = place.start(*REAL_TIME, "curl", *command)
        place.foreign(program.pid)
        for line in program.end().splitlines():
            method, url, status, before, after = line.split()
            path = url.partition(str(PORT))[2].partition("?")[0]
            took_ms = None if method == "POST" else (float(after) - float(before)) * 1000
            told[path] = program.pid, (method, path, int(status)), took_ms
    return told


Answered = tuple[int, str | None]  # pid, and comm where that is known


def tell(place: Place, protocol: RequestProtocol, asking: Answered, answering: Answered, logged: Sequence[Any]) -> None:
    """Both ends of one: method, path, status and perhaps the client's ms."""
    method, path, status, *took_ms = logged
    row = functools.partial(
        Request, protocol=protocol, method=method, path=path, status=status, took_ms=took_ms[0] if took_ms else None
    )
    place.add(
        row(pid=asking[0], side="client", comm=asking[1]), row(pid=answering[0], side="server", comm=answering[1])
    )


@scenario("Requests", "curl, nginx as a proxy, gunicorn's workers behind it")
def proxied(place: Place) -> Iterator[None]:
    behind = gunicorn(place)
    front = served_by_nginx(
        place,
        f"""upstream workers {{ server {ADDRESS}:{BEHIND}; keepalive 4; }}
        server {{
            listen {ADDRESS}:{PORT} deferred reuseport;
            location / {{ proxy_pass http://workers; proxy_http_version 1.1; proxy_set_header Connection ""; }}
        }}""",
    )
    yield
    told = curl(place)
    passed, answered = front.logged(len(ASKED)), behind.logged(len(ASKED))
    requests = {path: request for path, (_, request, _) in told.items()}
    assert requests == {path: request for path, (_, request) in passed.items()}
    assert requests == {path: request for path, (_, request) in answered.items()}
    assert behind.pid not in {pid for pid, _ in answered.values()}  # it has workers for that
    for path, (pid, request, took_ms) in told.items():
        tell(place, "http/1.1", (pid, "curl"), (passed[path][0], "nginx"), (*request, took_ms))
    for path, (pid, request) in answered.items():
        tell(place, "http/1.1", (passed[path][0], "nginx"), (pid, None), request)


def by_curl(name: str, protocol: RequestProtocol, *options: str, again: bool = True) -> None:
    @scenario("Requests", name)
    def play(place: Place) -> Iterator[None]:
        server = apache(place, "data" if again else "none")
        yield
        told = curl(place, *options, again=again)
        logged = server.logged(len(ASKED))
        assert {path: request for path, (_, request) in logged.items()} == {path: told[path][1] for path in told}
        for path, (pid, request, took_ms) in told.items():
            tell(place, protocol, (pid, "curl"), (logged[path][0], "apache2"), (*request, took_ms))


by_curl("curl and Apache, which waits for the request before it accepts", "http/1.1")
# Debian's curl cannot use such a connection again; behind such a listener nothing of HTTP/2 is seen (docs/limits.md)
by_curl("curl and Apache, HTTP/2", "h2", "--http2-prior-knowledge", again=False)


def own_ends(
    name: str, protocol: RequestProtocol, ends: Callable[[Place], tuple[Program, Callable[[], Program]]]
) -> None:
    @scenario("Requests", name)
    def play(place: Place) -> Iterator[None]:
        server, start = ends(place)
        assert server.hear() == "listening"
        yield
        client = start()
        told = heard(client, len(ASKED))
        client.end()
        answered = heard(server, len(ASKED))
        assert answered == {path: row[:3] for path, row in told.items()}
        for row in told.values():
            tell(place, protocol, (client.pid, None), (server.pid, None), row)


def both_node(place: Place, client: str, **options: Any) -> tuple[Program, Callable[[], Program]]:
    ends = {"address": ADDRESS, "port": PORT}
    return node(place, "server", **ends, **options), lambda: node(place, client, **ends, asked=ASKED)


def both_aiohttp(place: Place) -> tuple[Program, Callable[[], Program]]:
    server = aiohttp(place, web.aiohttp_server, address=ADDRESS, port=PORT)
    return server, lambda: aiohttp(place, web.aiohttp_client, address=ADDRESS, port=PORT, asked=ASKED)


own_ends("node at both ends", "http/1.1", lambda place: both_node(place, "client"))
own_ends("node at both ends, HTTP/2", "h2", lambda place: both_node(place, "http2Client", http2=True))
own_ends("aiohttp at both ends, answers in chunks", "http/1.1", both_aiohttp)


@scenario("Requests", "gRPC by grpcio, through nginx")
def grpc(place: Place) -> Iterator[None]:
    server = place.play(http2_programs.grpc_server, address=ADDRESS, port=BEHIND)
    place.foreign(server.pid)
    assert server.hear() == "listening"
    front = served_by_nginx(
        place, f"server {{ listen {ADDRESS}:{PORT} http2; location / {{ grpc_pass grpc://{ADDRESS}:{BEHIND}; }} }}"
    )
    calls = [[f"{method}/{number}", 1_000] for number in range(5) for method in ("Add", "Fail5", "Count3", "Slow20")]
    yield
    client = place.play(http2_programs.grpc_client, address=ADDRESS, port=PORT, calls=calls)
    place.foreign(client.pid)
    assert client.hear() == "connected"
    client.say("Add/last")
    answers = client.hear()
    client.say(None)
    client.end()
    passed = front.logged(len(calls) + 1)
    for (method, _), (grpc_status, took_ms) in zip([*calls, ["Add/last", 0]], answers, strict=True):
        path = f"/shop.Cart/{method}"
        proxy, (_, _, status) = passed[path]
        row = functools.partial(
            Request, protocol="grpc", method="POST", path=path, status=status, grpc_status=grpc_status, took_ms=took_ms
        )
        place.add(row(pid=client.pid, side="client"), row(pid=proxy, side="server", comm="nginx"))
        place.add(row(pid=proxy, side="client", comm="nginx"), row(pid=server.pid, side="server"))


def agreed(place: Place, pids: Iterable[int], said: dict[str, Any], offered: tuple[str, ...]) -> None:
    """One connection as one of its ends tells of it. TLS 1.3 encrypts which protocol was chosen."""
    version = said["version"].replace("v", " ")
    alpn = "" if version == "TLS 1.3" else said["alpn"]
    for pid in pids:
        place.add(
            Handshake(
                pid=pid, server_name=NAME, version=version, alpn=alpn, alpn_offered=offered, resumed=said["resumed"],
                cipher=said.get("cipher"),
            )
        )  # fmt: skip


@scenario("TLS", "curl and nginx, both versions, both protocols")
def by_nginx(place: Place) -> Iterator[None]:
    pem = certificate(folder_of(place, "tls") / "certificate.pem", NAME)
    server = served_by_nginx(
        place,
        f"""server {{ listen {ADDRESS}:{PORT} ssl http2; ssl_certificate {pem}; ssl_certificate_key {pem};
            ssl_protocols TLSv1.2 TLSv1.3; location / {{ return 200 "HTTP/1.1 200 OK"; }} }}""",
        told="$pid $ssl_protocol/$ssl_server_name/$ssl_alpn_protocol $uri $status",
    )
    yield
    ways = [
        (maximum, protocol, offered)
        for maximum in ("1.2", "1.3")
        for protocol, offered in (("--http1.1", ("http/1.1",)), ("--http2", ("h2", "http/1.1")))
    ]
    clients = []
    for number, (maximum, protocol, _) in enumerate(ways):
        clients.append(
            place.start(
                "curl", "-s", "-S", "-k", protocol, "--tls-max", maximum, "--resolve", f"{NAME}:{PORT}:{ADDRESS}",
                f"https://{NAME}:{PORT}/{number}",
            )
        )  # fmt: skip
        clients[-1].end()
        place.foreign(clients[-1].pid)
    logged = server.logged(len(ways))
    for number, (client, (_, _, offered)) in enumerate(zip(clients, ways, strict=True)):
        pid, (said, _, _) = logged[f"/{number}"]
        version, name, alpn = said.split("/", 2)
        assert name == NAME
        agreed(place, (client.pid, pid), {"version": version, "alpn": alpn, "resumed": False}, offered)


def by_name(name: str, ends: Callable[[Place, str], tuple[Program, Callable[[], Program]]]) -> None:
    @scenario("TLS", name)
    def play(place: Place) -> Iterator[None]:
        pem = certificate(folder_of(place, "tls") / "certificate.pem", NAME)
        server, start = ends(place, str(pem))
        assert server.hear() == "listening"
        yield
        client = start()
        for _ in range(3):
            agreed(place, (client.pid, server.pid), client.hear(), ("http/1.1",))
        client.end()


def to_aiohttp(place: Place, pem: str) -> tuple[Program, Callable[[], Program]]:
    server = aiohttp(place, web.aiohttp_server, address=ADDRESS, port=PORT, certificate=pem)
    return server, lambda: node(place, "tlsClient", address=ADDRESS, port=PORT, name=NAME, connections=3)


def to_node(place: Place, pem: str) -> tuple[Program, Callable[[], Program]]:
    server = node(place, "server", address=ADDRESS, port=PORT, certificate=pem)
    return server, lambda: aiohttp(
        place, web.aiohttp_tls_client, address=ADDRESS, port=PORT, name=NAME, connections=3
    )  # fmt: skip


by_name("node and aiohttp, sessions resumed", to_aiohttp)
by_name("aiohttp and node, which speaks TLS 1.2 only", to_node)
