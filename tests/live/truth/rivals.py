"""What other tools say of the same traffic, each held only against what it claims to show.

They are started as they come; where one does not start, its reason is told in place of its figures. With
BCC_KERNEL_SOURCE in the environment the BCC tools use those kernel headers.
"""

import csv
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from nettop.model import rows
from nettop.model.snapshot import Snapshot
from tests.live.lab import wait_until
from tests.live.truth.compare import compare
from tests.live.truth.place import Place
from tests.live.truth.rows import Process, Truth
from tests.live.truth.scenario import Scenario
from tests.live.truth.score import Score

_NETNS = 1  # none of them tells
_EPOCH = datetime(1970, 1, 1, 0, 0, 0, 1, UTC)
_GETADDRINFO = ("glibc", "curl", "IDNA")  # the scenarios that resolve by the C library's function
_LAST_WORDS_S = 5.0  # nethogs notices a signal with the next packet only


class Tool:
    """A command whose output goes to a file; `reason` says why it does not run, or is empty."""

    def __init__(self, command: Sequence[str], output: Path, ready: str) -> None:
        self._output = output
        self._errors = output.with_suffix(".stderr")
        with output.open("wb") as stdout, self._errors.open("wb") as stderr:
            environment = os.environ | {"PYTHONUNBUFFERED": "1"}
            self._process = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment)
        self.pid = self._process.pid
        wait_until(lambda: self._process.poll() is not None or ready in self.said(), command[0], patience_s=60)
        self.reason = ""
        if self._process.poll() is not None:
            lines = (self.said() + self._errors.read_text()).splitlines()
            telling = [line for line in lines if re.search("unable|not found|fail|error", line, re.IGNORECASE)]
            self.reason = ([*telling[-1:], f"it ended with {self._process.returncode}"])[0].partition(". ")[0]

    def said(self) -> str:
        return self._output.read_text(errors="replace")

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def tcplife(directory: Path) -> Tool:
    return Tool(["tcplife-bpfcc", "-s"], directory / "tcplife", "PID,COMM")


def gethostlatency(directory: Path) -> Tool:
    return Tool(["gethostlatency-bpfcc"], directory / "gethostlatency", "LATms")


def nethogs(directory: Path, place: Place) -> Tool:
    device = place.device
    return Tool(
        place.near.inside("nethogs", "-t", "-C", "-a", "-b", "-v", "2", "-d", "1", device),
        directory / f"nethogs-{place.near.name}", "Refreshing",
    )  # fmt: skip


# What they say, as rows of nettop


def _scored(blank: Snapshot, truth: Truth, **shown: object) -> Score:
    return compare(truth, replace(blank, **shown), frozenset({_NETNS}), lambda _: _EPOCH)


def score_tcplife(blank: Snapshot, truth: Truth, said: str) -> Score | None:
    """Connections that are over: process, ends, whole KB both ways, milliseconds."""
    ended = tuple(end for end in truth.connections if end.end is not None)
    if not ended:
        return None
    pids = {end.pid for end in ended}
    ports = {end.local[1] for end in ended} | {end.remote[1] for end in ended}
    shown: list[rows.Connection] = []
    for line in csv.DictReader(said.splitlines()):
        if int(line["PID"]) not in pids and not {int(line["LPORT"]), int(line["RPORT"])} <= ports:
            continue
        shown.append(
            rows.Connection(
                id=len(shown), pid=int(line["PID"]), process_start_time=None, comm=line["COMM"], owner="unknown",
                netns=_NETNS, family="ipv6" if line["IP"] == "6" else "ipv4", direction="unknown",
                local=rows.Endpoint(address=line["LADDR"], port=int(line["LPORT"])),
                remote=rows.RemoteEndpoint(address=line["RADDR"], port=int(line["RPORT"])), state="closed",
                opened_at=None, opened_before_start=False, duration_ms=float(line["MS"]),
                tx_bytes=int(line["TX_KB"]) * 1024, rx_bytes=int(line["RX_KB"]) * 1024,
            )
        )  # fmt: skip
    return _scored(blank, Truth(connections=ended), dns=(), connections=tuple(shown), processes=())


def score_nethogs(blank: Snapshot, truth: Truth, said: str) -> Score | None:
    """Bytes per process, the headers of packets included."""
    made = tuple(
        Process(pid=each.pid, comm=each.comm, tcp_tx_bytes=tx, tcp_rx_bytes=rx)
        for each in truth.processes
        if (tx := _sum(each.tcp_tx_bytes, each.udp_tx_bytes)) is not None
        and (rx := _sum(each.tcp_rx_bytes, each.udp_rx_bytes)) is not None
        and tx + rx > 0
    )
    if not made:
        return None
    latest: dict[int, rows.Process] = {}
    for name, pid, sent, received in re.findall(r"^(.*)/(\d+)/\d+\t(\d+)\t(\d+)$", said, re.MULTILINE):
        if pid != "0":  # "unknown TCP"
            latest[int(pid)] = rows.Process(
                pid=int(pid), start_time=_EPOCH, comm=name, cmdline=None, uid=0, user=None, parent_pid=None,
                cgroup=None, netns=_NETNS, first_seen=_EPOCH,
                tcp=rows.TcpTotals(tx_bytes=int(sent), rx_bytes=int(received)),
            )  # fmt: skip
    kept = Truth(processes=made, bystanders=truth.bystanders | {each.pid for each in truth.processes})
    return _scored(blank, kept, dns=(), connections=(), processes=tuple(latest.values()))


def _sum(tcp: int | None, udp: int | None) -> int | None:
    return None if tcp is None and udp is None else (tcp or 0) + (udp or 0)


def score_gethostlatency(blank: Snapshot, scenario: Scenario, truth: Truth, said: str) -> Score | None:
    """Calls of getaddrinfo: process, name, milliseconds of the whole call (of which the programs keep no time)."""
    if scenario.subject != "DNS" or scenario.name not in _GETADDRINFO:
        return None
    made = tuple(replace(query, answers=None) for query in truth.queries if query.qtype == "A")
    pids = {query.pid for query in made}
    shown = [
        rows.DnsQuery(
            id=number, asked_at=_EPOCH, pid=int(pid), process_start_time=None, comm=comm, netns=_NETNS,
            transport="udp", client=rows.Endpoint(address="", port=0),
            server=rows.Endpoint(address=made[0].server, port=53), txid=0, qname=host, qtype="A",
        )
        for number, (pid, comm, host) in enumerate(
            re.findall(r"^\S+ +(\d+) +(\S+) +[\d.]+ (\S+)$", said, re.MULTILINE)
        )
        if int(pid) in pids
    ]  # fmt: skip
    return _scored(blank, Truth(queries=made), dns=tuple(shown), connections=(), processes=())
