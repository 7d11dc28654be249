"""What `make release` made, as a new user meets it in fresh Debian roots: `make packages-test`.

Not part of `make test`: it downloads packages and takes some minutes. Each way to install nettop is tried with real
traffic, in a network namespace of the test's.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from socket import AF_INET
from typing import Any

import pytest
import yaml

from nettop import __version__
from nettop.packaging.libraries import PROCESSORS, PYTHONS
from tests.live import lookup_programs, programs
from tests.live.lab import Namespace, Watch, connections_of, dns_of, dnsmasq, namespace, process_of
from tests.packaging.roots import Root, emulation, fresh_root, run

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"

SUITES = ("bookworm", "trixie")
PORT = 7001
UP_BYTES, DOWN_BYTES = 65_537, 4_099

ELF_MACHINES = {"x86_64": 62, "aarch64": 183}  # elf.h
OTHERS = [processor for processor in PROCESSORS if processor != platform.machine()]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def built_for(processor: str) -> Path:
    """The Debian package for this processor."""
    (built,) = DIST.glob(f"nettop_{__version__}-*_{PROCESSORS[processor]}.deb")
    return built


@pytest.fixture(scope="module")
def deb() -> Path:
    return built_for(platform.machine())


@pytest.fixture(scope="module")
def wheel() -> Path:
    return DIST / f"nettop-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module", params=SUITES)
def root(request: pytest.FixtureRequest, deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """A fresh root with what the Debian package depends on."""
    with fresh_root(request.param, tmp_path_factory.mktemp("root")) as made:
        made.apt("satisfy", run("dpkg-deb", "--field", str(deb), "Depends").strip())
        yield made


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture
def inside(directory: Path) -> Iterator[Namespace]:
    """A namespace where nothing happens but what a test starts there."""
    with namespace(directory) as made:
        yield made


def reads_real_traffic(nettop: Sequence[str], inside: Namespace, directory: Path, by_name: bool = False) -> None:
    """A connection of known bytes and a query of a known name, read back with the process that they belong to."""
    dnsmasq(inside, ["127.0.0.1"], "--address=/packages.test/192.0.2.1")
    server = inside.play(programs.tcp_server, address="127.0.0.1", port=PORT)
    assert server.hear() == "listening"
    # by the name of the namespace where a root has it, otherwise by a process in it
    with Watch(directory, "--netns", inside.name if by_name else str(server.pid), command=nettop) as watch:
        client = inside.play(programs.tcp_client, address="127.0.0.1", port=PORT, sizes=[[UP_BYTES, DOWN_BYTES]])
        asker = inside.play(programs.ask_udp, server="127.0.0.1", questions=[[7, "packages.test", 1]])
        client.end()
        asker.end()
        watch.settled(client, connections=1)
        snapshot = watch.settled(asker, dns=1)
        (connection,) = connections_of(snapshot, client)
        assert (connection.comm, connection.tx_bytes, connection.rx_bytes) == ("talker", UP_BYTES, DOWN_BYTES)
        (query,) = dns_of(snapshot, asker)
        assert (query.qname, query.rcode, [answer.data for answer in query.answers]) == (
            "packages.test", "NOERROR", ["192.0.2.1"],
        )  # fmt: skip
        assert process_of(snapshot, asker).dns.answered == 1


def test_the_deb_installs_runs_upgrades_and_purges(root: Root, deb: Path, inside: Namespace, directory: Path) -> None:
    before = root.tree()
    root.apt("install", root.put(deb))
    assert root.run("nettop", "--version") == f"nettop {__version__}\n"
    for path in (
        "lib/systemd/system/nettop.service",
        "share/bash-completion/completions/nettop",
        "share/fish/vendor_completions.d/nettop.fish",
        "share/man/man1/nettop.1.gz",
        "share/zsh/vendor-completions/_nettop",
    ):
        assert (root.path / "usr" / path).is_file()
    reads_real_traffic(root.command("nettop"), inside, directory)
    assert json.loads(root.run("nettop", "doctor", "--json"))["can_run"]

    gone = root.path / "usr/lib/nettop/pygments/lexers/zig.py"
    assert list(gone.parent.glob("__pycache__/zig.*.pyc"))
    root.apt("install", root.put(newer(deb, "usr/lib/nettop/pygments/lexers/zig.py", directory)))
    assert root.run("dpkg-query", "--show", "--showformat=${Version}", "nettop").endswith("+newer")
    assert not gone.exists()
    assert not list(gone.parent.glob("__pycache__/zig.*.pyc"))
    assert json.loads(root.run("nettop", "snapshot", "--for", "0.1"))["nettop"] == __version__

    root.apt("purge", "nettop")
    assert root.tree() == before


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_deb_has_libraries_of_its_processor_only(processor: str, tmp_path: Path) -> None:
    """And those as the wheels have them: nettop.pyz has the same."""
    deb = built_for(processor)
    assert run("dpkg-deb", "--field", str(deb), "Architecture").strip() == PROCESSORS[processor]
    run("dpkg-deb", "--extract", str(deb), str(tmp_path))
    inside = {path.name: path.read_bytes() for path in (tmp_path / "usr/lib/nettop").rglob("*.so")}
    assert len(inside) == 2 * len(PYTHONS)
    assert {int.from_bytes(content[18:20], "little") for content in inside.values()} == {ELF_MACHINES[processor]}
    with zipfile.ZipFile(DIST / "nettop.pyz") as packed:
        of_all = {Path(name).name: packed.read(name) for name in packed.namelist() if name.endswith(".so")}
    assert len(of_all) == len(PROCESSORS) * len(inside)
    assert inside.items() <= of_all.items()


def test_the_checksums_cover_all_that_is_released() -> None:
    sums = dict(line.split("  ")[::-1] for line in (DIST / "SHA256SUMS").read_text().splitlines())
    files = {path.name: path for path in DIST.iterdir() if path.name != "SHA256SUMS"}
    assert sums == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert {built_for(processor).name for processor in PROCESSORS} < set(sums)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("processor", OTHERS)
def test_the_deb_of_another_processor_installs_plays_and_purges(processor: str, suite: str, tmp_path: Path) -> None:
    """All but watching: what emulates programs emulates no bpf()."""
    try:
        run(*emulation(processor), "true")
    except AssertionError as error:
        pytest.skip(f"cannot emulate {processor}, which takes Linux 6.7 and qemu-user-static: {error}")
    deb = built_for(processor)
    with fresh_root(suite, tmp_path, processor) as root:
        assert root.run("uname", "-m").strip() == processor
        root.apt("satisfy", run("dpkg-deb", "--field", str(deb), "Depends").strip())
        before = root.tree()
        root.apt("install", root.put(deb))
        pyz = root.put(DIST / "nettop.pyz")
        for nettop in ("nettop", pyz):
            assert root.run(nettop, "--version") == f"nettop {__version__}\n"
            assert '"qname": "payments' in root.run(nettop, "replay", "--demo", "--snapshot")
        shutil.rmtree(root.path / "var/cache/nettop.pyz")
        root.apt("purge", "nettop")
        assert root.tree() == before
    run("lintian", "--fail-on", "error", "--allow-root", str(deb))


def newer(deb: Path, without: str, directory: Path) -> Path:
    """The same package, of a later version that has one file less."""
    unpacked, built = directory / "newer", directory / "nettop_newer.deb"
    shutil.rmtree(unpacked, ignore_errors=True)
    run("dpkg-deb", "--raw-extract", str(deb), str(unpacked))
    (unpacked / without).unlink()
    control = unpacked / "DEBIAN/control"
    control.write_text(re.sub(r"^(Version: .*)$", r"\1+newer", control.read_text(), flags=re.MULTILINE))
    run("dpkg-deb", "--root-owner-group", "--build", str(unpacked), str(built))
    return built


def test_the_recorder_keeps_what_it_recorded(root: Root, deb: Path) -> None:
    """The commands of the unit, with its capabilities but without systemd: recordings that can be played."""
    root.apt("install", root.put(deb))
    unit = (root.path / "usr/lib/systemd/system/nettop.service").read_text()
    (before,) = re.findall(r"^ExecStartPre=(.*)$", unit, re.MULTILINE)
    (start,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    (named,) = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    held = int(re.findall(r"^CapBnd:\s*(\w+)$", Path("/proc/self/status").read_text(), re.MULTILINE)[0], 16)
    here = [name for name in named.split() if name != "CAP_SYS_RESOURCE" or held >> 24 & 1]  # some machines keep it
    bounding = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in here)])
    logs = root.path / "var/log/nettop"
    logs.mkdir(mode=0o700)
    for number in range(30):
        (logs / f"older-{number}.jsonl").touch()
    script = f"{before}; {start.replace('--for 3600', '--for 0.5').replace('%%', '%')}"
    root.run(
        "env", "LOGS_DIRECTORY=/var/log/nettop", "RECORD_OPTIONS=--filter port:1-65535", "setpriv", "--inh-caps",
        bounding, "--bounding-set", bounding, "sh", "-c", script,
    )  # fmt: skip
    (recorded,) = logs.glob("2*.jsonl")
    assert len(list(logs.iterdir())) == 24
    played = root.run("nettop", "replay", f"/var/log/nettop/{recorded.name}", "--snapshot")
    assert json.loads(played)["filter"] == "port:1-65535"
    root.apt("purge", "nettop")
    assert not logs.exists()


def test_the_pyz_runs_and_leaves_its_cache_only(root: Root, inside: Namespace, directory: Path) -> None:
    before = root.tree()
    pyz = root.put(DIST / "nettop.pyz")
    assert root.run(pyz, "--version") == f"nettop {__version__}\n"
    reads_real_traffic(root.command(pyz), inside, directory)
    left = {
        path for path in root.tree() - before if not path.startswith(("var/cache/nettop.pyz/", "var/cache/nettop/"))
    }
    assert left == {"var/cache/nettop.pyz", "var/cache/nettop"}
    shutil.rmtree(root.path / "var/cache/nettop.pyz")
    shutil.rmtree(root.path / "var/cache/nettop")


def test_pipx_installs_the_wheel(root: Root, wheel: Path, inside: Namespace, directory: Path) -> None:
    """Offline: what pipx would take from PyPI is downloaded for it, for this root's Python."""
    root.apt("install", "pipx", "python3-venv")
    python = root.run("python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    wheels = root.path / "tmp/wheels"
    wheels.mkdir()
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels)]
    run(*download, "pip")  # newer pipx wants a newer one than Debian's
    run(
        *download, "--only-binary", ":all:", "--python-version", python, "--platform", "manylinux_2_28_x86_64",
        "--platform", "manylinux2014_x86_64", "--requirement", str(ROOT / "nettop/packaging/requirements.txt"),
    )  # fmt: skip
    shutil.copy2(wheel, wheels)
    root.run(
        "env", "PIPX_HOME=/opt/pipx", "PIPX_BIN_DIR=/usr/local/bin", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/tmp/wheels",
        "pipx", "install", "--system-site-packages", f"/tmp/wheels/{wheel.name}",
    )  # fmt: skip
    assert root.run("/usr/local/bin/nettop", "--version") == f"nettop {__version__}\n"
    reads_real_traffic(root.command("/usr/local/bin/nettop"), inside, directory)


