"""What the screen remembers of its user's choices: where, how, and under which conditions it holds."""

import json
import os
import pwd
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nettop.errors import NettopError
from nettop.settings import remembered
from nettop.settings.remembered import Chosen, remember, state_path
from nettop.settings.resolve import look, resolve
from nettop.view.look import Look
from nettop.view.panes import PaneKind

CHOSEN = Chosen(("remote", "pid"), ("comm",))


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it is remembered."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/nettop/columns.json"


def look_of(directory: Path, config: str = "") -> Look:
    path = directory / "config.toml"
    path.write_text(config)
    return look(resolve({}, path).settings)


def pane_of(made: Look, name: str = "connections") -> PaneKind[Any]:
    return next(pane for pane in made.panes if pane.name == name)


def keys(pane: PaneKind[Any]) -> list[str]:
    return [column.key for column in pane.columns]


def without(pane: PaneKind[Any], key: str) -> PaneKind[Any]:
    hidden = tuple(column for column in pane.columns if column.key == key)
    return replace(pane, columns=tuple(column for column in pane.columns if column.key != key), hidden=hidden)


def test_what_was_chosen_is_there_the_next_time(tmp_path: Path, state: Path) -> None:
    made = look_of(tmp_path)
    chosen = without(pane_of(made), "local")
    made.remember(chosen)
    assert keys(pane_of(look_of(tmp_path))) == keys(chosen)
    assert [column.key for column in pane_of(look_of(tmp_path)).hidden] == ["local"]
    assert pane_of(look_of(tmp_path), "dns") == pane_of(made, "dns")
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.parent.stat().st_mode) == 0o700
    assert os.listdir(state.parent) == ["columns.json"]  # noqa: PTH208 - nothing partial


def test_nothing_is_written_where_nothing_changed(tmp_path: Path, state: Path) -> None:
    made = look_of(tmp_path)
    made.remember(pane_of(made))
    assert not state.parent.exists()
    made.remember(without(pane_of(made), "local"))
    before = state.stat()
    made.remember(without(pane_of(made), "local"))
    assert (state.stat().st_ino, state.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_columns_of_the_settings_need_no_memory(tmp_path: Path, state: Path) -> None:
    made = look_of(tmp_path)
    made.remember(without(pane_of(made), "local"))
    made.remember(without(pane_of(made, "dns"), "type"))
    made.remember(pane_of(made))
    assert list(json.loads(state.read_bytes())["panes"]) == ["dns"]


def test_settings_that_were_changed_later_hold(tmp_path: Path) -> None:
    made = look_of(tmp_path)
    made.remember(without(pane_of(made), "local"))
    later = look_of(tmp_path, 'connections.columns = ["remote", "local"]')
    assert keys(pane_of(later)) == ["remote", "local"]
    later.remember(without(pane_of(later), "remote"))
    assert keys(pane_of(look_of(tmp_path, 'connections.columns = ["remote", "local"]'))) == ["local"]
    assert keys(pane_of(look_of(tmp_path))) == keys(pane_of(made))


def test_columns_that_came_with_a_newer_nettop_are_shown_and_those_that_went_are_not_missed(tmp_path: Path) -> None:
    made = pane_of(look_of(tmp_path))
    older = [key for key in keys(made) if key not in ("local", "connect")]
    remember("connections", Chosen((*older, "once-was"), ("local", "was-too")))
    now = keys(pane_of(look_of(tmp_path)))
    assert now == [key for key in keys(made) if key != "local"]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"panes": 3}', '{"panes": {"connections": {}}}', "\0", "x" * (remembered.MAX_STATE_BYTES + 1)]
)
def test_a_file_that_means_nothing_is_passed_over_and_replaced(tmp_path: Path, state: Path, text: str) -> None:
    state.parent.mkdir(parents=True)
    state.write_text(text)
    assert keys(pane_of(look_of(tmp_path))) == [c.key for c in pane_of(look_of(tmp_path)).columns]
    remember("connections", CHOSEN)
    assert remembered.remembered() == {"connections": CHOSEN}


@pytest.mark.parametrize("columns", [[], ["once-was"], ["remote", "remote"]])
def test_a_choice_that_cannot_be_shown(tmp_path: Path, state: Path, columns: list[str]) -> None:
    state.parent.mkdir(parents=True)
    state.write_text(json.dumps({"panes": {"connections": {"columns": columns, "hidden": []}, "nowhere": {
        "columns": ["x"], "hidden": []}}}))  # fmt: skip
    now = keys(pane_of(look_of(tmp_path)))
    assert len(now) == len(set(now)) > 1


def test_neither_a_fifo_nor_a_directory_stops_the_start(tmp_path: Path, state: Path) -> None:
    state.parent.mkdir(parents=True)
    os.mkfifo(state)
    assert pane_of(look_of(tmp_path)).columns
    state.unlink()
    state.mkdir()
    assert pane_of(look_of(tmp_path)).columns
    with pytest.raises(NettopError, match="is a directory"):
        remember("connections", CHOSEN)


def test_no_link_is_written_through(tmp_path: Path, state: Path) -> None:
    state.parent.mkdir(parents=True)
    (tmp_path / "mine").write_text("mine")
    state.symlink_to(tmp_path / "mine")
    with pytest.raises(NettopError, match="symbolic link"):
        remember("connections", CHOSEN)
    assert (tmp_path / "mine").read_text() == "mine"


def test_where_no_directory_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(NettopError, match="cannot be made"):
        remember("connections", CHOSEN)


def test_under_sudo_it_is_the_home_of_who_ran_sudo_and_root_makes_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = pwd.getpwnam("nobody")
    monkeypatch.setenv("SUDO_UID", str(user.pw_uid))
    monkeypatch.setenv("SUDO_GID", str(user.pw_gid))
    home = pwd.struct_passwd((user.pw_name, "x", user.pw_uid, user.pw_gid, "", str(tmp_path), "/bin/sh"))
    monkeypatch.setattr("pwd.getpwuid", lambda _: home)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert state_path() == tmp_path / ".local/state/nettop/columns.json"
    with pytest.raises(NettopError, match="runs as root"):
        remember("connections", CHOSEN)
    assert not (tmp_path / ".local").exists()
    monkeypatch.setattr("os.geteuid", lambda: user.pw_uid)  # as once nettop has become that user
    remember("connections", CHOSEN)
    assert remembered.remembered() == {"connections": CHOSEN}
