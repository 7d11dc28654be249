"""What the two lines at the top say: what goes on in all, what is missing, and what is left out. Pure, no Textual."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from operator import attrgetter
from typing import NamedTuple

from nettop.model.filter import Filter
from nettop.model.kinds import KINDS
from nettop.model.rows import DNS_PORTS, DecryptCoverage, LookupCoverage, Losses, Scope
from nettop.model.snapshot import Snapshot
from nettop.text import cell_width, cut, printable_head
from nettop.view import format as human
from nettop.view import playback
from nettop.view.outcomes import Outcomes, outcomes

MIN_SPARKLINE_CELLS, MAX_SPARKLINE_CELLS = 8, 60
LIVE = "LIVE"
_RECORDED_FILTER_CHARACTERS = 40  # so that host and time stay on the line; the file has all of it
_SCOPE_CHARACTERS = 40
_LEAST_FILTER_CHARACTERS = 30

Said = tuple[str, str]  # a text, and the name of its style


class Part(NamedTuple):
    """A piece of a line. Where not all have room, the one with the highest rank gives way first, and 0 never does."""

    text: str
    style: str
    rank: int = 0


@dataclass(frozen=True)
class Status:
    """What the bar says, apart from the snapshot."""

    mode: str  # LIVE, or of a recording REPLAY, SEEKING, END OF RECORDING, SNAPSHOT
    paused: bool
    new_rows: int  # since the pause
    filter: Filter
    traffic: Sequence[float]  # bytes/s, of the last ticks
    pace: str
    dns_per_s: float
    open_connections: int
    dns: Outcomes | None = None  # of the last interval; None if there was none yet
    pace_is_new: bool = False  # it is no longer that of the start
    ended_hidden: bool = False
    only_new: bool = False  # rows that began before the mark are hidden
    length_s: float | None = None  # of a recording, if known


def headline(snapshot: Snapshot, status: Status, width: int) -> list[Said]:
    """The first line: mode, clock, host, rates, counts; the sparkline takes what room is left."""
    parts = fitted([*_when_and_where(snapshot, status), *_counts(snapshot, status)], width)
    room = width - _cells(parts) - 1
    styles = [part.style for part in parts]
    played = playback.bar(snapshot.elapsed_s, status.length_s, room - 1) if "played" in styles else ""
    if played:
        parts.insert(styles.index("played") + 1, Part(f" {played}", "text"))
        room -= len(played) + 1
    drawn = _sparkline(status.traffic, room)
    if drawn:
        after_rates = [part.style for part in parts].index("rates") + 1
        parts[after_rates:after_rates] = drawn
    return [(part.text, "text" if part.style in ("rates", "played") else part.style) for part in parts]


def _when_and_where(snapshot: Snapshot, status: Status) -> Iterator[Part]:
    clock = human.clock(snapshot.captured_at)
    if status.paused:
        yield Part(f" PAUSED (+{status.new_rows} new) ", "paused")
        yield Part(f" since {clock}", "text", 1)
    else:
        yield Part(f" {status.mode} ", "mode")
        yield Part(f" {clock}", "text", 1)
    if status.mode == LIVE:  # of a recording the second line says it, with the date
        yield Part(f" {snapshot.host.name.partition('.')[0]}", "text", 4)
    if status.pace and status.mode != LIVE:  # a recording that is played
        yield Part(f" {playback.position(snapshot.elapsed_s, status.length_s)}", "played")
    else:
        yield Part(f" {human.duration(snapshot.elapsed_s * 1000)}", "text", 6)
    yield Part(f" {status.pace}", "text", 1 if status.pace_is_new else 5)


def _counts(snapshot: Snapshot, status: Status) -> Iterator[Part]:
    tx = sum(row.tx_bytes_per_s for row in snapshot.processes)
    rx = sum(row.rx_bytes_per_s for row in snapshot.processes)
    yield Part(f"  tx {human.size(round(tx))}/s rx {human.size(round(rx))}/s ", "rates")
    yield Part(f" conn {human.count(status.open_connections)} ", "text", 2)
    if status.dns is None:
        over = outcomes(snapshot.dns)
        yield Part(f" dns {human.count(len(snapshot.dns))}", "text")
    else:
        over = status.dns
        yield Part(f" dns {status.dns_per_s:.0f}/s", "text")
    if over.failed:
        yield Part(f" {human.share(over.failed, over.all)} failed", "failed")
    if over.nxdomain:
        yield Part(f" {human.share(over.nxdomain, over.all)} nxdomain", "doubtful", 3)
    yield Part(" ", "text")


def _sparkline(traffic: Sequence[float], room: int) -> list[Part]:
    """Bars with the value that the highest of them stands for; nothing where there is no room for both."""
    peak = f" peak {human.size(round(max(traffic, default=0.0)))}/s "
    cells = min(room - len(peak), MAX_SPARKLINE_CELLS)
    if cells < MIN_SPARKLINE_CELLS:
        return []
    seen = list(traffic)[-cells:]
    peak = f" peak {human.size(round(max(seen, default=0.0)))}/s " if any(seen) else ""
    return [Part(human.sparkline(seen, cells), "sparkline"), Part(peak, "label")]


def notices(snapshot: Snapshot, status: Status, width: int) -> list[Said]:
    """The second line: what is missing, loud; of a recording where and when it was made; what is left out, and why."""
    least = max(width // 2, _LEAST_FILTER_CHARACTERS)
    parts = fitted(_noticed(snapshot, status, least), width)
    room = width - _cells(parts)
    if room > 0:  # for more of the filter
        parts = fitted(_noticed(snapshot, status, least + room), width)
    elif room < 0:  # what is chosen now matters more than what was when it was recorded
        parts = fitted(_noticed(snapshot, status, least, max(_RECORDED_FILTER_CHARACTERS + room, 1)), width)
    return [part[:2] for part in _ending(parts, width)]


def _noticed(
    snapshot: Snapshot, status: Status, filter_characters: int, recorded_characters: int = _RECORDED_FILTER_CHARACTERS
) -> list[Part]:
    parts = [*_missing(snapshot.losses)]
    if status.mode != LIVE:
        parts += _recorded(snapshot, recorded_characters)
    if status.filter.text:
        parts.append(Part(" filter ", "label"))
        parts.append(Part(f"{_cut(status.filter.text, filter_characters)} ", "filter"))
    if snapshot.mark is not None:
        since = "only new since" if status.only_new else "since"
        parts.append(Part(f" {since} {human.clock(snapshot.mark)} ", "filter"))
    if status.ended_hidden:
        parts.append(Part(" ended rows hidden ", "label", 1))
    only = ", ".join(scoped(snapshot.scope))
    if only:
        parts.append(Part(f" only {_cut(only, _SCOPE_CHARACTERS)} ", "label", 2))
    if snapshot.lookup_coverage is not None:
        covered = coverage(snapshot.lookup_coverage)
        parts.append(Part(f" {covered} ", "doubtful" if snapshot.lookup_coverage.not_covered else "label", 3))
    if snapshot.decrypt_coverage is not None:
        reads, who = decrypting(snapshot.decrypt_coverage)
        parts += [Part(f" {reads} ", "doubtful"), Part(f"{who} ", "doubtful", 2)]
    reach = ", ".join(_reach(snapshot))
    if reach:
        parts.append(Part(f" kept: {reach} ", "quiet", 4))
    return parts


def _missing(lost: Losses) -> Iterator[Part]:
    missing, noted = losses(lost), remarks(lost)
    if missing:
        yield Part(f" ! {', '.join(missing)} ", "losses")
    if noted:
        yield Part(f" {', '.join(noted)} ", "doubtful", 3)
    elif not missing:
        yield Part(" nothing lost ", "quiet", 5)


def losses(lost: Losses) -> list[str]:
    """What is missing, in words; empty if nothing is. Rows that made room for newer ones are not: see _reach()."""
    of_rows = {kind.name for kind in KINDS}
    counts = {
        "lost": sum(lost.perf_buffer.values()) + sum(lost.missed_runs.values()),
        "map full": sum(lost.map_full.values()),
        "forgotten": sum(number for table, number in lost.evicted.items() if table not in of_rows),
        "unparsed": lost.dns_unparsed,
        "DNS left out": lost.dns_repeats + lost.dns_left_out,
        "drops without reason": lost.drops_without_room,
        "packets of other hosts": lost.packets_without_host,
    }
    return _counted(counts)


def remarks(lost: Losses) -> list[str]:
    """What is there, but less exactly than one may think: only in sums, of nobody known, or not asked for."""
    unattributed = lost.udp_unattributed_bytes + lost.tcp_unattributed_bytes + lost.other_unattributed_bytes
    counts = {
        "not listed": sum(lost.unlisted.values()),
        "unasked answers": lost.dns_unasked,
        "TLS handshakes left out": lost.handshakes_left_out,
    }
    return [*_counted(counts), *([f"{human.size(unattributed)} unattributed"] if unattributed else [])]


def coverage(lookups: LookupCoverage) -> str:
    """Whose look-ups are seen: `look-ups in 2 of 3 C libraries, not java[812]`."""
    number, others = lookups.libraries, lookups.not_covered or ()
    whole = number + len(others) + (lookups.not_covered_cut or 0)
    of = f"{number} of {whole}" if whole > number else str(number)
    said = f"look-ups in {of} C librar{'y' if whole == 1 else 'ies'}"
    if others:
        more = whole - number - 1
        said += f", not {others[0].comm}[{others[0].pid}]{f' and {more} more' if more else ''}"
    return said if lookups.results else f"{said}, without results"


def decrypting(tls: DecryptCoverage) -> tuple[str, str]:
    """Whose requests inside TLS are read: `reads TLS`, `of 2 libraries, not of java[812] (other library)`."""
    said = f"of {tls.libraries} librar{'y' if tls.libraries == 1 else 'ies'}"
    if tls.not_covered:
        first, more = tls.not_covered[0], len(tls.not_covered) - 1 + (tls.not_covered_cut or 0)
        reason = first.reason.replace("-", " ")
        said += f", not of {first.comm}[{first.pid}] ({reason}){f' and {more} more' if more else ''}"
    if tls.http2_sessions:
        said += f", not HTTP/2 in {human.count(tls.http2_sessions)} session{'' if tls.http2_sessions == 1 else 's'}"
    return "reads TLS", said


def _counted(counts: dict[str, int]) -> list[str]:
    return [f"{human.count(number)} {what}" for what, number in counts.items() if number]


def _reach(snapshot: Snapshot) -> Iterator[str]:
    """How far back the rows go, of the kinds whose history is full: `DNS queries of the last 1m01s`."""
    for kind in KINDS:
        if snapshot.losses.evicted.get(kind.name):
            past = kind.plural if kind.ended is None else f"{kind.over} {kind.plural}"
            kept = snapshot.kept.get(kind.name)
            since = None if kept is None else kept.complete_since
            if since is None:
                yield f"the newest {past}"
            else:
                yield f"{past} of the last {human.duration((snapshot.captured_at - since).total_seconds() * 1000)}"


def scoped(scope: Scope) -> Iterator[str]:
    """What was watched at all, if not everything."""
    yield from (f"pid {pid}" for pid in scope.pid)
    yield from scope.comm
    for netns, name in zip_longest(scope.netns, scope.netns_name[: len(scope.netns)], fillvalue=""):
        yield f"netns of pid {name}" if name.isdecimal() else f"netns {name or netns}"
    yield from scope.unit
    yield from (f"container {container}" for container in scope.container)
    if not set(DNS_PORTS) & set(scope.dns_ports):
        yield f"DNS port {', '.join(map(str, scope.dns_ports))}"


def _recorded(snapshot: Snapshot, filter_characters: int) -> Iterator[Part]:
    """What a colleague has to know who gets the file: that not all is in it, whose it is, and of when."""
    if snapshot.filter is not None:
        yield Part(" recorded with filter ", "label")
        yield Part(f"{_cut(snapshot.filter, filter_characters)} ", "filter")
    yield Part(f" {snapshot.host.name} {human.timestamp(snapshot.captured_at, 'seconds')} ", "text", 1)


def fitted(parts: Sequence[Part], width: int) -> list[Part]:
    """The parts that have room beside one another."""
    kept = list(parts)
    while _cells(kept) > width and any(part.rank for part in kept):
        kept.remove(max(reversed(kept), key=attrgetter("rank")))
    return kept


def _ending(parts: Sequence[Part], width: int) -> Iterator[Part]:
    """The parts up to the width; an ellipsis shows that there is more."""
    for part in parts:
        cells = _cells([part])
        if cells > width:
            yield part._replace(text=cut(part.text, width))
            return
        yield part
        width -= cells


def _cells(parts: Sequence[Part]) -> int:
    return sum(cell_width(printable_head(part.text, len(part.text))) for part in parts)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters - 1]}…"
