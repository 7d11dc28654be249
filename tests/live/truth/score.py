"""What became of a scenario: how much of it was seen, and how far off that is."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Score:
    """What became of one scenario. Errors are nettop's figure less the true one."""

    made: int = 0
    seen: int = 0
    matched: int = 0
    pids_right: int = 0
    byte_errors: list[int] = field(default_factory=list)
    latency_errors_ms: list[float] = field(default_factory=list)
    duration_errors_ms: list[float] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)

    @property
    def recall(self) -> float:
        """Of what was made, what was seen."""
        return self.matched / self.made if self.made else 1.0

    @property
    def precision(self) -> float:
        """Of what was seen, what was made."""
        return self.matched / self.seen if self.seen else 1.0

    @property
    def pid_accuracy(self) -> float:
        """Of what was seen and made, what has its process."""
        return self.pids_right / self.matched if self.matched else 1.0

    @property
    def byte_error(self) -> int | None:
        """Bytes too many and too few, added up; None where nobody counted."""
        return sum(map(abs, self.byte_errors)) if self.byte_errors else None

    @property
    def latency_error_ms(self) -> float | None:
        """The median; None where nobody measured."""
        return _median(self.latency_errors_ms)

    @property
    def duration_error_ms(self) -> float | None:
        """The median; None where nobody measured."""
        return _median(self.duration_errors_ms)

    def line(self) -> str:
        """All figures."""
        return (
            f"recall {self.recall:.2%}, precision {self.precision:.2%}, pid {self.pid_accuracy:.2%}, "
            f"bytes off {_shown(self.byte_error)}, latency off {_shown(self.latency_error_ms)} ms, "
            f"duration off {_shown(self.duration_error_ms)} ms, of {self.made} made"
        )


def _shown(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.3f}" if isinstance(figure, float) else str(figure)


def _median(errors: Sequence[float]) -> float | None:
    return statistics.median(map(abs, errors)) if errors else None
