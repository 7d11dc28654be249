"""TCP: every way of opening, serving and ending a connection."""

import errno
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from nettop.kernel.hooks import CGROUP_SOCK_ADDR
from nettop.model.rows import WaitsFor
from tests.live.lab import BLACKHOLE_IPV4, FAR_IPV4, FAR_IPV6, NEAR_IPV4, NO_NEIGHBOUR_IPV4, refusing_cgroup
from tests.live.truth import talk
from tests.live.truth.place import Place
from tests.live.truth.scenario import scenario

LOCAL, PORT = "127.0.0.1", 7001
UP, DOWN = 1009, 503
ALIVE, CROWD = 101, 10_000

Steps = list[list[Any]]
ASK: Steps = [["send", UP], ["recv", DOWN]]
REPLY: Steps = [["recv", UP], ["send", DOWN]]
LEAVE: Steps = [["shutdown"], ["eof"], ["close"]]  # first
FOLLOW: Steps = [["eof"], ["close"]]


def converse(place: Place, client: Steps, server: Steps, *, how: str = "alone", times: int = 7) -> None:
    """A client and a server of the same namespace, to the client's end."""
    place.serve(LOCAL, PORT, server, how=how)
    place.run(talk.connect, address=LOCAL, port=PORT, steps=client, times=times)


@scenario("TCP", "client closes first")
def client_first(place: Place) -> Iterator[None]:
    yield
    converse(place, ASK + LEAVE, REPLY + FOLLOW, times=31)


@scenario("TCP", "server closes first")
def server_first(place: Place) -> Iterator[None]:
    yield
    converse(place, ASK + FOLLOW, REPLY + LEAVE, times=31)


@scenario("TCP", "both at once", far=True)
def both_at_once(place: Place) -> Iterator[None]:
    leave: Steps = [["say", "exchanged"], ["hear"], ["shutdown"], ["say", "shut"], ["eof"], ["close"]]
    server = place.serve(FAR_IPV4, PORT, REPLY + leave, far=True)
    yield
    client = place.play(talk.connect, address=FAR_IPV4, port=PORT, steps=ASK + leave)
    for end in (client, server):
        assert end.hear() == "exchanged"
    # each FIN is on its way when the other end sends its own: nobody hears them at first
    for side, neighbour in ((place.near, FAR_IPV4), (place.far, NEAR_IPV4)):
        side.ip("neigh", "replace", neighbour, "lladdr", "02:00:00:00:00:99", "dev", "veth0", "nud", "permanent")
    for end in (client, server):
        end.say("now")
        assert end.hear() == "shut"
    for side, neighbour in ((place.near, FAR_IPV4), (place.far, NEAR_IPV4)):
        side.ip("neigh", "del", neighbour, "dev", "veth0")
    client.end()
    place.written(connections=2)


@scenario("TCP", "reset by the client")
def reset_by_client(place: Place) -> Iterator[None]:
    yield
    converse(place, [*ASK, ["reset"]], REPLY + FOLLOW)


@scenario("TCP", "reset by the server")
def reset_by_server(place: Place) -> Iterator[None]:
    yield
    converse(place, ASK + FOLLOW, [*REPLY, ["reset"]])


@scenario("TCP", "refused")
def refused(place: Place) -> Iterator[None]:
    yield
    for address in (LOCAL, "::1"):
        client = place.play(talk.connect_in_vain, address=address, port=7999, end="refused")
        assert client.hear() == errno.ECONNREFUSED
        client.end()


@scenario("TCP", "timed out", far=True)
def timed_out(place: Place) -> Iterator[None]:
    place.near.sysctl("net.ipv4.tcp_syn_retries", 1)
    place.near.sysctl("net.ipv4.tcp_syn_linear_timeouts", 0)
    yield
    client = place.play(talk.connect_in_vain, address=BLACKHOLE_IPV4, port=80, end="timeout")
    assert client.hear() == errno.ETIMEDOUT
    client.end()


@scenario("TCP", "unreachable (nobody has the address)", far=True)
def no_neighbour(place: Place) -> Iterator[None]:
    yield
    client = place.play(talk.connect_in_vain, address=NO_NEIGHBOUR_IPV4, port=80, end="unreachable")
    assert client.hear() == errno.EHOSTUNREACH
    client.end()


