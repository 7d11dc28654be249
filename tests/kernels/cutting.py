"""--allow-cut on each kernel of the matrix: what is blocked or closed, and nothing else, until nettop is gone.

Named so that pytest collects it only when asked for by name. The keys that lead there are tested on one kernel.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import PATIENCE_S
from tests.kernels.cutter import cut_as_told
from tests.live import programs
from tests.live.cgroups import enter, forest
from tests.live.lab import Namespace, Program, namespace, wait_until
from tests.live.play import playing
from tests.live.test_cutting import (
    ADDRESS,
    EVERYTHING,
    FIRST,
    PORT,
    SECOND,
    attempter,
    closes,
    established,
    lost,
    refused,
)


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Namespace]:
    with namespace(tmp_path) as made:
        yield made


@pytest.fixture
def nettop(inside: Namespace, tmp_path: Path) -> Iterator[Program]:
    program = Program(playing(cut_as_told, netns=inside.name), tmp_path / "cutter")
    try:
        assert program.hear(PATIENCE_S) == "ready"
        yield program
    finally:
        program.stop()


def told(nettop: Program, kind: str, pid: int = 0, minutes: int = 0, port: int = 0) -> tuple[str, list[int]]:
    nettop.say([kind, pid, minutes, port])
    sentence, refusals = nettop.hear(PATIENCE_S)
    return sentence, refusals


def test_what_is_cut(inside: Namespace, nettop: Program) -> None:
    with forest() as trees:
        blocked, beside = attempter(inside), attempter(inside)
        assert told(nettop, "process", blocked.pid, 10)[0].startswith("Blocked for 10 min")
        assert (refused(blocked), refused(beside)) == (EVERYTHING, set())
        assert told(nettop, "process", blocked.pid, 10)[1] == [len(EVERYTHING)]
        assert told(nettop, "all") == (f"No longer blocked: attempter[{blocked.pid}].", [])
        assert refused(blocked) == set()

        unit = trees.make("nettop-test.slice/nettop-test-cut.service")
        member = inside.play(programs.attempt, addresses=[ADDRESS], port=PORT)
        enter(unit, member.pid)  # before it is seen, so that its row has the unit
        assert member.hear() == "ready"
        assert refused(member) == set()
        assert told(nettop, "unit", member.pid, 1)[0].startswith("Blocked for 1 min: nettop-test-cut.service")
        assert (refused(member), refused(beside)) == (EVERYTHING, set())
        enter(unit, beside.pid)
        assert refused(beside) == EVERYTHING
        told(nettop, "all")

        _, client = lost(inside)
        if closes():
            sentence, _ = told(nettop, "connection", client.pid, port=SECOND)
            assert sentence.startswith("Closed: the connection to")
            assert client.hear(PATIENCE_S) == [1, "ECONNABORTED"]
            wait_until(lambda: established(client) == 2, "only one connection to be open", PATIENCE_S)

        assert told(nettop, "remote", client.pid, 60, FIRST)[0].startswith(f"Blocked for 60 min: {ADDRESS}")
        assert refused(blocked) == refused(beside) == refused(member) == EVERYTHING
        nettop.stop()  # by SIGKILL
        wait_until(lambda: not refused(blocked) | refused(beside) | refused(member), "all to be free", PATIENCE_S)
