"""Hostile DNS: a short form of `make fuzz`."""

import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nettop.tracking.dns_message import ADDRESSES_ALONE_BYTES, ANSWER_OVERHEAD_BYTES, MAX_ANSWER_BYTES, parse
from tests.hostile import dns_cases
from tests.hostile.dns_cases import CLASSES, TCP, UDP, Packet
from tests.hostile.dns_path import MOST_CALLS, MOST_MS, DnsPath, calls

CASES_PER_WEIGHT = 30


@pytest.mark.parametrize("name", CLASSES)
def test_no_case_raises_or_makes_many_calls(name: str) -> None:
    weight, make = CLASSES[name]
    source = random.Random(name)
    path = DnsPath()
    told = 0
    for _ in range(weight * CASES_PER_WEIGHT):
        case = make(source)
        outcome = path.play(case)
        told += len(outcome.rows) + outcome.unparsed
        assert outcome.cpu_ms < MOST_MS or calls(case) < MOST_CALLS
    assert told > 0


@pytest.mark.parametrize("size", range(4))
def test_no_kind_of_record_makes_many_calls(size: int) -> None:
    """dnslib must not read on behind a record whose length leaves no room for what it expects there."""
    busy = {kind: made for kind in KINDS if (made := calls(dns_cases.full_of(kind, bytes(size)))) >= MOST_CALLS}
    assert busy == {}


LARGEST = (
    MAX_ANSWER_BYTES - ADDRESSES_ALONE_BYTES - ANSWER_OVERHEAD_BYTES
)  # the RDATA of a record that there is room for
TYPES = b"\0" + b"".join(bytes([window, 32]) + b"\xff" * 32 for window in range((LARGEST - 1) // 34))
SERVICE = b"\0\1\0"
LARGE = {
    "empty strings": bytes(LARGEST),
    "strings": b"\1" * LARGEST,
    "types": TYPES,
    "types that end early": TYPES[:301],
    "mandatory": SERVICE + bytes(2) + (LARGEST - 7 & ~1).to_bytes(2) + bytes(LARGEST - 7 & ~1),
    "empty protocols": SERVICE + b"\0\1" + (LARGEST - 7).to_bytes(2) + bytes(LARGEST - 7),
    "protocols": SERVICE + b"\0\1" + (LARGEST - 7 & ~1).to_bytes(2) + b"\1a" * (LARGEST - 7 >> 1),
    "parameters": SERVICE + b"".join(key.to_bytes(2) + bytes(2) for key in range(7, 7 + (LARGEST - 3) // 4)),
}


@pytest.mark.parametrize("rdata", LARGE.values(), ids=LARGE)
def test_no_large_record_makes_many_calls(rdata: bytes) -> None:
    """dnslib takes up to 12 us for a byte."""
    busy = {kind: made for kind in KINDS if (made := calls(dns_cases.full_of(kind, rdata))) >= MOST_CALLS}
    assert busy == {}


def test_every_message_cut_at_every_byte() -> None:
    path = DnsPath()
    for case in dns_cases.every_cut():
        path.play(case)


packets = st.builds(
    lambda query, protocol, sequence, payload, more: Packet(query, protocol, sequence, payload, len(payload) + more),
    st.booleans(),
    st.sampled_from([TCP, UDP]),
    st.integers(0, 2**32 - 1) | st.integers(0, 60),
    st.binary(max_size=300) | st.sampled_from(dns_cases.ANSWERS).map(dns_cases.framed),
    st.just(0) | st.integers(0, 70_000),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(packets, max_size=12))
def test_packets_in_any_order(case: list[Packet]) -> None:
    DnsPath().play(tuple(case))


# A name may be written in as many ways as there are places to point to: RFC 1035 section 4.1.4.
POINTER = 0xC0
KINDS = [1, 2, 5, 6, 12, 13, 15, 16, 17, 28, 29, 33, 35, 39, 43, 44, 46, 47, 48, 52, 64, 65, 257, 65280]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(KINDS), st.binary(max_size=24), st.binary(max_size=24))
def test_different_data_is_never_told_alike(kind: int, one: bytes, other: bytes) -> None:
    assume(all(byte < POINTER for byte in one + other))
    assert (told(kind, one) == told(kind, other)) == (one == other)


@pytest.mark.parametrize("kind", KINDS)
def test_valid_data_changed_in_a_bit_is_told_otherwise(kind: int) -> None:
    for message in dns_cases.ANSWERS[:-1]:
        rdata = message[message.index(b"\0\0\0\5") + 6 :]
        changed = [
            bytes([*rdata[:at], rdata[at] ^ 1 << bit, *rdata[at + 1 :]]) for at in range(len(rdata)) for bit in range(8)
        ]
        different = [data for data in (rdata, *changed) if all(byte < POINTER for byte in data)]
        assert len({told(kind, data) for data in different}) == len(different)


def told(kind: int, rdata: bytes) -> str:
    """What is shown of these data, without compression."""
    message = parse(dns_cases.answer_of(dns_cases.record(rdata, kind), 1))
    assert message is not None
    (answer,) = message.answers
    return answer.data
