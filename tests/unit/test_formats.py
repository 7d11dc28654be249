"""Snapshots as tables and as CSV: what is in them, that it lines up, and that nothing in a cell is run or lost."""

import csv
import io
import json
import os
import pty
import re
import termios
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.cells import cell_len

from nettop.cli import tables
from nettop.cli.format import FORMATS, GROUPS
from nettop.export.csv import csv_text, fields
from nettop.export.formats import WRITERS
from nettop.export.json import snapshot_json
from nettop.export.table import table_text
from nettop.export.tables import Wanted, named
from nettop.model import rows
from nettop.model.filter import Filter
from nettop.model.kinds import KINDS
from nettop.model.snapshot import Snapshot
from nettop.view.columns import COLUMNS
from nettop.view.grouping import GROUPINGS, Grouping
from nettop.view.panes import PANES, PaneKind, apart
from tests import builders
from tests.tui.scene import LOSSES, busy, closed, connection, process, query, snapshot
from tests.unit.test_cli import outcome


def pane(name: str) -> PaneKind[Any]:
    return next(pane for pane in PANES if pane.name == name)


def wanted(*names: str, **changes: Any) -> Wanted:
    return Wanted(tuple(map(pane, names)), **changes)


def text(seen: Snapshot, *names: str, **changes: Any) -> list[str]:
    return table_text(seen, wanted(*names, **changes)).decode().splitlines()


def test_there_is_a_writer_for_each_format() -> None:
    assert WRITERS.keys() == FORMATS.keys()


# Text


def test_a_table_says_where_when_and_what_is_missing() -> None:
    head = text(busy(losses=LOSSES, filter="dns:failed", scope=rows.Scope(pid=(42,), comm=("curl",))), "dns")[:4]
    assert head[0].startswith("host, 20")
    assert head[0].endswith(", watched for 1 minute")
    assert head[1:] == [
        "Filter: dns:failed",
        "Only: pid 42, curl",
        "Missing: 12 lost, 3 map full, 2 unparsed, 4.0K unattributed",
    ]
    assert text(busy(), "dns")[1:3] == ["Nothing lost", ""]


def test_a_pipe_gets_every_column_and_no_cell_is_cut_or_empty() -> None:
    for each in PANES:
        lines = text(busy(), each.name)
        assert lines[3] == f"{each.kind.title}: {len(each.kind.rows_of(busy()))}, by {each.column(each.sort).title}"
        titles = [column.title for column in apart(COLUMNS[each.kind]) if not column.chart]
        assert [title for title in titles if title not in lines[4]] == []
        assert "…" not in "".join(lines)
        assert len(lines[5:]) == len(each.kind.rows_of(busy()))
    assert "a-name-that-is-much-too-long-for-any-column.and-goes-on.example.org" in "".join(text(busy(), "dns"))


@pytest.mark.parametrize("each", PANES, ids=lambda pane: pane.name)
def test_columns_line_up_in_cells_of_the_terminal(each: PaneKind[Any]) -> None:
    """Each title is above its column: at the left or right end of every cell below it."""
    header, *below = text(busy(), each.name)[4:]
    place = 0
    for shown in (column for column in apart(COLUMNS[each.kind]) if not column.chart):
        place = header.index(shown.title, place)
        edge = place if shown.align == "left" else place + len(shown.title) - 1
        for line in below:
            assert in_cells(line, edge) != " ", (shown.title, line)
            beyond = edge - 1 if shown.align == "left" else edge + 1
            assert in_cells(line, beyond) == " ", (shown.title, line)
        place += len(shown.title)


def in_cells(line: str, place: int) -> str:
    """What stands in this cell; a space beyond the end."""
    cells = [part for character in line for part in [character] * cell_len(character)]
    return cells[place] if 0 <= place < len(cells) else " "


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200, 400])
@pytest.mark.parametrize("each", PANES, ids=lambda pane: pane.name)
def test_a_terminal_gets_what_fits(each: PaneKind[Any], width: int) -> None:
    lines = text(busy(), each.name, width=width)[4:]
    assert max(map(cell_len, lines)) <= width
    kept = [column.key for column in each.columns if column.priority == 1 and column.title in lines[0]]
    assert kept


