import gc
import os
import signal
from pathlib import Path

import hypothesis
import pytest

from nettop.__main__ import _COLLECT_AFTER
from nettop.signals import ENDING

_HERE = Path(__file__).parent
_LIVE = (_HERE / "live", _HERE / "faults", _HERE / "hostile" / "test_live.py")


# how long an example takes says more of the machine than of nettop
hypothesis.settings.register_profile("nettop", deadline=None)
hypothesis.settings.load_profile("nettop")


def pytest_configure() -> None:
    """Collect garbage as nettop does. Under nohup and the like the programs that tests start obey signals as ever."""
    gc.set_threshold(_COLLECT_AFTER)
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)  # nothing here, but the default again after an exec


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.path.is_relative_to(place) for place in _LIVE):
            item.add_marker("live")
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root"))


def pytest_collection_finish() -> None:
    """As run_screen() has it: to look again and again at what stays took a sixth of the time of a screen's test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def nobodys_settings() -> None:
    """No test and no program that a test starts takes anything from whoever runs the tests."""
    os.environ["XDG_CONFIG_HOME"] = "/nonexistent"  # which everybody may find absent
    os.environ["XDG_STATE_HOME"] = "/proc/nonexistent"  # which nobody can make
    for name in [name for name in os.environ if name.startswith(("NETTOP_", "SUDO_"))]:
        del os.environ[name]
