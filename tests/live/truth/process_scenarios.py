"""Processes: every way of being hard to tell apart, and of moving bytes."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nettop.kernel.program import open_cgroup2
from tests.live.play import playing
from tests.live.truth import talk
from tests.live.truth.place import Place
from tests.live.truth.rows import Process
from tests.live.truth.scenario import scenario
from tests.live.truth.tcp_scenarios import FOLLOW, LEAVE, Steps

LOCAL, PORT = "127.0.0.1", 7007
SIZE = 50_021
CHILDREN = 101
UDP_WAYS = ("send", "sendmsg", "sendmmsg", "sendfile", "splice", "zerocopy")
TCP_WAYS = ("send", "sendmsg", "sendmmsg", "sendfile", "splice", "zerocopy")

_numbers = itertools.count(1)


@contextmanager
def receiver(place: Place, size: int, *, peek: bool = False) -> Iterator[None]:
    """Somebody who waits for so many bytes of UDP."""
    program = place.play(talk.receive_datagrams, address=LOCAL, port=PORT, size=size, peek=peek)
    assert program.hear() == "bound"
    yield
    program.end()


@scenario("Processes", "alive under 10 ms")
def short_lived(place: Place) -> Iterator[None]:
    yield
    child = (
        "echo -n $0 > /dev/udp/127.0.0.1/7007; "
        'echo "{\\"datagrams\\":{\\"pid\\":$$,\\"comm\\":\\"bash\\",\\"tx_bytes\\":${#0}}}" >> $1'
    )
    with receiver(place, sum(len(str(number)) for number in range(1, CHILDREN + 1))):
        loop = f"for i in {{1..{CHILDREN}}}; do bash -c '{child}' $i {place.ledger}; done"
        place.start("bash", "-c", loop).end()


@scenario("Processes", "renamed by prctl")
def renamed(place: Place) -> Iterator[None]:
    yield
    place.serve(LOCAL, PORT, [["recv", 11], *FOLLOW])
    place.run(
        talk.connect_under_names, address=LOCAL, port=PORT, steps=[["send", 11], *LEAVE],
        comms=["caterpillar", "chrysalis", "moth"],
    )  # fmt: skip


@scenario("Processes", "pid reused")
def pid_reused(place: Place) -> Iterator[None]:
    yield
    sizes = [101, 211, 307]
    with receiver(place, sum(sizes)):
        program = place.play(talk.same_pid_twice, address=LOCAL, port=PORT, sizes=sizes)
        pid = program.hear()
        program.end()
    place.add(
        *(
            Process(pid=pid, comm=f"life-{number}", udp_tx_bytes=size, udp_rx_bytes=0)
            for number, size in enumerate(sizes)
        )
    )


@scenario("Processes", "threads with names of their own")
def named_threads(place: Place) -> Iterator[None]:
    yield
    place.serve(LOCAL, PORT, [["recv", 13], *FOLLOW], how="thread")
    place.run(
        talk.connect, address=LOCAL, port=PORT, steps=[["send", 13], *LEAVE], times=5, as_threads=True, comm="leader"
    )


def command(place: Place, function: Callable[..., None], **arguments: object) -> list[str]:
    """The command that plays a function of talk.py."""
    return playing(function, ledger=str(place.ledger), **arguments)


@scenario("Processes", "in a pid namespace")
def pid_namespace(place: Place) -> Iterator[None]:
    yield
    place.serve(LOCAL, PORT, [["recv", 17], *FOLLOW])
    inside = command(place, talk.connect, address=LOCAL, port=PORT, steps=[["send", 17], *LEAVE], comm="inside")
    with receiver(place, SIZE):
        place.start("unshare", "--pid", "--fork", "--kill-child", *inside).end()
        inside = command(place, talk.send_datagrams, address=LOCAL, port=PORT, size=SIZE, way="send")
        place.start("unshare", "--pid", "--fork", "--kill-child", *inside).end()


@scenario("Processes", "in a cgroup of their own")
def own_cgroup(place: Place) -> Iterator[None]:
    descriptor = open_cgroup2()
    root = Path(f"/proc/self/fd/{descriptor}").readlink()
    os.close(descriptor)
    cgroup = root / place.near.name
    cgroup.mkdir()
    place.at_end(cgroup.rmdir)
    yield
    # for longer than an interval: it is looked up in /proc
    inside = command(place, talk.send_datagrams, address=LOCAL, port=PORT, size=SIZE, way="send", stay_s=1.5)
    with receiver(place, SIZE):
        program = place.start("sh", "-c", 'read -r go && exec "$@"', "sh", *inside)
        (cgroup / "cgroup.procs").write_text(str(program.pid))
        program.say("go")
        program.end()
    place.add(Process(pid=program.pid, comm="sender", udp_tx_bytes=SIZE, udp_rx_bytes=0, cgroup=f"/{place.near.name}"))


def udp_bytes(way: str) -> None:
    @scenario("Processes", f"UDP bytes by {way}")
    def play(place: Place) -> Iterator[None]:
        yield
        with receiver(place, SIZE):
            place.run(talk.send_datagrams, address=LOCAL, port=PORT, size=SIZE, way=way)


def tcp_bytes(way: str) -> None:
    @scenario("Processes", f"TCP bytes by {way}")
    def play(place: Place) -> Iterator[None]:
        yield
        size = 1_000_003
        place.serve(LOCAL, PORT, [["recv", size], *FOLLOW])
        place.run(talk.connect, address=LOCAL, port=PORT, steps=[["send", size, way], *LEAVE], times=2)


for each in UDP_WAYS:
    udp_bytes(each)
for each in TCP_WAYS:
    tcp_bytes(each)


@scenario("Processes", "UDP bytes looked at by MSG_PEEK")
def udp_peek(place: Place) -> Iterator[None]:
    yield
    with receiver(place, SIZE, peek=True):
        place.run(talk.send_datagrams, address=LOCAL, port=PORT, size=SIZE, way="sendmmsg")


@scenario("Processes", "TCP bytes looked at by MSG_PEEK")
def tcp_peek(place: Place) -> Iterator[None]:
    yield
    peek: Steps = [["recv", 100_003, 2]]  # MSG_PEEK
    place.serve(LOCAL, PORT, peek + FOLLOW)
    place.run(talk.connect, address=LOCAL, port=PORT, steps=[["send", 100_003], *LEAVE])
