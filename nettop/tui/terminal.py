"""Terminal input and output: any byte may arrive, not every character can be shown, and the terminal may vanish.

Textual's own driver decodes input as strict UTF-8, on a thread whose failure ends the program; it keeps polling a
terminal that has vanished; and it writes through Python's stderr, which replaces a character that the locale lacks by
an escape of another width.
"""

import codecs
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, TextIO

from rich.cells import cell_len
from textual import events
from textual._xterm_parser import XTermParser
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

_STDERR = 2  # which Textual draws on
_POLL_MS = 100  # longest delay until a lone escape key, or the end of the screen, is noticed
_READ_BYTES = 4096
MAX_CELLS = 4096  # credible width and height of a terminal: an 8K display fits half as many of the smallest letters

_X10_MOUSE = re.compile(rb"\x1b\[M([\x20-\xff]{3})", re.DOTALL)
_X10_MOUSE_CUT = re.compile(rb"\x1b\[M[\x20-\xff]{0,2}\Z", re.DOTALL)
_X10_OFFSET = 32
_X10_RELEASED, _X10_BUTTONS, _X10_MOVES_OR_WHEEL = 3, 3, 32 | 64
_C1 = {0x9B: "\x1b[", 0x8F: "\x1bO"}  # control characters in one byte: CSI, SS3

# ASCII for what nettop and Textual draw with: bars by their density, arrows, borders, the dot of titles, the ellipsis.
_PLAIN = str.maketrans(
    "▁▂▃▄▅▆▇█▔▀░▒▓▖▗▘▙▚▛▜▝▞▟▉▊▋▌▍▎▏▐▕↑↓←→▲▼◀▶▴▾◂▸·•●○…",
    ".:-=+*%#-#.:%+++++++++||||||||||^v<>^v<>^v<>-**o~",
) | dict.fromkeys(range(0x2500, 0x2580), "+")  # fmt: skip
_PLAIN[ord("🔎")] = " >"  # of the palette, two cells wide
_PLAIN |= str.maketrans("─━═┄┅┈┉╌╍╴╶╸╺│┃║┆┇┊┋╎╏╵╷╹╻", "-" * 13 + "|" * 13)


def shows(text: str) -> bool:
    """Whether the terminal gets this text unchanged, without ASCII substitutes."""
    return text.isascii() or _is_unicode(_encoding(sys.__stderr__))


def _encoding(stream: TextIO | None) -> str:
    return stream.encoding if stream is not None else "utf-8"


