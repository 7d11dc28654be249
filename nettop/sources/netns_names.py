"""Names of network namespaces, as ip-netns(8) keeps them: files in a directory, each with a namespace mounted on it."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nettop.kernel.scope import NETNS_DIRECTORY
from nettop.text import printable

MAX_NAMES = 4_096  # 2 us each
READ_AGAIN_S = 0.5  # names come and go, and the kernel gives the number of a namespace that went to another


class NetnsNames:
    """Finds the name of a network namespace by its inode number."""

    def __init__(self, directory: Path = NETNS_DIRECTORY, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock_s = clock_s
        self._names: dict[int, str] = {}
        self._read_at_s: float | None = None

    def __call__(self, inode: int) -> str | None:
        """Its name, the first in order where it has several; None if it has none."""
        now_s = self._clock_s()
        if self._read_at_s is None or now_s - self._read_at_s >= READ_AGAIN_S:
            self._read_at_s = now_s
            self._names = self._read()
        return self._names.get(inode)

    def _read(self) -> dict[int, str]:
        names: dict[int, str] = {}
        with suppress(OSError):
            for file in sorted(self._directory.iterdir())[:MAX_NAMES]:
                with suppress(OSError):
                    names.setdefault(file.stat().st_ino, printable(os.fsencode(file.name)))
        return names