@scenario("TCP", "unreachable (a router says so)", far=True)
def icmp_unreachable(place: Place) -> Iterator[None]:
    place.far.sysctl("net.ipv4.ip_forward", 1)
    place.far.ip("route", "add", "unreachable", "10.99.0.0/16")
    yield
    client = place.play(talk.connect_in_vain, address=BLACKHOLE_IPV4, port=80, end="unreachable")
    assert client.hear() == errno.EHOSTUNREACH
    client.end()


def fail(place: Place, address: str, port: int, outcome: tuple[str, int], **how: Any) -> None:
    end, error = outcome
    client = place.play(talk.connect_in_vain, address=address, port=port, end=end, **how)
    assert client.hear() == error
    client.end()


@scenario("TCP", "no route")
def no_route(place: Place) -> Iterator[None]:
    yield
    for port, address in enumerate(("192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7"), 80):
        fail(place, address, port, ("no-route", errno.ENETUNREACH))


@scenario("TCP", "no route (unreachable, prohibited, blackholed)")
def routed_nowhere(place: Place) -> Iterator[None]:
    kinds = {"unreachable": errno.EHOSTUNREACH, "prohibit": errno.EACCES, "blackhole": errno.EINVAL}
    for number, kind in enumerate(kinds, 1):
        place.near.ip("route", "add", kind, f"10.99.{number}.0/24")
        place.near.ip("-6", "route", "add", kind, f"fd99:{number}::/64")
    yield
    for number, error in enumerate(kinds.values(), 1):
        fail(place, f"10.99.{number}.1", PORT, ("no-route", error))
        fail(place, f"fd99:{number}::1", PORT, ("no-route", error))


@scenario("TCP", "denied by another program on a cgroup")
def denied(place: Place) -> Iterator[None]:
    refusing = ExitStack()
    place.at_end(refusing.close)
    cgroup = refusing.enter_context(refusing_cgroup(place.near.name, CGROUP_SOCK_ADDR, "connect4", "connect6"))
    yield
    place.serve("::", PORT, REPLY)
    for address in (LOCAL, "::1", "192.0.2.7"):  # without a route too: it has not come so far
        client = place.play(talk.connect_in_vain, address=address, port=PORT, end="denied", wait=True)
        assert client.hear() == "ready"
        (cgroup / "cgroup.procs").write_text(str(client.pid))
        client.say("connect")
        assert client.hear() == errno.EPERM
        client.end()


@scenario("TCP", "no port left")
def no_port(place: Place) -> Iterator[None]:
    place.near.sysctl("net.ipv4.ip_local_port_range", "40000 40000")
    yield
    place.serve(LOCAL, PORT, REPLY + FOLLOW, how="thread")
    stay: Steps = [["say", "exchanged"], ["hear"]]
    client = place.play(talk.connect, address=LOCAL, port=PORT, steps=ASK + stay + LEAVE)
    assert client.hear() == "exchanged"
    for _ in range(3):
        fail(place, LOCAL, PORT, ("no-port", errno.EADDRNOTAVAIL))
    client.say("now")
    client.end()


@scenario("TCP", "rejected by a firewall of the host", far=True)
def rejected(place: Place) -> Iterator[None]:
    place.near.nft(
        f"""
        table inet firewall {{
          chain output {{
            type filter hook output priority 0
            tcp dport {PORT} reject
            tcp dport {PORT + 1} reject with icmpx admin-prohibited
          }}
        }}
        """
    )
    yield
    for port, error, later in ((PORT, errno.ECONNREFUSED, "refused"), (PORT + 1, errno.EHOSTUNREACH, "unreachable")):
        fail(place, FAR_IPV4, port, ("rejected", error), patience_s=talk.PATIENCE_S, later=later)
        fail(place, FAR_IPV4, port, (later, error))  # connect() waits, until the second segment is rejected too
    fail(place, FAR_IPV6, PORT + 1, ("rejected", errno.EACCES))


@scenario("TCP", "no route at first, on the same socket")
def no_route_at_first(place: Place) -> Iterator[None]:
    yield
    place.serve(LOCAL, PORT, REPLY + FOLLOW)
    place.run(
        talk.connect, address=LOCAL, port=PORT, steps=ASK + LEAVE, times=7, first_in_vain=["192.0.2.7", 80]
    )  # fmt: skip


