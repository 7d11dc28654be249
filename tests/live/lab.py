"""The laboratory of the live tests: network namespaces of their own, programs that talk inside, nettop watching.

Everything here is a context manager that leaves nothing behind, however a test ends. Traffic stays on the loopback of a
namespace or on a veth pair between two of them.
"""

import ctypes
import errno
import functools
import inspect
import itertools
import json
import os
import platform
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import msgspec
from jsonschema_rs import Draft202012Validator
from msgspec.structs import replace

from nettop.export.json import snapshot_json
from nettop.kernel import syscalls
from nettop.kernel.btf import Btf, BtfError
from nettop.kernel.hooks import HOOKS, ON_REQUEST, Hook, OnCgroup
from nettop.kernel.program import open_cgroup2
from nettop.model.events import AnyEvent, End, Start, Tick
from nettop.model.kinds import KINDS
from nettop.model.rows import Connection, DnsQuery, Losses, Process
from nettop.model.snapshot import Snapshot
from nettop.model.store import Store
from nettop.settings.declared import MAX_HISTORY
from tests.live import programs
from tests.live.play import playing

NETTOP = (str(Path(sys.executable).with_name("nettop")),)
SCHEMAS = Path(__file__).resolve().parents[2] / "nettop" / "schema"
PATIENCE_S = 60.0  # for what takes milliseconds: only a defect makes anybody wait so long, on a loaded machine too

_numbers = itertools.count(1)
_EVENT = msgspec.json.Decoder(AnyEvent)
_SNAPSHOT = msgspec.json.Decoder(Snapshot)


def wait_until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Poll for something outside this process; an AssertionError that names it if it never comes."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, f"waited {patience_s:g} s in vain for {what}"
        time.sleep(0.005)


# Programs


