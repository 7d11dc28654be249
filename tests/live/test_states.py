"""How long a connection was in each state, who closed first, and what is never closed."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nettop.model.events import ConnectionChanged, Tick
from nettop.model.rows import Connection
from tests.live import programs
from tests.live.lab import Namespace, Program, Watch, connections_of, nettop, wait_until

LOCAL, PORT = "127.0.0.1", 7021


@contextmanager
def connected(inside: Namespace, port: int) -> Iterator[tuple[Program, Program]]:
    """Who will forget to close, and its client."""
    leaker = inside.play(programs.tcp_leak, address=LOCAL, port=port)
    assert leaker.hear() == "listening"
    client = inside.play(programs.tcp_leave, address=LOCAL, port=port)
    assert (client.hear(), leaker.hear()) == ("connected", "accepted")
    yield leaker, client
    leaker.stop()
    client.stop()


def row_of(watch: Watch, program: Program, state: str) -> Connection:
    """The one connection of a program, once it is in this state."""

    def is_there(rows: list[Connection]) -> bool:
        return [row.state for row in rows] == [state]

    snapshot = watch.until(lambda now: is_there(connections_of(now, program)), f"a connection {state}")
    return connections_of(snapshot, program)[0]


@pytest.mark.parametrize("killed", [False, True])
def test_what_the_far_end_has_closed_and_the_program_has_not(quiet: Namespace, directory: Path, killed: bool) -> None:
    with Watch(directory, "--netns", quiet.name) as watch, connected(quiet, PORT + killed) as (leaker, client):
        open_ns = time.monotonic_ns()
        if killed:
            client.stop()
        else:
            client.say("close")
            assert client.hear()
        eof_ns = leaker.hear()
        row = row_of(watch, leaker, "close-wait")
        assert (row.pid, row.direction, row.closed_first, row.end) == (leaker.pid, "inbound", "remote", None)
        assert list(row.states_ms) == ["established"]

        # it goes on while nothing is told of it any more
        watch.up_to_now()
        told, ticks = len(changes(watch, row)), len(ticks_of(watch))
        watch.until(lambda _: len(ticks_of(watch)) > ticks + 2, "more ticks")
        assert len(changes(watch, row)) == told
        now = watch.store.snapshot().captured_at
        assert row.state_since is not None
        assert row.in_state_ms("close-wait", now) == (now - row.state_since).total_seconds() * 1000 > 100

        # the end that has closed is gone for its process, before the other end has closed
        gone = row_of(watch, client, "closed")
        assert (gone.end, gone.closed_first) == ("normal", "local")
        assert set(gone.states_ms) == {"syn-sent", "established", "fin-wait-1"}

        before_ns = time.monotonic_ns()
        leaker.say("close")
        closed_ns = leaker.hear()
        over = row_of(watch, leaker, "closed")
        assert (over.end, over.closed_first, over.state_since) == ("normal", "remote", None)
        assert set(over.states_ms) == {"established", "close-wait", "last-ack"}
        assert (before_ns - eof_ns) / 1e6 <= over.states_ms["close-wait"] <= (closed_ns - open_ns) / 1e6
        assert over.duration_ms == pytest.approx(sum(over.states_ms.values()), abs=0.01)
        watch.stop()


def changes(watch: Watch, row: Connection) -> list[ConnectionChanged]:
    return [event for event in watch.events if isinstance(event, ConnectionChanged) and event.connection.id == row.id]


def ticks_of(watch: Watch) -> list[Tick]:
    return [event for event in watch.events if isinstance(event, Tick)]


def test_what_is_older_than_nettop_is_timed_since_it_was_found(quiet: Namespace) -> None:
    with connected(quiet, PORT + 2) as (leaker, client):
        client.say("close")
        assert client.hear()
        assert leaker.hear()
        wait_until(lambda: in_close_wait(leaker, PORT + 2), "the kernel's CLOSE_WAIT")
        (shown,) = watched(quiet, "close-wait:>200ms")
        assert (shown["pid"], shown["state"], shown["closed_first"]) == (leaker.pid, "close-wait", "remote")
        assert (shown["opened_before_start"], list(shown["states_ms"])) == (True, ["close-wait"])
        assert 200 < shown["states_ms"]["close-wait"] < 60_000
        assert watched(quiet, "close-wait:>60s") == []


def in_close_wait(program: Program, port: int) -> bool:
    lines = Path(f"/proc/{program.pid}/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "08" for line in lines)


def watched(inside: Namespace, expression: str) -> list[dict[str, Any]]:
    """The connections that a snapshot has, after half a second."""
    done = nettop("snapshot", "--for", "0.5", "--netns", inside.name, "--filter", expression)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)["connections"]
    return rows