@scenario("TCP", "given up by the program", far=True)
def given_up(place: Place) -> Iterator[None]:
    yield
    place.run(talk.connect_in_vain, address=BLACKHOLE_IPV4, port=80, end="given-up", give_up_s=0.05)


@scenario("TCP", "half-closed for long")
def half_closed(place: Place) -> Iterator[None]:
    yield
    server: Steps = [["recv", UP], ["eof"], ["sleep", 2.0], ["send", DOWN], ["close"]]
    converse(place, [["send", UP], ["shutdown"], ["recv", DOWN], ["eof"], ["close"]], server, times=2)


@scenario("TCP", "closed late by the server, after the client")
def closed_late_by_server(place: Place) -> Iterator[None]:
    yield
    converse(place, ASK + LEAVE, [*REPLY, ["eof"], ["sleep", 0.7], ["close"]], times=2)


@scenario("TCP", "closed late by the client, after the server")
def closed_late_by_client(place: Place) -> Iterator[None]:
    yield
    converse(place, [*ASK, ["eof"], ["sleep", 0.3], ["close"]], [*REPLY, ["sleep", 0.4], *LEAVE], times=2)


@scenario("TCP", "accepted by a forking server")
def forking(place: Place) -> Iterator[None]:
    yield
    converse(place, ASK + LEAVE, REPLY + FOLLOW, how="fork")


@scenario("TCP", "accepted by a threaded server")
def threaded(place: Place) -> Iterator[None]:
    yield
    converse(place, ASK + LEAVE, REPLY + FOLLOW, how="thread")


@scenario("TCP", "accepted by a worker that got the descriptor passed")
def passed(place: Place) -> Iterator[None]:
    yield
    converse(place, ASK + LEAVE, REPLY + FOLLOW, how="passing")


@scenario("TCP", "accepted by a pre-fork pool")
def pool(place: Place) -> Iterator[None]:
    yield
    converse(place, ASK + LEAVE, REPLY + FOLLOW, how="pool", times=31)


@scenario("TCP", "accepted by a pre-fork pool, server closes first")
def pool_first(place: Place) -> Iterator[None]:
    yield
    converse(place, ASK + FOLLOW, REPLY + LEAVE, how="pool", times=31)


@scenario("TCP", "IPv4-mapped")
def mapped(place: Place) -> Iterator[None]:
    yield
    place.serve("::", PORT, REPLY + FOLLOW)
    for address in (LOCAL, "::ffff:127.0.0.1", "::1"):
        place.run(talk.connect, address=address, port=PORT, steps=ASK + LEAVE, times=3)


@scenario("TCP", "exec between connect and close")
def exec_between(place: Place) -> Iterator[None]:
    yield
    place.serve(LOCAL, PORT, REPLY + FOLLOW)
    for _ in range(3):
        place.run(talk.connect, address=LOCAL, port=PORT, steps=[*ASK, ["execute"]])
    place.written(connections=6)


@scenario("TCP", "owner killed by -9")
def killed(place: Place) -> Iterator[None]:
    yield
    place.serve(LOCAL, PORT, REPLY + FOLLOW)
    client = place.play(talk.connect, address=LOCAL, port=PORT, steps=[*ASK, ["tell"], ["say", "exchanged"], ["hear"]])
    assert client.hear() == "exchanged"
    client.stop()
    place.written(connections=2)


@scenario("TCP", "alive before nettop starts, ended after")
def alive_before(place: Place) -> Iterator[None]:
    wait: Steps = [["mark"], ["say", "exchanged"], ["hear"]]
    place.serve(LOCAL, PORT, [*REPLY, ["mark"], *REPLY, *FOLLOW], how="thread")
    clients = [place.play(talk.connect, address=LOCAL, port=PORT, steps=ASK + wait + ASK + LEAVE) for _ in range(7)]
    for client in clients:
        assert client.hear() == "exchanged"
    yield
    for client in clients:
        client.say("now")
    for client in clients:
        client.end()


