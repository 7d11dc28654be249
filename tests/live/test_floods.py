"""More than anybody can read: some of it becomes rows, and the totals count all of it, to the last byte."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nettop.kernel import abi, program
from nettop.kernel.scope import Scope
from nettop.kernel.syscalls import lookup_u64
from nettop.model.events import DnsChanged, UdpChanged, Unlisted
from nettop.model.snapshot import Snapshot
from nettop.model.store import Store
from nettop.sources import live
from nettop.sources.live import LiveSource, LookedAt
from tests.faults import load
from tests.live import http_programs
from tests.live.lab import Namespace, Program, connections_of, dns_of, namespace, process_of, wait_until
from tests.live.nginx import nginx

ADDRESS, PORT, NOBODY, SILENCE = "127.0.0.1", 7104, 7105, "127.0.0.2"
NOWHERE = "192.0.2.1"  # no interface leads there
LISTED, QUESTIONS, CONNECTIONS = 300, 2_000, 1_000
REQUESTS, REQUESTS_AT_ONCE = 1_000, 300  # the latter as bpf/requests.c has it


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    with namespace(tmp_path_factory.mktemp("flood")) as inside:
        yield inside


@pytest.fixture(scope="module")
def server(where: Namespace) -> Program:
    serving = where.play(load.serve, address=ADDRESS, port=PORT)
    assert serving.hear() == "serving"
    return serving


class Watched:
    """nettop in this process, which lists next to nothing beyond what may come at once."""

    def __init__(self, source: LiveSource) -> None:
        self.events: list[object] = []
        self._source = source
        self._store = Store()

    def take(self) -> Snapshot:
        for event in self._source.read(0.05):
            self.events.append(event)
            self._store.apply(event)
        return self._store.snapshot()

    @property
    def requests_per_s(self) -> int:
        """As many are listed."""
        return 1_000_000_000 // lookup_u64(self._source._program._maps["controls"], abi.REQUEST_INTERVAL_NS)

    def until_ended(self, client: Program) -> None:
        self.until(lambda _: client.exit_code is not None, "the client")
        assert client.exit_code == 0

    def until(self, condition: Callable[[Snapshot], bool], what: str) -> None:
        wait_until(lambda: condition(self.take()), what)

    def finish(self) -> Snapshot:
        for event in self._source.finish():
            self.events.append(event)
            self._store.apply(event)
        return self._store.snapshot()


@contextmanager
def watched(
    where: Namespace, list_everything: bool = False, pids: tuple[int, ...] = (), decrypt: bool = False
) -> Iterator[Watched]:
    scope = Scope(netns=(where.inode,), pids=pids)
    looked_at = LookedAt(decrypt=decrypt)
    source = LiveSource(scope, interval_s=0.2, looked_at=looked_at, list_everything=list_everything)
    try:
        yield Watched(source)
    finally:
        source.close()


@pytest.fixture(autouse=True)
def little_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "QUERIES_LISTED_PER_S", 1)
    monkeypatch.setattr(program, "ENDS_LISTED_PER_S", 1)
    monkeypatch.setattr(program, "REQUESTS_LISTED_PER_S", 1)
    monkeypatch.setattr(program, "LISTED_AT_ONCE", LISTED)


def test_questions(where: Namespace, server: Program) -> None:
    with watched(where) as watching:
        asker = where.play(load.ask, address=ADDRESS, count=QUESTIONS, sockets=1)
        watching.until_ended(asker)
        snapshot = watching.finish()
    dns = process_of(snapshot, asker).dns
    assert (dns.queries, dns.answered, dns.failed, dns.timeouts) == (QUESTIONS, QUESTIONS, QUESTIONS, 0)
    assert process_of(snapshot, asker).udp.tx_bytes == QUESTIONS * len(load.query(0))
    rows = dns_of(snapshot, asker)
    assert len(rows) + snapshot.losses.unlisted["dns"] == QUESTIONS
    assert LISTED <= len(rows) < QUESTIONS / 2
    assert {(row.status, row.rcode, row.attempts) for row in rows} == {("answered", "NXDOMAIN", 1)}
    assert process_of(snapshot, server).dns.queries == 0


@pytest.mark.parametrize("times", [1, 3])
def test_questions_that_nobody_answers(where: Namespace, times: int) -> None:
    """What is sent again is not asked again, whether it was listed or not."""
    with watched(where) as watching:
        asker = where.play(load.ask_in_vain, address=SILENCE, count=QUESTIONS, per_s=0, times=times)
        watching.until_ended(asker)
        snapshot = watching.finish()
    dns = process_of(snapshot, asker).dns
    assert (dns.queries, dns.answered, dns.failed) == (QUESTIONS, 0, 0)
    rows = dns_of(snapshot, asker)
    assert len(rows) + snapshot.losses.unlisted["dns"] == QUESTIONS
    # each has a limit of its own: LISTED of them at once
    assert sum(row.attempts - 1 for row in rows) + snapshot.losses.dns_repeats == (times - 1) * len(rows)
    assert (snapshot.losses.dns_repeats > 0) == (times > 1)


@pytest.mark.usefixtures("server")
def test_what_is_out_of_scope_takes_no_room(where: Namespace) -> None:
    own = where.play(load.ask, address=ADDRESS, count=LISTED // 2, sockets=1, wait=True)
    assert own.hear() == "ready"
    with watched(where, pids=(own.pid,)) as watching:
        asker = where.play(load.ask, address=ADDRESS, count=QUESTIONS, sockets=1)
        watching.until_ended(asker)
        own.say("go")
        watching.until_ended(own)
        snapshot = watching.finish()
    assert [row.status for row in dns_of(snapshot, own)] == ["answered"] * (LISTED // 2)
    assert snapshot.losses.unlisted["dns"] == 0


def test_connections(where: Namespace, server: Program) -> None:
    with watched(where) as watching:
        client = where.play(load.connect, address=ADDRESS, port=PORT, count=CONNECTIONS)
        watching.until_ended(client)
        snapshot = watching.finish()
    asked, served = process_of(snapshot, client).tcp, process_of(snapshot, server).tcp
    assert (asked.opened, asked.accepted, asked.active, asked.failed) == (CONNECTIONS, 0, 0, 0)
    assert (served.opened, served.accepted, served.active, served.failed) == (0, CONNECTIONS, 0, 0)
    assert asked.tx_bytes == asked.rx_bytes == served.tx_bytes == served.rx_bytes == 16 * CONNECTIONS
    (listener,) = [row for row in snapshot.listeners if row.port == PORT]
    assert (listener.pid, listener.accepted, listener.open) == (server.pid, CONNECTIONS, 0)
    rows = [*connections_of(snapshot, client), *connections_of(snapshot, server)]
    assert len(rows) + snapshot.losses.unlisted["connections"] == 2 * CONNECTIONS
    assert LISTED <= len(rows) < CONNECTIONS
    assert {(row.state, row.end, row.tx_bytes) for row in rows} == {("closed", "normal", 16)}


def test_sockets_of_one_question_each(where: Namespace, server: Program) -> None:
    """As resolver libraries make them: what a socket counted is not lost with it."""
    with watched(where) as watching:
        asker = where.play(load.ask, address=ADDRESS, count=QUESTIONS, sockets=QUESTIONS)
        watching.until_ended(asker)
        snapshot = watching.finish()
    dns = process_of(snapshot, asker).dns
    assert (dns.queries, dns.answered, dns.failed, dns.timeouts) == (QUESTIONS, QUESTIONS, QUESTIONS, 0)
    assert process_of(snapshot, asker).udp.tx_bytes == QUESTIONS * len(load.query(0))
    assert process_of(snapshot, server).udp.rx_bytes == QUESTIONS * len(load.query(0))
    assert len(dns_of(snapshot, asker)) + snapshot.losses.unlisted["dns"] == QUESTIONS
    released = {event.udp.id for event in watching.events if isinstance(event, UdpChanged) and event.udp.closed}
    assert LISTED // 4 <= len(released) < QUESTIONS  # the buffer of UDP sockets is a quarter of the others'


@pytest.mark.parametrize(
    ("play", "server_at", "ends"),
    [
        (load.connect_in_vain, (ADDRESS, NOBODY), {"refused"}),
        (load.connect_in_vain, (NOWHERE, NOBODY), {"no-route", "unsent"}),
        (load.connect_and_reset, (ADDRESS, PORT), {"reset-by-us"}),
    ],
    ids=["refused", "no route", "reset"],
)
def test_failures(
    where: Namespace, server: Program, play: Callable[..., None], server_at: tuple[str, int], ends: set[str]
) -> None:
    with watched(where) as watching:
        client = where.play(play, address=server_at[0], port=server_at[1], count=CONNECTIONS)
        watching.until_ended(client)
        snapshot = watching.finish()
    asked = process_of(snapshot, client).tcp
    assert (asked.opened, asked.active) == (CONNECTIONS, 0)
    assert asked.failed == (CONNECTIONS if play is load.connect_in_vain else 0)
    assert sum(second.failed_connects for second in snapshot.timeline) == asked.failed
    rows = connections_of(snapshot, client)
    assert len(rows) + len(connections_of(snapshot, server)) >= LISTED
    assert len(rows) < CONNECTIONS
    assert {row.end for row in rows} <= ends
    counted = [event.unlisted for event in watching.events if isinstance(event, Unlisted)]
    assert sum(row.opened for row in counted if row.pid == client.pid) == CONNECTIONS - len(rows)


@pytest.mark.usefixtures("server")
def test_failures_have_room_of_their_own(where: Namespace) -> None:
    with watched(where) as watching:
        others = where.play(load.connect, address=ADDRESS, port=PORT, count=CONNECTIONS)
        watching.until_ended(others)
        client = where.play(load.connect_in_vain, address=ADDRESS, port=NOBODY, count=LISTED)
        watching.until_ended(client)
        snapshot = watching.finish()
    assert len(connections_of(snapshot, others)) < CONNECTIONS
    assert [row.end for row in connections_of(snapshot, client)] == ["refused"] * LISTED


@pytest.mark.usefixtures("server")
def test_a_stream_lists_everything(where: Namespace) -> None:
    with watched(where, list_everything=True) as watching:
        asker = where.play(load.ask, address=ADDRESS, count=QUESTIONS, sockets=1)
        watching.until_ended(asker)
        watching.finish()
    assert len({event.dns.id for event in watching.events if isinstance(event, DnsChanged)}) == QUESTIONS
    assert not any(isinstance(event, Unlisted) for event in watching.events)


def test_answers_that_nobody_asked_for(where: Namespace) -> None:
    """Anybody may send them, of any size, to any UDP socket: they take no room from what was asked."""
    with watched(where) as watching:
        stranger = where.play(load.answer_unasked, address=ADDRESS, count=50 * QUESTIONS, size=4_000)
        watching.until_ended(stranger)
        asker = where.play(load.ask_where_nobody_is, address=SILENCE, count=LISTED // 2)
        watching.until_ended(asker)
        snapshot = watching.finish()
    assert snapshot.losses.perf_buffer["dns_events"] == 0
    assert snapshot.losses.dns_unasked >= 49 * QUESTIONS  # in the first seconds some may be of older questions
    assert len(dns_of(snapshot, asker)) == LISTED // 2
    assert len(dns_of(snapshot, stranger)) == 0


def test_segments_of_dns_over_tcp(where: Namespace) -> None:
    with watched(where) as watching:
        sender = where.play(load.send_segments, address=ADDRESS, port=53, count=8 * QUESTIONS)
        watching.until_ended(sender)
        snapshot = watching.finish()
    rows, left_out = len(dns_of(snapshot, sender)), snapshot.losses.dns_left_out
    # four segments at a time for each query that is listed
    assert 4 * LISTED <= rows < 8 * QUESTIONS / 2
    assert left_out > 0


def test_an_answer_without_room_is_taken_back_from_the_counters(where: Namespace) -> None:
    """Of questions that are counted only."""
    with watched(where) as watching:
        asker = where.play(load.ask_without_reading, address=SILENCE, count=QUESTIONS)
        assert asker.hear() == "asked"
        watching.take()
        asker.say("end")
        received = asker.hear()
        watching.until_ended(asker)
        snapshot = watching.finish()
    dns = process_of(snapshot, asker).dns
    assert (dns.queries, dns.answered) == (QUESTIONS, received)
    assert received < QUESTIONS / 2
    assert snapshot.losses.unlisted["dns"] > QUESTIONS / 2


def test_requests(where: Namespace) -> None:
    """Both ends are here, so each request is one of the client's and one of the server's."""
    server = where.play(http_programs.http_server, address=ADDRESS, port=8104)
    assert server.hear() == "listening"
    failed = REQUESTS - 10
    with watched(where) as watching:
        client = where.play(http_programs.http_flood, address=ADDRESS, port=8104, requests=REQUESTS, failed=failed)
        watching.until_ended(client)
        snapshot = watching.finish()
    sent, served = process_of(snapshot, client).requests.sent, process_of(snapshot, server).requests.served
    assert (sent.count, sent.failed, served.count, served.failed) == (REQUESTS, failed) * 2
    assert (sent.failed_4xx, sent.failed_5xx, served.failed_4xx, served.failed_5xx) == (failed, 0) * 2
    rows = snapshot.requests
    assert len(rows) + snapshot.losses.unlisted["requests"] == 2 * REQUESTS
    assert REQUESTS_AT_ONCE <= len(rows) < REQUESTS
    assert {row.status for row in rows} == {404}  # each that is listed has its answer listed


def test_the_rate_of_requests_in_a_flood(where: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer are listed while it lasts, and as many as before when it is over."""
    monkeypatch.setattr(program, "REQUESTS_LISTED_PER_S", 10)
    monkeypatch.setattr(program, "REQUESTS_LISTED_IN_FLOOD_PER_S", 4)
    monkeypatch.setattr(live, "FLOOD_OF_REQUESTS_PER_S", REQUESTS / 10)
    server = where.play(http_programs.http_server, address=ADDRESS, port=8109)
    assert server.hear() == "listening"
    with watched(where) as watching:
        rates = [watching.requests_per_s]
        client = where.play(http_programs.http_flood, address=ADDRESS, port=8109, requests=REQUESTS, failed=0)

        def over() -> bool:
            watching.take()
            if watching.requests_per_s != rates[-1]:
                rates.append(watching.requests_per_s)
            return rates == [10, 4, 10]

        wait_until(over, "the flood to come and go")
        client.end()


