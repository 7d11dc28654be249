"""What a case of the benchmark hands back, and how it is printed: Markdown that can stand in README as it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any


@dataclass(frozen=True)
class Table:
    """Cells as people read them; the first column is text, the others are numbers."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Target:
    """One line of where to arrive. `measured` is None where nothing could be measured."""

    what: str
    limit: float
    measured: float | None
    unit: str = ""
    at_least: bool = False  # else at most

    @property
    def met(self) -> bool | None:
        """None where nothing could be measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def _nowhere(_rows: list[dict[str, Any]]) -> None:
    pass


@dataclass
class Findings:
    """Of one case. `raw` are the single measurements, as JSON values; `keep` gets all of them after each."""

    keep: Callable[[list[dict[str, Any]]], None] = _nowhere
    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    raw: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        """One measurement, kept at once: whatever comes after it, it has taken its time."""
        self.raw.append(row)
        self.keep(self.raw)


@dataclass(frozen=True)
class Spread:
    """Of repeated measurements."""

    median: float
    low: float  # first quartile
    high: float  # third quartile
    number: int

    def told(self, form: Callable[[float], str]) -> str:
        """`median (low-high)`."""
        return f"{form(self.median)} ({form(self.low)}-{form(self.high)})"


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles (those of Tukey's hinges, also called the inclusive method)."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Spread(median(values), low, high, len(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of all is not above (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(-int(-share * len(ranked) // 1) - 1, 0)]


def markdown(table: Table) -> str:
    """The table under its title, its notes below."""
    lines = [f"### {table.title}", ""]
    widths = [max(len(row[column]) for row in [table.head, *table.rows]) for column in range(len(table.head))]

    def line(cells: Sequence[str]) -> str:
        placed = [
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(placed)} |"

    lines.append(line(table.head))
    lines.append(line(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]))
    lines += [line(row) for row in table.rows]
    if table.notes:
        lines += ["", *table.notes]
    return "\n".join(lines) + "\n"


def targets_table(targets: Sequence[Target]) -> Table:
    """Where to arrive, beside what was measured."""
    said = {True: "yes", False: "NO", None: "not measured"}
    return Table(
        "Targets",
        ("what", "target", "measured", "met"),
        [
            (
                each.what,
                f"{'>=' if each.at_least else '<='} {number(each.limit)}{each.unit}",
                "-" if each.measured is None else f"{number(each.measured)}{each.unit}",
                said[each.met],
            )
            for each in targets
        ],
    )


def number(value: float) -> str:
    """Three digits that mean something, thousands separated."""
    if value and abs(value) < 100:
        return f"{value:.3g}"
    return f"{value:,.0f}"
