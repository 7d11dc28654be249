"""Compiled programs as values: descriptors of maps out of the instructions, and in again."""

import struct

import msgspec

from nettop.kernel.image import Image, unlinked
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


def test_an_image_survives_a_file() -> None:
    image = Image(
        maps={"sockets": MapShape(1, 8, 136, 1, 0)},
        programs={"tcp_state": unlinked(CODE, {7: "sockets", 9: "losses"})},
        attach_types={"task_file": 12},
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(image), type=Image) == image
