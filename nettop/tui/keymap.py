"""Checks the keys that the user has changed for conflicts."""

from collections.abc import Mapping

from textual.binding import Binding

from nettop.errors import UsageError
from nettop.view.keys import TOGETHER


def refuse_clashes(keymap: Mapping[str, str]) -> None:
    """Raise UsageError if one key has two actions, because one of them would never run."""
    for keys in TOGETHER:
        taken: dict[str, str] = {}
        for key in keys:
            for binding in Binding.make_bindings([Binding(keymap.get(key.id, key.keys), "")]):
                other = taken.setdefault(binding.key, key.id)
                if other != key.id:
                    raise UsageError(
                        f"[keys] in config.toml: '{binding.key}' is bound to both '{other}' and '{key.id}'.",
                        "Give one of them another key.",
                    )
