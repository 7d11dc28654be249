"""The way of DNS through nettop: bytes as the perf buffer hands them on, decoded, tracked, told as JSON."""

import cProfile
import json
import time
from typing import NamedTuple

from msgspec.structs import astuple, replace

from nettop.export.json import event_json
from nettop.kernel import abi
from nettop.model.rows import DnsQuery
from nettop.text import printable_text
from nettop.tracking import dns_message
from nettop.tracking.dns import DnsTracker
from nettop.tracking.names import NameTable
from tests.builders import CLOCK, at, dns_packet, ns
from tests.hostile.dns_cases import Case, Packet

MOST_MS = 5.0  # of CPU for one case, on a machine that is quiet
MOST_CALLS = 50_000  # of functions by one case: the same on every machine, however busy it is
_STEP_S = 0.001  # between cases: what is not answered is over after some thousands of them
_CASES_PER_TICK = 500
_TIMINGS = 7  # of a case that seemed slow, of which the shortest counts: the others were disturbed


class Outcome(NamedTuple):
    """What became of a case."""

    rows: list[DnsQuery]
    unparsed: int
    cut: int
    cpu_ms: float


class DnsPath:
    """One tracker for all cases, as in a nettop that runs for long. Sockets and time move on with each case."""

    def __init__(self) -> None:
        self._tracker = DnsTracker(CLOCK, NameTable())
        self._cases = 0

    def play(self, case: Case) -> Outcome:
        """Raises whatever nettop raises, and AssertionError for what it must not tell."""
        self._cases += 1
        seconds = self._cases * _STEP_S
        if self._cases % _CASES_PER_TICK == 0:
            self._tracker.tick(at(seconds))
        records = [raw_record(packet, self._cases % 100_000, seconds) for packet in case]
        before = self._tracker.unparsed, self._tracker.evicted["dns_answers"]
        begun = time.thread_time()
        events = [event for record in records for event in self._tracker.packet(abi.decode_dns(record))]
        lines = list(map(event_json, events))
        cpu_ms = (time.thread_time() - begun) * 1000
        rows = [event.dns for event in events]
        for row, line in zip(rows, lines, strict=True):
            check_row(row)
            assert json.loads(line)["dns"]["qname"] == row.qname
        unparsed, cut = self._tracker.unparsed - before[0], self._tracker.evicted["dns_answers"] - before[1]
        return Outcome(rows, unparsed, cut, cpu_ms)


def raw_record(packet: Packet, cookie: int, seconds: float) -> bytes:
    """The perf buffer's record, padded as the kernel pads it."""
    fields = dns_packet(
        packet.payload, seconds, query=int(packet.query), protocol=packet.protocol, tcp_seq=packet.sequence,
        payload_bytes=packet.wire_bytes, captured_bytes=len(packet.payload), socket_cookie=cookie,
    )  # fmt: skip
    fields = replace(fields, time_ns=ns(seconds))
    head = abi.DNS_PACKET.pack(*astuple(fields)[:-2])  # without what follows
    whole = head + bytes(fields.payload_offset) + packet.payload
    return whole + bytes(-(len(whole) + 4) % 8)


def check_row(row: DnsQuery) -> None:
    """Everything in it prints, and it is bounded."""
    texts = [row.qname or "", row.qtype or "", row.rcode or "", row.comm or "", row.unparsed or ""]
    kept = 0
    for answer in row.answers:
        texts += [answer.name, answer.type, answer.data]
        kept += dns_message.ANSWER_OVERHEAD_BYTES + len(answer.data)
        if answer.name != row.qname:
            kept += dns_message.NAME_OVERHEAD_BYTES + len(answer.name)
    assert all(printable_text(text) == text for text in texts), row
    assert all(len(text) <= 4 * 255 for text in texts[:1]), row
    assert kept <= dns_message.MAX_ANSWER_BYTES, row


def shortest_ms(case: Case) -> float:
    """How long a case takes at least, on its own and with nothing remembered."""
    times = []
    for _ in range(_TIMINGS):
        dns_message._whole_question.cache_clear()
        times.append(DnsPath().play(case).cpu_ms)
    return min(times)


def calls(case: Case) -> int:
    """How many functions a case calls, on its own and with nothing remembered: what it costs, whatever else runs."""
    dns_message._whole_question.cache_clear()
    profile, path = cProfile.Profile(), DnsPath()
    profile.runcall(path.play, case)
    return sum(each.callcount for each in profile.getstats())
