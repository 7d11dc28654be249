"""Messages on standard error."""

import os
from collections.abc import Sequence

from nettop.errors import NettopError
from nettop.export.standard_streams import tell
from nettop.model.filter import FilterError
from nettop.text import printable_text

_STDERR = 2


def complain(error: NettopError, debug: bool) -> None:
    """Print what went wrong and how to fix it; with `debug`, the details too."""
    lines = [f"nettop: {error.message} {error.remedy}"]
    if isinstance(error, FilterError):
        lines += error.marked.split("\n")
    if debug and error.details:
        lines += error.details.rstrip().split("\n")
    _tell(lines)


def note(sentence: str) -> None:
    """Print something that the user should know although the command continues."""
    _tell([f"nettop: {sentence}"])


def tell_of_compiling() -> None:
    """Say on a terminal why nothing happens for some seconds; a log gets nothing."""
    if os.isatty(_STDERR):
        note("compiling the kernel programs, which takes some seconds.")


def _tell(lines: Sequence[str]) -> None:
    text = "".join(f"{printable_text(line)}\n" for line in lines)  # file names are untrusted text
    tell(text.encode(errors="backslashreplace"))
