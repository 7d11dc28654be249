"""`make soak-powers`: nettop with --decrypt, --lookups and --allow-cut, killed again and again while programs talk.

    python -m tests.faults.probes_soak [SECONDS] [SEED]

nginx, node, Python, one in a strict sandbox, curl, wget and h2load talk in a namespace, first without nettop for a
quarter of SECONDS, then for SECONDS beside nettops that end by SIGKILL: after 2 to 15 s, with a process blocked, or
while they still start. Ends with 1 if a program has ended, was once not answered, or has grown, or if anything of a
nettop is left behind.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from tests.faults import watched_programs
from tests.live.decrypt_lab import ADDRESS, HTTP2_PORT, NAME, PORT, serve
from tests.live.lab import (
    NETTOP,
    PATIENCE_S,
    Namespace,
    Program,
    certificate,
    dnsmasq,
    existing_ids,
    kernel_ids,
    namespace,
    wait_until,
)
from tests.live.terminal import Terminal
from tests.live.test_cutting import COMPILING_S, EVERYTHING, attempter, block, refused

SECONDS = 600.0
ALONE = 0.25  # of that, without nettop
WATCHES_S = (2.0, 15.0)  # a nettop, before it is killed
STARTS_S = (0.0, 1.5)  # each third, before it is killed
SAMPLE_S = 0.5
GROWN_MB = 1.0  # allowed: an allocator keeps something, and each breakpoint makes a page of code its own
HEAP_MB = 24.0  # allowed to node, which collects its garbage when it likes
OPTIONS = ("--decrypt", "--lookups", "--allow-cut")
SAID = ("LIVE", "CUT ON", "reads TLS", "look-ups in")
DNS_ADDRESS, LOOKED_UP, FOUND = "127.0.0.2", "db.svc.test", "192.0.2.10"
LIBRARIES = ("libssl.", "libc.so.", "libnode.")
SCRIPT = Path(__file__).with_name("watched.js")


# Who is watched


class Watched(NamedTuple):
    """A process that must be the same one at the end; `started` is in clock ticks (proc(5))."""

    name: str
    pid: int
    started: str

    @property
    def goes_on(self) -> bool:
        try:
            return started(self.pid) == self.started
        except FileNotFoundError:
            return False


def started(pid: int) -> str:
    """When this process did."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


class Talking:
    """Programs that talk until they are told to stop, and what memory they have taken."""

    def __init__(self, where: Namespace, programs: dict[str, Program]) -> None:
        self.where = where
        self._programs = programs
        self.processes = [
            *(Watched(name, program.pid, started(program.pid)) for name, program in programs.items()),
            *(Watched("nginx", pid, started(pid)) for pid in processes_in(where, "nginx")),
        ]
        self.since = self.processes[0].started
        self.memory_mb: list[list[float]] = []  # of each of `processes`, from time to time
        self._sampled = 0.0

    def sample(self) -> None:
        """What memory they take, if it was not looked at just now."""
        if time.monotonic() >= self._sampled + SAMPLE_S:
            self._sampled = time.monotonic()
            self.memory_mb.append([anonymous_mb(each.pid) for each in self.processes])

    def changed(self) -> set[str]:
        """Files whose code has breakpoints in one of the processes."""
        return set().union(*(changed_code(each.pid) for each in self.processes))

    def stop(self) -> tuple[dict[str, int], list[str]]:
        """How often each was answered, and what was wrong."""
        answered = {}
        wrong = [f"{each.name}[{each.pid}] has ended" for each in self.processes if not each.goes_on]
        for name, program in self._programs.items():
            try:
                program.say("stop")
                answered[name], missing = program.hear()
            except (AssertionError, BrokenPipeError) as error:
                wrong.append(f"{name} says nothing more: {error}")
                continue
            if missing:
                wrong.append(f"{name} was not answered {missing} times")
        return answered, wrong


@contextmanager
def talking_in(where: Namespace, folder: Path) -> Iterator[Talking]:
    """Programs with OpenSSL, GnuTLS and a library of their own, long-lived ones and others that come and go."""
    pem, copies = certificate(folder / "certificate.pem", NAME), copied(folder / "copies")
    dnsmasq(where, [DNS_ADDRESS], "--local=/#/", f"--host-record={LOOKED_UP},{FOUND}")
    at: dict[str, Any] = {"address": ADDRESS, "port": PORT}
    lookup = {"name": LOOKED_UP, "found": [FOUND]}
    with with_libraries(copies), serve(where, folder / "nginx", pem):
        programs = {
            "python": where.play(watched_programs.asks, **at),
            "sandboxed": where.play(watched_programs.sandboxed, **at, **lookup, nameserver=DNS_ADDRESS),
            "node": where.start(str(copies / "node"), str(SCRIPT), str(pem), "20", "20"),
            "curl, wget, h2load": where.play(watched_programs.runs, commands=commands()),
        }
        for program in programs.values():
            assert program.hear() == "running"
        talking = Talking(where, programs)
        with with_libraries(None):
            yield talking


