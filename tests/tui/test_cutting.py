"""The card of the key x, the line of blocks, and what the screen tells of orders."""

from collections.abc import Callable

from msgspec.structs import replace
from textual.pilot import Pilot

from nettop.collector import Collector
from nettop.model.cutting import Block, Cuts, OneProcess, OneRemote, Order, Outcome
from nettop.tui.block_line import BlockLine
from nettop.tui.choices import Choices
from nettop.tui.cut_card import CutCard
from nettop.tui.detail import DetailScreen
from nettop.tui.main import MainScreen
from tests.builders import at
from tests.tui.scene import (
    CUTTING,
    FakeCutting,
    FakeFeed,
    Play,
    busy,
    connection,
    lines,
    notices,
    play,
    process,
    snapshot,
    text,
    the_app,
    until,
)
from tests.tui.test_collector import FakeSource

BLOCK = Block(1, OneRemote("198.51.100.7", 1), 599.0, 3)


def run(steps: Play, cutting: FakeCutting | None, feed: FakeFeed | None = None) -> None:
    play(steps, feed or FakeFeed(busy(), cutting))


def test_without_the_option_there_is_no_line() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        assert not the_app(pilot)._main.query_one(BlockLine).display
        await pilot.press("x")
        await pilot.pause()
        assert "nettop changes nothing unless it is started with --allow-cut" in text(pilot)
        assert not pilot.app.screen.query("Input")
        await pilot.press("enter")  # there is nothing to do
        assert isinstance(pilot.app.screen, CutCard)

    run(steps, FakeCutting(replace(CUTTING, allowed=False)))


def test_the_line_follows_what_is_blocked() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        assert "CUT ON" in text(pilot)
        cutting.state = Cuts((BLOCK,))
        the_app(pilot).tick()
        await pilot.pause()
        assert lines(pilot)[2].strip() == "BLOCKS  198.51.100.7 9m59s left, 3 refused · X lets go"
        await pilot.click(BlockLine)
        assert cutting.told == [1]

    cutting = FakeCutting(CUTTING)
    run(steps, cutting)


def test_an_outcome_is_told_once_and_a_pause_does_not_hide_it() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("space")
        for outcome in (Outcome(1, "Closed: [/x]", False), Outcome(1, "Closed: [/x]", False), Outcome(2, "No.", True)):
            cutting.state = Cuts((), outcome)
            the_app(pilot).tick()
            the_app(pilot).tick()
            await pilot.pause()
        assert notices(pilot) == ["Closed: [/x]", "No."]

    cutting = FakeCutting(CUTTING)
    run(steps, cutting)


def test_what_was_recorded_cannot_be_cut() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("x")
        assert isinstance(pilot.app.screen, MainScreen)
        assert notices(pilot) == ["This was recorded: there is nothing to cut."]

    run(steps, None)


def test_a_group_is_not_a_row() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("b", "x")
        assert isinstance(pilot.app.screen, MainScreen)
        assert notices(pilot) == ["Select a row; enter shows those of a group."]

    run(steps, FakeCutting(CUTTING))


def test_in_a_detail_it_is_the_row_under_the_cursor_and_two_blocks_are_asked_for() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("3", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DetailScreen))
        await pilot.press("x")
        await until(pilot, lambda: isinstance(pilot.app.screen, CutCard))
        await pilot.press("escape")
        cutting.state = Cuts((BLOCK, replace(BLOCK, number=2)))
        await pilot.press("X")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choices))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, DetailScreen))
        assert cutting.told == []

    cutting = FakeCutting(CUTTING)
    run(steps, cutting)


def test_what_must_not_be_touched_is_refused_on_the_card() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("x", *"end", "enter")
        await pilot.pause()
        assert isinstance(pilot.app.screen, CutCard)
        assert "nettop never touches itself" in text(pilot)
        assert cutting.told == []

    cutting = FakeCutting(CUTTING)
    rows = snapshot(connections=(connection(1, "nginx", None),), processes=(process("nginx"),))
    run(steps, cutting, FakeFeed(rows, cutting))


def test_names_from_outside_are_no_markup() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("x")
        await pilot.pause()
        assert "[/x][red][4242]" in text(pilot)
        cutting.state = Cuts((Block(1, OneProcess(4242, at(0), "[/x][red]"), 60.0, 0),))
        await pilot.press("escape")
        the_app(pilot).tick()
        await pilot.pause()
        assert "[/x][red][4242] 1m00s left" in text(pilot)

    cutting = FakeCutting(CUTTING)
    named = replace(process("curl"), comm="[/x][red]", unit="[/unit].service")
    rows = snapshot(connections=(replace(connection(1, "curl", "[/host]"), comm="[/x][red]"),), processes=(named,))
    run(steps, cutting, FakeFeed(rows, cutting))


class FakeCutter:
    """A Cutter that counts how often it is asked."""

    powers = CUTTING

    def __init__(self) -> None:
        self.told: list[Order | int | None] = []

    def state(self) -> Cuts:
        return Cuts((), Outcome(len(self.told), "", False))

    def order(self, order: Order) -> None:
        self.told.append(order)

    def lift(self, number: int | None) -> None:
        self.told.append(number)


def test_orders_are_done_with_the_next_step_of_the_collector() -> None:
    cutter = FakeCutter()
    collector = Collector(FakeSource(), cutting=cutter)  # type: ignore[arg-type]
    changes: list[int] = []
    tell: Callable[[], None] = lambda: changes.append(1)  # noqa: E731
    collector._changed = tell
    assert collector.cutting is not None
    assert collector.cutting.powers is CUTTING
    order = Order("block", OneRemote("192.0.2.1", 1), 1)
    collector.cutting.order(order)
    collector.cutting.lift(7)
    assert (cutter.told, collector.cutting.state) == ([], Cuts())
    collector.step(0.0)
    assert cutter.told == [order, 7]
    assert collector.cutting.state == Cuts((), Outcome(2, "", False))
    assert changes


def test_without_a_cutter_orders_go_nowhere() -> None:
    collector = Collector(FakeSource(), cutting=CUTTING)
    assert collector.cutting is not None
    collector.cutting.order(Order("block", OneRemote("192.0.2.1", 1), 1))
    collector.cutting.lift(None)
    collector.step(0.0)
    assert collector.cutting.state == Cuts()
