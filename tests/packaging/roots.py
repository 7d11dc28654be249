"""A fresh Debian in a directory, and commands in it. Nothing of it is mounted outside the commands' own namespaces.

Nor is anything registered there: a Debian for another processor has its emulator from the binfmt_misc of a user
namespace, which Linux has since 6.7.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nettop.packaging.libraries import PROCESSORS
from tests.kernels.archive import debian_archive

_KERNEL = ("proc", "sys", "dev")  # the host's: process ids, BTF, cgroups
# What apt and dpkg say of themselves, and what programs may leave for a while
_MOVING = ("var/lib/dpkg", "var/lib/apt", "var/cache/apt", "var/log", "var/cache/debconf", "tmp", "root/.cache")
_REGISTER = """
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
cat "/usr/lib/binfmt.d/qemu-$0.conf" >/proc/sys/fs/binfmt_misc/register
exec "$@"
"""
# newuidmap(1) gives root no other ids than these files say
_EMULATE = """
ids="$(mktemp)"; echo root:0:65536 >"$ids"
mount --bind "$ids" /etc/subuid; mount --bind "$ids" /etc/subgid; rm "$ids"
exec unshare --map-users=0,0,65536 --map-groups=0,0,65536 --setuid=0 --setgid=0 \\
    --mount --pid --fork --kill-child --mount-proc sh -ec "$@"
"""
_ENTER = 'root="$1"; shift; for at in proc sys dev; do mount --rbind "/$at" "$root/$at"; done; exec chroot "$root" "$@"'


class Root:
    """The root of a suite as mmdebstrap makes it, with nothing but what is essential, and apt.

    That of another processor is emulated, program by program, upon the kernel of this machine.
    """

    def __init__(self, suite: str, path: Path, processor: str) -> None:
        self.path = path
        self._emulation = [] if processor == platform.machine() else emulation(processor)
        options = ["--quiet", "--variant=minbase", f"--architectures={PROCESSORS[processor]}"]
        # what it mounts must not be in the way of who removes the root, should it not come to its end
        mmdebstrap = [*(self._emulation or ["unshare", "--mount"]), "mmdebstrap", *options]
        run(*mmdebstrap, suite, str(path), debian_archive())
        shutil.copy("/etc/resolv.conf", path / "etc/resolv.conf")
        self.run("apt-get", "-qq", "update")

    def command(self, *command: str) -> list[str]:
        """The command line that runs a command here. Everything in it execs: but for an emulated one, the pid stays."""
        return [*self._emulation, "unshare", "--mount", "sh", "-ec", _ENTER, "sh", str(self.path), *command]

    def run(self, *command: str) -> str:
        """Run a command here, which must succeed; what it wrote to standard output."""
        return run(*self.command(*command), DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8", HOME="/root")

    def apt(self, *arguments: str) -> None:
        """Run apt-get here, without questions and recommendations."""
        self.run("apt-get", "-qq", "--yes", "--no-install-recommends", *arguments)

    def put(self, file: Path) -> str:
        """Copy a file into /tmp; its path here."""
        shutil.copy2(file, self.path / "tmp")
        return f"/tmp/{file.name}"

    def tree(self) -> set[str]:
        """Every path but the kernel's and those of which apt and dpkg keep account."""
        found = set()
        for directory, folders, files in os.walk(self.path):
            at = Path(directory).relative_to(self.path)
            folders[:] = [name for name in folders if str(at / name) not in (*_KERNEL, *_MOVING)]
            found |= {str(at / name) for name in (*folders, *files)}
        return found


def emulation(processor: str) -> list[str]:
    """A prefix that runs commands where programs of another processor run too."""
    return ["unshare", "--mount", "sh", "-ec", _EMULATE, "sh", _REGISTER, processor]


@contextmanager
def fresh_root(suite: str, directory: Path, processor: str = platform.machine()) -> Iterator[Root]:
    """A root for a while."""
    path = directory / suite
    try:
        yield Root(suite, path, processor)
    finally:
        shutil.rmtree(path)


def run(*command: str, **environment: str) -> str:
    """Run a command, which must succeed; what it wrote to standard output."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, env={**os.environ, **environment}
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout
