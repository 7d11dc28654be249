"""The settings of a run: the command line overrides the environment, then config.toml, then the defaults."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from nettop.errors import UsageError
from nettop.settings.declared import SECTIONS, SETTINGS, Setting, Settings, settings_with
from nettop.settings.kinds import WrongValueError, suggestion, toml_text, toml_value
from nettop.settings.remembered import Chosen, remember, remembered
from nettop.settings.user_file import base_directory, home_directory, read_user_file

if TYPE_CHECKING:
    from nettop.view.look import Look
    from nettop.view.panes import PaneKind

_PREFIX = "NETTOP_"
_MOST_NAMED = 3  # unknown variables in one message
_SLIP = 0.8  # similarity from which a word is probably a typo of another
MAX_CONFIG_BYTES = 64 << 10  # about a hundred times what all settings need


class Resolved(Struct, frozen=True):
    """The settings, the origin of each value, and notes about what was ignored."""

    settings: Settings
    origins: Mapping[str, str]
    path: Path
    notes: tuple[str, ...] = ()


def resolve(given: Mapping[str, Any], path: Path | None = None) -> Resolved:
    """Resolve all settings. `given`: the command line's values by attribute, None if not given. Raises UsageError."""
    path = path or config_path()
    values: dict[str, Any] = {}
    origins = {each.attribute: "default" for each in SETTINGS}
    for each, value, origin in (*_from_file(path), *_from_environment()):
        values[each.attribute], origins[each.attribute] = value, origin
    for each in SETTINGS:
        if given.get(each.attribute) is not None:
            values[each.attribute], origins[each.attribute] = given[each.attribute], f"command line {each.option}"
    return Resolved(settings_with(values), origins, path, tuple(_passed_over()))


def config_path() -> Path:
    """The invoking user's config.toml."""
    return base_directory("XDG_CONFIG_HOME", ".config") / "nettop/config.toml"


def as_toml(resolved: Resolved) -> str:
    """The settings as a config.toml, each with its origin as a comment."""
    lines = [f"# {toml_text(str(resolved.path))[1:-1]}"]
    for section in ("", *SECTIONS, "keys"):
        if section:
            lines += ["", f"[{section}]"]
        for each in SETTINGS:
            value = getattr(resolved.settings, each.attribute)
            origin = resolved.origins[each.attribute]
            if each.attribute == "keys":
                if section == "keys":
                    lines += [f"{toml_text(name)} = {toml_text(keys)}  # {origin}" for name, keys in value.items()]
            elif each.section == section:
                lines.append(f"{each.key} = {toml_value(value)}  # {origin}")
    return "\n".join(lines) + "\n"


def look(settings: Settings) -> "Look":
    """The screen's part of the settings, and what it remembers."""
    from nettop.view.arrangement import restored  # noqa: PLC0415 - headless commands do not load it
    from nettop.view.look import Look  # noqa: PLC0415
    from nettop.view.panes import PANES  # noqa: PLC0415

    configured = tuple(
        pane.arranged(getattr(settings, f"{pane.name}_columns"), getattr(settings, f"{pane.name}_sort"))
        for pane in PANES
    )
    known = remembered()
    panes = []
    for pane in configured:
        chosen = known.get(pane.name)
        if chosen is not None and chosen.configured == getattr(settings, f"{pane.name}_columns"):
            pane = restored(pane, chosen.columns, chosen.hidden)  # noqa: PLW2901
        panes.append(pane)
    return Look(
        settings.theme,
        settings.keys,
        tuple(panes),
        settings.panes,
        settings.export_directory,
        home_directory(),
        configured,
        partial(_remember, settings, configured),
    )


def _remember(settings: Settings, configured: "Sequence[PaneKind[Any]]", pane: "PaneKind[Any]") -> None:
    """Keep the columns of a pane, unless they are those of the settings. Raises NettopError."""
    if any(pane.columns == each.columns for each in configured if each.name == pane.name):
        remember(pane.name, None)
        return
    shown, hidden = (tuple(column.key for column in columns) for columns in (pane.columns, pane.hidden))
    remember(pane.name, Chosen(shown, hidden, getattr(settings, f"{pane.name}_columns")))


