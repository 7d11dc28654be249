"""What a command loads: the headless ones neither textual nor, until they watch, bcc; and what is imported late."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import userland

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
        "from nettop.cli.main import main; assert main(['replay', '--demo', '--snapshot']) == 0",
        "from nettop.cli.main import main; assert main(['config']) == 0",
        "from nettop.cli.main import main; assert main(['snapshot', '--filter', 'pid:x']) == 2",
    ],
)
def test_the_command_line_loads_neither_bcc_nor_what_only_the_screen_needs(code: str) -> None:
    assert loaded(code, "bcc", "textual", "rich", "humanize") == set()


def test_without_a_config_file_nothing_reads_toml() -> None:
    assert loaded("from nettop.settings.resolve import resolve; resolve({})", "tomllib", "textual") == set()


def test_the_model_stands_alone() -> None:
    code = "import nettop.model.filter, nettop.model.store, nettop.model.snapshot"
    assert (
        loaded(
            f"{code}\nimport sys\ninner = ('nettop.errors', 'nettop.model', 'nettop.text')\n"
            "ours = [name for name in sys.modules if name.startswith('nettop.')]\n"
            "assert all(name.startswith(inner) for name in ours), ours",
            "bcc",
            "textual",
        )
        == set()
    )


def test_this_test_can_see_a_module() -> None:
    assert loaded("import json", "json", "bcc") == {"json"}


# Every import that is not at the top of its module: where it is, what it imports, and why it waits.
LATE_IMPORTS = {
    ("nettop.__main__", "nettop.cli.main"): "what goes wrong while it loads is told in a sentence too",
    (
        "nettop.cli.config",
        "nettop.tui.keymap",
    ): "knows Textual's names of keys; only for those who have changed keys",
    ("nettop.cli.diagnose", "nettop.export.findings"): "columns, which no other headless command needs",
    ("nettop.cli.doctor", "nettop.cli.checks"): "no other command needs it",
    ("nettop.cli.format", "nettop.cli.tables"): "JSON needs no columns",
    ("nettop.cli.metrics", "nettop.cli.publishing"): "no other command counts, or serves",
    ("nettop.cli.stream", "nettop.export.otlp"): "JSON does without",
    ("nettop.cli.stream", "nettop.metrics.counting"): "JSON does without",
    ("nettop.cli.replay", "nettop.player"): "only the screen plays",
    ("nettop.cli.screen", "nettop.tui.run"): "the headless commands do without textual",
    ("nettop.kernel.compiler", "bcc"): "slow and large, and once the cache holds the compiled programs not needed",
    ("nettop.protocols.quic", "cryptography.exceptions"): "11 MB and 0.15 s; only once somebody speaks QUIC",
    ("nettop.protocols.quic", "cryptography.hazmat.primitives.ciphers"): "the same",
    ("nettop.protocols.quic", "cryptography.hazmat.primitives.ciphers.aead"): "the same",
    ("nettop.settings.kinds", "difflib"): "only after a mistake",
    ("nettop.settings.kinds", "nettop.view.keys"): "only for those who have changed keys",
    ("nettop.settings.kinds", "nettop.view.panes"): "only for those who have chosen columns",
    ("nettop.settings.resolve", "difflib"): "only after a mistake",
    ("nettop.settings.resolve", "nettop.view.arrangement"): "the headless commands do without",
    ("nettop.settings.resolve", "nettop.view.look"): "the headless commands do without",
    ("nettop.settings.resolve", "nettop.view.panes"): "the headless commands do without",
    ("nettop.settings.resolve", "tomllib"): "only for those who have a file of settings",
    ("nettop.view.domains", "publicsuffixlist"): "only for those who group by domain",
    ("nettop.sources.input_file", "backports.zstd"): "only for a recording that is compressed; before Python 3.14",
    ("nettop.sources.input_file", "compression.zstd"): "only for a recording that is compressed; from Python 3.14",
}


def late_imports(node: ast.AST, inside: bool = False) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if inside and isinstance(child, ast.ImportFrom):
            yield "." * child.level + (child.module or "")
        elif inside and isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        yield from late_imports(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def test_every_late_import_stands_in_the_list_with_its_reason() -> None:
    found = {
        (".".join(file.relative_to(ROOT).with_suffix("").parts), imported)
        for file in (ROOT / "nettop").rglob("*.py")
        if "packaging" not in file.parts  # which builds nettop, and is in no package
        for imported in late_imports(ast.parse(file.read_text()))
    }
    assert found == LATE_IMPORTS.keys()
    assert all(LATE_IMPORTS.values())


def test_guests_of_the_matrix_have_what_their_tests_import() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
    missing = {re.split(r"[<>=~! ]", line)[0] for line in declared} - set(userland._TEST_LIBRARIES)
    tests = ("tests.conftest", *(f"tests.kernels.{name}" for name in ("core", "machine", "screen")))
    assert loaded(f"import {', '.join(tests)}", *(name.replace("-", "_") for name in missing)) == set()
