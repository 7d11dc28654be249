"""Runs the screen, and restores the terminal whatever happens."""

import gc
import os
import signal
import sys
import tempfile

from nettop.collector import Feed
from nettop.errors import RunError
from nettop.invoker import give_to_invoking_user
from nettop.model.filter import Filter
from nettop.signals import on_ending
from nettop.tui.app import NettopApp
from nettop.tui.keymap import refuse_clashes
from nettop.view.look import Look

# How long a key may wait for the GIL while the collector holds it. It waits once in each of three threads: the one
# that reads the key, the one that renders its frame, and the one that writes the frame.
_SWITCH_S = 0.001


def run_screen(feed: Feed, mode: str, chosen: Filter, look: Look) -> int:
    """Show the feed's snapshots until the user quits.

    Raises the NettopError that ended the feed; after any other crash a RunError with the log's path.
    """
    try:
        refuse_clashes(look.keymap)
        app = NettopApp(feed, mode, chosen, look)
        feed.start(app.feed_changed)
        sys.setswitchinterval(_SWITCH_S)
        gc.freeze()  # imports stay, so the garbage collector need not spend 10 ms on them at each full pass
        with on_ending(app.leave):
            app.run()
    finally:
        feed.stop()
        signal.setitimer(signal.ITIMER_REAL, 0)  # the end came in time: cancel NettopApp.leave's deadline
    if app.failure is not None:
        raise app.failure
    if app.crash is not None:
        raise _crashed(app.crash)
    return 0


def _crashed(text: str) -> RunError:
    try:
        path = _log(text)
    except OSError:  # no writable directory for temporary files
        return RunError(
            "The screen crashed.", "This is a bug: please run it again with --debug and report the output.", text
        )
    return RunError(
        f"The screen crashed; the details are in {path}.", "This is a bug: please report it with that file."
    )


def _log(text: str) -> str:
    descriptor, path = tempfile.mkstemp(prefix="nettop-crash-", suffix=".log")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        give_to_invoking_user(file.fileno())
    return path
