"""What the card offers and refuses, what it understands, and which commands it gives; whom the source protects."""

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from nettop.kernel import abi
from nettop.kernel.abi import BlockKey, ProcessKey
from nettop.kernel.blocks import Blocked, of_remote
from nettop.model.cutting import (
    Block,
    OneConnection,
    OneProcess,
    OneRemote,
    OneUnit,
    Order,
    Powers,
    Protected,
    why_not,
)
from nettop.model.owners import Owners
from nettop.sources import cutting as source
from nettop.sources.cutting import Cutter, Found, ssh_clients
from nettop.tracking.clock import Clock
from nettop.view.cutting import Subject, block_line, commands, offers, subject, understood
from tests import builders
from tests.builders import at
from tests.tui.scene import CUTTING, connection, listener, process, query

CURL = OneProcess(4242, at(-4242), "curl")
NETNS = builders.NETNS
HERE = replace(CUTTING, protected=Protected())


def about(row: Any, *processes: Any) -> Subject:
    return subject(row, Owners(processes))


def typed(about_it: Subject, powers: Powers = HERE) -> list[str]:
    return [offer.typed for offer in offers(about_it, powers)]


OPEN = connection(1, "curl", "www.example.com")
OF_PROCESS = ["block process 1|10|60"]
OF_REMOTE, ENDING = ["block remote 1|10|60"], ["end", "kill"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (OPEN, ["close", *OF_PROCESS, "block unit 1|10|60", *OF_REMOTE, *ENDING]),
        (replace(OPEN, state="closed"), [*OF_PROCESS, "block unit 1|10|60", *OF_REMOTE, *ENDING]),
        (replace(OPEN, pid=None, process_start_time=None), ["close", *OF_REMOTE]),
        (replace(OPEN, owner="listener"), ["close", *OF_REMOTE]),
        (query(1, "curl", "www.example.com"), [*OF_PROCESS, "block unit 1|10|60", *OF_REMOTE, *ENDING]),
        (process("curl"), [*OF_PROCESS, "block unit 1|10|60", *ENDING]),
        (listener(1, "curl"), [*OF_PROCESS, "block unit 1|10|60", *ENDING]),
    ],
)
def test_what_each_row_offers(row: Any, expected: list[str]) -> None:
    assert typed(about(row, process("curl"))) == expected


def test_of_a_process_that_has_ended_only_the_remote_is_offered() -> None:
    assert typed(about(replace(OPEN, state="closed"), process("curl", exited_at=at(1)))) == OF_REMOTE


def test_without_the_option_nothing_is_offered() -> None:
    assert offers(about(OPEN, process("curl")), replace(HERE, allowed=False)) == ()


@pytest.mark.parametrize(
    ("powers", "why"),
    [
        (replace(HERE, closes=False), "This needs Linux 6.5 or later."),
        (replace(HERE, netns=1), "It is in another network namespace than nettop; the command below works there."),
    ],
)
def test_closing_where_it_cannot_be(powers: Powers, why: str) -> None:
    offered = offers(about(OPEN, process("curl")), powers)
    assert offered[0].refused == understood("close", offered) == why


def one(**changes: Any) -> OneConnection:
    remote = OneRemote("198.51.100.1", NETNS)
    fields: dict[str, Any] = {"id": 1, "netns": NETNS, "remote": remote, "owner": CURL}
    return OneConnection(**fields | changes)


PROTECTED = Protected(frozenset((1, 77)), frozenset(("192.0.2.9",)))


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (CURL, None),
        (one(), None),
        (one(owner=None), None),
        (OneRemote("192.0.2.99", NETNS), None),
        (OneProcess(1, at(0), "systemd"), "process 1"),
        (OneProcess(77, at(0), "bash"), "what it was started from"),
        (OneProcess(78, at(0), "sshd"), "SSH sessions"),
        (OneProcess(78, at(0), "sshd-session"), "SSH sessions"),
        (OneProcess(78, at(0), "sshd-is-not-this"), None),
        (one(owner=OneProcess(77, at(0), "bash")), "what it was started from"),
        (one(remote=OneRemote("192.0.2.9", NETNS)), "where your SSH session comes from"),
        (OneRemote("192.0.2.9", NETNS), "where your SSH session comes from"),
        (OneRemote("192.0.2.9", NETNS + 1), "where your SSH session comes from"),
    ],
)
def test_what_is_protected(target: Any, why: str | None) -> None:
    said = why_not(Order("block", target, 1), PROTECTED)
    assert (said is None) if why is None else (said is not None and why in said)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("block process 10", Order("block", CURL, 10)),
        ("  block  process  60 ", Order("block", CURL, 60)),
        ("block process", "For how long? block process 1, 10 or 60 minutes."),
        ("block process 5", "For how long? block process 1, 10 or 60 minutes."),
        ("block process \u0661", "Type one of the lines above as it stands there."),
        ("block", "Type one of the lines above as it stands there."),
        ("kill -9", "Type one of the lines above as it stands there."),
        ("kill 10", "Type only: kill"),
        ("kill", Order("kill", CURL)),
        ("end", Order("end", CURL)),
        ("block process 1|10|60", "Type one of the lines above as it stands there."),
        ("", "Type one of the lines above as it stands there."),
    ],
)
def test_what_is_understood(words: str, expected: Order | str) -> None:
    assert understood(words, offers(about(process("curl")), HERE)) == expected


