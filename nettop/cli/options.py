"""Options that several commands share, and the parsers of their values."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nettop.model.filter import FILTER_KEYS, FILTER_WORDS
from nettop.settings.declared import setting
from nettop.settings.kinds import Kind, Seconds, WrongValueError, as_text

MIN_FOR_S, MAX_FOR_S = 0.1, 7 * 86_400.0

FILTER_RULES = (
    "Terms side by side must all match, as with 'and'; 'or' and '|' bind weaker, 'not', '!' and '-' strongest.",
    "Parentheses group. Commas separate alternatives (pid:1,2), a dash makes a range, '>' and '<' compare (rtt:>1s).",
    "A bare word matches part of a comm or host, or a state, end, answer or direction; a number also a pid or port.",
    "'*' and '?' are wildcards. A host may be a network (10.0.0.0/8) or have a port (10.0.0.5:443, [::1]:53).",
    "A term that does not apply to a pane is ignored there, in AND and in OR; the pane's title names it.",
    "Example: --filter 'comm:nginx not port:53 or dns:failed'",
)


def filter_help() -> str:
    """The filter language, as the epilog of a command's help."""
    cells = max(map(len, FILTER_KEYS)) + 2
    explained = {**{f"{key}:": meaning for key, meaning in FILTER_KEYS.items()}, **FILTER_WORDS}
    keys = "\n".join(f"  {key:<{cells}}{meaning}" for key, meaning in explained.items())
    return f"filter language:\n{keys}\n" + "\n".join(f"  {rule}" for rule in FILTER_RULES)


def add_watching(parser: argparse.ArgumentParser, has_rows: bool = True) -> None:
    """Add the options that choose what to watch: the scope, and some settings.

    Without rows, --lookups and --decrypt are known only to be refused, and neither help nor completions offer them.
    """
    scope = parser.add_argument_group("scope (repeatable: one value of each given option must match)")
    scope.add_argument(
        "--pid", action="append", type=_pid, default=argparse.SUPPRESS, metavar="PID", help="only this process"
    )
    scope.add_argument(
        "--comm", action="append", default=argparse.SUPPRESS, metavar="NAME", help="only processes with this name"
    )
    scope.add_argument(
        "--netns",
        action="append",
        default=argparse.SUPPRESS,
        metavar="NAME|PATH|PID",
        help="only this network namespace",
    )
    scope.add_argument(
        "--unit",
        action="append",
        default=argparse.SUPPRESS,
        metavar="UNIT",
        help="only this systemd unit, also if it is started again: nginx.service, or what is in user.slice",
    )
    scope.add_argument(
        "--container",
        action="append",
        default=argparse.SUPPRESS,
        metavar="NAME|ID",
        help="only this container, by its name or the beginning of its id",
    )
    for attribute in ("filter", "interval", "dns_ports"):
        add_setting(parser, attribute)
    parser.add_argument(
        "--lookups",
        action="store_true",
        default=argparse.SUPPRESS,
        help="watch which names programs look up in their C library, by breakpoints in it (see docs/security.md)"
        if has_rows
        else argparse.SUPPRESS,
    )
    parser.add_argument(
        "--decrypt",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show requests of HTTP inside TLS, by breakpoints in TLS libraries (reads secrets: see docs/security.md)"
        if has_rows
        else argparse.SUPPRESS,
    )
    add_debug(parser)


_METAVARS = {
    "filter": "EXPR",
    "interval": "SECONDS",
    "dns_ports": "PORT[,PORT...]",
    "theme": "NAME",
    "metrics_series": "NUMBER",
}


def add_setting(parser: argparse.ArgumentParser, attribute: str) -> None:
    """Add the option of a declared setting."""
    declared = setting(attribute)
    assert declared.option is not None  # noqa: S101 - only settings with an option are added

    default = as_text(declared.default)
    parser.add_argument(
        declared.option,
        dest=attribute,  # where resolve() looks for it, whatever the option is called
        type=_argument(declared.kind),
        default=argparse.SUPPRESS,  # absent unless given: a default here would override the option before the command
        metavar=_METAVARS[attribute],
        help=f"{declared.help}{f' (default {default})' if default else ''}",
    )


def add_allow_cut(parser: argparse.ArgumentParser) -> None:
    """Add --allow-cut, which is the screen's."""
    parser.add_argument(
        "--allow-cut",
        action="store_true",
        help="let the key x close connections, block them for a while, and end processes (see docs/security.md)",
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add -o and --force."""
    parser.add_argument("-o", "--output", type=Path, metavar="PATH", help="write to PATH instead of standard output")
    parser.add_argument("--force", action="store_true", help="replace PATH if it exists")


def add_for(parser: argparse.ArgumentParser, default_s: float) -> None:
    """Add --for, of a command that watches for a time."""
    parser.add_argument(
        "--for",
        dest="seconds",
        type=duration,
        default=default_s,
        metavar="SECONDS",
        help=f"how long to watch, {MIN_FOR_S:g} to {MAX_FOR_S:.0f} (default {default_s:g})",
    )


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Add --debug."""
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show details of failures")


def _argument(kind: Kind) -> Callable[[str], Any]:
    def value(text: str) -> Any:
        try:
            return kind.from_text(text)
        except WrongValueError as error:
            raise argparse.ArgumentTypeError(error.problem) from None

    return value


duration = _argument(Seconds(MIN_FOR_S, MAX_FOR_S))  # the value of --for, in seconds


def _pid(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 22):  # PID_MAX_LIMIT
        raise argparse.ArgumentTypeError(f"'{text}' is not a pid")
    return int(text)
