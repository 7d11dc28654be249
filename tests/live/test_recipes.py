"""The recipes in docs/recipes.md, run as they are written there, while traffic of our own goes on."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import http_programs
from tests.live.lab import Namespace, dnsmasq, namespace
from tests.live.terminal import Terminal

PAGE = Path(__file__).resolve().parents[2] / "docs" / "recipes.md"
PATIENCE_S = 180


def recipes() -> list[str]:
    """The commands of the page, block by block."""
    return re.findall(r"```\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def busy(directory: Path) -> Iterator[Namespace]:
    """Somebody asks for a name that there is, for one that there is not, for a slow page, and is refused."""
    with namespace(directory) as inside:
        pages = inside.play(http_programs.http_server, address="127.0.0.1", port=8000)
        assert pages.hear() == "listening"
        dnsmasq(inside, ["127.0.0.1"], "--local=/test/", "--host-record=there.test,192.0.2.10")
        talk = (
            "while dig @127.0.0.1 +tries=1 there.test >/dev/null; do dig @127.0.0.1 +tries=1 missing.test >/dev/null; "
            "curl -s http://127.0.0.1:8000/slow/300; curl -s http://127.0.0.1:9/ || true; done"
        )
        inside.start("sh", "-c", talk)
        yield inside


@pytest.fixture(scope="module")
def environment(busy: Namespace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With nettop and duckdb on the path, and a sudo that just runs its arguments. Only this namespace is seen."""
    directory = tmp_path_factory.mktemp("bin")
    sudo = directory / "sudo"
    sudo.write_text('#!/bin/sh\nexec "$@"\n')
    sudo.chmod(0o755)
    path = f"{directory}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "NETTOP_FILTER": f"netns:{busy.inode}"}


@pytest.fixture(scope="module")
def done(environment: dict[str, str], directory: Path) -> list[str]:
    """What those that watch said, all of them run at once."""
    started = [
        subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", recipe], cwd=directory, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for recipe in recipes()[:5]
    ]  # fmt: skip
    outputs = [process.communicate(timeout=PATIENCE_S) for process in started]
    assert [(process.returncode, error) for process, (_, error) in zip(started, outputs, strict=True)] == [(0, "")] * 5
    return [output for output, _ in outputs]


def test_there_are_six() -> None:
    assert len(recipes()) == 6


def test_which_names_fail(done: list[str]) -> None:
    rows = [line.split("\t") for line in done[0].splitlines()]
    ours = [row for row in rows if row[2] == "missing.test"]
    assert ours
    assert all(row[1] == "dig" and row[3] == "NXDOMAIN" for row in ours)
    assert not any(row[2] == "there.test" for row in rows)


def test_who_sends_most(done: list[str]) -> None:
    head, below = done[1].split("\n\n")
    assert head.startswith(os.uname().nodename)
    title, columns, *rows = below.splitlines()
    assert re.fullmatch(r"Processes: (20 of )?\d+, by TX", title)
    assert columns.split()[:5] == ["PID", "COMM", "USER", "SERVICE", "TX"]
    assert any(re.search(r"\d+  (x )?dig ", row) for row in rows)


def test_which_request_is_slow(done: list[str]) -> None:
    rows = [line.split("\t") for line in done[2].splitlines()]
    assert [float(row[0]) for row in rows] == sorted((float(row[0]) for row in rows), reverse=True)
    ours = [row[1:] for row in rows if row[4] == "/slow/300" and float(row[0]) >= 300]
    python = Path(sys.executable).name
    assert ["curl", "client", "GET", "/slow/300", "200", "0 sent again", python] in ours
    assert [python, "server", "GET", "/slow/300", "200", "0 sent again", "curl"] in ours


def test_asking_a_recording(done: list[str]) -> None:
    assert re.search(r"dig\s+│ missing\.test", done[3])
    (queries, failed), *_ = re.findall(r"there\.test\s*│\s*(\d+) │\s*(\d+) │", done[3])
    assert int(queries) > 0
    assert int(failed) == 0


def test_a_ticket(done: list[str], environment: dict[str, str], directory: Path) -> None:
    head, *rows = done[4].splitlines()
    assert f"Linux {os.uname().release}" in head
    assert any(re.fullmatch(r"curl\[\d+\] to 127\.0\.0\.1 port 9: refused", row) for row in rows)
    (replay,) = recipes()[5].splitlines()
    path, chosen = environment["PATH"], environment["NETTOP_FILTER"]
    with Terminal(["bash", "-c", f"exec {replay}"], cwd=directory, PATH=path, NETTOP_FILTER=chosen) as terminal:
        terminal.until_said("SNAPSHOT", "127.0.0.1:9", "refused")
        terminal.press("q")
        assert terminal.ends() == 0
