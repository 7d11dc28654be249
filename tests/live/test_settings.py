"""Settings reach the headless commands from the environment and from config.toml."""

import json
import os
import subprocess
from pathlib import Path

from tests.live.lab import NETTOP, Namespace


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
    assert 3 <= [event["type"] for event in rest].count("tick") <= 7
