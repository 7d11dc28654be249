"""Compiled programs as values: descriptors of maps out of the instructions, and in again; what they depend on."""

import os
import struct
import subprocess
import sys
from dataclasses import replace

import msgspec
import pytest

from nettop.kernel import compiler
from nettop.kernel.compiled import CompiledPrograms, unlinked
from nettop.kernel.hooks import HOOKS
from nettop.kernel.syscalls import MapShape

LOAD_64, MOVE, EXIT = 0x18, 0xB7, 0x95
MAP_FD = 1


def instruction(code: int, source: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | 2, 0, immediate)


CODE = b"".join(
    [
        instruction(LOAD_64, MAP_FD, 7),
        instruction(0),
        instruction(LOAD_64, 0, 7),  # a plain number that looks like the descriptor
        instruction(0),
        instruction(MOVE, 0, 7),
        instruction(LOAD_64, MAP_FD, 9),
        instruction(0),
        instruction(EXIT),
    ]
)


def test_a_program_names_its_maps_and_holds_no_descriptor() -> None:
    program = unlinked(CODE, {7: "sockets", 9: "losses"})
    assert program.map_references == ((0, "sockets"), (40, "losses"))
    assert program.instructions[4:8] == program.instructions[44:48] == bytes(4)
    assert program.instructions[20:24] == CODE[20:24]


def test_linking_puts_the_descriptors_of_the_maps_that_were_made() -> None:
    program = unlinked(CODE, {7: "sockets", 9: "losses"})
    assert program.linked({"sockets": 7, "losses": 9}) == CODE
    linked = program.linked({"sockets": 300, "losses": 301, "other": 302})
    assert struct.unpack_from("<i", linked, 4) == (300,)
    assert struct.unpack_from("<i", linked, 44) == (301,)


def test_compiled_programs_survive_a_file() -> None:
    compiled = CompiledPrograms(
        maps={"sockets": MapShape(1, 8, 136, 1, 0)},
        programs={"tcp_state": unlinked(CODE, {7: "sockets", 9: "losses"})},
        attach_types={"task_file": 12},
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(compiled), type=CompiledPrograms) == compiled


DIGEST = """
from hashlib import sha256
from nettop.kernel.compiler import ingredients
print(sha256(repr(list(ingredients())).encode()).hexdigest())
"""


def test_every_process_names_the_same_ingredients() -> None:
    """Or what is kept for the next start would never be found."""
    told = [
        subprocess.run(
            [sys.executable, "-c", DIGEST], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1] != b""


@pytest.mark.parametrize("change", [{"target": "another"}, {"program": "another"}, {"since": "9.9"}], ids=str)
def test_another_declaration_of_a_hook_is_another_ingredient(
    change: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(compiler.ingredients())
    *others, last = HOOKS
    monkeypatch.setattr(compiler, "HOOKS", (*others, replace(last, **change)))  # type: ignore[arg-type]
    assert list(compiler.ingredients()) != before
