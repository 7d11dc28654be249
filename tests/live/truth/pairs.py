"""What was made, each with the row that shows it."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from datetime import datetime
from typing import Protocol, TypeVar

from msgspec import Struct

from nettop.model import rows
from tests.live.truth.score import Score


class _HasPid(Protocol):
    @property
    def pid(self) -> int | None:
        """Whose row it is."""


_True = TypeVar("_True", bound=_HasPid)
_Seen = TypeVar("_Seen", bound=_HasPid)


def paired(
    score: Score,
    made: Iterable[_True],
    seen: Iterable[_Seen],
    *,
    key_of_made: Callable[[_True], Hashable],
    key_of_seen: Callable[[_Seen], Hashable],
    time_of_made: Callable[[_True], datetime | None],
    time_of_seen: Callable[[_Seen], datetime | None],
) -> list[tuple[_True, _Seen]]:
    """Each true row with the one that shows it: of those with its key the one of its process, then the nearest."""
    candidates: dict[Hashable, list[_Seen]] = defaultdict(list)
    for row in seen:
        candidates[key_of_seen(row)].append(row)
        score.seen += 1
    pairs = []
    for true in made:
        score.made += 1
        pid, at, key = true.pid, time_of_made(true), key_of_made(true)

        def distance(row: _Seen, pid: int | None = pid, at: datetime | None = at) -> tuple[bool, float]:
            shown_at = time_of_seen(row)
            return row.pid != pid, abs((at - shown_at).total_seconds()) if at and shown_at else 0.0

        best = min(candidates[key], key=distance, default=None)
        if best is None:
            score.mismatches.append(f"made and not seen: {true}")
            continue
        candidates[key].remove(best)
        score.matched += 1
        pairs.append((true, best))
    score.mismatches.extend(f"seen and not made: {row}" for left in candidates.values() for row in left)
    return pairs


def hold(score: Score, true: Struct, row: rows.Row, facts: list[tuple[object, object]]) -> None:
    """Facts are pairs of what is true and what is shown."""
    wrong = [f"{expected!r} is shown as {got!r}" for expected, got in facts if expected != got]
    if wrong:
        score.mismatches.append(f"{', '.join(wrong)}\n  made: {true}\n  seen: {row}")
