"""Listening sockets: what waits, what was dropped and who holds them; ss and the kernel's counters are witnesses."""

import re
import subprocess
import time
from collections.abc import Iterator

from tests.live import programs
from tests.live.lab import Program, wait_until
from tests.live.test_listeners import BACKLOG, list_drops, queue_of
from tests.live.truth import talk
from tests.live.truth.owner_scenarios import TICK_S
from tests.live.truth.place import Place
from tests.live.truth.rows import Connection, Listener
from tests.live.truth.scenario import scenario

LOCAL, PORT = "127.0.0.1", 7301
ROOM = BACKLOG + 1


def listening(place: Place, backlog: int = BACKLOG, workers: int = 0) -> Program:
    """Somebody who listens, and accepts only as often as told."""
    server = place.play(programs.tcp_listen, address=LOCAL, port=PORT, backlog=backlog, workers=workers)
    server.hear()
    return server


def accept(server: Program, times: int) -> None:
    server.say(times)
    assert server.hear() == "accepted"


def knock(place: Place, server: Program, room: int, more: int = 0) -> int:
    """Somebody connects as often as there is room and tries more often; how often that was refused. Then it leaves."""
    before = list_drops(server)
    client = place.play(talk.knock, address=LOCAL, port=PORT, room=room, more=more)
    assert client.hear() == "in"
    wait_until(lambda: queue_of(place.near, PORT)[0] == room, f"{room} connections in the queue")
    client.say("more")
    wait_until(lambda: list_drops(server) - before >= more, f"{more} SYNs to be dropped")
    client.say("leave")  # or they are sent again
    client.end()
    return list_drops(server) - before


def by_ss(place: Place, pattern: str, *arguments: str) -> tuple[int, ...]:
    """The numbers that ss says of the port's sockets."""
    command = place.near.inside("ss", "-Htn", *arguments, f"sport = :{PORT}")
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return tuple(sorted(map(int, re.findall(pattern, said))))


def as_staged(place: Place, server: Program, **expected: int) -> None:
    """What was dropped, came in and waits. The clients have left, and the server has closed nothing."""
    queue, limit = queue_of(place.near, PORT)
    assert queue == expected.pop("queue")
    ports = by_ss(place, rf":{PORT} +127\.0\.0\.1:(\d+)")
    place.add(
        Listener(
            pid=server.pid, comm="keeper", address=LOCAL, port=PORT, holders=by_ss(place, r"pid=(\d+)", "-lp"),
            queue=queue, queue_limit=limit, open=len(ports), **expected,
        ),
        *(
            Connection(
                pid=server.pid, comm="keeper", direction="inbound", local=(LOCAL, PORT), remote=(LOCAL, port),
                tx_bytes=0, rx_bytes=0,
            )
            for port in ports
        ),
    )  # fmt: skip


@scenario("Listeners", "a queue that is full, and drops")
def full(place: Place) -> Iterator[None]:
    yield
    server = listening(place)
    dropped = knock(place, server, ROOM, more=6)
    as_staged(place, server, queue=ROOM, drops=dropped, accepted=ROOM)


@scenario("Listeners", "full before nettop starts, and again")
def full_before(place: Place) -> Iterator[None]:
    server = listening(place)
    older = [place.near.play(programs.tcp_knock, address=LOCAL, port=PORT, times=times) for times in (ROOM, 1)]
    wait_until(lambda: list_drops(server) > 0, "drops before nettop starts")
    for program in older:
        program.say("leave")
        program.end()
    accept(server, ROOM)
    yield
    dropped = knock(place, server, ROOM, more=4)
    as_staged(place, server, queue=ROOM, drops=dropped, accepted=ROOM)


@scenario("Listeners", "held by children too")
def shared(place: Place) -> Iterator[None]:
    yield
    server = listening(place, workers=3)
    assert knock(place, server, ROOM) == 0
    time.sleep(TICK_S)  # nettop looks in vain who holds what nobody has accepted
    accept(server, ROOM)
    time.sleep(5 * TICK_S)  # it looks again after one interval, two and four
    as_staged(place, server, queue=0, drops=0, accepted=ROOM)
