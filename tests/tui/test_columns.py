"""Columns: what fits, what a cell says, what sorts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from nettop.model import rows
from nettop.model.owners import Owners
from nettop.tui.table import cell
from nettop.view.columns import (
    CONNECTION_COLUMNS,
    DNS_COLUMNS,
    GAP_CELLS,
    LISTENER_COLUMNS,
    PROCESS_COLUMNS,
    Column,
    Context,
    fit,
)
from nettop.view.panes import PANES, sort
from tests import builders
from tests.tui.scene import busy

NOW = Context(builders.at(60))
ALL: list[tuple[Column[Any], ...]] = [DNS_COLUMNS, CONNECTION_COLUMNS, PROCESS_COLUMNS, LISTENER_COLUMNS]


def said(column: str, row: Any, context: Context = NOW) -> str:
    columns: tuple[Column[Any], ...] = (
        DNS_COLUMNS
        if isinstance(row, rows.DnsQuery)
        else CONNECTION_COLUMNS
        if isinstance(row, rows.Connection)
        else PROCESS_COLUMNS
    )
    return next(known for known in columns if known.key == column).text(row, context)


@pytest.mark.parametrize("columns", ALL)
@pytest.mark.parametrize("width", range(1, 300))
def test_columns_are_never_wider_than_the_terminal(columns: tuple[Column[Any], ...], width: int) -> None:
    fitted = fit(columns, width)
    used = sum(cells for _, cells in fitted) + GAP_CELLS * (len(fitted) - 1)
    assert used <= width
    assert all(cells >= 1 for _, cells in fitted)
    if width >= 40:
        assert used == width  # nothing is left unused


@pytest.mark.parametrize("columns", ALL)
def test_the_less_important_go_first_and_the_order_stays(columns: tuple[Column[Any], ...]) -> None:
    before = [column.key for column, _ in fit(columns, 400)]
    assert before == [column.key for column in columns]
    for width in range(399, 0, -1):
        now = [column for column, _ in fit(columns, width)]
        keys = [column.key for column in now]
        assert keys == [key for key in before if key in keys]
        dropped = [column for column in columns if column.key not in keys]
        if dropped:
            assert max(column.priority for column in now) <= min(column.priority for column in dropped)
        before = keys


def shown_at(columns: tuple[Column[Any], ...], width: int) -> list[str]:
    return [column.key for column, _ in fit(columns, width - 1)]


def test_what_80_cells_show() -> None:
    assert shown_at(DNS_COLUMNS, 80) == ["time", "pid", "comm", "name", "type", "result", "latency"]
    assert shown_at(CONNECTION_COLUMNS, 80) == ["pid", "comm", "remote", "age", "tx_rate", "rx_rate", "end"]
    assert shown_at(PROCESS_COLUMNS, 80) == [
        "pid", "comm", "tx", "rx", "tx_rate", "rx_rate", "active", "failed", "dns", "dns_failed"
    ]  # fmt: skip


def test_200_cells_show_everything() -> None:
    for columns in ALL:
        assert shown_at(columns, 200) == [column.key for column in columns]


@pytest.mark.parametrize("columns", ALL)
def test_every_column_has_a_title_a_meaning_and_a_key_of_its_own(columns: tuple[Column[Any], ...]) -> None:
    assert len({column.key for column in columns}) == len(columns)
    for column in columns:
        assert 0 < len(column.title) <= column.cells
        assert column.meaning


def test_no_column_is_always_empty() -> None:
    snapshot = busy()
    traffic = {(row.pid, row.start_time): [1.0] for row in snapshot.processes}
    context = Context(snapshot.captured_at, traffic=traffic, owners=Owners(snapshot.processes))
    for pane in PANES:
        for column in pane.columns:
            cells = {column.text(row, context).strip() for row in pane.kind.rows_of(snapshot)}
            assert cells - {"", "-"}, column.key


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({}, "-"),
        ({"unit": "nginx.service"}, "nginx.service"),
        ({"unit": f"docker-{'ab' * 32}.scope", "container": "ab" * 32}, "container:abababababab"),
        ({"container": "ab" * 32, "container_runtime": "podman"}, "podman:abababababab"),
        ({"container": "ab" * 32, "container_runtime": "docker", "container_name": "web"}, "docker:web"),
        ({"container": "web", "container_runtime": "lxc", "unit": "ssh.service"}, "lxc:web"),
        ({"container": "ab" * 32, "container_name": "app", "pod": "web-0", "pod_uid": "u"}, "pod:web-0/app"),
        ({"container": "ab" * 32, "pod_uid": "u"}, "pod:u/abababababab"),
        ({"pod_uid": "u"}, "pod:u"),
    ],
)
def test_the_service_of_a_process_in_all_its_rows(service: dict[str, str], expected: str) -> None:
    owner = builders.process(**service)
    context = Context(NOW.now, owners=Owners([owner]))
    its = {"pid": owner.pid, "process_start_time": owner.start_time}
    assert said("service", owner, context) == expected
    for row in (builders.connection(**its), builders.dns_query(**its), builders.udp_socket(**its)):
        assert said("service", row, context) == expected
        assert said("service", row, NOW) == "-"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "pending"),
        ({"status": "timeout"}, "! TIMEOUT"),
        ({"status": "refused"}, "! CLOSED"),
        ({"status": "answered", "rcode": "NOERROR"}, "NOERROR"),
        ({"status": "answered", "rcode": "NXDOMAIN"}, "! NXDOMAIN"),
        ({"status": "answered", "rcode": "SERVFAIL"}, "! SERVFAIL"),
        ({"status": "answered", "rcode": None}, "?"),
    ],
)
def test_how_a_query_went(changes: dict[str, Any], expected: str) -> None:
    assert said("result", builders.dns_query(**changes)) == expected


CHAIN = (
    rows.Answer(name="www.example.com", type="CNAME", ttl=60, data="lb.example.net"),
    rows.Answer(name="lb.example.net", type="A", ttl=60, data="192.0.2.7"),
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "198.51.100.7"),
        ({"answers": ()}, ""),
        ({"answers": CHAIN}, "192.0.2.7 lb.example.net"),
        ({"truncated": True}, "(truncated)"),
        ({"unparsed": "00ff", "answers": ()}, "(could not be parsed)"),
        ({"unparsed": "00ff"}, "(cut) 198.51.100.7"),
    ],
)
def test_first_answers(changes: dict[str, Any], expected: str) -> None:
    assert said("answers", builders.answered(**changes)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"state": "closed"}, "unseen"),
        ({"state": "closed", "end": "normal"}, "normal"),
        ({"state": "closed", "end": "refused"}, "! refused"),
        ({"state": "closed", "end": "reset-by-peer"}, "! reset-by-peer"),
        ({"state": "closed", "end": "timeout", "drops": {"TCP_OFOMERGE": 2, "NETFILTER_DROP": 1}}, "! timeout (fw)"),
        ({"state": "closed", "end": "given-up", "drops": {"NETFILTER_DROP": 1}}, "! given-up (fw)"),
        ({"state": "closed", "end": "timeout", "drops": {"NEIGH_FAILED": 1}}, "! timeout"),
        ({"state": "closed", "end": "reset-by-peer", "drops": {"NETFILTER_DROP": 1}}, "! reset-by-peer"),
    ],
)
def test_how_a_connection_ended(changes: dict[str, Any], expected: str) -> None:
    assert said("end", builders.connection(**changes)) == expected


@pytest.mark.parametrize(
    ("changes", "age", "opened"),
    [
        ({}, "59.0s", "12:00:01"),
        ({"state": "closed", "duration_ms": 2500.0}, "2.5s", "12:00:01"),
        ({"state": "closed", "duration_ms": None}, "-", "12:00:01"),
        ({"opened_at": None, "opened_before_start": True}, "-", "> start"),
        ({"opened_at": None, "opened_before_start": None}, "-", "-"),
        ({"opened_at": builders.at(61)}, "0.00ms", "12:01:01"),
    ],
)
def test_age(changes: dict[str, Any], age: str, opened: str) -> None:
    row = builders.connection(**changes)
    assert (said("age", row), said("opened", row)) == (age, opened)


def test_how_long_in_its_state() -> None:
    row = builders.connection(state="close-wait", state_since=builders.at(15), states_ms={"established": 9.0})
    assert said("in_state", row) == "45.0s"
    assert said("in_state", builders.connection(state="closed", states_ms={"established": 9.0})) == "-"
    assert said("in_state", builders.connection()) == "-"


TURNS = rows.Turns(asked_by="local", count=3, answered=2, latency_ms=rows.TurnLatency(avg=123.4, max=200.0))


@pytest.mark.parametrize(
    ("changes", "wait", "answer"),
    [
        ({}, "-", "-"),
        ({"waits_for": "none", "turns": TURNS}, "none", "123ms"),
        ({"waits_for": "local", "waits_since": builders.at(19)}, "local 41.0s", "-"),
        ({"waits_for": "remote-window", "waits_since": builders.at(-3540)}, "window 1h00m", "-"),
        ({"waits_for": "network", "waits_since": builders.at(61)}, "network 0.00ms", "-"),
        ({"turns": rows.Turns(asked_by="remote", count=1)}, "-", "-"),
    ],
)
def test_whom_a_connection_waits_for(changes: dict[str, Any], wait: str, answer: str) -> None:
    row = builders.connection(**changes)
    assert (said("wait", row), said("answer", row)) == (wait, answer)


def test_the_longest_wait_sorts_first() -> None:
    column = next(known for known in CONNECTION_COLUMNS if known.key == "wait")
    since = {1: builders.at(50), 2: None, 3: builders.at(5)}
    made = [builders.connection(id=number, waits_since=moment) for number, moment in since.items()]
    assert [row.id for row in sort(made, column, column.descending, NOW)] == [3, 1, 2]


def test_answers_of_a_process() -> None:
    gave = rows.TurnTotals(count=9, latency_ms=rows.AnswerTimes(p50=1.0, p95=20.0, max=30.0))
    row = builders.process(turns=rows.ProcessTurns(was_asked=gave))
    assert (said("answer", row), said("asked", row)) == ("20ms", "-")


def test_other_protocols() -> None:
    row = builders.process(other=rows.OtherTotals(tx_bytes=640, rx_bytes=1280))
    assert [said("other", row), said("other", builders.process())] == ["1.9K", "-"]


def test_leaks() -> None:
    assert [said("leaking", builders.process(leaking=count)) for count in (0, 87)] == ["-", "! 87"]


@pytest.mark.parametrize(
    ("drops", "expected"), [(None, "-"), ({}, "-"), ({"NETFILTER_DROP": 40, "TCP_OFOMERGE": 2}, "42")]
)
def test_dropped_packets_of_a_connection(drops: dict[str, int] | None, expected: str) -> None:
    assert said("drops", builders.connection(drops=drops)) == expected


def test_the_far_end_by_name_or_address() -> None:
    row = builders.connection()
    assert said("remote", row) == "www.example.com:443"
    assert said("remote", row, Context(builders.at(60), names=False)) == "198.51.100.7:443"
    other = rows.RemoteEndpoint(address="2001:db8::7", port=443, name="www.example.com", name_source="other-process")
    assert said("remote", builders.connection(remote=other)) == "~www.example.com:443"
    nameless = rows.RemoteEndpoint(address="2001:db8::7", port=443)
    assert said("remote", builders.connection(remote=nameless)) == "[2001:db8::7]:443"


def test_marks_of_owner_and_end() -> None:
    assert said("comm", builders.connection(owner="listener")) == "curl?"
    assert said("comm", builders.connection(comm=None, pid=None, owner="unknown")) == "-"
    assert said("comm", builders.process()) == "curl"
    assert said("comm", builders.process(exited_at=builders.at(9))) == "x curl"
    assert said("exited", builders.process(exited_at=builders.at(9))) == "12:00:09"


def test_addresses_sort_by_number() -> None:
    def endpoint(address: str, port: int) -> rows.Connection:
        return builders.connection(local=rows.Endpoint(address=address, port=port))

    in_order = [endpoint("", 1), endpoint("9.0.0.1", 80), endpoint("10.0.0.2", 80), endpoint("10.0.0.2", 443),
                endpoint("10.0.0.10", 22), endpoint("::1", 22), endpoint("2001:db8::", 1)]  # fmt: skip
    key = next(column for column in CONNECTION_COLUMNS if column.key == "local").sort_key(NOW)
    shuffled = [*in_order[3:], *in_order[:3]]
    assert sorted(shuffled, key=key) == in_order


@pytest.mark.parametrize(
    ("text", "cells", "left", "right"),
    [
        ("curl", 6, "curl  ", "  curl"),
        ("curl", 4, "curl", "curl"),
        ("curl", 3, "cu…", "cu…"),
        ("curl", 1, "c", "c"),
        ("日本語", 6, "日本語", "日本語"),
        ("日本語", 7, "日本語 ", " 日本語"),
        ("日本語", 5, "日本…", "日本…"),
        ("日本語", 4, "日 …", "日 …"),
        ("🚀🚀", 3, "🚀…", "🚀…"),
        ("e\u0301t\u0301", 3, "e\u0301t\u0301 ", " e\u0301t\u0301"),
        ("\x1b[0m", 8, "\\x1b[0m ", " \\x1b[0m"),
        ("", 2, "  ", "  "),
    ],
)
def test_a_cell_has_its_width(text: str, cells: int, left: str, right: str) -> None:
    assert (cell(text, cells, right=False), cell(text, cells, right=True)) == (left, right)


@pytest.mark.parametrize(
    ("text", "cells", "shown"),
    [
        ("www.example.com:443", 19, "www.example.com:443"),
        ("www.example.com:443", 12, "www.exa…:443"),
        ("[2001:db8::1]:8080", 10, "[200…:8080"),
        ("www.example.com:443", 6, "w…:443"),
        ("www.example.com:443", 5, "www.…"),
        ("no colon here", 5, "no c…"),
        ("日本語の名前:443", 9, "日本…:443"),
    ],
)
def test_a_port_is_not_cut_away(text: str, cells: int, shown: str) -> None:
    assert cell(text, cells, right=False, keeps_port=True) == shown


@given(st.text(), st.integers(min_value=1, max_value=40), st.booleans(), st.booleans())
def test_any_text_has_the_width_of_its_cell(text: str, cells: int, right: bool, keeps_port: bool) -> None:
    assert cell_len(cell(text, cells, right, keeps_port)) == cells


def sorted_by(key: str, pane: str, candidates: list[Any], context: Context = NOW) -> list[Any]:
    """What the column says of these rows, in its order."""
    columns: dict[str, tuple[Column[Any], ...]] = {
        "dns": DNS_COLUMNS, "connections": CONNECTION_COLUMNS, "processes": PROCESS_COLUMNS,
    }  # fmt: skip
    column = next(column for column in columns[pane] if column.key == key)
    return [column.text(row, context) for row in sort(candidates, column, False, context)]


def far(address: str, port: int = 443, name: str | None = None) -> rows.Connection:
    return builders.connection(remote=rows.RemoteEndpoint(address=address, port=port, name=name))


def test_far_ends_sort_as_addresses_then_by_port_then_names() -> None:
    ends = [
        far("127.7.0.100"), far("127.7.0.10"), far("::1"), far("127.7.0.9", 1_000), far("127.7.0.9", 80),
        far("1.1.1.1", name="Web10.example"), far("9.9.9.9", name="web9.example"), far("2001:db8::2"), far("127.7.0.2"),
    ]  # fmt: skip
    addresses = ["127.7.0.2:443", "127.7.0.9:80", "127.7.0.9:1000", "127.7.0.10:443", "127.7.0.100:443"]
    six = ["[::1]:443", "[2001:db8::2]:443"]
    assert sorted_by("remote", "connections", ends) == [
        *addresses, *six, "web9.example:443", "Web10.example:443",
    ]  # fmt: skip
    assert sorted_by("remote", "connections", ends, Context(NOW.now, names=False)) == [
        "1.1.1.1:443", "9.9.9.9:443", *addresses, *six,
    ]  # fmt: skip


def test_a_name_of_another_process_sorts_where_it_would_without_its_mark() -> None:
    guessed = builders.connection(
        remote=rows.RemoteEndpoint(address="1.1.1.1", port=1, name="b.example", name_source="other-process")
    )
    ends = [far("1.1.1.1", 1, "c.example"), guessed, far("1.1.1.1", 1, "a.example")]
    assert sorted_by("remote", "connections", ends) == ["a.example:1", "~b.example:1", "c.example:1"]


def answer_of(*records: tuple[str, str]) -> rows.DnsQuery:
    return builders.answered(
        answers=tuple(rows.Answer(name="a.example", type=kind, ttl=1, data=record) for kind, record in records)
    )


def test_answers_sort_as_addresses_too() -> None:
    queries = [
        answer_of(("CNAME", "b.example"), ("A", "10.0.0.10")), answer_of(("A", "10.0.0.9")),
        answer_of(("AAAA", "::1")), answer_of(("MX", "10 mail9.example")), answer_of(("MX", "10 mail10.example")),
    ]  # fmt: skip
    assert sorted_by("answers", "dns", queries) == [
        "10 mail9.example", "10 mail10.example", "10.0.0.9", "10.0.0.10 b.example", "::1",
    ]  # fmt: skip


def test_names_sort_by_their_numbers_and_without_regard_to_case() -> None:
    names = ["db10.example", "DB9.example", None, "api.example"]
    queries = [builders.dns_query(qname=name) for name in names]
    assert sorted_by("name", "dns", queries) == ["api.example", "DB9.example", "db10.example", "(unknown)"]
    users = [builders.process(uid=uid, user=user) for uid, user in ((1000, None), (999, None), (5, "ada"))]
    assert sorted_by("user", "processes", users) == ["999", "1000", "ada"]


@pytest.mark.parametrize(
    ("key", "changes", "said"),
    [
        ("address", {}, "0.0.0.0:80"),
        ("address", {"address": "::"}, "[::]:80"),
        ("comm", {}, "nginx"),
        ("comm", {"holders_cut": 3}, "nginx +3"),
        ("comm", {"pid": None, "comm": None, "holders": ()}, "-"),
        ("queue", {"queue": 511}, "511/511"),
        ("queue", {"queue": 512}, "! 512/511"),
        ("queue", {"queue": 512, "closed": True}, "512/511"),
        ("drops", {}, "-"),
        ("drops", {"drops": 17}, "17"),
        ("drops", {"drops": 17, "drops_per_s": 2.0}, "! 17"),
        ("drop_rate", {"drops_per_s": 2.5}, "2.5"),
        ("accepted", {"accepted": None}, "?"),
        ("accept_rate", {"accepted_per_s": None}, "?"),
        ("accept_rate", {"accepted_per_s": 12345.6}, "12346"),
        ("open", {"open": 0}, "-"),
        ("open", {"open": None}, "?"),
        ("opened", {"opened_before_start": True}, "> start"),
        ("closed", {"closed": True}, "unseen"),
        ("closed", {}, "-"),
    ],
)
def test_listeners(key: str, changes: dict[str, Any], said: str) -> None:
    column = next(column for column in LISTENER_COLUMNS if column.key == key)
    assert column.text(builders.listener(**changes), NOW) == said
