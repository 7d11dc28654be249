"""What --help says: every option of every command, and every key of the main screen."""

import argparse
import re

import pytest

from nettop.cli.main import main
from nettop.cli.parser import make_parser
from nettop.model.filter import FILTER_KEYS
from nettop.view.keys import MAIN_KEYS, TABLE_KEYS

SCOPE = {"--pid", "--comm", "--netns", "--unit", "--container"}
WATCHING = SCOPE | {"--filter", "--interval", "--dns-ports", "--lookups", "--decrypt", "--debug"}
REFUSED = {"--lookups", "--decrypt"}  # by metrics, with a sentence of their own: tests/unit/test_cli.py
OUTPUT = {"-o", "--output", "--force"}
FORMAT = {"--format", "--table", "--group", "--sort", "--top"}
HELP = {"-h", "--help"}
OPTIONS = {
    "": HELP | WATCHING | {"--version", "--theme", "--allow-cut"},
    "snapshot": HELP | WATCHING | OUTPUT | FORMAT | {"--for"},
    "stream": HELP | WATCHING | OUTPUT | {"--for", "--final", "--format"},
    "metrics": HELP | (WATCHING - REFUSED) | OUTPUT | {"--for", "--listen", "--series"},
    "replay": HELP
    | OUTPUT
    | FORMAT
    | {"--demo", "--snapshot", "--speed", "--partial", "--filter", "--theme", "--debug"},
    "diagnose": HELP | WATCHING | {"--for", "--json"},
    "doctor": HELP | {"--json", "--debug"},
    "config": HELP | {"--debug"},
}
COMMANDS = sorted(OPTIONS)


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by its name; of the screen by none."""
    parser = make_parser()
    (choices,) = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {"": parser, **choices}


def said(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments, "--help"]) == 0
    output, error = capfd.readouterr()
    assert error == ""
    assert output.startswith(f"usage: {' '.join(['nettop', *arguments])} ")
    return output


def test_no_command_is_left_out() -> None:
    assert sorted(parsers()) == COMMANDS


@pytest.mark.parametrize("columns", ["40", "80", "200"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_named(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    output = said(capfd, *command.split())
    listed = re.findall(r"^  (-.*?)(?=  |$)", output.partition("\noptions:\n")[2], re.MULTILINE)
    named = {option for entry in listed for option in re.findall(r"(?:^|, )(--?[a-z][a-z-]*)", entry)}
    assert named == OPTIONS[command]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: str) -> None:
    for action in parsers()[command]._actions:
        if command == "metrics" and REFUSED & set(action.option_strings):
            assert action.help == argparse.SUPPRESS
        elif action.option_strings:
            assert action.help not in (None, "", argparse.SUPPRESS), action.option_strings


def test_every_command_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    output = said(capfd)
    for command in COMMANDS[1:]:
        assert re.search(rf"^    {command} +[a-z]", output, re.MULTILINE), command


@pytest.mark.parametrize("command", ["", "snapshot", "stream", "diagnose"])
def test_every_filter_key_is_named(capfd: pytest.CaptureFixture[str], command: str) -> None:
    output = said(capfd, *command.split())
    for key, meaning in FILTER_KEYS.items():
        assert re.search(rf"^  {key}: +{re.escape(meaning)}$", output, re.MULTILINE), key


def test_every_key_of_the_main_screen_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    """As people write it, with a gap before what it does."""
    keys = said(capfd).partition("keys on the screen:\n")[2].partition("\n\n")[0]
    for key in (*MAIN_KEYS, *TABLE_KEYS):
        shown = key.shown_as or key.keys.partition(",")[0]
        assert "_" not in shown, "Textual's name, not what is on a keyboard"
        assert re.search(rf"(^|  ){re.escape(shown)} +{re.escape(key.label)}(  |$)", keys, re.MULTILINE), key.id
