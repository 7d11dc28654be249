"""What happens to a machine, as each kernel of the matrix must pass it: CPUs that go and come; and names of processes.

Named so that pytest collects it only when asked for by name. Needs a machine of its own with two CPUs.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nettop.model.snapshot import Snapshot
from tests.kernels import PATIENCE_S, kernel_version
from tests.live import dns_server, programs
from tests.live.lab import Namespace, Program, Watch, connections_of, dns_of, namespace, process_of, wait_until

ADDRESS, TCP_PORT, UDP_PORT = "127.0.0.1", 7001, 7007
OTHER_CPU = 1  # the first one cannot go off on every machine
SIZES = [[8, 13], [65_537, 101], [9, 300_007]]  # up and down
QUESTIONS = [[11, "www.cpu.test", 1], [12, "servfail-a.test", 1], [13, "size-511.test", 16], [14, "size-3001.test", 16]]


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Namespace]:
    """A namespace, on a machine all of whose CPUs are on again afterwards."""
    try:
        with namespace(tmp_path) as made:
            yield made
    finally:
        switch(on=True)


def switch(on: bool) -> None:
    Path(f"/sys/devices/system/cpu/cpu{OTHER_CPU}/online").write_text("1" if on else "0")


@contextmanager
def on_the_other_cpu() -> Iterator[None]:
    """Whatever is started meanwhile stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {OTHER_CPU})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def watching(directory: Path, *arguments: str, quiet: bool = True) -> Iterator[Watch]:
    """The whole machine, on which nothing else talks: without a scope the programs are compiled already."""
    watch = Watch(directory, *arguments, quiet=quiet)
    try:
        wait_until(lambda: watch.recording.stat().st_size > 0, "the stream's first line", PATIENCE_S)
        with watch:
            yield watch
    finally:
        watch.kill()


def started(program: Program, word: str) -> Program:
    assert program.hear(PATIENCE_S) == word
    return program


def talk(inside: Namespace, watch: Watch) -> None:
    """Something of every kind, all of it on the other CPU; every number of it is right."""
    with on_the_other_cpu():
        server = started(inside.play(programs.tcp_server, address=ADDRESS, port=TCP_PORT), "listening")
        resolver = started(inside.play(dns_server.serve, addresses=[ADDRESS]), "serving")
        echo = started(inside.play(programs.udp_echo, address=ADDRESS, port=UDP_PORT), "bound")
        asker = inside.play(programs.ask_udp, server=ADDRESS, questions=QUESTIONS)
        asker.end(PATIENCE_S)
        talker = inside.play(programs.tcp_client, address=ADDRESS, port=TCP_PORT, sizes=SIZES)
        talker.end(PATIENCE_S)
        pinger = inside.play(programs.udp_client, address=ADDRESS, port=UDP_PORT, sizes=[331] * 13)
        pinger.end(PATIENCE_S)
    watch.settled(asker, dns=len(QUESTIONS), patience_s=PATIENCE_S)
    watch.settled(talker, connections=len(SIZES), patience_s=PATIENCE_S)
    watch.settled(server, connections=len(SIZES), patience_s=PATIENCE_S)
    snapshot = watch.until(lambda snapshot: ended(snapshot, asker, talker, pinger), "the ends of processes", PATIENCE_S)
    assert all(process_of(snapshot, program).cmdline for program in (asker, talker, pinger))
    assert [(row.txid, row.status, row.rcode, row.response_bytes) for row in dns_of(snapshot, asker)[1:]] == [
        (12, "answered", "SERVFAIL", 33),
        (13, "answered", "NOERROR", 511),
        (14, "answered", "NOERROR", 3001),
    ]
    assert [len(row.answers) > 0 for row in dns_of(snapshot, asker)] == [True, False, True, True]
    for program, rows in ((talker, SIZES), (server, [size[::-1] for size in SIZES])):
        # those that a pass over the sockets tells have rows in any order
        told = {(row.owner, row.end, row.tx_bytes, row.rx_bytes) for row in connections_of(snapshot, program)}
        assert told == {("exact", "normal", tx, rx) for tx, rx in rows}
    udp = process_of(snapshot, pinger).udp
    assert (udp.tx_bytes, udp.rx_bytes) == (13 * 331, 13 * 331)
    for program in (server, resolver, echo):
        program.stop()


def ended(snapshot: Snapshot, *programs: Program) -> bool:
    return {program.pid for program in programs} <= {row.pid for row in snapshot.processes if row.exited_at}


def test_a_cpu_that_goes_and_comes(inside: Namespace, tmp_path: Path) -> None:
    with watching(tmp_path) as watch:
        talk(inside, watch)
        switch(on=False)
        switch(on=True)
        talk(inside, watch)
        watch.stop()


def test_a_cpu_that_comes_later(inside: Namespace, tmp_path: Path) -> None:
    switch(on=False)
    with watching(tmp_path) as watch:
        switch(on=True)
        talk(inside, watch)
        watch.stop()


@pytest.mark.skipif(kernel_version() >= (5, 17), reason="has been right since")
def test_a_short_name_after_a_longer_one(inside: Namespace, tmp_path: Path) -> None:
    """Before Linux 5.17 the end of the longer one stays behind the NUL of the shorter one."""
    server = started(inside.play(programs.tcp_server, address=ADDRESS, port=TCP_PORT), "listening")
    started(inside.play(dns_server.serve, addresses=[ADDRESS]), "serving")
    started(inside.play(programs.udp_echo, address=ADDRESS, port=UDP_PORT), "bound")
    with watching(tmp_path, "--comm", "ab", quiet=False) as watch:
        talker = inside.play(programs.tcp_client, address=ADDRESS, port=TCP_PORT, sizes=SIZES, comm="ab")
        asker = inside.play(programs.ask_udp, server=ADDRESS, questions=QUESTIONS, comm="ab")
        pinger = inside.play(programs.udp_client, address=ADDRESS, port=UDP_PORT, sizes=[331], comm="ab")
        for program in (talker, asker, pinger):
            program.end(PATIENCE_S)
        watch.settled(talker, connections=len(SIZES), patience_s=PATIENCE_S)
        watch.settled(asker, dns=len(QUESTIONS), patience_s=PATIENCE_S)
        watch.until(lambda snapshot: ended(snapshot, talker, asker, pinger), "the ends of processes", PATIENCE_S)
        snapshot = watch.stop()
    assert {row.comm for row in snapshot.processes} == {"ab"}
    assert process_of(snapshot, pinger).udp.tx_bytes == 331
    assert not connections_of(snapshot, server)
