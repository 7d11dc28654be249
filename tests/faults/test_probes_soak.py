"""The short form of `make soak-powers`: three nettops, of which one is killed while it starts."""

import signal
import subprocess
import sys
from pathlib import Path

from tests.faults.probes_soak import soak

FORBIDDEN = """if True:
    import os
    from tests.faults.watched_programs import CALLS, allow_only
    allow_only(CALLS)
    os.write(1, b"lives")
    os.getppid()
    os.write(1, b" on")
    """


def test_three_are_killed_and_nobody_is_harmed() -> None:
    outcome = soak(20, seed=16, rounds=3)
    assert outcome.wrong == []
    assert [each.starting for each in outcome.rounds] == [False, True, False]
    assert all(each.programs > 0 for each in outcome.rounds if not each.starting)
    assert all(answered > 0 for answered in outcome.answered.values())


def test_the_sandbox_kills() -> None:
    """Or the program in it would show nothing by living on."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", FORBIDDEN], cwd=root, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGSYS, b"lives"), done.stderr
