"""`make fuzz`: a million hostile DNS cases of every class, then as many that coverage finds. Prints a table."""

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.hostile import dns_cases
from tests.hostile.dns_cases import CLASSES, Case
from tests.hostile.dns_path import MOST_MS, DnsPath, shortest_ms

MEMORY_GROWTH_BYTES = 24 << 20  # between a fifth of the cases and the end: what the tables may still fill up to
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


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


class Fuzzer:
    """All classes in turn on one path, so that they meet each other's leftovers."""

    def __init__(self, seed: int) -> None:
        self._source = random.Random(seed)
        self._path = DnsPath()
        self._tallies = {name: Tally(name, 0, 0, 0, 0, 0.0, 0, 0.0) for name in CLASSES}

    def run(self, cases: int) -> None:
        names = list(CLASSES)
        weights = [weight for weight, _ in CLASSES.values()]
        for name in self._source.choices(names, weights, k=cases):
            case = CLASSES[name][1](self._source)
            try:
                self._play(name, case)
            except BaseException:
                sys.stderr.write(f"the case that failed, of class '{name}': {case!r}\n")
                raise

    def _play(self, name: str, case: Case) -> None:
        outcome = self._path.play(case)
        tally = self._tallies[name]
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


def guided(cases: int) -> None:
    """The same path under a fuzzer that looks for bytes which reach new code; fails if one fails."""
    with tempfile.TemporaryDirectory(prefix="nettop-fuzz-") as directory:
        corpus = Path(directory) / "corpus"
        corpus.mkdir()
        for number, message in enumerate((dns_cases.QUESTION, *dns_cases.ANSWERS)):
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
    fuzzer = Fuzzer(seed)
    fuzzer.run(cases // 5)
    early = resident_bytes()
    fuzzer.run(cases - cases // 5)
    growth = resident_bytes() - early
    print(fuzzer.table())  # noqa: T201
    print(  # noqa: T201
        f"\n{cases:,} cases in {time.monotonic() - begun:.0f} s, no exception; memory {early >> 20} MB after a fifth, "
        f"{growth / (1 << 20):+.1f} MB from there to the end",
        flush=True,
    )
    assert growth < MEMORY_GROWTH_BYTES
    guided(cases)
    print(f"{cases:,} cases guided by coverage, no exception")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    chosen = parser.parse_args()
    main(chosen.cases, chosen.seed)
