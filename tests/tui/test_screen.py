"""The screen as its users meet it: the cursor, the mouse, the filter bar, pausing, exporting, details."""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot

from nettop.model import rows
from nettop.model.filter import Filter, understood
from nettop.model.snapshot import Snapshot
from nettop.tui.app import export_name, write_snapshot
from nettop.tui.detail import DetailScreen
from nettop.tui.filter_bar import FilterBar
from nettop.tui.finding_line import FindingLine
from nettop.tui.main import MainScreen
from nettop.tui.table import RowTable
from tests import builders
from tests.live.lab import check_snapshot
from tests.tui.scene import (
    FakeFeed,
    FakePlayer,
    busy,
    closed,
    connection,
    ids,
    lines,
    notices,
    play,
    process,
    query,
    settled,
    show,
    snapshot,
    table,
    text,
    the_app,
    until,
)


def only(numbers: Sequence[int], seconds: float = 60.0) -> Snapshot:
    """Connections with these ids, opened in their order."""
    return snapshot(connections=[connection(number, "curl", None) for number in numbers], seconds=seconds)


def cursor(pilot: Pilot[None]) -> int:
    row = table(pilot).cursor_row
    assert row is not None
    return int(row.id)


def cursor_line(pilot: Pilot[None]) -> int:
    """Where on the screen the cursor is."""
    return table(pilot)._cursor - table(pilot)._top


async def write(pilot: Pilot[None], expression: str) -> None:
    """Into the open filter bar, at once."""
    the_app(pilot)._main.query_one(FilterBar)._write(expression)
    await pilot.pause()
    await pilot.pause()


