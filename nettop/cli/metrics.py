"""`nettop metrics`: sums by unit and comm, for Prometheus and what reads its format."""

import argparse
import ipaddress

from nettop.cli.options import add_output, add_setting, add_watching, duration, filter_help
from nettop.errors import UsageError

DEFAULT_FOR_S = 5.0  # where the text is written once


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    metrics = commands.add_parser(
        "metrics",
        help="sum up by unit and comm, for Prometheus: once, as a file at each interval, or over HTTP",
        description="Sum up by unit and comm, as OpenMetrics. Without -o or --listen, watch for a time and write once.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=filter_help(),
    )
    add_watching(metrics, has_rows=False)
    add_setting(metrics, "metrics_series")
    metrics.add_argument(
        "--for",
        dest="seconds",
        type=duration,
        metavar="SECONDS",
        help=f"how long to watch (default {DEFAULT_FOR_S:g}; with -o or --listen until a signal)",
    )
    add_output(metrics)
    metrics.add_argument(
        "--listen",
        type=_address,
        metavar="ADDRESS:PORT",
        help="answer GET /metrics there, for example on 127.0.0.1:9469",
    )
    metrics.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Watch, and publish in one way or the other, until the time is up or a signal arrives."""
    if options.lookups:
        raise UsageError("--lookups has nothing to show in metrics.", "Leave it out, or use 'nettop stream --lookups'.")
    if options.decrypt:
        # Sums would lack those of programs whose connection is unknown, and nothing here says which are not covered.
        raise UsageError(
            "Metrics do not count what --decrypt finds.", "Leave it out, or use 'nettop stream --decrypt'."
        )
    if options.output is not None and options.listen is not None:
        raise UsageError("-o and --listen cannot be combined.", "Start nettop twice, or have one read the other.")
    from nettop.cli.publishing import publish  # noqa: PLC0415 - no other command counts, or serves

    return publish(options, DEFAULT_FOR_S if options.seconds is None else options.seconds)


def _address(text: str) -> tuple[str, int]:
    """An address and a port as a URL has them. No name: to look it up, nettop would have to ask somebody."""
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' has no IP address: give one, as 127.0.0.1:9469") from None
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= 65_535):
        raise argparse.ArgumentTypeError(f"'{text}' has no port: give one, as 127.0.0.1:9469")
    return str(address), int(port)