class Program:
    """A running function of programs.py, or any command; says and hears lines of JSON."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        self.pid = self._process.pid
        self._heard = b""

    def say(self, message: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def hear(self, patience_s: float = PATIENCE_S) -> Any:
        """The next line that it says."""
        assert self._process.stdout is not None
        end = time.monotonic() + patience_s
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(self._process.stdout.fileno(), 1 << 20) if ready else b""
            assert chunk, f"it said nothing more: {self._log.read_text()}"
            self._heard += chunk
        line, _, self._heard = self._heard.partition(b"\n")
        return json.loads(line)

    def end(self, patience_s: float = PATIENCE_S) -> str:
        """Wait for its end, which must be a good one; what it said last."""
        try:
            rest, _ = self._process.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"it did not end: {self._log.read_text()}") from error
        assert self._process.returncode == 0, (self._process.returncode, self._log.read_text())
        return (self._heard + rest).decode()

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End it with a signal, if it still runs."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        self._process.communicate(timeout=PATIENCE_S)

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()


class Namespace:
    """A network namespace with its loopback up; end() kills what was started in it and removes it."""

    def __init__(self, directory: Path) -> None:
        self.name = f"nettop-test-{os.getpid()}-{next(_numbers)}"
        self.path = Path("/run/netns") / self.name
        self._directory = directory
        self._programs: list[Program] = []
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.ip("link", "set", "lo", "up")

    @property
    def inode(self) -> int:
        return self.path.stat().st_ino

    def ip(self, *arguments: str) -> None:
        subprocess.run(["ip", "-n", self.name, *arguments], check=True)

    def nft(self, rules: str) -> None:
        """Add these rules, in the syntax of nft(8)."""
        subprocess.run(self.inside("nft", "-f", "-"), input=rules, text=True, check=True)

    def mac(self, device: str) -> str:
        shown = subprocess.run(["ip", "-n", self.name, "-j", "link", "show", device], check=True, capture_output=True)
        return str(json.loads(shown.stdout)[0]["address"])

    def sysctl(self, name: str, value: int | str) -> None:
        path = "/proc/sys/" + name.replace(".", "/")
        subprocess.run(self.inside("sh", "-c", f"echo {value} > {path}"), check=True)

    def inside(self, *command: str, nameserver: str | None = None) -> list[str]:
        """The command line that runs a command here. Everything in it execs, so that the pid stays the same."""
        prefix = ["ip", "netns", "exec", self.name]
        if nameserver is None:
            return [*prefix, *command]
        resolv, nsswitch = self._directory / f"resolv-{nameserver}", self._directory / "nsswitch"
        texts = {resolv: f"nameserver {nameserver}\noptions timeout:1 attempts:3\n", nsswitch: "hosts: files dns\n"}
        for file, text in texts.items():
            if not file.exists():  # another program may just be reading it
                file.write_text(text)
        # ip netns exec has made a mount namespace of its own
        mounts = f"mount --bind {resolv} /etc/resolv.conf && mount --bind {nsswitch} /etc/nsswitch.conf"
        return [*prefix, "sh", "-c", f'{mounts} && exec "$@"', "sh", *command]

    def start(self, *command: str, nameserver: str | None = None) -> Program:
        """Start a command."""
        log = self._directory / f"program-{next(_numbers)}"
        program = Program(self.inside(*command, nameserver=nameserver), log)
        self._programs.append(program)
        return program

    def play(
        self,
        function: Callable[..., None],
        *,
        nameserver: str | None = None,
        prefix: Sequence[str] = (),
        **arguments: Any,
    ) -> Program:
        """Start a function of programs.py in a process of its own; `prefix` is a command that execs it."""
        inspect.signature(function).bind(**arguments)
        return self.start(*prefix, *playing(function, **arguments), nameserver=nameserver)

    def end(self) -> None:
        for program in self._programs:
            program.stop()
        subprocess.run(["ip", "netns", "del", self.name], check=True)


@contextmanager
def namespace(directory: Path) -> Iterator[Namespace]:
    """A namespace for a while."""
    made = Namespace(directory)
    try:
        yield made
    finally:
        made.end()


NEAR_IPV4, FAR_IPV4 = "10.88.0.1", "10.88.0.2"
NEAR_IPV6, FAR_IPV6 = "fd88::1", "fd88::2"
NO_NEIGHBOUR_IPV4 = "10.88.0.77"  # on the link, where nobody has it
BLACKHOLE_IPV4 = "10.99.0.1"  # routed to the far namespace, which does not forward: packets vanish


@contextmanager
def two_namespaces(directory: Path) -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces with a veth pair between them."""
    with namespace(directory) as near, namespace(directory) as far:
        near.ip("link", "add", "dev", "veth0", "type", "veth", "peer", "name", "veth0", "netns", far.name)
        for side, ipv4, ipv6 in ((near, NEAR_IPV4, NEAR_IPV6), (far, FAR_IPV4, FAR_IPV6)):
            side.ip("addr", "add", f"{ipv4}/24", "dev", "veth0")
            side.ip("addr", "add", f"{ipv6}/64", "dev", "veth0", "nodad")
            side.ip("link", "set", "veth0", "up")
        near.ip("route", "add", "10.99.0.0/16", "via", FAR_IPV4)
        yield near, far


@contextmanager
def child_cgroup(name: str) -> Iterator[tuple[Path, int]]:
    """A cgroup of its own below the root, where nobody is yet, and a descriptor of it."""
    root = open_cgroup2()
    path = Path(f"/proc/self/fd/{root}").resolve() / name
    os.close(root)
    path.mkdir()
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield path, descriptor
    finally:
        os.close(descriptor)
        path.rmdir()


REFUSE = struct.pack("<QQ", 0xB7, 0x95)  # r0 = 0; exit


@contextmanager
def refusing_cgroup(name: str, kind: OnCgroup, *targets: str) -> Iterator[Path]:
    """A cgroup of its own, in which a program refuses what these targets are about."""
    syscalls.allow_locked_memory()  # before Linux 5.11
    with child_cgroup(name) as (path, descriptor), ExitStack() as stack:
        for target in targets:
            program = syscalls.load_program("refuse", kind.program_type, kind.attach_type(target), 0, REFUSE)
            stack.callback(os.close, program)
            stack.callback(os.close, kind.link(program, target, descriptor))
        yield path


