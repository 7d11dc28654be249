"""Rows put together by what they share, and what is said of a group."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from nettop.model.filter import Filter
from nettop.model.kinds import CONNECTIONS, DNS, HOSTS, KINDS, LISTENERS, PROCESSES, REQUESTS, UDP, Kind
from nettop.model.rows import DnsTotals, Endpoint, Kept, Losses, RemoteEndpoint, TcpTotals
from nettop.model.snapshot import Snapshot
from nettop.view import domains
from nettop.view.columns import Context
from nettop.view.drill import TOP, Lines, Place
from nettop.view.group import Group
from nettop.view.grouping import GROUPINGS, Grouping, grouped, grouping_of, groupings_of, network, route, window
from nettop.view.layout import fit
from nettop.view.panes import PANES
from nettop.view.ranking import sort
from nettop.view.selection import select
from tests import builders
from tests.tui.scene import busy, closed, connection, flow, host, listener, process, query, snapshot


def of(kind: Kind[Any], name: str) -> Grouping:
    found = grouping_of(kind, name)
    assert found is not None
    return found


def groups(kind: Kind[Any], name: str, shown: Snapshot, **changes: Any) -> dict[str, Group[Any]]:
    """By what they are called."""
    return {group.label: group for group in grouped(of(kind, name), kind.rows_of(shown), shown, **changes)}


def cells(group: Group[Any]) -> dict[str, str]:
    """What the screen says of it, by the titles of the columns."""
    context = Context(group.window.now)
    return {column.title: column.text(group, context) for column in group.pane.columns}


def counts(kind: Kind[Any], name: str, shown: Snapshot, **changes: Any) -> dict[str, int]:
    return {label: len(group.rows) for label, group in groups(kind, name, shown, **changes).items()}


@pytest.mark.parametrize("grouping", GROUPINGS, ids=lambda grouping: grouping.pane.name)
def test_every_row_is_in_one_group_and_every_column_says_and_sorts(grouping: Grouping) -> None:
    shown = busy()
    rows = grouping.kind.rows_of(shown)
    found = grouped(grouping, rows, shown)
    assert sorted(id(row) for group in found for row in group.rows) == sorted(map(id, rows))
    assert len({group.key for group in found}) == len(found)
    context = Context(shown.captured_at)
    for column in grouping.pane.columns:
        assert len(column.title) <= column.cells
        assert all(isinstance(column.text(group, context), str) for group in found)
        for descending in (False, True):
            assert sorted(map(id, sort(found, column, descending, context))) == sorted(map(id, found))
        assert grouping.pane.column(grouping.pane.sort)
    assert all(msgspec.json.decode(msgspec.json.encode(group.told()))["group"] == group.label for group in found)


def test_names_differ_within_a_kind_and_every_kind_has_some() -> None:
    for kind in KINDS:
        names = [grouping.name for grouping in groupings_of(kind)]
        assert names
        assert len(set(names)) == len(names)
        assert grouping_of(kind, "nonsense") is None


# DNS

ASKED = snapshot(
    [
        query(1, "curl", "www.example.com", latency_ms=10.0),
        query(2, "curl", "WWW.example.com", latency_ms=30.0, qtype="AAAA"),
        query(3, "chromium", "www.example.com", "NXDOMAIN", latency_ms=50.0),
        query(4, "chromium", "www.example.com", "SERVFAIL", latency_ms=70.0),
        query(5, "chromium", "www.example.com", "timeout", pid=3112),
        query(6, "curl", "www.example.com", "pending"),
        query(55, "curl", "api.example.co.uk", server=Endpoint(address="192.0.2.54", port=5353)),
        query(56, "curl", "api.example.co.uk", status="refused", rcode=None, latency_ms=None),
    ]
)  # fmt: skip


def test_queries_by_name() -> None:
    found = groups(DNS, "name", ASKED)
    assert list(found) == ["www.example.com", "api.example.co.uk"]
    assert cells(found["www.example.com"]) == {
        "NAME": "www.example.com", "COUNT": "6", "/s": "-", "FAILED": "! 3 60%", "NXDOMAIN": "1", "SERVFAIL": "1",
        "TIMEOUT": "1", "P50": "30ms", "MAX": "70ms", "RESENT": "2", "OLDEST": "59.0s", "WHO": "curl, 2 chromium",
    }  # fmt: skip
    assert cells(found["api.example.co.uk"])["/s"] == "0.2"
    assert cells(found["api.example.co.uk"])["WHO"] == "curl[4242]"


def test_queries_by_domain_code_and_server() -> None:
    assert counts(DNS, "domain", ASKED) == {"example.com": 6, "example.co.uk": 2}
    assert counts(DNS, "code", ASKED) == {
        "NOERROR": 3, "NXDOMAIN": 1, "SERVFAIL": 1, "TIMEOUT": 1, "pending": 1, "CLOSED": 1,
    }  # fmt: skip
    assert counts(DNS, "server", ASKED) == {"192.0.2.53": 7, "192.0.2.54:5353": 1}


def test_queries_by_process_and_by_the_unit_that_it_runs_in() -> None:
    units = msgspec.structs.replace(
        ASKED, processes=(process("curl"), process("chromium", container="ab" * 32, container_runtime="docker"))
    )
    assert counts(DNS, "process", units) == {"curl[4242]": 5, "chromium[3111]": 2, "chromium[3112]": 1}
    assert counts(DNS, "unit", units) == {"curl.service": 5, "docker:abababababab": 2, "(none)": 1}


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("www.example.com", "example.com"),
        ("WWW.Example.COM", "example.com"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("shop.s3.amazonaws.com", "amazonaws.com"),  # who is a customer there has not registered it
        ("db.shop.svc.cluster.local", "cluster.local"),
        ("localhost", "localhost"),
        ("co.uk", "co.uk"),
        ("", ""),
        ("a..b", "a..b"),
        ("www.食狮.公司.cn", "食狮.公司.cn"),
    ],
)
def test_the_registered_domain(name: str, domain: str) -> None:
    assert domains.registered_domain(name) == domain


def test_where_the_list_cannot_be_read_the_last_labels_are_marked_as_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "_find", lambda: None)
    domains.registered_domain.cache_clear()
    try:
        assert domains.registered_domain("a.example.co.uk") == "~co.uk"
        assert domains.registered_domain("localhost") == "~localhost"
    finally:
        domains.registered_domain.cache_clear()


SEARCHED = snapshot(
    [
        *(query(1 + step, "curl", f"db.{domain}", "NXDOMAIN", asked_at=builders.at(1 + step / 100), latency_ms=2.0,
                qtype=qtype, txid=step)
          for step, (domain, qtype) in enumerate([("a.b", "A"), ("a.b", "AAAA"), ("b", "A"), ("b", "AAAA")])),
        query(5, "curl", "db", asked_at=builders.at(1.04), latency_ms=2.0, attempts=2, txid=9),
        query(6, "curl", "db", "SERVFAIL", latency_ms=1.0, txid=10),
        query(7, "curl", "www.example.com", "pending"),
    ]
)  # fmt: skip


def test_look_ups_one_by_one() -> None:
    found = grouped(of(DNS, "look-up"), SEARCHED.dns, SEARCHED)
    assert [cells(group) for group in found][:2] == [
        {
            "LOOK-UP": "db", "TIME": cells(found[0])["TIME"], "QUERIES": "6", "WASTED": "4", "NAMES": "3",
            "RESULT": "NOERROR", "TOOK": "42ms", "WHO": "curl[4242]",
        },
        {
            "LOOK-UP": "db", "TIME": cells(found[1])["TIME"], "QUERIES": "1", "WASTED": "-", "NAMES": "1",
            "RESULT": "! SERVFAIL", "TOOK": "1.00ms", "WHO": "curl[4242]",
        },
    ]  # fmt: skip
    assert cells(found[2])["RESULT"] == "pending"


def test_look_ups_by_what_was_looked_up() -> None:
    found = groups(DNS, "looked-up", SEARCHED)
    assert list(found) == ["db", "www.example.com"]
    said = cells(found["db"])
    assert [said[title] for title in ("LOOKUPS", "QUERIES", "EACH", "WASTED", "FAILED", "P50", "MAX")] == [
        "2", "7", "3.5", "4", "! 1 50%", "1.00ms", "42ms",
    ]  # fmt: skip
    assert cells(found["www.example.com"])["FAILED"] == "-"


def test_what_comes_of_a_look_up_is_the_best_of_its_answers() -> None:
    def result(*results: str) -> tuple[str, str]:
        asked = [query(1, "curl", "www.example.com", each, id=number, qtype=f"TYPE{number}", asked_at=builders.at(1))
                 for number, each in enumerate(results, 1)]  # fmt: skip
        shown = snapshot(asked)
        (single,) = grouped(of(DNS, "look-up"), asked, shown)
        return cells(single)["RESULT"], cells(groups(DNS, "looked-up", shown)["www.example.com"])["FAILED"]

    assert result("SERVFAIL", "NOERROR", "timeout") == ("NOERROR", "-")
    assert result("timeout", "SERVFAIL", "NXDOMAIN") == ("! NXDOMAIN", "! 1 100%")
    assert result("timeout", "SERVFAIL") == ("! SERVFAIL", "! 1 100%")
    assert result("timeout", "pending") == ("pending", "-")
    pending = snapshot([query(1, "curl", "x", "pending"), query(2, "curl", "x", "NXDOMAIN")])
    assert cells(groups(DNS, "looked-up", pending)["x"])["FAILED"] == "! 1 100%"  # of those that are decided


def test_the_case_of_letters_makes_no_other_name() -> None:
    shown = snapshot(
        [query(1, "curl", "x.example"), query(2, "curl", "X.example", qtype="AAAA", asked_at=builders.at(1))]
    )
    (single,) = grouped(of(DNS, "look-up"), shown.dns, shown)
    assert cells(single)["NAMES"] == "1"


def test_a_filter_leaves_rows_out_of_a_look_up_but_does_not_split_it() -> None:
    failed = [row for row in SEARCHED.dns if row.failed]
    found = grouped(of(DNS, "look-up"), failed, SEARCHED)
    assert [(group.label, len(group.rows)) for group in found] == [("db", 4), ("db", 1)]


# Rates


def test_a_rate_is_of_the_last_ten_seconds_or_of_what_is_known_of_them() -> None:
    asked = [query(number, "curl", "x", asked_at=builders.at(50.5 + number / 10)) for number in range(1, 91)]
    assert cells(groups(DNS, "name", snapshot(asked))["x"])["/s"] == "9.0"
    young = snapshot(asked, seconds=60.0, started_at=builders.at(58))
    assert cells(groups(DNS, "name", young)["x"])["/s"] == "8.0"
    evicting = snapshot(asked[-40:], losses=Losses(evicted={"dns": 50}))  # those are of 4.4 s
    assert window(DNS, evicting).seconds == pytest.approx(4.4)
    assert cells(groups(DNS, "name", evicting)["x"])["/s"] == "9.1"


def test_failures_that_have_outlived_other_rows_make_neither_rates_nor_shares() -> None:
    failed = [query(number, "curl", "x", rcode="SERVFAIL", asked_at=builders.at(number)) for number in (20, 58)]
    fine = [query(number, "curl", name, asked_at=builders.at(57)) for number, name in ((1, "x"), (2, "y"))]
    young = [query(9, "curl", "z", rcode="SERVFAIL", asked_at=builders.at(59))]
    kept = {"dns": Kept(complete_since=builders.at(56), lasting=1, lasting_since=builders.at(15))}
    shown = snapshot([failed[0], *fine, failed[1], *young], kept=kept, losses=Losses(evicted={"dns": 50}))
    assert window(DNS, shown).since == builders.at(56)
    by_name = {name: cells(group) for name, group in groups(DNS, "name", shown).items()}
    assert {name: line["FAILED"] for name, line in by_name.items()} == {"x": "! 2", "y": "-", "z": "! 1 100%"}
    assert by_name["x"]["/s"] == "0.5"  # two in 4 s


def test_connections_make_room_in_the_order_in_which_they_end() -> None:
    lasting = connection(1, "curl", None, opened_at=builders.at(2))
    ended = [closed(number, "curl", None, closed_at=builders.at(number + 1)) for number in (54, 55, 57, 58)]
    shown = snapshot(connections=[lasting, *ended], losses=Losses(evicted={"connections": 9}))
    assert window(CONNECTIONS, shown).since == builders.at(55)
    assert cells(groups(CONNECTIONS, "process", shown)["curl[4242]"])["/s"] == "0.6"  # three in 5 s
    assert window(HOSTS, shown).seconds == 10


def test_a_snapshot_of_no_time_at_all_has_no_rates() -> None:
    shown = snapshot([query(1, "curl", "x", asked_at=builders.BASE)], seconds=0.0)
    assert cells(groups(DNS, "name", shown)["x"])["/s"] == "-"


# Connections


def test_connections_by_host_are_called_by_the_name_that_their_owners_looked_up() -> None:
    def to(number: int, name: str | None, source: Any = "process") -> Any:
        far = RemoteEndpoint(address="198.51.100.1", port=443, name=name, name_source=source if name else None)
        return connection(number, "curl", None, remote=far)

    def labels(*connections: Any, **changes: Any) -> list[str]:
        return list(groups(CONNECTIONS, "host", snapshot(connections=connections), **changes))

    assert labels(to(1, "a.example"), to(2, "a.example"), to(3, None)) == ["a.example 198.51.100.1"]
    assert labels(to(1, "a.example"), to(2, "a.example"), names=False) == ["198.51.100.1"]
    assert labels(to(1, "a.example"), to(2, "b.example")) == ["(2 names) 198.51.100.1"]
    assert labels(to(1, "a.example", "other-process")) == ["198.51.100.1"]


def test_connections_by_the_port_of_the_service() -> None:
    def through(number: int, direction: Any, local: int, remote: int) -> Any:
        return connection(
            number, "nginx", None, direction=direction, local=Endpoint(address="192.0.2.1", port=local),
            remote=RemoteEndpoint(address="198.51.100.1", port=remote),
        )  # fmt: skip

    shown = snapshot(
        connections=[
            through(1, "inbound", 443, 50_000), through(2, "outbound", 50_001, 443), through(3, "unknown", 443, 50_002),
            through(4, "unknown", 50_003, 5432),
        ],
        listeners=[listener(1, "nginx", port=443), listener(2, "nginx", port=50_003, closed=True)],
    )  # fmt: skip
    assert counts(CONNECTIONS, "port", shown) == {":443 here": 2, ":443 there": 1, ":5432 ?": 1}


def test_what_is_said_of_connections() -> None:
    shown = snapshot(
        connections=[
            connection(1, "curl", None, tx_bytes=1000, rx_bytes=24, tx_bytes_per_s=500.0, retransmits=2),
            connection(2, "curl", None, tx_bytes=1024, state="close-wait", opened_before_start=True, opened_at=None),
            closed(3, "curl", None, "refused"),
            closed(58, "curl", None, connect_ms=75.0),
        ]
    )
    said = cells(groups(CONNECTIONS, "process", shown)["curl[4242]"])
    assert said == {
        "PROCESS": "curl[4242]", "COUNT": "4", "OPEN": "2", "/s": "0.1", "FAILED": "! 1 25%", "CLOSEWAIT": "1",
        "TX": "2.0K", "RX": "24B", "TX/s": "500B", "RX/s": "-", "CONN50": "25ms", "CONNMAX": "75ms", "RTX": "2",
        "OLDEST": ">1m00s",
    }  # fmt: skip
    assert counts(CONNECTIONS, "state", shown) == {"established": 1, "close-wait": 1, "closed": 2}
    assert counts(CONNECTIONS, "end", shown) == {"(open)": 2, "refused": 1, "normal": 1}


def test_groups_of_nothing_but_ended_rows_are_ended() -> None:
    shown = snapshot(connections=[connection(1, "curl", None), closed(2, "curl", None), closed(3, "chromium", None)])
    found = groups(CONNECTIONS, "process", shown)
    assert [group.pane.is_over(group) for group in found.values()] == [False, True]
    queries = groups(DNS, "name", snapshot([query(1, "curl", "x", "SERVFAIL")]))
    assert [group.pane.is_over(group) for group in queries.values()] == [False]


@pytest.mark.parametrize(("kind", "name"), [(DNS, "name"), (CONNECTIONS, "host"), (UDP, "host")])
def test_names_of_groups_are_whole_on_a_narrow_terminal(kind: Kind[Any], name: str) -> None:
    widths = {column.key: cells for column, cells in fit(of(kind, name).pane.columns, 79)}
    assert widths["group"] >= len("payments.corp.example.com")
    assert {"count", "who"} < set(widths)


def test_what_is_older_than_nettop_is_the_oldest() -> None:
    first = connection(1, "curl", None, opened_at=builders.BASE)
    older = connection(2, "nginx", None, opened_before_start=True, opened_at=None)
    shown = snapshot(connections=[first, older])
    by_process = of(CONNECTIONS, "process")
    found = grouped(by_process, shown.connections, shown)
    ordered = sort(found, by_process.pane.column("oldest"), True, Context(shown.captured_at))
    assert [group.label for group in ordered] == ["nginx[900]", "curl[4242]"]
    assert [cells(group)["OLDEST"] for group in ordered] == [">1m00s", "1m00s"]
    told = [group.told() for group in ordered]
    assert [(each["oldest"], each["oldest_at_least"]) for each in told] == [(60_000.0, True), (60_000.0, False)]


def test_who_has_most_rows_comes_first() -> None:
    shown = snapshot([query(1, "curl", "x"), query(2, "nginx", "x"), query(3, "nginx", "x")])
    assert cells(groups(DNS, "name", shown)["x"])["WHO"] == "nginx, curl"


# The others


def test_processes() -> None:
    shown = snapshot(
        processes=[
            process("curl", tx_bytes_per_s=100.0, rx_bytes=5, tcp=TcpTotals(active=2, failed=1), leaking=1),
            process("curl", pid=4243, user="root", uid=0, dns=DnsTotals(queries=3, failed=1, timeouts=1)),
            process("nginx", parent_pid=4243),
            process("nginx", pid=901, parent_pid=None),
        ]
    )
    assert counts(PROCESSES, "comm", shown) == {"curl": 2, "nginx": 2}
    assert counts(PROCESSES, "user", shown) == {"ada": 1, "root": 1, "www-data": 2}
    assert counts(PROCESSES, "unit", shown) == {"curl.service": 2, "nginx.service": 2}
    assert counts(PROCESSES, "parent", shown) == {"-[4000]": 2, "curl[4243]": 1, "(unknown)": 1}
    said = cells(groups(PROCESSES, "comm", shown)["curl"])
    assert [said[title] for title in ("COUNT", "TX/s", "RX", "CONN", "LEAK", "FAIL", "DNS", "DNSFAIL", "WHO")] == [
        "2", "100B", "5B", "2", "1", "! 1", "3", "! 2", "2 curl",
    ]  # fmt: skip


def test_listeners() -> None:
    shown = snapshot(
        listeners=[
            listener(1, "nginx", port=443, queue=3, queue_limit=2, accepted=None, accepted_per_s=None, drops=4),
            listener(2, "nginx", port=443, accepted=7, accepted_per_s=2.5, open=None),
            listener(3, "unbound", port=53),
        ]
    )
    assert counts(LISTENERS, "process", shown) == {"nginx[900]": 2, "unbound[612]": 1}
    said = cells(groups(LISTENERS, "port", shown)["443"])
    assert [said[title] for title in ("COUNT", "QUEUE", "FULL", "DROPS", "ACCEPTED", "ACCEPT/s", "OPEN")] == [
        "2", "3", "! 1", "4", "7", "2.5", "-",
    ]  # fmt: skip


def test_hosts() -> None:
    shown = snapshot(
        hosts=(
            host("10.0.0.1", "curl", scope="private", srtt_ms=1.0, rx_bytes=2048),
            host("10.0.0.200", "nginx", scope="private", srtt_ms=3.0),
            host("10.0.1.1", None, scope="private"),
            host("2001:db8::1", "curl", scope="public", unwanted_packets=3),
        )
    )
    assert counts(HOSTS, "scope", shown) == {"private": 3, "public": 1}
    assert counts(HOSTS, "network", shown) == {"10.0.0.0/24": 2, "10.0.1.0/24": 1, "2001:db8::/64": 1}
    said = cells(groups(HOSTS, "network", shown)["10.0.0.0/24"])
    assert [said[title] for title in ("COUNT", "RX", "SRTT50", "SRTTMAX", "WHO")] == [
        "2", "2.0K", "1.00ms", "3.00ms", "curl, nginx",
    ]  # fmt: skip
    assert cells(groups(HOSTS, "network", shown)["10.0.1.0/24"])["WHO"] == "-"


def test_a_network_of_what_is_no_address_is_the_text_itself() -> None:
    assert network("nonsense") == "nonsense"


def test_udp_flows() -> None:
    shown = snapshot(
        udp=(
            flow(1, "unbound", "192.0.2.53", 53, rx_bytes=900, tx_packets=4),
            flow(2, "chromium", "192.0.2.53", 443, rx_dropped=1, closed=True),
            flow(3, "chromium", None, 0, socket=2, tx_packets=None),
        )
    )
    assert counts(UDP, "host", shown) == {"192.0.2.53": 2, "(others)": 1}
    assert counts(UDP, "process", shown) == {"unbound[612]": 1, "chromium[3111]": 2}
    said = cells(groups(UDP, "host", shown)["192.0.2.53"])
    assert [said[title] for title in ("COUNT", "OPEN", "RX", "TXPKT", "DROPS", "WHO")] == [
        "2", "1", "900B", "4", "! 1", "unbound, chromium",
    ]  # fmt: skip


def test_a_group_has_the_pid_and_the_comm_that_all_its_rows_have() -> None:
    found = groups(DNS, "name", ASKED)
    assert (found["api.example.co.uk"].pid, found["api.example.co.uk"].comm) == (4242, "curl")
    assert (found["www.example.com"].pid, found["www.example.com"].comm) == (None, None)
    chromium = groups(DNS, "code", ASKED)["TIMEOUT"]
    assert (chromium.pid, chromium.comm) == (3112, "chromium")


# Going into groups

DNS_PANE = next(pane for pane in PANES if pane.kind is DNS)


def lines_at(place: Place, rows: Sequence[Any] = ASKED.dns, shown: Snapshot = ASKED) -> Sequence[Any]:
    return Lines(DNS_PANE).lines(place, rows, shown, True)


def test_into_a_group_and_one_level_back_at_a_time() -> None:
    by_name, by_code = of(DNS, "name"), of(DNS, "code")
    place = TOP.by(by_name)
    names = {group.label: group for group in lines_at(place)}
    inside = place.into(names["www.example.com"])
    assert [row.id for row in lines_at(inside)] == [1, 2, 3, 4, 5, 6]
    codes = inside.by(by_code)
    assert codes.crumbs == "by name > www.example.com by code"
    noerror = codes.into(next(iter(lines_at(codes))))
    assert noerror.crumbs == "by name > www.example.com by code > NOERROR"
    assert [row.id for row in lines_at(noerror)] == [1, 2]
    back = [noerror, codes, inside, place, TOP]
    for here, there in zip(back, [*back[1:], TOP], strict=True):
        assert here.out() == there
    assert TOP.into(names["www.example.com"]) == TOP  # there are no groups to go into


def test_the_groupings_take_turns_but_for_those_that_one_has_gone_into() -> None:
    every = groupings_of(DNS)
    place, seen = TOP, []
    for _ in range(len(every) + 1):
        place = place.next(every)
        seen.append(place.grouping)
    assert seen == [*every, None]
    inside = TOP.by(every[0]).into(grouped(every[0], ASKED.dns, ASKED)[0])
    assert inside.next(every).grouping is every[1]
    assert every[0] not in inside.offered(every)


def test_a_filter_comes_before_the_groups() -> None:
    rows = select(DNS_PANE, ASKED.dns, Filter("dns:failed"), True, Context(ASKED.captured_at))
    assert {group.label: len(group.rows) for group in lines_at(TOP.by(of(DNS, "name")), rows)} == {
        "www.example.com": 3, "api.example.co.uk": 1,
    }  # fmt: skip


def test_the_same_rows_are_put_together_once() -> None:
    lines, place, context = Lines(DNS_PANE), TOP.by(of(DNS, "name")), Context(ASKED.captured_at)
    rows = list(ASKED.dns)
    found = lines.lines(place, rows, ASKED, True)
    assert lines.lines(place, rows, ASKED, True) is found
    assert lines.lines(place, rows, ASKED, False) is not found
    column = of(DNS, "name").pane.column("count")
    ordered = lines.sort(place, found, column, True, context)
    assert [group.label for group in ordered] == ["www.example.com", "api.example.co.uk"]
    assert lines.sort(place, found, column, True, context) is ordered
    assert next(group.label for group in lines.sort(place, found, column, False, context)) == "api.example.co.uk"


def test_a_group_that_has_gone_leaves_no_rows() -> None:
    place = TOP.by(of(DNS, "name"))
    inside = place.into(lines_at(place)[0])
    later = snapshot([query(9, "curl", "other.example")], seconds=61.0)
    assert lines_at(inside, later.dns, later) == []


def test_crumbs_are_short() -> None:
    long = snapshot([query(1, "curl", f"{'a' * 60}.example.com")])
    place = TOP.by(of(DNS, "name"))
    assert len(place.into(lines_at(place, long.dns, long)[0]).crumbs) < 70


def test_the_window_ends_with_the_snapshot() -> None:
    shown = snapshot(losses=Losses(evicted={"dns": 1}), dns=[query(1, "curl", "x", asked_at=builders.at(90))])
    assert window(DNS, shown).seconds == 0
    assert window(DNS, shown).now - shown.captured_at == timedelta(0)


def test_what_failed_counts_is_said_where_it_differs() -> None:
    """A connection that was reset failed, but its connect() did not: the column has one title and two meanings."""
    reset = closed(1, "curl", None, "reset-by-peer", connect_ms=25.0)
    assert (reset.failed, reset.failed_to_connect) == (True, False)
    meanings = {
        grouping.pane.column("failed").meaning
        for grouping in GROUPINGS
        if grouping.kind in (CONNECTIONS, PROCESSES, HOSTS)
    }
    of_rows = {pane.column("failed").meaning for pane in PANES if pane.kind in (PROCESSES, HOSTS)}
    assert len(meanings) == 2
    assert of_rows == {each for each in meanings if "never established" in each}
    assert [each for each in meanings if "closing" in each] == list(meanings - of_rows)


@pytest.mark.parametrize(
    ("path", "folded"),
    [
        ("/users/17/orders", "/users/*/orders"),
        ("/v1/items", "/v1/items"),
        ("/objects/550e8400-e29b-41d4-a716-446655440000", "/objects/*"),
        ("/blobs/9f86d081884c7d65", "/blobs/*"),
        ("/sessions/eyJhbGciOiJIUzI1NiIsInR5cCI6", "/sessions/*"),
        ("/deadbeef/accessibility-statement", "/deadbeef/accessibility-statement"),
        ("/", "/"),
    ],
)
def test_a_path_is_folded_where_it_has_ids(path: str, folded: str) -> None:
    assert route(path) == folded


def test_requests_by_path_have_percentiles() -> None:
    shown = replace(
        snapshot(),
        requests=tuple(
            builders.request(
                id=number,
                path=f"/users/{number}",
                latency_ms=float(number),
                status=500 if number > 98 else 200,
                retry_of=1 if number > 97 else None,
            )
            for number in range(1, 101)
        ),
    )
    assert counts(REQUESTS, "path", shown) == {"/users/*": 100}
    assert counts(REQUESTS, "protocol", shown) == {"http/1.1": 100}
    said = cells(groups(REQUESTS, "path", shown)["/users/*"])
    assert (said["P50"], said["P95"], said["P99"]) == ("50ms", "95ms", "99ms")
    assert (said["5XX"], said["FAILED"], said["AGAIN"]) == ("2", "! 2 2%", "3")
