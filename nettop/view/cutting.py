"""What the card of the key x says: what nettop can cut here, and the commands that a person can run. Pure functions."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nettop.model.cutting import (
    MINUTES,
    Block,
    OneConnection,
    OneProcess,
    OneRemote,
    OneUnit,
    Order,
    Powers,
    why_not,
)
from nettop.model.kinds import AnyRow
from nettop.model.owners import Owners
from nettop.model.rows import Connection, DnsQuery, ProcessIdentity, RemoteEndpoint, RemoteHost
from nettop.view import format as human

_FOR = f"{', '.join(map(str, MINUTES[:-1]))} or {MINUTES[-1]}"
_CHOICE = "|".join(map(str, MINUTES))
_SAFE_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]+\.[a-z]+")  # as systemd.unit(5) has them
_BEGIN = "begins a TCP connection, or sends a datagram to an address that it names"
_GUESSES = ("listener", "unknown")  # of Connection.owner and its like
_GOES_ON = "What is open goes on."


@dataclass(frozen=True)
class Subject:
    """What a row is about, as far as it can be cut; None is not known, or over."""

    title: str
    netns: int
    process: OneProcess | None
    unit: OneUnit | None
    remote: OneRemote | None
    connection: OneConnection | None
    local: tuple[str, int] | None  # of the connection
    port: int | None  # of the remote end


@dataclass(frozen=True)
class Offer:
    """Something that nettop can do: what one types for it, what happens then, and why it will not (empty: it will)."""

    words: str
    meaning: str
    order: Order
    refused: str = ""

    @property
    def typed(self) -> str:
        """With the choice of minutes."""
        return f"{self.words} {_CHOICE}" if self.order.verb == "block" else self.words


@dataclass(frozen=True)
class Command:
    """What a person can run, and for what."""

    purpose: str
    text: str


def subject(row: AnyRow, owners: Owners) -> Subject:
    """What a row is about. A process that is only a guess is nobody: it might be another's that is cut off."""
    owner = owners.of(row) if getattr(row, "owner", None) not in _GUESSES else None
    one = _living(owner)
    unit = OneUnit(owner.unit, one) if one is not None and owner is not None and owner.unit is not None else None
    far, netns = _far_end(row), row.netns
    remote = None if far is None else OneRemote(far.address, netns, getattr(far, "name", None))
    connection, local = None, None
    if isinstance(row, Connection) and row.state != "closed" and remote is not None:
        connection = OneConnection(row.id, netns, remote, _owner(row))
        local = row.local.address, row.local.port
    parts = (None if one is None else one.said, None if remote is None else remote.said)
    title = " and ".join(filter(None, parts)) or "this row"
    return Subject(title, netns, one, unit, remote, connection, local, getattr(far, "port", None))


def _living(owner: ProcessIdentity | None) -> OneProcess | None:
    if owner is None or owner.exited_at is not None:
        return None
    return OneProcess(owner.pid, owner.start_time, owner.comm)


def _owner(row: Connection) -> OneProcess | None:
    if row.pid is None or row.process_start_time is None:
        return None
    return OneProcess(row.pid, row.process_start_time, row.comm or "?")


def _far_end(row: AnyRow) -> Any:
    """What has the address of somebody else."""
    if isinstance(row, RemoteHost):
        return row
    if isinstance(row, DnsQuery):
        return row.server
    far = getattr(row, "remote", None)
    return far if isinstance(far, RemoteEndpoint) else None


def offers(about: Subject, powers: Powers) -> tuple[Offer, ...]:
    """What nettop can do with it, if it is allowed to."""
    return tuple(_offers(about, powers)) if powers.allowed else ()


