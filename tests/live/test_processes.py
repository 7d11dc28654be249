"""Who it was: also of processes that are gone before anybody can look them up."""

import statistics
import sys
from pathlib import Path

from tests.live import programs
from tests.live.conftest import Figures
from tests.live.lab import Namespace, Watch, process_of

COUNT = 101


def test_processes_that_live_for_milliseconds(quiet: Namespace, directory: Path, figures: Figures) -> None:
    sink = quiet.play(programs.udp_sink, address="127.0.0.1", port=7009)
    assert sink.hear() == "bound"
    script = "echo -n $0 > /dev/udp/127.0.0.1/7009"
    with Watch(directory, "--netns", quiet.name) as watch:
        shell = quiet.start("bash", "-c", f"for i in {{1..{COUNT}}}; do bash -c '{script}' $i; done")
        shell.end()
        sent = sum(len(str(number)) for number in range(1, COUNT + 1))
        sink.say(sent)
        assert sink.hear() == sent
        sink.end()
        snapshot = watch.stop()
    children = {row.cmdline: row for row in snapshot.processes if row.udp.tx_bytes}
    assert set(children) == {("bash", "-c", script, str(number)) for number in range(1, COUNT + 1)}
    lives_ms = []
    for (*_, number), row in ((cmdline or (), row) for cmdline, row in children.items()):
        assert (row.comm, row.udp.tx_bytes, row.udp.rx_bytes) == ("bash", len(number), 0)
        assert row.exited_at is not None
        assert row.start_time <= row.first_seen <= row.exited_at
        lives_ms.append((row.exited_at - row.start_time).total_seconds() * 1000)
    assert statistics.median(lives_ms) < 10
    figures.tell(
        f"{COUNT} processes lived for {statistics.median(lives_ms):.1f} ms (median): all told, with argv and end"
    )


def test_identity(quiet: Namespace, directory: Path) -> None:
    sink = quiet.play(programs.udp_sink, address="127.0.0.1", port=7010)
    assert sink.hear() == "bound"
    with Watch(directory, "--netns", quiet.name) as watch:
        program = quiet.start("setpriv", "--reuid=65534", "bash", "-c", "echo x > /dev/udp/127.0.0.1/7010; read")
        snapshot = watch.until(
            lambda snapshot: any(row.pid == program.pid and row.udp.tx_bytes == 2 for row in snapshot.processes), "it"
        )
        process = process_of(snapshot, program)
        assert (process.uid, process.user, process.comm) == (65534, "nobody", "bash")
        assert process.cmdline == ("bash", "-c", "echo x > /dev/udp/127.0.0.1/7010; read")
        assert process.netns == quiet.inode
        assert process.parent_pid is not None
        assert process.cgroup is not None
        assert process.exited_at is None
        program.say("go")
        program.end()
        watch.until(lambda snapshot: process_of(snapshot, program).exited_at is not None, "its end")
        watch.stop()


JAVA = ("-cp", ":".join(f"/opt/app/lib/part-{number}.jar" for number in range(300)), "org.example.Main")
TALK = "import socket, sys; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 7011)); "


def test_a_long_command_line(quiet: Namespace, directory: Path) -> None:
    """Its end is kept where it can be read, and that something is left out is said where it cannot."""
    sink = quiet.play(programs.udp_sink, address="127.0.0.1", port=7011)
    assert sink.hear() == "bound"
    with Watch(directory, "--netns", quiet.name) as watch:
        stays = quiet.start(sys.executable, "-S", "-c", f"{TALK}input()", *JAVA)
        watch.until(lambda snapshot: any(row.pid == stays.pid and row.udp.tx_bytes for row in snapshot.processes), "it")
        goes = quiet.start(sys.executable, "-S", "-c", TALK, *JAVA)
        goes.end()
        again = quiet.start(
            "sh", "-c", f'exec "$@" {JAVA[0]} {JAVA[1]} {JAVA[2]}', "sh", sys.executable, "-S", "-c", TALK
        )
        again.end()
        snapshot = watch.until(
            lambda snapshot: all(
                any(row.pid == program.pid and row.exited_at for row in snapshot.processes) for program in (goes, again)
            ),
            "their ends",
        )
        stays.say("go")
        stays.end()
        watch.stop()
    row = process_of(snapshot, stays)
    assert row.cmdline is not None
    assert row.cmdline_cut is not None
    assert (row.cmdline[0], row.cmdline[-1]) == (sys.executable, "org.example.Main")
    assert "bytes" in row.cmdline[row.cmdline_cut]
    for program in (goes, again):
        row = process_of(snapshot, program)
        assert row.cmdline is not None
        assert row.cmdline_cut is not None
        assert row.cmdline[row.cmdline_cut].startswith("[…")
