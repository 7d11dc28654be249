"""The menus of columns, and the columns that step back: pure questions, and a few presses."""

from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot

from nettop.errors import RunError
from nettop.model import rows
from nettop.model.kinds import CONNECTIONS, DNS, LISTENERS, PROCESSES, UDP
from nettop.tui.choices import letters
from nettop.tui.detail import DetailScreen
from nettop.tui.picker import ColumnPicker
from nettop.view.arrangement import Picked, picked, restored, sort_line, sortable
from nettop.view.look import Look
from nettop.view.panes import PANES, PaneKind, column_beside
from nettop.view.said import said_by_detail, said_by_filter
from tests import builders
from tests.tui.scene import (
    FakeFeed,
    FakePlayer,
    busy,
    connection,
    lines,
    notices,
    play,
    query,
    settled,
    snapshot,
    table,
    text,
    the_app,
    until,
)

CONNECTIONS_PANE = next(pane for pane in PANES if pane.kind is CONNECTIONS)
BOTH = frozenset({"pid", "comm"})


@pytest.mark.parametrize("pane", PANES)
def test_each_column_has_a_letter_of_its_own(pane: PaneKind[Any]) -> None:
    offered = letters([sort_line(column, None) for column in sortable(pane)])
    assert all(len(letter) == 1 and letter.isalpha() for letter in offered)
    assert len(set(offered)) == len(offered)
    assert {column.key for column in sortable(pane)} == {c.key for c in pane.columns if not c.instead_of}


def test_hidden_columns_can_be_sorted_by_in_their_place() -> None:
    pane = CONNECTIONS_PANE.arranged(["remote", "srtt", "pid"], "srtt")
    assert [column.key for column in sortable(pane)][:2] == ["opened", "remote"]
    assert column_beside(pane, "pid", 1).key == "opened"  # the first of those that are hidden
    assert column_beside(pane, "remote", -1).key == "end"


def test_what_the_picker_does() -> None:
    shown = picked(CONNECTIONS_PANE)
    assert shown.toggled("local").toggled("local") == shown
    assert shown.moved("opened", -1) == shown
    assert shown.moved("opened", 2).keys[:3] == ("pid", "comm", "opened")
    assert shown.moved("opened", 99).keys[-1] == "opened"
    assert Picked(("a", "b"), frozenset({"b"})).toggled("b").shown == {"b"}  # one stays
    pane = shown.toggled("local").moved("end", -2).applied(CONNECTIONS_PANE)
    assert [column.key for column in pane.hidden] == ["local"]
    assert picked(pane).keys.index("local") == shown.keys.index("local")  # where it would be
    assert pane.column("local").title == "LOCAL"


def test_a_choice_is_restored_on_top_of_the_settings() -> None:
    configured = CONNECTIONS_PANE.arranged(["remote", "pid", "comm"], "opened")
    pane = restored(configured, ["comm", "srtt"], ["remote", "pid"])
    assert [column.key for column in pane.columns] == ["comm", "srtt"]
    assert restored(configured, [], []) is configured


ONE = [builders.connection(id=1, pid=1, comm="a"), builders.connection(id=2, pid=1, comm="a")]


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ("pid:1", BOTH),
        ("dns:failed pid:1", BOTH),
        ("comm:a", {"comm"}),
        ('comm:"a"', {"comm"}),
        ("comm:a pid:1", BOTH),
        ("comm:a*", ()),
        ("-pid:2", ()),
        ("pid:1 | pid:2", ()),
        ("pid:1 or pid:2", ()),
        ("(pid:1)", ()),
        ("", ()),
    ],
)
def test_what_a_filter_says(chosen: str, said: Any) -> None:
    assert said_by_filter(CONNECTIONS, ONE, chosen) == frozenset(said)


def test_columns_stay_where_the_rows_differ_or_say_more() -> None:
    assert said_by_filter(CONNECTIONS, [*ONE, builders.connection(pid=1, comm="b")], "pid:1") == frozenset()
    assert said_by_filter(CONNECTIONS, [*ONE, builders.connection(pid=2, comm="a")], "comm:a") == {"comm"}
    doubtful = builders.connection(pid=1, comm="a", owner="listener")
    assert said_by_filter(CONNECTIONS, [*ONE, doubtful], "pid:1") == frozenset()
    assert said_by_filter(UDP, [builders.udp_socket(pid=1, comm="a", closed=True)], "pid:1") == frozenset()
    assert said_by_filter(PROCESSES, [builders.process(pid=1)], "pid:1") == frozenset()  # it is what the row is about
    assert said_by_filter(LISTENERS, [builders.listener(pid=1)], "pid:1") == frozenset()
    assert said_by_filter(CONNECTIONS, [], "pid:1") == frozenset()


