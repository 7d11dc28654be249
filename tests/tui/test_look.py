"""What the settings change on the screen."""

import json
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.theme import BUILTIN_THEMES

from nettop.settings.resolve import look, resolve
from nettop.tui.main import Pane
from nettop.tui.table import RowTable
from nettop.view.look import DEFAULT_LOOK, Look
from tests.tui.scene import FakeFeed, Play, busy, ids, lines, notices, play, table, the_app, until


def play_with(config: str, steps: Play, directory: Path) -> None:
    """The steps on a screen with this config.toml."""
    path = directory / "config.toml"
    path.write_text(config)
    play(steps, FakeFeed(busy()), (200, 50), look=look(resolve({}, path).settings))


def test_without_settings_it_looks_as_always(tmp_path: Path) -> None:
    made = look(resolve({}, tmp_path / "none").settings)
    assert (made.theme, made.keymap, made.panes) == (DEFAULT_LOOK.theme, DEFAULT_LOOK.keymap, DEFAULT_LOOK.panes)


@pytest.mark.parametrize("theme", ["nord", "ansi-light"])
def test_the_theme(tmp_path: Path, theme: str) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        assert the_app(pilot).current_theme == BUILTIN_THEMES[theme]

    play_with(f'theme = "{theme}"', steps, tmp_path)


@pytest.mark.parametrize("pane", ["dns", "connections", "processes"])
def test_columns_and_their_order(tmp_path: Path, pane: str) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        assert [column.key for column in table(pilot, pane).visible_columns()] == ["comm", "pid"]
        assert "COMM" in (titles := next(line for line in lines(pilot) if line.lstrip().startswith("COMM")))
        assert titles.index("COMM") < titles.index("PID")

    play_with(f'[{pane}]\ncolumns = ["comm", "pid"]', steps, tmp_path)


def test_columns_hold_in_details_too(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("3", "enter")
        await until(pilot, lambda: pilot.app.screen.query("#detail-connections"))
        tables = pilot.app.screen.query(RowTable)
        assert {each.pane.name: [c.key for c in each.visible_columns()] for each in tables} == {
            "connections": ["end", "remote"],
            "dns": ["name"],
            "udp": ["remote"],
            "listeners": ["queue"],
            "requests": ["path"],
        }

    columns = 'connections.columns = ["end", "remote"]\ndns.columns = ["name"]\nudp.columns = ["remote"]'
    play_with(f'{columns}\nlisteners.columns = ["queue"]\nrequests.columns = ["path"]', steps, tmp_path)


@pytest.mark.parametrize(
    ("sort", "title", "backwards"),
    [("rx", "by RX ▾", True), ("rx asc", "by RX ▴", False), ("pid", "by PID ▴", False), ("pid desc", "by PID ▾", True)],
)
def test_the_sort(tmp_path: Path, sort: str, title: str, backwards: bool) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        assert any(title in line for line in lines(pilot))
        context = table(pilot)._cell_context
        assert context is not None
        key = table(pilot).pane.column(sort.split(maxsplit=1)[0]).sort_key(context)
        values = [value for row in table(pilot).shown_rows if (value := key(row)) is not None]
        assert values == sorted(values, reverse=backwards)
        assert len(set(values)) > 1

    play_with(f'connections.sort = "{sort}"', steps, tmp_path)


def test_a_sort_by_a_column_that_is_not_shown(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        assert any("by OPENED ▾" in line for line in lines(pilot))
        before = ids(pilot)
        await pilot.press("S")
        assert ids(pilot) != before
        await pilot.press("s")  # from there to the first that is shown
        assert any("by COMM ▴" in line for line in lines(pilot))

    play_with('connections.columns = ["comm", "pid"]', steps, tmp_path)


def test_the_export_directory(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("e")
        await until(pilot, lambda: notices(pilot))
        (written,) = (tmp_path / "captures").iterdir()
        assert notices(pilot) == [f"Wrote {written.name}\nin {written.parent}"]
        assert json.loads(written.read_text())["schema"] == "nettop.snapshot/1"

    (tmp_path / "captures").mkdir()
    play_with(f'export_directory = "{tmp_path}/captures"', steps, tmp_path)


def test_keys(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press("p")
        assert "PAUSED" in lines(pilot)[0]

    play_with('[keys]\npause = "p"', steps, tmp_path)


@pytest.mark.parametrize(
    ("path", "expanded"),
    [("~", "/home/ada"), ("~/x/y", "/home/ada/x/y"), ("x", "x"), ("/x", "/x"), ("~root/x", "/root/x")],
)
def test_a_tilde_is_the_users_own_home(path: str, expanded: str) -> None:
    assert Look(home=Path("/home/ada")).path(path) == Path(expanded)


def test_the_panes_below_one_another(tmp_path: Path) -> None:
    async def steps(pilot: Pilot[None]) -> None:
        def displayed() -> list[str]:
            panes = sorted(pilot.app.screen.query(Pane), key=lambda pane: pane.region.y)
            return [pane.kind.name for pane in panes if pane.display]

        assert displayed() == ["connections", "dns"]
        assert the_app(pilot)._main.active == "connections"
        await pilot.press("3")  # takes the place of the lowest
        await until(pilot, lambda: displayed() == ["connections", "processes"])
        assert ids(pilot, "processes")
        await pilot.press("tab", "tab")
        assert table(pilot, "processes").has_focus
        await pilot.press("1", "tab", "tab")
        await until(pilot, lambda: displayed() == ["connections", "dns"])
        assert table(pilot, "dns").has_focus
        await pilot.press("3", "z")
        await until(pilot, lambda: displayed() == ["processes"])

    play_with('panes = ["connections", "dns"]', steps, tmp_path)
