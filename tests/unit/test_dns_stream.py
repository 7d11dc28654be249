"""DNS over TCP: segments in, whole messages out."""

import pytest

from nettop.tracking import dns_stream
from nettop.tracking.dns_stream import DnsStream, StreamMessage


def a_message(letter: bytes, size: int) -> bytes:
    """A query of so many bytes, of which only the frame and the header are looked at."""
    return letter * 2 + b"\1\0\0\1" + bytes(6) + letter * (size - 12)


ONE, TWO, THREE = a_message(b"1", 20), a_message(b"2", 30), b"33\1" + bytes(9)
Told = tuple[list[bytes], int]
NOTHING: Told = ([], 0)


class Stream:
    """A DnsStream that tells what was captured of each message, and how many were lost."""

    def __init__(self) -> None:
        self.stream = DnsStream()

    def segment(self, sequence: int, payload: bytes, wire_bytes: int) -> Told:
        output = self.stream.segment(sequence, payload, wire_bytes)
        return [message.captured for message in output.messages], output.lost


def framed(*messages: bytes) -> bytes:
    return b"".join(len(message).to_bytes(2) + message for message in messages)


def feed(stream: Stream, first: int, *parts: tuple[int, bytes]) -> Told:
    """Segments at offsets from a first sequence number; what came of all of them."""
    messages: list[bytes] = []
    lost = 0
    for offset, payload in parts:
        captured, given_up = stream.segment((first + offset) % 2**32, payload, len(payload))
        messages += captured
        lost += given_up
    return messages, lost


def test_a_message_in_a_segment() -> None:
    assert Stream().segment(1000, framed(ONE), 22) == ([ONE], 0)


def test_the_length_in_a_segment_of_its_own() -> None:
    stream = Stream()
    assert stream.segment(1000, framed(ONE)[:2], 2) == NOTHING
    assert stream.segment(1002, ONE, 20) == ([ONE], 0)


def test_several_messages_in_a_segment() -> None:
    payload = framed(ONE, TWO, THREE)
    assert Stream().segment(1, payload, len(payload)) == ([ONE, TWO, THREE], 0)


def test_a_message_and_a_half() -> None:
    payload = framed(ONE, TWO)
    stream = Stream()
    assert stream.segment(1, payload[:30], 30) == ([ONE], 0)
    assert stream.segment(31, payload[30:], len(payload) - 30) == ([TWO], 0)


def test_byte_by_byte() -> None:
    payload = framed(ONE, TWO)
    parts = [(offset, payload[offset : offset + 1]) for offset in range(len(payload))]
    assert feed(Stream(), 5, *parts) == ([ONE, TWO], 0)


def test_out_of_order() -> None:
    payload = framed(ONE, TWO)
    stream = Stream()
    assert stream.segment(100, payload[:10], 10) == NOTHING
    assert stream.segment(130, payload[30:], len(payload) - 30) == NOTHING
    assert stream.segment(110, payload[10:30], 20) == ([ONE, TWO], 0)


@pytest.mark.parametrize("first", [2**32 - 1, 2**32 - 2, 2**32 - 11, 2**32 - 22])
def test_sequence_numbers_wrap_around(first: int) -> None:
    payload = framed(ONE, TWO)
    parts = [(0, payload[:10]), (22, payload[22:]), (10, payload[10:22])]
    assert feed(Stream(), first, *parts) == ([ONE, TWO], 0)


def test_a_whole_retransmission_adds_nothing() -> None:
    assert feed(Stream(), 1, (0, framed(ONE)), (0, framed(ONE)), (22, framed(TWO))) == ([ONE, TWO], 0)


def test_a_retransmission_that_goes_on() -> None:
    payload = framed(ONE, TWO)
    assert feed(Stream(), 1, (0, payload[:10]), (0, payload[:25]), (5, payload[5:])) == ([ONE, TWO], 0)


def test_a_shorter_retransmission_does_not_replace_what_waits() -> None:
    payload = framed(ONE, TWO)
    assert feed(Stream(), 1, (0, payload[:4]), (8, payload[8:]), (8, payload[8:12]), (4, payload[4:8])) == (
        [ONE, TWO],
        0,
    )


def test_an_empty_segment_changes_nothing() -> None:
    assert feed(Stream(), 1, (0, b""), (0, framed(ONE)), (22, b"")) == ([ONE], 0)


def test_a_lost_segment_is_counted_and_the_stream_goes_on_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN a stream of which the segment after the first message never comes by
    monkeypatch.setattr(dns_stream, "MAX_WAITING_SEGMENTS", 3)
    stream = Stream()
    assert stream.segment(0, framed(ONE), 22) == ([ONE], 0)
    later = [framed(a_message(bytes([65 + number]), 17)) for number in range(4)]
    # WHEN more wait behind the gap than may
    outputs = [stream.segment(1000 + 19 * number, payload, 19) for number, payload in enumerate(later)]
    # THEN it is given up, and they are read
    assert outputs == [NOTHING, NOTHING, NOTHING, ([payload[2:] for payload in later], 1)]
    assert stream.segment(1076, framed(TWO), 32) == ([TWO], 0)


def test_half_a_message_before_a_gap_is_not_joined_with_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_stream, "MAX_WAITING_SEGMENTS", 1)
    stream = Stream()
    assert feed(stream, 0, (0, framed(ONE)[:10]), (500, framed(TWO)), (532, framed(THREE))) == ([TWO, THREE], 1)


