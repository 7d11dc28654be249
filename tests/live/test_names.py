"""Connections carry the name that was looked up, and say by whom."""

from pathlib import Path

from tests.live import programs
from tests.live.lab import Namespace, Watch, connections_of, dnsmasq

PORT = 7011


def test_names_of_addresses(quiet: Namespace, directory: Path) -> None:
    server = quiet.play(programs.tcp_server, address="127.0.0.9", port=PORT)
    assert server.hear() == "listening"
    dnsmasq(
        quiet, ["127.0.0.1"], "--local=/test/", "--host-record=real.test,127.0.0.9",
        "--cname=middle.test,real.test", "--cname=front.test,middle.test", "--host-record=again.test,127.0.0.9",
    )  # fmt: skip
    with Watch(directory, "--netns", quiet.name) as watch:
        before = quiet.play(programs.tcp_client, address="127.0.0.9", port=PORT, sizes=[[8, 0]])
        before.end()
        watch.settled(before, connections=1)
        own = quiet.play(programs.resolve, nameserver="127.0.0.1", host="front.test", port=PORT, connections=1)
        own.end()
        watch.settled(own, dns=2, connections=1)
        stranger = quiet.play(programs.tcp_client, address="127.0.0.9", port=PORT, sizes=[[8, 0]])
        stranger.end()
        watch.settled(stranger, connections=1)
        resolver = quiet.play(programs.resolve, nameserver="127.0.0.1", host="again.test", port=PORT, connections=1)
        resolver.end()
        watch.settled(resolver, dns=2, connections=1)
        latecomer = quiet.play(programs.tcp_client, address="127.0.0.9", port=PORT, sizes=[[8, 0]])
        latecomer.end()
        watch.settled(latecomer, connections=1)
        snapshot = watch.stop()
    for program, name, source, others in (
        (before, None, None, ()),
        (own, "front.test", "process", ()),
        (stranger, "front.test", "other-process", ()),
        (resolver, "again.test", "process", ()),
        (latecomer, "again.test", "other-process", ("front.test",)),  # they disagree
    ):
        (row,) = connections_of(snapshot, program)
        assert (row.remote.address, row.remote.name, row.remote.name_source) == ("127.0.0.9", name, source)
        assert row.remote.names == others
    # who calls a server says nothing of its own name
    assert {(row.remote.name, row.remote.name_source) for row in connections_of(snapshot, server)} == {(None, None)}
