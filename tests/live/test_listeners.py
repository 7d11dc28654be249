"""Listening sockets: queues that are really full, drops and holders, held against ss and /proc/net/netstat."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettop.model.rows import Connection, Listener
from nettop.model.snapshot import Snapshot
from tests.live import programs
from tests.live.lab import Namespace, Program, Watch, listens, namespace, process_of, wait_until
from tests.live.test_multipath import MPTCP_ENABLED

OLD, NEW, FORKED, GROUP, DUAL = 7301, 7302, 7303, 7304, 7305
MULTIPATH, OLD_MULTIPATH, SERVED, WAITED = 7306, 7307, 7308, 7309
LOCAL = "127.0.0.1"
BACKLOG = 2
WAITING = 3


@dataclass
class Lab:
    inside: Namespace
    watch: Watch
    old: Program
    old_multipath: Program | None
    waited: Program  # a listener with WAITING connections in its queue that nobody has accepted
    waiting: Program  # at the other end, from which the n-th has sent n bytes

    def listener(self, port: int, pid: int | None = None) -> Listener | None:
        """The newest one on this port."""
        found = self.all(port, pid)
        return found[-1] if found else None

    def all(self, port: int, pid: int | None = None) -> list[Listener]:
        return [row for row in self.watch.store.snapshot().listeners if row.port == port and pid in (None, row.pid)]

    def until(self, port: int, **expected: object) -> Listener:
        """The row of this port once it says this."""

        def met(_: Snapshot) -> bool:
            row = self.listener(port)
            return row is not None and all(getattr(row, name) == value for name, value in expected.items())

        self.watch.until(met, f"port {port} with {expected}: {self.listener(port)}")
        row = self.listener(port)
        assert row is not None
        return row


def start(inside: Namespace, port: int, *, address: str = LOCAL, backlog: int = BACKLOG, how: str = "") -> Program:
    program = inside.play(programs.tcp_listen, address=address, port=port, backlog=backlog, how=how)
    assert program.hear() == []
    return program


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with namespace(directory) as inside:
        old = start(inside, OLD)
        full = knock(inside, OLD)
        wait_until(lambda: list_drops(old) > 0, "drops before nettop starts")
        full.say("leave")
        full.end()
        multipath = start(inside, OLD_MULTIPATH, how="mptcp") if MPTCP_ENABLED.exists() else None
        waited = start(inside, WAITED, backlog=9)
        waiting = inside.play(programs.tcp_many, address=LOCAL, port=WAITED, connections=WAITING)
        assert waiting.hear() == "sent"
        with Watch(directory, "--netns", inside.name) as watch:
            yield Lab(inside, watch, old, multipath, waited, waiting)
            watch.stop()


def knock(inside: Namespace, port: int, address: str = LOCAL, times: int = 9) -> Program:
    program = inside.play(programs.tcp_knock, address=address, port=port, times=times)
    assert program.hear() == "knocked"
    return program


def list_drops(program: Program) -> int:
    """ListenDrops of the program's network namespace."""
    names, numbers = (line.split() for line in Path(f"/proc/{program.pid}/net/netstat").read_text().splitlines()[:2])
    return int(numbers[names.index("ListenDrops")])


def queue_of(inside: Namespace, port: int) -> tuple[int, int]:
    """As ss says: what waits, and the limit."""
    command = inside.inside("ss", "-Hltn", f"sport = :{port}")
    fields = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(fields[1]), int(fields[2])


