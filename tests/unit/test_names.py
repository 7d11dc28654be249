"""Which name an address goes by, for whom."""

import time

import pytest

from nettop.model.rows import Answer
from nettop.tracking.names import MAX_OTHERS, Name, NameTable, addresses_of
from tests.builders import CURL, NETNS, NGINX

ADDRESS = "198.51.100.7"
OTHER_NETNS = NETNS + 1


def a(name: str, address: str = ADDRESS) -> Answer:
    return Answer(name=name, type="AAAA" if ":" in address else "A", ttl=60, data=address)


def cname(name: str, target: str) -> Answer:
    return Answer(name=name, type="CNAME", ttl=60, data=target)


def test_own_look_up_comes_before_that_of_another_process() -> None:
    table = NameTable()
    table.learn(CURL, NETNS, "own.example", (a("own.example"),))
    table.learn(NGINX, NETNS, "other.example", (a("other.example"),))
    assert table.find(CURL, NETNS, ADDRESS) == Name("own.example", "process")
    assert table.find(NGINX, NETNS, ADDRESS) == Name("other.example", "process")


@pytest.mark.parametrize("process", [NGINX, None])
def test_the_look_up_of_another_process_is_said_to_be_one(process: object) -> None:
    table = NameTable()
    table.learn(CURL, NETNS, "own.example", (a("own.example"),))
    assert table.find(process, NETNS, ADDRESS) == Name("own.example", "other-process")


def test_what_another_network_namespace_looked_up_means_nothing_here() -> None:
    table = NameTable()
    table.learn(CURL, NETNS, "own.example", (a("own.example"),))
    assert table.find(NGINX, OTHER_NETNS, ADDRESS) is None


def test_the_latest_look_up_wins() -> None:
    table = NameTable()
    for name in ("first.example", "second.example"):
        table.learn(CURL, NETNS, name, (a(name),))
    assert table.find(CURL, NETNS, ADDRESS) == Name("second.example", "process")


def test_an_unknown_address_has_no_name() -> None:
    assert NameTable().find(CURL, NETNS, ADDRESS) is None


def test_the_name_is_the_one_that_was_asked_for() -> None:
    table = NameTable()
    table.learn(CURL, NETNS, "www.example", (cname("www.example", "edge.example"), a("edge.example")))
    assert table.find(CURL, NETNS, ADDRESS) == Name("www.example", "process")


@pytest.mark.parametrize(
    ("answers", "addresses"),
    [
        ((), []),
        ((a("www.example"),), [ADDRESS]),
        ((a("WWW.Example"), a("www.example", "2001:db8::1")), [ADDRESS, "2001:db8::1"]),
        ((cname("www.example", "b.example"), cname("b.example", "c.example"), a("c.example")), [ADDRESS]),
        ((a("c.example"), cname("b.example", "C.example"), cname("WWW.example", "b.example")), [ADDRESS]),
        ((cname("www.example", "www.example"), a("www.example")), [ADDRESS]),
        ((cname("www.example", "b.example"), cname("b.example", "www.example")), []),
        ((a("bank.example"),), []),
        ((cname("bank.example", "c.example"), a("c.example")), []),
        ((Answer(name="www.example", type="TXT", ttl=1, data=ADDRESS),), []),
    ],
    ids=[
        "no answer",
        "direct",
        "any case, both families",
        "chain in order",
        "chain in reverse",
        "alias of itself",
        "loop",
        "record that was not asked for",
        "chain that was not asked for",
        "text",
    ],
)
def test_addresses_at_the_ends_of_the_chain(answers: tuple[Answer, ...], addresses: list[str]) -> None:
    assert addresses_of("www.example", answers) == addresses


def test_the_longest_chain_that_fits_a_message_costs_little() -> None:
    chain = [cname(f"n{number}", f"n{number + 1}") for number in reversed(range(4000))]
    before = time.process_time()
    assert addresses_of("n0", (*chain, a("n4000"))) == [ADDRESS]
    assert time.process_time() - before < 0.5  # 1.2 s with a pass per link, 0.003 s measured


def test_the_oldest_names_make_room_and_are_counted() -> None:
    table = NameTable(capacity=2)
    for number in range(3):
        table.learn(CURL, NETNS, f"n{number}.example", (a(f"n{number}.example", f"192.0.2.{number}"),))
    assert table.find(CURL, NETNS, "192.0.2.0") is None
    assert table.find(CURL, NETNS, "192.0.2.1") == Name("n1.example", "process")
    assert table.evicted == 2  # one in the process's own table, one in that of the network namespace


def test_a_name_that_is_looked_up_again_is_not_the_oldest() -> None:
    table = NameTable(capacity=2)
    for number in (0, 1, 0, 2):
        table.learn(CURL, NETNS, f"n{number}.example", (a(f"n{number}.example", f"192.0.2.{number}"),))
    assert table.find(CURL, NETNS, "192.0.2.0") == Name("n0.example", "process")
    assert table.find(CURL, NETNS, "192.0.2.1") is None


def learned(*names: str) -> NameTable:
    """By others than CURL, in this order."""
    table = NameTable()
    for name in names:
        table.learn(NGINX, NETNS, name, (a(name),))
    return table


def test_names_that_disagree_are_all_kept() -> None:
    assert learned("a.example", "b.example", "c.example", "b.example").find(CURL, NETNS, ADDRESS) == Name(
        "b.example", "other-process", ("c.example", "a.example")
    )
    assert learned("a.example", "A.Example", "a.example").find(CURL, NETNS, ADDRESS) == Name(
        "a.example", "other-process"
    )
    many = learned(*(f"n{number}.example" for number in range(100))).find(CURL, NETNS, ADDRESS)
    assert many is not None
    assert len(many.others) == MAX_OTHERS


def test_of_its_own_names_the_last_is_certain() -> None:
    table = learned("a.example", "b.example")
    assert table.find(NGINX, NETNS, ADDRESS) == Name("b.example", "process")


def test_a_name_that_is_taken_back_leaves_the_others() -> None:
    table = learned("a.example", "b.example", "c.example")
    for taken, left in (("c.example", ("b.example", ("a.example",))), ("b.example", ("a.example", ()))):
        table.forget(NGINX, NETNS, taken, (a(taken),))
        assert table.find(CURL, NETNS, ADDRESS) == Name(left[0], "other-process", left[1])
    table.forget(NGINX, NETNS, "a.example", (a("a.example"),))
    assert table.find(CURL, NETNS, ADDRESS) is None


def test_names_go_with_their_address() -> None:
    table = NameTable(capacity=1)
    for name in ("a.example", "b.example"):
        table.learn(NGINX, NETNS, name, (a(name),))
    table.learn(NGINX, NETNS, "c.example", (a("c.example", "192.0.2.99"),))
    assert table._more == {}
