"""Multipath TCP: its further subflows are connected, and its sockets closed, by threads of the kernel."""

from pathlib import Path

import pytest

from tests.live import programs
from tests.live.lab import FAR_IPV4, NEAR_IPV4, Watch, two_namespaces

MPTCP_ENABLED = Path("/proc/sys/net/mptcp/enabled")
ALSO_NEAR_IPV4, PORT = "10.88.0.3", 7010


@pytest.mark.skipif(not MPTCP_ENABLED.exists(), reason="this kernel has no Multipath TCP")
def test_every_subflow_is_its_program_s(directory: Path) -> None:
    with two_namespaces(directory) as (near, far):
        near.ip("address", "add", f"{ALSO_NEAR_IPV4}/24", "dev", "veth0")
        near.ip("mptcp", "endpoint", "add", ALSO_NEAR_IPV4, "dev", "veth0", "subflow")
        for side in (near, far):
            side.ip("mptcp", "limits", "set", "subflow", "2", "add_addr_accepted", "2")
        with Watch(directory, "--netns", near.name, "--netns", far.name) as watch:
            server = far.play(programs.multipath_server, address=FAR_IPV4, port=PORT, connections=3)
            assert server.hear() == "listening"
            client = near.play(programs.multipath_client, address=FAR_IPV4, port=PORT, connections=3)
            client.end()
            server.end()
            watch.until(
                lambda snapshot: sum(row.state == "closed" for row in snapshot.connections) == 12,
                "both ends of three connections with two subflows each",
            )
            watch.stop()
        rows = watch.store.snapshot().connections
        outbound = [row for row in rows if row.direction == "outbound"]
        inbound = [row for row in rows if row.direction == "inbound"]
        assert [row.pid for row in outbound] == [client.pid] * 6
        assert [row.pid for row in inbound] == [server.pid] * 6
        assert {row.local.address for row in outbound} == {NEAR_IPV4, ALSO_NEAR_IPV4}
