"""Whether everything that was offered is seen or reported as lost, at rising rates up to what the machine can make."""

import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import msgspec

from nettop.model.events import AnyEvent, ConnectionChanged, DnsChanged, LossesChanged
from nettop.model.rows import Connection, DnsQuery, Losses
from tests.bench.report import Findings, Table, Target
from tests.bench.settings import PATIENCE_S, Settings
from tests.bench.traffic import (
    DNS,
    ZONE,
    Done,
    connection_number,
    connections_done,
    dns_done,
    served,
    start_connections,
    start_dns,
)  # fmt: skip
from tests.live.lab import NETTOP, Namespace, attached, namespace, wait_until

RATES = (1_000, 5_000, 10_000, 20_000, 0)
AT_MOST_PER_S = {"queries": 80_000, "connections": 40_000}  # what is offered at rate 0: more than any machine makes
SETTLED_S = 1.5
NOTES = (
    "Each query has a name of its own and each connection an address of its own, so that every one is looked for. Of a "
    "connection both ends are counted. `lost` is what nettop reports in its losses, of what it could not take over "
    "from the kernel; `silent` is what is missing beyond that, and must be 0.",
)


@dataclass(frozen=True)
class Score:
    """`seen` are the offered that have their row, `ended` those of which it also says how they ended."""

    offered: int
    ended_offered: int  # of queries the answered ones
    seen: int
    ended: int
    reported: int

    @property
    def silent(self) -> int:
        """What is missing beyond what is reported. A lost end is a row that stays open, and a report of its own."""
        missing = self.offered - self.seen
        left_open = max((self.seen - self.ended) - (self.offered - self.ended_offered), 0)
        return max(missing + left_open - self.reported, 0)


@dataclass
class Rows:
    """What a recording comes to: the last row of each id, and the last losses."""

    dns: dict[int, DnsQuery]
    connections: dict[int, Connection]
    losses: Losses


def rows_of(lines: Iterable[bytes]) -> Rows:
    """Of a stream's lines."""
    decode = msgspec.json.Decoder(AnyEvent).decode
    rows = Rows({}, {}, Losses())
    for line in lines:
        match decode(line):
            case DnsChanged(dns=query):
                rows.dns[query.id] = query
            case ConnectionChanged(connection=connection):
                rows.connections[connection.id] = connection
            case LossesChanged(losses=losses):
                rows.losses = losses
    return rows


def score_dns(rows: Rows, done: Done) -> Score:
    """Queries by their names."""
    seen = {query.qname: query.status for query in rows.dns.values() if (query.qname or "").endswith(f".{ZONE}")}
    assert done.offered is not None
    assert done.completed is not None
    reported = rows.losses.perf_buffer.get("dns_events", 0) + rows.losses.dns_unparsed
    answered = sum(status == "answered" for status in seen.values())
    return Score(done.offered, done.completed, len(seen), answered, reported)


def score_connections(rows: Rows, done: Done) -> Score:
    """Both ends of connections, by their addresses."""
    seen: dict[tuple[int, bool], bool] = {}
    for row in rows.connections.values():
        for far, end in ((True, row.remote), (False, row.local)):
            serial = connection_number(end.address, end.port)
            if serial is not None:
                seen[serial, far] = row.state == "closed"
    assert done.offered is not None
    losses = rows.losses
    reported = losses.perf_buffer.get("tcp_events", 0) + losses.missed_runs.get("tcp_state", 0)
    reported += losses.map_full.get("sockets", 0)
    ends = 2 * done.offered
    return Score(ends, ends, len(seen), sum(seen.values()), reported)


def run(settings: Settings, findings: Findings) -> None:
    """Every rate, queries and connections apart."""
    cells = []
    silent = 0
    seconds = settings.seconds(5, 2)
    with namespace(settings.directory) as where, served(DNS, where, settings.directory):
        for what in ("queries", "connections"):
            for rate in RATES[:: 2 if settings.quick else 1]:
                score, per_s = _offer(settings, where, what, rate, seconds)
                silent += score.silent
                raw = {"what": what, "rate": rate, "per_s": per_s, **asdict(score), "silent": score.silent}
                findings.add(raw)
                ends = "ends of connections" if what == "connections" else what
                numbers = (score.offered, score.seen, score.ended, score.reported, score.silent)
                cells.append((ends, f"{per_s:,.0f}", *(f"{number:,}" for number in numbers)))
    head = ("what", "made per second", "offered", "seen", "answered, closed", "lost", "silent")
    findings.tables.append(Table("Completeness", head, cells, NOTES))
    findings.targets.append(Target("missing and not reported as lost", 0, silent))


def _offer(settings: Settings, where: Namespace, what: str, rate: int, seconds: float) -> tuple[Score, float]:
    number = int((rate or AT_MOST_PER_S[what]) * seconds)
    file = settings.directory / "stream.jsonl"
    with _recording(file):
        if what == "queries":
            done = dns_done(start_dns(where, settings.directory, seconds, rate, number), PATIENCE_S)
        else:
            done = connections_done(start_connections(where, settings.directory, PATIENCE_S, rate, number), PATIENCE_S)
        time.sleep(SETTLED_S)
    with file.open("rb") as lines:
        rows = rows_of(lines)
    file.unlink()
    return (score_dns if what == "queries" else score_connections)(rows, done), done.per_s


@contextmanager
def _recording(file: Path) -> Iterator[None]:
    """`nettop stream` for a while; the file is there afterwards."""
    with subprocess.Popen([*NETTOP, "stream", "-o", str(file)], stderr=subprocess.PIPE) as process:
        try:
            wait_until(partial(attached, process.pid), "nettop stream to attach")
            yield
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, errors.decode()
        finally:
            process.kill()
