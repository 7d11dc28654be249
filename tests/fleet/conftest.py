"""Programs that nettop feeds, unpacked by `make fleet`: without them these tests are skipped."""

import os
from pathlib import Path

import pytest

from tests.live.conftest import directory  # noqa: F401 - a fixture

TOOLS = Path(os.environ.get("FLEET_TOOLS", "/nonexistent"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and not TOOLS.is_dir():
            item.add_marker(pytest.mark.skip(reason="'make fleet' brings the programs that nettop feeds"))


@pytest.fixture(scope="session")
def tools() -> Path:
    """Where the programs are."""
    return TOOLS / "usr" / "bin"
