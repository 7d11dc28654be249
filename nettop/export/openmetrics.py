"""Metrics as text: OpenMetrics 1.0, and Prometheus' older format 0.0.4, which node_exporter's textfile collector reads.

By hand: a loop over label sets is all it takes, while prometheus_client imports a web server, TLS and its registry of
objects for each sample. Its parser is what the tests read this text with.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import accumulate

from nettop.metrics.families import BUCKETS_S, Family
from nettop.metrics.series import Histogram, Labels, Series

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
CONTENT_TYPE_0_0_4 = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = (*map(repr, BUCKETS_S), "+Inf")
_REMEMBERED = 65_536  # label sets whose text is kept from one scrape to the next: some 10 MB
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def openmetrics(series: Iterable[Series]) -> bytes:
    """As OpenMetrics has it: a counter's family without `_total`, its unit, EOF at the end."""
    return "".join((*_lines(series, openmetrics=True), "# EOF\n")).encode()


def prometheus_text(series: Iterable[Series]) -> bytes:
    """As Prometheus' text format 0.0.4 has it: a counter's family is called like its samples."""
    return "".join(_lines(series, openmetrics=False)).encode()


def _lines(series: Iterable[Series], openmetrics: bool) -> Iterator[str]:
    for each in series:
        family = each.family
        sample = f"{family.name}_total" if family.type == "counter" else family.name
        described = family.name if openmetrics else sample
        yield f"# TYPE {described} {family.type}\n"
        if openmetrics and family.unit is not None:
            yield f"# UNIT {described} {family.unit}\n"
        yield f"# HELP {described} {family.help}\n"
        for labels, value in each.values.items():
            yield f"{sample}{_braced(_pairs(family, labels))} {value}\n"
        for labels, histogram in each.histograms.items():
            yield from _histogram(family, labels, histogram)


def _histogram(family: Family, labels: Labels, histogram: Histogram) -> Iterator[str]:
    pairs = _pairs(family, labels)
    name, comma = family.name, "," if pairs else ""
    number = 0
    for bound, number in zip(_BOUNDS, accumulate(histogram.buckets), strict=True):
        yield f'{name}_bucket{{{pairs}{comma}le="{bound}"}} {number}\n'
    yield f"{name}_count{_braced(pairs)} {number}\n"
    yield f"{name}_sum{_braced(pairs)} {histogram.sum_s!r}\n"


@lru_cache(maxsize=_REMEMBERED)
def _pairs(family: Family, labels: Labels) -> str:
    named = zip(family.label_names, labels, strict=True)
    return ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in named)


def _braced(pairs: str) -> str:
    return f"{{{pairs}}}" if pairs else ""
