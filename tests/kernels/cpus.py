"""Every CPU of a machine with many is heard: a client goes from one to the next, and each row of it is right.

Named so that pytest collects it only when asked for by name.
"""

import os
from pathlib import Path

from tests.kernels import PATIENCE_S
from tests.kernels.machine import ADDRESS, TCP_PORT, started, watching
from tests.live import dns_server, programs
from tests.live.lab import connections_of, dns_of, namespace, process_of

ROUNDS = 3  # of all CPUs


def test_each_is_heard(tmp_path: Path) -> None:
    with namespace(tmp_path) as inside:
        started(inside.play(programs.tcp_server, address=ADDRESS, port=TCP_PORT), "listening")
        started(inside.play(dns_server.serve, addresses=[ADDRESS]), "serving")
        with watching(tmp_path) as watch:
            walker = inside.play(programs.visit_cpus, server=ADDRESS, port=TCP_PORT, rounds=ROUNDS)
            cpus = walker.hear(PATIENCE_S)
            assert len(cpus) == os.cpu_count()
            walker.end(PATIENCE_S)
            times = ROUNDS * len(cpus)
            watch.settled(walker, dns=times, connections=times, patience_s=PATIENCE_S)
            snapshot = watch.until(
                lambda now: bool((row := process_of(now, walker)) and row.exited_at), "the walker's end", PATIENCE_S
            )
            watch.stop()
    assert [(row.qname, row.status) for row in dns_of(snapshot, walker)] == [
        (f"cpu-{number}.test", "answered") for number in range(times)
    ]
    assert sorted((row.tx_bytes, row.rx_bytes, row.end) for row in connections_of(snapshot, walker)) == [
        (8 + number, 1 + number, "normal") for number in range(times)
    ]
