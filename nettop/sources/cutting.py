"""Carries out what --allow-cut allows: finds out what exactly is meant, refuses what must not be, and does the rest."""

import os
import shutil
import signal
import socket
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from nettop.kernel import abi, blocks
from nettop.kernel.abi import BlockKey, ProcessKey
from nettop.kernel.blocks import Blocks
from nettop.kernel.cgroups import hierarchies
from nettop.kernel.place import ROOT_CGROUP_INODE
from nettop.model.cutting import (
    INIT,
    SSH_SERVERS,
    Block,
    Cuts,
    OneConnection,
    OneProcess,
    OneRemote,
    OneUnit,
    Order,
    Outcome,
    Powers,
    Protected,
    why_not,
)
from nettop.model.rows import Connection
from nettop.model.services import unit_cgroup_names
from nettop.text import printable
from nettop.tracking.clock import Clock

TOOLS = ("ss", "kill", "nsenter", "systemctl", "tcpdump")
_SIGNALS = {"end": signal.SIGTERM, "kill": signal.SIGKILL}
_SSH_PORT = 22
_SECOND_NS = 1_000_000_000
_SSH_VARIABLES = (b"SSH_CONNECTION=", b"SSH_CLIENT=")  # sshd(8): the client's address comes first
_DESTROYS = b"CONFIG_INET_DIAG_DESTROY=y"
_GZIP = 31  # wbits of zlib for what gzip(1) writes
_CLOSED = {
    abi.CLOSING_NOT_FOUND: "it is not open any more.",
    abi.CLOSING_REFUSED: "the kernel refused to.",
    abi.CLOSING_SUBFLOW: "it belongs to Multipath TCP: both ends would hang.",
}


class Found(NamedTuple):
    """What the trackers know: which process or connection a row is about, and who the SSH clients are."""

    process: Callable[[OneProcess], ProcessKey | None]
    connection: Callable[[int], tuple[int, int] | None]  # kernel address and seen_ns of a connection that is open
    ssh_clients: Callable[[], Iterable[str]]  # addresses
    is_alive: Callable[[ProcessKey], bool] | None  # None where /proc shows other pids than the kernel's


class Cutter:
    """On the thread of the source. Blocks end on time by themselves, and with nettop."""

    def __init__(self, its_blocks: Blocks, clock: Clock, found: Found, powers: Powers) -> None:
        self._blocks, self._clock, self._found = its_blocks, clock, found
        self.powers = powers
        self._targets: dict[BlockKey, tuple[int, OneProcess | OneUnit | OneRemote]] = {}
        self._outcomes = self._numbers = 0
        self._outcome: Outcome | None = None

    def state(self) -> Cuts:
        """How things stand now. Raises OSError."""
        now_ns = self._clock.kernel_ns()
        listed = []
        for each in self._blocks.blocked(now_ns):
            number, target = self._targets[each.key]
            listed.append(Block(number, target, (each.until_ns - now_ns) / _SECOND_NS, each.refused))
        return Cuts(tuple(listed), self._outcome)

    def order(self, order: Order) -> None:
        """Do it, or say why not in the outcome."""
        refusal = why_not(order, self.powers.protected)
        try:
            if refusal is None:
                self._say(self._do(order))
            else:
                self._say(refusal, failed=True)
        except _RefusedError as error:
            self._say(str(error), failed=True)
        except OSError as error:
            self._say(f"The kernel refused to: {error.strerror}.", failed=True)

    def lift(self, number: int | None) -> None:
        """Let go of one block, or of all of them."""
        lifted = []
        for key, (its_number, target) in list(self._targets.items()):
            if number in (None, its_number):
                self._blocks.lift(key)
                del self._targets[key]
                lifted.append(target.said)
        if lifted:
            self._say(f"No longer blocked: {', '.join(lifted)}.")

    def _do(self, order: Order) -> str:
        target = order.target
        if isinstance(target, OneConnection):
            return self._close(target)
        if order.verb == "block":
            return self._block(target, order.minutes)
        if isinstance(target, OneProcess):
            return self._end(target, _SIGNALS[order.verb])
        raise _RefusedError("There is nothing to end.")

    def _block(self, target: OneProcess | OneUnit | OneRemote, minutes: int) -> str:
        depth = 0
        if isinstance(target, OneProcess):
            key = blocks.of_process(self._living(target))
        elif isinstance(target, OneUnit):
            cgroup = self._cgroup(target)
            key, depth = blocks.of_cgroup(cgroup.id), cgroup.depth
        else:
            if target.address in self._found.ssh_clients():
                raise _RefusedError(f"nettop never cuts off an SSH session, and one comes from {target.address}.")
            key = blocks.of_remote(target.netns, _mapped(target.address))
        if len(self._targets) >= blocks.MOST and key not in self._targets:
            raise _RefusedError(f"Not more than {blocks.MOST} blocks at a time.")
        self._blocks.block(key, self._clock.kernel_ns() + minutes * 60 * _SECOND_NS, depth)
        if key not in self._targets:
            self._numbers += 1
            self._targets[key] = self._numbers, target
        return f"Blocked for {minutes} min: {target.said}. X lets go."

    def _close(self, target: OneConnection) -> str:
        if target.netns != self.powers.netns:
            raise _RefusedError("nettop closes connections of its own network namespace only.")
        if target.remote.address in self._found.ssh_clients() and target.owner is None:
            raise _RefusedError("It may be an SSH session: its process is not known.")
        socket_and_time = self._found.connection(target.id)
        verdict = abi.CLOSING_NOT_FOUND if socket_and_time is None else self._blocks.close(*socket_and_time)
        if verdict != abi.CLOSING_DONE:
            raise _RefusedError(f"Not closed: {_CLOSED[verdict]}")
        return f"Closed: {target.said}."

    def _end(self, target: OneProcess, number: signal.Signals) -> str:
        self._refuse_ssh(target.pid)
        try:
            descriptor = os.pidfd_open(target.pid)
        except ProcessLookupError:
            raise _RefusedError(f"{target.said} has ended already.") from None
        try:
            # Only now: what has the pid while the descriptor is open is what the descriptor stands for.
            self._living(target)
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            raise _RefusedError(f"{target.said} has ended already.") from None
        finally:
            os.close(descriptor)
        return f"Sent {number.name} to {target.said}."

    def _living(self, target: OneProcess) -> ProcessKey:
        """The one process that is meant. Raises _RefusedError."""
        if self._found.is_alive is None:
            raise _RefusedError("This container has process ids of its own: nettop cannot tell who that is.")
        key = self._found.process(target)
        if key is None or not self._found.is_alive(key):
            raise _RefusedError(f"{target.said} has ended already.")
        return key

    def _refuse_ssh(self, pid: int) -> None:
        """By the name that it has now."""
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() in SSH_SERVERS:
                raise _RefusedError("nettop never touches SSH sessions.")

    def _cgroup(self, target: OneUnit) -> "_Cgroup":
        """Of a unit. Raises _RefusedError if it has none in cgroup2, or if somebody in it must not be cut off."""
        self._living(target.member)
        path = _path_of_unit(target.member.pid, target.name)
        tree = next((each for each in hierarchies() if not each.v1), None)
        if path is None or tree is None:
            raise _RefusedError(f"{target.name} has no cgroup in cgroup2 here, and nettop can block no other.")
        if Path(tree.directory).stat().st_ino != ROOT_CGROUP_INODE:
            raise _RefusedError(
                "This container sees a part of the cgroups only: nettop cannot tell how deep a unit lies."
            )
        depth = path.count("/")
        directory = Path(f"{tree.directory}{path}")
        if not 0 < depth <= abi.CGROUP_LEVELS:
            raise _RefusedError(f"{target.name} lies too deep among the cgroups.")
        protected = self.powers.protected.pids
        for pid in _pids_below(directory):
            if pid == INIT or pid in protected:
                raise _RefusedError(f"nettop never touches itself and what it was started from: {target.name} is that.")
            self._refuse_ssh(pid)
        found = directory.stat()
        self._living(target.member)  # or another unit might have got its place meanwhile
        return _Cgroup(found.st_ino, depth)

    def _say(self, sentence: str, failed: bool = False) -> None:
        self._outcomes += 1
        self._outcome = Outcome(self._outcomes, sentence, failed)


