"""Which queries one question of a program has caused."""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettop.model.rows import Answer, DnsQuery, Endpoint
from nettop.view.lookups import MAX_QUERIES, Lookups, answered_at
from tests import builders

SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")
OTHER_SERVER = Endpoint(address="192.0.2.54", port=53)


def asked(second: float, qname: str, qtype: str = "A", result: str = "NOERROR", **changes: Any) -> DnsQuery:
    """A query of curl's, answered after 1 ms from a socket for each name; `result` may be a status."""
    fields: dict[str, Any] = {
        "id": 1, "asked_at": builders.at(second), "qname": qname, "qtype": qtype, "latency_ms": 1.0,
        "txid": crc32(f"{second} {qname} {qtype}".encode()) % 65_536,
        "client": Endpoint(address="192.0.2.10", port=40_000),
    }  # fmt: skip
    if result in ("pending", "timeout", "refused"):
        return builders.dns_query(**fields | {"status": result, "latency_ms": None} | changes)
    answers = (Answer(name=qname, type=qtype, ttl=60, data="198.51.100.1"),) if result == "NOERROR" else ()
    return builders.answered(**fields | {"rcode": result, "answers": answers} | changes)


def numbered(queries: Sequence[DnsQuery]) -> list[DnsQuery]:
    return [msgspec.structs.replace(query, id=number) for number, query in enumerate(queries, 1)]


def folded(*queries: DnsQuery) -> list[tuple[str, int]]:
    """What was looked up, and how many queries that took, in the order of their first ones."""
    rows = numbered(queries)
    lookups = Lookups()
    lookups.read(rows)
    found = {lookups.of(row).number: lookups.of(row) for row in rows}
    return [(lookup.name, len(lookup.queries)) for lookup in found.values()]


def both(second: float, qname: str, result: str = "NOERROR", **changes: Any) -> list[DnsQuery]:
    return [asked(second, qname, qtype, result, **changes) for qtype in ("A", "AAAA")]


def test_both_types_of_a_name_are_one_look_up() -> None:
    assert folded(*both(1, "www.example.com"), *both(60, "www.example.com")) == [("www.example.com", 2)] * 2


def test_the_second_type_may_follow_the_first_answer_but_not_much_later() -> None:
    slow = asked(1, "www.example.com", latency_ms=3000.0)
    assert folded(slow, asked(4.5, "www.example.com", "AAAA")) == [("www.example.com", 2)]
    assert folded(slow, asked(5.5, "www.example.com", "AAAA")) == [("www.example.com", 1)] * 2


def test_a_search_list_is_one_look_up_of_what_the_program_asked_for() -> None:
    steps = [query for step, domain in enumerate(SEARCH) for query in both(1 + step / 100, f"db.{domain}", "NXDOMAIN")]
    assert folded(*steps, *both(1.1, "db")) == [("db", 8)]


def test_the_search_ends_where_records_come() -> None:
    first = both(1, f"db.{SEARCH[0]}", "NXDOMAIN")
    assert folded(*first, *both(1.01, f"db.{SEARCH[1]}")) == [("db", 4)]
    assert folded(*first, *both(1.01, f"db.{SEARCH[1]}"), *both(1.02, f"db.{SEARCH[2]}")) == [
        ("db", 4), (f"db.{SEARCH[2]}", 2),
    ]  # fmt: skip


def test_a_name_with_dots_is_asked_for_as_it_is_first() -> None:
    assert folded(
        asked(1, "api.example.org", result="NXDOMAIN"), asked(1.01, "api.example.org.corp.example", result="NXDOMAIN")
    ) == [("api.example.org", 2)]


def test_a_name_without_records_of_one_type_goes_on_too() -> None:
    nothing = asked(1, f"db.{SEARCH[0]}", answers=())
    assert folded(nothing, asked(1.01, f"db.{SEARCH[1]}")) == [("db", 2)]


def test_an_alias_of_a_name_that_does_not_exist_is_no_record() -> None:
    alias = Answer(name="db.example.com", type="CNAME", ttl=60, data="gone.example.com")
    assert folded(asked(1, "db.example.com", result="NXDOMAIN", answers=(alias,)), asked(1.01, "db")) == [("db", 2)]


