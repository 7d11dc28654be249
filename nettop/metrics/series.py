"""The values of one family, in a bounded number of series."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from nettop.metrics.families import BUCKETS_S, Family

Labels = tuple[str, ...]
MIN_SERIES = 100  # no family has more for what is in `_other`
MAX_FOLDED = 131_072  # sets of labels that are told apart where there is no room for them: some 10 MB


class Histogram:
    """How often a time was in which bucket, not cumulative; the last one is beyond all bounds."""

    __slots__ = ("buckets", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


class Folded:
    """How many sets of labels have no series of their own, by family; shared by all families, and bounded."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self.numbers: dict[str, int] = {}

    def note(self, family: Family, labels: Labels) -> None:
        """Tell of one that has none."""
        if len(self._known) >= MAX_FOLDED:
            return
        number = hash((family.name, labels))
        if number not in self._known:
            self._known.add(number)
            self.numbers[family.name] = self.numbers.get(family.name, 0) + 1


class Series:
    """Values by their labels. The first ones get series of their own and keep them, the others share `_other`.

    None is ever taken away, so that a counter never goes back while nettop runs, and a gauge is lowered where it was
    raised.
    """

    def __init__(self, family: Family, most: int, folded: Folded) -> None:
        self.family = family
        self._room = most // family.series_each - (family.others if family.by_process else 0)
        self._named = 0
        self._folded = folded
        self.values: dict[Labels, float] = {}
        self.histograms: dict[Labels, Histogram] = {}

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Count so much more; a gauge also less."""
        place = self._place(labels, self.values)
        self.values[place] = self.values.get(place, 0) + amount

    def observe(self, labels: Labels, seconds: float) -> None:
        """One more time in a histogram."""
        place = self._place(labels, self.histograms)
        histogram = self.histograms.get(place)
        if histogram is None:
            histogram = self.histograms[place] = Histogram()
        histogram.observe(seconds)

    def put(self, values: Iterable[tuple[Labels, float]]) -> None:
        """Values that somebody else has summed up, of a family without `_other`; those of a counter do not go back."""
        rises = self.family.type == "counter"
        for labels, value in values:
            self.values[labels] = max(value, self.values.get(labels, 0)) if rises else value

    def _place(self, labels: Labels, known: Mapping[Labels, object]) -> Labels:
        if labels in known:
            return labels
        if self._named < self._room:
            self._named += 1
            return labels
        self._folded.note(self.family, labels)
        return self.family.other(labels)
