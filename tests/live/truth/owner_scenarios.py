"""Who owns a socket where that changes, is shared, or where somebody else handles its packets."""

import subprocess
import time
from collections.abc import Iterator

from tests.live.lab import FAR_IPV4
from tests.live.truth import owners, talk
from tests.live.truth.place import Place
from tests.live.truth.process_scenarios import SIZE, receiver
from tests.live.truth.scenario import scenario
from tests.live.truth.tcp_scenarios import ASK, FOLLOW, LEAVE, REPLY

LOCAL, PORT, SERVER = "127.0.0.1", 7009, "127.0.0.2"
TICK_S = 1.2  # an interval of nettop, and some more
MPTCP = 262  # IPPROTO_MPTCP
UNUSED_IPV4 = "10.88.0.9"


@scenario("Owners", "a connection whose opener has ended, kept by its child")
def kept_by_child(place: Place) -> Iterator[None]:
    yield
    place.serve(LOCAL, PORT, [["recv", SIZE], *FOLLOW], how="thread")
    for pause_s in (0, TICK_S):
        place.run(owners.connect_and_leave, address=LOCAL, port=PORT, size=SIZE, pause_s=pause_s)
    place.written(connections=4)


@scenario("Owners", "a connection that an administrator ends")
def ended_by_administrator(place: Place) -> Iterator[None]:
    yield
    victim = place.play(owners.lose_to_administrator, address=LOCAL, port=PORT)
    assert victim.hear() == "connected"
    time.sleep(2 * TICK_S)  # that nobody but ss closes is no sign of the owner: nettop has to have looked who holds it
    subprocess.run(place.near.inside("ss", "-K", "-t", "state", "established", "sport", "=", f":{PORT}"), check=True)
    victim.say("read")
    victim.end()


@scenario("Owners", "a UDP socket that only a child uses")
def used_by_child(place: Place) -> Iterator[None]:
    yield
    with receiver(place, SIZE):
        place.run(owners.send_by_child, address=LOCAL, port=PORT - 2, size=SIZE)


@scenario("Owners", "packets that a firewall in user space has judged")
def judged(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    subprocess.run(
        place.near.inside(
            "iptables-legacy", "-A", "OUTPUT", "-p", "udp", "--dport", "53", "-j", "NFQUEUE", "--queue-num", "0"
        ),
        check=True,
    )  # fmt: skip
    assert place.play(owners.judge_packets, queue=0).hear() == "judging"
    yield
    place.run(owners.ask_once, server=SERVER, qname="judged.test")


@scenario("Owners", "more datagrams than a receive buffer holds")
def overrun(place: Place) -> Iterator[None]:
    yield
    slow = place.play(owners.read_late, address=LOCAL, port=PORT)
    assert slow.hear() == "bound"
    place.run(owners.send_many, address=LOCAL, port=PORT, datagrams=1009, size=997)
    slow.say(1009)
    slow.end()


def overrun_behind_headers(what: str, fragment: bool) -> None:
    @scenario("Owners", f"more datagrams behind {what} than a receive buffer holds")
    def play(place: Place) -> Iterator[None]:
        yield
        slow = place.play(owners.read_late, address="::1", port=PORT)
        assert slow.hear() == "bound"
        place.run(owners.send_behind_headers, port=PORT, datagrams=211, size=499, fragment=fragment)
        slow.say(211)
        slow.end()


overrun_behind_headers("an atomic fragment's header", fragment=True)
overrun_behind_headers("six headers of options", fragment=False)


@scenario("Owners", "a connection that a grandchild of its sender shuts down")
def shut_down_by_grandchild(place: Place) -> Iterator[None]:
    yield
    place.serve(LOCAL, PORT, [["recv", SIZE], *FOLLOW])
    place.run(owners.shut_down_by_grandchild, address=LOCAL, port=PORT, size=SIZE)
    place.written(connections=2)


@scenario("Owners", "a connection that lives on in a child, not in its opener")
def left_to_child(place: Place) -> Iterator[None]:
    yield
    place.serve(LOCAL, PORT, [["recv", SIZE], *FOLLOW])
    place.run(owners.leave_connection_to_child, address=LOCAL, port=PORT, size=SIZE)
    place.written(connections=2)


@scenario("Owners", "two processors that meet a fresh UDP socket")
def fresh_sockets(place: Place) -> Iterator[None]:
    yield
    # two flows at either end of each: no more than are kept, however many of them nettop comes to see one by one
    place.run(owners.meet_on_fresh_sockets, address=LOCAL, first_port=20_000, sockets=120, rounds=20)


@scenario("Owners", "Multipath TCP at both ends")
def multipath(place: Place) -> Iterator[None]:
    yield
    place.serve(LOCAL, PORT, REPLY + FOLLOW, protocol=MPTCP)
    place.run(talk.connect, address=LOCAL, port=PORT, steps=ASK + LEAVE, times=7, protocol=MPTCP)
    place.written(connections=14)


@scenario("Owners", "Multipath TCP older than nettop")
def older_multipath(place: Place) -> Iterator[None]:
    steps = [*ASK, ["mark"], ["say", "exchanged"], ["hear"], *ASK, *LEAVE]
    place.serve(LOCAL, PORT, [*REPLY, ["mark"], *REPLY, *FOLLOW], protocol=MPTCP)
    client = place.play(talk.connect, address=LOCAL, port=PORT, steps=steps, protocol=MPTCP)
    assert client.hear() == "exchanged"
    yield
    client.say("now")
    client.end()
    place.written(connections=2)


@scenario("Owners", "Fast Open, closed before the handshake's end", far=True)
def fast_open(place: Place) -> Iterator[None]:
    place.far.sysctl("net.ipv4.tcp_fastopen", 0x203)  # data is taken without a cookie, RFC 7413 section 2
    place.far.ip("neigh", "add", UNUSED_IPV4, "lladdr", place.near.mac("veth0"), "dev", "veth0")
    yield
    server = place.play(owners.fast_open_server, address=FAR_IPV4, port=PORT, request=101, reply=1009, far=True)
    assert server.hear() == "listening"
    place.run(
        owners.fast_open_by_hand, source=UNUSED_IPV4, target=FAR_IPV4, port=PORT, size=101,
        source_mac=place.near.mac("veth0"), target_mac=place.far.mac("veth0"),
    )  # fmt: skip
    server.end()
