"""Whose turn it is: each reason to wait, staged, and seen from both ends; and turns against the clients' own clocks."""

import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from nettop.model.rows import Connection, TurnLatency, Turns, WaitsFor
from nettop.model.snapshot import Snapshot, with_ages
from tests.live import programs
from tests.live.conftest import Figures
from tests.live.lab import (
    BLACKHOLE_IPV4,
    FAR_IPV4,
    FAR_IPV6,
    Namespace,
    Program,
    Watch,
    connections_of,
    process_of,
    two_namespaces,
)

LOOPBACK = "127.0.0.1"
ROUNDS = 4  # of three answers: a client that loses the CPU reads its clock too late, and it may lose it for a round
_ports = count(7200)


@dataclass
class Pair:
    """Both ends of a connection, each a process of its own."""

    client: Program
    server: Program
    port: int

    def do(self, end: Program, verb: str, argument: object = None) -> object:
        """Let one end do something, and wait until it has."""
        end.say([verb, argument])
        return end.hear()

    def exchange(self, times: int = 1, think_ms: int = 0) -> list[float]:
        """Questions and answers; how many milliseconds each answer took by the client's clock."""
        self.server.say(["answer", [think_ms] * times])
        self.client.say(["ask", times])
        assert self.server.hear() is None
        took: list[float] = self.client.hear()
        return took


@dataclass
class Lab:
    near: Namespace
    far: Namespace
    watch: Watch
    certificate: Path

    def pair(self, address: str = LOOPBACK, deferred: bool = False, tls: bool = False) -> Pair:
        """Two processes that are connected: in one namespace, or across the veth pair."""
        return connected(self.near, self.near if address == LOOPBACK else self.far, address, deferred, tls and self)

    def until(
        self,
        pair: Pair,
        client: WaitsFor | None,
        server: WaitsFor | None,
        after: Callable[[Connection, Connection], bool] = lambda _client, _server: True,
    ) -> tuple[Connection, Connection]:
        """Wait until both ends are seen to wait for these, after something else that shows at both; their rows."""

        def met(snapshot: Snapshot) -> bool:
            rows = [row for each in (pair.client, pair.server) for row in connections_of(snapshot, each)]
            return [row.waits_for for row in rows] == [client, server] and after(rows[0], rows[1])

        aged = with_ages(self.watch.until(met, f"{client} at the client and {server} at the server"))
        first, second = (connections_of(aged, each)[-1] for each in (pair.client, pair.server))
        return first, second


def connected(near: Namespace, far: Namespace, address: str, deferred: bool = False, tls: object = False) -> Pair:
    port = next(_ports)
    certificate = str(tls.certificate) if isinstance(tls, Lab) else None
    server = far.play(programs.turn_end, address=address, port=port, connects=False, deferred=deferred, tls=certificate)
    client = near.play(programs.turn_end, address=address, port=port, connects=True, tls=certificate)
    assert server.hear() == "listening"
    client.say("connect")
    assert client.hear() == "connected"
    if not deferred:
        assert server.hear() == "connected"
    return Pair(client, server, port)


@pytest.fixture(scope="module")
def certificate(directory: Path) -> Path:
    file = directory / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=turns.test", "-keyout", file.with_suffix(".key"), "-out", file],
        check=True, capture_output=True,
    )  # fmt: skip
    file.write_text(file.read_text() + file.with_suffix(".key").read_text())
    return file


@dataclass
class Older:
    """Connections that are older than nettop."""

    silent: Pair
    talks: Pair


@pytest.fixture(scope="module")
def both(directory: Path) -> Iterator[tuple[Namespace, Namespace]]:
    with two_namespaces(directory) as (near, far):
        yield near, far


@pytest.fixture(scope="module")
def older(both: tuple[Namespace, Namespace]) -> Older:
    near, far = both
    pairs = connected(near, near, LOOPBACK), connected(near, far, FAR_IPV4)
    for pair in pairs:
        pair.exchange(3)
    return Older(*pairs)


