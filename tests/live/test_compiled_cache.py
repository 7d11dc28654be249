"""What is loaded into the kernel from a file: root's own and whole, or compiled anew."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nettop.kernel import compiled_cache
from nettop.kernel import compiler as compiler_module
from nettop.kernel.compiled import CompiledPrograms
from nettop.kernel.compiler import compile_apart, import_bcc
from nettop.kernel.hooks import CONTINUATIONS, HOOKS
from nettop.kernel.program import KernelProgram, defines
from nettop.kernel.scope import Scope
from tests.live.lab import kernel_ids

pytestmark = pytest.mark.live

NOBODY = 65534
PLAIN = defines(Scope())


class Compiler:
    """Counts how often it is asked; the answer is always the same."""

    def __init__(self) -> None:
        self.asked = 0
        self.compiled = CompiledPrograms(maps={}, programs={}, attach_types={"task_file": 1})

    def __call__(self, _defines: tuple[str, ...]) -> CompiledPrograms:
        self.asked += 1
        return self.compiled


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    fake = Compiler()
    monkeypatch.setattr(compiled_cache, "compile_apart", fake)
    return fake


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def test_the_second_start_does_not_compile(compiler: Compiler, directory: Path) -> None:
    assert compiled_cache.compiled_programs(PLAIN, directory) == compiler.compiled
    assert compiled_cache.compiled_programs(PLAIN, directory) == compiler.compiled
    assert compiler.asked == 1
    assert [file.suffix for file in files(directory)] == [".programs"]


def test_who_waits_for_the_compiler_is_told_so(compiler: Compiler, directory: Path) -> None:
    waits: list[int] = []
    for _ in range(2):
        compiled_cache.compiled_programs(PLAIN, directory, lambda: waits.append(compiler.asked))
    assert waits == [0]  # before, and not where nothing is compiled


@dataclass(frozen=True)
class Compiling:
    """What one run of the compiler made, and what it left."""

    compiled: CompiledPrograms
    descriptors: tuple[list[str], list[str]]  # before and after
    child_left: bool


@pytest.fixture(scope="module")
def compiling() -> Compiling:
    """One for several tests, as it takes seconds; with what those who build kernels have in their environment."""
    before = descriptors()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCH", "arm64" if platform.machine() == "x86_64" else "x86")
        compiled = compile_apart(PLAIN)
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        child_left = False
    else:
        child_left = True
    return Compiling(compiled, (before, descriptors()), child_left)


def test_for_this_processor_whatever_those_who_build_kernels_have_in_their_environment(compiling: Compiling) -> None:
    assert compiling.compiled == compiled_cache.compiled_programs(PLAIN)


def test_doctor_compiles_anew_and_leaves_that_to_the_next_start(compiler: Compiler, directory: Path) -> None:
    for _ in range(2):
        assert compiled_cache.compile_and_keep(PLAIN, directory) == compiler.compiled
    assert compiler.asked == 2
    assert compiled_cache.compiled_programs(PLAIN, directory) == compiler.compiled
    assert compiler.asked == 2


def test_another_shape_of_scope_is_compiled_anew(compiler: Compiler, directory: Path) -> None:
    for scope in (Scope(), Scope(pids=(1,)), Scope(pids=(2,)), Scope(comms=(b"a",))):
        compiled_cache.compiled_programs(defines(scope), directory)
    assert compiler.asked == len(files(directory)) == 3


def test_for_another_kernel_is_compiled_anew(
    compiler: Compiler, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled_cache.compiled_programs(PLAIN, directory)
    btf = tmp_path / "vmlinux"
    btf.write_bytes(b"another")
    monkeypatch.setattr(compiled_cache, "VMLINUX", btf)
    compiled_cache.compiled_programs(PLAIN, directory)
    assert compiler.asked == 2


def test_another_compiler_compiles_anew(
    compiler: Compiler, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update puts another file in the place of the first, perhaps of the same size and time."""
    library = tmp_path / "libbcc.so.0"
    monkeypatch.setattr(compiler_module, "library_file", lambda: tmp_path / "libbcc_bpf.so.0")
    for content in ("one", "two"):
        update = tmp_path / "update"
        update.write_text(content)
        os.utime(update, (0, 0))
        update.rename(library)
        for _ in range(2):
            compiled_cache.compiled_programs(PLAIN, directory)
    assert compiler.asked == len(files(directory)) == 2