def test_the_commands_of_a_host_with_everything() -> None:
    everything = replace(HERE, tools=frozenset(source.TOOLS), has_systemd=True)
    assert [command.text for command in commands(about(OPEN, process("curl")), everything)] == [
        "ss -K -t src 192.0.2.10:40001 dst 198.51.100.1:443",
        "systemctl set-property --runtime curl.service IPAddressDeny=any",
        "systemctl set-property --runtime curl.service IPAddressDeny=198.51.100.1",
        "systemctl set-property --runtime curl.service IPAddressDeny=",
        "kill -TERM 4242",
        "kill -KILL 4242",
        "tcpdump -ni any host 198.51.100.1 and port 443",
    ]


def test_commands_of_another_namespace_go_there() -> None:
    elsewhere = replace(HERE, netns=1, tools=frozenset(source.TOOLS))
    texts = [command.text for command in commands(about(OPEN, process("curl")), elsewhere)]
    inside = "nsenter --net=/proc/4242/ns/net"
    assert texts[0] == f"{inside} ss -K -t src 192.0.2.10:40001 dst 198.51.100.1:443"
    assert texts[-1] == f"{inside} tcpdump -ni any host 198.51.100.1 and port 443"
    assert [command.text for command in commands(about(OPEN), elsewhere)] == []  # nobody is known whose it is


def test_only_commands_that_are_there_and_work() -> None:
    subject_of = about(OPEN, process("curl"))
    assert commands(subject_of, replace(HERE, tools=frozenset())) == ()
    without = replace(HERE, tools=frozenset(("ss", "systemctl")), destroys=False)
    assert commands(subject_of, without) == ()  # no systemd, and a kernel that does not close
    (unsure,) = commands(subject_of, replace(without, destroys=None))
    assert "CONFIG_INET_DIAG_DESTROY" in unsure.purpose


def test_an_ipv6_end_stands_in_brackets() -> None:
    row = replace(OPEN, remote=replace(OPEN.remote, address="2001:db8::1"))
    assert commands(about(row), HERE)[0].text.endswith("dst [2001:db8::1]:443")


@pytest.mark.parametrize("unit", ["a;reboot.service", "$(reboot).service", "a b.service", "--now.service\n", "--x"])
def test_no_command_runs_what_a_unit_is_called(unit: str) -> None:
    """A cgroup may have any name."""
    everything = replace(HERE, tools=frozenset(source.TOOLS), has_systemd=True)
    texts = [command.text for command in commands(about(process("curl", unit=unit)), everything)]
    assert all(shlex.split(text)[0] in ("kill", "tcpdump") for text in texts)
    assert len(texts) == 2


def test_the_line_of_blocks() -> None:
    assert "nothing is blocked" in block_line(())
    blocks = Block(1, CURL, 59.4, 0), Block(2, OneRemote("2001:db8::1", 1, "db.example"), 3600.0, 1234)
    assert block_line(blocks) == (
        "curl[4242] 59.4s left, 0 refused · db.example (2001:db8::1) 1h00m left, 1,234 refused · X lets go"
    )


# The cutter, with blocks that only remember

KEY = ProcessKey(4242, 7)


class FakeBlocks:
    can_close = True

    def __init__(self) -> None:
        self.known: dict[BlockKey, Blocked] = {}
        self.verdict = abi.CLOSING_DONE
        self.closed: list[tuple[int, int]] = []

    def block(self, key: BlockKey, until_ns: int, depth: int = 0) -> None:
        self.known[key] = Blocked(key, depth, until_ns, 0)

    def lift(self, key: BlockKey) -> None:
        del self.known[key]

    def blocked(self, now_ns: int) -> list[Blocked]:
        self.known = {key: each for key, each in self.known.items() if each.until_ns > now_ns}
        return list(self.known.values())

    def close(self, socket: int, seen_ns: int) -> int:
        self.closed.append((socket, seen_ns))
        return self.verdict


class Stopped(Clock):
    ns = 1_000_000_000

    def __init__(self) -> None:
        super().__init__(0, 0)

    def kernel_ns(self) -> int:
        return self.ns


def cutter(its_blocks: FakeBlocks, clock: Stopped, **changes: Any) -> Cutter:
    fields: dict[str, Any] = {
        "process": lambda one: KEY if one == CURL else None,
        "connection": lambda number: (0xFFFF, 9) if number == 1 else None,
        "ssh_clients": lambda: ["192.0.2.50"],
        "is_alive": lambda _key: True,
    }
    return Cutter(its_blocks, clock, Found(**fields | changes), HERE)  # type: ignore[arg-type]


