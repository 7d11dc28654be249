"""Names that real programs look up in their C library, beside queries that they send without it: which query is whose.

A name stands for one look-up of a function, so that every row is known.
"""

import json
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from nettop.model.rows import LookupFunction
from tests.live import lookup_programs
from tests.live.truth import talk
from tests.live.truth.dns_scenarios import SERVER, dug
from tests.live.truth.place import PYTHON, Place
from tests.live.truth.request_scenarios import JAVASCRIPT
from tests.live.truth.rows import Lookup, Query
from tests.live.truth.scenario import scenario as any_scenario

scenario = partial(any_scenario, "Look-ups", options=("--lookups",))
ANSWERS = {"A": "192.0.2.1", "AAAA": "2001:db8::1"}  # of dns_server.py
BOTH = ("A", "AAAA")
SEARCH_LIST = ("env", "LOCALDOMAIN=shop.test test", "RES_OPTIONS=ndots:5")
MUSL = Path(lookup_programs.__file__).with_name("musl_lookups.c")


def looked_up(
    pid: int,
    comm: str,
    name: str,
    function: LookupFunction = "getaddrinfo",
    qtypes: Sequence[str] = BOTH,
) -> tuple[Lookup | Query, ...]:
    """A look-up over the wire, with its queries."""
    lookup = Lookup(
        pid=pid, comm=comm, name=name, function=function, result="OK", asked=(name,) * len(qtypes),
        addresses=tuple(sorted(ANSWERS[qtype] for qtype in qtypes)),
    )  # fmt: skip
    return lookup, *(asked(pid, comm, name, qtype) for qtype in qtypes)


def asked(pid: int, comm: str, qname: str, qtype: str) -> Query:
    return Query(pid=pid, comm=comm, qname=qname, qtype=qtype, server=SERVER, answers=(ANSWERS[qtype],))


@scenario("getent and Perl")
def commands(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    known: list[tuple[LookupFunction, Sequence[str], tuple[str, ...]]] = [
        ("getaddrinfo", BOTH, ("getent", "ahosts", "ahosts.test")),
        ("gethostbyname2", ["AAAA"], ("getent", "hosts", "hosts.test")),
        ("gethostbyname_r", ["A"], ("perl", "-e", "gethostbyname(shift)", "perl.test")),
    ]
    for function, qtypes, command in known:
        program = place.start(*command, nameserver=SERVER)
        program.end()
        place.add(*looked_up(program.pid, command[0], command[-1], function, qtypes))


@scenario("curl, which looks up in a thread of its own")
def curl(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    for number in range(3):
        # there is no way to that address; of several transfers the last one tells how curl ends
        program = place.start("curl", "-s", f"http://curl{number}.test/", "file:///dev/null", nameserver=SERVER)
        program.end()
        place.foreign(program.pid)
        place.add(*looked_up(program.pid, "curl", f"curl{number}.test"))


@scenario("many processes at the same time")
def processes(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    names = [f"hold-{number % 4}-process{number}.test" for number in range(24)]
    programs = [place.start("getent", "ahosts", name, nameserver=SERVER) for name in names]
    for name, program in zip(names, programs, strict=True):
        program.end()
        place.add(*looked_up(program.pid, "getent", name))


@scenario("threads of Python, with a search list and without")
def threads(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    names = [[f"hold-{number % 4}-thread{thread}-{number}.test" for number in range(8)] for thread in range(8)]
    program = place.known(place.near.play(lookup_programs.threads, nameserver=SERVER, names=names))
    for told in program.hear():
        lookup, *queries = looked_up(program.pid, PYTHON, told["name"])
        place.add(replace(lookup, took_ms=told["took_ms"]), *queries)
    program.end()
    program = place.known(place.near.play(lookup_programs.one, nameserver=SERVER, prefix=SEARCH_LIST, name="db"))
    program.end()
    lookup, *queries = looked_up(program.pid, PYTHON, "db.shop.test")
    place.add(replace(lookup, name="db"), *queries)


@scenario("the same names without the library, by another thread at the same time")
def beside(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    names = [f"hold-{number % 4}-beside{number}.test" for number in range(24)]
    program = place.known(place.near.play(lookup_programs.beside, nameserver=SERVER, server=SERVER, names=names))
    program.end()
    for name in names:
        place.add(*looked_up(program.pid, PYTHON, name), asked(program.pid, PYTHON, name, "A"))


@scenario("node, by the library and by c-ares at the same time")
def node(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    names = [f"hold-{number % 4}-node{number}.test" for number in range(12)]
    program = place.start("node", str(JAVASCRIPT), "lookUp", json.dumps({"names": names}), nameserver=SERVER)
    program.end()
    for name in names:
        place.add(*looked_up(program.pid, "node", name), asked(program.pid, "node", name, "A"))


@scenario("musl, and the hosts file")
def musl(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    built = place.directory / "truth-musl"
    subprocess.run(["musl-gcc", "-O1", "-o", built, MUSL], check=True)
    program = place.start(str(built), "-", "musl.test", nameserver=SERVER)  # it has musl mapped when nettop starts
    assert program.hear() == "ready"
    yield
    program.say("go on")
    program.end()
    place.add(*looked_up(program.pid, built.name, "musl.test"))
    for function in ("gethostbyname", "gethostbyname_r"):
        place.add(*looked_up(program.pid, built.name, "musl.test", function, ["A"]))
    other = place.known(place.near.play(lookup_programs.one, nameserver=SERVER, name="localhost", family=2))
    other.end()
    place.add(
        Lookup(
            pid=other.pid, comm=PYTHON, name="localhost", function="getaddrinfo", result="OK", asked=(),
            addresses=("127.0.0.1",),
        )
    )  # fmt: skip


@scenario("dig and c-ares, which look nothing up in the library")
def without_the_library(place: Place) -> Iterator[None]:
    place.dns_server(SERVER)
    yield
    program = place.start("getent", "ahosts", "asked.test", nameserver=SERVER)
    program.end()
    place.add(*looked_up(program.pid, "getent", "asked.test"))
    place.add(*(dug(place, SERVER, "asked.test", "A") for _ in range(3)))
    place.run(talk.ask_by_cares, server=SERVER, qnames=["asked.test"], comm="cares")
