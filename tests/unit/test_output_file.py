"""Files that nettop writes: complete or not there, and never somebody else's."""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nettop.errors import NettopError, RunError, UsageError
from nettop.export.file import READABLE, OutputFile
from nettop.invoker import invoking_user

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")


@pytest.fixture(autouse=True)
def _without_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.delenv("SUDO_GID", raising=False)


def write(path: Path, overwrite: bool = False, keep_partial: bool = False) -> None:
    with OutputFile(path, overwrite, keep_partial) as file:
        file.write(b"new")
        file.commit()


def partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.partial")


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def refused(error: type[NettopError], path: Path, **options: bool) -> NettopError:
    with pytest.raises(error) as caught:
        write(path, **options)
    return caught.value


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_only_the_owner_may_read_it_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / "out")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600
    assert (tmp_path / "out").read_bytes() == b"new"


def test_until_it_is_complete_it_has_another_name(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with OutputFile(path, overwrite=False) as file:
        file.write(b"one ")
        assert list(tmp_path.iterdir()) == [partial(path)]
        file.write(b"two")
        file.commit()
        assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"one two"


def test_a_path_without_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("out"))
    assert (tmp_path / "out").read_bytes() == b"new"


def test_what_exists_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    error = refused(UsageError, path)
    assert (error.message, error.remedy) == (f"{path} already exists.", "Give another path, or --force to replace it.")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_exists_is_replaced_when_told_to(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    path.chmod(0o666)
    write(path, overwrite=True)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_force_makes_a_new_file_too(tmp_path: Path) -> None:
    write(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out").read_bytes() == b"new"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("target", ["there", "missing"])
def test_no_link_is_followed(tmp_path: Path, overwrite: bool, target: str) -> None:
    (tmp_path / "there").write_bytes(b"precious")
    path = tmp_path / "out"
    path.symlink_to(tmp_path / target)
    error = refused(UsageError, path, overwrite=overwrite)
    assert error.message == f"{path} is a symbolic link."
    assert (tmp_path / "there").read_bytes() == b"precious"
    assert {entry.name for entry in tmp_path.iterdir()} == {"there", "out"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_is_no_place_to_write_to(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "out").mkdir()
    error = refused(UsageError, tmp_path / "out", overwrite=overwrite)
    assert (error.message, error.remedy) == (f"{tmp_path / 'out'} is a directory.", "Give the path of a file.")


@pytest.mark.parametrize("path", [".", "..", "/", "x/.."])
def test_a_name_that_can_only_be_a_directory(path: str) -> None:
    assert refused(UsageError, Path(path)).message.endswith("is a directory.")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_fifo_is_not_replaced(tmp_path: Path, overwrite: bool) -> None:
    os.mkfifo(tmp_path / "out")
    error = refused(UsageError, tmp_path / "out", overwrite=overwrite)
    assert error.message == f"{tmp_path / 'out'} is not a regular file."
    assert (tmp_path / "out").is_fifo()


def test_a_device_is_not_replaced() -> None:
    assert refused(UsageError, Path("/dev/null"), overwrite=True).message == "/dev/null is not a regular file."


@pytest.mark.parametrize(
    ("name", "reason"), [("missing/out", "No such file or directory"), ("file/out", "Not a directory")]
)
def test_a_directory_that_cannot_be_used(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / name
    error = refused(UsageError, path)
    assert (error.message, error.remedy) == (
        f"The directory {path.parent} cannot be used: {reason}.",
        "Give a path in an existing directory.",
    )


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    error = refused(UsageError, tmp_path / ("n" * 250))
    assert error.message.endswith("cannot be written: File name too long.")
    assert list(tmp_path.iterdir()) == []


def interrupted(path: Path) -> None:
    with OutputFile(path, overwrite=False) as file:
        file.write(b"half")
        raise KeyboardInterrupt


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_without_a_commit_there_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old")
    with OutputFile(tmp_path / "out", overwrite=True) as file:
        file.write(b"half")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("out", b"old")]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out"
    monkeypatch.setattr(os, "write", failing(errno.ENOSPC))
    error = refused(RunError, path)
    assert error.message == f"{path} could not be written: No space left on device."
    assert error.remedy == "Free some space, or give another path with -o."
    assert error.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_found_full_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EDQUOT))
    error = refused(RunError, tmp_path / "out")
    assert error.message.endswith("could not be written: Disk quota exceeded.")
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_takes_only_a_part_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, text: whole(fd, bytes(text[:2])))
    write(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"new"


def test_what_was_recorded_until_the_disk_was_full_is_kept_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    with OutputFile(path, overwrite=False, keep_partial=True) as file:
        file.write(b"a line\n")
        monkeypatch.setattr(os, "write", failing(errno.ENOSPC))
        with pytest.raises(RunError) as caught:
            file.write(b"another\n")
    assert caught.value.message == (
        f"{path} could not be written: No space left on device. The output so far is in {partial(path)}."
    )
    assert partial(path).read_bytes() == b"a line\n"


def test_of_a_recording_that_never_began_nothing_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(RuntimeError), OutputFile(path, overwrite=False, keep_partial=True):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_was_taken_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with OutputFile(path, overwrite=False) as file:
        file.write(b"new")
        path.write_bytes(b"somebody else's")
        with pytest.raises(UsageError) as caught:
            file.commit()
    assert caught.value.message == f"{path} already exists."
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("out", b"somebody else's")]


