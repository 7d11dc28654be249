"""Where nettop runs and where it writes, when that place is not as it should be; and kernels that lack something."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nettop.kernel.btf import VMLINUX
from nettop.kernel.cage import has_seccomp
from nettop.kernel.syscalls import landlock_version
from tests.live import programs
from tests.live.lab import (
    NETTOP,
    PATIENCE_S,
    Namespace,
    check_snapshot,
    connections_of,
    namespace,
    nettop,
    snapshot_running,
    wait_until,
)

WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
NOBODY = (*WITHOUT_CAPABILITIES, "--reuid=65534", "--regid=65534", "--clear-groups")


def as_nobody(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run nettop as a user without any privilege; as root without any where others may not read the tree."""
    readable = (
        subprocess.run([*NOBODY, *NETTOP, "--version"], capture_output=True, check=False, cwd="/").returncode == 0
    )
    prefix = NOBODY if readable else WITHOUT_CAPABILITIES
    return subprocess.run(
        [*prefix, *NETTOP, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd="/"
    )


@contextmanager
def tmpfs(where: Path, options: str) -> Iterator[Path]:
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)
        where.rmdir()


def one_sentence(said: str) -> None:
    """What happened and what to do: a line, no traceback."""
    assert said.startswith("nettop: "), said
    assert said.count("\n") == 1, said
    assert "Traceback" not in said


def test_a_full_disk_at_the_end(quiet: Namespace, directory: Path) -> None:
    with tmpfs(directory / "small", "size=4k") as small:
        path = small / "full.json"
        fill(small)
        done = nettop("snapshot", "--for", "0.1", "--netns", quiet.name, "-o", str(path))
        assert (done.returncode, done.stdout) == (1, "")
        one_sentence(done.stderr)
        assert "No space left on device" in done.stderr
        assert not path.exists()
        assert not list(small.glob("*.partial"))


