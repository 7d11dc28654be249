"""Whose a process is: its unit, container and pod, and what these are called, also if it was gone soon."""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from nettop.kernel.abi import ProcessEvent
from nettop.kernel.cgroups import Cgroup
from nettop.model.services import NONE, Service, of_paths
from nettop.text import printable

MAX_PATHS = 65_536  # of cgroups, some 300 bytes each; the one that was made or asked for longest ago is forgotten
WALK_AGAIN_NS = 10_000_000_000  # a cgroup is unknown because its making was lost, and the next one may be too


class ContainerNames(Struct, frozen=True, gc=False):
    """What a container's runtime calls it. None is not known."""

    name: str | None = None
    image: str | None = None
    pod: str | None = None
    pod_namespace: str | None = None


class CgroupIds(Struct, frozen=True, gc=False):
    """The cgroups in which a process was when the kernel told of it."""

    time_ns: int
    cgroup: int
    cgroup_v1: int


def cgroups_of(event: ProcessEvent) -> CgroupIds:
    """Those of the event's process."""
    return CgroupIds(event.time_ns, event.cgroup, event.cgroup_v1)


class Place(Struct, frozen=True, gc=False):
    """The cgroup of a process in cgroup2, and what all its cgroups say; None is not known."""

    cgroup: str | None
    service: Service


class Services:
    """Knows the paths of cgroups by their ids, and what to call those who own them.

    `walk` lists the cgroups that there are; it is used when one comes up that is older than nettop. With `has_v1` the
    ids of cgroup v1 mean something. `names` finds what a container is called, `netns_name` the name of a namespace.
    """

    def __init__(
        self,
        walk: Callable[[], Iterable[Cgroup]] = tuple,
        names: Callable[[str], ContainerNames | None] = lambda _: None,
        netns_name: Callable[[int], str | None] = lambda _: None,
        has_v1: bool = False,
    ) -> None:
        self._walk = walk
        self._names = names
        self.netns_name = netns_name
        self._has_v1 = has_v1
        self._paths: OrderedDict[tuple[bool, int], str] = OrderedDict()
        self._walked_ns: int | None = None

    def made(self, event: ProcessEvent) -> None:
        """A cgroup was made."""
        v1 = event.cgroup == 0
        self._remember(v1, event.cgroup_v1 if v1 else event.cgroup, printable(event.arguments.rstrip(b"\0")))

    def place_of(self, ids: CgroupIds | None) -> Place | None:
        """Where a process was; None if nothing is known of any of its cgroups."""
        if ids is None:
            return None
        cgroup = self._path(False, ids.cgroup, ids.time_ns)
        cgroup_v1 = self._path(True, ids.cgroup_v1, ids.time_ns) if self._has_v1 else None
        if cgroup is None and cgroup_v1 is None:
            return None
        return Place(cgroup, of_paths(path for path in (cgroup, cgroup_v1) if path is not None))

    def fields(self, service: Service) -> dict[str, Any]:
        """What the row of such a process says of it."""
        names, pod, pod_namespace = ContainerNames(), None, None
        if service.container is not None:
            names = self._names(service.container) or names
            # of a container within a container of a pod, only the outer one's runtime knows the pod
            known = (names, *(self._names(outer) for outer in reversed(service.outer)))
            in_pod = next((each for each in known if each is not None and each.pod is not None), names)
            pod, pod_namespace = in_pod.pod, in_pod.pod_namespace
        return {
            "unit": service.unit,
            "container": service.container,
            "container_runtime": service.runtime,
            "container_name": names.name,
            "image": names.image,
            "pod": pod,
            "pod_namespace": pod_namespace,
            "pod_uid": service.pod_uid,
        }

    def _remember(self, v1: bool, number: int, path: str) -> None:
        self._paths[v1, number] = path
        self._paths.move_to_end((v1, number))
        if len(self._paths) > MAX_PATHS:
            self._paths.popitem(last=False)

    def _path(self, v1: bool, number: int, time_ns: int) -> str | None:
        known = self._paths.get((v1, number))
        if known is None and (self._walked_ns is None or time_ns - self._walked_ns > WALK_AGAIN_NS):
            self._walked_ns = time_ns
            for cgroup in self._walk():
                if (cgroup.v1, cgroup.id) not in self._paths:
                    self._remember(cgroup.v1, cgroup.id, printable(os.fsencode(cgroup.path)))
            known = self._paths.get((v1, number))
        return known


NOWHERE = Place(None, NONE)
