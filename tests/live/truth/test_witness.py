"""The same traffic as others see it: tcpdump on the wire, ss in the kernel's tables."""

import re
import signal
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettop.model.rows import Connection
from nettop.model.snapshot import Snapshot
from tests.live import programs
from tests.live.conftest import Figures
from tests.live.lab import Watch, wait_until
from tests.live.truth import pcap, talk
from tests.live.truth.dns_scenarios import SERVER, SERVER_IPV6
from tests.live.truth.place import Place, place
from tests.live.truth.tcp_scenarios import ASK, FOLLOW, LEAVE, LOCAL, PORT, REPLY

RESET, HOLD = 7002, 7004
RCODES = {0: "NOERROR", 2: "SERVFAIL", 5: "REFUSED"}
STATES = {"ESTAB": "established", "CLOSE-WAIT": "close-wait", "FIN-WAIT-2": "fin-wait-2"}


@dataclass
class Seen:
    """By nettop at the end, by tcpdump, and by both nettop and ss in the middle."""

    snapshot: Snapshot
    capture: pcap.Capture
    alive: Snapshot
    ss: str


@pytest.fixture(scope="module")
def seen(directory: Path) -> Iterator[Seen]:
    with place(directory, far=False) as lab:
        lab.dns_server(SERVER, SERVER_IPV6)
        lab.serve(LOCAL, PORT, REPLY + FOLLOW)
        lab.serve(LOCAL, RESET, [*REPLY, ["reset"]])
        lab.known(lab.near.play(programs.tcp_server, address=LOCAL, port=HOLD, mode="hold")).hear()
        wire, errors = directory / "wire.pcap", directory / "tcpdump.stderr"
        tcpdump = lab.start(
            "sh", "-c", 'exec tcpdump -Z root -n -i lo -U -B 16384 -w "$0" 2> "$1"', str(wire), str(errors)
        )
        wait_until(lambda: errors.exists() and "listening on" in errors.read_text(), "tcpdump to listen")
        with Watch(directory, "--netns", lab.near.name) as watch:
            alive, ss = talk_of_all_kinds(lab, watch)
            snapshot = watch.stop()
        tcpdump.stop(signal.SIGINT)
        assert "0 packets dropped by kernel" in errors.read_text()
        yield Seen(snapshot, pcap.read(wire), alive, ss)


def talk_of_all_kinds(lab: Place, watch: Watch) -> tuple[Snapshot, str]:
    """Everything that the witnesses are asked about; what nettop and ss show while connections live."""
    for server in (SERVER, SERVER_IPV6):
        questions = [[f"hold-{number % 4}-witness{number}.test", 1] for number in range(101)]
        lab.run(talk.ask, server=server, questions=[*questions, ["refused-1.test", 1], ["servfail-1.test", 28]])
        lab.run(talk.ask, server=server, questions=[[f"drop-{len(server)}.test", 1]], patience_s=0.2, tries=2)
    lab.run(talk.ask, server=SERVER, questions=[["silent-1.test", 1]], patience_s=0.1)
    lab.run(talk.connect, address=LOCAL, port=PORT, steps=ASK + LEAVE, times=101)
    lab.run(talk.connect, address=LOCAL, port=RESET, steps=ASK + FOLLOW, times=7)
    sizes = [(8, 0), (1009, 503), (1_000_003, 8), (9, 700_001), (65_537, 65_539)]
    clients = [lab.near.play(programs.tcp_stay, address=LOCAL, port=HOLD, up=up, down=down) for up, down in sizes]
    for client in clients:
        assert client.hear() == "exchanged"

    def carried(snapshot: Snapshot) -> bool:
        shown = [(row.tx_bytes, row.rx_bytes) for row in live(snapshot) if row.remote.port == HOLD]
        return sorted(shown) == sorted(sizes)

    alive = watch.until(carried, "the live connections' bytes")
    ss = lab.near.start("ss", "-tinH").end()
    # srtt moves with the last acknowledgement, which may be delayed
    alive = watch.until(lambda snapshot: agree(snapshot, ss), "the same from ss and nettop")
    for client in clients:
        client.say("close")
        client.end()
    watch.until(lambda snapshot: not live(snapshot), "the end of all connections")
    watch.until(lambda snapshot: not any(row.status == "pending" for row in snapshot.dns), "the end of all queries")
    return alive, ss


