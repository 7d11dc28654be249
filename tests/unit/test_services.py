"""What cgroup paths say: as systemd, container runtimes and kubelets of many versions and settings make them."""

import pytest

from nettop.model.services import (
    NONE,
    Service,
    cgroup_names,
    of_path,
    of_paths,
    short,
    unit_cgroup_names,
    unit_name,
)

ID = "5d1c9f0e" * 8
OTHER = "0123456789abcdef" * 4
POD = "1f8b9d3c-6a52-4c1e-9a77-3f2f6f1d2e10"
SLICE = f"kubepods-burstable-pod{POD.replace('-', '_')}.slice"
STATIC_POD = "c5a1f1d2e3b4a5968778695a4b3c2d1e"

UNITS = {
    "/": None,
    "/init.scope": "init.scope",
    "/system.slice/nginx.service": "nginx.service",
    "/system.slice/system-getty.slice/getty@tty1.service": "getty@tty1.service",
    "/system.slice/nginx.service/workers/1": "nginx.service",
    "/system.slice/nginx.service (deleted)": "nginx.service",
    "/system.slice/_cpu.service": "cpu.service",
    r"/system.slice/dev-disk-by\\x2duuid.swap": r"dev-disk-by\x2duuid.swap",
    "/user.slice/user-1000.slice/session-3.scope": "session-3.scope",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-42.scope": "app-firefox-42.scope",
    "/user.slice/user-1000.slice/user@1000.service/init.scope": "init.scope",
    "/user.slice": None,
    "/process_api/447d95e1f1d2e8687c7ff40946a95127": None,
    "/machine.slice/machine-qemu\\\\x2d1\\\\x2dvm.scope/libvirt/emulator": "machine-qemu\\x2d1\\x2dvm.scope",
    f"/machine.slice/libpod-conmon-{ID}.scope": f"libpod-conmon-{ID}.scope",
    f"/system.slice/crio-conmon-{ID}.scope": f"crio-conmon-{ID}.scope",
    "/lxc.monitor.web": None,
    "/lxc.monitor/web": None,
    "/.service": None,
    "": None,
}

CONTAINERS: dict[str, Service] = {
    # Docker with systemd's driver, with cgroupfs, in a parent of one's own, rootless
    f"/system.slice/docker-{ID}.scope": Service(f"docker-{ID}.scope", ID, "docker"),
    f"/docker/{ID}": Service(None, ID, "docker"),
    f"/docker/{ID}/nested/below": Service(None, ID, "docker"),
    f"/my.slice/{ID}": Service(None, ID),
    f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope": Service(
        f"docker-{ID}.scope", ID, "docker"
    ),
    f"/system.slice/docker-{ID}.scope/system.slice/nginx.service": Service("nginx.service", ID, "docker"),
    f"/docker/{ID}/system.slice/docker-{OTHER}.scope": Service(f"docker-{OTHER}.scope", OTHER, "docker", None, (ID,)),
    f"/ecs/0f1e2d/{ID}": Service(None, ID),
    f"/../docker-{ID}.scope": Service(f"docker-{ID}.scope", ID, "docker"),
    # systemd's driver chosen in one place and cgroupfs in the other
    f"/system.slice:docker:{ID}": Service(None, ID, "docker"),
    f"/system.slice/containerd.service/{SLICE}:cri-containerd:{ID}": Service(
        "containerd.service", ID, "containerd", POD
    ),
    # Podman: as root, rootless, by cgroupfs, in a unit that Quadlet has written
    f"/machine.slice/libpod-{ID}.scope/container": Service(f"libpod-{ID}.scope", ID, "podman"),
    f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container": Service(
        f"libpod-{ID}.scope", ID, "podman"
    ),
    f"/libpod_parent/libpod-{ID}": Service(None, ID, "podman"),
    f"/system.slice/web.service/libpod-payload-{ID}": Service("web.service", ID, "podman"),
    # containerd without Kubernetes
    f"/system.slice/nerdctl-{ID}.scope": Service(f"nerdctl-{ID}.scope", ID, "containerd"),
    f"/default/{ID}": Service(None, ID),
    f"/k8s.io/{ID}": Service(None, ID, "containerd"),
    # Kubernetes: drivers, classes of pods, runtimes, static pods, kind
    f"/kubepods.slice/kubepods-burstable.slice/{SLICE}/cri-containerd-{ID}.scope": Service(
        f"cri-containerd-{ID}.scope", ID, "containerd", POD
    ),
    f"/kubepods.slice/kubepods-pod{POD.replace('-', '_')}.slice/crio-{ID}.scope": Service(
        f"crio-{ID}.scope", ID, "cri-o", POD
    ),
    f"/kubepods/besteffort/pod{POD}/{ID}": Service(None, ID, None, POD),
    f"/kubepods/pod{POD}/crio-{ID}": Service(None, ID, "cri-o", POD),
    f"/kubepods/burstable/pod{STATIC_POD}/{ID}": Service(None, ID, None, STATIC_POD),
    f"/kubepods.slice/kubepods-burstable.slice/{SLICE}": Service(None, None, None, POD),
    f"/kubepods/burstable/pod{POD}/crio-conmon-{ID}": Service(None, None, None, POD),
    (
        f"/docker/{OTHER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
        f"kubelet-{SLICE}/cri-containerd-{ID}.scope"
    ): Service(f"cri-containerd-{ID}.scope", ID, "containerd", POD, (OTHER,)),
    # LXC and Incus, Proxmox, older LXC
    "/lxc.payload.web/system.slice/nginx.service": Service("nginx.service", "web", "lxc"),
    "/lxc/101/ns/init.scope": Service("init.scope", "101", "lxc"),
    "/lxc.payload/web": Service(None, "web", "lxc"),
    "/system.slice/lxc@web.service/lxc.payload.web": Service("lxc@web.service", "web", "lxc"),
    # systemd-nspawn: from the shell, as a service, in cgroup v1
    "/machine.slice/machine-deb.scope/payload/system.slice/ssh.service": Service("ssh.service", "deb", "nspawn"),
    "/machine.slice/systemd-nspawn@deb.service/payload": Service("systemd-nspawn@deb.service", "deb", "nspawn"),
    r"/machine.slice/machine-my\\x2ddeb.scope/payload": Service(r"machine-my\x2ddeb.scope", "my-deb", "nspawn"),
    "/machine.slice/machine-deb.scope/init.scope": Service("init.scope", "deb", "nspawn"),
    "/machine.slice/machine-deb.scope/supervisor": Service("machine-deb.scope"),
    "/machine.slice/machine-vm.scope": Service("machine-vm.scope"),
}


