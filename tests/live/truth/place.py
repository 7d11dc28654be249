"""Where a scenario plays: namespaces of its own, a ledger that its programs write to, and what comes of it."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from tests.live import dns_server
from tests.live.lab import Namespace, Program, namespace, two_namespaces
from tests.live.truth import talk
from tests.live.truth.rows import Connection, Fact, Process, Query, Truth

_FACT = msgspec.json.Decoder(Fact)
PYTHON = "python"  # comm of a program that does not rename itself


class Place:
    """One scenario's namespaces and what is known of what happens there."""

    def __init__(self, directory: Path, near: Namespace, far: Namespace | None) -> None:
        self.directory = directory
        self.near = near
        self._far = far
        self.ledger = directory / f"ledger-{near.name}"
        self._added: list[Fact] = []
        self._bystanders: set[int] = set()

    @property
    def far(self) -> Namespace:
        assert self._far is not None, "the scenario was not declared with far=True"
        return self._far

    @property
    def names(self) -> list[str]:
        return [each.name for each in (self.near, self._far) if each is not None]

    @property
    def netns(self) -> frozenset[int]:
        return frozenset(each.inode for each in (self.near, self._far) if each is not None)

    def play(self, function: Callable[..., None], *, far: bool = False, **arguments: Any) -> Program:
        """Start a function of talk.py, with the ledger, or one that keeps none."""
        where = self.far if far else self.near
        if function.__module__ == talk.__name__ and "ledger" in function.__annotations__:
            arguments["ledger"] = str(self.ledger)
        return self.known(where.play(function, **arguments))

    def start(self, *command: str, nameserver: str | None = None) -> Program:
        """Start any command."""
        return self.known(self.near.start(*command, nameserver=nameserver))

    def known(self, program: Program) -> Program:
        """A program that may be seen."""
        self._bystanders.add(program.pid)
        return program

    def run(self, function: Callable[..., None], *, far: bool = False, **arguments: Any) -> Program:
        """Play it to its end."""
        program = self.play(function, far=far, **arguments)
        program.end()
        return program

    def serve(self, address: str, port: int, steps: list[list[Any]], how: str = "alone", far: bool = False) -> Program:
        """A server of talk.py that listens."""
        server = self.play(talk.serve, far=far, address=address, port=port, steps=steps, how=how)
        assert server.hear() == "listening"
        return server

    def dns_server(self, *addresses: str, far: bool = False) -> Program:
        """The server that misbehaves as it is asked to."""
        server = self.play(dns_server.serve, far=far, addresses=list(addresses))
        assert server.hear() == "serving"
        return server

    def add(self, *facts: Query | Connection | Process) -> None:
        """What the scenario knows and its programs cannot write down themselves."""
        for fact in facts:
            match fact:
                case Query():
                    self._added.append(Fact(query=fact))
                case Connection():
                    self._added.append(Fact(connection=fact))
                case Process():
                    self._added.append(Fact(process=fact))

    def truth(self) -> Truth:
        """All of it, once the scenario is over."""
        written = self.ledger.read_bytes().splitlines() if self.ledger.exists() else []
        facts = [*map(_FACT.decode, written), *self._added]
        connections = paired([fact.connection for fact in facts if fact.connection])
        return Truth(
            queries=tuple(fact.query for fact in facts if fact.query),
            connections=tuple(connections),
            processes=tuple(totals(facts)),
            bystanders=frozenset(self._bystanders),
        )


def paired(ends: list[Connection]) -> list[Connection]:
    """Both ends of each connection know when it began and when it was over."""
    by_ends: dict[tuple[object, object], Connection] = {(end.local, end.remote): end for end in ends}
    output = []
    for end in ends:
        other = by_ends.get((end.remote, end.local))
        if other is None:
            output.append(end)
            continue
        opened_ns = end.opened_ns if end.direction == "outbound" else other.established_ns
        resets = [each.over_ns for each in (end, other) if each.end == "reset-by-us"]
        over = resets or [each.over_ns for each in (end, other) if each.over_ns is not None]
        output.append(replace(end, opened_ns=opened_ns, over_ns=max(filter(None, over), default=None)))
    return output


def totals(facts: list[Fact]) -> list[Process]:
    """Per process what its facts add up to; None where one of them does not know."""
    told = {fact.process.pid for fact in facts if fact.process}
    datagrams: dict[int, list[int]] = {}
    streams: dict[int, list[list[int | None]]] = defaultdict(lambda: [[], []])
    comms: dict[int, str] = {}
    asked: set[int] = set()
    for fact in facts:
        if fact.datagrams is not None:
            sums = datagrams.setdefault(fact.datagrams.pid, [0, 0])
            sums[0] += fact.datagrams.tx_bytes
            sums[1] += fact.datagrams.rx_bytes
            comms[fact.datagrams.pid] = fact.datagrams.comm
        if fact.connection is not None:
            streams[fact.connection.pid][0].append(fact.connection.tx_bytes)
            streams[fact.connection.pid][1].append(fact.connection.rx_bytes)
            comms[fact.connection.pid] = fact.connection.comm
        if fact.query is not None:
            comms[fact.query.pid] = fact.query.comm
            if fact.query.transport == "udp":
                asked.add(fact.query.pid)
    output = [fact.process for fact in facts if fact.process]
    for pid, comm in comms.items():
        if pid in told:
            continue
        tx, rx = (None if None in counts else sum(filter(None, counts)) for counts in streams[pid])
        udp = datagrams.get(pid, [None, None] if pid in asked else [0, 0])
        output.append(
            Process(pid=pid, comm=comm, tcp_tx_bytes=tx, tcp_rx_bytes=rx, udp_tx_bytes=udp[0], udp_rx_bytes=udp[1])
        )
    return output


@contextmanager
def place(directory: Path, far: bool) -> Iterator[Place]:
    """Namespaces for one scenario."""
    if far:
        with two_namespaces(directory) as (near, other):
            yield Place(directory, near, other)
    else:
        with namespace(directory) as near:
            yield Place(directory, near, None)