def said(subject_of: Cutter) -> str:
    outcome = subject_of.state().outcome
    assert outcome is not None
    return outcome.sentence


def test_a_block_is_listed_with_the_time_left_until_it_is_over() -> None:
    fake, clock = FakeBlocks(), Stopped()
    subject_of = cutter(fake, clock)
    subject_of.order(Order("block", CURL, 10))
    assert fake.known.keys() == {BlockKey(7, abi.BLOCK_PROCESS, 4242, bytes(16))}
    assert subject_of.state().blocks == (Block(1, CURL, 600.0, 0),)
    clock.ns += 599_000_000_000
    assert [block.left_s for block in subject_of.state().blocks] == [1.0]
    clock.ns += 1_000_000_000
    assert subject_of.state().blocks == ()
    subject_of.order(Order("block", CURL, 1))
    assert [block.left_s for block in subject_of.state().blocks] == [60.0]


def test_letting_go_of_one_and_of_all() -> None:
    fake = FakeBlocks()
    subject_of = cutter(fake, Stopped())
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
        subject_of.order(Order("block", OneRemote(address, NETNS), 1))
    assert of_remote(NETNS, bytes(10) + b"\xff\xff\xc0\0\2\2") in fake.known
    subject_of.lift(2)
    assert [block.target.said for block in subject_of.state().blocks] == ["192.0.2.1", "2001:db8::1"]
    subject_of.lift(None)
    assert said(subject_of) == "No longer blocked: 192.0.2.1, 2001:db8::1."
    assert fake.known == {}
    before = subject_of.state().outcome
    subject_of.lift(2)
    assert subject_of.state().outcome == before


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (Order("block", replace(CURL, pid=4243), 1), "has ended already"),
        (Order("block", OneRemote("192.0.2.50", NETNS), 1), "SSH session"),
        (Order("close", one(netns=NETNS + 1)), "its own network namespace only"),
        (Order("close", one(id=2)), "not open any more"),
        (Order("close", one(owner=None, remote=OneRemote("192.0.2.50", NETNS))), "may be an SSH session"),
        (Order("block", OneUnit("x.service", replace(CURL, pid=4243)), 1), "has ended already"),
    ],
)
def test_what_the_cutter_refuses(order: Order, why: str) -> None:
    fake = FakeBlocks()
    subject_of = cutter(fake, Stopped())
    subject_of.order(order)
    assert why in said(subject_of)
    assert (fake.known, fake.closed) == ({}, [])


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        (abi.CLOSING_DONE, "Closed: the connection to 198.51.100.1."),
        (abi.CLOSING_NOT_FOUND, "Not closed: it is not open any more."),
        (abi.CLOSING_REFUSED, "Not closed: the kernel refused to."),
        (abi.CLOSING_SUBFLOW, "Not closed: it belongs to Multipath TCP: both ends would hang."),
    ],
)
def test_what_came_of_closing(verdict: int, sentence: str) -> None:
    fake = FakeBlocks()
    fake.verdict = verdict
    subject_of = cutter(fake, Stopped())
    subject_of.order(Order("close", one()))
    assert said(subject_of) == sentence
    assert fake.closed == [(0xFFFF, 9)]


def test_in_a_container_of_its_own_pids_no_process_is_touched() -> None:
    subject_of = cutter(FakeBlocks(), Stopped(), is_alive=None)
    for verb in ("block", "end", "kill"):
        subject_of.order(Order(verb, replace(CURL, pid=os.getpid()), 1))
        assert "process ids of its own" in said(subject_of)


def test_not_too_many_blocks() -> None:
    fake = FakeBlocks()
    subject_of = cutter(fake, Stopped())
    for number in range(65):
        subject_of.order(Order("block", OneRemote(f"192.0.2.{number + 100}", NETNS), 1))
    assert said(subject_of) == "Not more than 64 blocks at a time."
    assert len(fake.known) == 64


def test_where_ssh_sessions_come_from() -> None:
    local = replace(OPEN.local, port=22)
    rows = (
        replace(OPEN, direction="inbound", comm="sshd"),
        replace(OPEN, direction="outbound", comm="sshd", remote=replace(OPEN.remote, address="192.0.2.1")),
        replace(OPEN, direction="unknown", comm=None, local=local, remote=replace(OPEN.remote, address="192.0.2.2")),
        replace(OPEN, direction="inbound", comm="nginx", remote=replace(OPEN.remote, address="192.0.2.3")),
    )
    assert list(ssh_clients(rows)) == ["198.51.100.1", "192.0.2.2"]


def test_what_is_protected_here() -> None:
    pids = source._protected().pids
    assert {1, os.getpid(), os.getppid()} <= pids
    assert Path(f"/proc/{max(pids)}").exists()
