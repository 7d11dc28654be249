"""Every declared key does what it says; users can give it another name, and the help then says that."""

import base64
import dataclasses
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from textual.command import CommandPalette
from textual.events import Key
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static

from nettop.model.cutting import Block, Cuts, OneRemote, Order
from nettop.model.kinds import CONNECTIONS, KINDS
from nettop.model.snapshot import Snapshot
from nettop.tui.app import NettopApp
from nettop.tui.choices import Choices
from nettop.tui.cut_card import CutCard
from nettop.tui.detail import DetailScreen
from nettop.tui.filter_bar import FilterBar
from nettop.tui.footer import KeyLine
from nettop.tui.help import HelpScreen
from nettop.tui.main import MainScreen
from nettop.tui.picker import ColumnPicker
from nettop.tui.prompts import PathPrompt
from nettop.tui.search import SearchBar
from nettop.view.columns import CONNECTION_COLUMNS
from nettop.view.grouping import groupings_of
from nettop.view.keys import ALL_KEYS, KEYS_IN_DETAIL, MAIN_KEYS, TABLE_KEYS
from nettop.view.look import Look
from nettop.view.panes import PaneKind
from tests.builders import at
from tests.tui.scene import (
    CUTTING,
    FakeCutting,
    FakeFeed,
    FakePlayer,
    busy,
    ids,
    lines,
    notices,
    play,
    query,
    show,
    snapshot,
    table,
    text,
    the_app,
    until,
)

Case = Callable[[Pilot[None], str], Awaitable[None]]
CASES: dict[str, Case] = {}


def case(*names: str) -> Callable[[Case], Case]:
    """The proof that the keys with these ids do what they say."""

    def keep(function: Case) -> Case:
        for name in names:
            assert name not in CASES
            CASES[name] = function
        return function

    return keep


def main(pilot: Pilot[None]) -> MainScreen:
    return the_app(pilot)._main


def row_id(pilot: Pilot[None]) -> int:
    row = table(pilot).cursor_row
    assert row is not None
    return int(row.id)


async def ended(pilot: Pilot[None]) -> bool:
    await pilot.pause()
    return pilot.app._exit


def typed(pilot: Pilot[None]) -> str:
    return main(pilot).query_one(FilterBar).query_one(Input).value


@case("quit")
async def _quit(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    assert await ended(pilot)


@case("leave")
async def _leave(pilot: Pilot[None], key: str) -> None:
    await pilot.press("slash", "x", key)
    assert await ended(pilot)


@case("suspend")
async def _suspend(pilot: Pilot[None], key: str) -> None:
    sent: list[tuple[int, int]] = []
    driver = pilot.app._driver
    assert driver is not None
    with pytest.MonkeyPatch.context() as patch:  # test_terminal.py does it
        patch.setattr(type(driver), "can_suspend", True)
        patch.setattr("os.kill", lambda *what: sent.append(what))
        await pilot.press("slash", key)
    assert sent == [(os.getpid(), signal.SIGTSTP)]


@case("palette")
async def _palette(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette))
    found = pilot.app.screen.query_one(OptionList)
    titles = [command.title for command in the_app(pilot).get_system_commands(main(pilot))]
    assert {f"{each.label} ({each.shown({})})" for each in (*MAIN_KEYS, *TABLE_KEYS) if each.command} <= {*titles}
    assert {"Pause (space)", "Help (? F1)", "Sort by SRTT", "Theme"} <= {*titles}
    assert not [title for title in titles if title.startswith(("Up", "Down", "Page", "First", "Last", "Palette"))]
    await pilot.press(*"zoom")
    await until(pilot, lambda: found.option_count == 1)
    await pilot.press("enter", "enter")
    await until(pilot, lambda: main(pilot).has_class("-zoomed"))


