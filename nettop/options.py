"""The options of every command, and what is wrong with them."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from nettop import __version__
from nettop.errors import UsageError
from nettop.model.filter import FILTER_KEYS
from nettop.setting_kinds import WrongValueError, as_text
from nettop.settings import setting
from nettop.sources.recording import MAX_SPEED, MIN_SPEED

MIN_FOR_S, MAX_FOR_S, DEFAULT_FOR_S = 0.1, 7 * 86_400.0, 5.0


class _Parser(argparse.ArgumentParser):
    """Errors as NettopError, so that they look and count like every other one."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:]}.", f"See '{self.prog} --help'.")


class Commands(NamedTuple):
    """What each command runs: takes the options, returns the exit code."""

    screen: Callable[[argparse.Namespace], int]
    snapshot: Callable[[argparse.Namespace], int]
    stream: Callable[[argparse.Namespace], int]
    replay: Callable[[argparse.Namespace], int]
    doctor: Callable[[argparse.Namespace], int]
    config: Callable[[argparse.Namespace], int]


def make_parser(commands: Commands) -> argparse.ArgumentParser:
    """The parser; the parsed options have the chosen command as `run`. Parsing raises UsageError."""
    parser = _Parser(
        prog="nettop",
        description="top for the network of this host: DNS queries, TCP connections and totals per process, live.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"{_keys_help()}\n\n{_filter_help()}",
    )
    parser.add_argument("--version", action="version", version=f"nettop {__version__}")
    _add_watching(parser)
    _add_setting(parser, "theme")
    parser.set_defaults(run=commands.screen, pid=[], comm=[], netns=[])
    subparsers = parser.add_subparsers(metavar="COMMAND", title="commands (none: the live screen)")

    snapshot = subparsers.add_parser(
        "snapshot",
        help="watch for a while and write one JSON snapshot",
        description="Watch for a while, then write one JSON snapshot. Signals that end a program end the watch early.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_filter_help(),
    )
    _add_watching(snapshot)
    snapshot.add_argument(
        "--for", dest="seconds", type=_duration, default=DEFAULT_FOR_S, metavar="SECONDS", help=_FOR_HELP
    )
    _add_output(snapshot)
    snapshot.set_defaults(run=commands.snapshot)

    stream = subparsers.add_parser(
        "stream",
        help="write one JSON event per line, until the time is over or a signal",
        description="Write one JSON event per line, until the time is over or a signal. With -o it is a recording.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_filter_help(),
    )
    _add_watching(stream)
    stream.add_argument("--for", dest="seconds", type=_duration, metavar="SECONDS", help="stop after so long")
    _add_output(stream)
    stream.set_defaults(run=commands.stream)

    replay = subparsers.add_parser(
        "replay",
        help="read a recording or a snapshot back",
        description="Read a recording or a snapshot back. No root.",
    )
    replay.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="what 'nettop stream' or 'nettop snapshot' wrote, also as .gz or .zst; - is standard input",
    )
    replay.add_argument("--demo", action="store_true", help="instead of FILE: the recording that ships with nettop")
    replay.add_argument(
        "--snapshot", action="store_true", help="write the snapshot that it ends in, instead of a screen"
    )
    replay.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="X",
        help=f"how many times as fast as it was recorded, {MIN_SPEED:g} to {MAX_SPEED:g} (default 1)",
    )
    replay.add_argument("--partial", action="store_true", help="take a recording that was cut, as far as it goes")
    _add_setting(replay, "filter")
    _add_setting(replay, "theme")
    _add_output(replay)
    _add_debug(replay)
    replay.set_defaults(run=commands.replay)

    doctor = subparsers.add_parser(
        "doctor",
        help="say what this kernel allows and what is missing",
        description="Try everything that nettop needs.",
    )
    doctor.add_argument("--json", action="store_true", help="as JSON")
    _add_debug(doctor)
    doctor.set_defaults(run=commands.doctor)

    config = subparsers.add_parser(
        "config",
        help="print the settings and where each came from",
        description="Print the settings that hold here as a config.toml, each with where it came from.",
    )
    _add_debug(config)
    config.set_defaults(run=commands.config)
    return parser


_FOR_HELP = f"how long to watch, {MIN_FOR_S:g} to {MAX_FOR_S:.0f} (default {DEFAULT_FOR_S:g})"


def _keys_help() -> str:
    return (
        "keys on the screen:\n"
        "  /  filter             f  this pid           c  this comm          esc    clear the filter\n"
        "  1 2 3 tab  panes      z  zoom a pane        enter  detail         space  pause and resume\n"
        "  s S  sort             e E  export to JSON   y  copy a row         h      show or hide ended\n"
        "  n  names, addresses   + -  interval         ?  all keys           q      quit"
    )


FILTER_RULES = (
    "A bare word matches comm or host. Space is AND, '|' OR, a leading '-' NOT; '*' and '?' are wildcards.",
    "A host may be a network (10.0.0.0/8) or have a port (10.0.0.5:443, [::1]:53).",
    "A term that says nothing about a pane is left out there, with space as with '|'; the pane's title names it.",
    "Example: --filter 'comm:nginx -port:53 | dns:failed'",
)


def _filter_help() -> str:
    keys = "\n".join(f"  {key + ':':<8}{meaning}" for key, meaning in FILTER_KEYS.items())
    return f"filter language:\n{keys}\n" + "\n".join(f"  {rule}" for rule in FILTER_RULES)


def _add_watching(parser: argparse.ArgumentParser) -> None:
    scope = parser.add_argument_group("scope (each repeatable: any of a kind, and all kinds given)")
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
    for attribute in ("filter", "interval", "dns_ports"):
        _add_setting(parser, attribute)
    _add_debug(parser)


_METAVARS = {"filter": "EXPR", "interval": "SECONDS", "dns_ports": "PORT[,PORT...]", "theme": "NAME"}


def _add_setting(parser: argparse.ArgumentParser, attribute: str) -> None:
    declared = setting(attribute)
    assert declared.option is not None  # noqa: S101 - a setting without one is none of the command line

    def value(text: str) -> Any:
        try:
            return declared.kind.from_text(text)
        except WrongValueError as error:
            raise argparse.ArgumentTypeError(error.problem) from None

    default = as_text(declared.default)
    parser.add_argument(
        declared.option,
        type=value,
        default=argparse.SUPPRESS,  # not given, neither here nor before the command
        metavar=_METAVARS[attribute],
        help=f"{declared.help}{f' (default {default})' if default else ''}",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, metavar="PATH", help="write here instead of to standard output")
    parser.add_argument("--force", action="store_true", help="replace PATH if it exists")


def _add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show details of failures")


def _seconds(text: str, least: float, most: float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds") from None
    if not least <= seconds <= most:  # also false for nan
        raise argparse.ArgumentTypeError(f"{text} is not between {least:g} and {most:.0f} seconds")
    return seconds


def _duration(text: str) -> float:
    return _seconds(text, MIN_FOR_S, MAX_FOR_S)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
    if not MIN_SPEED <= speed <= MAX_SPEED:
        raise argparse.ArgumentTypeError(f"{text} is not between {MIN_SPEED:g} and {MAX_SPEED:g}")
    return speed


def _pid(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 22):  # PID_MAX_LIMIT
        raise argparse.ArgumentTypeError(f"'{text}' is not a pid")
    return int(text)