def test_a_wide_terminal_hides_nothing() -> None:
    assert text(busy(), "dns", "processes", width=1000) == text(busy(), "dns", "processes")


def test_what_is_cut_keeps_its_port() -> None:
    name = "a-very-long-name-of-a-host-that-does-not-fit.example.com"
    lines = text(snapshot(connections=[connection(1, "curl", name)]), "connections", width=60)
    assert "…:443 " in lines[5]


def test_the_column_to_sort_by_is_seen_however_narrow_it_is() -> None:
    lines = text(busy(), "connections", width=60, sort="srtt")
    assert lines[3] == "Connections: 10, by SRTT"
    assert "SRTT" in lines[4]
    assert "11ms" in lines[5]


def test_a_chart_is_not_text() -> None:
    assert "TRAFFIC" not in text(busy(), "processes")[4]
    assert text(busy(), "processes")[3] == "Processes: 6, by TRAFFIC"


def test_an_empty_table_says_why() -> None:
    assert text(snapshot(), "udp")[3:] == ["UDP: no UDP yet"]
    assert text(Filter("pid:1").apply(busy()), "udp")[-1] == "UDP: no UDP flows match the filter"


def test_a_term_that_does_not_apply_is_named() -> None:
    lines = text(Filter("state:closed").apply(busy()), "processes")
    assert lines[4] == "Processes: 6, by TRAFFIC; the filter's state:closed does not apply here"


def test_it_has_neither_colours_nor_lines() -> None:
    whole = table_text(busy(losses=LOSSES), Wanted(PANES)).decode()
    assert whole.replace("\n", "").isprintable()
    assert not set(whole) & set("│┃─━┌┐└┘├┤┼▁▂▃▄▅▆▇█")


# Order


def test_sort_and_top() -> None:
    lines = text(busy(), "connections", sort="rx", top=2)
    assert lines[3] == "Connections: 2 of 10, by RX"
    assert ["9.3G" in lines[5], "68.7K" in lines[6], len(lines)] == [True, True, 7]
    assert "9.3G" in text(busy(), "connections", sort="rx", descending=False)[-1]


def test_a_table_without_the_column_keeps_its_own_order() -> None:
    lines = text(busy(), "dns", "processes", sort="tx")
    assert [line for line in lines if ", by " in line] == ["DNS: 9, by TIME", "Processes: 6, by TX"]


@pytest.mark.parametrize(
    ("name", "key"),
    [("tx", "tx"), ("TX", "tx"), ("TX/s", "tx_rate"), ("tx_bytes", "tx"), ("age", "age"), ("nothing", None)],
)
def test_a_column_has_a_key_a_title_and_a_field(name: str, key: str | None) -> None:
    found = named(pane("connections"), name)
    assert (found.key if found is not None else None) == key


def test_every_column_can_be_sorted_by() -> None:
    for kind in KINDS:
        for each in apart(COLUMNS[kind]):
            for name in (each.key, each.title):
                assert named(pane(kind.name), name) is each
                table_text(busy(), wanted(kind.name, sort=name))


# CSV


def read(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))


@pytest.mark.parametrize("each", PANES, ids=lambda pane: pane.name)
def test_csv_has_the_values_of_the_json(each: PaneKind[Any]) -> None:
    in_json = json.loads(snapshot_json(busy()))[each.name]
    found = read(csv_text(busy(), wanted(each.name)))
    assert len(found) == len(in_json) > 0
    paths = fields(each.kind.row)
    assert [*found[0]] == [".".join(path) for path in paths]
    by_fields = [{name: value(row, name) for name in found[0]} for row in in_json]
    assert sorted(found, key=repr) == sorted(by_fields, key=repr)


def value(row: Any, name: str) -> str:
    """What CSV says where JSON says this."""
    for part in name.split("."):
        row = None if row is None else row[part]
    if isinstance(row, str):
        return row
    return "" if row is None else json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def test_csv_lines_end_as_the_rfc_says() -> None:
    content = csv_text(busy(), wanted("dns"))
    assert content.count(b"\r\n") == content.count(b"\n") == 10
    assert not content.startswith(b"\xef\xbb\xbf")


def test_csv_is_sorted_and_cut_like_a_table() -> None:
    found = read(csv_text(busy(), wanted("connections", sort="rx", top=2)))
    assert [row["rx_bytes"] for row in found] == ["9999999999", "70321"]


