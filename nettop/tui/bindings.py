"""The declared keys as Textual's bindings."""

from textual.binding import Binding

from nettop.view.keys import Key


def bindings(keys: tuple[Key, ...]) -> list[Binding]:
    """The bindings of a class."""
    return [
        Binding(
            key.keys,
            key.action,
            key.label,
            show=key.footer,
            key_display=key.shown_as,
            tooltip=key.meaning,
            id=key.id,
            priority=key.priority,
        )
        for key in keys
    ]
