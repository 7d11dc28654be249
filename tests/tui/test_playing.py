"""The screen of a replay: where it is, and what happens when it goes elsewhere."""

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from nettop.cli.replay import DEMO
from nettop.collector import Jump
from nettop.player import Player
from nettop.sources.input_file import InputFile
from nettop.view.headline import Status, headline
from nettop.view.keys import PLAYER_KEYS
from nettop.view.panes import Traffic
from nettop.view.playback import bar, position
from tests.tui.scene import FakeFeed, FakePlayer, busy, ids, lines, notices, play, table, text, the_app, until
from tests.tui.test_status import status


@pytest.mark.parametrize(
    ("seconds", "length_s", "said"),
    [
        (0, 67, "0:00 / 1:07"),
        (46.97, 67.4, "0:47 / 1:07"),
        (3767, 7200, "1:02:47 / 2:00:00"),
        (59.7, None, "1:00"),
        (-3, None, "0:00"),
    ],
)
def test_a_position(seconds: float, length_s: float | None, said: str) -> None:
    assert position(seconds, length_s) == said


@pytest.mark.parametrize(
    ("seconds", "length_s", "cells", "drawn"),
    [
        (0, 60, 10, "░░░░░░░░░░"),
        (30, 60, 10, "█████░░░░░"),
        (90, 60, 5, "█████"),
        (0, 0, 5, "█████"),
        (30, 60, 4, ""),
        (30, None, 10, ""),
        (30, 60, 300, "█" * 10 + "░" * 10),
    ],
)
def test_a_bar(seconds: float, length_s: float | None, cells: int, drawn: str) -> None:
    assert bar(seconds, length_s, cells) == drawn


@pytest.mark.parametrize("width", range(60, 200, 10))
def test_the_headline_of_a_replay_fits(width: int) -> None:
    parts = headline(busy(47.0), status(mode="REPLAY", pace="x1", length_s=67.0), width)
    said = "".join(part for part, _ in parts)
    assert " 0:47 / 1:07 " in said
    assert len(said) <= max(width, 78)


def test_neither_a_snapshot_nor_what_is_live_has_a_length() -> None:
    for shown in (status(), status(mode="SNAPSHOT", pace="")):
        assert isinstance(shown, Status)
        assert " 47.0s " in "".join(part for part, _ in headline(busy(47.0), shown, 100))


def test_after_a_jump_all_is_as_the_player_says() -> None:
    feed = FakePlayer(busy(60))

    async def steps(pilot: Pilot[None]) -> None:
        app = the_app(pilot)
        traffic = Traffic()
        traffic.total.extend([1.0, 2.0])
        feed.jump = Jump(busy(30), traffic, said="This is as far as it goes.")
        feed.latest = feed.jump.snapshot
        app.tick()
        await pilot.pause()
        assert "0:30 / 1:07" in lines(pilot)[0]
        assert list(app._traffic.total) == [1.0, 2.0]
        assert notices(pilot) == ["This is as far as it goes."]
        app.tick()
        assert len(notices(pilot)) == 1
        assert list(app._traffic.total) == [1.0, 2.0]

    play(steps, feed, mode="REPLAY")


def test_a_pause_goes_along() -> None:
    feed = FakePlayer(busy(60))

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("space")
        feed.jump = Jump(busy(30), Traffic())
        feed.latest = feed.jump.snapshot
        the_app(pilot).tick()
        await pilot.pause()
        assert "PAUSED" in lines(pilot)[0]
        assert "0:30 / 1:07" in lines(pilot)[0]
        assert the_app(pilot).shown is feed.latest

    play(steps, feed, mode="REPLAY")


def test_what_was_looked_for_is_selected_in_its_pane() -> None:
    feed = FakePlayer(busy())

    async def steps(pilot: Pilot[None]) -> None:
        failed = busy(70)
        feed.jump = Jump(failed, Traffic(), row=failed.dns[4])
        feed.latest = failed
        the_app(pilot).tick()
        await pilot.pause()
        row = table(pilot, "dns").cursor_row
        assert row is not None
        assert row.id == 5
        assert table(pilot, "dns").has_focus

    play(steps, feed, mode="REPLAY")


def test_a_long_way_is_said() -> None:
    feed = FakePlayer(busy())

    async def steps(pilot: Pilot[None]) -> None:
        feed.going = True
        the_app(pilot).tick()
        await pilot.pause()
        assert "SEEKING" in lines(pilot)[0]

    play(steps, feed, mode="REPLAY")


def test_space_begins_again_at_the_end() -> None:
    feed = FakePlayer(busy())
    feed.finished = True

    async def steps(pilot: Pilot[None]) -> None:
        assert "END OF RECORDING" in lines(pilot)[0]
        await pilot.press("space")
        assert feed.told[-1] == ("start again", None)
        assert "PAUSED" not in lines(pilot)[0]

    play(steps, feed, mode="REPLAY")


@pytest.mark.parametrize("key", [name for key in PLAYER_KEYS for name in key.keys.split(",")])
def test_nothing_is_played_while_one_types_or_reads_the_help_or_watches(key: str) -> None:
    feed = FakePlayer(busy())

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("slash", "a", "b", key)
        typed = pilot.app.screen.query_one(Input)
        assert typed.value in ("ab", "ab.", "ab!", "ab0")
        assert typed.has_focus
        await pilot.press("escape", "question_mark", key)
        assert feed.told == []

    play(steps, feed, mode="REPLAY")
    live = FakeFeed(busy())

    async def watch(pilot: Pilot[None]) -> None:
        await pilot.press(key)
        assert live.told == []

    play(watch, live)


def test_the_keys_work_in_a_detail() -> None:
    feed = FakePlayer(busy())

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("enter")
        await pilot.pause()
        await pilot.press("left", "0")
        assert feed.told == [("go", -5), ("hold", False), ("start again", None)]

    play(steps, feed, mode="REPLAY")


def test_the_demo_on_the_screen_goes_back_and_forth(tmp_path: Path) -> None:
    """The whole of it: keys, player, screen."""
    recording = tmp_path / "recording"
    recording.write_bytes(DEMO.read_bytes())
    player = Player(InputFile(recording))

    async def steps(pilot: Pilot[None]) -> None:
        player.start(the_app(pilot).feed_changed)
        try:
            await until(pilot, lambda: "/ 1:07" in lines(pilot)[0])
            await pilot.press("space", "shift+right")
            await until(pilot, lambda: " 0:3" in lines(pilot)[0])
            before = ids(pilot)
            assert before
            await pilot.press("shift+right")
            await until(pilot, lambda: " 1:0" in lines(pilot)[0])
            assert ids(pilot) != before
            await pilot.press("shift+left")
            await until(pilot, lambda: " 0:3" in lines(pilot)[0])
            assert ids(pilot) == before
            await pilot.press("exclamation_mark")
            await until(pilot, lambda: "!" in text(pilot))
        finally:
            player.stop()

    play(steps, player, mode="REPLAY")