def test_the_compiler_is_the_one_that_is_loaded() -> None:
    identity = compiler_module.compiler_identity()
    import_bcc()
    loaded = [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libbcc.so" in line]
    assert identity.split()[0] in loaded


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def flip(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)


def link(file: Path) -> None:
    file.rename(file.with_suffix(".elsewhere"))
    file.symlink_to(file.with_suffix(".elsewhere"))


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


UNFIT: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "cut": cut,
    "one bit": flip,
    "another's": lambda file: os.chown(file, NOBODY, NOBODY),
    "writable by all": lambda file: file.chmod(0o646),
    "writable by the group": lambda file: file.chmod(0o664),
    "a link": link,
    "a pipe": pipe,
    "another's directory": lambda file: os.chown(file.parent, NOBODY, NOBODY),
    "a directory that all may write to": lambda file: file.parent.chmod(0o777),
}


@pytest.mark.parametrize("spoil", UNFIT.values(), ids=UNFIT)
def test_what_is_not_roots_own_and_whole_is_not_loaded(
    spoil: Callable[[Path], object], compiler: Compiler, directory: Path
) -> None:
    compiled_cache.compiled_programs(PLAIN, directory)
    spoil(files(directory)[0])
    assert compiled_cache.compiled_programs(PLAIN, directory) == compiler.compiled
    assert compiler.asked == 2


def test_a_damaged_file_is_replaced(compiler: Compiler, directory: Path) -> None:
    compiled_cache.compiled_programs(PLAIN, directory)
    flip(files(directory)[0])
    for _ in range(2):
        compiled_cache.compiled_programs(PLAIN, directory)
    assert compiler.asked == 2


def test_a_directory_that_cannot_be_made_is_no_error(compiler: Compiler, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file" / "cache", tmp_path / "not" / "there", tmp_path / "file"):
        assert compiled_cache.compiled_programs(PLAIN, directory) == compiler.compiled
    assert compiler.asked == 3


def test_old_files_and_what_a_killed_writer_left_are_removed(compiler: Compiler, directory: Path) -> None:
    directory.mkdir(mode=0o755)
    (directory / "dead.programs.1.partial").write_text("")
    os.utime(directory / "dead.programs.1.partial", (0, 0))
    for number in range(40):
        compiled_cache.compiled_programs((f"-DNUMBER={number}",), directory)
    assert len(files(directory)) == 32
    assert not list(directory.glob("*.partial"))
    compiled_cache.compiled_programs(("-DNUMBER=39",), directory)
    assert compiler.asked == 40


def test_what_the_cache_kept_loads_and_attaches(compiling: Compiling, directory: Path) -> None:
    """The compiler's own, without a stand-in: every program passes the verifier, from the file as from the compiler."""
    compiled = compiled_cache.compiled_programs(PLAIN, directory)
    kept = compiled_cache.compiled_programs(PLAIN, directory)
    assert kept == compiled == compiling.compiled
    kernel = KernelProgram(Scope(), kept)
    try:
        for program in (*HOOKS, *CONTINUATIONS):
            kernel.load(program)
        assert len(kernel_ids(os.getpid())["prog"]) == len(HOOKS) + len(CONTINUATIONS)
    finally:
        kernel.close()
    assert not kernel_ids(os.getpid())["prog"]


def test_compiling_leaves_no_process_and_no_descriptor(compiling: Compiling) -> None:
    before, after = compiling.descriptors
    assert after == before
    assert not compiling.child_left


def descriptors() -> list[str]:
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())
