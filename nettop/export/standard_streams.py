"""Standard output and standard error, whose reader may stand still: a pager, a log shipper that hangs.

A handler of signals that only notes them does not end a blocked write (PEP 475), so nothing here blocks: a descriptor
that poll(2) calls writable takes PIPE_BUF bytes at once.
"""

import os
import select
import time
from collections.abc import Sequence
from contextlib import suppress

from nettop.errors import RunError

GRACE_S = 1.0  # how long after a signal a reader may take nothing; what reads slowly gets everything
_LOOK_MS = 100  # how late a signal may be noticed
_STDOUT, _STDERR = 1, 2


class StandardOutput:
    """Written until a signal has come and the reader takes nothing: `signals` are those that came so far."""

    def __init__(self, signals: Sequence[int] = ()) -> None:
        self._signals = signals
        self._writable = select.poll()
        self._writable.register(_STDOUT, select.POLLOUT)

    def write(self, text: bytes) -> None:
        """Raises RunError."""
        view = memoryview(text)
        try:
            while view:
                self._wait()
                with suppress(BlockingIOError):  # another program writes to the same pipe, and has made it non-blocking
                    view = view[os.write(_STDOUT, view[: select.PIPE_BUF]) :]
        except OSError as error:
            raise not_written(error) from error

    def commit(self) -> None:
        """Nothing is left to do."""

    def _wait(self) -> None:
        end = None
        while not self._writable.poll(_LOOK_MS):
            if self._signals:
                end = end or time.monotonic() + GRACE_S
                if time.monotonic() >= end or len(self._signals) > 1:
                    raise RunError(
                        "Whoever reads standard output took nothing more after the signal: the rest is not written.",
                        "Keep the reader reading, or use -o PATH.",
                    )


def not_written(error: OSError) -> RunError:
    """What became of standard output."""
    if isinstance(error, BrokenPipeError):
        return RunError(
            "Standard output was closed before everything was written.", "Keep the reader open, or use -o PATH."
        )
    return RunError(
        f"Standard output could not be written: {error.strerror}.", "Make room, or write elsewhere with -o PATH."
    )


def tell(text: bytes) -> None:
    """To standard error; dropped where nobody listens, or takes anything for a while."""
    writable = select.poll()
    writable.register(_STDERR, select.POLLOUT)
    view = memoryview(text)
    with suppress(OSError):
        while view and writable.poll(GRACE_S * 1000):
            view = view[os.write(_STDERR, view[: select.PIPE_BUF]) :]
