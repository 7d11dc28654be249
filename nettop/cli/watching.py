"""What the watching commands share: scope, settings, source, how they stop, and where the result goes."""

import argparse
import os
import re
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple, Protocol

from nettop.cli.messages import note, tell_of_compiling
from nettop.cli.scope import container_ids, require_few, units_named
from nettop.errors import UsageError
from nettop.export.file import OutputFile
from nettop.export.standard_streams import StandardOutput
from nettop.kernel.limits import require_room
from nettop.kernel.lookups import FILES as LOOKUP_FILES
from nettop.kernel.place import confinement, has_host_pids
from nettop.kernel.plaintext import FILES as PLAINTEXT_FILES
from nettop.kernel.privileges import require_privileges
from nettop.kernel.scope import Scope, comm_running, netns_inode, running_pid
from nettop.model import events
from nettop.model.filter import Filter
from nettop.model.kinds import KINDS, LOOKUPS
from nettop.model.rows import COMM_CHARACTERS
from nettop.model.store import SECONDS, History
from nettop.settings.declared import Settings
from nettop.settings.resolve import Resolved, resolve
from nettop.signals import on_ending
from nettop.sources import Source
from nettop.sources.live import LiveSource, LookedAt
from nettop.tracking.request_rows import Privacy

READ_TIMEOUT_S = 1.0


class Reach(NamedTuple):
    """What nettop may still do once it has shut itself in.

    `written_to` is the directory for files, `places` are where else there may be some. On `listening`, the descriptor
    of a socket, it accepts connections.
    """

    written_to: Path | None
    places: Collection[Path] = ()
    listening: int | None = None


class Prepared(NamedTuple):
    """What a watching command starts with."""

    settings: Settings
    scope: Scope
    chosen: Filter


class Asked(NamedTuple):
    """What the command line asks of a watch besides the settings.

    A row for everything, look-ups in C libraries and requests inside TLS too, a cutter for the source.
    """

    everything: bool = False
    lookups: bool = False
    decrypt: bool = False
    may_cut: bool = False


def prepare(options: argparse.Namespace, told: bool = False) -> Prepared:
    """Check all that can be refused before the kernel is involved. Raises NettopError.

    `told`: as in chosen_filter().
    """
    settings, scope = settings_of(options), _scope_of(options)
    if options.lookups and not has_host_pids():
        raise UsageError(
            "--lookups finds C libraries by the host's process ids, but this container has its own.",
            "Start the container with --pid=host.",
        )
    if options.decrypt:
        _require_decryptable(settings)
    chosen = chosen_filter(settings, told, options.lookups)
    require_privileges()
    return Prepared(settings, scope, chosen)


def _require_decryptable(settings: Settings) -> None:
    if not has_host_pids():
        raise UsageError(
            "--decrypt finds TLS libraries by the host's process ids, but this container has its own.",
            "Start the container with --pid=host.",
        )
    if not settings.requests_enabled:
        raise UsageError(
            "--decrypt is for requests, and the setting requests.enabled is off.", "Switch it on, or leave one out."
        )


def _scope_of(options: argparse.Namespace) -> Scope:
    """The scope chosen by --pid, --comm, --netns, --unit and --container. Raises UsageError."""
    if options.pid and not has_host_pids():
        raise UsageError(
            "--pid takes the host's process ids, but this container has its own.",
            "Use --comm, or start the container with --pid=host.",
        )
    netns: dict[int, str] = {}
    for name in options.netns:
        netns.setdefault(netns_inode(name), name)
    scope = Scope(
        pids=tuple(dict.fromkeys(map(running_pid, options.pid))),
        comms=tuple(dict.fromkeys(map(_scope_comm, options.comm))),
        netns=tuple(netns),
        netns_names=tuple(netns.values()),
        units=units_named(options.unit),
        containers=tuple(dict.fromkeys(options.container)),
        container_ids=container_ids(options.container),
    )
    require_few(scope)
    return scope


def _scope_comm(name: str) -> bytes:
    comm = os.fsencode(name)[:COMM_CHARACTERS]
    if not comm:
        raise UsageError("--comm needs a name.", "Give one as 'ps -o comm' shows it.")
    shown = os.fsdecode(comm)
    if shown != name:
        note(f"the kernel keeps only {COMM_CHARACTERS} bytes of a name: every process named '{shown}' is watched.")
    if not comm_running(shown):
        note(f"no process is named '{shown}' yet; waiting for one to start.")
    return comm


