"""The command line. Errors become output here and nowhere else."""

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol

from nettop import __version__
from nettop.doctor import examine, report_json, report_text
from nettop.errors import NettopError, RunError, UsageError
from nettop.export import event_json, snapshot_json
from nettop.kernel.privileges import require_privileges
from nettop.kernel.scope import COMM_CHARACTERS, Scope, comm_running, netns_inode, running_pid
from nettop.model import events
from nettop.model.filter import FILTER_KEYS, KINDS, Filter, FilterError
from nettop.model.store import Store
from nettop.output_file import OutputFile
from nettop.sources import Source
from nettop.sources.live import LiveSource
from nettop.sources.recording import read_events, read_snapshot

MIN_INTERVAL_S, MAX_INTERVAL_S, DEFAULT_INTERVAL_S = 0.1, 60.0, 1.0
MIN_FOR_S, MAX_FOR_S, DEFAULT_FOR_S = 0.1, 7 * 86_400.0, 5.0
_READ_TIMEOUT_S = 1.0
_STDOUT, _STDERR = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 failed while running, 2 wrong usage, 3 cannot run here."""
    stdout_open = _occupy_standard_descriptors()
    debug = "--debug" in (sys.argv if arguments is None else arguments)
    try:
        options = _parser().parse_args(arguments)
        if not stdout_open:
            raise RunError("Standard output is closed.", "Open it, or write to a file with -o PATH.")
        return int(options.run(options))
    except NettopError as error:
        _complain(error, debug)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001 - the last resort: a sentence instead of a traceback
        if debug:
            traceback.print_exc()
        _complain(
            RunError(
                f"nettop failed: {type(error).__name__}: {error}.",
                "This is a defect: run again with --debug and report it.",
            ),
            debug,
        )
        return RunError.exit_code


def _complain(error: NettopError, debug: bool) -> None:
    text = f"nettop: {error.message} {error.remedy}\n"
    if isinstance(error, FilterError):
        text = f"nettop: {error.message} {error.remedy}\n{error.marked}\n"
    if debug and error.details:
        text += error.details.rstrip() + "\n"
    with suppress(OSError):  # where nobody listens there is nobody to tell
        os.write(_STDERR, text.encode(errors="backslashreplace"))


def _occupy_standard_descriptors() -> bool:
    """Keep 0, 1 and 2 from being given to files that nettop opens; returns whether stdout was open."""
    stdout_open = True
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            stdout_open = stdout_open and descriptor != _STDOUT
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    return stdout_open


# Options


class _Parser(argparse.ArgumentParser):
    """Errors as NettopError, so that they look and count like every other one."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:]}.", f"See '{self.prog} --help'.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="nettop", description="top for the network of this host, from eBPF.")
    parser.add_argument("--version", action="version", version=f"nettop {__version__}")
    parser.add_argument("--debug", action="store_true", help="show details of failures")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    snapshot = commands.add_parser(
        "snapshot",
        help="watch for a while and write one JSON snapshot",
        description="Watch for a while, then write one JSON snapshot. SIGINT and SIGTERM end the watch early.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_filter_help(),
    )
    _add_watching(snapshot)
    snapshot.add_argument(
        "--for", dest="seconds", type=_duration, default=DEFAULT_FOR_S, metavar="SECONDS", help=_FOR_HELP
    )
    _add_output(snapshot)
    snapshot.set_defaults(run=_run_snapshot)

    stream = commands.add_parser(
        "stream",
        help="write one JSON event per line, until the time is over or a signal",
        description="Write one JSON event per line, until the time is over or a signal. With -o it is a recording.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_filter_help(),
    )
    _add_watching(stream)
    stream.add_argument("--for", dest="seconds", type=_duration, metavar="SECONDS", help="stop after so long")
    _add_output(stream)
    stream.set_defaults(run=_run_stream)

    replay = commands.add_parser(
        "replay",
        help="read a recording or a snapshot back",
        description="Read a recording or a snapshot back. No root.",
    )
    replay.add_argument("file", type=Path, metavar="FILE", help="what 'nettop stream' or 'nettop snapshot' wrote")
    replay.add_argument("--snapshot", action="store_true", required=True, help="write the snapshot that it ends in")
    replay.add_argument("--partial", action="store_true", help="take a recording that was cut, as far as it goes")
    _add_filter(replay)
    _add_output(replay)
    _add_debug(replay)
    replay.set_defaults(run=_run_replay)

    doctor = commands.add_parser(
        "doctor",
        help="say what this kernel allows and what is missing",
        description="Try everything that nettop needs.",
    )
    doctor.add_argument("--json", action="store_true", help="as JSON")
    _add_debug(doctor)
    doctor.set_defaults(run=_run_doctor)
    return parser