def copied(folder: Path) -> Path:
    """Of node and libraries, to be sure whose a breakpoint is: in a file it is everybody's, and others have nettops."""
    folder.mkdir()
    shutil.copy(Path(shutil.which("node") or "node").resolve(), folder / "node")
    listed = subprocess.run(["ldd", "/usr/bin/curl", folder / "node"], check=True, capture_output=True, text=True)
    for name, path in re.findall(r"(\S+) => (\S+)", listed.stdout):
        if name.startswith(LIBRARIES):
            shutil.copy(path, folder / name)
    return folder


@contextmanager
def with_libraries(folder: Path | None) -> Iterator[None]:
    """Programs that are started meanwhile look for libraries there first."""
    before = os.environ.pop("LD_LIBRARY_PATH", None)
    if folder is not None:
        os.environ["LD_LIBRARY_PATH"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("LD_LIBRARY_PATH", None)
        if before is not None:
            os.environ["LD_LIBRARY_PATH"] = before


def commands() -> list[tuple[list[str], str]]:
    """Of each library and protocol, with a text that each says when all was well."""
    first, second = (f"https://{ADDRESS}:{port}" for port in (PORT, HTTP2_PORT))
    curl = ["curl", "-sk", "-w", "%{http_code} %{http_version}", "-o", "/dev/null"]
    load, all_of_it = ["h2load", "-n100", "-c4"], "100 succeeded, 0 failed, 0 errored, 0 timeout"
    return [
        ([*curl, "--http1.1", f"{first}/curl"], "200 1.1"),
        ([*curl, "--http2", f"{second}/curl"], "200 2"),
        (["wget", "-q", "--no-check-certificate", "-O", "-", f"{first}/wget"], "ok"),
        ([*load, "--h1", f"{first}/load"], all_of_it),
        ([*load, "-m10", f"{second}/load"], all_of_it),
        (["getent", "ahosts", "localhost"], "localhost"),
    ]


def processes_in(where: Namespace, comm: str) -> list[int]:
    """Those of a namespace that have this name."""

    def is_one(entry: Path) -> bool:
        with suppress(OSError):
            return (entry / "ns/net").stat().st_ino == where.inode and (entry / "comm").read_text() == f"{comm}\n"
        return False

    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if is_one(entry)]


def anonymous_mb(pid: int) -> float:
    """Memory that is in no file: a page of code is, too, once a breakpoint is in it. 0 of a process that has ended."""
    with suppress(FileNotFoundError, IndexError):
        return int(Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024
    return 0.0


# What may be left of a nettop


def changed_code(pid: int) -> set[str]:
    """Files whose executable bytes are others in the process's memory."""
    found = set()
    with suppress(FileNotFoundError), Path(f"/proc/{pid}/mem").open("rb") as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, permissions, offset, _, _, *path = line.split(maxsplit=5)
            if "x" not in permissions or not path or not path[0].startswith("/"):
                continue
            begin, end = (int(each, 16) for each in place.split("-"))
            memory.seek(begin)
            with Path(path[0]).open("rb") as file:
                file.seek(int(offset, 16))
                code = file.read(end - begin)
            if memory.read(len(code)) != code:
                found.add(path[0])
    return found


def of_session(leader: int) -> list[int]:
    """Processes of the session that this one began (credentials(7))."""

    def is_one(entry: Path) -> bool:
        with suppress(OSError):
            return int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == leader
        return False

    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if is_one(entry)]


def left_behind(before: dict[str, set[int]]) -> dict[str, set[int]]:
    """Programs, maps and links that have come since and that nobody holds: others may have nettops of their own."""
    new = {kind: ids - before[kind] for kind, ids in existing_ids().items()}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(PermissionError):
            for kind, ids in kernel_ids(int(entry.name)).items():
                new[kind] -= ids
    return new


def others_look(since: str) -> bool:
    """Whether somebody else's nettop runs that has breakpoints, and may have found the copies when it started."""

    def is_one(entry: Path) -> bool:
        with suppress(OSError):
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            looks = bool({b"--decrypt", b"--lookups", b"doctor"}.intersection(arguments))
            return looks and int(started(int(entry.name))) >= int(since)
        return False

    return any(is_one(entry) for entry in Path("/proc").glob("[0-9]*"))


# A nettop, from its start to its sudden end


class Round(NamedTuple):
    """What one of them had, and how long after its end nothing of it was left."""

    starting: bool
    lived_s: float
    programs: int
    gone_s: float
    untouched: bool  # the programs' code; not while another nettop, started since, looks into the same libraries

    def __str__(self) -> str:
        when = "while it started" if self.starting else "while it blocked"
        said = f"killed {when}, after {self.lived_s:.1f} s, with {self.programs} programs; gone in {self.gone_s:.2f} s"
        return said if self.untouched else f"{said}; another nettop has breakpoints"


def nettop_in(where: Namespace) -> Terminal:
    """With all of its powers."""
    return Terminal([*NETTOP, "--netns", where.name, "--interval", "0.5", *OPTIONS], columns=160)


def until_it_watches(terminal: Terminal) -> None:
    """It may have to compile first."""
    terminal.until(lambda: all(text in terminal.text for text in SAID), "the screen", COMPILING_S)


