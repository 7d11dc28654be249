"""What the benchmark has measured is kept, whatever comes after: a case that fails, a client that hangs."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tests.bench import slowdown
from tests.bench.__main__ import run_cases
from tests.bench.observers import Observer, Watching
from tests.bench.report import Findings, Target
from tests.bench.settings import Settings
from tests.bench.slowdown import Beside
from tests.bench.traffic import STREAMS, Done, HungError, Load, Server, said_by
from tests.live.lab import Namespace, Program

NOWHERE = cast(Namespace, None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, quick=False, nettops={})


def test_each_measurement_is_in_the_file_before_the_next_is_made(settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    seen: list[Any] = []

    def first(_settings: Settings, findings: Findings) -> None:
        for number in range(3):
            findings.add({"number": number})
            seen.append(json.loads(out.read_text())["cases"])

    def fails(_settings: Settings, findings: Findings) -> None:
        findings.add({"number": 7})
        findings.targets.append(Target("rate", 1.0, None))
        raise RuntimeError

    def last(_settings: Settings, findings: Findings) -> None:
        findings.add({"number": 9})

    targets, passed = run_cases({"first": first, "fails": fails, "last": last}, settings, out)
    assert seen == [{"first": [{"number": number} for number in range(until)]} for until in (1, 2, 3)]
    assert not passed
    assert [target.what for target in targets] == ["rate"]
    kept = json.loads(out.read_text())["cases"]
    assert (kept["fails"], kept["last"]) == ([{"number": 7}], [{"number": 9}])
    assert [file.name for file in tmp_path.iterdir()] == ["rows.json"]


def test_a_client_that_hangs_is_ended(tmp_path: Path) -> None:
    client = Program([sys.executable, "-c", "import time; time.sleep(600)"], tmp_path / "log")
    with pytest.raises(HungError, match=r"within 0\.1 s"):
        said_by(client, 0.1)
    assert client.exit_code is not None


def test_a_client_that_fails_has_not_hung(tmp_path: Path) -> None:
    client = Program([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log")
    with pytest.raises(AssertionError):
        said_by(client, 60.0)


class Hanging:
    """A load whose runs with these numbers hang, and its server."""

    def __init__(self, *hanging: int) -> None:
        self._hanging = hanging
        self.runs = self.begun = 0

    def run(self, _where: Namespace, _directory: Path, _seconds: float) -> Done:
        self.runs += 1
        if self.runs in self._hanging:
            raise HungError("it did not end within 33 s")
        return Done(float(self.runs))

    def serve(self, _where: Namespace, _directory: Path) -> None:
        self.begun += 1

    def beside(self, settings: Settings, findings: Findings) -> Beside:
        load = Load("streams", "Gbit/s", self.serve, self.run)
        return Beside(settings, findings, load, NOWHERE, Server(load, NOWHERE, settings.directory))


class Blind:
    pid = 1

    def end(self) -> None:
        pass


@contextmanager
def watch(_settings: Settings, _where: Namespace) -> Iterator[Watching]:
    yield Blind()


OBSERVER = Observer("nobody", watch)


def test_a_pair_that_hangs_is_left_out_and_said(settings: Settings) -> None:
    findings, hanging = Findings(), Hanging(4)
    beside = hanging.beside(settings, findings)
    pairs = beside.pairs(OBSERVER)
    assert [pair["pair"] for pair in pairs] == [0, 2, 3, 4, 5, 6, 7, 8]
    assert findings.raw == pairs
    assert beside.hung == ["nobody, pair 1 (it did not end within 33 s)"]
    assert hanging.begun == 1  # the server, which may be stuck as well


def test_a_load_that_goes_on_hanging_is_given_up(settings: Settings) -> None:
    findings, hanging = Findings(), Hanging(*range(3, 100))
    beside = hanging.beside(settings, findings)
    for _ in range(2):
        beside.pairs(OBSERVER)
    assert [pair["pair"] for pair in findings.raw] == [0]
    assert len(beside.hung) == Beside.MOST_HUNG
    assert hanging.runs == 2 + Beside.MOST_HUNG


def test_what_was_not_measured_is_no_target_that_was_met() -> None:
    findings = Findings()
    slowdown._hold(findings, STREAMS, OBSERVER, [])
    assert [target.measured for target in findings.targets] == [None]
