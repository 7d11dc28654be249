"""What a terminal may do to the screen: send any byte, lack characters, stop it, vanish."""

import gzip
import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot

from nettop.cli.replay import DEMO as RECORDING
from nettop.tui.app import _clipboard_hint
from nettop.tui.help import HelpScreen
from nettop.tui.main import MainScreen
from nettop.tui.prompts import Palette
from nettop.tui.terminal import MAX_CELLS, InputDecoder, KeyParser, TerminalOutput
from tests.live.terminal import Terminal
from tests.tui.scene import FakeFeed, FakePlayer, busy, play, table, text, the_app, until

DEMO = (sys.executable, "-m", "nettop", "replay", "--demo")
SAID = ("REPLAY", "Connections", "Quit")
HELP = "Show the keys, the columns"
NOT_UTF8 = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def demo(*before: str, **options: str) -> Terminal:
    terminal = Terminal([*before, *DEMO], **options)  # type: ignore[arg-type]
    terminal.until_said(*SAID)
    return terminal


def leave(terminal: Terminal) -> None:
    terminal.press("\x03")
    assert terminal.ends() == 0
    terminal.assert_as_found()


# What comes


@pytest.mark.parametrize(
    "sent",
    [
        b"\x1b[M \x82\xff",  # a mouse beyond column 95
        b"\xe4j",  # a key of Latin-1
        b"\xf8j",  # Alt as the eighth bit
        b"/h\xf6st\r",
        b"\x9b1;1H",  # a control sequence in eight bits
        b"\x1b[9999999999;1u",  # a key beyond Unicode
        b"\x1b[48;0;0;0;0t\x1b[<0;5;5M",  # a terminal without any width, and a click there
        b"\x1b[48;999999;999999;1;1t",
        bytes(range(128, 256)),
    ],
)
def test_no_byte_ends_the_screen(sent: bytes) -> None:
    with demo() as terminal:
        terminal.press(sent)
        terminal.press("\x1b")
        terminal.press("?")
        terminal.until_said(HELP)
        leave(terminal)


@pytest.mark.parametrize("keys", ["E", "question_mark", "enter", "ctrl+p"])
def test_what_comes_twice_at_once_closes_a_screen_once(keys: str) -> None:
    """Two keys are queued for the screen that is open before the first one has closed it."""

    async def steps(pilot: Pilot[None]) -> None:
        await pilot.press(keys)
        screen = pilot.app.screen
        assert not isinstance(screen, MainScreen)
        screen.dismiss()
        screen.dismiss()
        pilot.app.action_command_palette()  # while the other one is on its way out
        await until(pilot, lambda: isinstance(pilot.app.screen, Palette))
        pilot.app.action_command_palette()
        assert [type(screen) for screen in pilot.app.screen_stack[1:]] == [MainScreen, Palette]
        await pilot.pause(0.2)  # it looks for its list as it opens, and does not care that the test is over

    play(steps, FakeFeed(busy()))


def test_keys_that_come_before_the_help_is_there_are_left_out() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        screen = HelpScreen({})
        pilot.app.push_screen(screen)
        screen.action_scroll(1)
        screen.action_page(1)
        await until(pilot, lambda: HELP in text(pilot))

    play(steps, FakeFeed(busy()))


def decoded(*pieces: bytes, encoding: str = "utf-8") -> list[str]:
    decoder = InputDecoder(encoding)
    return [*map(decoder.decode, pieces), decoder.rest()]


def test_what_is_not_utf8_is_what_it_is_or_nothing() -> None:
    assert decoded("grün €".encode()) == ["grün €", ""]
    assert decoded(b"h\xf6st", b"\xc3", b"\xb6") == ["hst", "", "ö", ""]
    assert decoded(b"\x9b1;5A\x8fP") == ["\x1b[1;5A\x1bOP", ""]
    assert decoded(b"h\xf6st", b"\xe4", encoding="iso-8859-1") == ["höst", "", "ä"]
    assert decoded(b"\xa4", encoding="iso-8859-15") == ["€", ""]
    assert decoded(b"\xa4", encoding="ascii") == ["", ""]


def test_old_mouse_reports_become_new_ones() -> None:
    assert decoded(b"\x1b[M !!") == ["\x1b[<0;1;1M", ""]
    assert decoded(b"a\x1b[M\x22\xc3\xa4b") == ["a\x1b[<2;163;132Mb", ""]  # two coordinates that would be one UTF-8 "ä"
    assert decoded(b"\x1b[M#\xff\xff") == ["\x1b[<0;223;223m", ""]  # released
    assert decoded(b"\x1b[M`!\x22") == ["\x1b[<64;1;2M", ""]  # the wheel
    assert decoded(b"\x1b[M", b" ", b"!!j") == ["", "", "\x1b[<0;1;1Mj", ""]
    assert decoded(b"\x1b[M ", b"") == ["", "", ""]


