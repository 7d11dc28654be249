"""`nettop diagnose`: watch for a while, then say what is wrong."""

import argparse

from nettop.cli.options import add_for, add_watching, filter_help
from nettop.cli.watching import history_of, prepare, stop_signals, watched_events, watching
from nettop.errors import CannotRunError, RunError
from nettop.export.standard_streams import StandardOutput
from nettop.model.store import Store

DEFAULT_FOR_S = 30.0  # a wait of 10 s has begun and lasted by then


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    diagnose = commands.add_parser(
        "diagnose",
        help="watch for a while, then say in sentences what is wrong",
        description="Watch for a while, then say in sentences what is wrong, with the rows that prove it. "
        "The exit code is 0 if nothing is, 1 if something is, 2 for wrong usage, 3 if nettop could not watch.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=filter_help(),
    )
    add_watching(diagnose)
    add_for(diagnose, DEFAULT_FOR_S)
    diagnose.add_argument("--json", action="store_true", help="write the findings and their rows as JSON")
    diagnose.set_defaults(run=run, output=None)


def run(options: argparse.Namespace) -> int:
    """Watch until the time is up or a signal arrives; 1 if something is wrong."""
    from nettop.export.findings import findings_json, findings_text  # noqa: PLC0415 - columns, which no other needs

    settings, scope, chosen = prepare(options)
    try:
        with stop_signals() as stopped, watching(options, settings, scope) as source:
            store = Store(history_of(settings))
            for event in watched_events(source, options.seconds, stopped):
                store.apply(event)
            stopped.clear()  # they ended the watch; another one ends the writing if the reader stalls
            whole = store.snapshot()
            found = chosen.apply(whole)
            wrong, said = findings_json(found, whole) if options.json else findings_text(found, whole)
            StandardOutput(stopped).write(said)
    except RunError as error:  # whose exit code means here that something is wrong on the host
        raise CannotRunError(error.message, error.remedy, error.details) from error
    return 1 if wrong else 0
