"""The manual and the completions say what the program says, and their readers understand them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


@pytest.mark.parametrize("name", ["nettop.1", "nettop.bash", "_nettop", "nettop.fish", "dashboard.json"])
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


HOSTILE = "$(touch owned)"  # as long as a name may be
ASLEEP = "open('/proc/self/comm', 'w').write({name!r}); print(flush=True); input()"


@contextmanager
def named(name: str) -> Iterator[None]:
    """Somebody's process of this name."""
    sleeper = subprocess.Popen(
        [sys.executable, "-c", ASLEEP.format(name=name)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert sleeper.stdout is not None
    sleeper.stdout.readline()
    try:
        yield
    finally:
        sleeper.communicate()


SHELLS = {
    "bash": 'source nettop.bash; COMP_WORDS=(nettop --comm "nettop-"); COMP_CWORD=2; _shtab_nettop; '
    'echo "${COMPREPLY[@]}"; COMP_WORDS=(nettop --comm "\\$("); _shtab_nettop; echo "${COMPREPLY[@]}"',
    "zsh": "compadd() { print -rl -- ${(M)@:#nettop-*} }; {ZSH}; _nettop_comm",
    "fish": "source nettop.fish; complete -C 'nettop --comm nettop-'; complete -C 'nettop --comm '\\''$('",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_names_of_processes_are_offered_and_never_run(shell: str, tmp_path: Path) -> None:
    """Whoever starts a process chooses its name, and it is root who completes."""
    for name, content in make.files().items():
        (tmp_path / name).write_text(content)
    functions = re.findall(r"^_nettop_\w+\(\) \{\n.*?^\}", (tmp_path / "_nettop").read_text(), re.DOTALL | re.MULTILINE)
    script = SHELLS[shell].replace("{ZSH}", "\n".join(functions))
    own = {f"XDG_{kind}_HOME": str(tmp_path) for kind in ("CACHE", "CONFIG", "DATA", "STATE")}
    options = {"bash": ["-c"], "zsh": ["-fc"], "fish": ["--no-config", "-c"]}
    with named("nettop-asleep"), named(HOSTILE):
        done = subprocess.run(
            [shell, *options[shell], script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30,
            env={**os.environ, **own},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.partition("\t")[0] for line in done.stdout.split("\n") if line] == ["nettop-asleep"]
    assert not (tmp_path / "owned").exists()


def test_bash_offers_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "nettop.bash").write_text(make.files()["nettop.bash"])
    asked = {
        "snapshot --format c": "csv",
        "stream --format o": "otlp",
        "snapshot --table conn": "connections",
        "replay --sort retr": "retransmits",
        "replay --sort close_": "close_wait",
        "snapshot --group loo": "look-up",
        f"--pid {os.getpid()}": str(os.getpid()),
    }
    for line, expected in asked.items():
        script = (
            f"source nettop.bash; COMP_WORDS=(nettop {line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _shtab_nettop; "
            'echo "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30
        )
        assert expected in done.stdout.split(), line


# The manual


def test_the_manual_explains_each_option_once() -> None:
    page = make.manual()
    options = page.partition(".SH OPTIONS")[2].partition(".SH ")[0]
    explained = re.findall(r"^\.TP\n(?:\\fB\\-\w\\fR.*?, )?\\fB(\\-\\-[\w\\-]+)\\fR.*\n(.*)$", options, re.MULTILINE)
    assert len(set(explained)) == len(explained)
    known = {option.replace("\\", "") for option, _ in explained}
    assert {"--pid", "--format", "--group", "--output", "--speed"} <= known
    assert "SUPPRESS" not in options
    assert "None" not in options
    assert page.index(".SH EXAMPLES") < page.index(".SH KEYS") < page.index(".SH STATUS BAR")


def test_the_usage_in_the_manual_is_not_stretched() -> None:
    synopsis = make.manual().partition(".SH SYNOPSIS\n")[2].partition(".SH ")[0]
    assert synopsis.startswith(".nf\n")
    assert "usage: nettop" not in make.manual()


@pytest.mark.parametrize("name", ["nettop.1"])
def test_the_manual_that_would_be_made_is_well_formed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(make.files()[name])
    assert said("mandoc", "-T", "lint", "-W", "warning", str(tmp_path / name)) == ""
