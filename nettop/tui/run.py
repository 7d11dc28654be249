"""The screen from start to end: the terminal is left as it was found, whatever happens."""

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

# How long a key may wait for Python while the collector has it. It waits in three threads one after the other: where
# it is read, where its frame is made, and where that is written.
_SWITCH_S = 0.001


def run_screen(feed: Feed, mode: str, chosen: Filter, look: Look) -> int:
    """Show what the feed brings until the user leaves.

    Raises what ended the feed if that is a NettopError; RunError after any other crash, with the log's path.
    """
    try:
        refuse_clashes(look.keymap)
        app = NettopApp(feed, mode, chosen, look)
        feed.start(app.feed_changed)
        sys.setswitchinterval(_SWITCH_S)
        gc.freeze()  # what has been imported stays: the collector need not look through it 10 ms long, again and again
        with on_ending(app.leave):
            app.run()
    finally:
        feed.stop()
        signal.setitimer(signal.ITIMER_REAL, 0)  # see NettopApp: the end has been reached in time
    if app.failure is not None:
        raise app.failure
    if app.crash is not None:
        raise _crashed(app.crash)
    return 0


def _crashed(text: str) -> RunError:
    try:
        path = _log(text)
    except OSError:  # no directory for temporary files can be written to
        return RunError(
            "The screen failed.", "This is a defect: please run again with --debug and report what that shows.", text
        )
    return RunError(
        f"The screen failed; what happened is in {path}.", "This is a defect: please report it with that file."
    )


def _log(text: str) -> str:
    descriptor, path = tempfile.mkstemp(prefix="nettop-crash-", suffix=".log")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        give_to_invoking_user(file.fileno())
    return path
