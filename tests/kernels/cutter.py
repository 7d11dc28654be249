"""What --allow-cut does, without a screen: a program that attaches, shuts itself in and does what it is told."""

import ctypes
import select
import sys
from pathlib import Path

from nettop.kernel.scope import Scope, netns_inode
from nettop.model.cutting import OneConnection, OneProcess, OneRemote, OneUnit, Order, Target
from nettop.model.snapshot import Snapshot
from nettop.model.store import Store
from nettop.sources.live import LiveSource, LookedAt
from tests.live.programs import CLONE_NEWNET, hear, say

_INTERVAL_S = 0.2


def cut_as_told(netns: str) -> None:
    """In this network namespace. Hears [kind, pid, minutes, port], closes or blocks, and says what came of it.

    Of kinds "process", "unit" and "remote" blocks it; of "connection" it closes the one to this port; "all" lets go.
    """
    with Path("/run/netns", netns).open() as namespace:
        if ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET):
            raise AssertionError("it did not get into the namespace")
    inode = netns_inode(netns)
    source = LiveSource(Scope(netns=(inode,)), _INTERVAL_S, looked_at=LookedAt(may_cut=True))
    source.give_up_privileges(Path.cwd())
    source.shut_in([])
    cutter = source.cutter
    assert cutter is not None
    say("ready")
    store = Store()
    while True:
        for event in source.read(_INTERVAL_S):
            store.apply(event)
        if not select.select([sys.stdin], [], [], 0)[0]:
            continue
        kind, pid, minutes, port = hear()
        if kind == "all":
            cutter.lift(None)
        else:
            while (target := _target(store.snapshot(), kind, pid, port, inode)) is None:
                for event in source.read(_INTERVAL_S):
                    store.apply(event)
            cutter.order(Order("close" if kind == "connection" else "block", target, minutes))
        state = cutter.state()
        say([state.outcome and state.outcome.sentence, [block.refused for block in state.blocks]])


def _target(snapshot: Snapshot, kind: str, pid: int, port: int, netns: int) -> Target | None:
    """None as long as there is no row."""
    for row in snapshot.processes:
        if row.pid == pid:
            process = OneProcess(row.pid, row.start_time, row.comm)
            if kind == "process":
                return process
            if kind == "unit":
                return None if row.unit is None else OneUnit(row.unit, process)
            for connection in snapshot.connections:
                if connection.pid == pid and connection.remote.port == port:
                    remote = OneRemote(connection.remote.address, netns)
                    return remote if kind == "remote" else OneConnection(connection.id, netns, remote, process)
    return None