def test_csv_counts_what_is_open_until_now() -> None:
    (row,) = read(csv_text(snapshot(connections=[connection(1, "curl", None)]), wanted("connections")))
    assert row["duration_ms"] == "59000.0"


DANGEROUS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "'=1",
    "'",
    "  =1",
    '"=1',
    "a;=1",
    "a; -1",
    'a;"@x',
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff20x",
]


@pytest.mark.parametrize("comm", DANGEROUS)
def test_no_cell_begins_like_a_formula(comm: str) -> None:
    """Not even where a semicolon separates, as spreadsheets have it in half of Europe."""
    seen = snapshot([query(1, "curl", comm)], processes=[builders.process(comm=comm, cmdline=(comm, "x"))])
    for name, field in (("dns", "qname"), ("processes", "comm")):
        content = csv_text(seen, wanted(name))
        (row,) = read(content)
        assert undone(row[field]) == comm
        for separator in ",;":
            for line in csv.reader(io.StringIO(content.decode(), newline=""), delimiter=separator):
                for cell in line:
                    assert cell.strip('" ')[:1] not in {*"=+-@\uff1d\uff0b\uff0d\uff20"}, cell


def undone(cell: str) -> str:
    """What docs/json.md says how to get back what was there."""
    return re.sub(r"""(^|;)'(?=["\s]*['=+\-@\uff1d\uff0b\uff0d\uff20])""", r"\1", cell)


@pytest.mark.parametrize("comm", ["nginx", "a=b", "a-b", "it's", "a;b", "x@y", "C++"])
def test_an_ordinary_text_stays_as_it_is(comm: str) -> None:
    (row,) = read(csv_text(snapshot(processes=[builders.process(comm=comm)]), wanted("processes")))
    assert row["comm"] == comm


def test_text_with_commas_and_quotes_is_one_cell() -> None:
    (row,) = read(csv_text(snapshot(processes=[builders.process(comm='a,"b"')]), wanted("processes")))
    assert row["comm"] == 'a,"b"'


# Groups

OWNED = snapshot(
    connections=[
        connection(1, "curl", None, tx_bytes=100),
        closed(2, "curl", None, "refused"),
        connection(3, "nginx", None, tx_bytes=7, opened_before_start=True, opened_at=None, duration_ms=None),
    ],
    processes=[process("curl"), process("nginx")],
)


def test_the_groups_that_help_names_are_those_of_the_screen() -> None:
    known: dict[str, tuple[str, ...]] = {}
    for each in GROUPINGS:
        known[each.kind.name] = (*known.get(each.kind.name, ()), each.name)
    assert known == GROUPS


def test_each_group_has_a_line() -> None:
    lines = text(OWNED, "connections", group="unit")
    assert lines[3] == "Connections by unit: 2 units, by COUNT"
    assert lines[4].split()[:5] == ["UNIT", "COUNT", "OPEN", "/s", "FAILED"]
    assert [line.split()[:6] for line in lines[5:]] == [
        ["curl.service", "2", "1", "-", "!", "1"],
        ["nginx.service", "1", "1", "-", "-", "-"],
    ]
    assert text(OWNED, "connections", group="unit", sort="tx", descending=False)[5].startswith("nginx.service ")
    by_state = text(OWNED, "connections", group="state", top=1)
    assert by_state[3] == "Connections by state: 1 of 2 states, by COUNT"
    assert len(by_state) == 6
    assert text(OWNED, "processes", group="user", top=1, width=60)[3] == "Processes by user: 1 of 2 users, by TX/s"
    assert text(snapshot(), "dns", group="name")[3] == "DNS by name: no DNS queries yet"


@pytest.mark.parametrize("each", GROUPINGS, ids=lambda grouping: grouping.pane.name)
def test_groups_can_be_sorted_by_every_column_as_text_and_as_csv(each: Grouping) -> None:
    number = len({line["group"] for line in read(csv_text(busy(), wanted(each.kind.name, group=each.name)))})
    for column in each.pane.columns:
        chosen = wanted(each.kind.name, group=each.name, sort=column.key)
        head, titles, *lines = table_text(busy(), chosen).decode().splitlines()[3:]
        assert head.endswith(f", by {column.title}")
        assert [one.title for one in each.pane.columns if one.title not in titles] == []
        assert len(lines) == len(read(csv_text(busy(), chosen))) >= number > 0
        assert read(csv_text(snapshot(), chosen)) == []


