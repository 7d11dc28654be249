"""From events to metrics: what each row adds since it was told last."""

from collections.abc import Callable, Hashable, Iterator
from datetime import datetime
from typing import Any, Final

from msgspec.structs import asdict

from nettop.metrics import families
from nettop.metrics.families import FAMILIES, UNKNOWN, Family
from nettop.metrics.labels import unit_label
from nettop.metrics.series import Folded, Labels, Series
from nettop.model import events, rows

MAX_ENDED = 8_192  # processes whose labels are known after their end: what they did is told at the next tick
MAX_TOLD = 65_536  # rows whose outcome may still change; twice what comes within a tick of a busy host
DEFAULT_SERIES = 1_000
_Places = tuple[tuple[Family, tuple[str, ...]], ...]
_Carrier = rows.Connection | rows.UdpFlow | rows.OtherSocket | rows.Listener
_NOBODY: Labels = (UNKNOWN, UNKNOWN)
_TCP: Final = (
    (families.IO, ("tcp", "transmit")),
    (families.IO, ("tcp", "receive")),
    (families.PACKETS, ("tcp", "transmit")),
    (families.PACKETS, ("tcp", "receive")),
    (families.OPENED, ("outbound",)),
    (families.OPENED, ("inbound",)),
    (families.RETRANSMITS, ()),
)
_UDP: Final = (
    (families.IO, ("udp", "transmit")),
    (families.IO, ("udp", "receive")),
    (families.PACKETS, ("udp", "transmit")),
    (families.PACKETS, ("udp", "receive")),
    (families.RECEIVE_DROPS, ("udp",)),
)
_OTHER: Final = (
    (families.IO, ("other", "transmit")),
    (families.IO, ("other", "receive")),
    (families.RECEIVE_DROPS, ("other",)),
)
_LISTENER: Final = ((families.LISTEN_DROPS, ()),)
_REQUESTS: Final = {
    side: (
        (families.REQUESTS, (side,)),
        (families.REQUESTS_FAILED, (side, "4xx")),
        (families.REQUESTS_FAILED, (side, "5xx")),
        (families.REQUESTS_FAILED, (side, "other")),
    )
    for side in ("client", "server")
}

_ANSWERED: Final = "answered"


class _Told:
    """What was said last of rows whose ids rise: of the newest MAX_TOLD that are open, and as many that are answered.

    Apart, because what takes long is answered after many that came later.
    """

    def __init__(self) -> None:
        self._open: dict[int, str] = {}
        self._answered: dict[int, str] = {}
        self._forgotten = -1

    def before(self, number: int) -> str | None:
        """What was said; empty if that is forgotten, None if nothing was."""
        said = self._open.get(number) or self._answered.get(number)
        return "" if said is None and number <= self._forgotten else said

    def say(self, number: int, said: str) -> None:
        """From now on."""
        self._open.pop(number, None)
        told = self._answered if said == _ANSWERED else self._open
        told[number] = said
        if len(told) > MAX_TOLD:
            oldest = next(iter(told))
            del told[oldest]
            self._forgotten = max(self._forgotten, oldest)


