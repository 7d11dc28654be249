"""`nettop config`: print the effective settings."""

import argparse

from nettop.cli.options import add_debug
from nettop.cli.watching import resolved
from nettop.export.standard_streams import StandardOutput
from nettop.settings.resolve import as_toml


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    config = commands.add_parser(
        "config",
        help="print the settings and where each came from",
        description="Print the effective settings as a config.toml, each with its origin.",
    )
    add_debug(config)
    config.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the settings as a config.toml."""
    found = resolved(options)
    if found.settings.keys:
        from nettop.tui.keymap import refuse_clashes  # noqa: PLC0415 - imports Textual for its key names

        refuse_clashes(found.settings.keys)
    StandardOutput().write(as_toml(found).encode())
    return 0
