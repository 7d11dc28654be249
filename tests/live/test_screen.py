"""The live screen in a terminal: what it says of real traffic, and how it leaves the terminal behind."""

import json
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import programs
from tests.live.conftest import Figures
from tests.live.lab import NETTOP, Namespace, check_snapshot, dnsmasq, existing_ids, kernel_ids, namespace, wait_until
from tests.live.terminal import Terminal

ADDRESS, ANSWER, CLOSED = "127.0.0.1", 7001, 7999
MANY = 10_000
PAGE_S = 1 / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def lab(directory: Path) -> Iterator[Namespace]:
    with namespace(directory) as made:
        assert made.play(programs.tcp_server, address=ADDRESS, port=ANSWER).hear() == "listening"
        dnsmasq(made, [ADDRESS], "--address=/known.example.test/127.0.0.1", "--local=/example.test/")
        yield made


def nettop_in(where: Namespace, *arguments: str, interval: str = "0.2", **options: Any) -> Terminal:
    return Terminal([*NETTOP, "--netns", where.name, "--interval", interval, *arguments], **options)


def talk(where: Namespace, comm: str, connections: int = 1) -> int:
    """Connections with 8 bytes up and 5000 down each, one after the other; the pid of who talked."""
    client = where.play(programs.tcp_client, address=ADDRESS, port=ANSWER, sizes=[[8, 5_000]] * connections, comm=comm)
    client.end()
    return client.pid


def choose(terminal: Terminal, expression: str) -> None:
    """Type a filter, without waiting for the bar to open."""
    hint = "enter keeps it"
    terminal.press(f"/{expression}")
    terminal.until_said(f"filter {expression}", hint)
    terminal.press("\r")
    terminal.until(lambda: hint not in terminal.text, "the filter bar to close")


def test_a_session(lab: Namespace, tmp_path: Path) -> None:  # noqa: PLR0915 - one session, from its start to its end
    with nettop_in(lab, cwd=tmp_path) as terminal:
        terminal.until_said("LIVE", "Connections")
        terminal.assert_taken()
        alpha, beta = talk(lab, "alpha"), talk(lab, "beta", 2)
        failed = lab.play(programs.tcp_fail, address=ADDRESS, port=CLOSED)
        failed.end()
        resolved = lab.play(programs.resolve, host="known.example.test", port=ANSWER, connections=1, nameserver=ADDRESS)
        resolved.end()
        terminal.until_said(str(alpha), str(beta), "! refused", "closed", "NOERROR", "! NXDOMAIN")
        terminal.until_said(f"known.example.test:{ANSWER}")

        # by comm, typed
        choose(terminal, "comm:alpha")
        terminal.until(lambda: str(beta) not in terminal.text, "beta to vanish")
        assert str(alpha) in terminal.text
        terminal.press("\x1b")
        terminal.until_said(str(beta))

        # by pid, of the row
        choose(terminal, "comm:beta")
        terminal.press("2f")
        terminal.until_said(f"filter comm:beta pid:{beta}", " 2 Connections 2 of ")

        # a pause keeps the view, and what comes is counted
        terminal.press(" ")
        terminal.until_said("PAUSED (+0 new)")
        gamma = talk(lab, "gamma", 3)
        # each is seen from both ends
        terminal.until_said("PAUSED (+6 new)")
        terminal.press("\x1b")
        terminal.until_said(str(alpha))
        assert str(gamma) not in terminal.text
        choose(terminal, f"pid:{beta}")

        # what is exported is what is paused and chosen
        terminal.press("e")
        terminal.until_said("Wrote")
        (file,) = tmp_path.iterdir()
        assert re.fullmatch(r"nettop-[A-Za-z0-9.-]+-\d{8}T\d{6}Z\.json", file.name)
        snapshot = check_snapshot(file.read_bytes())
        assert (snapshot.paused, snapshot.filter) == (True, f"pid:{beta}")
        assert snapshot.filtered_out["connections"] > 0
        assert [(row.pid, row.comm, row.tx_bytes, row.rx_bytes) for row in snapshot.connections] == [
            (beta, "beta", 8, 5_000)
        ] * 2
        assert [(row.pid, row.tcp.opened, row.tcp.rx_bytes) for row in snapshot.processes] == [(beta, 2, 10_000)]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

        terminal.press("e")
        terminal.until_said("Not exported.", "exists.")

        # it went on meanwhile
        terminal.press(" \x1b")
        terminal.until_said("LIVE", str(gamma))
        terminal.press("E")
        terminal.until_said("Export the snapshot to", "Z.json")
        terminal.press("\x15")
        terminal.until(lambda: "Z.json" not in terminal.text, "the proposal to vanish")
        terminal.press("whole.json\r")
        terminal.until((tmp_path / "whole.json").exists, "the second export")
        whole = json.loads((tmp_path / "whole.json").read_bytes())
        assert (whole["paused"], whole["filter"]) == (False, None)
        assert sum(row["pid"] == gamma for row in whole["connections"]) == 3
        terminal.press("q")
        assert terminal.ends() == 0
        terminal.assert_as_found()
        assert re.sub(r"\x1b\[\?\d+[hl]", "", terminal.left_over) == ""


