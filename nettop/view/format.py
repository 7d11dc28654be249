"""Human-readable numbers: short, and of even width in a column."""

from datetime import datetime, timedelta

import humanize

_SECOND_MS, _MINUTE_MS = 1000.0, 60_000.0
_SIZE_CELLS = 6
_MOST_DAYS_IN_WORDS = 36_500  # humanize counts back from today, and there is no year 0
_DASH = "-"


def size(count: float) -> str:
    """Bytes in at most six cells: `0B`, `999B`, `1.5K`, `23.4M`, `1023K`."""
    text = humanize.naturalsize(count, gnu=True)
    return text if len(text) <= _SIZE_CELLS else humanize.naturalsize(count, gnu=True, format="%.0f")


def rate(bytes_per_s: float) -> str:
    """Bytes per second as `size`; a dash for zero, so that traffic stands out."""
    return size(round(bytes_per_s)) if bytes_per_s else _DASH


def number_per_s(value: float | None) -> str:
    """How often something happens in a second; a dash for never, `?` for unknown."""
    return "?" if value is None else (f"{value:.0f}" if value >= 9.95 else f"{value:.1f}") if value else _DASH


def duration(milliseconds: float | None) -> str:
    """A time span in at most six cells: `0.12ms`, `345ms`, `12.3s`, `4m05s`, `3h12m`, `2d07h`; a dash for unknown."""
    if milliseconds is None:
        return _DASH
    if milliseconds < 9.995:
        return f"{milliseconds:.2f}ms"
    if milliseconds < _SECOND_MS - 0.5:
        return f"{milliseconds:.0f}ms"
    if milliseconds < _MINUTE_MS - 50:
        return f"{milliseconds / 1000:.1f}s"
    minutes, seconds = divmod(round(milliseconds / _SECOND_MS), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h" if days < 100 else f"{days}d"
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


def whole(milliseconds: float) -> str:
    """A time span in whole units, rounded down, in at most five cells: `0s`, `59s`, `12m`, `47h`, `9999d`."""
    seconds = int(milliseconds / _SECOND_MS)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 2 * 3_600:
        return f"{seconds // 60}m"
    hours = seconds // 3_600
    return f"{hours}h" if hours < 48 else f"{hours // 24}d"


def long_duration(milliseconds: float | None) -> str:
    """A time span in words."""
    if milliseconds is None:
        return "unknown"
    if milliseconds < _MINUTE_MS - 50:
        return duration(milliseconds)
    span = timedelta(milliseconds=milliseconds)
    if span.days > _MOST_DAYS_IN_WORDS:
        return f"{count(span.days)} days"
    return humanize.precisedelta(span, minimum_unit="seconds", suppress=["months", "years"], format="%d")


def count(number: int) -> str:
    """A count with separators."""
    return humanize.intcomma(number)


def short_count(number: int, cells: int) -> str:
    """A count in so many cells, rounded down where there is no room for all of it: `60000`, `60k`, `1M`."""
    for divisor, unit in ((1, ""), (1_000, "k"), (1_000_000, "M"), (1_000_000_000, "G")):
        text = f"{number // divisor}{unit}"
        if len(text) <= cells:
            break
    return text


def share(part: int, whole: int) -> str:
    """A percentage without decimals; a dash if the whole is 0."""
    if not whole:
        return _DASH
    return "<1%" if 0 < part < whole / 200 else f"{100 * part / whole:.0f}%"


def clock(moment: datetime | None) -> str:
    """Time of day in the local zone, to the second; a dash for unknown."""
    return _local(moment).strftime("%H:%M:%S") if moment else _DASH


def timestamp(moment: datetime | None, to: str = "milliseconds") -> str:
    """Local date and time with its offset from UTC, to the millisecond unless told otherwise."""
    return _local(moment).isoformat(" ", to) if moment else "unknown"


def _local(moment: datetime) -> datetime:
    try:
        return moment.astimezone()
    except (OverflowError, ValueError):  # too close to datetime's limits: as recorded
        return moment


_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int, top: float | None = None) -> str:
    """The latest values as bars, `top` (or the largest) at full height; padded on the left to `width`."""
    shown = values[-width:]
    if top is None:
        top = max(shown, default=0.0)
    if top <= 0:
        return " " * width
    bars = "".join(_BARS[min(int(value / top * len(_BARS)), len(_BARS) - 1)] if value else " " for value in shown)
    return bars.rjust(width)
