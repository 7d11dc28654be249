"""Entry point of `nettop` and `python -m nettop`: reports even a failure to import nettop itself."""

import gc
import os
import signal
import sys

from nettop.errors import CannotRunError
from nettop.kernel.limits import require_memory  # small, and there for the report when memory has run out

_COLLECT_AFTER = 20_000  # new objects: imports and rows make few cycles, and looking for them took a tenth of start-up


def main() -> int:
    """Import nettop and run the command. Returns 3, after a message, if the import fails; 130 if Ctrl+C comes first."""
    gc.set_threshold(_COLLECT_AFTER)
    try:
        from nettop.cli.main import main as run  # noqa: PLC0415 - a failure is reported below
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001 - without memory or descriptors an import may fail in any way
        os.write(2, f"nettop: {_report(error)}\n".encode())
        return CannotRunError.exit_code
    return run()


def _report(error: Exception) -> str:
    try:
        require_memory()
    except CannotRunError as too_low:
        return f"{too_low.message} {too_low.remedy}"
    reason = f"{type(error).__name__}: {error}".removesuffix(": ")
    return f"nettop cannot be loaded: {reason}. Raise the limits (ulimit -a), or reinstall it."


if __name__ == "__main__":
    sys.exit(main())
