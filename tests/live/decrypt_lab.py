"""What the tests of --decrypt share: nginx with TLS in a namespace, and nettop that watches it."""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nettop.model.rows import Request
from nettop.model.snapshot import Snapshot
from tests.live.lab import Namespace, Program, Watch, certificate, namespace
from tests.live.nginx import nginx

ADDRESS, NAME, PORT = "127.0.0.1", "shop.nettop.test", 8443
HTTP2_PORT = PORT + 1


@dataclass
class Lab:
    inside: Namespace
    watch: Watch
    folder: Path
    certificate: Path

    @property
    def url(self) -> str:
        return f"https://{ADDRESS}:{PORT}"

    def answered(self, program: Program, number: int) -> tuple[Snapshot, list[Request]]:
        """Wait until so many requests of a program have been answered, and as many at nginx."""

        def over(snapshot: Snapshot) -> bool:
            return len([row for row in of(snapshot, program) if row.status is not None]) >= number

        self.watch.until(over, f"{number} requests of pid {program.pid}")
        snapshot = self.watch.up_to_now()
        return snapshot, of(snapshot, program)


def of(snapshot: Snapshot, program: Program) -> list[Request]:
    return [row for row in snapshot.requests if row.pid == program.pid]


def joins(snapshot: Snapshot, rows: list[Request]) -> Counter[str]:
    """How many rows are on the connection that their path says, on another one, on none that is known."""
    connections = {row.id: row for row in snapshot.connections}
    outcomes: Counter[str] = Counter()
    for row in rows:
        connection = connections.get(row.connection_id or 0)
        if connection is None:
            outcomes["unknown"] += 1
            continue
        end = connection.local if row.side == "client" else connection.remote
        assert row.path is not None
        assert end is not None
        outcomes["right" if row.path.split("/")[1] == str(end.port) else "wrong"] += 1
    return outcomes


@contextmanager
def serve(inside: Namespace, folder: Path, certificate: Path) -> Iterator[None]:
    """By nginx, which says in its log who asked for what."""
    folder.mkdir()
    server = nginx(
        inside, folder, PORT, told="$pid $remote_port $request_method $uri $status",
        http=f"""server {{
            listen {ADDRESS}:{PORT} ssl; listen {ADDRESS}:{HTTP2_PORT} ssl http2; ssl_protocols TLSv1.2 TLSv1.3;
            ssl_certificate {certificate}; ssl_certificate_key {certificate};
            location /missing {{ return 404; }}
            location / {{ return 200 "ok\\n"; }}
        }}""",
    )  # fmt: skip
    try:
        yield
    finally:
        server.stop(signal.SIGTERM)  # its workers too


@contextmanager
def decrypt_lab(directory: Path) -> Iterator[Lab]:
    """Ends with its programs."""
    folder = directory / "nginx"
    pem = certificate(directory / "certificate.pem", NAME)
    with (
        namespace(directory) as inside,
        serve(inside, folder, pem),
        Watch(directory, "--netns", inside.name, "--decrypt") as watch,
    ):
        yield Lab(inside, watch, folder, pem)
        watch.stop()
