"""What the screen remembers of what its user chose: the columns of each pane. It is no setting, and never config.toml.

A choice holds as long as the settings of these columns are what they were when it was made, so that whoever edits
config.toml later gets what they write there.
"""

import os
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from nettop.errors import NettopError, RunError
from nettop.export.file import OutputFile
from nettop.invoker import invoking_user
from nettop.settings.user_file import base_directory, read_user_file

MAX_STATE_BYTES = 64 << 10  # ten times what all columns of all panes take


class Chosen(Struct, frozen=True):
    """The columns of one pane: those that are shown, in order, and those that are not."""

    columns: tuple[str, ...]
    hidden: tuple[str, ...]
    configured: tuple[str, ...] = ()  # the setting at that time


class _State(Struct, frozen=True):
    panes: dict[str, Chosen] = {}


def state_path() -> Path:
    """In the invoking user's directory for state."""
    return base_directory("XDG_STATE_HOME", ".local/state") / "nettop/columns.json"


def remembered() -> dict[str, Chosen]:
    """What was chosen, by pane. A file that cannot be read or understood counts as none: it is not worth an error."""
    with suppress(NettopError, msgspec.MsgspecError):
        text = read_user_file(state_path(), MAX_STATE_BYTES)
        return {} if text is None else msgspec.json.decode(text, type=_State).panes
    return {}


def remember(pane: str, chosen: Chosen | None) -> None:
    """Keep what was chosen for a pane, or with None forget it; writes only what is new. Raises NettopError."""
    panes = remembered()
    if panes.get(pane) == chosen:
        return
    panes.pop(pane, None)
    if chosen is not None:
        panes[pane] = chosen
    path = state_path()
    caller = invoking_user()
    if caller is not None and caller[0] != os.geteuid():  # as root nettop makes no files in anybody else's home
        raise RunError(
            "nettop runs as root here.", "Start it in a directory that you can write to: it becomes your user then."
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path.parent} cannot be made: {error.strerror}.", "Make it yourself.") from error
    with OutputFile(path, overwrite=True) as file:
        file.write(msgspec.json.format(msgspec.json.encode(_State(panes))) + b"\n")
        file.commit()
