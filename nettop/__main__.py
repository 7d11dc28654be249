"""Where the command `nettop` and `python -m nettop` begin: with what can go wrong before there is anything to run."""

import gc
import os
import signal
import sys

_COLLECT_AFTER = 20_000  # new objects: imports and rows make few cycles, and looking for them took a tenth of the start
_CANNOT_RUN = 3  # as nettop.errors.CannotRunError, which is not there yet


def main() -> int:
    """Load nettop and run the command; a sentence if it cannot be loaded, 130 if Ctrl+C comes first."""
    gc.set_threshold(_COLLECT_AFTER)
    try:
        from nettop.cli.main import main as run  # noqa: PLC0415 - what is guarded
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001 - without memory or files an import fails in every way there is
        reason = f"{type(error).__name__}: {error}".removesuffix(": ")
        sentence = f"nettop: nettop cannot be loaded: {reason}. Mend the limits (ulimit -a), or install it again.\n"
        os.write(2, sentence.encode())
        return _CANNOT_RUN
    return run()


if __name__ == "__main__":
    sys.exit(main())
