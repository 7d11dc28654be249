"""Units and containers of processes: by /proc while they live, by the ids of their cgroups when they are gone."""

from collections.abc import Iterator

import pytest

from nettop.kernel.abi import CGROUP_MADE, PROCESS_EXEC, PROCESS_EXIT, ProcessKey
from nettop.kernel.cgroups import Cgroup
from nettop.model.rows import ProcessIdentity
from nettop.model.services import Service, of_path
from nettop.tracking.processes import CommandLine, Described, ProcessTracker, Sighting
from nettop.tracking.services import MAX_PATHS, WALK_AGAIN_NS, CgroupIds, ContainerNames, Place, Services
from tests.builders import CLOCK, CURL, NETNS, at, comm, ns, process_event

ID, OUTER = "ab" * 32, "cd" * 32
NAMES = {
    ID: ContainerNames("web", "nginx:1", "web-0", "shop"),
    OUTER: ContainerNames("node", "kind", None, None),
}
WALKED = (
    Cgroup(v1=False, id=1, path="/"),
    Cgroup(v1=False, id=7, path="/system.slice/old.service"),
    Cgroup(v1=True, id=7, path=f"/docker/{ID}"),
)


def services(has_v1: bool = False) -> Services:
    return Services(lambda: WALKED, NAMES.get, {NETNS: "blue"}.get, has_v1)


def tracker(described: Described | None = None, has_v1: bool = False) -> ProcessTracker:
    return ProcessTracker(CLOCK, lambda _: described, lambda _: None, services(has_v1))


def seen(subject: ProcessTracker, seconds: float = 1.0) -> ProcessIdentity:
    (event,) = subject.seen(Sighting(CURL, 1000, comm("curl"), ns(seconds)), NETNS, at(seconds))
    return event.process


def made(subject: Services, number: int, path: bytes, v1: bool = False) -> None:
    ids = {"cgroup": 0 if v1 else number, "cgroup_v1": number if v1 else 0}
    subject.made(process_event(CGROUP_MADE, arguments=path + b"\0", **ids))


def told(row: ProcessIdentity) -> tuple[str | None, ...]:
    return row.cgroup, row.unit, row.container, row.container_runtime


def test_a_process_that_lives() -> None:
    cgroup = f"/system.slice/docker-{ID}.scope"
    row = seen(tracker(Described(CommandLine(("curl",)), 1, cgroup, of_path(cgroup))))
    assert told(row) == (cgroup, f"docker-{ID}.scope", ID, "docker")
    assert (row.container_name, row.image, row.pod, row.pod_namespace) == ("web", "nginx:1", "web-0", "shop")
    assert row.netns_name == "blue"


@pytest.mark.parametrize("kind", [PROCESS_EXEC, PROCESS_EXIT])
def test_a_process_that_is_gone_when_it_is_first_seen(kind: int) -> None:
    subject = tracker()
    subject.event(process_event(kind, cgroup=7, arguments=b"curl\0"))
    assert told(seen(subject)) == ("/system.slice/old.service", "old.service", None, None)


def test_a_process_that_was_moved_between_its_exec_and_its_end() -> None:
    subject = tracker()
    subject.event(process_event(PROCESS_EXEC, 1.0, cgroup=1, arguments=b"curl\0"))
    assert told(seen(subject)) == ("/", None, None, None)
    (event,) = subject.event(process_event(PROCESS_EXIT, 2.0, cgroup=7))
    assert told(event.process) == ("/system.slice/old.service", "old.service", None, None)
    assert event.process.exited_at == at(2)


def test_an_exec_tells_where_a_process_is_now() -> None:
    subject = tracker(Described(CommandLine(("runc",)), 1, "/system.slice/docker.service", Service("docker.service")))
    assert told(seen(subject))[1] == "docker.service"
    (event,) = subject.event(process_event(PROCESS_EXEC, 2.0, cgroup=7, arguments=b"nginx\0"))
    assert told(event.process)[1] == "old.service"


def test_a_container_stays_known_where_an_id_tells_less() -> None:
    """On a host with cgroup v1 the path in cgroup2 may be that of whoever started the container."""
    subject = tracker(Described(CommandLine(("nginx",)), 1, "/", Service(None, ID, "docker")))
    seen(subject)
    (event,) = subject.event(process_event(PROCESS_EXIT, 2.0, cgroup=7))
    assert told(event.process) == ("/system.slice/old.service", None, ID, "docker")


def test_ids_of_cgroup_v1_count_where_the_host_has_it() -> None:
    ids = CgroupIds(0, cgroup=1, cgroup_v1=7)
    assert services(has_v1=True).place_of(ids) == Place("/", Service(None, ID, "docker"))
    assert services(has_v1=False).place_of(ids) == Place("/", Service())


def test_a_cgroup_that_was_made_and_removed() -> None:
    subject = services(has_v1=True)
    made(subject, 9, b"/system.slice/new\x1b.service")
    made(subject, 9, f"/docker/{ID}".encode(), v1=True)
    assert subject.place_of(CgroupIds(0, 9, 0)) == Place("/system.slice/new\\x1b.service", Service("new\\x1b.service"))
    assert subject.place_of(CgroupIds(0, 0, 9)) == Place(None, Service(None, ID, "docker"))


def test_cgroups_are_walked_when_one_is_older_and_not_for_each_that_is_lost() -> None:
    walks: list[int] = []

    def walk() -> Iterator[Cgroup]:
        walks.append(1)
        yield from WALKED

    subject = Services(walk)
    made(subject, 9, b"/new.service")
    assert subject.place_of(CgroupIds(1, 9, 0)) is not None
    assert not walks
    assert [subject.place_of(CgroupIds(1, number, 0)) is None for number in (7, 8, 8)] == [False, True, True]
    assert len(walks) == 1
    assert subject.place_of(CgroupIds(2 + WALK_AGAIN_NS, 8, 0)) is None
    assert len(walks) == 2


def test_paths_are_bounded() -> None:
    subject = Services()
    for number in range(1, MAX_PATHS + 2):
        made(subject, number, b"/x")
    assert [subject.place_of(CgroupIds(1, number, 0)) is None for number in (1, 2, MAX_PATHS + 1)] == [
        True,
        False,
        False,
    ]


def test_of_a_container_in_a_container_the_outer_ones_runtime_knows_the_pod() -> None:
    fields = services().fields(Service(None, "ef" * 32, "docker", "uid", (OUTER, ID)))
    assert (fields["container_name"], fields["pod"], fields["pod_uid"]) == (None, "web-0", "uid")
    fields = services().fields(Service(None, OUTER, "docker", None, (ID,)))
    assert (fields["container_name"], fields["pod"]) == ("node", "web-0")


def test_what_nobody_knows_is_unknown() -> None:
    row = seen(tracker())
    assert told(row) == (None, None, None, None)
    assert ProcessKey(row.pid, 0).pid == CURL.pid
