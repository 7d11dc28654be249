"""Programs compiled here for a guest, each in seconds: in a guest, without KVM, that takes a minute.

What comes of it depends on the kernel's type information, which its image holds, and on the compiler: so it is done
where this machine has the guest's BCC, and for root. The guest's doctor compiles for itself, and that must be equal.
"""

import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import msgspec

from nettop.kernel import compiled_cache
from nettop.kernel.compiled import CompiledPrograms
from nettop.kernel.compiler import compile_apart
from nettop.kernel.program import Lookups, defines
from nettop.kernel.scope import Scope
from tests.kernels import kernel_version
from tests.kernels.guest import COMPILED
from tests.kernels.kernels import Kernel
from tests.kernels.userland import ROOT, Userland

_PAYLOAD = struct.Struct("<497xB86xII")  # Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length
_SECTOR_BYTES, _SIZE_BYTES = 512, 4  # of the image; of the size that stands behind the payload
_DECOMPRESSORS = {b"\x02\x21\x4c\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd"}  # what Debian's kernels are packed with
_SECTIONS = struct.Struct("<40xQ12xHH")  # of Elf64_Ehdr: e_shoff, e_shnum, e_shstrndx
_SECTION = struct.Struct("<I20xQQ24x")  # of Elf64_Shdr: sh_name, sh_offset, sh_size
_PERF_EVENT_ARRAY = 4  # enum bpf_map_type, include/uapi/linux/bpf.h
PLAIN = defines(Scope())
_Shapes = list[tuple[Sequence[str], CompiledPrograms]]


def compile_ahead(kernel: Kernel, userland: Userland, to: Path) -> None:
    """Write what a guest need not compile into a file; nothing where that cannot be done here."""
    if os.geteuid() != 0 or userland.machine.is_foreign or userland.bcc != _installed_bcc():
        return
    types = to.with_name(f"{to.name}.btf")
    types.write_bytes(type_information(kernel.image.read_bytes()))
    script = 'mount --bind "$1" /sys/kernel/btf/vmlinux && exec "$2" -m tests.kernels.ahead "$3" $4'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    subprocess.run([*command, str(types), sys.executable, str(to), kernel.release], cwd=ROOT, check=True)


def take_compiled() -> CompiledPrograms | None:
    """In the guest: keep what was compiled for it where nettop looks. Returns the plain shape."""
    file = ROOT / COMPILED
    if not file.exists():
        return None
    shapes = {tuple(shape): programs for shape, programs in msgspec.msgpack.decode(file.read_bytes(), type=_Shapes)}
    compiled_cache.DIRECTORY.mkdir(mode=0o755, exist_ok=True)
    with compiled_cache._opened(compiled_cache.DIRECTORY) as cache:
        for shape, programs in shapes.items():
            compiled_cache._write(cache, compiled_cache._name(shape), programs)
    return shapes[PLAIN]


def is_as_compiled_here(ahead: CompiledPrograms | None) -> bool:
    """In the guest: whether doctor has compiled that; BCC makes a perf buffer for each CPU where it compiles."""
    if ahead is None:
        return True

    def without_cpus(compiled: CompiledPrograms) -> CompiledPrograms:
        shapes = {
            name: shape._replace(entries=0) if shape.type == _PERF_EVENT_ARRAY else shape
            for name, shape in compiled.maps.items()
        }
        return msgspec.structs.replace(compiled, maps=shapes)

    return without_cpus(ahead) == without_cpus(compiled_cache.compiled_programs(PLAIN))


def type_information(image: bytes) -> bytes:
    """The section .BTF of the kernel that an image for x86 holds compressed."""
    sectors, at, size = _PAYLOAD.unpack_from(image)
    begin = ((sectors or 4) + 1) * _SECTOR_BYTES + at
    payload = image[begin : begin + size - _SIZE_BYTES]
    (command,) = (command for magic, command in _DECOMPRESSORS.items() if payload.startswith(magic))
    program = subprocess.run([command, "-dc"], input=payload, capture_output=True, check=True).stdout
    sections_at, count, names = _SECTIONS.unpack_from(program)
    sections = [_SECTION.unpack_from(program, sections_at + _SECTION.size * number) for number in range(count)]
    _, names_at, _ = sections[names]
    for name, begin, size in sections:
        if program[names_at + name :].startswith(b".BTF\0"):
            return program[begin : begin + size]
    raise ValueError("The kernel has no type information.")


def _installed_bcc() -> str:
    command = ["dpkg-query", "--show", "--showformat=${Version}", "libbpfcc"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _shapes(kernel: tuple[int, ...]) -> Iterator[tuple[str, ...]]:
    """What the steps of a guest with that kernel ask for."""
    watched: Lookups = "without-returns" if (6, 11) <= kernel < (6, 14) else "with-returns"
    yield PLAIN
    if kernel < (5, 17):
        yield defines(Scope(comms=(b"",)))  # of a test of machine.py
    yield defines(Scope(), lookups=watched, decrypt=True)  # doctor's
    yield defines(Scope(), lookups=watched)
    yield defines(Scope(netns=(1,)), decrypt=True)
    for lookups, cut in product(("off", watched), (False, True)):
        yield defines(Scope(netns=(1,)), lookups=lookups, cut=cut)
    yield defines(Scope(netns=(1,), pids=(1,), comms=(b"",), units=("",)))


def main() -> None:
    """Compile for the kernel of this release, whose type information is mounted, into a file."""
    file, release = sys.argv[1:]
    shapes: _Shapes = [(shape, compile_apart(shape)) for shape in _shapes(kernel_version(release))]
    Path(file).write_bytes(msgspec.msgpack.encode(shapes))


if __name__ == "__main__":
    main()
