"""What a pane shows of a snapshot, in which order."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nettop.model import rows
from nettop.model.filter import Filter
from nettop.model.kinds import CONNECTIONS, DNS, PROCESSES
from nettop.model.mark import newest_ids
from nettop.view import selection as selection_module
from nettop.view.columns import Context
from nettop.view.outcomes import Outcomes
from nettop.view.panes import (
    HISTORY_TICKS,
    PANES,
    PaneKind,
    Title,
    Traffic,
    next_column,
    shown,
    sort_by,
    tabs,
)
from nettop.view.ranking import sort
from nettop.view.selection import Selection, select
from tests import builders
from tests.tui.scene import busy, connection, process, query, snapshot

NOW = Context(builders.at(60))
DNS_PANE, CONNECTION_PANE, PROCESS_PANE = (
    next(pane for pane in PANES if pane.kind is kind) for kind in (DNS, CONNECTIONS, PROCESSES)
)


def sorted_ids(values: list[float | None], descending: bool) -> list[int]:
    """Ids of connections with these round trips."""
    made = [builders.connection(id=number, srtt_ms=value) for number, value in enumerate(values)]
    return [row.id for row in sort(made, CONNECTION_PANE.column("srtt"), descending, NOW)]


@pytest.mark.parametrize(("descending", "expected"), [(False, [2, 0, 4, 1, 3]), (True, [0, 4, 2, 1, 3])])
def test_what_is_unknown_is_last_in_either_direction(descending: bool, expected: list[int]) -> None:
    assert sorted_ids([2.0, None, 1.0, None, 2.0], descending) == expected


@given(st.lists(st.one_of(st.none(), st.integers(0, 3).map(float))), st.booleans())
def test_sorting_is_stable_and_loses_nothing(values: list[float | None], descending: bool) -> None:
    order = sorted_ids(values, descending)
    assert sorted(order) == list(range(len(values)))
    for before, after in pairwise(order):
        one, other = values[before], values[after]
        if one == other:
            assert before < after
        elif other is not None:
            assert one is not None
            assert (one > other) == descending


@pytest.mark.parametrize(
    ("stacked", "active", "guest", "displayed"),
    [
        ("abc", "b", None, "abc"),
        ("abc", "x", None, "abx"),
        ("abc", "a", "x", "abx"),  # it stays while the others are used
        ("abc", "y", "x", "aby"),
        ("abc", "c", "x", "abc"),
        ("a", "x", None, "x"),
    ],
)
def test_what_is_not_stacked_takes_the_place_of_the_lowest(
    stacked: str, active: str, guest: str | None, displayed: str
) -> None:
    shown_now, guest = shown(tuple(stacked), active, guest)
    assert "".join(shown_now) == displayed
    assert guest == (None if displayed == stacked else displayed[-1])


def test_tabs_drop_the_counts_of_others_where_they_have_no_room() -> None:
    titles = {name: Title(f" {name} ", "1/2 ", "by X ") for name in "abc"}
    assert tabs(titles, "b", 26) == {"a": " a 1/2 ", "b": " b 1/2 by X ", "c": " c 1/2 "}
    assert tabs(titles, "b", 25) == {"a": " a ", "b": " b 1/2 by X ", "c": " c "}
    assert tabs(titles, "b", 17) == {"a": " a ", "b": " b 1/2 ", "c": " c "}


def test_tabs_keep_only_the_keys_of_others_where_the_active_one_would_be_cut() -> None:
    titles = {
        name: Title(f" {number} {name} ", "1/2 ", "by X ") for number, name in enumerate(("one", "two", "end"), 1)
    }
    assert tabs(titles, "end", 25) == {"one": " 1 one ", "two": " 2 two ", "end": " 3 end 1/2 "}
    assert tabs(titles, "end", 24) == {"one": " 1 ", "two": " 2 ", "end": " 3 end 1/2 "}
    assert tabs(titles, "one", 24) == {"one": " 1 one 1/2 ", "two": " 2 two ", "end": " 3 end "}


def test_a_title_too_long_for_the_terminal_leaves_the_other_tabs_where_they_are() -> None:
    long = Title(" 2 Connections by REMOTE: ", "a-name-of-forty-characters.example.com 1", " ", "")
    titles = {"1": Title(" 1 DNS ", "1", " "), "2": long, "3": Title(" 3 Processes ", "1", " ")}
    assert "".join(tabs(titles, "2", 40).values()) == " 1  2 Connections by REMOTE: a-name-… 3 "


def test_what_a_filter_does_not_apply_to_is_said_before_what_is_sorted_by() -> None:
    """Else all rows seem to match."""
    note = "· left out here: dns:failed "
    titles = {"1": Title(" 1 DNS ", "1 ", "by X "), "3": Title(" 3 Processes ", "14 ", "· by TRAFFIC ", "", note)}
    assert list(tabs(titles, "3", 80).values()) == [" 1 DNS 1 ", f" 3 Processes 14 · by TRAFFIC {note}"]
    assert list(tabs(titles, "3", 55).values()) == [" 1 DNS ", f" 3 Processes 14 {note}"]
    assert list(tabs(titles, "3", 30).values()) == [" 1 ", " 3 Processes 14 · left out…"]


def test_tabs_shorten_the_names_of_others_and_keep_the_process_longest() -> None:
    titles = {
        name: Title(f" {name} ", "1/2 ", "by X ", "curl[1] ") for name in ("1 DNS", "2 Connections", "3 Processes")
    }
    assert list(tabs(titles, "1 DNS", 58).values()) == [" 1 DNS 1/2 curl[1] by X ", " 2 Connections ", " 3 Processes "]
    assert list(tabs(titles, "1 DNS", 50).values()) == [" 1 DNS 1/2 curl[1] by X ", " 2 Conn ", " 3 Proc "]
    assert list(tabs(titles, "1 DNS", 38).values()) == [" 1 DNS 1/2 curl[1] ", " 2 Conn ", " 3 Proc "]
    assert list(tabs(titles, "1 DNS", 30).values()) == [" 1 DNS 1/2 curl[1] by X ", " 2 ", " 3 "]
    assert list(tabs(titles, "1 DNS", 25).values()) == [" 1 DNS 1/2 curl[1] ", " 2 ", " 3 "]


@pytest.mark.parametrize("pane", PANES)
@pytest.mark.parametrize("descending", [False, True])
def test_every_column_sorts_all_there_is(pane: Any, descending: bool) -> None:
    seen = busy()
    for column in pane.columns:
        assert len(sort(list(pane.kind.rows_of(seen)), column, descending, NOW)) == len(pane.kind.rows_of(seen))


def test_selecting_by_filter_and_end() -> None:
    seen = busy()

    def kept(pane: PaneKind[Any], expression: str, show_ended: bool) -> list[Any]:
        return list(select(pane, pane.kind.rows_of(seen), Filter(expression), show_ended, NOW))

    assert len(kept(CONNECTION_PANE, "", show_ended=True)) == 10
    live = kept(CONNECTION_PANE, "", show_ended=False)
    assert {row.state for row in live} == {"established", "syn-sent"}
    assert [row.id for row in kept(DNS_PANE, "dns:failed", show_ended=False)] == [
        3,
        5,
        6,
    ]
    # a term that says nothing about a pane is left out there
    assert len(kept(PROCESS_PANE, "dns:failed", show_ended=True)) == 6
    assert [row.pid for row in kept(PROCESS_PANE, "pid:5150", show_ended=True)] == [5150]
    assert kept(PROCESS_PANE, "pid:5150", show_ended=False) == []


_VERSIONS = [busy().connections, busy().connections[:-2], tuple(reversed(busy().connections))]
_FILTERS = [Filter(""), Filter("-end:normal"), Filter("comm:c*")]
_CONTEXTS = [NOW, Context(builders.at(60)), Context(builders.at(60), names=False), Context(builders.at(61))]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(_VERSIONS), st.sampled_from(_FILTERS), st.booleans(),
            st.sampled_from(["state", "age", "srtt", "remote"]), st.booleans(), st.sampled_from(_CONTEXTS),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_a_selection_is_what_selecting_and_sorting_anew_would_give(steps: list[Any]) -> None:
    selection = Selection(CONNECTION_PANE)
    for candidates, chosen, show_ended, key, descending, context in steps:
        expected = select(CONNECTION_PANE, candidates, chosen, show_ended, context)
        assert selection.select(candidates, chosen, show_ended, context) == expected
        column = CONNECTION_PANE.column(key)
        assert list(selection.sort(column, descending, context)) == sort(expected, column, descending, context)


def crowd(*values: float | None, first: int = 0) -> tuple[rows.Connection, ...]:
    """Connections with these round trips."""
    return tuple(builders.connection(id=first + at, srtt_ms=value) for at, value in enumerate(values))


_CHANGES = st.lists(
    st.tuples(
        st.booleans(),  # whether the pane is seen, and so sorted
        st.dictionaries(st.integers(0, 39), st.sampled_from([None, 1.0, 2.0, 3.0]), max_size=3),  # others' new values
        st.sets(st.integers(0, 39), max_size=2),  # that are evicted
        st.lists(st.sampled_from([None, 1.0, 2.0]), max_size=2),  # that come
    ),
    max_size=8,
)


@given(
    st.booleans(), st.lists(st.sampled_from([None, 1.0, 2.0, 3.0]), min_size=40, max_size=40), _CHANGES,
    st.sampled_from(["", "rtt:>1ms", "rtt:>1ms since:5m", "-rtt:>1ms"]),
)  # fmt: skip
def test_a_selection_follows_a_table_that_changes(
    descending: bool, values: list[float | None], changes: list[Any], expression: str
) -> None:
    column, selection, newest = CONNECTION_PANE.column("srtt"), Selection(CONNECTION_PANE), 39
    chosen = Filter(expression)
    table = crowd(*values)
    for seen, changed, gone, come in [(True, {}, set(), []), *changes]:
        kept = [row for row in table if row.id not in gone]
        kept = [replace(row, srtt_ms=changed[row.id]) if row.id in changed else row for row in kept]
        table = (*kept, *crowd(*come, first=newest + 1))
        newest += len(come)
        selected = select(CONNECTION_PANE, table, chosen, True, NOW)
        assert list(map(id, selection.select(table, chosen, True, NOW))) == list(map(id, selected))
        ordered = sort(selected, column, descending, NOW)
        assert not seen or list(map(id, selection.sort(column, descending, NOW))) == list(map(id, ordered))


def test_a_table_that_hardly_changes_is_not_sorted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    column, selection, table = CONNECTION_PANE.column("srtt"), Selection(CONNECTION_PANE), crowd(*range(100))
    chosen = Filter("rtt:>2ms")
    selection.select(table, chosen, True, NOW)
    selection.sort(column, True, NOW)
    monkeypatch.setattr(selection_module, "sort", None)
    monkeypatch.setattr(selection_module, "select", None)
    for number in range(3):
        table = (*table[1:50], replace(table[50], srtt_ms=200.0 + number), *table[51:])
        selection.select(table, chosen, True, NOW)
        assert selection.sort(column, True, NOW)[0].srtt_ms == 200.0 + number


def test_where_time_decides_the_same_table_is_another_at_another_time() -> None:
    selection, table, chosen = Selection(CONNECTION_PANE), crowd(1.0), Filter("age:<30s")
    ages = [table[0].opened_at + timedelta(seconds=age) for age in (29, 31) if table[0].opened_at is not None]
    assert [len(selection.select(table, chosen, True, Context(now))) for now in ages] == [1, 0]


def test_a_selection_is_not_made_again() -> None:
    seen, chosen, column = busy(), Filter("comm:c*"), CONNECTION_PANE.column("age")
    selection = Selection(CONNECTION_PANE)
    chosen_rows = selection.select(seen.connections, chosen, True, NOW)
    ordered = selection.sort(column, True, NOW)
    assert selection.select(seen.connections, chosen, True, NOW) is chosen_rows
    assert selection.sort(column, True, NOW) is ordered
    assert selection.select(busy().connections, chosen, True, NOW) is not chosen_rows


def test_what_has_ended_stands_back() -> None:
    seen = busy()
    assert [row.id for row in seen.connections if CONNECTION_PANE.is_over(row)] == [2, 3, 4, 8, 10]
    assert not any(map(DNS_PANE.is_over, seen.dns))
    assert [row.pid for row in seen.processes if PROCESS_PANE.is_over(row)] == [5150]


def marks(pane: PaneKind[Any], key: str, seen: tuple[Any, ...]) -> dict[str, str | None]:
    """By what the cells of this column say."""
    column = pane.column(key)
    return {column.text(row, NOW): column.mark(row, column.text(row, NOW)) for row in seen}


def test_what_failed_is_marked_and_what_may_be_harmless_less_so() -> None:
    seen = busy()
    assert marks(DNS_PANE, "result", seen.dns) == {
        "NOERROR": None, "! NXDOMAIN": "doubtful", "! SERVFAIL": "failed", "! TIMEOUT": "failed", "pending": None,
    }  # fmt: skip
    assert marks(CONNECTION_PANE, "end", seen.connections) == {
        "": None, "! refused": "failed", "! timeout (fw)": "failed", "normal": None, "! reset-by-peer": "failed",
        "unseen": None,
    }  # fmt: skip
    assert marks(PROCESS_PANE, "leaking", seen.processes) == {"-": None, "! 2": "failed"}
    assert marks(PROCESS_PANE, "failed", seen.processes) == {"-": None, "! 1": "doubtful"}  # some time since the start
    assert marks(DNS_PANE, "name", (query(1, "curl", "!!", "SERVFAIL"),))["!!"] is None


def test_the_next_column_goes_round_those_that_are_seen() -> None:
    shown = [CONNECTION_PANE.column(key) for key in ("pid", "remote", "end")]
    assert next_column(shown, "pid").key == "remote"
    assert next_column(shown, "end").key == "pid"
    assert next_column(shown, "srtt").key == "pid"


def test_a_click_on_a_title_sorts_and_again_turns_round() -> None:
    size = CONNECTION_PANE.column("tx")
    assert sort_by(size, ("pid", False)) == ("tx", True)
    assert sort_by(size, ("tx", True)) == ("tx", False)


def test_newest_ids() -> None:
    assert newest_ids(snapshot()) == {"dns": 0, "connections": 0, "udp": 0, "listeners": 0, "requests": 0, "lookups": 0}
    assert newest_ids(busy()) == {"dns": 9, "connections": 10, "udp": 4, "listeners": 3, "requests": 3, "lookups": 5}


class TestTraffic:
    def test_sums_and_history_per_process(self) -> None:
        traffic = Traffic()
        for rate in (0.0, 10.0, 0.0):
            traffic.add(snapshot(processes=[process("curl", rx_bytes_per_s=rate), process("nginx")]))
        assert list(traffic.total) == [0.0, 10.0, 0.0]
        ((key, history),) = traffic.by_process.items()
        assert key[0] == 4242
        assert list(history) == [10.0, 0.0]

    def test_what_has_been_still_for_long_or_is_gone_is_forgotten(self) -> None:
        traffic = Traffic()
        traffic.add(snapshot(processes=[process("curl", rx_bytes_per_s=1.0), process("nginx", rx_bytes_per_s=1.0)]))
        for _ in range(HISTORY_TICKS * 2):
            traffic.add(snapshot(processes=[process("curl")]))
        assert traffic.by_process == {}
        assert len(traffic.total) == HISTORY_TICKS

    def test_queries_per_second(self) -> None:
        traffic = Traffic()
        traffic.add(snapshot(dns=[query(4, "curl", "a.example")], seconds=1))
        assert traffic.dns_per_s == 0.0
        traffic.add(snapshot(dns=[query(4, "curl", "a.example"), query(24, "curl", "b.example")], seconds=3))
        assert traffic.dns_per_s == 10.0
        traffic.add(snapshot(dns=[query(24, "curl", "b.example")], seconds=3))
        assert traffic.dns_per_s == 0.0
        counted = rows.Losses(unlisted={"dns": 300})
        traffic.add(snapshot(dns=[query(34, "curl", "b.example")], seconds=4, losses=counted))
        assert traffic.dns_per_s == 310.0

    def test_failures_are_those_of_the_last_interval(self) -> None:
        """Not of all rows that are still there: an incident that is over is over."""
        traffic = Traffic()
        incident = [query(number, "curl", "a.example", "SERVFAIL") for number in range(1, 50)]
        found = []
        for seen in (incident[:40], incident, [*incident, query(60, "curl", "a.example")]):
            traffic.add(snapshot(dns=seen))
            found.append(traffic.copy().dns)
        assert found == [None, Outcomes(all=9, failed=9), Outcomes(all=1, failed=0)]

    def test_a_copy_stands_still(self) -> None:
        traffic = Traffic()
        traffic.add(snapshot(processes=[process("curl", rx_bytes_per_s=1.0)]))
        twin = traffic.copy()
        traffic.add(snapshot(processes=[process("curl", rx_bytes_per_s=2.0)]))
        assert list(twin.total) == [1.0]
        assert [list(history) for history in twin.by_process.values()] == [[1.0]]


def test_a_row_keeps_its_key_when_it_changes() -> None:
    before, after = connection(1, "curl", None), connection(1, "curl", "www.example.com", tx_bytes=9)
    assert CONNECTION_PANE.kind.key(before) == CONNECTION_PANE.kind.key(after)
    assert PROCESS_PANE.kind.key(process("curl")) != PROCESS_PANE.kind.key(process("curl", start_time=builders.at(3)))