def _offers(about: Subject, powers: Powers) -> Iterator[Offer]:
    if about.connection is not None:
        refused = ""
        if not powers.closes:
            refused = "This needs Linux 6.5 or later."
        elif about.connection.netns != powers.netns:
            refused = "It is in another network namespace than nettop; the command below works there."
        meaning = (
            "Ends this connection at once: this end gets ECONNABORTED, the far end a reset. "
            "The program may connect again."
        )
        yield _offer("close", meaning, Order("close", about.connection), powers, refused)
    if about.process is not None:
        meaning = (
            f"For so many minutes {about.process.said}, but not its children, gets EPERM when it {_BEGIN}. {_GOES_ON}"
        )
        yield _offer("block process", meaning, Order("block", about.process), powers)
    if about.unit is not None:
        meaning = f"The same for all processes of {about.unit.said}, also those that it starts later."
        yield _offer("block unit", meaning, Order("block", about.unit), powers)
    if about.remote is not None:
        meaning = (
            f"Whoever is in the same network namespace and {_BEGIN}, gets EPERM for {about.remote.said}. {_GOES_ON}"
        )
        yield _offer("block remote", meaning, Order("block", about.remote), powers)
    if about.process is not None:
        asks = f"Sends SIGTERM to {about.process.said}: asks it to end."
        ends = f"Sends SIGKILL to {about.process.said}: ends it at once; it cannot save anything."
        yield _offer("end", asks, Order("end", about.process), powers)
        yield _offer("kill", ends, Order("kill", about.process), powers)


def _offer(words: str, meaning: str, order: Order, powers: Powers, refused: str = "") -> Offer:
    return Offer(words, meaning, order, why_not(order, powers.protected) or refused)


def understood(typed: str, offered: Sequence[Offer]) -> Order | str:
    """The order that somebody typed, or what is wrong with it."""
    words = typed.split()
    minutes = int(words.pop()) if words and words[-1].isascii() and words[-1].isdecimal() else None
    found = next((each for each in offered if each.words.split() == words), None)
    if found is None:
        return "Type one of the lines above as it stands there."
    if found.refused:
        return found.refused
    if found.order.verb != "block":
        return found.order if minutes is None else f"Type only: {found.words}"
    if minutes not in MINUTES:
        return f"For how long? {found.words} {_FOR} minutes."
    return Order("block", found.order.target, minutes)


def commands(about: Subject, powers: Powers) -> tuple[Command, ...]:
    """What a person can run as root, of the commands that there are here."""
    return tuple(_commands(about, powers))


def _commands(about: Subject, powers: Powers) -> Iterator[Command]:
    inside = _inside(about, powers)
    can_close = inside is not None and "ss" in powers.tools and powers.destroys is not False
    if can_close and about.connection is not None and about.local is not None:
        ends = f"src {_end(*about.local)} dst {_end(about.connection.remote.address, about.port or 0)}"
        unsure = "" if powers.destroys else " (if the kernel has CONFIG_INET_DIAG_DESTROY)"
        yield Command(f"close it{unsure}", f"{inside}ss -K -t {ends}")
    if about.unit is not None and powers.has_systemd and "systemctl" in powers.tools:
        name = about.unit.name
        if _SAFE_UNIT.fullmatch(name):
            set_property = f"systemctl set-property --runtime {shlex.quote(name)} IPAddressDeny="
            yield Command("cut the unit off", f"{set_property}any")
            if about.remote is not None:
                yield Command("cut the unit off from there", f"{set_property}{about.remote.address}")
            yield Command("let go of it again", set_property)
    if about.process is not None and "kill" in powers.tools:
        yield Command("ask the process to end", f"kill -TERM {about.process.pid}")
        yield Command("end it at once", f"kill -KILL {about.process.pid}")
    if about.remote is not None and inside is not None and "tcpdump" in powers.tools:
        port = f" and port {about.port}" if about.port else ""
        yield Command("look at its packets", f"{inside}tcpdump -ni any host {about.remote.address}{port}")


def _inside(about: Subject, powers: Powers) -> str | None:
    """What goes before a command that has to run in the network namespace of the row; None if nothing can."""
    if about.netns == powers.netns:
        return ""
    if about.process is None or "nsenter" not in powers.tools:
        return None
    return f"nsenter --net=/proc/{about.process.pid}/ns/net "


def _end(address: str, port: int) -> str:
    """As ss(8) takes it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def block_line(blocks: Sequence[Block]) -> str:
    """What is blocked, for how long yet, and what was refused."""
    if not blocks:
        return "x on a row cuts; nothing is blocked"
    return f"{' · '.join(map(said, blocks))} · X lets go"


def said(block: Block) -> str:
    """One of them."""
    return f"{block.target.said} {human.duration(block.left_s * 1000)} left, {human.count(block.refused)} refused"
