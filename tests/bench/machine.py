"""On what it was measured: the machine, the kernel, the versions; and what the peers need of it."""

import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

from nettop import __version__
from nettop.kernel.compiler import bcc_version

PEERS = ("bpfcc-tools", "bpftrace", "nethogs", "tcpdump")
TRAFFIC = ("dnsperf", "dnsmasq-base", "iperf3", "nginx", "wrk")
_TRACEFS = Path("/sys/kernel/tracing")
_SOURCES = Path("/usr/src")


def description() -> list[str]:
    """Lines that say what the figures hold for."""
    packages = [f"{name} {found}" for name in (*PEERS, *TRAFFIC) if (found := package_version(name))]
    headers = os.environ.get("BCC_KERNEL_SOURCE")
    return [
        f"Machine: {cpu_model()}, {os.cpu_count()} CPUs, {memory_gb():.0f} GB, {virtualization()}",
        f"Kernel: {platform.release()} {platform.machine()}",
        f"nettop {__version__}, bcc {bcc_version()}, Python {platform.python_version()}, textual {version('textual')}",
        f"Others: {', '.join(packages)}",
        f"Kernel headers for tcplife: {headers_name() if headers else 'of this kernel'}",
    ]


def cpu_model() -> str:
    """As /proc/cpuinfo has it; arm64 has none."""
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def memory_gb() -> float:
    """All of it."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def virtualization() -> str:
    """Whether it is a guest."""
    return "virtual" if " hypervisor" in Path("/proc/cpuinfo").read_text() else "no hypervisor"


def package_version(package: str) -> str | None:
    """Debian's, without what follows the upstream version; None elsewhere."""
    if shutil.which("dpkg-query") is None:
        return None
    found = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False
    )
    return re.sub(r"^\d+:|[-+~].*$", "", found.stdout) or None


def headers_name() -> str:
    """Of which kernel the headers are that tcplife compiles on."""
    listed = sorted(_SOURCES.glob("linux-headers-*-common"))
    return listed[-1].name.removesuffix("-common") if listed else os.environ["BCC_KERNEL_SOURCE"]


def in_own_mount_namespace() -> bool:
    """Whether mounts made here are nobody else's and vanish with this process."""
    return Path("/proc/self/ns/mnt").readlink() != Path(f"/proc/{os.getppid()}/ns/mnt").readlink()


def mount_for_peers(directory: Path) -> None:
    """Mount what the peers need: tracefs, and kernel headers in one tree.

    Where the running kernel has no headers those of another one serve: the figures that tcplife prints are wrong then,
    what it costs is not. Debian keeps headers in two trees, where BCC_KERNEL_SOURCE may name one.
    """
    if not (_TRACEFS / "events").is_dir():
        subprocess.run(["mount", "-t", "tracefs", "none", _TRACEFS], check=True)
    own = Path("/lib/modules", platform.release(), "build").exists() or Path("/sys/kernel/kheaders.tar.xz").exists()
    common = sorted(_SOURCES.glob("linux-headers-*-common"))
    if own or "BCC_KERNEL_SOURCE" in os.environ or not common:
        return
    stem = common[-1].name.removesuffix("-common")
    trees = [*sorted(_SOURCES.glob(f"{stem}-[!c]*"))[:1], common[-1]]
    headers = directory / "headers"
    headers.mkdir()
    subprocess.run(
        ["mount", "-t", "overlay", "-o", f"lowerdir={':'.join(map(str, trees))}", "none", headers], check=True
    )
    os.environ["BCC_KERNEL_SOURCE"] = str(headers)


def drop_page_cache() -> None:
    """Forget what was read from disks; what a running program has mapped stays."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("1")
