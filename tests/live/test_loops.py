"""Loops of the kernel programs as Linux 5.10 takes them, whatever kernel this is and whatever is in scope."""

import struct
from typing import Any

import pytest

from nettop.kernel.compiled_cache import compiled_programs
from nettop.kernel.program import defines
from nettop.kernel.scope import Scope

_JUMP, _JUMP_32, _EXIT, _CALL, _ALWAYS = 0x05, 0x06, 0x90, 0x80, 0x00  # include/uapi/linux/bpf_common.h and bpf.h

SCOPES = {
    "all": Scope(),
    "pid": Scope(pids=(1,)),
    "comm": Scope(comms=(b"x",)),
    "netns": Scope(netns=(1,)),
    "unit": Scope(units=("x",)),
    "everything": Scope(pids=(1,), comms=(b"x",), netns=(1,), units=("x",)),
}


def _following(place: int, opcode: int, offset: int) -> list[tuple[int, bool]]:
    """Where it goes on, and whether it may go back there."""
    kind = opcode & 0xF0
    if opcode & 7 not in (_JUMP, _JUMP_32) or kind == _CALL:
        return [(place + 1, False)]
    if kind == _EXIT:
        return []
    if kind == _ALWAYS:
        return [(place + 1 + offset, True)]
    return [(place + 1, True), (place + 1 + offset, True)]


def back_edges(code: bytes) -> list[int]:
    """Instructions that lead back into a loop and are no jumps: check_cfg() in kernel/bpf/verifier.c of 5.10."""
    instructions = [struct.unpack_from("<BBh", code, at) for at in range(0, len(code), 8)]
    entered, left, found = {0}, set[int](), []
    path = [(0, iter(_following(0, instructions[0][0], instructions[0][2])))]
    while path:
        place, following = path[-1]
        for target, may_go_back in following:
            if target not in entered:
                entered.add(target)
                opcode, _, offset = instructions[target]
                path.append((target, iter(_following(target, opcode, offset))))
                break
            if target not in left and not may_go_back:
                found.append(place)
        else:
            left.add(place)
            path.pop()
    return found


@pytest.mark.parametrize("scope", SCOPES.values(), ids=SCOPES.keys())
@pytest.mark.parametrize(
    "more",
    [{}, {"requests": False}, {"lookups": "with-returns", "decrypt": True}],
    ids=["requests", "no requests", "all that is opt-in"],
)
def test_loops_end_with_jumps(scope: Scope, more: dict[str, Any]) -> None:
    compiled = compiled_programs(defines(scope, **more))
    assert {
        name: found for name, program in compiled.programs.items() if (found := back_edges(program.instructions))
    } == {}
