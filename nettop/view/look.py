"""The user's settings for the screen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nettop.view.panes import PANES, STACKED, PaneKind


def _forgets(_pane: PaneKind[Any]) -> None:
    """Where nothing is remembered."""


@dataclass(frozen=True)
class Look:
    """What the screen takes from the settings."""

    theme: str = "textual-dark"
    keymap: Mapping[str, str] = field(default_factory=dict)  # keys by the id of their action
    panes: tuple[PaneKind[Any], ...] = PANES
    stacked: tuple[str, ...] = STACKED  # names of the panes that are below one another
    export_directory: str = "."
    home: Path = Path()  # what ~ stands for
    configured: tuple[PaneKind[Any], ...] = PANES  # panes as the settings have them, without what is remembered
    remember: Callable[[PaneKind[Any]], None] = _forgets  # keeps the columns of a pane; raises NettopError

    def path(self, path: str) -> Path:
        """The path with ~ expanded. Raises RuntimeError for an unknown `~user`."""
        return self.home / path[2:] if path == "~" or path.startswith("~/") else Path(path).expanduser()


DEFAULT_LOOK = Look()
