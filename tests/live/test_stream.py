"""Watched live, recorded and replayed: the same snapshot, byte for byte."""

import json
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from nettop.export.json import event_json, snapshot_json
from nettop.kernel.scope import Scope
from nettop.model.events import AnyEvent
from nettop.model.snapshot import Snapshot
from nettop.model.store import Store, replayed
from nettop.sources.live import LiveSource
from nettop.sources.recording import read_events
from tests.live import dns_server, programs
from tests.live.lab import (
    NETTOP,
    PATIENCE_S,
    Namespace,
    Program,
    Watch,
    assert_nothing_lost,
    attached,
    check_snapshot,
    check_stream_line,
    connections_of,
    dns_of,
    namespace,
    nettop,
    process_of,
    snapshot_running,
    wait_until,
)

PORT, UDP_PORT = 7015, 7016


@pytest.fixture(scope="module")
def served(directory: Path) -> Iterator[Namespace]:
    with namespace(directory) as inside:
        server = inside.play(programs.tcp_server, address="127.0.0.1", port=PORT)
        echo = inside.play(programs.udp_echo, address="127.0.0.1", port=UDP_PORT)
        names = inside.play(dns_server.serve, addresses=["127.0.0.1"])
        assert (server.hear(), echo.hear(), names.hear()) == ("listening", "bound", "serving")
        yield inside


def mixed_traffic(inside: Namespace) -> list[Program]:
    """Some of everything, of which a part goes on."""
    questions = [[txid, f"n{txid}.test", 1] for txid in range(1, 102)]
    programs_ = [
        inside.play(programs.ask_udp, server="127.0.0.1", questions=questions),
        inside.play(programs.tcp_client, address="127.0.0.1", port=PORT, sizes=[[13, 17]] * 53),
        inside.play(programs.udp_client, address="127.0.0.1", port=UDP_PORT, sizes=[331] * 13),
        inside.play(programs.tcp_fail, address="127.0.0.1", port=7999),
    ]
    for program in programs_:
        program.end()
    pending = inside.play(programs.ask_in_vain, servers=["127.0.0.1"], qname="silent-stream.test")
    assert pending.hear() == "asked"
    return [*programs_, pending]


def is_the_mixed_traffic(snapshot: Snapshot, made: list[Program]) -> None:
    asker, talker, pinger, failed, pending = made
    assert [row.status for row in dns_of(snapshot, asker)] == ["answered"] * 101
    assert [(row.tx_bytes, row.rx_bytes) for row in connections_of(snapshot, talker)] == [(13, 17)] * 53
    assert process_of(snapshot, pinger).udp.tx_bytes == process_of(snapshot, pinger).udp.rx_bytes == 331 * 13
    assert [row.end for row in connections_of(snapshot, failed)] == ["refused"]
    assert [row.status for row in dns_of(snapshot, pending)] == ["pending"]
    assert_nothing_lost(snapshot.losses)


def test_a_live_source_and_its_recording(served: Namespace, directory: Path) -> None:
    recording = directory / "in-process"
    store, written = Store(), 0
    source = LiveSource(Scope(netns=(served.inode,)), interval_s=0.1)
    try:
        with recording.open("wb") as file:

            def take(events: Iterable[AnyEvent]) -> None:
                for event in events:
                    store.apply(event)
                    file.write(event_json(event))

            take(source.read(0.1))
            made = mixed_traffic(served)
            end = time.monotonic() + 0.5  # a few ticks
            while time.monotonic() < end:
                take(source.read(0.1))
            take(source.finish())
    finally:
        source.close()
    assert source.finished
    live = store.snapshot()
    is_the_mixed_traffic(live, made)
    assert replayed(read_events(recording, partial=False)).snapshot() == live
    for line in recording.read_bytes().splitlines():
        check_stream_line(line)
        written += 1
    assert written > 2 * 101 + 53
    done = nettop("replay", str(recording), "--snapshot")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.encode() == snapshot_json(live)
    check_snapshot(done.stdout.encode())