def test_requests_that_are_counted_only(where: Namespace) -> None:
    """Their answers are counted apart from those to requests that are told; none gets lost between the two."""
    server = where.play(http_programs.http_server, address=ADDRESS, port=8105)
    assert server.hear() == "listening"
    with watched(where) as watching:
        client = where.play(
            http_programs.http_flood, address=ADDRESS, port=8105, requests=5 * REQUESTS, failed=100, last="/slow/150"
        )
        watching.until_ended(client)
        snapshot = watching.finish()
    assert snapshot.losses.unlisted["requests"] > 2 * REQUESTS
    for end, totals in (
        (client, process_of(snapshot, client).requests.sent),
        (server, process_of(snapshot, server).requests.served),
    ):
        assert (totals.count, totals.failed) == (5 * REQUESTS, 100)
        (row,) = connections_of(snapshot, end)
        assert row.requests is not None
        assert (row.requests.count, row.requests.failed) == (5 * REQUESTS, 100)
        assert row.requests.latency_ms.max is not None
        assert row.requests.latency_ms.max >= 150
    assert {row.error for row in snapshot.requests} == {None}  # each that is listed has its answer listed


WRK = """
local status, asked, answered = {}, 0, 0
request = function()
    asked = asked + 1
    return wrk.format("GET", asked %% 4 == 0 and "/gone" or "/")
end
response = function()
    answered = answered + 1
    if answered == %d then wrk.thread:stop() end
end
"""


