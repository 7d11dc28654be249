"""Every setting, declared once: config.toml, the environment, `nettop config`, the manual and README follow from here.

A setting's place in config.toml is its name; one that begins with the name of a section stands in that table.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Struct, defstruct

from nettop.metrics.counting import DEFAULT_SERIES
from nettop.metrics.series import MIN_SERIES
from nettop.model.filter import Filter
from nettop.model.kinds import KINDS
from nettop.model.rows import DNS_PORTS
from nettop.model.table import MOST_BY_TIME
from nettop.settings.kinds import (
    Choice,
    Columns,
    Flag,
    Keys,
    Kind,
    Panes,
    Patterns,
    Ports,
    Seconds,
    Sort,
    Text,
    Whole,
    WrongValueError,
    toml_value,
)

MAX_DNS_PORTS = 8  # each is a comparison for every packet
MAX_MASKS = 16  # each is looked for in every path
MAX_HISTORY = 1_000_000  # rows; some 1.5 GB of queries, and seconds per tick: beyond it a recording serves better
MAX_HISTORY_S = 24 * 3600
MAX_SERIES = 100_000  # of a metric: beyond it a scrape takes seconds
THEMES = (
    "textual-dark", "textual-light", "nord", "gruvbox", "catppuccin-mocha", "dracula", "tokyo-night", "monokai",
    "flexoki", "catppuccin-latte", "catppuccin-frappe", "catppuccin-macchiato", "solarized-light", "solarized-dark",
    "rose-pine", "rose-pine-moon", "rose-pine-dawn", "atom-one-dark", "atom-one-light", "ansi-dark", "ansi-light",
)  # fmt: skip
SECTIONS = ("history", "metrics", *(kind.name for kind in KINDS))


class Setting(Struct, frozen=True):
    """One setting: its attribute of Settings, what it takes, what it does, and where else it can be given."""

    attribute: str
    kind: Kind
    help: str
    default: Any
    option: str | None

    @property
    def section(self) -> str:
        """The table of config.toml that it stands in; empty for none."""
        head = self.attribute.partition("_")[0]
        return head if head in SECTIONS else ""

    @property
    def key(self) -> str:
        """Its key in that table."""
        return self.attribute.removeprefix(f"{self.section}_")

    @property
    def name(self) -> str:
        """Both, for people: `history.dns`."""
        return f"{self.section}.{self.key}" if self.section else self.key

    @property
    def default_toml(self) -> str:
        """The default as config.toml has it."""
        return toml_value(self.default)

    @property
    def variable(self) -> str | None:
        """Of the environment."""
        return None if isinstance(self.kind, Keys) else f"NETTOP_{self.attribute.upper()}"

    @property
    def variables(self) -> tuple[str, ...]:
        """All that set it: a table that can be switched off has one too, as `requests = false` is in config.toml."""
        if self.variable is None:
            return ()
        return (self.variable, f"NETTOP_{self.section.upper()}") if self.key == "enabled" else (self.variable,)


def _path(text: str) -> None:
    try:
        Path(text).expanduser()
    except RuntimeError:
        raise WrongValueError(f"{text.partition('/')[0]} is nobody's home") from None
    if not text or "\0" in text:
        raise WrongValueError("that is no path")


class _Declared(Struct, frozen=True):
    kind: Kind
    help: str
    option: str | None = None


class Settings(Struct, frozen=True, kw_only=True):
    """What holds for a run. Nothing but these declarations says what there is and what the default is.

    Each kind of rows adds the attributes of _of_kinds() to those that stand here: default_settings() has them all.
    """

    interval: Annotated[float, _Declared(Seconds(0.1, 60.0), "how often counters are read", "--interval")] = 1.0
    filter: Annotated[
        str, _Declared(Text("an expression of the filter language", Filter), "only rows that match", "--filter")
    ] = ""
    theme: Annotated[str, _Declared(Choice("theme", THEMES), "the colours of the screen", "--theme")] = THEMES[0]
    panes: Annotated[
        tuple[str, ...],
        _Declared(Panes(tuple(kind.name for kind in KINDS)), "panes below one another; others open with their number"),
    ] = tuple(kind.name for kind in KINDS if kind.stacked)
    export_directory: Annotated[
        str, _Declared(Text("a directory; ~ is your own, under sudo too", _path), "where the key e writes snapshots")
    ] = "."
    dns_ports: Annotated[
        tuple[int, ...],
        _Declared(Ports(MAX_DNS_PORTS), "ports of DNS servers to look at; 5353 is mDNS, 5355 LLMNR", "--dns-ports"),
    ] = DNS_PORTS
    history_seconds: Annotated[
        int,
        _Declared(
            Whole(0, MAX_HISTORY_S),
            f"rows stay for so long after their end, up to {MOST_BY_TIME} of a kind; 0: by number alone",
        ),
    ] = 0
    metrics_series: Annotated[
        int,
        _Declared(
            Whole(MIN_SERIES, MAX_SERIES), "time series that a metric has at most; the rest is in _other", "--series"
        ),
    ] = DEFAULT_SERIES
    requests_enabled: Annotated[
        bool,
        _Declared(
            Flag(),
            "look at requests of HTTP and databases, and at TLS and QUIC handshakes; "
            "`requests = false` in place of the table does the same",
        ),
    ] = True
    requests_query: Annotated[bool, _Declared(Flag(), "keep the query strings of paths, which may hold secrets")] = (
        False
    )
    requests_mask: Annotated[tuple[str, ...], _Declared(Patterns(MAX_MASKS), "what of paths is replaced by ***")] = ()
    keys: Annotated[Mapping[str, str], _Declared(Keys(), "other keys for what the screen does")] = {}


def _of_kinds() -> Iterator[tuple[str, Any, Any]]:
    """Attribute, annotation and default of what each kind of rows has: its columns, its sort, its history."""
    for kind in KINDS:
        pane = f"the {kind.label} pane"
        columns = _Declared(Columns(kind.name), f"columns of {pane}; empty: all of them")
        yield f"{kind.name}_columns", Annotated[tuple[str, ...], columns], ()
        yield (
            f"{kind.name}_sort",
            Annotated[str, _Declared(Sort(kind.name), f"what {pane} is sorted by at first")],
            kind.sort,
        )
    for kind in KINDS:
        history = _Declared(Whole(100, MAX_HISTORY), kind.history_help)
        yield f"history_{kind.name}", Annotated[int, history], kind.history


_AllSettings: type[Any] = defstruct("_AllSettings", list(_of_kinds()), bases=(Settings,), frozen=True, kw_only=True)


def settings_with(values: Mapping[str, Any]) -> Settings:
    """The defaults, but for these values by attribute."""
    made: Settings = _AllSettings(**values)
    return made


def default_settings() -> Settings:
    """What holds where nobody says anything."""
    return settings_with({})


def _settings() -> Iterator[Setting]:
    defaults = default_settings()
    own = dict(Settings.__annotations__)
    keys = own.pop("keys")  # last, as in config.toml
    of_kinds = {attribute: annotation for attribute, annotation, _ in _of_kinds()}
    for attribute, annotation in {**own, **of_kinds, "keys": keys}.items():
        (declared,) = annotation.__metadata__
        yield Setting(attribute, declared.kind, declared.help, getattr(defaults, attribute), declared.option)


SETTINGS = tuple(_settings())


def setting(attribute: str) -> Setting:
    """The one with this attribute."""
    return next(each for each in SETTINGS if each.attribute == attribute)
