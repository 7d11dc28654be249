"""Writes anew what nettop's formats look like, byte for byte: `make golden`, and read the diff before committing it.

The formats are a contract: a field may be added, none may change its name, its place or its meaning.
"""

import os
import tempfile
from pathlib import Path
from unittest import mock

from nettop.cli.checks import Check, Report, report_json
from nettop.export.json import event_json, snapshot_json
from nettop.model import events, rows
from nettop.model.filter import Filter
from nettop.model.store import replayed
from nettop.settings.resolve import as_toml, resolve
from tests.builders import (
    CLOCK,
    CURL,
    NETNS,
    SERVER_ADDRESS,
    a_recording,
    at,
    host_packets,
    identity,
    lookup,
    other_socket,
    told,
)

HERE = Path(__file__).parent
CONFIG_PATH = "/home/ada/.config/nettop/config.toml"
CONFIG = 'theme = "nord"\n\n[connections]\nsort = "rx asc"\n\n[keys]\npause = "p, f5"\n'


def recording() -> list[events.AnyEvent]:
    """Every kind of event, each row in more than one state."""
    *before, last_tick, end = a_recording()
    unlisted = rows.Unlisted(
        pid=CURL.pid,
        process_start_time=CLOCK.wall_of_boot(CURL.start_boot_ns),
        queries=7,
        answered=6,
        failed=1,
        udp_tx_bytes=280,
        udp_rx_bytes=560,
        udp_rx_dropped=1,
        opened=2,
        tcp_tx_bytes=10,
    )
    of_curl = rows.Dropped(
        pid=CURL.pid,
        process_start_time=CLOCK.wall_of_boot(CURL.start_boot_ns),
        netns=NETNS,
        drops={"NETFILTER_DROP": 2},
        resets_sent={"TCP_ABORT_ON_CLOSE": 1},
        resets_received=1,
        icmp_errors={"ECONNREFUSED": 1},
    )
    of_nobody = rows.Dropped(
        pid=None,
        process_start_time=None,
        netns=NETNS,
        remote=SERVER_ADDRESS,
        drops={"NO_SOCKET": 3},
        icmp_sent={"port-unreachable": 3},
    )
    coverage = rows.LookupCoverage(
        libraries=1,
        not_covered=(rows.UncoveredLibrary(name="libc.so.6", reason="later", pid=812, comm="java", processes=1),),
        not_covered_cut=0,
    )
    return [
        *before,
        told(other_socket(tx_bytes=84, rx_bytes=168), 3.5),
        told(host_packets(), 3.5),
        told(lookup(id=2, status="pending", result=None, latency_ms=None, addresses=(), queries=1), 3.5),
        events.LookupsCovered(time=at(3.6), coverage=coverage),
        events.Unlisted(time=at(3.6), unlisted=unlisted),
        events.Dropped(time=at(3.6), dropped=of_curl),
        events.Dropped(time=at(3.6), dropped=of_nobody),
        told(identity(exited_at=at(3.7)), 3.7),
        last_tick,
        end,
    ]


def doctor() -> Report:
    """A check of every status."""
    return Report(
        nettop="0.1.0",
        kernel="5.10.0",
        arch="x86_64",
        can_run=False,
        checks=(
            Check(need="a Linux kernel", mechanism="uname", status="ok", detail="there is one"),
            Check(
                need="permission for BPF",
                mechanism="CAP_BPF",
                status="missing",
                detail="not held",
                remedy="Run it with sudo.",
            ),
            Check(need="ends of processes", mechanism="tracepoint", status="skipped"),
            Check(need="dropped datagrams", mechanism="raw tracepoint", status="absent", detail="came with Linux 5.17"),
        ),
    )


def config() -> str:
    """Settings from the command line, the environment, a file and the defaults."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("NETTOP_")}
    with (
        tempfile.TemporaryDirectory() as directory,
        mock.patch.dict(os.environ, others | {"NETTOP_DNS_PORTS": "53,5355"}, clear=True),
    ):
        path = Path(directory) / "config.toml"
        path.write_text(CONFIG)
        return as_toml(resolve({"interval": 2.0}, path)).replace(str(path), CONFIG_PATH)


def files() -> dict[str, bytes]:
    """What each file in this folder should have in it, by its name."""
    told_all = recording()
    snapshot = replayed(told_all).snapshot()
    return {
        "config.toml": config().encode(),
        "doctor.json": report_json(doctor()),
        "snapshot.json": snapshot_json(snapshot),
        "snapshot-filtered.json": snapshot_json(Filter("dns:failed").apply(snapshot)),
        "stream.jsonl": b"".join(map(event_json, told_all)),
    }


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_bytes(content)