_FOR_HELP = f"how long to watch, {MIN_FOR_S:g} to {MAX_FOR_S:.0f} (default {DEFAULT_FOR_S:g})"


def _filter_help() -> str:
    keys = "\n".join(f"  {key + ':':<8}{meaning}" for key, meaning in FILTER_KEYS.items())
    return (
        f"filter language:\n{keys}\n"
        "  A bare word matches comm or host. Space is AND, '|' OR, a leading '-' NOT; '*' and '?' are wildcards.\n"
        "  Example: --filter 'comm:nginx -port:53 | dns:failed'"
    )


def _add_watching(parser: argparse.ArgumentParser) -> None:
    scope = parser.add_argument_group("scope (each repeatable: any of a kind, and all kinds given)")
    scope.add_argument("--pid", action="append", type=_pid, default=[], metavar="PID", help="only this process")
    scope.add_argument("--comm", action="append", default=[], metavar="NAME", help="only processes with this name")
    scope.add_argument(
        "--netns", action="append", default=[], metavar="NAME|PATH|PID", help="only this network namespace"
    )
    _add_filter(parser)
    parser.add_argument(
        "--interval",
        type=_interval,
        default=DEFAULT_INTERVAL_S,
        metavar="SECONDS",
        help=f"how often counters are read, {MIN_INTERVAL_S:g} to {MAX_INTERVAL_S:g} (default {DEFAULT_INTERVAL_S:g})",
    )
    _add_debug(parser)


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--filter", default="", metavar="EXPR", help="only rows that match")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, metavar="PATH", help="write here instead of to standard output")
    parser.add_argument("--force", action="store_true", help="replace PATH if it exists")


def _add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show details of failures")