def test_wrk_and_nginx_count_the_same(where: Namespace, tmp_path: Path) -> None:
    """wrk at its maximum, whose threads stop after so many answers each: nothing is on its way then."""
    each, threads = 6_000, 3
    http = f"server {{ listen {ADDRESS}:8107; location / {{ return 200; }} location /gone {{ return 410; }} }}"
    server, script = nginx(where, tmp_path, 8107, http), tmp_path / "some.lua"
    script.write_text(WRK % each)
    log, made, failed = tmp_path / "access.log", threads * each, threads * each // 4

    def all_answered() -> bool:
        watching.take()
        return log.read_bytes().count(b"\n") >= made

    with watched(where) as watching:
        url = f"http://{ADDRESS}:8107"
        client = where.start("wrk", f"-t{threads}", f"-c{threads}", "-d60", "-s", str(script), url)
        wait_until(all_answered, "all answers")
        os.kill(client.pid, signal.SIGINT)  # it sleeps for its minute otherwise
        watching.until_ended(client)
        snapshot = watching.finish()
    server.stop(signal.SIGTERM)
    said, logged = client.end(), Counter(line.split()[0] for line in log.read_text().splitlines())
    assert f"{made} requests in" in said
    assert f"Non-2xx or 3xx responses: {failed}" in said
    assert logged.total() == made
    totals = process_of(snapshot, client).requests.sent
    assert (totals.count, totals.failed) == (made, failed)
    served = {str(row.pid): row.requests.served.count for row in snapshot.processes if row.requests.served.count}
    assert served == logged
    assert len(snapshot.requests) + snapshot.losses.unlisted["requests"] == 2 * made
    assert REQUESTS_AT_ONCE <= len(snapshot.requests) < made


