"""A terminal in memory with a program in it: what it shows, which modes it is left in."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pyte

PATIENCE_S = 20.0
_PRIVATE_MODE = re.compile(rb"\x1b\[\?([0-9;]+)([hl])")
_KITTY = re.compile(rb"\x1b\[([<>])[0-9]*u")  # pushes and pops of the keyboard protocol
_NOT_FOR_PYTE = re.compile(rb"\x1b\[[<>=?][0-9;]*u|\x1b\[\?[0-9;]*\$p|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_MODES_WHILE_RUNNING = {1049: True, 25: False, 1000: True, 2004: True}
_MODES_AS_FOUND = {1049: False, 25: True, 1000: False, 1003: False, 1006: False, 1015: False, 1004: False, 7: True, 2004: False}  # noqa: E501 # fmt: skip


class Terminal:
    """The program has it as its controlling terminal and runs in a session of its own."""

    def __init__(
        self, command: Sequence[str], columns: int = 120, lines: int = 40, cwd: Path | None = None, **environment: str
    ) -> None:
        self._master, self._slave = pty.openpty()
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.resize(columns, lines)
        self._settings = termios.tcgetattr(self._slave)
        self.raw = b""
        self.started = time.monotonic()
        self.first_frame_s: float | None = None
        self.process = subprocess.Popen(
            command, stdin=self._slave, stdout=self._slave, stderr=self._slave, cwd=cwd, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", "TZ": "UTC", **environment},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - the test has no other threads
        )  # fmt: skip
        self.pid = self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for descriptor in (self._master, self._slave):
            with suppress(OSError):
                os.close(descriptor)

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str | bytes) -> None:
        os.write(self._master, keys.encode() if isinstance(keys, str) else keys)

    def share_without_blocking(self) -> None:
        """Another program on this terminal has made it non-blocking, for all of them."""
        os.set_blocking(self._slave, False)

    @property
    def is_full(self) -> bool:
        """The program can write nothing more until somebody reads."""
        return not select.select([], [self._slave], [], 0)[1]

    def take(self, wait_s: float = 0.01) -> bytes:
        """What the program wrote, not drawn; empty if that is nothing."""
        ready, _, _ = select.select([self._master], [], [], wait_s)
        try:
            return os.read(self._master, 1 << 20) if ready else b""
        except OSError:
            return b""

    def read(self, wait_s: float = 0.01) -> bool:
        """Draw what the program wrote; whether there was something."""
        chunk = self.take(wait_s)
        self.raw += chunk
        self._stream.feed(_NOT_FOR_PYTE.sub(b"", chunk))
        return bool(chunk)

    def drain(self, wait_s: float = 0.01) -> bool:
        """Take what the program wrote and forget it: for long runs, of which nobody looks at the screen."""
        ready, _, _ = select.select([self._master], [], [], wait_s)
        if ready:
            os.read(self._master, 1 << 20)
        return bool(ready)

    @property
    def lines(self) -> list[str]:
        # pyte keeps an empty cell after each wide character; its own display fails where that was overwritten
        rows = (self.screen.buffer[y] for y in range(self.screen.lines))
        return ["".join(row[x].data for x in range(self.screen.columns)).rstrip() for row in rows]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> None:
        """Read along until it is so."""
        end = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < end, (
                f"waited in vain for {what}; the screen says\n{self.text}\n{self.raw[-300:]!r}"
            )
            self.read()

    def until_said(self, *texts: str) -> None:
        self.until(lambda: all(text in self.text for text in texts), " and ".join(map(repr, texts)))

    def ends(self, patience_s: float = 5.0) -> int:
        """Its exit code, once it has ended."""
        self.until(lambda: self.process.poll() is not None, "the end", patience_s)
        while self.read(0.05):
            pass
        code = self.process.returncode
        assert code is not None
        return code

    def vanish(self) -> None:
        """The user closes the window."""
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = os.open(os.devnull, os.O_RDWR)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def modes(self) -> dict[int, bool]:
        """The private modes that were ever set or reset, as they are now."""
        found: dict[int, bool] = {}
        for numbers, what in _PRIVATE_MODE.findall(self.raw):
            for number in numbers.split(b";"):
                found[int(number)] = what == b"h"
        return found

    def assert_taken(self) -> None:
        """The program has the whole screen."""
        assert self.modes().items() >= _MODES_WHILE_RUNNING.items()

    def assert_as_found(self) -> None:
        """Nothing of the program is left in the terminal's settings."""
        assert termios.tcgetattr(self._slave) == self._settings
        modes = self.modes()
        assert {number: state for number, state in modes.items() if state != _MODES_AS_FOUND.get(number, False)} == {}
        pushes = _KITTY.findall(self.raw)
        assert pushes.count(b">") == pushes.count(b"<")

    @property
    def left_over(self) -> str:
        """What was written after the alternate screen was left."""
        return self.raw.rpartition(b"\x1b[?1049l")[2].decode()
