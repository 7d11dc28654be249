"""Makes nettop/demo/demo.jsonl, the recording that ships: `make demo`, as root, takes a minute and a half.

Two network namespaces, one for the demo's host and one for all that it talks to, joined by line.py; programs under
believable names talk inside (cast.py and outside.py, after story.py); the real `nettop stream` watches the host's.
Nothing of it reaches the machine's own network, and nothing stays behind.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from nettop.export.json import event_json
from nettop.invoker import invoking_user
from nettop.sources.recording import read_events
from tests.demo import cast, story
from tests.demo.publish import Costume, published
from tests.live.lab import NETTOP, Namespace, namespace

RECORDING = Path(__file__).resolve().parents[2] / "nettop" / "demo" / "demo.jsonl"
_SET_UP_S = 4.0  # from the start of the programs until t0
_ATTACH_S = 0.8  # nettop starts so long before t0
_LAST_TICK_S = 0.6  # nettop ends so long after a tick: the last one's rates are those of this time
_LINE = "line0"


def main() -> None:
    """Record, and put the result in its place only if it is good."""
    if os.geteuid() != 0:
        sys.exit("Recording makes network namespaces and loads eBPF programs: run it as root, by 'make demo'.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is cleared away
    with tempfile.TemporaryDirectory(prefix="nettop-demo-") as directory:
        raw = Path(directory) / "raw.jsonl"
        record(Path(directory), raw)
        costumes = {member.comm: Costume(member.command, member.cgroup) for member in cast.CAST}
        costumes |= {command[0]: Costume(None, cgroup) for _, command, _, cgroup in cast.ERRANDS}
        events = published(list(read_events(raw, partial=False)), cast.USERS, costumes)
    text = b"".join(map(event_json, events))
    RECORDING.parent.mkdir(exist_ok=True)
    RECORDING.write_bytes(text)
    os.chown(RECORDING, *(invoking_user() or (-1, -1)))
    sys.stdout.write(f"{RECORDING.name}: {len(events)} events, {len(text) / 1024:.0f} KB\n")


def record(directory: Path, raw: Path) -> None:
    """Play the story and watch it."""
    with namespace(directory) as host, namespace(directory) as outside:
        t0 = time.monotonic() + _SET_UP_S
        lay_line(host, outside, t0)
        outside.start(*python("outside", t0=t0)).hear()
        for member in cast.CAST:
            run(host, directory, python("cast", comm=member.comm, t0=t0))
        time.sleep(max(0.0, t0 - _ATTACH_S - time.monotonic()))
        command = [*NETTOP, "stream", "--netns", host.name, "--for", str(story.LENGTH_S + _LAST_TICK_S), "-o", str(raw)]
        watch = subprocess.Popen(command)
        try:
            for moment, errand, uid, _ in sorted(cast.ERRANDS):
                time.sleep(max(0.0, t0 + moment - time.monotonic()))
                identity = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
                run(host, directory, [*identity, *errand])
            if watch.wait(story.LENGTH_S) != 0:
                sys.exit("nettop stream failed.")
        finally:
            watch.kill()
            watch.wait()


def python(module: str, **arguments: object) -> list[str]:
    return [sys.executable, "-m", f"tests.demo.{module}", json.dumps(arguments)]


def run(host: Namespace, directory: Path, command: Sequence[str]) -> None:
    """Start a command on the demo's host, with the resolvers that this has."""
    resolv, nsswitch = directory / "resolv.conf", directory / "nsswitch.conf"
    servers = "".join(f"nameserver {address}\n" for address in story.RESOLVERS)
    resolv.write_text(f"{servers}options timeout:1 attempts:2\n")
    nsswitch.write_text("hosts: dns\n")
    # ip netns exec has made a mount namespace of its own
    mounts = f"mount --bind {resolv} /etc/resolv.conf && mount --bind {nsswitch} /etc/nsswitch.conf"
    host.start("sh", "-c", f'{mounts} && exec "$@"', "sh", *command)


def lay_line(host: Namespace, outside: Namespace, t0: float) -> None:
    """The devices, their addresses and routes."""
    line = outside.start(*python("line", host=str(host.path), outside=str(outside.path), t0=t0))
    line.hear()
    for side, addresses in (
        (host, [story.HOST_IPV4, story.HOST_IPV6]),
        (outside, [*story.OUTSIDE_V4, *story.OUTSIDE_V6]),
    ):
        for address in addresses:
            nodad = ["nodad"] if ":" in address else []
            side.ip("addr", "add", address, "dev", _LINE if side is host else "lo", *nodad)
        side.ip("link", "set", _LINE, "up")
        side.ip("route", "add", "default", "dev", _LINE)
        side.ip("-6", "route", "add", "default", "dev", _LINE)
    outside.ip("route", "add", "unreachable", story.NO_ROUTE)
    outside.sysctl("net.ipv4.ip_forward", 1)
    host.sysctl("net.ipv4.ip_unprivileged_port_start", 0)  # a web server that is not root
    host.sysctl("net.ipv4.tcp_syn_retries", 1)  # gives up after 3 s: a story has no two minutes


if __name__ == "__main__":
    main()
