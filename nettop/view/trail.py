"""The filters that the user has set: to go back to, and to take up again."""

MAX_HISTORY = 100


class Trail:
    """`history` are expressions, the last one latest, each one once."""

    def __init__(self) -> None:
        self.history: list[str] = []
        self._before: list[str] = []

    def changed(self, before: str, after: str) -> None:
        """One filter took the place of another."""
        if before != after:
            self._before = [*self._before, before][-MAX_HISTORY:]
            self._remember(before)
            self._remember(after)

    def undo(self) -> str | None:
        """The filter before the last change, which is forgotten; None if there was no change."""
        return self._before.pop() if self._before else None

    def _remember(self, text: str) -> None:
        if text:
            self.history = [*(other for other in self.history if other != text), text][-MAX_HISTORY:]
