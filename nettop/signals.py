"""The signals that end nettop: in order, with what was seen still written and the terminal as it was found."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# All that end a program by default and are sent by hand or by a service manager. SIGPIPE Python ignores, SIGALRM is
# used, and what tells of a defect (SIGSEGV and its like) must not be caught.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def on_ending(handler: Handler) -> Iterator[None]:
    """Call this on an ending signal, except on those that whoever started nettop has it ignore, as nohup(1) does."""
    before = {number: signal.getsignal(number) for number in ENDING}
    obeyed = [number for number, action in before.items() if action is not signal.SIG_IGN]
    for number in obeyed:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in obeyed:
            signal.signal(number, before[number])
