import os
import shutil
from pathlib import Path

import pytest

from nettop.errors import CannotRunError
from nettop.kernel import trust
from nettop.kernel.compiler import source_directory

OWNERS = {0, os.geteuid()}
SOMEBODY = 54_321


def status(mode: int, uid: int = 0) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, uid, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "uid", "group_may_write", "reason"),
    [
        (0o100644, 0, False, None),
        (0o100664, 0, False, "is writable by its group"),
        (0o100664, 0, True, None),
        (0o100646, 0, True, "is writable by everybody"),
        (0o100600, SOMEBODY, True, f"is owned by uid {SOMEBODY}"),
        (0o040755, 0, False, None),
        (0o040775, 0, False, "is writable by its group"),
        (0o041777, 0, False, None),
        (0o041777, SOMEBODY, False, f"is owned by uid {SOMEBODY}"),
        (0o101646, 0, False, "is writable by everybody"),  # sticky means nothing for a file
        (0o120777, 0, True, "is a symbolic link"),
    ],
)
def test_one_place(mode: int, uid: int, group_may_write: bool, reason: str | None) -> None:
    assert trust.weakness_of(status(mode, uid), {0}, group_may_write) == reason


def test_every_directory_above_counts(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "file"
    file.parent.mkdir(parents=True, mode=0o755)
    file.touch(0o644)
    assert trust.weakness(file, OWNERS) is None
    (tmp_path / "a").chmod(0o757)
    assert trust.weakness(file, OWNERS) == f"{tmp_path / 'a'} is writable by everybody"
    (tmp_path / "a").chmod(0o755)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert trust.weakness(tmp_path / "link" / "b" / "file", OWNERS) == f"{tmp_path / 'link'} is a symbolic link"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sources inside a package, as an installation has them."""
    package = tmp_path / "nettop"
    shutil.copytree(source_directory(), package / "bpf", copy_function=shutil.copyfile)
    monkeypatch.setattr(trust, "__file__", str(package / "kernel" / "trust.py"))
    (package / "kernel").mkdir()
    (package / "kernel" / "trust.py").touch()
    for path in (package, *package.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return package / "bpf"


def test_what_is_installed_as_it_should_be_is_taken(installed: Path) -> None:
    trust.require_trusted_sources(installed)


@pytest.mark.parametrize("where", ["", "abi.h", "kernel", "kernel/include/linux/types.h", ".."])
@pytest.mark.parametrize(("bit", "who"), [(0o020, "its group"), (0o002, "everybody")])
def test_what_others_can_write_is_refused(installed: Path, where: str, bit: int, who: str) -> None:
    weak = (installed / where).resolve()
    weak.chmod(weak.stat().st_mode | bit)
    with pytest.raises(CannotRunError, match=f"{weak} is writable by {who}"):
        trust.require_trusted_sources(installed)


def test_a_header_that_leads_elsewhere_is_refused(installed: Path) -> None:
    header = installed / "kernel/include/linux/types.h"
    elsewhere = installed.parent / "types.h"
    header.rename(elsewhere)
    header.symlink_to(elsewhere)
    with pytest.raises(CannotRunError, match=r"types\.h is a symbolic link"):
        trust.require_trusted_sources(installed)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_somebody_else_owns_is_refused_unless_they_called_sudo(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SUDO_UID", "SUDO_GID"):
        monkeypatch.delenv(name, raising=False)
    header = installed / "kernel/include/linux/types.h"
    os.chown(header, SOMEBODY, SOMEBODY)
    with pytest.raises(CannotRunError, match=rf"types\.h is owned by uid {SOMEBODY}"):
        trust.require_trusted_sources(installed)
    monkeypatch.setenv("SUDO_UID", str(SOMEBODY))
    monkeypatch.setenv("SUDO_GID", str(SOMEBODY))
    trust.require_trusted_sources(installed)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_clone_may_belong_to_the_owner_of_the_code_and_be_written_by_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(source_directory(), clone / "bpf")
    (clone / "nettop" / "kernel").mkdir(parents=True)
    (clone / "nettop" / "kernel" / "trust.py").touch()
    for path in (clone, *clone.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY)
        path.chmod(0o775 if path.is_dir() else 0o664)
    monkeypatch.setattr(trust, "__file__", str(clone / "nettop" / "kernel" / "trust.py"))
    trust.require_trusted_sources(clone / "bpf")
    (clone / "bpf" / "abi.h").chmod(0o666)
    with pytest.raises(CannotRunError, match=r"abi\.h is writable by everybody"):
        trust.require_trusted_sources(clone / "bpf")