@pytest.fixture(scope="module")
def lab(directory: Path, both: tuple[Namespace, Namespace], older: Older, certificate: Path) -> Iterator[Lab]:
    near, far = both
    del older  # before nettop starts
    with Watch(directory, "--netns", near.name, "--netns", far.name) as watch:
        yield Lab(near, far, watch, certificate)
        watch.stop()


def only_turns(row: Connection) -> Turns:
    assert row.turns is not None
    return row.turns


def have_turns(least: int) -> Callable[[Connection, Connection], bool]:
    """So many at least were answered, at both ends."""
    return lambda client, server: min(only_turns(client).answered, only_turns(server).answered) >= least


def answered_with(size: int) -> Callable[[Connection, Connection], bool]:
    """So many bytes have come back."""
    return lambda client, server: client.rx_bytes == server.tx_bytes == size


# Nobody waits


def test_a_connection_that_never_carried_a_byte_waits_for_nobody(lab: Lab) -> None:
    client, server = lab.until(lab.pair(), "none", "none")
    assert (client.waits_ms, server.waits_ms) == (None, None)
    assert (only_turns(client).count, only_turns(server).count) == (0, 0)


def test_after_the_answer_nobody_waits(lab: Lab) -> None:
    pair = lab.pair(FAR_IPV6)
    pair.exchange(5)
    client, server = lab.until(pair, "none", "none", answered_with(5))
    assert [(row.turns.asked_by, row.turns.count, row.turns.answered) for row in (client, server) if row.turns] == [
        ("local", 5, 5),
        ("remote", 5, 5),
    ]


def test_where_the_server_speaks_first_it_asks_nothing(lab: Lab) -> None:
    pair = lab.pair()
    pair.do(pair.server, "send", 100)
    pair.do(pair.client, "receive", 100)
    client, server = lab.until(pair, "none", "none", answered_with(100))
    assert (only_turns(client).count, only_turns(server).count) == (0, 0)
    pair.exchange()
    lab.watch.until(
        lambda snapshot: (
            [only_turns(connections_of(snapshot, each)[0]).answered for each in (pair.client, pair.server)] == [1, 1]
        ),
        "the turn after the banner",
    )


def test_what_a_server_pushes_is_no_question(lab: Lab) -> None:
    pair = lab.pair(FAR_IPV4)
    pair.exchange()
    for _ in range(3):
        pair.do(pair.server, "send", 10)
        pair.do(pair.client, "receive", 10)
    client, server = lab.until(pair, "none", "none", answered_with(31))
    assert (only_turns(client).count, only_turns(server).count) == (1, 1)


# The server's process


@pytest.mark.parametrize("address", [LOOPBACK, FAR_IPV4, FAR_IPV6])
def test_a_request_that_was_read_and_not_answered_is_the_servers(lab: Lab, address: str) -> None:
    pair = lab.pair(address)
    pair.exchange(5)
    pair.do(pair.client, "send", 27)
    pair.do(pair.server, "receive", 27)
    client, server = lab.until(pair, "remote", "local")
    assert (server.recv_queue_bytes, client.send_queue_bytes) == (0, 0)
    assert [(only_turns(row).count, only_turns(row).answered) for row in (client, server)] == [(6, 5), (6, 5)]
    # it goes on while nothing changes in the kernel, on both sides alike
    first = client.waits_ms
    assert first is not None
    lab.watch.until(
        lambda snapshot: (connections_of(with_ages(snapshot), pair.client)[0].waits_ms or 0) > first + 300,
        "the wait to grow",
    )
    assert client.waits_since is not None
    assert server.waits_since is not None
    assert abs((client.waits_since - server.waits_since).total_seconds()) < 0.05


def test_a_request_that_is_not_read_is_the_servers(lab: Lab) -> None:
    pair = lab.pair()
    pair.do(pair.client, "send", 27)
    client, server = lab.until(pair, "remote", "local")
    assert (server.recv_queue_bytes, client.send_queue_bytes) == (27, 0)


def test_the_first_request_may_come_with_the_handshake(lab: Lab) -> None:
    pair = lab.pair(deferred=True)
    pair.do(pair.client, "send", 27)
    assert pair.server.hear() == "connected"
    pair.do(pair.server, "receive", 27)
    client, server = lab.until(pair, "remote", "local")
    assert (only_turns(client).count, only_turns(server).count) == (1, 1)