def test_a_full_queue(lab: Lab) -> None:
    server = start(lab.inside, NEW)
    lab.until(NEW, queue=0, queue_limit=BACKLOG, drops=0, accepted=0, open=0, full=False, closed=False)
    before = list_drops(server)
    client = knock(lab.inside, NEW)
    row = lab.until(NEW, queue=BACKLOG + 1, full=True)
    assert (row.queue, row.queue_limit) == queue_of(lab.inside, NEW)
    assert (row.pid, row.comm, row.owner, row.address, row.family) == (server.pid, "keeper", "exact", LOCAL, "ipv4")
    assert (row.netns, row.reuseport, row.opened_before_start) == (lab.inside.inode, None, False)
    assert [holder.pid for holder in row.holders] == [server.pid]
    assert row.failed
    lab.watch.until(
        lambda _: 6 <= list_drops(server) - before == lab.until(NEW).drops, "as many drops as the kernel counts"
    )
    lab.watch.until(
        lambda _: any(event.listener.drops_per_s > 0 for event in lab.watch.events if hasattr(event, "listener")),
        "their rate",
    )
    lab.until(NEW, accepted=BACKLOG + 1, open=BACKLOG + 1)
    server.say(BACKLOG + 1)
    assert server.hear() == "accepted"
    client.say("leave")
    client.end()
    row = lab.until(NEW, full=False)
    assert row.accepted is not None
    assert row.accepted >= BACKLOG + 1
    server.say("stop")
    assert server.hear() == "stopped"
    row = lab.until(NEW, closed=True)
    assert row.opened_at is not None
    assert row.closed_at is not None
    assert row.opened_at < row.closed_at
    assert not row.failed
    server.say("end")
    server.end()


def test_one_older_than_nettop(lab: Lab) -> None:
    row = lab.until(OLD, pid=lab.old.pid)
    assert (row.owner, row.opened_at, row.opened_before_start, row.queue_limit) == ("scanned", None, True, BACKLOG)
    assert row.drops_before_start >= 6
    lab.watch.until(
        lambda snapshot: (
            sum(each.drops + each.drops_before_start for each in snapshot.listeners) == list_drops(lab.old)
        ),
        "as many drops as the kernel counts in all",
    )
    assert [holder.pid for holder in row.holders] == [lab.old.pid]
    assert (row.accepted, process_of(lab.watch.store.snapshot(), lab.old).comm) == (0, "keeper")


def test_what_waited_in_the_queue_before_nettop(lab: Lab) -> None:
    """No file leads to these connections, only the queue of their listener."""
    row = lab.until(WAITED, queue=WAITING, accepted=0, open=WAITING)
    assert row.pid == lab.waited.pid

    def inbound() -> list[Connection]:
        connections = lab.watch.store.snapshot().connections
        return [each for each in connections if each.local.port == WAITED and each.direction == "inbound"]

    def waits() -> bool:
        return [(each.waits_for, each.recv_queue_bytes) for each in by_bytes(inbound())] == [
            ("local", sent) for sent in range(1, WAITING + 1)
        ]

    lab.watch.until(lambda _: waits(), "three that wait for the server")
    for each in inbound():
        assert (each.pid, each.owner, each.opened_before_start) == (lab.waited.pid, "listener", True)
        assert each.rx_bytes == each.rx_bytes_before_start == each.recv_queue_bytes
    lab.waited.say(WAITING)
    assert lab.waited.hear() == "accepted"
    lab.waiting.say("again")
    assert lab.waiting.hear() == "sent"
    lab.watch.until(lambda _: {(each.pid, each.owner) for each in inbound()} == {(lab.waited.pid, "scanned")}, "found")
    moved = [(2 * sent, sent) for sent in range(1, WAITING + 1)]
    lab.watch.until(
        lambda _: [(each.rx_bytes, each.rx_bytes_before_start) for each in by_bytes(inbound())] == moved, f"{moved}"
    )
    lab.until(WAITED, queue=0, accepted=0, open=WAITING)
    lab.waiting.say("close")
    lab.waiting.end()
    lab.waited.say("stop")
    assert lab.waited.hear() == "stopped"
    lab.waited.say("end")
    lab.waited.end()
    lab.watch.until(lambda _: all(each.state == "closed" for each in inbound()), "closed")
    assert [each.rx_bytes for each in by_bytes(inbound())] == [2 * sent for sent in range(1, WAITING + 1)]


def by_bytes(rows: list[Connection]) -> list[Connection]:
    return sorted(rows, key=lambda row: row.rx_bytes)


