"""The manual and the completions say what the program says, and their readers understand them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from nettop.settings.declared import SETTINGS
from nettop.share import make
from nettop.view.keys import ALL_KEYS
from nettop.view.panes import PANES

SHARE = Path(make.__file__).parent


def said(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=30, env={**os.environ, **environment}
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["nettop.1", "nettop.bash", "_nettop", "nettop.fish"])
@pytest.mark.parametrize("columns", ["40", "200"])
def test_nothing_has_drifted(monkeypatch: pytest.MonkeyPatch, name: str, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert (SHARE / name).read_text() == make.files()[name], "run 'make share'"


def test_the_page_has_every_setting() -> None:
    assert make.SETTINGS_PAGE.read_text() == make.settings_page(), "run 'make share'"


def test_the_manual_is_well_formed() -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", SHARE / "nettop.1"], capture_output=True, text=True, check=False
    )
    assert done.stdout + done.stderr == ""


def test_the_manual_names_every_key_column_and_setting() -> None:
    text = said("mandoc", "-T", "ascii", "-O", "width=500", str(SHARE / "nettop.1"))
    plain = re.sub(".\b", "", text)  # bold is struck twice
    for key in ALL_KEYS:
        assert f"[{key.id}]" in plain
    for pane in PANES:
        for column in pane.columns:
            assert f"{column.key} ({column.title})" in plain
    for each in SETTINGS:
        assert f"{each.name} = {each.default_toml}" in plain
        assert (each.variable or each.name) in plain
    assert set(make._EXACTLY) <= {f"{pane.name} {column.key}" for pane in PANES for column in pane.columns}


def test_bash_completes() -> None:
    script = f"""
        source {SHARE}/nettop.bash
        completed() {{
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _shtab_nettop
            echo "${{COMPREPLY[@]}}"
        }}
        completed nettop sn
        completed nettop --theme nor
        completed nettop snapshot --pi
        completed nettop replay --part
        completed nettop --filter clos
        completed nettop snapshot --filter fai
    """
    assert said("bash", "-euc", script).split() == [
        "snapshot", "nord", "--pid", "--partial", "close-wait:", "failed",
    ]  # fmt: skip


def test_fish_completes(tmp_path: Path) -> None:
    own = {f"XDG_{kind}_HOME": str(tmp_path) for kind in ("CACHE", "CONFIG", "DATA", "STATE")}  # it writes there
    script = (
        f"source {SHARE}/nettop.fish; "
        "for line in 'nettop sn' 'nettop --theme nor' 'nettop snapshot --pi' 'nettop --filter clos'; "
        "complete -C $line; end"
    )
    assert [line.split("\t")[0] for line in said("fish", "--no-config", "-c", script, **own).splitlines()] == [
        "snapshot", "nord", "--pid", "close-wait:",
    ]  # fmt: skip


def test_zsh_understands_its_file() -> None:
    assert said("zsh", "-f", "-n", str(SHARE / "_nettop")) == ""
