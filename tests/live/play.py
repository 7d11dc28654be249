"""What Namespace.play() starts: one function of a module, in a process of its own.

Python keeps the byte code of modules, but compiles scripts anew each time: so the functions stand in modules.
"""

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_NEEDS_NO_SITE = "tests.live.programs"  # nor what is installed, and starts in half the time


def playing(function: Callable[..., None], **arguments: Any) -> list[str]:
    """The command line that runs a function of a module."""
    module = function.__module__
    python = [sys.executable, "-S"] if module == _NEEDS_NO_SITE else [sys.executable]
    return [*python, __file__, module, function.__name__, json.dumps(arguments, sort_keys=True)]


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])
    name, wanted, told = sys.argv[1:]
    played = import_module(name)
    getattr(played, "watch_the_clock", lambda: None)()  # first of all, where a module has that
    getattr(played, wanted)(**json.loads(told))
