"""What real resolvers ask for one question: their queries are one look-up, and another question is another."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettop.model.snapshot import Snapshot
from nettop.view.lookups import Lookups
from tests.live import programs
from tests.live.lab import Namespace, Program, Watch, dns_of, dnsmasq, namespace

SERVER = "127.0.0.1"
SEARCH_LIST = ("env", "LOCALDOMAIN=shop.svc.test svc.test test", "RES_OPTIONS=ndots:5")  # as in a pod of Kubernetes


@dataclass
class Lab:
    inside: Namespace
    watch: Watch


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Lab]:
    with namespace(directory) as inside:
        records = "--host-record=db.svc.test,192.0.2.10,2001:db8::10"
        dnsmasq(inside, [SERVER], "--local=/#/", records, "--host-record=www.example,192.0.2.11,2001:db8::11")
        with Watch(directory, "--netns", inside.name) as watch:
            yield Lab(inside, watch)
            watch.stop()


def found(snapshot: Snapshot, program: Program) -> list[tuple[str, int]]:
    """What the program looked up, and how many queries that took."""
    lookups = Lookups()
    lookups.read(snapshot.dns)
    own = {lookups.of(row).number: lookups.of(row) for row in dns_of(snapshot, program)}
    return [(lookup.name, len(lookup.queries)) for lookup in own.values()]


@pytest.mark.parametrize(
    ("host", "queries"),
    [
        ("db", 4),  # db.shop.svc.test is not there
        ("gone", 8),  # nor is it under any of the domains, nor alone
        ("www.example", 8),  # it has less than five dots
        ("www.example.", 2),
    ],
)
def test_getaddrinfo_with_a_search_list(lab: Lab, host: str, queries: int) -> None:
    program = lab.inside.play(programs.resolve_often, nameserver=SERVER, prefix=SEARCH_LIST, host=host, times=2)
    program.end()
    snapshot = lab.watch.settled(program, dns=2 * queries)
    assert found(snapshot, program) == [(host.rstrip("."), queries)] * 2


def test_threads_that_ask_at_the_same_time(lab: Lab) -> None:
    program = lab.inside.play(
        programs.resolve_at_once, nameserver=SERVER, prefix=SEARCH_LIST, hosts=["db", "gone", "other", "www.example"]
    )
    program.end()
    snapshot = lab.watch.settled(program, dns=28)
    assert sorted(found(snapshot, program)) == [("db", 4), ("gone", 8), ("other", 8), ("www.example", 8)]


def test_dig_with_a_search_list(lab: Lab) -> None:
    program = lab.inside.start("dig", f"@{SERVER}", "+search", "+domain=svc.test", "db", "A")
    program.end()
    assert found(lab.watch.settled(program, dns=1), program) == [("db.svc.test", 1)]  # nobody knows that it was db