def listens(program: Program, port: int) -> bool:
    """Whether somebody in the program's network namespace listens on the TCP port."""
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{program.pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def docker_rules(resolver: str, port: int) -> str:
    """As Docker sets them in a container's network namespace: its resolver serves DNS on a port of its own."""
    return f"""
        table ip docker {{
          chain output {{
            type nat hook output priority -100
            ip daddr {resolver} udp dport 53 dnat to {resolver}:{port}
            ip daddr {resolver} tcp dport 53 dnat to {resolver}:{port}
          }}
          chain postrouting {{
            type nat hook postrouting priority 100
            ip saddr {resolver} udp sport {port} snat to :53
            ip saddr {resolver} tcp sport {port} snat to :53
          }}
        }}
        """


def certificate(path: Path, name: str) -> Path:
    """A file with a key and a certificate of its own for a name."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
         f"/CN={name}", "-keyout", path, "-out", path.with_suffix(".crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


def lossy(port: int, one_in: int, asked_bytes: int, answered_bytes: int) -> str:
    """Rules for nft() that drop one packet in so many, at random, of those to and from a port that are longer."""
    return f"""
        table inet lossy {{
          chain in {{
            type filter hook input priority 0
            tcp dport {port} meta length > {asked_bytes} numgen random mod {one_in} == 0 drop
            tcp sport {port} meta length > {answered_bytes} numgen random mod {one_in} == 0 drop
          }}
        }}
        """


def scripted(where: Namespace, port: int, listens: bool, steps: list[list[Any]], waits: bool = False) -> Program:
    """One end of a connection on loopback: see programs.script()."""
    end = where.play(programs.script, address="127.0.0.1", port=port, listens=listens, waits=waits)
    end.say(steps)
    return end


Said = list[tuple[bool, bytes]]  # whether the client says it, and what


def steps(said: Said, of_client: bool) -> list[list[Any]]:
    """What one end does; see programs.script()."""
    found: list[list[Any]] = [[0, []]]
    for from_client, payload in said:
        if from_client != of_client:
            found.append([len(payload) + (found.pop()[0] if not found[-1][1] else 0), []])
        else:
            found[-1][1].append(payload.hex())
    return found


def played(inside: Namespace, port: int, said: Said) -> tuple[Program, Program]:
    """Client and server once they have said all of it."""
    server = scripted(inside, port, True, steps(said, False))
    assert server.hear() == "listening"
    client = scripted(inside, port, False, steps(said, True))
    for end in (client, server):
        end.hear()
        end.end()
    return client, server


def dnsmasq(where: Namespace, addresses: Sequence[str], *options: str, port: int = 53) -> Program:
    """Debian's dnsmasq on this port of these addresses, with nothing but these options."""
    server = where.start(
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces",
        "--user=root", "--group=root", "--pid-file=", f"--listen-address={','.join(addresses)}",
        f"--port={port}", *options,
    )  # fmt: skip
    wait_until(lambda: listens(server, port), "dnsmasq")
    return server


# Watching


class Watch:
    """`nettop stream` into a file that is read along. Every line is held against the published schema."""

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        interval: float = 0.1,
        quiet: bool = True,
        command: Sequence[str] = NETTOP,
    ) -> None:
        self._quiet = quiet  # whether stderr must stay empty
        self.recording = directory / f"stream-{next(_numbers)}"
        self._errors = self.recording.with_suffix(".stderr")
        self.events: list[AnyEvent] = []
        self.store = Store({kind.name: MAX_HISTORY for kind in KINDS})
        self._expected: dict[int, tuple[int, int]] = {}
        self._left = b""
        self._of_this_tick: list[AnyEvent] = []
        with self.recording.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [*command, "stream", "--interval", str(interval), *arguments], stdout=output, stderr=errors
            )
        self._file = self.recording.open("rb")
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        try:
            wait_until(self._started, "the stream's first line")
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._file.close()

    def _started(self) -> bool:
        assert self._process.poll() is None, f"nettop ended: {self._errors.read_text()}"
        self._follow()
        return bool(self.events) and isinstance(self.events[0], Start)

    def _follow(self) -> bool:
        """Take in what is told, a whole tick at a time: in the middle of one, rows and their sums may differ.

        Returns whether there was any.
        """
        known = len(self.events)
        *lines, self._left = (self._left + self._file.read()).split(b"\n")
        for line in lines:
            check_stream_line(line)
            event = _EVENT.decode(line)
            self._of_this_tick.append(event)
            if isinstance(event, Start | Tick | End):
                for each in self._of_this_tick:
                    self.store.apply(each)
                self.events += self._of_this_tick
                self._of_this_tick.clear()
        return len(self.events) > known

    def until(self, condition: Callable[[Snapshot], bool], what: str, patience_s: float = PATIENCE_S) -> Snapshot:
        """The first snapshot of which the condition is true. It is asked with each tick."""
        self._follow()
        if not condition(self.store.snapshot()):

            def met() -> bool:
                assert self._process.poll() is None, f"nettop ended: {self._errors.read_text()}"
                return self._follow() and condition(self.store.snapshot())

            wait_until(met, what, patience_s)
        return self.store.snapshot()

    def up_to_now(self) -> Snapshot:
        """With all that has happened so far: a tick that had begun already may miss some, the one after it has it."""

        def ticks() -> int:
            return sum(isinstance(event, Tick) for event in self.events)

        self._follow()
        before = ticks()
        return self.until(lambda _: ticks() >= before + 2, "two more ticks")

    def settled(
        self, program: Program | int, dns: int = 0, connections: int = 0, patience_s: float = PATIENCE_S
    ) -> Snapshot:
        """Wait until so many queries and connections of a process are over. stop() makes sure that no more came."""
        pid = program if isinstance(program, int) else program.pid
        self._expected[pid] = (dns, connections)

        def over(snapshot: Snapshot) -> bool:
            queries = [row for row in dns_of(snapshot, pid) if row.status != "pending"]
            closed = [row for row in connections_of(snapshot, pid) if row.state == "closed"]
            return len(queries) >= dns and len(closed) >= connections

        try:
            return self.until(over, f"{dns} queries and {connections} connections of pid {pid} to end", patience_s)
        except AssertionError as error:
            there = self.store.snapshot()
            error.add_note("\n".join(map(repr, (there.losses, *there.dns, *there.connections))))
            raise

    def expected_pids(self) -> set[int]:
        """The processes that were given to settled()."""
        return set(self._expected)

    def stop(self, losses: bool = False) -> Snapshot:
        """End by SIGTERM; the whole of what was seen. Nothing may have been lost, unless that is said."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(PATIENCE_S) == 0, self._errors.read_text()
        assert self._errors.read_text() == "" or not self._quiet
        self._follow()
        assert self._left == b""
        assert isinstance(self.events[-1], End)
        snapshot = self.store.snapshot()
        check_snapshot(snapshot_json(snapshot))
        if not losses:
            assert_nothing_lost(snapshot.losses)
            # a transition of ours that the kernel did not show would have left a row without its end
            assert all(row.end is not None for row in snapshot.connections if row.state == "closed")
        for pid, expected in self._expected.items():
            assert (len(dns_of(snapshot, pid)), len(connections_of(snapshot, pid))) == expected, pid
        return snapshot


def assert_nothing_lost(losses: Losses) -> None:
    """Every counter is there and zero, except missed_runs, which is of the whole host, whatever is watched.

    Where many connections are open one in some 100,000 may find no place for its turns.
    """
    losses = replace(losses, map_full={**losses.map_full, "turns": 0})
    for table in (losses.perf_buffer, losses.map_full, losses.missed_runs, losses.evicted):
        assert table
    for table in (losses.perf_buffer, losses.map_full, losses.evicted):
        assert all(count == 0 for count in table.values()), losses
    assert (losses.dns_unparsed, losses.udp_unattributed_bytes, losses.tcp_unattributed_bytes) == (0, 0, 0)


def dns_of(snapshot: Snapshot, program: Program | int) -> list[DnsQuery]:
    """The queries of a process, in the order in which they were asked."""
    pid = program if isinstance(program, int) else program.pid
    return [row for row in snapshot.dns if row.pid == pid]


def connections_of(snapshot: Snapshot, program: Program | int) -> list[Connection]:
    """The connections of a process as they were opened, first those that were open before nettop started.

    Rows come in another order where a pass over the sockets told of some before their events did.
    """
    pid = program if isinstance(program, int) else program.pid
    rows = [row for row in snapshot.connections if row.pid == pid]
    return sorted(rows, key=lambda row: (row.opened_at is not None, row.opened_at))


def process_of(snapshot: Snapshot, program: Program | int) -> Process:
    """The one process with this pid."""
    pid = program if isinstance(program, int) else program.pid
    (process,) = [row for row in snapshot.processes if row.pid == pid]
    return process


@dataclass
class Lab:
    """One namespace, and a nettop that watches it."""

    inside: Namespace
    watch: Watch


@contextmanager
def watched_namespace(directory: Path) -> Iterator[Lab]:
    """Both for a while."""
    with namespace(directory) as inside, Watch(directory, "--netns", str(inside.path)) as watch:
        yield Lab(inside, watch)


# Running nettop to its end


def nettop(*arguments: str, timeout_s: float = PATIENCE_S, **popen: Any) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        [*NETTOP, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False, **popen
    )


@contextmanager
def snapshot_running(*arguments: str, prefix: Sequence[str] = ()) -> Iterator["subprocess.Popen[bytes]"]:
    """`nettop snapshot` for a long time, once it is attached. `prefix` is a command that execs it."""
    process = subprocess.Popen(
        [*prefix, *NETTOP, "snapshot", "--for", "600", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        try:
            wait_until(lambda: process.poll() is not None or attached(process.pid), "nettop snapshot to attach")
            yield process
        finally:
            process.kill()


@functools.cache
def hook_programs() -> int:
    """How many of nettop's hooks this kernel has."""
    kernel = Btf.of_running_kernel()

    def has(hook: Hook) -> bool:
        with suppress(BtfError):
            hook.kind.btf_type(kernel, hook.target)
            return True
        return False

    return sum(map(has, HOOKS))


