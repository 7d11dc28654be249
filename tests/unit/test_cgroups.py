"""Where cgroups are mounted, and which there are."""

from pathlib import Path

import pytest

from nettop.kernel.cgroups import Cgroup, Hierarchy, hierarchies, pids_hierarchy, walk

V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"
HYBRID = (
    "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
    "cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,name=systemd 0 0\n"
    "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n"
    "cgroup /sys/fs/cgroup/the\\040pids cgroup rw,pids 0 0\n"
)


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        (V2, (Hierarchy("/sys/fs/cgroup", v1=False),)),
        (HYBRID, (Hierarchy("/sys/fs/cgroup/unified", v1=False), Hierarchy("/sys/fs/cgroup/the pids", v1=True))),
        ("cgroup /a cgroup rw,pids 0 0\n", (Hierarchy("/a", v1=True),)),
        (V2 + "cgroup2 /run/other cgroup2 rw 0 0\n", (Hierarchy("/sys/fs/cgroup", v1=False),)),
        ("proc /proc proc rw 0 0\n", ()),
    ],
)
def test_hierarchies(mounts: str, expected: tuple[Hierarchy, ...]) -> None:
    assert hierarchies(mounts) == expected


def test_the_hierarchy_of_the_controller() -> None:
    head = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\n"
    assert pids_hierarchy(f"{head}pids\t8\t1\t1\n") == 8
    assert pids_hierarchy(head) == 0


def test_each_comes_before_what_is_in_it(tmp_path: Path) -> None:
    for name in ("a.slice/b.service/c", "d.service"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "cgroup.procs").touch()
    found = list(walk((Hierarchy(str(tmp_path), v1=True), Hierarchy(str(tmp_path / "gone"), v1=False))))
    paths = [cgroup.path for cgroup in found]
    assert sorted(paths) == ["/", "/a.slice", "/a.slice/b.service", "/a.slice/b.service/c", "/d.service"]
    assert paths.index("/a.slice") < paths.index("/a.slice/b.service") < paths.index("/a.slice/b.service/c")
    assert found[0] == Cgroup(v1=True, id=tmp_path.stat().st_ino, path="/")
