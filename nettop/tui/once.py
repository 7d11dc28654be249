"""A screen that ignores a second request to close."""

from typing import Any

from textual.await_complete import AwaitComplete


class ClosedOnce:
    """A mixin, to be the first base class of a Screen.

    Keys pressed in quick succession are queued for the open screen. A second key that closes it would close the screen
    below, and end the program if that is the only one left.
    """

    is_active: bool

    def dismiss(self, result: Any = None) -> AwaitComplete:
        """Textual's hook."""
        if not self.is_active:
            return AwaitComplete()
        closing: AwaitComplete = super().dismiss(result)  # type: ignore[misc] # the Screen's
        return closing
