"""Keys that the user has changed: whether one would have two meanings."""

from collections.abc import Mapping

from textual.binding import Binding

from nettop.errors import UsageError
from nettop.view.keys import TOGETHER


def refuse_clashes(keymap: Mapping[str, str]) -> None:
    """Raises UsageError if a key would have two meanings, which would leave one of them dead."""
    for keys in TOGETHER:
        taken: dict[str, str] = {}
        for key in keys:
            for binding in Binding.make_bindings([Binding(keymap.get(key.id, key.keys), "")]):
                other = taken.setdefault(binding.key, key.id)
                if other != key.id:
                    raise UsageError(
                        f"[keys] of config.toml: '{binding.key}' would be the key of both '{other}' and '{key.id}'.",
                        "Give one of them another key.",
                    )
