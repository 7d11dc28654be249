"""What --allow-cut loads refuses what is in its map and nothing else: read from instructions, and tried in a cgroup.

No program here is attached to the root. There is no way to run programs about sockets on bytes (BPF_PROG_TEST_RUN).
"""

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nettop.kernel import blocks
from nettop.kernel.abi import BlockKey, ProcessKey
from nettop.kernel.blocks import Blocks
from nettop.kernel.compiled import CompiledPrograms
from nettop.kernel.compiled_cache import compiled_programs
from nettop.kernel.hooks import CUT_HOOKS, OnCgroup
from nettop.kernel.program import KernelProgram, defines
from nettop.kernel.scope import Scope
from tests.live import programs
from tests.live.cgroups import enter
from tests.live.lab import Namespace, Program, child_cgroup

pytestmark = pytest.mark.live

GO_ON, NO = 1, 0
DECIDING = [hook for hook in CUT_HOOKS if isinstance(hook.kind, OnCgroup)]
PORT = 9
IPV4, OTHER_IPV4, IPV6, MAPPED = "127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"
ADDRESSES = [IPV4, OTHER_IPV4, IPV6, MAPPED]
SCOPE = Scope(netns=(1,))  # as where tests cut
LATER_NS = 600_000_000_000


@pytest.fixture(scope="module")
def compiled() -> CompiledPrograms:
    return compiled_programs(defines(SCOPE, cut=True))


def test_without_the_option_nothing_of_it_is_compiled() -> None:
    made = compiled_programs(defines(Scope()))
    assert not {hook.program for hook in CUT_HOOKS} & set(made.programs)
    assert not {"blocks", "armed", "closing"} & set(made.maps)


# The instructions


class Step(NamedTuple):
    """A place in a program, what is known of the registers there, and whether a refusal was counted on the way."""

    at: int
    known: tuple[int | None, ...]
    counted: bool


_MOVE_NUMBERS = (0xB7, 0xB4)
_MOVES_REGISTER, _LOADS_WIDE, _CALLS, _ENDS, _GOES = 0xBF, 0x18, 0x85, 0x95, 0x05
_ADDS_ATOMICALLY = 0xDB  # BPF_STX | BPF_ATOMIC | BPF_DW
_STORES_NUMBER, _STORES, _JUMPS, _JUMPS_32 = 2, 3, 5, 6  # classes
_RETURNED = 0  # register


def ends(code: bytes) -> set[tuple[int | None, bool]]:
    """What the program can return (None: not known from its instructions) and whether it has counted a refusal then.

    Follows both ways of each branch, so it finds every way that there is, and some that there are not.
    """
    found: set[tuple[int | None, bool]] = set()
    seen: set[Step] = set()
    waiting = [Step(0, (None,) * 11, False)]
    while waiting:
        step = waiting.pop()
        if step in seen:
            continue
        seen.add(step)
        if code[step.at * 8] == _ENDS:
            found.add((step.known[_RETURNED], step.counted))
        else:
            waiting += after(code, step)
    return found


def after(code: bytes, step: Step) -> list[Step]:
    """Where a program goes on."""
    operation, registers, offset, number = struct.unpack_from("<BBhi", code, step.at * 8)
    to, source, known, at = registers & 15, registers >> 4, list(step.known), step.at + 1
    if operation == _GOES:
        return [Step(at + offset, step.known, step.counted)]
    if operation != _CALLS and operation & 7 in (_JUMPS, _JUMPS_32):
        return [Step(at + jumped, step.known, step.counted) for jumped in (0, offset)]
    if operation == _CALLS:
        known[:6] = [None] * 6
    elif operation in _MOVE_NUMBERS:
        known[to] = number if number in (NO, GO_ON) else None
    elif operation == _MOVES_REGISTER:
        known[to] = known[source]
    elif operation & 7 not in (_STORES_NUMBER, _STORES):
        known[to] = None
    at += operation == _LOADS_WIDE  # takes the place of two
    return [Step(at, tuple(known), step.counted or operation == _ADDS_ATOMICALLY)]