def _is_unicode(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith("utf")


class TerminalGone(Message):
    """The terminal can no longer be read or written."""


class TerminalDriver(LinuxDriver):
    """Textual's driver with nettop's reading thread and output."""

    def __init__(self, app: App[Any], **options: Any) -> None:
        super().__init__(app, **options)
        self._file: Any = TerminalOutput(_STDERR, _encoding(sys.__stderr__), self._gone)
        self._taken = False  # nettop has the terminal: it reads from it and writes to it
        # Not Textual's handlers: they take its queue's lock, which the main thread may hold when a signal arrives.
        signal.signal(signal.SIGTSTP, lambda *_: self._soon(self._stop))
        signal.signal(signal.SIGCONT, lambda *_: self._soon(self._go_on))

    def start_application_mode(self) -> None:
        """Textual's hook. Does not take the terminal if nettop may not write to it, in the background."""
        self._taken = True
        super().start_application_mode()  # type: ignore[no-untyped-call]
        self._taken = self._key_thread is not None and self._key_thread.is_alive()

    def write(self, data: str) -> None:
        """Textual's hook. Drops output without the terminal: with nobody to write it, the screen would wait forever."""
        if self._taken:
            super().write(data)

    def _soon(self, callback: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the event loop has ended
            self._loop.call_soon_threadsafe(callback)

    def _stop(self) -> None:
        if self._taken:
            self.suspend_application_mode()
            self._taken = False
        os.kill(os.getpid(), signal.SIGSTOP)

    def _go_on(self) -> None:
        """After SIGCONT, which also arrives when a terminal closes.

        SIGSTOP cannot be caught: application mode may still be on, and the shell may have used the terminal meanwhile.
        """
        if not os.isatty(self.fileno):
            self._gone()
            return
        if self._taken:
            self.suspend_application_mode()
        self.resume_application_mode()

    def run_input_thread(self) -> None:
        """Textual's hook: read until the screen ends or the terminal is gone."""
        ready = select.poll()
        ready.register(self.fileno, select.POLLIN)
        decoder = InputDecoder(_encoding(sys.__stdin__))
        keys = KeyParser(self._debug)
        while not self.exit_event.is_set():
            if not ready.poll(_POLL_MS):
                text = decoder.rest()
            elif (raw := self._read()) == b"":
                self._gone()
                return
            else:
                text = decoder.decode(raw or b"")
            for message in keys.parse(text):
                self.process_message(message)

    def _read(self) -> bytes | None:
        """None if another program has read the input first; b"" if no more can arrive."""
        try:
            return os.read(self.fileno, _READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:  # EIO: the terminal was hung up, or no longer sends its keys to nettop
            return b""

    def _gone(self) -> None:
        with suppress(RuntimeError):  # the event loop has ended
            self.send_message(TerminalGone())


class InputDecoder:
    """Decodes any bytes from a terminal.

    UTF-8 comes first, because the locale is often wrong. Other bytes are one-byte control characters, characters of
    the locale, or dropped. Mouse reports in the old X10 form, whose coordinates are bytes, become SGR reports.
    """

    def __init__(self, encoding: str) -> None:
        name = f"nettop-input-{encoding}"
        codecs.register_error(name, lambda error: _not_utf8(error, encoding))
        self._decoder = codecs.getincrementaldecoder("utf-8")(name)
        self._held = b""  # the start of a mouse report

    def decode(self, raw: bytes) -> str:
        """The text so far; an incomplete character is held back."""
        raw = _X10_MOUSE.sub(_sgr_mouse, self._held + raw)
        cut = _X10_MOUSE_CUT.search(raw)
        self._held = cut.group() if cut else b""
        return self._decoder.decode(raw[: len(raw) - len(self._held)])

    def rest(self) -> str:
        """What was held back, when nothing follows."""
        self._held = b""
        return self._decoder.decode(b"", final=True)


def _not_utf8(error: UnicodeError, encoding: str) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    byte = error.object[error.start]
    if byte in _C1 or _is_unicode(encoding):
        return _C1.get(byte, ""), error.start + 1
    return bytes([byte]).decode(encoding, "ignore"), error.start + 1


def _sgr_mouse(report: re.Match[bytes]) -> bytes:
    buttons, x, y = (value - _X10_OFFSET for value in report.group(1))
    released = buttons & _X10_BUTTONS == _X10_RELEASED and not buttons & _X10_MOVES_OR_WHEEL
    return b"\x1b[<%d;%d;%d%c" % (buttons & ~_X10_BUTTONS if released else buttons, x, y, b"Mm"[released])


class KeyParser:
    """Textual's parser of keys and mouse reports; drops the sequences that break it."""

    def __init__(self, debug: bool = False) -> None:
        self._debug = debug
        self._parser = XTermParser(debug)

    def parse(self, text: str) -> Iterator[Message]:
        """The messages in the text, and those that were only waiting for more of it."""
        for character in text:
            yield from self._messages(partial(self._parser.feed, character))
        yield from self._messages(self._parser.tick)

    def _messages(self, parse: Callable[[], Iterable[Message]]) -> Iterator[Message]:
        try:
            for message in parse():
                if not isinstance(message, events.Resize) or _is_plausible(message):
                    yield message
                else:
                    self._parser.terminal_size = None
        except Exception:  # noqa: BLE001 - numbers beyond Unicode, division by a width of 0, and others yet unknown
            broken, self._parser = self._parser, XTermParser(self._debug)
            self._parser.mouse_pixels = broken.mouse_pixels
            self._parser.terminal_size = broken.terminal_size
            self._parser.terminal_pixel_size = broken.terminal_pixel_size


def _is_plausible(message: events.Resize) -> bool:
    return all(0 < cells <= MAX_CELLS for cells in message.size)


class TerminalOutput:
    """The file that Textual's writer thread writes to.

    Every character is as wide as Textual assumes. Once the terminal is gone, output is dropped: the screen would wait
    for a thread that failed.
    """

    def __init__(self, descriptor: int, encoding: str, gone: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._unicode = _is_unicode(encoding)
        self._on_gone = gone
        self._is_gone = False
        self._pending: list[str] = []

    def fileno(self) -> int:
        """The terminal's descriptor."""
        return self._descriptor

    def write(self, text: str) -> int:
        """Buffered until flush(), which Textual calls when it has no more."""
        self._pending.append(text)
        return len(text)

    def flush(self) -> None:
        """Write what was buffered."""
        text = "".join(self._pending)
        self._pending.clear()
        view = memoryview(self.encode(text))
        while view and not self._is_gone:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # another program may have made the shared terminal non-blocking
                select.select([], [self._descriptor], [])
            except OSError:
                self._is_gone = True
                self._on_gone()

    def encode(self, text: str) -> bytes:
        """Encode for the terminal. Unless it has Unicode, drawing becomes ASCII and missing characters question marks.

        A locale without UTF-8 is more often a mistake than a terminal without it. ASCII is right for both.
        """
        if self._unicode:
            return text.encode(self._encoding, "replace")
        return text.translate(_PLAIN).encode(self._encoding, _QUESTION_MARKS)


def _question_marks(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "?" * cell_len(error.object[error.start : error.end]), error.end


_QUESTION_MARKS = "nettop-question-marks"
codecs.register_error(_QUESTION_MARKS, _question_marks)
