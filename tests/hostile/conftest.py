import os
from pathlib import Path

import pytest

from tests.live.conftest import directory
from tests.tui.conftest import same_everywhere

__all__ = ["directory", "same_everywhere"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path == Path(__file__).with_name("test_live.py"):
            item.add_marker("live")
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root"))
