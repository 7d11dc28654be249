import os
from pathlib import Path

import pytest

from tests.live.conftest import directory, quiet

__all__ = ["directory", "quiet"]  # the live tests' fixtures

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker("live")
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root"))