def test_a_sequence_that_breaks_the_parser_costs_itself_only() -> None:
    parser = KeyParser()
    assert [type(message) for message in parser.parse("\x1b[48;24;80;480;800t")] == [events.Resize]
    (click,) = parser.parse("\x1b[9999999999;1u\x1b[<0;401;241M")
    assert isinstance(click, events.MouseDown)
    assert (click.x, click.y) == (40, 12)  # cells of 10 by 20 pixels, known from before
    for size in (f"0;{MAX_CELLS}", f"{MAX_CELLS + 1};1"):
        assert list(parser.parse(f"\x1b[48;{size};1;1t")) == []
    (key,) = parser.parse("j")
    assert isinstance(key, events.Key)


# What goes


class Written:
    gone = 0

    def output(self, encoding: str, descriptor: int = -1) -> TerminalOutput:
        return TerminalOutput(descriptor, encoding, self.note)

    def note(self) -> None:
        self.gone += 1


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("utf-8", "▂█ · ö", "▂█ · ö".encode()),
        ("utf-8", "\ud800", b"?"),
        ("ascii", "▁▂▃▄▅▆▇█│▴▾↑…╭─╮·", b".:-=+*%#|^v^~+-+-"),
        ("ascii", "grün 網路 e\u0301", b"gr?n ???? e"),
        ("iso-8859-1", "grün · █ €", b"gr\xfcn - # ?"),
        ("euc-jp", "網 ·", b"\xcc\xd6 -"),
    ],
)
def test_each_character_keeps_its_width(encoding: str, text: str, shown: bytes) -> None:
    assert Written().output(encoding).encode(text) == shown


def shows_one_pane(terminal: Terminal) -> bool:
    return "PAUSED" in terminal.text and ["REMOTE" in line for line in terminal.lines].count(True) == 1


@pytest.mark.parametrize("environment", [NOT_UTF8, {"PYTHONIOENCODING": "latin-1"}])
def test_a_locale_without_utf8(environment: dict[str, str]) -> None:
    with demo(**environment) as plain, demo() as drawn:
        for terminal in (plain, drawn):
            terminal.until_said("OPENED")
            terminal.press("2z ")
            terminal.until(partial(shows_one_pane, terminal), "one pane, paused")
        (titles,) = (line for line in drawn.lines if "REMOTE" in line)
        titles = titles.translate(str.maketrans("▾▸", "v>"))
        assert titles.split() in [line.split() for line in plain.lines]  # how wide each is, is a matter of the moment
        assert plain.raw.isascii()
        assert "\\" not in plain.text
        assert "enter Open" in plain.text
        plain.press("?")
        plain.until_said("+----", "|  ")
        plain.press("\x1b[6~")  # page down
        plain.until_said("up k")
        leave(plain)
        leave(drawn)


def test_a_terminal_that_another_program_made_non_blocking() -> None:
    with demo() as terminal:
        terminal.share_without_blocking()
        width = 100
        while not terminal.is_full:
            width = 220 - width
            terminal.resize(width, 40)
        terminal.press("?")
        terminal.until_said(HELP)
        leave(terminal)


# Stopped and gone


def test_ctrl_z_gives_the_terminal_back_and_comes_again() -> None:
    with demo() as terminal:
        terminal.press("2z ")
        terminal.until_said("PAUSED")
        terminal.press("/comm:c\x1a")
        stopped(terminal)
        terminal.until(lambda: not terminal.modes()[1049], "the alternate screen to be left")
        terminal.assert_as_found()
        terminal.send(signal.SIGCONT)
        terminal.until_said("PAUSED", "filter comm:c", "enter keeps it")
        terminal.press("url\r")
        terminal.until_said("filter comm:curl")
        leave(terminal)


def test_stopped_without_a_word() -> None:
    """SIGSTOP cannot be caught: what SIGCONT starts must not run twice."""
    with demo() as terminal:
        threads = count_threads(terminal)
        for _ in range(2):
            terminal.send(signal.SIGSTOP)
            stopped(terminal)
            terminal.send(signal.SIGCONT)
            terminal.press("?")
            terminal.until_said(HELP)
            terminal.press("?")
            terminal.until_said("Quit")
            assert count_threads(terminal) <= threads
        leave(terminal)


