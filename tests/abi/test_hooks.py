"""The hooks as they are declared against the programs that clang compiled."""

import os
from collections.abc import Mapping

import pytest

from nettop.kernel.compiled import CompiledPrograms, Program
from nettop.kernel.compiled_cache import compiled_programs
from nettop.kernel.hooks import (
    BUFFERS,
    CONTINUATIONS,
    HOOKS,
    LIBRARIES,
    LOOKUPS,
    LOOKUPS_RETURNED,
    OPT_IN_BUFFERS,
    PLAINTEXT_CALLS,
    PLAINTEXT_CONTINUATIONS,
    PLAINTEXT_FORGOTTEN,
    PLAINTEXT_GO_CALLS,
    PLAINTEXT_GO_OTHERS,
    PLAINTEXT_GO_RETURNED,
    PLAINTEXT_MISSED,
    PLAINTEXT_RETURNED,
    Hook,
)
from nettop.kernel.program import defines
from nettop.kernel.scope import Scope
from nettop.kernel.syscalls import PERF_EVENT_ARRAY

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: BCC makes maps")]


@pytest.fixture(scope="module")
def compiled() -> CompiledPrograms:
    return compiled_programs(defines(Scope()))


def test_every_program_has_its_hook(compiled: CompiledPrograms) -> None:
    assert sorted(compiled.programs) == sorted(hook.program for hook in (*HOOKS, *CONTINUATIONS))


def test_look_ups_have_programs_of_their_own(compiled: CompiledPrograms) -> None:
    with_lookups = compiled_programs(defines(Scope(), lookups="with-returns"))
    more = {hook.program for hook in (*LOOKUPS, LOOKUPS_RETURNED, LIBRARIES)}
    assert with_lookups.programs.keys() - compiled.programs.keys() == more
    added = {name for name in with_lookups.maps if name not in compiled.maps}
    assert added == {"open_lookups", "no_lookup", *(buffer.name for buffer in OPT_IN_BUFFERS)}


def test_plaintext_has_programs_of_its_own(compiled: CompiledPrograms) -> None:
    with_plaintext = compiled_programs(defines(Scope(), decrypt=True))
    hooks = (*PLAINTEXT_CALLS, PLAINTEXT_RETURNED, *PLAINTEXT_FORGOTTEN, *PLAINTEXT_MISSED, LIBRARIES)
    if os.uname().machine == "x86_64":
        hooks = (*hooks, *PLAINTEXT_GO_CALLS, PLAINTEXT_GO_RETURNED, *PLAINTEXT_GO_OTHERS)
    more = {*(hook.program for hook in hooks), *(each.program for each in PLAINTEXT_CONTINUATIONS)}
    assert with_plaintext.programs.keys() - compiled.programs.keys() == more
    assert with_plaintext.maps.keys() - compiled.maps.keys() - {"go_calls"} == {
        "tls_calls", "tls_sessions", "tls_http2", "no_tls_http2", "tls_rooms", "no_tls_room", "tls_continuations",
    }  # fmt: skip


def test_every_need_is_served_once() -> None:
    assert len({hook.need for hook in HOOKS}) == len({hook.words for hook in HOOKS}) == len(HOOKS)


def test_every_perf_buffer_is_read(compiled: CompiledPrograms) -> None:
    made = {name for name, shape in compiled.maps.items() if shape.type == PERF_EVENT_ARRAY}
    assert made == {buffer.name for buffer in BUFFERS}
    assert [buffer.number for buffer in BUFFERS] == list(range(len(BUFFERS)))


def referred_to(programs: Mapping[str, Program], hook: Hook) -> set[str]:
    return {name for _, name in programs[hook.program].map_references}


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.need)
def test_a_program_writes_to_the_buffers_of_its_hook(compiled: CompiledPrograms, hook: Hook) -> None:
    written = referred_to(compiled.programs, hook) & {buffer.name for buffer in BUFFERS}
    assert written == {buffer.name for buffer in hook.buffers}
