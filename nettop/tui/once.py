"""A screen that is closed once."""

from typing import Any

from textual.await_complete import AwaitComplete


class ClosedOnce:
    """For a Screen to inherit from first.

    Keys that come at once are queued for the screen that is open. The second one that closes it would close the screen
    below, and where that is the only one, end the program.
    """

    is_active: bool

    def dismiss(self, result: Any = None) -> AwaitComplete:
        """Textual's hook."""
        if not self.is_active:
            return AwaitComplete()
        closing: AwaitComplete = super().dismiss(result)  # type: ignore[misc] # the Screen's
        return closing