def test_csv_of_groups_has_exact_values() -> None:
    curl, nginx = read(csv_text(OWNED, wanted("connections", group="unit")))
    assert (curl["group"], curl["count"], curl["tx"], curl["oldest"]) == ("curl.service", "2", "100", "59000.0")
    assert (curl["failed"], curl["failed_of"], nginx["failed"], nginx["failed_of"]) == ("1", "2", "0", "1")
    assert (curl["oldest_at_least"], nginx["oldest"], nginx["oldest_at_least"]) == ("false", "60000.0", "true")
    assert json.loads(curl["who"]) == [{"comm": "curl", "pid": 4242, "processes": 1}]
    asked = snapshot([query(1, "curl", "x.example", "NXDOMAIN")])
    (found,) = read(csv_text(asked, wanted("dns", group="look-up")))
    assert (found["result"], found["time"]) == ("NXDOMAIN", "2026-03-01T12:00:01.123457Z")


@pytest.mark.parametrize("name", DANGEROUS)
def test_no_group_begins_like_a_formula(name: str) -> None:
    (found,) = read(csv_text(snapshot([query(1, "curl", name)]), wanted("dns", group="name")))
    assert found["group"] != name
    assert undone(found["group"]) == name.lower()


# The command line


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "snapshot.json"
    path.write_bytes(snapshot_json(busy()))
    return path


def test_a_replay_writes_each_format(capfd: pytest.CaptureFixture[str], recording: Path, tmp_path: Path) -> None:
    replay = ("replay", "--snapshot", recording, "--format")
    assert outcome(capfd, *replay, "json") == (0, snapshot_json(busy()).decode(), "")
    expected = table_text(busy(), wanted("dns", "processes", sort="tx", top=2)).decode()
    options = ("--table", "dns,processes", "--sort", "tx", "--top", "2")
    assert outcome(capfd, *replay, "table", *options) == (0, expected, "")
    assert outcome(capfd, *replay, "csv", "--table", "udp", "-o", tmp_path / "udp.csv") == (0, "", "")
    assert (tmp_path / "udp.csv").read_bytes() == csv_text(busy(), wanted("udp"))


def test_the_tables_are_those_of_the_screen_with_their_sort(
    capfd: pytest.CaptureFixture[str], recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETTOP_PANES", "udp,dns")
    monkeypatch.setenv("NETTOP_DNS_SORT", "latency")
    monkeypatch.setenv("NETTOP_DNS_COLUMNS", "name,latency")
    _, output, _ = outcome(capfd, "replay", "--snapshot", recording, "--format", "table")
    assert [line for line in output.splitlines() if ", by " in line] == ["UDP: 4, by RX", "DNS: 9, by LATENCY"]
    assert "SERVER" in output, "a pipe gets all columns"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--format tabel", "'tabel' is not a format. Did you mean 'table'?"),
        ("--format table --table conections", "'conections' is not a table. Did you mean 'connections'?"),
        ("--format table --table dns,x", "'x' is not a table. Choose from dns, connections, processes, "),
        ("--format table --table udp --sort latncy", "'latncy' is not a column of udp. Choose from pid, comm, "),
        ("--format table --sort latncy", "'latncy' is not a column of dns or connections or processes. Did you "),
        ("--format table --sort=tx:up", "'tx:up' is not a column of dns or "),
        ("--format table --top 0", "'0' is not a number of rows. Give --top a number from 1 to 1000000."),
        ("--format table --top x", "'x' is not a number of rows. Give --top a number from 1 to 1000000."),
        ("--format table --group nuit", "'nuit' is not a group. Did you mean 'unit'?"),
        ("--format table --table dns,hosts --group unit", "There is no group 'unit' of hosts. Choose from scope, net"),
        ("--format table --group unit --sort open --table dns", "'open' is not a column of dns by unit. Choose from "),
        ("--format csv --group unit", "CSV holds one table. Say which with --table: dns, connections, proc"),
        ("--group unit", "--group is for tables, and JSON has all rows. Add --format table or --format csv."),
        ("--format csv", "CSV holds one table. Say which with --table: dns, connections, processes, "),
        ("--format csv --table dns,udp", "CSV holds one table. Say which "),
        ("--top 3", "--top is for tables, and JSON has all rows. Add --format table or --format csv."),
        ("--sort tx --format json", "--sort is for tables, and JSON has all rows. Add --format table or --format csv."),
    ],
)  # fmt: skip
def test_a_wrong_format(capfd: pytest.CaptureFixture[str], recording: Path, options: str, message: str) -> None:
    code, output, error = outcome(capfd, "replay", "--snapshot", recording, *options.split())
    assert (code, output, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"nettop: {message}")


