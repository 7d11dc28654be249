"""What a cgroup's path says about whose process it is: systemd unit, container and pod. Pure functions.

The path is read as it is, never built: where a unit, container or pod has its cgroup depends on its manager, the
manager's version and settings, and on what it runs in itself. What is further in the path lies within what stands
before it, so the last one of each kind counts.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from nettop.text import printable

Runtime = Literal["docker", "podman", "containerd", "cri-o", "lxc", "nspawn"]

SHORT_ID = 12  # digits of a container's id, as its tools show it

_UNIT_TYPES = (".service", ".scope", ".socket", ".mount", ".swap")  # processes run in no others; slices hold units
# runc and crun name a cgroup PREFIX-ID.scope with systemd's help, and PREFIX-ID or ID without it; where one was meant
# and the other used, it is one directory SLICE:PREFIX:ID.
_ID = re.compile(r"(?:(?P<prefix>.*)[-:])?(?P<id>[0-9a-f]{64})(?:\.scope)?")
_PREFIXES: Mapping[str, Runtime] = {
    "docker": "docker",
    "libpod": "podman",
    "libpod-payload": "podman",
    "cri-containerd": "containerd",
    "containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
}
_PARENTS: Mapping[str, Runtime] = {"docker": "docker", "libpod_parent": "podman", "k8s.io": "containerd"}
_MONITOR = "conmon"  # Podman's and CRI-O's process beside the container, in a cgroup that has the container's id too
# The kubelet writes a pod's uid with - or, in a slice, _; that of a pod from a file on the node is 32 digits.
_POD = re.compile(r"(?:.*-)?pod(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?")
_KUBELET = "kubepods"
_LXC_PREFIX, _LXC_PARENTS = "lxc.payload.", ("lxc", "lxc.payload")
_MACHINE = re.compile(r"machine-(?P<scope>.+)\.scope|systemd-nspawn@(?P<service>.+)\.service")
# Below the cgroup of a machine where it is a container, and not a virtual machine: nspawn's for what runs in it, or
# those of the systemd that does.
_IN_MACHINE = ("payload", "init.scope", "system.slice", "user.slice")
_ESCAPED = re.compile(rb"\\{1,2}x([0-9a-f]{2})")  # systemd-escape(1); text that was made printable has two backslashes
_DELETED = " (deleted)"  # /proc says so of a cgroup that was removed
_PATHS_REMEMBERED = 16_384  # some 5 MB: processes that come and go are mostly those of few services


class Service(Struct, frozen=True, gc=False):
    """Whose a process is, as far as its cgroup says. None is not known, or that it is in none.

    `container` is the id that its runtime gave it, or for LXC and nspawn its name. `outer` are the containers that this
    one is in, from the outside.
    """

    unit: str | None = None
    container: str | None = None
    runtime: Runtime | None = None
    pod_uid: str | None = None
    outer: tuple[str, ...] = ()


NONE = Service()


@lru_cache(maxsize=_PATHS_REMEMBERED)
def of_path(path: str) -> Service:
    """What one path says."""
    parts = path.removesuffix(_DELETED).split("/")
    unit, pod_uid = None, None
    containers: list[tuple[str, Runtime | None]] = []
    for before, part, after in zip(("", *parts), parts, (*parts[1:], ""), strict=False):
        if part.endswith(_UNIT_TYPES) and part not in _UNIT_TYPES:
            # systemd puts _ before a name that a controller could take for its own
            unit = part.removeprefix("_").replace("\\\\", "\\")
        if _KUBELET in path and (pod := _POD.fullmatch(part.partition(":")[0])):
            pod_uid = pod["uid"].replace("_", "-")
        container = _container(before, part, after)
        if container is not None:
            containers.append(container)
    innermost, runtime = containers.pop() if containers else (None, None)
    return Service(unit, innermost, runtime, pod_uid, tuple(name for name, _ in containers))


def of_paths(paths: Iterable[str]) -> Service:
    """What the paths of one process say, those of the hierarchy that counts most first.

    With cgroup v1 each hierarchy has a path of its own, and not every manager uses all of them: the first that names a
    container counts, else the first that names anything.
    """
    said = [of_path(path) for path in paths]
    for service in said:
        if service.container is not None:
            return service
    return next((service for service in said if service != NONE), NONE)


def _container(before: str, part: str, after: str) -> tuple[str, Runtime | None] | None:
    """The container whose cgroup this part of a path is, given its neighbours."""
    found = _ID.fullmatch(part)
    if found is not None:
        prefix = (found["prefix"] or "").rpartition(":")[2]
        if _MONITOR in prefix:
            return None
        return found["id"], _PREFIXES.get(prefix) if prefix else _PARENTS.get(before)
    if part.startswith(_LXC_PREFIX):
        return part.removeprefix(_LXC_PREFIX), "lxc"
    if before in _LXC_PARENTS and part:
        return part, "lxc"
    machine = _MACHINE.fullmatch(part)
    if machine is not None and after in _IN_MACHINE:
        return _unescaped(machine["scope"] or machine["service"]), "nspawn"
    return None


def _unescaped(name: str) -> str:
    return printable(_ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), name.encode()))


def cgroup_names(container: str) -> tuple[str, ...]:
    """The names that the cgroup of a container may have, by its id, or name for LXC and nspawn."""
    if _ID.fullmatch(container) is None:
        escaped = "".join(
            letter if letter.isalnum() or letter in ":_." else f"\\x{ord(letter):02x}" for letter in container
        )
        return f"{_LXC_PREFIX}{container}", f"machine-{escaped}.scope", f"systemd-nspawn@{escaped}.service"
    prefixed = [f"{prefix}-{container}" for prefix in _PREFIXES]
    return container, *prefixed, *(f"{name}.scope" for name in prefixed)


def unit_name(text: str) -> str:
    """The name of a unit as a person writes it, who may leave out `.service`, as for systemctl(1)."""
    return text if text.endswith((*_UNIT_TYPES, ".slice")) else f"{text}.service"


def unit_cgroup_names(unit: str) -> tuple[str, ...]:
    """The names that the cgroup of a unit may have: of cpu.service it begins with _, because cpu is a controller."""
    return unit, f"_{unit}"


def short(container: str) -> str:
    """A container's id as its tools show it; a name as it is."""
    return container[:SHORT_ID] if _ID.fullmatch(container) else container