@case("help")
async def _help(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    assert isinstance(pilot.app.screen, HelpScreen)
    assert "Keys" in text(pilot)


@case("help.close")
async def _close_help(pilot: Pilot[None], key: str) -> None:
    await pilot.press("question_mark", key)
    assert isinstance(pilot.app.screen, MainScreen)
    assert not await ended(pilot)


async def opened_help(pilot: Pilot[None]) -> Widget:
    """What scrolls in it."""
    await pilot.press("question_mark")
    await until(
        pilot, lambda: len(pilot.app.screen.query("#help")) and pilot.app.screen.query_one("#help").max_scroll_y
    )
    return pilot.app.screen.query_one("#help")


@case("help.down", "help.up")
async def _scroll_help(pilot: Pilot[None], key: str) -> None:
    shown = await opened_help(pilot)
    await pilot.press("down", "down", "down")
    await until(pilot, lambda: shown.scroll_y == 3)
    await pilot.press(key)
    await until(pilot, lambda: shown.scroll_y == (4 if key in ("down", "j") else 2))


@case("help.page_down", "help.page_up")
async def _page_help(pilot: Pilot[None], key: str) -> None:
    shown = await opened_help(pilot)
    await pilot.press("pagedown", "down")
    before = shown.size.height + 1
    await until(pilot, lambda: shown.scroll_y == before)
    await pilot.press(key)
    after = 1 if key in ("pageup", "ctrl+u") else min(before + shown.size.height, shown.max_scroll_y)
    await until(pilot, lambda: shown.scroll_y == after)


@case("help.first", "help.last")
async def _ends_of_help(pilot: Pilot[None], key: str) -> None:
    shown = await opened_help(pilot)
    await pilot.press("pagedown", key)
    await until(pilot, lambda: shown.scroll_y == (0 if key in ("home", "g") else shown.max_scroll_y))


def top_of(pilot: Pilot[None], shown: Widget) -> str:
    """The first line of the help that is seen."""
    return lines(pilot)[shown.region.y + 1].split("│")[1].strip()


@case("help.next", "help.previous")
async def _sections_of_help(pilot: Pilot[None], key: str) -> None:
    shown = await opened_help(pilot)
    await pilot.press("tab", "tab", "tab")
    await until(pilot, lambda: top_of(pilot, shown) == "While typing a filter")
    await pilot.press(key)
    heading = "While searching" if key == "tab" else "In a detail view"
    await until(pilot, lambda: top_of(pilot, shown) == heading)


@case("filter.edit")
async def _edit(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key, *"comm:curl")
    assert ids(pilot) == [
        10,
        2,
        1,
    ]
    await pilot.press("slash", key)
    assert typed(pilot) == "comm:curl//" if key == "slash" else "comm:curl/"  # a slash is a slash while one types


@case("filter.pid")
async def _pid(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    assert main(pilot).state.filter.text == "pid:4242"
    assert ids(pilot) == [10, 2, 1]
    assert ids(pilot, "processes") == [4242]


@case("filter.comm")
async def _comm(pilot: Pilot[None], key: str) -> None:
    await pilot.press("down", key)
    assert main(pilot).state.filter.text == "comm:バックアップ"
    assert ids(pilot) == [8]


@case("filter.clear")
async def _clear(pilot: Pilot[None], key: str) -> None:
    await pilot.press("f", "b", "enter")
    await until(pilot, lambda: "by host > www.example.com 198.51.100.1 · 1 of 10" in text(pilot))
    await pilot.press(key)
    assert "by host · 3 hosts, 3 of 10" in text(pilot)
    await pilot.press(key)
    assert ids(pilot) == [10, 2, 1]
    await pilot.press(key)
    assert main(pilot).state.filter.text == ""
    assert len(ids(pilot)) == 10


@case("filter.keep")
async def _keep(pilot: Pilot[None], key: str) -> None:
    await pilot.press("slash", *"pid:900", key)
    assert main(pilot).state.filter.text == "pid:900"
    assert table(pilot).has_focus
    assert "pid:900" in lines(pilot)[1]


@case("filter.abandon")
async def _abandon(pilot: Pilot[None], key: str) -> None:
    await pilot.press("f", "slash", "x", key)
    assert main(pilot).state.filter.text == "pid:4242"
    assert table(pilot).has_focus


@case("filter.earlier")
async def _earlier(pilot: Pilot[None], key: str) -> None:
    await pilot.press("slash", *"pid:900", "enter", "escape", "slash", *"pid:612", "enter", "escape", "slash", *"pid:1")
    await pilot.press(key)
    assert typed(pilot) == "pid:612"
    await pilot.press(key, key)
    assert typed(pilot) == "pid:900"
    assert ids(pilot, "processes") == [900]
    await pilot.press("escape", "f", "escape", "slash", key)  # what f has chosen is there too
    assert typed(pilot) == "pid:4242"


@case("filter.later")
async def _later(pilot: Pilot[None], key: str) -> None:
    await pilot.press("slash", *"pid:900", "enter", "escape", "slash", *"pid:61")
    await pilot.press("up", key)
    assert typed(pilot) == "pid:61"  # what was being typed comes back
    await pilot.press(key)
    assert typed(pilot) == "pid:61"


@case("filter.complete")
async def _complete(pilot: Pilot[None], key: str) -> None:
    await pilot.press("slash", *"state:")
    await pilot.pause()
    assert "open 5  closed 5  established 4  syn-sent 1" in text(pilot)
    await pilot.press(key)
    assert typed(pilot) == "state:open"
    await pilot.press(key, key)
    assert typed(pilot) == "state:established"
    assert len(ids(pilot)) == 4
    assert main(pilot).active == "connections"


@case("filter.undo")
async def _undo(pilot: Pilot[None], key: str) -> None:
    await pilot.press("f", "c", "escape", key)
    assert main(pilot).state.filter.text == "pid:4242 comm:curl"
    await pilot.press(key)
    assert main(pilot).state.filter.text == "pid:4242"
    await pilot.press(key, key)
    assert main(pilot).state.filter.text == ""


def said(pilot: Pilot[None]) -> str:
    """By the search bar."""
    return str(main(pilot).query_one("#search-message", Static).visual)


@case("search")
async def _search(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key, *"nginx")
    await pilot.pause()
    assert row_id(pilot) == 6
    assert said(pilot) == "row 4 of 10"
    await pilot.press("slash", "f4", "x")  # text while one types
    await pilot.pause()
    assert said(pilot) == "Nothing in the connections pane has 'nginx/x'."
    assert row_id(pilot) == 10


@case("search.keep")
async def _keep_found(pilot: Pilot[None], key: str) -> None:
    await pilot.press("ctrl+f", *"NGINX", key)
    assert row_id(pilot) == 6
    assert table(pilot).has_focus
    assert not main(pilot).query_one(SearchBar).has_class("-open")


@case("search.abandon")
async def _abandon_search(pilot: Pilot[None], key: str) -> None:
    await pilot.press("down", "ctrl+f", *"nginx", key)
    assert row_id(pilot) == 8
    assert table(pilot).has_focus
    assert main(pilot).state.filter.text == ""


@case("search.down", "search.up", "search.next", "search.previous")
async def _next_hit(pilot: Pilot[None], key: str) -> None:
    await pilot.press("ctrl+f", *"nginx", *(["enter"] if key in "nN" else []))
    assert row_id(pilot) == 6
    await pilot.press(key)
    assert row_id(pilot) == 5
    await pilot.press(key)
    assert row_id(pilot) == 6  # round and round


@case("pause")
async def _pause(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    assert "PAUSED (+0 new)" in lines(pilot)[0]
    await pilot.press(key)
    assert "LIVE" in lines(pilot)[0]
    assert the_app(pilot)._feed.told == [("hold", True), ("hold", False)]  # type: ignore[attr-defined]


@case("pane.next")
async def _next_pane(pilot: Pilot[None], key: str) -> None:
    await pilot.press("1", key)
    assert main(pilot).active == "connections"
    await pilot.press(key, key)
    assert main(pilot).active == "dns"
    assert table(pilot, "dns").has_focus


@case("pane.previous")
async def _previous_pane(pilot: Pilot[None], key: str) -> None:
    await pilot.press("1", key)
    assert main(pilot).active == "processes"


@case(*(f"pane.{kind.name}" for kind in KINDS))
async def _pane(pilot: Pilot[None], key: str) -> None:
    for other in "123456":
        await pilot.press(other, key)
        assert main(pilot).active == KINDS[int(key) - 1].name
        assert table(pilot, main(pilot).active).has_focus


@case("pane.zoom")
async def _zoom(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    await pilot.pause()
    assert table(pilot).size.height > 30
    assert not main(pilot).query_one("#pane-dns").display
    await pilot.press("1")
    await pilot.pause()
    assert len(table(pilot, "dns").shown_rows) == 9
    await pilot.press(key)
    await pilot.pause()
    assert table(pilot).size.height < 15


@case("sort.column")
async def _sort(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    assert main(pilot).state.sorts["connections"] == ("who", False)
    assert ids(pilot)[:2] == [3, 4]  # chromium
    for _ in table(pilot).visible_columns():
        await pilot.press(key)
    assert main(pilot).state.sorts["connections"] == ("who", False)  # round and round


@case("sort.direction")
async def _reverse(pilot: Pilot[None], key: str) -> None:
    before = ids(pilot)
    await pilot.press(key)
    assert ids(pilot) == [*sorted(before[:-1]), 9]  # unknown stays last
    assert "by OPENED ▴" in text(pilot)


@case("sort.menu")
async def _sort_menu(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key, "c")
    assert main(pilot).state.sorts["connections"] == ("comm", False)
    await pilot.press(key, "c")
    assert main(pilot).state.sorts["connections"] == ("comm", True)
    await pilot.press(key, "end", "enter")
    assert main(pilot).state.sorts["connections"] == ("comm", False)
    await pilot.press(key)
    assert isinstance(pilot.app.screen, Choices)
    assert "• c  COMM      ▴ its name" in text(pilot)
    await pilot.press("escape")
    assert main(pilot).state.sorts["connections"] == ("comm", False)


@case("sort.previous", "sort.next")
async def _sort_step(pilot: Pilot[None], key: str) -> None:
    columns = [column.key for column in CONNECTION_COLUMNS if not column.instead_of]
    step = 1 if key == "greater_than_sign" else -1
    for turn in range(1, len(columns) + 1):  # round and round, from OPENED
        await pilot.press(key)
        assert main(pilot).state.sorts["connections"][0] == columns[step * turn % len(columns)]


async def opened_picker(pilot: Pilot[None], *keys: str) -> ColumnPicker:
    await pilot.press("f2", *keys)
    await pilot.pause()
    shown = pilot.app.screen
    assert isinstance(shown, ColumnPicker)
    return shown


def columns_of(pilot: Pilot[None]) -> list[str]:
    return [column.key for column in table(pilot).pane.columns]


@case("columns")
async def _columns(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key, "space", "enter")
    assert "opened" not in columns_of(pilot)
    assert isinstance(pilot.app.screen, MainScreen)


@case("columns.toggle")
async def _toggle_column(pilot: Pilot[None], key: str) -> None:
    await opened_picker(pilot, key)
    assert "opened" not in columns_of(pilot)
    assert "[ ] OPENED" in text(pilot)
    await pilot.press(key)
    assert columns_of(pilot)[0] == "opened"
    assert "[x] OPENED" in text(pilot)


@case("columns.down", "columns.up")
async def _move_in_picker(pilot: Pilot[None], key: str) -> None:
    picker = await opened_picker(pilot, "down", "down", key)
    assert picker.lines.cursor == (3 if key in ("down", "j") else 1)


@case("columns.earlier", "columns.later")
async def _move_column(pilot: Pilot[None], key: str) -> None:
    picker = await opened_picker(pilot, "down", "down", key)
    later = key in ("right_square_bracket", "J")
    assert columns_of(pilot)[:4] == (["opened", "pid", "who", "comm"] if later else ["opened", "comm", "pid", "who"])
    assert picker.lines.cursor == (3 if later else 1)


@case("columns.reset")
async def _reset_columns(pilot: Pilot[None], key: str) -> None:
    before = columns_of(pilot)
    await opened_picker(pilot, "space", "down", "down", "]", key)
    assert columns_of(pilot) == before


@case("columns.cancel")
async def _cancel_columns(pilot: Pilot[None], key: str) -> None:
    before = columns_of(pilot)
    await opened_picker(pilot, "space", "down", "]")
    assert columns_of(pilot) != before
    await pilot.press(key)
    await pilot.pause()
    assert columns_of(pilot) == before
    assert isinstance(pilot.app.screen, MainScreen)


@case("columns.keep")
async def _keep_columns(pilot: Pilot[None], key: str) -> None:
    kept: list[PaneKind[Any]] = []
    the_app(pilot)._look = dataclasses.replace(the_app(pilot)._look, remember=kept.append)
    await pilot.press("f2", "space", key)
    await until(pilot, lambda: kept)
    assert [column.key for column in kept[0].hidden] == ["opened"]


@case("columns.left", "columns.right", "columns.left_arrow", "columns.right_arrow")
async def _scroll_columns(pilot: Pilot[None], key: str) -> None:
    def seen() -> list[str]:
        return [column.key for column in table(pilot).visible_columns()]

    at_first = seen()
    await pilot.press("L", "L")
    further = seen()
    await pilot.press(key)
    assert seen() not in (at_first, further)
    assert seen()[:2] == ["who", "remote"]
    await pilot.press("H", "H", "H")
    assert seen() == at_first


@case("export")
async def _export(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    await until(pilot, lambda: notices(pilot))
    path = Path("nettop-host-20260301T120100Z.json").absolute()
    assert notices(pilot) == [f"Wrote {path.name}\nin {path.parent}"]
    assert len(json.loads(path.read_bytes())["connections"]) == 10


@case("export.as")
async def _export_as(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    assert isinstance(pilot.app.screen, PathPrompt)
    await until(pilot, lambda: "enter writes it, esc cancels" in text(pilot))
    box = pilot.app.screen.query_one(Input)
    assert box.value == "nettop-host-20260301T120100Z.json"
    box.value = "chosen.json"
    await pilot.press("enter")
    await until(pilot, lambda: notices(pilot))
    assert notices(pilot) == [f"Wrote chosen.json\nin {Path().absolute()}"]
    assert json.loads(Path("chosen.json").read_bytes())["schema"] == "nettop.snapshot/1"


@case("path.cancel")
async def _cancel(pilot: Pilot[None], key: str) -> None:
    await pilot.press("E")
    await until(pilot, lambda: isinstance(pilot.app.screen, PathPrompt))
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
    assert notices(pilot) == []
    assert list(Path().iterdir()) == []


def cutting(pilot: Pilot[None]) -> FakeCutting:
    feed = the_app(pilot)._feed
    assert isinstance(feed.cutting, FakeCutting)
    return feed.cutting


async def opened_card(pilot: Pilot[None]) -> CutCard:
    """That of curl's connection that is open."""
    await pilot.press("G", "k", "x")
    await pilot.pause()
    card = pilot.app.screen
    assert isinstance(card, CutCard)
    return card


@case("cut")
async def _cut(pilot: Pilot[None], key: str) -> None:
    await pilot.press("G", "k", key)
    await pilot.pause()
    assert "Cut curl[4242] and www.example.com (198.51.100.1)" in text(pilot)


@case("cut.do")
async def _do(pilot: Pilot[None], key: str) -> None:
    card = await opened_card(pilot)
    await pilot.press(*"block it", key)
    assert pilot.app.screen is card
    assert "Type one of the lines above as it stands there." in text(pilot)
    await pilot.press("ctrl+u", *"block process 10", key)
    assert isinstance(pilot.app.screen, MainScreen)
    (order,) = cutting(pilot).told
    assert isinstance(order, Order)
    assert (order.verb, order.minutes, order.target.said) == ("block", 10, "curl[4242]")


@case("cut.close")
async def _close_card(pilot: Pilot[None], key: str) -> None:
    await opened_card(pilot)
    await pilot.press(*"kill", key)
    assert isinstance(pilot.app.screen, MainScreen)
    assert cutting(pilot).told == []


@case("cut.copy")
async def _copy_commands(pilot: Pilot[None], key: str) -> None:
    the_app(pilot)._feed = FakeFeed(busy(), FakeCutting(replace(CUTTING, allowed=False)))
    await opened_card(pilot)
    await pilot.press(key)
    assert pilot.app.clipboard.splitlines() == [
        "ss -K -t src 192.0.2.10:40001 dst 198.51.100.1:443",
        "kill -TERM 4242",
        "kill -KILL 4242",
    ]


@case("cut.up", "cut.down")
async def _scroll_card(pilot: Pilot[None], key: str) -> None:
    await pilot.resize_terminal(60, 15)
    card = await opened_card(pilot)
    shown = card.query_one("#cut-scroll")
    await pilot.press("down", "down", "down")
    await until(pilot, lambda: shown.scroll_y == 3)
    await pilot.press(key)
    await until(pilot, lambda: shown.scroll_y == (2 if key == "up" else 4))


@case("cut.undo")
async def _undo_cut(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    assert notices(pilot) == ["nettop blocks nothing."]
    remote = OneRemote("198.51.100.7", 1)
    first, second = Block(4, remote, 60.0, 0), Block(5, remote, 599.0, 12)
    cutting(pilot).state = Cuts((first,))
    await pilot.press(key)
    assert cutting(pilot).told == [4]
    cutting(pilot).state = Cuts((first, second))
    await pilot.press(key)
    assert "198.51.100.7 9m59s left, 12 refused" in text(pilot)
    await pilot.press("down", "down", "enter", key, "enter")
    assert cutting(pilot).told == [4, 5, None]


@case("row.copy")
async def _copy(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    row = json.loads(pilot.app.clipboard)
    assert (row["id"], row["remote"]["address"]) == (10, "198.51.100.10")
    assert notices(pilot) == ["Sent the row as JSON to the terminal's clipboard (OSC 52)."]


@case("rows.ended")
async def _ended(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    assert ids(pilot) == [7, 6, 5, 1, 9]
    assert 5150 not in ids(pilot, "processes")
    await pilot.press(key)
    assert len(ids(pilot)) == 10


def later(**changes: Any) -> Snapshot:
    """Ten seconds after the first: curl has sent 1,000 bytes more, and asked once more."""
    first = busy()
    curl, *others = first.processes
    curl = replace(curl, tx_bytes=curl.tx_bytes + 1_000, dns=replace(curl.dns, queries=curl.dns.queries + 1))
    fields = {
        "captured_at": at(70),
        "processes": (curl, *others),
        "dns": (*first.dns, query(100, "curl", "new.example.com", asked_at=at(65))),
        **changes,
    }
    return replace(first, **fields)


@case("mark.set")
async def _mark(pilot: Pilot[None], key: str) -> None:
    await pilot.press("1", key)
    assert "since 12:01:00" in lines(pilot)[1]
    await show(pilot, later())
    signs = [line.split()[0] for line in lines(pilot) if "example" in line and "A " in line]
    assert signs.count("+") == 1
    assert "+ 12:01:05" in text(pilot)
    await pilot.press("3")
    assert "by TRAFFIC ▾ · since 12:01:00" in text(pilot)
    (curl,) = (row for row in table(pilot, "processes").shown_rows if row.comm == "curl")
    assert (curl.tx_bytes, curl.dns.queries) == (1_000, 1)
    await pilot.press(key)  # it moves there
    assert "since 12:01:10" in lines(pilot)[1]
    assert "+ 12:01:05" not in text(pilot)


@case("mark.new")
async def _only_new(pilot: Pilot[None], key: str) -> None:
    await pilot.press("1", key)
    await until(pilot, lambda: notices(pilot) == ["There is no mark to be newer than; m sets one."])
    await pilot.press("m", key)
    await show(pilot, later())
    assert (ids(pilot, "dns"), ids(pilot)) == ([100], [])
    assert "nothing began after the mark" in text(pilot)
    assert "1 DNS 1 · by TIME ▾ · new since 12:01:00" in text(pilot)
    await pilot.press(key)
    assert len(ids(pilot, "dns")) == 10


@case("mark.remove")
async def _unmark(pilot: Pilot[None], key: str) -> None:
    await pilot.press("m", "M")
    await show(pilot, later())
    await pilot.press(key)
    assert "since" not in text(pilot)
    assert "+" not in text(pilot)
    assert len(ids(pilot, "dns")) == 10
    (curl,) = (row for row in table(pilot, "processes").shown_rows if row.comm == "curl")
    assert curl.tx_bytes == busy().processes[0].tx_bytes + 1_000


@case("names")
async def _names(pilot: Pilot[None], key: str) -> None:
    assert "www.example.com:443" in text(pilot)
    await pilot.press(key)
    assert "www.example.com:443" not in text(pilot)
    assert "198.51.100.1:443" in text(pilot)


@case("pace.faster", "pace.slower")
async def _pace(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    assert the_app(pilot)._feed.told == [("adjust", -1 if key == "minus" else 1)]  # type: ignore[attr-defined]


@case("group.next")
async def _group(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    assert "2 Connections by host · 10 hosts, 10 " in text(pilot)
    await pilot.press(key)
    assert "2 Connections by port · 3 ports, 10 " in text(pilot)
    for _ in groupings_of(CONNECTIONS)[1:]:
        await pilot.press(key)
    assert ids(pilot) == [10, 8, 7, 6, 5, 4, 3, 2, 1, 9]


async def open_menu(pilot: Pilot[None], key: str = "B") -> Choices:
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.screen, Choices) and pilot.app.screen.query(OptionList))
    assert isinstance(pilot.app.screen, Choices)
    return pilot.app.screen


async def grouped_by(pilot: Pilot[None]) -> str | None:
    """What the menu has left behind."""
    await until(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
    grouping = main(pilot).drill.place.grouping
    return None if grouping is None else grouping.name


@case("group.menu")
async def _group_menu(pilot: Pilot[None], key: str) -> None:
    await open_menu(pilot, key)
    assert "Group by" in text(pilot)
    await pilot.press("s")
    assert await grouped_by(pilot) == "state"
    await open_menu(pilot, key)
    assert "• s  state" in text(pilot)
    await pilot.press("r")
    assert await grouped_by(pilot) is None


@case("findings")
async def _findings(pilot: Pilot[None], key: str) -> None:
    """Going to the second shows what proves it; where nothing is wrong, that is said."""
    assert "F7 1 of 3  ! nginx[900] :443 accept queue full" in text(pilot)
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.screen, Choices))
    assert "chromium[3111] to www.example.com:443 waits for a response to 1 request PROPFIND" in text(pilot)
    await pilot.press("down", "enter")
    await until(pilot, lambda: ids(pilot, "requests") == [3])
    assert "method:PROPFIND status:pending" in main(pilot).state.filter.text
    await show(pilot, snapshot())
    assert " F7 " not in text(pilot)
    await pilot.press(key)
    await until(pilot, lambda: any(note.startswith("Nothing found") for note in notices(pilot)))


@case("choice.close")
async def _close_menu(pilot: Pilot[None], key: str) -> None:
    await open_menu(pilot)
    await pilot.press(key)
    assert await grouped_by(pilot) is None
    assert not await ended(pilot)


@case("choice.up", "choice.down", "choice.take")
async def _choose(pilot: Pilot[None], key: str) -> None:
    await open_menu(pilot)
    await pilot.press("down", "down", *([] if key == "enter" else [key]), "enter")
    assert await grouped_by(pilot) == {"enter": "port", "up": "host", "k": "host"}.get(key, "process")


@case("row.up", "row.down")
async def _move(pilot: Pilot[None], key: str) -> None:
    await pilot.press("down", "down", key)
    assert row_id(pilot) == ids(pilot)[3 if key in ("down", "j") else 1]


@case("row.page_up", "row.page_down")
async def _page(pilot: Pilot[None], key: str) -> None:
    await pilot.resize_terminal(80, 15)
    await pilot.pause()
    page = table(pilot).size.height - 1
    await pilot.press("pagedown", key)
    assert row_id(pilot) == ids(pilot)[0 if key in ("pageup", "ctrl+u") else min(2 * page, 9)]


@case("row.first")
async def _first(pilot: Pilot[None], key: str) -> None:
    await pilot.press("down", "down", key)
    assert row_id(pilot) == 10


@case("row.last")
async def _last(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    assert row_id(pilot) == 9


@case("row.open")
async def _open(pilot: Pilot[None], key: str) -> None:
    await pilot.press("down", key)
    await pilot.pause()
    assert isinstance(pilot.app.screen, DetailScreen)
    assert lines(pilot)[0].strip() == "Connection 8"


@case("detail.back")
async def _back(pilot: Pilot[None], key: str) -> None:
    await pilot.press("down", "enter", key)
    await pilot.pause()
    assert isinstance(pilot.app.screen, MainScreen)
    assert row_id(pilot) == 8
    assert table(pilot).has_focus


@case("detail.next", "detail.previous")
async def _next_table(pilot: Pilot[None], key: str) -> None:
    await pilot.press("3", "enter")
    await pilot.pause()
    screen = pilot.app.screen
    assert isinstance(screen, DetailScreen)
    assert screen.table is not None
    before = screen.table.id
    await pilot.press(key)
    assert before != screen.table.id


def told(pilot: Pilot[None]) -> list[tuple[str, object]]:
    feed = the_app(pilot)._feed
    assert isinstance(feed, FakeFeed)
    return feed.told


@case("play.back", "play.forward", "play.far_back", "play.far_forward")
async def _go(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key)
    steps = {"left": -5, "right": 5, "shift+left": -30, "shift+right": 30}
    assert told(pilot) == [("go", steps[key])]


@case("play.tick")
async def _tick(pilot: Pilot[None], key: str) -> None:
    await pilot.press(key, key)
    assert "PAUSED" in lines(pilot)[0]
    assert told(pilot) == [("hold", True), ("tick", None)] * 2


@case("play.failure")
async def _failure(pilot: Pilot[None], key: str) -> None:
    await pilot.press("f", key)
    assert "PAUSED" in lines(pilot)[0]
    assert told(pilot) == [("hold", True), ("failure", "pid:4242")]


@case("play.start")
async def _again(pilot: Pilot[None], key: str) -> None:
    await pilot.press("space", key)
    assert "PAUSED" not in lines(pilot)[0]
    assert told(pilot) == [("hold", True), ("hold", False), ("start again", None)]


EVERY = [(key.id, name.strip()) for key in ALL_KEYS for name in key.keys.split(",")]


@pytest.mark.parametrize(("name", "key"), EVERY, ids=[f"{name}-{key}" for name, key in EVERY])
def test_a_key_does_what_it_says(name: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def steps(pilot: Pilot[None]) -> None:
        await CASES[name](pilot, key)

    cut = FakeCutting(CUTTING) if name.startswith("cut") else None
    play(steps, FakePlayer(busy()) if name.startswith("play.") else FakeFeed(busy(), cut))


def test_no_case_is_for_a_key_that_does_not_exist() -> None:
    assert set(CASES) == {key.id for key in ALL_KEYS}


def test_a_remapped_key_works_and_the_old_one_is_dead() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("p")
        assert "PAUSED" in lines(pilot)[0]
        await pilot.press("space")
        assert "PAUSED" in lines(pilot)[0]
        assert "p Pause" in lines(pilot)[-1]
        await pilot.press("h")  # these two were swapped
        assert main(pilot).state == main(pilot).state.__class__(
            main(pilot).state.filter, names=False, sorts=main(pilot).state.sorts
        )
        await pilot.press("a")
        assert not main(pilot).state.show_ended
        await pilot.press("f1")
        assert isinstance(pilot.app.screen, HelpScreen)
        shown = [line.split() for line in lines(pilot)]
        assert any("Pause" in line and "p" in line for line in shown)
        assert not any("space" in line for line in shown)

    play(
        steps, FakeFeed(busy()), (120, 60),
        look=Look(keymap={"pause": "p", "names": "h", "rows.ended": "a", "help": "f1, f2"}),
    )  # fmt: skip


@pytest.mark.parametrize("key", ["f2", "question_mark"])
def test_a_remapped_key_with_several_names(key: str) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press(key)
        assert isinstance(pilot.app.screen, HelpScreen) == (key == "f2")

    play(steps, FakeFeed(busy()), look=Look(keymap={"help": "f1, f2"}))


def test_the_footer_shows_the_keys_of_where_one_is() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        footer = lines(pilot)[-1]
        for label in ("enter Open", "? Help", "q Quit", "/ Filter", "f Only pid", "c Only name", "Pause", "z Zoom"):
            assert label in footer
        assert footer.endswith("z Zoom")  # what has no room is left out, not cut
        await pilot.resize_terminal(120, 24)
        await pilot.pause()
        assert lines(pilot)[-1].endswith("e Export b Group ^p Palette")
        await pilot.press("slash")
        await pilot.pause()
        await pilot.pause()
        footer = lines(pilot)[-1]
        assert footer.startswith("enter Keep ↑ Earlier ↓ Later tab Complete esc Cancel")
        await pilot.press("escape", "ctrl+f")
        await pilot.pause()
        await pilot.pause()
        assert lines(pilot)[-1].startswith("enter Keep ↑ Previous ↓ Next esc Cancel")
        await pilot.press("escape", "enter")
        await pilot.pause()
        await pilot.pause()
        assert "esc Back" in lines(pilot)[-1]

    play(steps, FakeFeed(busy()), (80, 24))


def test_every_key_in_a_detail_works_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    feed = FakeFeed(busy())

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("3", "enter")
        await pilot.pause()
        screen = pilot.app.screen
        assert isinstance(screen, DetailScreen)
        await pilot.press("space")
        assert the_app(pilot)._paused is not None
        await pilot.press("a", "plus", "minus")
        assert not main(pilot).state.names
        assert feed.told == [("hold", True), ("adjust", 1), ("adjust", -1)]
        await pilot.press("s")
        first = screen._sorts["connections"]
        assert first[0] == screen._tables["connections"].visible_columns()[0].key
        await pilot.press("S")
        assert screen._sorts["connections"] == (first[0], not first[1])
        await pilot.press("o", "a")
        assert screen._sorts["connections"] == ("age", True)
        await pilot.press("greater_than_sign")
        assert screen._sorts["connections"] == ("connect", True)
        await pilot.press("less_than_sign", "f2", "space", "enter")
        assert screen._sorts["connections"] == ("age", True)
        assert "opened" not in [column.key for column in screen._tables["connections"].pane.columns]
        await pilot.press("y")
        assert json.loads(pilot.app.clipboard)["pid"] == 900
        await pilot.press("e")
        await until(pilot, lambda: any(notice.startswith("Wrote ") for notice in notices(pilot)))
        assert len(list(tmp_path.iterdir())) == 1
        await pilot.press("E", "escape", "question_mark", "q")
        assert pilot.app.screen is screen
        await pilot.press("q")
        await until(pilot, lambda: isinstance(pilot.app.screen, MainScreen))
        assert not await ended(pilot)  # one goes back, and hours of history stay

    play(steps, feed)
    assert {key.id for key in KEYS_IN_DETAIL} == {
        "pause", "names", "pace.faster", "pace.slower", "sort.column", "sort.direction", "row.copy", "export",
        "export.as", "help", "detail.back", "detail.next", "detail.previous", "sort.menu", "sort.next",
        "sort.previous", "columns", "cut", "cut.undo",
    }  # fmt: skip


async def run_command(pilot: Pilot[None], title: str) -> None:
    """Of the palette."""
    (command,) = [each for each in the_app(pilot).get_system_commands(pilot.app.screen) if each.title == title]
    result = command.callback()
    if result is not None:
        await result
    await pilot.pause()


def test_the_palette_runs_actions_of_the_pane_and_sorts_it() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await run_command(pilot, "Sort by TX")
        assert ids(pilot)[0] == 6
        await run_command(pilot, "Sort by TX")
        assert ids(pilot)[-1] == 6
        await run_command(pilot, "Open (enter)")
        screen = pilot.app.screen
        assert isinstance(screen, DetailScreen)
        await run_command(pilot, "Sort by SERVER")
        assert screen.sorted_by == ("server", False)

    play(steps, FakeFeed(busy()))


def test_copying_goes_to_the_terminal_in_base64_only(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    async def steps(pilot: Pilot[None]) -> None:
        driver = pilot.app._driver
        assert driver is not None
        monkeypatch.setattr(driver, "write", written.append)
        await pilot.press("y")
        (osc,) = [chunk for chunk in written if chunk.startswith("\x1b]52")]
        assert json.loads(base64.b64decode(osc.removeprefix("\x1b]52;c;").removesuffix("\a")))["id"] == 10

    play(steps, FakeFeed(busy()))


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        (("1", "enter"), "DNS query"),
        (("3", "enter"), "Process"),
        (("tab", "enter"), "Process"),
        (("shift+tab", "enter"), "DNS query"),
        (("1", "b", "enter", "enter"), "DNS query"),
    ],
    ids=str,
)
def test_keys_pressed_together_are_for_what_the_ones_before_bring(keys: tuple[str, ...], shown: str) -> None:
    """A slow terminal sends several in one go: none waits until the screen has done what the one before says."""

    async def steps(pilot: Pilot[None]) -> None:
        for key in keys:
            pilot.app.post_message(Key(key, key if len(key) == 1 else None))
        await until(pilot, lambda: text(pilot).lstrip().startswith(shown))

    play(steps, FakeFeed(busy()))


def test_keys_that_need_a_row_do_no_harm_without_one() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press(
            "down",
            "up",
            "G",
            "g",
            "pagedown",
            "pageup",
            "enter",
            "f",
            "c",
            "y",
            "s",
            "S",
            "h",
            "n",
            "escape",
            "a",
            "u",
            "z",
        )
        assert isinstance(pilot.app.screen, MainScreen)
        assert notices(pilot) == ["There is no row to copy."]
        await show(pilot, busy())
        assert len(ids(pilot)) == 5

    play(steps, FakeFeed())


def test_before_the_first_snapshot_nothing_can_be_exported_or_paused() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("e", "E", "space")
        assert isinstance(pilot.app.screen, MainScreen)
        await show(pilot, busy())
        assert "LIVE" in lines(pilot)[0]

    play(steps, FakeFeed())


def test_the_key_line_is_made_of_buttons() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        bottom = pilot.app.size.height - 1
        await pilot.click(offset=(lines(pilot)[bottom].index("Pause"), bottom))
        assert "PAUSED" in lines(pilot)[0]

    play(steps, FakeFeed(busy()))


def test_every_screen_has_one_key_line() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        assert len(pilot.app.screen.query(KeyLine)) == 1

    app = play(steps, FakeFeed(busy()))
    assert isinstance(app, NettopApp)