def test_a_wrong_direction(capfd: pytest.CaptureFixture[str], recording: Path) -> None:
    options = ("--format", "table", "--sort", "tx up")
    code, _, error = outcome(capfd, "replay", "--snapshot", recording, *options)
    assert (code, error) == (2, "nettop: 'up' is not a direction to sort in. Write 'tx asc' or 'tx desc'.\n")


@pytest.mark.parametrize(
    "options",
    ["-o x", "--force", "--format table", "--table dns", "--sort tx", "--top 3", "--group unit", "-o x --demo"],
)
def test_a_replay_on_the_screen_does_not_forget_what_it_should_write(
    capfd: pytest.CaptureFixture[str], recording: Path, options: str
) -> None:
    file = [] if "--demo" in options else [recording]
    code, output, error = outcome(capfd, "replay", *file, *options.split())
    assert (code, output) == (2, "")
    assert error == (
        f"nettop: {options.split(maxsplit=1)[0]} is for what is written, and a replay on the screen writes nothing. "
        "Add --snapshot to write the final snapshot instead.\n"
    )


def test_a_recording_of_hostile_text_stays_text() -> None:
    hostile = builders.process(comm="\x1b[2J\n", cmdline=("a\u202eb",))
    whole = table_text(snapshot(processes=[hostile]), wanted("processes")).decode()
    assert whole.replace("\n", "").isprintable()
    assert msgspec.structs.asdict(hostile)["comm"] not in whole


def test_a_row_has_its_service_though_the_filter_leaves_its_process_out(
    capfd: pytest.CaptureFixture[str], recording: Path
) -> None:
    options = ("--format", "table", "--filter", "new", "--table", "processes,dns")
    _, output, _ = outcome(capfd, "replay", "--snapshot", recording, *options)
    assert "Processes: no processes match the filter\n" in output
    assert "curl.service" in output.splitlines()[-1]
    _, output, _ = outcome(capfd, "replay", "--snapshot", recording, *options, "--group", "unit")
    assert "\n(none)" not in output


def test_without_a_table_each_that_has_the_group_is_written(capfd: pytest.CaptureFixture[str], recording: Path) -> None:
    replay = ("replay", "--snapshot", recording, "--format")
    _, output, _ = outcome(capfd, *replay, "table", "--group", "Process", "--sort", "oldest")
    heads = [line for line in output.splitlines() if " by process: " in line]
    assert [head.partition(":")[0] for head in heads] == [
        f"{title} by process" for title in ("DNS", "Connections", "Listeners", "UDP", "Requests", "Look-ups")
    ]
    assert [head.endswith(", by OLDEST") for head in heads] == [True, True, False, False, True, True]
    _, output, _ = outcome(capfd, *replay, "csv", "--group", "user")
    assert {row["group"] for row in read(output.encode())} >= {"ada", "www-data"}


def test_a_terminal_gets_a_table_as_wide_as_it_is(
    capfd: pytest.CaptureFixture[str], recording: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    primary, secondary = pty.openpty()
    termios.tcsetwinsize(secondary, (24, 70))
    replay = ("replay", "--snapshot", recording, "--format", "table")
    try:
        monkeypatch.setattr(tables, "_STDOUT", secondary)
        _, on_a_terminal, _ = outcome(capfd, *replay)
        outcome(capfd, *replay, "-o", tmp_path / "file")
    finally:
        os.close(primary)
        os.close(secondary)
    stacked = ("dns", "connections", "processes")
    assert on_a_terminal == table_text(busy(), wanted(*stacked, width=70)).decode()
    assert (tmp_path / "file").read_bytes() == table_text(busy(), wanted(*stacked))
