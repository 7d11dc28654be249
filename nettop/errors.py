"""The errors that a user sees: one sentence, one remedy, one exit code. Only the entry points print them."""


class NettopError(Exception):
    """Base of every error that nettop expects. `details` is shown with --debug only."""

    exit_code = 1

    def __init__(self, message: str, remedy: str, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.details = details


class RunError(NettopError):
    """Something failed while running: exit code 1."""


class UsageError(NettopError):
    """The command line or its input is wrong: exit code 2."""

    exit_code = 2


class CannotRunError(NettopError):
    """nettop cannot run on this machine or for this user: exit code 3."""

    exit_code = 3
