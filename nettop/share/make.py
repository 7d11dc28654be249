"""Writes the manual and the completions beside this file: from the parser, keys, columns, settings and README.

Run by `make share`; needs what only development needs, so it is no part of the wheel.
"""

import argparse
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

from nettop import __version__
from nettop.cli.options import FILTER_RULES
from nettop.cli.parser import make_parser
from nettop.errors import CannotRunError, RunError, UsageError
from nettop.model.filter import FILTER_KEYS
from nettop.settings.declared import SETTINGS
from nettop.settings.kinds import Choice
from nettop.view import keys
from nettop.view.panes import PANES

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
_CHANGED = "November 21, 2026"  # when the manual last got another meaning
_WIDTH = 78  # of usage lines, on whatever terminal this runs
_COMPLETIONS = {"bash": "nettop.bash", "zsh": "_nettop", "fish": "nettop.fish"}
_KEY_GROUPS = {
    "On the main screen": keys.MAIN_KEYS,
    "On a table": keys.TABLE_KEYS,
    "In a detail": keys.DETAIL_KEYS,
    "While typing a filter": keys.FILTER_KEYS,
    "While typing a path": keys.PATH_KEYS,
    "In the help": keys.HELP_KEYS,
    "Everywhere": keys.APP_KEYS,
}
_UNITS = (
    "Sizes are bytes of payload, without headers and without what was sent again; K is 1024 bytes, M 1024 K, G 1024 M. "
    "Rates are per second, over the last interval. Times of day are local; durations say their unit. Round-trip time "
    "is the kernel's smoothed estimate. A dash is none, or not known. The names in front are those for the settings."
)
_FILES = {
    "~/.config/nettop/config.toml": "Settings. Below $XDG_CONFIG_HOME instead, if that is set. Under sudo it is the "
    "file of the user who called sudo; that user must own it, or everybody may read it.",
    "PATH.PID.partial": "What a command with -o has written before it is complete. Files get mode 0600, belong to the "
    "user who called sudo, and replace nothing without --force.",
    "/var/cache/nettop": "Compiled kernel programs, root's. Without it they are compiled at every start.",
    "/sys/kernel/btf/vmlinux": "The layout of the kernel's structures, which the kernel programs are compiled for.",
}
_VARIABLES = {
    "NO_COLOR": "If it is set and not empty, the screen has no colours.",
    "SUDO_UID, SUDO_GID": "Set by sudo; whom written files belong to and whose settings hold.",
    "XDG_CONFIG_HOME": "See FILES.",
}
_EXIT_STATUS = {
    "0": "Done.",
    str(RunError.exit_code): "Failed while running.",
    str(UsageError.exit_code): "Wrong usage: options, a filter, a setting, a file.",
    str(
        CannotRunError.exit_code
    ): "Cannot run here: a privilege, the kernel or BCC; nettop doctor says what is missing.",
}

_ROFF = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "~": "\\(ti", "^": "\\(ha"}
# What a heading and a line in the help have no room for, by pane and column
_EXACTLY = {
    "dns result": "The answer's code (NOERROR, NXDOMAIN, SERVFAIL, ...). TIMEOUT: no answer within 5 seconds of the "
    "last attempt; one that comes within 30 more seconds still counts. Forgotten: nettop no longer waits, for want of "
    "room or because the socket used the id for another question.",
    "dns latency": "The time that passed between the first attempt leaving this host and the answer coming in.",
    "dns attempts": "The same question with the same id from the same socket is an attempt more, not another query.",
    "dns answers": "Addresses first. The rest of an answer that nettop does not keep is counted, see LIMITS.",
    "connections comm": "The name at the last network event or exec.",
    "connections remote": "The name is what the owner itself looked up, else one that another process of the same "
    "network namespace did. nettop asks nobody.",
    "connections tx": "The kernel's bytes_sent less bytes_retrans.",
    "connections rx": "The kernel's bytes_received: in order, once.",
    "connections retransmits": "The kernel's total_retrans.",
    "connections end": "Normal: both sides closed. Reset by peer or by us. Refused, timeout, unreachable: what "
    "connect() or a later call failed with. Given up: closed before it was established. Unseen: it was gone when "
    "nettop looked.",
    "processes active": "TCP, as of the last interval.",
    "processes failed": "Outbound TCP connections that never were established.",
    "processes dns_failed": "An answer code other than NOERROR, or TIMEOUT.",
    "processes traffic": "Scaled to the largest of its own bars.",
}


