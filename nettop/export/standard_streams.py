"""Standard output and standard error, whose reader may stall: a pager, a log shipper that hangs.

Python resumes a blocked write after a signal handler returns (PEP 475), so nothing here blocks: a descriptor that
poll(2) reports as writable accepts PIPE_BUF bytes at once.
"""

import os
import select
import time
from collections.abc import Sequence
from contextlib import suppress

from nettop.errors import RunError

GRACE_S = 1.0  # how long a reader may stall after a signal; a slow reader still gets everything
_LOOK_MS = 100  # longest delay until a signal is noticed
_STDOUT, _STDERR = 1, 2


class StandardOutput:
    """Keeps writing until a signal has arrived and the reader stalls. `signals` holds those received so far."""

    def __init__(self, signals: Sequence[int] = ()) -> None:
        self._signals = signals
        self._writable = select.poll()
        self._writable.register(_STDOUT, select.POLLOUT)

    def write(self, text: bytes) -> None:
        """Write all of it. Raises RunError."""
        view = memoryview(text)
        try:
            while view:
                self._wait()
                with suppress(BlockingIOError):  # another program has made the shared pipe non-blocking
                    view = view[os.write(_STDOUT, view[: select.PIPE_BUF]) :]
        except OSError as error:
            raise not_written(error) from error

    def commit(self) -> None:
        """Nothing to do."""

    def _wait(self) -> None:
        end = None
        while not self._writable.poll(_LOOK_MS):
            if self._signals:
                end = end or time.monotonic() + GRACE_S
                if time.monotonic() >= end or len(self._signals) > 1:
                    raise RunError(
                        "The reader of standard output stalled after the signal; the rest was not written.",
                        "Keep the reader reading, or use -o PATH.",
                    )


def not_written(error: OSError) -> RunError:
    """The error for a failed write to standard output."""
    if isinstance(error, BrokenPipeError):
        return RunError(
            "Standard output was closed before everything was written.", "Keep the reader open, or use -o PATH."
        )
    return RunError(
        f"Standard output could not be written: {error.strerror}.", "Free some space, or write elsewhere with -o PATH."
    )


def tell(text: bytes) -> None:
    """Write to standard error; dropped if it is closed or its reader stalls."""
    writable = select.poll()
    writable.register(_STDERR, select.POLLOUT)
    view = memoryview(text)
    with suppress(OSError):
        while view and writable.poll(GRACE_S * 1000):
            view = view[os.write(_STDERR, view[: select.PIPE_BUF]) :]