def test_the_command_and_its_recording(served: Namespace, directory: Path) -> None:
    recording = directory / "by-command"
    process = subprocess.Popen([*NETTOP, "stream", "--netns", served.name, "--interval", "0.1", "-o", str(recording)])
    partial = directory / f"by-command.{process.pid}.partial"
    try:
        wait_until(lambda: partial.exists() and partial.stat().st_size > 0, "the recording's first line")
        made = mixed_traffic(served)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
    assert not partial.exists()
    done = nettop("replay", str(recording), "--snapshot")
    assert (done.returncode, done.stderr) == (0, "")
    snapshot = check_snapshot(done.stdout.encode())
    is_the_mixed_traffic(snapshot, made)
    assert snapshot_json(replayed(read_events(recording, partial=False)).snapshot()) == done.stdout.encode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_watch_and_what_was_seen_is_written(served: Namespace, number: signal.Signals) -> None:
    with snapshot_running("--netns", served.name) as process:
        made = mixed_traffic(served)
        asked = time.monotonic()
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE_S)
        took_s = time.monotonic() - asked
    assert (process.returncode, errors) == (0, b"")
    assert took_s < 5
    snapshot = check_snapshot(output)
    is_the_mixed_traffic(snapshot, made)
    assert snapshot.elapsed_s < 60


def test_snapshot_after_its_time(served: Namespace) -> None:
    done = nettop("snapshot", "--for", "0.5", "--netns", served.name)
    assert (done.returncode, done.stderr) == (0, "")
    snapshot = check_snapshot(done.stdout.encode())
    assert 0.5 <= snapshot.elapsed_s < 5
    assert snapshot.scope.netns == (served.inode,)
    assert snapshot.hooks == {
        "failed_connects_ipv4": "cgroup_sock_addr connect4",
        "failed_connects_ipv6": "cgroup_sock_addr connect6",
        "packet_sources": "raw_tracepoint netif_receive_skb",
        "dns_queries": "cgroup_skb egress",
        "dns_answers": "cgroup_skb ingress",
        "dns_refusals": "raw_tracepoint inet_sk_error_report",
        "tcp_connections": "raw_tracepoint inet_sock_set_state",
        "udp_owners": "cgroup_sock sock_create",
        "udp_bytes": "cgroup_sock sock_release",
        "udp_drops": "raw_tracepoint udp_fail_queue_rcv_skb",
        "other_drops": "raw_tracepoint sock_rcvqueue_full",
        "packet_drops": "raw_tracepoint kfree_skb",
        "resets_sent": "raw_tracepoint tcp_send_reset",
        "resets_received": "raw_tracepoint tcp_receive_reset",
        "icmp_errors": "raw_tracepoint icmp_send",
        "cgroups": "raw_tracepoint cgroup_mkdir",
        "live_counters": "raw_tracepoint test_run",
        "older_sockets": "iterator task_file",
        "process_starts": "raw_tracepoint sched_process_exec",
        "process_ends": "raw_tracepoint sched_process_exit",
    }


def test_a_filter_chooses_rows(served: Namespace, directory: Path) -> None:
    with Watch(directory, "--netns", served.name, "--filter", "port:53", quiet=False) as watch:
        asker = served.play(programs.ask_udp, server="127.0.0.1", questions=[[1, "n1.test", 1]])
        talker = served.play(programs.tcp_client, address="127.0.0.1", port=PORT, sizes=[[13, 17]])
        asker.end()
        talker.end()
        snapshot = watch.stop()
    assert len(dns_of(snapshot, asker)) == 1
    assert connections_of(snapshot, talker) == []