def live(snapshot: Snapshot) -> list[Connection]:
    return [row for row in snapshot.connections if row.state != "closed"]


def by_ss(said: str) -> dict[tuple[str, str], tuple[str, int, int, float]]:
    """State, payload bytes sent and received and srtt by both ends. See ss(8), -i."""
    found = {}
    pairs = zip(*[iter(said.splitlines())] * 2, strict=True)
    for socket, details in pairs:
        state, _, _, local, remote = socket.split()[:5]
        figures = dict(re.findall(r"\b(bytes_sent|bytes_retrans|bytes_received):(\d+)", details))
        srtt = re.search(r"\brtt:([\d.]+)/", details)
        assert srtt is not None
        sent = int(figures.get("bytes_sent", 0)) - int(figures.get("bytes_retrans", 0))
        found[local, remote] = (STATES[state], sent, int(figures.get("bytes_received", 0)), float(srtt[1]))
    return found


def shown(row: Connection) -> tuple[tuple[str, str], tuple[str, int, int]]:
    ends = (f"{row.local.address}:{row.local.port}", f"{row.remote.address}:{row.remote.port}")
    return ends, (row.state, row.tx_bytes, row.rx_bytes)


def agree(snapshot: Snapshot, said: str) -> bool:
    return dict(map(shown, live(snapshot))) == {ends: figures[:3] for ends, figures in by_ss(said).items()}


def test_ss_shows_the_same_live_connections(seen: Seen, figures: Figures) -> None:
    theirs = by_ss(seen.ss)
    assert len(theirs) == 10
    assert agree(seen.alive, seen.ss)
    off = [abs(row.srtt_ms - theirs[shown(row)[0]][3]) for row in live(seen.alive) if row.srtt_ms is not None]
    assert len(off) == 10
    assert statistics.median(off) <= 0.001  # what does not move is equal but for the rounding
    figures.tell(f"ss -tin against nettop: bytes and state of 10 ends equal, srtt off by {max(off):.3f} ms at most")


def test_tcpdump_saw_the_same_queries(seen: Seen, figures: Figures) -> None:
    wire = seen.capture.exchanges
    rows = {
        ((row.client.address, row.client.port), row.txid, programs.query(0, str(row.qname))[12:-4]): row
        for row in seen.snapshot.dns
    }
    assert len(rows) == len(seen.snapshot.dns) == len(wire) == 2 * 104 + 1
    differences = []
    for (client, txid, question), exchange in wire.items():
        row = rows[client, txid, question[:-2]]
        assert row.attempts == exchange.sent
        assert row.rcode == (None if exchange.rcode is None else RCODES[exchange.rcode])
        if exchange.answered_us is not None and row.latency_ms is not None:
            differences.append(row.latency_ms - (exchange.answered_us - exchange.first_us) / 1000)
    assert len(differences) == 2 * 104
    assert statistics.median(map(abs, differences)) <= 1.0
    figures.tell(f"tcpdump against nettop: {len(wire)} queries, latency off by {statistics.median(differences):.3f} ms")


def test_tcpdump_saw_the_same_connections(seen: Seen, figures: Figures) -> None:
    streams = seen.capture.streams
    rows = seen.snapshot.connections
    assert len(streams) == len(rows) == 2 * (101 + 7 + 5)
    for row in rows:
        local, remote = (row.local.address, row.local.port), (row.remote.address, row.remote.port)
        sent, received = streams[local, remote], streams[remote, local]
        assert (row.tx_bytes, row.rx_bytes) == (sent.highest, received.highest), row
        end = "reset-by-us" if sent.reset else "reset-by-peer" if received.reset else "normal"
        assert row.end == end, row
    figures.tell(f"tcpdump against nettop: {len(rows)} ends of connections, bytes and end equal")