def test_what_a_detail_says() -> None:
    process = builders.process(pid=1, comm="a")
    assert said_by_detail(CONNECTIONS, ONE, process) == BOTH | {"service"}
    assert said_by_detail(CONNECTIONS, [], process) == BOTH | {"service"}
    assert said_by_detail(DNS, [builders.dns_query(pid=2, comm="a")], process) == frozenset()
    nobody = builders.connection(pid=None, comm=None)
    assert said_by_detail(CONNECTIONS, [nobody], nobody) == frozenset()


def test_pid_and_comm_step_back_for_the_title() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("down", "down", "down", "f")  # nginx, which is the owner of one by its listener only
        await pilot.pause()
        assert "WHO" in text(pilot)
        await pilot.press("escape", "g", "f")
        await pilot.pause()
        shown = [column.key for column in table(pilot).visible_columns()]
        assert not {"who", "pid", "comm"} & set(shown)
        assert "2 Connections 3 of 10 · curl[4242] · by OPENED" in text(pilot)
        await pilot.press("3", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DetailScreen) and "REMOTE" in text(pilot))
        assert "curl[4242]" not in text(pilot)
        assert "WHO" not in text(pilot)

    play(steps, FakeFeed(busy()), (80, 40))


def pair() -> tuple[rows.Connection, rows.Connection]:
    mine = connection(1, "curl", None, peer=rows.Peer(id=2, pid=900, comm="nginx"))
    theirs = connection(2, "nginx", None, direction="inbound", peer=rows.Peer(id=1, pid=4242, comm="curl"))
    return mine, theirs


def test_enter_goes_to_the_other_end_and_back() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("G")  # opened first: the client
        assert "nginx[900]" in next(line for line in lines(pilot) if "established" in line)
        await pilot.press("enter")
        await until(pilot, lambda: "Connection 1" in lines(pilot)[0] and "nginx[900] on this host" in text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "Connection 2" in lines(pilot)[0] and "curl[4242] on this host" in text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: "Connection 1" in lines(pilot)[0])

    play(steps, FakeFeed(snapshot([query(1, "curl", "x.example")], pair())), (80, 40))


def test_an_other_end_without_a_row_is_named_all_the_same() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("enter")
        await until(pilot, lambda: "nginx[900] on this host, connection 2" in text(pilot))

    play(steps, FakeFeed(snapshot(connections=pair()[:1])))


def test_a_wait_is_seen_at_80_columns_as_long_as_somebody_waits() -> None:
    def waiting(seconds: float, since: float | None) -> Any:
        waits = {} if since is None else {"waits_for": "remote", "waits_since": builders.at(since)}
        return snapshot(connections=[connection(1, "curl", None, **waits)], seconds=seconds)

    async def steps(pilot: Pilot[None]) -> None:
        def seen() -> bool:
            return "wait" in {column.key for column in table(pilot).visible_columns()}

        assert not seen()  # for half a second
        for second in range(2):
            the_app(pilot)._feed.latest = waiting(63 + second, 59.5)  # type: ignore[misc]
            the_app(pilot).tick()
            await pilot.pause()
        assert seen()
        assert "remote 4s" in text(pilot)
        for second in range(40):  # it goes, but not with the first answer
            the_app(pilot)._feed.latest = waiting(70 + second, None)  # type: ignore[misc]
            the_app(pilot).tick()
            if second == 1:
                assert seen()
        await pilot.pause()
        assert not seen()

    play(steps, FakeFeed(waiting(60, 59.5)), (80, 24))


def test_a_pane_without_rows_gives_its_lines_away() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.pause()
        assert (table(pilot, "dns").size.height, table(pilot, "processes").size.height) == (3, 3)
        assert table(pilot).size.height > 20
        await pilot.press("z")
        await pilot.pause()
        assert table(pilot).size.height > 30
        await pilot.press("z", "2")
        await pilot.pause()
        assert table(pilot, "dns").size.height == 3

    play(steps, FakeFeed(snapshot(connections=[connection(n, "curl", None) for n in range(1, 60)])), (120, 40))


def test_a_click_in_the_menus() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("o")
        await pilot.pause()
        y = next(at for at, line in enumerate(lines(pilot)) if "smoothed" in line)
        await pilot.click(offset=(lines(pilot)[y].index("smoothed"), y))
        await pilot.pause()
        assert the_app(pilot)._main.state.sorts["connections"] == ("srtt", True)
        await pilot.press("f2")
        await pilot.pause()
        y = next(at for at, line in enumerate(lines(pilot)) if "] DIR " in line)
        await pilot.click(offset=(lines(pilot)[y].index("DIR"), y))
        await pilot.pause()
        assert "[ ] DIR" in lines(pilot)[y]
        assert isinstance(pilot.app.screen, ColumnPicker)

    play(steps, FakeFeed(busy()), (120, 50))


def test_arrows_are_the_players_in_a_recording() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        before = table(pilot).visible_columns()
        await pilot.press("right")
        assert table(pilot).visible_columns() == before
        await pilot.press("L")
        assert table(pilot).visible_columns() != before

    feed = FakePlayer(busy())
    play(steps, feed, (80, 24), mode="REPLAY")
    assert ("go", 5) in feed.told


def test_groups_are_sorted_and_scrolled_as_rows_are_but_keep_their_columns() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        def sorted_by() -> tuple[str, bool]:
            return the_app(pilot)._main.sorted_by

        await pilot.press("b")
        await until(pilot, lambda: table(pilot).pane.name == "connections by host")
        before = sorted_by()
        await pilot.press("o", "up", "enter")
        await until(pilot, lambda: sorted_by() != before)
        columns = [column.key for column in table(pilot).pane.columns]
        assert sorted_by()[0] == columns[0]
        await pilot.press("greater_than_sign")
        await until(pilot, lambda: sorted_by()[0] == columns[1])
        await pilot.press("right", "right")
        shown = [column.key for column in table(pilot).visible_columns()]
        assert shown[0] == columns[0]
        assert shown != columns[: len(shown)]
        await pilot.press("f2")
        await until(pilot, lambda: notices(pilot))
        assert notices(pilot) == ["Groups have the columns that they have; esc goes back to rows."]

    play(steps, FakeFeed(busy()), (60, 24))


def test_columns_of_rows_are_the_chosen_ones_in_a_group_and_after_it() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        def columns() -> list[str]:
            return [column.key for column in table(pilot).pane.columns]

        await pilot.press("b", "enter")
        await until(pilot, lambda: table(pilot).pane.name == "connections")
        assert columns()[0] == "opened"
        await pilot.press("f2", "space", "enter")
        await until(pilot, lambda: "opened" not in columns())
        chosen = columns()
        await pilot.press("escape")
        await until(pilot, lambda: table(pilot).pane.name == "connections by host")
        await pilot.press("escape")
        await until(pilot, lambda: table(pilot).pane.name == "connections")
        assert columns() == chosen

    play(steps, FakeFeed(busy()))


def test_the_sign_of_what_is_new_stays_in_front() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        def titles() -> str:
            return next(line for line in lines(pilot) if "REMOTE" in line)

        before = titles()
        await pilot.press("m")
        await until(pilot, lambda: titles().startswith("  "))
        assert table(pilot).visible_columns()[0].key != "new"  # it is none that one sorts by
        await pilot.press("L", "L")
        await until(pilot, lambda: "◂" in titles())
        assert titles().startswith("  ")
        await pilot.press("U", "H", "H")
        await until(pilot, lambda: titles() == before)

    play(steps, FakeFeed(busy()), (80, 24))


def test_what_cannot_be_remembered_is_said() -> None:
    def fails(_pane: PaneKind[Any]) -> None:
        raise RunError("The disk is full.", "Free some space.")

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("f2", "space", "enter")
        await until(pilot, lambda: notices(pilot))
        assert notices(pilot) == ["The columns are not remembered. The disk is full. Free some space."]

    play(steps, FakeFeed(busy()), look=replace(Look(), remember=fails))


def test_columns_are_as_wide_as_with_the_filter_from_the_start() -> None:
    """And not as what the filter has left out needed: how wide they were would depend on what one saw before."""
    seen: list[list[str]] = []

    async def typed(pilot: Pilot[None]) -> None:
        the_app(pilot)._main.set_filter("comm:curl")
        await settled(pilot)
        seen.append(lines(pilot)[3:])

    async def given(pilot: Pilot[None]) -> None:
        await settled(pilot)
        seen.append(lines(pilot)[3:])

    play(typed, FakeFeed(busy()), (80, 24))
    play(given, FakeFeed(busy()), (80, 24), chosen="comm:curl")
    assert seen[0] == seen[1]
