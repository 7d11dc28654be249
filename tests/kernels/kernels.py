"""Debian's cloud kernels: found in the archive, unpacked into the cache."""

import lzma
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.kernels.archive import Archive, ArchiveError, unpack

SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "6.18": "trixie-backports"}
NEWEST = "newest"
NEWEST_SUITE = "trixie-backports"
_MODULES = ("veth",)  # what the scenario needs and the kernels have not built in
_RELEASE = re.compile(r"linux-(?:image|binary)-(?P<release>(?P<series>\d+\.\d+)[.+~\w]*(?:-\d+)?-cloud-amd64)")


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel: the image, and modules without compression."""

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
    folder = cache / Path(name).stem
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
    for module in _MODULES:
        (packed,) = root.rglob(f"{module}.ko*")
        content = packed.read_bytes()
        (work / f"{module}.ko").write_bytes(lzma.decompress(content) if packed.suffix == ".xz" else content)
    shutil.rmtree(work / "packages")
    shutil.rmtree(root)
    work.rename(folder)