def killed(talking: Talking, bystander: Program, seconds: float, starting: bool) -> Round:
    """One nettop. Raises AssertionError if something of it is left, or if it has not done what it is there for."""
    before = existing_ids()
    with nettop_in(talking.where) as terminal:
        if not starting:
            use(terminal, bystander)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            terminal.drain(0.1)
            talking.sample()
        if not starting:
            assert refused(bystander) == EVERYTHING
            assert len(talking.changed()) >= 3, "libssl, libc and node have breakpoints"
        held = kernel_ids(terminal.pid)
        terminal.send(signal.SIGKILL)
        terminal.process.wait()
    ended = time.monotonic()
    wait_until(lambda: not of_session(terminal.pid), "its processes to end")
    wait_until(lambda: not any(held[kind] & ids for kind, ids in existing_ids().items()), "what it held to go")
    wait_until(lambda: not any(left_behind(before).values()), "what nobody holds to go")
    wait_until(lambda: not talking.changed() or others_look(talking.since), "its breakpoints to go")
    gone = time.monotonic()
    untouched = not talking.changed()
    assert refused(bystander) == set()
    return Round(starting, ended - terminal.started, len(held["prog"]), gone - ended, untouched)


def use(terminal: Terminal, bystander: Program) -> None:
    """See that it sees what the programs do, and have it block one that stands by."""

    def says(pattern: str) -> None:
        terminal.until(lambda: re.search(pattern, terminal.text), pattern, PATIENCE_S)

    until_it_watches(terminal)
    for title in (" 7 Requests", " 8 Look-ups"):
        terminal.press(title[1])
        says(f"{title} [1-9]")
    block(terminal, bystander)


# All of it


@dataclass
class Outcome:
    """How it went. `grown_mb` are the growth without nettop and beside it."""

    rounds: list[Round] = field(default_factory=list)
    answered: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    grown_mb: list[tuple[Watched, float, float]] = field(default_factory=list)


def soak(seconds: float, seed: int, tell: Callable[[str], None] = lambda _: None, rounds: int | None = None) -> Outcome:
    """Without nettop first, then beside one after the other; or beside so many `rounds`, whatever time they take."""
    chosen, outcome = random.Random(seed), Outcome()
    with (
        tempfile.TemporaryDirectory() as name,
        namespace(Path(name)) as where,
        talking_in(where, Path(name)) as talking,
    ):
        bystander = attempter(where)
        with nettop_in(where) as terminal:
            until_it_watches(terminal)
        end = time.monotonic() + ALONE * seconds
        while time.monotonic() < end:
            talking.sample()
            time.sleep(SAMPLE_S)
        alone, end = len(talking.memory_mb), time.monotonic() + seconds
        while time.monotonic() < end if rounds is None else len(outcome.rounds) < rounds:
            starting = len(outcome.rounds) % 3 == 1
            lasts_s = chosen.uniform(*(STARTS_S if starting else WATCHES_S))
            outcome.rounds.append(killed(talking, bystander, lasts_s, starting))
            tell(str(outcome.rounds[-1]))
        outcome.grown_mb = list(grown(talking, alone))
        outcome.answered, outcome.wrong = talking.stop()
    return outcome


def wrong_over_time(outcome: Outcome) -> Iterator[str]:
    """What only a long time shows."""
    for each, _, beside in outcome.grown_mb:
        if beside > (HEAP_MB if each.name == "node" else GROWN_MB):
            yield f"{each.name}[{each.pid}] grew by {beside:.1f} MB"
    if not any(each.untouched for each in outcome.rounds):
        yield "there was always another nettop that has breakpoints"


def grown(talking: Talking, alone: int) -> Iterator[tuple[Watched, float, float]]:
    """Of each process, without nettop and beside it: from the last quarter of one time to that of the other."""
    without, beside = talking.memory_mb[:alone], talking.memory_mb[alone:]
    first, _, _, settled = quarters(without)
    *_, last = quarters(beside)
    for each, *mb in zip(talking.processes, first, settled, last, strict=True):
        yield each, mb[1] - mb[0], mb[2] - mb[1]


def quarters(samples: list[list[float]]) -> list[list[float]]:
    """The median of each process in each quarter of the samples."""
    size = len(samples) // 4
    assert size > 0
    parts = (samples[at * size : (at + 1) * size] for at in range(4))
    return [[median(values) for values in zip(*part, strict=True)] for part in parts]


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    tell(f"{seconds:.0f} s, seed {seed}")
    outcome = soak(seconds, seed, tell)
    for each, without, beside in outcome.grown_mb:
        tell(f"{each.name}[{each.pid}]: grew by {without:+.2f} MB without nettop, then by {beside:+.2f} MB beside it")
    for name, answered in outcome.answered.items():
        tell(f"{name}: answered {answered} times")
    wrong = [*outcome.wrong, *wrong_over_time(outcome)]
    tell("; ".join(wrong) or f"{len(outcome.rounds)} killed, nothing left, nobody harmed")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