class Counting:
    """Takes events and sums them up. Single-threaded.

    What is counted once stays where it was counted: if a row turns out to be another process's, only what comes from
    then on is. The totals of a snapshot move; a counter may not go back.
    """

    def __init__(self, most_series: int = DEFAULT_SERIES) -> None:
        self._folded = Folded()
        self._series = {family: Series(family, most_series, self._folded) for family in FAMILIES}
        self._labels: dict[tuple[int, datetime], Labels] = {}
        self._ended: dict[tuple[int, datetime], None] = {}  # those whose end was told longest ago first
        # What was counted of rows that are not over: bounded by the kernel's maps.
        self._counted: dict[Hashable, tuple[int, ...]] = {}
        self._open: dict[int, Labels] = {}
        self._queries, self._requests = _Told(), _Told()
        self._takes: dict[type[events.Event], Callable[[Any], None]] = {
            events.Start: self._start,
            events.ProcessChanged: self._process,
            events.ConnectionChanged: self._connection,
            events.ListenerChanged: self._listener,
            events.UdpChanged: self._udp,
            events.OtherChanged: self._other,
            events.DnsChanged: self._dns,
            events.RequestChanged: self._request,
            events.Unlisted: self._unlisted,
            events.Dropped: self._dropped,
            events.LossesChanged: self._losses,
            events.Tick: self._tick,
        }

    def apply(self, event: events.AnyEvent, passes: bool = True) -> None:
        """Take the next event; of one that does not pass a filter only who a process is, for its rows that do."""
        take = self._takes.get(type(event))
        if take is not None and (passes or isinstance(event, events.ProcessChanged)):
            take(event)

    def series(self) -> Iterator[Series]:
        """All that has a value, in the order of FAMILIES."""
        folded = self._series[families.OTHER_LABEL_SETS]
        folded.put(((name,), number) for name, number in self._folded.numbers.items())
        return (series for series in self._series.values() if series.values or series.histograms)

    def _start(self, event: events.Start) -> None:
        self._series[families.BUILD].put([((event.nettop,), 1)])
        self._series[families.STARTED].put([((), event.time.timestamp())])
        self._series[families.HOOKS].put(((need, mechanism), 1) for need, mechanism in event.hooks.items())

    def _tick(self, event: events.Tick) -> None:
        self._series[families.TICKED].put([((), event.time.timestamp())])

    def _process(self, event: events.ProcessChanged) -> None:
        process = event.process
        key = (process.pid, process.start_time)
        self._ended.pop(key, None)  # an end that was only inferred may be taken back
        if process.exited_at is not None:
            self._ended[key] = None
            if len(self._ended) > MAX_ENDED:
                oldest = next(iter(self._ended))
                del self._ended[oldest], self._labels[oldest]
        self._labels[key] = (unit_label(process), process.comm)

    def _labels_of(self, pid: int | None, start_time: datetime | None, comm: str | None) -> Labels:
        if pid is None or start_time is None:
            return _NOBODY if comm is None else (UNKNOWN, comm)
        known = self._labels.get((pid, start_time))
        return known or (UNKNOWN, comm or UNKNOWN)

    def _count(self, labels: Labels, places: _Places, counts: tuple[int, ...], before: tuple[int, ...] = ()) -> None:
        """What is more than before; a shorter tuple before had none of the rest."""
        earlier = (*before, *(0,) * (len(counts) - len(before)))
        for (family, own), now, then in zip(places, counts, earlier, strict=True):
            if now > then:
                self._series[family].add((*labels, *own), now - then)

    def _count_row(self, row: _Carrier, labels: Labels, places: _Places, counts: tuple[int, ...]) -> None:
        key = (type(row), row.id)
        before = self._counted.get(key, ())
        self._count(labels, places, counts, before)
        if row.state == "closed" if isinstance(row, rows.Connection) else row.closed:
            self._counted.pop(key, None)
        else:
            # not below what was counted: a counter that sank would be counted again when it rises
            self._counted[key] = tuple(map(max, counts, (*before, *(0,) * len(counts))))

    # Rows

    def _connection(self, event: events.ConnectionChanged) -> None:
        row = event.connection
        labels = self._labels_of(row.pid, row.process_start_time, row.comm)
        places: _Places = _TCP
        counts: tuple[int, ...] = (
            row.tx_bytes - row.tx_bytes_before_start,
            row.rx_bytes - row.rx_bytes_before_start,
            row.tx_packets or 0,
            row.rx_packets or 0,
            int(row.direction == "outbound" and not row.opened_before_start),
            int(row.direction == "inbound" and not row.opened_before_start),
            row.retransmits,
        )
        if row.requests is not None:
            asked = row.requests
            places += _REQUESTS[asked.side]
            counts += _failures(asked.count, asked.failed, asked.failed_4xx, asked.failed_5xx)
        self._count_row(row, labels, places, counts)
        self._count_open(row, labels)
        if row.state == "closed":
            if row.end is not None:
                self._series[families.ENDED].add((*labels, row.end))
            if row.failed_to_connect:
                self._series[families.CONNECT_FAILURES].add((*labels, row.end or UNKNOWN))

    def _count_open(self, row: rows.Connection, labels: Labels) -> None:
        before, now = self._open.pop(row.id, None), labels if row.state != "closed" else None
        if now is not None:
            self._open[row.id] = now
        if before != now:
            for changed, by in ((before, -1), (now, 1)):
                if changed is not None:
                    self._series[families.OPEN].add(changed, by)

    def _udp(self, event: events.UdpChanged) -> None:
        row = event.udp
        counts = (row.tx_bytes, row.rx_bytes, row.tx_packets or 0, row.rx_packets or 0, row.rx_dropped)
        self._count_row(row, self._labels_of(row.pid, row.process_start_time, row.comm), _UDP, counts)

    def _other(self, event: events.OtherChanged) -> None:
        row = event.other
        counts = (row.tx_bytes, row.rx_bytes, row.rx_dropped)
        self._count_row(row, self._labels_of(row.pid, row.process_start_time, row.comm), _OTHER, counts)

    def _listener(self, event: events.ListenerChanged) -> None:
        row = event.listener
        labels = self._labels_of(row.pid, row.process_start_time, row.comm)
        self._count_row(row, labels, _LISTENER, (row.drops - row.drops_before_start,))

    def _dns(self, event: events.DnsChanged) -> None:
        row = event.dns
        before = self._queries.before(row.id)
        if before in ("", _ANSWERED):  # an answer that turned out not to have arrived stays counted
            return
        labels = self._labels_of(row.pid, row.process_start_time, row.comm)
        if before is None:
            self._series[families.QUERIES].add(labels)
        if row.status == _ANSWERED:
            self._series[families.ANSWERS].add((*labels, row.rcode or UNKNOWN))
            if row.latency_ms is not None:
                self._series[families.LOOKUP].observe(labels, row.latency_ms / 1000)
        elif row.status == "pending" and before is not None:
            return  # asked again: what came of it before is told already
        elif row.status not in ("pending", before):
            self._series[families.UNANSWERED].add((*labels, row.status))
        self._queries.say(row.id, row.status)

    def _request(self, event: events.RequestChanged) -> None:
        row = event.request
        if self._requests.before(row.id) in ("", _ANSWERED):
            return
        if row.pending or (row.protocol == "grpc" and row.grpc_status is None and row.error is None):
            self._requests.say(row.id, "pending")  # of gRPC the status comes behind the response
            return
        self._requests.say(row.id, _ANSWERED)
        labels = self._labels_of(row.pid, row.process_start_time, row.comm)
        self._series[families.OUTCOMES].add((*labels, row.side, row.protocol, _outcome(row)))
        if row.latency_ms is not None:
            self._series[families.REQUEST_DURATION].observe((*labels, row.side, row.protocol), row.latency_ms / 1000)

    # What has no rows

    def _unlisted(self, event: events.Unlisted) -> None:
        told = event.unlisted
        labels = self._labels_of(told.pid, told.process_start_time, None)
        self._count(labels, _TCP[:2], (told.tcp_tx_bytes, told.tcp_rx_bytes))
        self._count(labels, _TCP[4:], (told.opened, told.accepted, told.retransmits))
        self._count(labels, _UDP[:2], (told.udp_tx_bytes, told.udp_rx_bytes))
        without_row: _Places = (
            (families.RECEIVE_DROPS, ("udp",)),
            (families.CONNECT_FAILURES, (UNKNOWN,)),
            (families.QUERIES, ()),
            (families.ANSWERS, ("NOERROR",)),
            (families.ANSWERS, ("failed",)),
        )
        counts = (told.udp_rx_dropped, told.failed_connects, told.queries, told.answered - told.failed, told.failed)
        self._count(labels, without_row, counts)
        sent = _failures(told.requests, told.requests_failed, told.requests_failed_4xx, told.requests_failed_5xx)
        served = _failures(told.served, told.served_failed, told.served_failed_4xx, told.served_failed_5xx)
        self._count(labels, _REQUESTS["client"], sent)
        self._count(labels, _REQUESTS["server"], served)

    def _dropped(self, event: events.Dropped) -> None:
        told = event.dropped
        labels = self._labels_of(told.pid, told.process_start_time, None)
        for family, reasons in ((families.DROPS, told.drops), (families.RESETS_SENT, told.resets_sent)):
            for reason, number in reasons.items():
                self._series[family].add((*labels, reason), number)
        self._count(labels, ((families.RESETS_RECEIVED, ()),), (told.resets_received,))

    def _losses(self, event: events.LossesChanged) -> None:
        lost: list[tuple[Labels, float]] = []
        for kind, value in asdict(event.losses).items():
            where = value.items() if isinstance(value, dict) else (("", value),)
            lost += [((kind, place), number) for place, number in where if number]
        self._series[families.LOSSES].put(lost)


def _failures(count: int, failed: int, refused: int | None, broken: int | None) -> tuple[int, ...]:
    """In the order of _REQUESTS; which failed with 4xx and 5xx is not known where one of them is None."""
    known = (refused or 0) + (broken or 0)
    return count, refused or 0, broken or 0, max(failed - known, 0)


def _outcome(row: rows.Request) -> str:
    """`2xx`, `grpc-error`, `ok` of what has no status, or an error."""
    if row.error is not None:
        return row.error
    if row.grpc_status:
        return "grpc-error"
    return row.outcome if row.status is None else f"{row.status // 100}xx"
