"""`make fuzz`: a million hostile DNS cases of every class, published messages, then a million that coverage finds.

And half as many conversations for the parsers of the other protocols.
"""

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.hostile import corpora, dns_cases, fuzz_protocols
from tests.hostile.corpora import CORPORA
from tests.hostile.dns_cases import CLASSES, Case
from tests.hostile.dns_path import MOST_MS, DnsPath, shortest_ms
from tests.kernels.archive import ArchiveError

MEMORY_GROWTH_BYTES = 24 << 20  # between a fifth of the cases and the end: what the tables may still fill up to
SEEDS_OF_A_CORPUS = 500  # that coverage starts with: all of unbound's 38,000 would be half of what it looks at
_PAGE_BYTES = resource.getpagesize()


class Tally(NamedTuple):
    """What became of the cases of one class."""

    name: str
    cases: int
    rows: int
    unparsed: int
    cut: int
    slowest_ms: float
    retimed: int
    cpu_s: float


def _none(name: str) -> Tally:
    return Tally(name, 0, 0, 0, 0, 0.0, 0, 0.0)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


class Player:
    """Cases of all classes on one path, so that they meet each other's leftovers."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._path = DnsPath()
        self._tallies = {name: _none(name) for name in names}

    def play(self, name: str, case: Case) -> None:
        """A case of the class of this name; says which it was if it fails."""
        try:
            self._play(name, case)
        except BaseException:
            sys.stderr.write(f"the case that failed, of class '{name}': {case!r}\n")
            raise

    def _play(self, name: str, case: Case) -> None:
        outcome = self._path.play(case)
        tally = self._tallies.get(name, _none(name))
        cpu_ms, retimed = outcome.cpu_ms, 0
        if cpu_ms > tally.slowest_ms:
            cpu_ms, retimed = shortest_ms(case), 1
            assert cpu_ms < MOST_MS, f"{cpu_ms:.1f} ms"
        self._tallies[name] = Tally(
            name, tally.cases + 1, tally.rows + len(outcome.rows), tally.unparsed + outcome.unparsed,
            tally.cut + outcome.cut, max(tally.slowest_ms, cpu_ms), tally.retimed + retimed,
            tally.cpu_s + outcome.cpu_ms / 1000,
        )  # fmt: skip

    def table(self) -> str:
        lines = [
            "| class | cases | rows told | unparsed | records cut | mean us | slowest ms | timed again |",
            "| -- | -- | -- | -- | -- | -- | -- | -- |",
        ]
        lines += [
            f"| {tally.name} | {tally.cases:,} | {tally.rows:,} | {tally.unparsed:,} | {tally.cut:,} "
            f"| {1e6 * tally.cpu_s / max(tally.cases, 1):.0f} | {tally.slowest_ms:.2f} | {tally.retimed} |"
            for tally in self._tallies.values()
        ]
        return "\n".join(lines)


def play_classes(player: Player, source: random.Random, cases: int) -> None:
    """All classes in turn, each as often as it weighs."""
    weights = [weight for weight, _ in CLASSES.values()]
    for name in source.choices(list(CLASSES), weights, k=cases):
        player.play(name, CLASSES[name][1](source))


def play_corpora() -> list[bytes]:
    """Every message that others publish, as far as their sources can be had; some of each to start with."""
    player = Player()
    seeds: list[bytes] = []
    for corpus in CORPORA:
        try:
            sources = corpora.provide(corpus)
        except ArchiveError as error:
            print(f"The messages of {corpus.package} are left out: {' '.join(str(error).split())}")  # noqa: T201
            continue
        messages = corpora.messages(corpus, sources)
        assert messages, f"{sources.name} has no messages where they are looked for"
        name = f"{sources.name.partition('.orig')[0]}, {len(messages):,} messages"
        for message in messages:
            for case in corpora.cases(message):
                player.play(name, case)
        seeds += messages[:SEEDS_OF_A_CORPUS]
    if seeds:
        print(f"\n{player.table()}", flush=True)  # noqa: T201
    return seeds


def guided(cases: int, seeds: list[bytes]) -> None:
    """The same path under a fuzzer that looks for bytes which reach new code; fails if one fails."""
    with tempfile.TemporaryDirectory(prefix="nettop-fuzz-") as directory:
        corpus = Path(directory) / "corpus"
        corpus.mkdir()
        for number, message in enumerate((dns_cases.QUESTION, *dns_cases.ANSWERS, *seeds)):
            (corpus / f"udp-{number}").write_bytes(b"\1" + message)
            (corpus / f"tcp-{number}").write_bytes(b"\3" + dns_cases.framed(message))
        subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "tests.hostile.guided",
                    f"-runs={cases}",
                    "-max_len=2048",
                    "-rss_limit_mb=1024",
                ),
                *("-timeout=10", "-print_final_stats=1", "-verbosity=0", str(corpus)),
            ],
            check=True,
        )


def main(cases: int, seed: int) -> None:
    print(f"seed {seed}", flush=True)  # noqa: T201
    begun = time.monotonic()
    player, source = Player(CLASSES), random.Random(seed)
    play_classes(player, source, cases // 5)
    early = resident_bytes()
    play_classes(player, source, cases - cases // 5)
    growth = resident_bytes() - early
    print(player.table())  # noqa: T201
    print(  # noqa: T201
        f"\n{cases:,} cases in {time.monotonic() - begun:.0f} s, no exception; memory {early >> 20} MB after a fifth, "
        f"{growth / (1 << 20):+.1f} MB from there to the end",
        flush=True,
    )
    assert growth < MEMORY_GROWTH_BYTES
    fuzz_protocols.main(cases // 2, seed)
    guided(cases, play_corpora())
    print(f"{cases:,} cases guided by coverage, no exception")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    chosen = parser.parse_args()
    main(chosen.cases, chosen.seed)
