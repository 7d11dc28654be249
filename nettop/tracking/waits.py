"""Whose turn it is on a connection, and for whom it waits: from one record of the kernel, by pure functions."""

import struct
from datetime import datetime
from typing import NamedTuple

from nettop.kernel import abi
from nettop.kernel.abi import SocketRecord
from nettop.model.rows import Sending, Side, Transmission, TurnLatency, Turns, WaitsFor
from nettop.tracking.clock import JIFFY_NS

ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT_2, CLOSE_WAIT = 1, 2, 3, 5, 8  # include/net/tcp_states.h
_NO_THRESHOLD = 0x7FFF_FFFF  # TCP_INFINITE_SSTHRESH, include/net/tcp.h
_ANSWERS = struct.Struct(f"={abi.RECENT_ANSWERS}I")

Asker = int | None  # abi.SPEAKER_LOCAL: this end connected, SPEAKER_REMOTE: it accepted; None: not known


class Verdict(NamedTuple):
    """For whom a connection waits, and since when by the kernel's clock; None: since it is seen to do so."""

    waits_for: WaitsFor | None
    since_ns: int | None = None


UNKNOWN = Verdict(None)


def verdict(record: SocketRecord, asker: Asker, unread_since_ns: int | None) -> Verdict:
    """Who keeps a connection that is alive waiting; the first reason that holds, in this order.

    `unread_since_ns` is given where bytes that were unread at the tick before are unread still.
    """
    if record.sending == abi.SENDING_UNKNOWN:
        return UNKNOWN
    if record.retries and record.unacked_bytes:
        return _sent_again(record)
    if record.state in (SYN_SENT, SYN_RECV):
        return UNKNOWN
    if record.unsent_bytes and _is_shut(record):
        limited = record.sending == abi.SENDING_RWND_LIMITED
        return Verdict("remote-window", record.time_ns - record.for_jiffies * JIFFY_NS if limited else None)
    if unread_since_ns is not None:
        return Verdict("local", unread_since_ns)
    return _owed(record, asker if record.asker != abi.SPEAKER_NOBODY else None)


def _sent_again(record: SocketRecord) -> Verdict:
    """By time-out, and it is still not acknowledged."""
    if record.state == SYN_SENT:
        return Verdict("network", record.opened_ns or None)
    return Verdict("network", record.spoke_ns if record.speaker == abi.SPEAKER_LOCAL else None)


def _owed(record: SocketRecord, asker: Asker) -> Verdict:
    """Where nothing is held up: who owes an answer, or the close."""
    asks = asker is not None and record.speaker == asker
    if record.state == CLOSE_WAIT:  # the far end has no more to say: this one has to answer, or to close
        asked = asks and asker == abi.SPEAKER_REMOTE
        return Verdict("local", record.spoke_ns if asked else record.closing_ns or None)
    if record.unacked_bytes or record.unread_bytes:  # on its way
        return UNKNOWN
    if record.state == FIN_WAIT_2:  # this end has no more to say
        return Verdict("remote", record.closing_on_ns or None)
    if record.state != ESTABLISHED or asker is None:
        return UNKNOWN
    if asks:
        return Verdict("remote" if asker == abi.SPEAKER_LOCAL else "local", record.spoke_ns)
    # of one that is older than nettop nobody knows who spoke last, until somebody does
    silent = record.speaker == abi.SPEAKER_NOBODY and record.flags & abi.SOCKET_OLD
    return UNKNOWN if silent else Verdict("none")


def _is_shut(record: SocketRecord) -> bool:
    """Whether the far end's window is what holds back the bytes that are not sent."""
    if record.sending == abi.SENDING_RWND_LIMITED:
        return True
    in_flight = record.unacked_bytes - record.unsent_bytes
    return record.window_bytes - in_flight < min(record.mss_bytes, record.unsent_bytes)


def turns(record: SocketRecord, asker: Asker, before: Turns | None = None) -> Turns | None:
    """The turns so far; None where they were not followed, or followed for the wrong asker.

    `before` are those of the same connection as told last, which most records do not change.
    """
    if asker is None or record.asker != asker:
        return None
    asked_by: Side = "local" if asker == abi.SPEAKER_LOCAL else "remote"
    answered = record.asked - (record.speaker == asker)
    if before is not None and (before.count, before.answered, before.asked_by) == (record.asked, answered, asked_by):
        return before
    if not answered:
        return Turns(asked_by=asked_by, count=record.asked)
    slots = _ANSWERS.unpack(record.answers_us)  # each in the place of its number
    first = max(answered - abi.RECENT_ANSWERS, 0) + 1
    return Turns(
        asked_by=asked_by,
        count=record.asked,
        answered=answered,
        latency_ms=TurnLatency(
            avg=record.answers_ns // answered // 1000 / 1000,  # rounded like the maximum
            max=record.slowest_us / 1000,
            recent=tuple([slots[n % abi.RECENT_ANSWERS] / 1000 for n in range(first, answered + 1)]),
        ),
    )


_SENDING: dict[int, Sending] = {
    abi.SENDING_NOTHING: "nothing",
    abi.SENDING_BUSY: "busy",
    abi.SENDING_RWND_LIMITED: "rwnd-limited",
    abi.SENDING_SNDBUF_LIMITED: "sndbuf-limited",
}


def transmission(record: SocketRecord, at: datetime) -> Transmission | None:
    """The counters behind a verdict at this time; None where they mean something else (Multipath TCP)."""
    if record.sending == abi.SENDING_UNKNOWN:
        return None
    return Transmission(
        unsent_bytes=record.unsent_bytes,
        window_bytes=record.window_bytes,
        mss_bytes=record.mss_bytes,
        cwnd_segments=record.cwnd,
        ssthresh_segments=None if record.ssthresh >= _NO_THRESHOLD else record.ssthresh,
        timeouts=record.retries,
        backoff=record.backoff,
        out_of_order_segments=record.out_of_order,
        counted_at=at,
        sending=_SENDING[record.sending],
        busy_ms=_milliseconds(record.busy_jiffies + record.rwnd_jiffies + record.sndbuf_jiffies),
        rwnd_limited_ms=_milliseconds(record.rwnd_jiffies),
        sndbuf_limited_ms=_milliseconds(record.sndbuf_jiffies),
    )


def _milliseconds(jiffies: int) -> float:
    return jiffies * JIFFY_NS // 1000 / 1000
