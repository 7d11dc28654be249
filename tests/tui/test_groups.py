"""Groups on the screen: going in and out, and that everything else goes on as it does with rows."""

import json
from functools import partial
from pathlib import Path

import pytest
from textual.pilot import Pilot

from nettop.model.kinds import KINDS
from nettop.tui.choices import Choices, letters
from nettop.tui.detail import DetailScreen
from nettop.tui.main import MainScreen
from nettop.view.group import Group
from nettop.view.grouping import groupings_of
from tests.tui.scene import (
    FakeFeed,
    busy,
    closed,
    connection,
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

ASKED = (
    *(query(number, "curl", "www.example.com", latency_ms=float(number)) for number in range(1, 5)),
    *(query(number, "chromium", "gone.example.net", "NXDOMAIN") for number in range(5, 8)),
    query(8, "unbound", "other.example.org"),
)


def labels(pilot: Pilot[None], kind: str = "dns") -> list[str]:
    return [group.label for group in table(pilot, kind).shown_rows]


def selected(pilot: Pilot[None], kind: str = "dns") -> str:
    group = table(pilot, kind).cursor_row
    assert isinstance(group, Group)
    return group.label


def test_into_a_group_and_back_to_the_same_line() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "b")
        assert labels(pilot) == ["www.example.com", "gone.example.net", "other.example.org"]
        assert "1 DNS by name · 3 names, 8 · by COUNT ▾" in text(pilot)
        assert "! 3 100%" in text(pilot)
        await pilot.press("down", "enter")
        assert ids(pilot, "dns") == [7, 6, 5]
        assert "1 DNS by name > gone.example.net · 3 of 8 · by TIME ▾" in text(pilot)
        await pilot.press("down", "b")
        assert "by name > gone.example.net by domain · 1 domain, 3 of 8" in text(pilot)
        await pilot.press("escape", "escape")
        assert selected(pilot) == "gone.example.net"
        await pilot.press("escape")
        assert ids(pilot, "dns") == [8, 7, 6, 5, 4, 3, 2, 1]
        assert "1 DNS 8 " in text(pilot)

    play(steps, FakeFeed(snapshot(ASKED)))


def test_keys_in_quick_succession_are_for_what_the_ones_before_bring() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "b", "down", "enter", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DetailScreen) and "DNS query 7" in text(pilot))

    play(steps, FakeFeed(snapshot(ASKED)))


def test_enter_for_a_group_that_is_no_longer_shown_opens_what_is() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "b")
        dns = table(pilot, "dns")
        pressed = dns.Opened(dns, dns.cursor_row)  # type: ignore[arg-type]
        await pilot.press("escape")
        dns.post_message(pressed)
        await until(pilot, lambda: isinstance(pilot.app.screen, DetailScreen) and "DNS query 8" in text(pilot))

    play(steps, FakeFeed(snapshot(ASKED)))


@pytest.mark.parametrize(("menu", "choice"), [("o", "errors"), ("B", "name")])
def test_what_a_menu_offered_before_one_went_into_a_group(menu: str, choice: str) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "b")
        await pilot.press(menu)
        main, screen = pilot.app.screen_stack[-2:]
        assert isinstance(main, MainScreen)
        assert isinstance(screen, Choices)
        group = table(pilot, "dns").cursor_row
        assert isinstance(group, Group)
        main.drill.into(group)
        main.redraw()
        screen.dismiss(choice)
        await pilot.press("b")
        assert "by name > www.example.com by domain" in text(pilot)

    play(steps, FakeFeed(snapshot(ASKED)))


def test_the_next_column_of_a_pane_that_has_not_been_drawn() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        drawn = table(pilot, "hosts")
        assert drawn.visible_columns() == list(drawn.pane.columns)

    play(steps, FakeFeed(snapshot(ASKED)))


def test_the_cursor_stays_on_its_group_while_others_come_and_overtake_it() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "b", "down")
        more = [query(number, "unbound", "new.example.org") for number in range(9, 30)]
        await show(pilot, snapshot([*ASKED, *more], seconds=61.0))
        assert labels(pilot)[0] == "new.example.org"
        assert selected(pilot) == "gone.example.net"
        await pilot.press("enter")
        more.append(query(30, "chromium", "gone.example.net", "NXDOMAIN"))
        await show(pilot, snapshot([*ASKED, *more], seconds=62.0))
        assert ids(pilot, "dns") == [30, 7, 6, 5]

    play(steps, FakeFeed(snapshot(ASKED)))


def test_groups_sort_by_their_own_columns_and_rows_by_theirs() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "S", "b", "s")
        assert "by /s" in text(pilot)
        await pilot.press("s")
        assert "by FAILED ▾" in text(pilot)
        assert labels(pilot)[0] == "gone.example.net"
        await pilot.press("S")
        assert labels(pilot)[-1] == "gone.example.net"
        await pilot.click("#table-dns", offset=(1, 0))
        assert "by NAME ▴" in text(pilot)
        assert labels(pilot)[0] == "gone.example.net"
        await pilot.press("enter")
        assert "by TIME ▴" in text(pilot)
        await pilot.press("escape", "escape", "b")
        assert "by NAME ▴" in text(pilot)

    play(steps, FakeFeed(snapshot(ASKED)))


