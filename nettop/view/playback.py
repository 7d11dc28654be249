"""Where a replay is: as text and as a bar."""

MIN_BAR_CELLS, MAX_BAR_CELLS = 5, 20
_PLAYED, _TO_COME = "█", "░"


def moment(seconds: float) -> str:
    """A position like a player's: `0:47`, `1:02:47`."""
    minutes, second = divmod(round(max(seconds, 0.0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def position(seconds: float, length_s: float | None) -> str:
    """`0:47 / 1:07`; only the first where the length is not known."""
    return moment(seconds) if length_s is None else f"{moment(seconds)} / {moment(length_s)}"


def bar(seconds: float, length_s: float | None, cells: int) -> str:
    """How much has been played, in at most so many cells; empty if it is not known, or if there are too few."""
    if length_s is None or cells < MIN_BAR_CELLS:
        return ""
    cells = min(cells, MAX_BAR_CELLS)
    played = round(cells * min(seconds / length_s, 1.0)) if length_s > 0 else cells
    return _PLAYED * played + _TO_COME * (cells - played)
