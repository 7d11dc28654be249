"""Each line of the order in which a reason to wait is found, and turns as the kernel counts them."""

import struct
from typing import Any

import pytest

from nettop.kernel import abi
from nettop.model.rows import WaitsFor
from nettop.model.snapshot import sent_by
from nettop.tracking.clock import JIFFY_NS
from nettop.tracking.waits import CLOSE_WAIT, FIN_WAIT_2, SYN_SENT, UNKNOWN, Verdict, transmission, turns, verdict
from tests.builders import at, ns, socket_record

US, THEM, NOBODY = abi.SPEAKER_LOCAL, abi.SPEAKER_REMOTE, abi.SPEAKER_NOBODY
FIN_WAIT_1, LAST_ACK, CLOSING = 4, 9, 11


def found(asker: int | None = US, unread_since_ns: int | None = None, **changes: Any) -> Verdict:
    """Of an idle connection, on which this end asks unless told otherwise, but for these changes."""
    fields = {"sending": abi.SENDING_NOTHING, "asker": NOBODY if asker is None else asker} | changes
    return verdict(socket_record(**fields), asker, unread_since_ns)


OUT: dict[str, Any] = {"unacked_bytes": 27, "sending": abi.SENDING_BUSY}
SHUT: dict[str, Any] = {
    "unacked_bytes": 9000, "unsent_bytes": 9000, "window_bytes": 0, "sending": abi.SENDING_RWND_LIMITED,
    "for_jiffies": 250,
}  # fmt: skip


def test_of_a_connection_of_which_nothing_is_known_nothing_is_said() -> None:
    assert found(sending=abi.SENDING_UNKNOWN, retries=3, unacked_bytes=9, speaker=US) == UNKNOWN


@pytest.mark.parametrize(
    ("changes", "since_ns"),
    [
        ({"speaker": US, "spoke_ns": ns(7)}, ns(7)),
        ({"speaker": THEM, "spoke_ns": ns(7)}, None),
        ({"state": SYN_SENT, "opened_ns": ns(1)}, ns(1)),
        ({"state": FIN_WAIT_1}, None),
        ({"state": LAST_ACK}, None),
    ],
)
def test_what_is_sent_again_and_not_acknowledged_waits_for_the_network(
    changes: dict[str, Any], since_ns: int | None
) -> None:
    """Before all else: not even unread bytes matter then."""
    assert found(retries=1, **OUT, **changes) == Verdict("network", since_ns)
    assert found(retries=1, unread_since_ns=ns(3), unread_bytes=5, **OUT, **changes).waits_for == "network"


def test_a_probe_of_the_window_is_no_loss() -> None:
    assert found(backoff=4, **SHUT).waits_for == "remote-window"


def test_the_first_try_of_a_connect_says_nothing_yet() -> None:
    assert found(state=SYN_SENT, unacked_bytes=1) == UNKNOWN


def test_what_the_window_holds_back_waits_for_it() -> None:
    assert found(time_ns=ns(9), **SHUT) == Verdict("remote-window", ns(9) - 250 * JIFFY_NS)
    # before all that follows
    assert found(unread_since_ns=ns(3), unread_bytes=5, time_ns=ns(9), **SHUT).waits_for == "remote-window"
    assert found(state=CLOSE_WAIT, **SHUT).waits_for == "remote-window"


@pytest.mark.parametrize(
    ("window", "in_flight", "unsent", "expected"),
    [
        (2000, 1000, 5000, "remote-window"),  # 1,000 bytes are left: less than a segment
        (2448, 1000, 5000, None),  # a segment fits
        (1100, 1000, 100, None),  # all that there is fits
        (1099, 1000, 100, "remote-window"),
    ],
)
def test_a_window_smaller_than_a_segment_is_shut(
    window: int, in_flight: int, unsent: int, expected: WaitsFor | None
) -> None:
    changes = {"window_bytes": window, "unacked_bytes": in_flight + unsent, "unsent_bytes": unsent}
    assert found(sending=abi.SENDING_BUSY, **changes) == Verdict(expected)


@pytest.mark.parametrize("asker", [US, THEM, None])
@pytest.mark.parametrize("state", [1, CLOSE_WAIT, FIN_WAIT_2])
def test_what_stays_unread_waits_for_this_process(asker: int | None, state: int) -> None:
    assert found(asker, ns(3), unread_bytes=5, state=state) == Verdict("local", ns(3))


def test_what_has_just_come_waits_for_nobody_yet() -> None:
    assert found(unread_bytes=5, speaker=THEM) == UNKNOWN


def test_what_is_on_its_way_waits_for_nobody_yet() -> None:
    assert found(speaker=US, spoke_ns=ns(5), **OUT) == UNKNOWN
    assert found(state=FIN_WAIT_1, unacked_bytes=1) == UNKNOWN


@pytest.mark.parametrize(
    ("asker", "speaker", "expected"),
    [
        (US, US, Verdict("remote", ns(5))),
        (THEM, THEM, Verdict("local", ns(5))),
        (US, THEM, Verdict("none")),  # answered, or the far end has spoken first
        (THEM, US, Verdict("none")),
        (US, NOBODY, Verdict("none")),
        (THEM, NOBODY, Verdict("none")),
        (None, US, UNKNOWN),
        (None, THEM, UNKNOWN),
    ],
)
def test_who_was_asked_last_owes_the_answer(asker: int | None, speaker: int, expected: Verdict) -> None:
    assert found(asker, speaker=speaker, spoke_ns=ns(5)) == expected


