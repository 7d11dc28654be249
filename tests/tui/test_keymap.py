"""Keys of the user's own."""

import os
import pwd
from pathlib import Path

import pytest

from nettop.errors import UsageError
from nettop.tui.keymap import config_path, read_keymap
from nettop.tui.keys import ALL_KEYS, TOGETHER


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def refused(config: Path, text: str) -> UsageError:
    config.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_keymap(config)
    assert str(config) in caught.value.message
    return caught.value


def test_no_file_changes_nothing(config: Path) -> None:
    assert read_keymap(config) == {}


def test_a_file_without_keys(config: Path) -> None:
    config.write_text("[colours]\n")
    assert read_keymap(config) == {}


def test_keys(config: Path) -> None:
    config.write_text('[keys]\npause = "p, f5"\n"filter.edit" = "ctrl+f"\n')
    assert read_keymap(config) == {"pause": "p, f5", "filter.edit": "ctrl+f"}


def test_an_unknown_key_is_told_what_is_near(config: Path) -> None:
    error = refused(config, '[keys]\n"filter.edti" = "f5"\n')
    assert (error.message, error.remedy) == (
        f"{config}: there is no key binding 'filter.edti'.", "Did you mean 'filter.edit'?",
    )  # fmt: skip


def test_an_unknown_key_like_none_is_told_all(config: Path) -> None:
    assert "pane.zoom" in refused(config, '[keys]\n"@@@" = "f5"\n').remedy


@pytest.mark.parametrize("value", ["3", '""', '"f5,"', "true", '["a"]'])
def test_what_is_no_key(config: Path, value: str) -> None:
    assert "are no text" in refused(config, f"[keys]\npause = {value}\n").message


@pytest.mark.parametrize("text", ["[keys", "keys = [", "\x00"])
def test_what_is_no_toml(config: Path, text: str) -> None:
    assert "is not TOML" in refused(config, text).message


def test_what_is_no_utf8(config: Path) -> None:
    config.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not TOML"):
        read_keymap(config)


def test_keys_that_are_no_table(config: Path) -> None:
    assert "'keys' is no table" in refused(config, "keys = 3\n").message


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_keymap(tmp_path)


@pytest.mark.parametrize(
    ("line", "both"),
    [
        ('pause = "z"', "'z' would be the key of both"),
        ('"filter.edit" = "question_mark"', "'question_mark' would be the key of both"),
        ('"filter.edit" = "?"', "'question_mark' would be the key of both"),
        ('"detail.back" = "y"', "'y' would be the key of both"),
        ('"pause" = "enter"', "'enter' would be the key of both"),
        ('"help" = "ctrl+c"', "'ctrl+c' would be the key of both"),
    ],
)
def test_one_key_with_two_meanings_is_refused(config: Path, line: str, both: str) -> None:
    assert both in refused(config, f"[keys]\n{line}\n").message


def test_two_keys_may_be_swapped(config: Path) -> None:
    config.write_text('[keys]\nnames = "h"\n"rows.ended" = "n"\n')
    assert len(read_keymap(config)) == 2


def test_the_keys_as_declared_do_not_clash(config: Path) -> None:
    config.write_text("[keys]\n")
    assert read_keymap(config) == {}
    assert {key.id for keys in TOGETHER for key in keys} == {key.id for key in ALL_KEYS}
    assert len({key.id for key in ALL_KEYS}) == len(ALL_KEYS)


def test_every_key_says_what_it_does() -> None:
    for key in ALL_KEYS:
        binding = key.binding()
        assert binding.id
        assert binding.description
        assert binding.tooltip


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert config_path() == Path("/home/ada/.config/nettop/config.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/ada")
    assert config_path() == Path("/etc/ada/nettop/config.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")  # which the specification says to ignore
    assert config_path() == Path("/home/ada/.config/nettop/config.toml")


def test_under_sudo_the_file_is_that_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setenv("SUDO_UID", str(nobody.pw_uid))
    monkeypatch.setenv("SUDO_GID", str(nobody.pw_gid))
    assert config_path() == Path(nobody.pw_dir) / ".config/nettop/config.toml"


def test_a_caller_who_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", "3999999999")
    monkeypatch.setenv("SUDO_GID", "0")
    monkeypatch.setenv("HOME", "/root")
    assert config_path() == Path("/root/.config/nettop/config.toml")
