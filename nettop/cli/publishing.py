"""What `nettop metrics` publishes, and in which way: once, as a file at each interval, or over HTTP."""

import argparse
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nettop.cli.watching import READ_TIMEOUT_S, Prepared, output_of, prepare, stop_signals, watching
from nettop.errors import UsageError
from nettop.export.file import READABLE, OutputFile
from nettop.export.openmetrics import CONTENT_TYPE, CONTENT_TYPE_0_0_4, openmetrics, prometheus_text
from nettop.export.scrape import ScrapeServer
from nettop.metrics.counting import Counting
from nettop.model.events import AnyEvent, Tick
from nettop.model.stream_filter import StreamFilter
from nettop.sources import Source

_BACKLOG = 16
_SOON_S = 0.005  # until the next round while somebody is served
_TURN_S = 0.25  # after which the server has its turn amid the events of a tick: a flood brings seconds of them
_Test = Callable[[AnyEvent], bool]
_OLDER_FORMAT = ".prom"  # the only names that node_exporter's textfile collector reads


def publish(options: argparse.Namespace, once_for_s: float) -> int:
    """Publish as the options say, until their time is up or a signal arrives; what is written once after so long."""
    prepared = prepare(options, told=True)
    counting, passes = Counting(prepared.settings.metrics_series), StreamFilter(prepared.chosen).passes
    if options.listen is not None:
        return _serve(options, prepared, counting, passes)
    if options.output is not None:
        return _publish(options, prepared, counting, passes)
    with _watched(options, prepared) as (source, stopped), output_of(options, signals=stopped) as output:
        for event in _events(source, once_for_s, stopped):
            counting.apply(event, passes(event))
        stopped.clear()  # they ended the watch; another one ends the writing if the reader stalls
        output.write(openmetrics(counting.series()))
        output.commit()
    return 0


def _publish(options: argparse.Namespace, prepared: Prepared, counting: Counting, passes: _Test) -> int:
    """Write the file anew at each tick, complete or not at all."""
    path: Path = options.output
    written = prometheus_text if path.suffix == _OLDER_FORMAT else openmetrics
    with _watched(options, prepared) as (source, stopped):
        overwrite = options.force
        with OutputFile(path, overwrite, mode=READABLE):
            pass  # what is wrong with the path is said before the first tick
        for event in _events(source, options.seconds, stopped):
            counting.apply(event, passes(event))
            if isinstance(event, Tick):
                with OutputFile(path, overwrite, mode=READABLE) as file:
                    file.write(written(counting.series()))
                    file.commit()
                overwrite = True  # it is ours
    return 0


def _serve(options: argparse.Namespace, prepared: Prepared, counting: Counting, passes: _Test) -> int:
    """Answer whoever asks."""

    def page(wants_openmetrics: bool) -> tuple[str, bytes]:
        if wants_openmetrics:
            return CONTENT_TYPE, openmetrics(counting.series())
        return CONTENT_TYPE_0_0_4, prometheus_text(counting.series())

    listening = _listening(options.listen)
    server = ScrapeServer(listening, page)
    try:
        with _watched(options, prepared, listening.fileno()) as (source, stopped):
            for event in _events(source, options.seconds, stopped, server):
                counting.apply(event, passes(event))
    finally:
        server.close()
    return 0


@contextmanager
def _watched(
    options: argparse.Namespace, prepared: Prepared, listening: int | None = None
) -> Iterator[tuple[Source, list[int]]]:
    # With a filter each row is asked for, because the filter chooses among rows; without one, a flood is only counted.
    filtered = bool(prepared.settings.filter.strip())
    with (
        stop_signals() as stopped,
        watching(options, prepared.settings, prepared.scope, filtered, listening) as source,
    ):
        yield source, stopped


def _events(
    source: Source, seconds: float | None, stopped: list[int], server: ScrapeServer | None = None
) -> Iterator[AnyEvent]:
    """All until the time is up or a signal arrives; the server has its turn between the reads, and within long ones."""
    now = time.monotonic()
    end = None if seconds is None else now + seconds
    serves = False
    while not stopped and not source.finished and (end is None or now < end):
        turn_s = now + _TURN_S
        for event in source.read(_SOON_S if serves else READ_TIMEOUT_S):
            yield event
            if server is not None and (now := time.monotonic()) >= turn_s:
                server.serve(now)
                turn_s = now + _TURN_S
        now = time.monotonic()
        serves = server is not None and server.serve(now)
    yield from source.finish()


def _listening(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        host, port = address
        raise UsageError(
            f"nettop cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}.",
            "Give another address and port, or see with 'ss -ltnp' who has it.",
        ) from error
