"""Names of containers, pods and images in the files that runtimes keep, as they write them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nettop.kernel.cgroups import Cgroup
from nettop.sources.container_names import RuntimeFiles, running
from nettop.tracking.services import ContainerNames

ID, OTHER = "ab" * 32, "cd" * 32
OF_POD = ContainerNames("app", "registry.example/app:2", "web-0", "shop")
KUBELET = {
    "io.kubernetes.container.name": "app",
    "io.kubernetes.pod.name": "web-0",
    "io.kubernetes.pod.namespace": "shop",
}
CRI = {
    "io.kubernetes.cri.container-name": "app",
    "io.kubernetes.cri.image-name": "registry.example/app:2",
    "io.kubernetes.cri.sandbox-name": "web-0",
    "io.kubernetes.cri.sandbox-namespace": "shop",
}
PODMAN = [
    {"id": OTHER, "names": ["db"]},
    {"id": ID, "names": ["web"], "metadata": json.dumps({"image-name": "docker.io/library/nginx:1", "name": "web"})},
]
DOCKER = {"Name": "/web", "Config": {"Image": "nginx:1", "Labels": None, "Env": ["A=b"]}, "State": {"Running": True}}

FILES: dict[str, tuple[str, Any, ContainerNames]] = {
    "docker": (f"var/lib/docker/containers/{ID}/config.v2.json", DOCKER, ContainerNames("web", "nginx:1")),
    "docker of Kubernetes": (
        f"var/lib/docker/containers/{ID}/config.v2.json",
        {"Name": "/k8s_app_web-0", "Config": {"Image": "registry.example/app:2", "Labels": KUBELET}},
        OF_POD,
    ),
    "containerd": (
        f"run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json",
        {"ociVersion": "1.1.0", "process": {"args": ["app"]}, "annotations": CRI},
        OF_POD,
    ),
    "k3s": (
        f"run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json",
        {"annotations": CRI},
        OF_POD,
    ),
    "nerdctl": (
        f"run/containerd/io.containerd.runtime.v2.task/default/{ID}/config.json",
        {"annotations": {"nerdctl/name": "web"}},
        ContainerNames("web"),
    ),
    "CRI-O": (
        f"run/containers/storage/overlay-containers/{ID}/userdata/config.json",
        {"annotations": {**KUBELET, "io.kubernetes.cri-o.ImageName": "registry.example/app:2"}},
        OF_POD,
    ),
    "Podman": (
        "var/lib/containers/storage/overlay-containers/containers.json",
        PODMAN,
        ContainerNames("web", "docker.io/library/nginx:1"),
    ),
    "Podman --rm": (
        "var/lib/containers/storage/overlay-containers/volatile-containers.json",
        PODMAN,
        ContainerNames("web", "docker.io/library/nginx:1"),
    ),
}


def write(root: Path, path: str, content: Any) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


@pytest.mark.parametrize("runtime", FILES)
def test_a_runtime(tmp_path: Path, runtime: str) -> None:
    path, content, expected = FILES[runtime]
    write(tmp_path, path, content)
    assert RuntimeFiles(tmp_path)(ID) == expected


def test_a_docker_that_keeps_its_files_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, "etc/docker/daemon.json", {"data-root": "/srv/docker"})
    write(tmp_path, f"srv/docker/containers/{ID}/config.v2.json", DOCKER)
    assert RuntimeFiles(tmp_path)(ID) == ContainerNames("web", "nginx:1")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"Name": 1}', "\udcff", '{"Name": "/"}', "[" * 5000])
def test_what_is_none_of_theirs_is_unknown(tmp_path: Path, content: str) -> None:
    file = write(tmp_path, f"var/lib/docker/containers/{ID}/config.v2.json", "")
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert RuntimeFiles(tmp_path)(ID) in (None, ContainerNames())


def test_a_file_that_is_none(tmp_path: Path) -> None:
    directory = tmp_path / f"var/lib/docker/containers/{ID}"
    directory.mkdir(parents=True)
    os.mkfifo(directory / "config.v2.json")  # would never end
    assert RuntimeFiles(tmp_path)(ID) is None


@pytest.mark.parametrize("name", ["..", ".", "", "../../../etc", "a/b"])
def test_a_name_that_would_lead_elsewhere(tmp_path: Path, name: str) -> None:
    write(tmp_path, "var/lib/docker/containers/config.v2.json", DOCKER)
    write(tmp_path, "var/lib/docker/config.v2.json", DOCKER)
    assert RuntimeFiles(tmp_path)(name) is None


def test_what_others_chose_is_made_printable(tmp_path: Path) -> None:
    path, _, _ = FILES["docker"]
    write(tmp_path, path, {"Name": "/\x1b[2Jweb", "Config": {"Image": "a\u202eb"}})
    names = RuntimeFiles(tmp_path)(ID)
    assert names is not None
    assert names.name is not None
    assert names.image is not None
    assert names.name.isprintable()
    assert names.image.isprintable()


def test_what_was_read_before_privileges_went_stays_known(tmp_path: Path) -> None:
    path, content, expected = FILES["docker"]
    file = write(tmp_path, path, content)
    subject = RuntimeFiles(tmp_path)
    subject.read_running([Cgroup(v1=False, id=5, path=f"/system.slice/docker-{ID}.scope")])
    file.unlink()
    assert subject(ID) == expected
    assert subject(OTHER) is None


def test_nothing_is_walked_where_no_runtime_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk() -> None:
        raise AssertionError("for nothing")

    monkeypatch.setattr("nettop.sources.container_names.walk", walk)
    RuntimeFiles(tmp_path).read_running()


def test_running_containers() -> None:
    paths = ["/", f"/docker/{ID}", f"/docker/{ID}/system.slice/docker-{OTHER}.scope", f"/docker/{ID}/x"]
    assert running(Cgroup(v1=False, id=number, path=path) for number, path in enumerate(paths)) == [ID, OTHER]