@pytest.mark.parametrize(("path", "unit"), UNITS.items())
def test_a_unit(path: str, unit: str | None) -> None:
    assert of_path(path) == Service(unit)


@pytest.mark.parametrize(("path", "expected"), CONTAINERS.items())
def test_a_container(path: str, expected: Service) -> None:
    assert of_path(path) == expected


@pytest.mark.parametrize("path", [f"/a/pod{POD}", "/kubepods/podinfo", f"/docker/{ID[:-1]}", f"/docker/{ID}0"])
def test_what_only_looks_like_one(path: str) -> None:
    assert of_path(path) == NONE


def test_a_name_that_is_hostile_is_printable() -> None:
    service = of_path(r"/machine.slice/machine-\\x1b\\x5b2J.scope/payload")
    assert service.container is not None
    assert service.container.isprintable()


def test_the_hierarchy_that_names_a_container_counts() -> None:
    paths = ["/system.slice/docker.service", "/", f"/docker/{ID}"]
    assert of_paths(paths) == Service(None, ID, "docker")
    assert of_paths(["/", "/system.slice/nginx.service"]) == Service("nginx.service")
    assert of_paths(["/", "/"]) == NONE


# the name of a container alone, as of older LXC, could be that of anything
_BARE = {"/lxc/101/ns/init.scope", "/lxc.payload/web"}
_NAMED = [path for path, service in CONTAINERS.items() if service.container is not None and path not in _BARE]


@pytest.mark.parametrize("path", _NAMED)
def test_a_container_is_found_by_the_name_of_its_cgroup(path: str) -> None:
    container = of_path(path).container
    assert container is not None
    names = cgroup_names(container)
    parts = path.replace("\\\\", "\\").split("/")  # as the kernel has them
    assert any(part in names or part.rpartition(":")[2] in names for part in parts)
    assert not any("conmon" in name or "monitor" in name for name in names)


@pytest.mark.parametrize(
    ("text", "unit"),
    [("nginx", "nginx.service"), ("a.b", "a.b.service"), ("user.slice", "user.slice"), ("x.scope", "x.scope")],
)
def test_a_unit_as_one_writes_it(text: str, unit: str) -> None:
    assert unit_name(text) == unit
    assert unit in unit_cgroup_names(unit)


def test_an_id_is_short_and_a_name_is_not() -> None:
    assert (short(ID), short("a-name-that-is-long")) == ("5d1c9f0e5d1c", "a-name-that-is-long")
