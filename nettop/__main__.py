"""Entry point of `nettop` and `python -m nettop`: reports even a failure to import nettop itself."""

import gc
import os
import signal
import sys

_COLLECT_AFTER = 20_000  # new objects: imports and rows make few cycles, and looking for them took a tenth of start-up
_CANNOT_RUN = 3  # exit code of nettop.errors.CannotRunError, which is not imported yet


def main() -> int:
    """Import nettop and run the command. Returns 3, after a message, if the import fails; 130 if Ctrl+C comes first."""
    gc.set_threshold(_COLLECT_AFTER)
    try:
        from nettop.cli.main import main as run  # noqa: PLC0415 - a failure is reported below
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001 - without memory or descriptors an import may fail in any way
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        sentence = f"nettop: nettop cannot be loaded: {reason}. Raise the limits (ulimit -a), or reinstall it.\n"
        os.write(2, sentence.encode())
        return _CANNOT_RUN
    return run()


if __name__ == "__main__":
    sys.exit(main())
