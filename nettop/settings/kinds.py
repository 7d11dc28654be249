"""Types of setting values: parsed from config.toml or from text, checked, written back."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct


class WrongValueError(ValueError):
    """A refused value. `problem` completes a sentence that begins with the setting's name; `remedy` says what to do."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


class Kind(Protocol):
    """The type of a setting's value."""

    @property
    def values(self) -> str:
        """The accepted values, in words."""
        ...

    def from_text(self, text: str) -> Any:
        """Parse a value from the command line or the environment. Raises WrongValueError."""
        ...

    def check(self, value: Any) -> Any:
        """Check a value from config.toml and convert it for the setting. Raises WrongValueError."""
        ...


class Seconds(Struct, frozen=True):
    """A duration."""

    least: float
    most: float

    @property
    def values(self) -> str:
        """See Kind."""
        return f"seconds, {self.least:g} to {self.most:.0f}"

    def from_text(self, text: str) -> float:
        """See Kind."""
        try:
            seconds = float(text)
        except ValueError:
            raise WrongValueError(f"'{text}' is not a number of seconds") from None
        if not self.least <= seconds <= self.most:  # also refuses nan
            raise WrongValueError(f"{text} is not between {self.least:g} and {self.most:.0f} seconds")
        return seconds

    def check(self, value: Any) -> float:
        """See Kind."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise WrongValueError(f"{_shown(value)} is not a number of seconds")
        return self.from_text(repr(value) if isinstance(value, float) else _number_text(value))


class Whole(Struct, frozen=True):
    """A whole number."""

    least: int
    most: int

    @property
    def values(self) -> str:
        """See Kind."""
        return f"a whole number, {self.least} to {self.most}"

    def from_text(self, text: str) -> int:
        """See Kind."""
        return self.check(_whole(text))

    def check(self, value: Any) -> int:
        """See Kind."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise WrongValueError(f"{_shown(value)} is not a whole number")
        if not self.least <= value <= self.most:
            raise WrongValueError(f"{_number_text(value)} is not between {self.least} and {self.most}")
        return value


class Choice(Struct, frozen=True):
    """One of a few words."""

    what: str
    words: tuple[str, ...]

    @property
    def values(self) -> str:
        """See Kind."""
        return f"one of {', '.join(self.words)}"

    def from_text(self, text: str) -> str:
        """See Kind."""
        return self.check(text)

    def check(self, value: Any) -> str:
        """See Kind."""
        if not isinstance(value, str) or value not in self.words:
            raise WrongValueError(f"{_shown(value)} is not a {self.what}", suggestion(value, self.words))
        return value


class Text(Struct, frozen=True):
    """Any text that `test` accepts."""

    values: str
    test: Callable[[str], object] = str

    def from_text(self, text: str) -> str:
        """See Kind."""
        return self.check(text)

    def check(self, value: Any) -> str:
        """See Kind. Also raises what `test` raises."""
        if not isinstance(value, str):
            raise WrongValueError(f"{_shown(value)} is not a string", "Put it in quotes.")
        self.test(value)
        return value


