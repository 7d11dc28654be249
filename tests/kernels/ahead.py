"""Programs compiled here for a guest, each in seconds: in a guest, without KVM, that takes a minute.

What comes of it depends on the compiler and on the kernel's type information, which its image holds: so it is done in
the guest's own userland, if this machine runs its programs. (BCC compiles for other processors too, but not the same
as there: it optimizes for them only what it is itself built for.) nettop's own cache keeps it from run to run, and also
what guests had to compile themselves. One guest of each userland has its doctor compile all the same, and that must be
equal; the cache keeps also that it was.
"""

import compileall
import hashlib
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from nettop.errors import CannotRunError
from nettop.kernel import compiled_cache
from nettop.kernel.btf import VMLINUX
from nettop.kernel.compiled import CompiledPrograms
from nettop.kernel.program import Lookups, defines
from nettop.kernel.scope import Scope
from tests.kernels import kernel_version
from tests.kernels.kernels import Kernel
from tests.kernels.processes import OF_ITS_OWN, ending_with_us
from tests.kernels.userland import TREE, VENV, Userland

_PAYLOAD = struct.Struct("<497xB86xII")  # Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length
_SECTOR_BYTES, _SIZE_BYTES = 512, 4  # of the image; of the size that stands behind the payload
_DECOMPRESSORS = {b"\x02\x21\x4c\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd"}  # what Debian's kernels are packed with
_SECTIONS = struct.Struct("<40xQ12xHH")  # of Elf64_Ehdr: e_shoff, e_shnum, e_shstrndx
_SECTION = struct.Struct("<I20xQQ24x")  # of Elf64_Shdr: sh_name, sh_offset, sh_size
MPTCP = b"\0mptcp_sock\0"
_COMPARED = ".compared"
_PERF_EVENT_ARRAY = 4  # enum bpf_map_type, include/uapi/linux/bpf.h
PLAIN = defines(Scope())
_WATCHED: Lookups = "with-returns"  # as all kernels in Debian's archive can
_APART = ("unshare", "--mount", "--propagation", "private", "sh", "-c")
_MOUNT = 'mount -o loop,ro "$1" "$2"'
# $1 image, $2 where to mount it, $3 the tree, $4 the types, $5 what is kept, then the command.
_ENTER = f"""set -e
{_MOUNT}
mount --bind "$3" "$2{TREE}"
for name in proc sys dev; do mount --rbind /$name "$2/$name"; done
mount --bind "$4" "$2{VMLINUX}"
mount -t tmpfs tmpfs "$2/var"
mkdir -p "$2{compiled_cache.DIRECTORY}"
mount --bind "$5" "$2{compiled_cache.DIRECTORY}"
root=$2
shift 5
exec chroot "$root" "$@"
"""


class AheadError(Exception):
    """What guests need could not be compiled; the message is what the compiler said."""


def compile_ahead(
    kernel: Kernel, userland: Userland, tree: Path, kept: Path, *, steps: Iterable[str], hides_mptcp: bool
) -> None:
    """Have the directory `kept` hold what these steps of a guest need; nothing is done if it cannot be done here.

    Raises AheadError.
    """
    if userland.machine.is_foreign:
        return
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": TREE, "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryDirectory(prefix="nettop-ahead-") as directory:
        root, edited = Path(directory, "root"), Path(directory, "types")
        root.mkdir()
        image_and_root = ["sh", str(userland.image), str(root)]
        if subprocess.run([*_APART, _MOUNT, *image_and_root], env=environment, capture_output=True).returncode:  # noqa: PLW1510
            return  # not root, or in a container
        kept.mkdir(mode=0o755, parents=True, exist_ok=True)
        types = type_information(kernel.image.read_bytes())
        edited.write_bytes(hiding_mptcp(types) if hides_mptcp else types)
        command = [*_APART, _ENTER, *image_and_root, str(tree), str(edited), str(kept)]
        command += [f"{VENV}/bin/python", "-m", "tests.kernels.ahead", kernel.release, ",".join(steps)]
        process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, process_group=OF_ITS_OWN
        )
        with process as compiling, ending_with_us(compiling):
            said = compiling.communicate()[1]
    if compiling.returncode:
        raise AheadError(said)


