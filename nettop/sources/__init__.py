"""Where events come from: the running kernel or a recording. Behind this, nobody can tell which.

Data goes kernel -> tracking -> sources -> model -> collector -> screen. The live source drives the kernel side and the
trackers; a recording holds the events that came out of them, so reading one needs neither.
"""

from collections.abc import Iterable
from typing import Protocol

from nettop.model.events import AnyEvent


class Source(Protocol):
    """A stream of events in order of time, from Start to End."""

    @property
    def finished(self) -> bool:
        """Whether End was handed out."""
        ...

    def read(self, timeout_s: float) -> Iterable[AnyEvent]:
        """What has happened since the last call, waiting for at most timeout_s. To be read to its end."""
        ...

    def finish(self) -> Iterable[AnyEvent]:
        """Stop here: the rest of what has already happened, a last Tick, and End."""
        ...

    def close(self) -> None:
        """Release everything that the source holds."""
        ...

    @property
    def pace(self) -> str:
        """How fast it goes, for people: `every 1 s`, `x2`."""
        ...

    def adjust(self, step: int) -> None:
        """Go faster (above 0) or slower."""
        ...

    def hold(self, held: bool) -> None:
        """The view was paused or resumed: what is played stops, what is watched goes on."""
        ...