def hook_links() -> int:
    """How many of them are attached by a link: all but the one that nettop runs itself."""
    return hook_programs() - sum(hook.kind is ON_REQUEST for hook in HOOKS)


def kernel_ids(pid: int) -> dict[str, set[int]]:
    """Ids of the BPF programs, maps and links that a process holds, from its descriptors (proc(5), fdinfo)."""
    found: dict[str, set[int]] = {"prog": set(), "map": set(), "link": set()}
    with suppress(FileNotFoundError):
        for entry in list(Path(f"/proc/{pid}/fdinfo").iterdir()):
            with suppress(FileNotFoundError):
                fields = dict(line.split(":", 1) for line in entry.read_text().splitlines() if ":" in line)
                # a link's information names its program too
                kind = next((kind for kind in ("link", "prog", "map") if f"{kind}_id" in fields), None)
                if kind is not None:
                    found[kind].add(int(fields[f"{kind}_id"]))
    return found


def attached(pid: int) -> bool:
    """Whether a nettop holds all its links, and its probes: with them it needs no more privileges."""
    status = Path(f"/proc/{pid}/status").read_text()
    return len(kernel_ids(pid)["link"]) >= hook_links() and "NoNewPrivs:\t1" in status


def existing_ids() -> dict[str, set[int]]:
    """Ids of all BPF programs, maps and links in the kernel.

    Opens none of them, as bpftool does: where a program array is opened while the kernel clears it, because its last
    owner has just ended, the kernel keeps it for ever (prog_array_map_clear() in kernel/bpf/arraymap.c takes a
    reference for work that is pending already).
    """
    return {kind: set(_ids(command)) for kind, command in _NEXT_ID.items()}


