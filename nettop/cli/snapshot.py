"""`nettop snapshot`: watch for a while, then write one document."""

import argparse

from nettop.cli.format import add_format, writer_of
from nettop.cli.options import add_for, add_output, add_watching, filter_help
from nettop.cli.watching import history_of, output_of, prepare, stop_signals, watched_events, watching
from nettop.model.store import Store

DEFAULT_FOR_S = 5.0


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    snapshot = commands.add_parser(
        "snapshot",
        help="watch for a while and write one snapshot: JSON, a table or CSV",
        description="Watch for a while, then write one snapshot. Signals such as SIGINT end the watch early.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=filter_help(),
    )
    add_watching(snapshot)
    add_for(snapshot, DEFAULT_FOR_S)
    add_format(snapshot)
    add_output(snapshot)
    snapshot.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Watch until the time is up or a signal arrives, then write what was seen."""
    settings, scope, chosen = prepare(options)
    written = writer_of(options, settings, chosen)
    with (
        stop_signals() as stopped,
        watching(options, settings, scope) as source,
        output_of(options, signals=stopped) as output,
    ):
        store = Store(history_of(settings))
        for event in watched_events(source, options.seconds, stopped):
            store.apply(event)
        stopped.clear()  # they ended the watch; another one ends the writing if the reader stalls
        output.write(written(store.snapshot()))
        output.commit()
    return 0