def test_a_filter_chooses_rows_before_they_are_grouped() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "b", "slash", *"dns:failed", "enter")
        assert labels(pilot) == ["gone.example.net"]
        assert "1 name, 3 of 8" in text(pilot)
        await pilot.press("slash", *" nothing", "enter")
        assert "nothing matches the filter" in text(pilot)
        await pilot.press("enter", "y")
        assert notices(pilot)[-1] == "There is no row to copy."

    play(steps, FakeFeed(snapshot(ASKED)))


def test_ended_rows_and_addresses() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("b")
        assert labels(pilot, "connections") == ["www.example.com 198.51.100.1", "198.51.100.2"]
        await pilot.press("a")
        assert labels(pilot, "connections") == ["198.51.100.1", "198.51.100.2"]
        await pilot.press("h")
        assert labels(pilot, "connections") == ["198.51.100.1"]

    play(steps, FakeFeed(snapshot(
        connections=[connection(1, "curl", "www.example.com"), closed(2, "curl", None, "refused")])))  # fmt: skip


def test_a_pause_holds_groups_too() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "b", "space")
        await show(pilot, snapshot([*ASKED, query(9, "unbound", "new.example.org")], seconds=61.0))
        assert "new.example.org" not in labels(pilot)
        await pilot.press("down", "enter")
        assert ids(pilot, "dns") == [7, 6, 5]
        await pilot.press("escape", "space")
        assert "new.example.org" in labels(pilot)

    play(steps, FakeFeed(snapshot(ASKED)))


def test_the_pid_and_the_name_of_a_group_become_the_filter() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "b", "f")
        assert the_app(pilot)._main.state.filter.text == "pid:4242"
        await pilot.press("escape", "escape", "b", "b", "b", "b")  # by server: many processes
        before = the_app(pilot)._main.state.filter.text
        await pilot.press("f", "c")
        assert the_app(pilot)._main.state.filter.text == before

    play(steps, FakeFeed(snapshot(ASKED)))


def test_a_copied_group_says_what_its_line_says_but_not_its_rows() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "b", "down", "y")
        told = json.loads(pilot.app.clipboard)
        assert told["grouping"] == "dns by name"
        assert told["group"] == "gone.example.net"
        assert (told["count"], told["failed"], told["failed_of"], told["latency_max"]) == (3, 3, 3, 12.5)
        assert told["who"] == [{"comm": "chromium", "pid": 3111, "processes": 1}]

    play(steps, FakeFeed(snapshot(ASKED)))


def test_an_export_has_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "b", "enter", "e")
        await until(pilot, lambda: notices(pilot))
        (written,) = tmp_path.glob("*.json")
        assert len(json.loads(written.read_bytes())["dns"]) == 8

    play(steps, FakeFeed(snapshot(ASKED)))


def draws(pilot: Pilot[None], kind: str, grouping: str) -> bool:
    """Whether the pane says by what it is grouped, and shows the first group."""
    first, *_ = table(pilot, kind).shown_rows
    return f"by {grouping}" in text(pilot) and first.label[:8] in text(pilot)


@pytest.mark.parametrize("size", [(60, 15), (200, 60)])
def test_every_grouping_is_drawn(size: tuple[int, int]) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        for number, kind in enumerate(KINDS, 1):
            await pilot.press(str(number))
            for grouping in groupings_of(kind):
                await pilot.press("b")
                await until(pilot, partial(draws, pilot, kind.name, grouping.name))

    play(steps, FakeFeed(busy()), size)


def test_names_of_strangers_are_not_markup_in_titles_and_menus() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "b", "enter")
        assert "by name > [/foo]" in text(pilot)
        await pilot.press("B")

    play(steps, FakeFeed(snapshot([query(1, "curl", "[/foo]")])))


def test_the_palette_groups_too() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "b", "enter")
        await until(pilot, lambda: "by name > www.example.com" in text(pilot))
        app = the_app(pilot)
        commands = {command.title: command for command in app.get_system_commands(app.screen)}
        assert "Group by name" not in commands  # one has gone into such a group
        commands["Group by server"].callback()
        await pilot.pause()
        assert "by name > www.example.com by server · 1 server, 4 of 8" in text(pilot)

    play(steps, FakeFeed(snapshot(ASKED)))


def test_a_menu_can_be_clicked() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", "B")
        await until(pilot, lambda: "  domain " in text(pilot))  # the headline may say nxdomain
        y = next(at for at, line in enumerate(lines(pilot)) if "  domain " in line)
        await pilot.click(offset=(lines(pilot)[y].index("domain"), y))
        await until(pilot, lambda: "by domain" in text(pilot))

    play(steps, FakeFeed(snapshot(ASKED)))


def test_every_line_of_a_menu_has_a_letter_of_its_own() -> None:
    assert letters(["name", "domain", "server", "state", "quick"]) == ["n", "d", "s", "t", "u"]
    assert letters(["jkq", "jkq"]) == ["a", "b"]
    many = letters(["x"] * 30)
    assert many[-1] == " "
    assert len(set(many)) == len([letter for letter in many if letter != " "]) + 1


def test_a_group_may_have_no_rows_left() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("1", *"bbbbbbbb", "enter")
        await until(pilot, lambda: "by look-up > other.example.org · 1 of 8" in text(pilot))
        await show(pilot, snapshot(ASKED[:2], seconds=2))  # a recording that goes back
        assert "by look-up > other.example.org · 0 of 2" in text(pilot)
        assert "nothing is left of this group" in text(pilot)
        await pilot.press("escape")
        assert labels(pilot) == ["www.example.com", "www.example.com"]

    play(steps, FakeFeed(snapshot(ASKED)))