def fill(where: Path) -> None:
    try:
        with (where / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        pass


def test_a_disk_that_fills_up_under_a_recording(quiet: Namespace, directory: Path) -> None:
    with tmpfs(directory / "filling", "size=16k") as small:
        path = small / "recording"
        process = subprocess.Popen(
            [*NETTOP, "stream", "--netns", quiet.name, "--interval", "0.1", "-o", str(path)],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            wait_until(lambda: any(file.stat().st_size for file in small.iterdir()), "the recording's first line")
            quiet.play(programs.tcp_fail_often, address="127.0.0.1", port=7999, times=101).end()
            assert process.stderr is not None
            assert process.wait(PATIENCE_S) == 1
            said = process.stderr.read()
        finally:
            process.kill()
            process.communicate()
        one_sentence(said)
        assert "No space left on device" in said
        assert not path.exists()
        (partial,) = small.glob("*.partial")  # what was recorded until then is kept, and the message says where
        assert partial.name in said
        done = nettop("replay", str(partial), "--partial", "--snapshot")
        assert done.returncode == 0
        check_snapshot(done.stdout.encode())


def test_a_read_only_mount(quiet: Namespace, directory: Path) -> None:
    with tmpfs(directory / "frozen", "size=64k,ro") as frozen:
        done = nettop("snapshot", "--for", "60", "--netns", quiet.name, "-o", str(frozen / "snapshot.json"))
    assert (done.returncode, done.stdout) == (2, "")  # before the watch, not after
    one_sentence(done.stderr)
    assert "Read-only file system" in done.stderr


NOWHERE_TO_WRITE = (
    "cd /; mount -o remount,bind,ro / && for at in /tmp /var/tmp; do mount --bind $at $at && "
    'mount -o remount,bind,ro $at; done; exec "$@"'
)


def test_where_nothing_can_be_written(quiet: Namespace) -> None:
    """In a mount namespace of its own: as after an error of the root disk."""
    inside = ["unshare", "--mount", "--propagation", "private", "sh", "-c", NOWHERE_TO_WRITE, "sh"]
    probe = subprocess.run([*inside, "touch", "/tmp/x"], capture_output=True, text=True, check=False)
    assert "Read-only file system" in probe.stderr
    done = subprocess.run(
        [*inside, *NETTOP, "snapshot", "--for", "0.1", "--netns", quiet.name],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    check_snapshot(done.stdout.encode())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no-such-directory/snapshot.json", "No such file or directory"),
        ("there.json", "exists"),
        ("link.json", "symbolic link"),
        (".", "directory"),
    ],
)
def test_paths_that_are_refused_at_once(quiet: Namespace, tmp_path: Path, path: str, words: str) -> None:
    (tmp_path / "there.json").write_text("mine")
    (tmp_path / "link.json").symlink_to(tmp_path / "elsewhere")
    done = nettop("snapshot", "--for", "60", "--netns", quiet.name, "-o", str(tmp_path / path))
    assert (done.returncode, done.stdout) == (2, "")
    one_sentence(done.stderr)
    assert words in done.stderr
    assert (tmp_path / "there.json").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_one_may_not_write_to(quiet: Namespace, tmp_path: Path) -> None:
    """Root may write anywhere, so this is for a replay by somebody else."""
    recording = tmp_path / "recording"
    done = nettop("stream", "--for", "0.1", "--netns", quiet.name, "-o", str(recording))
    assert done.returncode == 0
    recording.chmod(0o644)
    public = Path("/run") / f"{quiet.name}-public"
    public.mkdir(mode=0o755)
    try:
        copy = public / "recording"
        copy.write_bytes(recording.read_bytes())
        copy.chmod(0o644)
        os.chown(public, 1, 1)  # neither the one nor the other who may be asked to write
        refused = as_nobody("replay", str(copy), "--snapshot", "-o", str(public / "snapshot.json"))
        plain = as_nobody("replay", str(copy), "--snapshot")
    finally:
        for file in public.iterdir():
            file.unlink()
        public.rmdir()
    assert (refused.returncode, refused.stdout) == (2, "")
    one_sentence(refused.stderr)
    assert "Permission denied" in refused.stderr
    assert (plain.returncode, plain.stderr) == (0, "")
    check_snapshot(plain.stdout.encode())


# Privileges


@pytest.mark.parametrize("command", [["snapshot"], ["stream"]])
def test_without_privileges(command: list[str]) -> None:
    done = as_nobody(*command)
    assert (done.returncode, done.stdout) == (3, "")
    one_sentence(done.stderr)
    assert "CAP_BPF" in done.stderr
    assert "sudo" in done.stderr


def test_doctor() -> None:
    done = nettop("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    for hook in ("inet_sock_set_state", "egress", "ingress", "sock_release", "test_run", "task_file"):
        assert hook in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if "does not need once it has attached" in line]
    assert ("Landlock (version" in line) == bool(landlock_version())
    assert ("filter of system calls" in line) == has_seccomp()


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What nettop doctor tells programs; it compiles at each run, which takes seconds."""
    done = nettop("doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout))


def test_doctor_for_programs(report: dict[str, Any]) -> None:
    assert report["schema"] == "nettop.doctor/1"
    assert report["can_run"] is True
    assert {check["status"] for check in report["checks"]} == {"ok"}
    assert len(report["checks"]) >= 8 + 4
    for check in report["checks"]:
        assert set(check) == {"need", "mechanism", "status", "detail", "remedy"}


def test_doctor_says_whether_what_is_opt_in_works_here(report: dict[str, Any]) -> None:
    (lookups,) = [check for check in report["checks"] if "look up" in check["need"]]
    assert lookups["status"] == "ok"
    (decrypt,) = [check for check in report["checks"] if "--decrypt" in check["need"]]
    assert (decrypt["status"], decrypt["mechanism"]) == ("ok", "uprobe SSL_write, gnutls_record_send")


def test_doctor_without_privileges() -> None:
    done = as_nobody("doctor", "--json")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    report = json.loads(done.stdout)
    assert report["can_run"] is False
    missing = [check for check in report["checks"] if check["status"] == "missing"]
    assert [check["mechanism"] for check in missing] == ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]
    by_name_or_path = ("(sudo nettop)", f"(sudo {NETTOP[0]})")  # whether it is in PATH or not
    assert all(any(each in check["remedy"] for each in by_name_or_path) for check in missing)


# cgroup2


UNMOUNT_CGROUP2 = (
    "set -e; for at in $(awk '$3 == \"cgroup2\" { print $2 }' /proc/self/mounts); do umount -l $at; done; "
    "! grep -q ' cgroup2 ' /proc/self/mounts; exec \"$@\""
)


def cgroup_mounts() -> list[str]:
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if " cgroup2 " in line]


def test_where_cgroup2_is_not_mounted(quiet: Namespace) -> None:
    """In a mount namespace of its own, the host's mounts stay as they are."""
    before = cgroup_mounts()
    sink = quiet.play(programs.udp_sink, address="127.0.0.1", port=7017)
    assert sink.hear() == "bound"
    with snapshot_running(
        "--netns",
        quiet.name,
        prefix=("unshare", "--mount", "--propagation", "private", "sh", "-c", UNMOUNT_CGROUP2, "sh"),
    ) as process:
        sender = quiet.start("bash", "-c", "printf %0101d 0 > /dev/udp/127.0.0.1/7017")
        sender.end()
        sink.say(101)
        assert sink.hear() == 101
        sink.end()
        process.terminate()
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, b"")
    snapshot = check_snapshot(output)
    (row,) = [row for row in snapshot.processes if row.pid == sender.pid]
    assert row.udp.tx_bytes == 101
    assert cgroup_mounts() == before


