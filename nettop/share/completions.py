"""What a shell offers behind an option: files, the words of a choice, what there is on this host."""

import argparse
from pathlib import Path

import shtab

from nettop.cli.format import FORMATS, TABLES
from nettop.model.filter import FILTER_KEYS, FILTER_WORDS
from nettop.settings.declared import SETTINGS
from nettop.settings.kinds import Choice
from nettop.view.grouping import GROUPINGS
from nettop.view.panes import PANES, apart

_LISTS = (*(pane.columns for pane in PANES), *(grouping.pane.columns for grouping in GROUPINGS))
_CHOICES = {
    "--format": tuple(FORMATS),
    "--table": TABLES,
    "--group": tuple(dict.fromkeys(grouping.name for grouping in GROUPINGS)),
    "--sort": tuple(dict.fromkeys(column.key for columns in _LISTS for column in apart(columns))),
}
# A line per word; in words that sh, bash, zsh and fish understand alike.
_LISTED = {
    "--netns": "ls /run/netns 2>/dev/null",
    "--comm": "cat /proc/*/comm 2>/dev/null",
    "--pid": "ls /proc | grep -x '[0-9]*'",
}
# Processes choose their names, and bash expands the words that it offers: others than these could run commands.
_HARMLESS = "LC_ALL=C grep -xE '[A-Za-z0-9_.:@/+-]+' | sort -u"


def offer(action: argparse.Action) -> None:
    """Have shtab offer what may follow this option or stand for this operand."""
    option = max(action.option_strings, key=len, default="")
    declared = next((each for each in SETTINGS if each.option == option), None)
    if action.type is Path:
        action.complete = shtab.FILE  # type: ignore[attr-defined] # shtab's own attribute
    elif declared is not None and isinstance(declared.kind, Choice):
        action.choices = declared.kind.words
    elif option in _CHOICES and action.choices is None:  # the formats of a stream are others
        action.choices = _CHOICES[option]
    elif option == "--filter":
        action.complete = _filter_words()  # type: ignore[attr-defined]
    elif option in _LISTED:
        action.complete = _listed(f"_nettop_{option.lstrip('-')}", _LISTED[option])  # type: ignore[attr-defined]


def _listed(function: str, command: str) -> dict[str, object]:
    """What a command lists each time that something is completed."""
    command = f"{command} | {_HARMLESS}"
    return {
        "bash": function,
        "zsh": function,
        "fish": f"({command})",
        "preamble": {
            "bash": f'{function}() {{\n  compgen -W "$({command})" -- "$1"\n}}',
            "zsh": f'{function}() {{\n  compadd -- ${{(f)"$({command})"}}\n}}',
        },
    }


def _filter_words() -> dict[str, object]:
    """How a shell completes a word of the filter: with the keys, behind which a value follows without a space."""
    words = " ".join((*(f"{key}:" for key in FILTER_KEYS), *FILTER_WORDS))
    return {
        "bash": "_nettop_filter_words",
        "zsh": "_nettop_filter_words",
        "fish": f"(printf '%s\\n' {words})",
        "preamble": {
            "bash": f'_nettop_filter_words() {{\n  compgen -W "{words}" -- "$1"\n}}',
            "zsh": f"_nettop_filter_words() {{\n  compadd -S '' -- {words}\n}}",
        },
    }
