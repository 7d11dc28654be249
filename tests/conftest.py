import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def nobodys_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test and no program that a test starts takes anything from whoever runs the tests."""
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("no-config"))
    for name in [name for name in os.environ if name.startswith(("NETTOP_", "SUDO_"))]:
        del os.environ[name]
