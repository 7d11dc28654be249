"""A mark together with pause, export, replay, details and narrow screens."""

import json
from pathlib import Path

import msgspec
from msgspec.structs import replace
from textual.pilot import Pilot

from nettop.export.json import snapshot_json
from nettop.model.mark import Mark
from nettop.model.snapshot import Snapshot
from nettop.view.look import Look
from tests.builders import at
from tests.tui.scene import FakeFeed, busy, ids, lines, notices, play, query, show, table, text, until


def later(seconds: float = 70.0, extra_bytes: int = 1_000) -> Snapshot:
    first = busy()
    curl, *others = first.processes
    curl = replace(curl, tx_bytes=curl.tx_bytes + extra_bytes)
    asked = query(100, "curl", "new.example.com", asked_at=at(65))
    return replace(first, captured_at=at(seconds), processes=(curl, *others), dns=(*first.dns, asked))


def sent_by_curl(pilot: Pilot[None]) -> int:
    (curl,) = (row for row in table(pilot, "processes").shown_rows if row.comm == "curl")
    return int(curl.tx_bytes)


def test_a_mark_set_in_a_pause_is_where_the_pause_is() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("space")
        await show(pilot, later())
        await pilot.press("m")
        assert "since 12:01:00" in lines(pilot)[1]
        assert sent_by_curl(pilot) == 0
        await pilot.press("space")
        assert sent_by_curl(pilot) == 1_000
        await show(pilot, later(80, 1_500))
        await pilot.press("space")
        await show(pilot, later(90, 9_999))
        assert sent_by_curl(pilot) == 1_500

    play(steps, FakeFeed(busy()))


def test_an_export_keeps_the_mark_and_shows_it_again(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("m")
        await show(pilot, later())
        await pilot.press("e")
        await until(pilot, lambda: any("Wrote" in notice for notice in notices(pilot)))

    play(steps, FakeFeed(busy()), look=Look(export_directory=str(tmp_path)))
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text())["mark"] == "2026-03-01T12:01:00.123457Z"

    async def again(pilot: Pilot[None]) -> None:
        assert "since 12:01:00" in lines(pilot)[1]
        assert sent_by_curl(pilot) == 1_000
        await pilot.press("U")
        assert notices(pilot) == ["The file was exported with this mark and counts from there."]
        assert "since 12:01:00" in lines(pilot)[1]
        await pilot.press("M")
        assert ids(pilot, "dns") == [100]
        await pilot.press("m")
        assert "since 12:01:10" in lines(pilot)[1]
        assert ids(pilot, "dns") == []
        await pilot.press("M")
        assert sent_by_curl(pilot) == 0

    play(again, FakeFeed(msgspec.json.decode(path.read_bytes(), type=Snapshot)), mode="SNAPSHOT")


def test_a_replay_that_goes_back_before_the_mark_counts_from_the_start_until_it_is_there_again() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await show(pilot, later())
        await pilot.press("m")
        await show(pilot, busy())
        assert sent_by_curl(pilot) == busy().processes[0].tx_bytes
        assert "since" not in text(pilot)
        await show(pilot, later(80, 1_001))
        assert sent_by_curl(pilot) == 1

    play(steps, FakeFeed(busy()), mode="REPLAY")


def test_a_detail_says_since_when_it_counts() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("m", "3", "enter")
        assert "since the mark at 2026-03-01 12:01:00" in text(pilot)

    play(steps, FakeFeed(busy()))


def test_the_sign_has_room_where_the_screen_is_narrow() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("m")
        await show(pilot, later())
        await pilot.press("1")
        await until(pilot, lambda: any(line.startswith("+ 12:01:05") for line in lines(pilot)))
        await pilot.press("M")
        await until(pilot, lambda: "only new since 12:01:00" in lines(pilot)[1])
        sorted_by = set()
        for _ in table(pilot, "dns").visible_columns():
            await pilot.press("s")
            sorted_by.add((table(pilot, "dns")._sorted_by or ("", False))[0])
        assert sorted_by == {column.key for column in table(pilot, "dns").visible_columns()}

    play(steps, FakeFeed(busy()), size=(80, 24))


def test_a_click_on_the_title_of_the_signs_sorts_by_nothing() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("m")
        before = table(pilot)._sorted_by
        await pilot.click("#table-connections", offset=(0, 0))
        await pilot.pause()
        assert table(pilot)._sorted_by == before

    play(steps, FakeFeed(busy()))


def test_a_file_with_a_mark_is_what_the_mark_makes() -> None:
    exported = Mark(busy()).since(later())
    assert msgspec.json.decode(snapshot_json(exported), type=Snapshot).mark == busy().captured_at