def settings_of(options: argparse.Namespace) -> Settings:
    """The effective settings for these options. Raises UsageError."""
    return resolved(options).settings


def resolved(options: argparse.Namespace) -> Resolved:
    """The same with their origins; prints a note about what was ignored."""
    resolved = resolve(vars(options))
    for sentence in resolved.notes:
        note(sentence)
    return resolved


def history_of(settings: Settings) -> History:
    """How many rows of each kind are kept, and for how long at least."""
    return {name: getattr(settings, f"history_{name}") for name in (SECONDS, *(kind.name for kind in KINDS))}


def chosen_filter(settings: Settings, told: bool = False, lookups: bool = False) -> Filter:
    """The filter; prints a note about each term that does not apply to every kind of row. Raises FilterError.

    `told`: it is to choose among what a stream tells. `lookups`: there are rows of these.
    """
    chosen = Filter(settings.filter)
    ignored: dict[str, list[str]] = {}
    for name, terms in chosen.left_out(told).items():
        for term in terms if name != LOOKUPS.name or lookups else ():
            ignored.setdefault(term, []).append(name)
    for term, names in ignored.items():
        note(f"the filter term '{term}' does not apply to {_listed(names)} and is ignored for them.")
    return chosen


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def watching(
    options: argparse.Namespace,
    settings: Settings,
    scope: Scope,
    list_everything: bool = False,
    listening: int | None = None,
) -> closing[Source]:
    """The live source of a command that writes, closed on exit; `listening` as in Reach."""
    # Call before opening the output, so that nettop writes only what it may write without its privileges.
    written_to = options.output.parent if options.output is not None else None
    reach = Reach(written_to, listening=listening)
    return closing(live(settings, scope, reach, Asked(list_everything, options.lookups, options.decrypt)))


def live(
    settings: Settings,
    scope: Scope,
    reach: Reach,
    asked: Asked = Asked(),  # noqa: B008
) -> LiveSource:
    """A source of this machine's events that dropped its privileges after attaching and shut itself in."""
    require_room((LOOKUP_FILES if asked.lookups else 0) + (PLAINTEXT_FILES if asked.decrypt else 0))
    if limit := confinement():
        note(limit)
    # Only a stream omits events that do not match; the snapshot and the screen collect everything and filter later.
    recorded = settings.filter.strip() or None if asked.everything else None
    looked_at = LookedAt(settings.dns_ports, _privacy(settings), asked.lookups, asked.decrypt, asked.may_cut)
    source = LiveSource(
        scope, settings.interval, recorded, looked_at, asked.everything, when_compiling=tell_of_compiling
    )
    try:
        source.give_up_privileges(reach.written_to)
        source.shut_in(filter(None, (*reach.places, reach.written_to)), reach.listening)
    except BaseException:
        source.close()
        raise
    return source


def _privacy(settings: Settings) -> Privacy | None:
    if not settings.requests_enabled:
        return None
    return Privacy(settings.requests_query, tuple(map(re.compile, settings.requests_mask)))


def watched_events(source: Source, seconds: float | None, stopped: list[int]) -> Iterator[events.AnyEvent]:
    """All events until the time is up, a signal arrives, or the source ends."""
    end = None if seconds is None else time.monotonic() + seconds
    while not stopped and not source.finished:
        left = READ_TIMEOUT_S if end is None else end - time.monotonic()
        if left <= 0:
            break
        yield from source.read(min(left, READ_TIMEOUT_S))
    yield from source.finish()


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect the signals that end the watch instead of dying of them, so that what was seen is still written.

    Once it is written they are ignored: nettop is about to end, and must not end as if it had not done its work.
    """
    received: list[int] = []

    def received_one(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    with on_ending(received_one, afterwards=signal.SIG_IGN):
        yield received


class _Output(Protocol):
    def write(self, text: bytes) -> None: ...

    def commit(self) -> None: ...


@contextmanager
def output_of(
    options: argparse.Namespace, keep_partial: bool = False, signals: Sequence[int] = ()
) -> Iterator[_Output]:
    """The file that `options.output` names, or standard output."""
    if options.output is None:
        yield StandardOutput(signals)
    else:
        with OutputFile(options.output, options.force, keep_partial) as file:
            yield file