class Flag(Struct, frozen=True):
    """On or off."""

    values: str = "true or false"

    def from_text(self, text: str) -> bool:
        """See Kind."""
        return self.check({"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text))

    def check(self, value: Any) -> bool:
        """See Kind."""
        if not isinstance(value, bool):
            raise WrongValueError(f"{_shown(value)} is not true or false")
        return value


class Patterns(Struct, frozen=True):
    """Regular expressions, so many at most."""

    most: int

    @property
    def values(self) -> str:
        """See Kind."""
        return f"up to {self.most} regular expressions"

    def from_text(self, text: str) -> tuple[str, ...]:
        """See Kind. One only: any character may stand in it."""
        return self.check([text] if text else [])

    def check(self, value: Any) -> tuple[str, ...]:
        """See Kind."""
        if not isinstance(value, list):
            raise WrongValueError("it is not a list", 'Write for example ["token/[^/]+"].')
        if len(value) > self.most:
            raise WrongValueError(f"{len(value)} patterns are more than {self.most}")
        for pattern in value:
            if not isinstance(pattern, str):
                raise WrongValueError(f"{_shown(pattern)} is not a string")
            try:
                re.compile(pattern)
            except (re.error, OverflowError, RecursionError) as error:
                raise WrongValueError(f"{_shown(pattern)} is not a regular expression: {error}") from None
        return tuple(value)


class Ports(Struct, frozen=True):
    """A short list of ports."""

    most: int

    @property
    def values(self) -> str:
        """See Kind."""
        return f"a list of 1 to {self.most} ports"

    def from_text(self, text: str) -> tuple[int, ...]:
        """See Kind."""
        return self.check([_whole(part.strip()) for part in text.split(",")])

    def check(self, value: Any) -> tuple[int, ...]:
        """See Kind."""
        if not isinstance(value, list) or not 1 <= len(value) <= self.most:
            raise WrongValueError(f"{_shown(value)} is not {self.values}", "Write for example [53, 5353].")
        for port in value:
            if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 1 << 16:
                raise WrongValueError(f"{_shown(port)} is not a port", "Give numbers from 1 to 65535.")
        return tuple(dict.fromkeys(value))


def _columns_of(pane: str) -> tuple[str, ...]:
    from nettop.view.panes import PANES  # noqa: PLC0415 - only needed if columns are configured

    return next(tuple(column.key for column in each.columns) for each in PANES if each.name == pane)


class Columns(Struct, frozen=True):
    """The columns of a pane, in order; empty means the default."""

    pane: str

    @property
    def values(self) -> str:
        """See Kind."""
        return "a list of columns"

    def from_text(self, text: str) -> tuple[str, ...]:
        """See Kind."""
        return self.check(_words(text))

    def check(self, value: Any) -> tuple[str, ...]:
        """See Kind."""
        if not isinstance(value, list):
            raise WrongValueError(f"{_shown(value)} is not a list of columns", 'Write for example ["pid", "comm"].')
        return _each_once(value, _columns_of(self.pane), "column", "a column of this pane")


class Panes(Struct, frozen=True):
    """Some of the panes, in order."""

    names: tuple[str, ...]

    @property
    def values(self) -> str:
        """See Kind."""
        return f"a list of {', '.join(self.names)}"

    def from_text(self, text: str) -> tuple[str, ...]:
        """See Kind."""
        return self.check(_words(text))

    def check(self, value: Any) -> tuple[str, ...]:
        """See Kind."""
        if not isinstance(value, list) or not value:
            raise WrongValueError(
                f"{_shown(value)} is not a list of panes", 'Write for example ["dns", "connections"].'
            )
        return _each_once(value, self.names, "pane", "a pane")


class Sort(Struct, frozen=True):
    """A pane's initial sort: a column, and `asc` or `desc` to override the column's usual direction."""

    pane: str

    @property
    def values(self) -> str:
        """See Kind."""
        return "a column, then asc or desc if not its usual direction"

    def from_text(self, text: str) -> str:
        """See Kind."""
        return self.check(text)

    def check(self, value: Any) -> str:
        """See Kind."""
        column, _, direction = value.partition(" ") if isinstance(value, str) else ("", "", "")
        if direction not in ("", "asc", "desc"):
            raise WrongValueError(f"{_shown(value)} is not a sort order", f"Write for example '{column} desc'.")
        known = _columns_of(self.pane)
        if column not in known:
            raise WrongValueError(f"{_shown(column or value)} is not a column of this pane", suggestion(column, known))
        return str(value)


class Keys(Struct, frozen=True):
    """Keys by the id of their action. The screen, which knows Textual's key names, refuses clashes."""

    values: str = "a table of ids, each with its keys"

    def from_text(self, text: str) -> Any:
        """Never called: keys have neither an option nor a variable."""
        raise NotImplementedError

    def check(self, value: Any) -> dict[str, str]:
        """See Kind."""
        from nettop.view.keys import ALL_KEYS  # noqa: PLC0415 - only needed if keys are configured

        if not isinstance(value, dict):
            raise WrongValueError("it is not a table", 'Write [keys], and below it for example "pause" = "p".')
        known = tuple(key.id for key in ALL_KEYS)
        for name, keys in value.items():
            if name not in known:
                raise WrongValueError(f"unknown key binding '{name}'", suggestion(name, known))
            if not isinstance(keys, str) or not all(key.strip() for key in keys.split(",")):
                raise WrongValueError(f"the keys of '{name}' are not a string", f'Write for example "{name}" = "f5".')
        return value


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text.strip() else []


def _each_once(words: list[Any], known: Sequence[str], what: str, one_of_them: str) -> tuple[str, ...]:
    for word in words:
        if not isinstance(word, str) or word not in known:
            raise WrongValueError(f"{_shown(word)} is not {one_of_them}", suggestion(word, known))
    if len(set(words)) < len(words):
        raise WrongValueError(f"a {what} is named twice", "Name each once.")
    return tuple(words)


def as_text(value: Any) -> str:
    """A value as written on the command line or in the environment."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def toml_value(value: Any) -> str:
    """A value as written in config.toml."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, bool):
        return str(value).lower()
    return toml_text(value) if isinstance(value, str) else str(value)


def toml_text(text: str) -> str:
    """A basic string of TOML 1.0."""
    return '"' + "".join(map(_toml_character, text)) + '"'


def _toml_character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def suggestion(word: Any, known: Sequence[str]) -> str:
    """The known word that was probably meant, or else all of them."""
    import difflib  # noqa: PLC0415 - only after a mistake

    near = difflib.get_close_matches(str(word), known, 1)
    return f"Did you mean '{near[0]}'?" if near else f"Choose from {', '.join(known)}."


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = _number_text(value) if isinstance(value, int) else str(value)
    return f"'{text}'" if isinstance(value, str) else text


def _number_text(value: int) -> str:
    # Python refuses to format integers of more than 4,300 digits
    return str(value) if abs(value) < 1 << 64 else "a number this large"


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise WrongValueError(f"'{text}' is not a whole number")
    return int(text)
