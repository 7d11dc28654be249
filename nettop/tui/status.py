"""The status bar: what is going on in all, and above everything what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter, countOf
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from nettop.model.filter import Filter
from nettop.model.kinds import DNS
from nettop.model.rows import DNS_PORTS
from nettop.model.snapshot import Snapshot
from nettop.text import printable_head
from nettop.view import format as human
from nettop.view import panes as view

MIN_SPARKLINE_CELLS, MAX_SPARKLINE_CELLS = 8, 60
LIVE = "LIVE"
_RECORDED_FILTER_CHARACTERS = 40  # so that host and time stay on the line; the file has all of it


@dataclass(frozen=True)
class Status:
    """What the bar says, apart from the snapshot."""

    mode: str  # LIVE, or of a recording REPLAY, END OF RECORDING, SNAPSHOT
    paused: bool
    new_rows: int  # since the pause
    filter: Filter
    traffic: Sequence[float]  # bytes/s, of the last ticks
    pace: str
    dns_per_s: float
    only_new: bool = False  # rows that began before the mark are hidden


def headline(snapshot: Snapshot, status: Status, width: int) -> list[tuple[str, str]]:
    """The first line as (text, part) pairs: mode, time, rates, counts; the sparkline takes what room is left."""
    tx = sum(row.tx_bytes_per_s for row in snapshot.processes)
    rx = sum(row.rx_bytes_per_s for row in snapshot.processes)
    open_connections = len(snapshot.connections) - countOf(map(attrgetter("state"), snapshot.connections), "closed")
    failed = sum(map(DNS.failed, snapshot.dns))
    statuses = list(map(attrgetter("status"), snapshot.dns))
    over = sum(map(statuses.count, ("answered", "timeout", "refused")))
    mode = (f" PAUSED (+{status.new_rows} new) ", "paused") if status.paused else (f" {status.mode} ", "mode")
    parts = [
        mode,
        (f" {human.duration(snapshot.elapsed_s * 1000)} {status.pace} ", "text"),
        (f" tx {human.size(round(tx))}/s rx {human.size(round(rx))}/s ", "text"),
        (f" conn {human.count(open_connections)} ", "text"),
        (f" dns {status.dns_per_s:.0f}/s, {human.share(failed, over)} failed ", "text"),
    ]
    room = width - sum(cell_len(text) for text, _ in parts) - 1
    if room >= MIN_SPARKLINE_CELLS:
        parts.insert(3, (human.sparkline(list(status.traffic), min(room, MAX_SPARKLINE_CELLS)) + " ", "sparkline"))
    return parts


def notices(snapshot: Snapshot, status: Status) -> list[tuple[str, str]]:
    """The second line: what is missing, loud; of a recording where and when it was made; filter and scope, if any."""
    parts = []
    missing = view.losses(snapshot.losses)
    lost = snapshot.losses
    unattributed = lost.udp_unattributed_bytes + lost.tcp_unattributed_bytes + lost.other_unattributed_bytes
    if unattributed:
        missing.append(f"{human.size(unattributed)} unattributed")
    parts.append((f" ! {', '.join(missing)} ", "losses") if missing else (" nothing lost ", "quiet"))
    if status.mode != LIVE:
        parts += _recorded(snapshot)
    if status.filter.text:
        parts.append((" filter ", "label"))
        parts.append((f"{status.filter.text} ", "filter"))
    if snapshot.mark is not None:
        since = "only new since" if status.only_new else "since"
        parts.append((f" {since} {human.clock(snapshot.mark)} ", "filter"))
    scope = snapshot.scope
    scoped = [*(f"pid {pid}" for pid in scope.pid), *scope.comm, *(f"netns {netns}" for netns in scope.netns)]
    if not set(DNS_PORTS) & set(scope.dns_ports):
        scoped.append(f"DNS port {', '.join(map(str, scope.dns_ports))}")
    if scoped:
        parts.append((f" only {', '.join(scoped)} ", "label"))
    return parts


def _recorded(snapshot: Snapshot) -> list[tuple[str, str]]:
    """What a colleague has to know who gets the file: that not all is in it, whose it is, and of when."""
    parts = []
    if snapshot.filter is not None:
        text = snapshot.filter
        if len(text) > _RECORDED_FILTER_CHARACTERS:
            text = f"{text[: _RECORDED_FILTER_CHARACTERS - 1]}…"
        parts += [(" recorded with filter ", "label"), (f"{text} ", "filter")]
    return [*parts, (f" {snapshot.host.name} {human.timestamp(snapshot.captured_at, 'seconds')} ", "text")]


class StatusBar(Widget):
    """Two lines at the top, cut where the terminal ends."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"status--{part}" for part in ("mode", "paused", "text", "sparkline", "losses", "label", "filter", "quiet")
    }

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[list[tuple[str, str]]] = []
        self._shown: tuple[Snapshot, Status, int] | None = None

    def show(self, snapshot: Snapshot, status: Status) -> None:
        """Draw anew if anything changed."""
        shown = snapshot, status, self.size.width
        if self._shown is not None and snapshot is self._shown[0] and shown[1:] == self._shown[1:]:
            return
        self._shown = shown
        lines = [headline(snapshot, status, self.size.width), notices(snapshot, status)]
        changed = [y for y, line in enumerate(lines) if [line] != self._lines[y : y + 1]]
        self._lines = lines
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        """Textual's hook."""
        parts = self._lines[y] if y < len(self._lines) else []
        strip = Strip(
            [
                Segment(printable_head(text, self.size.width), self.get_component_rich_style(f"status--{kind}"))
                for text, kind in parts
            ]
        )
        return strip.adjust_cell_length(self.size.width, self.rich_style)