def test_the_suites_own_checks_find_no_error(root: Root, deb: Path) -> None:
    root.apt("install", "lintian", "systemd", root.put(deb))
    root.run("lintian", "--fail-on", "error", "--allow-root", f"/tmp/{deb.name}")
    root.run("systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/nettop.service")
    root.apt("purge", "nettop")


def test_the_suite_has_every_package_that_make_installs(root: Root) -> None:
    lists = re.findall(r"^([A-Z]+_PACKAGES) :=", (ROOT / "Makefile").read_text(), re.MULTILINE)
    rule = f"named: ; @echo {' '.join(f'$({each})' for each in lists)}"
    packages = run("make", "--no-print-directory", "--directory", str(ROOT), f"--eval={rule}", "named").split()
    assert "python3-bpfcc" in packages
    root.apt("install", "--simulate", *packages)


# The container


class Images:
    """buildah's images, in a storage of the test's."""

    def __init__(self, directory: Path) -> None:
        self._buildah = ["buildah", "--root", f"{directory}/storage", "--runroot", f"{directory}/run"]
        self._buildah += ["--storage-driver", "vfs"]

    def run(self, *arguments: str) -> str:
        return run(*self._buildah, *arguments).strip()


@pytest.fixture(scope="module")
def image(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root of the image that the Containerfile makes, upon a Debian made here in place of the one of a registry."""
    directory = tmp_path_factory.mktemp("image")
    images, named = Images(directory), (ROOT / "nettop/packaging/Containerfile").read_text()
    (base,) = re.findall(r"^FROM (\S+)$", named, re.MULTILINE)
    with fresh_root("trixie", directory) as made:
        container = images.run("from", "scratch")
        images.run("copy", "--quiet", container, str(made.path), "/")
        images.run("commit", "--quiet", container, base)
    images.run(
        "bud", "--quiet", "--isolation", "chroot", "--pull-never", "--tag", "nettop", "--file",
        str(ROOT / "nettop/packaging/Containerfile"), str(deb.parent),
    )  # fmt: skip
    container = images.run("from", "--pull-never", "localhost/nettop")
    yield Path(images.run("mount", container))
    images.run("umount", container)
    shutil.rmtree(directory)


@pytest.fixture
def daemon_set() -> Any:
    """The specification of the pods."""
    documents = yaml.safe_load_all((ROOT / "nettop/packaging/daemonset.yaml").read_text())
    (found,) = [each for each in documents if each["kind"] == "DaemonSet"]
    return found["spec"]["template"]["spec"]


# crun does not run where cgroup v1 is mounted too, as it may be here; on a node it is not.
_UNIFIED = (
    "unshare", "--mount", "--propagation", "slave", "sh", "-ec",
    'umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec "$@"', "sh",
)  # fmt: skip


@contextmanager
def pod(image: Path, spec: Any, capabilities: Sequence[str], bundle: Path) -> Iterator[list[str]]:
    """A container as a kubelet has it made; a prefix that runs commands in it, as kubectl exec does."""
    (bundle / "config.json").write_text(json.dumps(oci_configuration(image, spec, capabilities, bundle)))
    name = f"nettop-test-{os.getpid()}-{bundle.name}"
    crun = [*_UNIFIED, "crun", "--root", str(bundle / "state"), "--cgroup-manager=cgroupfs"]
    subprocess.run([*crun, "run", "--detach", "--bundle", str(bundle), name], check=True, stdout=subprocess.DEVNULL)
    try:
        yield [*crun, "exec", name]
    finally:
        run(*crun, "kill", "--all", name, "KILL")
        run(*crun, "delete", "--force", name)


def oci_configuration(image: Path, spec: Any, capabilities: Sequence[str], bundle: Path) -> dict[str, Any]:
    """The OCI runtime's, from the DaemonSet's: namespaces of its own for all but process ids, and its mounts."""
    (container,) = spec["containers"]
    assert spec["hostPID"]
    security = container["securityContext"]
    held = [f"CAP_{name}" for name in capabilities]
    mounts: list[dict[str, Any]] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    ]
    volumes = {each["name"]: each for each in spec["volumes"]}
    for mount in container["volumeMounts"]:
        source = Path(volumes[mount["name"]].get("hostPath", {}).get("path", bundle / mount["name"]))
        if not source.exists():
            source = bundle / mount["name"]
            source.mkdir()
        options = ["rbind", "rslave", *(["ro"] if mount.get("readOnly") else [])]
        mounts.append({"destination": mount["mountPath"], "type": "bind", "source": str(source), "options": options})
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": security["runAsUser"], "gid": 0},
            "args": container["command"],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), held),
        },
        "root": {"path": str(image), "readonly": security["readOnlyRootFilesystem"]},
        "hostname": "pod",
        "mounts": mounts,
        "linux": {
            "namespaces": [{"type": kind} for kind in ("mount", "uts", "ipc", "network", "cgroup")],
            "rootfsPropagation": "rslave",
            "cgroupsPath": f"/nettop-test-{os.getpid()}-{bundle.name}",
        },
    }


@pytest.mark.parametrize("left_out", [(), ("SYS_ADMIN",)], ids=["all", "without SYS_ADMIN"])
def test_the_container_watches_the_node_with_the_capabilities_named(
    image: Path, daemon_set: Any, left_out: Sequence[str], inside: Namespace, tmp_path: Path
) -> None:
    paranoid = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    if left_out and paranoid > 2:
        pytest.skip("this kernel gives perf buffers to nothing less than CAP_SYS_ADMIN")
    named = daemon_set["containers"][0]["securityContext"]["capabilities"]["add"]
    with pod(image, daemon_set, [name for name in named if name not in left_out], tmp_path) as prefix:
        report = json.loads(run(*prefix, "nettop", "doctor", "--json"))
        assert report["can_run"], report
        reads_real_traffic([*prefix, "nettop"], inside, tmp_path, by_name=True)


@pytest.mark.parametrize("added", [(), ("SYS_PTRACE", "DAC_READ_SEARCH")], ids=["as it is", "with what the page adds"])
def test_the_container_opens_the_libraries_of_others_if_it_may(
    image: Path, daemon_set: Any, added: Sequence[str], inside: Namespace, tmp_path: Path
) -> None:
    """Which --lookups and --decrypt take: this machine's C library is a file that the image does not have."""
    dnsmasq(inside, ["127.0.0.1"], "--address=/packages.test/192.0.2.1")
    named = daemon_set["containers"][0]["securityContext"]["capabilities"]["add"]
    with (
        pod(image, daemon_set, [*named, *added], tmp_path) as prefix,
        Watch(tmp_path, "--netns", inside.name, "--lookups", command=[*prefix, "nettop"]) as watch,
    ):
        program = inside.play(lookup_programs.one, name="www.packages.test", family=AF_INET, nameserver="127.0.0.1")
        assert program.hear()["addresses"] == ["192.0.2.1"]
        program.end()
        watch.settled(program, dns=1)
        snapshot = watch.up_to_now()
        seen = [row.name for row in snapshot.lookups if row.pid == program.pid]
        assert snapshot.lookup_coverage is not None
        reasons = {library.reason for library in snapshot.lookup_coverage.not_covered or ()}
        # a process of root's that has given up what nettop lacks, as another nettop, lets itself be looked at
        assert seen == ["www.packages.test"] or (seen == [] and not added and "unreadable" in reasons)


@pytest.mark.parametrize("missing", ["BPF", "PERFMON", "NET_ADMIN"])
def test_no_capability_is_named_in_vain(image: Path, daemon_set: Any, missing: str, tmp_path: Path) -> None:
    named = daemon_set["containers"][0]["securityContext"]["capabilities"]["add"]
    # CAP_SYS_ADMIN includes two of them
    held = [name for name in named if name not in (missing, "SYS_ADMIN")]
    with pod(image, daemon_set, held, tmp_path) as prefix:
        done = subprocess.run(
            [*prefix, "nettop", "snapshot", "--for", "0.1"], capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stdout) == (3, "")
    assert f"CAP_{missing}" in done.stderr
