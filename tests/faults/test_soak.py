"""The short form of `make soak`: seconds instead of an hour. Enough to see threads, descriptors and lost rows."""

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from nettop.model.kinds import CONNECTIONS, DNS
from nettop.model.rows import Losses
from tests.faults import soak
from tests.live.lab import Namespace
from tests.tui.scene import busy

BUFFERS = ("tcp_events", "udp_events", "dns_events", "process_events")


@pytest.fixture(scope="module")
def served() -> Iterator[Namespace]:
    with soak.served() as where:
        yield where


def test_questions_and_connections(served: Namespace) -> None:
    outcome = soak.talk(served, seconds=3, per_s=300)
    assert outcome.offered[0] == outcome.offered[1] > 0
    assert outcome.failures() == []
    assert len(outcome.samples) > 10


def test_a_flood_of_questions_for_new_names(served: Namespace) -> None:
    """Rows are bounded; what made room is counted, and so is what came too fast for a row."""
    outcome = soak.flood(served, seconds=2, per_s=8_000)
    losses = outcome.snapshot.losses
    assert outcome.failures() == []
    assert losses.unlisted["dns"] > 0
    assert len(outcome.snapshot.dns) <= DNS.history
    assert outcome.seen[0] == len(outcome.snapshot.dns) + losses.evicted["dns"] + losses.unlisted["dns"]
    assert len(outcome.snapshot.connections) <= CONNECTIONS.history


def test_processes_that_come_and_go(served: Namespace) -> None:
    outcome = soak.exits(served, count=500)
    assert outcome.failures() == []
    assert outcome.seen[2] >= outcome.offered[2] - outcome.lost[2]


def outcome_of(minutes: int, growing: bool, offered: int = 0) -> soak.Outcome:
    samples = [
        soak.Sample(
            at_s=60.0 * minute,
            resident_mb=50 + (minute if growing else minute % 2),
            threads=4 + growing * minute,
            descriptors=39 + growing * minute,
            cpu_s=minute,
        )
        for minute in range(minutes)
    ]
    snapshot = replace(busy(), losses=Losses(perf_buffer=dict.fromkeys(BUFFERS, 7), evicted={"processes": 0}))
    return soak.Outcome("made up", samples, [offered, 0, 0], snapshot, pid=0)


def test_what_grows_or_is_missing_is_found() -> None:
    """The gauge itself: a run that grew must not pass."""
    assert outcome_of(31, growing=False).failures() == []
    assert len(outcome_of(31, growing=True).failures()) == 3
    assert outcome_of(31, growing=True).slope_kb_per_min == pytest.approx(1024)
    assert outcome_of(31, growing=False, offered=7).failures() == []
    assert outcome_of(31, growing=False, offered=8).failures() == ["of 8 questions 8 are missing, 7 are reported"]
