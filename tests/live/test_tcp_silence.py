"""Connections that end because nobody answers: the kernel's timers end them, not a process and not a packet.

A timer may strike while nettop's program runs already, and a kernel does not run it twice at a time. So each case is
made several times, and what was not shown must have been counted.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettop.model.rows import Connection, End
from nettop.model.snapshot import Snapshot
from tests.live import programs
from tests.live.conftest import Figures
from tests.live.lab import (
    BLACKHOLE_IPV4,
    FAR_IPV6,
    NO_NEIGHBOUR_IPV4,
    Program,
    Watch,
    assert_nothing_lost,
    connections_of,
    process_of,
    two_namespaces,
)

EACH = 7
PORT = 7018


@dataclass
class Silence:
    snapshot: Snapshot
    blackhole: list[Program]
    no_neighbour: list[Program]
    torn: list[Program]


@pytest.fixture(scope="module")
def silence(directory: Path) -> Iterator[Silence]:
    with two_namespaces(directory) as (near, far):
        near.sysctl("net.ipv4.tcp_syn_linear_timeouts", 0)
        server = far.play(programs.tcp_server, address=FAR_IPV6, port=PORT, mode="hold")
        assert server.hear() == "listening"
        with Watch(directory, "--netns", near.name) as watch:
            torn = [
                near.play(programs.tcp_until_timeout, address=FAR_IPV6, port=PORT, user_timeout_ms=1500)
                for _ in range(EACH)
            ]
            for program in torn:
                assert program.hear() == "exchanged"
            far.ip("addr", "del", f"{FAR_IPV6}/64", "dev", "veth0")  # what arrives for it now vanishes
            for program in torn:
                program.say("the far end is gone")
            blackhole = [
                near.play(programs.tcp_fail, address=BLACKHOLE_IPV4, port=80, syn_retries=1) for _ in range(EACH)
            ]
            no_neighbour = [near.play(programs.tcp_fail, address=NO_NEIGHBOUR_IPV4, port=80) for _ in range(EACH)]
            patient = near.play(programs.tcp_fail, address=BLACKHOLE_IPV4, port=80, syn_retries=7)
            watch.until(
                lambda snapshot: any(row.retransmits for row in connections_of(snapshot, patient)),
                "a SYN that is sent again, while the connection still waits",
            )
            patient.stop()
            for program in (*torn, *blackhole):
                assert program.hear() == errno.ETIMEDOUT
                program.end()
            for program in no_neighbour:
                assert program.hear() == errno.EHOSTUNREACH
                program.end()
            for program in (*torn, *blackhole, *no_neighbour):
                watch.settled(program, connections=1)
            yield Silence(watch.stop(losses=True), blackhole, no_neighbour, torn)


def rows_of(silence: Silence, programs_: list[Program]) -> list[Connection]:
    found = []
    for program in programs_:
        (row,) = connections_of(silence.snapshot, program)
        found.append(row)
    return found


def shown(silence: Silence, programs_: list[Program], end: End) -> list[Connection]:
    """The rows whose end was shown, which must be right; those of the others say nothing wrong."""
    rows = rows_of(silence, programs_)
    assert {row.state for row in rows} == {"closed"}
    assert {(row.end, row.closed_at is None) for row in rows} <= {(end, False), (None, True)}
    return [row for row in rows if row.end is not None]


@pytest.mark.parametrize(("kind", "end"), [("blackhole", "timeout"), ("no_neighbour", "unreachable")])
def test_never_connected(silence: Silence, kind: str, end: End) -> None:
    clients: list[Program] = getattr(silence, kind)
    rows = shown(silence, clients, end)
    assert rows
    for row in rows:
        assert (row.owner, row.direction, row.connect_ms) == ("exact", "outbound", None)
        assert (row.tx_bytes, row.rx_bytes) == (0, 0)
        assert row.opened_at is not None
        assert row.closed_at is not None
        assert row.opened_at < row.closed_at
        assert row.pid is not None
        totals = process_of(silence.snapshot, row.pid).tcp
        assert (totals.opened, totals.failed, totals.active) == (1, 1, 0)
    if kind == "blackhole":
        assert {row.retransmits for row in rows} == {1}  # as TCP_SYNCNT says
        assert all(row.duration_ms is not None and row.duration_ms >= 3000 for row in rows)  # 1 s and 2 s of waiting


def test_established_and_timed_out(silence: Silence) -> None:
    rows = shown(silence, silence.torn, "timeout")
    assert rows
    for row in rows:
        assert (row.family, row.rx_bytes) == ("ipv6", 5)
        assert row.connect_ms is not None
        assert row.retransmits >= 1
        assert row.pid is not None
        totals = process_of(silence.snapshot, row.pid).tcp
        assert (totals.opened, totals.failed, totals.active) == (1, 0, 0)


def test_what_was_not_shown_was_counted(silence: Silence, figures: Figures) -> None:
    every = rows_of(silence, [*silence.blackhole, *silence.no_neighbour, *silence.torn])
    not_shown = sum(row.end is None for row in every)
    losses = silence.snapshot.losses
    assert not_shown <= losses.missed_runs["tcp_state"]
    assert_nothing_lost(losses)
    figures.tell(
        f"ends that the kernel's timers made: {len(every) - not_shown} of {len(every)} shown, "
        f"{losses.missed_runs['tcp_state']} counted as missed"
    )