def test_where_the_turns_were_not_seen_nothing_is_said() -> None:
    assert found(asker=US, flags=abi.SOCKET_OLD, speaker=NOBODY) == UNKNOWN
    assert found(asker=US, flags=abi.SOCKET_OLD, speaker=US, spoke_ns=ns(5)) == Verdict("remote", ns(5))
    # no room for its turns
    record = socket_record(sending=abi.SENDING_NOTHING, asker=NOBODY)
    assert verdict(record, US, None) == UNKNOWN


@pytest.mark.parametrize(
    ("asker", "speaker", "since_ns"), [(US, THEM, None), (US, US, None), (THEM, THEM, ns(5)), (None, US, None)]
)
def test_where_the_far_end_has_closed_this_process_has_to(
    asker: int | None, speaker: int, since_ns: int | None
) -> None:
    assert found(asker, state=CLOSE_WAIT, speaker=speaker, spoke_ns=ns(5)) == Verdict("local", since_ns)
    closed = found(asker, state=CLOSE_WAIT, speaker=speaker, spoke_ns=ns(5), closing_ns=ns(6))
    assert closed == Verdict("local", since_ns or ns(6))


@pytest.mark.parametrize("asker", [US, THEM, None])
def test_where_this_end_has_closed_the_far_end_has_to(asker: int | None) -> None:
    assert found(asker, state=FIN_WAIT_2, speaker=US) == Verdict("remote")
    assert found(asker, state=FIN_WAIT_2, closing_ns=ns(6), closing_on_ns=ns(7)) == Verdict("remote", ns(7))


@pytest.mark.parametrize("state", [FIN_WAIT_1, LAST_ACK, CLOSING])
def test_other_states_say_nothing(state: int) -> None:
    assert found(state=state, speaker=US) == UNKNOWN


# Turns


def turned(asked: int, speaker: int, microseconds: tuple[int, ...] = (0, 0, 0, 0), **changes: Any) -> Any:
    record = socket_record(
        asker=US, asked=asked, speaker=speaker, answers_us=struct.pack("=4I", *microseconds), **changes
    )
    return turns(record, US)


def test_a_question_is_answered_once_the_other_end_speaks() -> None:
    assert (turned(0, NOBODY).count, turned(0, NOBODY).answered) == (0, 0)
    assert (turned(0, THEM).count, turned(0, THEM).answered) == (0, 0)  # a banner
    assert (turned(1, US).count, turned(1, US).answered) == (1, 0)
    assert (turned(1, THEM).count, turned(1, THEM).answered) == (1, 1)
    assert turned(1, US).latency_ms.max is None


def test_the_newest_answers_come_in_their_order() -> None:
    slots = (4_000, 5_000, 2_000, 3_000)  # answers 4, 5, 2, 3 at their numbers modulo 4
    shown = turned(6, US, slots, answers_ns=5 * 3_500_000, slowest_us=9_000)
    assert (shown.count, shown.answered) == (6, 5)
    assert shown.latency_ms.recent == (2.0, 3.0, 4.0, 5.0)
    assert (shown.latency_ms.avg, shown.latency_ms.max) == (3.5, 9.0)
    assert turned(2, THEM, (0, 100, 200, 0)).latency_ms.recent == (0.1, 0.2)


def test_no_answer_took_longer_than_the_longest() -> None:
    shown = turned(1, THEM, answers_ns=1_999_900, slowest_us=1_999)
    assert shown.latency_ms.avg == shown.latency_ms.max == 1.999


@pytest.mark.parametrize(("kernels", "asker"), [(NOBODY, US), (US, THEM), (THEM, US), (US, None)])
def test_turns_that_were_followed_for_another_asker_are_unknown(kernels: int, asker: int | None) -> None:
    assert turns(socket_record(asker=kernels, asked=3, speaker=THEM), asker) is None


# What the kernel knows of sending


def test_what_goes_on_is_counted_until_now() -> None:
    record = socket_record(
        sending=abi.SENDING_RWND_LIMITED, busy_jiffies=2, rwnd_jiffies=3, sndbuf_jiffies=4, ssthresh=0x7FFF_FFFF
    )
    sends = transmission(record, at(2))
    assert sends is not None
    jiffy_ms = JIFFY_NS / 1e6
    assert (sends.busy_ms, sends.rwnd_limited_ms, sends.sndbuf_limited_ms) == tuple(
        round(jiffies * jiffy_ms, 3) for jiffies in (9, 3, 4)
    )
    assert sends.ssthresh_segments is None
    later = sent_by(sends, at(12))
    assert (later.busy_ms - sends.busy_ms, later.rwnd_limited_ms - sends.rwnd_limited_ms) == (10_000, 10_000)
    assert later.sndbuf_limited_ms == sends.sndbuf_limited_ms
    assert sent_by(later, at(12)) == later
    idle = transmission(socket_record(sending=abi.SENDING_NOTHING, ssthresh=7), at(2))
    assert idle is not None
    assert idle.ssthresh_segments == 7
    assert sent_by(idle, at(12)) == idle
    assert transmission(socket_record(), at(2)) is None
