"""Debian's cloud kernels: found in the archive, unpacked into the cache."""

import hashlib
import lzma
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.kernels.archive import Archive, ArchiveError, unpack

SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "6.18": "trixie-backports"}
NEWEST = "newest"
NEWEST_SUITE = "trixie-backports"
# What the scenarios need and the kernels have not built in, each after those that it needs itself: a guest has no
# modprobe. Some are built in, or part of another, in some kernels.
_MODULES = (
    "veth",
    "libcrc32c",
    "nfnetlink",
    "nf_defrag_ipv4",
    "nf_defrag_ipv6",
    "nf_conntrack",
    "nf_nat",
    "nf_tables",
    "nft_counter",
    "nft_chain_nat",
    "nft_nat",
    "nf_reject_ipv4",
    "nf_reject_ipv6",
    "nft_reject",
    "nft_reject_inet",
)
_RECIPE = hashlib.sha256(" ".join(_MODULES).encode()).hexdigest()[:8]
_RELEASE = re.compile(r"linux-(?:image|binary)-(?P<release>(?P<series>\d+\.\d+)[.+~\w]*(?:-\d+)?-cloud-amd64)")


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel: the image, and modules without compression, in the order in which they can be loaded."""

    release: str
    image: Path
    modules: tuple[Path, ...]


def suite_of(series: str) -> str:
    """Which suite has kernels of this series."""
    return NEWEST_SUITE if series == NEWEST else SUITES[series]


def provide_kernel(series: str, archive: Archive, cache: Path) -> Kernel:
    """The latest kernel of a series like "6.12", or of all; downloaded unless the cache has it."""
    names = archive.names("linux-image-") + archive.names("linux-binary-")
    latest = _latest_releases(names)
    if series == NEWEST:
        series = max(latest, key=_numbers)
    if series not in latest:
        raise ArchiveError(f"The archive has no cloud kernel {series}.")
    release = latest[series]
    # up to 6.18 one package has all; later the image lies in linux-binary-* and linux-image-* is empty
    packages = [f"linux-binary-{release}", f"linux-modules-{release}"]
    if packages[0] not in names:
        packages = [f"linux-image-{release}"]
    (name, *_) = archive.files(packages, dependencies=False)
    folder = cache / f"{Path(name).stem}-{_RECIPE}"
    if not folder.is_dir():
        for outdated in cache.glob(f"linux-*-{series}.*"):
            shutil.rmtree(outdated)
        _unpack(archive, packages, folder)
    return Kernel(release, folder / "vmlinuz", tuple(sorted(folder.glob("*.ko"))))


def _latest_releases(names: list[str]) -> dict[str, str]:
    """By series, among all names of packages."""
    latest: dict[str, str] = {}
    for match in filter(None, map(_RELEASE.fullmatch, names)):
        if _numbers(match["release"]) > _numbers(latest.get(match["series"], "")):
            latest[match["series"]] = match["release"]
    return latest


def _numbers(text: str) -> list[int]:
    """So that 6.12.107 comes after 6.12.94."""
    return [int(number) for number in re.findall(r"\d+", text)]


def _unpack(archive: Archive, packages: list[str], folder: Path) -> None:
    work = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    archive.fetch(packages, dependencies=False, into=work / "packages")
    root = work / "root"
    root.mkdir()
    patterns = ["*/vmlinuz*", *(f"*/{module}.ko*" for module in _MODULES)]
    unpack(sorted((work / "packages").glob("*.deb")), root, patterns)
    (image,) = root.rglob("vmlinuz*")
    image.rename(work / "vmlinuz")
    for number, module in enumerate(_MODULES):
        for packed in root.rglob(f"{module}.ko*"):
            content = packed.read_bytes()
            unpacked = work / f"{number:02}-{module}.ko"  # sorts as it is loaded
            unpacked.write_bytes(lzma.decompress(content) if packed.suffix == ".xz" else content)
    shutil.rmtree(work / "packages")
    shutil.rmtree(root)
    work.rename(folder)