def test_a_name_that_was_taken_by_a_link_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with OutputFile(path, overwrite=True) as file:
        file.write(b"new")
        path.symlink_to(tmp_path / "precious")
        with pytest.raises(UsageError, match="symbolic link"):
            file.commit()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_name_that_was_taken_after_the_last_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hard link fails where a rename would replace."""
    path = tmp_path / "out"
    link = os.link

    def taken(*arguments: Any, **options: Any) -> None:
        path.write_bytes(b"somebody else's")
        link(*arguments, **options)

    monkeypatch.setattr(os, "link", taken)
    assert refused(UsageError, path).message == f"{path} already exists."
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("out", b"somebody else's")]


def test_a_recording_whose_name_was_taken_is_kept_and_named(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with OutputFile(path, overwrite=False, keep_partial=True) as file:
        file.write(b"a line\n")
        path.write_bytes(b"somebody else's")
        with pytest.raises(UsageError) as caught:
            file.commit()
    assert caught.value.message == f"{path} already exists. The output so far is in {partial(path)}."
    assert partial(path).read_bytes() == b"a line\n"


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_partial_file_is_swapped_for_a_link_to_something_else(tmp_path: Path, overwrite: bool) -> None:
    """By the user who called sudo, in a directory of his own: what he may not read gets no second name."""
    path, precious = tmp_path / "out", tmp_path / "precious"
    precious.write_bytes(b"precious")
    with OutputFile(path, overwrite) as file:
        file.write(b"new")
        partial(path).unlink()
        partial(path).symlink_to(precious)
        with suppress(RunError):
            file.commit()
    assert precious.read_bytes() == b"precious"
    assert precious.stat().st_nlink == 1
    assert path.is_symlink() or not path.exists() or path.read_bytes() == b"new"


def test_the_partial_file_is_removed_by_somebody(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with OutputFile(path, overwrite=False) as file:
        file.write(b"new")
        partial(path).unlink()
        with pytest.raises(RunError, match="could not be written: No such file"):
            file.commit()
    with OutputFile(path, overwrite=False):
        partial(path).unlink()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "link", failing(number))
    write(tmp_path / "out")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("out", b"new")]


def test_a_file_system_without_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fchmod", failing(errno.EPERM))
    before = os.umask(0o777)
    try:
        error = refused(UsageError, tmp_path / "out")
    finally:
        os.umask(before)
    assert error.message == f"{tmp_path / 'out'} cannot be protected from other users: Operation not permitted."
    assert list(tmp_path.iterdir()) == []


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    write(tmp_path / "out")
    refused(UsageError, tmp_path / "out")
    refused(UsageError, tmp_path / "missing" / "out")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@AS_ROOT
def test_under_sudo_the_file_belongs_to_who_called_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "5678")
    write(tmp_path / "out")
    assert ((tmp_path / "out").stat().st_uid, (tmp_path / "out").stat().st_gid) == (1234, 5678)


@pytest.mark.parametrize(
    ("euid", "uid", "gid", "who"),
    [
        (0, "1000", "100", (1000, 100)),
        (0, "", "", None),
        (0, "1000", "", None),
        (0, "-1", "0", None),
        (0, "x", "y", None),
        (1000, "1000", "100", (1000, 100)),
        (1001, "1000", "100", None),
    ],
)
def test_who_called_sudo(
    monkeypatch: pytest.MonkeyPatch, euid: int, uid: str, gid: str, who: tuple[int, int] | None
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    monkeypatch.setenv("SUDO_UID", uid)
    monkeypatch.setenv("SUDO_GID", gid)
    assert invoking_user() == who


def test_a_final_name_that_is_too_long(tmp_path: Path) -> None:
    error = refused(UsageError, tmp_path / ("a" * 300))
    assert error.message.endswith("cannot be written: File name too long.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_others_may_read_it_if_they_are_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int) -> None:
    """Without changing its mode, which a nettop that has shut itself in may not do."""
    monkeypatch.setattr(os, "fchmod", failing(errno.EPERM))
    before = os.umask(umask)
    try:
        with OutputFile(tmp_path / "out", overwrite=False, mode=READABLE) as file:
            file.write(b"x")
            file.commit()
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o644
