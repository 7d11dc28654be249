"""Pictures of the screen. After a wanted change: `pytest tests/tui/test_pictures.py --snapshot-update`, and look."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from textual.pilot import Pilot
from textual.widgets import Input

from nettop.model.cutting import Block, Cuts, OneRemote
from nettop.model.snapshot import Snapshot
from nettop.tui.app import NettopApp
from nettop.tui.filter_bar import FilterBar
from tests.tui.scene import CUTTING, LOSSES, FakeCutting, FakeFeed, busy, query, settled, snapshot, the_app, until

SIZES = [(80, 24), (120, 40), (200, 50)]
Compare = Callable[..., bool]
Prepare = Callable[[Pilot[None]], Awaitable[None]]


def pressing(*keys: str) -> Prepare:
    """Press these, each when the one before has had its effect."""

    async def prepare(pilot: Pilot[None]) -> None:
        for key in keys:
            await pilot.press(key)
            await settled(pilot)

    return prepare


def typing(expression: str) -> Prepare:
    """Into the filter bar."""

    async def prepare(pilot: Pilot[None]) -> None:
        await pilot.press("slash")
        box = the_app(pilot)._main.query_one(FilterBar).query_one(Input)
        box.cursor_blink = False
        box.value = expression
        box.cursor_position = len(expression)

    return prepare


async def then_more_came(pilot: Pilot[None]) -> None:
    """A pause, and what happened since."""
    await pilot.press("space")
    feed = the_app(pilot)._feed
    assert isinstance(feed, FakeFeed)
    more = [query(number, "curl", "new.example") for number in range(10, 27)]
    feed.latest = msgspec.structs.replace(busy(), dns=(*busy().dns, *more))
    the_app(pilot).tick()


STATES: dict[str, tuple[Snapshot, Prepare]] = {
    "empty": (snapshot(), pressing()),
    "busy": (busy(), pressing("2", "down", "down")),
    "paused": (busy(), then_more_came),
    "filtered": (busy(), pressing("2", "f")),
    "filter_being_typed": (busy(), typing("comm:curl dns:failed")),
    "filter_error": (busy(), typing("comm:curl port:http")),
    "zoomed": (busy(), pressing("3", "z")),
    "ended_hidden": (busy(), pressing("h")),
    "detail_of_a_query": (busy(), pressing("1", "G", "enter")),
    "detail_of_a_connection": (busy(), pressing("2", "G", "k", "enter")),
    "detail_of_a_process": (busy(), pressing("3", "j", "enter")),
    "help": (busy(), pressing("question_mark")),
    "export_as": (busy(), pressing("E")),
    "losses": (busy(losses=LOSSES), pressing()),
}


CUTS: dict[str, tuple[FakeCutting, Prepare]] = {
    "cut_commands": (FakeCutting(replace(CUTTING, allowed=False)), pressing("2", "G", "k", "x")),
    "cut_offers": (FakeCutting(CUTTING), pressing("2", "G", "k", "x", *"block process 1")),
    "cut_refused": (FakeCutting(CUTTING), pressing("2", "j", "j", "j", "j", "x")),
    "cut_on": (FakeCutting(CUTTING), pressing()),
    "cut_blocks": (
        FakeCutting(CUTTING, Cuts((Block(1, OneRemote("198.51.100.7", 1, "slow.example.org"), 599.0, 3),))),
        pressing(),
    ),
}


def picture(
    compare: Compare,
    seen: Snapshot,
    prepare: Prepare,
    size: tuple[int, int],
    *,
    theme: str | None = None,
    cutting: FakeCutting | None = None,
) -> bool:
    """Whether the screen looks as it did."""
    app = NettopApp(FakeFeed(seen, cutting))

    async def run_before(pilot: Pilot[Any]) -> None:
        if theme is not None:
            app.theme = theme
        await pilot.pause()
        app.tick()
        await until(pilot, lambda: app._main.table.size.width and "LIVE" in str(app._main._bar._lines))
        await prepare(pilot)
        for box in app.screen.query(Input):
            box.cursor_blink = False
        await settled(pilot)

    return compare(app, terminal_size=size, run_before=run_before)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("state", STATES)
def test_states(snap_compare: Compare, state: str, size: tuple[int, int]) -> None:
    assert picture(snap_compare, *STATES[state], size)


@pytest.mark.parametrize("size", [(60, 15), *SIZES], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("state", CUTS)
def test_cutting(snap_compare: Compare, state: str, size: tuple[int, int]) -> None:
    cutting, prepare = CUTS[state]
    assert picture(snap_compare, busy(), prepare, size, cutting=cutting)


@pytest.mark.parametrize("state", ["busy", "losses", "detail_of_a_process", "filter_error"])
def test_light_theme(snap_compare: Compare, state: str) -> None:
    assert picture(snap_compare, *STATES[state], (120, 40), theme="textual-light")


@pytest.mark.parametrize("state", ["busy", "losses", "paused", "filter_error"])
def test_no_color(snap_compare: Compare, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert picture(snap_compare, *STATES[state], (120, 40))


@pytest.mark.parametrize("size", [(60, 15), (59, 15)], ids=["smallest", "too_small"])
def test_small(snap_compare: Compare, size: tuple[int, int]) -> None:
    assert picture(snap_compare, *STATES["busy"], size)
