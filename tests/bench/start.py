"""From exec to the first reading and to the first painted frame, cold and warm, beside others."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from tests.bench.machine import drop_page_cache
from tests.bench.report import Findings, Table, Target, spread
from tests.bench.settings import Settings
from tests.live.lab import Namespace, namespace
from tests.live.terminal import Terminal

PATIENCE_S = 30.0
NOTES = (
    "Seconds from exec, median (quartiles), all in one alternating run. `attached` is the first line of `nettop "
    "stream`, which comes when every probe is attached; `first frame` is the first one with a pane's columns, which "
    "nettop paints when every probe is attached; `first figures` is the first one with what was counted. Of the others "
    "it is the first sign of readiness: tcplife's heading, nethogs's first table, an interval probe of bpftrace.",
    "cold: the page cache was dropped before each start and nettop's cache of compiled programs is empty; what other "
    "running programs have mapped stays in memory (Python's interpreter is among it).",
)


@dataclass(frozen=True)
class Subject:
    """What is started, and what it writes at each step, in order; in a terminal if it paints one."""

    name: str
    command: Sequence[str]
    steps: dict[str, bytes]
    painted: bool = False


class NotReadyError(Exception):
    """It ended before it was ready; the text is what it said last."""


def run(settings: Settings, findings: Findings) -> None:
    """All subjects in turn, once per round."""
    with namespace(settings.directory) as where:
        subjects = _subjects(settings, where)
        reasons: dict[str, str] = {}
        taken: dict[tuple[str, str, str], list[float]] = {}
        for state, rounds in (("warm", settings.rounds(15, 3)), ("cold", settings.rounds(7, 2))):
            for number in range(rounds + (state == "warm")):
                for subject in subjects:
                    if subject.name in reasons:
                        continue
                    if state == "cold":
                        settings.forget_compiled()
                        drop_page_cache()
                    try:
                        times = _time(subject)
                    except NotReadyError as error:
                        reasons[subject.name] = str(error)
                        continue
                    if state == "warm" and number == 0:
                        continue  # the one that warms
                    for step, took_s in times.items():
                        taken.setdefault((subject.name, step, state), []).append(took_s)
                        findings.add(
                            {"subject": subject.name, "step": step, "state": state, "round": number, "s": took_s}
                        )
    _tell(findings, subjects, taken, reasons)


def _subjects(settings: Settings, where: Namespace) -> list[Subject]:
    subjects = []
    for name, executable in settings.nettops.items():
        subjects += [
            Subject(f"{name} stream", [executable, "stream"], {"attached": b'"type":"start"'}),
            Subject(name, [executable], {"first frame": b"TX/s", "first figures": b"LIVE"}, painted=True),
        ]
    # probes are attached in this order, and BEGIN runs before any
    ready = 'interval:ms:1 /!@ready/ { printf("ready\\n"); @ready = 1; }'
    count = f"tracepoint:sock:inet_sock_set_state {{ @[pid] = count(); }} {ready}"
    return [
        *subjects,
        Subject("tcplife-bpfcc", ["tcplife-bpfcc"], {"ready": b"PID"}),
        Subject("nethogs", where.inside("nethogs", "-a", "lo"), {"first frame": b"PROGRAM"}, painted=True),
        Subject("bpftrace -e", ["bpftrace", "-e", count], {"ready": b"ready"}),
    ]


def _time(subject: Subject) -> dict[str, float]:
    """Seconds from exec to each step. Raises NotReadyError."""
    return _time_painted(subject) if subject.painted else _time_piped(subject)


def _time_piped(subject: Subject) -> dict[str, float]:
    begun = time.monotonic()
    with subprocess.Popen(
        subject.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            return _steps(subject, begun, partial(_piped, process.stdout.fileno()))
        finally:
            process.send_signal(signal.SIGINT)
            _end(process)


def _time_painted(subject: Subject) -> dict[str, float]:
    with Terminal(subject.command, columns=120, lines=40) as terminal:
        try:
            return _steps(subject, terminal.started, lambda: terminal.take(0.5) if _alive(terminal) else None)
        finally:
            with suppress(OSError):
                terminal.press("q")
            end = time.monotonic() + PATIENCE_S
            while _alive(terminal) and time.monotonic() < end:
                terminal.take(0.01)
            _end(terminal.process)


def _alive(terminal: Terminal) -> bool:
    return terminal.process.poll() is None


def _piped(descriptor: int) -> bytes | None:
    ready, _, _ = select.select([descriptor], [], [], 0.5)
    return (os.read(descriptor, 1 << 16) or None) if ready else b""


def _steps(subject: Subject, begun: float, take: Callable[[], bytes | None]) -> dict[str, float]:
    """When each of the words came; `take` gives None once there will be no more."""
    said, times = b"", dict[str, float]()
    while len(times) < len(subject.steps):
        chunk = take()
        now = time.monotonic() - begun
        if chunk is None or now > PATIENCE_S:
            raise NotReadyError(_last_words(said))
        said += chunk
        times.update({step: now for step, word in subject.steps.items() if step not in times and word in said})
    return times


def _last_words(said: bytes) -> str:
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line.lower() for word in ("unable", "not found", "error"))]
    return ([*telling[:1], *lines[-1:], "it said nothing"])[0][:150]


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tell(
    findings: Findings,
    subjects: Sequence[Subject],
    taken: dict[tuple[str, str, str], list[float]],
    reasons: dict[str, str],
) -> None:
    rows = []
    for subject in subjects:
        for step in subject.steps:
            cells = [
                "-" if subject.name in reasons else spread(taken[subject.name, step, state]).told("{:.3f}".format)
                for state in ("warm", "cold")
            ]
            rows.append((f"{subject.name}: {step}", *cells))
    reasons_told = [f"{name} does not start here: {reason}" for name, reason in reasons.items()]
    findings.tables.append(Table("Start", ("from exec to", "warm, s", "cold, s"), rows, [*NOTES, *reasons_told]))
    frames = taken.get(("nettop", "first frame", "warm"), [])
    findings.targets.append(
        Target("exec to first frame, probes attached", 0.45, spread(frames).median if frames else None, " s")
    )
    peers = taken.get(("tcplife-bpfcc", "ready", "warm"), [])
    ratios = [ours / theirs for ours, theirs in zip(frames, peers, strict=False)]
    findings.targets.append(
        Target("the same beside tcplife-bpfcc", 0.25, spread(ratios).median if ratios else None, "x")
    )