def test_the_search_goes_on_after_a_time_out_but_not_after_an_answer_of_long_ago() -> None:
    silent = asked(1, f"db.{SEARCH[0]}", result="timeout")
    assert folded(silent, asked(11, f"db.{SEARCH[1]}")) == [("db", 2)]
    assert len(folded(silent, asked(17, f"db.{SEARCH[1]}"))) == 2
    assert len(folded(asked(1, f"db.{SEARCH[0]}", result="NXDOMAIN"), asked(3, f"db.{SEARCH[1]}"))) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("www.example.com", "www.example.net"),  # somebody who tries names, without a search list
        ("www.example.com", "mail.example.com"),
        ("www.example.com", "wwwx"),
        ("a.example.com", "example.com"),  # climbs the tree
    ],
)
def test_names_that_no_search_list_makes_stay_apart(one: str, other: str) -> None:
    assert folded(asked(1, one, result="NXDOMAIN"), asked(1.01, other)) == [(one, 1), (other, 1)]


def test_a_name_that_exists_is_not_the_beginning_of_a_search() -> None:
    assert len(folded(asked(1, "db"), asked(1.01, "db.example.com"))) == 2


def test_a_query_that_is_still_without_an_answer_is_not_the_beginning_of_a_search() -> None:
    assert len(folded(asked(1, "db", latency_ms=500.0, result="NXDOMAIN"), asked(1.01, "db.example.com"))) == 2


def test_the_same_message_to_another_server_is_the_same_look_up() -> None:
    silent = asked(1, "www.example.com", result="timeout", txid=7)
    assert folded(silent, asked(6, "www.example.com", txid=7, server=OTHER_SERVER)) == [("www.example.com", 2)]


def test_a_new_message_after_a_time_out_is_the_same_look_up_but_not_after_two() -> None:
    silent = asked(1, "www.example.com", result="timeout", txid=7)
    assert folded(silent, asked(6, "www.example.com", txid=8)) == [("www.example.com", 2)]
    assert (
        len(folded(silent, asked(11, "www.example.com", txid=8))) == 2
    )  # getaddrinfo() has failed, and is called again
    assert len(folded(silent, asked(1.1, "www.example.com", txid=8))) == 2  # another thread


def test_an_error_of_a_server_makes_the_resolver_ask_the_next_one() -> None:
    broken = asked(1, "www.example.com", result="SERVFAIL", txid=7)
    assert folded(broken, asked(1.01, "www.example.com", txid=8, server=OTHER_SERVER)) == [("www.example.com", 2)]
    assert folded(broken, asked(1.01, "www.example.com", txid=7)) == [("www.example.com", 2)]
    assert len(folded(broken, asked(1.01, "www.example.com", txid=8))) == 2  # the program asks again itself


def test_who_asks_again_after_an_answer_looks_it_up_again() -> None:
    assert len(folded(asked(1, "www.example.com", txid=7), asked(1.01, "www.example.com", txid=7))) == 2


def test_a_truncated_answer_is_fetched_over_tcp() -> None:
    cut = asked(1, "www.example.com", truncated=True, answers=())
    assert folded(cut, asked(1.01, "www.example.com", transport="tcp")) == [("www.example.com", 2)]
    assert len(folded(cut, asked(1.01, "www.example.com"))) == 2


def test_processes_and_network_namespaces_stay_apart() -> None:
    one, other = both(1, "www.example.com")
    for changes in ({"pid": 9}, {"process_start_time": builders.at(0)}, {"netns": 9}):
        assert len(folded(one, msgspec.structs.replace(other, **changes))) == 2


def test_two_threads_at_once_are_told_apart_by_their_sockets() -> None:
    sockets = [Endpoint(address="192.0.2.10", port=port) for port in (40_001, 40_002)]
    rows = numbered([asked(1 + at / 1000, "www.example.com", qtype, client=sockets[thread], latency_ms=50.0)
                     for at, (thread, qtype) in enumerate([(0, "A"), (1, "A"), (0, "AAAA"), (1, "AAAA")])])  # fmt: skip
    lookups = Lookups()
    lookups.read(rows)
    assert [lookups.of(row).number for row in rows] == [1, 2, 1, 2]


def test_names_are_compared_without_regard_to_case() -> None:
    assert folded(asked(1, "WWW.example.COM"), asked(1, "www.Example.com", "AAAA")) == [("www.example.com", 2)]


def test_queries_whose_name_is_unknown_stay_apart() -> None:
    unparsed = [msgspec.structs.replace(query, qname=None) for query in both(1, "x")]
    assert folded(*unparsed) == [("", 1), ("", 1)]


