"""The way of hostile conversations through nettop's parsers, as their callers will use them."""

import cProfile
import time
from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import astuple

from nettop.protocols import tls
from nettop.protocols.header_block import MAX_ENTRIES
from nettop.protocols.http2 import MAX_BLOCK_BYTES, Http2Direction, Http2Head
from nettop.protocols.messages import Request
from nettop.protocols.pairing import Answered, Pairing
from nettop.protocols.quic import QuicHello
from nettop.protocols.table import ORDERED, Protocol
from nettop.protocols.tls import ClientHello, TlsMessage
from nettop.text import printable_text
from tests.hostile.protocol_cases import Case

MOST_MS = 5.0  # of CPU for one segment, on a machine that is quiet
MOST_CALLS = 20_000  # of functions by one segment: the same on every machine, however busy it is
MOST_CHARACTERS = 10 * 256  # of a text: each byte of a path may be an escape
_TIMINGS = 7  # of a case that seemed slow, of which the shortest counts: the others were disturbed
_PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in ORDERED}

Told = TlsMessage | Http2Head | Request | Answered[int]


class Outcome(NamedTuple):
    """What was told of a case, and the CPU time of its slowest segment."""

    told: list[Told]
    cpu_ms: float


class ProtocolPath:
    """The parsers; with one connection of HTTP/2 that lives through all cases."""

    def __init__(self) -> None:
        self._old = {True: Http2Direction(), False: Http2Direction()}

    def play(self, case: Case) -> Outcome:
        """Raises whatever nettop raises, and AssertionError for what it must not tell."""
        told: list[Told] = []
        slowest = 0.0
        steps = self._steps(case)
        while True:
            begun = time.thread_time()
            step = next(steps, None)
            slowest = max(slowest, time.thread_time() - begun)
            if step is None:
                break
            told += step
        for each in told:
            check(each)
        for direction in self._old.values():
            assert direction.held_bytes <= MAX_BLOCK_BYTES + 9
            assert len(direction._blocks._entries) <= MAX_ENTRIES
        return Outcome(told, slowest * 1000)

    def _steps(self, case: Case) -> Iterator[list[Told]]:
        """What each segment tells."""
        new = {True: Http2Direction(), False: Http2Direction()}
        flow, pairing = QuicHello(), Pairing[int](_PROTOCOLS.get(case.protocol, ORDERED[0]))
        for number, (from_client, sequence, payload) in enumerate(case.segments):
            message: TlsMessage | ClientHello | None = None
            if case.protocol == "tls":
                message = tls.parse(payload)
            elif case.protocol == "quic":
                message = flow.datagram(payload)
            elif case.protocol == "http2":
                yield [*new[from_client].segment(sequence, payload, case.passed_over)]
                yield [*self._old[from_client].segment(sequence, payload, passed_over=True)]
            elif from_client:
                requests = pairing.requests(payload)
                for request in requests:
                    pairing.wait(request, number)
                yield [*requests]
            else:
                yield [*pairing.answered(payload)]
            yield [message] if message else []


def check(told: Told) -> None:
    """Every text prints and is bounded, and none is of what must not be kept."""
    for value in told if isinstance(told, tuple) else astuple(told):
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str):
                assert printable_text(text) == text, told
                assert len(text) <= MOST_CHARACTERS, told


def shortest_ms(case: Case) -> float:
    """How long the slowest segment of a case takes at least."""
    return min(ProtocolPath().play(case).cpu_ms for _ in range(_TIMINGS))


def calls(case: Case) -> float:
    """How many functions a segment calls, in the mean: what it costs, whatever else runs."""
    profile = cProfile.Profile()
    path = ProtocolPath()
    profile.enable()
    for _ in path._steps(case):
        pass
    profile.disable()
    return sum(each.callcount for each in profile.getstats()) / max(len(case.segments), 1)