def test_tls_is_told_without_a_look_at_it(lab: Lab) -> None:
    pair = lab.pair(FAR_IPV4, tls=True)
    pair.exchange(3)
    client, server = lab.until(pair, "none", "none", have_turns(4))  # the handshake has turns too
    before = only_turns(client).count
    assert only_turns(server).count == before
    pair.do(pair.client, "send", 1)
    pair.do(pair.server, "receive", 1)
    client, server = lab.until(pair, "remote", "local")
    assert (only_turns(client).count, only_turns(server).count) == (before + 1, before + 1)


def test_a_connection_that_the_far_end_closed_waits_to_be_closed(lab: Lab) -> None:
    pair = lab.pair()
    pair.exchange()
    pair.do(pair.server, "shutdown")
    client, server = lab.until(pair, "local", "remote")
    assert (client.state, server.state) == ("close-wait", "fin-wait-2")


def test_an_answer_that_the_client_does_not_read_is_the_clients(lab: Lab) -> None:
    pair = lab.pair(FAR_IPV4)
    pair.do(pair.client, "send", 1)
    pair.do(pair.server, "receive", 1)
    pair.do(pair.server, "send", 300)
    client, _ = lab.until(pair, "local", "none")
    assert client.recv_queue_bytes == 300


# The window, the network


@pytest.mark.parametrize("address", [LOOPBACK, FAR_IPV4])
def test_whoever_does_not_read_shuts_the_window(lab: Lab, address: str) -> None:
    pair = lab.pair(address)
    sent = pair.do(pair.client, "fill")
    client, _ = lab.until(
        pair,
        "remote-window",
        "local",
        # before the last byte has moved they are those of different moments
        lambda client, server: (client.send_queue_bytes or 0) + (server.recv_queue_bytes or 0) == sent,
    )
    assert client.send_queue_bytes is not None
    assert client.transmission is not None
    assert 0 < client.transmission.unsent_bytes <= client.send_queue_bytes
    assert client.transmission.sending == "rwnd-limited"
    assert client.waits_ms is not None
    assert 0 < client.transmission.rwnd_limited_ms <= client.transmission.busy_ms
    assert client.transmission.timeouts == 0  # though the time-out is doubled by each probe of the window
    pair.do(pair.server, "receive", sent)
    lab.until(pair, "remote", "local")  # all has been read, and it is still asked


def test_what_is_lost_on_the_way_waits_for_the_network(lab: Lab) -> None:
    pair = lab.pair(FAR_IPV4)
    pair.exchange()
    wrong = ("lladdr", "02:00:00:00:00:99", "dev", "veth0", "nud", "permanent")
    lab.near.ip("neigh", "replace", FAR_IPV4, *wrong)
    try:
        pair.do(pair.client, "send", 27)
        client, server = lab.until(pair, "network", "none", answered_with(1))
        assert client.send_queue_bytes == 27
        assert client.transmission is not None
        assert client.transmission.timeouts > 0
        assert client.waits_ms is not None
        assert client.waits_ms >= 200  # since it was sent first: TCP_RTO_MIN
        assert only_turns(client).count == 2  # what is sent again is no new turn
        assert only_turns(server).count == 1
    finally:
        lab.near.ip("neigh", "del", FAR_IPV4, "dev", "veth0")
    client, server = lab.until(pair, "remote", "local")
    assert (only_turns(client).count, only_turns(server).count) == (2, 2)


def test_a_connect_that_nobody_answers_waits_for_the_network(lab: Lab) -> None:
    client = lab.near.play(programs.turn_end, address=BLACKHOLE_IPV4, port=80, connects=True, waits=False)
    client.say("connect")

    def waits(snapshot: Snapshot) -> bool:
        return [row.waits_for for row in connections_of(snapshot, client)] == ["network"]

    (row,) = connections_of(with_ages(lab.watch.until(waits, "the SYN to be sent again")), client)
    assert (row.state, row.waits_since) == ("syn-sent", row.opened_at)
    assert row.waits_ms is not None
    assert row.waits_ms >= 1000  # TCP_TIMEOUT_INIT
    client.stop()


