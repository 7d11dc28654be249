"""The signals that end nettop in an orderly way: what was seen is written and the terminal is restored."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Signals that terminate by default and are sent by users or service managers. Not among them: SIGPIPE, which Python
# ignores; SIGALRM, which nettop uses; and signals of a crash, such as SIGSEGV, which must not be caught.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def on_ending(handler: Handler, afterwards: signal.Handlers | None = None) -> Iterator[None]:
    """Install the handler for these signals, except those inherited as ignored, as under nohup(1).

    Once all is done what handled them before does so again, or `afterwards`.
    """
    before = {number: signal.getsignal(number) for number in ENDING}
    obeyed = [number for number, action in before.items() if action is not signal.SIG_IGN]
    for number in obeyed:
        signal.signal(number, handler)
    done = False
    try:
        yield
        done = True
    finally:
        for number in obeyed:
            signal.signal(number, afterwards if done and afterwards is not None else before[number])
