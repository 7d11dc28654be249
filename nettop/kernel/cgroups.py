"""The cgroups that there are, by the ids that the kernel's records name: of cgroup2, and of one hierarchy of cgroup v1.

A cgroup's id is the inode number of its directory (fs/kernfs). Of cgroup v1 the hierarchy is looked at that has the
controller pids: systemd and every container's runtime make a cgroup there for each unit and container.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CONTROLLER = "pids"
MAX_WALKED = 65_536  # cgroups; some 10 us each


class Hierarchy(NamedTuple):
    """A tree of cgroups: where it is mounted."""

    directory: str
    v1: bool


class Cgroup(NamedTuple):
    """One cgroup."""

    v1: bool
    id: int
    path: str  # from the root of its hierarchy, or from that of this cgroup namespace; begins with /


def hierarchies(mounts: str | None = None) -> tuple[Hierarchy, ...]:
    """Those that are mounted, from the text of /proc/self/mounts, cgroup2 first."""
    if mounts is None:
        mounts = Path("/proc/self/mounts").read_text(errors="surrogateescape")
    found: dict[bool, Hierarchy] = {}
    for line in mounts.splitlines():
        _, directory, kind, options, *_ = line.split(" ")
        v1 = kind == "cgroup"
        if kind == "cgroup2" or (v1 and CONTROLLER in options.split(",")):
            found.setdefault(v1, Hierarchy(directory.encode().decode("unicode_escape"), v1))  # \040 is a space
    return tuple(found[v1] for v1 in (False, True) if v1 in found)


def pids_hierarchy(cgroups: str | None = None) -> int:
    """The id of the cgroup v1 hierarchy that has the controller, from the text of /proc/cgroups; 0: there is none."""
    try:
        text = Path("/proc/cgroups").read_text() if cgroups is None else cgroups
    except OSError:  # CONFIG_PROC_PID_CPUSET and the like left out
        return 0
    for line in text.splitlines():
        name, _, rest = line.partition("\t")
        if name == CONTROLLER:
            return int(rest.split("\t")[0])
    return 0


def walk(found: tuple[Hierarchy, ...] | None = None) -> Iterator[Cgroup]:
    """Every cgroup, each before those below it: what is entered when it comes has its children in time.

    Directories that nobody may list are left out, and so is what is beyond MAX_WALKED.
    """
    left = MAX_WALKED
    for hierarchy in hierarchies() if found is None else found:
        pending = [(hierarchy.directory, "")]
        while pending and left:
            directory, path = pending.pop()
            try:
                status = Path(directory).stat()
                left -= 1
                yield Cgroup(hierarchy.v1, status.st_ino, path or "/")
                if status.st_nlink > 2:  # kernfs counts the directories in it: most cgroups have none
                    pending += _inside(directory, path)
            except OSError:  # gone meanwhile
                continue


def _inside(directory: str, path: str) -> list[tuple[str, str]]:
    with os.scandir(directory) as entries:
        return [(entry.path, f"{path}/{entry.name}") for entry in entries if entry.is_dir(follow_symlinks=False)]