class TestCursor:
    def test_follows_the_top_until_it_is_moved(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            assert cursor(pilot) == 3
            await show(pilot, only([1, 2, 3, 4]))
            assert cursor(pilot) == 4
            await pilot.press("down")
            await show(pilot, only([1, 2, 3, 4, 5, 6]))
            assert cursor(pilot) == 3
            await pilot.press("g")
            assert cursor(pilot) == 6
            await show(pilot, only([1, 7]))
            assert cursor(pilot) == 7

        play(steps, FakeFeed(only([1, 2, 3])))

    def test_stays_on_its_row_through_sort_filter_and_names(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("down", "down", "down")
            assert cursor(pilot) == 6
            for key in ("s", "s", "S", "a", "h", "z", "z", "h"):
                await pilot.press(key)
                assert cursor(pilot) == 6
            await pilot.press("f")
            assert (cursor(pilot), set(ids(pilot))) == (6, {5, 6})
            await pilot.press("escape")
            assert cursor(pilot) == 6
            await show(pilot, busy(61))
            assert cursor(pilot) == 6

        play(steps, FakeFeed(busy()))

    def test_stays_on_its_line_while_rows_come_above(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press(*["down"] * 20)
            before = cursor_line(pilot)
            assert cursor(pilot) == 80
            await show(pilot, only(range(1, 151)))
            assert (cursor(pilot), cursor_line(pilot)) == (80, before)

        play(steps, FakeFeed(only(range(1, 101))))

    def test_goes_to_the_next_row_when_its_own_disappears(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("down", "down")
            assert cursor(pilot) == 3
            await show(pilot, only([1, 2, 4, 5]))
            assert cursor(pilot) == 2
            await show(pilot, only([4, 5]))
            assert cursor(pilot) == 4
            await show(pilot, only([]))
            assert table(pilot).cursor_row is None
            await show(pilot, only([8, 9]))
            assert cursor(pilot) == 9

        play(steps, FakeFeed(only([1, 2, 3, 4, 5])))

    def test_is_always_seen(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            for key in ("G", "k", "pageup", "pagedown", "g", "pagedown", "pagedown", "j"):
                await pilot.press(key)
                await pilot.pause()
                assert 0 <= cursor_line(pilot) < table(pilot).size.height - 1
            await pilot.resize_terminal(80, 15)
            await pilot.pause()
            assert 0 <= cursor_line(pilot) < table(pilot).size.height - 1

        play(steps, FakeFeed(only(range(1, 501))))


def test_only_the_cell_that_failed_has_its_colour() -> None:
    """A row that failed reads like any other, and an incident is no wall of red."""

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "z")
        await pilot.pause()
        shown = table(pilot, "dns")
        styles = {name: shown._style((name,)).color for name in ("failed", "doubtful", "")}
        assert len(set(styles.values())) == 3
        y = next(y for y in range(1, 20) if "no-such-name" in shown.render_line(y).text)
        coloured = {
            name: "".join(part.text for part in shown.render_line(y) if part.style and part.style.color == color)
            for name, color in styles.items()
        }
        assert coloured["doubtful"].strip() == "! NXDOMAIN"
        assert "chromium" in coloured[""]
        y = next(y for y in range(1, 20) if "broken" in shown.render_line(y).text)
        red = [part.text for part in shown.render_line(y) if part.style and part.style.color == styles["failed"]]
        assert [part.strip() for part in red] == ["! SERVFAIL"]
        assert all(shown.render_line(y).cell_length == shown.size.width for y in range(20))

    play(steps, FakeFeed(busy()))


class TestMouse:
    def test_a_click_selects_and_two_open(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.click("#table-dns", offset=(10, 3))
            assert the_app(pilot)._main.active == "dns"
            row = table(pilot, "dns").cursor_row
            assert row is not None
            assert row.id == 7
            await pilot.click("#table-dns", offset=(10, 20))  # below the last row
            assert table(pilot, "dns").cursor_row is row
            await pilot.click("#table-connections", offset=(10, 1), times=2)
            await pilot.pause()
            assert lines(pilot)[0].strip() == "Connection 10"

        play(steps, FakeFeed(busy()), (120, 60))

    def test_a_click_on_a_title_sorts_and_again_turns_round(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            x = (
                text(pilot)
                .splitlines()[[line.startswith(" 2 Conn") for line in lines(pilot)].index(True) + 1]
                .index("TX/s")
            )
            await pilot.click("#table-connections", offset=(x, 0))
            assert the_app(pilot)._main.state.sorts["connections"] == ("tx_rate", True)
            assert ids(pilot)[0] == 6
            await pilot.click("#table-connections", offset=(x, 0))
            assert the_app(pilot)._main.state.sorts["connections"] == ("tx_rate", False)
            await pilot.click("#table-dns", offset=(1, 0))
            assert the_app(pilot)._main.active == "dns"
            assert the_app(pilot)._main.state.sorts["dns"] == ("time", False)

        play(steps, FakeFeed(busy()))

    def test_the_wheel_scrolls_and_the_cursor_stays_in_sight(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            rows_table = table(pilot)
            await pilot._post_mouse_events([events.MouseScrollUp], "#table-connections")
            assert rows_table._cursor_key is None  # nothing moved: the top is still followed
            await pilot._post_mouse_events([events.MouseScrollDown], "#table-connections")
            assert rows_table._top == 3
            assert cursor(pilot) == 97
            await pilot._post_mouse_events([events.MouseScrollUp], "#table-connections")
            assert rows_table._top == 0
            assert cursor(pilot) == 97

        play(steps, FakeFeed(only(range(1, 101))))

    def test_a_click_on_a_tab_goes_there(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.click(the_app(pilot)._main._tabs["processes"])
            await pilot.pause()
            assert the_app(pilot)._main.active == "processes"
            assert "nginx" in text(pilot)

        play(steps, FakeFeed(busy()), (80, 24))

    def test_a_title_in_a_detail_sorts_too(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("3", "enter")
            await pilot.pause()
            screen = pilot.app.screen
            assert isinstance(screen, DetailScreen)
            x = next(line for line in lines(pilot) if "REMOTE" in line).index("REMOTE")
            await pilot.click("#detail-connections", offset=(x, 0))
            assert screen._sorts["connections"] == ("remote", False)
            assert the_app(pilot)._main.state.sorts["connections"] == ("opened", True)

        play(steps, FakeFeed(busy()))


class TestFilterBar:
    def test_filters_while_one_types_and_escape_restores(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("f", "slash")
            await write(pilot, "comm:nginx")
            assert ids(pilot) == [6, 5]
            await write(pilot, "comm:nginx pid:")  # what is understood of it
            assert ids(pilot) == [6, 5]
            assert "Until then: 2 of 10 connections by comm:nginx." in text(pilot)
            await write(pilot, "comm:ngin pid:x")
            assert ids(pilot) == []
            assert "Until then: 0 of 10 connections by comm:ngin." in text(pilot).replace("\n", " ")
            await write(pilot, "pid:x")  # not as it was when it was "pid:" or "pi"
            assert len(ids(pilot)) == 10
            assert "Until then: all 10 connections." in text(pilot)
            await pilot.press("enter")  # which does not close it
            assert the_app(pilot)._main.query_one(FilterBar).has_class("-open")
            await pilot.press("escape")
            assert ids(pilot) == [10, 2, 1]
            assert not the_app(pilot)._main.query_one(FilterBar).has_class("-open")

        play(steps, FakeFeed(busy()))

    @pytest.mark.parametrize(
        ("expression", "marked", "message"),
        [
            ("pidd:4", "^^^^", "There is no filter key 'pidd'."),
            ("comm:curl pid:x", "              ^", "A pid is a whole number"),
            ("comm:curl  | | x", "             ^", "There is nothing before this '|'."),
            ("日本 port:xy", "          ^^", "A port is a whole number"),
        ],
    )
    def test_an_error_is_shown_under_its_place(self, expression: str, marked: str, message: str) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("slash")
            await write(pilot, expression)
            await until(pilot, lambda: message in text(pilot))
            shown = lines(pilot)
            (at,) = [number for number, line in enumerate(shown) if message in line]
            assert shown[at - 1] == marked
            assert shown[at - 2].startswith(expression[:3])

        play(steps, FakeFeed(busy()))

    def test_the_mark_moves_with_what_is_typed(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("slash")
            await write(pilot, "comm:a" + " | comm:a" * 20 + " pid:x")
            await until(pilot, lambda: any(line.strip() == "^" for line in lines(pilot)))
            (mark,) = [line for line in lines(pilot) if line.strip() == "^"]
            (typed,) = [line for line in lines(pilot) if line.endswith("pid:x")]
            assert len(mark) == len(typed)

        play(steps, FakeFeed(busy()), (80, 24))

    def test_the_end_of_a_long_filter_is_seen_when_it_is_edited(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("slash")
            await until(pilot, lambda: any(line.endswith("comm:the-last") for line in lines(pilot)[-5:]))

        play(steps, FakeFeed(busy()), (80, 24), chosen=" | ".join(["comm:a"] * 20 + ["comm:the-last"]))

    def test_a_term_that_does_not_apply_is_said(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("slash")
            await write(pilot, "dns:failed")
            assert "10 of 10 connections · dns:failed chooses DNS only · enter keeps it" in text(pilot)
            await pilot.press("enter")
            await pilot.pause()
            assert "2 Connections 10 · by OPENED ▾ · left out here: dns:failed" in text(pilot)

        play(steps, FakeFeed(busy()))

    def test_a_click_elsewhere_keeps_what_is_understood(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("slash")
            await write(pilot, "comm:nginx")
            await pilot.click("#table-dns", offset=(5, 1))
            await pilot.pause()
            assert not the_app(pilot)._main.query_one(FilterBar).has_class("-open")
            assert the_app(pilot)._main.state.filter.text == "comm:nginx"
            assert the_app(pilot)._main.active == "dns"

        play(steps, FakeFeed(busy()))

    @pytest.mark.parametrize("size", [(60, 24), (80, 24), (120, 40)])
    def test_what_is_wrong_is_never_cut(self, size: tuple[int, int]) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("slash")
            for expression in ("comm:curl dirr:in", "end:bad", "dns:nope", "zzzzz:1", "host:10.77", "rtt:100ms or x"):
                await write(pilot, expression)
                said = " ".join(line.strip() for line in lines(pilot)[-6:-1])
                error = understood(expression)[1]
                assert error is not None
                assert f"{error.message} {error.remedy} Until then: " in said
                assert said.rstrip().endswith(".")

        play(steps, FakeFeed(busy()), size)

    def test_the_choices_follow_what_is_typed_and_what_happens(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("slash", *"state:cl")
            await pilot.pause()
            assert lines(pilot)[-4] == "closed 5  close-wait 0  closing 0"
            await show(pilot, snapshot(connections=[connection(1, "curl", None, state="close-wait")]))
            assert lines(pilot)[-4] == "close-wait 1  closed 0  closing 0"
            await pilot.press("tab", "enter")
            assert the_app(pilot)._main.state.filter.text == "state:close-wait"

        play(steps, FakeFeed(busy()), (80, 24))

    def test_the_choices_are_there_before_one_types(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("slash")
            await pilot.pause()
            assert lines(pilot)[-4].startswith("pid:  comm:  user:  unit:")
            assert lines(pilot)[-3] == "all 10 connections · enter keeps it"

        play(steps, FakeFeed(busy()))

    def test_one_types_on_behind_the_old_filter(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("slash", *"closed", "enter")
            assert the_app(pilot)._main.state.filter.text == "comm:curl closed"
            await pilot.press("slash", "enter")
            assert the_app(pilot)._main.state.filter.text == "comm:curl closed"

        play(steps, FakeFeed(busy()), chosen="comm:curl")

    def test_keys_add_to_what_has_alternatives(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("f", "f")
            assert the_app(pilot)._main.state.filter.text == "(comm:nginx or comm:curl) pid:4242"
            await pilot.press("u")
            assert the_app(pilot)._main.state.filter.text == "comm:nginx or comm:curl"
            await pilot.press("u", "u")
            assert the_app(pilot)._main.state.filter.text == "comm:nginx or comm:curl"

        play(steps, FakeFeed(busy()), chosen="comm:nginx or comm:curl")

    def test_what_finds_nothing_is_named(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("slash")
            await write(pilot, "comm:curl state:last_ack")
            assert "none of 10 connections has state:last_ack" in text(pilot)
            assert "2 Connections 0 of 10 " in text(pilot)

        play(steps, FakeFeed(busy()))

    def test_the_title_counts_what_a_recording_left_out(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            assert "2 Connections 3 of 10 " in text(pilot)
            assert "3 Processes 1 of 6 " in text(pilot)

        play(steps, FakeFeed(Filter("comm:curl").apply(busy())), mode="SNAPSHOT")

    def test_a_filter_from_the_command_line(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            assert ids(pilot) == [6, 5]
            assert "filter comm:nginx" in lines(pilot)[1]

        play(steps, FakeFeed(busy()), chosen="comm:nginx")

    @pytest.mark.parametrize("comm", ['a"b', "a*b", "[x]", "a?c", "-minus", "pid:1", "a|b", "日本"])
    def test_the_comm_of_a_row_finds_that_row_whatever_it_is(self, comm: str) -> None:
        seen = snapshot(connections=[builders.connection(id=1, comm=comm), builders.connection(id=2, comm="other")])

        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("S", "g", "c")
            assert ids(pilot) == [1] if cursor(pilot) == 1 else [2]
            await pilot.press("escape", "down", "c")
            assert len(ids(pilot)) == 1

        play(steps, FakeFeed(seen))


class TestPause:
    def test_the_view_stands_still_while_the_feed_goes_on(self) -> None:
        feed = FakeFeed(busy())

        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("space")
            before = lines(pilot)[1:]
            later = busy(70)
            more = snapshot(
                [*later.dns, query(10, "curl", "new.example.com")],
                [*later.connections, connection(11, "curl", None), connection(12, "curl", None)],
                [process("curl", rx_bytes_per_s=9e9)],
                seconds=70,
            )
            await show(pilot, more)
            assert "PAUSED (+3 new)" in lines(pilot)[0]
            assert "68.4K/s" in lines(pilot)[0]
            assert lines(pilot)[1:] == before
            await pilot.press("s", "S")  # one may look around
            assert len(ids(pilot)) == 10
            await pilot.press("space")
            assert len(ids(pilot)) == 12
            assert "LIVE" in lines(pilot)[0]
            assert feed.told == [("hold", True), ("hold", False)]

        play(steps, feed)

    def test_another_interval_is_seen_at_once_also_on_a_narrow_screen(self) -> None:
        named = rows.Host(name="host-of-a-long-name", kernel="", arch="", boot_id=None)
        feed = FakeFeed(snapshot(host=named))

        async def steps(pilot: Pilot[None]) -> None:
            assert "host-of-a-long-name" in lines(pilot)[0]
            assert "every 1 s" not in lines(pilot)[0]
            feed.pace = "every 2 s"
            feed.changed()  # no new snapshot: the next one may be a minute away
            await until(pilot, lambda: "every 2 s" in lines(pilot)[0])

        async def connected(pilot: Pilot[None]) -> None:
            feed.start(the_app(pilot).feed_changed)
            await steps(pilot)

        play(connected, feed, (72, 24))

    def test_a_recording_that_has_ended_says_so(self) -> None:
        feed = FakePlayer(busy())

        async def steps(pilot: Pilot[None]) -> None:
            assert " REPLAY " in lines(pilot)[0]
            feed.finished = True
            await show(pilot, busy(61))
            assert " END OF RECORDING " in lines(pilot)[0]

        play(steps, feed, mode="REPLAY")


class TestExport:
    @pytest.fixture(autouse=True)
    def somewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def test_the_paused_view_and_the_filter(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("space")
            await show(pilot, only([77]))
            await pilot.press("f", "e")
            await until(pilot, lambda: notices(pilot))
            (file,) = Path().iterdir()
            written = check_snapshot(file.read_bytes())
            assert (written.paused, written.filter) == (True, "pid:4242")
            assert [row.id for row in written.connections] == [1, 2, 10]
            assert [row.id for row in written.dns] == [1, 2, 9]
            assert written.captured_at == busy().captured_at

        play(steps, FakeFeed(busy()))

    def test_what_is_live_and_unfiltered(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("h", "e")  # what is hidden is exported nevertheless: the contract knows a filter only
            await until(pilot, lambda: notices(pilot))
            (file,) = Path().iterdir()
            written = json.loads(file.read_bytes())
            assert (written["paused"], written["filter"], len(written["connections"])) == (False, None, 10)
            assert file.stat().st_mode & 0o777 == 0o600

        play(steps, FakeFeed(busy()))

    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            ("there.json", "there.json already exists."),
            ("nowhere/x.json", "cannot be used: No such file or directory."),
            ("x" * 300, "File name too long"),
            ("~nobody-of-this-name/x", "There is no user of ~nobody-of-this-name/x."),
            ("a\0b", "embedded null"),
            ("/", "is a directory."),
            ("link.json", "is a symbolic link."),
        ],
    )
    def test_a_failure_is_told_and_ends_nothing(self, path: str, reason: str) -> None:
        Path("there.json").write_text("mine")
        Path("link.json").symlink_to("there.json")

        async def steps(pilot: Pilot[None]) -> None:
            the_app(pilot)._export_to(path)
            await until(pilot, lambda: notices(pilot))
            (notice,) = notices(pilot)
            assert notice.startswith("Not exported.")
            assert reason in notice
            assert isinstance(pilot.app.screen, MainScreen)

        play(steps, FakeFeed(busy()))
        assert Path("there.json").read_text() == "mine"
        assert sorted(os.listdir()) == ["link.json", "there.json"]  # noqa: PTH208

    def test_the_name_holds_host_and_time_and_no_directory(self) -> None:
        host = rows.Host(name="../we ird\x1b", kernel="", arch="", boot_id=None)
        assert export_name(busy(host=host)) == "nettop-.._we_ird_-20260301T120100Z.json"


class TestDetail:
    @pytest.mark.parametrize(
        ("keys", "titles"),
        [
            (["1"], ["DNS query 9"]),
            (["2", "G"], ["Connection 9"]),
            (["3"], ["Process 900 nginx", "Connection 6"]),
            (["1", "G"], ["DNS query 1", "Connection 1", "DNS query 1", "Connection 1"]),
        ],
    )
    def test_deeper_and_back_again(self, keys: list[str], titles: list[str]) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press(*keys)
            where = the_app(pilot)._main.selected
            for title in titles:
                await pilot.press("enter")
                await pilot.pause()
                assert lines(pilot)[0].strip() == title
            for title in titles[-2::-1]:
                await pilot.press("escape")
                await pilot.pause()
                assert lines(pilot)[0].strip() == title
            await pilot.press("escape")
            await pilot.pause()
            assert isinstance(pilot.app.screen, MainScreen)
            assert the_app(pilot)._main.selected is where

        play(steps, FakeFeed(busy()))

    @pytest.mark.parametrize(
        ("keys", "facts"),
        [
            (["2", "G", "k"], ["state", "end", "sent", "received", "round trip", "waits for"]),
            (["2", "4", "G"], ["listens on", "accept queue", "drops"]),
            (["3", "j"], ["TCP", "UDP", "DNS"]),
            (["1", "G"], ["question", "status", "latency", "server"]),
        ],
    )
    def test_what_one_asks_first_is_seen_on_a_small_screen(self, keys: list[str], facts: list[str]) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press(*keys, "enter")
            await until(
                pilot, lambda: all(any(line.strip().startswith(f"{fact}  ") for line in lines(pilot)) for fact in facts)
            )

        play(steps, FakeFeed(busy()), (80, 24))

    def test_follows_what_happens(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("G", "k", "enter")
            await pilot.pause()
            assert "still open" in text(pilot)
            await show(pilot, snapshot(connections=[closed(1, "curl", "www.example.com", "reset-by-peer")]))
            assert "reset-by-peer" in text(pilot)
            await show(pilot, snapshot())  # no longer kept: as it was last
            assert "reset-by-peer" in text(pilot)
            assert lines(pilot)[0].strip() == "Connection 1"

        play(steps, FakeFeed(busy()))

    def test_what_lies_below_follows_too(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("3", "j", "enter")
            await pilot.pause()
            await pilot.press("question_mark")
            newer = snapshot(processes=[process("curl", exited_at=builders.at(61))], seconds=62)
            await show(pilot, newer)
            await pilot.press("escape")
            await pilot.pause()
            assert "2026-03-01 12:01:01" in text(pilot)

        play(steps, FakeFeed(busy()))

    def test_all_the_answers_of_a_query_can_be_read(self) -> None:
        answers = tuple(
            rows.Answer(name="a.example", type="A", ttl=1, data=f"192.0.2.{number}") for number in range(60)
        )

        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press("1", "enter")
            await until(pilot, lambda: "192.0.2.0" in text(pilot))
            assert "192.0.2.59" not in text(pilot)
            await until(pilot, lambda: pilot.app.screen.query_one("#detail-facts").can_focus)
            await pilot.press("tab", "end")
            await until(pilot, lambda: "192.0.2.59" in text(pilot))

        play(steps, FakeFeed(snapshot([query(1, "curl", "a.example", answers=answers)])), (80, 24))


class TestSize:
    @pytest.mark.parametrize("keys", [[], ["enter"], ["question_mark"], ["E"], ["slash"]])
    def test_too_small_is_a_sentence(self, keys: list[str]) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            await pilot.press(*keys)
            await settled(pilot)
            before = lines(pilot)
            for width, height in ((59, 40), (120, 14), (20, 5), (1, 1), (8, 30)):
                await pilot.resize_terminal(width, height)
                await until(pilot, lambda: "nettop needs" in text(pilot) or len(lines(pilot)[0]) < 12)
                assert not any(word in text(pilot) for word in ("LIVE", "PID", "Export", "Close"))
            await pilot.resize_terminal(120, 40)
            await until(pilot, lambda: lines(pilot) == before)

        play(steps, FakeFeed(busy()))

    def test_the_smallest_screen_shows_one_pane(self) -> None:
        async def steps(pilot: Pilot[None]) -> None:
            assert "2 Connections 10 " in text(pilot)
            assert [line for line in lines(pilot) if "reset-by-peer" in line]
            assert " 1 DNS  2 Connections" in text(pilot)  # the counts of the others give way
            assert "3 Processes" in text(pilot)

        play(steps, FakeFeed(busy()), (60, 15))


def test_an_error_of_the_feed_ends_the_screen_with_its_traceback() -> None:
    feed = FakeFeed(busy())

    async def steps(pilot: Pilot[None]) -> None:
        try:
            raise ValueError("[/boom]")
        except ValueError as error:
            feed.error = error
        the_app(pilot).tick()
        await pilot.pause()

    app = play(steps, feed)
    assert app.crash is not None
    assert "Traceback (most recent call last)" in app.crash
    assert "ValueError: [/boom]" in app.crash
    assert app.failure is None


def test_what_is_new_is_drawn_when_another_thread_says_so() -> None:
    feed = FakeFeed(only([1]))

    async def steps(pilot: Pilot[None]) -> None:
        feed.start(the_app(pilot).feed_changed)
        feed.latest = only([1, 2, 3])
        await asyncio.to_thread(feed.changed)
        await until(pilot, lambda: "2 Connections 3 " in text(pilot))

    play(steps, feed)


def test_what_is_drawn_twice_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    async def steps(pilot: Pilot[None]) -> None:
        monkeypatch.setattr(RowTable, "show", lambda *_: drawn.append(1))
        the_app(pilot).tick()
        the_app(pilot).tick()
        assert drawn == []
        await show(pilot, only([1]))
        assert drawn

    play(steps, FakeFeed(busy()))


def test_a_filtered_recording_does_not_claim_that_there_was_nothing() -> None:
    """Neither in a pane nor in a detail: what did not match was left out."""
    matchless = "nothing here matched the filter of the recording"
    recorded = snapshot(processes=[builders.process()], filter="comm:curl dns:failed")

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1")
        assert matchless in text(pilot)
        assert "recorded with filter comm:curl dns:failed" in text(pilot)
        await pilot.press("3", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DetailScreen))
        await until(pilot, lambda: text(pilot).count(matchless) == 3)

    play(steps, FakeFeed(recorded), mode="SNAPSHOT")


def test_an_export_of_a_filtered_recording_stays_filtered(tmp_path: Path) -> None:
    recorded = snapshot(filter="dns:failed")
    for chosen, said in (("", "dns:failed"), ("pid:1", "dns:failed pid:1")):
        path = write_snapshot(recorded, Filter(chosen), tmp_path / f"{len(chosen)}.json")
        assert json.loads(path.read_text())["filter"] == said


def test_a_tick_may_come_while_the_screen_goes() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        app = the_app(pilot)
        await app._main.query(FilterBar).remove()
        await app._main.query(FindingLine).remove()
        await show(pilot, snapshot())

    play(steps, FakeFeed(busy()))


def test_a_finding_that_is_longer_than_a_line_ends_with_an_ellipsis_and_is_whole_in_the_list() -> None:
    queue = builders.listener(comm="a-server-of-ours", queue=512, drops=380, drops_per_s=38.0)

    async def steps(pilot: Pilot[None]) -> None:
        (line,) = (line for line in lines(pilot) if "accept queue" in line)
        assert line.endswith("…")
        await pilot.press("f7")
        await until(pilot, lambda: "Findings" in text(pilot))
        assert "fast enough." in text(pilot)

    play(steps, FakeFeed(snapshot(listeners=[queue])), size=(80, 24))


def test_the_rows_that_prove_a_leak_begin_with_the_oldest() -> None:
    leaks = [
        connection(
            number, "curl", None, state="close-wait", waits_for="local", states_ms={},
            waits_since=builders.at(number * 20), state_since=builders.at(number * 20),
        )
        for number in range(1, 8)
    ]  # fmt: skip

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("f7", "enter")
        await until(pilot, lambda: the_app(pilot)._main.state.filter.text.endswith("state:close-wait"))
        await pilot.pause()
        assert ids(pilot) == [1, 2, 3, 4, 5, 6, 7]

    play(steps, FakeFeed(snapshot(connections=leaks, seconds=300)), size=(80, 24))


def test_a_pane_that_nobody_asked_for_says_how_to_and_has_no_tab() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        tab = the_app(pilot)._main._tabs["lookups"]
        await until(pilot, lambda: not tab.display)
        await pilot.press("8")
        await until(pilot, lambda: "Look-ups are not watched: start nettop with --lookups" in text(pilot))
        assert tab.display
        await pilot.press("1")
        await until(pilot, lambda: not tab.display)

    play(steps, FakeFeed(snapshot()))


def test_a_pane_that_somebody_asked_for_waits_for_its_rows() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        assert the_app(pilot)._main._tabs["lookups"].display
        await pilot.press("8")
        await until(pilot, lambda: "no look-up yet" in text(pilot))

    play(steps, FakeFeed(snapshot(hooks={"lookups": "uprobe getaddrinfo, gethostbyname"})))
