"""The other end of a connection, where that is on this host: in another network namespace."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettop.model.rows import Connection, Peer
from nettop.model.snapshot import Snapshot
from tests.live import programs
from tests.live.lab import FAR_IPV4, Namespace, Program, Watch, connections_of, two_namespaces

HOLD = 7041


@dataclass
class Lab:
    near: Namespace
    server: Program
    old: Program
    watch: Watch


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with two_namespaces(directory) as (near, far):
        server = far.play(programs.tcp_server, address=FAR_IPV4, port=HOLD, mode="hold")
        assert server.hear() == "listening"
        old = near.play(programs.tcp_stay, address=FAR_IPV4, port=HOLD, up=11, down=13)
        assert old.hear() == "exchanged"
        with Watch(directory, "--netns", near.name, "--netns", far.name) as watch:
            yield Lab(near, server, old, watch)
            watch.stop()


def ends(snapshot: Snapshot, client: Program, server: Program) -> tuple[Connection, Connection] | None:
    """Both rows, once they are there."""
    mine = connections_of(snapshot, client)
    theirs = [row for row in connections_of(snapshot, server) if mine and row.remote.port == mine[0].local.port]
    return (mine[0], theirs[0]) if mine and theirs else None


def end_of(row: Connection) -> Peer:
    return Peer(id=row.id, pid=row.pid, comm=row.comm)


@pytest.mark.parametrize("older", [True, False])
def test_both_ends_across_namespaces(lab: Lab, older: bool) -> None:
    client = lab.old if older else lab.near.play(programs.tcp_stay, address=FAR_IPV4, port=HOLD, up=17, down=19)
    if not older:
        assert client.hear() == "exchanged"
    snapshot = lab.watch.until(lambda snapshot: ends(snapshot, client, lab.server) is not None, "both ends")
    found = ends(snapshot, client, lab.server)
    assert found is not None
    mine, theirs = found
    assert mine.netns != theirs.netns
    assert (mine.opened_before_start, theirs.opened_before_start) == (older, older)
    assert (mine.direction, theirs.direction) == ("outbound", "inbound")
    assert (mine.peer, theirs.peer) == (end_of(theirs), end_of(mine))
    client.say("close")
    client.end()
