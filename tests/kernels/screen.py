"""The screen in a terminal of its own, as each kernel of the matrix must pass it.

Named so that pytest collects it only when asked for by name.
"""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from pathlib import Path

from nettop.tui.view import PANES
from tests.live import programs
from tests.live.lab import NETTOP, namespace

PATIENCE_S = 90.0  # for an emulated machine whose host is busy
PORT = 7004
ROWS, COLUMNS = 48, 160
ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]")


class Terminal:
    """A pseudo-terminal with nettop in it, and all that nettop wrote."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            [*NETTOP, *arguments], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.written = b""

    def until(self, *wanted: str) -> None:
        """Read until all these texts were drawn."""
        end = time.monotonic() + PATIENCE_S
        while missing := [text for text in wanted if text not in self.text]:
            assert self._read(end), f"{missing} not on the screen: {self.text[-3000:]}"

    @property
    def text(self) -> str:
        """What was drawn, without what moves the cursor or colours."""
        return _ESCAPE.sub("", self.raw)

    @property
    def raw(self) -> str:
        return self.written.decode(errors="replace")

    def press(self, key: str) -> None:
        os.write(self._master, key.encode())

    def end(self) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + PATIENCE_S
        while self._read(end):
            pass
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
        try:
            chunk = os.read(self._master, 65536) if ready else b""
        except OSError:  # the other side is closed
            chunk = b""
        self.written += chunk
        return bool(chunk)


def test_panes_then_traffic_then_quit(tmp_path: Path) -> None:
    with namespace(tmp_path) as inside:
        server = inside.play(programs.tcp_server, address="127.0.0.1", port=PORT, mode="hold")
        assert server.hear(PATIENCE_S) == "listening"
        old = inside.play(programs.tcp_stay, address="127.0.0.1", port=PORT, up=1009, down=503)
        assert old.hear(PATIENCE_S) == "exchanged"
        terminal = Terminal()
        try:
            terminal.until(*(pane.title for pane in PANES), "python", str(old.pid), f"127.0.0.1:{PORT}")
            talker = inside.play(programs.tcp_client, address="127.0.0.1", port=PORT, sizes=[[8, 101]])
            terminal.until("talker", str(talker.pid))
            terminal.press("q")
            assert terminal.end() == 0, terminal.text[-3000:]
        finally:
            terminal.close()
        assert terminal.raw.count(ENTER_SCREEN) == 1
        assert terminal.raw.rindex(LEAVE_SCREEN) > terminal.raw.index(ENTER_SCREEN)
        assert "Traceback" not in terminal.text