def test_stdout_that_is_closed_early(served: Namespace) -> None:
    stream = subprocess.Popen(
        [*NETTOP, "stream", "--netns", served.name, "--interval", "0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert stream.stdout is not None
    assert stream.stderr is not None
    with stream:
        check_stream_line(stream.stdout.readline())
        stream.stdout.close()
        assert stream.wait(PATIENCE_S) == 1
        said = stream.stderr.read().decode()
    assert said == (
        "nettop: Standard output was closed before everything was written. Keep the reader open, or use -o PATH.\n"
    )


def test_stdout_that_never_was_open(served: Namespace) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *NETTOP, "snapshot", "--for", "0.1", "--netns", served.name],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("nettop: Standard output is closed.")


def test_output_file_is_private(served: Namespace, directory: Path) -> None:
    path = directory / "private.json"
    done = nettop("snapshot", "--for", "0.1", "--netns", served.name, "-o", str(path), umask=0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (path.stat().st_mode & 0o7777, path.stat().st_uid) == (0o600, 0)
    check_snapshot(path.read_bytes())


def test_each_row_once_with_its_origin(served: Namespace, tmp_path: Path) -> None:
    """Two runs at once, as on two hosts: no row of the one can be taken for one of the other."""
    command = [*NETTOP, "stream", "--final", "--netns", served.name, "--for", "600"]
    paths = [tmp_path / name for name in ("one", "other")]
    watching = []
    for path in paths:  # no pipes: the one that is not read while the other ends would give its reader up
        with path.open("wb") as file:
            watching.append(subprocess.Popen(command, stdout=file))
    for process in watching:
        wait_until(lambda process=process: attached(process.pid), "nettop to attach")  # type: ignore[misc]
    *_, pending = mixed_traffic(served)
    pending.stop()
    for process in watching:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(PATIENCE_S) for process in watching] == [0, 0]
    streams = [path.read_bytes().splitlines() for path in paths]
    seen = set()
    for lines in streams:
        for line in lines:
            check_stream_line(line)
        told = [json.loads(line) for line in lines]
        assert [told[0]["type"], told[-1]["type"]] == ["start", "end"]
        queries = [line["dns"]["qname"] for line in told if line["type"] == "dns"]
        assert sorted(queries) == sorted([*(f"n{txid}.test" for txid in range(1, 102)), "silent-stream.test"])
        sent = [line["connection"]["tx_bytes"] for line in told if line["type"] == "connection"]
        assert sent.count(13) == 53
        origin = told[0]["origin"]
        assert origin["host_id"] == told[0]["host"]["id"] == Path("/etc/machine-id").read_text().strip()
        for line in told:
            assert line["origin"] == origin
            if line["type"] in ("dns", "connection", "udp", "listener", "request"):
                key = (origin["host_id"], origin["started_at"], line["type"], line[line["type"]]["id"])
                assert key not in seen
                seen.add(key)


def test_for_opentelemetry(served: Namespace) -> None:
    """Each row is one log record, and the sums are those of all of them."""
    command = [*NETTOP, "stream", "--format", "otlp", "--netns", served.name, "--for", "600"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    wait_until(lambda: attached(process.pid), "nettop to attach")
    *_, pending = mixed_traffic(served)
    pending.stop()
    process.send_signal(signal.SIGTERM)
    lines = process.communicate(timeout=PATIENCE_S)[0].splitlines()
    assert process.returncode == 0
    records: list[tuple[str, dict[str, Any]]] = []
    points: dict[str, Any] = {}
    for line in lines:
        if line.startswith(b'{"resourceLogs"'):
            (logs,) = Parse(line, ExportLogsServiceRequest()).resource_logs
            records += [(record.event_name, attributes(record)) for record in logs.scope_logs[0].log_records]
        else:
            (told,) = Parse(line, ExportMetricsServiceRequest()).resource_metrics
            points |= {metric.name: metric for metric in told.scope_metrics[0].metrics}
    asked = [said["dns.question.name"] for name, said in records if name == "nettop.dns"]
    assert sorted(asked) == sorted([*(f"n{txid}.test" for txid in range(1, 102)), "silent-stream.test"])
    talked = [said for name, said in records if name == "nettop.connection" and said["nettop.comm"] == "talker"]
    assert len(talked) == 53
    assert {said["network.peer.port"] for said in talked} == {PORT}
    assert sum(point.as_int for point in points["nettop.dns_queries"].sum.data_points) == 102
    sent = [
        point.as_int
        for point in points["process.network.io"].sum.data_points
        if attributes(point).items()
        >= {"nettop.comm": "talker", "network.transport": "tcp", "network.io.direction": "transmit"}.items()
    ]
    assert sent == [53 * 13]


def attributes(message: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in message.attributes}
