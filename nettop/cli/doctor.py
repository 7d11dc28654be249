"""`nettop doctor`: report what this kernel supports."""

import argparse

from nettop.cli.messages import tell_of_compiling
from nettop.cli.options import add_debug
from nettop.export.standard_streams import StandardOutput


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    doctor = commands.add_parser(
        "doctor",
        help="report what this kernel supports and how to fix what is missing",
        description="Try everything that nettop needs, and report what is missing and how to fix it.",
    )
    doctor.add_argument("--json", action="store_true", help="write the report as JSON")
    add_debug(doctor)
    doctor.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Examine and report; 3 if nettop cannot run here."""
    from nettop.cli.checks import examine, report_json, report_text  # noqa: PLC0415 - no other command needs it

    report = examine(tell_of_compiling)
    StandardOutput().write(report_json(report) if options.json else report_text(report).encode())
    return 0 if report.can_run else 3
