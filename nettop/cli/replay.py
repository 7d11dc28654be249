"""`nettop replay`: play a recording or show a snapshot, without root."""

import argparse
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nettop.cli.format import add_format, refuse_without_snapshot, writer_of
from nettop.cli.options import add_debug, add_output, add_setting
from nettop.cli.scope import SCOPE_OPTIONS
from nettop.cli.screen import require_terminal, show
from nettop.cli.watching import chosen_filter, history_of, output_of, settings_of
from nettop.collector import FixedSnapshot
from nettop.errors import UsageError
from nettop.model.snapshot import Snapshot
from nettop.model.store import replayed
from nettop.settings.resolve import look
from nettop.sources.input_file import STDIN, InputFile
from nettop.sources.recording import MAX_SPEED, MIN_SPEED, read_events, read_snapshot

DEMO = Path(__file__).parents[1] / "demo" / "demo.jsonl"
_STDIN = 0


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    replay = commands.add_parser(
        "replay",
        help="play a recording or show a snapshot; needs no root",
        description="Play a recording or show a snapshot. Needs no root.",
    )
    replay.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="output of 'nettop stream' or 'nettop snapshot', also as .gz or .zst; - is standard input",
    )
    replay.add_argument("--demo", action="store_true", help="play the recording that ships with nettop")
    replay.add_argument(
        "--snapshot", action="store_true", help="write the final snapshot instead of opening the screen"
    )
    replay.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="X",
        help=f"playback speed, {MIN_SPEED:g} to {MAX_SPEED:g} times the original (default 1)",
    )
    replay.add_argument(
        "--partial", action="store_true", help="accept a truncated recording, up to its last complete line"
    )
    add_setting(replay, "filter")
    add_setting(replay, "theme")
    add_format(replay)
    add_output(replay)
    add_debug(replay)
    replay.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Play it on the screen, or write its final snapshot."""
    if options.pid or options.comm or options.netns or options.unit or options.container:
        raise UsageError(
            f"{SCOPE_OPTIONS} choose what to watch; they do not apply to a recording.",
            "Use --filter, for example --filter pid:42.",
        )
    if options.lookups:
        raise UsageError("--lookups chooses what to watch; it does not apply to a recording.", "Leave it out.")
    if not options.snapshot:
        refuse_without_snapshot(options)
    settings = settings_of(options)
    chosen = chosen_filter(settings)
    written = writer_of(options, settings, chosen)
    file = InputFile(_played_file(options))
    is_standard_input = file.is_standard_input
    snapshot = read_snapshot(file)
    if options.snapshot:
        if snapshot is None:
            snapshot = replayed(read_events(file, options.partial), history_of(settings)).snapshot()
        return _write_replayed(options, written, snapshot)
    if is_standard_input:
        _take_keys_from_terminal()
    require_terminal()
    if snapshot is not None:
        return show(FixedSnapshot(snapshot), "SNAPSHOT", chosen, look(settings))
    from nettop.player import Player  # noqa: PLC0415 - only the screen plays

    player = Player(file, history_of(settings), options.partial, options.speed)
    return show(player, "REPLAY", chosen, look(settings))


def _take_keys_from_terminal() -> None:
    """Read keys from /dev/tty when standard input is the recording, as less(1) does."""
    with suppress(OSError):
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        os.dup2(terminal, _STDIN)
        os.close(terminal)


def _played_file(options: argparse.Namespace) -> Path:
    if options.demo and options.file is not None:
        raise UsageError("FILE and --demo cannot be combined.", "Give one of them.")
    if options.demo:
        return DEMO
    if options.file is None:
        raise UsageError(
            "There is nothing to replay.", "Give a FILE written by 'nettop stream' or 'nettop snapshot', or --demo."
        )
    path = Path(options.file)
    if path == STDIN and os.isatty(_STDIN):
        raise UsageError(
            "Standard input is the terminal, not a recording.", "Pipe one in: zcat FILE.gz | nettop replay -"
        )
    return path


def _write_replayed(options: argparse.Namespace, written: Callable[[Snapshot], bytes], snapshot: Snapshot) -> int:
    with output_of(options) as output:
        output.write(written(snapshot))
        output.commit()
    return 0


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
    if not MIN_SPEED <= speed <= MAX_SPEED:
        raise argparse.ArgumentTypeError(f"{text} is not between {MIN_SPEED:g} and {MAX_SPEED:g}")
    return speed
