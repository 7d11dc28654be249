"""DNS: every way of asking."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.live import programs
from tests.live.lab import Program
from tests.live.truth import talk
from tests.live.truth.place import Place
from tests.live.truth.rows import Query
from tests.live.truth.scenario import scenario

SERVER, SERVER_IPV6, FORWARDER = "127.0.0.2", "::1", "127.0.0.3"
PYTHON = Path(sys.executable).name
BOTH = (("A", "192.0.2.1"), ("AAAA", "2001:db8::1"))


def resolved(program: Program, comm: str, qname: str, server: str = SERVER) -> list[Query]:
    """What getaddrinfo asks."""
    return [
        Query(pid=program.pid, comm=comm, qname=qname, qtype=qtype, server=server, answers=(data,))
        for qtype, data in BOTH
    ]


@scenario("DNS", "glibc")
def glibc(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    for number in range(3):
        qname = f"glibc{number}.test"
        program = place.known(place.near.play(programs.resolve, nameserver=SERVER, host=qname, port=80))
        program.end()
        place.add(*resolved(program, PYTHON, qname))


@scenario("DNS", "a resolver library that is not glibc (c-ares)")
def cares(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    qnames = [f"hold-{number % 3}-cares{number}.test" for number in range(7)]
    place.run(talk.ask_by_cares, server=SERVER, qnames=qnames, comm="cares")


def dig(place: Place, server: str, qname: str, qtype: str = "A", *options: str) -> tuple[Program, str]:
    program = place.start(
        "chrt", "-r", "1", "dig", "-u", "+tries=1", "+time=10", "+noidnin", *options, f"@{server}", qname, qtype
    )
    return program, program.end()


def dug(place: Place, server: str, qname: str, qtype: str, *options: str) -> Query:
    """A query by dig, with the time and the records that dig tells."""
    program, said = dig(place, server, qname, qtype, *options)
    took = re.search(r"Query time: (\d+) usec", said)
    assert took is not None, said
    # dig prints its sections in the presentation format of RFC 1035 section 5; names with the final dot
    section = re.search(r";; ANSWER SECTION:\n(.*?)\n\n", said, re.DOTALL)
    records = section[1].splitlines() if section else []
    rcode = re.search(r"status: (\w+)", said)
    assert rcode is not None, said
    return Query(
        pid=program.pid, comm="dig", qname=qname, qtype=qtype, server=server, rcode=rcode[1],
        answers=tuple(record.split(None, 4)[4] for record in records), asked_ns=0, answered_ns=int(took[1]) * 1000,
    )  # fmt: skip


@scenario("DNS", "dig")
def by_dig(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    for number in range(5):
        place.add(dug(place, SERVER, f"hold-{number}-dig.test", "A"))


@scenario("DNS", "REFUSED")
def refused(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    place.add(dug(place, SERVER, "refused-1.test", "A"))


@scenario("DNS", "threads that each resolve")
def threads(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    place.run(talk.ask_in_threads, server=SERVER, threads=8, questions=13, comm="many-threads")


@scenario("DNS", "IPv6")
def ipv6(place: Place) -> Iterator[None]:
    place.dns_server(SERVER_IPV6)
    yield
    questions = [[f"hold-{number % 3}-six{number}.test", 28] for number in range(31)]
    place.run(talk.ask, server=SERVER_IPV6, questions=questions)
