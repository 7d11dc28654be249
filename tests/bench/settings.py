"""How a run of the benchmark is to be made."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from nettop.kernel.compiled_cache import DIRECTORY as COMPILED

PATIENCE_S = 300.0  # with what nettop has not yet worked on when it is told to end: 150,000 records on a busy machine


@dataclass(frozen=True)
class Settings:
    """`nettops` are executables by name; the first is the one that targets are held against."""

    directory: Path  # for files that vanish with the run
    quick: bool
    nettops: dict[str, str]

    def rounds(self, full: int, quick: int) -> int:
        """How often to measure."""
        return quick if self.quick else full

    def seconds(self, full: float, quick: float) -> float:
        """How long to measure."""
        return quick if self.quick else full

    def forget_compiled(self) -> None:
        """Empty nettop's cache of compiled programs, which this run has for itself (see __main__)."""
        if COMPILED.is_dir():
            for entry in COMPILED.iterdir():
                if entry.is_dir():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
