import os
import signal

import pytest

from nettop.signals import ENDING


def pytest_configure() -> None:
    """Where the tests run in the background or under nohup, the programs that they start obey signals as ever."""
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)  # nothing here, but the default again after an exec


@pytest.fixture(scope="session", autouse=True)
def nobodys_settings() -> None:
    """No test and no program that a test starts takes anything from whoever runs the tests."""
    os.environ["XDG_CONFIG_HOME"] = "/nonexistent"  # which everybody may find absent
    for name in [name for name in os.environ if name.startswith(("NETTOP_", "SUDO_"))]:
        del os.environ[name]
