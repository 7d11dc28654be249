"""The status bar: what is going on in all, and above everything what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.widget import Widget

from nettop import format as human
from nettop.model.filter import Filter
from nettop.model.snapshot import Snapshot
from nettop.tui import view
from nettop.tui.columns import dns_failed

SPARKLINE_CELLS = 24


@dataclass(frozen=True)
class Status:
    """What the bar says, apart from the snapshot."""

    mode: str  # LIVE, REPLAY, ENDED, SNAPSHOT
    paused: bool
    new_rows: int  # since the pause
    filter: Filter
    traffic: Sequence[float]  # bytes/s, of the last ticks
    pace: str
    dns_per_s: float


def headline(snapshot: Snapshot, status: Status) -> list[tuple[str, str]]:
    """The first line as (text, part) pairs: mode, time, rates, counts."""
    tx = sum(row.tx_bytes_per_s for row in snapshot.processes)
    rx = sum(row.rx_bytes_per_s for row in snapshot.processes)
    open_connections = sum(row.state != "closed" for row in snapshot.connections)
    failed = sum(map(dns_failed, snapshot.dns))
    mode = (f" PAUSED (+{status.new_rows} new) ", "paused") if status.paused else (f" {status.mode} ", "mode")
    return [
        mode,
        (f" {human.duration(snapshot.elapsed_s * 1000)} {status.pace}  ", "text"),
        (f"tx {human.size(round(tx))}/s  rx {human.size(round(rx))}/s ", "text"),
        (human.sparkline(list(status.traffic), SPARKLINE_CELLS), "sparkline"),
        (f"  conn {human.count(open_connections)}", "text"),
        (f"  dns {status.dns_per_s:.0f}/s, {human.share(failed, len(snapshot.dns))} fail", "text"),
    ]


def notices(snapshot: Snapshot, status: Status) -> list[tuple[str, str]]:
    """The second line: what is missing, loud; the filter; nothing if all is well and everything is shown."""
    parts = []
    missing = view.losses(snapshot.losses)
    unattributed = snapshot.losses.udp_unattributed_bytes + snapshot.losses.tcp_unattributed_bytes
    if unattributed:
        missing.append(f"{human.size(unattributed)} unattributed")
    if missing:
        parts.append((f" ! {', '.join(missing)} ", "losses"))
    if status.filter.text:
        parts.append((" filter ", "label"))
        parts.append((f"{status.filter.text} ", "filter"))
    scope = snapshot.scope
    scoped = [*(f"pid {pid}" for pid in scope.pid), *scope.comm, *(f"netns {netns}" for netns in scope.netns)]
    if scoped:
        parts.append((f" only {', '.join(scoped)} ", "label"))
    return parts or [(" nothing lost", "quiet")]


class StatusBar(Widget):
    """Two lines at the top."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"status--{part}" for part in ("mode", "paused", "text", "sparkline", "losses", "label", "filter", "quiet")
    }

    def __init__(self) -> None:
        super().__init__()
        self._lines: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])

    def show(self, snapshot: Snapshot, status: Status) -> None:
        """Draw anew if anything changed."""
        lines = (headline(snapshot, status), notices(snapshot, status))
        if lines != self._lines:
            self._lines = lines
            self.refresh()

    def render(self) -> Text:
        """Two lines, cut where the terminal ends."""
        text = Text(no_wrap=True, overflow="ellipsis", end="")
        for number, line in enumerate(self._lines):
            if number:
                text.append("\n")
            for part, kind in line:
                text.append(part, self.get_component_rich_style(f"status--{kind}"))
        return text