def mounted(mount: str) -> tuple[str, ...]:
    """A command that execs another behind a mount that nobody else sees."""
    script = f'mount {mount} && exec "$@"'
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh")


@pytest.mark.parametrize("command", [["snapshot", "--for", "1"], ["stream", "--for", "1"], ["doctor"]])
def test_a_kernel_without_types(command: list[str]) -> None:
    hidden = mounted(f"-t tmpfs none {VMLINUX.parent}")
    done = subprocess.run([*hidden, *NETTOP, *command], capture_output=True, text=True, check=False)
    said = done.stdout if command == ["doctor"] else done.stderr
    assert done.returncode == 3
    assert "This kernel offers no type information (BTF)" in said
    assert "CONFIG_DEBUG_INFO_BTF=y" in said


def test_a_kernel_with_neither_mptcp_nor_conntrack(tmp_path: Path) -> None:
    """Built without them: everything else is told."""
    types = VMLINUX.read_bytes()
    lacking = tmp_path / "lacking"
    for name in (b"mptcp_sock", b"mptcp_subflow_context", b"nf_conn"):
        assert types.count(b"\0" + name + b"\0") == 1
        types = types.replace(b"\0" + name + b"\0", b"\0?" + name[1:] + b"\0")
    lacking.write_bytes(types)
    there = mounted(f"--bind {lacking} {VMLINUX}")
    with namespace(tmp_path) as inside, snapshot_running("--netns", inside.name, prefix=there) as nettop:
        server = inside.play(programs.tcp_server, address="127.0.0.1", port=7002)
        assert server.hear() == "listening"
        client = inside.play(programs.tcp_client, address="127.0.0.1", port=7002, sizes=[[8, 101]])
        client.end()
        nettop.send_signal(signal.SIGINT)
        output, errors = nettop.communicate(timeout=PATIENCE_S)
        assert (nettop.returncode, errors) == (0, b"")
    (row,) = connections_of(check_snapshot(output), client)
    assert (row.tx_bytes, row.rx_bytes, row.owner) == (8, 101, "exact")
