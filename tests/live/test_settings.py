"""Settings reach the headless commands from the environment and from config.toml, and the screen under sudo."""

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.lab import NETTOP, Namespace
from tests.live.terminal import Terminal
from tests.live.test_privileges import within_reach

NOBODY = pwd.getpwnam("nobody")


def test_a_stream_takes_its_settings(quiet: Namespace, tmp_path: Path) -> None:
    (tmp_path / "nettop").mkdir()
    (tmp_path / "nettop/config.toml").write_text('interval = 0.2\nfilter = "port:1"\ndns.ports = [5355]\n')
    done = subprocess.run(
        [*NETTOP, "stream", "--for", "1", "--netns", quiet.name],
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "NETTOP_FILTER": "port:2"},
        capture_output=True, check=True,
    )  # fmt: skip
    start, *rest = map(json.loads, done.stdout.splitlines())
    assert (start["interval_s"], start["filter"], start["scope"]["dns_ports"]) == (0.2, "port:2", [5355])
    assert 1 < [event["type"] for event in rest].count("tick") <= 7


@pytest.fixture
def home() -> Iterator[Path]:
    """Nobody's, with settings and a directory for what is exported."""
    made = Path(tempfile.mkdtemp(prefix="nettop-test-", dir="/tmp"))
    try:
        (made / ".config/nettop").mkdir(parents=True)
        (made / ".config/nettop/config.toml").write_text('export_directory = "~/captures"\ntheme = "nord"\n')
        (made / "captures").mkdir()
        for path in (made, *made.rglob("*")):
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        yield made
    finally:
        shutil.rmtree(made)


def with_home(home: Path) -> list[str]:
    """A prefix for which nobody has this home."""
    passwd = home / "passwd"
    theirs = f":{NOBODY.pw_gid}:{NOBODY.pw_gecos}:"
    everybody = Path("/etc/passwd").read_text()
    passwd.write_text(everybody.replace(f"{theirs}{NOBODY.pw_dir}:", f"{theirs}{home}:"))
    passwd.chmod(0o644)
    script = f'mount --bind {passwd} /etc/passwd && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


def test_under_sudo_the_settings_are_the_callers(quiet: Namespace, home: Path) -> None:
    caller: dict[str, Any] = {"SUDO_UID": str(NOBODY.pw_uid), "SUDO_GID": str(NOBODY.pw_gid), "HOME": "/root"}
    command = [*with_home(home), *within_reach(), *NETTOP, "--netns", quiet.name, "--interval", "0.2"]
    with Terminal(command, **caller) as terminal:
        terminal.until_said("LIVE")
        terminal.press("e")
        terminal.until_said("Wrote")
        (file,) = (home / "captures").iterdir()
        assert file.stat().st_uid == NOBODY.pw_uid
        assert json.loads(file.read_bytes())["schema"] == "nettop.snapshot/1"
        terminal.press("q")
        assert terminal.ends() == 0
