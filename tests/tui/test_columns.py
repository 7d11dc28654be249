"""Columns: what fits, what a cell says, what sorts."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from nettop.model import rows
from nettop.model.owners import Owners
from nettop.tui.columns import TableColumns
from nettop.tui.table import cell, cell_of
from nettop.view.columns import (
    CONNECTION_COLUMNS,
    DNS_COLUMNS,
    HOST_COLUMNS,
    LISTENER_COLUMNS,
    PROCESS_COLUMNS,
    REQUEST_COLUMNS,
    Column,
    Context,
)
from nettop.view.layout import GAP_CELLS, NO_WISH, Wish, fit, heights, lay_out, most_lines_of_facts
from nettop.view.panes import PANES, Traffic
from nettop.view.ranking import sort
from tests import builders
from tests.tui.scene import busy, host, process, snapshot

NOW = Context(builders.at(60))
ALL: list[tuple[Column[Any], ...]] = [DNS_COLUMNS, CONNECTION_COLUMNS, PROCESS_COLUMNS, LISTENER_COLUMNS]


def bars(comm: str, seen: Sequence[rows.Process], traffic: Traffic) -> str:
    (row,) = (each for each in seen if each.comm == comm)
    return said("traffic", row, Context(builders.at(60), traffic=traffic.by_process))


def test_the_bars_of_all_rows_have_one_scale() -> None:
    """48 bytes a second are not as high as 247 kilobytes."""
    traffic = Traffic()
    for share in (0.5, 1.0):
        seen = [
            process("nginx", tx_bytes_per_s=247_000 * share), process("curl", tx_bytes_per_s=48.0),
            process("chromium", rx_bytes_per_s=100_000.0), process("unbound"),
        ]  # fmt: skip
        traffic.add(snapshot(processes=seen))
    assert [bars(comm, seen, traffic).strip() for comm in ("nginx", "curl", "chromium", "unbound")] == [
        "▅█", "▁▁", "▄▄", "",
    ]  # fmt: skip


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


@pytest.mark.parametrize("width", [60, 80, 200])
def test_who_hides_the_pid_does_not_get_it_in_another_column(width: int) -> None:
    keys = [column.key for column, _ in fit([each for each in CONNECTION_COLUMNS if each.key != "pid"], width)]
    assert "comm" in keys
    assert "who" not in keys
    alone = [each for each in CONNECTION_COLUMNS if each.key not in ("pid", "comm")]
    assert "who" in [column.key for column, _ in fit(alone, width)]  # who wants only that


def test_widths_are_those_of_what_is_in_sight_in_the_size_there_is() -> None:
    """A window that becomes small and large again: on the way a pane may be as high as the screen for a moment."""
    connections = busy().connections
    columns = TableColumns(PANES[1])
    columns.resize(119, (), None)
    columns.show(connections[:2], NOW, None, ())
    before = columns.layout
    columns.resize(119, connections, NOW)
    assert columns.layout != before
    columns.resize(119, connections[:2], NOW)
    assert columns.layout == before


def test_rows_of_another_filter_have_their_own_widths_though_those_before_are_laid_out_once_more() -> None:
    """The line for the filter takes a line of the table, which may hear of that before the filter has been applied."""
    connections = busy().connections
    columns = TableColumns(PANES[1])
    columns.resize(119, (), None)
    columns.show(connections[:2], NOW, None, ())
    few = columns.layout
    columns.show(connections, NOW, None, ())
    assert columns.layout != few
    columns.fit_anew()
    columns.resize(119, connections, NOW)
    columns.show(connections[:2], NOW, None, ())
    assert columns.layout == few
    columns.show(connections, NOW, None, ())
    columns.show(connections[:2], NOW, None, ())
    assert columns.layout != few  # they stand still from then on


@pytest.mark.parametrize("columns", ALL)
def test_the_less_important_go_first_and_the_order_stays(columns: tuple[Column[Any], ...]) -> None:
    declared = [column.key for column in columns]
    for width in range(399, 0, -1):
        now = [column for column, _ in fit(columns, width)]
        keys = [column.key for column in now]
        assert keys == [key for key in declared if key in keys]
        in_one = {part for column in now for part in column.instead_of}
        dropped = [each for each in columns if each.key not in in_one.union(keys) and not each.instead_of]
        if dropped:
            assert max(column.priority for column in now) <= min(column.priority for column in dropped)


def shown_at(columns: tuple[Column[Any], ...], width: int, wish: Wish = NO_WISH) -> list[str]:
    return [column.key for column, _ in lay_out(columns, width - 1, wish).columns]


def test_what_80_cells_show() -> None:
    assert shown_at(DNS_COLUMNS, 80) == ["time", "who", "name", "type", "result", "latency", "attempts"]
    assert shown_at(CONNECTION_COLUMNS, 80) == ["who", "remote", "state_end", "age", "tx", "rx"]
    assert shown_at(PROCESS_COLUMNS, 80) == [
        "who", "tx", "rx", "tx_rate", "rx_rate", "active", "failed", "dns", "dns_failed"
    ]  # fmt: skip


def test_200_cells_show_everything_apart() -> None:
    for columns in ALL:
        assert shown_at(columns, 200) == [column.key for column in columns if not column.instead_of]


def fit_with(key: str) -> dict[str, tuple[str, ...]]:
    """What 60 cells show by key, and what each of it stands for, where this column is wished first."""
    layout = lay_out(CONNECTION_COLUMNS, 59, Wish(first={key}))
    return {column.key: column.instead_of for column, _ in layout.columns}


def test_what_is_sorted_by_and_what_matters_has_room_at_80_cells() -> None:
    assert "srtt" in shown_at(CONNECTION_COLUMNS, 80, Wish(first={"srtt"}))
    waiting = shown_at(CONNECTION_COLUMNS, 80, Wish(first={"wait"}))
    assert waiting == ["who", "remote", "state_end", "age", "tx", "rx", "wait"]
    for column in CONNECTION_COLUMNS:
        if not column.instead_of:
            seen = fit_with(column.key)
            assert column.key in seen or any(column.key in each for each in seen.values())


def test_what_is_said_elsewhere_steps_back() -> None:
    columns = shown_at(CONNECTION_COLUMNS, 80, Wish(said={"pid", "comm"}))
    assert not {"who", "pid", "comm"} & set(columns)
    assert {"tx_rate", "rx_rate"} < set(columns)
    named = shown_at(CONNECTION_COLUMNS, 80, Wish(said={"comm"}))
    assert {"pid"} == {"who", "pid", "comm"} & set(named)


def test_columns_that_belong_together_are_dropped_together() -> None:
    for columns in ALL:
        for width in range(40, 230):
            shown = shown_at(columns, width)
            assert ("tx_rate" in shown) == ("rx_rate" in shown)
            assert ("tx" in shown) == ("rx" in shown)


@pytest.mark.parametrize("columns", ALL)
@pytest.mark.parametrize("width", [59, 79, 99, 139])
def test_scrolling_shows_every_column_once_at_least(columns: tuple[Column[Any], ...], width: int) -> None:
    seen: set[str] = set()
    for scrolled in range(len(columns)):
        layout = lay_out(columns, width, Wish(scrolled=scrolled))
        assert sum(cells for _, cells in layout.columns) + GAP_CELLS * (len(layout.columns) - 1) <= width
        keys = {column.key for column, _ in layout.columns}
        assert (layout.before > 0) == (scrolled > 0 and bool(layout.before or layout.after))
        seen |= keys | {part for column, _ in layout.columns for part in column.instead_of}
        if not layout.after:
            break
    else:
        pytest.fail("there is always more to the right")
    assert seen >= {column.key for column in columns if not column.instead_of}
    assert lay_out(columns, width, Wish(scrolled=99)) == layout  # and no further


def test_width_goes_to_what_has_more_to_say() -> None:
    needs = {"who": 17, "remote": 21, "local": 40, "state_end": 15, "wait": 10}
    widths = {column.key: cells for column, cells in lay_out(CONNECTION_COLUMNS, 229, Wish(contents=needs)).columns}
    assert widths["remote"] == 21
    assert widths["local"] > 15
    alone = {column.key: cells for column, cells in lay_out(CONNECTION_COLUMNS, 79, Wish(contents=needs)).columns}
    assert (alone["remote"], alone["state_end"], alone["who"]) == (21, 15, 17)  # and what nobody needs stays blank


def test_commands_of_databases_are_not_cut_where_there_is_room() -> None:
    needs = {"who": 13, "service": 1, "protocol": 10, "method": 12, "host": 1, "path": 1, "status": 11, "remote": 14}
    for width in (79, 119, 199):
        widths = {column.key: cells for column, cells in lay_out(REQUEST_COLUMNS, width, Wish(contents=needs)).columns}
        assert (widths["method"], widths["status"]) == (12, 11)
        assert "protocol" not in widths or widths["protocol"] == 10
        assert sum(widths.values()) + GAP_CELLS * (len(widths) - 1) <= width
    assert {"pid", "comm", "protocol", "remote", "request_bytes"} < widths.keys()


def test_what_requests_show_at_80_and_120_cells() -> None:
    assert shown_at(REQUEST_COLUMNS, 80) == ["time", "who", "method", "path", "status", "latency"]
    assert shown_at(REQUEST_COLUMNS, 120) == [
        "time", "who", "side", "protocol", "method", "host", "path", "status", "latency", "remote"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "lines", "shares"),
    [
        ((0, 100, 100), 54, [4, 25, 25]),
        ((100, 0, 3), 54, [42, 4, 8]),
        ((100, 100, 100), 54, [18, 18, 18]),
        ((3, 2, 0), 54, [8, 4, 42]),  # the last one takes what nobody needs
        ((7,), 20, [20]),
        ((100, 100, 100), 8, [3, 3, 2]),
    ],
)
def test_panes_share_the_height_by_need(rows: tuple[int, ...], lines: int, shares: list[int]) -> None:
    assert heights(rows, lines) == shares


@given(st.lists(st.integers(min_value=0, max_value=50_000), min_size=1, max_size=6), st.integers(0, 300))
def test_the_panes_fill_the_height_exactly(rows: list[int], lines: int) -> None:
    assert sum(heights(rows, lines)) == lines


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
        ({"opened_at": None, "opened_before_start": True}, ">1m", "> start"),
        (
            {"opened_at": None, "opened_before_start": True, "state": "closed", "closed_at": builders.at(9)},
            ">9s",
            "> start",
        ),
        ({"opened_at": None, "opened_before_start": True, "state": "closed"}, "-", "> start"),
        ({"opened_at": None, "opened_before_start": None}, "-", "-"),
        ({"opened_at": builders.at(61)}, "0.00ms", "12:01:01"),
    ],
)
def test_age(changes: dict[str, Any], age: str, opened: str) -> None:
    row = builders.connection(**changes)
    context = Context(builders.at(60), start=builders.at(0))
    assert (said("age", row, context), said("opened", row)) == (age, opened)


def test_what_is_older_than_nettop_is_older_than_all() -> None:
    older = builders.connection(id=1, opened_at=None, opened_before_start=True)
    first, last = (builders.connection(id=2 + number, opened_at=builders.at(number)) for number in (1, 50))
    unknown = builders.connection(id=9, opened_at=None, opened_before_start=None)
    context = Context(builders.at(60), start=builders.at(0))
    age = next(column for column in CONNECTION_COLUMNS if column.key == "age")
    assert age.descending
    assert sort([last, unknown, older, first], age, True, context) == [older, first, last, unknown]
    assert sort([last, unknown, older, first], age, False, context) == [last, first, older, unknown]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {40: "198.51.100.7:443", 12: "198.51.…:443"}),
        ({"name": "db.example.com"}, {40: "db.example.com:443", 12: "db.exam…:443"}),
        ({"direction": "inbound"}, {40: ":5432 < 198.51.100.7:443", 20: ":5432 < 198.51.100.7", 12: ":5432 < 198…"}),
        ({"peer": "redis"}, {40: "198.51.100.7:443 redis[77]", 20: ":443 redis[77]", 12: ":443 redis"}),
        ({"name": "db.example.com", "peer": "redis"},
         {40: "db.example.com:443 redis[77]", 24: "db.example.com:443 redis", 20: "db.example.com:443",
          12: "db.exam…:443"}),
        ({"direction": "inbound", "peer": "api"},
         {40: ":5432 < 198.51.100.7:443 api[77]", 30: ":5432 < 198.51.100.7 api[77]", 18: ":5432 < api[77]",
          12: ":5432 < api"}),
        ({"direction": "inbound", "peer": None, "address": "2001:db8::7"},
         {40: ":5432 < [2001:db8::7]:443", 23: ":5432 < [2001:db8::7]", 12: ":5432 < [20…"}),
    ],
)  # fmt: skip
def test_the_far_end_in_words_for_the_width(changes: dict[str, Any], expected: dict[int, str]) -> None:
    name, comm, address = changes.get("name"), changes.get("peer"), changes.get("address", "198.51.100.7")
    row = builders.connection(
        direction=changes.get("direction", "outbound"),
        local=rows.Endpoint(address="192.0.2.1", port=5432),
        remote=rows.RemoteEndpoint(address=address, port=443, name=name, name_source="process" if name else None),
        peer=rows.Peer(id=2, pid=77, comm=comm) if comm else None,
    )
    remote = next(column for column in CONNECTION_COLUMNS if column.key == "remote")
    assert {cells: cell_of(remote, row, NOW, cells).rstrip() for cells in expected} == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"state": "close-wait"}, "close-wait"),
        ({"state": "closed", "end": "normal"}, "closed"),
        ({"state": "closed", "end": "refused"}, "! refused"),
        ({"state": "closed", "end": None}, "unseen"),
    ],
)
def test_state_and_end_in_one(changes: dict[str, Any], expected: str) -> None:
    assert said("state_end", builders.connection(**changes)) == expected


@pytest.mark.parametrize(
    ("cmdline", "expected"),
    [
        (("/usr/bin/python3", "/srv/billing.py"), "python3 /srv/billing.py"),
        (("nginx: worker process",), "nginx: worker process"),
        (("/usr/sbin/x -a: title with a path",), "/usr/sbin/x -a: title with a path"),
        (("/",), "/"),
        ((), "-"),
        (None, "-"),
    ],
)
def test_the_command_without_the_programs_directory(cmdline: tuple[str, ...] | None, expected: str) -> None:
    assert said("command", builders.process(cmdline=cmdline)) == expected


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
        ({"waits_for": "local", "waits_since": builders.at(19)}, "local 41s", "-"),
        ({"waits_for": "remote-window", "waits_since": builders.at(-3540)}, "window 60m", "-"),
        ({"waits_for": "network", "waits_since": builders.at(61)}, "network <1s", "-"),
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
    guesses = rows.RemoteEndpoint(
        address="198.51.100.7", port=443, name="a.example", name_source="other-process", names=("b.example",) * 2
    )
    unclear = builders.connection(remote=guesses)
    assert said("remote", unclear) == "~3 names 198.51.100.7:443"  # each of them would look certain
    (remote,) = (column for column in CONNECTION_COLUMNS if column.key == "remote")
    assert cell_of(remote, unclear, NOW, 17) == "198.51.100.7:443 "  # the count would cut it
    local = builders.connection(remote=guesses, peer=rows.Peer(id=2, pid=77, comm="redis"))
    assert cell_of(remote, local, NOW, 17) == ":443 redis[77]   "
    assert said("remote", unclear, Context(builders.at(60), names=False)) == "198.51.100.7:443"
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
    assert cell(text, cells, right=False, keeps=":") == shown


@pytest.mark.parametrize(
    ("text", "keeps", "cells", "shown"),
    [
        ("api-server[15234]", "[", 17, "api-server[15234]"),
        ("api-server[15234]", "[", 12, "api-…[15234]"),
        ("nginx-proxy[4194304]?", "[", 14, "ngi…[4194304]?"),
        ("[no pid in brackets here]", "[", 8, "[no pid…"),
        (":5432 < 192.0.2.1", ":", 12, ":5432 < 192…"),  # no port at its end
    ],
)
def test_a_pid_is_not_cut_away_and_nothing_else_is_taken_for_one(text: str, keeps: str, cells: int, shown: str) -> None:
    assert cell(text, cells, right=False, keeps=keeps) == shown


@given(st.text(), st.integers(min_value=1, max_value=40), st.booleans(), st.sampled_from(["", ":", "["]))
def test_any_text_has_the_width_of_its_cell(text: str, cells: int, right: bool, keeps: str) -> None:
    assert cell_len(cell(text, cells, right, keeps)) == cells


def sorted_by(key: str, pane: str, candidates: list[Any], context: Context = NOW) -> list[Any]:
    """What the column says of these rows, in its order."""
    columns: dict[str, tuple[Column[Any], ...]] = {
        "dns": DNS_COLUMNS, "connections": CONNECTION_COLUMNS, "processes": PROCESS_COLUMNS,
    }  # fmt: skip
    column = next(column for column in columns[pane] if column.key == key)
    return [column.text(row, context) for row in sort(candidates, column, False, context)]


def far(address: str, port: int = 443, name: str | None = None) -> rows.Connection:
    return builders.connection(remote=rows.RemoteEndpoint(address=address, port=port, name=name))


def test_a_host_of_several_names_has_the_same_text_whichever_was_used_last() -> None:
    def texts(name: str, *others: str, source: str = "process") -> list[str]:
        row = host("10.0.0.9", "curl", name=name, names=others, name_source=source)
        (column,) = (each for each in HOST_COLUMNS if each.key == "host")
        return [cell_of(column, row, NOW, cells).rstrip() for cells in (30, 18)]

    assert texts("payments.example.com") == ["payments.example.com 10.0.0.9", "payments… 10.0.0.9"]
    assert texts("a.test", "b.test") == texts("b.test", "a.test") == ["(2 names) 10.0.0.9", "(2 names) 10.0.0.9"]
    assert texts("a.test", "b.test", source="other-process")[0] == "~2 names 10.0.0.9"


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


@pytest.mark.parametrize(
    ("rows", "lines", "most"),
    [
        ((), 20, 20),
        ((0, 0), 20, 14),
        ((1, 0), 40, 34),
        ((5, 0), 40, 31),
        ((90, 90), 40, 16),
        ((90,), 40, 24),
        ((0,), 2, 2),
    ],
)
def test_the_facts_of_a_detail_may_have_what_the_tables_do_not_need(
    rows: tuple[int, ...], lines: int, most: int
) -> None:
    assert most_lines_of_facts(rows, lines) == most
