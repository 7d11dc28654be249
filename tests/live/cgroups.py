"""Cgroups that a test makes: those that managers and runtimes would make, and nothing that was there before."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nettop.kernel.cgroups import hierarchies
from tests.live import programs
from tests.live.lab import PATIENCE_S, Namespace, Program
from tests.live.play import playing

TREES = tuple(hierarchies())
"""cgroup2, and cgroup v1 where the host has that too."""


class Forest:
    """Makes cgroups by their paths, with what they are in; removes them again, the innermost first."""

    def __init__(self) -> None:
        self._made: list[Path] = []

    def make(self, path: str, v1: bool = False) -> Path:
        """The directory of a cgroup."""
        root = next(Path(tree.directory) for tree in TREES if tree.v1 == v1)
        missing = []
        wanted = directory = root / path.lstrip("/")
        while directory != root and not directory.exists():
            missing.append(directory)
            directory = directory.parent
        for directory in reversed(missing):
            directory.mkdir()
            self._made.append(directory)
        return wanted

    def remove(self) -> None:
        """Whoever is left in them after a failure is put into the root."""
        while self._made:
            _remove(self._made.pop())


def _remove(directory: Path) -> None:
    root = next(Path(tree.directory) for tree in TREES if directory.is_relative_to(tree.directory))
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            directory.rmdir()
        except OSError:  # a process that was reaped leaves its cgroup a moment later
            if time.monotonic() > end:
                raise
            for pid in (directory / "cgroup.procs").read_text().split():
                with suppress(OSError):  # it has ended meanwhile
                    enter(root, int(pid))
        else:
            return


@contextmanager
def forest() -> Iterator[Forest]:
    """Cgroups for a while."""
    trees = Forest()
    try:
        yield trees
    finally:
        trees.remove()


def enter(directory: Path, pid: int) -> None:
    """Move a process there."""
    (directory / "cgroup.procs").write_text(str(pid))


def short_lives(where: Namespace, groups: list[Path], port: int, log: Path) -> Program:
    """programs.short_lives, which enters the network namespace itself."""
    arguments = {"netns": str(where.path), "groups": list(map(str, groups)), "address": "127.0.0.1", "port": port}
    return Program(playing(programs.short_lives, **arguments), log)
