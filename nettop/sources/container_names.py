"""What runtimes call their containers, from the files that they keep; their sockets give full control over the host.

Only root may read most of these files, so the names of the containers that run are read before nettop drops its
privileges. Later ones are tried with the rights that are left. Files in home directories, as of rootless Podman, are
never touched: they may be on a network that does not answer.
"""

import os
import stat
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from nettop.kernel.cgroups import Cgroup, walk
from nettop.model.services import of_path
from nettop.text import printable_text
from nettop.tracking.services import ContainerNames

MAX_AT_START = 1_000  # containers; 0.1 ms each. A node of Kubernetes has at most some hundred
MAX_NAMES = 16_384  # some 500 bytes each; the container that was asked for longest ago is forgotten
_MAX_FILE_BYTES = 4 << 20  # Podman has one file for all containers, 1 KB each

_DOCKER_ROOTS = ("var/lib/docker", "var/snap/docker/common/var-lib-docker")
_DOCKER_SETTINGS = "etc/docker/daemon.json"
_CONTAINERD_ROOTS = (
    "run/containerd",
    "run/k3s/containerd",
    "run/k0s/containerd",
    "var/snap/microk8s/common/run/containerd",
)
_TASKS = "io.containerd.runtime.v2.task"  # below it NAMESPACE/ID/config.json
_STORAGE_RUN = "run/containers/storage"  # of CRI-O and Podman
_STORAGE = "var/lib/containers/storage"
_DRIVERS = ("overlay", "vfs", "btrfs", "zfs")
_PODMAN_LISTS = ("containers.json", "volatile-containers.json")

_Name = str | None
_T = TypeVar("_T")


class _DockerConfig(msgspec.Struct, rename="pascal"):
    image: str = ""
    labels: dict[str, str] | None = None


class _Docker(msgspec.Struct, rename="pascal"):
    """/var/lib/docker/containers/ID/config.v2.json."""

    name: str = ""
    config: _DockerConfig = msgspec.field(default_factory=_DockerConfig)


class _Bundle(msgspec.Struct):
    """config.json of the OCI runtime specification."""

    annotations: dict[str, str] | None = None


class _Stored(msgspec.Struct):
    """An element of containers.json of containers/storage. The metadata are JSON within JSON."""

    id: str
    names: list[str] | None = None
    metadata: str = "{}"


class _StoredMetadata(msgspec.Struct):
    image: str = msgspec.field(default="", name="image-name")


class _DockerSettings(msgspec.Struct):
    root: str = msgspec.field(default="", name="data-root")


# Labels and annotations, of which the first counts that is there: the kubelet's, containerd's CRI plugin's, CRI-O's and
# nerdctl's.
_NAME = ("io.kubernetes.container.name", "io.kubernetes.cri.container-name", "nerdctl/name")
_POD = ("io.kubernetes.pod.name", "io.kubernetes.cri.sandbox-name")
_POD_NAMESPACE = ("io.kubernetes.pod.namespace", "io.kubernetes.cri.sandbox-namespace")
_IMAGE = ("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.Image")


class RuntimeFiles:
    """Finds what a container is called by its id, or by its name for LXC and nspawn; remembers it."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._names: OrderedDict[str, ContainerNames | None] = OrderedDict()
        self._docker = tuple(self._docker_directories())
        self._tasks = [root / directory / _TASKS for directory in _CONTAINERD_ROOTS]
        self._storage_run = [root / _STORAGE_RUN / f"{driver}-containers" for driver in _DRIVERS]
        self._storage = [root / _STORAGE / f"{driver}-containers" for driver in _DRIVERS]

    @property
    def directories(self) -> tuple[Path, ...]:
        """Where the runtimes write, whether or not there are any."""
        return (*self._docker, *self._tasks, *self._storage_run, *self._storage)

    def read_running(self, walked: Iterable[Cgroup] | None = None) -> None:
        """Read what the containers are called that have a cgroup, while it may be read; nothing where no runtime is."""
        if not any(map(os.path.exists, self.directories)):
            return
        for container in running(walked)[:MAX_AT_START]:
            self(container)

    def __call__(self, container: str) -> ContainerNames | None:
        """The names of one container; None if they are not known."""
        if container in self._names:
            self._names.move_to_end(container)
            return self._names[container]
        names = self._names[container] = self._read(container)
        if len(self._names) > MAX_NAMES:
            self._names.popitem(last=False)
        return names

    def _read(self, container: str) -> ContainerNames | None:
        if "/" in container or container in ("", ".", ".."):  # a name from a cgroup's path never is
            return None
        for look in (self._of_docker, self._of_containerd, self._of_storage, self._of_podman):
            names = look(container)
            if names is not None:
                return names
        return None

    def _docker_directories(self) -> Iterator[Path]:
        settings = _read(self._root / _DOCKER_SETTINGS, _DockerSettings)
        configured = (settings.root.lstrip("/"),) if settings is not None and settings.root else ()
        for directory in (*configured, *_DOCKER_ROOTS):
            yield self._root / directory / "containers"

    def _of_docker(self, container: str) -> ContainerNames | None:
        for directory in self._docker:
            found = _read(directory / container / "config.v2.json", _Docker)
            if found is not None:
                named = _named(found.config.labels or {})
                return ContainerNames(
                    name=named.name or _text(found.name.removeprefix("/")),
                    image=_text(found.config.image),
                    pod=named.pod,
                    pod_namespace=named.pod_namespace,
                )
        return None

    def _of_containerd(self, container: str) -> ContainerNames | None:
        for tasks in self._tasks:
            with suppress(OSError):
                for namespace in tasks.iterdir():
                    found = _read(namespace / container / "config.json", _Bundle)
                    if found is not None:
                        return _named(found.annotations or {})
        return None

    def _of_storage(self, container: str) -> ContainerNames | None:
        for directory in self._storage_run:
            found = _read(directory / container / "userdata" / "config.json", _Bundle)
            if found is not None and (named := _named(found.annotations or {})).name is not None:
                return named
        return None

    def _of_podman(self, container: str) -> ContainerNames | None:
        for directory in self._storage:
            for name in _PODMAN_LISTS:
                for stored in _read(directory / name, list[_Stored]) or ():
                    if stored.id == container:
                        metadata = _decoded(stored.metadata.encode(), _StoredMetadata) or _StoredMetadata()
                        return ContainerNames(_text((stored.names or [""])[0]), _text(metadata.image))
        return None


def running(walked: Iterable[Cgroup] | None = None) -> list[str]:
    """The containers that have a cgroup, each once."""
    found: dict[str, None] = {}
    for cgroup in walk() if walked is None else walked:
        service = of_path(cgroup.path)
        found.update(dict.fromkeys((*service.outer, service.container) if service.container else ()))
    return list(found)


def _named(labels: dict[str, str]) -> ContainerNames:
    def first(keys: tuple[str, ...]) -> _Name:
        return _text(next((labels[key] for key in keys if labels.get(key)), ""))

    return ContainerNames(first(_NAME), first(_IMAGE), first(_POD), first(_POD_NAMESPACE))


def _text(value: str) -> _Name:
    """What others chose, made printable; None where they chose nothing."""
    return printable_text(value) or None


def _read(path: Path, kind: type[_T] | Any) -> Any:
    """A regular file of JSON; None if it cannot be read, or is something else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_BYTES:
            return None
        return _decoded(os.read(descriptor, _MAX_FILE_BYTES), kind)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _decoded(raw: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
