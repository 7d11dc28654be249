"""Where a scenario plays: namespaces of its own, a ledger that its programs write to, and what comes of it."""

import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from tests.live import dns_server, programs
from tests.live.lab import Namespace, Program, namespace, two_namespaces, wait_until
from tests.live.programs import DNS_PORT
from tests.live.truth import talk
from tests.live.truth.rows import (
    Connection,
    Dropped,
    Fact,
    Handshake,
    Host,
    Listener,
    Lookup,
    Process,
    Query,
    Request,
    Stray,
    Truth,
)

_FACT = msgspec.json.Decoder(Fact)
PYTHON = Path(sys.executable).name  # comm of a program that does not rename itself


class Place:
    """One scenario's namespaces and what is known of what happens there."""

    def __init__(self, directory: Path, near: Namespace, far: Namespace | None) -> None:
        self.directory = directory
        self.near = near
        self._far = far
        self.ledger = directory / f"ledger-{near.name}"
        self._added: list[Fact] = []
        self._bystanders: set[int] = set()
        self._foreign: set[int] = set()
        self._at_end: list[Callable[[], None]] = []
        self._servers: dict[str, Program] = {}  # by address: those that keep no ledger
        self._echoes: dict[tuple[str, int], Program] = {}  # neither do these

    @property
    def far(self) -> Namespace:
        assert self._far is not None, "the scenario was not declared with far=True"
        return self._far

    @property
    def names(self) -> list[str]:
        return [each.name for each in (self.near, self._far) if each is not None]

    @property
    def device(self) -> str:
        """Where its packets pass."""
        return "lo" if self._far is None else "veth0"

    @property
    def netns(self) -> frozenset[int]:
        return frozenset(each.inode for each in (self.near, self._far) if each is not None)

    def play(self, function: Callable[..., None], *, far: bool = False, **arguments: Any) -> Program:
        """Start a function of talk.py or owners.py, with the ledger, or one that keeps none."""
        where = self.far if far else self.near
        if "ledger" in function.__annotations__:
            arguments["ledger"] = str(self.ledger)
        return self.known(where.play(function, **arguments))

    def start(self, *command: str, nameserver: str | None = None) -> Program:
        """Start any command."""
        return self.known(self.near.start(*command, nameserver=nameserver))

    def known(self, program: Program) -> Program:
        """A program that may be seen."""
        self._bystanders.add(program.pid)
        return program

    def foreign(self, *pids: int) -> None:
        """Processes that log their requests and nothing else."""
        self._bystanders.update(pids)
        self._foreign.update(pids)

    def run(self, function: Callable[..., None], *, far: bool = False, **arguments: Any) -> Program:
        """Play it to its end."""
        program = self.play(function, far=far, **arguments)
        program.end()
        return program

    def serve(
        self,
        address: str,
        port: int,
        steps: list[list[Any]],
        *,
        how: str = "alone",
        protocol: int = 0,
        far: bool = False,
    ) -> Program:
        """A server of talk.py that listens."""
        server = self.play(talk.serve, far=far, address=address, port=port, steps=steps, how=how, protocol=protocol)
        assert server.hear() == "listening"
        return server

    def dns_server(self, *addresses: str, port: int = DNS_PORT, far: bool = False) -> Program:
        """The server that misbehaves as it is asked to."""
        server = self.play(dns_server.serve, far=far, addresses=list(addresses), port=port)
        assert server.hear() == "serving"
        # it answers in time even while all processors are busy
        os.sched_setscheduler(server.pid, os.SCHED_RR, os.sched_param(1))
        self._servers.update(dict.fromkeys(addresses, server))
        return server

    def echo(self, address: str, port: int, *, far: bool = False) -> Program:
        """A server that sends back every datagram: its flows are those of its clients, from the other side."""
        server = self.play(programs.udp_echo, far=far, address=address, port=port)
        assert server.hear() == "bound"
        self._echoes[address, port] = server
        return server

    def answers_over_tcp(self, address: str, server: Program) -> None:
        """Its end of each connection is known from the other."""
        self._servers[address] = server

    def add(
        self, *facts: Query | Connection | Process | Listener | Host | Dropped | Stray | Request | Handshake | Lookup
    ) -> None:
        """What the scenario knows and its programs cannot write down themselves."""
        for fact in facts:
            kind: dict[str, Any] = {type(fact).__name__.lower(): fact}
            self._added.append(Fact(**kind))

    def at_end(self, remove: Callable[[], None]) -> None:
        """What has to be removed once all programs are gone."""
        self._at_end.append(remove)

    def end(self) -> None:
        """Kill whoever is still there, children of programs among them, and remove it."""
        for name in self.names:
            listed = subprocess.run(["ip", "netns", "pids", name], check=True, capture_output=True, text=True).stdout
            for pid in map(int, listed.split()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(partial(_is_empty, name), f"the end of everybody in {name}")
        for remove in self._at_end:
            remove()

    def written(self, connections: int) -> None:
        """Wait until the ledger has so many ends of connections: a server writes its own a little later."""
        wait_until(lambda: self._lines(b'"connection"') >= connections, f"{connections} connections to be told")

    def _lines(self, kind: bytes) -> int:
        return self.ledger.read_bytes().count(kind) if self.ledger.exists() else 0

    def truth(self) -> Truth:
        """All of it, once the scenario is over."""
        written = self.ledger.read_bytes().splitlines() if self.ledger.exists() else []
        facts = [*map(_FACT.decode, written), *self._added]
        ends = [fact.connection for fact in [*facts, *self._other_ends(facts)] if fact.connection]
        return Truth(
            queries=tuple(fact.query for fact in facts if fact.query),
            connections=tuple(paired(ends)),
            processes=tuple(totals(facts)),
            flows=tuple(fact.flow for fact in [*facts, *self._other_flows(facts)] if fact.flow),
            listeners=tuple(fact.listener for fact in facts if fact.listener),
            hosts=tuple(fact.host for fact in facts if fact.host),
            dropped=tuple(fact.dropped for fact in facts if fact.dropped),
            strays=tuple(fact.stray for fact in facts if fact.stray),
            handshakes=tuple(fact.handshake for fact in facts if fact.handshake),
            requests=tuple(fact.request for fact in facts if fact.request),
            lookups=tuple(fact.lookup for fact in facts if fact.lookup),
            bystanders=frozenset(self._bystanders),
            foreign=frozenset(self._foreign),
        )

    def _other_flows(self, facts: list[Fact]) -> list[Fact]:
        """What a server of echo() would write down."""
        output = []
        for fact in facts:
            flow = fact.flow
            if flow is not None and flow.remote in self._echoes:
                mirrored = replace(
                    flow, pid=self._echoes[flow.remote].pid, comm=PYTHON, local=flow.remote,
                    remote=flow.local, tx_bytes=flow.rx_bytes, rx_bytes=flow.tx_bytes,
                    tx_packets=flow.rx_packets, rx_packets=flow.tx_packets,
                )  # fmt: skip
                output.append(Fact(flow=mirrored))
        return output

    def _other_ends(self, facts: list[Fact]) -> list[Fact]:
        """What a DNS server would write down if it kept a ledger."""
        output = []
        for fact in facts:
            end = fact.connection
            if end is not None and end.remote[1] == DNS_PORT and end.local[1] is not None:
                mirrored = replace(
                    end, pid=self._servers[end.remote[0]].pid, comm=PYTHON, direction="inbound", local=end.remote,
                    remote=(end.local[0], end.local[1]), tx_bytes=end.rx_bytes, rx_bytes=end.tx_bytes, opened_ns=None,
                )  # fmt: skip
                output.append(Fact(connection=mirrored))
        return output


def _is_empty(name: str) -> bool:
    """Whether nobody is left in a namespace; those that wait to be collected by their parent are not."""
    listed = subprocess.run(["ip", "netns", "pids", name], check=True, capture_output=True, text=True).stdout
    return not listed.split()


def without_ipv6(place: Place) -> None:
    """Leave out what IPv6 itself sends on a link: neighbours that look for each other and for groups."""
    for side in (place.near, place.far):
        side.sysctl("net.ipv6.conf.all.disable_ipv6", 1)


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
        output.append(
            replace(
                end,
                opened_ns=opened_ns,
                over_ns=max(filter(None, over), default=None),
                other_fin_ns=other.fin_ns,
                other_eof_ns=other.eof_ns,
            )
        )
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
            sums = datagrams.setdefault(fact.datagrams.pid, [0, 0, 0])
            sums[0] += fact.datagrams.tx_bytes
            sums[1] += fact.datagrams.rx_bytes
            sums[2] += fact.datagrams.rx_dropped
            comms[fact.datagrams.pid] = fact.datagrams.comm
        if fact.connection is not None:
            end = fact.connection
            streams[end.pid][0].append(None if end.tx_bytes is None else end.tx_bytes - end.tx_before)
            streams[end.pid][1].append(None if end.rx_bytes is None else end.rx_bytes - end.rx_before)
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
        udp = datagrams.get(pid, [None, None, 0] if pid in asked else [0, 0, 0])
        output.append(
            Process(
                pid=pid,
                comm=comm,
                tcp_tx_bytes=tx,
                tcp_rx_bytes=rx,
                udp_tx_bytes=udp[0],
                udp_rx_bytes=udp[1],
                udp_rx_dropped=udp[2],
            )
        )
    return output


@contextmanager
def place(directory: Path, far: bool) -> Iterator[Place]:
    """Namespaces for one scenario."""
    with ExitStack() as stack:
        near: Namespace
        if far:
            near, other = stack.enter_context(two_namespaces(directory))
            made = Place(directory, near, other)
        else:
            made = Place(directory, stack.enter_context(namespace(directory)), None)
        stack.callback(made.end)
        yield made