def main() -> None:
    """Write them all."""
    for name, text in files().items():
        (HERE / name).write_text(text)


def files() -> dict[str, str]:
    """Name to text."""
    made = {"nettop.1": manual()}
    for shell, name in _COMPLETIONS.items():
        made[name] = shtab.complete(_parser(), shell)
    return made


def _parser() -> argparse.ArgumentParser:
    """The real one, its epilogs left out and its options told what completes them."""
    parser = make_parser()
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for each in (parser, *commands.choices.values()):
        each.epilog = None
        each.formatter_class = partial(argparse.HelpFormatter, width=_WIDTH)
        for action in each._actions:
            declared = next((s for s in SETTINGS if s.option in action.option_strings), None)
            if action.type is Path:
                action.complete = shtab.FILE
            elif declared is not None and isinstance(declared.kind, Choice):
                action.choices = declared.kind.words
    return parser


def manual() -> str:
    """nettop(1)."""
    page = Manpage(_parser())
    page.date, page.source, page.manual = _CHANGED, f"nettop {__version__}", "User Commands"
    page.description = "top for the network of a Linux host, from eBPF"
    for heading, lines in (
        ("keys", _keys()),
        ("filter language", _filter()),
        ("columns", _columns()),
        ("settings", _settings()),
        ("exit status", _definitions(_EXIT_STATUS.items())),
        ("files", _definitions(_FILES.items())),
        ("environment", _definitions(_environment())),
        ("limits", _limits()),
        ("see also", iter([".BR ss (8),", ".BR tcpdump (8),", ".BR bpftool (8)"])),
    ):
        page.add_section(heading, ">", "\n".join(lines))
    return str(page)


def _keys() -> Iterator[str]:
    yield _roff("In brackets the id under which the table [keys] of config.toml gives it other keys.")
    for heading, group in _KEY_GROUPS.items():
        yield f".SS {_roff(heading)}"
        yield from _definitions(
            (key.shown_as or key.keys.replace(",", " "), f"{key.meaning} [{key.id}].") for key in group
        )


def _filter() -> Iterator[str]:
    yield from map(_roff, FILTER_RULES)
    yield from _definitions((f"{key}:", f"{_capital(meaning)}.") for key, meaning in FILTER_KEYS.items())


def _columns() -> Iterator[str]:
    yield _roff(_UNITS)
    for pane in PANES:
        yield f".SS {_roff(pane.title)}"
        yield from _definitions(
            (
                f"{column.key} ({column.title})",
                f"{_capital(column.meaning)}. {_EXACTLY.get(f'{pane.kind} {column.key}', '')}".rstrip(),
            )
            for column in pane.columns
        )


def _settings() -> Iterator[str]:
    yield _roff(
        "The command line comes before the environment, that before config.toml, that before the default. "
        "'nettop config' prints what holds and where it came from. A name with a dot stands in a table: history.dns "
        "is dns in [history]. In the environment lists are separated by commas."
    )
    for each in SETTINGS:
        elsewhere = ", ".join(filter(None, (each.option, each.variable)))
        also = f" Also {elsewhere}." if elsewhere else ""
        meaning = f"{_capital(each.help)}. {_capital(each.kind.values)}.{also}"
        yield from _definitions([(f"{each.name} = {each.default_toml}", meaning)])


def _environment() -> Iterator[tuple[str, str]]:
    yield from sorted(_VARIABLES.items())
    yield "NETTOP_*", "Settings; each is named there. sudo passes on what is written behind it: sudo NETTOP_X=Y nettop."


def _limits() -> Iterator[str]:
    """README's table of what nettop cannot see."""
    table = README.read_text().partition("## What nettop cannot see\n")[2].partition("\n## ")[0]
    rows = [re.fullmatch(r"\| (.+?) \| (.+) \|", line) for line in table.splitlines()]
    yield _roff("What nettop cannot see, and why:")
    yield from _definitions((_sentence(row[1]), _sentence(row[2])) for row in rows[3:] if row)


def _sentence(markdown: str) -> str:
    return f"{_capital(markdown.replace('`', ''))}."


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


def _definitions(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, meaning in pairs:
        yield f".TP\n\\fB{_roff(term)}\\fR\n{_roff(meaning)}"


def _roff(text: str) -> str:
    """Text as it is: nothing in it commands troff."""
    text = text.translate({ord(character): written for character, written in _ROFF.items()})
    return f"\\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    main()
