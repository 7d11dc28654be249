"""Every setting, declared once: config.toml, the environment, `nettop config`, the manual and README follow from here.

A setting's place in config.toml is its name; one that begins with the name of a section stands in that table.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Struct

from nettop.model.filter import Filter
from nettop.model.rows import DNS_PORTS
from nettop.model.store import MAX_CLOSED_CONNECTIONS, MAX_DNS_QUERIES, MAX_EXITED_PROCESSES
from nettop.settings.kinds import (
    Choice,
    Columns,
    Keys,
    Kind,
    Ports,
    Seconds,
    Sort,
    Text,
    Whole,
    WrongValueError,
    toml_value,
)

MAX_DNS_PORTS = 8  # each is a comparison for every packet
MAX_HISTORY = 1_000_000  # rows; some 1.5 GB of queries, and seconds per tick: beyond it a recording serves better
THEMES = (
    "textual-dark", "textual-light", "nord", "gruvbox", "catppuccin-mocha", "dracula", "tokyo-night", "monokai",
    "flexoki", "catppuccin-latte", "catppuccin-frappe", "catppuccin-macchiato", "solarized-light", "solarized-dark",
    "rose-pine", "rose-pine-moon", "rose-pine-dawn", "atom-one-dark", "atom-one-light", "ansi-dark", "ansi-light",
)  # fmt: skip
SECTIONS = ("history", "dns", "connections", "processes")


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
    """What holds for a run. Nothing but these declarations says what there is and what the default is."""

    interval: Annotated[float, _Declared(Seconds(0.1, 60.0), "how often counters are read", "--interval")] = 1.0
    filter: Annotated[
        str, _Declared(Text("an expression of the filter language", Filter), "only rows that match", "--filter")
    ] = ""
    theme: Annotated[str, _Declared(Choice("theme", THEMES), "the colours of the screen", "--theme")] = THEMES[0]
    export_directory: Annotated[
        str, _Declared(Text("a directory; ~ is your own, under sudo too", _path), "where the key e writes snapshots")
    ] = "."
    dns_ports: Annotated[
        tuple[int, ...],
        _Declared(Ports(MAX_DNS_PORTS), "ports of DNS servers to look at; 5353 is mDNS, 5355 LLMNR", "--dns-ports"),
    ] = DNS_PORTS
    dns_columns: Annotated[
        tuple[str, ...], _Declared(Columns("dns"), "columns of the DNS pane; empty: all of them")
    ] = ()
    dns_sort: Annotated[str, _Declared(Sort("dns"), "what the DNS pane is sorted by at first")] = "time"
    connections_columns: Annotated[
        tuple[str, ...], _Declared(Columns("connections"), "columns of the connections pane; empty: all of them")
    ] = ()
    connections_sort: Annotated[
        str, _Declared(Sort("connections"), "what the connections pane is sorted by at first")
    ] = "opened"
    processes_columns: Annotated[
        tuple[str, ...], _Declared(Columns("processes"), "columns of the processes pane; empty: all of them")
    ] = ()
    processes_sort: Annotated[str, _Declared(Sort("processes"), "what the processes pane is sorted by at first")] = (
        "traffic"
    )
    history_dns: Annotated[int, _Declared(Whole(100, MAX_HISTORY), "DNS queries that are kept, some 1.5 KB each")] = (
        MAX_DNS_QUERIES
    )
    history_connections: Annotated[
        int, _Declared(Whole(100, MAX_HISTORY), "closed connections that are kept, some 0.8 KB each")
    ] = MAX_CLOSED_CONNECTIONS
    history_processes: Annotated[
        int, _Declared(Whole(100, MAX_HISTORY), "ended processes that are kept, some 1.5 KB each")
    ] = MAX_EXITED_PROCESSES
    keys: Annotated[Mapping[str, str], _Declared(Keys(), "other keys for what the screen does")] = {}


def _settings() -> Iterator[Setting]:
    defaults = Settings()
    for attribute, annotation in Settings.__annotations__.items():
        (declared,) = annotation.__metadata__
        yield Setting(attribute, declared.kind, declared.help, getattr(defaults, attribute), declared.option)


SETTINGS = tuple(_settings())


def setting(attribute: str) -> Setting:
    """The one with this attribute."""
    return next(each for each in SETTINGS if each.attribute == attribute)
