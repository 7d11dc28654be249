import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def nobodys_settings() -> None:
    """No test and no program that a test starts takes anything from whoever runs the tests."""
    os.environ["XDG_CONFIG_HOME"] = "/nonexistent"  # which everybody may find absent
    for name in [name for name in os.environ if name.startswith(("NETTOP_", "SUDO_"))]:
        del os.environ[name]