def stopped(terminal: Terminal) -> None:
    stat = Path(f"/proc/{terminal.pid}/stat")
    terminal.until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "nettop to stop")


def count_threads(terminal: Terminal) -> int:
    return len(list(Path(f"/proc/{terminal.pid}/task").iterdir()))


@pytest.mark.parametrize(
    ("open_by", "said"),
    [
        ("2", "▾"), ("/comm", "enter keeps it"), ("E", "Export the snapshot"), ("?", HELP), ("\x10", "Search"),
        ("2\r", "Back"),
    ],
)  # fmt: skip
def test_a_terminal_that_is_gone_ends_it_though_sighup_is_ignored(open_by: str, said: str) -> None:
    with demo("sh", "-c", 'trap "" HUP; exec "$@"', "sh") as terminal:
        terminal.press(" ")
        terminal.until_said("PAUSED")  # so that nothing is written
        terminal.press(open_by)
        terminal.until_said(said)
        terminal.vanish()
        assert terminal.process.wait(5) == 0


def test_what_is_written_to_a_terminal_that_is_gone_is_dropped() -> None:
    written = Written()
    output = written.output("utf-8")
    for _ in range(3):
        output.write("x")
        output.flush()
    assert written.gone == 1


# What is said


def test_another_pace_and_the_end_show_without_a_tick() -> None:
    async def steps(pilot: Pilot[None]) -> None:
        feed.pace = "every 30 s"
        threading.Thread(target=the_app(pilot).feed_changed).start()
        await until(pilot, lambda: "every 30 s" in text(pilot))
        feed.finished = True
        the_app(pilot).feed_changed()
        await until(pilot, lambda: "END OF RECORDING" in text(pilot))

    feed = FakePlayer(busy())
    play(steps, feed, mode="REPLAY")


def test_dragging_selects_nothing() -> None:
    """A selection would be marked, though nothing could be made of it."""

    async def steps(pilot: Pilot[None]) -> None:
        for widget in (table(pilot), pilot.app.screen.query_one("StatusBar")):
            await pilot.mouse_down(widget, offset=(5, 1))
            await pilot.hover(widget, offset=(30, 1))
            await pilot.mouse_up(widget, offset=(30, 1))
        assert pilot.app.screen.selections == {}

    play(steps, FakeFeed(busy()))


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"TERM": "xterm-256color"}, []),
        ({"TERM": "screen-256color", "TMUX": "/tmp/tmux-0/default,1,0"}, ["tmux set -s set-clipboard on"]),
        ({"TERM": "tmux-256color"}, ["tmux set -s set-clipboard on"]),
        ({"TERM": "xterm", "STY": "1.pts-0.host"}, ["GNU screen does not"]),
        ({"TERM": "screen"}, ["GNU screen does not", "tmux set -s set-clipboard on"]),
    ],
)
def test_a_multiplexer_has_to_be_told_to_pass_a_copy_on(environment: dict[str, str], said: Sequence[str]) -> None:
    hint = _clipboard_hint(environment)
    assert all(words in hint for words in said)
    assert bool(hint) == bool(said)


# A recording that comes through a pipe


@pytest.mark.parametrize(
    "command",
    ["zcat demo.gz | NETTOP -", "zcat demo.gz | NETTOP /dev/stdin", "NETTOP - < demo.gz", "NETTOP <(cat demo.gz)"],
)
def test_a_recording_from_a_pipe_leaves_the_keys_to_the_terminal(command: str, tmp_path: Path) -> None:
    (tmp_path / "demo.gz").write_bytes(gzip.compress(RECORDING.read_bytes()))
    shell = command.replace("NETTOP", f"{sys.executable} -m nettop replay")
    with Terminal(["bash", "-c", shell], cwd=tmp_path, PYTHONPATH=str(RECORDING.parents[2])) as terminal:
        terminal.until_said(*SAID)
        terminal.press("?")
        terminal.until_said(HELP)
        leave(terminal)


def test_a_pipe_that_stands_still_does_not_keep_the_screen(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    lines = RECORDING.read_bytes().splitlines(keepends=True)
    with (
        Terminal([sys.executable, "-m", "nettop", "replay", str(tmp_path / "fifo")]) as terminal,
        (tmp_path / "fifo").open("wb", buffering=0) as fifo,
    ):
        fifo.write(b"".join(lines[:40]))
        terminal.until_said(*SAID)
        leave(terminal)


def test_the_terminal_is_no_recording() -> None:
    with Terminal([sys.executable, "-m", "nettop", "replay", "-"]) as terminal:
        assert terminal.ends() == 2
        assert "Standard input is the terminal, not a recording." in terminal.raw.decode()
