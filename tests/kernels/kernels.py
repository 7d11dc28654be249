"""Debian's cloud kernels: found in the archive, unpacked into the cache."""

import hashlib
import lzma
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.kernels.archive import Archive, ArchiveError, unpack

SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "6.18": "trixie-backports"}
NEWEST = "newest"
NEWEST_SUITE = "trixie-backports"
CLOUD = "cloud-amd64"
# What the disk, the scenarios and a firewall need. Some are built in, or part of another, in some kernels.
_MODULES = ("crc32c_generic", "nvme", "ext4", "veth", "nft_counter", "nft_chain_nat", "nft_nat", "nft_reject_inet")
_DEPENDS = re.compile(rb"\0depends=([\w,-]*)\0")  # .modinfo
_RECIPE = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
_RELEASE = r"linux-(?:image|binary)-(?P<release>(?P<series>\d+\.\d+)[.+~\w]*(?:-\d+)?-{flavour})"


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel: the image, and modules without compression, in the order in which they can be loaded."""

    release: str
    image: Path
    modules: tuple[Path, ...]


def suite_of(series: str) -> str:
    """Which suite has kernels of this series."""
    return NEWEST_SUITE if series == NEWEST else SUITES[series]


def provide_kernel(series: str, flavour: str, archive: Archive, cache: Path) -> Kernel:
    """The latest kernel of a series like "6.12", or of all, and of a flavour; downloaded unless the cache has it."""
    names = archive.names("linux-image-") + archive.names("linux-binary-")
    latest = _latest_releases(names, flavour)
    if series == NEWEST:
        series = max(latest, key=_numbers)
    if series not in latest:
        raise ArchiveError(f"The archive has no kernel {series}-{flavour}.")
    release = latest[series]
    # up to 6.18 one package has all; later the image lies in linux-binary-* and linux-image-* is empty
    packages = [f"linux-binary-{release}", f"linux-modules-{release}"]
    if packages[0] not in names:
        packages = [f"linux-image-{release}"]
    (name, *_) = archive.files(packages, dependencies=False)
    folder = cache / f"{Path(name).stem}-{_RECIPE}"
    if not folder.is_dir():
        for outdated in cache.glob(f"linux-*-{series}.*-{flavour}_*"):
            shutil.rmtree(outdated)
        _unpack(archive, packages, folder)
    return Kernel(release, folder / "vmlinuz", tuple(sorted(folder.glob("*.ko"))))


def _latest_releases(names: list[str], flavour: str) -> dict[str, str]:
    """By series, among all names of packages."""
    latest: dict[str, str] = {}
    pattern = re.compile(_RELEASE.format(flavour=flavour))
    for match in filter(None, map(pattern.fullmatch, names)):
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
    unpack(sorted((work / "packages").glob("*.deb")), root, ["*/vmlinuz*", "*.ko*"])
    (image,) = root.rglob("vmlinuz*")
    image.rename(work / "vmlinuz")
    for number, (module, content) in enumerate(_in_order(root, _MODULES).items()):
        (work / f"{number:02}-{module}.ko").write_bytes(content)  # sorts as it is loaded: a guest has no modprobe
    shutil.rmtree(work / "packages")
    shutil.rmtree(root)
    work.rename(folder)


def _in_order(root: Path, names: Iterable[str]) -> dict[str, bytes]:
    """The contents of these modules, each after those that it needs; without those that this kernel has built in."""
    packed = {path.name.partition(".ko")[0].replace("-", "_"): path for path in root.rglob("*.ko*")}
    found: dict[str, bytes] = {}

    def find(name: str) -> None:
        if name in found or name not in packed:
            return
        content = packed[name].read_bytes()
        if packed[name].suffix == ".xz":
            content = lzma.decompress(content)
        needed = _DEPENDS.search(content)
        for other in filter(None, needed[1].decode().split(",") if needed else []):
            find(other.replace("-", "_"))
        found[name] = content

    for name in names:
        find(name)
    return found