def test_the_gap_may_lie_at_the_wrap_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_stream, "MAX_WAITING_SEGMENTS", 2)
    first = 2**32 - 40
    parts = [(0, framed(ONE)), (46, framed(TWO)), (78, framed(THREE)), (32, framed(THREE))]
    assert feed(Stream(), first, *parts) == ([ONE, THREE, TWO, THREE], 1)


def test_a_tail_that_was_not_captured() -> None:
    # GIVEN a message of 5000 bytes of which 4096 bytes of the segment were captured
    long = a_message(b"L", 5000)
    stream = Stream()
    # WHEN it and its successor come
    output = stream.segment(0, framed(long)[:4096], 5002)
    # THEN what was captured is handed on, and the next message is found
    assert output == ([long[:4094]], 0)
    assert stream.segment(5002, framed(ONE), 22) == ([ONE], 0)


def test_the_length_on_the_wire_is_told_of_what_was_not_captured() -> None:
    long = a_message(b"L", 5000)
    output = DnsStream().segment(0, framed(long)[:4096], 5002)
    assert output.messages == [StreamMessage(long[:4094], 5000)]
    assert DnsStream().segment(0, framed(ONE), 22).messages == [StreamMessage(ONE, 20)]


def test_it_is_out_of_place_from_a_loss_until_the_next_message() -> None:
    stream = DnsStream()
    payload = framed(a_message(b"L", 4500), TWO, TWO)
    seen = [stream.out_of_place]
    for sequence, captured, size in ((0, payload[:4096], len(payload)), (len(payload), framed(ONE), 22)):
        stream.segment(sequence, captured, size)
        seen.append(stream.out_of_place)
    assert seen == [False, True, False]


def test_a_tail_that_was_not_captured_in_the_middle_of_a_message() -> None:
    long = a_message(b"L", 10_000)
    stream = Stream()
    assert stream.segment(0, framed(long)[:4096], 6000) == ([long[:4094]], 0)
    assert stream.segment(6000, b"L" * 4002 + framed(ONE), 4024) == ([ONE], 0)


def test_a_tail_that_was_not_captured_and_in_which_messages_began() -> None:
    stream = Stream()
    payload = framed(a_message(b"L", 4500), TWO, TWO)
    assert stream.segment(0, payload[:4096], len(payload)) == ([a_message(b"L", 4094)], 1)
    assert stream.segment(len(payload), framed(ONE), 22) == ([ONE], 0)


def test_a_length_that_was_not_captured() -> None:
    payload = framed(a_message(b"A", 4092), TWO)
    stream = Stream()
    assert stream.segment(0, payload[:4096], len(payload)) == ([a_message(b"A", 4092)], 1)
    assert stream.segment(len(payload), framed(ONE), 22) == ([ONE], 0)


@pytest.mark.parametrize("length", [0, 1, 11])
def test_a_length_too_short_for_a_message_is_counted(length: int) -> None:
    payload = framed(TWO, b"x" * length, ONE)
    assert Stream().segment(9, payload, len(payload)) == ([TWO, ONE], 1)


LONG = a_message(b"L", 3000)


def cut_into(payload: bytes, size: int) -> list[tuple[int, bytes]]:
    return [(start, payload[start : start + size]) for start in range(0, len(payload), size)]


def test_a_stream_joined_in_the_middle_of_a_message_is_read_from_the_next() -> None:
    # GIVEN a connection whose first segments passed before nettop started
    segments = [*cut_into(framed(LONG), 1000)[1:], (3002, framed(ONE)), (3024, framed(TWO))]
    # THEN the rest of the message counts as one, and those that follow are read
    assert feed(Stream(), 7, *segments) == ([ONE, TWO], 1)


def test_a_message_that_starts_behind_a_few_bytes_of_another() -> None:
    assert feed(Stream(), 0, (0, b"tail"), (4, framed(ONE, TWO)), (58, framed(THREE))) == ([ONE, TWO, THREE], 1)


def test_lengths_made_of_text_make_no_messages() -> None:
    # GIVEN the middle of an answer full of text, whose bytes read as a length are larger than what comes
    text = b"the quick brown fox jumps over the lazy dog " * 100
    parts = [(number * 4400, text) for number in range(30)]
    # WHEN real messages follow
    output = feed(Stream(), 0, *parts, (30 * 4400, framed(ONE)))
    # THEN they are not taken for the rest of an imaginary one
    assert output == ([ONE], 1)


@pytest.mark.parametrize(
    "header",
    [b"11\x79\0\0\1" + bytes(6), b"11\1\x40\0\1" + bytes(6), b"11\1\0\0\2" + bytes(6), b"11\1\0\0\1\0\2" + bytes(4)],
    ids=["opcode", "reserved bit", "two questions", "more records than it has room for"],
)
def test_what_does_not_begin_like_a_message(header: bytes) -> None:
    odd = header + b"1" * 20
    # alone in its segment it is one all the same
    assert feed(Stream(), 0, (0, framed(odd))) == ([odd], 0)
    # together with others it may be the middle of another
    assert feed(Stream(), 0, (0, framed(odd, ONE)), (56, framed(TWO))) == ([TWO], 1)


def test_what_waits_is_counted_in_bytes() -> None:
    stream = Stream()
    stream.segment(0, framed(LONG)[:1000], 1000)
    stream.segment(2000, framed(LONG)[2000:2500], 500)
    assert stream.stream.held_bytes == 1500
    feed(stream, 0, (1000, framed(LONG)[1000:2000]), (2500, framed(LONG)[2500:]))
    assert stream.stream.held_bytes == 0