def keep(files: Mapping[str, bytes], kept: Path) -> None:
    """Add what a guest has compiled."""
    for name, content in files.items():
        kept.mkdir(mode=0o755, parents=True, exist_ok=True)
        partial = kept.with_name(f"{name}.{os.getpid()}.partial")  # beside what is copied into guests meanwhile
        partial.write_bytes(content)
        partial.replace(kept / name)


def compiled_files() -> dict[str, bytes]:
    """In the guest: what nettop's cache has, if the plain shape is in it, which the next guest must find there.

    Without what is spoiled, of which nettop reads nothing.
    """
    files = {file.name: file.read_bytes() for file in sorted(compiled_cache.DIRECTORY.glob("*"))}
    whole = {name: content for name, content in files.items() if name.endswith(_COMPARED) or _is_whole(content)}
    return whole if whole and plain_shape().name in whole else {}  # a guest without types has no name for it


def _is_whole(content: bytes) -> bool:
    digest, encoded = content[: compiled_cache._DIGEST_BYTES], content[compiled_cache._DIGEST_BYTES :]
    return hashlib.sha256(encoded).digest() == digest


def compiled_elsewhere() -> CompiledPrograms | None:
    """In the guest: the plain shape, if anything was compiled for it."""
    if not compiled_cache.DIRECTORY.exists():
        return None
    if not plain_shape().exists():
        raise AssertionError("This guest has another compiler, or other types, than those that were compiled for.")
    return compiled_cache.compiled_programs(PLAIN)


def plain_shape() -> Path:
    """In the guest: where nettop's cache has that."""
    return compiled_cache.DIRECTORY / compiled_cache._name(PLAIN)


def compared() -> Path:
    """In the guest: there if a doctor has compiled the plain shape, and found it to be what was compiled elsewhere.

    Its name has a digest of that, because what was compared may be replaced.
    """
    digest = hashlib.sha256(plain_shape().read_bytes()).hexdigest()
    return plain_shape().with_suffix(f".{digest[:16]}{_COMPARED}")


def not_as_compiled_here(ahead: CompiledPrograms) -> Iterator[str]:
    """In the guest: where doctor has compiled something else. BCC makes a perf buffer for each CPU that it runs on."""

    def parts(compiled: CompiledPrograms) -> dict[str, object]:
        maps = {
            name: shape._replace(entries=0) if shape.type == _PERF_EVENT_ARRAY else shape
            for name, shape in compiled.maps.items()
        }
        rest = {"attach types": compiled.attach_types, "enumerators": compiled.enumerators}
        return {**maps, **compiled.programs, **rest}

    there, here = parts(ahead), parts(compiled_cache.compiled_programs(PLAIN))
    for name in {**there, **here}:
        if there.get(name) != here.get(name):
            yield f"What doctor has compiled is not what was compiled elsewhere: {name}."


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


def hiding_mptcp(types: bytes) -> bytes:
    """The type information of a kernel without CONFIG_MPTCP, but for the numbers of types."""
    if types.count(MPTCP) != 1:
        raise ValueError("The kernel has no Multipath TCP to hide.")
    return types.replace(MPTCP, MPTCP.replace(b"mptcp", b"none_"))


def _shapes(kernel: tuple[int, ...], steps: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """What these steps of a guest with that kernel ask for."""
    yield PLAIN
    if {"doctor", "report", "opt_in"} & set(steps):
        yield defines(Scope(), lookups=_WATCHED, decrypt=True)
    if "core" in steps:
        yield defines(Scope(netns=(1,), pids=(1,), comms=(b"",), units=("",)))
    if "machine" in steps and kernel < (5, 17):
        yield defines(Scope(comms=(b"",)))
    if "cutting" in steps:
        yield defines(Scope(netns=(1,)), cut=True)


def main() -> None:
    """Compile what these steps need and is not there, for the kernel of this release, whose types are mounted.

    Whoever has broken the sources gets what the compiler said, and no traceback.
    """
    release, steps = sys.argv[1:]
    for name in ("nettop", "tests"):
        compileall.compile_dir(Path(TREE, name), quiet=1)  # so that no guest has to
    try:
        for shape in _shapes(kernel_version(release), steps.split(",")):
            compiled_cache.compiled_programs(shape)
    except CannotRunError as error:
        sys.exit("\n".join(filter(None, (error.message, error.details))))


if __name__ == "__main__":
    main()
