"""The commands and options in the manual, from the parser. What several commands take is explained once."""

import argparse
from collections.abc import Iterator

from nettop.share.roff import bold, capital, definition, italic, plain

Actions = list[argparse.Action]


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by what one types; the screen's first."""
    (subparsers,) = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    return {parser.prog: parser, **{f"{parser.prog} {name}": each for name, each in subparsers.choices.items()}}


def synopsis(parser: argparse.ArgumentParser) -> Iterator[str]:
    """A line per command, as it is: not filled."""
    yield ".nf"
    for name, command in commands_of(parser).items():
        operands = [f"[{italic(str(each.metavar))}]" for each in _actions(command) if not each.option_strings]
        yield " ".join([bold(name), f"[{italic('OPTION')}]...", *operands])
    yield ".fi"


def commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    """What each does."""
    for name, command in commands_of(parser).items():
        yield from definition(bold(name), plain(_said(command)))


def _said(command: argparse.ArgumentParser) -> str:
    return capital((command.description or "").rstrip(".")) + "."


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Those of each command. One that means the same in a command further up is only named."""
    explained: set[tuple[str, str]] = set()
    for name, command in commands_of(parser).items():
        known = [each for each in _actions(command) if _as_explained(each) in explained]
        fresh = [each for each in _actions(command) if _as_explained(each) not in explained]
        yield f".SS {plain(name)}"
        if known:
            yield plain(f"As above: {', '.join(_longest(each) for each in known)}.")
        for group in command._action_groups:
            of_group = [each for each in fresh if each in group._group_actions]
            if of_group and group.title not in ("options", "positional arguments"):
                yield ".PP"
                yield plain(f"{capital(group.title or '')}:")
            for each in of_group:
                yield from definition(_invocation(each), plain(f"{capital(each.help or '')}."))
        explained |= set(map(_as_explained, fresh))


def _actions(command: argparse.ArgumentParser) -> Actions:
    shown = (each for each in command._actions if each.help != argparse.SUPPRESS)
    return [each for each in shown if not isinstance(each, argparse._SubParsersAction)]


def _as_explained(action: argparse.Action) -> tuple[str, str]:
    return _longest(action), action.help or ""


def _longest(action: argparse.Action) -> str:
    return max(action.option_strings, key=len, default=str(action.metavar))


def _invocation(action: argparse.Action) -> str:
    if not action.option_strings:
        return italic(str(action.metavar))
    among = "|".join(map(str, action.choices or ()))
    value = "" if action.nargs == 0 else f" {italic(str(action.metavar or among))}"
    return ", ".join(f"{bold(option)}{value}" for option in action.option_strings)