def _passed_over() -> Iterator[str]:
    """Note unknown NETTOP_* variables. No error: Kubernetes sets seven of them for a service named nettop."""
    known = [name for _, name in _variables()]
    unknown = sorted(name for name in os.environ if name.startswith(_PREFIX) and name not in known)
    if not unknown:
        return
    import difflib  # noqa: PLC0415 - only needed now

    settings = [name.removeprefix(_PREFIX) for name in known]  # the common prefix would make all of them similar
    slips, others = [], []
    for name in unknown:
        near = difflib.get_close_matches(name.removeprefix(_PREFIX), settings, 1, _SLIP)
        if near:
            slips.append(f"{name} (did you mean {_PREFIX}{near[0]}?)")
        else:
            others.append(name)
    more = [f"{len(others) - _MOST_NAMED} more"] if len(others) > _MOST_NAMED else []
    yield f"ignored unknown settings in the environment: {', '.join([*slips, *others[:_MOST_NAMED], *more])}."


def _variables() -> Iterator[tuple[Setting, str]]:
    for each in SETTINGS:
        for name in each.variables:
            yield each, name


def _from_environment() -> Iterator[tuple[Setting, Any, str]]:
    for each, name in _variables():
        text = os.environ.get(name)
        if text is None:
            continue
        try:
            text.encode()
            value = each.kind.from_text(text)
        except UnicodeEncodeError as error:
            raise UsageError(f"{name} is not UTF-8.", "Give another value, or unset it.") from error
        except (WrongValueError, UsageError) as error:
            raise _refused(name, error) from error
        yield each, value, f"environment {name}"


def _from_file(path: Path) -> Iterator[tuple[Setting, Any, str]]:
    text = read_user_file(path, MAX_CONFIG_BYTES)
    if text is None:
        return
    import tomllib  # noqa: PLC0415 - only needed if there is a file

    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {error}.", "Fix or remove it.") from error
    for name, value in _flat(document, path, text):
        each = next((each for each in SETTINGS if each.name == name), None)
        where = _place(path, text, name)
        if each is None:
            raise UsageError(f"{where}: unknown setting '{name}'.", suggestion(name, _names()))
        try:
            yield each, each.kind.check(value), f"file, {where.removeprefix(f'{path} ')}"
        except (WrongValueError, UsageError) as error:
            raise _refused(f"{where}: {name}", error) from error


def _names() -> list[str]:
    return [each.name for each in SETTINGS]


def _refused(where: str, error: WrongValueError | UsageError) -> UsageError:
    if isinstance(error, UsageError):
        return UsageError(f"{where}: {error.message}", error.remedy)
    return UsageError(f"{where}: {error.problem}.", error.remedy or "Give another value, or remove it.")


def _flat(document: Mapping[str, Any], path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Yield (name, value). Raises UsageError if a section is not a table."""
    for name, value in document.items():
        if name not in SECTIONS:
            yield name, value
        elif isinstance(value, dict):
            for key, inner in value.items():
                yield f"{name}.{key}", inner
        elif isinstance(value, bool) and f"{name}.enabled" in _names():
            yield f"{name}.enabled", value
        else:
            raise UsageError(
                f"{_place(path, text, name)}: '{name}' is not a table.", f"Write [{name}] on its own line."
            )


_TABLE = r"\s*\[\s*([\w.\"'-]+)\s*\]"
_KEY = r"\s*([\w.\"' -]+?)\s*="


def _place(path: Path, text: str, name: str) -> str:
    """The file, and the line that sets `name` if a simple search finds it."""
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(_TABLE, line):
            table = f"{header[1]}."
            found = header[1]
        elif key := re.match(_KEY, line):
            found = table + key[1]
        else:
            continue
        if found.replace('"', "").replace("'", "") == name:
            return f"{path} line {number}"
    return str(path)