def running(where: Namespace, **options: Any) -> Terminal:
    """Whatever is lost: the kernel counts the runs that it skips for all namespaces, and other tests flood theirs."""
    terminal = nettop_in(where, **options)
    terminal.until_said("LIVE", "Connections")
    terminal.until(lambda: "Quit" in terminal.text, "the footer")
    return terminal


def test_nothing_is_left_in_the_kernel(lab: Namespace) -> None:
    with running(lab) as terminal:
        mine = kernel_ids(terminal.pid)
        assert mine["prog"]
        terminal.press("q")
        assert terminal.ends() == 0
        # the array of programs that others continue in is emptied by a worker of the kernel
        wait_until(
            lambda: not any(mine[kind] & there[kind] for there in [existing_ids()] for kind in mine), "the kernel"
        )


@pytest.mark.parametrize("keys", ["q", "\x03", "\x11", "/comm:x\x03", "?\x03", "E\x03", " q"])
def test_leaving_by_key(lab: Namespace, keys: str) -> None:
    with running(lab) as terminal:
        terminal.press(keys)
        assert terminal.ends() == 0
        terminal.assert_as_found()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_leaving_by_signal(lab: Namespace, number: signal.Signals) -> None:
    with running(lab) as terminal:
        terminal.send(number)
        assert terminal.ends(3.0) == 0
        terminal.assert_as_found()
        assert "Traceback" not in terminal.left_over


def test_a_stopped_nettop_gives_the_terminal_back_and_comes_again(lab: Namespace) -> None:
    with running(lab) as terminal:
        terminal.send(signal.SIGTSTP)
        stat_file = Path(f"/proc/{terminal.pid}/stat")
        terminal.until(lambda: stat_file.read_text().rpartition(")")[2].split()[0] == "T", "nettop to stop")
        terminal.until(lambda: not terminal.modes()[1049], "the alternate screen to be left")
        terminal.send(signal.SIGCONT)
        terminal.until(lambda: b"Connections" in terminal.raw.rpartition(b"\x1b[?1049h")[2], "the screen to come back")
        terminal.press("q")
        assert terminal.ends() == 0
        terminal.assert_as_found()


def test_the_terminal_vanishes(lab: Namespace) -> None:
    with running(lab) as terminal:
        mine = kernel_ids(terminal.pid)
        begun = time.monotonic()
        terminal.vanish()
        terminal.process.wait(3.0)
        assert time.monotonic() - begun < 3.0
        wait_until(lambda: not mine["prog"] & existing_ids()["prog"], "the kernel to forget the programs", 3.0)


def test_the_terminal_vanishes_without_a_signal(lab: Namespace) -> None:
    """As under nohup: only reading and writing fail."""
    driver = "import signal, sys; from nettop.cli.main import main; signal.signal = lambda *_: None; sys.exit(main())"
    with Terminal([sys.executable, "-c", driver, "--netns", lab.name, "--interval", "0.2"]) as terminal:
        terminal.until_said("LIVE", "Connections")
        terminal.vanish()
        terminal.process.wait(3.0)