class _RefusedError(Exception):
    """A sentence for the outcome."""


class _Cgroup(NamedTuple):
    id: int
    depth: int  # below the root of cgroup2


def _path_of_unit(pid: int, unit: str) -> str | None:
    """The path in cgroup2 of the unit that a process is in."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_bytes().splitlines()
    except OSError:
        return None
    path = next((line.removeprefix(b"0::") for line in lines if line.startswith(b"0::")), b"")
    parts = os.fsdecode(path).split("/")
    names = {*unit_cgroup_names(unit)}
    at = [place for place, part in enumerate(parts) if printable(os.fsencode(part)).replace("\\\\", "\\") in names]
    return "/".join(parts[: at[-1] + 1]) if at else None


def _pids_below(directory: Path) -> Iterator[int]:
    for place, _, _ in os.walk(directory):
        with suppress(OSError):  # it has gone meanwhile
            yield from map(int, (Path(place) / "cgroup.procs").read_text().split())


def _mapped(address: str) -> bytes:
    """16 bytes, IPv4 as IPv4-mapped IPv6."""
    if ":" in address:
        return socket.inet_pton(socket.AF_INET6, address)
    return bytes(10) + b"\xff\xff" + socket.inet_pton(socket.AF_INET, address)


def ssh_clients(connections: Iterable[Connection]) -> Iterator[str]:
    """The addresses that SSH sessions of these may come from, also those of others and of terminal multiplexers."""
    for row in connections:
        if row.direction != "outbound" and (row.comm in SSH_SERVERS or row.local.port == _SSH_PORT):
            yield row.remote.address


def powers(allowed: bool, closes: bool) -> Powers:
    """What can be done here. Call it with nettop's privileges: it reads where SSH sessions come from."""
    return Powers(
        allowed=allowed,
        closes=closes,
        netns=Path("/proc/self/ns/net").stat().st_ino,
        protected=_protected() if allowed else Protected(),
        tools=frozenset(filter(shutil.which, TOOLS)),
        has_systemd=Path("/run/systemd/system").is_dir(),  # sd_booted(3)
        destroys=_destroys(),
    )


def _protected() -> Protected:
    pids, addresses = {INIT}, set()
    pid = os.getpid()
    while pid > 0 and pid not in pids:
        pids.add(pid)
        with suppress(OSError):
            for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if variable.startswith(_SSH_VARIABLES):
                    client = variable.partition(b"=")[2].split(b" ")[0].partition(b"%")[0]
                    addresses.add(client.decode(errors="replace"))
        pid = _parent_of(pid)
    return Protected(frozenset(pids), frozenset(addresses))


def _parent_of(pid: int) -> int:
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    return 0


def _destroys() -> bool | None:
    """Whether the kernel says in its configuration that `ss -K` works; None if it does not say."""
    with suppress(OSError, zlib.error):
        text = zlib.decompress(Path("/proc/config.gz").read_bytes(), _GZIP)
        return _DESTROYS in text.splitlines()
    with suppress(OSError):
        return _DESTROYS in Path(f"/boot/config-{os.uname().release}").read_bytes().splitlines()
    return None
