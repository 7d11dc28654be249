"""Whoever watches while something is measured: nettop without and with its screen, and its peers."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from nettop.model.snapshot import Snapshot
from tests.bench.costs import spent
from tests.bench.settings import PATIENCE_S, Settings
from tests.bench.split import Split
from tests.bench.traffic import DATAGRAMS, DNS
from tests.live.lab import NETTOP, Namespace, snapshot_running, wait_until
from tests.live.terminal import Terminal
from tests.live.truth.rivals import Tool

MOST_TICKS_BEHIND = 20
IDLE_NS = 100_000_000  # of CPU in more than a tick: nothing is left to be read
_SNAPSHOT = msgspec.json.Decoder(Snapshot)


class NotStartedError(Exception):
    """It does not start here; the text is its reason."""


class Watching(Protocol):
    """A running observer."""

    @property
    def pid(self) -> int: ...

    def end(self) -> Snapshot | None:
        """Let it finish; what it has seen, if it is a nettop."""
        ...


@dataclass(frozen=True)
class Observer:
    """`watch` returns once it sees everything that comes, and raises NotStartedError."""

    name: str
    watch: Callable[[Settings, Namespace], AbstractContextManager[Watching]]
    blind_to: frozenset[str] = field(default_factory=frozenset)  # names of loads of which it sees nothing


# nettop


def losses_reported(snapshot: Snapshot) -> int:
    """Records and sockets that nettop says it has not seen."""
    losses = snapshot.losses
    return sum(sum(table.values()) for table in (losses.perf_buffer, losses.map_full, losses.missed_runs))


class Headless:
    """`nettop snapshot`."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.pid = process.pid

    def end(self) -> Snapshot:
        self._process.send_signal(signal.SIGTERM)
        said, errors = self._process.communicate(timeout=PATIENCE_S)
        assert self._process.returncode == 0, errors.decode()
        return _SNAPSHOT.decode(said)


@contextmanager
def headless(
    _settings: Settings, _where: Namespace, split: Split | None = None, arguments: Sequence[str] = ()
) -> Iterator[Headless]:
    """With its default interval of a second, watching the whole host unless told otherwise."""
    with snapshot_running(*arguments, prefix=split.command if split else ()) as process:
        yield Headless(process)


class OnScreen:
    """nettop in a terminal that a thread reads along."""

    def __init__(self, terminal: Terminal, directory: Path) -> None:
        self._terminal = terminal
        self._directory = directory
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._drain_it)
        self.pid = terminal.pid

    def start(self) -> None:
        said = b""
        while b"LIVE" not in said:
            assert self._terminal.process.poll() is None, said
            said += self._terminal.take(0.5)
        self.drain()

    def drain(self) -> None:
        """Have it read along from now on."""
        self._thread.start()

    def end(self) -> Snapshot:
        """What it exports, once it has caught up and a tick has come after that."""
        for _ in range(MOST_TICKS_BEHIND):
            before = spent(self.pid)
            time.sleep(1.2)
            if sum(spent(self.pid).since(before).threads.values()) < IDLE_NS:
                break
        self._terminal.press("e")
        wait_until(lambda: any(self._directory.glob("nettop-*.json")), "the export")
        (file,) = self._directory.glob("nettop-*.json")
        snapshot = _SNAPSHOT.decode(file.read_bytes())
        file.unlink()
        self._terminal.press("q")
        assert self._terminal.process.wait(PATIENCE_S) == 0
        return snapshot

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _drain_it(self) -> None:
        while not self._over.is_set():
            self._terminal.take(0.2)


@contextmanager
def on_screen(
    settings: Settings, _where: Namespace, split: Split | None = None, arguments: Sequence[str] = ()
) -> Iterator[OnScreen]:
    """With its default interval of a second, watching the whole host unless told otherwise."""
    command = [*(split.command if split else ()), *NETTOP, *arguments]
    with Terminal(command, cwd=settings.directory) as terminal:
        watching = OnScreen(terminal, settings.directory)
        try:
            watching.start()
            yield watching
        finally:
            watching.stop()


def only(where: Namespace) -> tuple[str, str]:
    """Arguments that leave out whoever else is on this host, where that would be part of the number."""
    return ("--netns", where.name)


# Peers


class Peer:
    """One of the others."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self.pid = tool.pid

    def end(self) -> None:
        self._tool.stop()


def _peer(
    name: str, command: Callable[[Namespace], Sequence[str]], ready: str, blind_to: frozenset[str] = frozenset()
) -> Observer:
    @contextmanager
    def watch(settings: Settings, where: Namespace) -> Iterator[Peer]:
        tool = Tool(command(where), settings.directory / f"peer-{name.split(maxsplit=1)[0]}", ready)
        try:
            if tool.reason:
                raise NotStartedError(tool.reason)
            yield Peer(tool)
        finally:
            tool.stop()

    return Observer(name, watch, blind_to)


def _with_stderr(command: Sequence[str]) -> list[str]:
    return ["sh", "-c", 'exec "$@" 2>&1', "sh", *command]


COUNTING = 'BEGIN { printf("ready\\n"); } tracepoint:sock:inet_sock_set_state { @[pid] = count(); }'
_DATAGRAMS_ONLY = frozenset({DNS.name, DATAGRAMS.name})

NETTOPS = (Observer("nettop headless", headless), Observer("nettop with screen", on_screen))
PEERS = (
    _peer("tcplife-bpfcc", lambda _: ["tcplife-bpfcc"], "PID", _DATAGRAMS_ONLY),
    _peer("bpftrace, counting", lambda _: ["bpftrace", "-e", COUNTING], "ready", _DATAGRAMS_ONLY),
    _peer("nethogs -t", lambda where: where.inside("nethogs", "-t", "-C", "-a", "lo"), "Refreshing"),
    _peer(
        "tcpdump -w /dev/null",
        lambda where: _with_stderr(where.inside("tcpdump", "-Z", "root", "-i", "lo", "-w", "/dev/null")),
        "listening on",
    ),
)