@pytest.mark.parametrize("hook", DECIDING, ids=lambda hook: hook.program)
def test_no_is_said_only_after_it_was_counted(compiled: CompiledPrograms, hook: object) -> None:
    """What counts is an entry of the map, which the verifier has seen to be there."""
    program = compiled.programs[hook.program]  # type: ignore[attr-defined]
    assert ends(program.instructions) == {(GO_ON, False), (NO, True)}
    assert {name for _, name in program.map_references} == {"blocks", "armed"}


def instructions(*each: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("<BBhi", *instruction) for instruction in each)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (instructions((0xB7, 0, 0, 0), (0x95, 0, 0, 0)), {(NO, False)}),
        (instructions((0x95, 0, 0, 0)), {(None, False)}),
        (instructions((0xB7, 0, 0, 1), (0x15, 1, 1, 0), (0xB7, 0, 0, 0), (0x95, 0, 0, 0)), {(1, False), (0, False)}),
        (instructions((0xB7, 0, 0, 1), (0xDB, 1, 0, 0), (0x95, 0, 0, 0)), {(GO_ON, True)}),
    ],
)
def test_this_test_can_see_another_way(code: bytes, expected: set[tuple[int | None, bool]]) -> None:
    assert ends(code) == expected


# In a cgroup of the test's own


class Blocking(NamedTuple):
    """Two programs alike, one in a cgroup inside the other's, and what blocks there."""

    blocks: Blocks
    outer: Program
    inner: Program
    outer_cgroup: Path
    inner_cgroup: Path
    netns: int


@pytest.fixture
def blocking(compiled: CompiledPrograms, quiet: Namespace) -> Iterator[Blocking]:
    kernel = KernelProgram(SCOPE, compiled)
    with child_cgroup("nettop-test-blocks") as (outer, descriptor):
        inner = outer / "inner"
        inner.mkdir()
        attempters = tuple(quiet.play(programs.attempt, addresses=ADDRESSES, port=PORT) for _ in range(2))
        try:
            for program, cgroup in zip(attempters, (outer, inner), strict=True):
                assert program.hear() == "ready"
                enter(cgroup, program.pid)
            for hook in DECIDING:
                kernel.attach_hook(hook, descriptor)
            yield Blocking(Blocks(kernel._maps, kernel._links), attempters[0], attempters[1], outer, inner, quiet.inode)
        finally:
            for program in attempters:
                program.stop()
            kernel.close()
            inner.rmdir()


def refused(program: Program) -> set[str]:
    """What it could not do. All else went as if nothing was blocked."""
    program.say(1)
    outcomes = program.hear()
    assert len(outcomes) == 3 * len(ADDRESSES)
    for attempt, outcome in outcomes.items():
        assert outcome in ("EPERM", "ECONNREFUSED" if attempt.startswith("tcp") else "done"), (attempt, outcome)
    return {attempt for attempt, outcome in outcomes.items() if outcome == "EPERM"}


EVERYTHING = {f"{how} {address}" for how in ("tcp", "udp", "sendto") for address in ADDRESSES}


def of_addresses(*addresses: str) -> set[str]:
    return {attempt for attempt in EVERYTHING if attempt.split()[1] in addresses}


def key_of(pid: int) -> BlockKey:
    """Of a process, with the start that the kernel keeps, of which /proc tells the ticks: tried one by one."""
    text = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return blocks.of_process(ProcessKey(pid, int(text[19]) * 10_000_000))


def raw(address: str) -> bytes:
    if ":" in address:
        return socket.inet_pton(socket.AF_INET6, address)
    return bytes(10) + b"\xff\xff" + socket.inet_aton(address)


def until_later() -> int:
    return time.monotonic_ns() + LATER_NS