# Older than nettop


def test_of_an_older_connection_nobody_knows_whose_turn_it_is_until_somebody_speaks(lab: Lab, older: Older) -> None:
    lab.until(older.silent, None, None)
    older.talks.exchange(2)
    client, server = lab.until(
        older.talks, None, "none", answered_with(5)
    )  # there is no listener that says that the client connected
    assert client.turns is None
    assert (only_turns(server).count, only_turns(server).asked_by) == (2, "remote")
    older.silent.exchange(2)  # both in one namespace
    client, server = lab.until(
        older.silent, "none", "none", answered_with(5)
    )  # here the listener is in the same namespace
    assert [only_turns(row).count for row in (client, server)] == [2, 2]
    older.silent.do(older.silent.client, "send", 1)
    older.silent.do(older.silent.server, "receive", 1)
    lab.until(older.silent, "remote", "local")


# Times


def test_turns_are_counted_exactly_and_timed_as_by_the_clients_clock(lab: Lab, figures: Figures) -> None:
    thinks = [0, 3, 11, 47, 0, 23, 5]
    pair = lab.pair(FAR_IPV4)
    took = [took for think in thinks for took in pair.exchange(1, think)]
    tls = lab.pair(tls=True)
    took_tls = tls.exchange(3, 7)
    for which, expected in ((pair, took), (tls, took_tls)):
        client, server = lab.until(which, "none", "none", have_turns(4))
        times = only_turns(client).latency_ms
        assert times.max is not None
        assert times.max <= max(expected) + 0.002
        assert max(only_turns(server).latency_ms.recent[1:]) <= max(times.recent[1:])
        errors = errors_of(times, expected)
        for _ in range(ROUNDS):
            took = which.exchange(3, 7)
            client, _ = lab.until(which, "none", "none", have_turns(only_turns(client).answered + 3))
            errors += errors_of(only_turns(client).latency_ms, took)
        assert max(errors) <= 0.002
        figures.tell(f"median error of the time to an answer {statistics.median(errors):.3f} ms")
        assert abs(statistics.median(errors)) <= 1.0


def errors_of(times: TurnLatency, took: list[float]) -> list[float]:
    """Of the last three answers: their time lies within the client's, read before the question and after the answer."""
    assert times.recent[-3:] == times.recent[1:]
    return [mine - theirs for mine, theirs in zip(times.recent[1:], took[-3:], strict=True)]


def test_totals_of_a_process_say_how_often_and_how_long(lab: Lab) -> None:
    pair = lab.pair()
    took = pair.exchange(20, 4)

    def counted(snapshot: Snapshot) -> bool:
        return [row.turns.was_asked.count for row in snapshot.processes if row.pid == pair.server.pid] == [20]

    lab.watch.until(counted, "all turns in the totals")
    snapshot = lab.watch.up_to_now()
    asks, answers = (process_of(snapshot, each).turns for each in (pair.client, pair.server))
    assert (asks.asked.count, asks.was_asked.count, answers.asked.count) == (20, 0, 0)
    for times in (asks.asked.latency_ms, answers.was_asked.latency_ms):
        assert times.p50 is not None
        assert times.p95 is not None
        assert times.max is not None
        assert 4 <= times.p50 <= times.p95 <= times.max <= max(took) + 0.002


def test_the_last_turns_come_with_the_end(lab: Lab) -> None:
    """Also of a connection that is shorter than a tick."""
    pair = lab.pair(FAR_IPV4)
    pair.exchange(3)
    with ExitStack() as stack:
        for end in (pair.client, pair.server):
            stack.callback(partial(pair.do, end, "close"))
    snapshot = lab.watch.until(
        lambda seen: (
            [row.state for each in (pair.client, pair.server) for row in connections_of(seen, each)]
            == ["closed", "closed"]
        ),
        "both ends",
    )
    for each in (pair.client, pair.server):
        (row,) = connections_of(snapshot, each)
        assert (only_turns(row).count, only_turns(row).answered, row.waits_for) == (3, 3, None)
