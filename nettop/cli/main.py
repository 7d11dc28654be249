"""Entry point of the command line: the only place where errors become output."""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

from nettop.cli import screen
from nettop.cli.messages import complain
from nettop.cli.parser import make_parser
from nettop.errors import NettopError, RunError, UsageError
from nettop.export.standard_streams import not_written

_STDOUT = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 failed while running, 2 wrong usage, 3 cannot run here."""
    stdout_open = _occupy_standard_descriptors()
    debug = "--debug" in (sys.argv if arguments is None else arguments)
    try:
        options = _parsed(arguments, stdout_open)
        if options is None:
            return 0
        if options.allow_cut and options.run is not screen.run:
            raise UsageError("--allow-cut is for the live screen only.", "Leave it out: there is nobody to ask here.")
        if not stdout_open and getattr(options, "output", None) is None:
            raise RunError("Standard output is closed.", "Open it, or write to a file with -o PATH.")
        return int(options.run(options))
    except NettopError as error:
        complain(error, debug)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except MemoryError:
        complain(
            RunError("nettop ran out of memory.", "Raise its limit: ulimit -v, or memory.max of its cgroup."), debug
        )
        return RunError.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence instead of a traceback
        if debug:
            traceback.print_exc()
        complain(
            RunError(
                f"nettop failed: {type(error).__name__}: {error}.",
                "This is a bug: please run it again with --debug and report the output.",
            ),
            debug,
        )
        return RunError.exit_code


def _parsed(arguments: Sequence[str] | None, stdout_open: bool) -> argparse.Namespace | None:
    """The options; None after --help and --version, which argparse prints. Raises NettopError."""
    try:
        with suppress(SystemExit):
            return make_parser().parse_args(arguments)
        if stdout_open:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), _STDOUT)  # or Python flushes again at exit
        raise not_written(error) from error
    return None


def _occupy_standard_descriptors() -> bool:
    """Reserve descriptors 0, 1 and 2, so that no file nettop opens gets one. Returns whether stdout was open."""
    stdout_open = True
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            stdout_open = stdout_open and descriptor != _STDOUT
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    return stdout_open