def test_nothing_is_refused_while_nothing_is_blocked(blocking: Blocking) -> None:
    assert refused(blocking.outer) == refused(blocking.inner) == set()


def test_what_others_block_changes_nothing(blocking: Blocking) -> None:
    """Keys that differ in one thing each: pid, start, cgroup, namespace, a bit of the address."""
    near = key_of(blocking.outer.pid)
    for key, depth in (
        (near, 0),  # its start is rounded down
        (BlockKey(near.id, near.kind, near.number + 1, near.address), 0),
        (blocks.of_cgroup(blocking.inner_cgroup.stat().st_ino + 1_000_000), 2),
        (blocks.of_remote(blocking.netns + 1, raw(IPV4)), 0),
        (blocks.of_remote(blocking.netns, raw("126.0.0.1")), 0),
        (blocks.of_remote(blocking.netns, raw("127.0.0.3")), 0),
        (blocks.of_remote(blocking.netns, raw("::")), 0),
        (blocks.of_remote(blocking.netns, bytes(16)), 0),
    ):
        blocking.blocks.block(key, until_later(), depth)
    assert refused(blocking.outer) == refused(blocking.inner) == set()
    assert [each.refused for each in blocking.blocks.blocked(time.monotonic_ns())] == [0] * 7


@pytest.mark.parametrize(
    ("address", "expected"),
    [(IPV4, of_addresses(IPV4, MAPPED)), (OTHER_IPV4, of_addresses(OTHER_IPV4)), (IPV6, of_addresses(IPV6))],
)
def test_a_remote_is_blocked_for_everybody_in_its_namespace(
    blocking: Blocking, address: str, expected: set[str]
) -> None:
    key = blocks.of_remote(blocking.netns, raw(address))
    blocking.blocks.block(key, until_later())
    assert refused(blocking.outer) == refused(blocking.inner) == expected
    (blocked,) = blocking.blocks.blocked(time.monotonic_ns())
    assert blocked.refused == 2 * len(expected)
    blocking.blocks.lift(key)
    assert refused(blocking.outer) == refused(blocking.inner) == set()


def test_a_cgroup_is_blocked_with_what_is_below_it(blocking: Blocking) -> None:
    inner = blocks.of_cgroup(blocking.inner_cgroup.stat().st_ino)
    blocking.blocks.block(inner, until_later(), 2)
    assert (refused(blocking.inner), refused(blocking.outer)) == (EVERYTHING, set())
    blocking.blocks.lift(inner)
    outer = blocks.of_cgroup(blocking.outer_cgroup.stat().st_ino)
    blocking.blocks.block(outer, until_later(), 1)
    assert refused(blocking.inner) == refused(blocking.outer) == EVERYTHING
    blocking.blocks.lift(outer)
    assert refused(blocking.inner) == refused(blocking.outer) == set()


def test_a_block_ends_on_time_without_anybody(blocking: Blocking) -> None:
    """Only the kernel compares the time here; it is set to be over when all is slow, too."""
    key = blocks.of_remote(blocking.netns, raw(IPV4))
    blocking.blocks.block(key, until_later())
    assert refused(blocking.outer)
    blocking.blocks._blocked.clear()
    blocking.blocks.block(key, time.monotonic_ns() - 1)
    assert refused(blocking.outer) == set()
    (before,) = blocking.blocks._blocked.values()
    assert blocking.blocks.blocked(time.monotonic_ns()) == []
    assert before.key == key


def test_blocking_again_prolongs_and_keeps_what_was_counted(blocking: Blocking) -> None:
    key, until_ns = blocks.of_remote(blocking.netns, raw(OTHER_IPV4)), until_later()
    blocking.blocks.block(key, until_ns)
    refused(blocking.outer)
    blocking.blocks.block(key, until_ns - 1_000_000_000)
    (blocked,) = blocking.blocks.blocked(time.monotonic_ns())
    assert (blocked.until_ns, blocked.refused) == (until_ns, 3)
