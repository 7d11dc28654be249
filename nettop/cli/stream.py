"""`nettop stream`: one event per line."""

import argparse
from collections.abc import Callable, Iterable

from nettop.cli.options import add_output, add_watching, duration, filter_help
from nettop.cli.watching import output_of, prepare, stop_signals, watched_events, watching
from nettop.export.json import event_json
from nettop.model.events import AnyEvent
from nettop.model.finals import Finals
from nettop.model.stream_filter import StreamFilter
from nettop.settings.declared import Settings


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    stream = commands.add_parser(
        "stream",
        help="write one JSON event per line until the time is up or a signal arrives",
        description="Write one JSON event per line until the time is up or a signal arrives. 'nettop replay' plays it.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=filter_help(),
    )
    add_watching(stream)
    stream.add_argument(
        "--for", dest="seconds", type=duration, metavar="SECONDS", help="how long to write (default: until a signal)"
    )
    stream.add_argument(
        "--final", action="store_true", help="each row once, when it is over: for databases that only append"
    )
    stream.add_argument(
        "--format",
        choices=("json", "otlp"),
        default="json",
        help="json, or OTLP/JSON for OpenTelemetry: rows as logs, each once, and sums as metrics (default json)",
    )
    add_output(stream)
    stream.set_defaults(run=run)


def _lines(
    options: argparse.Namespace, settings: Settings, passes: Callable[[AnyEvent], bool]
) -> Callable[[AnyEvent], Iterable[bytes]]:
    if options.format == "otlp":
        from nettop.export.otlp import Otlp  # noqa: PLC0415 - JSON needs neither
        from nettop.metrics.counting import Counting  # noqa: PLC0415

        otlp = Otlp(Counting(settings.metrics_series))
        return lambda event: otlp.take(event, passes(event))
    if options.final:
        finals = Finals()
        return lambda event: map(event_json, finals.take(event)) if passes(event) else ()
    return lambda event: (event_json(event),) if passes(event) else ()


def run(options: argparse.Namespace) -> int:
    """Write until the time is up or a signal arrives."""
    settings, scope, chosen = prepare(options, told=True)
    with (
        stop_signals() as stopped,
        watching(options, settings, scope, list_everything=True) as source,
        output_of(options, keep_partial=True, signals=stopped) as output,
    ):
        lines = _lines(options, settings, StreamFilter(chosen).passes)
        for event in watched_events(source, options.seconds, stopped):
            for line in lines(event):
                output.write(line)
        output.commit()
    return 0
