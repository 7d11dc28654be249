"""What --decrypt leaves in the programs that it watches: breakpoints, and nothing without it or after kill -9."""

import os
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest

from nettop.kernel.elf import function_codes
from nettop.kernel.hooks import PLAINTEXT_CALLS, PLAINTEXT_FORGOTTEN, PLAINTEXT_MISSED
from nettop.kernel.instructions import places
from tests.live import https_programs
from tests.live.decrypt_lab import ADDRESS, NAME, PORT, serve
from tests.live.lab import Namespace, Program, Watch, existing_ids, namespace, wait_until
from tests.live.lab import certificate as lab_certificate
from tests.live.test_decrypt import library

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: uprobes")]

FUNCTIONS = tuple(hook.target for hook in (*PLAINTEXT_CALLS, *PLAINTEXT_FORGOTTEN, *PLAINTEXT_MISSED))
BREAKPOINT = 0xCC
_folders = count()


class Code(NamedTuple):
    """Where a process has executable bytes of a file."""

    begins: int
    ends: int
    offset: int


@pytest.fixture
def talking(directory: Path) -> Iterator[tuple[Namespace, Program]]:
    """A program that talks to nginx inside TLS until it hears something."""
    number = next(_folders)
    certificate = lab_certificate(directory / f"certificate-{number}.pem", NAME)
    with namespace(directory) as inside, serve(inside, directory / f"talking-{number}", certificate):
        program = inside.play(https_programs.for_ever, address=ADDRESS, port=PORT)
        assert program.hear() == "connected"
        yield inside, program


def breakpoints(program: Program) -> set[int]:
    """Those in OpenSSL."""
    return breakpoints_in(program, library(), function_codes(library(), FUNCTIONS))


def breakpoints_in(program: Program, file: Path, functions: Mapping[str, tuple[int, bytes]]) -> set[int]:
    """Places in the file whose bytes are others in the process's memory. Each must be a breakpoint where one may be."""
    found = set()
    with Path(f"/proc/{program.pid}/mem").open("rb", buffering=0) as memory:
        for at, code in functions.values():
            (mapped,) = (
                each for each in mapped_code(program, file) if each.offset <= at < each.offset + each.ends - each.begins
            )
            memory.seek(mapped.begins + at - mapped.offset)
            allowed = {places(code).entry, *places(code).returns}
            for place, (now, then) in enumerate(zip(memory.read(len(code)), code, strict=True)):
                if now != then:
                    assert now == BREAKPOINT
                    assert place in allowed
                    found.add(at + place)
    return found


def mapped_code(program: Program, file: Path) -> Iterator[Code]:
    for line in Path(f"/proc/{program.pid}/maps").read_text().splitlines():
        fields = line.split()
        if fields[-1].endswith(f"/{file.name}") and "x" in fields[1]:
            begins, ends = (int(each, 16) for each in fields[0].split("-"))
            yield Code(begins, ends, int(fields[2], 16))


def test_without_the_option_there_is_nothing(directory: Path, talking: tuple[Namespace, Program]) -> None:
    inside, program = talking
    with Watch(directory, "--netns", inside.name) as watch:
        watch.up_to_now()
        wait_until(lambda: breakpoints(program) == set(), "those of another nettop's doctor to go")
        snapshot = watch.stop()
    assert "plaintext" not in snapshot.hooks
    assert snapshot.decrypt_coverage is None
    assert not any(row.decrypted for row in snapshot.requests)


def test_kill_9_leaves_nothing_and_the_program_goes_on(directory: Path, talking: tuple[Namespace, Program]) -> None:
    inside, program = talking
    before = existing_ids()
    with Watch(directory, "--netns", inside.name, "--decrypt") as watch:
        watch.until(lambda snapshot: any(row.pid == program.pid for row in snapshot.requests), "its requests")
        assert len(breakpoints(program)) >= len(function_codes(library(), FUNCTIONS)) > 7
        watch.kill()
    wait_until(lambda: breakpoints(program) == set(), "the breakpoints to go")
    wait_until(lambda: all(existing_ids()[kind] <= before[kind] for kind in ("prog", "link")), "the programs to go")
    program.say("stop")
    assert program.hear() > 0
    program.end()
