"""The command line. Errors become output here and nowhere else."""

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from nettop.collector import Collector, Feed, FixedSnapshot
from nettop.config import Resolved, as_toml, look, resolve
from nettop.errors import NettopError, RunError, UsageError
from nettop.export import event_json, snapshot_json
from nettop.kernel.place import confinement, has_host_pids
from nettop.kernel.privileges import require_privileges
from nettop.kernel.scope import COMM_CHARACTERS, Scope, comm_running, netns_inode, running_pid
from nettop.limits import require_room
from nettop.model import events
from nettop.model.filter import KINDS, Filter, FilterError
from nettop.model.snapshot import Snapshot
from nettop.model.store import History, Store, replayed
from nettop.model.stream_filter import StreamFilter
from nettop.options import Commands, make_parser
from nettop.output_file import OutputFile
from nettop.settings import Settings
from nettop.signals import on_ending
from nettop.sources import Source
from nettop.sources.input_file import STDIN, InputFile
from nettop.sources.live import LiveSource
from nettop.sources.recording import RecordingSource, read_events, read_snapshot
from nettop.standard_streams import StandardOutput, not_written, tell
from nettop.text import printable_text

if TYPE_CHECKING:
    from nettop.tui.look import Look

_DEMO = Path(__file__).with_name("demo") / "demo.jsonl"
_READ_TIMEOUT_S = 1.0
_STDIN, _STDOUT, _STDERR = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 failed while running, 2 wrong usage, 3 cannot run here."""
    stdout_open = _occupy_standard_descriptors()
    debug = "--debug" in (sys.argv if arguments is None else arguments)
    try:
        options = _parsed(arguments, stdout_open)
        if options is None:
            return 0
        if not stdout_open and getattr(options, "output", None) is None:
            raise RunError("Standard output is closed.", "Open it, or write to a file with -o PATH.")
        return int(options.run(options))
    except NettopError as error:
        _complain(error, debug)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except MemoryError:
        _complain(RunError("nettop ran out of memory.", "Allow it more: ulimit -v, or its cgroup's memory.max."), debug)
        return RunError.exit_code
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


def _parsed(arguments: Sequence[str] | None, stdout_open: bool) -> argparse.Namespace | None:
    """The options; None after --help and --version, which argparse prints. Raises NettopError."""
    try:
        with suppress(SystemExit):
            return make_parser(_COMMANDS).parse_args(arguments)
        if stdout_open:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), _STDOUT)  # or Python tries again as it leaves
        raise not_written(error) from error
    return None


def _complain(error: NettopError, debug: bool) -> None:
    lines = [f"nettop: {error.message} {error.remedy}"]
    if isinstance(error, FilterError):
        lines += error.marked.split("\n")
    if debug and error.details:
        lines += error.details.rstrip().split("\n")
    _tell(lines)


def _note(sentence: str) -> None:
    _tell([f"nettop: {sentence}"])


def _tell(lines: Sequence[str]) -> None:
    text = "".join(f"{printable_text(line)}\n" for line in lines)  # names of files are other people's words
    tell(text.encode(errors="backslashreplace"))


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


def _scope(options: argparse.Namespace) -> Scope:
    if options.pid and not has_host_pids():
        raise UsageError(
            "--pid takes the host's process ids, of which this container has its own.",
            "Use --comm, or start the container with --pid=host.",
        )
    scope = Scope(
        pids=tuple(dict.fromkeys(map(running_pid, options.pid))),
        comms=tuple(dict.fromkeys(map(_scope_comm, options.comm))),
        netns=tuple(dict.fromkeys(map(netns_inode, options.netns))),
    )
    for given in (scope.pids, scope.comms, scope.netns):
        if len(given) > Scope.MAX_ENTRIES:
            raise UsageError(f"More than {Scope.MAX_ENTRIES} of a kind are too many.", "Use --filter instead.")
    return scope


def _scope_comm(name: str) -> bytes:
    comm = os.fsencode(name)[:COMM_CHARACTERS]
    if not comm:
        raise UsageError("--comm needs a name.", "Give one as 'ps -o comm' shows it.")
    shown = os.fsdecode(comm)
    if shown != name:
        _note(f"the kernel keeps {COMM_CHARACTERS} bytes of a name: every process named '{shown}' is watched.")
    if not comm_running(shown):
        _note(f"no process is named '{shown}' now; waiting for one to appear.")
    return comm


def _settings(options: argparse.Namespace) -> Settings:
    return _resolved(options).settings


def _resolved(options: argparse.Namespace) -> Resolved:
    resolved = resolve(vars(options))
    for sentence in resolved.notes:
        _note(sentence)
    return resolved


def _history(settings: Settings) -> History:
    return History(settings.history_dns, settings.history_connections, settings.history_processes)


def _chosen_filter(settings: Settings) -> Filter:
    chosen = Filter(settings.filter)
    for kind in KINDS:
        for term in chosen.not_applied(kind):
            _note(f"the filter term '{term}' says nothing about {kind}; it is left out for them.")
    return chosen


# Commands


def _run_screen(options: argparse.Namespace) -> int:
    settings, scope = _settings(options), _scope(options)
    chosen = _chosen_filter(settings)
    require_privileges()
    _require_terminal()
    wanted = look(settings)  # now: later nobody knows any more who called sudo
    source = _live(settings, scope, wanted.path(wanted.export_directory))
    return _show(Collector(source, _history(settings)), "LIVE", chosen, wanted)


def _show(feed: Feed, mode: str, chosen: Filter, wanted: "Look") -> int:
    from nettop.tui.run import run_screen  # noqa: PLC0415 - the headless commands do without textual

    return run_screen(feed, mode, chosen, wanted)


def _require_terminal() -> None:
    remedy = "Run it in a terminal, or use 'nettop snapshot' or 'nettop stream'."
    if not all(map(os.isatty, (_STDIN, _STDOUT, _STDERR))):  # Textual draws on stderr
        raise UsageError("The screen needs a terminal.", remedy)
    if os.environ.get("TERM", "") in ("", "dumb"):
        raise UsageError(f"The terminal (TERM={os.environ.get('TERM', '')}) cannot show a screen.", remedy)


def _run_snapshot(options: argparse.Namespace) -> int:
    settings, scope = _settings(options), _scope(options)
    chosen = _chosen_filter(settings)
    require_privileges()
    with (
        _stop_signals() as stopped,
        _watching(options, settings, scope) as source,
        _output(options, signals=stopped) as output,
    ):
        store = Store(_history(settings))
        for event in _events(source, options.seconds, stopped):
            store.apply(event)
        stopped.clear()  # that ended the watch; the next one ends the writing, should nobody take it
        output.write(snapshot_json(chosen.apply(store.snapshot())))
        output.commit()
    return 0


def _run_stream(options: argparse.Namespace) -> int:
    settings, scope = _settings(options), _scope(options)
    chosen = _chosen_filter(settings)
    require_privileges()
    with (
        _stop_signals() as stopped,
        _watching(options, settings, scope, list_everything=True) as source,
        _output(options, keep_partial=True, signals=stopped) as output,
    ):
        passes = StreamFilter(chosen).passes
        for event in _events(source, options.seconds, stopped):
            if passes(event):
                output.write(event_json(event))
        output.commit()
    return 0


def _run_replay(options: argparse.Namespace) -> int:
    if options.pid or options.comm or options.netns:
        raise UsageError(
            "--pid, --comm and --netns choose what is watched; a recording is made.",
            "Use --filter, for example pid:42.",
        )
    settings = _settings(options)
    chosen = _chosen_filter(settings)
    file = InputFile(_played_file(options))
    is_standard_input = file.is_standard_input
    snapshot = read_snapshot(file)
    if options.snapshot:
        if snapshot is None:
            snapshot = replayed(read_events(file, options.partial), _history(settings)).snapshot()
        return _write_replayed(options, chosen, snapshot)
    if is_standard_input:
        _take_keys_from_terminal()
    _require_terminal()
    if snapshot is not None:
        return _show(FixedSnapshot(snapshot), "SNAPSHOT", chosen, look(settings))
    source = RecordingSource(file, options.partial, options.speed)
    return _show(Collector(source, _history(settings)), "REPLAY", chosen, look(settings))


def _take_keys_from_terminal() -> None:
    """Where standard input is the recording; as less(1) does."""
    with suppress(OSError):
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        os.dup2(terminal, _STDIN)
        os.close(terminal)


def _played_file(options: argparse.Namespace) -> Path:
    if options.demo and options.file is not None:
        raise UsageError("FILE and --demo exclude each other: both say what to replay.", "Give one of the two.")
    if options.demo:
        return _DEMO
    if options.file is None:
        raise UsageError(
            "There is nothing to replay.", "Give the FILE that 'nettop stream' or 'nettop snapshot' wrote, or --demo."
        )
    path = Path(options.file)
    if path == STDIN and os.isatty(_STDIN):
        raise UsageError(
            "Standard input is the terminal, not a recording.", "Pipe one in: zcat FILE.gz | nettop replay -"
        )
    return path


def _write_replayed(options: argparse.Namespace, chosen: Filter, snapshot: Snapshot) -> int:
    with _output(options) as output:
        output.write(snapshot_json(chosen.apply(snapshot)))
        output.commit()
    return 0


def _run_doctor(options: argparse.Namespace) -> int:
    from nettop.doctor import examine, report_json, report_text  # noqa: PLC0415 - no other command needs it

    report = examine()
    StandardOutput().write(report_json(report) if options.json else report_text(report).encode())
    return 0 if report.can_run else 3


def _run_config(options: argparse.Namespace) -> int:
    resolved = _resolved(options)
    if resolved.settings.keys:
        from nettop.tui.keymap import refuse_clashes  # noqa: PLC0415 - knows Textual's names of keys

        refuse_clashes(resolved.settings.keys)
    StandardOutput().write(as_toml(resolved).encode())
    return 0


def _watching(
    options: argparse.Namespace, settings: Settings, scope: Scope, list_everything: bool = False
) -> closing[Source]:
    # Before the output is opened: what nettop may write is what it may after it has given up its privileges.
    written_to = options.output.parent if options.output is not None else None
    return closing(_live(settings, scope, written_to, list_everything))


def _live(settings: Settings, scope: Scope, written_to: Path | None, list_everything: bool = False) -> Source:
    """What this machine does, read without the privileges that it took to begin; see give_up_privileges()."""
    require_room()
    if limit := confinement():
        _note(limit)
    # Only a stream leaves out what its filter does not choose; a snapshot and the screen choose among all there is.
    recorded = settings.filter.strip() or None if list_everything else None
    source = LiveSource(scope, settings.interval, recorded, settings.dns_ports, list_everything)
    try:
        source.give_up_privileges(written_to)
    except BaseException:
        source.close()
        raise
    return source


def _events(source: Source, seconds: float | None, stopped: list[int]) -> Iterator[events.AnyEvent]:
    """All events until the time is over, a signal came, or the source has ended."""
    end = None if seconds is None else time.monotonic() + seconds
    while not stopped and not source.finished:
        left = _READ_TIMEOUT_S if end is None else end - time.monotonic()
        if left <= 0:
            break
        yield from source.read(min(left, _READ_TIMEOUT_S))
    yield from source.finish()


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Signals that end the watch, collected instead of obeyed at once, so that what was seen is still written."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    with on_ending(note):
        yield received


class _Output(Protocol):
    def write(self, text: bytes) -> None: ...

    def commit(self) -> None: ...


@contextmanager
def _output(options: argparse.Namespace, keep_partial: bool = False, signals: Sequence[int] = ()) -> Iterator[_Output]:
    if options.output is None:
        yield StandardOutput(signals)
    else:
        with OutputFile(options.output, options.force, keep_partial) as file:
            yield file


_COMMANDS = Commands(_run_screen, _run_snapshot, _run_stream, _run_replay, _run_doctor, _run_config)
