"""CPUs without perf buffers, as one has that came after nettop's start or was off for a while: nothing of them is lost.

Their buffers are taken out of the maps, which is to a program as if they had never been. That a CPU really goes and
comes is for the matrix of kernels (tests/kernels/machine.py).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from nettop.kernel import syscalls
from nettop.kernel.abi import SOCKET_RECORD, SPILLED_HEAD
from nettop.kernel.hooks import BUFFERS
from nettop.kernel.program import _SPILLED_BYTES
from nettop.kernel.scope import Scope
from nettop.model.snapshot import Snapshot
from nettop.model.store import Store
from nettop.sources.live import LiveSource
from tests.faults import load
from tests.live import dns_server, programs
from tests.live.lab import Namespace, Program, connections_of, dns_of, namespace, process_of, wait_until

ADDRESS, PORT, ECHO = "127.0.0.1", 7101, 7007
SIZES = [[8, 13], [65_537, 101], [9, 300_007]]  # up and down
QUESTIONS = [[11, "www.spill.test", 1], [12, "size-511.test", 16], [13, "size-512.test", 16], [14, "size-513.test", 16],
             [15, "size-4096.test", 16]]  # fmt: skip
RING_HEAD_BYTES = 8  # BPF_RINGBUF_HDR_SZ
CPUS = syscalls.online_cpus()


class Reader:
    """nettop's source in this process, read only when told to."""

    def __init__(self, inside: Namespace, without: list[int]) -> None:
        self._source = LiveSource(Scope(netns=(inside.inode,)), interval_s=0.1, list_everything=True)
        self._store = Store()
        for buffer in BUFFERS:
            for cpu in without:
                with suppress(FileNotFoundError):
                    syscalls.delete(self._source._program._maps[buffer.name], cpu.to_bytes(4, "little"))

    def take(self) -> Snapshot:
        for event in self._source.read(0.05):
            self._store.apply(event)
        return self._store.snapshot()

    def close(self) -> None:
        self._source.close()


@contextmanager
def reading(inside: Namespace, without: list[int]) -> Iterator[Reader]:
    reader = Reader(inside, without)
    try:
        yield reader
    finally:
        reader.close()


@pytest.fixture
def inside(directory: Path) -> Iterator[Namespace]:
    with namespace(directory) as made:
        yield made


def started(program: Program, word: str) -> Program:
    assert program.hear() == word
    return program


def nothing_lost(snapshot: Snapshot) -> bool:
    return not any(snapshot.losses.perf_buffer.values())


def test_every_kind_of_record(inside: Namespace) -> None:
    server = started(inside.play(programs.tcp_server, address=ADDRESS, port=PORT), "listening")
    started(inside.play(dns_server.serve, addresses=[ADDRESS]), "serving")
    started(inside.play(programs.udp_echo, address=ADDRESS, port=ECHO), "bound")
    with reading(inside, without=CPUS) as reader:
        asker = inside.play(programs.ask_udp, server=ADDRESS, questions=QUESTIONS)
        talker = inside.play(programs.tcp_client, address=ADDRESS, port=PORT, sizes=SIZES)
        pinger = inside.play(programs.udp_client, address=ADDRESS, port=ECHO, sizes=[331] * 13)
        clients = (asker, talker, pinger)
        for program in clients:
            program.end()

        def all_ended() -> bool:
            ended = {row.pid for row in reader.take().processes if row.exited_at}
            return ended >= {program.pid for program in clients}

        wait_until(all_ended, "the ends of the processes")
        wait_until(lambda: len(connections_of(reader.take(), server)) == len(SIZES), "the server's ends")
        snapshot = reader.take()
    assert nothing_lost(snapshot)
    answers = [(row.txid, row.status, row.response_bytes) for row in dns_of(snapshot, asker)[1:]]
    assert answers == [(12, "answered", 511), (13, "answered", 512), (14, "answered", 513), (15, "answered", 4096)]
    assert all(row.rcode == "NOERROR" and row.answers for row in dns_of(snapshot, asker))
    for of, rows in ((talker, SIZES), (server, [size[::-1] for size in SIZES])):
        told = [(row.owner, row.end, row.tx_bytes, row.rx_bytes) for row in connections_of(snapshot, of)]
        assert told == [("exact", "normal", tx, rx) for tx, rx in rows]
    udp = process_of(snapshot, pinger).udp
    assert (udp.tx_bytes, udp.rx_bytes) == (13 * 331, 13 * 331)
    assert all("tests.live.programs" in " ".join(process_of(snapshot, each).cmdline or ()) for each in clients)


@pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")
def test_what_spilled_keeps_its_place_in_time(inside: Namespace) -> None:
    """The query leaves on a CPU without a buffer, its answer comes on one that has one."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {CPUS[1]})
        started(inside.play(load.serve, address=ADDRESS, port=PORT), "serving")
        with reading(inside, without=[CPUS[0]]) as reader:
            os.sched_setaffinity(0, {CPUS[0]})
            asker = inside.play(load.ask, address=ADDRESS, count=500, sockets=1)
            os.sched_setaffinity(0, before)
            asker.end()
            wait_until(lambda: len(dns_of(reader.take(), asker)) == 500, "the questions")
            wait_until(lambda: all(row.status == "answered" for row in dns_of(reader.take(), asker)), "their answers")
            assert nothing_lost(reader.take())
    finally:
        os.sched_setaffinity(0, before)


def test_more_than_finds_room(inside: Namespace) -> None:
    """What does not fit is counted, in its own buffer's losses, to the last record."""
    room = _SPILLED_BYTES // (RING_HEAD_BYTES + SPILLED_HEAD.size + SOCKET_RECORD.size)
    connections = room * 3 // 4  # with two ends each
    started(inside.play(load.serve, address=ADDRESS, port=PORT), "serving")
    with reading(inside, without=CPUS) as reader:
        reader.take()
        inside.play(load.connect, address=ADDRESS, port=PORT, count=connections).end()
        wait_until(lambda: not nothing_lost(reader.take()), "the loss to be reported")

        def ended() -> int:
            return sum(row.end is not None for row in reader.take().connections)

        def lost() -> int:
            return reader.take().losses.perf_buffer["tcp_events"]

        wait_until(lambda: ended() + lost() == 2 * connections, "as many ends and losses as there were")
        assert room - 50 <= ended() <= room  # some room is taken by the records of processes
        before = lost()
        talker = inside.play(load.connect, address=ADDRESS, port=PORT, count=101)
        talker.end()
        wait_until(lambda: len(connections_of(reader.take(), talker)) == 101, "what comes when there is room again")
        assert lost() == before