def _seconds(text: str, least: float, most: float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds") from None
    if not least <= seconds <= most:  # also false for nan
        raise argparse.ArgumentTypeError(f"{text} is not between {least:g} and {most:.0f} seconds")
    return seconds


def _duration(text: str) -> float:
    return _seconds(text, MIN_FOR_S, MAX_FOR_S)


def _interval(text: str) -> float:
    return _seconds(text, MIN_INTERVAL_S, MAX_INTERVAL_S)


def _pid(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 22):  # PID_MAX_LIMIT
        raise argparse.ArgumentTypeError(f"'{text}' is not a pid")
    return int(text)


def _scope(options: argparse.Namespace) -> Scope:
    comms = []
    for name in options.comm:
        comm = os.fsencode(name)[:COMM_CHARACTERS]
        if not comm:
            raise UsageError("--comm needs a name.", "Give one as 'ps -o comm' shows it.")
        if not comm_running(os.fsdecode(comm)):
            _note(f"no process is named '{os.fsdecode(comm)}' now; waiting for one to appear.")
        comms.append(comm)
    scope = Scope(
        pids=tuple(map(running_pid, options.pid)), comms=tuple(comms), netns=tuple(map(netns_inode, options.netns))
    )
    for given in (scope.pids, scope.comms, scope.netns):
        if len(given) > Scope.MAX_ENTRIES:
            raise UsageError(f"More than {Scope.MAX_ENTRIES} of a kind are too many.", "Use --filter instead.")
    return scope


def _note(sentence: str) -> None:
    sys.stderr.write(f"nettop: {sentence}\n")


def _chosen_filter(options: argparse.Namespace) -> Filter:
    chosen = Filter(options.filter)
    for kind in KINDS:
        for term in chosen.not_applied(kind):
            _note(f"the filter term '{term}' says nothing about {kind}; they are not filtered by it.")
    return chosen


# Commands


def _run_snapshot(options: argparse.Namespace) -> int:
    chosen, scope = _chosen_filter(options), _scope(options)
    require_privileges()
    with _stop_signals() as stopped, _output(options) as output:
        source = _live(options, scope)
        store = Store()
        try:
            for event in _events(source, options.seconds, stopped):
                store.apply(event)
        finally:
            source.close()
        output.write(snapshot_json(chosen.apply(store.snapshot())))
        output.commit()
    return 0


def _run_stream(options: argparse.Namespace) -> int:
    chosen, scope = _chosen_filter(options), _scope(options)
    require_privileges()
    with _stop_signals() as stopped, _output(options, keep_partial=True) as output:
        source = _live(options, scope)
        passes = _event_test(chosen)
        try:
            for event in _events(source, options.seconds, stopped):
                if passes(event):
                    output.write(event_json(event))
        finally:
            source.close()
        output.commit()
    return 0


def _run_replay(options: argparse.Namespace) -> int:
    chosen = _chosen_filter(options)
    with _output(options) as output:
        snapshot = read_snapshot(options.file)
        if snapshot is None:
            store = Store()
            for event in read_events(options.file, options.partial):
                store.apply(event)
            snapshot = store.snapshot()
        output.write(snapshot_json(chosen.apply(snapshot) if chosen.text else snapshot))
        output.commit()
    return 0


def _run_doctor(options: argparse.Namespace) -> int:
    report = examine()
    _StandardOutput().write(report_json(report) if options.json else report_text(report).encode())
    return 0 if report.can_run else 3


def _live(options: argparse.Namespace, scope: Scope) -> Source:
    return LiveSource(scope, options.interval, options.filter.strip() or None)


def _events(source: Source, seconds: float | None, stopped: list[int]) -> Iterator[events.AnyEvent]:
    """All events until the time is over, a signal came, or the source has ended."""
    end = None if seconds is None else time.monotonic() + seconds
    while not stopped and not source.finished:
        left = _READ_TIMEOUT_S if end is None else end - time.monotonic()
        if left <= 0:
            break
        yield from source.read(min(left, _READ_TIMEOUT_S))
    yield from source.finish()


def _event_test(chosen: Filter) -> Callable[[events.AnyEvent], bool]:
    """Which events of a stream pass: those of rows that do, UDP sockets with their process, and what frames them."""
    process_test, connection_test, dns_test = map(chosen.test, KINDS)
    passing: set[tuple[int | None, datetime | None]] = set()

    def passes(event: events.AnyEvent) -> bool:
        match event:
            case events.DnsChanged():
                return dns_test is None or dns_test(event.dns)
            case events.ConnectionChanged():
                return connection_test is None or connection_test(event.connection)
            case events.ProcessChanged() if process_test is not None:
                if process_test(event.process):
                    passing.add((event.process.pid, event.process.start_time))
                return (event.process.pid, event.process.start_time) in passing
            case events.UdpChanged() if process_test is not None:
                return (event.udp.pid, event.udp.process_start_time) in passing
            case _:
                return True

    return passes


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Signals that end the watch, collected instead of obeyed at once, so that what was seen is still written."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Output(Protocol):
    def write(self, text: bytes) -> None: ...

    def commit(self) -> None: ...


class _StandardOutput:
    def write(self, text: bytes) -> None:
        view = memoryview(text)
        try:
            while view:
                view = view[os.write(_STDOUT, view) :]
        except BrokenPipeError as error:
            raise RunError(
                "Standard output was closed before everything was written.", "Keep the reader open, or use -o PATH."
            ) from error
        except OSError as error:
            raise RunError(
                f"Standard output could not be written: {error.strerror}.",
                "Make room, or write elsewhere with -o PATH.",
            ) from error

    def commit(self) -> None:
        pass


@contextmanager
def _output(options: argparse.Namespace, keep_partial: bool = False) -> Iterator[_Output]:
    if options.output is None:
        yield _StandardOutput()
    else:
        with OutputFile(options.output, options.force, keep_partial) as file:
            yield file