_NEXT_ID = {"prog": 11, "map": 12, "link": 31}  # BPF_PROG_GET_NEXT_ID and so on, enum bpf_cmd


def _ids(command: int) -> Iterator[int]:
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = (ctypes.c_uint32 * 32)()  # struct bpf_attr: start_id, next_id
    while not libc.syscall(syscalls._BPF_NUMBER[platform.machine()], command, attributes, ctypes.sizeof(attributes)):
        yield attributes[1]
        attributes[0] = attributes[1]
    assert ctypes.get_errno() == errno.ENOENT


# The published schemas


@cache
def _stream_validators() -> dict[str, Draft202012Validator]:
    """By the type of the line, as the schema's discriminator has it: an error is then about the one that is meant."""
    schema = json.loads((SCHEMAS / "stream.schema.json").read_text())
    return {
        kind: Draft202012Validator({"$ref": reference, "$defs": schema["$defs"]})
        for kind, reference in schema["discriminator"]["mapping"].items()
    }


@cache
def _snapshot_validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads((SCHEMAS / "snapshot.schema.json").read_text()))


def check_stream_line(line: bytes) -> None:
    """Hold a line of a stream against the published schema."""
    value = json.loads(line)
    _stream_validators()[value["type"]].validate(value)


def check_snapshot(text: bytes) -> Snapshot:
    """Hold a snapshot against the published schema; the snapshot."""
    _snapshot_validator().validate(json.loads(text))
    return _SNAPSHOT.decode(text)