@scenario("TCP", "10,000 connections alive before nettop starts")
def crowd(place: Place) -> Iterator[None]:
    server = place.play(talk.accept_many, address=LOCAL, port=PORT, connections=CROWD, up=13)
    assert server.hear() == "listening"
    client = place.play(talk.hold_many, address=LOCAL, port=PORT, connections=CROWD, up=13)
    assert client.hear() == "holding"
    assert server.hear() == "accepted"
    yield
    client.say("again")
    assert client.hear() == "sent"
    assert server.hear() == "received"


@scenario("TCP", "connections shorter than a millisecond")
def short(place: Place) -> Iterator[None]:
    yield
    converse(place, [["send", 8], *LEAVE], [["recv", 8], *FOLLOW], times=503)


WAIT_S = 2.5  # two ticks of a second, or a SYN that is sent again after one, and a tick
# both ends of a connection: what they do, who waits for whom then, and how often was asked
WAITS: list[tuple[Steps, WaitsFor, Steps, WaitsFor, int]] = [
    ([], "none", [], "none", 0),
    (ASK * 3, "none", REPLY * 3, "none", 3),  # keep-alive
    ([*ASK, ["send", UP]], "remote", [*REPLY, ["recv", UP]], "local", 2),  # the server thinks
    ([["send", UP]], "remote", [["unread", UP]], "local", 1),
    ([["fill"]], "remote-window", [["unread"]], "local", 1),
    ([["recv", DOWN]], "none", [["send", DOWN]], "none", 0),  # a banner
    ([*ASK, ["recv", DOWN]], "none", [*REPLY, ["send", DOWN]], "none", 1),  # a push
    ([*ASK, ["unread", DOWN]], "local", [*REPLY, ["send", DOWN]], "none", 1),
    ([*ASK, ["shutdown"]], "remote", [*REPLY], "local", 1),  # which does not close
]


def stay(place: Place, port: int, case: tuple[Steps, WaitsFor, Steps, WaitsFor, int], far: bool = False) -> None:
    """Two processes that stay as they are then."""
    client, client_waits, server, server_waits, asked = case
    address = FAR_IPV4 if far else LOCAL
    serving = place.serve(address, port, [*server, ["asked", asked], ["stay", server_waits]], far=far)
    calling = place.play(
        talk.connect, address=address, port=port, steps=[*client, ["asked", asked], ["stay", client_waits]]
    )
    assert (calling.hear(), serving.hear()) == ("stays", "stays")


@scenario("TCP", "whose turn it is")
def whose_turn(place: Place) -> Iterator[None]:
    yield
    for number, case in enumerate(WAITS):
        stay(place, PORT + number, case)
    time.sleep(WAIT_S)


@scenario("TCP", "whose turn it is, between hosts", far=True)
def whose_turn_between_hosts(place: Place) -> Iterator[None]:
    yield
    connecting = place.play(talk.connect_and_wait, address=BLACKHOLE_IPV4, port=80)
    assert connecting.hear() == "stays"
    for number, case in enumerate(WAITS[2:5]):
        stay(place, PORT + number, case, far=True)
    serving = place.serve(FAR_IPV4, PORT - 1, [*REPLY, ["asked", 1], ["stay", "none"]], far=True)
    lost: Steps = [*ASK, ["say", "exchanged"], ["hear"], ["send", UP], ["asked", 2], ["stay", "network"]]
    calling = place.play(talk.connect, address=FAR_IPV4, port=PORT - 1, steps=lost)
    assert (calling.hear(), serving.hear()) == ("exchanged", "stays")
    place.near.ip("neigh", "replace", FAR_IPV4, "lladdr", "02:00:00:00:00:99", "dev", "veth0", "nud", "permanent")
    calling.say("now")
    assert calling.hear() == "stays"
    time.sleep(WAIT_S)


@scenario("TCP", "zero bytes")
def zero_bytes(place: Place) -> Iterator[None]:
    yield
    converse(place, LEAVE, FOLLOW)


@scenario("TCP", "megabytes both ways")
def megabytes(place: Place) -> Iterator[None]:
    yield
    converse(
        place, [["send", 3_000_017], ["recv", 2_000_003], *LEAVE], [["recv", 3_000_017], ["send", 2_000_003], *FOLLOW]
    )
