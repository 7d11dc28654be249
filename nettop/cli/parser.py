"""The command line's parser, assembled from the commands."""

import argparse
import sys
from typing import Any, NoReturn

from nettop import __version__
from nettop.cli import config, diagnose, doctor, metrics, replay, screen, snapshot, stream
from nettop.cli.options import add_allow_cut, add_setting, add_watching, filter_help
from nettop.errors import UsageError
from nettop.view.keys import in_columns

COMMANDS = (snapshot, stream, metrics, replay, diagnose, doctor, config)


class _Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would exit, so that all errors are reported alike."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:]}.", f"See '{self.prog} --help'.")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Raises OSError, of which newer versions of argparse say nothing (Python 3.13)."""
        (file or sys.stderr).write(message)


def make_parser() -> argparse.ArgumentParser:
    """The parser. Parsed options hold the function of the chosen command in `run`. Parsing raises UsageError."""
    parser = _Parser(
        prog="nettop",
        description="top for the network of this host: DNS queries, TCP connections and totals per process, live.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"keys on the screen:\n{in_columns()}\n\n{filter_help()}",
    )
    parser.add_argument("--version", action="version", version=f"nettop {__version__}")
    add_watching(parser)
    add_setting(parser, "theme")
    add_allow_cut(parser)
    parser.set_defaults(run=screen.run, pid=[], comm=[], netns=[], unit=[], container=[], lookups=False, decrypt=False)
    commands = parser.add_subparsers(metavar="COMMAND", title="commands (without one: the live screen)")
    for command in COMMANDS:
        command.add_to(commands)
    return parser
