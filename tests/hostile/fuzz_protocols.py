"""The part of `make fuzz` that is not DNS: half a million hostile conversations for the parsers of nettop.protocols.

Alone: `python -m tests.hostile.fuzz_protocols --cases N --seed N`.
"""

import argparse
import random
import resource
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.hostile.protocol_cases import CLASSES, Case
from tests.hostile.protocol_path import MOST_MS, ProtocolPath, shortest_ms

MEMORY_GROWTH_BYTES = 8 << 20  # between a fifth of the cases and the end
_PAGE_BYTES = resource.getpagesize()


class Tally(NamedTuple):
    """What became of the cases of one class."""

    cases: int = 0
    told: int = 0
    slowest_ms: float = 0.0
    cpu_ms: float = 0.0


class Player:
    """Cases of all classes on one path."""

    def __init__(self) -> None:
        self._path = ProtocolPath()
        self._tallies = dict.fromkeys(CLASSES, Tally())

    def play(self, name: str, case: Case) -> None:
        """A case of the class of this name; says which it was if it fails."""
        try:
            outcome = self._path.play(case)
            tally = self._tallies[name]
            slowest_ms = outcome.cpu_ms
            if slowest_ms > tally.slowest_ms:
                slowest_ms = shortest_ms(case)
                assert slowest_ms < MOST_MS, f"{slowest_ms:.1f} ms"
        except BaseException:
            sys.stderr.write(f"the case that failed, of class '{name}': {case!r}\n")
            raise
        self._tallies[name] = Tally(
            tally.cases + 1, tally.told + len(outcome.told), max(tally.slowest_ms, slowest_ms),
            tally.cpu_ms + outcome.cpu_ms,
        )  # fmt: skip

    def table(self) -> str:
        lines = [
            "| class | cases | told | slowest segment, mean us | slowest segment, ms |",
            "| -- | -- | -- | -- | -- |",
        ]
        lines += [
            f"| {name} | {tally.cases:,} | {tally.told:,} | {1000 * tally.cpu_ms / max(tally.cases, 1):.0f} "
            f"| {tally.slowest_ms:.2f} |"
            for name, tally in self._tallies.items()
        ]
        return "\n".join(lines)


def _play(player: Player, source: random.Random, cases: int) -> None:
    weights = [weight for weight, _ in CLASSES.values()]
    for name in source.choices(list(CLASSES), weights, k=cases):
        player.play(name, CLASSES[name][1](source))


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def main(cases: int, seed: int) -> None:
    """Play so many cases; fails if one raises or takes long, or memory grows."""
    begun = time.monotonic()
    player, source = Player(), random.Random(seed)
    _play(player, source, cases // 5)
    early = _resident_bytes()
    _play(player, source, cases - cases // 5)
    growth = _resident_bytes() - early
    print(player.table())  # noqa: T201
    print(  # noqa: T201
        f"\n{cases:,} conversations of seed {seed} in {time.monotonic() - begun:.0f} s, no exception; memory "
        f"{early >> 20} MB after a fifth, {growth / (1 << 20):+.1f} MB from there to the end",
        flush=True,
    )
    assert growth < MEMORY_GROWTH_BYTES


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    chosen = parser.parse_args()
    main(chosen.cases, chosen.seed)