def test_every_holder_after_a_fork(lab: Lab) -> None:
    server = lab.inside.play(programs.tcp_listen, address=LOCAL, port=FORKED, backlog=9, workers=3)
    children = server.hear()
    client = knock(lab.inside, FORKED, times=1)  # whose socket nobody holds yet: nettop looks who holds what
    expected = sorted([server.pid, *children])
    lab.watch.until(
        lambda _: [holder.pid for holder in lab.until(FORKED).holders] == expected, f"the holders {expected}"
    )
    row = lab.until(FORKED, pid=server.pid, holders_cut=0)
    assert {holder.comm for holder in row.holders} == {"keeper"}
    client.say("leave")
    client.end()
    server.say("stop")
    assert server.hear() == "stopped"
    assert not lab.until(FORKED).closed  # the children hold it
    server.say("end")
    server.end()
    lab.until(FORKED, closed=True)  # they end with their parent


def test_what_came_in_is_counted_exactly(lab: Lab) -> None:
    server = lab.inside.play(programs.tcp_server, address=LOCAL, port=SERVED, mode="answer")
    assert server.hear() == "listening"
    client = lab.inside.play(programs.tcp_client, address=LOCAL, port=SERVED, sizes=[[8, 1]] * 31)
    client.end()
    lab.until(SERVED, accepted=31, open=0, queue=0, drops=0, pid=server.pid)
    stays = lab.inside.play(programs.tcp_many, address=LOCAL, port=SERVED, connections=1)
    assert stays.hear() == "sent"
    lab.until(SERVED, accepted=32, open=1)
    stays.say("close")
    stays.end()
    lab.until(SERVED, accepted=32, open=0)


def test_sockets_of_a_reuseport_group(lab: Lab) -> None:
    """Each is a row; through which of them something came in is not guessed."""
    servers = [start(lab.inside, GROUP, how="reuseport") for _ in range(2)]
    lab.watch.until(lambda _: len(lab.all(GROUP)) == 2, "two rows")
    rows = lab.all(GROUP)
    assert [row.pid for row in rows] == [server.pid for server in servers]
    assert rows[0].reuseport is not None
    assert rows[0].reuseport == rows[1].reuseport
    assert [row.accepted for row in rows] == [0, 0]
    client = knock(lab.inside, GROUP, times=1)
    lab.watch.until(lambda _: [row.accepted for row in lab.all(GROUP)] == [None, None], "unknown")
    lab.watch.until(lambda _: sum(row.queue for row in lab.all(GROUP)) == 1, "one that waits")
    client.say("leave")
    client.end()


@pytest.mark.parametrize("address", [LOCAL, "::1"])
def test_a_dual_stack_listener(lab: Lab, address: str) -> None:
    port = DUAL if address == LOCAL else DUAL + 10
    server = start(lab.inside, port, address="::", backlog=9)
    client = knock(lab.inside, port, address=address, times=3)
    row = lab.until(port, queue=3, accepted=3, open=3)
    assert (row.address, row.family, row.pid) == ("::", "ipv6", server.pid)
    client.say("leave")
    client.end()


@pytest.mark.skipif(not MPTCP_ENABLED.exists(), reason="this kernel has no Multipath TCP")
@pytest.mark.parametrize("port", [OLD_MULTIPATH, MULTIPATH], ids=["older", "new"])
def test_a_multipath_listener(lab: Lab, port: int) -> None:
    server = lab.old_multipath if port == OLD_MULTIPATH else start(lab.inside, port, how="mptcp")
    assert server is not None
    client = knock(lab.inside, port)
    row = lab.until(port, queue=BACKLOG + 1, full=True)
    assert (row.queue_limit, row.pid, row.comm) == (BACKLOG, server.pid, "keeper")
    assert queue_of(lab.inside, port) == (row.queue, row.queue_limit)
    lab.watch.until(lambda _: lab.until(port).drops >= 6, "drops")
    assert [holder.pid for holder in row.holders] == [server.pid]
    client.say("leave")
    client.end()


def test_a_listener_that_lives_shorter_than_a_tick(lab: Lab) -> None:
    server = start(lab.inside, OLD + 100)
    server.say("stop")
    assert server.hear() == "stopped"
    row = lab.until(OLD + 100, closed=True, pid=server.pid)
    assert (row.queue_limit, row.comm) == (BACKLOG, "keeper")
    assert not listens(server, OLD + 100)
    server.say("end")
    server.end()
