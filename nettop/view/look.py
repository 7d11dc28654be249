"""The user's settings for the screen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nettop.view.panes import PANES, STACKED, PaneKind


@dataclass(frozen=True)
class Look:
    """What the screen takes from the settings."""

    theme: str = "textual-dark"
    keymap: Mapping[str, str] = field(default_factory=dict)  # keys by the id of their action
    panes: tuple[PaneKind[Any], ...] = PANES
    stacked: tuple[str, ...] = STACKED  # names of the panes that are below one another
    export_directory: str = "."
    home: Path = Path()  # what ~ stands for

    def path(self, path: str) -> Path:
        """The path with ~ expanded. Raises RuntimeError for an unknown `~user`."""
        return self.home / path[2:] if path == "~" or path.startswith("~/") else Path(path).expanduser()


DEFAULT_LOOK = Look()
