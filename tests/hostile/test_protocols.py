"""Hostile conversations: a short form of `make fuzz`."""

import random

import pytest

from tests.captured import conversation, names
from tests.hostile.protocol_cases import CLASSES, Case
from tests.hostile.protocol_path import MOST_CALLS, MOST_MS, ProtocolPath, calls

CASES_PER_WEIGHT = 30


@pytest.mark.parametrize("name", CLASSES)
def test_no_case_raises_or_makes_many_calls(name: str) -> None:
    weight, make = CLASSES[name]
    source = random.Random(name)
    path = ProtocolPath()
    told = 0
    for _ in range(weight * CASES_PER_WEIGHT):
        case = make(source)
        outcome = path.play(case)
        told += len(outcome.told)
        assert outcome.cpu_ms < MOST_MS or calls(case) < MOST_CALLS
    assert told > 0 or name == "random bytes"


@pytest.mark.parametrize("name", names())
def test_every_conversation_cut_all_over(name: str) -> None:
    path = ProtocolPath()
    protocol = "tls" if name.startswith("tls") else name.partition("-")[0]
    segments = conversation(name)
    for place, segment in enumerate(segments[:12]):
        for length in range(0, len(segment.payload), 1 + len(segment.payload) // 60):
            cut = segment._replace(payload=segment.payload[:length])
            path.play(Case(protocol, (*segments[:place][-2:], cut, *segments[place + 1 :][:2])))
