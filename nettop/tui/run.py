"""The screen from start to end: the terminal is left as it was found, whatever happens."""

import os
import tempfile

from nettop.collector import Feed
from nettop.errors import RunError
from nettop.model.filter import Filter
from nettop.tui.app import NettopApp
from nettop.tui.keymap import read_keymap


def run_screen(feed: Feed, mode: str, chosen: Filter) -> int:
    """Show what the feed brings until the user leaves. Raises RunError after a crash, with the log's path."""
    try:
        app = NettopApp(feed, mode, chosen, read_keymap())
        feed.start()
        app.run()
    finally:
        feed.stop()
    if app.crash is not None:
        raise RunError(
            f"The screen failed; what happened is in {_log(app.crash)}.",
            "This is a defect: please report it with that file.",
        )
    return 0


def _log(text: str) -> str:
    descriptor, path = tempfile.mkstemp(prefix="nettop-crash-", suffix=".log")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return path
