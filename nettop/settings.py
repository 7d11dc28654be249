"""Every setting, declared once: config.toml, the environment, `nettop config`, the manual and README follow from here.

A setting's place in config.toml is its name; one that begins with the name of a section stands in that table.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from nettop.model.filter import Filter
from nettop.model.rows import DNS_PORTS
from nettop.model.store import MAX_CLOSED_CONNECTIONS, MAX_DNS_QUERIES, MAX_EXITED_PROCESSES
from nettop.setting_kinds import Choice, Columns, Keys, Kind, Ports, Seconds, Sort, Text, Whole, toml_value

MAX_DNS_PORTS = 8  # each is a comparison for every packet
MAX_HISTORY = 1_000_000  # rows; some 1.5 GB of queries, and seconds per tick: beyond it a recording serves better
THEMES = (
    "textual-dark", "textual-light", "nord", "gruvbox", "catppuccin-mocha", "dracula", "tokyo-night", "monokai",
    "flexoki", "catppuccin-latte", "catppuccin-frappe", "catppuccin-macchiato", "solarized-light", "solarized-dark",
    "rose-pine", "rose-pine-moon", "rose-pine-dawn", "atom-one-dark", "atom-one-light", "ansi-dark", "ansi-light",
)  # fmt: skip
SECTIONS = ("history", "dns", "connections", "processes")


class Setting(NamedTuple):
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


def _setting(default: Any, kind: Kind, help: str, option: str | None = None) -> Any:  # noqa: A002
    if isinstance(default, dict):
        return field(default_factory=lambda: default, metadata={"of": (kind, help, default, option)})
    return field(default=default, metadata={"of": (kind, help, default, option)})


@dataclass(frozen=True)
class Settings:
    """What holds for a run."""

    interval: float = _setting(1.0, Seconds(0.1, 60.0), "how often counters are read", "--interval")
    filter: str = _setting("", Text("an expression of the filter language", Filter), "only rows that match", "--filter")
    theme: str = _setting("textual-dark", Choice("theme", THEMES), "the colours of the screen", "--theme")
    export_directory: str = _setting(
        ".", Text("a directory; ~ is your own, under sudo too"), "where the key e writes snapshots"
    )
    dns_ports: tuple[int, ...] = _setting(
        DNS_PORTS, Ports(MAX_DNS_PORTS), "ports of DNS servers to look at; 5353 is mDNS, 5355 LLMNR", "--dns-ports"
    )
    dns_columns: tuple[str, ...] = _setting((), Columns("dns"), "columns of the DNS pane; empty: all of them")
    dns_sort: str = _setting("time", Sort("dns"), "what the DNS pane is sorted by at first")
    connections_columns: tuple[str, ...] = _setting(
        (), Columns("connections"), "columns of the connections pane; empty: all of them"
    )
    connections_sort: str = _setting("opened", Sort("connections"), "what the connections pane is sorted by at first")
    processes_columns: tuple[str, ...] = _setting(
        (), Columns("processes"), "columns of the processes pane; empty: all of them"
    )
    processes_sort: str = _setting("traffic", Sort("processes"), "what the processes pane is sorted by at first")
    history_dns: int = _setting(MAX_DNS_QUERIES, Whole(100, MAX_HISTORY), "DNS queries that are kept, some 1.5 KB each")
    history_connections: int = _setting(
        MAX_CLOSED_CONNECTIONS, Whole(100, MAX_HISTORY), "closed connections that are kept, some 0.8 KB each"
    )
    history_processes: int = _setting(
        MAX_EXITED_PROCESSES, Whole(100, MAX_HISTORY), "ended processes that are kept, some 1.5 KB each"
    )
    keys: Mapping[str, str] = _setting({}, Keys(), "other keys for what the screen does")


def _declared() -> Iterator[Setting]:
    for each in fields(Settings):
        kind, help_text, default, option = each.metadata["of"]
        yield Setting(each.name, kind, help_text, default, option)


SETTINGS = tuple(_declared())


def setting(attribute: str) -> Setting:
    """The one with this attribute."""
    return next(each for each in SETTINGS if each.attribute == attribute)
