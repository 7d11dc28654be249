"""The real nettop among real impostors: every byte that it writes to its terminal, and its JSON."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from nettop.kernel.program import open_cgroup2
from nettop.model.snapshot import Snapshot
from nettop.text import printable
from tests.builders import bytes_of
from tests.hostile import impostors
from tests.hostile.strings import HOSTILE, unprintable
from tests.hostile.terminal_output import TerminalOutput
from tests.live.lab import NETTOP, Namespace, check_snapshot, namespace, wait_until
from tests.live.terminal import Terminal

SERVER = "127.0.0.1"
NAMES = [  # of at most TASK_COMM_LEN - 1 bytes
    b"[/", b"[/foo]", b"[@click=app.q]", b"\x1b[2J\x1b[H", b"\x1b]0;owned\x07", b"\x1bP+q\x1b\\", b"\xff\xfe\x9b2J",
    "\x9b2J\x9d0;x\x9c".encode(), "\u202egnp.exe".encode(), "\u200b\u2060\ufeffx".encode(), b"\xed\xa0\x80\xed\xbf\xbf",
    b"a\nb\tc\rd\x7f", b"\x01\x02\x0e\x0f\x1a", "日本語の名".encode(), "\U0001f680\u200d\ufe0f".encode(),
    ("a" + "\u0335" * 7).encode(), b"\\x1b[2J", b"'\";|`$(id)", b"   ",
]  # fmt: skip
ARGUMENTS = [text.encode("utf-8", "surrogatepass") for text in HOSTILE.values() if len(text) < 200 and "\0" not in text]
ARGUMENTS += [b"\xff\xfe\x80", b"x" * 20_000]
PANES = ("1 DNS", "2 Connections", "3 Processes")  # as the main screen names them, and no detail does
TITLES = ("LATENCY", "REMOTE", "TRAFFIC")  # each of one of the panes
CGROUP = "\x1b[2J[foo]\u202ex\u200b".encode() + b"\xff.service"


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Namespace]:
    with namespace(directory) as made:
        texts = [name.hex() for name in (*NAMES, b"\x1b[31m" * 10)]
        assert made.play(impostors.serve, address=SERVER, texts=texts).hear() == "serving"
        yield made


@pytest.fixture
def cgroup() -> Iterator[Path]:
    descriptor = open_cgroup2()
    root = os.fsencode(Path(f"/proc/self/fd/{descriptor}").readlink())
    os.close(descriptor)
    made = Path(os.fsdecode(root + b"/" + CGROUP))
    made.mkdir()
    yield made
    for pid in (made / "cgroup.procs").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    wait_until(lambda: not (made / "cgroup.procs").read_text(), "the cgroup to be empty")
    made.rmdir()


def shows_only(title: str, terminal: Terminal) -> bool:
    return [each for each in TITLES if each in terminal.text] == [title]


def test_impostors(lab: Namespace, cgroup: Path, tmp_path: Path) -> None:
    with Terminal([*NETTOP, "--netns", lab.name, "--interval", "1"], 120, 40, cwd=tmp_path) as terminal:
        terminal.until_said("LIVE", "Connections")
        liars = lab.play(impostors.impostors, server=SERVER, names=[name.hex() for name in NAMES])
        dressed = lab.play(impostors.with_arguments, server=SERVER, arguments=[each.hex() for each in ARGUMENTS])
        (cgroup / "cgroup.procs").write_text(str(dressed.pid))
        dressed.say("go")
        pids = [*liars.hear(), dressed.hear()]
        terminal.until_said(f"1 DNS {len(pids)} ")
        for pane, title, fact in zip(PANES, TITLES, ("question  ", "remote  ", "TCP  "), strict=True):
            terminal.press(f"{pane[0]}zg")
            terminal.until(partial(shows_only, title, terminal), "the zoom")  # or a key is for the pane of before
            for _ in range(2):
                terminal.press("\r")
                terminal.until_said(fact)
                escape(terminal, fact, pane)
                terminal.press("yc")
                terminal.until_said(" filter comm:")
                escape(terminal, " filter comm:", pane)
                terminal.press("jjjjjj")
            terminal.press("z")
        terminal.press("?")
        terminal.until_said("Show the keys")
        escape(terminal, "Show the keys", "2 Connections")
        terminal.press("e")
        terminal.until_said("Wrote")
        terminal.press("q")
        assert terminal.ends() == 0
        terminal.assert_as_found()
    liars.end()
    dressed.end()
    output = TerminalOutput(terminal.raw)
    assert not output.wrong, "\n".join(output.wrong)
    assert "[@click=app.q]" in "".join(output.texts)
    assert len(output.copied) == 6
    assert all("comm" in json.loads(copied) for copied in output.copied)
    (exported,) = tmp_path.iterdir()
    check_json(check_snapshot(exported.read_bytes()), pids)


def check_json(snapshot: Snapshot, pids: list[int]) -> None:
    """The export has every byte that the impostors chose, and all of it prints."""
    by_pid = {row.pid: row for row in snapshot.processes}
    assert [bytes_of(by_pid[pid].comm) for pid in pids[:-1]] == NAMES
    queries = {row.pid: row for row in snapshot.dns}
    assert {queries[pid].status for pid in pids} == {"answered"}
    assert [queries[pid].unparsed for pid in pids] == [None] * len(pids)
    assert queries[pids[0]].answers_cut > 0
    assert sum(len(answer.data) for answer in queries[pids[0]].answers) < 10_000
    shown = by_pid[pids[-1]]
    assert shown.cmdline is not None
    told = b"\0".join(map(bytes_of, shown.cmdline[: shown.cmdline_cut]))
    assert told in b"\0".join([*shown_head(shown.cmdline), *ARGUMENTS])
    assert len(told) >= 1000
    assert shown.cgroup is not None
    assert bytes_of(shown.cgroup).endswith(CGROUP)
    texts = [row.comm for row in snapshot.processes] + [*shown.cmdline, shown.cgroup]
    texts += [text for row in snapshot.dns for answer in row.answers for text in (answer.name, answer.data)]
    assert all(unprintable(text) == set() for text in texts)


def escape(terminal: Terminal, gone: str, shown: str) -> None:
    """Press escape alone: with a key behind it, it would be another key.

    While a frame is being drawn anything may be gone for a moment: `shown` stood behind it, and the frame is whole.
    """
    terminal.press("\x1b")
    terminal.until(
        lambda: gone not in terminal.text and shown in terminal.text and not terminal.read(0.05), f"{gone!r} to vanish"
    )


def shown_head(cmdline: tuple[str, ...]) -> list[bytes]:
    """The arguments before the hostile ones: the interpreter, the program, what it plays."""
    return list(map(bytes_of, cmdline[:4]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay", "\x1b[2J\u202e[/foo]\n\x9b2J"],
        ["replay", os.fsdecode(b"/nowhere/\xff\x1b]0;owned\x07")],
        ["--filter", "\x1b]0;owned\x07:\u202e\u200b"],
        ["--filter", os.fsdecode(b"comm:\xff\xfe")],
        ["--filter", "pid:\x1b[2J\ta" + "\u0301" * 50],
        ["--netns", "\x1b[2J\u202e"],
        ["--netns", os.fsdecode(b"./\xff\x9b")],
        ["snapshot", "--for", "0.1", "-o", "/nowhere/\x1b[2J\u202e"],
        ["snapshot", "--for", "\x1b[2J"],
        ["\x1b[2J"],
        ["--\x1b[2J\xad"],
    ],
)
def test_what_is_said_of_hostile_arguments(arguments: list[str]) -> None:
    ran = subprocess.run([*NETTOP, *arguments], check=False, capture_output=True, timeout=60)
    assert ran.returncode == 2
    said = ran.stderr.decode()
    assert said.startswith("nettop: ")
    assert "This is a bug" not in said
    assert unprintable(said.replace("\n", "")) == set()
    assert printable(b"") == ran.stdout.decode()
