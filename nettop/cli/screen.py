"""`nettop`: the live screen."""

import argparse
import os
from typing import TYPE_CHECKING

from nettop.cli.watching import Asked, Reach, history_of, live, prepare
from nettop.collector import Collector, Feed
from nettop.errors import UsageError
from nettop.kernel.cage import places_of_the_user
from nettop.model.filter import Filter
from nettop.settings.remembered import state_path
from nettop.settings.resolve import look
from nettop.sources.cutting import powers

if TYPE_CHECKING:
    from nettop.view.look import Look

_STDIN, _STDOUT, _STDERR = 0, 1, 2


def run(options: argparse.Namespace) -> int:
    """Watch until the user leaves."""
    settings, scope, chosen = prepare(options)
    require_terminal()
    wanted = look(settings)  # before live(), which may switch to the user who ran sudo
    places = (*places_of_the_user(wanted.home), state_path().parent)
    here = powers(allowed=False, closes=False)
    reach = Reach(wanted.path(wanted.export_directory), places)
    asked = Asked(lookups=options.lookups, decrypt=options.decrypt, may_cut=options.allow_cut)
    source = live(settings, scope, reach, asked)
    return show(Collector(source, history_of(settings), source.cutter or here), "LIVE", chosen, wanted)


def show(feed: Feed, mode: str, chosen: Filter, wanted: "Look") -> int:
    """Open the screen on a feed; returns the exit code."""
    from nettop.tui.run import run_screen  # noqa: PLC0415 - headless commands do not load Textual

    return run_screen(feed, mode, chosen, wanted)


def require_terminal() -> None:
    """Raise UsageError if there is no terminal, or if it cannot show a screen."""
    remedy = "Run it in a terminal, or use 'nettop snapshot' or 'nettop stream'."
    streams = {"standard input": _STDIN, "standard output": _STDOUT, "standard error": _STDERR}  # it draws on the last
    elsewhere = [name for name, descriptor in streams.items() if not os.isatty(descriptor)]
    if len(elsewhere) == len(streams):
        raise UsageError("The screen needs a terminal.", remedy)
    if elsewhere:
        are, them = ("is not one", "it") if len(elsewhere) == 1 else ("are not", "them")
        raise UsageError(
            f"The screen needs a terminal, but {' and '.join(elsewhere)} {are}.",
            f"Run it without redirecting {them}, or use 'nettop snapshot' or 'nettop stream'.",
        )
    if os.environ.get("TERM", "") in ("", "dumb"):
        raise UsageError(f"The terminal (TERM={os.environ.get('TERM', '')}) cannot show a screen.", remedy)
