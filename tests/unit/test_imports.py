"""What a command loads: the headless ones neither textual nor, until they watch, bcc."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def loaded(code: str, *wanted: str) -> set[str]:
    """Which of these top-level modules a fresh Python has after running the code."""
    script = f"{code}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    return set(wanted) & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import nettop.cli.main",
        "from nettop.cli.main import main; assert main(['--version']) == 0",
        "from nettop.cli.main import main; assert main(['replay', '--demo', '--snapshot', '-o', '/dev/null']) == 2",
        "from nettop.cli.main import main; assert main(['snapshot', '--filter', 'pid:x']) == 2",
    ],
)
def test_the_command_line_loads_neither_bcc_nor_textual(code: str) -> None:
    assert loaded(code, "bcc", "textual", "rich") == set()


def test_without_a_config_file_nothing_reads_toml() -> None:
    assert loaded("from nettop.settings.resolve import resolve; resolve({})", "tomllib", "textual") == set()


def test_the_model_stands_alone() -> None:
    code = "import nettop.model.filter, nettop.model.store, nettop.model.snapshot"
    assert (
        loaded(
            f"{code}\nimport sys\nouter = ('nettop.kernel', 'nettop.tracking', 'nettop.tui', 'nettop.sources')\n"
            "assert not any(name.startswith(outer) for name in sys.modules)",
            "bcc",
            "textual",
        )
        == set()
    )


def test_this_test_can_see_a_module() -> None:
    assert loaded("import json", "json", "bcc") == {"json"}
