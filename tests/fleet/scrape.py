"""What `nettop metrics` itself costs where 10,000 processes use the network, each under a name of its own.

    python -m tests.fleet.scrape [--processes 10000] [--series 1000]

Medians; no kernel and no socket is involved: what watching costs is measured by `make bench`.
"""

import argparse
import gzip
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from msgspec.structs import replace

from nettop.export.openmetrics import openmetrics
from nettop.metrics.counting import Counting
from nettop.model import events
from tests.builders import answered, connection, identity, request, start, tick, told, udp_socket
from tests.fleet.load import rss_bytes

ROUNDS = 25


def traffic(processes: int) -> list[events.AnyEvent]:
    """Of each process: its name and unit, a connection, a query, a request and a UDP flow."""
    happened: list[events.AnyEvent] = []
    carried = connection(tx_bytes=500, rx_bytes=9000, tx_packets=5, rx_packets=9)
    rows = (carried, answered(), request(), udp_socket(tx_bytes=50, rx_bytes=90, tx_packets=1, rx_packets=1))
    known = identity()
    for number in range(processes):
        who: dict[str, Any] = {"pid": 10_000 + number, "comm": f"daemon-{number}"}
        happened.append(told(replace(known, unit=f"d{number}.service", **who)))
        happened += [told(replace(row, id=number + 1, **who)) for row in rows]
    return [start(), *happened, tick(1)]


def took_ms(what: Callable[[], object]) -> float:
    before_ns = time.thread_time_ns()
    what()
    return (time.thread_time_ns() - before_ns) / 1e6


def measure(processes: int, series: int) -> dict[str, float]:
    happened = traffic(processes)
    before_bytes = rss_bytes()
    counting = Counting(series)

    def count() -> None:
        for event in happened:
            counting.apply(event)

    counted_ms = took_ms(count)
    first_ms = took_ms(lambda: openmetrics(counting.series()))
    made_ms = [took_ms(lambda: openmetrics(counting.series())) for _ in range(ROUNDS)]
    page = openmetrics(counting.series())
    compressed_ms = [took_ms(lambda: gzip.compress(page, 1)) for _ in range(ROUNDS)]
    return {
        "us_per_event": counted_ms * 1e3 / len(happened),
        "first_page_ms": first_ms,
        "page_ms": median(made_ms),
        "compress_ms": median(compressed_ms),
        "series": float(sum(not line.startswith(b"#") for line in page.splitlines())),
        "page_kb": len(page) / 1e3,
        "compressed_kb": len(gzip.compress(page, 1)) / 1e3,
        "grown_mb": (rss_bytes() - before_bytes) / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=10_000)
    parser.add_argument("--series", type=int, default=1_000)
    options = parser.parse_args()
    for name, value in measure(options.processes, options.series).items():
        print(f"{name:>22} {value:,.1f}")  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
