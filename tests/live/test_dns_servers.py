"""Which server answered, which one is not there, and what became of an answer on its way to the program."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from nettop.model.rows import Endpoint
from tests.live import dns_server, programs
from tests.live.lab import Namespace, Watch, dns_of, docker_rules, namespace, process_of

SERVER, OTHER, NOBODY, SERVICE = "127.0.0.2", "127.0.0.3", "127.0.0.9", "10.96.0.10"
DOCKER_RESOLVER, DOCKER_PORT, REDIRECTED_PORT = "127.0.0.11", 40053, 5300
SERVICE_IPV6, SERVER_IPV6 = "fd96::10", "::1"
RULES = f"""
table ip nat {{
  chain output {{
    type nat hook output priority -100
    ip daddr {SERVICE} udp dport 53 dnat to {SERVER}
    ip daddr {OTHER} udp dport 53 dnat to {SERVER}:{REDIRECTED_PORT}
    ip daddr {OTHER} tcp dport 53 dnat to {SERVER}:{REDIRECTED_PORT}
  }}
}}
table ip6 nat {{
  chain output {{
    type nat hook output priority -100
    ip6 daddr {SERVICE_IPV6} meta l4proto {{ tcp, udp }} th dport 53 dnat to [{SERVER_IPV6}]:{REDIRECTED_PORT}
  }}
}}
"""


@pytest.fixture
def inside(directory: Path) -> Iterator[Namespace]:
    with namespace(directory) as made:
        yield made


def test_each_of_the_servers_that_are_asked_at_once(inside: Namespace, directory: Path) -> None:
    server = inside.play(dns_server.serve, addresses=[SERVER])
    assert server.hear() == "serving"
    with Watch(directory, "--netns", inside.name) as watch:
        # a socket that is not connected is not told that nobody serves there
        asker = inside.play(programs.ask_all, servers=[NOBODY, SERVER], txid=7, qname="all.test")
        assert asker.hear() == [SERVER]
        asker.end()
        snapshot = watch.settled(asker, dns=2)
    assert [(row.server.address, row.status, row.attempts) for row in dns_of(snapshot, asker)] == [
        (NOBODY, "timeout", 1),
        (SERVER, "answered", 1),
    ]


def test_an_answer_of_somebody_else(inside: Namespace, directory: Path) -> None:
    server = inside.play(programs.answer_for_another, asked=SERVER, other=OTHER, address="192.0.2.66")
    assert server.hear() == "serving"
    with Watch(directory, "--netns", inside.name) as watch:
        asker = inside.play(programs.ask_all, servers=[SERVER], txid=7, qname="forged.test", answers=2)
        assert asker.hear() == [OTHER, SERVER]  # this program takes what it gets
        snapshot = watch.settled(asker, dns=1)
        asker.end()
    (row,) = dns_of(snapshot, asker)
    assert (row.server.address, row.status, [answer.data for answer in row.answers]) == (
        SERVER,
        "answered",
        ["192.0.2.1"],
    )


@pytest.mark.parametrize("address", [NOBODY, f"::ffff:{NOBODY}", "::1"])
def test_where_nobody_serves(inside: Namespace, directory: Path, address: str) -> None:
    with Watch(directory, "--netns", inside.name) as watch:
        asker = inside.play(programs.ask_where_nobody_serves, address=address, qnames=["a.test"])
        assert asker.hear() == errno.ECONNREFUSED
        # long before the timeout: at the next tick
        snapshot = watch.until(
            lambda seen: [row.status for row in dns_of(seen, asker)] == ["refused"] * 2,
            "both queries to be refused",
            4.0,
        )
        assert {row.server.address for row in dns_of(snapshot, asker)} == {address.removeprefix("::ffff:")}
        totals = process_of(snapshot, asker).dns
        assert (totals.queries, totals.answered, totals.failed, totals.timeouts) == (2, 0, 2, 0)
        asker.say("end")
        asker.end()


def test_an_answer_for_which_there_was_no_room(inside: Namespace, directory: Path) -> None:
    server = inside.play(dns_server.serve, addresses=[SERVER])
    assert server.hear() == "serving"
    with Watch(directory, "--netns", inside.name) as watch:
        asker = inside.play(programs.ask_without_room, server=SERVER, qname="size-400-room.test")
        sent = asker.hear()
        snapshot = watch.until(
            lambda seen: [row.answers_dropped for row in dns_of(seen, asker)] == [0] * (sent - 1) + [1], "the drop"
        )
        *others, last = dns_of(snapshot, asker)
        assert {row.status for row in others} == {"answered"}
        assert (last.status, last.rcode, last.answers) == ("pending", None, ())
        assert process_of(snapshot, asker).dns.answered == sent - 1
        # WHEN it is sent again, and answered where there is room
        asker.say("again")
        assert asker.hear() == sent
        snapshot = watch.until(lambda seen: dns_of(seen, asker)[-1].status == "answered", "the answer")
        row = dns_of(snapshot, asker)[-1]
        assert (row.attempts, row.answers_dropped, row.rcode) == (2, 1, "NOERROR")
        asker.say("end")
        asker.end()


@pytest.mark.parametrize(("questions", "answer_bytes"), [(100, 150), (400, 163), (3, 60_000)])
def test_answers_that_are_written_at_once(
    inside: Namespace, directory: Path, questions: int, answer_bytes: int
) -> None:
    server = inside.play(programs.serve_pipeline, address="127.0.0.1", questions=questions, answer_bytes=answer_bytes)
    assert server.hear() == "serving"
    with Watch(directory, "--netns", inside.name) as watch:
        qnames = [f"p{number:03}.test" for number in range(questions)]
        asker = inside.play(programs.ask_tcp, server="127.0.0.1", qnames=qnames, pieces=[])
        assert asker.hear() == [answer_bytes] * questions
        asker.end()
        snapshot = watch.settled(asker, dns=questions, connections=1)
        losses = watch.stop(losses=True).losses
    assert (losses.perf_buffer["dns_events"], losses.dns_unparsed, losses.dns_left_out) == (0, 0, 0)
    rows = dns_of(snapshot, asker)
    assert {(row.status, row.response_bytes, row.unparsed) for row in rows} == {("answered", answer_bytes, None)}


@pytest.mark.parametrize(
    ("asked", "via"),
    [
        (SERVICE, (SERVER, 53)),
        (OTHER, (SERVER, REDIRECTED_PORT)),
        (SERVICE_IPV6, (SERVER_IPV6, REDIRECTED_PORT)),
        (DOCKER_RESOLVER, (DOCKER_RESOLVER, DOCKER_PORT)),
        (SERVER, None),  # through the connection tracker as it is
    ],
)
def test_a_server_behind_nat_is_the_one_that_was_asked(
    inside: Namespace, directory: Path, asked: str, via: tuple[str, int] | None
) -> None:
    inside.ip("addr", "add", f"{SERVICE}/32", "dev", "lo")
    inside.ip("addr", "add", f"{SERVICE_IPV6}/128", "dev", "lo", "nodad")
    inside.nft(RULES + docker_rules(DOCKER_RESOLVER, DOCKER_PORT))
    address, port = via or (asked, 53)
    server = inside.play(dns_server.serve, addresses=[address], port=port)
    assert server.hear() == "serving"
    with Watch(directory, "--netns", inside.name) as watch:
        askers = [
            inside.play(programs.ask_udp, server=asked, questions=[[7, "service.test", 1]], connected=connected)
            for connected in (True, False)
        ]
        if asked != SERVICE:  # which has no rule for TCP
            askers.append(inside.play(programs.ask_tcp, server=asked, qnames=["service.test"], pieces=[1], qtype=1))
        for number, asker in enumerate(askers):
            asker.hear()
            asker.end()
            (row,) = dns_of(watch.settled(asker, dns=1, connections=number // 2), asker)
            assert (row.status, row.server) == ("answered", Endpoint(address=asked, port=53))
            assert row.via == (None if via is None else Endpoint(address=via[0], port=via[1]))
            assert row.pid == asker.pid
        assert watch.stop().losses.dns_unasked == 0


def test_other_ports_stay_what_they_are(inside: Namespace, directory: Path) -> None:
    """A socket that is connected to a DNS server and sends elsewhere, through the connection tracker, asks nobody."""
    inside.nft(RULES)
    echo = inside.play(programs.udp_echo, address=SERVER, port=7007)
    assert echo.hear() == "bound"
    with Watch(directory, "--netns", inside.name) as watch:
        sender = inside.play(programs.ask_aside, connected_to=OTHER, server=SERVER, port=7007, qname="aside.test")
        assert sender.hear() == "sent"
        sender.end()
        watch.until(lambda seen: any(row.pid == sender.pid for row in seen.processes), "its bytes")
        snapshot = watch.stop()
    assert dns_of(snapshot, sender) == []


def test_two_questions_under_one_id(inside: Namespace, directory: Path) -> None:
    """The older one is forgotten, the newer one is not taken for its repeat, and has its answer."""
    with Watch(directory, "--netns", inside.name) as watch:
        asker = inside.play(
            programs.ask_at_once, server=SERVER, questions=[[7, "same-id.test", 1], [7, "same-id.test", 28]]
        )
        assert asker.hear() == 2  # answers
        snapshot = watch.settled(asker, dns=2)
        asker.end()
    assert [(row.qtype, row.status) for row in dns_of(snapshot, asker)] == [("A", "forgotten"), ("AAAA", "answered")]