CRASHES = {
    "the collector": """
        class Feed(FixedSnapshot):
            def start(self, changed):
                self.changed = changed
            def hold(self, held):
                try:
                    raise ValueError("provoked in the collector")
                except ValueError as error:
                    self.error = error
                    self.changed()
    """,
    "the screen": """
        class Feed(FixedSnapshot):
            def hold(self, held):
                raise ValueError("provoked in the screen")
    """,
    "drawing": """
        class Feed(FixedSnapshot):
            def hold(self, held):
                from nettop.tui.status import StatusBar
                def render_line(self, y): raise ValueError("provoked in drawing")
                StatusBar.render_line = render_line
    """,
}


def driver(feed: str, directory: Path) -> Path:
    """A program that shows a snapshot from a feed that fails when one pauses."""
    lines = [line.removeprefix("        ") for line in feed.splitlines()]
    file = directory / "driver.py"
    file.write_text(
        "\n".join(
            [
                "import sys",
                "from nettop.collector import FixedSnapshot",
                "from nettop.cli.messages import complain",
                "from nettop.errors import NettopError, UsageError",
                "from nettop.model.filter import Filter",
                "from nettop.view.look import Look",
                "from nettop.tui.run import run_screen",
                "from tests.tui.scene import busy",
                *lines,
                "try:",
                "    sys.exit(run_screen(Feed(busy()), 'LIVE', Filter(''), Look()))",
                "except NettopError as error:",
                "    complain(error, False)",
                "    sys.exit(error.exit_code)",
            ]
        )
    )
    return file


@pytest.mark.parametrize("where", CRASHES)
def test_a_crash(where: str, tmp_path: Path) -> None:
    here = str(Path(__file__).resolve().parents[2])
    file = driver(CRASHES[where], tmp_path)
    with Terminal([sys.executable, str(file)], PYTHONPATH=here, TMPDIR=str(tmp_path)) as terminal:
        terminal.until_said("LIVE", "Quit")
        terminal.press(" ")
        assert terminal.ends() == 1
        terminal.assert_as_found()
        (log,) = tmp_path.glob("nettop-crash-*.log")
        assert str(log) in terminal.left_over
        assert "Traceback" not in terminal.left_over
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        text = log.read_text()
        assert "Traceback (most recent call last)" in text
        assert f"provoked in {where}" in text


def test_what_ends_the_feed_in_words_is_told_in_words(tmp_path: Path) -> None:
    here = str(Path(__file__).resolve().parents[2])
    feed = """
        class Feed(FixedSnapshot):
            def start(self, changed):
                self.changed = changed
            def hold(self, held):
                self.error = UsageError("Line 7 is not JSON.", "Give another file.")
                self.changed()
    """
    with Terminal([sys.executable, str(driver(feed, tmp_path))], PYTHONPATH=here, TMPDIR=str(tmp_path)) as terminal:
        terminal.until_said("LIVE", "Quit")
        terminal.press(" ")
        assert terminal.ends() == 2
        terminal.assert_as_found()
        assert "nettop: Line 7 is not JSON. Give another file." in terminal.left_over
        assert not list(tmp_path.glob("nettop-crash-*"))


def test_resizing_while_busy(lab: Namespace) -> None:
    with running(lab, interval="0.1") as terminal:
        client = lab.play(programs.tcp_client, address=ADDRESS, port=ANSWER, sizes=[[8, 100]] * 2_000, comm="busy")
        for columns, lines in [(200, 50), (60, 15), (20, 5), (80, 24), (1, 1), (59, 14), (300, 90), (61, 16)] * 4:
            terminal.resize(columns, lines)
            terminal.read(0.02)
        client.end()
        terminal.resize(40, 10)
        terminal.until_said("nettop needs at least 60x15 cells.")
        terminal.until(lambda: "Connections" not in terminal.text, "the rest of the frame")
        terminal.resize(120, 40)
        terminal.until_said("LIVE", "busy", "Connections", "Quit")
        terminal.press("q")
        assert terminal.ends() == 0
        terminal.assert_as_found()


