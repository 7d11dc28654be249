from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.lab import Namespace, namespace

_FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = terminalreporter.config.stash[_FIGURES]
    if figures:
        terminalreporter.section("measured by the live tests")
        for line in figures:
            terminalreporter.line(line)


class Figures:
    """What was measured, for the end of the test log."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def tell(self, line: str) -> None:
        self._lines.append(line)


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    return Figures(pytestconfig.stash[_FIGURES])


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def quiet(directory: Path) -> Iterator[Namespace]:
    """A namespace where nothing happens but what a test starts there."""
    with namespace(directory) as made:
        yield made