def test_requests_that_are_reset(where: Namespace) -> None:
    """Their connections are counted too, but not those under requests that are listed, whose ends would not be told."""
    server = where.play(http_programs.http_server, address=ADDRESS, port=8106)
    assert server.hear() == "listening"
    with watched(where) as watching:
        client = where.play(
            http_programs.http_all_in_vain, address=ADDRESS, port=8106, path="/abort", connections=CONNECTIONS
        )
        watching.until_ended(client)
        snapshot = watching.finish()
    sent, served = process_of(snapshot, client).requests.sent, process_of(snapshot, server).requests.served
    assert (sent.count, sent.failed, served.count, served.failed) == (CONNECTIONS,) * 4
    assert (sent.failed_4xx, sent.failed_5xx, served.failed_4xx, served.failed_5xx) == (0,) * 4
    assert {row.error for row in snapshot.requests} == {"reset"}
    assert len(snapshot.requests) + snapshot.losses.unlisted["requests"] == 2 * CONNECTIONS
    assert snapshot.losses.unlisted["connections"] > 0


def test_the_status_of_requests_on_connections_that_are_counted_only(where: Namespace) -> None:
    server = where.play(http_programs.http_server, address=ADDRESS, port=8110)
    assert server.hear() == "listening"
    clients = []
    with watched(where) as watching:
        for status in (404, 503):
            client = where.play(
                http_programs.http_all_in_vain, address=ADDRESS, port=8110, path=f"/status/{status}",
                connections=CONNECTIONS,
            )  # fmt: skip
            watching.until_ended(client)
            clients.append(client)
        snapshot = watching.finish()
    refused, broken = (process_of(snapshot, client).requests.sent for client in clients)
    served = process_of(snapshot, server).requests.served
    assert (refused.count, refused.failed, refused.failed_4xx, refused.failed_5xx) == (CONNECTIONS,) * 3 + (0,)
    assert (broken.count, broken.failed, broken.failed_4xx, broken.failed_5xx) == (CONNECTIONS,) * 2 + (0, CONNECTIONS)
    assert (served.count, served.failed) == (2 * CONNECTIONS,) * 2
    assert (served.failed_4xx, served.failed_5xx) == (CONNECTIONS,) * 2
    assert snapshot.losses.unlisted["connections"] > 0
