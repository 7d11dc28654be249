"""Keys that the user has changed: the table [keys] of config.toml, binding id to keys."""

import difflib
import os
import pwd
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from textual.binding import Binding

from nettop.errors import UsageError
from nettop.output_file import invoking_user
from nettop.tui.keys import ALL_KEYS, TOGETHER


def config_path() -> Path:
    """The invoking user's config.toml: under sudo theirs, not root's (XDG Base Directory specification)."""
    caller = invoking_user()
    if caller is not None:
        with suppress(KeyError):  # nobody has this uid
            return Path(pwd.getpwuid(caller[0]).pw_dir) / ".config/nettop/config.toml"
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "nettop/config.toml"


def read_keymap(path: Path | None = None) -> dict[str, str]:
    """Keys by binding id; empty without a file. Raises UsageError."""
    path = path or config_path()
    try:
        table = tomllib.loads(path.read_text()).get("keys", {})
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Mend its permissions, or remove it.") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise UsageError(f"{path} is not TOML: {error}.", "Mend or remove it.") from error
    if not isinstance(table, dict):
        raise UsageError(f"{path}: 'keys' is no table.", 'Write [keys], and below it for example "pause" = "p".')
    keymap = {name: _checked(path, name, keys) for name, keys in table.items()}
    _refuse_clashes(path, keymap)
    return keymap


def _checked(path: Path, name: str, keys: Any) -> str:
    known = [key.id for key in ALL_KEYS]
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise UsageError(
            f"{path}: there is no key binding '{name}'.",
            f"Did you mean '{near[0]}'?" if near else f"There are {', '.join(known)}.",
        )
    if not isinstance(keys, str) or not all(key.strip() for key in keys.split(",")):
        raise UsageError(f"{path}: the keys of '{name}' are no text.", f'Write for example "{name}" = "f5".')
    return keys


def _refuse_clashes(path: Path, keymap: dict[str, str]) -> None:
    """One key with two meanings would leave one of them dead."""
    for keys in TOGETHER:
        taken: dict[str, str] = {}
        for key in keys:
            for binding in Binding.make_bindings([Binding(keymap.get(key.id, key.keys), "")]):
                other = taken.setdefault(binding.key, key.id)
                if other != key.id:
                    raise UsageError(
                        f"{path}: '{binding.key}' would be the key of both '{other}' and '{key.id}'.",
                        "Give one of them another key.",
                    )