@pytest.mark.parametrize(("term", "what"), [("dumb", "TERM=dumb"), ("", "TERM=")])
def test_a_terminal_that_can_show_nothing(lab: Namespace, term: str, what: str) -> None:
    with nettop_in(lab, TERM=term) as terminal:
        assert terminal.ends() == 2
        assert what in terminal.raw.decode()
        assert len(terminal.raw.splitlines()) == 1


@pytest.mark.parametrize(
    ("away", "stream"),
    [("< /dev/null", "standard input"), ("> /dev/null", "standard output"), ("2> errors", "standard error")],
)
def test_no_terminal(lab: Namespace, away: str, stream: str, tmp_path: Path) -> None:
    command = f"exec {NETTOP[0]} --netns {lab.name} {away}"
    with Terminal(["sh", "-c", command], cwd=tmp_path) as terminal:
        assert terminal.ends() == 2
        said = terminal.raw.decode() + "".join(file.read_text() for file in tmp_path.iterdir())
        assert f"The screen needs a terminal, but {stream} is not one." in said
        assert len(said.splitlines()) == 1


# Figures


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * PAGE_S


def test_from_exec_to_the_first_frame(lab: Namespace, figures: Figures) -> None:
    taken = []
    for _ in range(5):
        with nettop_in(lab, interval="1") as terminal:
            terminal.until(lambda: "conn" in terminal.text and "TX/s" in terminal.text, "the first frame")
            taken.append(time.monotonic() - terminal.started)
            terminal.press("q")
            terminal.ends()
    figures.tell(
        f"screen: exec to first frame with probes attached {min(taken):.2f}-{max(taken):.2f} s of 5 (target 0.6)"
    )
    assert min(taken) < 3 * 0.6


def test_an_idle_screen(lab: Namespace, figures: Figures) -> None:
    with nettop_in(lab, interval="1") as terminal:
        terminal.until_said("LIVE", "Connections")
        end = time.monotonic() + 2
        while time.monotonic() < end:
            terminal.read()
        before, begun = cpu_s(terminal.pid), time.monotonic()
        while time.monotonic() < begun + 8:
            terminal.read(0.1)
        share = (cpu_s(terminal.pid) - before) / (time.monotonic() - begun)
        figures.tell(f"screen: CPU when idle at 1 Hz {100 * share:.1f} % of a core (target 2)")
        assert share < 3 * 0.02
        terminal.press("q")
        assert terminal.ends() == 0


def test_ten_thousand_live_connections(lab: Namespace, figures: Figures) -> None:
    crowd = lab.start(sys.executable, str(Path(__file__).with_name("crowd.py")), str(MANY // 2))
    assert crowd.hear() == "connected"
    with nettop_in(lab, interval="1") as terminal:
        terminal.until(lambda: re.search(r"conn (9,9|10,0)", terminal.text), "10,000 connections")
        end = time.monotonic() + 2
        while time.monotonic() < end:
            terminal.read()
        before, begun = cpu_s(terminal.pid), time.monotonic()
        while time.monotonic() < begun + 5:
            terminal.read(0.1)
        per_tick_ms = (cpu_s(terminal.pid) - before) / (time.monotonic() - begun) * 1000
        taken = []
        for _ in range(100):
            for key in "jk":
                length = len(terminal.raw)
                while terminal.read(0.001):
                    length = len(terminal.raw)
                begun = time.monotonic()
                terminal.press(key)
                while len(terminal.raw) == length:
                    terminal.read(0.1)
                taken.append((time.monotonic() - begun) * 1000)
        taken.sort()
        p50, p95 = taken[len(taken) // 2], taken[int(len(taken) * 0.95)]
        figures.tell(
            f"screen: {MANY} real connections, idle: {per_tick_ms:.0f} ms CPU a tick (kernel read, store and drawing); "
            f"key to frame p50 {p50:.0f} ms, p95 {p95:.0f} ms (target 50)"
        )
        assert p95 < 3 * 50
        terminal.press("q")
        assert terminal.ends() == 0
    crowd.stop()