def test_what_came_of_the_one_before_is_looked_up_when_the_next_one_comes() -> None:
    pending, after = numbered([asked(1, "db.example.com", result="pending"), asked(11, "db")])
    silent = msgspec.structs.replace(pending, status="timeout")
    lookups = Lookups()
    lookups.read([pending])
    lookups.read([silent, after])
    assert lookups.of(after) is lookups.of(silent)
    assert lookups.of(after).name == "db"


def test_what_was_decided_stays() -> None:
    rows = numbered([*both(1, "www.example.com"), *both(2, "db.example.com", "NXDOMAIN"), *both(2.01, "db")])
    whole, bit_by_bit = Lookups(), Lookups()
    whole.read(rows)
    for end in range(1, len(rows) + 1):
        bit_by_bit.read(rows[:end])
    assert [whole.of(row).number for row in rows] == [bit_by_bit.of(row).number for row in rows] == [1, 1, 3, 3, 3, 3]
    bit_by_bit.read(rows[:1])  # a replay that went back
    bit_by_bit.read(rows)
    assert [bit_by_bit.of(row).number for row in rows] == [1, 1, 3, 3, 3, 3]
    assert [len(bit_by_bit.of(row).queries) for row in rows] == [2, 2, 4, 4, 4, 4]


def test_a_look_up_has_an_end_and_what_was_evicted_is_forgotten() -> None:
    rows = numbered([asked(1 + at / 1000, "x", txid=7, result="pending") for at in range(MAX_QUERIES + 10)])
    assert folded(*rows) == [("x", MAX_QUERIES), ("x", 10)]
    many = numbered([asked(at, f"host{at}.example.com") for at in range(40_000)])
    lookups = Lookups()
    lookups.read(many)
    lookups.read(many[-10:])
    assert len(lookups._of) == 10
    assert len(lookups._asking) < 20_000


def test_what_was_asked_before_does_not_belong_to_what_came_later() -> None:
    assert len(folded(asked(5, "x"), asked(4.9, "x", "AAAA"))) == 2  # as in a recording whose rows are in no order


def test_what_a_query_says_of_its_look_up_overrules_every_rule() -> None:
    """A watch with --lookups knows which look-up sent it."""
    rows = numbered(
        [
            asked(1, "db.shop.svc.cluster.local", result="NXDOMAIN", lookup_id=7),
            asked(1, "db.shop.svc.cluster.local", result="NXDOMAIN", lookup_id=8),  # another thread, at the same time
            asked(9, "db.svc.cluster.local", lookup_id=7),
            asked(9.1, "db.svc.cluster.local", "AAAA"),  # of a program that asks without its library
        ]
    )
    lookups = Lookups()
    lookups.read(rows, {7: "DB"})
    assert [lookups.of(row).number for row in rows] == [1, 2, 1, 4]
    assert [lookups.of(row).name for row in rows] == [
        "db", "db.shop.svc.cluster.local", "db", "db.svc.cluster.local",
    ]  # fmt: skip


def test_a_recording_may_say_anything() -> None:
    endless = asked(1, "x", latency_ms=1e15)
    assert answered_at(endless) is None
    rows = [*numbered([endless, asked(0.5, "x"), asked(2, "")])[::-1], *numbered([endless])]
    lookups = Lookups()
    lookups.read(rows)
    assert [lookups.of(row).name for row in rows] == ["", "x", "x", "x"]


@given(
    st.lists(
        st.tuples(
            st.floats(0, 20), st.sampled_from(["db", "db.a.b", "db.b", "x.db", ""]), st.sampled_from(["A", "AAAA"]),
            st.sampled_from(["NOERROR", "NXDOMAIN", "SERVFAIL", "pending", "timeout"]), st.integers(0, 1),
        ),
        max_size=30,
    )
)  # fmt: skip
def test_every_query_is_in_one_look_up(queries: list[tuple[float, str, str, str, int]]) -> None:
    rows = numbered([asked(at, name, kind, result, txid=txid) for at, name, kind, result, txid in sorted(queries)])
    lookups = Lookups()
    lookups.read(rows)
    members = {lookups.of(row).number: lookups.of(row).queries for row in rows}
    assert sorted(query.id for queries in members.values() for query in queries) == [row.id for row in rows]
    for lookup in map(lookups.of, rows):
        assert all((query.qname or "").startswith(lookup.name) for query in lookup.queries)
